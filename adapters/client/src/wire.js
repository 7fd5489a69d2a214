/** What a server says, looked at before it is believed. */

import { GARBAGE, InboxError } from "./errors.js";
import { isObject } from "./values.js";

const isIds = (value) => Array.isArray(value) && value.every((id) => typeof id === "string");
const isCounts = (value) => isObject(value) && Object.values(value).every(Number.isFinite);
const isNotification = (value) => isObject(value) && typeof value.id === "string" && value.id !== "";
const isPage = (value) =>
  isObject(value) &&
  Array.isArray(value.items) &&
  value.items.every(isNotification) &&
  (value.next === null || typeof value.next === "string") &&
  isCounts(value.counts) &&
  typeof value.as_of === "string";

const UNDERSTOOD = {
  "session.ready": (value) =>
    isObject(value) && isObject(value.user) && typeof value.user.id === "string" && isCounts(value.counts),
  "session.closing": (value) => isObject(value) && typeof value.code === "string" && typeof value.title === "string",
  "session.expiring": isObject,
  "inbox.counts": isCounts,
  "notification.new": isNotification,
  "notification.updated": (value) =>
    isObject(value) && isObject(value.change) && (value.all === true || isIds(value.ids)),
  "notification.deleted": (value) => isObject(value) && isIds(value.ids),
};
export const isChanged = (value) => isObject(value) && Number.isInteger(value.changed) && isCounts(value.counts);
export const EVENTS = Object.keys(UNDERSTOOD);
export const isOfLog = (name) => name.startsWith("notification.");

/** Raises InboxError for what is none of an event that is known. */
export function checked(name, argument) {
  if (!UNDERSTOOD[name](argument)) throw new InboxError({ ...GARBAGE, detail: name });
  return argument;
}

/** @param {any} page the answer to `inbox.list` */
export function checkedPage(page) {
  if (!isPage(page)) throw new InboxError({ ...GARBAGE, detail: "inbox.list" });
  return page;
}

export function parsed(name, data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new InboxError({ ...GARBAGE, detail: name });
  }
}
