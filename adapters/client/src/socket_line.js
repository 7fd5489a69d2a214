/** To a server over a Socket.IO socket of the page's own. */

import { LIST_PAUSE_MS, RECORDED_MAX, REQUEST_MS, bounded } from "./limits.js";
import { CHANGED_USER, LOST, NOT_LIVE, STOPPED } from "./problems.js";
import { isObject } from "./values.js";

/** The class, made of what it shares with the module that loads it: there is one class of errors. */
export function socketLineOf({ Awakening, InboxError, askForToken, checked, isOfSameUser, pagesOf, refusal }) {
  return class SocketLine {
    #inbox;
    #socket;
    #options;
    #run = 0;
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

    /** @param {any} [ready] what the socket has said of its session, where that was before */
    start(ready) {
      const socket = this.#socket;
      this.#awakening = new Awakening((how) => this.#woke(how));
      this.#isMissing = true;
      if (socket.connected && ready) {
        this.heard("session.ready", ready);
      } else if (socket.connected) {
        // Who it is was said before there was anybody to hear it.
        this.#isReady = true;
        this.#list();
      } else if (!socket.active) {
        socket.connect();
      }
    }

    stop() {
      this.#run++;
      this.#awakening?.end();
      for (const timer of this.#timers.values()) clearTimeout(timer);
      this.#timers.clear();
      this.#left();
    }

    /** What the socket tells: an event of the server, or of its own. */
    heard(name, argument, cursor) {
      if (name === "connect_error") {
        this.#notLetIn(argument);
      } else if (name === "disconnect") {
        this.#disconnected(argument);
      } else {
        try {
          this.#told(name, checked(name, argument), cursor);
        } catch (error) {
          if (!(error instanceof InboxError)) throw error;
          // Something was missed.
          this.#isMissing = true;
          this.relist();
        }
      }
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

    #told(name, argument, cursor) {
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
      else this.#inbox.becomes("live");
    }

    async #list() {
      const listing = ++this.#listing;
      const answered = (answer) => {
        if (listing === this.#listing && answer.ok) this.#recorded ??= [];
      };
      this.#recorded = null;
      let pages;
      try {
        pages = await pagesOf(this.#inbox.wanted, (argument) => {
          if (listing !== this.#listing) throw new InboxError(NOT_LIVE);
          return this.ask("inbox.list", argument, answered);
        });
      } catch (error) {
        if (!(error instanceof InboxError)) throw error;
        // Who is not connected any more lists when they are.
        if (listing !== this.#listing || !this.#isReady) return;
        this.#recorded = null;
        if (!error.retryable) this.#inbox.becomes("refused", error.problem);
        else this.#later("list", error.retryAfter + this.#inbox.delay(this.#failures++), () => this.#list());
        return;
      }
      if (listing !== this.#listing) return;
      const recorded = this.#recorded ?? [];
      this.#recorded = null;
      this.#isMissing = false;
      this.#listedAt = performance.now();
      this.#inbox.wasListed(pages, recorded);
      this.#inbox.becomes("live");
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
        this.#inbox.becomes("offline");
      } else if (this.#closing?.reconnect === false) {
        this.#inbox.becomes("refused", why);
      } else {
        this.#inbox.becomes("offline", why);
        if (!this.#socket.active) this.#connectAgain(bounded(this.#closing?.retry_after_ms));
      }
    }

    /** The stock client comes back by itself unless the server has said no. */
    #notLetIn(error) {
      const failure = refusal(error.data);
      const isFirst = failure.code === "invalid_token" && ++this.#refusals === 1;
      if (!this.#socket.active && !failure.retryable && !isFirst) {
        this.#inbox.becomes("refused", failure.problem);
        return;
      }
      this.#inbox.becomes("offline", failure.problem);
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
      if (["woken", "online"].includes(how) && !socket.connected && socket.active) socket.disconnect().connect();
    }

    #later(what, milliseconds, then) {
      clearTimeout(this.#timers.get(what));
      const timer = setTimeout(() => {
        this.#timers.delete(what);
        then();
      }, Math.max(0, milliseconds));
      this.#timers.set(what, timer);
    }
  };
}
