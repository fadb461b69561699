// What outlives a reload of a tab: who it is in which session, in `sessionStorage`. It holds the resume
// key, as the page holds the token.
//
// A duplicated tab has the storage of the first, but not its lock: it joins the same session as a
// participant of its own, and never takes the other's place. Where there are no locks, nothing is resumed.

import { freshId } from './chance.js';

/** How long the page before a reload may take to let go, in milliseconds. */
const CLAIM_MS = 2_000;

/**
 * @typedef {import('./client/config.js').ResumeState} ResumeState
 * @typedef {{ storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>, locks?: Pick<LockManager, 'request'> }} TabDeps
 */

/** @returns {TabDeps} */
function ofPage() {
  try {
    return { storage: globalThis.sessionStorage, locks: globalThis.navigator?.locks };
  } catch {
    return {}; // Storage is forbidden here.
  }
}

/** One tab's memory of one session. */
export class Tab {
  /** Whether this tab was duplicated from another that is still there. */
  duplicated = false;
  #lock = freshId('i-');
  #saved = '';
  /** @type {() => void} */
  #release = () => {};
  #key;
  #deps;

  /** @param {string} name @param {TabDeps} [deps] */
  constructor(name, deps = ofPage()) {
    this.#key = `evenkeel.${name}`;
    this.#deps = deps;
  }

  /**
   * Goes on where the last page of this tab was, if that was left to this tab alone: everything that is kept
   * of the log is told again. Who asks for another session does not.
   * @param {import('./client/config.js').Config} config
   */
  async open(config) {
    /** @type {any} */
    let kept;
    try {
      kept = JSON.parse(this.#deps.storage?.getItem(this.#key) ?? 'null');
    } catch {
      // Storage is forbidden, or not ours.
    }
    const isOurs = [kept?.lock, kept?.session, kept?.participant, kept?.key, kept?.stream].every((text) => typeof text === 'string');
    if (isOurs && await this.#claim(kept.lock)) this.#lock = kept.lock;
    else {
      this.duplicated = isOurs && this.#deps.locks !== undefined;
      await this.#claim(this.#lock);
    }
    if (!isOurs || config.resume || (config.session ?? kept.session) !== kept.session) return;
    const { session, participant, key, stream, next, epoch } = kept;
    if (this.duplicated || !this.#deps.locks) config.session = session;
    else config.resume = { session, participant, key, stream, next: Number(next) || 1, cursor: { epoch: Number(epoch) || 0, seq: 0 } };
  }

  /** Whether this page alone is that one. @param {string} lock @returns {Promise<boolean>} */
  #claim(lock) {
    return new Promise((done) => {
      const hold = () => {
        done(true);
        return new Promise((release) => void (this.#release = () => release(undefined)));
      };
      const claimed = this.#deps.locks?.request(`${this.#key}.${lock}`, { signal: AbortSignal.timeout(CLAIM_MS) }, hold);
      if (claimed) claimed.catch(() => done(false));
      else done(false);
    });
  }

  /** Keeps where the machine is, if that has changed. @param {ResumeState | undefined} state */
  save(state) {
    if (!state) return;
    const { session, participant, key, stream, next, cursor: { epoch } } = state;
    const text = JSON.stringify({ lock: this.#lock, session, participant, key, stream, next, epoch });
    if (text === this.#saved) return;
    this.#saved = text;
    try {
      this.#deps.storage?.setItem(this.#key, text);
    } catch {
      // Full or forbidden: a reload joins anew.
    }
  }

  /** The next page of this tab begins anew, unless another session of this one has taken the place. */
  forget() {
    try {
      if (this.#deps.storage?.getItem(this.#key)?.includes(this.#lock)) this.#deps.storage.removeItem(this.#key);
    } catch {
      // Forbidden: there is nothing in it.
    }
    this.#saved = '';
  }

  /** Lets go of the lock. */
  close() {
    this.#release();
  }
}
