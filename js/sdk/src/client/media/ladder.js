// The media planner's hands: the world is looked at after every input, and the next step taken.

import * as limits from '../../limits.js';
import { msSince, since } from '../../time.js';
import { withDetail } from '../../wire/fault.js';
import { delay } from '../backoff.js';
import { tell } from '../io.js';
import { ledBy } from '../ladder.js';
import { DETACHING } from '../states.js';
import { order } from './io.js';
import { flowOf, judge, restoreBy, tellLost } from './loss.js';
import { isWell, plan } from './planner.js';
import { Transport } from './transport.js';

/**
 * @typedef {import('../media.js').Leg} Leg
 * @typedef {import('../../client.js').Client} Client

 * @typedef {import('../../wire/types.js').Fault} Fault
 * @typedef {import('./planner.js').Step} Step
 */

/** Steps that one input can lead to. What is left is done at the next, which is then due at once. */
const STEPS_MAX = 8;
/** The waits between transports that come to nothing. @type {import('../backoff.js').Backoff} */
const BACKOFF = { kind: 'full_jitter', base_ms: limits.BACKOFF_BASE / 1_000, cap_ms: limits.BACKOFF_CAP / 1_000 };

/** Looks at the world and does what is to be done now about media. @param {Leg} leg @param {Client} client */
export function settle(leg, client) {
  const now = client.moment;
  leg.lookAt = undefined;
  for (let n = 0; n < STEPS_MAX; n += 1) {
    judge(leg, client);
    const step = plan(situation(leg, client));
    if (step.step === 'wait') leg.lookAt = now + step.span;
    if (step.step === 'rest' || step.step === 'await_signaling' || step.step === 'wait') break;
    take(leg, client, step);
  }
  const at = restoreBy(leg);
  if (at !== undefined && at > now) leg.lookAt = Math.min(leg.lookAt ?? at, at);
  leg.planSamples(client);
}

/** @param {Leg} leg @param {Client} client @returns {import('./planner.js').Situation} */
function situation(leg, client) {
  const now = client.moment;
  const wanted = leg.wanted && client.life !== DETACHING;
  const there = thereIs(leg, client);
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

/** @param {Leg} leg @param {Client} client @returns {import('./planner.js').There} */
function thereIs(leg, client) {
  const now = client.moment;
  const { next, shown, loss } = leg;
  if (next) return { kind: 'opening', since: since(now, next.countedFrom) };
  if (!shown || shown.superseded) return { kind: 'nothing', wait: leg.wait(now) };
  return {
    kind: 'open',
    flow: flowOf(leg, client),
    rung: loss?.rung ?? 'told',
    since: loss ? since(now, loss.stepAt) : 0,
    rejoins: loss?.rejoins ?? 0,
    refreshable: refreshable(leg, client).length > 0,
  };
}

/** The silent lines that the server has something for. @param {Leg} leg @param {Client} client */
const refreshable = ({ shown }, client) =>
  shown?.expected(client.fold.snapshot).filter((line) => line.isTroubled && !line.stalledAtSource) ?? [];

/** @param {Leg} leg @param {Client} client @param {Step} step @returns {void} */
function take(leg, client, step) {
  const { next, shown } = leg;
  switch (step.step) {
    case 'rest': case 'await_signaling': case 'wait': return undefined;
    case 'close': return leg.close(client);
    case 'open': return openTransport(leg, client);
    case 'abandon': return next && transportFailed(leg, client, next.peer, leg.transportFault(client, next.peer, 'udp_blocked'));
    case 'keyframe': case 'anew':
      stepTaken(leg, client, step.step);
      if (!shown) return undefined;
      return leg.say(client, {
        type: 'refresh', peer: shown.peer, mids: refreshable(leg, client).map(({ mid }) => mid), ...(step.step === 'anew' && { anew: true }),
      });
    case 'restart':
      stepTaken(leg, client, 'restart');
      return shown && order(client, { type: 'restart', peer: shown.peer, ice_servers: leg.iceServers });
    case 'give_up': return giveUp(leg, client, step.why);
  }
}

/** @param {Leg} leg @param {Client} client @param {import('./planner.js').Rung} rung */
function stepTaken({ loss }, client, rung) {
  if (!loss) return;
  Object.assign(loss, { rung, stepAt: client.moment });
  loss.attempts += 1;
}

/** @param {Leg} leg @param {Client} client */
function openTransport(leg, client) {
  const now = client.moment;
  if (leg.last >= 2 ** 32 - 1) return giveUp(leg, client, 'rejoin_limit');
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
  order(client, { type: 'open', peer: leg.last, ice_servers: leg.iceServers });
}

/**
 * A transport came to nothing, or to its end. What is left of it is closed, and the one that it was to
 * follow with it: that was kept for long enough.
 * @param {Leg} leg
 * @param {Client} client
 * @param {number} peer
 * @param {Fault} fault
 */
export function transportFailed(leg, client, peer, fault) {
  // While what comes over it is known: that is owed.
  if (leg.loss) leg.loss.last = fault;
  else tellLost(leg, client, fault, false);
  if (leg.next?.peer === peer) leg.closeNext(client);
  if (leg.shown && (leg.shown.superseded || leg.shown.peer === peer)) leg.closeShown(client);
  const wait = delay(BACKOFF, leg.failures, limits.VERDICT_WITHIN, client.mint);
  leg.failures += 1;
  const { retry } = fault;
  leg.openAt = client.moment + Math.max(wait, retry.when === 'after' ? limits.ms(retry.ms) : 0);
  if (retry.when === 'never' || retry.when === 'after_action') giveUp(leg, client, 'exhausted');
}

/**
 * Nothing more is done about it until something changes. A transport that stands by its own account is
 * kept: what comes over it after all is taken.
 * @param {Leg} leg
 * @param {Client} client
 * @param {import('./planner.js').Why} why
 */
function giveUp(leg, client, why) {
  leg.closeNext(client);
  const { shown, loss } = leg;
  if (shown && (shown.superseded || !shown.isUp)) leg.closeShown(client);
  const led = [why === 'rejoin_limit' ? leg.trouble(client, 'rejoin_limit') : undefined, loss?.last, loss?.fault].filter((fault) => fault !== undefined);
  let fault = led.shift() ?? leg.trouble(client, 'media_failed');
  for (const cause of led) fault = ledBy(fault, cause);
  if (fault.retry.when !== 'never') fault = { ...fault, retry: { when: 'after_action', what: 'try_again' } };
  fault = withDetail(fault, { attempts: loss?.attempts ?? 0, lost_ms: loss ? msSince(client.moment, loss.lostAt) : 0 });
  leg.down = fault;
  tell(client, { type: 'fault', fault });
}
