// A store of a page's own, in memory: what `createInbox` gives, without a server.

/** `refuses`: it takes everything back. Each is a minute older than the one before it. */
export function fakeStore({ number = 0, make = () => ({}), status = "live", isListed = true, refuses = false, pageSize = 20 } = {}) {
  const now = Date.now();
  const one = (n, at) => ({
    id: `n${n}`,
    type: n % 3 ? "mission.assigned" : "invoice.paid",
    title: `Notification ${n}`,
    body: `What happened the ${n}th time.`,
    data: null,
    created_at: new Date(at).toISOString(),
    expires_at: null,
    audience: "user",
    read_at: n % 2 ? new Date(at).toISOString() : null,
    seen_at: new Date(at).toISOString(),
    archived_at: null,
    ...make(n),
  });
  let all = Array.from({ length: number }, (_, n) => one(n, now - n * 60_000));
  let problem = null;
  const listeners = new Set();
  const views = new Set();
  const calls = [];

  function view({ state = "inbox", type } = {}) {
    const matches = (item) =>
      (type === undefined || item.type === type) &&
      !item.snoozed_until === (state !== "snoozed") &&
      (state === "archived" ? item.archived_at : !item.archived_at) &&
      (state !== "unread" || !item.read_at);
    let limit = pageSize;
    let snapshot;
    const own = new Set();
    const look = () => {
      const matching = all.filter(matches);
      const items = isListed ? matching.slice(0, limit) : [];
      snapshot = { items, hasMore: matching.length > limit, isListed };
    };
    look();
    const entry = {
      look,
      tell: () => own.forEach((listener) => listener()),
    };
    views.add(entry);
    return {
      getSnapshot: () => snapshot,
      subscribe: (listener) => (own.add(listener), () => own.delete(listener)),
      loadMore: async () => {
        limit += pageSize;
        changed();
      },
      close: () => void views.delete(entry),
    };
  }

  const inbox = view();
  let snapshot;
  function look() {
    const counted = all.filter((item) => !item.snoozed_until && !item.archived_at);
    const unread = counted.filter((item) => !item.read_at).length;
    const unseen = counted.filter((item) => !item.seen_at).length;
    const before = snapshot?.counts;
    const isSame = before && before.unread === unread && before.unseen === unseen;
    const counts = !isListed ? null : isSame ? before : { unread, unseen, total: all.length };
    snapshot = { ...inbox.getSnapshot(), counts, status, problem, user: isListed ? { id: "42", role: "company" } : null };
  }
  look();

  function changed() {
    for (const each of views) each.look();
    look();
    for (const each of [...views]) each.tell();
    for (const listener of [...listeners]) listener();
  }

  const times = (ids, change) => {
    const before = all;
    all = all.map((item) => (ids.includes(item.id) ? { ...item, ...change } : item));
    return settle(before);
  };
  const settle = async (before) => {
    changed();
    if (!refuses) return { changed: 1 };
    await Promise.resolve();
    all = before;
    changed();
    throw Object.assign(new Error("refused"), { problem: { code: "refused", title: "Refused", retryable: false } });
  };
  const leave = (ids) => {
    const before = all;
    all = all.filter(({ id }) => !ids.includes(id));
    return settle(before);
  };
  const at = () => new Date().toISOString();
  const store = {
    getSnapshot: () => snapshot,
    subscribe: (listener) => (listeners.add(listener), () => listeners.delete(listener)),
    start: () => {},
    stop: () => {},
    view,
    loadMore: inbox.loadMore,
    read: (ids) => times(ids, { read_at: at(), seen_at: at() }),
    unread: (ids) => times(ids, { read_at: null }),
    seen: (ids) => times(ids, { seen_at: at() }),
    archive: (ids) => times(ids, { archived_at: at() }),
    unarchive: (ids) => times(ids, { archived_at: null }),
    delete: (ids) => leave(ids),
    snooze: (ids, until) => times(ids, { snoozed_until: until }),
    unsnooze: (ids) => {
      const before = all;
      const back = all.filter(({ id }) => ids.includes(id));
      const anew = back.map(({ snoozed_until, ...item }) => ({ ...item, read_at: null, seen_at: null }));
      all = [...anew, ...all.filter((item) => !back.includes(item))];
      return settle(before);
    },
    readAll: () => times(all.map(({ id }) => id), { read_at: at() }),
  };
  for (const name of Object.keys(store)) {
    const method = store[name];
    if (/^(read|unread|seen|archive|unarchive|snooze|unsnooze|delete|readAll|stop|start)$/.test(name)) {
      store[name] = (...given) => (calls.push([name, ...given]), method(...given));
    }
  }
  return {
    store,
    calls,
    listeners,
    views,
    comes(n, more = {}) {
      const others = all.filter(({ id }) => id !== `n${n}`);
      all = [{ ...one(n, Date.now()), read_at: null, seen_at: null, ...more }, ...others];
      changed();
    },
    /** Its publisher has changed it, or, with null, taken it back. */
    revises(n, content) {
      const change = { ...content, revised_at: new Date().toISOString() };
      all = all.filter(({ id }) => content || id !== `n${n}`).map((item) => (item.id === `n${n}` ? { ...item, ...change } : item));
      changed();
    },
    becomes(next, why = null) {
      status = next;
      problem = why;
      changed();
    },
    lists() {
      isListed = true;
      status = "live";
      changed();
    },
  };
}
