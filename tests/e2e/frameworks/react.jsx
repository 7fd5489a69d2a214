// The recipe in docs/how-to/react.md, as an application has it: listed and rendered by the server, then hydrated in a page
// under StrictMode. It prints what the page shows whenever that changes, one JSON object a line, and whatever React
// complains of. stdin, one a line: the title of the item to click on. The end of stdin unmounts it.
//
// argv: the server's address, the user's token.
import { createInterface } from "node:readline";
import { JSDOM } from "jsdom";
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { application } from "./application.jsx";
import { listInbox } from "./list.js";

const say = (value) => console.log(JSON.stringify(value));
console.error = (...what) => say({ complaint: what.map(String) });

const [url, token] = process.argv.slice(2);
const initial = await listInbox(url, token);
const page = <StrictMode>{application({ user: { id: "42" }, session: { token }, initial })}</StrictMode>;
const { window } = new JSDOM(`<body><main>${renderToString(page)}</main></body>`, { url });
const { document } = window;
for (const name of ["window", "document", "addEventListener", "removeEventListener"]) {
  globalThis[name] = typeof window[name] === "function" ? window[name].bind(window) : window[name];
}
globalThis.window = window;

const items = () => [...document.querySelectorAll("li")];
const show = () => say({ titles: items().map((item) => item.textContent), unread: document.querySelectorAll("li b").length });
show();
new window.MutationObserver(show).observe(document.body, { childList: true, subtree: true, characterData: true });

const { hydrateRoot } = await import("react-dom/client");
const root = hydrateRoot(document.querySelector("main"), page);
for await (const title of createInterface({ input: process.stdin })) {
  items().find((item) => item.textContent === title).querySelector("button").click();
}
root.unmount();
