// From media that is told as lost to media that is seen to flow again.

import * as limits from '../../limits.js';
import { msSince, since } from '../../time.js';
import { withDetail } from '../../wire/fault.js';
import { isObject } from '../../wire/merge.js';
import { tell } from '../io.js';
import { isExpected, isSame } from './transport.js';
import { serversFault } from './show.js';

/**
 * @typedef {import('../media.js').Leg} Leg
 * @typedef {import('../../client.js').Client} Client

 * @typedef {import('../../wire/types.js').Fault} Fault
 * @typedef {import('./planner.js').Flow} Flow
 * @typedef {import('./transport.js').Line} Line
 * @typedef {import('./transport.js').TrackKey} TrackKey
 */

/**
 * Something that is expected does not come, and that was told.
 * @typedef {object} Loss
 * @property {Fault} fault the first cause
 * @property {Fault | undefined} last what the last transport that was opened for it came to
 * @property {number} lostAt
 * @property {number} attempts steps taken
 * @property {import('./planner.js').Rung} rung the last on this transport, and when
 * @property {number} stepAt
 * @property {number} rejoins transports opened for it
 * @property {boolean} ofSource nothing is wrong with the way: it was told, and nothing is done about it
 * @property {TrackKey[]} owed what was expected when it was told
 */

/** The ladder begins anew: on another transport, or after it was given up. @param {Loss} loss @param {number} now */
export const beginAnew = (loss, now) => void Object.assign(loss, { rung: 'told', stepAt: now });

/** What the server's status lists as silent at its source. @param {Fault} fault @param {TrackKey} of */
function isListed({ code, detail }, of) {
  /** @param {unknown} named */
  const names = (named) => isObject(named) && named.participant === of.participant && named.track === of.track;
  if (code !== 'media_stalled') return false;
  return Array.isArray(detail?.stalled) ? detail.stalled.some(names) : names(detail);
}

/** @param {Client} client @param {TrackKey} of */
function isStalledAtSource(client, of) {
  const fault = serversFault(client);
  return fault !== undefined && isListed(fault, of);
}

/** A track of this client's own does not come to the server. @param {Client} client */
const ownIsStalled = (client) =>
  (client.fold.snapshot.tracks ?? []).some((view) => !view.muted && view.participant === client.seat?.participant && isStalledAtSource(client, view));

/**
 * A silent line whose silence is not this end's to repair: its source is silent, and the way to here is
 * not what stops it. Of a track of its own that is so once the way was made anew.
 * @param {Leg} leg
 * @param {Client} client
 * @param {Line} line
 */
function isExcused({ loss }, client, { of, stalledAtSource }) {
  const wayIsProven = loss !== undefined
    && (loss.rejoins > 0 || (loss.rung === 'restart' && since(client.moment, loss.stepAt) >= limits.MEDIA_RESTART_WITHIN));
  return stalledAtSource && (of.participant !== client.seat?.participant || wayIsProven);
}

/** What flows, as far as was looked. @param {Leg} leg @param {Client} client @returns {Flow} */
export function flowOf(leg, client) {
  const { shown, loss } = leg;
  if (!shown) return { kind: 'fine' };
  const { way } = shown;
  if (way.kind === 'lost' || way.kind === 'failed') return { kind: way.kind };
  const expected = shown.expected(client.fold.snapshot);
  const ours = expected.filter((line) => !(line.isTroubled && isExcused(leg, client, line)));
  if (!ours.some((line) => line.isTroubled)) {
    if (expected.some((line) => line.isTroubled) || ownIsStalled(client)) return { kind: 'source' };
    return { kind: loss ? 'pending' : 'fine' };
  }
  return ours.every((line) => line.isSilent) ? { kind: 'all', silent: Math.min(...ours.map((line) => line.quiet)) } : { kind: 'line' };
}

/** Looks at what flows: tells what is lost and what is back. @param {Leg} leg @param {Client} client */
export function judge(leg, client) {
  noteSources(leg, client, client.moment);
  believePackets(leg, client);
  const flow = flowOf(leg, client);
  const isQuiet = flow.kind === 'fine' || flow.kind === 'pending';
  const { loss } = leg;
  if (!loss) {
    if (!isQuiet) tellLost(leg, client, faultOf(leg, client, flow), flow.kind === 'source');
  } else if (isQuiet) endLoss(leg, client, loss);
  else if (flow.kind === 'source') loss.ofSource = true;
  else if (loss.ofSource) {
    loss.ofSource = false;
    beginAnew(loss, client.moment);
    // Where somebody else's track was told, and it is another trouble, it is told too; of the same track,
    // or of one's own, it is the same loss.
    const fault = faultOf(leg, client, flow), { participant, track } = loss.fault.detail ?? {};
    const isSameTrack = fault.detail?.participant === participant && fault.detail?.track === track;
    if (isSameTrack || participant === client.seat?.participant) return;
    loss.fault = fault;
    tell(client, { type: 'media_lost', fault });
  }
}

/** What the server says of the sources of lines. One that is back is given the time to get here. @param {Leg} leg @param {Client} client @param {number} now */
function noteSources({ shown }, client, now) {
  for (const line of shown?.lines ?? []) {
    const was = line.stalledAtSource;
    line.stalledAtSource = isStalledAtSource(client, line.of);
    if (was && !line.stalledAtSource) line.countAnew(now);
  }
}

/** A transport that says that nobody answers, while everything that is expected comes, is wrong. @param {Leg} leg @param {Client} client */
function believePackets({ shown }, client) {
  if (shown?.way.kind !== 'lost') return;
  const { since: lostSince } = shown.way;
  const expected = shown.expected(client.fold.snapshot);
  if (expected.length > 0 && expected.every((line) => line.cameSince(lostSince)) && !ownIsStalled(client)) shown.way = { kind: 'proven' };
}

/** @param {Leg} leg @param {Client} client @param {Fault} fault @param {boolean} ofSource */
export function tellLost(leg, client, fault, ofSource) {
  const now = client.moment;
  const expected = leg.shown?.expected(client.fold.snapshot).map(({ of }) => of) ?? [];
  // A track may come on two lines, on its way from one to the other.
  const owed = expected.filter((of, at) => expected.findIndex((one) => isSame(one, of)) === at);
  leg.loss = { fault, last: undefined, lostAt: now, attempts: 0, rung: 'told', stepAt: now, rejoins: 0, ofSource, owed };
  tell(client, { type: 'media_lost', fault });
}

/** @param {Leg} leg @param {Client} client @param {Flow} flow @returns {Fault} */
function faultOf(leg, client, flow) {
  const { shown } = leg;
  const peer = shown?.peer ?? 0;
  if (flow.kind === 'failed') return leg.transportFault(client, peer, 'ice_failed');
  if (flow.kind === 'lost') return withDetail(leg.trouble(client, 'media_stalled'), { peer, why: 'disconnected' });
  const worst = shown?.expected(client.fold.snapshot).find((line) => line.isTroubled && (flow.kind === 'source' || !isExcused(leg, client, line)));
  // What is silent is this client's own, as the server says.
  if (!worst) return serversFault(client) ?? leg.trouble(client, 'media_stalled');
  return withDetail(leg.trouble(client, 'media_stalled'), { ...worst.of, ...(worst.isFrozen && { frozen: true }) });
}

/** When what a new transport did not bring back is named instead of waited for. @param {Leg} leg */
export function restoreBy({ loss, shown }) {
  if (!loss || shown?.connectedAt === undefined) return undefined;
  return Math.max(shown.connectedAt, loss.lostAt) + limits.MEDIA_RESTORE_WITHIN;
}

/** Nothing is silent: once everything that is expected was seen, it is over. @param {Leg} leg @param {Client} client @param {Loss} loss */
function endLoss(leg, client, loss) {
  const { shown, next } = leg;
  const now = client.moment;
  const { snapshot } = client.fold;
  if (!shown || shown.superseded || next || !shown.isUp || !shown.expected(snapshot).every((line) => line.cameSince(loss.lostAt))) return;
  // On the same transport the server has taken back what is not there any more.
  const missing = loss.owed
    .filter((of) => loss.rejoins > 0 && isExpected(snapshot, of) && !shown.lines.some((line) => isSame(line.of, of)))
    .toSorted((a, b) => (`${a.participant}\0${a.track}` < `${b.participant}\0${b.track}` ? -1 : 1));
  if (missing.length > 0 && (restoreBy(leg) ?? 0) > now) return;
  tell(client, { type: 'media_recovered', strategy: loss.rejoins > 0 ? 'rejoin' : 'fast', attempts: loss.attempts, lost_ms: msSince(now, loss.lostAt) });
  leg.recoveredAt = now;
  if (missing.length > 0) {
    const fault = leg.trouble(client, 'media_stalled', 'tracks that came before are not sent on the new transport');
    tell(client, { type: 'fault', fault: withDetail(fault, { not_restored: missing }) });
  }
  leg.loss = leg.down = leg.openAt = undefined;
  leg.failures = 0;
}
