// How a session is opened, joined or resumed.

import { endpoint } from './connection.js';
import { Driver } from './driver.js';
import { FaultError, ownFault } from './error.js';
import { BACKOFF_BASE, BACKOFF_CAP, CONNECT_WITHIN } from './limits.js';
import { Session } from './session.js';
import { ofPage } from './surroundings.js';
import { Tab } from './tab.js';
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
 * @property {string} [keep] keeps the place of this tab across reloads, under this name, in `sessionStorage`
 * @property {import('./client/backoff.js').Backoff} [backoff] the waits between tries
 * @property {number} [giveUpAfterMs] when a recovery is given up; by default the server's resume window; 0 means never
 * @property {number} [connectWithinMs] the longest that a first connect may take, a place in line excepted
 * @property {boolean} [retryFirstConnect] tries a server that cannot be reached again on a first connect, too
 * @property {import('./media.js').MediaPart} [media] `media()` of `@evenkeel/client/media`, for `session.media`
 * @property {string} [sdk] name and version of the application, for the server's log
 * @property {import('./connection.js').TransportClass} [transport] in place of `WebSocket`
 * @property {import('./driver.js').Clock} [clock] in place of `performance.now` and `Date.now`
 * @property {import('./connection.js').Timers} [timers] in place of `setTimeout`
 * @property {bigint} [seed] in place of the system's randomness
 * @property {import('./surroundings.js').Surroundings} [surroundings] in place of `window`, `document` and `navigator`
 * @property {import('./tab.js').TabDeps} [tab] in place of `sessionStorage` and `navigator.locks`
 */

/**
 * Connects. Resolves when the session is joined or has a place in line (the status says which); what
 * happens from then on is told by `events()` and to listeners.
 * @param {ConnectOptions} options
 * @returns {Promise<Session>}
 * @throws {FaultError} with the first cause; after that nothing is left of the try
 */
export async function connect(options) {
  const { signal } = options;
  signal?.throwIfAborted();
  const config = configOf(options);
  const transport = options.transport ?? globalThis.WebSocket;
  if (!transport) throw new FaultError(ownFault('invalid_request', { message: 'there is no WebSocket here: give one as `transport`' }), 'refused');
  const tab = options.keep === undefined ? undefined : new Tab(options.keep, options.tab);
  await tab?.open();
  // Who asks for another session does not go on in the one that was kept.
  if (tab?.kept && !config.resume && (config.session ?? tab.kept.session) === tab.kept.session) {
    config.resume = tab.resume();
    config.session ??= config.resume ? undefined : tab.kept.session;
  }
  if (signal?.aborted) {
    tab?.close();
    throw signal.reason;
  }
  const driver = new Driver({
    config, transport, tab, media: options.media,
    fetchToken: typeof options.token === 'function' ? options.token : undefined,
    clock: options.clock ?? { mono: () => performance.now(), wall: () => Date.now() },
    timers: options.timers ?? { setTimeout: (run, ms) => setTimeout(run, ms), clearTimeout: (timer) => clearTimeout(timer) },
    seed: options.seed,
    surroundings: options.surroundings ?? ofPage(),
  });
  const abort = () => driver.input({ type: 'close' });
  signal?.addEventListener('abort', abort, { once: true });
  const fault = await driver.connect();
  signal?.removeEventListener('abort', abort);
  if (!fault) return new Session(driver, tab?.duplicated ?? false);
  await driver.close();
  if (signal?.aborted) throw signal.reason;
  throw new FaultError(fault);
}

/** @param {ConnectOptions} options @returns {import('./client/config.js').Config} */
function configOf(options) {
  /** @param {'invalid_request' | 'unauthenticated'} code @param {string} message @returns {never} */
  const refuse = (code, message) => {
    throw new FaultError(ownFault(code, { message }), 'refused');
  };
  const urls = options.url ?? globalThis.location?.origin;
  const addresses = Array.isArray(urls) ? urls : urls ? [urls] : [];
  if (addresses.length === 0) refuse('invalid_request', 'no address was given');
  for (const address of addresses) {
    try {
      endpoint(address);
    } catch (error) {
      refuse('invalid_request', /** @type {Error} */ (error).message);
    }
  }
  const { token, admission = 'fail' } = options;
  if (!token) refuse('unauthenticated', 'no token was given');
  return {
    addresses,
    token: typeof token === 'function' ? null : token,
    session: options.session,
    backend: options.backend,
    project: options.project,
    busy: options.busy,
    title: options.title,
    cwd: options.cwd,
    tags: options.tags,
    role: options.role ?? 'owner',
    admission: isObject(admission) ? admission : /** @type {import('./wire/types.js').Admission} */ ({ policy: admission }),
    history: options.history ?? 'all',
    params: options.params,
    sdk: options.sdk ?? SDK,
    resume: options.resume,
    backoff: options.backoff ?? { kind: 'full_jitter', base_ms: BACKOFF_BASE / 1_000, cap_ms: BACKOFF_CAP / 1_000 },
    give_up_after_ms: options.giveUpAfterMs,
    retry_first_connect: options.retryFirstConnect ?? false,
    connect_within_ms: options.connectWithinMs ?? CONNECT_WITHIN / 1_000,
  };
}
