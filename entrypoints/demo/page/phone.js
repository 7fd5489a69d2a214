/** A user's phone: an inbox over a line of its own, and the page's ear on that line. */
import { createInbox } from "./synkrone-inbox.js";
import { tapSocket, tappedFetch } from "./taps.js";

/** Milliseconds; a demo comes back soon. */
const BACKOFF = { base: 500, max: 2_000 };

/**
 * @param {Element} place
 * @param {{id: string, role: string, name: string, url: string, token: string}} person
 * @param {any} io of the stock client, or null for the stream
 * @param {(name: string, argument: any, cursor: string) => void} heard
 */
export function createPhone(place, person, io, heard) {
  place.append(document.querySelector("#phone").content.cloneNode(true));
  place.querySelector("h2").textContent = person.name;
  place.querySelector(".fine").textContent = `${person.role} · user ${person.id} · ${io ? "Socket.IO" : "stream"}`;
  const store = io ? overSocket(io, person, heard) : overStream(person, heard);
  show(place.querySelector(".screen"), store);
  return store;
}

function overSocket(io, { url, token }, heard) {
  const socket = io(url, {
    auth: { token },
    reconnectionDelay: BACKOFF.base,
    reconnectionDelayMax: BACKOFF.max,
    autoConnect: false,
  });
  tapSocket(socket, heard);
  return createInbox({ socket, backoff: BACKOFF });
}

function overStream({ url, token }, heard) {
  return createInbox({ url, token: () => token, fetch: tappedFetch(heard), backoff: BACKOFF });
}

function show(screen, store) {
  const inbox = document.createElement("synkrone-inbox");
  inbox.store = store;
  inbox.toggleAttribute("open", true);
  screen.append(inbox);
  // A press elsewhere would close it, and on this page there is much to press beside the phones.
  document.body.addEventListener("pointerdown", (event) => event.stopPropagation());
}
