// WebSockets alone, one after the other: each sends messages, all at once, and the codes that they were closed with are
// printed as one array of JSON.
//
// argv: {"url", "times", "messages"}, each message an object {"text"} or {"letters"}: so many of one letter.
import { WebSocket } from "ws";

const { url, times, messages } = JSON.parse(process.argv[2]);

const closed = () =>
  new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.on("open", () => {
      for (const { text, letters } of messages) {
        socket.send(text ?? "x".repeat(letters), () => {});
      }
    });
    socket.on("error", () => {});
    socket.on("close", (code) => resolve(code));
  });

const codes = [];
for (let i = 0; i < times; i++) {
  codes.push(await closed());
}
console.log(JSON.stringify(codes));
