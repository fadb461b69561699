// The media planner's hands: the world is looked at after every input, and the next step taken.

import * as limits from '../../limits.js';
import { msSince, since } from '../../time.js';
import { causedBy, withDetail } from '../../wire/fault.js';
import { delay } from '../backoff.js';
import { tell } from '../io.js';
import { order } from './io.js';
import { flowOf, judge, restoreBy, tellLost } from './loss.js';
import { isWell, plan } from './planner.js';
import { Transport } from './transport.js';

/**
 * @typedef {import('../media.js').Leg} Leg
 * @typedef {import('../../client.js').Client} Client
 * @typedef {import('../io.js').Cx} Cx
 * @typedef {import('../../wire/types.js').Fault} Fault
 * @typedef {import('./planner.js').Step} Step
 */

/** Steps that one input can lead to. What is left is done at the next, which is then due at once. */
const STEPS_MAX = 8;
/** The waits between transports that come to nothing. @type {import('../backoff.js').Backoff} */
const BACKOFF = { kind: 'full_jitter', base_ms: limits.BACKOFF_BASE / 1_000, cap_ms: limits.BACKOFF_CAP / 1_000 };

/** Looks at the world and does what is to be done now about media. @param {Leg} leg @param {Client} client @param {Cx} cx */
export function settle(leg, client, cx) {
  const now = cx.now.mono;
  leg.lookAt = undefined;
  for (let n = 0; n < STEPS_MAX; n += 1) {
    judge(leg, client, cx);
    const step = plan(situation(leg, client, cx));
    if (step.step === 'wait') leg.lookAt = now + step.span;
    if (step.step === 'rest' || step.step === 'await_signaling' || step.step === 'wait') break;
    take(leg, client, cx, step);
  }
  const at = restoreBy(leg);
  if (at !== undefined && at > now) leg.lookAt = Math.min(leg.lookAt ?? at, at);
  leg.planSamples(client, cx);
}

/** @param {Leg} leg @param {Client} client @param {Cx} cx @returns {import('./planner.js').Situation} */
function situation(leg, client, cx) {
  const now = cx.now.mono;
  const wanted = leg.wanted && client.life.kind !== 'detaching';
  const there = thereIs(leg, client, cx);
  const signaled = leg.isSignaled(client);
  const isDown = leg.down !== undefined;
  const tries = wanted && signaled && !(there.kind === 'open' && isWell(there.flow)) && !isDown;
  leg.triedFrom = tries ? leg.triedFrom ?? now : undefined;
  return {
    wanted, signaled, isDown, there,
    tried: leg.triedFrom === undefined ? 0 : since(now, leg.triedFrom),
    opens: leg.opens.filter((at) => since(now, at) < limits.REJOIN_LIMIT_SPAN).length,
  };
}

/** @param {Leg} leg @param {Client} client @param {Cx} cx @returns {import('./planner.js').There} */
function thereIs(leg, client, cx) {
  const now = cx.now.mono;
  const { next, shown, loss } = leg;
  if (next) return { kind: 'opening', since: since(now, next.countedFrom) };
  if (!shown || shown.superseded) return { kind: 'nothing', wait: leg.wait(now) };
  return {
    kind: 'open',
    flow: flowOf(leg, client, cx),
    rung: loss?.rung ?? 'told',
    since: loss ? since(now, loss.stepAt) : 0,
    rejoins: loss?.rejoins ?? 0,
    refreshable: refreshable(leg, client).length > 0,
  };
}

/** The silent lines that the server has something for. @param {Leg} leg @param {Client} client */
const refreshable = ({ shown }, client) =>
  shown?.expected(client.fold.snapshot).filter((line) => line.isTroubled && !line.stalledAtSource) ?? [];

/** @param {Leg} leg @param {Client} client @param {Cx} cx @param {Step} step @returns {void} */
function take(leg, client, cx, step) {
  const { next, shown } = leg;
  switch (step.step) {
    case 'rest': case 'await_signaling': case 'wait': return undefined;
    case 'close': return leg.close(cx);
    case 'open': return openTransport(leg, client, cx);
    case 'abandon': return next && transportFailed(leg, client, cx, next.peer, leg.transportFault(client, cx, next.peer, 'udp_blocked'));
    case 'keyframe': case 'anew':
      stepTaken(leg, cx, step.step);
      if (!shown) return undefined;
      return leg.say(client, cx, {
        type: 'refresh', peer: shown.peer, mids: refreshable(leg, client).map(({ mid }) => mid), ...(step.step === 'anew' && { anew: true }),
      });
    case 'restart':
      stepTaken(leg, cx, 'restart');
      return shown && order(cx, { type: 'restart', peer: shown.peer, ice_servers: leg.iceServers });
    case 'give_up': return giveUp(leg, client, cx, step.why);
  }
}

/** @param {Leg} leg @param {Cx} cx @param {import('./planner.js').Rung} rung */
function stepTaken({ loss }, cx, rung) {
  if (!loss) return;
  Object.assign(loss, { rung, stepAt: cx.now.mono });
  loss.attempts += 1;
}

/** @param {Leg} leg @param {Client} client @param {Cx} cx */
function openTransport(leg, client, cx) {
  const now = cx.now.mono;
  if (leg.last >= 2 ** 32 - 1) return giveUp(leg, client, cx, 'rejoin_limit');
  leg.last += 1;
  leg.openAt = undefined;
  leg.opens.push(now);
  if (leg.opens.length > limits.REJOIN_LIMIT) leg.opens.shift();
  if (leg.loss) {
    leg.loss.attempts += 1;
    leg.loss.rejoins += 1;
  }
  if (leg.shown) leg.shown.superseded = true;
  leg.next = new Transport(leg.last, now);
  order(cx, { type: 'open', peer: leg.last, ice_servers: leg.iceServers });
}

/**
 * A transport came to nothing, or to its end. What is left of it is closed, and the one that it was to
 * follow with it: that was kept for long enough.
 * @param {Leg} leg
 * @param {Client} client
 * @param {Cx} cx
 * @param {number} peer
 * @param {Fault} fault
 */
export function transportFailed(leg, client, cx, peer, fault) {
  // While what comes over it is known: that is owed.
  if (leg.loss) leg.loss.last = fault;
  else tellLost(leg, client, cx, fault, false);
  if (leg.next?.peer === peer) leg.closeNext(cx);
  if (leg.shown && (leg.shown.superseded || leg.shown.peer === peer)) leg.closeShown(cx);
  const wait = delay(BACKOFF, leg.failures, limits.VERDICT_WITHIN, client.mint) ?? 0;
  leg.failures += 1;
  const { retry } = fault;
  leg.openAt = cx.now.mono + Math.max(wait, retry.when === 'after' ? limits.ms(retry.ms) : 0);
  if (retry.when === 'never' || retry.when === 'after_action') giveUp(leg, client, cx, 'exhausted');
}

/**
 * Nothing more is done about it until something changes. A transport that stands by its own account is
 * kept: what comes over it after all is taken.
 * @param {Leg} leg
 * @param {Client} client
 * @param {Cx} cx
 * @param {import('./planner.js').Why} why
 */
function giveUp(leg, client, cx, why) {
  leg.closeNext(cx);
  const { shown, loss } = leg;
  if (shown && (shown.superseded || !shown.isUp)) leg.closeShown(cx);
  const led = [why === 'rejoin_limit' ? leg.trouble(client, cx, 'rejoin_limit') : undefined, loss?.last, loss?.fault].filter((fault) => fault !== undefined);
  let fault = led.shift() ?? leg.trouble(client, cx, 'media_failed');
  for (const cause of led) {
    if (fault.id !== cause.id && (fault.cause ?? []).every(({ id }) => id !== cause.id)) fault = causedBy(fault, cause);
  }
  if (fault.retry.when !== 'never') fault = { ...fault, retry: { when: 'after_action', what: 'try_again' } };
  fault = withDetail(fault, { attempts: loss?.attempts ?? 0, lost_ms: loss ? msSince(cx.now.mono, loss.lostAt) : 0 });
  leg.down = fault;
  tell(cx, { type: 'fault', fault });
}
