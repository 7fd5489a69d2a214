/** What has a snapshot, and tells its listeners once for all changes of a moment, after them. */
export class Observed {
  #listeners = new Set();
  #isTelling = false;
  #told;

  /** The same object as long as nothing changes: of whoever extends this. */
  get snapshot() {
    throw new TypeError("no snapshot");
  }

  subscribe(listener) {
    const entry = { listener };
    this.#listeners.add(entry);
    this.#told ??= this.snapshot;
    return () => void this.#listeners.delete(entry);
  }

  outdate() {
    if (this.#isTelling || !this.#listeners.size) return;
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
