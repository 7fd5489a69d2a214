/** Until when a notification can be put off, and the menu of a row that asks for it. */

import { STEPS } from "./steps.js";

const HOUR_MS = 3_600_000;
const MORNING = 8;
const EVENING = 18;

/** Names and times, on the clock of whoever looks at it. A week on it is next week, on whatever day weeks begin. */
export function choices(now) {
  const at = (days, hour) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days, hour);
  const isEarly = now.getHours() < EVENING - 1;
  return [
    ["inHour", new Date(now.getTime() + HOUR_MS)],
    isEarly ? ["thisEvening", at(0, EVENING)] : ["tomorrowMorning", at(1, MORNING)],
    ["nextWeek", at(7, MORNING)],
  ];
}

/** The menu, of which there is one at a time. */
export class Snoozing {
  #language;
  #button = null;
  #menu;

  constructor(language) {
    this.#language = language;
  }

  /** Open or close that of the row which the button is in. */
  toggle(button) {
    const isOpen = button === this.#button && this.#menu.isConnected;
    this.close();
    if (isOpen) return;
    const { texts, locale } = this.#language;
    const now = new Date();
    const menu = (this.#menu = document.createElement("div"));
    Object.assign(menu, { className: "actions", role: "menu", ariaLabel: texts.snooze });
    for (const [name, until] of choices(now)) {
      const item = document.createElement("button");
      Object.assign(item, { type: "button", role: "menuitem", part: "action", tabIndex: -1, until: until.toISOString() });
      item.dataset.does = "until";
      const weekday = until.getDate() === now.getDate() ? undefined : "short";
      const time = document.createElement("small");
      time.textContent = until.toLocaleString(locale, { weekday, hour: "numeric", minute: "2-digit" });
      item.append(texts[name], " ", time);
      menu.append(item);
    }
    this.#button = button;
    button.ariaExpanded = true;
    button.closest("li").querySelector(".text").append(menu);
    menu.firstChild.focus();
  }

  /** The focus goes to where it was opened, if it is in the menu. */
  close() {
    if (!this.#button) return;
    if (this.#menu.matches(":focus-within")) this.#button.focus();
    this.#menu.remove();
    this.#button.ariaExpanded = false;
    this.#button = null;
  }

  /** Whether a key that was pressed on one of its items was for the menu. */
  pressed(key, item) {
    const items = [...this.#menu.children];
    const to = { Home: 0, End: -1 }[key] ?? (key in STEPS ? (items.indexOf(item) + STEPS[key]) % items.length : null);
    if (key === "Escape" || key === "Tab") this.close();
    else if (to !== null) items.at(to).focus();
    // A tab goes on from where the menu was opened.
    return key === "Escape" || to !== null;
  }
}
