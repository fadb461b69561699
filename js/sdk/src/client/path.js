// One connection of the client's, from the wait before the dial to its outcome.

import * as limits from '../limits.js';
import { GREETING, HEARD, QUEUED, REPLAYING, SUSPECTED, TRUSTED } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/**
 * What is not said of the beginning is there once it is dialed, or welcomed.
 * @typedef {object} Path
 * @property {number} stage what it waits for
 * @property {number | undefined} rung what hello says is rebuilt, as a rung; undefined on a first connect
 * @property {number} endsAt when the stage must be over, before the welcome; `Infinity` until there is a network
 * @property {number} allUntil when all of the attempt must be over
 * @property {import('../wire/types.js').WaitingFor | undefined} waitingFor
 * @property {number} within of one that waits: how long it may then take
 * @property {number} serial also the number of its hello among the instance's connections
 * @property {string} leadsTo
 * @property {boolean} resumes whether its hello went on from a cursor
 * @property {{ position: number, of: number }} place in line, while queued
 * @property {number} answeredAt when a server answered; `Infinity` until it does
 * @property {number} joinedAt `Infinity` until it is
 * @property {number} heardAt
 * @property {number} suspectAfter
 * @property {number} pace
 * @property {number} trust
 * @property {number} heardAgain since when
 * @property {import('./outcome.js').Cell} cell
 * @property {number} sealAt when the outcome is sealed without a word from the transport
 * @property {{ at: number, fault: Fault } | undefined} held a fault that may be the last word, told at this time if it is not
 * @property {number} logEpoch
 * @property {number} replayedEvents
 * @property {number} beatsBehind beats that found the client waiting for what did not come
 * @property {boolean} movedSinceBeat whether something came since the last beat
 * @property {number} inFlightMax
 * @property {Fault | undefined} goesAway
 * @property {boolean} deaf broken on purpose: nothing gets through
 * @property {number} loseFrames broken on purpose: so many frames are lost
 */

/** @param {Partial<Path>} more @returns {Path} */
export const newPath = (more) => /** @type {any} */ ({
  allUntil: Infinity, sealAt: Infinity, answeredAt: Infinity, joinedAt: Infinity, cell: [], trust: TRUSTED, suspectAfter: limits.SUSPECT_IDLE, pace: 0, ...more,
});

/** How far a first connect has come, by the stage. @type {import('../wire/types.js').Phase[]} */
const PHASES = ['dial', 'token', 'dial', 'hello', 'hello', 'replay', 'replay'];
/** @param {Path | undefined} path */
export const phaseOf = (path) => /** @type {import('../wire/types.js').Phase} */ (PHASES[path?.stage ?? 0]);

/** Whether the server may have taken notice of it already. @param {Path | undefined} path */
export const saidHello = (path) => path !== undefined && path.stage >= GREETING;

/** Whether hello was answered by a welcome or a place in line. @param {Path} path */
export const stands = ({ stage }) => stage >= QUEUED;

/** @param {Path} path */
export const isWelcomed = ({ stage }) => stage >= REPLAYING;

/** @param {Path | undefined} path */
export const isGood = (path) => path?.trust === TRUSTED && path.sealAt === Infinity;

/**
 * Whether a connection that had fallen silent is as good as before. What it says at first may have been
 * on its way when the server gave it up; so it has to be heard for as long as silence is borne with on
 * either side, and a server that had given it up would have said so by then.
 * @param {Client} client
 * @param {Path} path
 */
export const isProven = ({ moment: now }, { trust, heardAgain, suspectAfter }) => trust === TRUSTED || (trust === HEARD && now - heardAgain >= suspectAfter);

/** No server can make its clients suspect it at once, nor never. @param {Path} path @param {number} suspectMs */
export function planBeats(path, suspectMs) {
  path.suspectAfter = limits.ms(Math.min(Math.max(suspectMs, limits.SUSPECT_MIN_MS), limits.SUSPECT_MAX_MS));
}

/** When silence becomes suspicious, if it is not yet. @param {Path} path */
export const silentAt = (path) => (stands(path) && path.trust !== SUSPECTED ? path.heardAt + path.suspectAfter : Infinity);

/** When something is to be done about it, whatever comes. @param {Path | undefined} path */
export const pathDeadline = (path) =>
  path ? Math.min(stands(path) ? silentAt(path) : Math.min(path.endsAt, path.allUntil), path.sealAt, path.held?.at ?? Infinity) : Infinity;
