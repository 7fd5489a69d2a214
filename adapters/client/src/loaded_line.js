/** To a server over a Socket.IO socket of the page's own: what speaks over it is loaded when it is started. */

import { Awakening } from "./awakening.js";
import { InboxError, refusal } from "./errors.js";
import { loadSocketLine } from "./later.js";
import { pagesOf } from "./pages.js";
import { pause } from "./pause.js";
import { LINE_NOT_LOADED } from "./problems.js";
import { askForToken, isOfSameUser } from "./token.js";
import { EVENTS, checked } from "./wire.js";

const SHARED = { Awakening, InboxError, askForToken, checked, isOfSameUser, pagesOf, refusal };
const HEARD = ["connect_error", "disconnect", ...EVENTS];

export class LoadedLine {
  #inbox;
  #options;
  #line = null;
  #run = 0;
  #ready;
  #ends = [];

  constructor(inbox, options) {
    this.#inbox = inbox;
    this.#options = options;
  }

  start() {
    const { socket } = this.#options;
    // At once: a listener of the page that comes before these may change what is told.
    for (const name of HEARD) {
      const listener = (...told) => this.#heard(name, told);
      socket.on(name, listener);
      this.#ends.push(() => socket.off(name, listener));
    }
    if (this.#line) this.#line.start();
    else this.#load(++this.#run);
  }

  /** The socket is the page's own, and stays as it is. */
  stop() {
    for (const end of this.#ends.splice(0)) end();
    this.#run++;
    this.#ready = undefined;
    this.#line?.stop();
  }

  relist() {
    this.#line.relist();
  }

  ask(event, argument) {
    return this.#line.ask(event, argument);
  }

  #heard(name, told) {
    if (this.#line) this.#line.heard(name, ...told);
    // Whatever else comes before it is there is listed then, but who it is for is said only once.
    else if (name === "session.ready") [this.#ready] = told;
    else if (name === "disconnect") this.#ready = undefined;
  }

  async #load(run) {
    for (let failures = 0; run === this.#run; await pause(this.#inbox.delay(failures++))) {
      const module = await loadSocketLine().catch(() => null);
      if (run !== this.#run) return;
      if (module) {
        this.#line = new (module.socketLineOf(SHARED))(this.#inbox, this.#options);
        this.#line.start(this.#ready);
        return;
      }
      this.#inbox.becomes("offline", LINE_NOT_LOADED);
    }
  }
}
