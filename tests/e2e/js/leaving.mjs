// A page that marks something as read and is left, over and over: each client emits, without an acknowledgement, and
// disconnects at once.
//
// argv: {"url", "options", "library", "visits"}, each visit {"token", "events": [[event, ...args], …]}.
const { url, options, library, visits } = JSON.parse(process.argv[2]);
const { io } = await import(library);

for (const { token, events } of visits) {
  const socket = io(url, { auth: { token }, forceNew: true, reconnection: false, ...options });
  await new Promise((resolve) => {
    socket.on("connect_error", resolve);
    socket.on("session.ready", () => {
      for (const event of events) {
        socket.emit(...event);
      }
      socket.on("disconnect", resolve);
      socket.disconnect();
    });
  });
}
