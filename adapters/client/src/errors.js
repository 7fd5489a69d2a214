import { bounded } from "./limits.js";
import { GARBAGE, LOST } from "./problems.js";
import { isObject, isText } from "./values.js";

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

export const lost = (detail) => new InboxError({ ...LOST, detail });
export const notUnderstood = (detail) => new InboxError({ ...GARBAGE, detail });

/** What a server's problem becomes. */
export function refusal(told) {
  const isProblem = isObject(told) && isText(told.code) && isText(told.title);
  return new InboxError(isProblem ? told : LOST);
}

/** What an answer that is none says: only the server's own word is final, and not a proxy's. */
export async function failureOf(response) {
  const { status, headers } = response;
  const told = await response.json().catch(() => null);
  const { problem, retryable } = refusal(told);
  const isPassing = status >= 500 || status === 429 || status === 408;
  const error = new InboxError({ ...problem, retryable: isPassing || retryable }, retryAfterOf(headers));
  error.status = status;
  return error;
}

/** Of none, and of what is no time, nothing is made. */
function retryAfterOf(headers) {
  const value = headers.get("Retry-After");
  return bounded(/^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now());
}
