/** To a server by `fetch`: requests, and its event stream. */

import { Awakening } from "./awakening.js";
import {
  CHANGED_USER,
  GARBAGE,
  InboxError,
  LOST,
  NO_TOKEN,
  NOT_LIVE,
  NOT_RECOVERED,
  bounded,
  failureOf,
} from "./errors.js";
import { eventsOf } from "./events.js";
import { LIST_MAX, LIST_PAUSE_MS, REQUEST_MS } from "./limits.js";
import { askForToken, inTime, isOfSameUser } from "./token.js";
import { EVENTS, checked, checkedPage, isOfLog, parsed } from "./wire.js";

/** Browsers let a page that is being left send 64 KiB, and a character has 3 bytes at most. */
const KEEPALIVE_MAX_LENGTH = 16_000;
/** Something comes on a stream every 15 s at least. */
const SILENCE_MS = 40_000;
const RENEWAL_MS = 500;

/** Why a stream is left in good order, and another one opened at once. */
class Again extends Error {}

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
