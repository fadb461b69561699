// Events on their way to readers: bounded, in order, and nothing passed over unseen.
//
// A browser cannot stop reading a WebSocket, so a slow reader is not waited for. Once it has
// `EVENTS_MAX` events or `EVENTS_CHARS_MAX` characters before it, they are dropped; it gets one `gap` in
// their place, with a `slow_consumer` fault and the fold, and goes on from there. While nobody reads at
// all the same bound holds, and who comes later begins with a `gap` without a fault.

import { MORE_CODES } from './codes-texts.js';
import { ownFault } from './error.js';
import { onAbort } from './until.js';

/** Events that wait for a reader, and the characters of their frames. */
export const EVENTS_MAX = 10_000;
export const EVENTS_CHARS_MAX = 4_194_304;

/** @typedef {import('./client/io.js').Event} Event */

/** What waits for one reader. */
class Queue {
  /** @type {{ event: Event, chars: number }[]} */
  events = [];
  chars = 0;
  /** Events were passed over from this position on: a snapshot comes first. @type {number | undefined} */
  behind = undefined;
  slow = false;
  over = false;
  /** @type {() => void} */
  wake = () => {};

  /** @param {Event} event @param {number} chars @param {number} from @returns {boolean} whether it fell behind */
  push(event, chars, from) {
    // The end is never dropped.
    const isEnd = event.type === 'ended' || event.type === 'failed';
    const falls = !isEnd && this.behind === undefined && (this.events.length >= EVENTS_MAX || this.chars + chars > EVENTS_CHARS_MAX);
    if (falls) {
      this.behind = positionOf(this.events.find((waiting) => positionOf(waiting.event))?.event) ?? from;
      this.events = [];
      this.chars = 0;
    }
    if (isEnd || this.behind === undefined) {
      this.events.push({ event, chars });
      this.chars += chars;
    }
    this.wake();
    return falls;
  }

  /** @param {import('./client/apply.js').Fold} fold @returns {Event | undefined} */
  take({ cursor, snapshot }) {
    const from = this.behind;
    this.behind = undefined;
    if (from !== undefined && cursor.seq >= from) return { type: 'gap', from, to: cursor.seq, fault: this.slow ? ownFault(/** @type {any} */ ('slow_consumer'), { row: MORE_CODES.slow_consumer }) : undefined, snapshot };
    const next = this.events.shift();
    this.chars -= next?.chars ?? 0;
    return next?.event;
  }
}

/** @param {Event | undefined} event @returns {number | undefined} */
const positionOf = (event) => (/** @type {any} */ (event))?.from;

/** Every reader of a session. */
export class Feed {
  /** What the first reader will get, until it comes. @type {Queue | undefined} */
  #unread = undefined;
  /** @type {Set<Queue>} */
  #queues = new Set();
  #over = false;
  #machine;

  /** @param {import('./client.js').Client} machine whose fold says how far the log is applied */
  constructor(machine) {
    this.#machine = machine;
  }

  /** With room for what comes before the first reader. */
  open() {
    this.#over = false;
    this.#unread = new Queue();
  }

  /**
   * Gives every reader an event. One that falls behind for it gets a gap when it reads on; whoever listens
   * hears of it now.
   * @param {Event} event
   * @param {number} chars about how long
   * @param {import('./listeners.js').Listeners} listeners
   */
  push(event, chars, listeners) {
    const from = positionOf(event) ?? this.#machine.fold.cursor.seq + 1;
    this.#unread?.push(event, chars, from);
    const fallen = [...this.#queues].filter((queue) => queue.push(event, chars, from));
    for (const queue of fallen) queue.slow = true;
    if (fallen.length > 0) listeners.tell('slow_consumer', { type: 'slow_consumer' });
  }

  /** Nothing follows. */
  close() {
    this.#over = true;
    for (const queue of [this.#unread, ...this.#queues]) {
      if (!queue) continue;
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
    const queue = this.#unread ?? Object.assign(new Queue(), { behind: this.#over ? undefined : 1, over: this.#over });
    this.#unread = undefined;
    if (!queue.over) this.#queues.add(queue);
    const forget = onAbort(signal, () => leave());
    const leave = () => {
      forget();
      this.#queues.delete(queue);
      Object.assign(queue, { events: [], behind: undefined, over: true });
      queue.wake();
    };
    if (signal?.aborted) leave();
    const read = this.#read(queue, leave);
    // A generator that was never begun runs no `finally`.
    const end = read.return.bind(read);
    return Object.assign(read, { return: () => (leave(), end()) });
  }

  /** @param {Queue} queue @param {() => void} leave @returns {AsyncGenerator<Event, void, void>} */
  async *#read(queue, leave) {
    try {
      for (;;) {
        const event = queue.take(this.#machine.fold);
        if (event) yield event;
        else if (queue.over) return;
        else await new Promise((wake) => void (queue.wake = () => wake(undefined)));
      }
    } finally {
      leave();
    }
  }
}

/** For `connect({ events })`. @param {import('./client.js').Client} machine */
export const events = (machine) => new Feed(machine);
