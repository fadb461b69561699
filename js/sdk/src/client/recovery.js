// From the end of a connection to a session that stands again, or a verdict.
//
// Level-triggered: the ends of connections only change what is known (the recovery, the ledger), and
// `settle` makes of it what is to be done now.

import * as limits from '../limits.js';
import { msSince, since } from '../time.js';
import { NORMAL } from '../wire/close.js';
import { suppress } from '../wire/fault.js';
import { attemptPath, beginAttempt, saidHello } from './attempt.js';
import { delay as backoffDelay } from './backoff.js';
import { finish } from './ending.js';
import { tell } from './io.js';
import { countFailure, noFailures, rejoinsOf, seeProgress } from './ladder.js';
import { seal } from './liveness.js';
import { TIMEOUT, best, note } from './outcome.js';
import { isProven } from './path.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('./path.js').Path} Path
 * @typedef {import('./outcome.js').Outcome} Outcome
 * @typedef {import('./ladder.js').Recovery} Recovery
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').Strategy} Strategy
 */

/** Whether somebody can make a fresh token. @param {Client} client */
export const canRefresh = ({ config }) => config.token === null;

/** The connection that carries the session has come to its end. @param {Client} client @param {Cx} cx @param {Path} path @param {Outcome} outcome @returns {void} */
export function currentLost(client, cx, path, { fault, ask }) {
  const { ended } = client.fold.snapshot;
  if (ended) return finish(client, cx, { kind: 'ended', reason: ended.reason });
  const byOurselves = fault.code === 'superseded' && path.hello < client.said;
  if (byOurselves) ask = { kind: 'fast' };
  const outcome = { fault, ask };
  if (path.trust === 'trusted') countLoss(client, cx, path, ask);
  if (ask.kind === 'token' && canRefresh(client)) {
    client.token = null;
    // It would say hello without one.
    if (!saidHello(client)) dropAttempt(client, cx);
  }
  const { life } = client;
  switch (life.kind) {
    case 'standing': return beginRecovery(client, cx, path, outcome);
    case 'detaching': return finish(client, cx, { kind: 'ended', reason: 'detached' });
    case 'recovering': return currentLostAgain(client, cx, path, outcome, life.recovery, byOurselves);
    case 'idle': case 'connecting': case 'ended': case 'failed': return undefined;
  }
}

/** @param {Client} client @param {Cx} cx @param {Path} path @param {Outcome} outcome @param {Recovery} recovery @param {boolean} byOurselves */
function currentLostAgain(client, cx, path, outcome, recovery, byOurselves) {
  const { fault, ask } = outcome;
  if (recovery.kind === 'move' && byOurselves && saidHello(client)) recovery.left = path;
  else if (recovery.kind !== 'loss') beginRecovery(client, cx, path, outcome);
  else if (path.trust === 'trusted') {
    // It was the next one, and did not get through the replay.
    recovery.answered ??= path.answered;
    recovery.ask = ask;
    recovery.last = fault;
    tell(cx, { type: 'attempt_failed', strategy: path.strategy ?? 'fast', attempt: recovery.attempts, fault });
  } else {
    // It was told as lost when it fell silent. Its last word may still say what to do.
    if (!saidHello(client) && ask.kind !== 'fast' && ask.kind !== 'unreachable') {
      recovery.ask = ask;
      recovery.last = fault;
      dropAttempt(client, cx);
    }
    recovery.cause = suppress(recovery.cause, fault);
  }
}

/** @param {Client} client @param {Cx} cx @param {Path} path @param {import('./planner.js').Ask} ask */
function countLoss(client, cx, path, ask) {
  const { ledger } = client;
  const progress = seeProgress(client);
  // What is cut off while it works is worth coming back to at once; what never got so far is not, and
  // a table waits as it says.
  if (progress && client.config.backoff.kind === 'full_jitter' && client.life.kind === 'standing') ledger.tries = 0;
  const isStable = path.joined !== undefined && since(cx.now.mono, path.joined) >= limits.STABLE_AFTER;
  if (isStable) {
    ledger.tries = 0;
    ledger.failures = noFailures();
  }
  countFailure(ledger, ask, isStable ? undefined : path.strategy);
}

/** Told once; what is done about it, `settle` decides. @param {Client} client @param {Cx} cx @param {Path} path @param {Outcome} outcome */
export function beginRecovery(client, cx, path, { fault, ask }) {
  const now = cx.now.mono;
  const planned = client.life.kind === 'recovering' ? client.life.recovery : undefined;
  client.life = { kind: 'recovering', recovery: {
    cause: fault, last: undefined, kind: 'loss', left: undefined, hurry: false, lostAt: now, silentMs: msSince(now, path.heard),
    attempts: planned?.attempts ?? 0, ask, reached: planned?.reached ?? 'fast', answered: undefined, countedFrom: now, pace: path.pace,
  } };
  tell(cx, { type: 'connection_lost', conn: path.conn, fault });
}

/** The server goes, and says where to. @param {Client} client @param {Cx} cx @param {Fault} cause */
export function beginMigration(client, cx, cause) {
  const now = cx.now.mono;
  client.life = { kind: 'recovering', recovery: {
    cause, last: undefined, kind: 'move', left: undefined, hurry: false, lostAt: now, silentMs: 0,
    attempts: 0, ask: { kind: 'migrate' }, reached: 'migrate', answered: undefined, countedFrom: now, pace: 0,
  } };
}

/**
 * A try came to nothing before its welcome.
 * @param {Client} client
 * @param {Cx} cx
 * @param {Strategy | undefined} strategy
 * @param {number | undefined} answered
 * @param {Outcome} outcome
 */
export function attemptFailed(client, cx, strategy, answered, outcome) {
  const { fault, ask } = outcome;
  seeProgress(client);
  countFailure(client.ledger, ask, strategy);
  if (ask.kind === 'token' && canRefresh(client)) client.token = null;
  const { life } = client;
  if (life.kind === 'connecting') return firstConnectFailed(client, cx, life, strategy, outcome);
  if (life.kind !== 'recovering') return;
  const { recovery } = life;
  tell(cx, { type: 'attempt_failed', strategy: strategy ?? 'fast', attempt: recovery.attempts, fault });
  recovery.answered = ask.kind === 'unreachable' || ask.kind === 'later' ? undefined : recovery.answered ?? answered;
  recovery.ask = ask;
  recovery.last = fault;
  if (recovery.kind === 'move') {
    const { left } = recovery;
    recovery.left = undefined;
    // The old one went when the new one said hello, and now that is gone too.
    if (left) beginRecovery(client, cx, left, outcome);
    else if (ask.kind !== 'fast' && ask.kind !== 'unreachable' && ask.kind !== 'later') {
      // The old place still stands; it is left when it must be.
      client.target = undefined;
      client.life = { kind: 'standing' };
    }
  } else if (client.current && isProven(client.current, cx.now.mono)) recovered(client, cx, 'fast', 0);
}

/** @param {Client} client @param {Cx} cx @param {Extract<import('../client.js').Life, { kind: 'connecting' }>} life @param {Strategy | undefined} strategy @param {Outcome} outcome */
function firstConnectFailed(client, cx, life, strategy, { fault, ask }) {
  const { ledger, config } = client;
  /** @type {number | undefined} */
  let after;
  // What is wanted is elsewhere, and the server that says so was asked first.
  const directed = client.target !== undefined && rejoinsOf(ledger, cx.now.mono) < limits.REJOIN_LIMIT;
  if ((ask.kind === 'fast' || ask.kind === 'migrate') && directed) [strategy, after] = ['migrate', 0];
  else if (ask.kind === 'rejoin' && strategy === 'fast') [strategy, after] = ['rejoin', 0];
  else if (ask.kind === 'token' && ledger.failures.token <= limits.TOKEN_REFRESHES_MAX && canRefresh(client)) after = 0;
  else if (ask.kind === 'unreachable' && config.retry_first_connect) after = backoffDelay(config.backoff, ledger.tries, Infinity, client.mint);
  if (after === undefined) return finish(client, cx, { kind: 'failed', fault });
  life.fault = fault;
  if (after === 0) return beginAttempt(client, cx, strategy, undefined);
  client.attempt = { kind: 'waiting', at: client.online ? cx.now.mono + after : undefined, strategy, waitingFor: 'network', within: undefined };
}

/** The session stands again. @param {Client} client @param {Cx} cx @param {Strategy} strategy @param {number} replayed */
export function recovered(client, cx, strategy, replayed) {
  if (client.life.kind !== 'recovering') return;
  const { attempts, kind, lostAt } = client.life.recovery;
  tell(cx, { type: 'recovered', strategy, attempts, lost_ms: kind === 'loss' ? msSince(cx.now.mono, lostAt) : 0, replayed });
  dropAttempt(client, cx);
  if (client.current) client.current.trust = 'trusted';
  client.life = { kind: 'standing' };
}

/** @param {Client} client @param {Cx} cx */
export function dropAttempt(client, cx) {
  const path = attemptPath(client);
  client.attempt = undefined;
  if (path) cx.out.push({ type: 'hangup', conn: path.conn, ...(path.stage !== 'dialing' && { code: NORMAL }) });
}

/** A new connection beside the old one, which is given up for nothing less than a welcome. @param {Client} client @param {Cx} cx @param {number | undefined} slept */
export function suspect(client, cx, slept) {
  const path = client.current;
  if (!path) return;
  const detail = { silent_ms: msSince(cx.now.mono, path.heard), ...(slept !== undefined && { slept_ms: msSince(slept, 0) }) };
  /** @type {Outcome} */
  const outcome = { fault: client.mint.fault(cx.now, 'heartbeat_timeout', 'network', { detail }), ask: { kind: 'fast' } };
  const { life } = client;
  const isRecovering = life.kind === 'recovering';
  if (isRecovering && life.recovery.kind !== 'move' && path.trust === 'trusted') {
    note(path.cell, TIMEOUT, outcome);
    return seal(client, cx, 'current', true);
  }
  if ((life.kind === 'standing' || isRecovering) && path.trust === 'trusted') {
    // What it said before it fell silent explains the silence.
    const why = best(path.cell) ?? outcome;
    countLoss(client, cx, path, why.ask);
    beginRecovery(client, cx, path, why);
  }
  path.trust = 'suspected';
}

/** Whether a fault is about a connection and what stands on it, and not about one request, or about media,
 *  which has a leg of its own. @param {Fault} fault */
export const mayEndConnection = ({ code, scope, leg }) => leg !== 'media'
  && scope !== 'command' && scope !== 'turn' && code !== 'session_busy' && code !== 'duplicate';
