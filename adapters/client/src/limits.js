/** What both lines, and what they serve, keep to. */

export const LIST_MAX = 100;
export const REQUEST_MS = 20_000;
export const LIST_PAUSE_MS = 1_000;
