import { label } from "./language.js";

/** Nodes of constant markup, with texts of one language. */
export class Templates {
  #texts;
  #nodes = new Map();

  constructor(texts) {
    this.#texts = texts;
  }

  /** A new node, with the texts that `data-text` and `data-icon` in it name. */
  node(markup) {
    if (!this.#nodes.has(markup)) this.#nodes.set(markup, this.#made(markup));
    return this.#nodes.get(markup).cloneNode(true);
  }

  #made(markup) {
    const template = document.createElement("template");
    template.innerHTML = markup;
    for (const each of template.content.querySelectorAll("[data-text]")) each.textContent = this.#texts[each.dataset.text];
    for (const each of template.content.querySelectorAll("[data-icon]")) label(each, this.#texts[each.dataset.icon]);
    return template.content.firstChild;
  }
}
