/** A question before something is done that cannot be undone by another click. */
import { element, one } from "./dom.js";

/** Ends the question before, where its dialog has closed and has not been told yet. */
let end = () => {};

/**
 * Ask, and do it where the answer is yes. `fields` are `{name, label, type, hint}`; `perform` gets their values and
 * may throw, which is shown, and the question stays. Resolves to what it gave, or to null.
 */
export function confirm({ title, text, fields, yes, perform }) {
  const dialog = one("#confirm");
  const form = dialog.querySelector("form");
  one("#confirm-title").textContent = title;
  one("#confirm-text").textContent = text;
  one("#confirm-yes").textContent = yes;
  one("#confirm-error").textContent = "";
  one("#confirm-fields").replaceChildren(
    ...fields.map(({ name, label, type, hint }) =>
      element("div", { class: type === "checkbox" ? "check" : "field" }, element("label", { for: `field-${name}` }, label), element("input", { id: `field-${name}`, name, type, "aria-describedby": hint ? `hint-${name}` : null, maxlength: type === "text" ? "200" : null }), hint ? element("p", { class: "fine", id: `hint-${name}` }, hint) : null),
    ),
  );
  const answer = Promise.withResolvers ? Promise.withResolvers() : withResolvers();
  const listening = new AbortController();
  const { signal } = listening;
  let outcome = null;
  let isUnderWay = false;
  end();
  end = () => {
    listening.abort();
    answer.resolve(outcome);
  };

  function setUnderWay(value) {
    isUnderWay = value;
    for (const id of ["#confirm-no", "#confirm-yes"]) one(id).disabled = value;
  }

  one("#confirm-no").addEventListener("click", () => dialog.close(), { signal });
  // What is told of the dialog before comes only once this one is open.
  dialog.addEventListener("close", () => dialog.open || isUnderWay || end(), { signal });
  dialog.addEventListener("cancel", (event) => isUnderWay && event.preventDefault(), { signal });
  form.addEventListener(
    "submit",
    async (event) => {
      event.preventDefault();
      const values = Object.fromEntries(fields.map(({ name, type }) => [name, type === "checkbox" ? form.elements[name].checked : form.elements[name].value]));
      setUnderWay(true);
      try {
        outcome = await perform(values);
        dialog.close();
      } catch (error) {
        // Where it was closed all the same, it is said on the page.
        outcome = dialog.open ? null : unsaid(error);
        one("#confirm-error").textContent = unsaid(error);
      } finally {
        setUnderWay(false);
        if (!dialog.open) end();
      }
    },
    { signal },
  );
  dialog.showModal();
  one("#confirm-no").focus();
  return answer.promise;
}

const unsaid = (error) => `The server did not say that it is done: ${error.message}`;

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve) => { made.resolve = resolve; });
  return made;
}
