const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];
const RELATIVE_SECONDS = 7 * 86_400;

/** Says when something happened: how long ago, and from a week on the date. */
export class Times {
  #relative;
  #date;
  #moment;
  #short;

  constructor(locale) {
    this.#relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
    this.#date = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
    this.#moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
    const short = { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" };
    this.#short = new Intl.DateTimeFormat(locale, short);
  }

  /** The day and the hour of a text of RFC 3339; empty for one that says none. */
  short(text) {
    const at = Date.parse(text);
    return at ? this.#short.format(at) : "";
  }

  /** `text` is of RFC 3339. */
  fill(time, text) {
    time.dateTime = text;
    const at = Date.parse(text);
    if (at) time.title = this.#moment.format(at);
    this.age(time);
  }

  age(time) {
    const at = Date.parse(time.dateTime);
    const seconds = Math.max(0, (Date.now() - at) / 1000);
    const [unit, length] = UNITS.find((each) => seconds >= each[1]) ?? ["second", Infinity];
    const age = Math.floor(seconds / length);
    // To look is cheap, and to write is not.
    if (time.told === unit + age) return;
    time.told = unit + age;
    time.textContent = seconds > RELATIVE_SECONDS ? this.#date.format(at) : this.#relative.format(-age || 0, unit);
  }
}
