import { CONTENT, isSameContent } from "./content.js";
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
    for (const item of items.slice(0, TOASTS_MAX).reverse()) this.#add(this.#made(item));
  }

  say(text) {
    const toast = this.#templates.node(TOAST);
    toast.firstChild.textContent = text;
    this.#add(toast);
  }

  /** Show of each what is known of it now, and nothing of those that are not there any more. */
  follow(items) {
    for (const toast of [...this.#root.children]) {
      if (!toast.item) continue;
      const now = items.find(({ id }) => id === toast.item.id);
      if (!now) toast.remove();
      else if (!isSameContent(toast.item, now)) toast.replaceChildren(...this.#made(now).childNodes);
      toast.item = now;
    }
  }

  clear() {
    this.#root.replaceChildren();
  }

  #made(item) {
    return this.#content.node(TOAST, item);
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
