/**
 * The page's own ears: they hear what came over a phone's line, whatever its inbox makes of it.
 *
 * `heard(name, argument, cursor)` is called for each event.
 */

/** On a socket of `socket.io-client`. */
export function tapSocket(socket, heard) {
  socket.onAny((name, ...args) => heard(name, args[0], args.length > 1 ? args.at(-1) : undefined));
}

/** A `fetch` whose streams are listened to. */
export function tappedFetch(heard) {
  return async (input, init) => {
    const response = await fetch(input, init);
    const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
    if (!isStream) return response;
    const [own, others] = response.body.tee();
    listen(own, heard).catch(() => {
      // The line was cut, which the other branch is told too.
    });
    return new Response(others, { status: response.status, headers: response.headers });
  };
}

async function listen(stream, heard) {
  let text = "";
  for await (const part of stream.pipeThrough(new TextDecoderStream())) {
    const events = (text + part).split("\n\n");
    text = events.pop();
    for (const event of events) tell(event, heard);
  }
}

function tell(event, heard) {
  const fields = new Map();
  for (const line of event.split("\n")) {
    const [, name, value] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name) fields.set(name, value);
  }
  if (fields.has("event")) heard(fields.get("event"), JSON.parse(fields.get("data")), fields.get("id"));
}
