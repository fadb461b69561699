// The status, derived anew after every input and told when it differs.

import { msSince } from '../time.js';
import { FAST } from '../wire/close.js';
import { giveUpAt } from './ladder.js';
import { isGood, phaseOf } from './path.js';
import { RUNGS } from './planner.js';
import { CONNECTING, DETACHING, ENDED, FAILED, IDLE, LOSS, QUEUED, REPLAYING, WAITING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../wire/types.js').Status} Status
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').LegState} LegState
 * @typedef {import('../wire/types.js').LegStatus} LegStatus
 */

/** @typedef {import('../wire/types.js').State & Omit<import('../wire/types.js').StatusRest, 'since'>} Shown */

/** Tells the status if it has changed. @param {Client} client */
export function show(client) {
  const { status: before, outputs } = client;
  const status = client.status = /** @type {Status} */ ({ ...compose(client), since: client.wallClock });
  if (stateOf(status) === stateOf(before)) status.since = before.since;
  if (toldOf(status) !== toldOf(before)) outputs.push({ type: 'status', status });
  client.waits?.ofSession(client);
}

/** @param {Client} client @returns {Shown} */
function compose(client) {
  const { life, current, upcoming, recovery, endReason, blamed } = client;
  if (life === IDLE) return idle();
  if (life === CONNECTING) return { state: 'connecting', phase: phaseOf(upcoming), fault: blamed, legs: [] };
  if (life === ENDED) return { state: 'ended', reason: endReason, legs: [] };
  if (life === FAILED && blamed) return { state: 'failed', fault: blamed, legs: [{ leg: 'signaling', health: 'down', fault: blamed }] };
  // Leaving heals nothing: it is as it was until it is over.
  if (life === DETACHING) return client.status;
  if (recovery) return composeLegs(client, recovery.nature === LOSS ? recovering(client, recovery) : degraded(recovery.firstFault));
  if (current?.stage === QUEUED) return { state: 'queued', ...current.place, legs: [] };
  if (current?.stage === REPLAYING && !client.wasLive) return { state: 'connecting', phase: 'replay', legs: [] };
  return composeLegs(client, current?.goesAway ? degraded(current.goesAway) : { health: 'up' });
}

/** Before `connect`. */
const idle = () => /** @type {const} */ ({ state: 'connecting', phase: 'token', legs: /** @type {LegStatus[]} */ ([]) });

/** What is shown first. @returns {Status} */
export const beforeConnect = () => ({ ...idle(), since: 0 });

/** @param {Fault} fault @returns {LegState} */
const degraded = (fault) => ({ health: 'degraded', fault });

/** The state, from this leg and those that the server tells of. @param {Client} client @param {LegState} own @returns {Shown} */
function composeLegs(client, own) {
  const { serverSays, mediaLeg } = client;
  const others = serverSays?.legs ?? [];
  const theirs = mediaLeg ? mediaLeg.compose(client) : others.find(({ leg }) => leg === 'media');
  /** @type {LegStatus[]} */
  const legs = [{ leg: 'signaling', ...own }, ...others.filter(({ leg }) => leg !== 'signaling' && leg !== 'media'), ...(theirs ? [theirs] : [])];
  const troubled = legs.filter(({ health }) => health !== 'up');
  const worst = /** @type {LegStatus & { fault: Fault } | undefined} */ (troubled.find(isRecovering) ?? troubled[0]);
  // The server may know of something that no leg shows.
  const fault = worst?.fault ?? (serverSays && serverSays.state !== 'live' ? serverSays.fault : undefined);
  return { state: worst && isRecovering(worst) ? 'recovering' : fault ? 'degraded' : 'live', fault, legs, injected: serverSays?.injected };
}

/** @param {LegStatus} leg */
const isRecovering = (leg) => leg.health === 'recovering' && leg.attempt >= 1;

/** @param {Client} client @param {import('./ladder.js').Recovery} recovery @returns {LegState} */
function recovering(client, { attemptsMade, firstFault }) {
  const { upcoming, current, moment: now } = client;
  const isNext = upcoming?.stage === WAITING;
  const { rung = FAST } = upcoming ?? (current && isGood(current) ? current : {});
  const deadline = giveUpAt(client);
  return {
    health: 'recovering',
    strategy: RUNGS[rung],
    attempt: Math.max(attemptsMade + (isNext ? 1 : 0), 1),
    next_ms: isNext && upcoming.endsAt < Infinity ? msSince(upcoming.endsAt, now) : 0,
    waiting_for: upcoming?.waitingFor,
    deadline_ms: deadline < Infinity ? msSince(deadline, now) : undefined,
    fault: firstFault,
  };
}

/** What a change of which begins a new `since`. @param {Status} status */
const stateOf = ({ fault: _, legs: __, injected: ___, since: ____, ...state }) => JSON.stringify(state);

/** What a change of which is told: not of what merely counts down, nor of the order of members. @param {Status} status */
const toldOf = (status) => JSON.stringify([stateOf(status), status.fault?.id, status.injected, status.legs.map((of) => {
  const { leg, health, strategy, attempt, waiting_for, next_ms, fault } = /** @type {any} */ (of);
  return [leg, health, strategy, attempt, waiting_for, next_ms === 0, attempt === undefined ? fault : fault.id];
})]);
