// Why a connection ended: evidence is collected, and the outcome sealed once.
//
// What the server said beats how it closed, that beats what the transport said, that beats a timer;
// within a class the first counts. The rest is kept as suppressed. There is one cell a connection, so
// nothing leaks into the next.

import { OWN_CODES } from '../codes.js';
import { ms } from '../limits.js';
import { verdict } from '../wire/close.js';
import { suppress } from '../wire/fault.js';
import { FAULT_CAUSES_MAX } from '../wire/limits.js';

/**
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('./planner.js').Ask} Ask
 * @typedef {import('../mint.js').Mint} Mint
 * @typedef {import('../time.js').Now} Now
 */

/** How good a witness is; the lower is believed. */
export const FAULT = 0, GOAWAY = 1, CLOSE = 2, TRANSPORT = 3, TIMEOUT = 4;

/** @typedef {{ fault: Fault, ask: Ask }} Outcome */
/** @typedef {{ rank: number, outcome: Outcome }[]} Cell */

/** @param {Cell} cell @param {number} rank @param {Outcome} outcome */
export function note(cell, rank, outcome) {
  // One more than is told, so that the last place can be had by a better witness.
  if (cell.length > FAULT_CAUSES_MAX) {
    const worst = Math.max(...cell.map((seen) => seen.rank));
    if (worst <= rank) return;
    cell.splice(cell.findLastIndex((seen) => seen.rank === worst), 1);
  }
  cell.push({ rank, outcome });
}

/** What the server said is history once it goes on talking as if nothing had happened. @param {import('./path.js').Path} path */
export function forgetFaults(path) {
  path.cell = path.cell.filter(({ rank }) => rank !== FAULT);
}

/** What was said best, in order. @param {Cell} cell */
const ranked = (cell) => cell.toSorted((a, b) => a.rank - b.rank).map(({ outcome }) => outcome);

/** What the server has said last, if that stands. @param {Cell} cell @returns {Outcome | undefined} */
export const best = (cell) => ranked(cell)[0];

/** The one cause; undefined without evidence. @param {Cell} cell @returns {Outcome | undefined} */
export function seal(cell) {
  const [first, ...rest] = ranked(cell);
  if (!first) return undefined;
  let { fault } = first;
  for (const later of rest) if (later.fault.id !== fault.id) fault = suppress(fault, later.fault);
  return { ...first, fault };
}

/** What a fault asks for. @param {Fault} fault @returns {Ask} */
export function asks({ code, retry }) {
  // Capacity is the caller's decision (req M8), whatever the hint.
  if (code === 'at_capacity' || code === 'session_limit') return { kind: 'never' };
  switch (retry.when) {
    case 'now': return { kind: code === 'protocol_error' ? 'fast_once' : code === 'session_moved' ? 'migrate' : 'fast' };
    case 'after': return { kind: 'later', after: ms(retry.ms) };
    case 'never': return { kind: 'never' };
    case 'after_action': switch (retry.what) {
      case 'refresh_token': return { kind: 'token' };
      case 'rejoin': return { kind: 'rejoin' };
      case 'try_again': case 'configure_provider': return { kind: 'never' };
    }
  }
}

/**
 * What the end of a transport says.
 * @param {Mint} mint
 * @param {Now} now
 * @param {import('./io.js').ConnEnd} end
 * @returns {[number, Outcome]}
 */
export function ofEnd(mint, now, end) {
  /** @param {string} message @returns {[number, Outcome]} */
  const broken = (message) => [TRANSPORT, { fault: mint.fault(now, 'transport_error', 'network', { message, detail: { kind: end.kind } }), ask: { kind: 'fast' } }];
  switch (end.kind) {
    case 'dial_failed': return [TRANSPORT, ofDial(mint, now, end)];
    case 'close': return [CLOSE, ofClose(mint, now, end.code, end.reason)];
    case 'eof': return broken('the connection ended without a close frame');
    case 'reset': return broken('the connection was reset');
    case 'write_failed': return broken('nothing can be sent any more');
    case 'other': return broken(end.message);
  }
}

/** @param {Mint} mint @param {Now} now @param {import('./io.js').DialFailed} end @returns {Outcome} */
function ofDial(mint, now, { why, message, tls, status, retry_after_ms }) {
  const isHttp = why === 'not_websocket';
  // Origin and host are refused before the upgrade; everything else after it.
  const code = isHttp && status === 403 ? 'origin_not_allowed' : isHttp && status === 426 ? 'unsupported_version' : 'transport_error';
  const detail = { kind: why, ...(isHttp && { status }), ...(why === 'tls' && { tls }) };
  const fault = mint.fault(now, code, 'network', { message, detail });
  if (code !== 'transport_error') return { fault, ask: { kind: 'never' } };
  return { fault, ask: isHttp && retry_after_ms !== undefined ? { kind: 'later', after: ms(retry_after_ms) } : { kind: 'unreachable' } };
}

/** @param {Mint} mint @param {Now} now @param {number} close @param {string} reason @returns {Outcome} */
function ofClose(mint, now, close, reason) {
  const known = /** @type {(keyof typeof OWN_CODES)[]} */ (Object.keys(OWN_CODES)).find((code) => OWN_CODES[code].close === close);
  const own = { ...(reason && { message: reason }), detail: { close_code: close } };
  const fault = mint.fault(now, known ?? 'connection_closed', 'server', own);
  if (known) return { fault, ask: asks(fault) };
  /** @param {Ask} ask @param {import('../wire/types.js').Retry} retry @returns {Outcome} */
  const outcome = (ask, retry) => ({ fault: { ...fault, retry }, ask });
  const kind = verdict(close);
  switch (kind) {
    case 'fast': case 'fast_once': case 'migrate': return outcome({ kind }, { when: 'now' });
    case 'rejoin': return outcome({ kind }, { when: 'after_action', what: 'rejoin' });
    case 'later': return outcome({ kind, after: ms(1_000) }, { when: 'after', ms: 1_000 });
    case 'never': return outcome({ kind }, { when: 'never' });
    case 'closed': return outcome({ kind: 'never' }, { when: 'after_action', what: 'try_again' });
  }
}

/**
 * A wait of ours that was not answered.
 * @param {Mint} mint
 * @param {Now} now
 * @param {import('../wire/types.js').Phase} phase
 * @returns {Outcome}
 */
export function ofTimeout(mint, now, phase) {
  const fault = mint.fault(now, 'handshake_timeout', 'network', { detail: { phase } });
  return { fault, ask: { kind: phase === 'token' || phase === 'dial' ? 'unreachable' : 'fast' } };
}
