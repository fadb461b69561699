// Time as the machine sees it: a number that comes in with each input. The monotonic clock, in
// microseconds, drives every timer; the wall clock, in milliseconds, is for people and tells of sleep. A
// moment that never comes is `Infinity`.

/** @typedef {{ mono: number, wall: number }} Now */

/** Time since `earlier`; zero if that is later. @param {number} now @param {number} earlier */
export const since = (now, earlier) => Math.max(0, now - earlier);

/** Whole milliseconds since `earlier`. @param {number} now @param {number} earlier */
export const msSince = (now, earlier) => Math.floor(since(now, earlier) / 1_000);
