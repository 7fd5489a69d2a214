/** What more can be done than to publish: each is a button, and a sentence that says what to watch. */
import { TRY } from "./ledger.js";

const SOON_SECONDS = 10;
const NOTIFICATIONS = "/v1/notifications";
/** What was taken back before, by a request whose answer was lost, is taken back. */
const GONE = 410;
const EVERYONE = { everyone: true };
const CITIES = ["Bergen", "Ghent", "Porto", "Lyon"];

const soon = () => new Date(Date.now() + SOON_SECONDS * 1000).toISOString();

export function createTries(control, people, stores) {
  const card = document.querySelector("#tries");
  const list = card.querySelector("ul");
  const asked = card.querySelector("#asked");
  /** Of this page, as it has nobody in it yet. */
  const group = `group-${Date.now()}`;
  let changes = 0;
  let messages = 0;
  /** The id of what was published last, and was not taken back. */
  let last = null;

  async function ask(method, path, body) {
    const request = `${method} ${path}${body ? `\n${JSON.stringify(body)}` : ""}`;
    asked.hidden = false;
    asked.textContent = request;
    const { status, answer } = await control.try(method, path, body);
    asked.textContent = `${request}\n→ ${status} ${answer?.detail ?? answer?.title ?? ""}`.trimEnd();
    return status < 400 || status === GONE;
  }

  async function publish(publication) {
    const id = `${TRY}${Date.now()}`;
    if (await ask("POST", NOTIFICATIONS, { id, to: EVERYONE, type: "demo.try", ...publication })) last = id;
  }

  const tries = [
    {
      does: "Publish one",
      watch: "It comes to both phones. The next two are about it.",
      act: () => publish({ title: "Your mission is in Lyon", body: "It starts on Monday." }),
    },
    {
      does: "Change it",
      watch: "Its text changes where it stands, marked as edited.",
      needsLast: true,
      act: () => ask("PATCH", `${NOTIFICATIONS}/${last}`, { title: `Your mission is in ${CITIES[changes++ % CITIES.length]}` }),
    },
    {
      does: "Take it back",
      watch: "It leaves both phones. One whose line was cut before it came never shows it.",
      needsLast: true,
      act: async () => {
        if (await ask("DELETE", `${NOTIFICATIONS}/${last}`)) last = null;
      },
    },
    {
      does: `Send it in ${SOON_SECONDS} s`,
      watch: "It comes when it is due, whatever you kill meanwhile. Take it back before, and it never comes.",
      act: () => publish({ title: "Your shift begins", deliver_at: soon() }),
    },
    {
      does: "Snooze",
      watch: `The newest of each phone leaves it, and is back in ${SOON_SECONDS} s: at the top, and unread.`,
      act: () =>
        Promise.all(stores.filter(({ items }) => items.length).map((store) => store.snooze([store.items[0].id], soon()))),
    },
    {
      does: "Count up",
      watch: "Press it a few times: one collapse_key, one row with the newest number.",
      act: () => publish({ title: `${++messages} new messages`, collapse_key: "demo-messages" }),
    },
    {
      does: "Tell the group",
      watch: "Only those who are ticked hear it, whatever their role.",
      choices: people.map(({ id, name }) => [name, (isIn) => ask(isIn ? "PUT" : "DELETE", `/v1/topics/${group}/members/${id}`)]),
      act: () => publish({ to: { topic: group }, title: "A word to the group" }),
    },
  ];

  const draw = () => {
    for (const { button, needsLast } of tries) button.disabled = Boolean(needsLast && !last);
  };
  for (const each of tries) {
    const row = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: each.does });
    const watch = Object.assign(document.createElement("p"), { className: "fine", textContent: each.watch });
    row.append(button, watch);
    if (each.choices) {
      const boxes = document.createElement("div");
      boxes.append(...each.choices.map(choice));
      row.append(boxes);
    }
    list.append(row);
    each.button = button;
    button.addEventListener("click", () => attempt(each.act));
  }
  draw();

  async function attempt(act) {
    try {
      return await act();
    } catch (error) {
      asked.hidden = false;
      asked.textContent = error.message;
    } finally {
      draw();
    }
  }

  /** A box to tick, which stays as it was where that is refused. */
  function choice([name, choose]) {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox" });
    label.append(box, name);
    box.addEventListener("change", async () => {
      if (!(await attempt(() => choose(box.checked)))) box.checked = !box.checked;
    });
    return label;
  }
}
