// Time as the machine sees it: a number that comes in with each input. The monotonic clock, in
// microseconds, drives every timer; the wall clock, in milliseconds, is for people and tells of sleep.

/** @typedef {{ mono: number, wall: number }} Now */
/** @typedef {{ at: number, why: string }} Deadline */

/** Time since `earlier`; zero if that is later. @param {number} now @param {number} earlier */
export const since = (now, earlier) => Math.max(0, now - earlier);

/** Whole milliseconds since `earlier`. @param {number} now @param {number} earlier */
export const msSince = (now, earlier) => Math.floor(since(now, earlier) / 1_000);

/**
 * The first of those that come earliest.
 * @param {(Deadline | false | null | undefined)[]} deadlines
 * @returns {Deadline | undefined}
 */
export function earliest(deadlines) {
  let first;
  for (const deadline of deadlines) if (deadline && !(first && first.at <= deadline.at)) first = deadline;
  return first;
}
