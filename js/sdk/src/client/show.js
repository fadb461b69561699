// The status, derived anew after every input and told when it differs; and the waits.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { tell } from './io.js';
import { giveUpAt } from './ladder.js';
import { isGood, phaseOf } from './path.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('./io.js').Because} Because
 * @typedef {import('../wire/types.js').Status} Status
 * @typedef {import('../wire/types.js').State} State
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').LegState} LegState
 * @typedef {import('../wire/types.js').LegStatus} LegStatus
 */

/** A wait that has to be told when it gets long. @typedef {{ kind: string, since: number, tellAt: number, tellEvery: number }} Wait */

/** What is shown before `connect`. @returns {Status} */
export const beforeConnect = () => ({ state: 'connecting', phase: 'token', legs: [], since: 0 });

/** Tells the status if it has changed, and a wait if it has become long. @param {Client} client @param {Cx} cx */
export function show(client, cx) {
  const status = compose(client, cx);
  if (sameState(status, client.status)) status.since = client.status.since;
  if (!isSame(status, client.status)) cx.out.push({ type: 'status', status });
  client.status = status;
  showWait(client, cx);
}

/** @param {Client} client @param {Cx} cx */
function showWait(client, cx) {
  const now = cx.now.mono;
  const because = waitsFor(client);
  if (!because) {
    client.wait = undefined;
    return;
  }
  if (client.wait?.kind !== because.for) {
    client.wait = { kind: because.for, since: now, tellAt: now + limits.STILL_WAITING_AFTER, tellEvery: limits.STILL_WAITING_AFTER };
  }
  const { wait } = client;
  if (wait.tellAt > now) return;
  wait.tellEvery = Math.min(wait.tellEvery * 2, limits.STILL_WAITING_CAP);
  wait.tellAt = now + wait.tellEvery;
  tell(cx, { type: 'still_waiting', because, for_ms: msSince(now, wait.since) });
}

/** @param {Client} client @returns {Because | undefined} */
function waitsFor(client) {
  const { life, current, attempt } = client;
  switch (life.kind) {
    case 'connecting': return { for: 'connecting', phase: phase(client) };
    case 'standing':
      if (current?.stage === 'queued') return { for: 'queued' };
      if (current?.stage === 'joined' && client.media?.waits) return { for: 'recovering', ...(!client.media.isSignaled(client) && { waiting_for: 'network' }) };
      return current?.stage === 'replaying' ? { for: 'connecting', phase: 'replay' } : undefined;
    case 'recovering': {
      const waiting_for = attempt?.kind === 'waiting' ? attempt.waitingFor : attempt?.kind === 'token' ? 'token' : undefined;
      return { for: 'recovering', ...(waiting_for && { waiting_for }) };
    }
    case 'idle': case 'detaching': case 'ended': case 'failed': return undefined;
  }
}

/** How far a first connect has come. @param {Client} client @returns {import('../wire/types.js').Phase} */
export function phase({ attempt }) {
  if (attempt?.kind === 'path') return phaseOf(attempt.path);
  return attempt?.kind === 'token' ? 'token' : 'dial';
}

/** @param {Client} client @param {Cx} cx @returns {Status} */
function compose(client, cx) {
  const since = cx.now.wall;
  const { life } = client;
  switch (life.kind) {
    case 'idle': return { state: 'connecting', phase: 'token', legs: [], since };
    case 'connecting': return { state: 'connecting', phase: phase(client), ...(life.fault && { fault: life.fault }), legs: [], since };
    case 'standing': return composeStanding(client, cx, since);
    // Leaving heals nothing: it is as it was until it is over.
    case 'detaching': return { ...client.status };
    case 'recovering': {
      const { recovery } = life;
      const own = recovery.kind === 'loss' ? recovering(client, cx, recovery) : degraded(recovery.cause);
      return composeLegs(client, cx, since, own);
    }
    case 'ended': return { state: 'ended', reason: life.reason, legs: [], since };
    case 'failed': {
      const { fault } = life;
      return { state: 'failed', fault, legs: [{ leg: 'signaling', health: 'down', fault }], since };
    }
  }
}

/** @param {Client} client @param {Cx} cx @param {number} since @returns {Status} */
function composeStanding(client, cx, since) {
  const path = client.current;
  if (path?.stage === 'queued') return { state: 'queued', ...path.place, legs: [], since };
  if (path?.stage === 'replaying' && !client.wasLive) return { state: 'connecting', phase: 'replay', legs: [], since };
  return composeLegs(client, cx, since, path?.goaway ? degraded(path.goaway) : { health: 'up' });
}

/** @param {Fault} fault @returns {LegState} */
const degraded = (fault) => ({ health: 'degraded', fault });

/** The state, from this leg and those that the server tells of. @param {Client} client @param {Cx} cx @param {number} since @param {LegState} own @returns {Status} */
function composeLegs(client, cx, since, own) {
  const { server } = client;
  const others = server?.legs ?? [];
  const media = client.media ? client.media.compose(client, cx) : others.find(({ leg }) => leg === 'media');
  /** @type {LegStatus[]} */
  const legs = [{ leg: 'signaling', ...own }, ...others.filter(({ leg }) => leg !== 'signaling' && leg !== 'media'), ...(media ? [media] : [])];
  /** @type {'live' | 'degraded' | 'recovering'} */
  let state = 'live';
  let fault;
  for (const leg of legs) {
    if (leg.health === 'up') continue;
    const rank = leg.health === 'recovering' && leg.attempt >= 1 ? 'recovering' : 'degraded';
    if (state === 'live' || (state === 'degraded' && rank === 'recovering')) [state, fault] = [rank, leg.fault];
  }
  // The server may know of something that no leg shows.
  if (state === 'live' && server && server.state !== 'live' && server.fault) [state, fault] = ['degraded', server.fault];
  return { state, ...(fault && { fault }), legs, ...(server?.injected && { injected: server.injected }), since };
}

/** @param {Client} client @param {Cx} cx @param {import('./ladder.js').Recovery} recovery @returns {LegState} */
function recovering(client, cx, recovery) {
  const { attempt, current } = client;
  const isNext = attempt?.kind === 'waiting';
  const nextAt = isNext ? attempt.at : undefined;
  const waitingFor = isNext ? attempt.waitingFor : attempt?.kind === 'token' ? 'token' : undefined;
  const path = attempt?.kind === 'path' ? attempt.path : !attempt && isGood(current) ? current : undefined;
  const strategy = attempt && attempt.kind !== 'path' ? attempt.strategy : path?.strategy;
  const deadline = giveUpAt(client, recovery);
  return {
    health: 'recovering',
    strategy: strategy ?? 'fast',
    attempt: Math.max(recovery.attempts + (isNext ? 1 : 0), 1),
    next_ms: nextAt === undefined ? 0 : msSince(nextAt, cx.now.mono),
    ...(waitingFor && { waiting_for: waitingFor }),
    ...(deadline !== undefined && { deadline_ms: msSince(deadline, cx.now.mono) }),
    fault: recovery.cause,
  };
}

/** @param {Status} a @param {Status} b */
function sameState(a, b) {
  /** @param {Status} status */
  const key = (status) => {
    const { fault: _, legs: __, injected: ___, since: ____, ...state } = status;
    return JSON.stringify(state);
  };
  return a.state === b.state && key(a) === key(b);
}

/** @param {LegStatus} a @param {LegStatus} b */
function sameLeg(a, b) {
  if (a === b) return true;
  if (a.health === 'recovering' && b.health === 'recovering') {
    return a.leg === b.leg && a.strategy === b.strategy && a.attempt === b.attempt && a.waiting_for === b.waiting_for
      && a.fault.id === b.fault.id && (a.next_ms === 0) === (b.next_ms === 0);
  }
  // By its members: what came over the wire has them in another order.
  return a.leg === b.leg && a.health === b.health && JSON.stringify('fault' in a && a.fault) === JSON.stringify('fault' in b && b.fault)
    && (a.health === 'recovering') === (b.health === 'recovering');
}

/** Whether two tell the same, apart from what merely counts down. @param {Status} a @param {Status} b */
const isSame = (a, b) => sameState(a, b) && JSON.stringify(a.injected) === JSON.stringify(b.injected) && a.fault?.id === b.fault?.id && a.legs.length === b.legs.length
  && a.legs.every((leg, n) => sameLeg(leg, /** @type {LegStatus} */ (b.legs[n])));
