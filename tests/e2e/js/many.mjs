// Many stock Socket.IO clients of several versions in one process. It prints what happens to each, one JSON object a line.
//
// argv: [{"name", "module", "url", "auth", "options"}]. The end of stdin ends them all.
const say = (name, what, details) => console.log(JSON.stringify({ name, what, ...details }));

const sockets = await Promise.all(
  JSON.parse(process.argv[2]).map(async ({ name, module, url, auth, options }) => {
    const { io } = await import(module);
    const socket = io(url, { auth, forceNew: true, ...options });
    socket.on("connect", () => say(name, "connect"));
    socket.on("session.ready", () => say(name, "ready"));
    socket.on("disconnect", (reason) => say(name, "disconnect", { reason }));
    socket.on("connect_error", ({ message }) => say(name, "connect_error", { message }));
    socket.on("notification.new", ({ id }) => say(name, "notification", { id, over: socket.io.engine.transport.name }));
    return socket;
  }),
);

process.stdin
  .on("end", () => {
    sockets.forEach((socket) => socket.close());
    setTimeout(() => process.exit(0), 500).unref();
  })
  .resume();
