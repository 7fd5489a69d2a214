/**
 * `<synkrone-inbox>`: a bell, and the inbox under it. All that it knows of notifications comes from a store.
 *
 * Nothing of a notification becomes markup: texts are text nodes, addresses are set after their scheme was looked at.
 */
import { MESSAGES } from "./element_messages.js";
import { STYLES } from "./element_styles.js";

const TABS = ["all", "unread", "archived"];
const BATCH = 40;
const TOASTS_MAX = 3;
const TOAST_MS = 7_000;
const TIMES_MS = 20_000;
const TYPES_MAX = 50;
const HEAD = 200;
const TITLE_MAX_LENGTH = 500;
const BODY_MAX_LENGTH = 280;
const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const RIGHT_TO_LEFT = /^(ar|ckb|dv|fa|he|ps|sd|ug|ur|yi)\b/;

/** Null where it is none that a page may be left for. */
function addressOf(text, schemes = /^(https?|mailto|tel):/) {
  try {
    const { href } = new URL(text, document.baseURI);
    return typeof text === "string" && schemes.test(href) ? href : null;
  } catch {
    return null;
  }
}

function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const name in attributes) {
    if (attributes[name] !== null) node.setAttribute(name, attributes[name]);
  }
  node.append(...children);
  return node;
}

function iconButton(does, label) {
  return h("button", { type: "button", "data-does": does, "data-icon": does, "aria-label": label, title: label });
}

function link(url, attributes, ...children) {
  const href = addressOf(url);
  if (!href) return h("button", { type: "button", ...attributes }, ...children);
  const target = /^http/.test(href) && new URL(href).origin !== location.origin ? "_blank" : null;
  return h("a", { href, target, rel: "noopener", ...attributes }, ...children);
}

function relabel(button, label) {
  button.title = label;
  button.setAttribute("aria-label", label);
}

function actionsOf({ data }) {
  const given = Array.isArray(data?.actions) ? data.actions : [];
  return given.filter((action) => typeof action?.label === "string").slice(0, 3);
}

/** @param {(options: any) => any} createInbox */
export function defineInboxElement(createInbox) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(STYLES);

  class SynkroneInbox extends HTMLElement {
    static observedAttributes = ["src", "lang", "open"];
    #given = {};
    #store = null;
    #isOwn = false;
    #isConnected = false;
    #isBeginning = false;
    #unsubscribe = [];
    #timer;
    #view = null;
    #tab = "all";
    #type = "";
    #types = new Set();
    #limit = BATCH;
    #items = [];
    #rows = new Map();
    #known = null;
    #fresh = 0;
    #asked = new Set();
    #counts = null;
    #problem = null;
    #isLoading = false;
    #isAtEnd = false;
    #isOpen = false;
    #texts;
    #locale;
    #plural;
    #relative;
    #date;
    #observer;
    #ui = {};

    constructor() {
      super();
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
    }

    get open() {
      return this.hasAttribute("open");
    }

    set open(value) {
      this.toggleAttribute("open", Boolean(value));
    }

    connectedCallback() {
      for (const name of ["token", "socket", "store", "messages"]) {
        // What the page set before this class was there hides the accessors.
        if (!Object.hasOwn(this, name)) continue;
        const value = this[name];
        delete this[name];
        this[name] = value;
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
        this.#isConnected = false;
        this.#end();
        this.#listen(false);
        this.#observer.disconnect();
        this.shadowRoot.replaceChildren();
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
        const { store, socket, token } = this.#given;
        const url = this.getAttribute("src");
        this.#isOwn = !store;
        if (store) this.#store = store;
        else if (socket) this.#store = createInbox({ socket, ...(token && { token }) });
        else if (url && token) this.#store = createInbox({ url, token });
        if (!this.#store) return;
        this.#unsubscribe = [this.#store.subscribe(() => this.#changed())];
        this.#timer = setInterval(() => this.#tick(), TIMES_MS);
        this.#select();
        this.#changed();
      });
    }

    #end() {
      clearInterval(this.#timer);
      this.#closeView();
      for (const unsubscribe of this.#unsubscribe) unsubscribe();
      if (this.#isOwn) this.#store?.stop();
      this.#store = this.#known = this.#counts = this.#problem = null;
      this.#unsubscribe = [];
      this.#types.clear();
      this.#asked.clear();
      this.#type = "";
      this.#ui.toasts?.replaceChildren();
      this.#render();
    }

    #build() {
      const lang = (this.#locale = this.closest("[lang]")?.lang || navigator.language);
      this.#texts = { ...MESSAGES.en, ...MESSAGES[lang.slice(0, 2)], ...this.#given.messages };
      this.#plural = new Intl.PluralRules(lang);
      this.#relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
      this.#date = new Intl.DateTimeFormat(lang, { dateStyle: "medium" });
      const t = this.#texts;
      const ui = (this.#ui = {
        badge: h("span", { id: "badge", part: "badge" }),
        tabs: h("div", { role: "tablist", "aria-label": t.title }),
        types: h("select", { "aria-label": t.type }),
        note: h("div", { id: "note" }),
        pill: h("button", { id: "pill", part: "pill", type: "button", "data-does": "top" }),
        list: h("ul", { role: "list" }),
        state: h("p", { id: "state" }),
        end: h("div", {}),
        toasts: h("div", { id: "toasts" }),
        live: h("div", { class: "sr", role: "status" }),
      });
      for (const name of TABS) {
        ui.tabs.append(
          h("button", { type: "button", role: "tab", part: "tab", id: name, "aria-controls": "scroll" }, t[name]),
        );
      }
      ui.bell = h(
        "button",
        { id: "bell", part: "bell", type: "button", "data-icon": "bell", "data-does": "bell", "aria-controls": "panel" },
        ui.badge,
      );
      const link = (does) => h("button", { type: "button", class: "link", "data-does": does }, t[does]);
      ui.readAll = link("readAll");
      ui.retry = link("retry");
      ui.close = iconButton("close", t.close);
      ui.close.id = "close";
      ui.scroll = h("div", { id: "scroll", role: "tabpanel" }, ui.pill, ui.list, ui.state, ui.end);
      ui.panel = h(
        "div",
        { id: "panel", part: "panel", role: "dialog", "aria-labelledby": "heading", tabindex: -1 },
        h("header", {}, h("h2", { id: "heading" }, t.title), ui.readAll, ui.close),
        h("div", { id: "bar" }, ui.tabs, ui.types),
        ui.note,
        ui.scroll,
      );
      ui.root = h("div", { id: "root", lang }, ui.bell, ui.panel, ui.toasts, ui.live);
      if (this.hasAttribute("lang")) ui.root.dir = RIGHT_TO_LEFT.test(lang) ? "rtl" : "ltr";
      ui.root.onclick = (event) => this.#clicked(event);
      ui.root.onkeydown = (event) => this.#pressed(event);
      ui.types.onchange = () => this.#select(this.#tab, ui.types.value);
      ui.scroll.onscroll = () => ui.scroll.scrollTop < 40 && this.#setFresh(0);
      // A picture that does not come leaves no hole.
      ui.root.addEventListener("error", ({ target }) => target.remove(), true);
      this.#observer?.disconnect();
      this.#observer = new IntersectionObserver(
        (entries) => {
          this.#isAtEnd = entries.at(-1).isIntersecting;
          this.#more();
        },
        { root: ui.scroll, rootMargin: "600px" },
      );
      this.#rows.clear();
      this.#isOpen = false;
      this.shadowRoot.replaceChildren(ui.root);
      this.#toggled();
      this.#observer.observe(ui.end);
    }

    #text(name, n) {
      const text = this.#texts[name];
      const form = typeof text === "string" ? text : (text[this.#plural.select(n)] ?? text.other);
      return form.replace("{n}", () => n?.toLocaleString(this.#locale));
    }

    #tell(name, detail, cancelable = false) {
      const event = new CustomEvent(`synkrone-${name}`, { detail, bubbles: true, composed: true, cancelable });
      return this.dispatchEvent(event);
    }

    #failed(error) {
      this.#tell("error", error?.problem ?? error);
    }

    /** The store shows at once what will be, and has taken it back by the time that it refuses. */
    #do(action, ...given) {
      this.#store?.[action](...given).catch((error) => {
        this.#failed(error);
        if (action !== "seen") this.#toast(null, this.#texts.failed);
      });
    }

    // What is shown

    #select(tab = this.#tab, type = this.#type) {
      const hasView = tab !== "all" || type;
      this.#closeView();
      this.#tab = tab;
      this.#type = type;
      this.#limit = BATCH;
      this.#ui.scroll.scrollTop = 0;
      if (hasView && this.#store) {
        this.#view = this.#store.view({ ...(tab !== "all" && { state: tab }), ...(type && { type }) });
        this.#unsubscribe.push(this.#view.subscribe(() => this.#render()));
      }
      this.#setFresh(0);
      this.#render();
    }

    #closeView() {
      this.#view?.close();
      this.#view = null;
      this.#unsubscribe.splice(1);
    }

    #changed() {
      const { items, counts, status, problem } = this.#store.getSnapshot();
      if (counts !== this.#counts) {
        this.#counts = counts;
        if (counts) this.#tell("counts", counts);
      }
      if (problem !== this.#problem) {
        this.#problem = problem;
        if (status === "refused") this.#failed({ problem });
      }
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
      if (!this.#isOpen) {
        for (const item of fresh.slice(0, TOASTS_MAX).reverse()) this.#toast(item);
      } else if (this.#ui.scroll.scrollTop >= 40) {
        this.#setFresh(this.#fresh + fresh.length);
      }
      this.#say(fresh.length > 1 ? this.#text("new", fresh.length) : this.#titleOf(fresh[0]));
    }

    #setFresh(number) {
      this.#fresh = number;
      this.#ui.pill.hidden = !number;
      if (number) this.#ui.pill.textContent = this.#text("new", number);
    }

    #say(text) {
      this.#ui.live.textContent = text;
    }

    #render() {
      const ui = this.#ui;
      if (!ui.root) return;
      const t = this.#texts;
      const shown = this.#store?.getSnapshot();
      const unread = shown?.counts?.unread ?? 0;
      ui.badge.textContent = unread > 99 ? "99+" : unread.toLocaleString(this.#locale);
      ui.badge.hidden = !unread;
      relabel(ui.bell, unread ? `${t.title}, ${this.#text("count", unread)}` : t.title);
      ui.bell.ariaExpanded = this.#isOpen;
      if (!this.#isOpen) return;
      const isRefused = shown?.status === "refused";
      ui.readAll.hidden = !unread;
      ui.note.hidden = !isRefused && shown?.status !== "offline";
      ui.note.replaceChildren(isRefused ? t.refused : t.offline, isRefused && this.#isOwn ? ui.retry : "");
      for (const tab of ui.tabs.children) {
        const isSelected = tab.id === this.#tab;
        tab.ariaSelected = isSelected;
        tab.tabIndex = isSelected ? 0 : -1;
        if (isSelected) ui.scroll.setAttribute("aria-labelledby", tab.id);
      }
      const { items = [], isListed = shown?.counts } = (this.#view ?? this.#store)?.getSnapshot() ?? {};
      this.#items = items;
      this.#renderTypes(shown?.items ?? []);
      this.#renderRows(items.slice(0, this.#limit));
      ui.state.hidden = items.length > 0;
      ui.state.className = !isListed && ui.note.hidden ? "loading" : "";
      ui.state.textContent = isListed ? t[`empty${this.#tab}`] : ui.note.hidden ? t.loading : "";
      const unseen = items.slice(0, this.#limit).filter(({ id, seen_at: seen }) => !seen && !this.#asked.has(id));
      if (unseen.length) {
        const ids = unseen.map(({ id }) => id);
        for (const id of ids) this.#asked.add(id);
        this.#do("seen", ids);
      }
      this.#more();
    }

    #renderTypes(items) {
      const { types } = this.#ui;
      for (const { type } of items) if (this.#types.size < TYPES_MAX) this.#types.add(type);
      types.hidden = this.#types.size < 2;
      if (types.length === this.#types.size + 1) return;
      types.replaceChildren(h("option", { value: "" }, this.#texts.types));
      for (const type of this.#types) types.append(h("option", { value: type }, this.#nameOf(type)));
      types.value = this.#type;
    }

    /** Rows stay the same nodes, so that focus and selection stay where they are. */
    #renderRows(items) {
      const { list } = this.#ui;
      const rows = new Map();
      for (const item of items) {
        const row = this.#rows.get(item.id) ?? this.#row(item);
        if (row.item !== item) this.#mark(row, item);
        rows.set(item.id, row);
      }
      const active = this.shadowRoot.activeElement;
      let next = null;
      for (const [id, row] of this.#rows) {
        if (rows.get(id) === row) continue;
        if (row.contains(active)) {
          next = row;
          do next = next.nextElementSibling;
          while (next && rows.get(next.item.id) !== next);
          next ??= [...rows.values()].at(-1) ?? this.#ui.panel;
        }
        row.remove();
      }
      let at = list.firstChild;
      for (const row of rows.values()) {
        if (row === at) at = at.nextSibling;
        else list.insertBefore(row, at);
      }
      this.#rows = rows;
      (next?.querySelector(`[data-icon=${active.dataset.icon}]`) ?? next?.querySelector(".title") ?? next)?.focus();
    }

    #row(item) {
      const t = this.#texts;
      const tools = h("div", { class: "tools" });
      for (const does of ["read", "archive", "delete"]) tools.append(iconButton(does, t[does]));
      const actions = h("div", { class: "actions" });
      for (const action of actionsOf(item)) {
        const node = link(action.url, { part: "action", "data-does": "act", dir: "auto" }, action.label);
        node.action = action;
        actions.append(node);
      }
      const row = h("li", { part: "item" }, ...this.#content(item, actions.firstChild ? actions : ""), tools);
      this.#mark(row, item);
      return row;
    }

    #content(item, actions) {
      const { data, body } = item;
      const image = addressOf(data?.image, /^https?:/);
      const isLong = body?.length > BODY_MAX_LENGTH || body?.split("\n", 5).length > 4;
      const time = h("time", { part: "time", datetime: item.created_at });
      time.title = new Date(item.created_at).toLocaleString(this.#locale);
      this.#age(time);
      const title = h("span", { dir: "auto" }, this.#titleOf(item));
      return [
        image
          ? h("img", { src: image, alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer" })
          : "",
        h(
          "div",
          { class: "text" },
          h("div", { class: "head" }, link(data?.url, { part: "title", class: "title", "data-does": "act" }, title), time),
          body ? h("p", { part: "body", class: "body", dir: "auto" }, body.slice(0, BODY_MAX_LENGTH)) : "",
          isLong ? h("button", { type: "button", class: "link", "data-does": "more" }, this.#texts.more) : "",
          actions,
        ),
      ];
    }

    #mark(row, item) {
      const t = this.#texts;
      const [read, archive] = row.querySelectorAll(".tools button");
      row.item = item;
      row.classList.toggle("unread", !item.read_at);
      row.classList.toggle("archived", item.archived_at !== null);
      row.querySelector(".title").setAttribute("aria-description", item.read_at ? "" : t.unread);
      relabel(read, item.read_at ? t.unreadAgain : t.read);
      relabel(archive, item.archived_at ? t.unarchive : t.archive);
    }

    #titleOf({ title, type }) {
      return title ? title.slice(0, TITLE_MAX_LENGTH) : this.#nameOf(type);
    }

    #nameOf(type) {
      return this.#texts[`type:${type}`] ?? String(type).replace(/[._-]+/g, " ");
    }

    #age(time) {
      const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
      const [unit, length] = UNITS.find((each) => seconds >= each[1]) ?? ["second", Infinity];
      const age = Math.floor(seconds / length);
      const told = `${age}${unit}`;
      // To look is cheap, and to write is not.
      if (time.told === told) return;
      time.told = told;
      time.textContent =
        unit === "day" && age > 6
          ? this.#date.format(Date.parse(time.dateTime))
          : this.#relative.format(unit === "second" ? 0 : -age, unit);
    }

    #tick() {
      for (const time of this.#ui.root.querySelectorAll("time")) this.#age(time);
    }

    #more() {
      const source = this.#view ?? this.#store;
      if (!this.#isOpen || !this.#isAtEnd || !source) return;
      if (this.#limit < this.#items.length) {
        this.#limit += BATCH;
        requestAnimationFrame(() => {
          this.#render();
          // It is told again where the end is now.
          this.#observer.unobserve(this.#ui.end);
          this.#observer.observe(this.#ui.end);
        });
        this.#isAtEnd = false;
      } else if (source.getSnapshot().hasMore && !this.#isLoading) {
        this.#isLoading = true;
        const done = () => void (this.#isLoading = false);
        source.loadMore().then(done, done);
      }
    }

    #toast(item, text) {
      const { toasts } = this.#ui;
      const content = item ? this.#content(item, "") : [h("div", { class: "text" }, text)];
      const toast = h("div", { part: "toast", class: "toast" }, ...content, iconButton("close", this.#texts.close));
      toast.item = item;
      let timer;
      toast.onpointerenter = toast.onfocusin = () => clearTimeout(timer);
      const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => toast.remove(), TOAST_MS);
      };
      toast.onpointerleave = toast.onfocusout = wait;
      wait();
      while (toasts.childElementCount >= TOASTS_MAX) toasts.firstChild.remove();
      toasts.append(toast);
      if (!item) this.#say(text);
    }

    // What the user does

    #toggled() {
      const ui = this.#ui;
      const isChanged = this.#isOpen !== this.open;
      this.#isOpen = this.open;
      ui.panel.hidden = !this.#isOpen;
      this.#limit = BATCH;
      this.#setFresh(0);
      this.#listen(this.#isOpen);
      if (this.#isOpen) {
        ui.toasts.replaceChildren();
        this.#asked.clear();
        this.#place();
      } else {
        this.#renderRows([]);
      }
      this.#render();
      if (isChanged) this.#tell("open", { open: this.#isOpen });
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
      const wanted = getComputedStyle(root).direction === "rtl" ? left : right - width;
      const end = document.documentElement.clientWidth - width - 8;
      panel.style.left = `${Math.max(8, Math.min(wanted, end)) - this.getBoundingClientRect().left}px`;
    };

    #close() {
      this.open = false;
      this.#ui.bell.focus();
    }

    #clicked(event) {
      const button = event.target.closest("[data-does],[role=tab]");
      if (!button) return;
      const does = button.dataset.does;
      const ui = this.#ui;
      const owner = button.closest("li,.toast");
      const { item } = owner ?? {};
      const isToast = owner?.matches(".toast");
      if (!does) {
        this.#select(button.id);
      } else if (does === "bell") {
        this.open = !this.open;
        if (this.open) ui.panel.focus();
      } else if (does === "close") {
        if (isToast) owner.remove();
        else this.#close();
      } else if (does === "top") {
        ui.scroll.scrollTop = 0;
        ui.list.querySelector(".title")?.focus();
      } else if (does === "retry") {
        this.#store.stop();
        this.#store.start();
      } else if (does === "readAll") {
        this.#do(does);
        ui.panel.focus();
      } else if (does === "more") {
        const body = owner.querySelector(".body");
        body.classList.add("whole");
        body.textContent = item.body;
        owner.querySelector(".title").focus();
        button.remove();
      } else if (does === "act") {
        if (!item.read_at) this.#do("read", [item.id]);
        const isWanted = this.#tell("action", { notification: item, action: button.action ?? null }, true);
        if (!isWanted) event.preventDefault();
        if (isToast) {
          owner.remove();
          if (isWanted && !button.href) {
            this.open = true;
            ui.panel.focus();
          }
        }
      } else if (does === "read") {
        this.#do(item.read_at ? "unread" : "read", [item.id]);
      } else {
        this.#do(does === "archive" && item.archived_at ? "unarchive" : does, [item.id]);
      }
    }

    #pressed(event) {
      const { key, target } = event;
      const isTab = target.matches("[role=tab]");
      let next;
      if (key === "Escape" && this.#isOpen) {
        this.#close();
      } else if (isTab) {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
        const isReversed = getComputedStyle(target).direction === "rtl";
        const at = TABS.indexOf(this.#tab) + (isReversed ? -step : step);
        if (step) next = this.#ui.tabs.children[(at + TABS.length) % TABS.length];
        if (next) this.#select(next.id);
      } else if (key === "ArrowDown") {
        next = target.closest("li")?.nextElementSibling?.querySelector(".title");
      } else if (key === "ArrowUp") {
        next = target.closest("li")?.previousElementSibling?.querySelector(".title");
      } else {
        return;
      }
      if (!next && key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      next?.focus();
    }
  }

  for (const name of ["token", "socket", "store", "messages"]) {
    Object.defineProperty(SynkroneInbox.prototype, name, {
      get() {
        return this.given(name);
      },
      set(value) {
        this.give(name, value);
      },
      enumerable: true,
    });
  }
  for (const name of ["src", "theme"]) {
    Object.defineProperty(SynkroneInbox.prototype, name, {
      get() {
        return this.getAttribute(name) ?? "";
      },
      set(value) {
        this.setAttribute(name, value);
      },
      enumerable: true,
    });
  }
  customElements.define("synkrone-inbox", SynkroneInbox);
}
