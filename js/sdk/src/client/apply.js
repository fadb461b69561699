// Events into the fold: each position once, in order, and nothing passed over unseen.
//
// A frame covers a range. The next one begins at cursor + 1; one that begins earlier repeats what is
// known (a resend, or text that was put together meanwhile) and is cut to what is new; one that begins
// later is a hole, which only a new connection can fill.

import { INTEGER_MAX } from '../wire/limits.js';
import { beyond } from '../wire/utf8.js';

/**
 * @typedef {import('../wire/types.js').EventData} EventData
 * @typedef {import('../wire/types.js').Snapshot} Snapshot
 * @typedef {import('../wire/event.js').KnownEvent} KnownEvent
 */

/**
 * What is kept of the log: all that there is (`fold` of `wire/snapshot.js`), or what it takes to go on.
 * @typedef {object} Folding
 * @property {() => Snapshot} empty
 * @property {import('../wire/codec.js').Reader<Snapshot>} readSnapshot
 * @property {(kind: string, data: unknown) => KnownEvent | undefined} decode undefined where a kind is not known; throws where the data is wrong
 * @property {(fold: Snapshot, event: KnownEvent) => Snapshot} apply
 */

/** What has been applied. */
export class Fold {
  /** Positions since the server was last told the cursor. */
  unacked = 0;
  /** When that was. @type {number | undefined} */
  ackedAt;
  duplicates = 0;

  /** @param {Folding} folding @param {import('../wire/types.js').Cursor} [cursor] @param {Snapshot} [snapshot] */
  constructor(folding, cursor = { epoch: 0, seq: 0 }, snapshot = folding.empty()) {
    this.folding = folding;
    this.cursor = cursor;
    this.snapshot = snapshot;
  }

  /** The server was told the cursor. @param {number} now */
  acked(now) {
    this.unacked = 0;
    this.ackedAt = now;
  }

  /**
   * Moves on by one frame of the log `epoch`: what is told of it; what is wrong with it, when it does not
   * follow; nothing when all of it was known.
   * @param {number} epoch
   * @param {import('../wire/types.js').EventFrame} frame
   * @returns {string | { event: import('./io.js').LogEvent, malformed?: string } | undefined}
   */
  event(epoch, { from, to, kind, data }) {
    const { seq } = this.cursor;
    if (from > to || from === 0) return `an event covers ${from} to ${to}`;
    if (epoch !== this.cursor.epoch) return 'an event of another epoch came before its snapshot';
    if (to <= seq) {
      this.duplicates += 1;
      return undefined;
    }
    if (from > seq + 1) return `an event at ${from} follows ${seq}`;
    let event, malformed;
    try {
      event = this.folding.decode(kind, data);
    } catch (error) {
      malformed = /** @type {Error} */ (error).message;
    }
    this.cursor = { epoch, seq: to };
    this.unacked += to - seq;
    if (event?.kind === 'text' && from <= seq) {
      event.data = /** @type {any} */ (this.#cut(event.data));
      if (!event.data) return undefined;
    }
    if (event) this.snapshot = this.folding.apply(this.snapshot, event);
    return { event: /** @type {any} */ ({ type: 'log', from: seq + 1, to, known: event !== undefined, kind, data, ...event }), malformed };
  }

  /** What of a text is beyond the text that is known. @param {EventData['text']} text */
  #cut(text) {
    const view = this.snapshot.turns.findLast(({ turn }) => turn === text.turn), at_byte = view?.bytes ?? 0;
    if (view?.attempt !== text.attempt || at_byte <= text.at_byte) return text;
    const data = beyond(text.data, at_byte - text.at_byte);
    return data && { ...text, at_byte, data };
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
    this.snapshot = this.folding.empty();
  }
}
