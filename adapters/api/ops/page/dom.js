/** Elements, made without any HTML in a string: what comes from elsewhere is always text. */

const SVG = "http://www.w3.org/2000/svg";

export const one = (selector) => document.querySelector(selector);

/** An element with these attributes and children; a child that is null is left out. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function shape(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** A table for people and for screen readers. `columns` are titles, `{title, number}` where numbers are below. */
export function table(caption, columns, rows) {
  const heads = columns.map((column) => (typeof column === "string" ? { title: column } : column));
  return element(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {}, heads.map(({ title, number }) => element("th", { scope: "col", class: number ? "number" : null }, title)))),
      element(
        "tbody",
        {},
        rows.map((cells) =>
          element("tr", {}, cells.map((cell, at) => element(at ? "td" : "th", { scope: at ? null : "row", class: heads[at].number ? "number" : null }, cell))),
        ),
      ),
    ),
  );
}
