import { CONTENT } from "./content.js";
import { icon } from "./icons.js";

const TOASTS_MAX = 3;
const TOAST_MS = 7_000;
const TOAST = `<div part=toast class=toast>${CONTENT}${icon("close")}</div>`;

/** What passes in a corner of the window: new notifications, and that something was refused. */
export class Toasts {
  #root;
  #templates;
  #content;

  constructor(root, templates, content) {
    this.#root = root;
    this.#templates = templates;
    this.#content = content;
  }

  /** The newest is first in `items`, and comes last. */
  arrived(items) {
    for (const item of items.slice(0, TOASTS_MAX).reverse()) this.#add(this.#content.node(TOAST, item));
  }

  say(text) {
    const toast = this.#templates.node(TOAST);
    toast.firstChild.textContent = text;
    this.#add(toast);
  }

  clear() {
    this.#root.replaceChildren();
  }

  #add(toast) {
    const leave = () => {
      if (toast.matches(":hover,:focus-within")) setTimeout(leave, TOAST_MS);
      else toast.remove();
    };
    setTimeout(leave, TOAST_MS);
    if (this.#root.childElementCount >= TOASTS_MAX) this.#root.firstChild.remove();
    this.#root.append(toast);
  }
}
