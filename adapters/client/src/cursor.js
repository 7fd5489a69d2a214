/**
 * Whether what has a cursor comes later in the log than another. To other clients cursors mean nothing; this one comes with
 * its server, and knows that inside they are `epoch:offset`, where the offset is one order for the whole log; behind a `~` may
 * be more. What cannot be compared is taken for later.
 */
export function isAfter(cursor, other) {
  const [offset, before] = [cursor, other].map((each) => /:(\d+)(?:~|$)/.exec(each)?.[1]);
  return offset === undefined || before === undefined || BigInt(offset) > BigInt(before);
}

/** Whether both are of one start of the server. Between two it may have been put back to what it was before. */
export function isOfOneEpoch(cursor, other) {
  return epochOf(cursor) === epochOf(other);
}

function epochOf(cursor) {
  return cursor?.split(":")[0];
}
