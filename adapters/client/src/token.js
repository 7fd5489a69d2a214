import { InboxError } from "./errors.js";
import { NO_TOKEN, NO_TOKEN_NOW } from "./problems.js";
import { isObject } from "./values.js";

const TOKEN_MS = 30_000;

/** Raises InboxError where nothing was decided in time. */
export function inTime(promise, milliseconds, otherwise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new InboxError(otherwise)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** @returns {Promise<string>} Raises InboxError */
export async function askForToken(token) {
  let given;
  try {
    given = await inTime(Promise.resolve().then(token), TOKEN_MS, NO_TOKEN_NOW);
  } catch (error) {
    throw new InboxError({ ...NO_TOKEN_NOW, detail: String(error?.message ?? error) });
  }
  if (typeof given !== "string" || !given) throw new InboxError(NO_TOKEN);
  return given;
}

/** Whether two tokens say that they speak for the same user. Of tokens that cannot be read nothing is known. */
export function isOfSameUser(one, other) {
  const [claims, others] = [claimsOf(one), claimsOf(other)];
  return claims?.sub !== undefined && claims.sub === others?.sub && claims.iss === others.iss;
}

const OF_EACH_TOKEN = ["exp", "iat", "jti", "nbf"];

/** Whom a token speaks for, and as what: the same for all tokens that say the same. Null where that cannot be read. */
export function identityOf(token) {
  const claims = claimsOf(token);
  if (claims?.sub === undefined) return null;
  return JSON.stringify(Object.entries(claims).filter(([name]) => !OF_EACH_TOKEN.includes(name)).sort());
}

/** Milliseconds since 1970; NaN for one that says nothing of it. */
export function expiryOf(token) {
  return claimsOf(token)?.exp * 1000;
}

function claimsOf(token) {
  try {
    const octets = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(octets, (each) => each.charCodeAt(0))));
    return isObject(claims) ? claims : null;
  } catch {
    return null;
  }
}
