// The part of a session's log that lies before what this tab was told: read over HTTP, backwards, a window
// at a time, when somebody looks for it.

import { ask } from './link.js';
import { Turns } from './turns.js';

/** Positions of the first window, and of each one after it at most. */
const WINDOW = 512, WINDOW_MAX = 2_048;
/** Events that wait for the beginning of their turn. */
const PENDING_MAX = 50_000;

export class Older {
  /** Whole turns, the oldest first. @type {Map<string, import('./turns.js').Turn>} */
  turns = new Map();
  /** What else the log said of those that are here only in part. */
  fold = new Turns();
  isReading = false;
  isAtEnd = false;
  /** Whether the server keeps no more than what was read: the log before it is gone. */
  isTrimmed = false;
  /** What went wrong with the last read. @type {Error | undefined} */
  error = undefined;
  /** Where it began: what is here ends before it. */
  until;
  #token;
  #session;
  #from;
  #window = WINDOW;
  /** Read, and of turns that began before. @type {{ seq: number, kind: string, data: any }[]} */
  #events = [];

  /** @param {string} token @param {string} session @param {number} from the first position that is known */
  constructor(token, session, from) {
    this.#token = token;
    this.#session = session;
    this.#from = this.until = from;
    this.isAtEnd = from <= 1;
  }

  /** The first position that was read. */
  get from() {
    return this.#from;
  }

  /** Whether something was read whose beginning was not. */
  get wantsMore() {
    return !this.isAtEnd && this.#events.length > 0;
  }

  /** Reads one more window. @returns {Promise<boolean>} whether something came */
  async read() {
    if (this.isReading || this.isAtEnd) return false;
    this.isReading = true;
    this.error = undefined;
    try {
      const lowest = Math.max(0, this.#from - 1 - this.#window);
      const events = await this.#range(lowest, this.#from - 1);
      this.#from = lowest + 1;
      this.#window = Math.min(WINDOW_MAX, this.#window * 2);
      this.isAtEnd = lowest === 0 || this.isTrimmed;
      this.#take(events);
      return true;
    } catch (error) {
      this.error = error;
      return false;
    } finally {
      this.isReading = false;
    }
  }

  /** The events after one position and up to another. @param {number} after @param {number} to */
  async #range(after, to) {
    const found = [];
    for (let at = after; at < to;) {
      const page = await ask(this.#token, `/v1/sessions/${encodeURIComponent(this.#session)}/events?after=${at}&limit=${WINDOW_MAX}`);
      this.isTrimmed ||= Boolean(page.gap);
      for (const { from, kind, data } of page.events) if (from <= to) found.push({ seq: from, kind, data });
      if (page.next <= at) break;
      at = page.next;
    }
    return found;
  }

  #take(events) {
    this.#events = [...events, ...this.#events].slice(-PENDING_MAX);
    const fold = new Turns();
    for (const { kind, data, seq } of this.#events) fold.apply(kind, data, seq);
    const whole = [...fold.all].filter(([, turn]) => turn.began || turn.state !== 'queued');
    this.turns = new Map([...whole, ...this.turns]);
    for (const [id, turn] of fold.all) this.fold.all.set(id, turn);
    for (const [participant, subject] of fold.subjects) this.fold.subjects.set(participant, subject);
    // Whose beginning is here is done with.
    this.#events = this.#events.filter(({ data }) => data?.turn !== undefined && !fold.all.has(data.turn));
  }
}
