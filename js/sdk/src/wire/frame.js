// The frames of `evenkeel.v1.json` that a client reads, and how it writes its own. Mirrors
// `keel-wire/src/frame.rs`.

import { decode, id, json, object, optional, seq, string, u32, u64, word } from './codec.js';
import { readFault } from './fault.js';
import { FRAME_OUT_BYTES_MAX } from './limits.js';
import { endReason, readStatus, role } from './status.js';

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = 'evenkeel.v1.json';

const cursor = object({ epoch: seq, seq });
const beat = object({ every_ms: u64, suspect_ms: u64 });
const seat = { session: id, participant: id, resume_key: string, beat };
const done = object({ turn: optional(id), position: optional(u32), version: optional(seq) });

/** What every client reads; those that fold read a `gap`, too, and those with media more. @type {Record<string, import('./codec.js').Members>} */
export const FRAMES = {
  welcome: {
    ...seat, role, how: word('created joined resumed rejoined'), resume_window_ms: u64, cursor, consumed: seq,
    limits: object({ frame_bytes: u64, commands: u32, frames_per_s: u32 }), params: json, params_version: seq, status: readStatus,
  },
  queued: { ...seat, position: u32, of: u32 },
  receipt: { n: seq, ok: optional(done), fault: optional(readFault) },
  event: { from: seq, to: seq, kind: string, data: json },
  replayed: { to: seq },
  ephemeral: { kind: string, data: json },
  status: { status: readStatus },
  beat: { n: seq, seq, suspect_ms: optional(u64), pace_ms: optional(u64) },
  goaway: { reason: string, deadline_ms: u64, target: optional(string) },
  ended: { reason: endReason, at: u64 },
  fault: { fault: readFault },
};

/** @param {import('./codec.js').Reader<any>} snapshot @returns {import('./codec.js').Members} */
export const gapWith = (snapshot) => ({ from: seq, to: seq, epoch: seq, snapshot, fault: optional(readFault) });

/**
 * Reads one message of a server.
 * @param {Record<string, import('./codec.js').Members>} frames
 * @param {string | Uint8Array} data
 * @returns {{ frame: import('./types.js').ServerFrame } | { unknown: string }}
 * @throws {import('./codec.js').DecodeError}
 */
export function decodeFrame(frames, data) {
  const decoded = decode(frames, data, FRAME_OUT_BYTES_MAX);
  if ('frame' in decoded && decoded.frame.type === 'receipt' && !decoded.frame.ok) json(decoded.frame.fault, 'receipt.ok');
  return decoded;
}

/**
 * One message to a server.
 * @param {{ type: string } & Record<string, unknown>} frame
 */
export const encodeFrame = (frame) => JSON.stringify(frame);
