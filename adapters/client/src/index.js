export { InboxError } from "./errors.js";
export { createInbox } from "./inbox.js";
