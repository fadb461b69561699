// Who wants to hear of what, by its type.

import { report } from './error.js';

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
    const off = () => {
      this.#byType.get(type)?.delete(entry);
      signal?.removeEventListener('abort', off);
    };
    if (signal?.aborted) return off;
    if (!this.#byType.has(type)) this.#byType.set(type, new Set());
    this.#byType.get(type)?.add(entry);
    signal?.addEventListener('abort', off, { once: true });
    return off;
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
