// Why a connection ended: evidence is collected, and the outcome sealed once.
//
// What the server said beats how it closed, that beats what the transport said, that beats a timer;
// within a class the first counts. The rest is kept as suppressed. There is one cell a connection, so
// nothing leaks into the next.

import { NEVER as NO_RETRY, OWN_CODES, REJOIN as REJOINING, TRY_AGAIN, after as retryAfter } from '../codes.js';
import { ms } from '../limits.js';
import { CLOSED, FAST, FAST_ONCE, LATER, MIGRATE, NEVER, REJOIN, TOKEN, UNREACHABLE, verdict } from '../wire/close.js';
import { sayings, suppress } from '../wire/fault.js';
import { FAULT_CAUSES_MAX } from '../wire/limits.js';
import { DIALING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/** How good a witness is; the lower is believed. */
export const FAULT = 0, GOAWAY = 1, CLOSE = 2, TRANSPORT = 3, TIMEOUT = 4;

/** What happened, and what that asks for: `LATER` is not before `after`. @typedef {{ fault: Fault, ask: number, notBefore?: number }} Outcome */
/** @typedef {(Outcome & { rank: number })[]} Cell */

/** @param {Path} path @param {number} rank @param {Outcome} outcome */
export function note({ cell }, rank, outcome) {
  // One more than is told, so that the last place can be had by a better witness.
  if (cell.length > FAULT_CAUSES_MAX) {
    const worst = Math.max(...cell.map((seen) => seen.rank));
    if (worst <= rank) return;
    cell.splice(cell.findLastIndex((seen) => seen.rank === worst), 1);
  }
  cell.push({ ...outcome, rank });
}

/** What the server said is history once it goes on talking as if nothing had happened. @param {Path} path */
export function forgetFaults(path) {
  path.cell = path.cell.filter(({ rank }) => rank !== FAULT);
}

/** What was said best, in order. @param {Path} path */
export const ranked = ({ cell }) => cell.toSorted((a, b) => a.rank - b.rank);

/** The one cause; undefined without evidence. @param {Path} path @returns {Outcome | undefined} */
export function sealed(path) {
  const [first, ...rest] = ranked(path);
  return first && { ...first, fault: rest.reduce((fault, later) => (later.fault.id === fault.id ? fault : suppress(fault, later.fault)), first.fault) };
}

/** By what a retry does, or when; what somebody has to do first is not ours to do. @type {Record<string, number>} */
const ASKS = { now: FAST, after: LATER, never: NEVER, refresh_token: TOKEN, rejoin: REJOIN };

/** What a fault asks for. @param {Fault} fault @returns {Outcome} */
export function asked(fault) {
  const { code, retry: { when, what, ms: after = 0 } } = /** @type {any} */ (fault);
  // Capacity is the caller's decision (req M8), whatever the hint.
  const ask = code === 'at_capacity' || code === 'session_limit' ? NEVER : code === 'protocol_error' && when === 'now' ? FAST_ONCE : code === 'session_moved' ? MIGRATE : ASKS[what ?? when] ?? NEVER;
  return { fault, ask, notBefore: ms(after) };
}

/**
 * What the end of a transport says.
 * @param {Client} client
 * @param {Path | undefined} path
 * @param {import('./io.js').ConnEnd} end
 * @returns {[number, Outcome]}
 */
export function ofEnd(client, path, end) {
  const { kind } = end;
  if (kind === 'close') return [CLOSE, ofClose(client, end.code, end.reason)];
  const isDial = kind === 'dial_failed';
  if (isDial && client.ofDial) return [TRANSPORT, client.ofDial(client, end)];
  const message = isDial || kind === 'other' ? end.message : sayings[kind];
  const fault = client.blame('transport_error', { message, detail: { kind: isDial ? end.why : kind } }, 'network');
  return [TRANSPORT, { fault, ask: isDial || path?.stage === DIALING ? UNREACHABLE : FAST }];
}

/** What a close code that has no fault of its own leads to, where that is not at once. @type {Record<number, import('../wire/types.js').Retry>} */
const RETRIES = { [REJOIN]: REJOINING, [LATER]: retryAfter(1_000), [NEVER]: NO_RETRY, [CLOSED]: TRY_AGAIN };

/** @param {Client} client @param {number} close_code @param {string} reason @returns {Outcome} */
function ofClose(client, close_code, reason) {
  const known = /** @type {import('../codes.js').OwnCode | undefined} */ (Object.keys(OWN_CODES).find((code) => OWN_CODES[code]?.close === close_code));
  const ask = verdict(close_code);
  const outcome = asked(client.blame(known ?? 'connection_closed', {
    message: reason || undefined, detail: { close_code }, retry: known ? undefined : RETRIES[ask],
  }, 'server'));
  return !known && (ask === FAST_ONCE || ask === MIGRATE) ? { ...outcome, ask } : outcome;
}

/**
 * A wait of ours that was not answered.
 * @param {Client} client
 * @param {import('../wire/types.js').Phase} phase
 * @returns {Outcome}
 */
export const ofTimeout = (client, phase) => ({
  fault: client.blame('handshake_timeout', { detail: { phase } }, 'network'), ask: phase === 'token' || phase === 'dial' ? UNREACHABLE : FAST,
});
