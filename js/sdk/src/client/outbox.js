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
 * @property {number} bytes
 * @property {number} accepted
 * @property {number | undefined} ttl
 * @property {number | undefined} n its number, once it was sent
 * @property {boolean} onItsWay whether it has been sent since the last welcome
 * @property {number} tellAt when to say that it still waits
 * @property {number} tellEvery
 */

/** @param {Entry} entry */
const expires = ({ accepted, ttl }) => (ttl === undefined ? Infinity : accepted + ttl);

/** The commands of one stream. */
export class Outbox {
  consumed = 0;
  #bytes = 0;
  /** Those sent come first, in the order of their numbers. @type {Entry[]} */
  #entries = [];

  /** @param {string} stream @param {number} next */
  constructor(stream, next) {
    this.stream = stream;
    this.next = next;
  }

  /** Every receipt up to here was read. */
  #receiptsAck() {
    return (this.#entries[0]?.n ?? this.next) - 1;
  }

  /** Where the stream stands, for hello. @returns {import('../wire/types.js').StreamState} */
  state() {
    return { id: this.stream, next: this.next, receipts_ack: this.#receiptsAck() };
  }

  /**
   * Takes a command, or says why not.
   * @param {number} now
   * @param {number} local
   * @param {string} name
   * @param {string} json
   * @param {number | undefined} ttl
   * @returns {'outbox_full' | 'invalid_request' | undefined}
   */
  push(now, local, name, json, ttl) {
    const bytes = bytesOf(json);
    if (bytes > FRAME_IN_BYTES_MAX - limits.COMMAND_ENVELOPE_BYTES) return 'invalid_request';
    if (this.#entries.length >= limits.OUTBOX_COMMANDS_MAX || this.#bytes + bytes > limits.OUTBOX_BYTES_MAX) return 'outbox_full';
    this.#bytes += bytes;
    const tellEvery = limits.STILL_WAITING_AFTER;
    this.#entries.push({ local, name, json, bytes, accepted: now, ttl, n: undefined, onItsWay: false, tellAt: now + tellEvery, tellEvery });
    return undefined;
  }

  /** The server has taken commands up to `consumed`; all else must be sent again. @param {number} consumed */
  welcomed(consumed) {
    this.consumed = consumed;
    for (const entry of this.#entries) entry.onItsWay = entry.n !== undefined && entry.n <= consumed;
  }

  /**
   * The next command to send, where the server takes `inFlightMax` without a receipt.
   * @param {number} now
   * @param {number} inFlightMax
   */
  sendNext(now, inFlightMax) {
    const at = this.#entries.findIndex((entry) => !entry.onItsWay);
    const entry = this.#entries[at];
    if (!entry || at >= inFlightMax) return undefined;
    const head = { type: 'command', n: entry.n ?? this.next, name: entry.name };
    const rest = { ...(entry.ttl !== undefined && { ttl_ms: msSince(expires(entry), now) }), receipts_ack: this.#receiptsAck() };
    entry.onItsWay = true;
    entry.n = head.n;
    if (head.n === this.next) this.next += 1;
    return `${JSON.stringify({ ...head, ...rest }).slice(0, -1)},"data":${entry.json}}`;
  }

  /** The command that a receipt answers, if it still waits for one. @param {number} n */
  answered(n) {
    const at = this.#entries.findIndex((entry) => entry.n === n);
    if (at >= 0) this.consumed = Math.max(this.consumed, n);
    return this.#remove(at);
  }

  /** A command that was not sent within its time. @param {number} now */
  expired(now) {
    return this.#remove(this.#entries.findIndex((entry) => entry.n === undefined && expires(entry) <= now));
  }

  /** A command whose caller is to be told that it still waits, and for how long. @param {number} now */
  stillWaiting(now) {
    const entry = this.#entries.find(({ tellAt }) => tellAt <= now);
    if (!entry) return undefined;
    entry.tellEvery = Math.min(entry.tellEvery * 2, limits.STILL_WAITING_CAP);
    entry.tellAt = now + entry.tellEvery;
    return { local: entry.local, forMs: msSince(now, entry.accepted) };
  }

  /** A command that was sent, because nobody knows any more what became of those. */
  giveUpSent() {
    return this.#entries[0]?.n === undefined ? undefined : this.#remove(0);
  }

  /** Any command, because none will be answered any more. */
  giveUp() {
    return this.#remove(0);
  }

  /** Time that passed unseen by the monotonic clock counts against every ttl. @param {number} unseen */
  slept(unseen) {
    for (const entry of this.#entries) if (entry.ttl !== undefined) entry.ttl = Math.max(0, entry.ttl - unseen);
  }

  /** @returns {number | undefined} */
  deadline() {
    let first;
    for (const entry of this.#entries) {
      const at = Math.min(entry.tellAt, entry.n === undefined ? expires(entry) : Infinity);
      if (first === undefined || at < first) first = at;
    }
    return first;
  }

  /** @param {number} at */
  #remove(at) {
    const [entry] = at < 0 ? [] : this.#entries.splice(at, 1);
    if (entry) this.#bytes -= entry.bytes;
    return entry;
  }
}
