// A store over a socket, whose line is a module of its own, before that is there. argv: the path of the module that pages
// load. It fails where anything is not as it has to be.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { readdir, rename } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , module] = process.argv;
const folder = dirname(module);
const name = (await readdir(folder)).find((each) => each.startsWith("synkrone-inbox-socket-line-"));
const take = () => rename(join(folder, name), join(folder, "taken"));
const giveBack = () => rename(join(folder, "taken"), join(folder, name));

const COUNTS = { unread: 1, unseen: 1, total: 1 };
const READY = { user: { id: "42", role: "freelance" }, recovered: false, counts: COUNTS, server_time: "rubbish" };
const LIST = { ok: true, items: [], next: null, counts: COUNTS, as_of: "e:1" };

class Socket extends EventEmitter {
  connected = false;
  active = false;

  connect() {
    this.active = true;
    setImmediate(() => this.connected || this.begin());
  }

  begin() {
    this.connected = this.active = true;
    this.tell("session.ready", READY);
  }

  tell(event, argument) {
    for (const listener of this.listeners(event)) listener(argument);
  }

  emit(event, argument, answer) {
    assert.equal(event, "inbox.list");
    setImmediate(answer, LIST);
  }
}

/** A store that cannot have its line, and its socket; `until` resolves once it shows what is wanted. */
async function beginning() {
  const socket = new Socket();
  const inbox = createInbox({ socket, backoff: { base: 10, max: 20 } });
  const changes = new EventEmitter();
  inbox.subscribe(() => changes.emit("one"));
  const until = async (isWanted) => {
    while (!isWanted(inbox.getSnapshot())) await once(changes, "one", { signal: AbortSignal.timeout(5_000) });
    return inbox.getSnapshot();
  };
  const { problem } = await until(({ status }) => status === "offline");
  assert.deepEqual([problem.code, problem.retryable], ["line_not_loaded", true]);
  return { inbox, socket, until };
}

const listeners = (socket) => socket.eventNames().filter((event) => socket.listenerCount(event));

await take();
const { InboxError, createInbox } = await import(pathToFileURL(module));

const heard = await beginning();
heard.socket.begin();
const unconnected = await beginning();
const left = await beginning();
left.inbox.stop();
const back = await beginning();
back.inbox.stop();
back.inbox.start();
await giveBack();

// Who a socket speaks for is said once, and was said before there was a line to hear it.
assert.deepEqual((await heard.until(({ status }) => status === "live")).user, READY.user);
assert.deepEqual((await unconnected.until(({ status }) => status === "live")).user, READY.user);
assert.deepEqual((await back.until(({ status }) => status === "live")).counts, COUNTS);

assert.deepEqual([left.inbox.status, left.socket.connected, listeners(left.socket)], ["offline", false, []]);
for (const { inbox, socket } of [heard, unconnected, back]) {
  socket.emit = (event, argument, answer) => answer({ ok: false, error: { code: "no", title: "No.", retryable: false } });
  await assert.rejects(inbox.read(["a"]), (error) => error instanceof InboxError && error.code === "no");
  inbox.stop();
  assert.deepEqual(listeners(socket), []);
}
