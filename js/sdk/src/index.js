// @evenkeel/client: sessions that survive every fault, from a browser or Node. Start with `connect`.

export { connect, SDK } from './connect.js';
export { Session } from './session.js';
export { FaultError } from './error.js';
export { SEED_C, SEED_D } from './client/backoff.js';
export { CODES } from './codes-told.js';
export { mergePatch } from './wire/merge.js';

/**
 * @typedef {import('./connect.js').ConnectOptions} ConnectOptions
 * @typedef {import('./session.js').SessionEvents} SessionEvents
 * @typedef {import('./session.js').CommandOptions} CommandOptions
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./client/config.js').ResumeState} ResumeState
 * @typedef {import('./client/backoff.js').Backoff} Backoff
 * @typedef {import('./wire/types.js').Status} Status
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {import('./wire/types.js').Snapshot} Snapshot
 */
