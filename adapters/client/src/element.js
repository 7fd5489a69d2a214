/**
 * `<synkrone-inbox>`: a bell, and a panel under it that is loaded later. All that it knows of notifications comes from a
 * store.
 */
import { MESSAGES } from "./element_messages.js";
import { STYLES } from "./element_styles.js";
import { Language, label } from "./language.js";
import { loadPanel } from "./later.js";

const FRAME = `<div id=root>\
<button type=button id=bell part=bell aria-controls=panel aria-expanded=false><span id=badge part=badge></span></button>\
<div id=live role=status></div></div>`;
const BADGE_MAX = 99;
/** Where there is no telling when a page is idle. */
const IDLE_MS = 1_000;
const NOT_LOADED = { code: "panel_not_loaded", title: "The panel could not be loaded.", retryable: true };

function whenIdle(act) {
  if (globalThis.requestIdleCallback) requestIdleCallback(act);
  else setTimeout(act, IDLE_MS);
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
    #isOpen = false;
    #ends = [];
    #counts = null;
    #problem = null;
    #listed = null;
    #language;
    #ui = {};
    #panel = null;

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
      this.#toggled();
      this.#begin();
    }

    disconnectedCallback() {
      // What is only moved is back by then.
      queueMicrotask(() => {
        if (this.isConnected || !this.#isConnected) return;
        this.#end();
        this.#isConnected = false;
        this.#toggled();
      });
    }

    attributeChangedCallback(name, before, value) {
      if (!this.#isConnected || before === value) return;
      if (name === "src") this.#begin();
      else if (name === "lang") this.#build();
      else this.#toggled();
    }

    get src() {
      return this.getAttribute("src") ?? "";
    }

    set src(value) {
      this.setAttribute("src", value);
    }

    get theme() {
      return this.getAttribute("theme") ?? "";
    }

    set theme(value) {
      this.setAttribute("theme", value);
    }

    get open() {
      return this.hasAttribute("open");
    }

    set open(value) {
      this.toggleAttribute("open", !!value);
    }

    get token() {
      return this.#given.token ?? null;
    }

    set token(value) {
      this.#give("token", value);
    }

    get socket() {
      return this.#given.socket ?? null;
    }

    set socket(value) {
      this.#give("socket", value);
    }

    get store() {
      return this.#given.store ?? this.#store;
    }

    set store(value) {
      this.#give("store", value);
    }

    get messages() {
      return this.#given.messages ?? null;
    }

    set messages(value) {
      this.#give("messages", value);
    }

    #give(name, value) {
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
        this.#ends = [own.subscribe(() => this.#changed()), () => store || own.stop()];
        this.#panel?.follow(own, !!store);
        this.#changed();
      });
    }

    #end() {
      for (const end of this.#ends.splice(0)) end();
      this.#store = this.#counts = this.#problem = this.#listed = null;
      this.#panel?.follow(null);
      this.#render();
    }

    /** Anew for every language. */
    #build() {
      const locale = this.closest("[lang]")?.lang || navigator.language;
      const language = (this.#language = new Language(locale, this.#given.messages));
      language.add(MESSAGES);
      this.shadowRoot.innerHTML = FRAME;
      const root = this.shadowRoot.firstChild;
      root.lang = locale;
      if (this.lang) root.dir = language.isRightToLeft ? "rtl" : "ltr";
      for (const node of root.querySelectorAll("[id]")) this.#ui[node.id] = node;
      this.#ui.root = root;
      this.#ui.bell.onclick = () => this.#pressed();
      this.#panel?.build(root, language);
      this.#render();
    }

    #tell(name, detail) {
      const options = { detail, bubbles: true, composed: true, cancelable: true };
      return this.dispatchEvent(new CustomEvent(`synkrone-${name}`, options));
    }

    #changed() {
      const { items, counts, problem } = this.#store.getSnapshot();
      this.#listed = counts && (this.#listed ?? items);
      if (counts !== this.#counts && counts) this.#tell("counts", counts);
      this.#counts = counts;
      if (problem !== this.#problem && problem) this.#tell("error", problem);
      this.#problem = problem;
      if (counts || problem) whenIdle(() => this.#load());
      this.#render();
      this.#panel?.changed();
    }

    #render() {
      const { bell, badge } = this.#ui;
      const { title } = this.#language.texts;
      const unread = this.#store?.getSnapshot().counts?.unread ?? 0;
      const shown = unread > BADGE_MAX ? `${BADGE_MAX}+` : String(unread);
      badge.textContent = shown;
      badge.hidden = !unread;
      // Its name has what is seen of it (WCAG 2.1, 2.5.3).
      label(bell, unread ? `${title}, ${this.#language.counted("count", unread, shown)}` : title);
      bell.ariaBusy = this.open && !this.#panel;
    }

    #toggled() {
      const isShown = this.open && this.#isConnected;
      document[isShown ? "addEventListener" : "removeEventListener"]("pointerdown", this.#elsewhere);
      if (this.#panel || isShown) this.#withPanel((panel) => panel.toggle(this.open && this.#isConnected));
      this.#render();
      if (this.#isOpen === this.open) return;
      this.#isOpen = this.open;
      this.#tell("open", { open: this.open });
    }

    #pressed() {
      this.open = !this.open;
      // By the time that it is loaded, the user may be elsewhere.
      const isHere = () => this.matches(":focus-within") || document.activeElement === document.body;
      this.#withPanel((panel) => isHere() && panel.focus());
    }

    #elsewhere = (event) => {
      if (!event.composedPath().includes(this)) this.open = false;
    };

    /** At once where it is there, else when it is loaded; where it cannot be, what was wanted of it is forgotten. */
    #withPanel(use) {
      if (this.#panel) use(this.#panel);
      else this.#load().then(() => this.#panel && use(this.#panel));
    }

    async #load() {
      if (this.#panel) return;
      const module = await loadPanel().catch(() => null);
      if (module) {
        this.#panel ??= this.#make(module.Panel);
        this.#render();
      } else if (this.open) {
        this.open = false;
        this.#tell("error", NOT_LOADED);
      }
    }

    #make(Panel) {
      const panel = new Panel(this, (name, detail) => this.#tell(name, detail));
      panel.build(this.#ui.root, this.#language);
      panel.follow(this.#store, !!this.#given.store, this.#listed);
      if (this.#store) panel.changed();
      return panel;
    }
  }

  customElements.define("synkrone-inbox", SynkroneInbox);
}
