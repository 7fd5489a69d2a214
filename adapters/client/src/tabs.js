/** One stream for all tabs of a browser: the tab that holds a lock has it, and tells the others what comes on it. */

import { isObject } from "./values.js";
import { isListOf, isUnderstood } from "./wire.js";

const PROTOCOL = 1;
/** The tab that has the stream says something every 15 s or so. Where it does not it is asked, and then taken for frozen. */
const SILENCE_MS = 20_000;
const ANSWER_MS = 5_000;
const BEAT_MS = 10_000;
const HEARD_MS = 300;
const QUEUE_MAX = 1_000;

/** @typedef {{name: string, argument: any, cursor?: string}} Happening */

/** What the tab that has the stream tells: batches of events, of which the first is `session.ready`. */
class Feed {
  #batches = [];
  #isBegun = false;
  #isOver = false;
  #error = null;
  #wake = () => {};
  /** Resolved when it has begun, or will not any more. */
  begun = new Promise((resolve) => {
    this.begin = resolve;
  });

  /** @param {boolean} [isWelcome] said for one who joins: nothing new to who has begun */
  push(events, isWelcome) {
    if (isWelcome && this.#isBegun) return;
    this.#isBegun ||= events[0].name === "session.ready";
    if (!this.#isBegun || this.#isOver) return;
    this.begin();
    this.#batches.push(events);
    if (this.#batches.length > QUEUE_MAX) this.end();
    this.#wake();
  }

  /** After what was told before. */
  end(error = null) {
    this.#isOver = true;
    this.#error ??= error;
    this.begin();
    this.#wake();
  }

  /** Raises what it was ended with. */
  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#batches.length) yield this.#batches.shift();
      if (this.#error) throw this.#error;
      if (this.#isOver) return;
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Whoever is of this origin may say something there. */
function isMessage(data) {
  return isObject(data) && (data.events === undefined || isListOf(data.events, isUnderstood));
}

export class Tabs {
  name;
  isLeader = false;
  #line;
  #channel;
  #feed = new Feed();
  #claim = null;
  #release = () => {};
  #heardAt = 0;
  #toldAt = 0;
  #aliveAt = 0;
  /** Of the last tab known to have had the stream. What one before it tells is out of date. */
  #term = 0;

  /**
   * @param {string} name the same in all tabs that may share a stream
   * @param {{welcome: () => Happening | null, moved: () => Error, robbed: () => void}} line `welcome` is what one who
   *   joins has to hear first, where there is a stream; `moved` is why a feed ends where this tab has the stream from
   *   now on, and `robbed` is called where another has it
   */
  constructor(name, line) {
    this.name = name;
    this.#line = line;
    this.#channel = new BroadcastChannel(`synkrone-inbox/${PROTOCOL} ${name}`);
    this.#channel.onmessage = ({ data }) => isMessage(data) && this.#told(data);
  }

  /** Null where this tab is to have the stream; otherwise what the one that has it tells. */
  async join() {
    if (!this.isLeader) {
      this.#feed = new Feed();
      this.#request({});
      this.#ask();
      await this.#feed.begun;
    }
    return this.isLeader ? null : this.#feed;
  }

  /** @param {Happening[]} events what came on the stream; none: this tab is alive */
  tell(events = []) {
    this.#aliveAt = Date.now();
    if (!this.isLeader || (!events.length && Date.now() - this.#toldAt < BEAT_MS)) return;
    this.#post(events.length ? { events } : {});
  }

  /** Let another tab have the stream. With `isLost` the others are told that it is lost. */
  withdraw(isLost = false) {
    if (isLost && this.isLeader) {
      this.#post({ isLost });
      // Not before they have heard why.
      setTimeout(this.#release, HEARD_MS);
    } else {
      this.#release();
    }
    this.isLeader = false;
    this.#claim?.abort();
    this.#claim = null;
    this.#feed.end();
  }

  close() {
    this.withdraw();
    this.#channel.close();
  }

  /** @param {"tick" | "woken" | "online"} how */
  woke(how) {
    if (this.isLeader) {
      this.tell();
    } else if (this.#claim) {
      const silence = Date.now() - this.#heardAt;
      if (how !== "tick") this.#ask();
      else if (silence > SILENCE_MS + ANSWER_MS) this.#steal();
      else if (silence > SILENCE_MS) this.#post({ isAsking: true });
    }
  }

  /** Whoever has the stream answers at once. */
  #ask() {
    this.#heardAt = Date.now() - SILENCE_MS;
    this.#post({ isAsking: true });
  }

  #steal() {
    this.#claim.abort();
    this.#claim = null;
    this.#request({ steal: true });
  }

  #request(options) {
    if (this.#claim) return;
    const claim = (this.#claim = new AbortController());
    const held = () =>
      new Promise((release) => {
        if (this.#claim !== claim) return void release();
        this.#release = release;
        this.isLeader = true;
        this.#aliveAt = Date.now();
        this.#term = Math.max(Date.now(), this.#term + 1);
        this.#post({});
        this.#feed.end(this.#line.moved());
      });
    const given = options.steal ? options : { signal: claim.signal };
    navigator.locks.request(this.#channel.name, given, held).catch(({ name }) => {
      if (this.#claim !== claim) return;
      this.#claim = null;
      // Aborted by another tab, to which this one seemed frozen; or there are no locks here, and each has a stream.
      this.isLeader = name !== "AbortError";
      if (this.isLeader) this.#feed.end(this.#line.moved());
      else this.#line.robbed();
    });
  }

  #post(message) {
    this.#toldAt = Date.now();
    this.#channel.postMessage({ ...message, term: this.#term });
  }

  #told({ isAsking, isLost, isWelcome, events, term }) {
    if (isAsking) {
      // A frozen page may be told something, but does nothing else.
      if (!this.isLeader || Date.now() - this.#aliveAt > SILENCE_MS) return;
      const welcome = this.#line.welcome();
      this.#post(welcome ? { events: [welcome], isWelcome: true } : {});
      return;
    }
    if (term < this.#term) return;
    this.#term = term;
    this.#heardAt = Date.now();
    if (isLost) this.#feed.end();
    else if (events?.length) this.#feed.push(events, isWelcome);
  }
}
