const HEAD = 200;

/** Tells what is new at the head of a list. */
export class Arrivals {
  #known = null;

  /** Down to the first that was there at the last call, those not seen. Of what is listed first none is news. */
  among(items) {
    const known = this.#known;
    this.#known = items && new Set(items.slice(0, HEAD).map(({ id }) => id));
    if (!known || !items) return [];
    const end = items.findIndex(({ id }) => known.has(id));
    return items.slice(0, end < 0 ? HEAD : end).filter((item) => !item.seen_at);
  }
}
