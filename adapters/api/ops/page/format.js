/** Numbers with their units, and times, as people read them. */
import { element } from "./dom.js";

export const NOTHING = "no data";

const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

function short(value) {
  return value >= 100 || Number.isInteger(value) ? plain.format(value) : fine.format(value);
}

function scaled(value, base, steps) {
  let at = 0;
  while (at < steps.length - 1 && value >= base) {
    value /= base;
    at++;
  }
  return `${short(value)} ${steps[at]}`;
}

/** By the unit of a series; null is what is not known. */
export const UNITS = {
  number: (value) => plain.format(value),
  rate: (value) => `${short(value)} /s`,
  bytes: (value) => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]),
  seconds: (value) => {
    if (value === 0) return "0 s";
    if (value < 0.001) return `${short(value * 1e6)} µs`;
    return value < 1 ? `${short(value * 1e3)} ms` : `${short(value)} s`;
  },
};

export function written(value, unit) {
  return value === null ? NOTHING : UNITS[unit](value);
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minutes = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });

export const ofDay = (at) => clock.format(at);
export const ofHour = (at) => minutes.format(at);

/** A time of the server, in the zone of whoever looks; what lies on another day says which. */
export function moment(text) {
  if (!text) return "–";
  const at = new Date(text);
  const isToday = day.format(at) === day.format(new Date());
  return element("time", { datetime: text, title: text }, isToday ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`);
}

/** A time that was typed in the zone of whoever looks, as the server reads it. */
export const asTime = (text) => (text ? new Date(text).toISOString() : undefined);

export function lasting(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 7200) return `${Math.round(whole / 60)} min`;
  return whole < 172_800 ? `${Math.round(whole / 3600)} h` : `${Math.round(whole / 86_400)} days`;
}

export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
