// The frames that a client sends, as a server reads them: for the golden vectors and scripted servers.

import { boolean, decode, json, list, object, optional, or, seq, string, u32, u64 } from '../src/wire/codec.js';
import { FRAME_IN_BYTES_MAX } from '../src/wire/limits.js';

const lines = or(list(object({ mid: string, track: string })), () => []);

const FRAMES = {
  hello: {
    token: string, instance: string, attempt: seq, session: optional(string), backend: optional(string), project: optional(string),
    busy: optional(json), title: optional(string), cwd: optional(string), tags: or(list(string), () => []), role: string, admission: json, history: json, resume: optional(json),
    stream: object({ id: string, next: seq, receipts_ack: seq }), params: optional(json), sdk: string, evidence: optional(json),
  },
  command: { n: seq, name: string, ttl_ms: optional(u64), receipts_ack: or(seq, () => 0), data: json },
  ack: { seq },
  beat: { n: seq, seq, suspect_ms: optional(u64), pace_ms: optional(u64) },
  auth: { token: string },
  detach: {},
  offer: { peer: u32, sdp: string, lines, settled: or(boolean, () => false) },
  answer: { peer: u32, sdp: string, lines },
  candidate: { peer: u32, candidate: string },
  refresh: { peer: u32, mids: list(string), anew: or(boolean, () => false) },
};

export const decodeClientFrame = (data) => decode(FRAMES, data, FRAME_IN_BYTES_MAX);
