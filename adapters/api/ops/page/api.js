/** What the page asks of the server. Every failure is a Failure, which says in words what it was. */

const SECONDS = 8;

export class Failure extends Error {
  /** `status` is 0 where there was no answer. */
  constructor(status, problem) {
    super([problem.title, problem.detail].filter(Boolean).join(" "));
    this.status = status;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch(`/ops/${path}`, {
      method,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      signal: AbortSignal.timeout(SECONDS * 1000),
      cache: "no-store",
      redirect: "error",
    });
  } catch {
    throw new Failure(0, { title: "The server did not answer." });
  }
  let told;
  try {
    told = await answer.json();
  } catch {
    throw new Failure(answer.ok ? 0 : answer.status, { title: `The server answered ${answer.status}, with nothing that can be read.` });
  }
  if (!answer.ok) throw new Failure(answer.status, told);
  return told;
}

const user = (id) => `api/users/${encodeURIComponent(id)}`;

export const login = (key) => ask("POST", "login", { key });
export const logout = () => ask("POST", "logout");
export const state = (after, used) => ask("GET", `api/state?after=${after}&used=${used}`);
export const nodes = () => ask("GET", "api/nodes");
/** What of `query` is empty is not asked for. */
export const look = (id, what, query = {}) => ask("GET", `${user(id)}/look/${what}?${new URLSearchParams(Object.entries(query).filter(([, value]) => value))}`);
export const act = (id, what, body) => ask("POST", `${user(id)}/do/${what}`, body);
