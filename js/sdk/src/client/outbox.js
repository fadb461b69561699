// Commands between the caller and their receipts: bounded, in order, each answered once.
//
// A number is given when a command is first sent, so that one refused before that leaves no hole in
// the stream. Above the server's `consumed` a command is sent again after each welcome; at or below it
// never, because the server has it or has its receipt.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { FRAME_IN_BYTES_MAX } from '../wire/limits.js';
import { bytesOf } from '../wire/utf8.js';

/**
 * One command that has no receipt yet.
 * @typedef {object} Entry
 * @property {number} local
 * @property {string} name
 * @property {string} json its data, as it was when it was given
 * @property {number} weight
 * @property {number} takenAt
 * @property {number} lapsesAt `Infinity` without a time to live
 * @property {number} sentAs its number; `Infinity` until it was sent
 * @property {boolean} [onItsWay] whether it has been sent since the last welcome
 * @property {import('./waits.js').Wait} [longWait]
 */

/** The commands of one stream. */
export class Outbox {
  consumedTo = 0;
  /** Those sent come first, in the order of their numbers. @type {Entry[]} */
  awaited = [];

  /** @param {string} stream @param {number} next */
  constructor(stream, next) {
    this.streamId = stream;
    this.nextNumber = next;
  }

  /** Where the stream stands, for hello: every receipt up to `receipts_ack` was read. @returns {import('../wire/types.js').StreamState} */
  streamState() {
    return { id: this.streamId, next: this.nextNumber, receipts_ack: Math.min(this.awaited[0]?.sentAs ?? Infinity, this.nextNumber) - 1 };
  }

  /**
   * Takes a command, or says why not.
   * @param {number} now
   * @param {Extract<import('./io.js').Input, { type: 'command' }>} command
   * @returns {'outbox_full' | 'invalid_request' | undefined}
   */
  enlist(now, { local, name, json, ttl_ms = Infinity }) {
    const bytes = bytesOf(json);
    if (bytes > FRAME_IN_BYTES_MAX - limits.COMMAND_ENVELOPE_BYTES) return 'invalid_request';
    const all = this.awaited.reduce((sum, entry) => sum + entry.weight, bytes);
    if (this.awaited.length >= limits.OUTBOX_COMMANDS_MAX || all > limits.OUTBOX_BYTES_MAX) return 'outbox_full';
    this.awaited.push({ sentAs: Infinity, local, name, json, weight: bytes, takenAt: now, lapsesAt: now + limits.ms(ttl_ms) });
    return undefined;
  }

  /** The server has taken commands up to `consumed`; all else must be sent again. @param {number} consumed */
  welcomed(consumed) {
    this.consumedTo = consumed;
    for (const entry of this.awaited) entry.onItsWay = entry.sentAs <= consumed;
  }

  /**
   * The next command to send, where the server takes `inFlightMax` without a receipt.
   * @param {number} now
   * @param {number} inFlightMax
   */
  sendNext(now, inFlightMax) {
    const at = this.awaited.findIndex((entry) => !entry.onItsWay);
    const entry = this.awaited[at];
    if (!entry || at >= inFlightMax) return undefined;
    const { name, json, lapsesAt } = entry, { receipts_ack } = this.streamState();
    entry.onItsWay = true;
    const n = entry.sentAs < Infinity ? entry.sentAs : this.nextNumber++;
    entry.sentAs = n;
    const ttl_ms = lapsesAt < Infinity ? msSince(lapsesAt, now) : undefined;
    return `${JSON.stringify({ type: 'command', n, name, ttl_ms, receipts_ack }).slice(0, -1)},"data":${json}}`;
  }

  /** The command that a receipt answers, if it still waits for one. @param {number} n */
  takeAnswered(n) {
    const entry = this.#take((entry) => entry.sentAs === n);
    if (entry) this.consumedTo = Math.max(this.consumedTo, n);
    return entry;
  }

  /** A command that was not sent within its time. @param {number} now */
  takeLapsed(now) {
    return this.#take(({ sentAs, lapsesAt }) => sentAs === Infinity && lapsesAt <= now);
  }

  /** A command that was sent, because nobody knows any more what became of those. */
  giveUpSent() {
    return this.#take((entry, at) => at === 0 && entry.sentAs < Infinity);
  }

  /** Any command, because none will be answered any more. */
  giveUp() {
    return this.awaited.shift();
  }

  /** Time that passed unseen by the monotonic clock counts against every time to live. @param {number} unseen */
  slept(unseen) {
    for (const entry of this.awaited) entry.lapsesAt = Math.max(entry.takenAt, entry.lapsesAt - unseen);
  }

  /** When one expires. */
  nextLapse() {
    return Math.min(...this.awaited.map(({ sentAs, lapsesAt }) => (sentAs < Infinity ? Infinity : lapsesAt)));
  }

  /** @param {(entry: Entry, at: number) => boolean} which */
  #take(which) {
    const at = this.awaited.findIndex(which);
    return at < 0 ? undefined : this.awaited.splice(at, 1)[0];
  }
}
