// Socket.IO on Node, doing what the server does: verify a JWT, join three rooms, welcome, deliver.
//
// It also takes what backends post, emits it and answers, as the server does, but checks and stores nothing.
//
// argv: {"secret", "api_key", "ping_interval", "notification"}. It prints {"url"}, and then one answer a line to what it
// is told on stdin, as tests/benchmarks/programs/control.py describes; its end ends the program.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const settings = JSON.parse(process.argv[2]);
const { notification } = settings;
const http = createServer((request, response) => {
  if (request.headers.authorization !== `Bearer ${settings.api_key}`) {
    response.writeHead(401).end();
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const posted = JSON.parse(Buffer.concat(chunks));
    const [status, answer] = Array.isArray(posted)
      ? [200, { accepted: posted.length, duplicates: 0, results: posted.map(publish) }]
      : [201, publish(posted)];
    const body = JSON.stringify(answer);
    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
    response.end(body);
  });
});
const io = new Server(http, { pingInterval: settings.ping_interval * 1000 });

const epoch = process.pid.toString(16).padStart(16, "0");
let offset = 0;

io.use((socket, next) => {
  try {
    const claims = jwt.verify(socket.handshake.auth.token, settings.secret, { algorithms: ["HS256"] });
    socket.data.user = { id: claims.sub, role: claims.role };
    socket.data.expiresAt = new Date(claims.exp * 1000).toISOString();
    next();
  } catch (error) {
    next(error);
  }
});

io.on("connection", (socket) => {
  const { user, expiresAt } = socket.data;
  socket.join([`user:${user.id}`, `role:${user.role}`, "everyone"]);
  const ready = { user, recovered: false, reason: null, counts: null, expires_at: expiresAt };
  socket.emit("session.ready", { ...ready, server_time: new Date().toISOString() }, `${epoch}:${offset}`);
});

const microseconds = () => {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e6 + Math.floor(nanoseconds / 1e3);
};

const emit = (room, content) => {
  content.data.sent = 1e15 + microseconds();
  offset += 1;
  io.to(room).emit("notification.new", content, `${epoch}:${offset}`);
};

const publish = ({ to, type, title = null, body = null, data = null }) => {
  const id = randomUUID();
  const times = { created_at: new Date().toISOString(), expires_at: null };
  const state = { read_at: null, seen_at: null, archived_at: null };
  offset += 1;
  const cursor = `${epoch}:${offset}`;
  const content = { id, type, title, body, data, ...times, audience: "user", ...state };
  io.to(`user:${to.user}`).emit("notification.new", content, cursor);
  return { id, cursor, duplicate: false };
};

const send = ({ sends, per_tick, interval, users, first, body_bytes }) =>
  new Promise((resolve) => {
    const content = { ...notification, data: { ...notification.data } };
    if (body_bytes) {
      content.body = "x".repeat(body_bytes);
    }
    const start = performance.now();
    let sent = 0;
    const tick = () => {
      for (const upto = Math.min(sends, sent + per_tick); sent < upto; sent += 1) {
        emit(users ? `user:${first + (sent % users)}` : "everyone", content);
      }
      if (sent < sends) {
        const next = start + (sent / per_tick) * interval * 1000;
        setTimeout(tick, Math.max(0, next - performance.now()));
      } else {
        resolve({});
      }
    };
    tick();
  });

const usage = () => {
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) / 1e6, rss_kib: process.memoryUsage.rss() / 1024 };
};

let watching = null;

const watch = () => {
  const period = 5;
  let longest = 0;
  let due = performance.now() + period;
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - due);
    due = now + period;
  }, period);
  watching = () => {
    clearInterval(timer);
    return { seconds: longest / 1000 };
  };
  return {};
};

const obey = {
  usage,
  collect: () => {
    globalThis.gc();
    return {};
  },
  send: async ({ streams }) => {
    await Promise.all(streams.map(send));
    return {};
  },
  watch,
  stall: () => watching(),
};

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

http.listen(0, "127.0.0.1", () => {
  say({ url: `http://127.0.0.1:${http.address().port}` });
  createInterface({ input: process.stdin })
    .on("line", async (line) => {
      const command = JSON.parse(line);
      say(await obey[command.do](command));
    })
    .on("close", () => process.exit(0));
});
