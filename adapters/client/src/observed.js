/** The one before where the other has nothing else in it, or the other, frozen. */
export function kept(before, after) {
  const isSame = before && Object.keys(after).every((name) => before[name] === after[name]);
  return isSame ? before : Object.freeze(after);
}

/**
 * Tells its listeners once for all changes of a moment, after them. Whoever extends this has a `snapshot`, which is the
 * same object as long as nothing changes.
 */
export class Observed {
  #listeners = new Set();
  #isTelling = false;
  #told;

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
