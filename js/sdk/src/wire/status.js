// How a session is, as one value. Mirrors `keel-wire/src/status.rs`.

import { filled, id, list, map, object, optional, or, tagged, u32, u64, word } from './codec.js';
import { leg, readFault } from './fault.js';

/** @typedef {import('./types.js').Status} Status */

export const role = word('viewer publisher owner');
export const strategy = word('fast rejoin migrate');
export const endReason = word('detached ended duration_limit operator failed');
const waitingFor = word('network token server store');

const fault = { fault: readFault };
const legStatus = tagged('health', {
  up: {},
  degraded: fault,
  down: fault,
  recovering: { strategy, attempt: u32, next_ms: u64, waiting_for: optional(waitingFor), deadline_ms: optional(u64), ...fault },
}, { leg });

const injected = object({ id, fault: map, seed: u64, until: u64 });

/** @type {import('./codec.js').Reader<Status>} */
export const readStatus = tagged('state', {
  connecting: { phase: word('token dial hello replay') },
  queued: { position: u32, of: u32 },
  live: {},
  degraded: {},
  recovering: {},
  ended: { reason: endReason },
  failed: {},
}, { fault: optional(readFault), legs: or(list(legStatus), () => []), injected: filled(list(injected)), since: u64 });

/**
 * The rule that is broken, if one is (req M31).
 * @param {Status} status
 */
export function check({ state, fault, legs }) {
  if (['failed', 'recovering', 'degraded'].includes(state) && !fault) return `${state} without a fault`;
  if (state === 'live' && fault) return 'live with a fault';
  if (state === 'live' && legs.some(({ health }) => health !== 'up')) return 'live with a leg that is not up';
  if (state === 'recovering' && !legs.some((leg) => leg.health === 'recovering' && leg.attempt >= 1)) return 'recovering without a next step';
  return undefined;
}

/** @param {Status} status */
export const isTerminal = ({ state }) => state === 'ended' || state === 'failed';
