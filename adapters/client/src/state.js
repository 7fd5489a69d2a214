/** What a list is, without I/O: `reduce` gives the state after something happened, `present` what of it is shown. */

import { isAfter } from "./cursor.js";
import { RECORDED_MAX } from "./limits.js";
import { isEqual } from "./values.js";

/** After so many new ones a list is asked for again, so that it keeps no more than it has to. */
export const LIVE_MAX = 1000;

/**
 * @typedef {Record<string, any> & {id: string}} Notification
 * @typedef {{name: string, argument: any, cursor?: string}} Happening an event of the log
 * @typedef {{
 *   key: number, action: string, ids: ReadonlySet<string>, unsettled: ReadonlySet<string>, at: string, until?: string,
 *   isSent: boolean, isAnswered: boolean, isDoubtful: boolean,
 * }} Operation what the user did and the log has not told yet. Of `ids` the `unsettled` are those of which it has not.
 *   `isDoubtful`: it may be told already, by a list.
 * @typedef {{
 *   isListed: boolean, isStale: boolean, base: ReadonlyMap<string, Notification>, next: string | null,
 *   counts: Record<string, number> | null, operations: readonly Operation[], recorded: readonly Happening[] | null,
 *   epoch: number, asOf: string | null, arrived: number, filter: {state?: string, type?: string},
 * }} State `base` is what the log tells, the oldest first, archived ones among them. `recorded` are the events that
 *   have come since a page was asked for, while one is. `epoch` counts lists, `asOf` is the cursor of the last one, and
 *   `arrived` what came since.
 *   `isStale`: something has to be shown that is only known by its id.
 */

/** @type {State} */
export const EMPTY = Object.freeze({
  isListed: false,
  isStale: false,
  base: new Map(),
  next: null,
  counts: null,
  operations: Object.freeze([]),
  recorded: null,
  epoch: 0,
  asOf: null,
  arrived: 0,
  filter: Object.freeze({}),
});

/** What of a list's notifications each state shows; the inbox itself what is not archived. */
const SHOWS = {
  all: () => true,
  unread: (item) => !item.archived_at && !item.read_at,
  read: (item) => !item.archived_at && item.read_at,
  archived: (item) => item.archived_at,
  snoozed: () => true,
  undefined: (item) => !item.archived_at,
};
export const STATES = Object.keys(SHOWS).slice(0, -1);

/** Whether a change may bring notifications into such a list that it has not listed. */
const BRINGS = {
  all: () => false,
  unread: (change) => change.read_at === null || change.archived_at === null,
  read: (change) => change.read_at || change.archived_at === null,
  archived: (change) => change.archived_at,
  snoozed: (change) => change.snoozed_until,
  undefined: (change) => change.archived_at === null,
};

/** The times that each action sets; those that begin with `un` take them away. */
const FIELDS = {
  read: ["read_at", "seen_at"],
  unread: ["read_at"],
  seen: ["seen_at"],
  archive: ["archived_at"],
  unarchive: ["archived_at"],
};
const IS_OF_STATE = /^(seen|read|archived|snoozed)/;
const FIELDS_OF_STATE = ["read_at", "seen_at", "archived_at"];

/**
 * The state after something happened.
 *
 * @param {State} state
 * @param {any} action
 * @returns {State}
 */
export function reduce(state, action) {
  switch (action.type) {
    case "events":
      return told(state, later(action.events, state.asOf));
    case "listed":
      return listed(state, action.pages, action.recorded);
    case "paging":
      return { ...state, recorded: [] };
    case "paged":
      return paged(state, action.page);
    case "unpaged":
      return { ...state, recorded: null };
    case "missed":
      return { ...state, recorded: null, asOf: null };
    case "counts":
      return isEqual(state.counts, action.counts) ? state : { ...state, counts: Object.freeze({ ...action.counts }) };
    case "expired":
      return expired(state, action.now);
    case "done":
      return { ...state, operations: [...state.operations, action.operation] };
    case "sent":
      // Of what is as asked already nothing may ever be told.
      return settle(
        eachOf(state, action.keys, (operation) => ({ ...operation, isSent: true })),
        ({ key }) => action.keys.includes(key),
      );
    case "answered":
      return settle(eachOf(state, action.keys, (operation) => ({ ...operation, isAnswered: true })));
    case "refused":
      return { ...state, operations: state.operations.filter(({ key }) => !action.keys.includes(key)) };
    case "forgotten":
      return { ...EMPTY, filter: state.filter, epoch: state.epoch + 1 };
  }
}

/** Of events that may have come before a list was made those that came after it. */
function later(events, asOf) {
  return events.filter(({ cursor }) => isAfter(cursor, asOf));
}

function told(before, events) {
  const base = new Map(before.base);
  let state = { ...before, base };
  for (const event of events) {
    const { isMissing, isNew } = apply(base, event, state.filter);
    state.isStale ||= isMissing;
    if (isNew) state.arrived++;
    state = settle(state, about(state, event));
  }
  if (!before.recorded) return state;
  const recorded = [...before.recorded, ...events];
  // Of a page that comes so late nothing is made.
  return { ...state, recorded: recorded.length > RECORDED_MAX ? null : recorded };
}

/** Change what is known of notifications as an event says. */
function apply(base, event, filter) {
  const { name, argument } = event;
  const isOfSnoozed = filter.state === "snoozed";
  collapse(base, event);
  if (isOne(event, base)) {
    // What is new once more is snoozed no more.
    if (isOfSnoozed) base.delete(argument.id);
    const isNew = !isOfSnoozed && !base.has(argument.id) && isOfType(argument, filter);
    if (isNew) base.set(argument.id, deepFreeze(argument));
    // What was revised before it came here has its place, and its times, where it was published.
    return { isMissing: isNew && Boolean(argument.revised_at), isNew };
  }
  if (name === "notification.revised") return { isMissing: !revised(base, argument, filter), isNew: false };
  // What is put off comes as a new one when it is due.
  const isGone = name === "notification.deleted" || (!isOfSnoozed && argument.change.snoozed_until);
  const brings = !isGone && Boolean(BRINGS[filter.state](argument.change));
  let isMissing = argument.all === true && brings;
  for (const id of argument.all ? base.keys() : argument.ids) {
    const known = base.get(id);
    if (isGone) base.delete(id);
    else if (known) base.set(id, changed(known, argument.change));
    else isMissing ||= brings;
  }
  return { isMissing, isNew: false };
}

/** Whether an event tells of a notification that has a place of its own: a new one, or one in the place of others. */
function isOne({ name, argument }, base) {
  if (name === "notification.new") return true;
  return name === "notification.revised" && Boolean(argument.collapse_key) && !argument.revised_at && !base.has(argument.id);
}

/** Forget those that an event takes the place of, or takes back with the last one of their key. */
function collapse(base, { argument: { id, collapse_key: key, revised_at: revisedAt } }) {
  // One that was changed is in the place of others already.
  if (!key || (revisedAt && !base.has(id))) return;
  for (const [other, item] of base) if (item.collapse_key === key && other !== id) base.delete(other);
}

/** Give one that is known other content; false where it is not known, and may have to be shown. */
function revised(base, notification, filter) {
  const known = base.get(notification.id);
  if (!isOfType(notification, filter)) base.delete(notification.id);
  else if (known) base.set(known.id, deepFreeze({ ...notification, ...timesOf(known) }));
  else return false;
  return true;
}

function timesOf(notification) {
  return Object.fromEntries(Object.entries(notification).filter(([name]) => IS_OF_STATE.test(name)));
}

function isOfType({ type }, filter) {
  return filter.type === undefined || filter.type === type;
}

/** A time that is set stays, and null takes one away. What is snoozed takes nothing but another time to come back. */
function changed(notification, change) {
  const { snoozed_until: until } = notification;
  if (until) {
    const { snoozed_until: other = until } = change;
    return other === until ? notification : Object.freeze({ ...notification, snoozed_until: other });
  }
  let after = null;
  for (const name of FIELDS_OF_STATE) {
    if (!(name in change)) continue;
    const time = change[name] === null ? null : (notification[name] ?? change[name]);
    if (time !== notification[name]) (after ??= { ...notification })[name] = time;
  }
  return after ? Object.freeze(after) : notification;
}

/** Pages of a list take the place of all that was known; events that came meanwhile were recorded. */
function listed(state, pages, recorded) {
  const asOf = pages[0].as_of;
  const base = new Map();
  for (const { items } of pages.toReversed()) {
    for (const item of items.toReversed()) base.set(item.id, same(state.base.get(item.id), item));
  }
  let isStale = false;
  for (const event of later(recorded, asOf)) isStale = apply(base, event, state.filter).isMissing || isStale;
  const operations = state.operations
    .filter(({ isAnswered }) => !isAnswered)
    .map((operation) => (operation.isSent ? { ...operation, isDoubtful: true } : operation));
  return {
    ...state,
    base,
    operations,
    isListed: true,
    isStale,
    next: pages.at(-1).next,
    recorded: null,
    epoch: state.epoch + 1,
    asOf,
    arrived: 0,
  };
}

/** What is older than all that is known, of some moment since events were recorded. */
function paged(state, { items, next, as_of: asOf }) {
  const base = new Map();
  for (const item of items.toReversed()) base.set(item.id, deepFreeze(item));
  for (const event of later(state.recorded ?? [], asOf)) {
    if (isOne(event, state.base) || isOne(event, base)) {
      collapse(base, event);
      base.delete(event.argument.id);
    } else {
      apply(base, event, state.filter);
    }
  }
  for (const [id, item] of state.base) base.set(id, item);
  return { ...state, base, next, recorded: null };
}

function expired(state, now) {
  const base = new Map();
  for (const [id, item] of state.base) if (!item.expires_at || Date.parse(item.expires_at) > now) base.set(id, item);
  return base.size === state.base.size ? state : { ...state, base };
}

function about({ base }, { argument: { all, ids = [] } }) {
  const told = all ? base : new Set(ids);
  return (_, id) => told.has(id);
}

/**
 * Forget of operations what the log has told by now: that is where a notification is as asked, when this is
 * sent, when an event was about it, or when the answer came. Operations on the same one are told in their order.
 *
 * @param {State} state
 * @param {(operation: Operation, id: string) => boolean} [isTold] of what there was news
 */
function settle(state, isTold = () => false) {
  if (!state.operations.length) return state;
  const blocked = new Set();
  const operations = [];
  for (const operation of state.operations) {
    const unsettled = [...operation.unsettled].filter((id) => {
      if (blocked.has(id)) return true;
      const isNews = operation.isAnswered || (operation.isSent && isTold(operation, id));
      const isSettled = isNews && isDone(operation, state.base.get(id));
      if (!isSettled) blocked.add(id);
      return !isSettled;
    });
    const isOver = operation.isAnswered && (operation.isDoubtful || !unsettled.length);
    if (!isOver) operations.push({ ...operation, unsettled: new Set(unsettled) });
  }
  return { ...state, operations };
}

function isDone(operation, notification) {
  return !notification || done(operation, notification) === notification;
}

/** What becomes of a notification by an operation: the same where nothing does, and null where it goes. */
function done({ action, at, until }, notification) {
  if (action === "delete" || action === (notification.snoozed_until ? "unsnooze" : "snooze")) return null;
  const change = { snoozed_until: until };
  for (const name of FIELDS[action] ?? []) change[name] = action.startsWith("un") ? null : at;
  return changed(notification, change);
}

function eachOf(state, keys, change) {
  const operations = state.operations.map((each) => (keys.includes(each.key) ? change(each) : each));
  return { ...state, operations };
}

/** The notifications that are shown, as they will be once all that the user did is told, the newest first. */
export function present({ base, operations, filter }) {
  const changes = new Map();
  for (const operation of operations) {
    for (const id of operation.isAnswered ? operation.unsettled : operation.ids) {
      const before = changes.has(id) ? changes.get(id) : base.get(id);
      if (before) changes.set(id, done(operation, before));
    }
  }
  const shows = SHOWS[filter.state];
  const shown = [];
  for (const [id, item] of base) {
    const now = changes.has(id) ? changes.get(id) : item;
    if (now && shows(now)) shown.push(now);
  }
  return shown.reverse();
}

/** The one that was known where nothing about it is new, so that a page does not draw it again. */
function same(known, item) {
  return known && isUnchanged(known, item) ? known : deepFreeze(item);
}

/** Whether two of the same id say the same. What changes are the times, so they are looked at first. */
export function isUnchanged(one, other) {
  return FIELDS_OF_STATE.every((name) => one[name] === other[name]) && isEqual(one, other);
}

function deepFreeze(value) {
  const left = [value];
  while (left.length) {
    const each = left.pop();
    if (typeof each === "object" && each !== null && !Object.isFrozen(each)) {
      Object.freeze(each);
      left.push(...Object.values(each));
    }
  }
  return value;
}
