/** The charts of the page, and the samples that they show. */
import { createChart } from "./chart.js";
import { one } from "./dom.js";

const QUIET = "Nothing was published in this time.";
const ESTIMATED = "Estimated from the buckets of a histogram.";
const NOT_KNOWN = "The server does not measure this, or has only just begun.";
const HALF_AND_MOST = (name) => [
  [`${name}_p50`, "p50"],
  [`${name}_p99`, "p99"],
];
/** Of samples that are further apart than so many of their distances some are missing. */
const GAP = 2.5;

const CHARTS = [
  { title: "Connections", unit: "number", lines: [["connections", "open now"]], none: NOT_KNOWN },
  { title: "Connections made and ended", unit: "rate", lines: [["connects", "let in"], ["disconnects", "ended"]], none: NOT_KNOWN },
  { title: "Notifications published", unit: "rate", lines: [["notifications", "published"]], none: NOT_KNOWN },
  { title: "Deliveries", unit: "rate", lines: [["deliveries", "as they came"], ["replayed", "replayed"]], none: NOT_KNOWN },
  { title: "From stored to socket", unit: "seconds", lines: HALF_AND_MOST("to_socket"), none: "Nothing was delivered in this time.", note: ESTIMATED },
  { title: "From publish to stored", unit: "seconds", lines: HALF_AND_MOST("to_commit"), none: QUIET, note: ESTIMATED },
  {
    title: "Refused or cut",
    unit: "rate",
    lines: [
      ["connect_refusals", "connections"],
      ["request_refusals", "requests"],
      ["publish_refusals", "publishes"],
      ["slow_readers", "slow readers"],
    ],
    none: NOT_KNOWN,
  },
  { title: "Commits of the store", unit: "rate", lines: [["commits", "commits"]], none: NOT_KNOWN },
  { title: "How long a commit takes", unit: "seconds", lines: HALF_AND_MOST("commit"), none: "Nothing was stored in this time.", note: ESTIMATED },
  { title: "Size of the store", unit: "bytes", lines: [["store_bytes", "size"]], none: NOT_KNOWN },
  { title: "How late the event loop is", unit: "seconds", lines: HALF_AND_MOST("pause"), none: NOT_KNOWN, note: ESTIMATED },
];

export function createCharts() {
  const charts = CHARTS.map(createChart);
  one("#charts").replaceChildren(...charts.map(({ figure }) => figure));
  let points = [];
  let every = 10;
  let keeps = 360;

  return {
    /** The number of the last sample, and when it was taken; none of a server that has just begun. */
    get last() {
      return points.at(-1) ?? { number: 0, time: null };
    },
    get every() {
      return every;
    },
    /** Take what the server has told. */
    add(samples) {
      ({ every, keeps } = samples);
      const added = samples.points.map(([number, time, ...values]) => ({
        number,
        time,
        values: Object.fromEntries(samples.names.map((name, at) => [name, values[at]])),
      }));
      // A server that was started anew counts from one again.
      if (added.length && added[0].number <= this.last.number) points = [];
      points = [...points, ...added].slice(-keeps);
    },
    forget() {
      points = [];
    },
    /** `now` is the server's time: what is old moves to the left, also where nothing new comes. */
    draw(now) {
      const filled = points.map(({ number, time, values }) => ({ number, time, values: withAll(values) }));
      for (const chart of charts) chart.show(filled, now - every * keeps * 1000, now, every * GAP * 1000);
    },
  };
}

const NAMES = CHARTS.flatMap(({ lines }) => lines.map(([name]) => name));

function withAll(values) {
  return Object.fromEntries(NAMES.map((name) => [name, values[name] ?? null]));
}
