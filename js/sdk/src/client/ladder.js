// The planner's hands: what is known about a recovery, looked at after every input, and the next step
// of the ladder taken.

import * as limits from '../limits.js';
import { msSince, since } from '../time.js';
import { causedBy, withDetail } from '../wire/fault.js';
import { beginAttempt, otherAddress } from './attempt.js';
import { delay as backoffDelay } from './backoff.js';
import { finish } from './ending.js';
import { flush } from './frames.js';
import { isGood } from './path.js';
import { higher, plan as planStep } from './planner.js';
import { canRefresh } from './recovery.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').Strategy} Strategy
 * @typedef {import('./planner.js').Ask} Ask
 */

/**
 * One recovery.
 * @typedef {object} Recovery
 * @property {Fault} cause the first cause
 * @property {Fault | undefined} last what the last try came to
 * @property {'loss' | 'move' | 'moved'} kind the connection is lost; it is to go elsewhere, and what it has is good until then; it has, and replays
 * @property {import('./path.js').Path | undefined} left the connection that went when the next one said hello, as it should
 * @property {boolean} hurry do not wait before the next try: something in the surroundings has changed
 * @property {number} lostAt
 * @property {number} silentMs
 * @property {number} attempts
 * @property {Ask} ask
 * @property {Strategy} reached
 * @property {number | undefined} answered
 * @property {number} countedFrom what its limits are counted from: `lostAt`, but for the time slept
 * @property {number} pace what the server asked this client to wait before its first try
 */

/**
 * What outlasts a recovery: success must not buy a flapping connection a fresh budget.
 * @typedef {object} Ledger
 * @property {import('./planner.js').Failures} failures
 * @property {number} tries since a connection lasted; for full jitter, since one brought progress
 * @property {number[]} rejoins
 * @property {string} mark the progress that `failures` counts from
 */

export const noFailures = () => ({ fast: 0, once: 0, token: 0, unreachable: 0 });

/** @param {Ledger} ledger @param {number} now */
export const rejoinsOf = ({ rejoins }, now) => rejoins.filter((at) => since(now, at) < limits.REJOIN_LIMIT_SPAN).length;

/** @param {number[]} [rejoins] what a caller's new start leaves of it @returns {Ledger} */
export const newLedger = (rejoins = []) => ({ failures: noFailures(), tries: 0, rejoins, mark: '0/0' });

/** Progress makes what failed before count no more; whether there was any. @param {Client} client */
export function seeProgress({ ledger, fold, outbox }) {
  const mark = `${fold.cursor.seq}/${outbox.consumed}`;
  if (ledger.mark === mark) return false;
  ledger.mark = mark;
  ledger.failures = noFailures();
  return true;
}

/** @param {Ledger} ledger @param {Ask} ask @param {Strategy | undefined} strategy */
export function countFailure({ failures }, { kind }, strategy) {
  if (kind === 'unreachable') failures.unreachable += 1;
  else if (kind === 'token') failures.token += 1;
  else if (kind === 'fast_once') failures.once += 1;
  const answered = kind !== 'unreachable' && kind !== 'later' && kind !== 'token';
  if (answered && strategy === 'fast') failures.fast += 1;
}

/** Looks at the world and does what is to be done now. @param {Client} client @param {Cx} cx */
export function settle(client, cx) {
  flush(client, cx);
  if (!client.attempt && client.life.kind === 'recovering') {
    const { recovery } = client.life;
    if (recovery.kind === 'move' || !isGood(client.current)) plan(client, cx, recovery);
  }
  if (!client.isOver()) client.media?.settle(client, cx);
}

/** @param {Client} client @param {Cx} cx @param {Recovery} recovery */
function plan(client, cx, recovery) {
  const now = cx.now.mono;
  const isMove = recovery.kind === 'move';
  const delay = delayOf(client, recovery, isMove, now);
  // A move has one aim: the place that it was told. Here is as good as it was.
  const { ask } = recovery;
  const step = planStep({
    ask: isMove && (ask.kind === 'fast' || ask.kind === 'unreachable') ? { kind: 'migrate' } : ask,
    reached: recovery.reached,
    failures: client.ledger.failures,
    elapsed: since(now, recovery.countedFrom),
    giveUpAfter: isMove ? undefined : giveUpAfter(client),
    answered: isMove || recovery.answered === undefined ? undefined : since(now, recovery.answered),
    rejoins: rejoinsOf(client.ledger, now),
    otherAddress: otherAddress(client) !== undefined,
    online: client.online,
    freshToken: canRefresh(client),
    delay,
  });
  switch (step.step) {
    case 'try': {
      const { strategy, after, within } = step;
      if (ask.kind !== 'unreachable') recovery.reached = higher(recovery.reached, strategy);
      if (after === 0) return beginAttempt(client, cx, strategy, within);
      const waitingFor = client.token === null && step.waitingFor ? 'token' : step.waitingFor;
      client.attempt = { kind: 'waiting', at: now + after, strategy, waitingFor, within };
      return;
    }
    case 'await_network':
      client.attempt = { kind: 'waiting', at: undefined, strategy: recovery.reached, waitingFor: 'network', within: undefined };
      return;
    case 'give_up':
      if (!isMove) return giveUp(client, cx, step.why);
      // Nothing is lost: it is left when it must be.
      client.target = undefined;
      client.life = { kind: 'standing' };
  }
}

/** @param {Client} client @param {Recovery} recovery @param {boolean} isMove @param {number} now */
function delayOf({ config, ledger, mint }, recovery, isMove, now) {
  const { ask, hurry } = recovery;
  recovery.hurry = false;
  if (hurry) return 0;
  if (config.backoff.kind === 'full_jitter') {
    const climbs = (ask.kind === 'rejoin' || ask.kind === 'migrate') && recovery.reached === 'fast';
    const refreshes = ask.kind === 'token' && ledger.failures.token <= 1;
    if (climbs || refreshes || (isMove && recovery.attempts === 0)) return 0;
    if (ledger.tries === 0) return recovery.pace;
  }
  const delay = backoffDelay(config.backoff, ledger.tries, longestWait(recovery, now), mint);
  // A crowd that is lost twice in a row is still a crowd.
  const isFirst = config.backoff.kind === 'full_jitter' && recovery.attempts === 0;
  return isFirst && delay !== undefined ? Math.max(delay, recovery.pace) : delay;
}

/**
 * The longest wait between two tries. Where the server said that its clients are few, one that cannot
 * reach it asks often: it is back soon after the network is. A crowd backs off.
 * @param {Recovery} recovery
 * @param {number} now
 */
const longestWait = ({ ask, pace, lostAt }, now) =>
  ask.kind === 'unreachable' && pace === 0 ? Math.max(limits.BACKOFF_FEW, Math.floor(since(now, lostAt) / limits.BACKOFF_FEW_SHARE)) : Infinity;

/** Undefined for never. @param {Client} client */
function giveUpAfter({ config, seat }) {
  const limit = config.give_up_after_ms === undefined ? limits.ms(seat?.windowMs ?? 0) || limits.RESUME_WINDOW : limits.ms(config.give_up_after_ms);
  return limit === 0 ? undefined : limit;
}

/**
 * When it is over at the latest. Not while a welcomed connection replays: that is judged by its silence.
 * @param {Client} client
 * @param {Recovery} recovery
 */
export function giveUpAt(client, { kind, countedFrom }) {
  const limit = kind !== 'loss' || isGood(client.current) ? undefined : giveUpAfter(client);
  return limit === undefined ? undefined : countedFrom + limit;
}

/** @param {Client} client @param {Cx} cx @param {import('./planner.js').Why} why */
export function giveUp(client, cx, why) {
  if (client.life.kind !== 'recovering') return;
  const { cause, last, attempts, lostAt } = client.life.recovery;
  let fault = why === 'cause' ? last ?? cause : client.mint.fault(cx.now, why === 'deadline' ? 'recovery_deadline' : 'rejoin_limit', 'client');
  for (const led of last ? [last, cause] : [cause]) {
    const isNew = fault.id !== led.id && (fault.cause ?? []).every((known) => known.id !== led.id);
    if (isNew) fault = causedBy(fault, led);
  }
  fault = withDetail(fault, { attempts, lost_ms: msSince(cx.now.mono, lostAt) });
  finish(client, cx, { kind: 'failed', fault });
}
