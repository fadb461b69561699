// How a session is opened, joined or resumed: `connect` of `@evenkeel/client/core`. What is not needed to
// recover is given to it, and is loaded by those who give it.

import { endpoint } from './connection.js';
import { drive } from './driver.js';
import { FaultError, messageOf, ownFault } from './error.js';
import { BACKOFF_BASE, BACKOFF_CAP, CONNECT_WITHIN } from './limits.js';
import { Handle } from './handle.js';
import { onAbort } from './until.js';
import { isObject } from './wire/merge.js';

/** Name and version of this SDK. */
export const SDK = 'evenkeel-js/0.1.0';

/**
 * What is wanted of a session. Only a token has no default, and outside a page an address.
 * @typedef {object} ConnectOptions
 * @property {string | string[]} [url] where to connect; the later ones are for when the first is gone. The page's own server by default
 * @property {string | ((context: { signal: AbortSignal }) => string | Promise<string>)} token one that is good for long enough, or how to fetch one: at each connect, and whenever the server wants a fresh one
 * @property {string} [session] the session to join; absent opens a new one
 * @property {string} [backend] what a new session is served by
 * @property {string} [project] the project of a new session
 * @property {import('./wire/types.js').BusyPolicy} [busy] what happens to a `say` while a turn runs, in a new session
 * @property {string} [title] what a person calls a new session
 * @property {string} [cwd] where a new session's programs work: a directory beneath one of the backend's roots
 * @property {string[]} [tags] words to find a new session by
 * @property {import('./wire/types.js').Role} [role] `owner` by default; the token must allow it
 * @property {'fail' | 'wait' | import('./wire/types.js').Admission} [admission] when there is no slot: refuse (the default), or stand in line
 * @property {import('./wire/types.js').History} [history] of a session that is joined: every event, or a snapshot
 * @property {any} [params] the params of a new session
 * @property {AbortSignal} [signal] gives the connecting up; after that it does nothing
 * @property {import('./client/config.js').ResumeState} [resume] goes on where an earlier client was
 * @property {import('./tab.js').Tab} [keep] `keep(NAME)` of `@evenkeel/client/keep`: keeps the place of this tab across reloads, under this name, in `sessionStorage`
 * @property {import('./client/backoff.js').Backoff} [backoff] the waits between tries
 * @property {number} [giveUpAfterMs] when a recovery is given up; by default the server's resume window; 0 means never
 * @property {number} [connectWithinMs] the longest that a first connect may take, a place in line excepted
 * @property {boolean} [retryFirstConnect] tries a server that cannot be reached again on a first connect, too
 * @property {import('./media.js').MediaPart} [media] `media()` of `@evenkeel/client/media`, for `session.media`
 * @property {string} [sdk] name and version of the application, for the server's log
 * @property {import('./connection.js').TransportClass} [transport] in place of `WebSocket`
 * @property {import('./driver.js').Clock} [clock] in place of `performance.now` and `Date.now`
 * @property {import('./connection.js').Timers} [timers] in place of `setTimeout`
 * @property {typeof import('./chance.js').chance} [mint] in place of the system's randomness
 * @property {import('./surroundings.js').Surroundings} [surroundings] in place of `window`, `document` and `navigator`
 * @property {import('./client/apply.js').Folding} [fold] `fold` of `@evenkeel/client/fold`, for `session.snapshot` and events whose data is checked
 * @property {typeof import('./feed.js').events} [events] `events` of `@evenkeel/client/events`, for `session.events()`
 * @property {import('./client/waits.js').Waits} [waits] `waits` of `@evenkeel/client/waits`, to be told `still_waiting`
 * @property {typeof import('./client/simulate.js').simulate} [simulate] `simulate` of `@evenkeel/client/simulate`, for `session.simulate()`
 */

/** Unless another is given. @type {import('./client/backoff.js').Backoff} */
const BACKOFF = { kind: 'full_jitter', base_ms: BACKOFF_BASE / 1_000, cap_ms: BACKOFF_CAP / 1_000 };

/**
 * Connects. Resolves when the session is joined or has a place in line (the status says which); what
 * happens from then on is told by `events()` and to listeners.
 * @template {Handle} [H=Handle]
 * @param {ConnectOptions} options
 * @param {new (driver: import('./driver.js').Driver) => H} [Session] what the application is given
 * @returns {Promise<H>}
 * @throws {FaultError} with the first cause; after that nothing is left of the try
 */
export async function connect(options, Session = /** @type {any} */ (Handle)) {
  const { signal, keep } = options;
  signal?.throwIfAborted();
  const config = configOf(options);
  await keep?.open(config);
  if (signal?.aborted) {
    keep?.close();
    throw signal.reason;
  }
  const driver = drive(config, options);
  const forget = onAbort(signal, () => driver.put({ type: 'close' }));
  const fault = await driver.connect();
  forget();
  if (!fault) return new Session(driver);
  await driver.close();
  if (signal?.aborted) throw signal.reason;
  throw new FaultError(fault);
}

/** @param {string} message @param {'invalid_request' | 'unauthenticated'} [code] @returns {never} */
function refuse(message, code = 'invalid_request') {
  throw new FaultError(ownFault(code, { message }), 'refused');
}

/** @param {ConnectOptions} options @returns {import('./client/config.js').Config} */
function configOf(options) {
  const {
    url = globalThis.location?.origin, token, role = 'owner', admission = 'fail', history = 'all', sdk = SDK, backoff = BACKOFF,
    connectWithinMs = CONNECT_WITHIN / 1_000,
  } = options;
  const addresses = Array.isArray(url) ? url : url ? [url] : [];
  if (!addresses.length) refuse('no address');
  try {
    addresses.forEach(endpoint);
  } catch (error) {
    refuse(messageOf(error));
  }
  if (!token) refuse('no token', 'unauthenticated');
  if (!(options.transport ?? globalThis.WebSocket)) refuse('no WebSocket: give a `transport`');
  return {
    ...options, addresses, token: typeof token === 'function' ? null : token, role, history, sdk, backoff, connectWithinMs,
    admission: isObject(admission) ? admission : /** @type {import('./wire/types.js').Admission} */ ({ policy: admission }),
  };
}
