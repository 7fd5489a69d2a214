/** The inbox of one user, kept the same as the server's: listed first, then live, without a user interface. */

import { isAfter } from "./cursor.js";
import { InboxError } from "./errors.js";
import { LIST_MAX, bounded } from "./limits.js";
import { LoadedLine } from "./loaded_line.js";
import { Observed, kept } from "./observed.js";
import { pause } from "./pause.js";
import { CHANGED_USER, QUEUE_FULL, STOPPED } from "./problems.js";
import { STATES, present } from "./state.js";
import { StreamLine } from "./stream_line.js";
import { isEqual, isText } from "./values.js";
import { View } from "./view.js";
import { checked, checkedChange } from "./wire.js";

const PAGE_SIZE = 20;
const IDS_MAX = 500;
/** In UTF-16, of the 128 characters that an id has at most. */
const ID_MAX_LENGTH = 256;
const QUEUE_MAX = 100;
const VIEWS_MAX = 8;
/** The server tells changed counts at most once a second. */
const COUNTS_MS = 3_000;
const BACKOFF = { base: 2_000, max: 30_000 };
/** Below what a server takes of one client by default. */
const PACE = { burst: 20, perSecond: 10 };

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
    view: (filter) => inbox.view(filter),
    read: (ids) => inbox.mark("read", ids),
    unread: (ids) => inbox.mark("unread", ids),
    seen: (ids) => inbox.mark("seen", ids),
    archive: (ids) => inbox.mark("archive", ids),
    unarchive: (ids) => inbox.mark("unarchive", ids),
    delete: (ids) => inbox.mark("delete", ids),
    unsnooze: (ids) => inbox.snooze(ids, 0),
    snooze: (ids, until) => inbox.snooze(ids, until),
    readAll: () => inbox.readAll(),
  });
}

class Inbox extends Observed {
  #main = new View(this, {});
  #views = new Set();
  #status = "offline";
  #problem = null;
  #user = null;
  #snapshot;
  #isWatched = false;
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

  constructor(options) {
    super();
    const { url, token, socket, pageSize = PAGE_SIZE } = options ?? {};
    if (!socket && !(url && token)) throw new TypeError("createInbox() needs a url and a token, or a socket");
    if (token !== undefined && typeof token !== "function") throw new TypeError("token must be a function");
    if (!Number.isInteger(pageSize) || pageSize < 1 || pageSize > LIST_MAX) {
      throw new RangeError(`pageSize must be a whole number from 1 to ${LIST_MAX}`);
    }
    this.pageSize = pageSize;
    this.backoff = { ...BACKOFF, ...options.backoff };
    this.#line = socket ? new LoadedLine(this, options) : new StreamLine(this, options);
    if (options.start !== false) this.start();
  }

  // for the page

  get snapshot() {
    const { items, hasMore } = this.#main.snapshot;
    this.#snapshot = kept(this.#snapshot, {
      items,
      counts: this.#state.counts,
      status: this.#status,
      problem: this.#problem,
      hasMore,
      user: this.#user,
    });
    return this.#snapshot;
  }

  /** A list of what the filter names, kept like the inbox itself until it is closed. Raises TypeError, RangeError */
  view(filter = {}) {
    const { state, type } = filter;
    if (state !== undefined && !STATES.includes(state)) throw new TypeError(`state must be one of ${STATES}`);
    if (type !== undefined && !(isText(type) && type)) throw new TypeError("type must be a text");
    if (this.#views.size >= VIEWS_MAX) throw new RangeError(`at most ${VIEWS_MAX} views can be open`);
    const view = new View(this, { ...(state && { state }), ...(type && { type }) });
    for (const operation of this.#state.operations) {
      view.dispatch({ type: "done", operation: { ...operation, unsettled: operation.ids, isDoubtful: true } });
    }
    this.#views.add(view);
    view.refresh();
    return Object.freeze({
      getSnapshot: () => view.snapshot,
      subscribe: (listener) => view.subscribe(listener),
      loadMore: () => quiet(view.loadMore()),
      close: () => {
        view.close();
        this.#views.delete(view);
      },
    });
  }

  start() {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.becomes("connecting");
    this.#line.start();
  }

  /** Leave, and forget everything: whoever comes next may be somebody else. */
  stop() {
    this.#isRunning = false;
    this.#line.stop();
    this.forget(STOPPED);
    this.becomes("offline");
  }

  mark(action, ids, until) {
    const given = [...new Set(ids)];
    const isId = (id) => isText(id) && id !== "" && id.length <= ID_MAX_LENGTH;
    if (isText(ids) || !given.every(isId)) throw new TypeError("ids must be a list of ids");
    const parts = [];
    for (let at = 0; at < given.length; at += IDS_MAX) parts.push(given.slice(at, at + IDS_MAX));
    const answers = parts.map((part) => this.#do(action, part, action, until));
    return quiet(Promise.all(answers).then((all) => ({ changed: all.reduce((sum, each) => sum + each.changed, 0) })));
  }

  /** A time that has passed brings back what is snoozed. */
  snooze(ids, until) {
    const at = new Date(until);
    return this.mark(at > this.now() ? "snooze" : "unsnooze", ids, at.toISOString());
  }

  /** Of all that has come to this store, which is what its user can have looked at. */
  readAll() {
    if (!this.#state.isListed) return Promise.resolve({ changed: 0 });
    const unread = present(this.#state).filter((item) => item.read_at === null).map(({ id }) => id);
    return quiet(this.#do("read", unread, "read_all"));
  }

  loadMore() {
    return quiet(this.#main.loadMore());
  }

  // what the user does

  async #do(action, ids, event, until) {
    if (!this.#isRunning) throw new InboxError(STOPPED);
    if (this.#queue.length >= QUEUE_MAX) throw new InboxError(QUEUE_FULL);
    if (!ids.length && event !== "read_all") return { changed: 0 };
    const key = this.#keys++;
    const operation = {
      key,
      action,
      ids: new Set(ids),
      unsettled: new Set(ids),
      until,
      at: new Date(this.now()).toISOString(),
      isSent: false,
      isAnswered: false,
      isDoubtful: false,
    };
    const answer = new Promise((resolve, reject) => {
      this.#queue.push({ key, event, ids, until, upTo: this.#cursor, resolve, reject });
    });
    this.dispatch({ type: "done", operation });
    this.work();
    return answer;
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
        // Of the server both are asked by the same name: it looks at the time.
        const event = batch[0].event.replace("unsnooze", "snooze");
        const answer = checkedChange(event, await this.#line.ask(`notification.${event}`, argumentOf(batch)));
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
      if (next.event !== first.event || next.until !== first.until || ids.size > IDS_MAX) break;
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
    const [{ event, until }] = batch;
    // What was asked for so late that it was due is not put off, and nothing is told of it.
    const isLate = event === "snooze" && (!number || Date.parse(until) <= this.now());
    this.dispatch({ type: isLate ? "refused" : "answered", keys: batch.map(({ key }) => key) });
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

  get wanted() {
    return this.#main.wanted;
  }

  get isLive() {
    return this.#status === "live";
  }

  ask(event, argument) {
    return this.#line.ask(event, argument);
  }

  get #state() {
    return this.#main.state;
  }

  /** Milliseconds since 1970 on the server's clock. */
  now() {
    return Date.now() + this.#clockOffset;
  }

  /** Milliseconds to wait after so many failures: full jitter. */
  delay(failures) {
    return Math.random() * Math.min(this.backoff.max, this.backoff.base * 2 ** failures);
  }

  becomes(status, why = null) {
    if (status === this.#status && isEqual(why, this.#problem)) return;
    this.#status = status;
    this.#problem = why;
    this.outdate();
    if (status !== "live") return;
    this.work();
    for (const view of this.#views) view.refresh();
  }

  /**
   * Somebody is connected. True where it is who it was, or the first; else everything of the other was forgotten.
   */
  identified({ user, counts, server_time: time }) {
    const isOther = this.#user !== null && (this.#user.id !== user.id || this.#user.role !== user.role);
    if (isOther) this.forget(CHANGED_USER);
    else this.#user ??= Object.freeze({ ...user });
    this.outdate();
    const offset = Date.parse(time) - Date.now();
    this.#clockOffset = Number.isFinite(offset) ? offset : 0;
    this.outdated();
    if (!isOther) this.countsTold(counts);
    return !isOther;
  }

  /** Nothing of this user is shown, or sent, from now on. */
  forget(why) {
    this.#user = null;
    this.#cursor = null;
    this.#countsTold = null;
    clearTimeout(this.#countsTimer);
    for (const { reject } of this.#queue.splice(0)) reject(new InboxError(why));
    this.dispatch({ type: "forgotten" });
    for (const view of this.#views) view.miss();
    if (this.#status === "live") this.becomes("connecting");
  }

  /** Events of the log, in their order, each `{name, argument, cursor}`. Those that are told again are left out. */
  happened(told) {
    const events = told.filter(({ cursor }) => isAfter(cursor, this.#cursor));
    if (!events.length) return;
    for (const { name, argument } of events) checked(name, argument);
    this.#cursor = events.at(-1).cursor ?? this.#cursor;
    this.dispatch({ type: "events", events });
    if (this.#main.isStale) this.#line.relist();
    for (const view of this.#views) view.refresh();
  }

  /** All pages of a list, the newest first, and the events that came since the first of them, if any did. */
  wasListed(pages, recorded = []) {
    this.#cursor = recorded.at(-1)?.cursor ?? pages[0].as_of;
    this.#main.dispatch({ type: "listed", pages, recorded });
    for (const view of this.#views) view.miss();
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
    this.#main.dispatch(action);
    for (const view of this.#views) view.dispatch(action);
  }

  /** A list has changed. */
  outdated() {
    this.outdate();
    if (this.#isWatched) return;
    this.#isWatched = true;
    // In a task of its own, as all that is known is looked at.
    setTimeout(() => {
      this.#isWatched = false;
      this.#watchExpiry();
    });
  }

  #watchExpiry() {
    clearTimeout(this.#expiry);
    let first = Infinity;
    for (const { state } of [this.#main, ...this.#views]) {
      for (const { expires_at: at } of state.base.values()) if (at) first = Math.min(first, Date.parse(at));
    }
    if (first === Infinity) return;
    this.#expiry = setTimeout(() => {
      this.dispatch({ type: "expired", now: this.now() });
      this.#watchExpiry();
    }, bounded(first - this.now()));
  }
}

/** What was answered may be of no interest to the page: a refusal is no error of its own then. */
function quiet(promise) {
  promise.catch(() => {});
  return promise;
}

function argumentOf(batch) {
  const [{ event, until, upTo }] = batch;
  if (event === "read_all") return { up_to: upTo };
  return { ids: [...new Set(batch.flatMap(({ ids }) => ids))], until };
}
