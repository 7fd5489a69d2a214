/** The strip: the figures of the ledger, as they are. */

const NUMBER = new Intl.NumberFormat("en");

/** @param {ReturnType<import("./ledger.js").createLedger>} ledger */
export function createStrip(ledger, people, stores) {
  const strip = document.querySelector("#strip");
  const put = (id, text) => {
    const place = document.querySelector(`#${id}`);
    if (place.textContent !== text) place.textContent = text;
  };
  return function draw() {
    const now = Date.now();
    people.forEach(({ id }, at) => ledger.isLive(id, stores[at].getSnapshot().status === "live", now));
    const figures = ledger.figures(now);
    const isBroken = figures.lost > 0 || figures.doubled > 0;
    const isEven = figures.published === figures.received;
    put("published", NUMBER.format(figures.published));
    put("received", NUMBER.format(figures.received));
    put("on-its-way", NUMBER.format(figures.onItsWay));
    put("lost", NUMBER.format(figures.lost));
    put("doubled", NUMBER.format(figures.doubled));
    put("pace", figures.pace.toFixed(1));
    put("latency", figures.latency === null ? "–" : `${figures.latency.toFixed(0)} ms`);
    put("connections", `${stores.filter((store) => store.getSnapshot().status === "live").length} of ${stores.length}`);
    put("explained", explanation(figures));
    strip.dataset.state = isBroken ? "broken" : isEven ? "even" : "uneven";
    document.querySelector("#lost").parentElement.dataset.bad = String(figures.lost > 0);
    document.querySelector("#doubled").parentElement.dataset.bad = String(figures.doubled > 0);
  };
}

function explanation({ late, elsewhere, unchecked }) {
  const parts = ["Counted per recipient: answers with 2xx on one side, what each phone's line brought on the other."];
  if (late) parts.push(`${NUMBER.format(late)} came late, after a cut or a kill.`);
  if (elsewhere) parts.push(`${NUMBER.format(elsewhere)} more came from elsewhere: a terminal, or an earlier run.`);
  if (unchecked) parts.push(`${NUMBER.format(unchecked)} are too many to keep an eye on, and not counted.`);
  return parts.join(" ");
}
