// From the end of a connection to a session that stands again, or a verdict.
//
// Level-triggered: the ends of connections only change what is known, and `settle` makes of it what is to
// be done now.

import * as limits from '../limits.js';
import { msSince, since } from '../time.js';
import { FAST, LATER, MIGRATE, NORMAL, REJOIN, TOKEN, UNREACHABLE } from '../wire/close.js';
import { suppress } from '../wire/fault.js';
import { beginAttempt } from './attempt.js';
import { delay as backoffDelay } from './backoff.js';
import { finish } from './ending.js';
import { hangUp, tell } from './io.js';
import { countFailure, noFailures, seeProgress } from './ladder.js';
import { seal } from './liveness.js';
import { TIMEOUT, note, ranked } from './outcome.js';
import { isProven, newPath, saidHello } from './path.js';
import { RUNGS, rejoinsOf } from './planner.js';
import { CONNECTING, DETACHING, DIALING, LOSS, MOVE, RECOVERING, STANDING, SUSPECTED, TRUSTED, WAITING, change } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 * @typedef {import('./outcome.js').Outcome} Outcome
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/** Whether somebody can make a fresh token. @param {Client} client */
export const canRefresh = ({ wishes }) => wishes.token === null;

/** What a client was is over, but for what is given. @param {Client} client @param {number} life @param {Partial<Client>} [more] */
export const enter = (client, life, more) => void change(client, { life, dueAt: Infinity, recovery: undefined, ...more });

/** The connection that carries the session has come to its end. @param {Client} client @param {Path} path @param {Outcome} outcome @returns {void} */
export function currentLost(client, path, outcome) {
  const { life, recovery, fold: { snapshot: { ended } } } = client;
  if (ended) return finish(client, ended.reason);
  const byOurselves = outcome.fault.code === 'superseded' && path.serial < client.greeted;
  if (byOurselves) outcome = { fault: outcome.fault, ask: FAST };
  const { fault, ask } = outcome;
  if (path.trust === TRUSTED) countLoss(client, path, ask);
  if (ask === TOKEN && canRefresh(client)) {
    client.bearer = null;
    // It would say hello without one.
    if (!saidHello(client.upcoming)) dropAttempt(client);
  }
  if (life === STANDING) beginRecovery(client, path, outcome);
  else if (life === DETACHING) finish(client, 'detached');
  else if (!recovery) return;
  else if (recovery.nature === MOVE && byOurselves && saidHello(client.upcoming)) recovery.former = path;
  else if (recovery.nature !== LOSS) beginRecovery(client, path, outcome);
  else if (path.trust === TRUSTED) {
    // It was the next one, and did not get through the replay.
    recovery.answersFrom = Math.min(recovery.answersFrom, path.answeredAt);
    tryFailed(client, path.rung, outcome);
  } else {
    // It was told as lost when it fell silent. Its last word may still say what to do.
    if (!saidHello(client.upcoming) && ask !== FAST && ask !== UNREACHABLE) {
      asksFor(recovery, outcome);
      dropAttempt(client);
    }
    recovery.firstFault = suppress(recovery.firstFault, fault);
  }
}

/** @param {import('./ladder.js').Recovery} recovery @param {Outcome} outcome */
const asksFor = (recovery, { fault: lastFault, ask, notBefore }) => change(recovery, { lastFault, ask, notBefore });

/** @param {Client} client @param {number | undefined} strategy @param {Outcome} outcome */
function tryFailed(client, strategy = FAST, outcome) {
  const { recovery } = client;
  if (!recovery) return;
  asksFor(recovery, outcome);
  tell(client, { type: 'attempt_failed', strategy: RUNGS[strategy], attempt: recovery.attemptsMade, fault: outcome.fault });
}

/** @param {Client} client @param {Path} path @param {number} ask */
function countLoss(client, path, ask) {
  // What is cut off while it works is worth coming back to at once; what never got so far is not, and
  // a table waits as it says.
  if (seeProgress(client) && client.wishes.backoff.kind === 'full_jitter' && client.life === STANDING) client.tries = 0;
  const isStable = since(client.moment, path.joinedAt) >= limits.STABLE_AFTER;
  if (isStable) {
    client.tries = 0;
    client.failures = noFailures();
  }
  countFailure(client, ask, isStable ? undefined : path.rung);
}

/** Told once; what is done about it, `settle` decides. @param {Client} client @param {Path} path @param {Outcome} outcome */
export function beginRecovery(client, path, outcome) {
  const { attemptsMade = 0, reached = FAST } = client.recovery ?? {}, { serial: conn, heardAt, pace } = path;
  recover(client, LOSS, outcome, { silentMs: msSince(client.moment, heardAt), attemptsMade, reached, pace });
  tell(client, { type: 'connection_lost', conn, fault: outcome.fault });
}

/** The server goes, and says where to. @param {Client} client @param {Fault} fault */
export const beginMigration = (client, fault) =>
  recover(client, MOVE, { fault, ask: MIGRATE }, { silentMs: 0, attemptsMade: 0, reached: MIGRATE, pace: 0 });

/** @param {Client} client @param {number} kind @param {Outcome} outcome @param {{ silentMs: number, attemptsMade: number, reached: number, pace: number }} more */
const recover = (client, kind, { fault: cause, ask, notBefore }, more) =>
  enter(client, RECOVERING, { recovery: { nature: kind, firstFault: cause, ask, notBefore, lostAt: client.moment, countedFrom: client.moment, answersFrom: Infinity, ...more } });

/**
 * A try came to nothing before its welcome.
 * @param {Client} client
 * @param {Path} path
 * @param {Outcome} outcome
 */
export function attemptFailed(client, { rung, answeredAt }, outcome) {
  const { ask } = outcome;
  seeProgress(client);
  countFailure(client, ask, rung);
  if (ask === TOKEN && canRefresh(client)) client.bearer = null;
  const { life, recovery, current } = client;
  if (life === CONNECTING) return firstConnectFailed(client, rung, outcome);
  if (!recovery) return;
  tryFailed(client, rung, outcome);
  recovery.answersFrom = ask === UNREACHABLE || ask === LATER ? Infinity : Math.min(recovery.answersFrom, answeredAt);
  if (recovery.nature === MOVE) {
    const { former } = recovery;
    recovery.former = undefined;
    // The old one went when the new one said hello, and now that is gone too.
    if (former) beginRecovery(client, former, outcome);
    else if (ask !== FAST && ask !== UNREACHABLE && ask !== LATER) {
      // The old place still stands; it is left when it must be.
      client.elsewhere = undefined;
      enter(client, STANDING);
    }
  } else if (current && isProven(client, current)) recovered(client);
}

/** @param {Client} client @param {number | undefined} strategy @param {Outcome} outcome */
function firstConnectFailed(client, strategy, { fault, ask }) {
  const { wishes, failures } = client;
  let after = Infinity;
  // What is wanted is elsewhere, and the server that says so was asked first.
  const directed = client.elsewhere !== undefined && rejoinsOf(client) < limits.REJOIN_LIMIT;
  if ((ask === FAST || ask === MIGRATE) && directed) [strategy, after] = [MIGRATE, 0];
  else if (ask === REJOIN && strategy === FAST) [strategy, after] = [REJOIN, 0];
  else if (ask === TOKEN && failures[TOKEN] <= limits.TOKEN_REFRESHES_MAX && canRefresh(client)) after = 0;
  else if (ask === UNREACHABLE && wishes.retryFirstConnect) after = backoffDelay(wishes.backoff, client.tries, Infinity, client.mint);
  if (after === Infinity) return finish(client, undefined, fault);
  client.blamed = fault;
  if (after === 0) return beginAttempt(client, strategy);
  client.upcoming = newPath({ stage: WAITING, endsAt: client.isOnline ? client.moment + after : Infinity, rung: strategy, waitingFor: 'network' });
}

/** The session stands again. @param {Client} client @param {number} [strategy] @param {number} [replayed] */
export function recovered(client, strategy = FAST, replayed = 0) {
  const { recovery, current, moment: now } = client;
  if (!recovery) return;
  const { attemptsMade, nature, lostAt } = recovery;
  tell(client, { type: 'recovered', strategy: RUNGS[strategy], attempts: attemptsMade, lost_ms: nature === LOSS ? msSince(now, lostAt) : 0, replayed });
  dropAttempt(client);
  if (current) current.trust = TRUSTED;
  enter(client, STANDING);
}

/** @param {Client} client */
export function dropAttempt(client) {
  const { upcoming } = client;
  client.upcoming = undefined;
  hangUp(client, upcoming, upcoming?.stage === DIALING ? undefined : NORMAL);
}

/** A new connection beside the old one, which is given up for nothing less than a welcome. @param {Client} client @param {number} [slept] */
export function suspect(client, slept) {
  const { current: path, recovery, life, moment: now } = client;
  if (!path) return;
  const detail = { silent_ms: msSince(now, path.heardAt), slept_ms: slept && msSince(slept, 0) };
  /** @type {Outcome} */
  const outcome = { fault: client.blame('heartbeat_timeout', { detail }, 'network'), ask: FAST };
  if (path.trust === TRUSTED) {
    if (recovery && recovery.nature !== MOVE) {
      note(path, TIMEOUT, outcome);
      return seal(client, path, true);
    }
    if (life === STANDING || recovery) {
      // What it said before it fell silent explains the silence.
      const why = ranked(path)[0] ?? outcome;
      countLoss(client, path, why.ask);
      beginRecovery(client, path, why);
    }
  }
  path.trust = SUSPECTED;
}

/**
 * Whether a fault is about a connection and what stands on it, and not about one request, or about media,
 * which has a leg of its own.
 * @param {Fault} fault
 */
export const mayEndConnection = ({ code, scope, leg }) =>
  leg !== 'media' && !['command', 'turn'].includes(scope) && !['session_busy', 'duplicate'].includes(code);
