// What is thrown at a caller, and nothing else: a fault, with the words of the wire.

import { freshId } from './chance.js';
import { makeFault } from './wire/fault.js';

/** @typedef {import('./wire/types.js').Fault} Fault */

/** A fault that somebody waits for. Classify by `code` and `retry`, never by the text. */
export class FaultError extends Error {
  /**
   * @param {Fault} fault
   * @param {'faulted' | 'refused' | 'unknown'} [outcome] of a command: the server did not do it; it was
   *   never sent; or it was sent, not answered, and may have been done
   */
  constructor(fault, outcome = 'faulted') {
    super(`${fault.code}: ${fault.message}`);
    this.name = 'FaultError';
    this.fault = fault;
    this.code = fault.code;
    this.retry = fault.retry;
    this.outcome = outcome;
  }
}

/**
 * A fault seen on this side of the machine.
 * @param {Parameters<typeof makeFault>[1]} code
 * @param {Parameters<typeof makeFault>[4]} [own]
 */
export const ownFault = (code, own) => makeFault(freshId('f-'), code, 'client', Date.now(), own);

/** What is answered when there is nobody left to ask. */
export const over = () => ownFault('connection_closed', { message: 'the session is over for this client', retry: { when: 'never' } });

/** @param {unknown} error */
export const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** An error of the application's: told where such things are told, and never thrown into the driver. @param {unknown} error */
export function report(error) {
  (globalThis.reportError ?? console.error)(error);
}
