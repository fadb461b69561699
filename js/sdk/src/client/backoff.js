// How long to wait between tries: full jitter by default, or a table.

import { ms } from '../limits.js';

/**
 * The first try at once, then a random part of a span that doubles; or these waits, one before each
 * try, and after the last the recovery is given up.
 * @typedef {{ kind: 'full_jitter', base_ms: number, cap_ms: number } | { kind: 'table', waits_ms: number[] }} Backoff
 */

/** 3, 6, 12, 24, 30 s: 75 s in all. @type {Backoff} */
export const SEED_C = { kind: 'table', waits_ms: [3_000, 6_000, 12_000, 24_000, 30_000] };
/** 1, 2, 4 s: 7 s in all. @type {Backoff} */
export const SEED_D = { kind: 'table', waits_ms: [1_000, 2_000, 4_000] };

/**
 * The wait before try `tries + 1`, drawn from no more than `most`; `Infinity` when there is none left. A
 * table waits as it says.
 * @param {Backoff} backoff
 * @param {number} tries
 * @param {number} most
 * @param {typeof import('../chance.js').chance} mint
 */
export function delay(backoff, tries, most, mint) {
  if (backoff.kind === 'table') return ms(backoff.waits_ms[tries] ?? Infinity);
  return tries && mint.below(Math.min(ms(backoff.base_ms) * 2 ** Math.min(tries - 1, 20), ms(backoff.cap_ms), most) + 1);
}
