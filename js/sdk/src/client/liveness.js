// Timers, silence and sleep: what the passing of time means, and when it means nothing.
//
// A timer that fires much too late says that this machine slept, or that the tab was in the background,
// not that the other side is silent. So the clocks are looked at first, and stale timers are not acted on.

import * as limits from '../limits.js';
import { since } from '../time.js';
import { causedBy, withDetail } from '../wire/fault.js';
import { encodeFrame } from '../wire/frame.js';
import { attemptDeadline, attemptPath, beginAttempt } from './attempt.js';
import { finish } from './ending.js';
import { releaseFault } from './frames.js';
import { send, tell } from './io.js';
import { giveUp, giveUpAt } from './ladder.js';
import { TIMEOUT, TRANSPORT, note, ofEnd, ofTimeout, seal as sealCell } from './outcome.js';
import { isGood, phaseOf, silentAt, stands } from './path.js';
import { attemptFailed, currentLost, dropAttempt, suspect } from './recovery.js';
import { phase } from './show.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('./path.js').Path} Path
 */
/** Where a connection stands in the client. @typedef {'current' | 'attempt'} Slot */
/** How long this machine did not run, and how much of it the monotonic clock did not see. @typedef {{ span: number, unseen: number }} Slept */

/**
 * Recognises sleep.
 * @param {Client['clock']} clock
 * @param {import('../time.js').Now} now
 * @returns {Slept | undefined}
 */
export function slept({ last, promised }, now) {
  if (!last) return undefined;
  const late = promised === undefined ? 0 : since(now.mono, promised);
  const apart = since(limits.ms(since(now.wall, last.wall)), since(now.mono, last.mono));
  const unseen = apart > limits.SLEPT_MIN ? apart : 0;
  const isLate = late > limits.SLEPT_MIN;
  return isLate || unseen > 0 ? { span: isLate ? late + unseen : unseen, unseen } : undefined;
}

/** @param {Client} client @param {number} conn @returns {Slot | undefined} */
export function slotOf(client, conn) {
  if (client.current?.conn === conn) return 'current';
  return attemptPath(client)?.conn === conn ? 'attempt' : undefined;
}

/** @param {Client} client @param {Slot | undefined} slot */
export const pathAt = (client, slot) => (slot === 'current' ? client.current : slot === 'attempt' ? attemptPath(client) : undefined);

/**
 * Before an input is taken, where this machine has slept.
 * @param {Client} client
 * @param {Cx} cx
 * @param {import('./io.js').Input} input
 * @param {Slept} slept
 */
export function wake(client, cx, input, { span, unseen }) {
  const now = cx.now.mono;
  client.outbox.slept(unseen);
  client.media?.woke(now);
  const seen = since(span, unseen);
  const heard = input.type === 'frame' ? slotOf(client, input.conn) : undefined;
  const { life, attempt } = client;
  if (life.kind === 'connecting') life.until += seen;
  else if (life.kind === 'recovering') {
    life.recovery.countedFrom += seen;
    life.recovery.answered = undefined;
    life.recovery.hurry = true;
  }
  if (attempt?.kind === 'path' && life.kind === 'recovering' && heard !== 'attempt') {
    // Its try begins anew: what it had is as old as the sleep.
    dropAttempt(client, cx);
  } else if (attempt?.kind === 'path') {
    const { path } = attempt;
    path.until = Math.max(path.until, now + limits.WELCOME_WITHIN);
    if (path.allUntil !== undefined) path.allUntil += seen;
  } else if (attempt?.kind === 'token') {
    attempt.until += seen;
    if (attempt.allUntil !== undefined) attempt.allUntil += seen;
  }
  const path = client.current;
  if (!path) return;
  if (heard === 'current') path.heard = Math.max(path.heard, now);
  const isEnd = input.type === 'closed' && input.conn === path.conn;
  if (life.kind === 'standing' && path.trust === 'trusted' && heard !== 'current' && !isEnd) suspect(client, cx, span);
}

/** Everything that is due. @param {Client} client @param {Cx} cx @returns {void} */
export function runTimers(client, cx) {
  const now = cx.now.mono;
  const { life } = client;
  if (life.kind === 'connecting' && life.until <= now) return connectTimedOut(client, cx, life.fault);
  if (life.kind === 'detaching' && life.until <= now) return finish(client, cx, { kind: 'ended', reason: 'detached' });
  if (life.kind === 'recovering' && (giveUpAt(client, life.recovery) ?? Infinity) <= now) return giveUp(client, cx, 'deadline');
  runAttemptTimers(client, cx);
  if (!client.isOver()) runCurrentTimers(client, cx);
  if (client.isOver()) return;
  runCommandTimers(client, cx);
  client.media?.runTimers(cx);
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Fault | undefined} last */
function connectTimedOut(client, cx, last) {
  const outcome = ofTimeout(client.mint, cx.now, phase(client));
  const path = attemptPath(client);
  client.attempt = undefined;
  let { fault } = outcome;
  if (path) {
    note(path.cell, TIMEOUT, outcome);
    cx.out.push({ type: 'hangup', conn: path.conn });
    fault = (sealCell(path.cell) ?? outcome).fault;
  }
  if (last && last.id !== fault.id) fault = causedBy(fault, last);
  finish(client, cx, { kind: 'failed', fault });
}

/** @param {Client} client @param {Cx} cx */
function runAttemptTimers(client, cx) {
  const now = cx.now.mono;
  const { attempt } = client;
  if (!attempt || (attemptDeadline(attempt)?.at ?? Infinity) > now) return;
  switch (attempt.kind) {
    case 'waiting':
      client.attempt = undefined;
      return beginAttempt(client, cx, attempt.strategy, attempt.within);
    case 'token':
      client.attempt = undefined;
      return attemptFailed(client, cx, attempt.strategy, undefined, ofTimeout(client.mint, cx.now, 'token'));
    case 'path': {
      const { path } = attempt;
      if (path.sealAt === undefined || path.sealAt > now) note(path.cell, TIMEOUT, ofTimeout(client.mint, cx.now, phaseOf(path)));
      return seal(client, cx, 'attempt', true);
    }
  }
}

/** @param {Client} client @param {Cx} cx */
function runCurrentTimers(client, cx) {
  const now = cx.now.mono;
  const path = client.current;
  if (!path) return;
  if (path.held && path.held.at <= now) releaseFault(client, cx);
  if (path.sealAt !== undefined && path.sealAt <= now) seal(client, cx, 'current', true);
  else if ((silentAt(path) ?? Infinity) <= now) suspect(client, cx, undefined);
}

/** @param {Client} client @param {Cx} cx */
function runCommandTimers(client, cx) {
  const now = cx.now.mono;
  for (let entry; (entry = client.outbox.expired(now)); ) {
    const refused = client.mint.fault(cx.now, 'expired', 'client');
    cx.out.push({ type: 'receipt', local: entry.local, outcome: { refused } });
  }
  for (let waiting; (waiting = client.outbox.stillWaiting(now)); ) {
    tell(cx, { type: 'still_waiting', because: { for: 'receipt', local: waiting.local }, for_ms: waiting.forMs });
  }
}

/** The end of a transport's input, or nearly. @param {Client} client @param {Cx} cx @param {number} conn @param {import('./io.js').ConnEnd} end */
export function closed(client, cx, conn, end) {
  const slot = slotOf(client, conn);
  if (!slot) return;
  const [rank, outcome] = ofEnd(client.mint, cx.now, end);
  const path = pathAt(client, slot);
  if (!path || path.deaf) return;
  if (path.stage === 'dialing' && rank === TRANSPORT && outcome.ask.kind === 'fast') outcome.ask = { kind: 'unreachable' };
  note(path.cell, rank, outcome);
  // What the server said before may still be on its way in.
  if (end.kind === 'write_failed') path.sealAt ??= cx.now.mono + limits.OUTCOME_SEALED_WITHIN;
  else seal(client, cx, slot, false);
}

/** Makes an end of a connection, once. @param {Client} client @param {Cx} cx @param {Slot} slot @param {boolean} hangUp */
export function seal(client, cx, slot, hangUp) {
  const path = pathAt(client, slot);
  if (!path) return;
  client[slot] = undefined;
  if (hangUp) cx.out.push({ type: 'hangup', conn: path.conn });
  /** @type {import('./outcome.js').Outcome} */
  const outcome = sealCell(path.cell) ?? { fault: client.mint.fault(cx.now, 'transport_error', 'network'), ask: { kind: 'fast' } };
  path.cell = [];
  if (slot === 'current') {
    client.home = path.address;
    return currentLost(client, cx, path, outcome);
  }
  if (!Object.hasOwn(outcome.fault.detail ?? {}, 'phase')) outcome.fault = withDetail(outcome.fault, { phase: phaseOf(path) });
  attemptFailed(client, cx, path.strategy, path.answered, outcome);
}

/** @param {Client} client @param {Cx} cx @param {boolean} online */
export function network(client, cx, online) {
  const was = client.online;
  client.online = online;
  if (online) client.media?.online(cx.now.mono);
  if (online && !was) probe(client, cx);
  const { attempt } = client;
  if (!online && attempt?.kind === 'waiting' && attempt.waitingFor !== 'server') {
    // Retries pause; the recovery's own limit goes on.
    attempt.at = undefined;
    attempt.waitingFor = 'network';
  }
}

/** Something in the surroundings has changed: what waits goes on, what is quiet is suspected. @param {Client} client @param {Cx} cx */
export function probe(client, cx) {
  const now = cx.now.mono;
  const { attempt, life } = client;
  if (attempt?.kind === 'waiting' && client.online && attempt.waitingFor !== 'server') {
    if (life.kind === 'recovering') {
      life.recovery.hurry = true;
      client.attempt = undefined;
    } else attempt.at = now;
  }
  const path = client.current;
  // A beat and a half, as the server last said how often they come.
  const isOverdue = path && path.trust === 'trusted' && since(now, path.heard) > path.suspectAfter - path.suspectAfter / 3;
  if (life.kind === 'standing' && isOverdue) suspect(client, cx, undefined);
}

/** @param {Client} client @param {Cx} cx */
export function detach(client, cx) {
  dropAttempt(client, cx);
  const { life, current: path } = client;
  const isThere = path && stands(path) && isGood(path);
  if (isThere && (life.kind === 'standing' || life.kind === 'recovering')) {
    send(cx, path, encodeFrame({ type: 'detach' }));
    client.life = { kind: 'detaching', until: cx.now.mono + limits.DETACH_WITHIN };
  } else if (!(isThere && life.kind === 'detaching')) finish(client, cx, { kind: 'ended', reason: 'detached' });
}

/** @param {Client} client @param {Cx} cx @param {import('./io.js').Simulate} simulate */
export function simulate(client, cx, simulate) {
  const slot = client.current ? 'current' : 'attempt';
  const [rank, outcome] = ofEnd(client.mint, cx.now, { kind: 'reset' });
  const path = pathAt(client, slot);
  if (!path) return tell(cx, { type: 'protocol_notice', notice: 'nothing_to_break' });
  switch (simulate.kind) {
    case 'drop_transport':
      note(path.cell, rank, { ...outcome, fault: withDetail(outcome.fault, { simulated: 'drop_transport' }) });
      return seal(client, cx, slot, true);
    case 'half_open':
      path.deaf = true;
      return undefined;
    case 'lose_frames': path.loseFrames = simulate.count;
  }
}

/** A connection is of no use any more, and it was we who saw that. @param {Client} client @param {Cx} cx @param {Slot} slot @param {string} message */
export function breakOff(client, cx, slot, message) {
  const fault = client.mint.fault(cx.now, 'protocol_error', 'client', { message });
  const path = pathAt(client, slot);
  if (!path) return;
  note(path.cell, TRANSPORT, { fault, ask: { kind: 'fast_once' } });
  cx.out.push({ type: 'hangup', conn: path.conn, code: 1002 });
  seal(client, cx, slot, false);
}
