// Socket.IO on Node, doing what the server does: verify a JWT, join three rooms, welcome, deliver.
//
// It also takes what backends post, emits it and answers, as the server does, but checks nothing. If it is to be durable, it
// stores what it was posted first, synced to the disk, with one commit a request.
//
// argv: as tests/benchmarks/programs/control.py describes, as is what it prints and is told on stdin; the end of stdin ends
// the program.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

const settings = JSON.parse(process.argv[2]);

const open = async (file) => {
  const { DatabaseSync } = await import("node:sqlite");
  const database = new DatabaseSync(file);
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE notifications (position INTEGER PRIMARY KEY, room TEXT, content TEXT)");
  database.exec("CREATE INDEX by_room ON notifications (room, position)");
  const insert = database.prepare("INSERT INTO notifications (room, content) VALUES (?, ?)");
  return (publications) => {
    database.exec("BEGIN");
    for (const { room, content } of publications) {
      insert.run(room, JSON.stringify(content));
    }
    database.exec("COMMIT");
  };
};

const store = settings.durable ? await open(`${settings.folder}/notifications.db`) : () => {};

const http = createServer((request, response) => {
  if (request.headers.authorization !== `Bearer ${settings.api_key}`) {
    response.writeHead(401).end();
    return;
  }
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", () => {
    const posted = JSON.parse(Buffer.concat(chunks));
    const publications = [posted].flat().map(published);
    store(publications);
    const results = publications.map(emit);
    const [status, answer] = Array.isArray(posted)
      ? [200, { accepted: results.length, duplicates: 0, results }]
      : [201, results[0]];
    const body = JSON.stringify(answer);
    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
    response.end(body);
  });
});
// As long as this server keeps a connection without requests.
http.keepAliveTimeout = 75_000;
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

const published = ({ to, type, title = null, body = null, data = null }) => {
  const [room, audience] = to.everyone ? ["everyone", "everyone"] : [`user:${to.user}`, "user"];
  const times = { created_at: new Date().toISOString(), expires_at: null };
  const state = { read_at: null, seen_at: null, archived_at: null };
  return { room, content: { id: randomUUID(), type, title, body, data, ...times, audience, ...state } };
};

const emit = ({ room, content }) => {
  offset += 1;
  const cursor = `${epoch}:${offset}`;
  io.to(room).emit("notification.new", content, cursor);
  return { id: content.id, cursor, duplicate: false };
};

const usage = () => {
  const { user, system } = process.cpuUsage();
  return { cpu: (user + system) / 1e6, rss_kib: process.memoryUsage.rss() / 1024 };
};

let watching = null;

const watch = () => {
  const period = 1;
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
