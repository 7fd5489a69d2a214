/** What goes on by itself, and what the visitor may break: the rate, the lines, the server. */

const STATES = { up: "Up", away: "Away", starting: "Starting" };

/** @param {(error: Error) => void} failed told of what could not be done */
export function createFaults(control, people, failed) {
  const rate = document.querySelector("#rate");
  const shown = document.querySelector("#rate-shown");
  const kill = document.querySelector("#kill");
  const showRate = (number) => {
    shown.textContent = number ? `${number} a second` : "off";
  };
  const wires = people.map((person, at) => createWire(document.querySelector(`[data-wire="${at}"]`), person));

  rate.addEventListener("input", () => showRate(rate.valueAsNumber));
  rate.addEventListener("change", () => control.setRate(rate.valueAsNumber).catch(failed));
  kill.addEventListener("click", () => {
    kill.disabled = true;
    control.kill().catch(failed);
  });
  wires.forEach(({ button }, at) =>
    button.addEventListener("click", () => {
      const isOpen = button.getAttribute("aria-checked") === "false";
      wires[at].show(isOpen);
      control.setLine(people[at].id, isOpen).catch(failed);
    }),
  );

  return function draw({ server, lines, unanswered, givenUp, rate: current }) {
    if (document.activeElement !== rate && rate.valueAsNumber !== current) {
      rate.value = String(current);
      showRate(current);
    }
    people.forEach(({ id }, at) => wires[at].show(lines[id], server.state === "up"));
    kill.disabled = server.state !== "up";
    const state = document.querySelector("#server-state");
    const starts = server.starts > 1 ? `, started ${server.starts} times` : "";
    const text = `${STATES[server.state]}${server.pid ? `, process ${server.pid}` : ""}${starts}`;
    if (state.textContent !== text) state.textContent = text;
    state.dataset.state = server.state;
    const fault = document.querySelector("#server-fault");
    fault.hidden = server.fault === null;
    fault.textContent = server.fault ?? "";
    const waiting = unanswered ? `${unanswered} wait for the server, and are sent again until it answers.` : "";
    document.querySelector("#waiting").textContent = givenUp
      ? `${waiting} ${givenUp} were given up without an answer.`
      : waiting;
  };
}

function createWire(place, { name }) {
  place.append(document.querySelector("#wire").content.cloneNode(true));
  const button = place.querySelector("button");
  return {
    button,
    show(isOpen, isUp = true) {
      place.dataset.state = isOpen ? (isUp ? "open" : "dead") : "cut";
      button.setAttribute("aria-checked", String(isOpen));
      button.querySelector(".name").textContent = `${name}’s line`;
    },
  };
}
