// What takes long is told: still waiting, because; again, at intervals that double.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { tell } from './io.js';
import { phaseOf } from './path.js';
import { CONNECTING, JOINED, QUEUED, REPLAYING, STANDING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Because} Because
 */

/** What tells of waits, and when it wants to be asked again. @typedef {{ ofCommands: (client: Client) => void, ofSession: (client: Client) => void, deadline: (client: Client) => number }} Waits */

/** A wait that has to be told when it gets long. @typedef {{ kind: string, begunAt: number, tellAt: number, tellEvery: number }} Wait */

/** @param {string} kind @param {number} begunAt @returns {Wait} */
const begun = (kind, begunAt) => ({ kind, begunAt, tellAt: begunAt + limits.STILL_WAITING_AFTER, tellEvery: limits.STILL_WAITING_AFTER });

/** @param {Client} client @param {Wait} wait @param {Because} because */
function tellIfLong(client, wait, because) {
  const { moment: now } = client;
  if (wait.tellAt > now) return;
  wait.tellEvery = Math.min(wait.tellEvery * 2, limits.STILL_WAITING_CAP);
  wait.tellAt = now + wait.tellEvery;
  tell(client, { type: 'still_waiting', because, for_ms: msSince(now, wait.begunAt) });
}

/** For a client that is to tell. @type {Waits} */
export const waits = {
  /** Of commands, once all that is due has been done. */
  ofCommands(client) {
    for (const entry of client.outbox.awaited) {
      entry.longWait ??= begun('receipt', entry.takenAt);
      tellIfLong(client, entry.longWait, { for: 'receipt', local: entry.local });
    }
  },

  /** Of the session, once its status is known. */
  ofSession(client) {
    const because = waitsFor(client);
    if (because?.for !== client.longWait?.kind) client.longWait = because && begun(because.for, client.moment);
    if (because && client.longWait) tellIfLong(client, client.longWait, because);
  },

  /** When one of them gets long. */
  deadline: ({ longWait, outbox }) => Math.min(...[longWait, ...outbox.awaited.map((entry) => entry.longWait)].map((wait) => wait?.tellAt ?? Infinity)),
};

/** @param {Client} client @returns {Because | undefined} */
function waitsFor(client) {
  const { life, current, upcoming, mediaLeg } = client;
  if (life === CONNECTING) return { for: 'connecting', phase: phaseOf(upcoming) };
  if (client.recovery) return { for: 'recovering', waiting_for: upcoming?.waitingFor };
  if (life !== STANDING) return undefined;
  if (current?.stage === QUEUED) return { for: 'queued' };
  if (current?.stage === REPLAYING) return { for: 'connecting', phase: 'replay' };
  return current?.stage === JOINED ? mediaLeg?.because(client) : undefined;
}
