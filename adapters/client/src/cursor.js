/**
 * Whether what has a cursor comes later than another. To other clients cursors mean nothing; this one comes with its
 * server, and knows that inside they are `epoch:offset`: one order for the whole log, as long as it was not put back to
 * what it was before. What cannot be compared is taken for later.
 */
export function isAfter(cursor, other) {
  const [place, before] = [cursor, other].map((each) => /^(.+):(\d+)$/.exec(each) ?? []);
  return place[1] === undefined || place[1] !== before[1] || BigInt(place[2]) > BigInt(before[2]);
}
