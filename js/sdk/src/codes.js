// The fault codes that a client makes faults of. Generated from `spec/vectors/codes.json` by `npm run codes`.

/** @typedef {import('./wire/types.js').Retry} Retry */
/** @typedef {{ scope: import('./wire/types.js').Scope, close: number | null, retry: Retry, says?: string }} Row */
/** Codes whose row is in every bundle. @typedef {'unauthenticated' | 'token_expired' | 'invalid_request' | 'session_not_found' | 'at_capacity' | 'session_limit' | 'queue_expired' | 'superseded' | 'expired' | 'outbox_full' | 'handshake_timeout' | 'heartbeat_timeout' | 'connection_closed' | 'transport_error' | 'protocol_error' | 'server_shutdown' | 'session_moved' | 'resume_refused' | 'log_rewound' | 'recovery_deadline' | 'rejoin_limit'} OwnCode */

/** @type {Retry} */
export const NOW = { when: 'now' };
/** @type {Retry} */
export const NEVER = { when: 'never' };
/** @type {Retry} */
const REFRESH_TOKEN = { when: 'after_action', what: 'refresh_token' };
/** @type {Retry} */
export const REJOIN = { when: 'after_action', what: 'rejoin' };
/** @type {Retry} */
export const TRY_AGAIN = { when: 'after_action', what: 'try_again' };
/** @param {number} ms @returns {Retry} */
export const after = (ms) => ({ when: 'after', ms });

/**
 * @param {Row['scope']} scope what it usually strikes
 * @param {number | null} close how a connection that ends with it is closed
 * @param {Retry} retry whether to come back, where the fault itself says nothing better
 * @param {string} [says] a sentence for a person, where it is not among the texts
 * @returns {Row}
 */
export const row = (scope, close, retry, says) => ({ scope, close, retry, says });

/** @type {Record<string, Row>} */
export const OWN_CODES = {
  unauthenticated: row('connection', 4401, NEVER),
  token_expired: row('connection', 4402, REFRESH_TOKEN),
  invalid_request: row('connection', 4400, NEVER),
  session_not_found: row('session', 4404, NEVER),
  at_capacity: row('backend', 4503, after(1000)),
  session_limit: row('session', 4502, after(1000)),
  queue_expired: row('session', 4410, TRY_AGAIN),
  superseded: row('attachment', 4409, NEVER),
  expired: row('command', null, TRY_AGAIN),
  outbox_full: row('command', null, TRY_AGAIN),
  handshake_timeout: row('connection', 4001, NOW),
  heartbeat_timeout: row('connection', 4002, NOW),
  connection_closed: row('connection', null, NOW),
  transport_error: row('connection', null, NOW),
  protocol_error: row('connection', 4003, NOW),
  server_shutdown: row('connection', 4010, NOW),
  session_moved: row('session', 4201, NOW),
  resume_refused: row('attachment', 4101, REJOIN),
  log_rewound: row('session', null, NOW),
  recovery_deadline: row('session', null, TRY_AGAIN),
  rejoin_limit: row('session', null, TRY_AGAIN),
};
