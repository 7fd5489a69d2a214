import { isObject } from "./values.js";

export const LONGEST_TIMER_MS = 3_600_000;

/** A problem, as the server says it or as one of its own: `{code, title, detail?, retryable}`. */
export class InboxError extends Error {
  /**
   * @param {{code: string, title: string, detail?: string, retryable?: boolean}} problem
   * @param {number} [retryAfter] milliseconds after which to try again, at the earliest
   */
  constructor(problem, retryAfter = 0) {
    super(problem.detail ? `${problem.title} (${problem.detail})` : problem.title);
    this.name = "InboxError";
    const { code, title, detail, retryable = false } = problem;
    this.problem = Object.freeze({ code, title, ...(detail === undefined ? {} : { detail }), retryable });
    this.code = code;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
    /** Of the answer that said so, over HTTP. */
    this.status = 0;
  }
}

/** Why a stream is left in good order, and another one opened at once. */
export class Again extends Error {}

const problem = (code, title, retryable) => ({ code, title, retryable });
export const LOST = problem("connection_lost", "The connection to the server was lost.", true);
export const GARBAGE = problem("not_understood", "What the server sent cannot be understood.", true);
export const STOPPED = problem("stopped", "The inbox was stopped.", false);
export const CHANGED_USER = problem("user_changed", "Another user is signed in.", false);
export const QUEUE_FULL = problem("queue_full", "Too much waits to be sent to the server.", true);
export const NOT_LIVE = problem("not_live", "The server cannot be asked at the moment.", true);
export const NO_TOKEN = problem("no_token", "Nobody is signed in.", false);
export const NO_TOKEN_NOW = problem("token_failed", "No token could be had.", true);
export const NOT_RECOVERED = problem("not_recovered", "The server cannot continue from the list it just gave.", true);

/** What a server's problem becomes. */
export function refusal(told, retryAfter) {
  const isProblem = isObject(told) && typeof told.code === "string" && typeof told.title === "string";
  return new InboxError(isProblem ? told : LOST, retryAfter);
}

/** What an answer that is none says: only the server's own word is final, and not a proxy's. */
export async function failureOf(response) {
  let told = null;
  try {
    told = await response.json();
  } catch {
    // Somebody else's page.
  }
  const failure = refusal(told, retryAfterOf(response.headers.get("Retry-After")));
  const isOfServer = failure.code !== LOST.code;
  const isPassing = response.status >= 500 || response.status === 429 || response.status === 408;
  const retryable = !isOfServer || isPassing || failure.retryable;
  const error = new InboxError({ ...failure.problem, retryable }, failure.retryAfter);
  error.status = response.status;
  return error;
}

function retryAfterOf(value) {
  if (!value) return 0;
  const milliseconds = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return bounded(milliseconds);
}

export function bounded(milliseconds) {
  return Number.isFinite(milliseconds) ? Math.min(Math.max(milliseconds, 0), LONGEST_TIMER_MS) : 0;
}
