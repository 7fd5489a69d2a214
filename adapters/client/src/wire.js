/** What a server says, looked at before it is believed. */

import { notUnderstood } from "./errors.js";
import { isObject, isText } from "./values.js";

export const isListOf = (value, isOne) => Array.isArray(value) && value.every(isOne);
const isCounts = (value) => isObject(value) && Object.values(value).every(Number.isFinite);
const isNotification = (value) => isObject(value) && isText(value.id) && value.id !== "";

/** What of an object has to be there, by the event that it is the argument of, or by what was asked. */
const UNDERSTOOD = {
  "session.ready": ({ user, counts }) => isObject(user) && isText(user.id) && isCounts(counts),
  "session.closing": ({ code, title }) => isText(code) && isText(title),
  "session.expiring": () => true,
  "inbox.counts": isCounts,
  "notification.new": isNotification,
  "notification.updated": ({ change, all, ids }) => isObject(change) && (all === true || isListOf(ids, isText)),
  "notification.revised": isNotification,
  "notification.deleted": ({ ids }) => isListOf(ids, isText),
};
export const EVENTS = Object.keys(UNDERSTOOD);
/** @param {any} event `{name, argument}` */
export const isUnderstood = (event) => isObject(event?.argument) && Boolean(UNDERSTOOD[event.name]?.(event.argument));
export const isOfLog = (name) => name.startsWith("notification.");

const isPage = ({ items, next, counts, as_of: asOf }) =>
  isListOf(items, isNotification) && (next === null || isText(next)) && isCounts(counts) && isText(asOf);
const isChange = ({ changed, counts }) => Number.isInteger(changed) && isCounts(counts);

function understood(what, value, isUnderstood) {
  if (!isObject(value) || !isUnderstood(value)) throw notUnderstood(what);
  return value;
}

/** Each of these gives what it was given, and raises InboxError where that cannot be. */
export const checked = (name, argument) => understood(name, argument, UNDERSTOOD[name]);
export const checkedPage = (answer) => understood("inbox.list", answer, isPage);
export const checkedChange = (event, answer) => understood(event, answer, isChange);

export function parsed(name, data) {
  try {
    return JSON.parse(data);
  } catch {
    throw notUnderstood(name);
  }
}
