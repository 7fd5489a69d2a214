/** What both lines, and what they serve, keep to. */

export const LIST_MAX = 100;
export const REQUEST_MS = 20_000;
export const LIST_PAUSE_MS = 1_000;
export const RECORDED_MAX = 1000;
export const LONGEST_TIMER_MS = 3_600_000;

/** What somebody said to wait, as far as that makes sense. */
export function bounded(milliseconds) {
  return Number.isFinite(milliseconds) ? Math.min(Math.max(milliseconds, 0), LONGEST_TIMER_MS) : 0;
}
