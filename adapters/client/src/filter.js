import { nameOf } from "./names.js";

const TABS = ["all", "unread", "snoozed", "archived"];
const TYPES_MAX = 50;
const tab = (name) =>
  `<button type=button role=tab part=tab id=${name} aria-controls=scroll data-text=${name}></button>`;

export const BAR = `<div id=bar><div id=tabs role=tablist aria-labelledby=heading>${TABS.map(tab).join("")}</div>\
<select id=types></select></div>`;

/** Which part of the inbox is listed: a tab, and one of the types that were seen. */
export class Filter {
  tab = TABS[0];
  #type = "";
  #types = new Set();
  #ui;
  #language;

  /** `chosen` is called where the user has chosen another type. */
  build(ui, language, chosen) {
    this.#ui = ui;
    this.#language = language;
    ui.types.ariaLabel = language.texts.type;
    ui.types.onchange = () => {
      this.#type = ui.types.value;
      chosen();
    };
  }

  /** The store's filter, or null where it is the whole inbox. */
  get wanted() {
    const state = this.tab === TABS[0] ? undefined : this.tab;
    const type = this.#type || undefined;
    return state || type ? { state, type } : null;
  }

  /** What another inbox has had of types is none of this one's. */
  forget() {
    this.#type = "";
    this.#types.clear();
  }

  /** The name of the tab so many steps on, round and round. */
  tabFrom(steps) {
    return TABS.at((TABS.indexOf(this.tab) + steps) % TABS.length);
  }

  /** `items` are all that are known. */
  render(items) {
    const { tabs, scroll, types } = this.#ui;
    for (const tab of tabs.children) {
      const isSelected = tab.id === this.tab;
      tab.ariaSelected = isSelected;
      tab.tabIndex = isSelected ? 0 : -1;
    }
    scroll.setAttribute("aria-labelledby", this.tab);
    for (const { type } of items) if (this.#types.size < TYPES_MAX) this.#types.add(type);
    types.hidden = this.#types.size < 2;
    if (types.length === this.#types.size + 1) return;
    const options = [...this.#types].map((type) => new Option(nameOf(type, this.#language), type));
    types.replaceChildren(new Option(this.#language.texts.types, ""), ...options);
    types.value = this.#type;
  }
}
