/** One user, looked up: what can be seen of them, each with what it is as of, and what can be done. */
import * as api from "./api.js";
import { ACTIONS } from "./actions.js";
import { confirm } from "./confirm.js";
import { element, one } from "./dom.js";
import { ofDay } from "./format.js";
import { LOOKS } from "./looks.js";

/** `failed` is told of every failure, so that whoever has to log in is asked to. */
export function createUsers(failed) {
  let offered = { looks: [], actions: [] };
  let user = null;
  const sections = new Map();

  function forget() {
    user = null;
    sections.clear();
    one("#found").replaceChildren();
    one("#done").textContent = "";
    one("#user").value = "";
  }

  function open(id) {
    user = id;
    sections.clear();
    const title = element("h3", { tabindex: "-1" }, "User ", element("bdi", {}, id));
    const offeredActions = Object.entries(ACTIONS).filter(([name]) => offered.actions.includes(name));
    const buttons = offeredActions.map(([name, { button }]) => element("button", { type: "button", class: "danger", onclick: () => perform(name) }, button));
    one("#found").replaceChildren(element("div", { class: "row wraps" }, title, element("div", { class: "buttons", role: "group", "aria-label": `What to do with ${id}` }, buttons)));
    for (const name of Object.keys(LOOKS)) if (offered.looks.includes(name)) addSection(name);
    title.focus();
  }

  function addSection(name) {
    const { title, fields } = LOOKS[name];
    const id = `look-${name}`;
    const asOf = element("span", { class: "fine", role: fields ? "status" : null });
    const body = element("div", { "aria-live": "off" });
    const again = element("button", { type: "button", class: "quiet", "aria-label": `Refresh ${title}`, onclick: () => look(name) }, "Refresh");
    one("#found").append(element("section", { class: "card look", "aria-labelledby": id }, element("div", { class: "row" }, element("h4", { id }, title), element("span", { class: "row" }, asOf, again)), fields ? narrowing(name) : null, body));
    sections.set(name, { asOf, body, query: {} });
    look(name);
  }

  /** It stays while what is below it changes, and so does the focus in it. */
  function narrowing(name) {
    const { title, fields, query } = LOOKS[name];
    const inputs = fields.map(({ name: field, type }) => element("input", { id: `${name}-${field}`, name: field, type, autocomplete: "off", spellcheck: "false", maxlength: type === "text" ? "128" : null }));
    const labelled = fields.map(({ label }, at) => element("div", {}, element("label", { for: inputs[at].id }, label), inputs[at]));
    const asked = (event) => {
      event.preventDefault();
      look(name, query(Object.fromEntries(inputs.map((input) => [input.name, input.value]))));
    };
    return element("form", { class: "narrowing", "aria-label": `Narrow ${title}`, onsubmit: asked }, labelled, element("button", { type: "submit" }, "Show"));
  }

  /** Ask anew; `query` takes the place of the one before. */
  async function look(name, query) {
    const section = sections.get(name);
    if (!section) return;
    if (query) section.query = query;
    const asked = user;
    section.body.setAttribute("aria-busy", "true");
    section.body.classList.add("loading");
    if (!section.body.firstChild) section.body.textContent = "Looking …";
    try {
      const found = await api.look(asked, name, section.query);
      if (sections.get(name) !== section) return;
      section.asOf.textContent = `as of ${ofDay(new Date())}`;
      section.body.replaceChildren(...LOOKS[name].show(found, { user: asked, query: section.query, look: (next) => look(name, next) }));
    } catch (error) {
      if (!(error instanceof api.Failure)) throw error;
      if (sections.get(name) !== section) return;
      section.asOf.textContent = "";
      section.body.replaceChildren(element("p", { class: "wrong", role: "alert" }, `Not known: ${error.message}`));
      failed(error);
    } finally {
      section.body.removeAttribute("aria-busy");
      section.body.classList.remove("loading");
    }
  }

  async function perform(name) {
    const asked = user;
    const action = ACTIONS[name];
    one("#done").textContent = "";
    const said = await confirm({
      title: action.question(asked),
      text: action.consequence,
      fields: action.fields,
      yes: action.yes(asked),
      perform: async (values) => {
        try {
          return action.done(asked, await api.act(asked, name, action.body(values)));
        } catch (error) {
          failed(error);
          throw error;
        }
      },
    });
    if (said === null || user !== asked) return;
    one("#done").textContent = said;
    for (const shown of sections.keys()) look(shown);
  }

  one("#lookup").addEventListener("submit", (event) => {
    event.preventDefault();
    one("#done").textContent = "";
    open(one("#user").value);
  });

  return {
    forget,
    /** What this server can show and do. */
    offer(looks, actions) {
      offered = { looks, actions };
    },
  };
}
