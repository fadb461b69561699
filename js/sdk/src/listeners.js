// Who wants to hear of what, by its type.

import { report } from './error.js';
import { onAbort } from './until.js';

/** Listeners of one source. */
export class Listeners {
  /** @type {Set<{ type: string, listener: (event: any) => void }>} */
  #all = new Set();

  /**
   * Calls `listener` for each event of a type, until the function given back is called, or `signal` is
   * aborted.
   * @param {string} type
   * @param {(event: any) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void}
   */
  on(type, listener, { signal } = {}) {
    const entry = { type, listener };
    if (!signal?.aborted) this.#all.add(entry);
    const off = () => {
      this.#all.delete(entry);
      forget();
    };
    const forget = onAbort(signal, off);
    return off;
  }

  /** An error that a listener throws is reported, and goes no further. @param {string} type @param {unknown} event */
  tell(type, event) {
    for (const entry of [...this.#all].filter((entry) => entry.type === type)) {
      try {
        entry.listener(event);
      } catch (error) {
        report(error);
      }
    }
  }
}
