/** The form that publishes, and the line that does the same from a terminal. */
import { curlLine } from "./curl.js";

const TYPE = "demo.form";

export function createPublishForm(control, server, people) {
  const form = document.querySelector("#publish");
  const curl = document.querySelector("#curl");
  const answer = document.querySelector("#answer");
  const copy = document.querySelector("#copy");
  const { to, title, body } = form.elements;
  const audiences = [
    ...people.map(({ id, name }) => [`${name} (user ${id})`, { user: id }]),
    ...people.map(({ role }) => [`Every ${role} (role)`, { role }]),
    ["Everyone", { everyone: true }],
  ];
  to.append(...audiences.map(([name], at) => new Option(name, String(at))));

  const publication = () => ({
    to: audiences[Number(to.value)][1],
    title: title.value,
    ...(body.value && { body: body.value }),
  });
  const draw = () => {
    const { to: audience, ...text } = publication();
    curl.textContent = curlLine(server, { to: audience, type: TYPE, ...text });
    copy.textContent = "Copy";
  };
  form.addEventListener("input", draw);
  draw();

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.textContent = "Waiting for the server…";
    try {
      const { cursor } = await control.publish(publication());
      answer.textContent = `201, place ${cursor.split(":").at(-1)} in the log`;
    } catch (error) {
      answer.textContent = error.message;
    }
  });

  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(curl.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(curl);
      copy.textContent = "Selected";
    }
  });
}
