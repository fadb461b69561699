// An outside failure as a value, and what is known of each code. Mirrors `keel-wire/src/fault.rs`.

import { OWN_CODES } from '../codes.js';
import { filled, id, list, map, object, optional, string, tagged, u64, word } from './codec.js';
import { FAULT_CAUSES_MAX, FAULT_MESSAGE_BYTES_MAX } from './limits.js';
import { beginning } from './utf8.js';

/**
 * @typedef {import('./types.js').Fault} Fault
 * @typedef {import('./types.js').Retry} Retry
 */

export const leg = word('signaling media backend upstream store');

const retry = tagged('when', {
  now: {},
  after: { ms: u64 },
  after_action: { what: word('refresh_token rejoin try_again configure_provider') },
  never: {},
});

/** Depth is bounded by the codec. @type {import('./codec.js').Reader<Fault>} */
export const readFault = (value, at) => reader(value, at);

const reader = object({
  id,
  code: string,
  scope: word('connection attachment command turn session backend'),
  origin: word('client network server provider store'),
  retry,
  message: string,
  detail: filled(map),
  cause: filled(list(readFault)),
  suppressed: filled(list(readFault)),
  at: u64,
  session: optional(id),
  turn: optional(id),
  leg: optional(leg),
});

/** What the codes say to a person, where that is loaded. @type {Record<string, string>} */
export const sayings = {};

/**
 * A fault of `code`, with the table's scope and retry, and its sentence, where it has none of its own.
 * @param {string} id
 * @param {import('../codes.js').OwnCode} code
 * @param {import('./types.js').Origin} origin
 * @param {number} at
 * @param {{ message?: string, retry?: Retry, scope?: import('./types.js').Scope, detail?: Record<string, unknown>, row?: import('../codes.js').Row }} [own] `row`: what is known of a code that is not among a client's own
 * @returns {Fault}
 */
export function makeFault(id, code, origin, at, {
  row = /** @type {import('../codes.js').Row} */ (OWN_CODES[code]), scope = row.scope, retry = row.retry,
  message = row.says ?? sayings[code] ?? code.replaceAll('_', ' '), detail,
} = {}) {
  return { id, code, scope, origin, retry, message: beginning(message, FAULT_MESSAGE_BYTES_MAX), detail, at };
}

/**
 * With a fact for a program.
 * @param {Fault} fault
 * @param {Record<string, unknown>} facts
 * @returns {Fault}
 */
export const withDetail = (fault, facts) => ({ ...fault, detail: { ...fault.detail, ...facts } });

/**
 * With what led to it. Causes of causes are flattened, and the list is bounded.
 * @param {Fault} fault
 * @param {Fault} led
 * @returns {Fault}
 */
export function causedBy(fault, led) {
  const { cause: deeper = [], ...own } = led;
  return { ...fault, cause: [...(fault.cause ?? []), own, ...deeper].slice(0, FAULT_CAUSES_MAX) };
}

/**
 * With `later` kept as seen after it; beyond the bound it is dropped, which is what suppressed means.
 * @param {Fault} fault
 * @param {Fault} later
 * @returns {Fault}
 */
export function suppress(fault, later) {
  const { suppressed = [] } = fault;
  return suppressed.length < FAULT_CAUSES_MAX ? { ...fault, suppressed: [...suppressed, later] } : fault;
}
