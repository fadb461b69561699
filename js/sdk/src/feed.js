// Events on their way to readers: bounded, in order, and nothing passed over unseen.
//
// A browser cannot stop reading a WebSocket, so a slow reader is not waited for. Once it has
// `EVENTS_MAX` events or `EVENTS_CHARS_MAX` characters before it, they are dropped; it gets one `gap` in
// their place, with a `slow_consumer` fault and the fold, and goes on from there. While nobody reads at
// all the same bound holds, and who comes later begins with a `gap` without a fault.

import { ownFault } from './error.js';

/** Events that wait for a reader, and the characters of their frames. */
export const EVENTS_MAX = 10_000;
export const EVENTS_CHARS_MAX = 4 * 1024 * 1024;

/**
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {{ cursor: import('./wire/types.js').Cursor, snapshot: import('./wire/types.js').Snapshot }} Position
 */

/** What waits for one reader. */
class Queue {
  /** @type {{ event: Event, chars: number }[]} */
  events = [];
  chars = 0;
  /** Events were passed over from this position on: a snapshot comes first. @type {number | undefined} */
  behind = undefined;
  slow = false;
  /** The end, which is never dropped. @type {Event | undefined} */
  last = undefined;
  over = false;
  /** @type {() => void} */
  wake = () => {};

  /** @param {Event} event @param {number} chars @param {number} from @returns {boolean} whether it fell behind */
  push(event, chars, from) {
    const isEnd = event.type === 'ended' || event.type === 'failed';
    const overflows = this.events.length >= EVENTS_MAX || this.chars + chars > EVENTS_CHARS_MAX;
    const falls = overflows && this.behind === undefined && !isEnd;
    if (falls) {
      const first = this.events.find((waiting) => waiting.event.type === 'log' || waiting.event.type === 'gap')?.event;
      this.behind = first && 'from' in first ? first.from : from;
      this.events = [];
      this.chars = 0;
    }
    if (isEnd) this.last = event;
    else if (this.behind === undefined) {
      this.events.push({ event, chars });
      this.chars += chars;
    }
    this.wake();
    return falls;
  }

  /** @param {() => Position} position @returns {Event | undefined} */
  take(position) {
    if (this.behind !== undefined) {
      const from = this.behind;
      const { cursor, snapshot } = position();
      this.behind = undefined;
      const fault = this.slow ? { fault: ownFault('slow_consumer') } : {};
      if (cursor.seq >= from) return { type: 'gap', from, to: cursor.seq, ...fault, snapshot };
    }
    const next = this.events.shift();
    if (next) {
      this.chars -= next.chars;
      return next.event;
    }
    const { last } = this;
    this.last = undefined;
    return last;
  }
}

/** Every reader of a session. */
export class Feed {
  /** What the first reader will get, until it comes. @type {Queue | undefined} */
  #unread = undefined;
  /** @type {Set<Queue>} */
  #queues = new Set();
  #over = false;
  #position;

  /** @param {() => Position} position how far the log is applied */
  constructor(position) {
    this.#position = position;
  }

  /** With room for what comes before the first reader. */
  open() {
    this.#over = false;
    this.#unread = new Queue();
  }

  /**
   * Gives every reader an event; whether one fell behind for it.
   * @param {Event} event
   * @param {number} chars about how long
   */
  push(event, chars) {
    const from = 'from' in event ? event.from : this.#position().cursor.seq + 1;
    this.#unread?.push(event, chars, from);
    let falls = false;
    for (const queue of this.#queues) {
      if (!queue.push(event, chars, from)) continue;
      queue.slow = true;
      falls = true;
    }
    return falls;
  }

  /** Nothing follows. */
  close() {
    this.#over = true;
    for (const queue of [...this.#queues, ...(this.#unread ? [this.#unread] : [])]) {
      queue.over = true;
      queue.wake();
    }
    this.#queues.clear();
  }

  /**
   * A new reader. It ends after `ended` or `failed`, when `signal` is aborted, and when it is left.
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<Event, void, void>}
   */
  reader(signal) {
    const queue = this.#unread ?? new Queue();
    if (!this.#unread) Object.assign(queue, { behind: this.#over ? undefined : 1, over: this.#over });
    this.#unread = undefined;
    if (!queue.over) this.#queues.add(queue);
    const leave = () => {
      this.#queues.delete(queue);
      queue.events = [];
      queue.last = queue.behind = undefined;
      queue.over = true;
      queue.wake();
    };
    if (signal?.aborted) leave();
    signal?.addEventListener('abort', leave, { once: true });
    const read = this.#read(queue, () => {
      signal?.removeEventListener('abort', leave);
      leave();
    });
    // A generator that was never begun runs no `finally`.
    const end = read.return.bind(read);
    return Object.assign(read, { return: () => (leave(), end()) });
  }

  /** @param {Queue} queue @param {() => void} leave @returns {AsyncGenerator<Event, void, void>} */
  async *#read(queue, leave) {
    try {
      for (;;) {
        const event = queue.take(this.#position);
        if (event) yield event;
        else if (queue.over) return;
        else await new Promise((wake) => void (queue.wake = () => wake(undefined)));
      }
    } finally {
      leave();
    }
  }
}
