/**
 * What can be seen of a user: each gives elements for what the server has answered. Where there are `fields` it can be
 * narrowed by them, and `query` makes of their values what is asked.
 */
import { element, table } from "./dom.js";
import { asTime, moment } from "./format.js";

const STATES = [
  ["archived_at", "archived"],
  ["read_at", "read"],
  ["seen_at", "seen"],
];
const LISTED = 20;

function connections({ connections }) {
  if (connections.length === 0) return [element("p", {}, "Not connected, on any node.")];
  const rows = connections.map((one) => [one.device ?? "not named", one.roles.join(", "), one.transport, one.remote_address, moment(one.since)]);
  return [table("Connections, the oldest first", ["device", "roles", "transport", "address", "since"], rows)];
}

function stateOf(item) {
  const [name, label] = STATES.find(([name]) => item[name]) ?? [];
  return name ? element("span", {}, `${label} `, moment(item[name])) : "unseen";
}

function inbox({ roles, role, counts, items, next }, { query, look }) {
  const withTitles = query.titles === "true";
  const known = roles.length
    ? element("p", {}, `As ${role}: ${counts.total} not archived, of which ${counts.unread} unread and ${counts.unseen} unseen.`)
    : element("p", {}, `This user never came. Sent to them alone: ${counts.total}, of which ${counts.unread} unread.`);
  const others = roles.filter((each) => each !== role).map((each) => element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, role: each, page: "" }) }, `As ${each}`));
  const titles = withTitles
    ? element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, titles: "" }) }, "Hide titles")
    : element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, titles: "true" }) }, "Show titles (this is logged)");
  const pages = [
    query.page ? element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, page: "" }) }, "Newest") : null,
    next ? element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, page: next }) }, `${LISTED} older`) : null,
  ];
  const columns = ["id", "type", ...(withTitles ? ["title"] : []), "published", "to", "state", "expires"];
  const rows = items.map((item) => [
    element("code", {}, item.id),
    item.type,
    ...(withTitles ? [item.title ?? "none"] : []),
    moment(item.created_at),
    item.audience,
    stateOf(item),
    item.expires_at ? moment(item.expires_at) : "never",
  ]);
  return [
    known,
    element("div", { class: "buttons" }, others, items.length ? titles : null, pages),
    items.length ? table("Inbox, the newest first, archived ones too", columns, rows) : element("p", {}, query.page ? "Nothing older." : "Nothing is in the inbox."),
  ];
}

function block({ until, reason, blocked }) {
  if (!blocked) return [element("p", {}, "Not blocked.")];
  return [element("p", {}, "Blocked ", ...(until ? ["until ", moment(until)] : ["until somebody undoes it"]), reason ? `: ${reason}` : ". No reason was given.")];
}

function nothing({ id, since, page }) {
  if (page) return "Nothing older.";
  if (id) return since ? "No notification of that id was stored since then." : "No notification of that id is known: it was never published, or is too old.";
  return `Nothing that is still there was published for this user${since ? " since then" : ""}. Ask by its id about what was taken back, replaced or scheduled.`;
}

function deliveries({ deliveries, scheduled, next }, { query, look }) {
  if (scheduled) return [element("p", {}, element("code", {}, scheduled.id), `: ${scheduled.sentence}`)];
  const rows = deliveries.map((one) => [element("code", {}, one.id), moment(one.stored_at), one.outcome.replaceAll("_", " "), one.sentence]);
  return [
    deliveries.length
      ? table("Deliveries, and why", ["id", "stored", "outcome", "why"], rows)
      : element("p", {}, nothing(query)),
    element(
      "div",
      { class: "buttons" },
      query.page ? element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, page: "" }) }, "Newest") : null,
      next ? element("button", { type: "button", class: "quiet", onclick: () => look({ ...query, page: next }) }, "Older") : null,
    ),
  ];
}

export const LOOKS = {
  block: { title: "Block", show: block },
  connections: { title: "Connections", show: connections },
  inbox: { title: "Inbox", show: inbox },
  deliveries: {
    title: "Deliveries",
    show: deliveries,
    fields: [
      { name: "id", label: "Notification id", type: "text" },
      { name: "since", label: "Since", type: "datetime-local" },
    ],
    query: ({ id, since }) => ({ id: id.trim(), since: asTime(since) }),
  },
};
