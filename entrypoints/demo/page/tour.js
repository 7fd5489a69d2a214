/** Seven short steps, each beside what it is about. */

const STEPS = [
  ["[data-person]", "Two users, two phones", "Each has the same inbox component, and a line of its own to one real server on this machine. What it speaks, Socket.IO or the event stream, stands under the name."],
  ["#publish", "Your backend says: notify", "Choose a user, a role or everyone and publish. It appears on the phones it is for and on no other. What the server answers with 2xx is on disk."],
  [".curl", "It is one HTTP request", "Copy the line into a terminal. That is all a backend needs."],
  ["#tries", "Think again", "What was published can be changed and taken back. Each button here is one request, and the sentence beside it says what to watch."],
  ["#automatic", "Keep it busy", "Let it publish by itself, five a second say, and watch the strip: what was published against what the phones really heard."],
  ["[data-wire]", "Cut a line", "Switch a user’s line off while it goes on. What they miss is on its way, not lost. Switch it on again: all of it arrives, once and in order."],
  ["#server", "Kill the server", "kill -9, no goodbye. It is started again, publishing goes on, and the strip settles: lost 0, doubled 0."],
];
const SEEN = "synkrone-demo-tour";

export function createTour() {
  const tour = document.querySelector("#tour");
  const find = (name) => document.querySelector(`#tour-${name}`);
  let step = 0;

  const light = (selector) => {
    for (const lit of document.querySelectorAll("[data-lit]")) delete lit.dataset.lit;
    if (selector) for (const place of document.querySelectorAll(selector)) place.dataset.lit = "";
  };
  const show = (to, isBegun = true) => {
    step = to;
    const [selector, title, text] = STEPS[step];
    tour.hidden = false;
    find("count").textContent = `${step + 1} of ${STEPS.length}`;
    find("title").textContent = title;
    find("text").textContent = text;
    find("back").disabled = step === 0;
    find("next").textContent = step === STEPS.length - 1 ? "Done" : "Next";
    light(selector);
    // Whoever has just come is to see the whole page first.
    if (isBegun) document.querySelector(selector).scrollIntoView({ block: "center" });
  };
  const end = () => {
    tour.hidden = true;
    light(null);
    localStorage.setItem(SEEN, "yes");
    document.querySelector("#take-tour").focus();
  };
  find("next").addEventListener("click", () => (step < STEPS.length - 1 ? show(step + 1) : end()));
  find("back").addEventListener("click", () => show(Math.max(0, step - 1)));
  find("skip").addEventListener("click", end);
  tour.addEventListener("keydown", ({ key }) => key === "Escape" && end());
  document.querySelector("#take-tour").addEventListener("click", () => {
    show(0);
    find("title").focus();
  });
  if (!localStorage.getItem(SEEN)) show(0, false);
}
