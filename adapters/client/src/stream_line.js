/** To a server by `fetch`: requests, and its event stream. */

import { Awakening } from "./awakening.js";
import { isAfter, isOfOneEpoch } from "./cursor.js";
import { Again, InboxError, failureOf, lost, notUnderstood } from "./errors.js";
import { eventsOf } from "./events.js";
import { loadTabs } from "./later.js";
import { LIST_PAUSE_MS, LONGEST_TIMER_MS, REQUEST_MS, bounded } from "./limits.js";
import { pagesOf } from "./pages.js";
import { CHANGED_USER, EXPIRED, GARBAGE, LOST, NOT_LIVE, NOT_RECOVERED, NO_TOKEN } from "./problems.js";
import { askForToken, expiryOf, identityOf, inTime, isOfSameUser } from "./token.js";
import { EVENTS, checked, isOfLog, parsed } from "./wire.js";

/** Browsers let a page that is being left send 64 KiB, and a character has 3 bytes at most. */
const KEEPALIVE_MAX_LENGTH = 16_000;
/** Something comes on a stream every 15 s at least. */
const SILENCE_MS = 40_000;
const RENEWAL_MS = 500;
/** Timers of a browser know no longer one. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

/** False in a page that is not served securely, and outside of pages. */
function canShare() {
  return globalThis.isSecureContext && globalThis.navigator?.locks;
}

/** Null where there are no channels, as where the user lets pages keep nothing. */
function tabsOf(module, name, line) {
  try {
    return new module.Tabs(name, line);
  } catch {
    return null;
  }
}

export class StreamLine {
  #inbox;
  #options;
  #root;
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

  constructor(inbox, options) {
    this.#inbox = inbox;
    this.#options = options;
    const base = String(options.url);
    this.#root = new URL(base.endsWith("/") ? base : `${base}/`, globalThis.document?.baseURI);
  }

  start() {
    this.#token = this.#lastToken = this.#spent = null;
    this.#refusals = 0;
    this.#needsList = true;
    this.#isAway = false;
    this.#awakening = new Awakening((how) => this.#woke(how));
    // By the time that there is a token it is there.
    if (canShare()) loadTabs().catch(() => {});
    this.#serve(++this.#run);
  }

  stop() {
    this.#run++;
    this.#awakening?.end();
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
    try {
      const answer = await this.#answer(event, argument, token);
      this.#unauthorized = 0;
      return answer;
    } catch (error) {
      // What is not taken with a fresh token either, for which there was a stream, is not to be asked for.
      if (!isUnauthorized(error) || ++this.#unauthorized > 1) throw error;
      // The stream, which says who one is, comes first to have another.
      this.#spend(token, error);
      this.#leave();
      throw lost();
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
        const failure = error instanceof InboxError ? error : lost(String(error));
        if (!failure.retryable) {
          if (failure.code === NO_TOKEN.code) this.#inbox.forget(NO_TOKEN);
          this.#inbox.becomes("refused", failure.problem);
          return;
        }
        if (performance.now() - began > this.#inbox.backoff.base * 2 ** failures) failures = 0;
        this.#inbox.becomes("offline", failure.problem);
        const hurried = await this.#pause(failure.retryAfter + this.#inbox.delay(failures++));
        if (hurried) failures = 0;
      }
    }
  }

  /** List, where that is to be, and hear what comes until that ends; that it ends is always an error. */
  async #connect(run) {
    const token = await this.#currentToken(run);
    const feed = await this.#join(run, token);
    try {
      if (this.#needsList) await this.#list(run, token);
      if (feed !== null) {
        this.#leave = (why = new Again()) => feed.end(why);
        this.#expires(token);
        await this.#follow(run, token, this.#retold(feed));
      } else if (this.#isFollowing) {
        // Another tab took the stream meanwhile.
        throw new Again();
      } else {
        await this.#stream(run, token);
      }
    } catch (error) {
      throw isUnauthorized(error) ? this.#spend(token, error) : error;
    }
  }

  /** What another tab hears on its stream; null where this one is to have a stream. */
  async #join(run, token) {
    const { device = "", shareStream = true } = this.#options;
    const identity = shareStream && canShare() ? identityOf(token) : null;
    const module = identity && (await loadTabs().catch(() => null));
    this.#check(run);
    const name = module && [this.#root.href, device, identity].join(" ");
    if (name !== (this.#tabs?.name ?? null)) {
      this.#leaveTabs();
      const line = { welcome: () => this.#welcome(), moved: () => new Again(), robbed: () => this.#leave() };
      this.#tabs = name && tabsOf(module, name, line);
    }
    const feed = (await this.#tabs?.join()) ?? null;
    this.#check(run);
    return feed;
  }

  get #isFollowing() {
    return this.#tabs !== null && !this.#tabs.isLeader;
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
    this.#leave = (why = new Again()) => controller.abort(why);
    this.#heardAt = Date.now();
    try {
      // In the address, each cursor would need a preflight of its own.
      const headers = { Accept: "text/event-stream", "Last-Event-ID": this.#inbox.cursor };
      const device = this.#options.device;
      const path = device ? `v1/stream?${new URLSearchParams({ device })}` : "v1/stream";
      const request = this.#request(path, token, headers, { signal: controller.signal });
      const response = await inTime(request, REQUEST_MS, LOST);
      if (!/^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "") || !response.body) {
        throw notUnderstood("no event stream");
      }
      await this.#follow(run, token, this.#told(response.body));
    } catch (error) {
      if (controller.signal.aborted) throw controller.signal.reason;
      throw error;
    } finally {
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
      const events = [];
      for (const { name, data, id } of told) {
        if (!EVENTS.includes(name)) continue;
        const argument = checked(name, parsed(name, data));
        const isFirst = this.#ready === null;
        if (isFirst !== (name === "session.ready")) throw notUnderstood(name);
        if (isFirst) this.#ready = argument;
        else if (name === "inbox.counts") this.#ready = { ...this.#ready, counts: argument };
        events.push({ name, argument, cursor: isFirst ? this.#inbox.cursor : id });
      }
      this.#tabs?.tell(events);
      yield events;
    }
  }

  /** Raises Again where nothing is to be asked for any more. */
  #check(run) {
    if (run !== this.#run || this.#isAway) throw new Again();
  }

  async #list(run, token) {
    const pages = await pagesOf(this.#inbox.wanted, async (argument) => {
      this.#check(run);
      return this.#answer("inbox.list", argument, token);
    });
    this.#check(run);
    this.#needsList = false;
    this.#wasJustListed = true;
    this.#listedAt = performance.now();
    this.#inbox.wasListed(pages);
  }

  /** What another tab tells. How its stream began comes again where that one has another, or another tab has one. */
  async *#retold(feed) {
    for await (const events of feed) {
      for (const { name, argument, cursor } of events) {
        if (name === "session.ready") argument.recovered &&= this.#hasAllUpTo(cursor);
      }
      yield events;
    }
  }

  #hasAllUpTo(cursor) {
    const own = this.#inbox.cursor;
    return !isAfter(cursor, own) && (this.#wasJustListed || isOfOneEpoch(cursor, own));
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
            closing = null;
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
    throw closing === null ? lost() : this.#closed(closing);
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
    this.#inbox.becomes("live");
  }

  #closed(closing) {
    if (closing.code === "token_expired") this.#token = null;
    return new InboxError({ ...closing, retryable: closing.reconnect !== false }, bounded(closing.retry_after_ms));
  }

  /** A fresh token, and a stream with it, while the old one lasts. */
  async #renew(run, token) {
    let fresh = null;
    let why = null;
    try {
      fresh = await askForToken(this.#options.token);
    } catch (error) {
      if (!(error instanceof InboxError)) throw error;
      why = error;
    }
    if (run !== this.#run || this.#token !== token) return;
    if (this.#isFollowing) {
      // It is the token of another tab that expires; this one's may last, and nobody else asks who is signed in here.
      if (why?.code === NO_TOKEN.code) this.#leave(why);
      if (why?.code === NO_TOKEN.code || fresh === token) return;
    }
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

  /** Where another tab has the stream, no server ends this one's when its token expires. */
  #expires(token) {
    const left = expiryOf(token) - this.#inbox.now();
    const expire = () => this.#token === token && this.#leave(this.#spend(token, new InboxError(EXPIRED)));
    if (left <= LONGEST_DELAY_MS) this.#later(left, expire);
  }

  /** The server took the token no more: another is tried at once, but no third. */
  #spend(token, error) {
    if (this.#token !== token) return new Again();
    const isExpired = error.code === "token_expired";
    this.#spent = { token, error: isExpired ? new InboxError({ ...error.problem, retryable: true }) : error };
    this.#token = null;
    return ++this.#refusals > 1 ? this.#spent.error : new Again();
  }

  /** What the server answers to it. */
  #answer(event, argument, token) {
    if (event === "inbox.list") return this.#json(`v1/inbox?${new URLSearchParams(argument)}`, token);
    return this.#json(`v1/inbox/${event.split(".")[1]}`, token, JSON.stringify(argument));
  }

  async #json(path, token, body) {
    const headers = body && { "Content-Type": "application/json" };
    // What the user did as they left the page is done.
    const ofBody = body && { method: "POST", body, keepalive: body.length < KEEPALIVE_MAX_LENGTH };
    try {
      const response = await this.#request(path, token, headers, { signal: AbortSignal.timeout(REQUEST_MS), ...ofBody });
      return await response.json();
    } catch (error) {
      throw error instanceof InboxError ? error : lost(String(error?.message ?? error));
    }
  }

  /** Raises InboxError where the answer is none. */
  async #request(path, token, headers, init) {
    const fetch = this.#options.fetch ?? globalThis.fetch;
    const response = await fetch(new URL(path, this.#root).href, {
      headers: { Authorization: `Bearer ${token}`, ...headers },
      cache: "no-store",
      ...init,
    });
    if (!response.ok) throw await failureOf(response);
    return response;
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
    // Other clocks stand still while a machine sleeps.
    const silence = Date.now() - this.#heardAt;
    if (how === "tick") {
      if (!this.#isFollowing && silence > SILENCE_MS) this.#leave(lost());
      return;
    }
    this.#isAway = false;
    this.#hurry();
    if (!this.#isFollowing && (how === "online" || silence > SILENCE_MS / 2)) this.#leave();
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

  /** Unless it is stopped by then. */
  #later(milliseconds, then) {
    const run = this.#run;
    setTimeout(() => run === this.#run && then(), Math.max(0, milliseconds));
  }
}

function isUnauthorized(error) {
  return error instanceof InboxError && error.status === 401;
}
