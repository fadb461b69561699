// What a session's log is made of: one shape a kind of event. Mirrors `keel-wire/src/event.rs`.

import { boolean, filled, id, json, list, object, optional, own, seq, string, tagged, u32, u64, word } from './codec.js';
import { readFault } from './fault.js';
import { endReason, role } from './status.js';

/** @typedef {import('./types.js').EventData} EventData */
/** @typedef {{ [K in keyof EventData]: { kind: K, data: EventData[K] } }[keyof EventData]} KnownEvent */

/** Present only when it is so. @type {import('./codec.js').Reader<any>} */
export const flag = (value, at) => optional(boolean)(value, at) || undefined;

export const busyPolicy = tagged('policy', { reject: {}, queue: { max: u32 }, steer: {}, replace: {} });
const choice = object({ option: string, label: string, kind: optional(word('allow_once allow_always reject_once reject_always')) });
export const action = object({ id, prompt: string, options: filled(list(string)), choices: filled(list(choice)), tool_call: optional(string) });
export const turnEnded = object({
  turn: id, attempt: u32, end: word('done failed cancelled interrupted'), bytes: u64,
  forced: flag, stop_reason: optional(string), fault: optional(readFault),
});
export const sessionEnded = object({ reason: endReason, fault: optional(readFault) });
const command = object({ stream: id, n: seq });
const track = { participant: id, track: id };
export const trackKind = word('audio video');

const tags = filled(list(string));

/** Every kind known here. @type {Record<string, import('./codec.js').Reader<any>>} */
const KINDS = {
  'session.created': object({ backend: string, project: optional(string), busy: busyPolicy, title: optional(string), cwd: optional(string), tags }),
  'participant.joined': object({ participant: id, role, subject: string }),
  'participant.left': object({ participant: id, reason: word('detached expired removed') }),
  'params.changed': object({ version: seq, patch: json, by: optional(id) }),
  'params.applied': object({ version: seq, turn: id }),
  message: object({ by: id, command, data: json }),
  'turn.accepted': object({ turn: id, by: id, command, text: string, position: u32, begin_by: optional(u64), retry_of: optional(id), continues: optional(id) }),
  'turn.started': object({ turn: id, attempt: u32, fault: optional(readFault) }),
  text: object({ turn: id, attempt: u32, at_byte: seq, data: string }),
  item: object({ turn: id, attempt: u32, data: json }),
  'turn.waiting': object({ turn: id, action }),
  'turn.answered': object({ turn: id, action: id, by: optional(id), answer: json }),
  'turn.moved': object({ turn: id, position: u32, by: id }),
  'turn.steered': object({ turn: id, by: id, command, text: string }),
  'turn.retrying': object({ turn: id, attempt: u32, in_ms: u64, fault: readFault }),
  'turn.cancelling': object({ turn: id, step: word('asked terminating killing'), by: optional(id) }),
  'turn.ended': turnEnded,
  'agent.bound': object({ turn: id, provider: string, id: string }),
  'session.described': object({ by: optional(id), title: optional(string), starred: optional(boolean), archived: optional(boolean), tags: optional(list(string)) }),
  'track.published': object({ ...track, kind: trackKind }),
  'track.unpublished': object(track),
  'track.muted': object({ ...track, muted: boolean }),
  'session.ended': sessionEnded,
};

/**
 * Reads the data of an event; undefined when the kind is not known here.
 * @param {string} kind
 * @param {unknown} data
 * @returns {KnownEvent | undefined}
 * @throws {import('./codec.js').DecodeError} when the data is not what the kind wants
 */
export function decodeEvent(kind, data) {
  const read = own(KINDS, kind);
  return read && /** @type {KnownEvent} */ ({ kind, data: read(data, kind) });
}
