// Inbox stores of the module that pages load. It prints what each shows whenever it tells of a change, one JSON object
// a line, and does what it is told on stdin. What no page may ever meet, it prints as "broken".
//
// argv: {"module", "isSecure", "speed"}: the path of the module; whether its pages are served securely, and then all
// stores are as in tabs of one browser; and how many times as fast as others the clocks and timers of the pages go.
// stdin, one a line: {"open": name, "options", "tokens", "socket"}, where the nth token that is asked for is the nth of
// `tokens`, and the last one from then on, and `socket` says what stock client's socket it is to have, if any;
// {"view": name, "of": store, "filter"}, which is called like a store; {"tokens": name, "are"}; {"call": name, "method", "args", "number"}; {"socket": name, "method", "args"};
// {"page": event}. The end of stdin ends them all.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { module, isSecure, speed } = JSON.parse(process.argv[2]);
if (speed !== 1) hasten(speed);
const document = Object.assign(new EventTarget(), { visibilityState: "visible", baseURI: "http://page.test/" });
const page = new EventTarget();
Object.assign(globalThis, { document, isSecureContext: isSecure, addEventListener: page.addEventListener.bind(page) });
globalThis.removeEventListener = page.removeEventListener.bind(page);
const { createInbox } = await import(pathToFileURL(module));

function hasten(speed) {
  for (const clock of [Date, performance]) {
    const now = clock.now.bind(clock);
    const began = now();
    clock.now = () => began + (now() - began) * speed;
  }
  for (const name of ["setTimeout", "setInterval"]) {
    const timer = globalThis[name];
    globalThis[name] = (then, milliseconds, ...given) => timer(then, milliseconds / speed, ...given);
  }
}

const say = (value) => console.log(JSON.stringify(value));
const stores = new Map();
const sockets = new Map();
const tokens = new Map();

function watch(name, store) {
  const broken = (what) => say({ broken: `${name}: ${what}` });
  let before = store.getSnapshot();
  const look = () => {
    const snapshot = store.getSnapshot();
    if (snapshot === before) broken("told of no change");
    if (snapshot !== store.getSnapshot()) broken("another snapshot of the same");
    if (!Object.isFrozen(snapshot) || !Object.isFrozen(snapshot.items)) broken("a snapshot that can be changed");
    if (new Set(snapshot.items.map(({ id }) => id)).size < snapshot.items.length) broken("a notification twice");
    const shown = new Map(before.items.map((item) => [item.id, item]));
    for (const item of snapshot.items) {
      if (!Object.isFrozen(item)) broken("a notification that can be changed");
      const last = shown.get(item.id);
      if (last !== item && JSON.stringify(last) === JSON.stringify(item)) broken("another object of the same");
    }
    before = snapshot;
    say({ store: name, snapshot });
  };
  store.subscribe(look);
  say({ store: name, snapshot: store.getSnapshot() });
}

async function open({ open: name, options, tokens: given, socket }) {
  tokens.set(name, given);
  let asked = 0;
  const token = () => {
    const all = tokens.get(name);
    say({ asked: name });
    const next = all[Math.min(asked++, all.length - 1)];
    if (next === "fails") throw new Error("no token today");
    return next;
  };
  if (socket) {
    const { io } = await import("socket.io-client");
    const own = io(socket.url, { forceNew: true, auth: (callback) => callback({ token: token() }), ...socket.options });
    sockets.set(name, own);
    if (socket.isConnectedBefore) await new Promise((resolve) => own.on("session.ready", resolve));
    options = { ...options, socket: own, ...(socket.givesToken ? { token } : {}) };
  } else {
    options = { ...options, token };
  }
  const store = createInbox(options);
  stores.set(name, store);
  // A page may do with its own arguments what it likes.
  sockets.get(name)?.on("notification.new", (notification) => Object.assign(notification, { title: "of the page" }));
  watch(name, store);
}

async function call({ call: name, method, args, number }) {
  try {
    say({ number, answer: (await stores.get(name)[method](...args)) ?? null });
  } catch (error) {
    say({ number, problem: error.problem ?? String(error) });
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line);
    if (command.open) {
      open(command);
    } else if (command.call) {
      call(command);
    } else if (command.view) {
      const view = stores.get(command.of).view(command.filter);
      stores.set(command.view, view);
      watch(command.view, view);
    } else if (command.tokens) {
      tokens.get(command.tokens).push(...command.are);
    } else if (command.socket) {
      sockets.get(command.socket)[command.method](...command.args);
    } else if (command.page) {
      (command.page === "visibilitychange" ? document : page).dispatchEvent(new Event(command.page));
    }
  })
  .on("close", () => process.exit(0));
