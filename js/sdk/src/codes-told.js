// The closed list of fault codes. Generated from `spec/vectors/codes.json` by `npm run codes`.

import { NEVER, NOW, OWN_CODES, TRY_AGAIN, after, row } from './codes.js';
import { MEDIA_CODES } from './codes-media.js';
import { MORE_CODES, SAYINGS } from './codes-texts.js';

/** @type {import('./codes.js').Retry} */
const CONFIGURE_PROVIDER = { when: 'after_action', what: 'configure_provider' };

/** @type {Record<string, import('./codes.js').Row & { says: string }>} */
export const CODES = /** @type {any} */ ({
  ...Object.fromEntries(Object.entries({ ...OWN_CODES, ...MORE_CODES }).map(([code, row]) => [code, { ...row, says: SAYINGS[code] }])),
  ...MEDIA_CODES,
  session_busy: row('turn', null, TRY_AGAIN, 'A turn is running and the session does not queue another.'),
  duplicate: row('command', null, NEVER, 'The command had been run before, and its receipt is no longer kept.'),
  outcome_unknown: row('command', null, TRY_AGAIN, 'The server no longer knows what became of the command: it may have run, or not.'),
  prompt_quarantined: row('command', null, TRY_AGAIN, 'The prompt has crashed the program twice, and is not run again for a while.'),
  provider_crashed: row('turn', null, TRY_AGAIN, 'The program behind the session ended without finishing its answer.'),
  provider_timeout: row('turn', null, TRY_AGAIN, 'The program behind the session fell silent for longer than it may.'),
  provider_protocol: row('turn', null, TRY_AGAIN, 'The program behind the session said something that breaks its own protocol.'),
  provider_budget: row('turn', null, NEVER, 'The turn used up its budget of lines, bytes, calls or time.'),
  provider_spawn: row('turn', null, TRY_AGAIN, 'The program behind the session could not be started.'),
  provider_auth: row('turn', null, CONFIGURE_PROVIDER, 'The provider wants a login or a key that it does not have, or does not take the one it has.'),
  provider_refused: row('turn', null, NEVER, 'The provider refuses the request; the same one will be refused again.'),
  provider_rate_limited: row('turn', null, after(1000), 'The provider takes no more requests for now.'),
  provider_unavailable: row('turn', null, TRY_AGAIN, 'The provider cannot be reached, or fails on its side.'),
  turn_interrupted: row('turn', null, TRY_AGAIN, 'The turn was cut off with the server; what had been told of it stays.'),
  resume_gap: row('attachment', null, NOW, 'What was missed is no longer kept; a gap says which, and a snapshot stands in for it.'),
});
