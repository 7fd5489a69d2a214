// What the inbox store knows, without its I/O: in whatever order it comes, in the end it shows what the server has.
//
// A server of one user's log, whose events, answers and lists reach the store late, and as each transport orders them:
// over a socket in one order, over the stream from the list on, or from a tab that hears them while another lists. argv: the path of the source, and how many runs. It fails with the run that went
// wrong.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";

const [, , module, runs] = process.argv;
const { reduce, present, EMPTY } = await import(pathToFileURL(module));

const FIELDS = { read: ["read_at", "seen_at"], seen: ["seen_at"], archive: ["archived_at"] };
const CLEARS = { unread: "read_at", unarchive: "archived_at" };
const DECIDES = { delete: "isDeleted", snooze: "snoozed_until" };
const KINDS = ["socket", "stream", "beside"];
const ACTIONS = ["read", "unread", "seen", "archive", "unarchive", "delete", "snooze", "unsnooze"];
/** What can be done to what is snoozed. */
const OF_SNOOZED = ["delete", "snooze", "unsnooze"];
const FILTERS = [{}, { state: "snoozed" }];
const NEW = { read_at: null, seen_at: null, archived_at: null };

function randomOf(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
    return ((state ^ (state >>> 12)) >>> 0) % below;
  };
}

const listedOf = ({ isDeleted, isRecalled, isReplaced, place, ...content }) => content;
const contentOf = ({ snoozed_until, ...item }) => listedOf(item);
const timeOf = (random) => `2030-01-0${1 + random(3)}T08:00:00.000Z`;

class Server {
  log = [];
  items = [];
  clock = 0;

  /** Each event of the log with its cursor, as it comes to a client. */
  at(place) {
    return structuredClone({ ...this.log[place], cursor: `epoch:${place + 1}` });
  }

  publish() {
    const item = { id: `n${this.items.length}`, read_at: null, seen_at: null, archived_at: null };
    this.items.push({ ...item, place: this.log.length });
    this.log.push({ name: "notification.new", argument: item });
  }

  /** In the place of those before it. Which of the two a client is told depends on what it was told before. */
  collapse(key, isRevised) {
    const earlier = this.items.filter(({ collapse_key: other }) => other === key);
    for (const item of earlier) item.isDeleted = item.isReplaced = true;
    const item = { id: `n${this.items.length}`, collapse_key: key, read_at: null, seen_at: null, archived_at: null };
    this.items.push({ ...item, place: this.log.length });
    this.log.push({ name: isRevised ? "notification.revised" : "notification.new", argument: item });
  }

  /** What was put off comes back: at the top, and as if nothing had been done to it. */
  due(number) {
    const item = this.items[number];
    if (!item?.snoozed_until || item.isDeleted) return;
    delete item.snoozed_until;
    Object.assign(item, NEW, { place: this.log.length });
    this.log.push({ name: "notification.new", argument: contentOf(item) });
  }

  /** By a backend. Who has deleted it is told nothing. */
  revise(number) {
    const item = this.items[number];
    if (!item || item.isDeleted) return;
    item.title = `t${this.clock++}`;
    item.revised_at = item.title;
    const content = { ...contentOf(item), ...NEW };
    this.log.push({ name: "notification.revised", argument: content });
  }

  recall(number) {
    const item = this.items[number];
    if (!item || item.isRecalled) return;
    item.isDeleted = item.isRecalled = true;
    const key = item.isReplaced ? {} : { collapse_key: item.collapse_key };
    this.log.push({ name: "notification.deleted", argument: { ids: [item.id], by: "publisher", ...key } });
  }

  do(action, ids, until = null) {
    const time = `t${this.clock++}`;
    if (action === "read_all") {
      for (const item of this.items) if (!item.snoozed_until) for (const name of FIELDS.read) item[name] ??= time;
      const change = { read_at: time, seen_at: time };
      this.log.push({ name: "notification.updated", argument: { all: true, change } });
      return;
    }
    if (action === "unsnooze") {
      for (const id of ids) this.due(this.items.findIndex((item) => item.id === id));
      return;
    }
    const can = (item) => !item.isDeleted && (!item.snoozed_until || OF_SNOOZED.includes(action));
    const known = this.items.filter((item) => ids.includes(item.id) && can(item));
    const changed = [];
    const change = {};
    if (action in CLEARS) change[CLEARS[action]] = null;
    for (const name of FIELDS[action] ?? []) change[name] = time;
    if (action === "snooze") change.snoozed_until = until;
    for (const item of known) {
      const decides = DECIDES[action] ?? CLEARS[action] ?? FIELDS[action][0];
      const isAsked = action === "snooze" ? item.snoozed_until === until : Boolean(item[decides]) === !(action in CLEARS);
      if (isAsked) continue;
      changed.push(item.id);
      if (action in DECIDES) item[decides] = action === "snooze" ? until : true;
      else for (const name of Object.keys(change)) item[name] = change[name] && (item[name] ?? change[name]);
    }
    if (!changed.length) return;
    if (action === "delete") this.log.push({ name: "notification.deleted", argument: { ids: changed } });
    else this.log.push({ name: "notification.updated", argument: { ids: changed, change } });
  }

  list(before, limit, { state }) {
    const isIn = (item) => (state === "snoozed" ? item.snoozed_until : !item.snoozed_until && !item.archived_at);
    const shown = this.items
      .filter((item) => !item.isDeleted && isIn(item) && item.place < before)
      .sort((one, other) => other.place - one.place);
    const listed = shown.slice(0, limit);
    const next = shown.length <= limit ? null : String(listed.at(-1).place);
    return { items: listed.map(listedOf), next, asOf: this.log.length, as_of: `epoch:${this.log.length}` };
  }
}

/**
 * The store, and what is on its way to it. Over a `socket` an answer comes between the events before it and those after;
 * over the `stream` nothing is heard while it lists; `beside` it, events of before the list come after it, too.
 */
class Client {
  heard = 0;
  queue = [];
  keys = 0;
  sent = null;
  listing = null;
  page = null;
  isAway = true;

  constructor(server, kind, random, filter) {
    Object.assign(this, { server, random, filter, inOrder: kind === "socket", isBeside: kind === "beside" });
    this.state = { ...EMPTY, filter };
  }

  dispatch(action) {
    this.state = reduce(this.state, structuredClone(action));
  }

  act(action, ids, until = timeOf(this.random)) {
    const key = this.keys++;
    this.queue.push({ key, action, ids, until });
    const operation = { key, action, ids: new Set(ids), unsettled: new Set(ids), at: `local${key}` };
    if (action === "snooze") operation.until = until;
    this.dispatch({ type: "done", operation: { ...operation, isSent: false, isAnswered: false, isDoubtful: false } });
  }

  get isLive() {
    return !this.isAway && this.listing === null && this.state.isListed;
  }

  hear(upTo) {
    for (; this.heard < upTo; this.heard++) {
      const event = this.server.at(this.heard);
      this.listing?.recorded?.push(event);
      if (this.state.isListed) this.dispatch({ type: "events", events: [event] });
    }
  }

  send() {
    if (this.sent || !this.isLive || !this.queue.length) return;
    const [asked] = this.queue;
    this.dispatch({ type: "sent", keys: [asked.key] });
    this.sent = { ...asked, answeredAt: null };
  }

  commit() {
    if (!this.sent || this.sent.answeredAt !== null) return;
    this.server.do(this.sent.action, this.sent.ids, this.sent.until);
    this.sent.answeredAt = this.server.log.length;
  }

  answer() {
    if (!this.sent || this.sent.answeredAt === null) return;
    if (this.inOrder) this.hear(this.sent.answeredAt);
    this.dispatch({ type: "answered", keys: [this.sent.key] });
    this.sent = null;
    this.queue.shift();
  }

  /** Before anything was done. */
  refuse() {
    if (!this.sent || this.sent.answeredAt !== null) return;
    this.dispatch({ type: "refused", keys: [this.sent.key] });
    this.sent = null;
    this.queue.shift();
  }

  /** What was asked for is done or not, and nobody knows. */
  cut() {
    if (this.sent && this.random(2)) this.commit();
    this.sent = null;
    this.listing = null;
    if (this.page) this.dispatch({ type: "unpaged" });
    this.page = null;
    this.isAway = true;
  }

  comeBack() {
    if (!this.isAway) return;
    this.isAway = false;
    if (!this.state.isListed || this.random(2) === 0) this.list();
  }

  /** Over the stream nothing is heard meanwhile, and it goes on from the list. */
  list() {
    if (this.isAway || this.listing) return;
    this.listing = { pages: [], recorded: this.isBeside ? [] : null };
    this.wanted = Math.max(3, this.state.base.size);
  }

  listSome() {
    if (!this.listing) return;
    const { pages } = this.listing;
    const last = pages.at(-1);
    const page = this.server.list(last ? Number(last.next) : Infinity, 1 + this.random(4), this.filter);
    if (this.inOrder) this.hear(page.asOf);
    pages.push(page);
    if (this.inOrder) this.listing.recorded ??= [];
    const number = pages.reduce((sum, { items }) => sum + items.length, 0);
    if (page.next !== null && number < this.wanted) return;
    if (!this.inOrder && !this.isBeside) this.heard = pages[0].asOf;
    this.dispatch({ type: "listed", pages, recorded: this.listing.recorded ?? [] });
    if (this.page) this.page.isOld = true;
    this.listing = null;
  }

  askMore() {
    if (this.page || !this.isLive || this.state.next === null) return;
    this.dispatch({ type: "paging" });
    this.page = { before: Number(this.state.next), answer: null };
  }

  readMore() {
    if (this.page) this.page.answer ??= this.server.list(this.page.before, 1 + this.random(4), this.filter);
  }

  getMore() {
    if (!this.page?.answer) return;
    const { answer, isOld } = this.page;
    if (this.inOrder) this.hear(answer.asOf);
    if (!isOld && this.state.recorded !== null) this.dispatch({ type: "paged", page: answer });
    this.page = null;
  }

  hearSome() {
    if (this.isAway || (this.listing && !this.inOrder && !this.isBeside)) return;
    this.hear(Math.min(this.server.log.length, this.heard + 1 + this.random(3)));
  }

  quiet() {
    this.comeBack();
    for (let round = 0; round < 1000; round++) {
      this.listSome();
      this.send();
      this.commit();
      this.answer();
      this.readMore();
      this.getMore();
      if (!this.listing) this.hear(this.server.log.length);
      if (this.state.isStale) this.list();
      const isDone = !this.listing && !this.queue.length && !this.state.isStale && !this.page;
      if (isDone && this.state.next === null) return;
      if (isDone) this.askMore();
    }
    assert.fail("it does not come to rest");
  }
}

function run(seed, filter) {
  const random = randomOf(seed);
  const server = new Server();
  for (let number = random(8); number > 0; number--) server.publish();
  const client = new Client(server, KINDS[random(3)], random, filter);
  const some = () => {
    const ids = server.items.map(({ id }) => id).filter(() => random(3) === 0);
    return ids.length ? ids.slice(0, 3) : ["n0"];
  };
  const steps = [
    () => server.publish(),
    () => server.collapse(["j", "k"][random(2)], random(2) === 0),
    () => server.do(ACTIONS[random(ACTIONS.length)], some(), timeOf(random)),
    () => server.do("snooze", some(), timeOf(random)),
    () => server.do("read_all"),
    () => server.revise(random(server.items.length + 1)),
    () => random(3) || server.recall(random(server.items.length + 1)),
    () => server.due(random(server.items.length + 1)),
    () => client.act(ACTIONS[random(ACTIONS.length)], some()),
    () => client.act(ACTIONS[random(2)], some()),
    () => client.send(),
    () => client.commit(),
    () => client.answer(),
    () => random(4) || client.refuse(),
    () => random(4) || client.cut(),
    () => client.comeBack(),
    () => random(4) || client.list(),
    () => client.listSome(),
    () => client.askMore(),
    () => client.readMore(),
    () => client.getMore(),
    () => client.hearSome(),
    () => client.hearSome(),
  ];
  for (let round = 0; round < 3; round++) {
    for (let step = 0; step < 60; step++) steps[random(steps.length)]();
    client.quiet();
    const why = `run ${seed} of ${JSON.stringify(filter)}, round ${round}`;
    assert.deepEqual([...present(client.state)], server.list(Infinity, Infinity, filter).items, why);
    assert.deepEqual(client.state.operations, [], why);
  }
}

/** Where nobody else acts, what the user did shows from then on, whatever comes when. */
function runAlone(seed) {
  const random = randomOf(seed);
  const server = new Server();
  for (let number = random(8); number > 0; number--) server.publish();
  const client = new Client(server, KINDS[random(3)], random, {});
  client.quiet();
  const done = new Map();
  const act = () => {
    const ids = [...client.state.base.keys()].filter(() => random(2) === 0).slice(0, 3);
    if (!ids.length) return;
    // What comes back is new, whatever was done to it.
    const action = ACTIONS[random(ACTIONS.indexOf("unsnooze"))];
    client.act(action, ids);
    for (const id of ids) {
      const as = { ...(done.get(id) ?? { read: false, seen: false, archived: false, deleted: false }) };
      if (action in DECIDES) as.deleted = true;
      else if (action in CLEARS) as[CLEARS[action].slice(0, -3)] = false;
      else for (const name of FIELDS[action]) as[name.slice(0, -3)] = true;
      done.set(id, as);
    }
  };
  const steps = [
    () => random(4) || server.publish(),
    act,
    () => client.send(),
    () => client.commit(),
    () => client.answer(),
    () => client.hearSome(),
  ];
  for (let step = 0; step < 100; step++) {
    steps[random(steps.length)]();
    const shown = new Map([...present(client.state)].map((item) => [item.id, item]));
    for (const [id, { read, seen, archived, deleted }] of done) {
      const why = `run ${seed} alone, step ${step}: ${id}`;
      assert.equal(shown.has(id), !archived && !deleted, why);
      const { read_at, seen_at } = shown.get(id) ?? {};
      if (shown.has(id)) assert.deepEqual([read_at !== null, seen_at !== null], [read, seen], why);
    }
  }
}

/** So it does in the list of what is snoozed. */
function runAloneOnSnoozed(seed) {
  const random = randomOf(seed);
  const server = new Server();
  for (let number = random(8); number > 0; number--) server.publish();
  for (const { id } of server.items) if (random(4)) server.do("snooze", [id], timeOf(random));
  const client = new Client(server, KINDS[random(3)], random, { state: "snoozed" });
  client.quiet();
  const done = new Map([...present(client.state)].map(({ id, snoozed_until: until }) => [id, until]));
  const act = () => {
    const ids = [...done].filter(([, until]) => until && random(2)).map(([id]) => id);
    const until = timeOf(random);
    const action = ACTIONS[random(ACTIONS.length)];
    if (!ids.length) return;
    client.act(action, ids, until);
    if (OF_SNOOZED.includes(action)) for (const id of ids) done.set(id, action === "snooze" ? until : undefined);
  };
  const steps = [
    () => random(4) || server.publish(),
    () => random(4) || server.do("read_all"),
    act,
    () => client.send(),
    () => client.commit(),
    () => client.answer(),
    () => client.hearSome(),
  ];
  for (let step = 0; step < 100; step++) {
    steps[random(steps.length)]();
    const shown = new Map([...present(client.state)].map((item) => [item.id, item]));
    for (const [id, until] of done) {
      const why = `run ${seed} alone on what is snoozed, step ${step}: ${id}`;
      assert.equal(shown.get(id)?.snoozed_until, until, why);
      assert.equal(shown.get(id)?.read_at ?? null, null, why);
    }
  }
}

for (let seed = 1; seed <= Number(runs); seed++) {
  for (const filter of FILTERS) run(seed, filter);
  runAlone(seed);
  runAloneOnSnoozed(seed);
}
console.log(`${runs} runs`);
