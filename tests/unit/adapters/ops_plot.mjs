// Where the operator's page draws its lines. argv: the path of the module.
import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { nearest, runs, stretches, ticks } = await import(pathToFileURL(process.argv[2]));

test("ticks are round, begin at nothing, and reach the highest", () => {
  for (const [highest, unit, expected] of [
    [0, "rate", [0]],
    [9, "rate", [0, 5, 10]],
    [622, "number", [0, 250, 500, 750]],
    [1, "number", [0, 1]],
    [2, "number", [0, 1, 2]],
    [0.03, "seconds", [0, 0.01, 0.02, 0.03]],
    [190 * 1024 ** 2, "bytes", [0, 64, 128, 192].map((each) => each * 1024 ** 2)],
    [1024 ** 3, "bytes", [0, 512, 1024].map((each) => each * 1024 ** 2)],
  ]) {
    const found = ticks(highest, unit);
    assert.deepEqual(found.map((each) => Number(each.toPrecision(12))), expected, `${highest} ${unit}`);
  }
  for (let highest = 0.0001; highest < 1e9; highest *= 1.37) {
    for (const unit of ["rate", "seconds", "bytes", "number"]) {
      const found = ticks(highest, unit);
      assert.ok(found.at(-1) >= highest * 0.999999 && found.length <= 5, `${highest} ${unit}: ${found}`);
    }
  }
});

test("nothing is drawn across what is not known, nor across a time without samples", () => {
  const points = [[0, 1], [10, 2], [20, null], [30, 3], [60, 4], [70, 5]];
  assert.deepEqual(runs(points, 25), [[[0, 1], [10, 2]], [[30, 3]], [[60, 4], [70, 5]]]);
  assert.deepEqual(runs([[0, null]], 25), []);
});

test("a stretch has the highest of each line, and is unknown where nothing is known", () => {
  const points = [
    { time: 0, values: { a: 1, b: null } },
    { time: 9, values: { a: 4, b: null } },
    { time: 10, values: { a: 0, b: 7 } },
  ];
  assert.deepEqual(stretches(points, ["a", "b"], 0, 10, 3), [[0, [4, null]], [10, [0, 7]], [20, [null, null]]]);
});

test("the nearest sample is found, and none of none", () => {
  const points = [0, 10, 20].map((time) => ({ time }));
  assert.deepEqual([-5, 4, 6, 99].map((time) => nearest(points, time)), [0, 0, 1, 2]);
  assert.equal(nearest([], 4), -1);
});
