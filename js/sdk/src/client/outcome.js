// Why a connection ended: evidence is collected, and the outcome sealed once.
//
// What the server said beats how it closed, that beats what the transport said, that beats a timer;
// within a class the first counts. The rest is kept as suppressed. There is one cell a connection, so
// nothing leaks into the next.

import { NEVER as NO_RETRY, OWN_CODES, REJOIN as REJOINING, TRY_AGAIN, after as retryAfter } from '../codes.js';
import { ms } from '../limits.js';
import { CLOSED, FAST, FAST_ONCE, LATER, MIGRATE, NEVER, REJOIN, TOKEN, UNREACHABLE, verdict } from '../wire/close.js';
import { suppress } from '../wire/fault.js';
import { FAULT_CAUSES_MAX } from '../wire/limits.js';
import { DIALING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/** How good a witness is; the lower is believed. */
export const FAULT = 0, GOAWAY = 1, CLOSE = 2, TRANSPORT = 3, TIMEOUT = 4;

/** What happened, and what that asks for: `LATER` is not before `after`. @typedef {{ fault: Fault, ask: number, after?: number }} Outcome */
/** @typedef {{ rank: number, outcome: Outcome }[]} Cell */

/** @param {Path} path @param {number} rank @param {Outcome} outcome */
export function note({ cell }, rank, outcome) {
  // One more than is told, so that the last place can be had by a better witness.
  if (cell.length > FAULT_CAUSES_MAX) {
    const worst = Math.max(...cell.map((seen) => seen.rank));
    if (worst <= rank) return;
    cell.splice(cell.findLastIndex((seen) => seen.rank === worst), 1);
  }
  cell.push({ rank, outcome });
}

/** What the server said is history once it goes on talking as if nothing had happened. @param {Path} path */
export function forgetFaults(path) {
  path.cell = path.cell.filter(({ rank }) => rank !== FAULT);
}

/** What was said best, in order. @param {Path} path */
export const ranked = ({ cell }) => cell.toSorted((a, b) => a.rank - b.rank).map(({ outcome }) => outcome);

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
  const ask = code === 'at_capacity' || code === 'session_limit' ? NEVER : code === 'protocol_error' && when === 'now' ? FAST_ONCE : ASKS[what ?? when] ?? NEVER;
  return { fault, ask, after: ms(after) };
}

const BROKEN = {
  eof: 'the connection ended without a close frame', reset: 'the connection was reset', write_failed: 'nothing can be sent any more',
};

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
  if (kind === 'dial_failed') return [TRANSPORT, ofDial(client, end)];
  const message = kind === 'other' ? end.message : BROKEN[kind];
  const fault = client.fault('transport_error', { message, detail: { kind } }, 'network');
  return [TRANSPORT, { fault, ask: path?.stage === DIALING ? UNREACHABLE : FAST }];
}

/** @param {Client} client @param {import('./io.js').DialFailed} end @returns {Outcome} */
function ofDial(client, { why, message, tls, status, retry_after_ms }) {
  const isHttp = why === 'not_websocket';
  // Origin and host are refused before the upgrade; everything else after it.
  const code = isHttp && status === 403 ? 'origin_not_allowed' : isHttp && status === 426 ? 'unsupported_version' : 'transport_error';
  const fault = client.fault(code, { message, detail: { kind: why, status: isHttp ? status : undefined, tls: why === 'tls' ? tls : undefined } }, 'network');
  if (code !== 'transport_error') return { fault, ask: NEVER };
  return isHttp && retry_after_ms !== undefined ? { fault, ask: LATER, after: ms(retry_after_ms) } : { fault, ask: UNREACHABLE };
}

/** What a close code that has no fault of its own leads to, where that is not at once. @type {Record<number, import('../wire/types.js').Retry>} */
const RETRIES = { [REJOIN]: REJOINING, [LATER]: retryAfter(1_000), [NEVER]: NO_RETRY, [CLOSED]: TRY_AGAIN };

/** @param {Client} client @param {number} close_code @param {string} reason @returns {Outcome} */
function ofClose(client, close_code, reason) {
  const known = /** @type {(keyof typeof OWN_CODES)[]} */ (Object.keys(OWN_CODES)).find((code) => OWN_CODES[code].close === close_code);
  const ask = verdict(close_code);
  const outcome = asked(client.fault(known ?? 'connection_closed', {
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
  fault: client.fault('handshake_timeout', { detail: { phase } }, 'network'), ask: phase === 'token' || phase === 'dial' ? UNREACHABLE : FAST,
});
