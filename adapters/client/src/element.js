/**
 * `<synkrone-inbox>`: a bell, and the inbox under it. All that it knows of notifications comes from a store.
 *
 * Nothing of a notification becomes markup: texts are text nodes, addresses are set after their scheme was looked at.
 */
import { MESSAGES } from "./element_messages.js";
import { STYLES } from "./element_styles.js";

const TABS = ["all", "unread", "archived"];
/** Rows are made and dropped by the batch. More of them than these are never in the page. */
const BATCH = 10;
const ROWS_MAX = 6 * BATCH;
const TOASTS_MAX = 3;
const TOAST_MS = 7_000;
const TIMES_MS = 20_000;
const TYPES_MAX = 50;
const HEAD = 200;
const TITLE_MAX_LENGTH = 500;
const BODY_MAX_LENGTH = 280;
const NEAR_END = 400;
const NEAR_TOP = 40;
const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const RIGHT_TO_LEFT = /^(ar|ckb|dv|fa|he|ps|sd|ug|ur|yi)\b/;

const icon = (does, more = "") => `<button type=button data-does=${does} data-icon=${does} ${more}></button>`;
const link = (does) => `<button type=button class=link id=${does} data-does=${does} data-text=${does}></button>`;
const tab = (name) =>
  `<button type=button role=tab part=tab id=${name} aria-controls=scroll data-text=${name}></button>`;

const FRAME = `<div id=root><button type=button id=bell part=bell data-icon=bell data-does=bell aria-controls=panel>\
<span id=badge part=badge></span></button>\
<div id=panel part=panel role=dialog aria-labelledby=heading tabindex=-1>\
<header><h2 id=heading data-text=title></h2>${link("readAll")}${icon("close", "id=close")}</header>\
<div id=bar><div id=tabs role=tablist aria-labelledby=heading>${TABS.map(tab).join("")}</div><select id=types></select></div>\
<div id=note><span id=why></span>${link("retry")}</div>\
<div id=scroll role=tabpanel><button type=button id=pill part=pill data-does=top></button>\
<div id=gap></div><ul id=list role=list></ul><p id=state></p></div></div>\
<div id=toasts></div><div id=live role=status></div></div>`;
const CONTENT = `<div class=text><div class=head><time part=time></time></div><p part=body class=body dir=auto></p>\
<button type=button class=link data-does=more data-text=more></button><div class=actions></div></div>`;
const ROW = `<li part=item>${CONTENT}<div class=tools>${["read", "archive", "delete"].map((does) => icon(does)).join("")}</div></li>`;
const TOAST = `<div part=toast class=toast>${CONTENT}${icon("close")}</div>`;

/** Null where it is none that a page may be left for. */
function addressOf(text, schemes = /^(https?|mailto|tel):/) {
  try {
    const { href } = new URL(text, document.baseURI);
    return typeof text === "string" && schemes.test(href) ? href : null;
  } catch {
    return null;
  }
}

/** A link, or a button where there is nowhere to go. */
function doer(part, text, url) {
  const href = addressOf(url);
  const node = document.createElement(href ? "a" : "button");
  if (href) {
    node.href = href;
    node.rel = "noopener";
    if (/^http/.test(href) && new URL(href).origin !== location.origin) node.target = "_blank";
  } else {
    node.type = "button";
  }
  node.part = node.className = part;
  node.dataset.does = "act";
  const span = document.createElement("span");
  span.dir = "auto";
  span.textContent = text;
  node.append(span);
  return node;
}

function label(node, text) {
  node.title = node.ariaLabel = text;
}

/** @param {(options: any) => any} createInbox */
export function defineInboxElement(createInbox) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLES);

  class SynkroneInbox extends HTMLElement {
    static observedAttributes = ["src", "lang", "open"];
    #given = {};
    #store = null;
    #isConnected = false;
    #isBeginning = false;
    #ends = [];
    #view = null;
    #tab = "all";
    #type = "";
    #types = new Set();
    /** Of the batches above those that are in the page. */
    #heights = [];
    #rows = new Map();
    #known = null;
    #fresh = 0;
    #asked = new Set();
    #counts = null;
    #problem = null;
    #isLoading = false;
    #isDue = false;
    #isOpen = false;
    #texts;
    #locale;
    #plural;
    #relative;
    #date;
    #moment;
    #templates = {};
    #ui = {};

    constructor() {
      super();
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    }

    connectedCallback() {
      for (const name of Object.keys(this)) {
        // What the page set before this class was there hides the accessors.
        const value = this[name];
        if (delete this[name]) this[name] = value;
      }
      if (this.#isConnected) return;
      this.#isConnected = true;
      this.#build();
      this.#begin();
    }

    disconnectedCallback() {
      // What is only moved is back by then.
      queueMicrotask(() => {
        if (this.isConnected || !this.#isConnected) return;
        this.#end();
        this.#isConnected = false;
        this.#listen(false);
      });
    }

    attributeChangedCallback(name, before, value) {
      if (!this.#isConnected || before === value) return;
      if (name === "src") this.#begin();
      else if (name === "lang") this.#build();
      else this.#toggled();
    }

    given(name) {
      return this.#given[name] ?? (name === "store" ? this.#store : null);
    }

    give(name, value) {
      if (this.#given[name] === value) return;
      this.#given[name] = value;
      if (!this.#isConnected) return;
      if (name === "messages") this.#build();
      else this.#begin();
    }

    /** Once for all that a page sets in one go. */
    #begin() {
      if (this.#isBeginning) return;
      this.#isBeginning = true;
      queueMicrotask(() => {
        this.#isBeginning = false;
        if (!this.#isConnected) return;
        this.#end();
        const { store, socket, token = undefined } = this.#given;
        const url = this.src;
        const isComplete = store || socket || (url && token);
        if (!isComplete) return;
        const own = (this.#store = store ?? createInbox(socket ? { socket, token } : { url, token }));
        const timer = setInterval(() => this.#ui.root.querySelectorAll("time").forEach((time) => this.#age(time)), TIMES_MS);
        this.#ends = [own.subscribe(() => this.#changed()), () => clearInterval(timer), () => store || own.stop()];
        this.#select();
        this.#changed();
      });
    }

    #end() {
      this.#closeView();
      for (const end of this.#ends.splice(0)) end();
      this.#store = this.#known = this.#counts = this.#problem = null;
      this.#types.clear();
      this.#type = "";
      this.#ui.toasts.replaceChildren();
      this.#render();
    }

    /** Anew for every language. */
    #build() {
      const lang = (this.#locale = this.closest("[lang]")?.lang || navigator.language);
      this.#texts = { ...MESSAGES.en, ...MESSAGES[lang.slice(0, 2)], ...this.#given.messages };
      this.#plural = new Intl.PluralRules(lang);
      this.#relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
      this.#date = new Intl.DateTimeFormat(lang, { dateStyle: "medium" });
      this.#moment = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });
      this.#templates = {};
      const root = this.#clone(FRAME);
      const ui = (this.#ui = { root });
      for (const node of root.querySelectorAll("[id]")) ui[node.id] = node;
      root.lang = lang;
      if (this.lang) root.dir = RIGHT_TO_LEFT.test(lang) ? "rtl" : "ltr";
      ui.types.ariaLabel = this.#texts.type;
      root.onclick = (event) => this.#clicked(event);
      root.onkeydown = (event) => this.#pressed(event);
      ui.types.onchange = () => this.#select(this.#tab, ui.types.value);
      ui.scroll.onscroll = () => {
        if (ui.scroll.scrollTop < NEAR_TOP) this.#setFresh(0);
        this.#more();
      };
      // A picture that does not come leaves no hole.
      root.addEventListener("error", ({ target }) => target.remove(), true);
      this.#rows.clear();
      this.shadowRoot.replaceChildren(root);
      this.#toggled();
    }

    /** One of the constants above, in the page's language. */
    #clone(markup) {
      const known = this.#templates[markup];
      if (known) return known.cloneNode(true);
      const template = document.createElement("template");
      template.innerHTML = markup;
      const node = (this.#templates[markup] = template.content.firstChild);
      for (const each of node.querySelectorAll("[data-text]")) each.textContent = this.#texts[each.dataset.text];
      for (const each of node.querySelectorAll("[data-icon]")) label(each, this.#texts[each.dataset.icon]);
      return this.#clone(markup);
    }

    #text(name, n, shown = n.toLocaleString(this.#locale)) {
      const text = this.#texts[name];
      const form = text[this.#plural.select(n)] ?? text.other ?? text;
      return form.replace("{n}", shown);
    }

    #tell(name, detail) {
      const options = { detail, bubbles: true, composed: true, cancelable: true };
      return this.dispatchEvent(new CustomEvent(`synkrone-${name}`, options));
    }

    /** The store shows at once what will be, and has taken it back by the time that it refuses. */
    #do(action, ids) {
      this.#store[action](ids).catch((error) => {
        this.#tell("error", error.problem ?? error);
        if (action !== "seen") this.#toast();
      });
    }

    #select(tab = this.#tab, type = this.#type) {
      this.#closeView();
      this.#tab = tab;
      this.#type = type;
      this.#toTop();
      const state = tab === "all" ? undefined : tab;
      if (state || type) {
        this.#view = this.#store?.view({ state, type: type || undefined });
        this.#view?.subscribe(() => this.#render());
      }
      this.#render();
    }

    #closeView() {
      this.#view?.close();
      this.#view = null;
    }

    #changed() {
      const { items, counts, problem } = this.#store.getSnapshot();
      if (counts !== this.#counts && counts) this.#tell("counts", counts);
      this.#counts = counts;
      if (problem !== this.#problem && problem) this.#tell("error", problem);
      this.#problem = problem;
      this.#arrived(counts && items);
      this.#render();
    }

    /** The newest ones up to the first that was known before. Of what was listed first none is news. */
    #arrived(items) {
      const known = this.#known;
      this.#known = items && new Set(items.slice(0, HEAD).map(({ id }) => id));
      if (!known || !items) return;
      const end = items.findIndex(({ id }) => known.has(id));
      const fresh = items.slice(0, end < 0 ? HEAD : end).filter((item) => !item.seen_at);
      if (!fresh.length) return;
      if (!this.#isOpen) fresh.slice(0, TOASTS_MAX).reverse().forEach((item) => this.#toast(item));
      else if (this.#ui.scroll.scrollTop >= NEAR_TOP) this.#setFresh(this.#fresh + fresh.length);
      this.#ui.live.textContent = fresh[1] ? this.#text("new", fresh.length) : this.#titleOf(fresh[0]);
    }

    #toTop() {
      this.#heights = [];
      this.#ui.scroll.scrollTop = 0;
      this.#setFresh(0);
    }

    #setFresh(number) {
      this.#fresh = number;
      this.#ui.pill.hidden = !number;
      if (number) this.#ui.pill.textContent = this.#text("new", number);
    }

    #render() {
      const ui = this.#ui;
      const t = this.#texts;
      const { items: all = [], counts, status } = this.#store?.getSnapshot() ?? {};
      const unread = counts?.unread ?? 0;
      const badge = unread > 99 ? "99+" : String(unread);
      ui.badge.textContent = badge;
      ui.badge.hidden = ui.readAll.hidden = !unread;
      // Its name has what is seen of it (WCAG 2.1, 2.5.3).
      label(ui.bell, unread ? `${t.title}, ${this.#text("count", unread, badge)}` : t.title);
      ui.bell.ariaExpanded = this.#isOpen;
      if (!this.#isOpen) return;
      const isRefused = status === "refused";
      ui.note.hidden = !isRefused && status !== "offline";
      ui.why.textContent = isRefused ? t.refused : t.offline;
      ui.retry.hidden = !isRefused || this.#given.store;
      for (const tab of ui.tabs.children) {
        const isSelected = tab.id === this.#tab;
        tab.ariaSelected = isSelected;
        tab.tabIndex = isSelected ? 0 : -1;
      }
      ui.scroll.setAttribute("aria-labelledby", this.#tab);
      this.#renderTypes(all);
      const { items = [], isListed = counts } = (this.#view ?? this.#store)?.getSnapshot() ?? {};
      while (this.#first && this.#first >= items.length) this.#heights.pop();
      const shown = items.slice(this.#first, this.#first + ROWS_MAX);
      ui.gap.style.height = `${this.#gap}px`;
      this.#renderRows(shown);
      ui.state.hidden = items.length;
      ui.state.textContent = isListed ? t[`empty${this.#tab}`] : ui.note.hidden ? t.loading : "";
      const unseen = shown.filter((item) => !item.seen_at && !this.#asked.has(item.id)).map(({ id }) => id);
      if (unseen.length) {
        for (const id of unseen) this.#asked.add(id);
        this.#do("seen", unseen);
      }
      this.#soon();
    }

    #renderTypes(items) {
      const { types } = this.#ui;
      for (const { type } of items) if (this.#types.size < TYPES_MAX) this.#types.add(type);
      types.hidden = this.#types.size < 2;
      if (types.length === this.#types.size + 1) return;
      const options = [...this.#types].map((type) => new Option(this.#nameOf(type), type));
      types.replaceChildren(new Option(this.#texts.types, ""), ...options);
      types.value = this.#type;
    }

    /** Rows stay the same nodes, so that focus and selection stay where they are. */
    #renderRows(items) {
      const { list, panel } = this.#ui;
      const active = this.shadowRoot.activeElement;
      const focused = active?.closest("li");
      let next = focused?.nextSibling;
      const rows = new Map();
      for (const item of items) {
        const row = this.#rows.get(item.id) ?? this.#fill(ROW, item);
        if (row.item !== item) this.#mark(row, item);
        rows.set(item.id, row);
      }
      for (const [id, row] of this.#rows) {
        if (rows.has(id)) continue;
        if (row === next) next = row.nextSibling;
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

    #fill(markup, item) {
      const { data, body, created_at: created } = item;
      const row = this.#clone(markup);
      const one = (selector) => row.querySelector(selector);
      const title = doer("title", this.#titleOf(item), data?.url);
      const time = one("time");
      time.before(title);
      time.dateTime = created;
      const at = Date.parse(created);
      if (at) time.title = this.#moment.format(at);
      this.#age(time);
      const text = typeof body === "string" ? body : "";
      one(".body").textContent = text.slice(0, BODY_MAX_LENGTH);
      one(".body").hidden = !text;
      one("[data-does=more]").hidden = text.length < BODY_MAX_LENGTH && text.split("\n", 4).length < 4;
      const src = addressOf(data?.image, /^https?:/);
      if (src) {
        const image = new Image();
        Object.assign(image, { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src });
        row.prepend(image);
      }
      const actions = Array.isArray(data?.actions) ? data.actions : [];
      for (const action of actions.filter((each) => typeof each?.label === "string").slice(0, 3)) {
        const node = doer("action", action.label, action.url);
        node.action = action;
        one(".actions").append(node);
      }
      this.#mark(row, item);
      return row;
    }

    #mark(row, item) {
      const t = this.#texts;
      const [read, archive] = row.querySelectorAll(".tools button");
      row.item = item;
      row.classList.toggle("unread", !item.read_at);
      row.classList.toggle("archived", !!item.archived_at);
      if (!read) return;
      row.querySelector(".title").ariaDescription = item.read_at ? "" : t.unread;
      label(read, item.read_at ? t.unreadAgain : t.read);
      label(archive, item.archived_at ? t.unarchive : t.archive);
    }

    #titleOf({ title, type }) {
      return title ? title.slice(0, TITLE_MAX_LENGTH) : this.#nameOf(type);
    }

    #nameOf(type) {
      return this.#texts[`type:${type}`] ?? type.replace(/[._-]+/g, " ");
    }

    #age(time) {
      const at = Date.parse(time.dateTime);
      const seconds = Math.max(0, (Date.now() - at) / 1000);
      const [unit, length] = UNITS.find((each) => seconds >= each[1]) ?? ["second", Infinity];
      const age = Math.floor(seconds / length);
      // To look is cheap, and to write is not.
      if (time.told === unit + age) return;
      time.told = unit + age;
      const isOld = seconds > 7 * 86_400;
      time.textContent = isOld ? this.#date.format(at) : this.#relative.format(-age || 0, unit);
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
      const source = this.#view ?? this.#store;
      if (!this.#isOpen || !source) return;
      const { items, hasMore } = source.getSnapshot();
      const above = scroll.scrollTop - NEAR_END;
      const isPast = this.#gap > above;
      if (isPast && this.#first) {
        while (this.#first && this.#gap > above) this.#heights.pop();
        this.#render();
      } else if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight > NEAR_END) {
        return;
      } else if (this.#first + ROWS_MAX < items.length) {
        this.#heights.push(list.children[BATCH].offsetTop - list.firstChild.offsetTop);
        this.#render();
      } else if (hasMore && !this.#isLoading) {
        this.#isLoading = true;
        const done = () => void (this.#isLoading = false);
        source.loadMore().then(() => (done(), this.#soon()), done);
      }
    }

    /** For a new one, or that something was refused. */
    #toast(item) {
      const { toasts, live } = this.#ui;
      const toast = this.#clone(TOAST);
      if (item) toast.replaceChildren(...this.#fill(TOAST, item).childNodes);
      else toast.firstChild.textContent = live.textContent = this.#texts.failed;
      toast.item = item;
      const leave = () => {
        if (toast.matches(":hover,:focus-within")) setTimeout(leave, TOAST_MS);
        else toast.remove();
      };
      setTimeout(leave, TOAST_MS);
      if (toasts.childElementCount >= TOASTS_MAX) toasts.firstChild.remove();
      toasts.append(toast);
    }

    #toggled() {
      const ui = this.#ui;
      const isChanged = this.#isOpen !== this.open;
      this.#isOpen = this.open;
      ui.panel.hidden = !this.open;
      this.#toTop();
      this.#listen(this.open);
      if (this.open) {
        ui.toasts.replaceChildren();
        this.#asked.clear();
        this.#place();
      } else {
        this.#renderRows([]);
      }
      this.#render();
      if (isChanged) this.#tell("open", { open: this.open });
    }

    #listen(isOpen) {
      const change = isOpen ? "addEventListener" : "removeEventListener";
      document[change]("pointerdown", this.#elsewhere);
      window[change]("resize", this.#place);
    }

    #elsewhere = (event) => {
      if (!event.composedPath().includes(this)) this.open = false;
    };

    /** Under the bell, and inside the window. */
    #place = () => {
      const { bell, panel, root } = this.#ui;
      const { left, right } = bell.getBoundingClientRect();
      const width = panel.offsetWidth;
      const wanted = root.matches(":dir(rtl)") ? left : right - width;
      const end = document.documentElement.clientWidth - width - 8;
      panel.style.left = `${Math.max(8, Math.min(wanted, end)) - left}px`;
    };

    #clicked(event) {
      const button = event.target.closest("[data-does],[role=tab]");
      if (!button) return;
      const { does } = button.dataset;
      const ui = this.#ui;
      const owner = button.closest("li,.toast");
      const item = owner?.item;
      const isToast = owner?.matches(".toast");
      if (!does) {
        this.#select(button.id);
      } else if (does === "bell") {
        this.open = !this.open;
        ui.panel.focus();
      } else if (does === "close") {
        if (isToast) return owner.remove();
        this.open = false;
        ui.bell.focus();
      } else if (does === "top") {
        this.#toTop();
        this.#render();
        ui.list.querySelector(".title").focus();
      } else if (does === "retry") {
        this.#store.stop();
        this.#store.start();
      } else if (does === "readAll") {
        this.#do(does);
        ui.panel.focus();
      } else if (does === "more") {
        const body = button.previousSibling;
        body.classList.add("whole");
        body.textContent = item.body;
        owner.querySelector(".title").focus();
        button.remove();
      } else if (does === "act") {
        if (!item.read_at) this.#do("read", [item.id]);
        const isWanted = this.#tell("action", { notification: item, action: button.action ?? null });
        if (!isWanted) event.preventDefault();
        if (!isToast) return;
        owner.remove();
        if (!isWanted || button.href) return;
        this.open = true;
        ui.panel.focus();
      } else {
        const [time, undo] = { read: ["read_at", "unread"], archive: ["archived_at", "unarchive"] }[does] ?? [];
        this.#do(item[time] ? undo : does, [item.id]);
      }
    }

    #pressed(event) {
      const { key, target } = event;
      const row = target.closest("li");
      const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[key];
      if (key === "Escape" && this.#isOpen) {
        this.#ui.close.click();
      } else if (step && target.role === "tab") {
        const isReversed = target.matches(":dir(rtl)");
        const at = TABS.indexOf(this.#tab) + (isReversed ? -step : step);
        const tab = this.#ui.tabs.children[(at + TABS.length) % TABS.length];
        this.#select(tab.id);
        tab.focus();
      } else if (step && row) {
        (step > 0 ? row.nextSibling : row.previousSibling)?.querySelector(".title").focus();
      } else {
        return;
      }
      event.preventDefault();
    }
  }

  const { prototype } = SynkroneInbox;
  const reflect = (name, get, set) => Object.defineProperty(prototype, name, { get, set, enumerable: true });
  for (const name of ["token", "socket", "store", "messages"]) {
    const set = function (value) {
      this.give(name, value);
    };
    reflect(name, function () { return this.given(name); }, set);
  }
  for (const name of ["src", "theme"]) {
    const set = function (value) {
      this.setAttribute(name, value);
    };
    reflect(name, function () { return this.getAttribute(name) ?? ""; }, set);
  }
  const setOpen = function (value) {
    this.toggleAttribute("open", !!value);
  };
  reflect("open", function () { return this.hasAttribute("open"); }, setOpen);
  customElements.define("synkrone-inbox", SynkroneInbox);
}
