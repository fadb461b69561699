// What to do next about a lost connection: one function that looks at the world, and remembers nothing.
//
// A rung of the ladder says what is rebuilt, and is spent only on a server that answers. Whoever calls
// this does so each time: a plan is never kept.

import * as limits from '../limits.js';
import { since } from '../time.js';
import { FAST, FAST_ONCE, LATER, MIGRATE, NEVER, REJOIN, TOKEN, UNREACHABLE } from '../wire/close.js';
import { otherAddress } from './attempt.js';
import { giveUpAfter } from './ladder.js';
import { canRefresh } from './recovery.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../wire/types.js').WaitingFor} WaitingFor
 */
/** A try, or the verdict. @typedef {{ strategy: number, after: number, within?: number, waitingFor: WaitingFor | undefined } | { why: 'cause' | 'deadline' | 'rejoin_limit' }} Step */

/** The rungs of the ladder, upwards. @type {import('../wire/types.js').Strategy[]} */
export const RUNGS = ['fast', 'rejoin', 'migrate'];
const WITHIN = [limits.FAST_WITHIN, limits.REJOIN_WITHIN, limits.MIGRATE_WITHIN];
/** @type {Record<number, WaitingFor>} */
const WAITING_FOR = { [LATER]: 'server', [UNREACHABLE]: 'network', [TOKEN]: 'token' };

/** Rejoins and moves of late. @param {Client} client */
export const rejoinsOf = ({ rejoins, moment }) => rejoins.filter((at) => since(moment, at) < limits.REJOIN_LIMIT_SPAN).length;

/**
 * The next step. Total.
 * @param {Client} client
 * @param {import('./ladder.js').Recovery} recovery
 * @param {number} ask what the end of the last connection asks for
 * @param {boolean} isMove nothing is lost yet
 * @param {number} delay what the back-off says; `Infinity` when it says no more
 * @returns {Step}
 */
export function plan(client, { countedFrom, answersFrom, notBefore = 0, reached }, ask, isMove, delay) {
  const { failures, moment: now } = client;
  if (ask === NEVER || (ask === FAST_ONCE && failures[FAST_ONCE] >= 2)
    || (ask === TOKEN && (!canRefresh(client) || failures[TOKEN] > limits.TOKEN_REFRESHES_MAX))) return { why: 'cause' };
  // What is left until the verdict. Too little for a try is none.
  const spent = isMove ? 0 : since(now, answersFrom);
  const rest = isMove ? Infinity : Math.min(giveUpAfter(client) - since(now, countedFrom), answersFrom < Infinity ? limits.VERDICT_WITHIN - spent : Infinity);
  if (rest <= limits.ATTEMPT_MIN) return { why: 'deadline' };
  if (!client.isOnline) return { strategy: reached, after: Infinity, waitingFor: 'network' };
  if (delay === Infinity) return { why: 'deadline' };
  const rejoins = rejoinsOf(client);
  const strategy = rung(failures, ask, spent, reached, otherAddress(client), rejoins);
  if (strategy && rejoins >= limits.REJOIN_LIMIT) return { why: 'rejoin_limit' };
  // A wait that outlasts the recovery is told as such now, not when it is over.
  if (ask === LATER && notBefore >= rest - limits.ATTEMPT_MIN) return { why: 'deadline' };
  const after = ask === LATER ? notBefore : Math.min(delay, rest - limits.ATTEMPT_MIN);
  return { strategy, after, waitingFor: WAITING_FOR[ask], within: Math.min(/** @type {number} */ (WITHIN[strategy]), rest - after) };
}

/**
 * Fast, rejoin, migrate; never down again within one recovery.
 * @param {number[]} failures
 * @param {number} ask
 * @param {number} spent since a server answered, if one does
 * @param {number} reached the highest rung that this recovery has tried or been told to take
 * @param {string | undefined} elsewhere another address, if there is one
 * @param {number} rejoins
 */
function rung(failures, ask, spent, reached, elsewhere, rejoins) {
  const climbed = spent >= limits.FAST_WITHIN + limits.REJOIN_WITHIN ? MIGRATE
    : spent >= limits.FAST_WITHIN || failures[FAST] >= limits.FAST_ATTEMPTS_MAX ? REJOIN : FAST;
  const highest = Math.max(ask <= MIGRATE ? ask : FAST, climbed, reached);
  // Where nobody answers, the known addresses take turns.
  const turns = ask === UNREACHABLE && failures[UNREACHABLE] % 2 === 1 && rejoins < limits.REJOIN_LIMIT;
  if (highest === MIGRATE) return turns || !elsewhere ? REJOIN : MIGRATE;
  return turns && elsewhere ? MIGRATE : highest;
}
