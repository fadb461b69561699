// The fold of a log: what a participant that missed events needs to go on. Mirrors
// `keel-wire/src/snapshot.rs`: total, and independent of how text was cut into events. A snapshot is
// never changed: `apply` gives a new one, so that what an application holds stays what it was.

import { filled, id, json, list, object, optional, seq, string, tagged, u32, u64 } from './codec.js';
import { action, busyPolicy, decodeEvent, flag, sessionEnded, trackKind, turnEnded } from './event.js';
import { SNAPSHOT_PROMPT_BYTES_MAX, SNAPSHOT_TEXT_BYTES_MAX, SNAPSHOT_TURNS_MAX } from './limits.js';
import { mergePatch } from './merge.js';
import { role } from './status.js';
import { beginning, bytesOf, ending } from './utf8.js';

/**
 * @typedef {import('./types.js').Snapshot} Snapshot
 * @typedef {import('./types.js').TurnView} TurnView
 * @typedef {import('./types.js').TurnState} TurnState
 */

const turnView = tagged('state', { queued: {}, running: {}, waiting: { action }, ended: { ended: turnEnded } }, {
  turn: id, by: id, prompt: string, attempt: u32, bytes: u64, tail: string,
});

/** @type {import('./codec.js').Reader<Snapshot>} */
export const readSnapshot = object({
  backend: string, project: optional(string), busy: busyPolicy, title: optional(string), cwd: optional(string), starred: flag, archived: flag,
  tags: filled(list(string)), agent: optional(object({ provider: string, id: string })),
  participants: list(object({ participant: id, role, subject: string })),
  params: json, params_version: seq, params_applied: seq, turns: list(turnView), turns_ended: u64,
  tracks: filled(list(object({ participant: id, track: id, kind: trackKind, muted: flag }))),
  ended: optional(sessionEnded),
});

/** @returns {Snapshot} */
export const emptySnapshot = () => ({
  backend: '', busy: { policy: 'reject' }, participants: [], params: null, params_version: 0, params_applied: 0, turns: [], turns_ended: 0,
});

/**
 * The turn of that id, where it is still listed.
 * @param {Snapshot} fold
 * @param {string} turn
 */
export const turnOf = (fold, turn) => fold.turns.findLast((view) => view.turn === turn);

/**
 * The fold moved on by one event. Total: an event about something that is not listed changes nothing.
 * @param {Snapshot} fold
 * @param {import('./event.js').KnownEvent} event
 * @returns {Snapshot}
 */
export function apply(fold, event) {
  switch (event.kind) {
    case 'session.created': {
      const { project, title, cwd, tags, ...rest } = event.data;
      return given({ ...fold, ...rest, project, title, cwd, tags });
    }
    case 'participant.joined': return { ...fold, participants: [...others(fold, event.data.participant), event.data] };
    case 'participant.left': {
      const { participant } = event.data;
      return withTracks({ ...fold, participants: others(fold, participant) }, (view) => view.participant !== participant);
    }
    case 'params.changed': return { ...fold, params: mergePatch(fold.params, event.data.patch), params_version: event.data.version };
    case 'params.applied': return { ...fold, params_applied: event.data.version };
    case 'session.described': {
      const { title = fold.title, starred = fold.starred, archived = fold.archived, tags = fold.tags } = event.data;
      return given({ ...fold, title: title || undefined, starred: starred || undefined, archived: archived || undefined, tags });
    }
    case 'agent.bound': return { ...fold, agent: { provider: event.data.provider, id: event.data.id } };
    case 'turn.accepted': {
      const { turn, by, text } = event.data;
      const prompt = beginning(text, SNAPSHOT_PROMPT_BYTES_MAX);
      return { ...fold, turns: [...fold.turns, { turn, by, prompt, state: 'queued', attempt: 0, bytes: 0, tail: '' }] };
    }
    case 'turn.moved': return moveTurn(fold, event.data);
    case 'turn.started': return withTurn(fold, event.data.turn, { state: 'running' }, { attempt: event.data.attempt, bytes: 0, tail: '' });
    case 'text': {
      const { turn, at_byte, data } = event.data;
      const tail = ending((turnOf(fold, turn)?.tail ?? '') + data, SNAPSHOT_TEXT_BYTES_MAX);
      return withTurn(fold, turn, undefined, { bytes: at_byte + bytesOf(data), tail });
    }
    case 'turn.waiting': return withTurn(fold, event.data.turn, { state: 'waiting', action: event.data.action });
    case 'turn.answered': return withTurn(fold, event.data.turn, { state: 'running' });
    case 'turn.ended': {
      if (!turnOf(fold, event.data.turn)) return fold;
      const ended = withTurn(fold, event.data.turn, { state: 'ended', ended: event.data });
      return forgetOldTurns({ ...ended, turns_ended: fold.turns_ended + 1 });
    }
    case 'track.published': return { ...fold, tracks: [...(fold.tracks ?? []), event.data] };
    case 'track.unpublished': return withTracks(fold, (view) => !isTrack(view, event.data));
    case 'track.muted': {
      const at = fold.tracks?.findIndex((view) => isTrack(view, event.data)) ?? -1;
      const view = fold.tracks?.[at];
      if (!fold.tracks || !view) return fold;
      const { participant, track, kind } = view;
      return { ...fold, tracks: fold.tracks.with(at, { participant, track, kind, ...(event.data.muted && { muted: true }) }) };
    }
    case 'session.ended': return { ...fold, ended: event.data };
    default: return fold; // What is told of a turn, and changes nothing that is kept of it.
  }
}

/** Without what is absent or empty. @param {any} fold @returns {Snapshot} */
function given({ ...fold }) {
  for (const name in fold) if (fold[name] === undefined || (name === 'tags' && fold[name].length === 0)) delete fold[name];
  return fold;
}

/**
 * An open turn put behind as many open ones as it now has before it.
 * @param {Snapshot} fold @param {{ turn: string, position: number }} moved @returns {Snapshot}
 */
function moveTurn(fold, { turn, position }) {
  const view = fold.turns.find((view) => view.turn === turn && view.state !== 'ended');
  if (!view) return fold;
  const turns = fold.turns.filter((other) => other !== view);
  const before = turns.filter((other) => other.state !== 'ended')[position];
  return { ...fold, turns: turns.toSpliced(before ? turns.indexOf(before) : turns.length, 0, view) };
}

/** @typedef {import('./types.js').TrackView} TrackView */
/** @param {TrackView} view @param {{ participant: string, track: string }} named */
const isTrack = (view, { participant, track }) => view.participant === participant && view.track === track;

/** @param {Snapshot} fold @param {(view: TrackView) => boolean} keep @returns {Snapshot} */
function withTracks({ tracks = [], ...fold }, keep) {
  const kept = tracks.filter(keep);
  return { ...fold, ...(kept.length > 0 && { tracks: kept }) };
}

/** @param {Snapshot} fold @param {string} participant */
const others = (fold, participant) => fold.participants.filter((view) => view.participant !== participant);

/**
 * @param {Snapshot} fold
 * @param {string} turn
 * @param {TurnState} [state]
 * @param {Partial<TurnView>} [rest]
 * @returns {Snapshot}
 */
function withTurn(fold, turn, state, rest) {
  const at = fold.turns.findLastIndex((view) => view.turn === turn);
  if (at < 0) return fold;
  const { turn: name, by, prompt, attempt, bytes, tail, ...old } = /** @type {TurnView} */ (fold.turns[at]);
  const view = /** @type {TurnView} */ ({ turn: name, by, prompt, attempt, bytes, tail, ...(state ?? old), ...rest });
  return { ...fold, turns: fold.turns.with(at, view) };
}

/** @param {Snapshot} fold @returns {Snapshot} */
function forgetOldTurns(fold) {
  let surplus = fold.turns.filter((view) => view.state === 'ended').length - SNAPSHOT_TURNS_MAX;
  return { ...fold, turns: fold.turns.filter((view) => view.state !== 'ended' || surplus-- <= 0) };
}

/** Everything that the log says is read, and kept. @type {import('../client/apply.js').Folding} */
export const fold = { empty: emptySnapshot, readSnapshot, decode: decodeEvent, apply };
