// event-source-polyfill, which comes back by itself. It prints every event, one JSON object a line, until it is killed.
//
// argv: {"url", "token"}.
import polyfill from "event-source-polyfill";

const { url, token } = JSON.parse(process.argv[2]);
const source = new polyfill.EventSourcePolyfill(url, { headers: { Authorization: `Bearer ${token}` } });

for (const name of ["session.ready", "notification.new"]) {
  source.addEventListener(name, ({ data }) => console.log(JSON.stringify({ name, data: JSON.parse(data) })));
}
