// Events into the fold: each position once, in order, and nothing passed over unseen.
//
// A frame covers a range. The next one begins at cursor + 1; one that begins earlier repeats what is
// known (a resend, or text that was put together meanwhile) and is cut to what is new; one that begins
// later is a hole, which only a new connection can fill.

import { decodeEvent, isSound } from '../wire/event.js';
import { INTEGER_MAX } from '../wire/limits.js';
import { apply, emptySnapshot, turnOf } from '../wire/snapshot.js';
import { beyond } from '../wire/utf8.js';

/** @typedef {import('../wire/types.js').EventData} EventData */

/** What has been applied. */
export class Fold {
  /** Positions since the server was last told the cursor. */
  unacked = 0;
  /** When that was. @type {number | undefined} */
  ackedAt = undefined;
  duplicates = 0;

  /** @param {import('../wire/types.js').Cursor} [cursor] @param {import('../wire/types.js').Snapshot} [snapshot] */
  constructor(cursor = { epoch: 0, seq: 0 }, snapshot = emptySnapshot()) {
    this.cursor = cursor;
    this.snapshot = snapshot;
  }

  /**
   * Moves on by one frame of the log `epoch`: what is told of it; `wrong` when it does not follow;
   * nothing when all of it was known.
   * @param {number} epoch
   * @param {import('../wire/types.js').EventFrame} frame
   * @returns {{ wrong: string } | { event: import('./io.js').LogEvent, malformed?: string } | undefined}
   */
  event(epoch, frame) {
    const { seq } = this.cursor;
    if (frame.from > frame.to || frame.from === 0) return { wrong: `an event covers ${frame.from} to ${frame.to}` };
    if (epoch !== this.cursor.epoch) return { wrong: 'an event of another epoch came before its snapshot' };
    if (frame.to <= seq) {
      this.duplicates += 1;
      return undefined;
    }
    if (frame.from > seq + 1) return { wrong: `an event at ${frame.from} follows ${seq}` };
    let event, malformed;
    try {
      event = decodeEvent(frame.kind, frame.data);
      if (event && !isSound(event)) [event, malformed] = [undefined, 'a number is out of range'];
    } catch (error) {
      malformed = /** @type {Error} */ (error).message;
    }
    this.cursor = { epoch, seq: frame.to };
    this.unacked += frame.to - seq;
    const range = { from: seq + 1, to: frame.to };
    if (!event) return { event: { type: 'log', ...range, known: false, kind: frame.kind, data: frame.data }, ...(malformed !== undefined && { malformed }) };
    if (event.kind === 'text' && frame.from <= seq) {
      const data = this.#cut(event.data);
      if (!data) return undefined;
      event = { ...event, data };
    }
    this.snapshot = apply(this.snapshot, event);
    return { event: /** @type {import('./io.js').LogEvent} */ ({ type: 'log', ...range, known: true, ...event }) };
  }

  /** What of a text is beyond the text that is known. @param {EventData['text']} text */
  #cut(text) {
    const view = turnOf(this.snapshot, text.turn);
    if (!view || view.attempt !== text.attempt || view.bytes <= text.at_byte) return text;
    const data = beyond(text.data, view.bytes - text.at_byte);
    return data && { ...text, at_byte: view.bytes, data };
  }

  /**
   * Puts a snapshot in the place of what lies before it. False when all of that is known; what is
   * wrong with it, when it cannot be.
   * @param {import('../wire/types.js').Gap} gap
   */
  gap({ from, to, epoch, snapshot }) {
    if (from > to || snapshot.turns_ended > INTEGER_MAX) return `a gap covers ${from} to ${to}`;
    if (epoch === this.cursor.epoch && to <= this.cursor.seq) {
      this.duplicates += 1;
      return false;
    }
    this.cursor = { epoch, seq: to };
    this.snapshot = snapshot;
    this.unacked += 1;
    return true;
  }

  /** Forgets everything, because another participant's log begins. @param {number} epoch */
  start(epoch) {
    this.cursor = { epoch, seq: 0 };
    this.snapshot = emptySnapshot();
  }
}
