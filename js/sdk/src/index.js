// @evenkeel/client: sessions that survive every fault, from a browser or Node. Start with `connect`. Where
// every byte counts, `core.js` is what it takes to recover, and the rest one by one.

import './texts.js';

import { simulate } from './client/simulate.js';
import { waits } from './client/waits.js';
import { connect as connectWith } from './connect.js';
import { events } from './feed.js';
import { keep as keepTab } from './keep.js';
import { Mint } from './mint.js';
import { Session } from './session.js';
import { fold } from './wire/snapshot.js';

export { SDK } from './connect.js';
export { Session } from './session.js';
export { FaultError } from './error.js';
export { SEED_C, SEED_D } from './client/backoff.js';
export { CODES } from './codes-told.js';
export { mergePatch } from './wire/merge.js';

/**
 * What is wanted of a session. `keep`: under what name the place of this tab is kept across reloads, in
 * `sessionStorage`; `tab` puts something in the place of that and of `navigator.locks`; `seed`, in the place of the system's randomness.
 * @typedef {Omit<import('./connect.js').ConnectOptions, 'keep'> & { keep?: string, tab?: import('./tab.js').TabDeps, seed?: bigint }} ConnectOptions
 */

/**
 * Connects. Resolves when the session is joined or has a place in line (the status says which); what
 * happens from then on is told by `events()` and to listeners.
 * @param {ConnectOptions} options
 * @returns {Promise<import('./session.js').Session>}
 * @throws {import('./error.js').FaultError} with the first cause; after that nothing is left of the try
 */
export const connect = ({ keep, tab, seed, ...options }) => connectWith({
  events, fold, waits, simulate, mint: seed === undefined ? undefined : new Mint(seed), ...options,
  keep: keep === undefined ? undefined : keepTab(keep, tab),
}, Session);

/**
 * @typedef {import('./handle.js').SessionEvents} SessionEvents
 * @typedef {import('./handle.js').CommandOptions} CommandOptions
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./client/config.js').ResumeState} ResumeState
 * @typedef {import('./client/backoff.js').Backoff} Backoff
 * @typedef {import('./wire/types.js').Status} Status
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {import('./wire/types.js').Snapshot} Snapshot
 */
