/** What can be done to a user: what is asked first, what is sent, and what is said afterwards. */
import { asTime } from "./format.js";

const connections = (number) => (number === 1 ? "1 connection was closed." : `${number} connections were closed.`);

export const ACTIONS = {
  close: {
    button: "Close connections …",
    question: (user) => `Close all connections of ${user}?`,
    consequence: "Their tokens stay good: this is no ban. Without the tick their clients stay away until they are started again.",
    fields: [{ name: "reconnect", label: "Let their clients come back at once", type: "checkbox" }],
    yes: (user) => `Close all of ${user}`,
    body: ({ reconnect }) => ({ reconnect }),
    done: (user, { disconnected }) => `${user}: ${connections(disconnected)}`,
  },
  revoke: {
    button: "Revoke tokens …",
    question: (user) => `Revoke the tokens of ${user}?`,
    consequence: "Every token that was issued up to now is refused from now on, and what is connected with one is closed. A token that is issued from the next second on is good.",
    fields: [],
    yes: (user) => `Revoke the tokens of ${user}`,
    body: () => ({}),
    done: (user, { disconnected }) => `${user}: the tokens of before are refused. ${connections(disconnected)}`,
  },
  block: {
    button: "Block …",
    question: (user) => `Block ${user}?`,
    consequence: "Whatever token they have is refused, and all their connections are closed, until the block ends.",
    fields: [
      { name: "until", label: "Until", type: "datetime-local", hint: "Left empty: until somebody undoes it." },
      { name: "reason", label: "Reason", type: "text", hint: "For other operators." },
    ],
    yes: (user) => `Block ${user}`,
    body: ({ until, reason }) => ({ until: asTime(until), reason: reason || undefined }),
    done: (user, { disconnected }) => `${user} is blocked. ${connections(disconnected)}`,
  },
  unblock: {
    button: "Unblock …",
    question: (user) => `Unblock ${user}?`,
    consequence: "Their tokens are taken again at once.",
    fields: [],
    yes: (user) => `Unblock ${user}`,
    body: () => ({}),
    done: (user) => `${user} is not blocked any more.`,
  },
};
