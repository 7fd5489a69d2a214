/** What is said, and how, in one language. */

const RIGHT_TO_LEFT = /^(ar|ckb|dv|fa|he|ps|sd|ug|ur|yi)\b/;

/** For those who cannot see an icon, and for those who wonder. */
export function label(node, text) {
  node.title = node.ariaLabel = text;
}

export class Language {
  #plural;

  /** `messages` are the page's own, by name: they come before all that are added. */
  constructor(locale, messages) {
    this.locale = locale;
    this.texts = { ...messages };
    this.#plural = new Intl.PluralRules(locale);
  }

  get isRightToLeft() {
    return RIGHT_TO_LEFT.test(this.locale);
  }

  /** Tables of messages by language, of which English is whole. */
  add(messages) {
    this.texts = { ...messages.en, ...messages[this.locale.slice(0, 2)], ...this.texts };
  }

  /** A text with a number in it, which is written as `shown`. */
  counted(name, number, shown = number.toLocaleString(this.locale)) {
    const text = this.texts[name];
    const form = text[this.#plural.select(number)] ?? text.other ?? text;
    return form.replace("{n}", shown);
  }
}
