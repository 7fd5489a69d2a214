/** The operator's page: who has logged in, how the server is, and how old that is which is shown. */
import * as api from "./api.js";
import { createCharts } from "./charts.js";
import { element, one } from "./dom.js";
import { lasting, moment, ofDay, zone } from "./format.js";
import { nodesUnknown, showNodes } from "./nodes.js";
import { createUsers } from "./users.js";

const UNAUTHENTICATED = 401;
/** A page that is so many samples behind says so. */
const LATE = 2.5;
const SOON_MS = 500;

const charts = createCharts();
const users = createUsers(failed);
/** Of the last answer: the server's time, and when it came here, by a clock that nobody sets. */
let known = null;
let timer = 0;
let isUsed = false;
let isAsking = false;

const now = () => (known ? known.now + (performance.now() - known.at) : Date.now());

function showLogin(why) {
  clearTimeout(timer);
  known = null;
  charts.forget();
  users.forget();
  if (one("#confirm").open) one("#confirm").close();
  for (const [id, hidden] of [["login", false], ["console", true], ["who", true], ["health", true]]) one(`#${id}`).hidden = hidden;
  one("#which").textContent = "operators";
  one("#login-why").hidden = !why;
  one("#login-why").textContent = why;
  one("#key").focus();
}

function showConsole() {
  for (const [id, hidden] of [["login", true], ["console", false], ["who", false], ["health", false]]) one(`#${id}`).hidden = hidden;
}

/** Something was not answered as it should. Whoever calls shows it, but for this. */
function failed(error) {
  if (error.status !== UNAUTHENTICATED) return;
  const why = known ? "Your session has ended. Log in again to go on." : "";
  showLogin(why);
}

async function ask() {
  if (isAsking) return;
  isAsking = true;
  clearTimeout(timer);
  const used = isUsed;
  isUsed = false;
  try {
    const state = await api.state(charts.last.number, used);
    known = { now: Date.parse(state.now), at: performance.now(), state, why: "" };
    charts.add(state.samples);
    showConsole();
    showState(state);
    charts.draw(now());
    await askNodes(state);
  } catch (error) {
    if (!(error instanceof api.Failure)) throw error;
    isUsed ||= used;
    if (known) known.why = error.message;
    failed(error);
    if (!known && error.status !== UNAUTHENTICATED) showLogin(error.message);
  } finally {
    isAsking = false;
  }
  if (known) {
    showAge();
    timer = setTimeout(ask, untilNext());
  }
}

/** In how many milliseconds there should be a new sample: soon after it is taken, so that little of it is old. */
function untilNext() {
  const whole = charts.every * 1000;
  const { time } = charts.last;
  const due = time === null ? whole : time + whole + SOON_MS - now();
  return due > 0 ? Math.min(due, whole) : whole;
}

async function askNodes({ server }) {
  try {
    showNodes((await api.nodes()).nodes, server.boot);
  } catch (error) {
    if (!(error instanceof api.Failure)) throw error;
    nodesUnknown(error.message);
    failed(error);
  }
}

function showState({ server, operator, faults, looks, actions }) {
  one("#operator").textContent = operator;
  one("#which").textContent = [server.boot ? `node ${server.boot}` : server.address, `version ${server.version}`].join(" · ");
  document.title = `${server.boot ?? server.address} · synkrone-socket`;
  const wrong = Object.entries(faults);
  one("#health").textContent = wrong.length ? "Not ready" : "Ready";
  one("#health").classList.toggle("bad", wrong.length > 0);
  one("#faults").hidden = wrong.length === 0;
  const said = JSON.stringify(faults);
  if (one("#faults").dataset.said !== said) {
    one("#faults").dataset.said = said;
    one("#faults").replaceChildren("This server is not ready:", element("ul", {}, wrong.map(([name, fault]) => element("li", {}, element("code", {}, name), `: ${fault}`))));
  }
  one("#fresh").replaceChildren("Listening on ", element("code", {}, server.address), " since ", moment(server.since), ". Store: ", element("code", {}, server.store), `. Times are in ${zone}.`);
  users.offer(looks, actions);
}

/** Every second: how old what is shown is. */
function showAge() {
  if (!known) return;
  const { time } = charts.last;
  const silent = (performance.now() - known.at) / 1000;
  const isLost = known.why !== "" || silent > charts.every * LATE;
  const age = time === null ? null : (now() - time) / 1000;
  const isOld = age !== null && age > charts.every * LATE;
  one("#sampled").textContent = time === null ? `No sample yet: one is taken every ${charts.every} s.` : `Sampled every ${charts.every} s, last at ${ofDay(time)}, ${lasting(age)} ago.`;
  const lost = `No answer from the server since ${ofDay(known.now)}. What is shown is of then. ${known.why}`;
  const old = time === null ? "" : `The server's answer of ${ofDay(known.now)} has no sample newer than ${ofDay(time)}.`;
  const said = isLost ? lost : isOld ? old : "";
  one("#banner").hidden = said === "";
  if (one("#banner").textContent !== said) one("#banner").textContent = said;
  one("#console").classList.toggle("stale", isLost);
  if (isLost) {
    one("#health").textContent = "No answer";
    one("#health").classList.add("bad");
  }
}

one("#login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = one("#login button");
  one("#login-error").textContent = "";
  button.disabled = true;
  try {
    await api.login(one("#key").value);
    one("#key").value = "";
    one("#login-why").hidden = true;
    await ask();
    one("#user").focus({ preventScroll: true });
  } catch (error) {
    if (!(error instanceof api.Failure)) throw error;
    one("#login-error").textContent = error.message;
    one("#key").select();
  } finally {
    button.disabled = false;
  }
});

one("#logout").addEventListener("click", async () => {
  try {
    await api.logout();
    showLogin("You have logged out.");
  } catch (error) {
    if (!(error instanceof api.Failure)) throw error;
    one("#banner").hidden = false;
    one("#banner").textContent = `You are still logged in: ${error.message}`;
  }
});

for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { isUsed = true; }, { capture: true, passive: true });
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && known && ask());
setInterval(showAge, 1000);
setInterval(() => known && charts.draw(now()), 5000);
ask();
