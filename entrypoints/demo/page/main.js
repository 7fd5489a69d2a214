/** The demo's page: it asks the control port for everything, and counts for itself. */
import { createControl } from "./control.js";
import { createFaults } from "./faults.js";
import { createLedger } from "./ledger.js";
import { createPhone } from "./phone.js";
import { createPublishForm } from "./publish.js";
import { loadSocketIo } from "./socket-io.js";
import { createStrip } from "./strip.js";
import { createTour } from "./tour.js";
import { createTries } from "./tries.js";

const POLL_MS = 400;
const AWAY_MS = 2_000;

function say(text) {
  const notice = document.querySelector("#notice");
  notice.hidden = !text;
  notice.textContent = text;
}

async function begin() {
  const control = createControl(location.hash.slice(1));
  const { run, people, server, socketIo } = await control.setup();
  const io = await loadSocketIo(socketIo);
  const standing = io ? "" : "The Socket.IO client could not be loaded, so both phones use the stream.";
  say(standing);

  const ledger = createLedger(`demo-${run}-`, people.map(({ id }) => id));
  const stores = people.map((person, at) =>
    createPhone(
      document.querySelector(`[data-person="${at}"]`),
      person,
      person.usesSocketIo ? io : null,
      (name, argument, cursor) => {
        if (name === "session.ready") ledger.began(person.id, cursor);
        else if (name === "notification.updated" && argument.change.snoozed_until) ledger.snoozed(person.id, argument.ids);
        else if (name === "notification.new") ledger.heard(person.id, argument.id, cursor, Date.now());
      },
    ),
  );
  createPublishForm(control, server, people);
  createTries(control, people, stores);
  const drawStrip = createStrip(ledger, people, stores);
  const drawFaults = createFaults(control, people, (error) => say(error.message));
  createTour();

  let last = 0;
  async function look() {
    let pause = POLL_MS;
    try {
      const state = await control.state(last);
      for (const one of state.published) ledger.published(one, Date.now());
      last = state.published.at(-1)?.number ?? last;
      drawFaults(state);
      if (isGone) say(standing);
      isGone = false;
    } catch {
      isGone = true;
      pause = AWAY_MS;
      say("The demo has ended. Start it again, and open the new link.");
    }
    drawStrip();
    setTimeout(look, pause);
  }
  let isGone = false;
  await look();
}

begin().catch((error) => say(error.code === "unauthorized" ? "Open the link that the demo printed: it has the key." : error.message));
