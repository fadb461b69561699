// The fault codes that a client makes faults of. Generated from `spec/vectors/codes.json` by `npm run codes`.

/** @typedef {import('./wire/types.js').Retry} Retry */
/** @typedef {{ scope: import('./wire/types.js').Scope, close: number | null, retry: Retry, says: string }} Row */

/** @type {Retry} */
export const NOW = { when: 'now' };
/** @type {Retry} */
export const NEVER = { when: 'never' };
/** @type {Retry} */
const REFRESH_TOKEN = { when: 'after_action', what: 'refresh_token' };
/** @type {Retry} */
const REJOIN = { when: 'after_action', what: 'rejoin' };
/** @type {Retry} */
export const TRY_AGAIN = { when: 'after_action', what: 'try_again' };
/** @param {number} ms @returns {Retry} */
export const after = (ms) => ({ when: 'after', ms });

/**
 * @param {Row['scope']} scope what it usually strikes
 * @param {number | null} close how a connection that ends with it is closed
 * @param {Retry} retry whether to come back, where the fault itself says nothing better
 * @param {string} says a sentence for a person
 * @returns {Row}
 */
export const row = (scope, close, retry, says) => ({ scope, close, retry, says });

export const OWN_CODES = {
  unauthenticated: row('connection', 4401, NEVER, 'The token is missing, malformed or not ours.'),
  token_expired: row('connection', 4402, REFRESH_TOKEN, 'The token has expired; the session\'s place is kept until you come back with a fresh one.'),
  permission_denied: row('connection', 4403, NEVER, 'The token does not allow that.'),
  origin_not_allowed: row('connection', null, NEVER, 'This page\'s origin may not connect to this server.'),
  invalid_request: row('connection', 4400, NEVER, 'The request is well-formed, but what it asks makes no sense here.'),
  unsupported_version: row('connection', 4426, NEVER, 'Client and server have no protocol version in common.'),
  backend_not_found: row('session', 4405, NEVER, 'There is no backend of that name on this server.'),
  session_not_found: row('session', 4404, NEVER, 'There is no such session, or the token is not good for it.'),
  at_capacity: row('backend', 4503, after(1000), 'Every slot of the backend is taken.'),
  session_limit: row('session', 4502, after(1000), 'The most that this session or this caller may have at once is reached.'),
  queue_expired: row('session', 4410, TRY_AGAIN, 'The place in the queue was given up: waited too long, or its turn came and nobody took it.'),
  rate_limited: row('connection', 4529, after(1000), 'Too much was sent in too short a time.'),
  superseded: row('attachment', 4409, NEVER, 'Another connection has taken this participant\'s place.'),
  session_duration_limit: row('session', 4408, NEVER, 'The session has lasted as long as it may.'),
  expired: row('command', null, TRY_AGAIN, 'The command was not run: its time to live had passed.'),
  outbox_full: row('command', null, TRY_AGAIN, 'The command was not taken: as many wait to be sent as may.'),
  handshake_timeout: row('connection', 4001, NOW, 'The handshake was not finished in time.'),
  heartbeat_timeout: row('connection', 4002, NOW, 'Nothing was heard from the other side for too long.'),
  connection_closed: row('connection', null, NOW, 'The connection was closed without a word about why.'),
  transport_error: row('connection', null, NOW, 'The connection broke.'),
  protocol_error: row('connection', 4003, NOW, 'A frame could not be understood.'),
  slow_consumer: row('attachment', 4004, NOW, 'Events were not taken as fast as they came; some were passed over, and a gap says which.'),
  server_shutdown: row('connection', 4010, NOW, 'The server is stopping; the session goes on when it is back.'),
  session_moved: row('session', 4201, NOW, 'The session is served by another server; the fault says where.'),
  resume_refused: row('attachment', 4101, REJOIN, 'The attachment cannot be resumed; join the session anew.'),
  log_rewound: row('session', null, NOW, 'The server\'s log is older than what you have seen; a new epoch begins.'),
  recovery_deadline: row('session', null, TRY_AGAIN, 'Recovery did not succeed within its time.'),
  rejoin_limit: row('session', null, TRY_AGAIN, 'The session had to be rejoined too often in too short a time.'),
  store_failed: row('session', 4507, after(1000), 'The store refuses to write; nothing is told that is not kept.'),
  internal: row('session', 4500, after(1000), 'Something is wrong inside the server; the id finds it in the log.'),
};
