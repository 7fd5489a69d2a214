/**
 * The inbox of one user, kept the same as the server's: listed first, then live, without a user interface.
 *
 * One part knows what an inbox is and does no I/O (`reduce`), one keeps it for the page and carries out what the user
 * does (`Inbox`), and two talk to a server: `StreamLine` by `fetch`, `SocketLine` over a Socket.IO socket of the page.
 *
 * The types of what is exported are in synkrone-inbox.d.ts.
 */

const PAGE_SIZE = 20;
const LIST_MAX = 100;
const IDS_MAX = 500;
const ID_MAX_LENGTH = 128;
const QUEUE_MAX = 100;
const RECORDED_MAX = 1000;
const LIVE_MAX = 1000;
const EVENT_MAX_LENGTH = 4 * 1024 * 1024;
/** Browsers let a page that is being left send 64 KiB, and a character has 3 bytes at most. */
const KEEPALIVE_MAX_LENGTH = 16_000;

const REQUEST_MS = 20_000;
const TOKEN_MS = 30_000;
/** Something comes on a stream every 15 s at least. */
const SILENCE_MS = 40_000;
const TICK_MS = 5_000;
const JUMP_MS = 15_000;
const LIST_PAUSE_MS = 1_000;
const RENEWAL_MS = 500;
/** The server tells changed counts at most once a second. */
const COUNTS_MS = 3_000;
const LONGEST_TIMER_MS = 3_600_000;
const BACKOFF = { base: 2_000, max: 30_000 };
/** Below what a server takes of one client by default. */
const PACE = { burst: 20, perSecond: 10 };

/**
 * @typedef {Record<string, any> & {id: string}} Notification
 * @typedef {{name: string, argument: any}} Happening an event of the log
 * @typedef {{
 *   key: number, action: string, ids: ReadonlySet<string>, unsettled: ReadonlySet<string>, at: string,
 *   isSent: boolean, isAnswered: boolean, isDoubtful: boolean,
 * }} Operation what the user did and the log has not told yet. Of `ids` the `unsettled` are those of which it has not.
 *   `isDoubtful`: it may be told already, by a list.
 * @typedef {{
 *   isListed: boolean, isStale: boolean, base: ReadonlyMap<string, Notification>, next: string | null,
 *   counts: Record<string, number> | null, operations: readonly Operation[], recorded: readonly Happening[] | null,
 *   epoch: number, arrived: number,
 * }} State `base` is what the log tells, the oldest first, archived ones among them. `recorded` are the events that
 *   have come since a page was asked for, while one is. `epoch` counts lists, `arrived` what came since the last one.
 *   `isStale`: something has to be shown that is only known by its id.
 */

/** @type {State} */
const EMPTY = Object.freeze({
  isListed: false,
  isStale: false,
  base: new Map(),
  next: null,
  counts: null,
  operations: Object.freeze([]),
  recorded: null,
  epoch: 0,
  arrived: 0,
});

/** The times that each action sets, or takes away. */
const FIELDS = {
  read: ["read_at", "seen_at"],
  unread: ["read_at"],
  seen: ["seen_at"],
  archive: ["archived_at"],
  unarchive: ["archived_at"],
  delete: [],
};
const IS_TAKEN_AWAY = new Set(["unread", "unarchive"]);

/**
 * The state after something happened.
 *
 * @param {State} state
 * @param {any} action
 * @returns {State}
 */
function reduce(state, action) {
  switch (action.type) {
    case "events":
      return action.events.reduce(told, state);
    case "listed":
      return listed(state, action.pages, action.recorded ?? []);
    case "paging":
      return { ...state, recorded: [] };
    case "paged":
      return paged(state, action.page);
    case "unpaged":
      return { ...state, recorded: null };
    case "counts":
      return isEqual(state.counts, action.counts) ? state : { ...state, counts: Object.freeze({ ...action.counts }) };
    case "expired":
      return expired(state, action.now);
    case "done":
      return { ...state, operations: [...state.operations, action.operation] };
    case "sent":
      // Of what is as asked already nothing may ever be told.
      return settle(
        eachOf(state, action.keys, (operation) => ({ ...operation, isSent: true })),
        ({ key }) => action.keys.includes(key),
      );
    case "answered":
      return settle(eachOf(state, action.keys, (operation) => ({ ...operation, isAnswered: true })));
    case "refused":
      return { ...state, operations: state.operations.filter(({ key }) => !action.keys.includes(key)) };
    case "forgotten":
      return { ...EMPTY, epoch: state.epoch + 1 };
    default:
      throw new TypeError(`no such action: ${action.type}`);
  }
}

function told(state, event) {
  const base = new Map(state.base);
  const { isMissing, isNew } = apply(base, event);
  const recorded = state.recorded && [...state.recorded, event];
  return settle(
    {
      ...state,
      base,
      isStale: state.isStale || isMissing,
      arrived: state.arrived + (isNew ? 1 : 0),
      // Of a page that comes so late nothing is made.
      recorded: recorded && recorded.length > RECORDED_MAX ? null : recorded,
    },
    about(state, event),
  );
}

/** Change what is known of notifications as an event says. An event that is told again changes nothing any more. */
function apply(base, { name, argument }) {
  let isMissing = false;
  if (name === "notification.new") {
    const isNew = !base.has(argument.id);
    if (isNew) base.set(argument.id, deepFreeze(argument));
    return { isMissing, isNew };
  }
  for (const id of argument.all ? [...base.keys()] : argument.ids) {
    const known = base.get(id);
    if (name === "notification.deleted") base.delete(id);
    else if (known) base.set(id, changed(known, argument.change));
    else isMissing ||= argument.change.archived_at === null;
  }
  return { isMissing, isNew: false };
}

/** A time that is set stays, and null takes one away. */
function changed(notification, change) {
  const times = {};
  for (const name of ["read_at", "seen_at", "archived_at"]) {
    if (!(name in change)) continue;
    const time = change[name] === null ? null : (notification[name] ?? change[name]);
    if (time !== notification[name]) times[name] = time;
  }
  return Object.keys(times).length ? Object.freeze({ ...notification, ...times }) : notification;
}

/** Pages of a list take the place of all that was known; events that came since the first of them were recorded. */
function listed(state, pages, recorded) {
  const base = new Map();
  for (const { items } of pages.toReversed()) {
    for (const item of items.toReversed()) base.set(item.id, same(state.base.get(item.id), item));
  }
  let isStale = false;
  for (const event of recorded) isStale = apply(base, event).isMissing || isStale;
  const operations = state.operations
    .filter(({ isAnswered }) => !isAnswered)
    .map((operation) => (operation.isSent ? { ...operation, isDoubtful: true } : operation));
  return {
    ...state,
    base,
    operations,
    isListed: true,
    isStale,
    next: pages.at(-1).next,
    recorded: null,
    epoch: state.epoch + 1,
    arrived: 0,
  };
}

/**
 * What is older than all that is known. The page is as of some moment after the recorded events began: those that it
 * has already change nothing when they are told again.
 */
function paged(state, { items, next }) {
  const base = new Map();
  for (const item of items.toReversed()) base.set(item.id, deepFreeze(item));
  for (const event of state.recorded ?? []) if (event.name !== "notification.new") apply(base, event);
  for (const [id, item] of state.base) base.set(id, item);
  return { ...state, base, next, recorded: null };
}

function expired(state, now) {
  const base = new Map([...state.base].filter(([, { expires_at: at }]) => !at || Date.parse(at) > now));
  return base.size === state.base.size ? state : { ...state, base };
}

function about({ base }, { argument: { all, ids = [] } }) {
  const told = new Set(all ? base.keys() : ids);
  return (_, id) => told.has(id);
}

/**
 * Forget of operations what the log has told by now: that is where a notification is as asked, when this is
 * sent, when an event was about it, or when the answer came. Operations on the same one are told in their order.
 *
 * @param {State} state
 * @param {(operation: Operation, id: string) => boolean} [isTold] of what there was news
 */
function settle(state, isTold = () => false) {
  if (!state.operations.length) return state;
  const blocked = new Set();
  const operations = [];
  for (const operation of state.operations) {
    const unsettled = [...operation.unsettled].filter((id) => {
      if (blocked.has(id)) return true;
      const isNews = operation.isAnswered || (operation.isSent && isTold(operation, id));
      const isSettled = isNews && isDone(operation.action, state.base.get(id));
      if (!isSettled) blocked.add(id);
      return !isSettled;
    });
    const isOver = operation.isAnswered && (operation.isDoubtful || !unsettled.length);
    if (!isOver) operations.push({ ...operation, unsettled: new Set(unsettled) });
  }
  return { ...state, operations };
}

function isDone(action, notification) {
  if (!notification) return true;
  if (action === "delete") return false;
  return FIELDS[action].every((name) => (notification[name] === null) === IS_TAKEN_AWAY.has(action));
}

function eachOf(state, keys, change) {
  const operations = state.operations.map((each) => (keys.includes(each.key) ? change(each) : each));
  return { ...state, operations };
}

/** The notifications as they will be once all that the user did is told, the newest first; null for a deleted one. */
function* present({ base, operations }) {
  const changes = new Map();
  for (const { action, ids, unsettled, isAnswered, at } of operations) {
    for (const id of isAnswered ? unsettled : ids) {
      if (!base.has(id)) continue;
      const before = changes.has(id) ? changes.get(id) : base.get(id);
      if (before === null) continue;
      const change = Object.fromEntries(FIELDS[action].map((name) => [name, IS_TAKEN_AWAY.has(action) ? null : at]));
      changes.set(id, action === "delete" ? null : changed(before, change));
    }
  }
  for (const [id, item] of [...base].toReversed()) {
    const now = changes.has(id) ? changes.get(id) : item;
    if (now !== null && now.archived_at === null) yield now;
  }
}

/** The one that was known where nothing about it is new, so that a page does not draw it again. */
function same(known, item) {
  return known && JSON.stringify(known) === JSON.stringify(item) ? known : deepFreeze(item);
}

function deepFreeze(value) {
  const left = [value];
  while (left.length) {
    const each = left.pop();
    if (typeof each === "object" && each !== null && !Object.isFrozen(each)) {
      Object.freeze(each);
      left.push(...Object.values(each));
    }
  }
  return value;
}

function isEqual(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** A problem, as the server says it or as one of its own: `{code, title, detail?, retryable}`. */
export class InboxError extends Error {
  /**
   * @param {{code: string, title: string, detail?: string, retryable?: boolean}} problem
   * @param {number} [retryAfter] milliseconds after which to try again, at the earliest
   */
  constructor(problem, retryAfter = 0) {
    super(problem.detail ? `${problem.title} (${problem.detail})` : problem.title);
    this.name = "InboxError";
    const { code, title, detail, retryable = false } = problem;
    this.problem = Object.freeze({ code, title, ...(detail === undefined ? {} : { detail }), retryable });
    this.code = code;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
    /** Of the answer that said so, over HTTP. */
    this.status = 0;
  }
}

const problem = (code, title, retryable) => ({ code, title, retryable });
const LOST = problem("connection_lost", "The connection to the server was lost.", true);
const GARBAGE = problem("not_understood", "What the server sent cannot be understood.", true);
const STOPPED = problem("stopped", "The inbox was stopped.", false);
const CHANGED_USER = problem("user_changed", "Another user is signed in.", false);
const QUEUE_FULL = problem("queue_full", "Too much waits to be sent to the server.", true);
const NOT_LIVE = problem("not_live", "The server cannot be asked at the moment.", true);
const NO_TOKEN = problem("no_token", "Nobody is signed in.", false);
const NO_TOKEN_NOW = problem("token_failed", "No token could be had.", true);
const NOT_RECOVERED = problem("not_recovered", "The server cannot continue from the list it just gave.", true);

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isIds = (value) => Array.isArray(value) && value.every((id) => typeof id === "string");
const isCounts = (value) => isObject(value) && Object.values(value).every(Number.isFinite);
const isNotification = (value) => isObject(value) && typeof value.id === "string" && value.id !== "";
const isPage = (value) =>
  isObject(value) &&
  Array.isArray(value.items) &&
  value.items.every(isNotification) &&
  (value.next === null || typeof value.next === "string") &&
  isCounts(value.counts) &&
  typeof value.as_of === "string";

const UNDERSTOOD = {
  "session.ready": (value) =>
    isObject(value) && isObject(value.user) && typeof value.user.id === "string" && isCounts(value.counts),
  "session.closing": (value) => isObject(value) && typeof value.code === "string" && typeof value.title === "string",
  "session.expiring": isObject,
  "inbox.counts": isCounts,
  "notification.new": isNotification,
  "notification.updated": (value) =>
    isObject(value) && isObject(value.change) && (value.all === true || isIds(value.ids)),
  "notification.deleted": (value) => isObject(value) && isIds(value.ids),
};
const isChanged = (value) => isObject(value) && Number.isInteger(value.changed) && isCounts(value.counts);
const EVENTS = Object.keys(UNDERSTOOD);
const isOfLog = (name) => name.startsWith("notification.");

/** Raises InboxError for what is none of an event that is known. */
function checked(name, argument) {
  if (!UNDERSTOOD[name](argument)) throw new InboxError({ ...GARBAGE, detail: name });
  return argument;
}

/** @param {any} page the answer to `inbox.list` */
function checkedPage(page) {
  if (!isPage(page)) throw new InboxError({ ...GARBAGE, detail: "inbox.list" });
  return page;
}

/** What a server's problem becomes. */
function refusal(told, retryAfter) {
  const isProblem = isObject(told) && typeof told.code === "string" && typeof told.title === "string";
  return new InboxError(isProblem ? told : LOST, retryAfter);
}

/**
 * Keep the inbox of whoever the token, or the socket, speaks for.
 *
 * @param {any} options
 */
export function createInbox(options) {
  const inbox = new Inbox(options);
  return Object.freeze({
    get items() {
      return inbox.snapshot.items;
    },
    get counts() {
      return inbox.snapshot.counts;
    },
    get status() {
      return inbox.snapshot.status;
    },
    get problem() {
      return inbox.snapshot.problem;
    },
    get hasMore() {
      return inbox.snapshot.hasMore;
    },
    get user() {
      return inbox.snapshot.user;
    },
    getSnapshot: () => inbox.snapshot,
    subscribe: (listener) => inbox.subscribe(listener),
    start: () => inbox.start(),
    stop: () => inbox.stop(),
    loadMore: () => inbox.loadMore(),
    read: (ids) => inbox.mark("read", ids),
    unread: (ids) => inbox.mark("unread", ids),
    seen: (ids) => inbox.mark("seen", ids),
    archive: (ids) => inbox.mark("archive", ids),
    unarchive: (ids) => inbox.mark("unarchive", ids),
    delete: (ids) => inbox.mark("delete", ids),
    readAll: () => inbox.readAll(),
  });
}

class Inbox {
  #state = EMPTY;
  #shown = new Map();
  #status = "offline";
  #problem = null;
  #user = null;
  #snapshot;
  #isOutdated = true;
  #listeners = new Set();
  #isTelling = false;
  #told;
  #line;
  #isRunning = false;
  #cursor = null;
  #clockOffset = 0;
  #expiry;
  #countsTold = null;
  #countsTimer;
  #queue = [];
  #keys = 0;
  #isWorking = false;
  #allowance = { left: PACE.burst, at: 0 };
  #more = null;
  #wanted = 0;

  constructor(options) {
    if (!isObject(options)) throw new TypeError("createInbox() needs options");
    const { url, token, socket, pageSize = PAGE_SIZE } = options;
    if (!socket && (!url || typeof token !== "function")) {
      throw new TypeError("createInbox() needs a url and a token function, or a socket");
    }
    if (token !== undefined && typeof token !== "function") throw new TypeError("token must be a function");
    if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > LIST_MAX) {
      throw new RangeError(`pageSize must be a whole number from 1 to ${LIST_MAX}`);
    }
    this.pageSize = pageSize;
    this.backoff = { ...BACKOFF, ...options.backoff };
    this.#line = socket ? new SocketLine(this, options) : new StreamLine(this, options);
    if (options.start !== false) this.start();
    this.#told = this.snapshot;
  }

  // for the page

  get snapshot() {
    if (this.#isOutdated) {
      this.#isOutdated = false;
      const before = this.#snapshot;
      let items = [...this.#presented()];
      if (before && items.length === before.items.length && items.every((each, at) => each === before.items[at])) {
        items = before.items;
      }
      const snapshot = {
        items: Object.freeze(items),
        counts: this.#state.counts,
        status: this.#status,
        problem: this.#problem,
        hasMore: this.#state.next !== null,
        user: this.#user,
      };
      const isSame = before && Object.keys(snapshot).every((name) => before[name] === snapshot[name]);
      if (!isSame) this.#snapshot = Object.freeze(snapshot);
    }
    return this.#snapshot;
  }

  /** A notification that came to be what it was before, by whatever way, is the same object. */
  *#presented() {
    const kept = new Map();
    for (const item of present(this.#state)) {
      const before = this.#shown.get(item.id);
      const isKept = before && (before.item === item || isEqual(before.shown, item));
      const shown = isKept ? before.shown : item;
      kept.set(item.id, { item, shown });
      yield shown;
    }
    this.#shown = kept;
  }

  subscribe(listener) {
    const entry = { listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.setStatus("connecting");
    this.#line.start();
  }

  /** Leave, and forget everything: whoever comes next may be somebody else. */
  stop() {
    this.#isRunning = false;
    this.#line.stop();
    this.forget(STOPPED);
    this.setStatus("offline");
  }

  mark(action, ids) {
    const given = [...new Set(ids)];
    const isId = (id) => typeof id === "string" && id !== "" && id.length <= 2 * ID_MAX_LENGTH;
    if (typeof ids === "string" || !given.every(isId)) throw new TypeError("ids must be a list of notifications' ids");
    const parts = [];
    for (let at = 0; at < given.length; at += IDS_MAX) parts.push(given.slice(at, at + IDS_MAX));
    const answers = parts.map((part) => this.#do(action, part, action));
    return quiet(Promise.all(answers).then((all) => ({ changed: all.reduce((sum, each) => sum + each.changed, 0) })));
  }

  /** Of all that has come to this store, which is what its user can have looked at. */
  readAll() {
    if (!this.#state.isListed) return Promise.resolve({ changed: 0 });
    const unread = [...present(this.#state)].filter((item) => item.read_at === null).map(({ id }) => id);
    return this.#do("read", unread, "read_all");
  }

  loadMore() {
    this.#more ??= this.#loadMore().finally(() => {
      this.#more = null;
    });
    return quiet(this.#more);
  }

  async #loadMore() {
    // A list that comes in between makes nothing of the page that was asked for.
    for (let attempt = 0; attempt < 3 && this.#state.next !== null; attempt++) {
      if (this.#status !== "live") throw new InboxError(NOT_LIVE);
      const { epoch, next } = this.#state;
      this.dispatch({ type: "paging" });
      try {
        const page = checkedPage(await this.#line.ask("inbox.list", { limit: this.pageSize, page: next }));
        if (this.#state.epoch !== epoch || this.#state.recorded === null) continue;
        this.dispatch({ type: "paged", page });
        this.#wanted = this.#state.base.size;
        return;
      } catch (error) {
        if (this.#state.epoch === epoch) this.dispatch({ type: "unpaged" });
        throw error;
      }
    }
  }

  // what the user does

  #do(action, ids, event) {
    if (!this.#isRunning) return quiet(Promise.reject(new InboxError(STOPPED)));
    if (this.#queue.length >= QUEUE_MAX) return quiet(Promise.reject(new InboxError(QUEUE_FULL)));
    if (!ids.length && event !== "read_all") return Promise.resolve({ changed: 0 });
    const key = this.#keys++;
    const operation = {
      key,
      action,
      ids: new Set(ids),
      unsettled: new Set(ids),
      at: new Date(this.now()).toISOString(),
      isSent: false,
      isAnswered: false,
      isDoubtful: false,
    };
    const answer = new Promise((resolve, reject) => {
      this.#queue.push({ key, event, ids, upTo: event === "read_all" ? this.#cursor : null, resolve, reject });
    });
    this.dispatch({ type: "done", operation });
    this.work();
    return quiet(answer);
  }

  /** Send what waits, one after the other, as long as there is somebody to send it to. */
  async work() {
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      await this.#carryOut();
    } finally {
      this.#isWorking = false;
    }
  }

  async #carryOut() {
    for (let failures = 0; this.#queue.length && this.#status === "live"; ) {
      const wait = this.#overdrawn();
      if (wait > 0) {
        await pause(wait);
        continue;
      }
      const batch = this.#batch();
      const keys = batch.map(({ key }) => key);
      this.dispatch({ type: "sent", keys });
      try {
        const answer = await this.#line.ask(`notification.${batch[0].event}`, argumentOf(batch));
        if (!isChanged(answer)) throw new InboxError({ ...GARBAGE, detail: batch[0].event });
        if (this.#settled(batch)) this.#answered(batch, answer);
        failures = 0;
      } catch (error) {
        if (!(error instanceof InboxError)) throw error;
        if (this.#queue[0] !== batch[0]) continue;
        if (error.retryable) {
          if (this.#status === "live") await pause(error.retryAfter + this.delay(failures++));
        } else if (this.#settled(batch)) {
          this.dispatch({ type: "refused", keys });
          for (const { reject } of batch) reject(error);
        }
      }
    }
  }

  /** What comes first, and what can be asked for in the same request. */
  #batch() {
    const [first] = this.#queue;
    const ids = new Set(first.ids);
    let number = 1;
    for (; number < this.#queue.length && first.event !== "read_all"; number++) {
      const next = this.#queue[number];
      for (const id of next.ids) ids.add(id);
      if (next.event !== first.event || ids.size > IDS_MAX) break;
    }
    return this.#queue.slice(0, number);
  }

  /** Take from the queue what was answered; false where it is not there any more. */
  #settled(batch) {
    if (this.#queue[0] !== batch[0]) return false;
    this.#queue.splice(0, batch.length);
    return true;
  }

  #answered(batch, { changed: number, counts }) {
    this.dispatch({ type: "answered", keys: batch.map(({ key }) => key) });
    this.countsOfAnswer(counts);
    for (const { resolve } of batch) resolve({ changed: number });
  }

  #overdrawn() {
    const now = performance.now();
    const left = Math.min(PACE.burst, this.#allowance.left + ((now - this.#allowance.at) * PACE.perSecond) / 1000);
    this.#allowance = { left: left < 1 ? left : left - 1, at: now };
    return left < 1 ? ((1 - left) * 1000) / PACE.perSecond : 0;
  }

  // for a line

  get cursor() {
    return this.#cursor;
  }

  get user() {
    return this.#user;
  }

  get isListed() {
    return this.#state.isListed;
  }

  get isStale() {
    return this.#state.isStale;
  }

  /** How many a list has to bring, so that nothing that the page has loaded goes away. */
  get wanted() {
    const { base, arrived } = this.#state;
    return Math.max(this.pageSize, arrived > LIVE_MAX ? this.#wanted : base.size);
  }

  /** Milliseconds since 1970 on the server's clock. */
  now() {
    return Date.now() + this.#clockOffset;
  }

  /** Milliseconds to wait after so many failures: full jitter. */
  delay(failures) {
    return Math.random() * Math.min(this.backoff.max, this.backoff.base * 2 ** failures);
  }

  setStatus(status, why = null) {
    if (status === this.#status && isEqual(why, this.#problem)) return;
    this.#status = status;
    this.#problem = why;
    this.#outdate();
    if (status === "live") this.work();
  }

  /**
   * Somebody is connected. True where it is who it was, or the first; else everything of the other was forgotten.
   */
  identified({ user, counts, server_time: time }) {
    const isOther = this.#user !== null && (this.#user.id !== user.id || this.#user.role !== user.role);
    if (isOther) this.forget(CHANGED_USER);
    else this.#user ??= Object.freeze({ ...user });
    this.#outdate();
    const offset = Date.parse(time) - Date.now();
    this.#clockOffset = Number.isFinite(offset) ? offset : 0;
    this.#watchExpiry();
    if (!isOther) this.countsTold(counts);
    return !isOther;
  }

  /** Nothing of this user is shown, or sent, from now on. */
  forget(why) {
    this.#user = null;
    this.#cursor = null;
    this.#countsTold = null;
    this.#wanted = 0;
    clearTimeout(this.#countsTimer);
    for (const { reject } of this.#queue.splice(0)) reject(new InboxError(why));
    this.#shown.clear();
    this.dispatch({ type: "forgotten" });
    if (this.#status === "live") this.setStatus("connecting");
  }

  /** Events of the log, in their order, each `{name, argument, cursor}`. */
  happened(events) {
    if (!events.length) return;
    for (const { name, argument } of events) checked(name, argument);
    this.#cursor = events.at(-1).cursor ?? this.#cursor;
    this.dispatch({ type: "events", events: events.map(({ name, argument }) => ({ name, argument })) });
    if (this.#state.isStale || this.#state.arrived > LIVE_MAX) this.#line.relist();
  }

  /** All pages of a list, the newest first, and the events that came since the first of them, if any did. */
  wasListed(pages, recorded = []) {
    this.#cursor = recorded.at(-1)?.cursor ?? pages[0].as_of;
    this.dispatch({ type: "listed", pages, recorded });
    this.#wanted = this.#state.base.size;
    this.countsOfAnswer(pages[0].counts);
    if (this.#state.isStale) this.#line.relist();
  }

  countsTold(counts) {
    clearTimeout(this.#countsTimer);
    this.#countsTold = counts;
    this.dispatch({ type: "counts", counts });
  }

  /**
   * Counts in an answer may be older than those that were told on the way, and none are told where they go back to what
   * was told last: they stand until the server must have told others.
   */
  countsOfAnswer(counts) {
    clearTimeout(this.#countsTimer);
    this.dispatch({ type: "counts", counts });
    if (this.#countsTold === null) return;
    this.#countsTimer = setTimeout(() => this.dispatch({ type: "counts", counts: this.#countsTold }), COUNTS_MS);
  }

  dispatch(action) {
    const before = this.#state;
    this.#state = reduce(before, action);
    if (this.#state !== before) this.#outdate();
    if (this.#state.base !== before.base) this.#watchExpiry();
  }

  #watchExpiry() {
    clearTimeout(this.#expiry);
    let first = Infinity;
    for (const { expires_at: at } of this.#state.base.values()) if (at) first = Math.min(first, Date.parse(at));
    if (first === Infinity) return;
    const wait = Math.min(Math.max(first - this.now(), 0), LONGEST_TIMER_MS);
    this.#expiry = setTimeout(() => {
      this.dispatch({ type: "expired", now: this.now() });
      this.#watchExpiry();
    }, wait);
  }

  #outdate() {
    this.#isOutdated = true;
    if (this.#isTelling) return;
    this.#isTelling = true;
    queueMicrotask(() => {
      this.#isTelling = false;
      const before = this.#told;
      this.#told = this.snapshot;
      if (before === this.#told) return;
      for (const entry of [...this.#listeners]) {
        try {
          if (this.#listeners.has(entry)) entry.listener();
        } catch (error) {
          // One listener's defect is not to keep it from the others.
          if (typeof reportError === "function") reportError(error);
          else console.error(error);
        }
      }
    });
  }
}

/** What was answered may be of no interest to the page: a refusal is no error of its own then. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

function argumentOf(batch) {
  if (batch[0].event === "read_all") return batch[0].upTo === null ? {} : { up_to: batch[0].upTo };
  return { ids: [...new Set(batch.flatMap(({ ids }) => ids))] };
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Raises InboxError where nothing was decided in time. */
function inTime(promise, milliseconds, otherwise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new InboxError(otherwise)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** @returns {Promise<string>} Raises InboxError */
async function askForToken(token) {
  let given;
  try {
    given = await inTime(Promise.resolve().then(token), TOKEN_MS, NO_TOKEN_NOW);
  } catch (error) {
    throw new InboxError({ ...NO_TOKEN_NOW, detail: String(error?.message ?? error) });
  }
  if (typeof given !== "string" || !given) throw new InboxError(NO_TOKEN);
  return given;
}

/** Whether two tokens say that they speak for the same user. Of tokens that cannot be read nothing is known. */
function isOfSameUser(one, other) {
  const [claims, others] = [claimsOf(one), claimsOf(other)];
  return claims?.sub !== undefined && claims.sub === others?.sub && claims.iss === others.iss;
}

function claimsOf(token) {
  try {
    const octets = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(octets, (each) => each.charCodeAt(0))));
    return isObject(claims) ? claims : null;
  } catch {
    return null;
  }
}

/** Call back where a page is looked at again, or the network is there again, or time has jumped as in a sleep. */
class Awakening {
  #ends = [];

  /** @param {(how: "tick" | "woken" | "online") => void} woke "tick" is every few seconds and no awakening */
  constructor(woke) {
    let before = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      const hasJumped = now - before > TICK_MS + JUMP_MS;
      before = now;
      woke(hasJumped ? "woken" : "tick");
    }, TICK_MS);
    this.#ends.push(() => clearInterval(timer));
    this.#listen(globalThis, "online", () => woke("online"));
    this.#listen(globalThis, "pageshow", ({ persisted }) => persisted && woke("online"));
    this.#listen(globalThis.document, "visibilitychange", () => {
      if (globalThis.document.visibilityState !== "hidden") woke("woken");
    });
  }

  #listen(target, name, listener) {
    if (typeof target?.addEventListener !== "function") return;
    target.addEventListener(name, listener);
    this.#ends.push(() => target.removeEventListener(name, listener));
  }

  end() {
    for (const end of this.#ends.splice(0)) end();
  }
}

/** Why a stream is left in good order, and another one opened at once. */
class Again extends Error {}

class StreamLine {
  #inbox;
  #options;
  #root;
  #fetch;
  #run = 0;
  #token = null;
  #lastToken = null;
  #spent = null;
  #refusals = 0;
  #unauthorized = 0;
  #needsList = true;
  #listedAt = -Infinity;
  #wasJustListed = false;
  /** @type {(why?: Error) => void} */
  #leave = () => {};
  #hurry = () => {};
  #heardAt = 0;
  #awakening = null;
  #timers = new Set();

  constructor(inbox, options) {
    this.#inbox = inbox;
    this.#options = options;
    const base = String(options.url);
    this.#root = new URL(base.endsWith("/") ? base : `${base}/`, globalThis.document?.baseURI);
    const own = options.fetch;
    this.#fetch = own ? (input, init) => own(input, init) : (input, init) => globalThis.fetch(input, init);
  }

  start() {
    this.#token = this.#lastToken = this.#spent = null;
    this.#refusals = 0;
    this.#needsList = true;
    this.#awakening = new Awakening((how) => this.#woke(how));
    this.#serve(++this.#run);
  }

  stop() {
    this.#run++;
    this.#awakening?.end();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#leave();
    this.#hurry();
  }

  /** Soon: what is missing is not in what comes. */
  relist() {
    if (this.#needsList) return;
    this.#needsList = true;
    this.#later(this.#listedAt + LIST_PAUSE_MS - performance.now(), () => {
      if (this.#needsList) this.#leave();
    });
  }

  async ask(event, argument) {
    const token = this.#token;
    if (token === null) throw new InboxError(NOT_LIVE);
    const [group, action] = event.split(".");
    try {
      const asked =
        group === "inbox"
          ? this.#json(`v1/inbox?${new URLSearchParams(argument)}`, token)
          : this.#json(`v1/inbox/${action}`, token, JSON.stringify(argument));
      const answer = await asked;
      this.#unauthorized = 0;
      return answer;
    } catch (error) {
      // What is not taken with a fresh token either, for which there was a stream, is not to be asked for.
      if (!(error instanceof InboxError) || error.status !== 401 || ++this.#unauthorized > 1) throw error;
      // The stream, which says who one is, comes first to have another.
      this.#spend(token, error);
      this.#leave();
      throw new InboxError(LOST);
    }
  }

  async #serve(run) {
    for (let failures = 0; run === this.#run; ) {
      const began = performance.now();
      try {
        await this.#connect(run);
      } catch (error) {
        if (run !== this.#run) return;
        if (error instanceof Again) continue;
        const failure = error instanceof InboxError ? error : new InboxError({ ...LOST, detail: String(error) });
        if (!failure.retryable) {
          if (failure.code === NO_TOKEN.code) this.#inbox.forget(NO_TOKEN);
          this.#inbox.setStatus("refused", failure.problem);
          return;
        }
        if (performance.now() - began > this.#inbox.backoff.base * 2 ** failures) failures = 0;
        this.#inbox.setStatus("offline", failure.problem);
        const hurried = await this.#pause(failure.retryAfter + this.#inbox.delay(failures++));
        if (hurried) failures = 0;
      }
    }
  }

  /** List, where that is to be, and stay on the stream until it ends; that it ends is always an error. */
  async #connect(run) {
    const token = await this.#currentToken(run);
    if (this.#needsList) await this.#list(run, token);
    const controller = new AbortController();
    const leave = (why = new Again()) => controller.abort(why);
    this.#leave = leave;
    this.#heardAt = Date.now();
    try {
      // In the address, each cursor would need a preflight of its own.
      const resume = { "Last-Event-ID": this.#inbox.cursor };
      const headers = { Accept: "text/event-stream", Authorization: `Bearer ${token}`, ...resume };
      const device = this.#options.device;
      const path = device ? `v1/stream?${new URLSearchParams({ device })}` : "v1/stream";
      const request = { headers, signal: controller.signal, cache: "no-store" };
      const response = await inTime(this.#fetch(new URL(path, this.#root).href, request), REQUEST_MS, LOST);
      if (!response.ok) throw await failureOf(response);
      if (!/^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "") || !response.body) {
        throw new InboxError({ ...GARBAGE, detail: "no event stream" });
      }
      await this.#follow(run, token, response.body);
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      if (error instanceof InboxError && error.status === 401) throw this.#spend(token, error);
      throw error;
    } finally {
      if (this.#leave === leave) this.#leave = () => {};
      controller.abort();
    }
  }

  #check(run) {
    if (run !== this.#run) throw new Again();
  }

  async #list(run, token) {
    const wanted = this.#inbox.wanted;
    const pages = [];
    try {
      for (let number = 0, page = ""; number < wanted && page !== null; ) {
        const query = { limit: String(Math.min(LIST_MAX, wanted - number)), ...(page && { page }) };
        const answer = checkedPage(await this.#json(`v1/inbox?${new URLSearchParams(query)}`, token));
        this.#check(run);
        pages.push(answer);
        number += answer.items.length;
        page = answer.next;
      }
    } catch (error) {
      if (error instanceof InboxError && error.status === 401) throw this.#spend(token, error);
      throw error;
    }
    this.#needsList = false;
    this.#wasJustListed = true;
    this.#listedAt = performance.now();
    this.#inbox.wasListed(pages);
  }

  async #follow(run, token, body) {
    let isReady = false;
    let closing = null;
    try {
      for await (const events of eventsOf(body, () => (this.#heardAt = Date.now()))) {
        this.#check(run);
        const ofLog = [];
        for (const { name, data, id } of events) {
          if (!EVENTS.includes(name)) continue;
          const argument = checked(name, parsed(name, data));
          if (isReady !== (name !== "session.ready")) throw new InboxError({ ...GARBAGE, detail: name });
          if (isOfLog(name)) {
            ofLog.push({ name, argument, cursor: id });
          } else if (name === "session.ready") {
            this.#ready(argument);
            isReady = true;
          } else if (name === "inbox.counts") {
            this.#inbox.countsTold(argument);
          } else if (name === "session.closing") {
            closing = argument;
          } else {
            // Not at once, or tokens that expire as they come would have no end.
            this.#later(RENEWAL_MS, () => this.#renew(run, token));
          }
        }
        this.#inbox.happened(ofLog);
      }
    } catch (error) {
      // Something was missed.
      if (error.code === GARBAGE.code) this.#needsList = true;
      throw error;
    }
    throw closing === null ? new InboxError(LOST) : this.#closed(closing);
  }

  /** Raises Again where all has to begin anew. */
  #ready(argument) {
    if (!this.#inbox.identified(argument)) {
      this.#needsList = true;
      throw new Again();
    }
    if (!argument.recovered) {
      this.#needsList = true;
      throw this.#wasJustListed ? new InboxError({ ...NOT_RECOVERED, detail: String(argument.reason) }) : new Again();
    }
    this.#wasJustListed = false;
    this.#refusals = 0;
    this.#spent = null;
    this.#inbox.setStatus("live");
  }

  #closed(closing) {
    if (closing.code === "token_expired") this.#token = null;
    return new InboxError({ ...closing, retryable: closing.reconnect !== false }, bounded(closing.retry_after_ms));
  }

  /** A fresh token, and a stream with it, while the old one lasts. */
  async #renew(run, token) {
    let fresh = null;
    try {
      fresh = await askForToken(this.#options.token);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
    }
    if (run !== this.#run || this.#token !== token) return;
    if (fresh === null || fresh === token) {
      this.#later(this.#inbox.backoff.base * (0.5 + Math.random()), () => this.#renew(run, token));
      return;
    }
    this.#present(fresh);
    this.#leave();
  }

  async #currentToken(run) {
    if (this.#token === null) {
      const fresh = await askForToken(this.#options.token);
      // Of who was signed in when it was asked for.
      this.#check(run);
      if (this.#spent !== null && fresh === this.#spent.token) throw this.#spent.error;
      this.#present(fresh);
    }
    return this.#token;
  }

  #present(fresh) {
    const before = this.#lastToken;
    if (before !== null && before !== fresh && !isOfSameUser(before, fresh)) {
      this.#inbox.forget(CHANGED_USER);
      this.#needsList = true;
    }
    this.#token = this.#lastToken = fresh;
  }

  /** The server took the token no more: another is tried at once, but no third. */
  #spend(token, error) {
    if (this.#token !== token) return new Again();
    const isExpired = error.code === "token_expired";
    this.#spent = { token, error: isExpired ? new InboxError({ ...error.problem, retryable: true }) : error };
    this.#token = null;
    return ++this.#refusals > 1 ? this.#spent.error : new Again();
  }

  async #json(path, token, body = undefined) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), REQUEST_MS);
    try {
      const ofBody = body === undefined ? {} : { "Content-Type": "application/json" };
      const response = await this.#fetch(new URL(path, this.#root).href, {
        method: body === undefined ? "GET" : "POST",
        headers: { Authorization: `Bearer ${token}`, ...ofBody },
        body,
        cache: "no-store",
        // What the user did as they left the page is done.
        keepalive: body !== undefined && body.length < KEEPALIVE_MAX_LENGTH,
        signal: controller.signal,
      });
      if (!response.ok) throw await failureOf(response);
      return await response.json();
    } catch (error) {
      if (error instanceof InboxError) throw error;
      throw new InboxError({ ...LOST, detail: String(error?.message ?? error) });
    } finally {
      clearTimeout(timer);
    }
  }

  #woke(how) {
    // Other clocks stand still while a machine sleeps.
    const silence = Date.now() - this.#heardAt;
    if (how === "tick") {
      if (silence > SILENCE_MS) this.#leave(new InboxError(LOST));
      return;
    }
    this.#hurry();
    if (how === "online" || silence > SILENCE_MS / 2) this.#leave();
  }

  /** True where it was cut short. */
  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds, false);
      this.#hurry = () => {
        clearTimeout(timer);
        this.#hurry = () => {};
        resolve(true);
      };
    });
  }

  #later(milliseconds, then) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      then();
    }, Math.max(0, milliseconds));
    this.#timers.add(timer);
  }
}

class SocketLine {
  #inbox;
  #socket;
  #options;
  #run = 0;
  #handlers = {};
  #pending = new Set();
  #isReady = false;
  #isMissing = true;
  #listing = 0;
  #listedAt = -Infinity;
  #recorded = null;
  #closing = null;
  #refusals = 0;
  #failures = 0;
  #lastToken = null;
  #timers = new Map();
  #awakening = null;

  constructor(inbox, options) {
    this.#inbox = inbox;
    this.#socket = options.socket;
    this.#options = options;
  }

  start() {
    const socket = this.#socket;
    this.#handlers = {
      connect_error: (error) => this.#notLetIn(error),
      disconnect: (reason) => this.#disconnected(reason),
    };
    for (const name of EVENTS) {
      this.#handlers[name] = (argument, cursor) => {
        try {
          this.#heard(name, checked(name, argument), cursor);
        } catch (error) {
          if (!(error instanceof InboxError)) throw error;
          // Something was missed.
          this.#isMissing = true;
          this.relist();
        }
      };
    }
    for (const [name, handler] of Object.entries(this.#handlers)) socket.on(name, handler);
    this.#awakening = new Awakening((how) => this.#woke(how));
    this.#isMissing = true;
    if (socket.connected) {
      // Who it is was said before there was anybody to hear it.
      this.#isReady = true;
      this.#list();
    } else if (!socket.active) {
      socket.connect();
    }
  }

  /** The socket is the page's own, and stays as it is. */
  stop() {
    this.#run++;
    for (const [name, handler] of Object.entries(this.#handlers)) this.#socket.off(name, handler);
    this.#handlers = {};
    this.#awakening?.end();
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    this.#left();
  }

  relist() {
    this.#later("list", this.#listedAt + LIST_PAUSE_MS - performance.now(), () => this.#isReady && this.#list());
  }

  /** @param {(answer: any) => void} [answered] called between the events before the answer and those after it */
  ask(event, argument, answered = () => {}) {
    return new Promise((resolve, reject) => {
      if (!this.#isReady) {
        reject(new InboxError(NOT_LIVE));
        return;
      }
      const fail = (error) => {
        clearTimeout(timer);
        this.#pending.delete(fail);
        reject(error);
      };
      const timer = setTimeout(() => fail(new InboxError(LOST)), REQUEST_MS);
      this.#pending.add(fail);
      this.#socket.emit(event, argument, (answer) => {
        if (!this.#pending.has(fail)) return;
        if (answer?.ok !== true) {
          fail(refusal(answer?.error));
          return;
        }
        clearTimeout(timer);
        this.#pending.delete(fail);
        answered(answer);
        resolve(answer);
      });
    });
  }

  #heard(name, argument, cursor) {
    if (name === "session.ready") {
      this.#ready(argument);
    } else if (name === "session.closing") {
      this.#closing = argument;
    } else if (name === "session.expiring") {
      this.#renew();
    } else if (name === "inbox.counts") {
      this.#inbox.countsTold(argument);
    } else if (this.#isReady) {
      // The page's own listeners have the same object, and may change it.
      const event = { name, argument: structuredClone(argument), cursor };
      this.#recorded?.push(event);
      if (!this.#isMissing) this.#inbox.happened([event]);
      if (this.#recorded?.length > RECORDED_MAX) this.#list();
    }
  }

  #ready(argument) {
    this.#closing = null;
    this.#refusals = this.#failures = 0;
    // Of whoever was connected before the store was, it is only known that they are the same where they continue.
    const isUnknown = this.#inbox.user === null && this.#inbox.isListed;
    if (isUnknown && !argument.recovered) this.#inbox.forget(CHANGED_USER);
    const isSame = this.#inbox.identified(argument);
    if (!isSame) this.#inbox.identified(argument);
    this.#isReady = true;
    if (!isSame || !argument.recovered) this.#isMissing = true;
    if (this.#isMissing || this.#inbox.isStale) this.#list();
    else this.#inbox.setStatus("live");
  }

  async #list() {
    const listing = ++this.#listing;
    const wanted = this.#inbox.wanted;
    const pages = [];
    this.#recorded = null;
    const answered = (answer) => {
      if (listing === this.#listing && answer.ok) this.#recorded ??= [];
    };
    try {
      for (let number = 0, page; number < wanted && page !== null; ) {
        const argument = { limit: Math.min(LIST_MAX, wanted - number), ...(page && { page }) };
        const answer = checkedPage(await this.ask("inbox.list", argument, answered));
        if (listing !== this.#listing) return;
        pages.push(answer);
        number += answer.items.length;
        page = answer.next;
      }
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      // Who is not connected any more lists when they are.
      if (listing !== this.#listing || !this.#isReady) return;
      this.#recorded = null;
      if (!error.retryable) this.#inbox.setStatus("refused", error.problem);
      else this.#later("list", error.retryAfter + this.#inbox.delay(this.#failures++), () => this.#list());
      return;
    }
    const recorded = this.#recorded ?? [];
    this.#recorded = null;
    this.#isMissing = false;
    this.#listedAt = performance.now();
    this.#inbox.wasListed(pages, recorded);
    this.#inbox.setStatus("live");
  }

  #left() {
    this.#isReady = false;
    this.#listing++;
    this.#recorded = null;
    for (const fail of [...this.#pending]) fail(new InboxError(LOST));
  }

  #disconnected(reason) {
    this.#left();
    const why = this.#closing === null ? LOST : refusal(this.#closing).problem;
    if (reason === "io client disconnect") {
      // The page has left, perhaps to come back as somebody else.
      this.#isMissing = true;
      this.#inbox.forget(STOPPED);
      this.#inbox.setStatus("offline");
    } else if (this.#closing?.reconnect === false) {
      this.#inbox.setStatus("refused", why);
    } else {
      this.#inbox.setStatus("offline", why);
      if (!this.#socket.active) this.#connectAgain(bounded(this.#closing?.retry_after_ms));
    }
  }

  /** The stock client comes back by itself unless the server has said no. */
  #notLetIn(error) {
    const failure = refusal(error.data);
    const isFirst = failure.code === "invalid_token" && ++this.#refusals === 1;
    if (!this.#socket.active && !failure.retryable && !isFirst) {
      this.#inbox.setStatus("refused", failure.problem);
      return;
    }
    this.#inbox.setStatus("offline", failure.problem);
    if (!this.#socket.active) this.#connectAgain(failure.retryAfter);
  }

  #connectAgain(atLeast) {
    this.#later("connect", atLeast + this.#inbox.delay(this.#failures++), async () => {
      const run = this.#run;
      await this.#takeFreshToken();
      if (run === this.#run && !this.#socket.connected && !this.#socket.active) this.#socket.connect();
    });
  }

  /** Where the socket has a token of its own, and no function that gives one. */
  async #takeFreshToken() {
    if (!this.#options.token) return null;
    const run = this.#run;
    try {
      const fresh = await askForToken(this.#options.token);
      if (run !== this.#run) return null;
      if (this.#lastToken !== null && !isOfSameUser(this.#lastToken, fresh)) {
        this.#inbox.forget(CHANGED_USER);
        this.#isMissing = true;
      }
      this.#lastToken = fresh;
      if (isObject(this.#socket.auth)) this.#socket.auth = { ...this.#socket.auth, token: fresh };
      return fresh;
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      return null;
    }
  }

  async #renew() {
    const [run, before] = [this.#run, this.#lastToken];
    const fresh = await this.#takeFreshToken();
    if (run !== this.#run || !this.#isReady) return;
    if (fresh === null || fresh === before) {
      const soon = this.#inbox.backoff.base * (0.5 + Math.random());
      if (this.#options.token) this.#later("renew", soon, () => this.#renew());
      return;
    }
    try {
      if (before !== null && !isOfSameUser(before, fresh)) throw new InboxError(CHANGED_USER);
      await this.ask("auth.refresh", { token: fresh });
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      // A connection stays its user's: another user needs another one.
      if (["identity_mismatch", CHANGED_USER.code].includes(error.code)) this.#socket.disconnect().connect();
    }
  }

  #woke(how) {
    const socket = this.#socket;
    // While it waits to come back it is made to come at once.
    if (how !== "tick" && !socket.connected && socket.active) socket.disconnect().connect();
  }

  #later(what, milliseconds, then) {
    clearTimeout(this.#timers.get(what));
    const timer = setTimeout(() => {
      this.#timers.delete(what);
      then();
    }, Math.max(0, milliseconds));
    this.#timers.set(what, timer);
  }
}

function parsed(name, data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new InboxError({ ...GARBAGE, detail: name });
  }
}

/** What an answer that is none says: only the server's own word is final, and not a proxy's. */
async function failureOf(response) {
  let told = null;
  try {
    told = await response.json();
  } catch {
    // Somebody else's page.
  }
  const failure = refusal(told, retryAfterOf(response.headers.get("Retry-After")));
  const isOfServer = failure.code !== LOST.code;
  const isPassing = response.status >= 500 || response.status === 429 || response.status === 408;
  const retryable = !isOfServer || isPassing || failure.retryable;
  const error = new InboxError({ ...failure.problem, retryable }, failure.retryAfter);
  error.status = response.status;
  return error;
}

function retryAfterOf(value) {
  if (!value) return 0;
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return bounded(milliseconds);
}

function bounded(milliseconds) {
  return Number.isFinite(milliseconds) ? Math.min(Math.max(milliseconds, 0), LONGEST_TIMER_MS) : 0;
}

/**
 * The events of a stream (HTML, section 9.2.6), each `{name, data, id}`, together where they came together.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @param {() => void} heard called for whatever comes
 */
async function* eventsOf(body, heard) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const lineEnd = /\r\n|\n|\r/g;
  let line = "";
  let size = 0;
  let endedWithReturn = false;
  let event = { name: "", data: [], id: undefined };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const text = decoder.decode(value, { stream: true });
      const events = [];
      let start = endedWithReturn && text[0] === "\n" ? 1 : 0;
      if (text) endedWithReturn = text.endsWith("\r");
      lineEnd.lastIndex = start;
      for (let end; (end = lineEnd.exec(text)) !== null; start = lineEnd.lastIndex) {
        line += text.slice(start, end.index);
        if (line) {
          take(event, line);
          size += line.length;
        } else {
          if (event.data.length) events.push({ name: event.name, data: event.data.join("\n"), id: event.id });
          event = { name: "", data: [], id: undefined };
          size = 0;
        }
        line = "";
      }
      line += text.slice(start);
      if (size + line.length > EVENT_MAX_LENGTH) throw new InboxError({ ...GARBAGE, detail: "an endless event" });
      if (events.length) yield events;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function take(event, line) {
  const colon = line.indexOf(":");
  const field = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
  if (field === "data") event.data.push(value);
  else if (field === "event") event.name = value;
  else if (field === "id" && !value.includes("\0")) event.id = value;
}
