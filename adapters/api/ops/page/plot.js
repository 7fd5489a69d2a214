/** Where lines are drawn: pure arithmetic, without a document. */

const STEPS = [1, 2, 2.5, 5, 10];
const BINARY_STEPS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
const LINES = 3;

/** Round values from zero to at least the highest, about so many; of bytes they are round in powers of two. */
export function ticks(highest, unit) {
  if (!(highest > 0)) return [0];
  const least = highest / LINES;
  const base = unit === "bytes" ? 1024 : 10;
  let power = base ** Math.floor(Math.log(least) / Math.log(base));
  // What is counted in whole numbers has no tick between two of them.
  if (unit === "number") power = Math.max(1, power);
  const step = (unit === "bytes" ? BINARY_STEPS : STEPS).map((factor) => factor * power).find((each) => each >= least && (unit !== "number" || Number.isInteger(each)));
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, at) => at * step);
}

/**
 * The runs of a line: points `[time, value]` that follow each other without a gap. Nothing is drawn across a value that
 * is not known, or a time in which no sample was taken.
 */
export function runs(points, longest) {
  const found = [];
  let last = null;
  for (const [time, value] of points) {
    if (value === null) {
      last = null;
      continue;
    }
    if (last === null || time - last > longest) found.push([]);
    found.at(-1).push([time, value]);
    last = time;
  }
  return found;
}

/** The highest of each stretch of `length`, from `from` on: `[from, highest of each line]`, null where nothing is known. */
export function stretches(points, lines, from, length, number) {
  return Array.from({ length: number }, (_, at) => {
    const begin = from + at * length;
    const inside = points.filter(({ time }) => time >= begin && time < begin + length);
    const highest = lines.map((name) => {
      const values = inside.map(({ values }) => values[name]).filter((value) => value !== null);
      return values.length ? Math.max(...values) : null;
    });
    return [begin, highest];
  });
}

/** The index of the point whose time is nearest. */
export function nearest(points, time) {
  let best = -1;
  points.forEach((point, at) => {
    if (best < 0 || Math.abs(point.time - time) <= Math.abs(points[best].time - time)) best = at;
  });
  return best;
}
