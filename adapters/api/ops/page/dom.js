/** Elements, made without any HTML in a string: what comes from elsewhere is always text. */

const SVG = "http://www.w3.org/2000/svg";
const FEW_COLUMNS = 3;

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

/**
 * A table for people and for screen readers. `columns` are titles, `{title, number}` where numbers are below.
 *
 * On a narrow screen a row of many columns is shown as lines, each under its title. The roles are said, as browsers
 * take what is not laid out as a table for none.
 */
export function table(caption, columns, rows) {
  const heads = columns.map((column) => (typeof column === "string" ? { title: column } : column));
  const cell = (content, at) => {
    const { title, number } = heads[at];
    const role = at ? { role: "cell" } : { role: "rowheader", scope: "row" };
    return element(at ? "td" : "th", { ...role, class: number ? "number" : null, "data-title": title }, content);
  };
  const head = ({ title, number }) => element("th", { role: "columnheader", scope: "col", class: number ? "number" : null }, title);
  return element(
    "div",
    { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      { role: "table", class: heads.length > FEW_COLUMNS ? "many-columns" : null },
      element("caption", {}, caption),
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, heads.map(head))),
      element("tbody", { role: "rowgroup" }, rows.map((cells) => element("tr", { role: "row" }, cells.map(cell)))),
    ),
  );
}
