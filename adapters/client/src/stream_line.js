/** To a server by `fetch`: requests, and its event stream. */

import { Awakening } from "./awakening.js";
import { isAfter } from "./cursor.js";
import {
  Again,
  CHANGED_USER,
  GARBAGE,
  InboxError,
  LONGEST_TIMER_MS,
  LOST,
  NO_TOKEN,
  NOT_LIVE,
  NOT_RECOVERED,
  bounded,
  failureOf,
} from "./errors.js";
import { eventsOf } from "./events.js";
import { LIST_MAX, LIST_PAUSE_MS, REQUEST_MS } from "./limits.js";
import { Tabs, canShare } from "./tabs.js";
import { askForToken, identityOf, inTime, isOfSameUser } from "./token.js";
import { EVENTS, checked, checkedPage, isOfLog, parsed } from "./wire.js";

/** Browsers let a page that is being left send 64 KiB, and a character has 3 bytes at most. */
const KEEPALIVE_MAX_LENGTH = 16_000;
/** Something comes on a stream every 15 s at least. */
const SILENCE_MS = 40_000;
const RENEWAL_MS = 500;

export class StreamLine {
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
  #tabs = null;
  /** What the stream began with, as it would now; null where this tab has none. */
  #ready = null;
  #isAway = false;
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
    this.#isAway = false;
    this.#awakening = new Awakening((how) => this.#woke(how));
    this.#serve(++this.#run);
  }

  stop() {
    this.#run++;
    this.#awakening?.end();
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    this.#leave();
    this.#leaveTabs();
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
      if (this.#isAway) {
        await this.#pause(LONGEST_TIMER_MS);
        continue;
      }
      const began = performance.now();
      try {
        await this.#connect(run);
      } catch (error) {
        if (run !== this.#run) return;
        if (error instanceof Again) continue;
        this.#tabs?.withdraw(true);
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

  /** List, where that is to be, and hear what comes until that ends; that it ends is always an error. */
  async #connect(run) {
    const token = await this.#currentToken(run);
    const feed = await this.#join(token);
    this.#check(run);
    if (this.#needsList) await this.#list(run, token);
    if (feed === null) {
      await this.#stream(run, token);
    } else {
      this.#leave = (why = new Again()) => feed.end(why);
      await this.#follow(run, token, this.#retold(feed));
    }
  }

  /** What another tab hears on its stream; null where this one is to have a stream. */
  async #join(token) {
    const { device = "", shareStream = true } = this.#options;
    const identity = shareStream && canShare() ? identityOf(token) : null;
    const name = identity && [this.#root.href, device, identity].join(" ");
    if (name !== (this.#tabs?.name ?? null)) {
      this.#leaveTabs();
      this.#tabs = name && new Tabs(name, { welcome: () => this.#welcome(), robbed: () => this.#leave() });
    }
    return this.#tabs?.join() ?? null;
  }

  #leaveTabs() {
    this.#tabs?.close();
    this.#tabs = null;
  }

  #welcome() {
    if (this.#ready === null) return null;
    const now = new Date(this.#inbox.now()).toISOString();
    return { name: "session.ready", argument: { ...this.#ready, server_time: now }, cursor: this.#inbox.cursor };
  }

  async #stream(run, token) {
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
      await this.#follow(run, token, this.#told(response.body));
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      if (error instanceof InboxError && error.status === 401) throw this.#spend(token, error);
      throw error;
    } finally {
      if (this.#leave === leave) this.#leave = () => {};
      this.#ready = null;
      controller.abort();
    }
  }

  /** What comes on a stream of this tab's own, which the other tabs are told, too. */
  async *#told(body) {
    const heard = () => {
      this.#heardAt = Date.now();
      this.#tabs?.tell();
    };
    for await (const told of eventsOf(body, heard)) {
      const events = told
        .filter(({ name }) => EVENTS.includes(name))
        .map(({ name, data, id }) => ({ name, argument: checked(name, parsed(name, data)), cursor: id }));
      for (const event of events) {
        const { name, argument } = event;
        const isFirst = this.#ready === null;
        if (isFirst !== (name === "session.ready")) throw new InboxError({ ...GARBAGE, detail: name });
        if (isFirst) {
          this.#ready = argument;
          event.cursor = this.#inbox.cursor;
        } else if (name === "inbox.counts") {
          this.#ready = { ...this.#ready, counts: argument };
        }
      }
      this.#tabs?.tell(events);
      yield events;
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

  /** What another tab tells. It says again how it began whenever one more tab joins, or another one has the stream. */
  async *#retold(feed) {
    for await (const events of feed) {
      for (const { name, argument, cursor } of events) {
        if (name === "session.ready") argument.recovered = !isAfter(cursor, this.#inbox.cursor);
      }
      yield events;
    }
  }

  /** @param {AsyncIterable<import("./tabs.js").Happening[]>} batches the first event is `session.ready` */
  async #follow(run, token, batches) {
    let closing = null;
    try {
      for await (const events of batches) {
        this.#check(run);
        const ofLog = [];
        for (const event of events) {
          const { name, argument } = event;
          if (isOfLog(name)) {
            ofLog.push(event);
          } else if (name === "session.ready") {
            this.#begun(argument);
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
      if (closing === null || !(error instanceof Again)) throw error;
    }
    throw closing === null ? new InboxError(LOST) : this.#closed(closing);
  }

  /** Raises Again where all has to begin anew. */
  #begun(argument) {
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
    if (how === "left") {
      // A page that holds what others wait for, or is told something, is not kept for a return to it.
      this.#isAway = true;
      this.#leaveTabs();
      this.#leave();
      return;
    }
    this.#tabs?.woke(how);
    const isFollowing = this.#tabs !== null && !this.#tabs.isLeader;
    // Other clocks stand still while a machine sleeps.
    const silence = Date.now() - this.#heardAt;
    if (how === "tick") {
      if (!isFollowing && silence > SILENCE_MS) this.#leave(new InboxError(LOST));
      return;
    }
    this.#isAway = false;
    this.#hurry();
    if (!isFollowing && (how === "online" || silence > SILENCE_MS / 2)) this.#leave();
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
