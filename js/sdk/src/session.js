// The handle of a session, with a method for all that can be asked of one.

import { Handle } from './handle.js';

/**
 * @typedef {import('./handle.js').SessionEvents} SessionEvents
 * @typedef {import('./handle.js').CommandOptions} CommandOptions
 */

/** One participant's handle of a session. See `Handle`: there is everything else. */
export class Session extends Handle {
  /** Patches the params (RFC 7396): null clears, absent keeps. @param {unknown} patch @param {CommandOptions} [options] */
  set(patch, options) {
    return this.command('params.set', { patch }, options);
  }

  /** Answers what a turn waits for. @param {string} turn @param {string} action @param {unknown} answer @param {CommandOptions} [options] */
  answer(turn, action, answer, options) {
    return this.command('turn.answer', { turn, action, answer }, options);
  }

  /** Asks what a turn that is over asked, once more: a new turn. @param {string} turn @param {CommandOptions} [options] */
  retry(turn, options) {
    return this.command('turn.retry', { turn }, options);
  }

  /** Goes on from what a turn that broke off had said: a new turn. @param {string} turn @param {CommandOptions} [options] */
  continueTurn(turn, options) {
    return this.command('turn.continue', { turn }, options);
  }

  /** Puts a turn that waits before the others. @param {string} turn @param {CommandOptions} [options] */
  promote(turn, options) {
    return this.command('turn.promote', { turn }, options);
  }

  /** Says what the session is called, and how it is found; absent keeps. @param {{ title?: string, starred?: boolean, archived?: boolean, tags?: string[] }} about @param {CommandOptions} [options] */
  describe(about, options) {
    return this.command('session.describe', about, options);
  }

  /** Breaks something at the server, where that is switched on and the token allows it. @param {{ kind: string, [fact: string]: unknown }} fault @param {{ for_ms?: number, seed?: number } & CommandOptions} [options] */
  inject(fault, { for_ms, seed, ...options } = {}) {
    return this.command('debug.fault', { fault, for_ms, seed }, options);
  }
}
