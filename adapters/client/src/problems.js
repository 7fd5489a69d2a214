/** What goes wrong without the server having said so: `{code, title, retryable}`, as the server says it of the rest. */

/** @__NO_SIDE_EFFECTS__ */
const problem = (code, title, retryable) => ({ code, title, retryable });
export const LOST = problem("connection_lost", "The connection to the server was lost.", true);
export const GARBAGE = problem("not_understood", "What the server sent cannot be understood.", true);
export const STOPPED = problem("stopped", "The inbox was stopped.", false);
export const CHANGED_USER = problem("user_changed", "Another user is signed in.", false);
export const QUEUE_FULL = problem("queue_full", "Too much waits to be sent.", true);
export const NOT_LIVE = problem("not_live", "The server cannot be asked now.", true);
export const NO_TOKEN = problem("no_token", "Nobody is signed in.", false);
export const NO_TOKEN_NOW = problem("token_failed", "No token could be had.", true);
export const NOT_RECOVERED = problem("not_recovered", "The server cannot go on from its own list.", true);
export const EXPIRED = problem("token_expired", "The token has expired.", true);
export const LINE_NOT_LOADED = problem("line_not_loaded", "The socket's module could not be loaded.", true);
