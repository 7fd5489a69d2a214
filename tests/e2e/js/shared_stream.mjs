// Stores that share a stream, with a server of a few lines in the same process, in one case of those below.
//
// argv: the path of the module, and the name of the case. It fails where that goes wrong.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";

const [, , module, which] = process.argv;
const page = new EventTarget();
Object.assign(globalThis, {
  document: Object.assign(new EventTarget(), { visibilityState: "visible", baseURI: "http://page.test/" }),
  isSecureContext: true,
  addEventListener: page.addEventListener.bind(page),
  removeEventListener: page.removeEventListener.bind(page),
});
const { createInbox } = await import(pathToFileURL(module));

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const tokenOf = (sub, more = {}) => `${encoded({})}.${encoded({ sub, role: "r", ...more })}.signature`;
const told = (name, argument, id) => `event: ${name}\n${id ? `id: ${id}\n` : ""}data: ${JSON.stringify(argument)}\n\n`;
const item = (id) => ({ id, title: id, type: "t", read_at: null, seen_at: null, archived_at: null });
const identity = JSON.stringify([["role", "r"], ["sub", "42"]]);
const counts = { unread: 1, unseen: 1, total: 1 };
const ready = (more = {}) => told("session.ready", { user: { id: "42", role: "r" }, recovered: true, counts, ...more });
const shown = ({ items }) => items.map(({ id }) => id).join();
const until = async (condition, within = 5_000) => {
  for (const end = Date.now() + within; !condition(); await sleep(5)) assert(Date.now() < end, `never ${condition}`);
};

class Server {
  items = [item("n0")];
  asOf = "e:1";
  streams = [];
  begins = (stream) => stream.say(ready());
  lists = async () => {};

  fetch = async (address, { signal, method }) => {
    const { pathname } = new URL(address);
    if (pathname.endsWith("/stream")) return this.#stream(signal);
    if (method !== "POST") await this.lists();
    return Response.json({ items: this.items, next: null, changed: 1, counts, as_of: this.asOf });
  };

  #stream(signal) {
    let controller;
    const body = new ReadableStream({ start: (given) => void (controller = given) });
    const say = (text) => controller.enqueue(new TextEncoder().encode(text));
    const stream = { say, end: () => controller.close(), isOpen: true };
    signal.addEventListener("abort", () => {
      if (stream.isOpen) controller.error(signal.reason);
      stream.isOpen = false;
    });
    this.streams.push(stream);
    this.begins(stream);
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  get stream() {
    return this.streams.at(-1);
  }
}

const server = new Server();
async function opened(token = () => tokenOf("42"), options = {}) {
  const { fetch } = server;
  const store = createInbox({ url: "http://server.test/", token, fetch, backoff: { base: 100, max: 400 }, ...options });
  await until(() => store.status === "live");
  return store;
}

const CASES = {
  async restored() {
    const [first, second] = [await opened(), await opened()];
    const before = server.streams.length;
    server.begins = (stream) => {
      stream.say(server.streams.length > before + 1 ? ready() : ready({ recovered: false }) + told("notification.new", item("n1"), "f:1"));
    };
    Object.assign(server, { items: [item("n1")], asOf: "f:1" });
    server.stream.end();
    await until(() => server.streams.length === before + 2);
    await until(() => first.status === "live" && shown(first) === "n1");
    await until(() => second.status === "live" && shown(second) === "n1");
  },

  async robbedWhileItLists() {
    const store = await opened();
    let answer;
    server.lists = () => new Promise((resolve) => void (answer = resolve));
    // Something was missed.
    server.stream.say(told("notification.new", {}, "e:2"));
    await until(() => answer);
    const { held } = await navigator.locks.query();
    server.lists = async () => {};
    navigator.locks.request(held[0].name, { steal: true }, () => sleep(60_000)).catch(() => {});
    await sleep(50);
    const before = server.streams.length;
    answer();
    await sleep(500);
    assert.equal(server.streams.length, before, "it has a stream that is another's to have");
  },

  async frozenAsItJoins() {
    let lists = 0;
    server.lists = async () => void lists++;
    // Nobody who has the stream answers, and the lock is another's.
    navigator.locks.request(`synkrone-inbox/1 http://server.test/  ${identity}`, () => sleep(60_000)).catch(() => {});
    const store = createInbox({ url: "http://server.test/", token: () => tokenOf("42"), fetch: server.fetch });
    await sleep(300);
    document.dispatchEvent(new Event("freeze"));
    await sleep(300);
    assert.equal(lists, 0, "a page that is frozen asks for something");
    document.dispatchEvent(new Event("resume"));
    await sleep(100);
    assert.equal(store.status, "connecting");
  },

  async noChannel() {
    globalThis.BroadcastChannel = class {
      constructor() {
        throw new DOMException("The operation is insecure.", "SecurityError");
      }
    };
    await opened();
  },

  async tokenThatLasts() {
    let number = 0;
    await opened(() => tokenOf("42", { jti: number++ }));
    let asked = 0;
    await opened(() => tokenOf("42", { exp: 1e10 + 0 * asked++ }));
    for (let times = 0; times < 4; times++) {
      const before = server.streams.length;
      server.stream.say(told("session.expiring", {}));
      await until(() => server.streams.length > before);
      await sleep(100);
    }
    await sleep(1_000);
    asked = 0;
    await sleep(2_000);
    // Every 50 to 150 ms, as it is asked for one that is about to expire.
    assert(asked <= 40, `asked ${asked} times`);
  },

  async expiresBeforeTheOther() {
    const soon = Math.floor(Date.now() / 1000) + 2;
    await opened(() => tokenOf("42", { exp: soon + 600 }));
    const token = tokenOf("42", { exp: soon });
    let given = token;
    const store = await opened(() => given);
    await until(() => store.status === "offline");
    assert.equal(store.problem.code, "token_expired");
    given = tokenOf("42", { exp: soon + 600 });
    await until(() => store.status === "live");
    assert.equal(server.streams.length, 1);
  },

  async signedOut() {
    let number = 0;
    await opened(() => tokenOf("42", { jti: number++ }));
    let asked = 0;
    const store = await opened(() => (asked++ ? null : tokenOf("42")));
    server.stream.say(told("session.expiring", {}));
    await until(() => store.user === null && shown(store) === "");
  },

  async stoppedAsAnotherSignsIn() {
    let user = "42";
    server.begins = (stream) => stream.say(ready({ user: { id: user, role: "r" } }));
    const store = await opened(() => tokenOf(user));
    let isStopped = false;
    store.subscribe(() => {
      if (store.user !== null || isStopped) return;
      isStopped = true;
      store.stop();
    });
    user = "7";
    server.stream.say(told("session.closing", { code: "token_expired", title: "Expired.", reconnect: true }));
    server.stream.end();
    await until(() => isStopped);
    await sleep(200);
    assert.deepEqual((await navigator.locks.query()).held, []);
  },

  async viewListedBeforeReplay() {
    const store = await opened(undefined, { shareStream: false });
    server.asOf = "f:3";
    server.begins = (stream) => stream.say(ready());
    server.stream.end();
    await until(() => server.streams.length === 2 && store.status === "live");
    const view = store.view({ state: "unread" });
    await until(() => view.getSnapshot().isListed);
    server.stream.say(told("notification.new", item("n1"), "e:2") + told("notification.deleted", { ids: ["n1"] }, "f:3"));
    server.stream.say(told("notification.new", item("n2"), "f:4"));
    await until(() => shown(store) === "n2,n0");
    assert.equal(shown(view.getSnapshot()), "n2,n0");
  },

  async brokenMessages() {
    const stores = [await opened(), await opened()];
    const broken = [];
    process.on("uncaughtException", (error) => broken.push(error.message));
    const { held } = await navigator.locks.query();
    const channel = new BroadcastChannel(held[0].name);
    for (const message of [null, undefined, { events: [] }, { events: 5 }, { events: [null] }]) channel.postMessage(message);
    await sleep(1_000);
    assert.deepEqual(broken, []);
    for (const { status } of stores) assert.equal(status, "live");
  },
};

await CASES[which]();
process.exit();
