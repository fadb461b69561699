// One connection of the client's, from the dial to its outcome.

import * as limits from '../limits.js';
import { earliest } from '../time.js';

/** @typedef {import('../wire/types.js').Fault} Fault */

/**
 * @typedef {object} Path
 * @property {number} conn
 * @property {string} address
 * @property {import('../wire/types.js').Strategy | undefined} strategy what hello says is rebuilt; undefined on a first connect
 * @property {number} hello the number of its hello among the instance's connections
 * @property {boolean} resumes whether its hello went on from a cursor
 * @property {'dialing' | 'greeting' | 'queued' | 'replaying' | 'joined'} stage what it waits for
 * @property {{ position: number, of: number }} place in line, while queued
 * @property {number} until when the stage must be over, before the welcome
 * @property {number | undefined} allUntil when all of the attempt must be over
 * @property {number | undefined} answered when a server answered
 * @property {number | undefined} joined
 * @property {number} heard
 * @property {number} suspectAfter
 * @property {number} pace
 * @property {'trusted' | 'suspected' | 'heard'} trust `heard` is: it fell silent and was heard again; whether it lasts is to be seen
 * @property {number} heardAgain since when
 * @property {import('./outcome.js').Cell} cell
 * @property {number | undefined} sealAt when the outcome is sealed without a word from the transport
 * @property {{ at: number, fault: Fault } | undefined} held a fault that may be the last word, told at this time if it is not
 * @property {number} epoch
 * @property {number} replayed
 * @property {number} beatsBehind beats that found the client waiting for what did not come
 * @property {boolean} movedSinceBeat
 * @property {number} inFlightMax
 * @property {Fault | undefined} goaway
 * @property {boolean} deaf broken on purpose: nothing gets through
 * @property {number} loseFrames broken on purpose: so many frames are lost
 */

/**
 * @param {number} now
 * @param {number} conn
 * @param {string} address
 * @param {number} hello
 * @returns {Path}
 */
export const newPath = (now, conn, address, hello) => ({
  conn, address, hello, strategy: undefined, resumes: false, stage: 'dialing', place: { position: 0, of: 0 },
  until: now + limits.DIAL_WITHIN, allUntil: undefined, answered: undefined, joined: undefined, heard: now,
  suspectAfter: limits.SUSPECT_IDLE, pace: 0, trust: 'trusted', heardAgain: 0, cell: [], sealAt: undefined, held: undefined,
  epoch: 0, replayed: 0, beatsBehind: 0, movedSinceBeat: false, inFlightMax: limits.OUTBOX_COMMANDS_MAX,
  goaway: undefined, deaf: false, loseFrames: 0,
});

/** How far a first connect has come with it. @param {Path} path @returns {import('../wire/types.js').Phase} */
export function phaseOf({ stage }) {
  switch (stage) {
    case 'dialing': return 'dial';
    case 'greeting': case 'queued': return 'hello';
    case 'replaying': case 'joined': return 'replay';
  }
}

/** Whether hello was answered by a welcome or a place in line. @param {Path} path */
export const stands = ({ stage }) => stage !== 'dialing' && stage !== 'greeting';

/** @param {Path} path */
export const isWelcomed = ({ stage }) => stage === 'replaying' || stage === 'joined';

/** @param {Path | undefined} path */
export const isGood = (path) => path !== undefined && path.trust === 'trusted' && path.sealAt === undefined;

/**
 * Whether a connection that had fallen silent is as good as before. What it says at first may have been
 * on its way when the server gave it up; so it has to be heard for as long as silence is borne with on
 * either side, and a server that had given it up would have said so by then.
 * @param {Path} path
 * @param {number} now
 */
export const isProven = ({ trust, heardAgain, suspectAfter }, now) => trust === 'trusted' || (trust === 'heard' && now - heardAgain >= suspectAfter);

/** No server can make its clients suspect it at once, nor never. @param {Path} path @param {number} suspectMs */
export function planBeats(path, suspectMs) {
  path.suspectAfter = limits.ms(Math.min(Math.max(suspectMs, limits.SUSPECT_MIN_MS), limits.SUSPECT_MAX_MS));
}

/** When silence becomes suspicious, if it is not yet. @param {Path} path */
export const silentAt = (path) => (stands(path) && path.trust !== 'suspected' ? path.heard + path.suspectAfter : undefined);

/** When something is to be done about it, whatever comes. @param {Path | undefined} path */
export function pathDeadline(path) {
  if (!path) return undefined;
  const silent = silentAt(path);
  return earliest([
    !stands(path) && { at: Math.min(path.allUntil ?? Infinity, path.until), why: 'handshake' },
    silent !== undefined && { at: silent, why: 'silence' },
    path.sealAt !== undefined && { at: path.sealAt, why: 'outcome' },
    path.held && { at: path.held.at, why: 'fault' },
  ]);
}
