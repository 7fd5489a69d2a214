import { InboxError } from "./errors.js";
import { LIST_MAX, LIST_PAUSE_MS } from "./limits.js";
import { Observed, kept } from "./observed.js";
import { pagesOf } from "./pages.js";
import { NOT_LIVE } from "./problems.js";
import { EMPTY, LIVE_MAX, isUnchanged, present, reduce } from "./state.js";
import { checkedPage } from "./wire.js";

/** One list of an inbox: all that is not archived, or what a filter names. It keeps what it has listed, and its order. */
export class View extends Observed {
  state;
  #inbox;
  #query;
  #shown = new Map();
  #snapshot;
  #presented;
  #more = null;
  #turn = Promise.resolve();
  #wanted = 0;
  #isListing = false;
  #isDue = true;
  #listedAt = -Infinity;
  #timer;
  #failures = 0;

  /** @param {{state?: string, type?: string}} filter */
  constructor(inbox, filter) {
    super();
    this.#inbox = inbox;
    this.#query = filter;
    this.state = { ...EMPTY, filter };
  }

  get snapshot() {
    if (this.#presented !== this.state) {
      this.#presented = this.state;
      const { next, isListed } = this.state;
      const before = this.#snapshot?.items;
      const items = this.#items();
      const isSame = items.length === before?.length && items.every((each, at) => each === before[at]);
      const shown = isSame ? before : Object.freeze(items);
      this.#snapshot = kept(this.#snapshot, { items: shown, hasMore: next !== null, isListed });
    }
    return this.#snapshot;
  }

  /** A notification that came to be what it was before, by whatever way, is the same object. */
  #items() {
    const shown = this.#shown;
    const items = present(this.state);
    for (let at = 0; at < items.length; at++) {
      const item = items[at];
      const before = shown.get(item.id);
      if (before?.item === item) {
        items[at] = before.shown;
      } else {
        if (before && isUnchanged(before.shown, item)) items[at] = before.shown;
        shown.set(item.id, { item, shown: items[at] });
      }
    }
    if (shown.size > 2 * items.length + LIST_MAX) {
      const kept = new Set(items.map(({ id }) => id));
      for (const id of shown.keys()) if (!kept.has(id)) shown.delete(id);
    }
    return items;
  }

  dispatch(action) {
    const before = this.state;
    this.state = reduce(before, action);
    if (action.type === "forgotten") {
      this.#shown.clear();
      this.#wanted = 0;
    }
    if (action.type === "listed" || action.type === "paged") this.#wanted = this.state.base.size;
    if (this.state === before) return;
    this.outdate();
    this.#inbox.outdated();
  }

  /** How many a list has to bring, so that nothing that the page has loaded goes away. */
  get wanted() {
    const { base, arrived } = this.state;
    return Math.max(this.#inbox.pageSize, arrived > LIVE_MAX ? this.#wanted : base.size);
  }

  get isStale() {
    return this.state.isStale || this.state.arrived > LIVE_MAX;
  }

  loadMore() {
    this.#more ??= this.#inTurn(() => this.#loadMore()).finally(() => {
      this.#more = null;
    });
    return this.#more;
  }

  async #loadMore() {
    // A list that comes in between makes nothing of the page that was asked for.
    for (let attempt = 0; attempt < 3 && this.state.next !== null; attempt++) {
      const { epoch, next } = this.state;
      this.#mustBeLive();
      this.dispatch({ type: "paging" });
      try {
        const page = checkedPage(await this.#ask({ limit: this.#inbox.pageSize, page: next }));
        if (this.state.epoch !== epoch || this.state.recorded === null) continue;
        this.dispatch({ type: "paged", page });
        return;
      } catch (error) {
        if (this.state.epoch === epoch) this.dispatch({ type: "unpaged" });
        throw error;
      }
    }
  }

  /** Where a line does not list for it: what is known may have nothing to do with what comes from now on. */
  miss() {
    this.#isDue = true;
    this.dispatch({ type: "missed" });
    this.refresh();
  }

  /** List, where that is to be, but not time and again. */
  refresh() {
    if (this.#isListing || !this.#inbox.isLive || !(this.#isDue || this.isStale)) return;
    this.#isListing = true;
    const wait = this.#listedAt + LIST_PAUSE_MS - performance.now();
    this.#timer = setTimeout(() => this.#inTurn(() => this.#list()).catch(() => {}), Math.max(0, wait));
  }

  close() {
    clearTimeout(this.#timer);
    this.#isListing = true;
  }

  async #list() {
    const { wanted } = this;
    const { epoch } = this.state;
    let pause = 0;
    try {
      this.#mustBeLive();
      this.#isDue = false;
      this.dispatch({ type: "paging" });
      const pages = await pagesOf(wanted, (argument) => this.#ask(argument));
      const { recorded } = this.state;
      if (this.state.epoch !== epoch || recorded === null) {
        this.#isDue = true;
      } else {
        this.dispatch({ type: "listed", pages, recorded });
        // What came meanwhile, and is not there, is newer, or matches no more: its place has to be asked for.
        const listed = new Set(pages.flatMap(({ items }) => items.map(({ id }) => id)));
        this.#isDue = recorded.some(
          ({ name, argument }) => name === "notification.new" && this.state.base.has(argument.id) && !listed.has(argument.id),
        );
      }
      this.#failures = 0;
    } catch (error) {
      this.#isDue = true;
      if (this.state.epoch === epoch) this.dispatch({ type: "unpaged" });
      if (!(error instanceof InboxError)) throw error;
      // What is refused is asked for again once the line is there anew.
      if (!error.retryable) return;
      pause = error.retryAfter + this.#inbox.delay(this.#failures++);
    } finally {
      this.#isListing = false;
      this.#listedAt = performance.now() + pause;
    }
    this.refresh();
  }

  #ask(argument) {
    return this.#inbox.ask("inbox.list", { ...this.#query, ...argument });
  }

  #mustBeLive() {
    if (!this.#inbox.isLive) throw new InboxError(NOT_LIVE);
  }

  /** One page after the other: events are recorded for one at a time. */
  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }
}
