// The planner's hands: what is known about a recovery, looked at after every input, and the next step
// of the ladder taken.

import * as limits from '../limits.js';
import { msSince, since } from '../time.js';
import { FAST, LATER, MIGRATE, REJOIN, TOKEN, UNREACHABLE } from '../wire/close.js';
import { causedBy, withDetail } from '../wire/fault.js';
import { beginAttempt } from './attempt.js';
import { delay as backoffDelay } from './backoff.js';
import { finish } from './ending.js';
import { flush } from './frames.js';
import { isGood, newPath } from './path.js';
import { plan } from './planner.js';
import { enter } from './recovery.js';
import { LOSS, MOVE, STANDING, WAITING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/**
 * One recovery.
 * @typedef {object} Recovery
 * @property {number} nature
 * @property {Fault} firstFault the first cause
 * @property {Fault} [lastFault] what the last try came to
 * @property {import('./path.js').Path} [former] the connection that went when the next one said hello, as it should
 * @property {boolean} [hurry] do not wait before the next try: something in the surroundings has changed
 * @property {number} lostAt
 * @property {number} silentMs
 * @property {number} attemptsMade
 * @property {number} ask what the last end of a connection asks for, not before `after`
 * @property {number} [notBefore]
 * @property {number} reached the highest rung that was tried, or asked for
 * @property {number} answersFrom since when a server answers; `Infinity` while none does
 * @property {number} countedFrom what its limits are counted from: `lostAt`, but for the time slept
 * @property {number} pace what the server asked this client to wait before its first try
 */

/** What every try came to, by what that asks for; of `FAST`, those that a server answered. @returns {number[]} */
export const noFailures = () => Array(9).fill(0);

/** Progress makes what failed before count no more; whether there was any. @param {Client} client */
export function seeProgress(client) {
  const mark = `${client.fold.cursor.seq}/${client.outbox.consumedTo}`;
  if (client.mark === mark) return false;
  client.mark = mark;
  client.failures = noFailures();
  return true;
}

/** @param {Client} client @param {number} ask @param {number | undefined} strategy */
export function countFailure({ failures }, ask, strategy) {
  if (ask > MIGRATE) failures[ask] += 1;
  if (ask < LATER && strategy === FAST) failures[FAST] += 1;
}

/** Looks at the world and does what is to be done now. @param {Client} client */
export function settle(client) {
  flush(client);
  const { upcoming, recovery, current } = client;
  if (!upcoming && recovery && (recovery.nature === MOVE || !isGood(current))) step(client, recovery);
  if (!client.isOver()) client.mediaLeg?.settle(client);
}

/** @param {Client} client @param {Recovery} recovery */
function step(client, recovery) {
  const isMove = recovery.nature === MOVE;
  const delay = delayOf(client, recovery);
  // A move has one aim: the place that it was told. Here is as good as it was.
  const ask = isMove && (recovery.ask === FAST || recovery.ask === UNREACHABLE) ? MIGRATE : recovery.ask;
  const next = plan(client, recovery, ask, isMove, delay);
  if (!('why' in next)) {
    const { strategy, after, within, waitingFor } = next;
    if (recovery.ask !== UNREACHABLE) recovery.reached = Math.max(recovery.reached, strategy);
    if (after === 0) return beginAttempt(client, strategy, within);
    const isToken = client.bearer === null && waitingFor && after < Infinity;
    client.upcoming = newPath({ stage: WAITING, endsAt: client.moment + after, rung: strategy, within, waitingFor: isToken ? 'token' : waitingFor });
  } else if (isMove) {
    // Nothing is lost: it is left when it must be.
    client.elsewhere = undefined;
    enter(client, STANDING);
  } else giveUp(client, next.why);
}

/** @param {Client} client @param {Recovery} recovery */
function delayOf({ wishes: { backoff }, failures, tries, mint, moment: now }, recovery) {
  const { ask, hurry, attemptsMade, pace, lostAt, nature, reached } = recovery;
  recovery.hurry = false;
  if (hurry) return 0;
  const isJitter = backoff.kind === 'full_jitter';
  if (isJitter) {
    const climbs = (ask === REJOIN || ask === MIGRATE) && reached === FAST;
    if (climbs || (ask === TOKEN && failures[TOKEN] <= 1) || (nature === MOVE && attemptsMade === 0)) return 0;
    if (tries === 0) return pace;
  }
  // Where the server said that its clients are few, one that cannot reach it asks often: it is back soon
  // after the network is. A crowd backs off.
  const most = ask === UNREACHABLE && pace === 0 ? Math.max(limits.BACKOFF_FEW, Math.floor(since(now, lostAt) / limits.BACKOFF_FEW_SHARE)) : Infinity;
  const delay = backoffDelay(backoff, tries, most, mint);
  // A crowd that is lost twice in a row is still a crowd.
  return isJitter && attemptsMade === 0 ? Math.max(delay, pace) : delay;
}

/** `Infinity` for never. @param {Client} client */
export function giveUpAfter({ wishes, seat }) {
  const own = wishes.giveUpAfterMs;
  return own === 0 ? Infinity : limits.ms(own ?? seat?.windowMs ?? 0) || limits.RESUME_WINDOW;
}

/**
 * When it is over at the latest. Not while a welcomed connection replays: that is judged by its silence.
 * @param {Client} client
 */
export const giveUpAt = (client) =>
  client.recovery?.nature === LOSS && !isGood(client.current) ? client.recovery.countedFrom + giveUpAfter(client) : Infinity;

/** @param {Client} client @param {'cause' | 'deadline' | 'rejoin_limit'} why */
export function giveUp(client, why) {
  if (!client.recovery) return;
  const { firstFault, lastFault, attemptsMade, lostAt } = client.recovery;
  let fault = why === 'cause' ? lastFault ?? firstFault : client.blame(why === 'deadline' ? 'recovery_deadline' : why);
  for (const led of [lastFault, firstFault]) if (led) fault = ledBy(fault, led);
  finish(client, undefined, withDetail(fault, { attempts: attemptsMade, lost_ms: msSince(client.moment, lostAt) }));
}

/** With what led to it, unless it is that, or is known already. @param {Fault} fault @param {Fault} led */
export const ledBy = (fault, led) => ([fault, ...(fault.cause ?? [])].some(({ id }) => id === led.id) ? fault : causedBy(fault, led));
