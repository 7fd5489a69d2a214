const TICK_MS = 5_000;
const JUMP_MS = 15_000;

/** Call back where a page is left or frozen, or looked at again, or has its network again, or slept with its machine. */
export class Awakening {
  #ends = [];

  /** @param {(how: "tick" | "left" | "woken" | "online") => void} woke "tick" is every few seconds and no awakening */
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
    this.#listen(globalThis, "pagehide", () => woke("left"));
    this.#listen(globalThis.document, "freeze", () => woke("left"));
    this.#listen(globalThis.document, "resume", () => woke("online"));
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
