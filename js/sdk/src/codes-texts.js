// What else a client makes faults of, and what they say to a person. Generated from
// `spec/vectors/codes.json` by `npm run codes`.

import { NEVER, NOW, after, row } from './codes.js';

/** @type {Record<string, import('./codes.js').Row>} */
export const MORE_CODES = {
  permission_denied: row('connection', 4403, NEVER),
  origin_not_allowed: row('connection', null, NEVER),
  unsupported_version: row('connection', 4426, NEVER),
  backend_not_found: row('session', 4405, NEVER),
  rate_limited: row('connection', 4529, after(1000)),
  session_duration_limit: row('session', 4408, NEVER),
  slow_consumer: row('attachment', 4004, NOW),
  store_failed: row('session', 4507, after(1000)),
  internal: row('session', 4500, after(1000)),
};

/** @type {Record<string, string>} */
export const SAYINGS = {
  unauthenticated: 'The token is missing, malformed or not ours.',
  token_expired: 'The token has expired; the session\'s place is kept until you come back with a fresh one.',
  permission_denied: 'The token does not allow that.',
  origin_not_allowed: 'This page\'s origin may not connect to this server.',
  invalid_request: 'The request is well-formed, but what it asks makes no sense here.',
  unsupported_version: 'Client and server have no protocol version in common.',
  backend_not_found: 'There is no backend of that name on this server.',
  session_not_found: 'There is no such session, or the token is not good for it.',
  at_capacity: 'Every slot of the backend is taken.',
  session_limit: 'The most that this session or this caller may have at once is reached.',
  queue_expired: 'The place in the queue was given up: waited too long, or its turn came and nobody took it.',
  rate_limited: 'Too much was sent in too short a time.',
  superseded: 'Another connection has taken this participant\'s place.',
  session_duration_limit: 'The session has lasted as long as it may.',
  expired: 'The command was not run: its time to live had passed.',
  outbox_full: 'The command was not taken: as many wait to be sent as may.',
  handshake_timeout: 'The handshake was not finished in time.',
  heartbeat_timeout: 'Nothing was heard from the other side for too long.',
  connection_closed: 'The connection was closed without a word about why.',
  transport_error: 'The connection broke.',
  protocol_error: 'A frame could not be understood.',
  slow_consumer: 'Events were not taken as fast as they came; some were passed over, and a gap says which.',
  server_shutdown: 'The server is stopping; the session goes on when it is back.',
  session_moved: 'The session is served by another server; the fault says where.',
  resume_refused: 'The attachment cannot be resumed; join the session anew.',
  log_rewound: 'The server\'s log is older than what you have seen; a new epoch begins.',
  recovery_deadline: 'Recovery did not succeed within its time.',
  rejoin_limit: 'The session had to be rejoined too often in too short a time.',
  store_failed: 'The store refuses to write; nothing is told that is not kept.',
  internal: 'Something is wrong inside the server; the id finds it in the log.',
};
