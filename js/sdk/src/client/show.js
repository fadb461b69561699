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
  const { status: before, outputs: out } = client;
  const status = client.status = /** @type {Status} */ ({ ...compose(client), since: client.wallClock });
  if (stateOf(status) === stateOf(before)) status.since = before.since;
  if (toldOf(status) !== toldOf(before)) out.push({ type: 'status', status });
  client.waits?.ofSession(client);
}

/** @param {Client} client @returns {Shown} */
function compose(client) {
  const { life, current, upcoming: attempt, recovery, endReason: reason, blamed: fault } = client;
  if (life === IDLE) return idle();
  if (life === CONNECTING) return { state: 'connecting', phase: phaseOf(attempt), fault, legs: [] };
  if (life === ENDED) return { state: 'ended', reason, legs: [] };
  if (life === FAILED && fault) return { state: 'failed', fault, legs: [{ leg: 'signaling', health: 'down', fault }] };
  // Leaving heals nothing: it is as it was until it is over.
  if (life === DETACHING) return client.status;
  if (recovery) return composeLegs(client, recovery.form === LOSS ? recovering(client, recovery) : degraded(recovery.firstFault));
  if (current?.stage === QUEUED) return { state: 'queued', ...current.place, legs: [] };
  if (current?.stage === REPLAYING && !client.wasLive) return { state: 'connecting', phase: 'replay', legs: [] };
  return composeLegs(client, current?.leaves ? degraded(current.leaves) : { health: 'up' });
}

/** Before `connect`. */
const idle = () => /** @type {const} */ ({ state: 'connecting', phase: 'token', legs: /** @type {LegStatus[]} */ ([]) });

/** What is shown first. @returns {Status} */
export const beforeConnect = () => ({ ...idle(), since: 0 });

/** @param {Fault} fault @returns {LegState} */
const degraded = (fault) => ({ health: 'degraded', fault });

/** The state, from this leg and those that the server tells of. @param {Client} client @param {LegState} own @returns {Shown} */
function composeLegs(client, own) {
  const { serverSays: server, mediaLeg: media } = client;
  const others = server?.legs ?? [];
  const theirs = media ? media.compose(client) : others.find(({ leg }) => leg === 'media');
  /** @type {LegStatus[]} */
  const legs = [{ leg: 'signaling', ...own }, ...others.filter(({ leg }) => leg !== 'signaling' && leg !== 'media'), ...(theirs ? [theirs] : [])];
  const troubled = legs.filter(({ health }) => health !== 'up');
  const worst = /** @type {LegStatus & { fault: Fault } | undefined} */ (troubled.find(isRecovering) ?? troubled[0]);
  // The server may know of something that no leg shows.
  const fault = worst?.fault ?? (server && server.state !== 'live' ? server.fault : undefined);
  return { state: worst && isRecovering(worst) ? 'recovering' : fault ? 'degraded' : 'live', fault, legs, injected: server?.injected };
}

/** @param {LegStatus} leg */
const isRecovering = (leg) => leg.health === 'recovering' && leg.attempt >= 1;

/** @param {Client} client @param {import('./ladder.js').Recovery} recovery @returns {LegState} */
function recovering(client, { taken: attempts, firstFault: fault }) {
  const { upcoming: attempt, current, moment: now } = client;
  const isNext = attempt?.stage === WAITING;
  const { rungOf: strategy = FAST } = attempt ?? (current && isGood(current) ? current : {});
  const deadline = giveUpAt(client);
  return {
    health: 'recovering',
    strategy: RUNGS[strategy],
    attempt: Math.max(attempts + (isNext ? 1 : 0), 1),
    next_ms: isNext && attempt.endsAt < Infinity ? msSince(attempt.endsAt, now) : 0,
    waiting_for: attempt?.waitingFor,
    deadline_ms: deadline < Infinity ? msSince(deadline, now) : undefined,
    fault,
  };
}

/** What a change of which begins a new `since`. @param {Status} status */
const stateOf = ({ fault: _, legs: __, injected: ___, since: ____, ...state }) => JSON.stringify(state);

/** What a change of which is told: not of what merely counts down, nor of the order of members. @param {Status} status */
const toldOf = (status) => JSON.stringify([stateOf(status), status.fault?.id, status.injected, status.legs.map((of) => {
  const { leg, health, strategy, attempt, waiting_for, next_ms, fault } = /** @type {any} */ (of);
  return [leg, health, strategy, attempt, waiting_for, next_ms === 0, attempt === undefined ? fault : fault.id];
})]);
