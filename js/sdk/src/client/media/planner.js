// What to do next about media: one pure function, and nothing that remembers.
//
// The rungs are a keyframe, the lines anew, a restart of ICE, a new transport. Like the planner of
// connections this one is asked after every input, and its answer is done at once or forgotten.

import * as limits from '../../limits.js';

/**
 * What flows on an open transport: everything that is expected; nothing is silent, but not everything
 * came since it was told as lost; what is silent is silent at its source; some lines are silent or bring
 * no pictures; nothing comes on any line, for so long; the transport finds nobody; and will not by itself.
 * @typedef {{ kind: 'fine' | 'pending' | 'source' | 'line' | 'lost' | 'failed' } | { kind: 'all', silent: number }} Flow
 */
/** The last step on a transport since it was told as lost, upwards. @typedef {'told' | 'keyframe' | 'anew' | 'restart'} Rung */
/**
 * What there is of transports: none that is of use, with what is left to wait; one that was not connected
 * yet, for how long descriptions could pass; one that was, with the last step and the time since then.
 * @typedef {{ kind: 'nothing', wait: number } | { kind: 'opening', since: number } | Open} There
 */
/**
 * @typedef {object} Open
 * @property {'open'} kind
 * @property {Flow} flow
 * @property {Rung} rung
 * @property {number} since
 * @property {number} rejoins transports that were made anew for this loss
 * @property {boolean} refreshable whether there is a silent line that the server has something for
 */
/**
 * Everything that the next step depends on; spans in microseconds.
 * @typedef {object} Situation
 * @property {boolean} wanted whether somebody wants media, and the session goes on
 * @property {boolean} signaled whether descriptions can pass
 * @property {boolean} isDown
 * @property {There} there
 * @property {number} tried for how long it was tried, with descriptions that could pass
 * @property {number} opens transports opened lately
 */
/** @typedef {'deadline' | 'exhausted' | 'rejoin_limit'} Why */
/** @typedef {{ step: 'rest' | 'await_signaling' | 'close' | 'open' | 'abandon' | 'keyframe' | 'anew' | 'restart' } | { step: 'wait', span: number } | { step: 'give_up', why: Why }} Step */

/** @type {Step} */
const REST = { step: 'rest' };

/** The next step. Total. @param {Situation} s @returns {Step} */
export function plan(s) {
  const { there } = s;
  if (!s.wanted) return there.kind === 'nothing' ? REST : { step: 'close' };
  if (s.isDown || (there.kind === 'open' && isWell(there.flow))) return REST;
  if (!s.signaled) return { step: 'await_signaling' };
  const rest = limits.VERDICT_WITHIN - s.tried;
  if (rest <= 0) return { step: 'give_up', why: 'deadline' };
  const step = stepOf(s);
  if (step.step === 'wait') return { step: 'wait', span: Math.min(step.span, rest) };
  return step.step === 'rest' ? { step: 'wait', span: rest } : step;
}

/** @param {Flow} flow */
export const isWell = ({ kind }) => kind === 'fine' || kind === 'source';

/** @param {Situation} s @returns {Step} */
function stepOf(s) {
  const { there } = s;
  switch (there.kind) {
    case 'nothing': return after(0, there.wait, open(s));
    case 'opening': return after(there.since, limits.MEDIA_CONNECT_WITHIN, { step: 'abandon' });
    case 'open': return climb(s, there);
  }
}

/** @param {Situation} s @param {Open} there @returns {Step} */
function climb(s, { flow, rung, since, rejoins, refreshable }) {
  switch (flow.kind) {
    case 'fine': case 'source': case 'pending': return REST;
    case 'lost': case 'failed': return rung === 'restart' ? after(since, limits.MEDIA_RESTART_WITHIN, open(s)) : { step: 'restart' };
    case 'all':
      if (rung === 'restart') return after(since, limits.MEDIA_RESTART_WITHIN, open(s));
      if (rung === 'told' && refreshable) return { step: 'keyframe' };
      if (rung === 'keyframe' && refreshable) return after(since, limits.MEDIA_REFRESH_WITHIN, { step: 'anew' });
      if (rung === 'anew' && since < limits.MEDIA_REFRESH_WITHIN) {
        return { step: 'wait', span: Math.max(limits.MEDIA_RESTART_SILENT - flow.silent, limits.MEDIA_REFRESH_WITHIN - since) };
      }
      return after(flow.silent, limits.MEDIA_RESTART_SILENT, { step: 'restart' });
    case 'line':
      if (rung === 'restart') return after(since, limits.MEDIA_RESTART_WITHIN, rejoins > 0 ? { step: 'give_up', why: 'exhausted' } : open(s));
      if (rung === 'told' && refreshable) return { step: 'keyframe' };
      if (rung === 'anew' || !refreshable) return after(since, limits.MEDIA_LINE_ANEW_WITHIN, { step: 'restart' });
      return after(since, limits.MEDIA_LINE_KEYFRAME_WITHIN, { step: 'anew' });
  }
}

/** @param {Situation} s @returns {Step} */
const open = ({ opens }) => (opens >= limits.REJOIN_LIMIT ? { step: 'give_up', why: 'rejoin_limit' } : { step: 'open' });

/** A step that is due when `since` has become `span`. @param {number} since @param {number} span @param {Step} step @returns {Step} */
const after = (since, span, step) => (span - since <= 0 ? step : { step: 'wait', span: span - since });
