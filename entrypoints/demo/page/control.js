/** The demo's control port, as the page asks it. */

export class ControlError extends Error {
  /** @param {{code: string, title: string, detail?: string}} problem what the demo or its server said */
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.code = problem.code;
  }
}

/** @param {string} key from the link that the demo printed */
export function createControl(key) {
  async function ask(path, body) {
    const headers = { Authorization: `Bearer ${key}` };
    const request = { headers, cache: "no-store" };
    if (body !== undefined) {
      Object.assign(request, { method: "POST", body: JSON.stringify(body) });
      headers["Content-Type"] = "application/json";
    }
    const response = await fetch(`/control/${path}`, request);
    const answer = await response.json();
    if (!response.ok) throw new ControlError(answer);
    return answer;
  }
  return {
    setup: () => ask("setup"),
    state: (after) => ask(`state?after=${after}`),
    publish: (publication) => ask("publish", publication),
    try: (method, path, body) => ask("try", { method, path, ...(body && { body }) }),
    setRate: (rate) => ask("automatic", { rate }),
    setLine: (user, open) => ask(`lines/${user}`, { open }),
    kill: () => ask("kill", {}),
  };
}
