/** The nodes that share the store. */
import { element, one, table } from "./dom.js";
import { moment, UNITS } from "./format.js";

const COLUMNS = ["node", "version", "since", "address", { title: "connections", number: true }, { title: "offset", number: true }, { title: "behind by", number: true }];

/** `nodes` is null for a server that shares its store with nobody; `boot` is this one's name. */
export function showNodes(nodes, boot) {
  const place = one("#nodes");
  if (nodes === null) {
    place.replaceChildren(element("p", {}, "This server shares its store with no other: there are no nodes."));
    return;
  }
  if (nodes.length === 0) {
    place.replaceChildren(element("p", {}, "No node holds a lease, not even this one."));
    return;
  }
  const rows = nodes.map((node) => [
    element("span", {}, element("code", {}, node.boot), node.boot === boot ? " (this one)" : ""),
    node.version,
    moment(node.since),
    node.address ?? "none",
    UNITS.number(node.connections),
    UNITS.number(node.offset),
    node.lag === 1 ? "1 entry" : `${UNITS.number(node.lag)} entries`,
  ]);
  const isThere = nodes.some((node) => node.boot === boot);
  place.replaceChildren(
    table("Nodes, the longest there first, as each said of itself when it last renewed its lease", COLUMNS, rows),
    ...(isThere ? [] : [element("p", { class: "banner bad" }, "This node is not among them: its lease is lost.")]),
  );
}

/** Why it is not known now. */
export function nodesUnknown(why) {
  one("#nodes").replaceChildren(element("p", { class: "banner bad" }, `Not known: ${why}`));
}
