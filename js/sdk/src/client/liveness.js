// Timers, silence and sleep: what the passing of time means, and when it means nothing.
//
// A timer that fires much too late says that this machine slept, or that the tab was in the background,
// not that the other side is silent. So the clocks are looked at first, and stale timers are not acted on.

import * as limits from '../limits.js';
import { since } from '../time.js';
import { FAST, FAST_ONCE } from '../wire/close.js';
import { withDetail } from '../wire/fault.js';
import { beginAttempt } from './attempt.js';
import { finish } from './ending.js';
import { releaseFault } from './frames.js';
import { hangUp, say, settleCommand } from './io.js';
import { giveUp, giveUpAt, ledBy } from './ladder.js';
import { TIMEOUT, TRANSPORT, note, ofEnd, ofTimeout, sealed } from './outcome.js';
import { isGood, pathDeadline, phaseOf, silentAt, stands } from './path.js';
import { attemptFailed, currentLost, dropAttempt, enter, suspect } from './recovery.js';
import { CONNECTING, DETACHING, DIALING, FETCHING, RECOVERING, STANDING, TRUSTED, WAITING, change } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Input} Input
 * @typedef {import('./path.js').Path} Path
 */

/** The one of that number, if it is one of the two. @param {Client} client @param {number} conn @returns {Path | undefined} */
export const pathOf = ({ current, upcoming }, conn) => [current, upcoming].find((path) => path?.serial === conn);

/**
 * Before an input is taken: recognises sleep, and what it means.
 * @param {Client} client
 * @param {import('../time.js').Now} last when the machine ran before; nothing is known of the time before the first input
 * @param {Input} input
 */
export function wake(client, last, input) {
  const { moment: now, outbox, mediaLeg, recovery, life, upcoming, current } = client;
  // How much of it the monotonic clock saw, and how much it did not.
  const late = since(now, client.promised), apart = since(limits.ms(since(client.wallClock, last.wall)), since(now, last.mono));
  const seen = late > limits.SLEPT_MIN ? late : 0, unseen = apart > limits.SLEPT_MIN ? apart : 0;
  if (!seen && !unseen) return;
  outbox.slept(unseen);
  mediaLeg?.woke(now);
  const conn = 'conn' in input && input.conn, heard = input.type === 'frame' && conn;
  if (life === CONNECTING) client.dueAt += seen;
  if (recovery) change(recovery, { countedFrom: recovery.countedFrom + seen, answersFrom: Infinity, hurry: true });
  if (upcoming && upcoming.stage >= DIALING) {
    // Its try begins anew: what it had is as old as the sleep.
    if (recovery && heard !== upcoming.serial) dropAttempt(client);
    else upcoming.endsAt = Math.max(upcoming.endsAt, now + limits.WELCOME_WITHIN);
  } else if (upcoming?.stage === FETCHING) upcoming.endsAt += seen;
  if (upcoming) upcoming.allUntil += seen;
  if (!current) return;
  if (heard === current.serial) current.heardAt = Math.max(current.heardAt, now);
  const speaks = (heard || input.type === 'closed') && conn === current.serial;
  if (life === STANDING && current.trust === TRUSTED && !speaks) suspect(client, seen + unseen);
}

/** Everything that is due. @param {Client} client @returns {void} */
export function runTimers(client) {
  const { moment: now, life, upcoming, mediaLeg } = client;
  if (client.dueAt <= now) return life === CONNECTING ? connectTimedOut(client) : finish(client, 'detached');
  if (giveUpAt(client) <= now) return giveUp(client, 'deadline');
  if (upcoming && pathDeadline(upcoming) <= now) {
    if (upcoming.stage === WAITING) {
      client.upcoming = undefined;
      beginAttempt(client, upcoming.rung, upcoming.within);
    } else {
      if (upcoming.sealAt > now) note(upcoming, TIMEOUT, ofTimeout(client, phaseOf(upcoming)));
      seal(client, upcoming, true);
    }
  }
  const { current } = client;
  if (current?.held && current.held.at <= now) releaseFault(client);
  if (current && current.sealAt <= now) seal(client, current, true);
  else if (current && silentAt(current) <= now) suspect(client);
  if (client.isOver()) return;
  for (let entry; (entry = client.outbox.takeLapsed(now)); ) settleCommand(client, entry, { refused: client.blame('expired') });
  client.waits?.ofCommands(client);
  mediaLeg?.runTimers(client);
}

/** @param {Client} client */
function connectTimedOut(client) {
  const { upcoming, blamed } = client;
  const outcome = ofTimeout(client, phaseOf(upcoming));
  let { fault } = outcome;
  client.upcoming = undefined;
  if (upcoming) {
    note(upcoming, TIMEOUT, outcome);
    hangUp(client, upcoming);
    fault = (sealed(upcoming) ?? outcome).fault;
  }
  finish(client, undefined, blamed ? ledBy(fault, blamed) : fault);
}

/** The end of a transport's input, or nearly. @param {Client} client @param {{ conn: number, end: import('./io.js').ConnEnd }} input */
export function closed(client, { conn, end }) {
  const path = pathOf(client, conn);
  if (!path) return;
  const seen = ofEnd(client, path, end);
  if (path.deaf) return;
  note(path, ...seen);
  // What the server said before may still be on its way in.
  if (end.kind === 'write_failed') path.sealAt = Math.min(path.sealAt, client.moment + limits.OUTCOME_SEALED_WITHIN);
  else seal(client, path, false);
}

/** Makes an end of a connection, once. @param {Client} client @param {Path} path @param {boolean} hangsUp */
export function seal(client, path, hangsUp) {
  const isCurrent = path === client.current;
  if (isCurrent) client.current = undefined;
  else client.upcoming = undefined;
  if (hangsUp) hangUp(client, path);
  const outcome = sealed(path) ?? { fault: client.blame('transport_error', {}, 'network'), ask: FAST };
  path.cell = [];
  if (isCurrent) {
    client.home = path.leadsTo;
    return currentLost(client, path, outcome);
  }
  if (!outcome.fault.detail?.phase) outcome.fault = withDetail(outcome.fault, { phase: phaseOf(path) });
  attemptFailed(client, path, outcome);
}

/** @param {Client} client @param {{ online: boolean }} input */
export function network(client, { online }) {
  const was = client.isOnline;
  client.isOnline = online;
  if (online) client.mediaLeg?.online(client.moment);
  if (online && !was) probe(client);
  const { upcoming } = client;
  // Retries pause; the recovery's own limit goes on.
  if (!online && upcoming && waits(upcoming)) change(upcoming, { endsAt: Infinity, waitingFor: 'network' });
}

/** For something here, and not for the server's time. @param {Path} path */
const waits = ({ stage, waitingFor }) => stage === WAITING && waitingFor !== 'server';

/** Something in the surroundings has changed: what waits goes on, what is quiet is suspected. @param {Client} client */
export function probe(client) {
  const { moment: now, upcoming, recovery, current, isOnline } = client;
  if (upcoming && isOnline && waits(upcoming)) {
    if (recovery) {
      recovery.hurry = true;
      client.upcoming = undefined;
    } else upcoming.endsAt = now;
  }
  // A beat and a half, as the server last said how often they come.
  const isOverdue = current && current.trust === TRUSTED && since(now, current.heardAt) > current.suspectAfter - current.suspectAfter / 3;
  if (client.life === STANDING && isOverdue) suspect(client);
}

/** @param {Client} client */
export function detach(client) {
  dropAttempt(client);
  const { life, current, moment: now } = client;
  const isThere = current && stands(current) && isGood(current);
  if (isThere && (life === STANDING || life === RECOVERING)) {
    say(client, current, { type: 'detach' });
    enter(client, DETACHING, { dueAt: now + limits.DETACH_WITHIN });
  } else if (!isThere || life !== DETACHING) finish(client, 'detached');
}

/** A connection is of no use any more, and it was we who saw that. @param {Client} client @param {Path} path @param {string} message */
export function breakOff(client, path, message) {
  note(path, TRANSPORT, { fault: client.blame('protocol_error', { message }), ask: FAST_ONCE });
  hangUp(client, path, 1002);
  seal(client, path, false);
}
