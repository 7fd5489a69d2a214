import { notUnderstood } from "./errors.js";

const EVENT_MAX_LENGTH = 4 * 1024 * 1024;

/**
 * The events of a stream (HTML, section 9.2.6), each `{name, data, id}`, together where they came together.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard called for whatever comes
 */
export async function* eventsOf(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const lineEnd = /\r\n|\n|\r/g;
  let line = "";
  let size = 0;
  let endedWithReturn = false;
  let event = { name: "", data: [], id: undefined };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const text = decoder.decode(value, { stream: true });
      const events = [];
      let start = endedWithReturn && text[0] === "\n" ? 1 : 0;
      if (text) endedWithReturn = text.endsWith("\r");
      lineEnd.lastIndex = start;
      for (let end; (end = lineEnd.exec(text)) !== null; start = lineEnd.lastIndex) {
        line += text.slice(start, end.index);
        if (line) {
          take(event, line);
          size += line.length;
        } else {
          if (event.data.length) events.push({ name: event.name, data: event.data.join("\n"), id: event.id });
          event = { name: "", data: [], id: undefined };
          size = 0;
        }
        line = "";
      }
      line += text.slice(start);
      if (size + line.length > EVENT_MAX_LENGTH) throw notUnderstood("an endless event");
      if (events.length) yield events;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function take(event, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
  if (field === "data") event.data.push(value);
  else if (field === "event") event.name = value;
  else if (field === "id" && !value.includes("\0")) event.id = value;
}
