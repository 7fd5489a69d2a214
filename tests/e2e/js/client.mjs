// A stock Socket.IO client. It prints what happens to it, one JSON object a line, and does what it is told on stdin.
//
// argv: {"url", "auth", "options", "library"}. `library` is the name of the package. `auth` is the object of io()'s option of that name. A list of objects stands for an
// application that passes a function: the nth connection gets the nth of them, and the last one from then on.
// stdin, one a line: {"emit": [event, ...args]}, {"send": [event, ...args]} for no acknowledgement, {"connect": auth}, {"become": auth}, {"disconnect": true}; its end ends the
// client.
import { createInterface } from "node:readline";

const { url, auth, options, library } = JSON.parse(process.argv[2]);
const { io } = await import(library);
const say = (what, details) => console.log(JSON.stringify({ what, ...details }));

let connections = 0;
const next = (callback) => callback(auth[Math.min(connections++, auth.length - 1)]);

const socket = io(url, { auth: Array.isArray(auth) ? next : auth, ...options });

socket.io.on("open", () => {
  const { engine } = socket.io;
  say("transport", { name: engine.transport.name });
  engine.on("upgrade", (transport) => say("transport", { name: transport.name }));
});
socket.io.on("reconnect_attempt", (attempt) => say("reconnect_attempt", { attempt }));
socket.on("connect", () => say("connect", { recovered: socket.recovered }));
socket.on("disconnect", (reason) => say("disconnect", { reason, active: socket.active }));
socket.on("connect_error", ({ message, data }) => say("connect_error", { message, data, active: socket.active }));
socket.onAny((name, ...args) => say("event", { name, args }));

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if (command.send) {
      socket.emit(...command.send);
    } else if (command.emit) {
      socket.timeout(10_000).emit(...command.emit, (error, answer) => say("ack", { error: error?.message, answer }));
    } else if (command.connect) {
      socket.auth = command.connect;
      socket.connect();
    } else if (command.become) {
      socket.auth = command.become;
      socket.disconnect().connect();
    } else if (command.disconnect) {
      socket.disconnect();
    }
  })
  .on("close", () => {
    socket.close();
    setTimeout(() => process.exit(0), 500).unref();
  });
