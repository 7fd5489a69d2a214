/**
 * What was published, against what arrived. It does no I/O and knows no page.
 *
 * Nothing counts as received but what a phone heard, and nothing as published but what the server answered with 2xx.
 * What has been published and not heard is on its way, until there is evidence that it will not come: something that
 * stands behind it in the log has come, or the phone has been live without it for `PATIENCE_MS`.
 */

export const PATIENCE_MS = 10_000;
/** What the ids of the page's tries begin with: they are changed and taken back, and no account is kept of them. */
export const TRY = "try-";
const OPEN_MAX = 20_000;
const SEEN_MAX = 50_000;
const SAMPLES = 50;
const PACE_SECONDS = 5;
/** What took longer was held up by a cut, a kill or a queue. */
const LATE_MS = 1_000;

/** Behind it a `~` and more may stand, where something was changed. */
const offsetOf = (cursor) => Number(/:(\d+)/.exec(cursor)[1]);

/**
 * @param {string} run what the ids of this run begin with
 * @param {string[]} users their ids
 */
export function createLedger(run, users) {
  const accounts = new Map(users.map((user) => [user, createAccount(run)]));
  const all = () => [...accounts.values()];
  const sum = (name) => all().reduce((total, account) => total + account.counts[name], 0);
  return {
    /** Of each phone what its first `session.ready` said: what lies before it was never promised to this page. */
    began: (user, cursor) => accounts.get(user).began(offsetOf(cursor)),
    /** @param {{id: string, recipients: string[], cursor: string, sentAt: number}} one */
    published(one, now) {
      for (const user of one.recipients) accounts.get(user).published({ ...one, offset: offsetOf(one.cursor) }, now);
    },
    heard: (user, id, cursor, now) => accounts.get(user).heard(id, offsetOf(cursor), now),
    /** These have been put off, and come once more. */
    snoozed: (user, ids) => accounts.get(user).snoozed(ids),
    isLive: (user, isLive, now) => accounts.get(user).isLive(isLive, now),
    figures(now) {
      const lost = all().reduce((total, account) => total + account.lost(now), 0);
      const open = all().reduce((total, account) => total + account.open.size, 0);
      const latencies = all()
        .flatMap((account) => account.latencies)
        .sort((one, other) => one - other);
      return {
        published: sum("published"),
        received: sum("received"),
        onItsWay: open - lost,
        lost,
        doubled: sum("doubled"),
        late: sum("late"),
        elsewhere: sum("elsewhere"),
        unchecked: sum("unchecked"),
        pace: all().reduce((total, account) => total + account.pace(now), 0),
        latency: latencies.length ? latencies[Math.floor(latencies.length / 2)] : null,
      };
    },
  };
}

/** Of one user. */
function createAccount(run) {
  const counts = { published: 0, received: 0, doubled: 0, late: 0, elsewhere: 0, unchecked: 0 };
  const open = new Map();
  const early = new Map();
  const seen = new Set();
  const snoozed = new Set();
  const seconds = new Map();
  const latencies = [];
  let start = null;
  let waiting = [];
  let furthest = 0;
  let liveSince = null;

  function settle(one, at) {
    counts.received++;
    const latency = at - one.sentAt;
    if (latency > LATE_MS) counts.late++;
    else latencies.push(latency);
    if (latencies.length > SAMPLES) latencies.shift();
  }

  function published(one, now) {
    if (start === null) {
      waiting.push([one, now]);
      if (waiting.length > OPEN_MAX) waiting.shift();
      return;
    }
    if (one.offset <= start) return;
    counts.published++;
    if (early.has(one.id)) {
      settle(one, early.get(one.id));
      early.delete(one.id);
      return;
    }
    open.set(one.id, { ...one, toldAt: now });
    if (open.size > OPEN_MAX) {
      open.delete(open.keys().next().value);
      counts.published--;
      counts.unchecked++;
    }
  }

  return {
    counts,
    open,
    latencies,
    published,
    began(offset) {
      if (start !== null) return;
      start = offset;
      for (const [one, now] of waiting) published(one, now);
      waiting = [];
    },
    heard(id, offset, now) {
      furthest = Math.max(furthest, offset);
      count(seconds, Math.floor(now / 1000));
      if (id.startsWith(TRY) || snoozed.delete(id)) return;
      if (seen.has(id)) {
        counts.doubled++;
        return;
      }
      keep(seen, id);
      if (open.has(id)) {
        settle(open.get(id), now);
        open.delete(id);
      } else if (id.startsWith(run)) {
        // The answer to its publication is not known here yet.
        early.set(id, now);
        if (early.size > OPEN_MAX) early.delete(early.keys().next().value);
      } else {
        counts.elsewhere++;
      }
    },
    snoozed(ids) {
      for (const id of ids) if (seen.has(id)) keep(snoozed, id);
    },
    isLive(isLive, now) {
      liveSince = isLive ? (liveSince ?? now) : null;
    },
    lost(now) {
      const isOverdue = ({ toldAt }) => liveSince !== null && now - Math.max(toldAt, liveSince) > PATIENCE_MS;
      return [...open.values()].filter((one) => one.offset < furthest || isOverdue(one)).length;
    },
    pace(now) {
      const second = Math.floor(now / 1000);
      const last = [...seconds].filter(([at]) => at < second && at >= second - PACE_SECONDS);
      return last.reduce((total, [, number]) => total + number, 0) / PACE_SECONDS;
    },
  };
}

function count(seconds, second) {
  seconds.set(second, (seconds.get(second) ?? 0) + 1);
  if (seconds.size > 2 * PACE_SECONDS) seconds.delete(seconds.keys().next().value);
}

function keep(seen, id) {
  seen.add(id);
  if (seen.size > SEEN_MAX) seen.delete(seen.keys().next().value);
}
