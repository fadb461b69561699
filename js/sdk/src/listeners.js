// Who wants to hear of what, by its type.

import { report } from './error.js';
import { onAbort } from './until.js';

/** Listeners of one source. */
export class Listeners {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #byType = new Map();

  /**
   * Calls `listener` for each event of a type, until the function given back is called, or `signal` is
   * aborted.
   * @param {string} type
   * @param {(event: any) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void}
   */
  on(type, listener, { signal } = {}) {
    /** @param {any} event */
    const entry = (event) => listener(event);
    const entries = this.#byType.get(type) ?? new Set();
    this.#byType.set(type, entries);
    if (!signal?.aborted) entries.add(entry);
    const forget = onAbort(signal, off);
    return off;
    function off() {
      entries.delete(entry);
      forget();
    }
  }

  /** An error that a listener throws is reported, and goes no further. @param {string} type @param {unknown} event */
  tell(type, event) {
    for (const listener of [...(this.#byType.get(type) ?? [])]) {
      try {
        listener(event);
      } catch (error) {
        report(error);
      }
    }
  }
}
