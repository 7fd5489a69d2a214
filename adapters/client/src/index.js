import { defineInboxElement } from "./element.js";
import { createInbox } from "./inbox.js";

export { InboxError } from "./errors.js";
export { createInbox };

// Elsewhere than in a page the store is of use without it.
if (globalThis.customElements && !customElements.get("synkrone-inbox")) defineInboxElement(createInbox);
