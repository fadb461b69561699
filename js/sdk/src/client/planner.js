// What to do next about a lost connection: one pure function, and nothing that remembers.
//
// A rung of the ladder says what is rebuilt, and is spent only on a server that answers. Whoever calls
// this looks at the world first, each time: a plan is never kept.

import * as limits from '../limits.js';

/**
 * @typedef {import('../wire/types.js').Strategy} Strategy
 * @typedef {import('../wire/types.js').WaitingFor} WaitingFor
 */

/**
 * What the end of a connection asks for, whoever said it. `later` is not before `after`.
 * @typedef {{ kind: 'fast' | 'fast_once' | 'rejoin' | 'migrate' | 'token' | 'never' | 'unreachable' } | { kind: 'later', after: number }} Ask
 */
/**
 * Tries that came to nothing since there was progress.
 * @typedef {{ fast: number, once: number, token: number, unreachable: number }} Failures
 */
/**
 * Everything that the next step depends on; spans in microseconds.
 * @typedef {object} Situation
 * @property {Ask} ask
 * @property {Strategy} reached the highest rung that this recovery has tried or been told to take
 * @property {Failures} failures
 * @property {number} elapsed since the loss
 * @property {number | undefined} giveUpAfter undefined for never
 * @property {number | undefined} answered since a server answered, if one does
 * @property {number} rejoins
 * @property {boolean} otherAddress
 * @property {boolean} online
 * @property {boolean} freshToken
 * @property {number | undefined} delay what the back-off says; undefined when it says no more
 */
/** @typedef {'cause' | 'deadline' | 'rejoin_limit'} Why */
/** @typedef {{ step: 'try', strategy: Strategy, after: number, waitingFor: WaitingFor | undefined, within: number } | { step: 'await_network' } | { step: 'give_up', why: Why }} Step */

/** @param {Why} why @returns {Step} */
const giveUp = (why) => ({ step: 'give_up', why });

/** The next step. Total. @param {Situation} s @returns {Step} */
export function plan(s) {
  const { ask, failures } = s;
  const isFinal = ask.kind === 'never'
    || (ask.kind === 'fast_once' && failures.once >= 2)
    || (ask.kind === 'token' && (!s.freshToken || failures.token > limits.TOKEN_REFRESHES_MAX));
  if (isFinal) return giveUp('cause');
  const rest = restOf(s);
  if (rest === undefined) return giveUp('deadline');
  if (!s.online) return { step: 'await_network' };
  if (s.delay === undefined) return giveUp('deadline');
  const strategy = rung(s);
  if (strategy !== 'fast' && s.rejoins >= limits.REJOIN_LIMIT) return giveUp('rejoin_limit');
  // A wait that outlasts the recovery is told as such now, not when it is over.
  if (ask.kind === 'later' && ask.after >= rest - limits.ATTEMPT_MIN) return giveUp('deadline');
  const after = ask.kind === 'later' ? ask.after : Math.min(s.delay, rest - limits.ATTEMPT_MIN);
  return { step: 'try', strategy, after, waitingFor: waitingFor(ask), within: Math.min(WITHIN[strategy], rest - after) };
}

const WITHIN = { fast: limits.FAST_WITHIN, rejoin: limits.REJOIN_WITHIN, migrate: limits.MIGRATE_WITHIN };

/** @param {Ask} ask @returns {WaitingFor | undefined} */
function waitingFor({ kind }) {
  switch (kind) {
    case 'later': return 'server';
    case 'unreachable': return 'network';
    case 'token': return 'token';
    case 'fast': case 'fast_once': case 'rejoin': case 'migrate': case 'never': return undefined;
  }
}

/** What is left until the verdict; undefined when it is too little for a try. @param {Situation} s */
function restOf(s) {
  const ofRecovery = s.giveUpAfter === undefined ? Infinity : s.giveUpAfter - s.elapsed;
  const ofVerdict = s.answered === undefined ? Infinity : limits.VERDICT_WITHIN - s.answered;
  const rest = Math.min(ofRecovery, ofVerdict);
  return rest > limits.ATTEMPT_MIN ? rest : undefined;
}

/** Fast, rejoin, migrate; never down again within one recovery. @param {Situation} s @returns {Strategy} */
function rung(s) {
  const spent = s.answered ?? 0;
  const asked = s.ask.kind === 'rejoin' || s.ask.kind === 'migrate' ? s.ask.kind : 'fast';
  const climbed = spent >= limits.FAST_WITHIN + limits.REJOIN_WITHIN ? 'migrate'
    : spent >= limits.FAST_WITHIN || s.failures.fast >= limits.FAST_ATTEMPTS_MAX ? 'rejoin' : 'fast';
  const reached = higher(higher(asked, climbed), s.reached);
  // Where nobody answers, the known addresses take turns.
  const elsewhere = s.ask.kind === 'unreachable' && s.failures.unreachable % 2 === 1 && s.rejoins < limits.REJOIN_LIMIT;
  if (reached === 'migrate') return elsewhere || !s.otherAddress ? 'rejoin' : reached;
  return elsewhere && s.otherAddress ? 'migrate' : reached;
}

const RUNGS = ['fast', 'rejoin', 'migrate'];

/** The higher of two rungs. @param {Strategy} a @param {Strategy} b */
export const higher = (a, b) => (RUNGS.indexOf(a) < RUNGS.indexOf(b) ? b : a);
