import { label } from "./language.js";
import { addressOf, linkOrButton } from "./links.js";
import { titleOf } from "./names.js";
import { Times } from "./times.js";

const BODY_MAX_LENGTH = 280;
const BODY_MAX_LINES = 3;
const ACTIONS_MAX = 3;

/** What rows and toasts have of a notification. */
export const CONTENT = `<div class=text><div class=head><span class=revised data-text=revised></span><span class=until></span><time part=time></time></div>\
<p part=body class=body dir=auto></p>\
<button type=button class=link data-does=more data-text=more></button><div class=actions></div></div>`;

/** Of two of the same id: what their publisher has changed since is another. */
export const isSameContent = (one, other) => one.revised_at === other.revised_at;

/**
 * Writes a notification into a row or a toast. Nothing of it becomes markup: texts are text nodes, and addresses are set
 * after their scheme was looked at.
 */
export class Content {
  #language;
  #templates;
  #times;

  constructor(language, templates) {
    this.#language = language;
    this.#templates = templates;
    this.#times = new Times(language.locale);
  }

  /** A new node of markup that has `CONTENT` in it. */
  node(markup, item) {
    const node = this.#templates.node(markup);
    const { data, body, created_at: created } = item;
    const one = (selector) => node.querySelector(selector);
    one(".head").prepend(linkOrButton("title", titleOf(item, this.#language), data?.url));
    one(".revised").hidden = !item.revised_at;
    this.#times.fill(one("time"), created);
    const text = typeof body === "string" ? body : "";
    one(".body").textContent = text.slice(0, BODY_MAX_LENGTH);
    one(".body").hidden = !text;
    const isShort = text.length < BODY_MAX_LENGTH && text.split("\n", BODY_MAX_LINES + 1).length <= BODY_MAX_LINES;
    one("[data-does=more]").hidden = isShort;
    const src = addressOf(data?.image, /^https?:/);
    if (src) {
      const image = new Image();
      Object.assign(image, { alt: "", loading: "lazy", referrerPolicy: "no-referrer", src });
      node.prepend(image);
    }
    const actions = Array.isArray(data?.actions) ? data.actions : [];
    for (const action of actions.filter((each) => typeof each?.label === "string").slice(0, ACTIONS_MAX)) {
      const button = linkOrButton("action", action.label, action.url);
      button.action = action;
      one(".actions").append(button);
    }
    this.mark(node, item);
    return node;
  }

  /** The item is the same notification as before, of which no more than its marks has changed. */
  mark(node, item) {
    const { texts } = this.#language;
    const [read, archive] = node.querySelectorAll(".tools button");
    node.item = item;
    node.classList.toggle("unread", !item.read_at);
    node.classList.toggle("archived", !!item.archived_at);
    node.classList.toggle("snoozed", !!item.snoozed_until);
    const until = node.querySelector(".until");
    until.hidden = !item.snoozed_until;
    until.textContent = texts.until.replace("{t}", this.#times.short(item.snoozed_until));
    if (!read) return;
    node.querySelector(".title").ariaDescription = item.read_at ? "" : texts.unread;
    label(read, item.read_at ? texts.unreadAgain : texts.read);
    label(archive, item.archived_at ? texts.unarchive : texts.archive);
  }

  /** What is told there of ages becomes what it is by now. */
  age(root) {
    for (const time of root.querySelectorAll("time")) this.#times.age(time);
  }

  whole(node) {
    const body = node.querySelector(".body");
    body.classList.add("whole");
    body.textContent = node.item.body;
    node.querySelector("[data-does=more]").remove();
    node.querySelector(".title").focus();
  }
}
