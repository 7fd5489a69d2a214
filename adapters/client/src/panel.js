/** What opens under the bell, and the toasts of what comes while it is closed. */
import { Arrivals } from "./arrivals.js";
import { Content } from "./content.js";
import { BAR, Filter } from "./filter.js";
import { icon } from "./icons.js";
import { titleOf } from "./names.js";
import { MESSAGES } from "./panel_messages.js";
import { STYLES } from "./panel_styles.js";
import { Rows } from "./rows.js";
import { Snoozing } from "./snoozing.js";
import { STEPS } from "./steps.js";
import { Templates } from "./templates.js";
import { Toasts } from "./toasts.js";

const AGES_MS = 20_000;
const MARGIN = 8;
const link = (does) => `<button type=button class=link id=${does} data-does=${does} data-text=${does}></button>`;
const FRAME = `<div id=panel part=panel role=dialog aria-labelledby=heading tabindex=-1 hidden>\
<header><h2 id=heading data-text=title></h2>${link("readAll")}${icon("close", "id=close")}</header>${BAR}\
<div id=note><span id=why></span>${link("retry")}</div>\
<div id=scroll role=tabpanel><button type=button id=pill part=pill data-does=top></button>\
<div id=gap></div><ul id=list role=list></ul><p id=state></p></div></div>`;
const TOASTS = "<div id=toasts></div>";
/** By what the buttons of a row do: the time that says that it was done, and what undoes it. */
const UNDONE = { read: ["read_at", "unread"], archive: ["archived_at", "unarchive"] };

const sheet = new CSSStyleSheet();
sheet.replaceSync(STYLES);

export class Panel {
  #element;
  #tell;
  #store = null;
  #isStoreOfPage = false;
  #view = null;
  #isOpen = false;
  /** What the store was told of as seen since it was opened: as each was, since one that was put off comes again. */
  #seen;
  #timer;
  #arrivals = new Arrivals();
  #filter = new Filter();
  #language;
  #content;
  #rows;
  #snoozing;
  #toasts;
  #ui;

  /** `tell(name, detail)` dispatches an event of the element, and is false where the page has prevented what follows. */
  constructor(element, tell) {
    this.#element = element;
    this.#tell = tell;
    element.shadowRoot.adoptedStyleSheets.push(sheet);
  }

  /** Have nodes of a language in a root, which has a bell and a live region. */
  build(root, language) {
    this.#rows?.follow(null);
    language.add(MESSAGES);
    this.#language = language;
    const templates = new Templates(language.texts);
    root.querySelector("#live").before(templates.node(FRAME), templates.node(TOASTS));
    const ui = (this.#ui = { root });
    for (const node of root.querySelectorAll("[id]")) ui[node.id] = node;
    root.onclick = (event) => this.#clicked(event);
    root.onkeydown = (event) => this.#pressed(event);
    // A picture that does not come leaves no hole.
    root.addEventListener("error", ({ target }) => target.remove(), true);
    this.#content = new Content(language, templates);
    this.#rows = new Rows(ui, language, this.#content, (items) => this.#see(items));
    this.#toasts = new Toasts(ui.toasts, templates, this.#content);
    this.#snoozing = new Snoozing(language);
    this.#filter.build(ui, language, () => this.#select());
    this.toggle(this.#isOpen);
  }

  /** Show another store, or none. `listed` are the items that it has listed first, where it has. */
  follow(store, isOfPage = false, listed = null) {
    clearInterval(this.#timer);
    if (store) this.#timer = setInterval(() => this.#content.age(this.#ui.root), AGES_MS);
    this.#store = store;
    this.#isStoreOfPage = isOfPage;
    this.#filter.forget();
    this.#toasts.clear();
    this.#arrivals = new Arrivals();
    this.#arrivals.among(listed);
    this.#select();
  }

  /** The store has changed. */
  changed() {
    const { items, counts } = this.#store.getSnapshot();
    const fresh = this.#arrivals.among(counts && items);
    this.#toasts.follow(items);
    if (fresh.length) this.#arrived(fresh);
    this.#render();
  }

  toggle(isOpen) {
    const { panel, bell } = this.#ui;
    this.#isOpen = isOpen;
    panel.hidden = !isOpen;
    bell.ariaExpanded = isOpen;
    window[isOpen ? "addEventListener" : "removeEventListener"]("resize", this.#place);
    if (isOpen) {
      this.#toasts.clear();
      this.#seen = new WeakSet();
      this.#place();
    }
    this.#list();
  }

  focus() {
    this.#ui.panel.focus();
  }

  #arrived(items) {
    if (this.#isOpen) this.#rows.arrived(items.length);
    else this.#toasts.arrived(items);
    const [newest, ...more] = items;
    const language = this.#language;
    this.#ui.live.textContent = more.length ? language.counted("new", items.length) : titleOf(newest, language);
  }

  #render() {
    const ui = this.#ui;
    const { texts } = this.#language;
    const { items = [], counts, status } = this.#store?.getSnapshot() ?? {};
    const isRefused = status === "refused";
    const trouble = isRefused || status === "offline" ? texts[status] : "";
    ui.bell.ariaDescription = trouble;
    ui.root.classList.toggle("off", trouble);
    if (!this.#isOpen) return;
    ui.readAll.hidden = !counts?.unread;
    ui.note.hidden = !trouble;
    ui.why.textContent = trouble;
    ui.retry.hidden = !isRefused || this.#isStoreOfPage;
    this.#filter.render(items);
    const { items: listed = [], isListed = counts } = this.#source?.getSnapshot() ?? {};
    ui.state.hidden = listed.length;
    ui.state.textContent = isListed ? texts[`empty${this.#filter.tab}`] : ui.note.hidden ? texts.loading : "";
    if (this.#source) this.#rows.render();
  }

  get #source() {
    return this.#view ?? this.#store;
  }

  #select(tab = this.#filter.tab) {
    this.#view?.close();
    this.#filter.tab = tab;
    const { wanted } = this.#filter;
    this.#view = (wanted && this.#store?.view(wanted)) ?? null;
    this.#view?.subscribe(() => this.#render());
    this.#list();
  }

  #list() {
    this.#rows.follow(this.#isOpen ? this.#source : null);
    this.#render();
  }

  #see(items) {
    const unseen = items.filter((item) => !item.seen_at && !item.snoozed_until && !this.#seen.has(item));
    if (!unseen.length) return;
    for (const item of unseen) this.#seen.add(item);
    this.#do("seen", unseen.map(({ id }) => id));
  }

  /** The store shows at once what will be, and has taken it back by the time that it refuses. */
  #do(action, ids, ...until) {
    this.#store[action](ids, ...until).catch((error) => {
      this.#tell("error", error.problem ?? error);
      if (action === "seen") return;
      this.#toasts.say((this.#ui.live.textContent = this.#language.texts.failed));
    });
  }

  /** Under the bell, and inside the window. */
  #place = () => {
    const { bell, panel, root } = this.#ui;
    const { left, right } = bell.getBoundingClientRect();
    const width = panel.offsetWidth;
    const wanted = root.matches(":dir(rtl)") ? left : right - width;
    const end = document.documentElement.clientWidth - width - MARGIN;
    panel.style.left = `${Math.max(MARGIN, Math.min(wanted, end)) - left}px`;
  };

  #clicked(event) {
    const button = event.target.closest("[data-does],[role=tab]");
    const owner = button?.closest("li,.toast");
    const { does } = button?.dataset ?? {};
    if (does !== "snooze") this.#snoozing.close();
    if (!button) return;
    if (!does) {
      this.#select(button.id);
    } else if (does === "close") {
      if (owner) owner.remove();
      else this.#close();
    } else if (does === "top") {
      this.#rows.toTop();
      this.#render();
      this.#ui.list.querySelector(".title").focus();
    } else if (does === "retry") {
      this.#store.stop();
      this.#store.start();
    } else if (does === "readAll") {
      this.#do(does);
      this.focus();
    } else if (does === "more") {
      this.#content.whole(owner);
    } else if (does === "snooze") {
      this.#snoozing.toggle(button);
    } else if (does === "until") {
      this.#do("snooze", [owner.item.id], button.until);
    } else if (does === "act") {
      this.#act(event, button, owner);
    } else {
      const { item } = owner;
      const [time, undo] = UNDONE[does] ?? [];
      this.#do(item[time] ? undo : does, [item.id]);
    }
  }

  #close() {
    this.#element.open = false;
    this.#ui.bell.focus();
  }

  #act(event, button, owner) {
    const { item } = owner;
    if (!item.read_at && !item.snoozed_until) this.#do("read", [item.id]);
    const isWanted = this.#tell("action", { notification: item, action: button.action ?? null });
    if (!isWanted) event.preventDefault();
    if (!owner.matches(".toast")) return;
    owner.remove();
    if (!isWanted || button.href) return;
    this.#element.open = true;
    this.focus();
  }

  #pressed(event) {
    const { key, target } = event;
    const row = target.closest("li");
    const step = STEPS[key];
    if (target.role === "menuitem") {
      if (!this.#snoozing.pressed(key, target)) return;
    } else if (key === "Escape" && this.#isOpen) {
      this.#close();
    } else if (step && target.role === "tab") {
      const name = this.#filter.tabFrom(target.matches(":dir(rtl)") ? -step : step);
      this.#select(name);
      this.#ui[name].focus();
    } else if (step && row) {
      (step > 0 ? row.nextSibling : row.previousSibling)?.querySelector(".title").focus();
    } else {
      return;
    }
    event.preventDefault();
  }
}
