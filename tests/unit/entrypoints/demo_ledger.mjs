// The demo's ledger: what its page shows of what was published and what the two phones heard.
//
// argv: the path of the ledger. Times are in ms, and made up.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { pathToFileURL } from "node:url";

const { createLedger, PATIENCE_MS } = await import(pathToFileURL(process.argv[2]));
const [ADA, BEN] = ["42", "43"];
const OPEN_MAX = 20_000;

let ledger;

beforeEach(() => {
  ledger = createLedger("demo-1", [ADA, BEN]);
  for (const user of [ADA, BEN]) {
    ledger.began(user, "log:0");
    ledger.isLive(user, true, 0);
  }
});

function published(offset, { to = [ADA], sentAt = 0, now = sentAt } = {}) {
  ledger.published({ id: `demo-1-${offset}`, recipients: to, cursor: `log:${offset}`, sentAt }, now);
}

function heard(offset, { user = ADA, id = `demo-1-${offset}`, now = 0 } = {}) {
  ledger.heard(user, id, `log:${offset}`, now);
}

function shows(expected, now = 0) {
  const figures = ledger.figures(now);
  const counted = ["published", "received", "onItsWay", "lost", "doubled", "elsewhere", "unchecked", "late"];
  const others = Object.fromEntries(counted.map((name) => [name, 0]));
  const shown = Object.fromEntries(counted.map((name) => [name, figures[name]]));
  assert.deepEqual(shown, { ...others, ...expected });
}

test("each recipient is one to publish to and one to receive", () => {
  published(1, { to: [ADA, BEN] });
  shows({ published: 2, onItsWay: 2 });
  heard(1);
  shows({ published: 2, received: 1, onItsWay: 1 });
  heard(1, { user: BEN });
  shows({ published: 2, received: 2 });
});

test("what a phone hears before the answer is known is received once it is", () => {
  heard(1, { now: 30 });
  shows({});
  published(1, { sentAt: 10, now: 50 });
  shows({ published: 1, received: 1 });
  assert.equal(ledger.figures(50).latency, 20);
});

test("what stands before something that has come is lost, until it comes after all", () => {
  for (const offset of [8, 9, 10]) published(offset);
  heard(10);
  shows({ published: 3, received: 1, lost: 2 });
  heard(8);
  shows({ published: 3, received: 2, lost: 1 });
  heard(9);
  shows({ published: 3, received: 3 });
});

test("what one phone has heard says nothing of the other", () => {
  published(1, { to: [BEN] });
  published(2);
  heard(2);
  shows({ published: 2, received: 1, onItsWay: 1 });
});

test("what does not come to a phone that is live is lost when patience is over", () => {
  published(1);
  shows({ published: 1, onItsWay: 1 }, PATIENCE_MS);
  shows({ published: 1, lost: 1 }, PATIENCE_MS + 1);
});

test("nothing is lost while a phone is away, and its patience begins anew when it is back", () => {
  published(1);
  ledger.isLive(ADA, false, 5);
  shows({ published: 1, onItsWay: 1 }, 9 * PATIENCE_MS);
  ledger.isLive(ADA, true, 9 * PATIENCE_MS);
  ledger.isLive(ADA, true, 10 * PATIENCE_MS);
  shows({ published: 1, onItsWay: 1 }, 10 * PATIENCE_MS);
  shows({ published: 1, lost: 1 }, 10 * PATIENCE_MS + 1);
});

test("what comes again is doubled, each time, and received once", () => {
  published(1);
  for (let times = 0; times < 3; times++) heard(1);
  shows({ published: 1, received: 1, doubled: 2 });
});

test("what comes again before the answer is known is doubled too", () => {
  heard(1);
  heard(1);
  published(1);
  shows({ published: 1, received: 1, doubled: 1 });
});

test("what was put off comes again without being doubled, once each time", () => {
  published(1);
  heard(1);
  ledger.snoozed(ADA, ["demo-1-1", "demo-1-2"]);
  heard(9, { id: "demo-1-1" });
  shows({ published: 1, received: 1 });
  heard(9, { id: "demo-1-1" });
  shows({ published: 1, received: 1, doubled: 1 });
});

test("a cursor that says more than its place has its place", () => {
  published(1);
  ledger.heard(ADA, "order-7", "log:7~2.1", 0);
  shows({ published: 1, lost: 1, elsewhere: 1 });
});

test("of what is changed and taken back no account is kept, but of what lies before it", () => {
  published(1);
  for (let times = 0; times < 2; times++) heard(7, { id: "try-1-1" });
  shows({ published: 1, lost: 1 });
});

test("what others have published is from elsewhere, and may come twice", () => {
  heard(1, { id: "order-7" });
  shows({ elsewhere: 1 });
  heard(1, { id: "order-7" });
  shows({ elsewhere: 1, doubled: 1 });
});

test("what lies before a phone's first place in the log was never promised to it", () => {
  ledger = createLedger("demo-1", [ADA, BEN]);
  published(4);
  published(5);
  published(6);
  shows({});
  ledger.began(ADA, "log:5");
  shows({ published: 1, onItsWay: 1 });
  // Its next session does not begin anew.
  ledger.began(ADA, "log:9");
  published(7);
  shows({ published: 2, onItsWay: 2 });
});

test("what took longer than a second is late, and not in the latency", () => {
  for (const [offset, took] of [20, 1_002, 10, 30, 1_001, 1_000, 40].entries()) {
    published(offset + 1, { sentAt: 100 });
    heard(offset + 1, { now: 100 + took });
  }
  shows({ published: 7, received: 7, late: 2 });
  assert.equal(ledger.figures(0).latency, 30);
});

test("without anything received there is no latency", () => {
  assert.equal(ledger.figures(0).latency, null);
});

test("the pace is that of the last five whole seconds, of both phones", () => {
  heard(1, { now: 900 });
  heard(2, { now: 1_000 });
  heard(3, { now: 5_999, user: BEN });
  heard(4, { now: 6_000 });
  assert.equal(ledger.figures(6_000).pace, 2 / 5);
});

test("of too many on their way the oldest are no longer counted, and said to be so", () => {
  for (let offset = 1; offset <= OPEN_MAX + 2; offset++) published(offset);
  shows({ published: OPEN_MAX, onItsWay: OPEN_MAX, unchecked: 2 });
});

test("in whatever order a line brings it, what it drops is lost and what it repeats is doubled", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = randomOf(seed);
    ledger = createLedger("demo-1", [ADA, BEN]);
    ledger.began(ADA, "log:0");
    ledger.isLive(ADA, true, 0);
    const said = [];
    const expected = { published: 200, received: 0, lost: 0, doubled: 0 };
    for (let offset = 1; offset <= expected.published; offset++) {
      said.push([random(), () => published(offset)]);
      const times = [0, 1, 1, 1, 1, 1, 1, 2, 3][Math.floor(random() * 9)];
      for (let time = 0; time < times; time++) said.push([random(), () => heard(offset)]);
      expected[times ? "received" : "lost"]++;
      expected.doubled += Math.max(0, times - 1);
    }
    for (const [, say] of said.sort(([one], [other]) => one - other)) {
      say();
      const { published, received, onItsWay, lost } = ledger.figures(0);
      assert.equal(published, received + onItsWay + lost, `seed ${seed}`);
    }
    shows(expected, PATIENCE_MS + 1);
  }
});

function randomOf(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}
