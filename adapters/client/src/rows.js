import { CONTENT, isSameContent } from "./content.js";
import { icon } from "./icons.js";

/** Rows are made and dropped by the batch. More of them than these are never in the page. */
const BATCH = 10;
const ROWS_MAX = 6 * BATCH;
const NEAR_END = 400;
const NEAR_TOP = 40;
const MENU = "aria-haspopup=menu aria-expanded=false";
const TOOLS = icon("read") + icon("archive") + icon("unsnooze") + icon("snooze", MENU) + icon("delete");
const ROW = `<li part=item>${CONTENT}<div class=tools>${TOOLS}</div></li>`;

/** A list of any length: the rows around what is looked at are in the page, and older ones come where it ends. */
export class Rows {
  #ui;
  #language;
  #content;
  #shown;
  #source = null;
  #rows = new Map();
  /** Of the batches above those that are in the page. */
  #heights = [];
  #fresh = 0;
  #isLoading = false;
  #isDue = false;

  /** `shown` is called with the items that are in the page, whenever these were looked at anew. */
  constructor(ui, language, content, shown) {
    this.#ui = ui;
    this.#language = language;
    this.#content = content;
    this.#shown = shown;
    ui.scroll.onscroll = () => {
      if (ui.scroll.scrollTop < NEAR_TOP) this.#setFresh(0);
      this.#more();
    };
  }

  /** Show a list, which is a store or a view, from its top; or nothing, for null. */
  follow(source) {
    this.#source = source;
    this.toTop();
    if (!source) this.#put([]);
  }

  toTop() {
    this.#heights = [];
    this.#ui.scroll.scrollTop = 0;
    this.#setFresh(0);
  }

  /** So many have come at the top. */
  arrived(number) {
    if (this.#ui.scroll.scrollTop >= NEAR_TOP) this.#setFresh(this.#fresh + number);
  }

  render() {
    const { items } = this.#source.getSnapshot();
    while (this.#first && this.#first >= items.length) this.#heights.pop();
    const shown = items.slice(this.#first, this.#first + ROWS_MAX);
    this.#ui.gap.style.height = `${this.#gap}px`;
    this.#put(shown);
    this.#shown(shown);
    this.#soon();
  }

  #setFresh(number) {
    const { pill } = this.#ui;
    this.#fresh = number;
    pill.hidden = !number;
    if (number) pill.textContent = this.#language.counted("new", number);
  }

  /** Rows stay the same nodes, so that focus and selection stay where they are. */
  #put(items) {
    const { list, panel } = this.#ui;
    const active = list.getRootNode().activeElement;
    const focused = active?.closest("li");
    let next = focused?.nextSibling;
    const rows = new Map();
    for (const item of items) {
      const known = this.#rows.get(item.id);
      const row = known && isSameContent(known.item, item) ? known : this.#content.node(ROW, item);
      if (row.item !== item) this.#content.mark(row, item);
      rows.set(item.id, row);
    }
    for (const [id, row] of this.#rows) {
      const other = rows.get(id);
      if (row === other) continue;
      if (row === focused) next = other ?? next;
      if (row === next) next = other ?? row.nextSibling;
      row.remove();
    }
    let at = list.firstChild;
    for (const row of rows.values()) {
      if (row === at) at = at.nextSibling;
      else list.insertBefore(row, at);
    }
    this.#rows = rows;
    if (!focused || focused.isConnected) return;
    next ??= list.lastChild;
    (next?.querySelector(`[data-does=${active.dataset.does}]`) ?? panel).focus({ preventScroll: true });
  }

  get #first() {
    return this.#heights.length * BATCH;
  }

  get #gap() {
    return this.#heights.reduce((sum, height) => sum + height, 0);
  }

  /** A batch a frame, so that no frame waits long. */
  #soon() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#more();
    });
  }

  /** Move what is in the page with what is looked at, and ask for older ones where it ends. */
  #more() {
    const { scroll, list } = this.#ui;
    const source = this.#source;
    if (!source) return;
    const { items, hasMore } = source.getSnapshot();
    const above = scroll.scrollTop - NEAR_END;
    if (this.#first && this.#gap > above) {
      while (this.#first && this.#gap > above) this.#heights.pop();
      this.render();
    } else if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight > NEAR_END) {
      return;
    } else if (this.#first + ROWS_MAX < items.length) {
      this.#heights.push(list.children[BATCH].offsetTop - list.firstChild.offsetTop);
      this.render();
    } else if (hasMore && !this.#isLoading) {
      this.#isLoading = true;
      const done = () => void (this.#isLoading = false);
      source.loadMore().then(() => (done(), this.#soon()), done);
    }
  }
}
