/** One chart: lines over the last hour, what they are now, and the same as a table. */
import { element, shape, table } from "./dom.js";
import { ofDay, ofHour, written } from "./format.js";
import { nearest, runs, stretches, ticks } from "./plot.js";

const HEIGHT = 150;
const LEFT = 58;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
const MINUTE = 60_000;
const STRETCH = 5 * MINUTE;

let count = 0;

/** `lines` are `[series, label]`; `none` says why there may be nothing to show. */
export function createChart({ title, unit, lines, none, note }) {
  const titleId = `chart-${++count}`;
  const svg = shape("svg", { class: "plot", height: HEIGHT, role: "img", "aria-labelledby": titleId });
  const empty = element("p", { class: "empty" });
  const values = lines.map(() => element("dd", {}));
  const at = element("span", { class: "at" });
  const legend = element(
    "dl",
    { class: "legend" },
    lines.map(([, label], index) =>
      element("div", {}, element("dt", {}, shape("svg", { class: `key line-${index}`, width: 18, height: 8, "aria-hidden": "true" }, shape("path", { d: "M0 4H18" })), label), values[index]),
    ),
  );
  const asTable = element("div", {});
  const details = element("details", {}, element("summary", {}, "As a table"), asTable);
  const figure = element(
    "figure",
    { class: "card chart" },
    element("figcaption", { class: "row" }, element("h3", { id: titleId }, title), at),
    legend,
    svg,
    empty,
    note ? element("p", { class: "fine" }, note) : null,
    details,
  );

  let shown = null;
  let pointed = null;

  const width = () => Math.max(220, svg.clientWidth || figure.clientWidth - 32);
  const x = (time) => LEFT + ((time - shown.from) / (shown.to - shown.from)) * (width() - LEFT - RIGHT);

  function drawn() {
    const { points, from, to, longest } = shown;
    const inside = points.filter(({ time }) => time >= from && time <= to);
    const known = lines.flatMap(([name]) => inside.map(({ values }) => values[name]).filter((value) => value !== null));
    const isEmpty = known.length === 0;
    svg.style.display = isEmpty ? "none" : "";
    empty.hidden = !isEmpty;
    empty.textContent = isEmpty ? `No data in the last hour. ${inside.length ? none : "No sample was taken."}` : "";
    if (!isEmpty) draw(inside, Math.max(...known), longest);
    tell(inside);
  }

  function draw(inside, highest, longest) {
    const marks = ticks(highest, unit);
    // Where everything is zero the line lies on the ground, and not nowhere.
    const top = marks.at(-1) || 1;
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const right = width() - RIGHT;
    svg.setAttribute("viewBox", `0 0 ${width()} ${HEIGHT}`);
    const across = marks.map((mark) => [
      shape("line", { class: "grid", x1: LEFT, x2: right, y1: y(mark), y2: y(mark) }),
      shape("text", { x: LEFT - 8, y: y(mark) + 4, "text-anchor": "end" }, written(mark, unit)),
    ]);
    const along = [60, 45, 30, 15, 0].map((ago) =>
      shape("text", { x: x(shown.to - ago * MINUTE), y: HEIGHT - 5, "text-anchor": ago ? "middle" : "end" }, ago ? `−${ago} min` : "now"),
    );
    const drawnLines = lines.flatMap(([name], index) =>
      runs(inside.map(({ time, values }) => [time, values[name]]), longest).map((run) =>
        run.length === 1
          ? shape("circle", { class: `dot line-${index}`, cx: x(run[0][0]), cy: y(run[0][1]), r: 2 })
          : shape("path", { class: `line line-${index}`, d: run.map(([time, value], at) => `${at ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("") }),
      ),
    );
    const cross = pointed === null || !inside[pointed] ? [] : [shape("line", { class: "cross", x1: x(inside[pointed].time), x2: x(inside[pointed].time), y1: TOP, y2: HEIGHT - BOTTOM })];
    svg.replaceChildren(...across.flat(), ...along, ...drawnLines, ...cross);
  }

  /** What the lines are at the pointer, or last. */
  function tell(inside) {
    const point = inside[pointed ?? inside.length - 1];
    at.textContent = pointed !== null && point ? `at ${ofDay(point.time)}` : "";
    lines.forEach(([name], index) => {
      const value = point ? point.values[name] : null;
      values[index].textContent = written(value, unit);
      values[index].classList.toggle("unknown", value === null);
    });
    if (details.open) fillTable();
  }

  function fillTable() {
    const from = shown.to - 12 * STRETCH;
    const rows = stretches(shown.points, lines.map(([name]) => name), from, STRETCH, 12).reverse();
    const said = rows.map(([begin, highest]) => [`${ofHour(begin)} to ${ofHour(begin + STRETCH)}`, ...highest.map((value) => written(value, unit))]);
    const wasFocused = asTable.contains(document.activeElement);
    asTable.replaceChildren(table(`${title}: the highest of each five minutes`, ["time", ...lines.map(([, label]) => ({ title: label, number: true }))], said));
    if (wasFocused) asTable.firstChild.focus();
  }

  function point(event) {
    if (!shown) return;
    const inside = shown.points.filter(({ time }) => time >= shown.from && time <= shown.to);
    const box = svg.getBoundingClientRect();
    const time = shown.from + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (shown.to - shown.from);
    const found = nearest(inside, time);
    pointed = found < 0 ? null : found;
    drawn();
  }

  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => {
    pointed = null;
    if (shown) drawn();
  });
  details.addEventListener("toggle", () => shown && details.open && fillTable());
  new ResizeObserver(() => shown && drawn()).observe(figure);

  return {
    figure,
    /** `points` are `{time, values}`, the oldest first; `from` and `to` the hour that is shown. */
    show(points, from, to, longest) {
      shown = { points, from, to, longest };
      drawn();
    },
  };
}

