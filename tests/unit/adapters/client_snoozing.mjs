// Until when the panel offers to put a notification off, on the clock of Oslo, where summer time ends on 25 October 2026.
//
// argv: the path of the source.
import assert from "node:assert/strict";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const { choices } = await import(pathToFileURL(process.argv[2]));

/** On the clock of the place, `2026-10-24 09:30`, by the names of the choices. */
function offered(now) {
  const shown = (date) => date.toLocaleString("sv-SE", { dateStyle: "short", timeStyle: "short" });
  return Object.fromEntries(choices(new Date(now)).map(([name, until]) => [name, shown(until)]));
}

test("by day it is this evening, and later tomorrow morning", () => {
  const day = { inHour: "2026-12-01 17:59", thisEvening: "2026-12-01 18:00", nextWeek: "2026-12-08 08:00" };
  assert.deepEqual(offered("2026-12-01T16:59"), day);
  const evening = { inHour: "2026-12-01 18:00", tomorrowMorning: "2026-12-02 08:00", nextWeek: "2026-12-08 08:00" };
  assert.deepEqual(offered("2026-12-01T17:00"), evening);
});

test("months and years end, and a clock is put back", () => {
  const last = { inHour: "2027-01-01 00:30", tomorrowMorning: "2027-01-01 08:00", nextWeek: "2027-01-07 08:00" };
  assert.deepEqual(offered("2026-12-31T23:30"), last);
  const summer = { inHour: "2026-10-24 23:00", tomorrowMorning: "2026-10-25 08:00", nextWeek: "2026-10-31 08:00" };
  assert.deepEqual(offered("2026-10-24T22:00"), summer);
});
