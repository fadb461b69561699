// The shell of the client machine: owns it, performs what it puts out, and decides nothing about the
// protocol. One timer, at most two sockets, one request for a token; all gone when the session is over.

import { Client } from './client.js';
import { Connection } from './connection.js';
import { FaultError, over, ownFault, random, report } from './error.js';
import { Feed } from './feed.js';
import { Listeners } from './listeners.js';
import { watch } from './surroundings.js';
import { isTerminal } from './wire/status.js';

/** A timer that fires so late finds messages waiting: those are heard first. */
const LATE_US = 500_000;

/**
 * @typedef {import('./client/io.js').Input} Input
 * @typedef {import('./client/io.js').Output} Output
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./client/io.js').CommandOutcome} CommandOutcome
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {{ mono: () => number, wall: () => number }} Clock monotonic and wall, both in milliseconds
 */

/**
 * What a driver is made of. Everything that touches the world can be put in its place.
 * @typedef {object} Parts
 * @property {import('./client/config.js').Config} config
 * @property {((context: { signal: AbortSignal }) => string | Promise<string>) | undefined} fetchToken
 * @property {import('./connection.js').TransportClass} transport
 * @property {Clock} clock
 * @property {import('./connection.js').Timers} timers
 * @property {bigint} [seed]
 * @property {import('./surroundings.js').Surroundings} surroundings
 * @property {import('./tab.js').Tab} [tab]
 * @property {import('./media.js').MediaPart} [media]
 */

/** @typedef {{ type: 'receipt', local: number, name: string, outcome: CommandOutcome }} ReceiptEvent */

export class Driver {
  listeners = new Listeners();
  /** @type {Map<number, { name: string, resolve: (outcome: CommandOutcome) => void }>} */
  #waiting = new Map();
  /** @type {Map<number, Connection>} */
  #connections = new Map();
  /** Connections that are being closed; each has a bound. @type {Set<Promise<void>>} */
  #leaving = new Set();
  /** @type {Output[]} */
  #outputs = [];
  #performing = false;
  /** Characters of the frame that is being performed. */
  #chars = 0;
  #locals = 0;
  /** @type {any} */
  #timer = undefined;
  #timerAt = Infinity;
  /** @type {AbortController | undefined} */
  #fetching = undefined;
  /** @type {((fault: Fault | undefined) => void)[]} */
  #verdicts = [];
  /** @type {(() => void)[]} */
  #ends = [];
  #left = false;
  #parts;

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    this.machine = new Client(parts.config, parts.seed ?? random(), parts.media?.leg());
    this.feed = new Feed(() => this.machine.fold);
    this.#unwatch = watch(parts.surroundings, (input) => this.input(input), () => this.#save());
    this.media = parts.media?.open(this);
  }

  get timers() {
    return this.#parts.timers;
  }

  /** Whether nobody sees this page. */
  get isHidden() {
    return this.#parts.surroundings.document?.visibilityState === 'hidden';
  }

  /** @type {() => void} */
  #unwatch;

  /** @returns {import('./time.js').Now} */
  #now() {
    const { clock } = this.#parts;
    return { mono: Math.floor(clock.mono() * 1_000), wall: Math.floor(clock.wall()) };
  }

  /** Gives the machine an input and performs what comes of it. May be called from within a listener. @param {Input} input */
  input(input) {
    this.#outputs.push(...this.machine.handle(this.#now(), input));
    if (this.#performing) return;
    this.#performing = true;
    this.#chars = input.type === 'frame' ? input.data.length : 0;
    for (let output; (output = this.#outputs.shift()); ) {
      try {
        this.#perform(output);
      } catch (error) {
        report(error); // A transport that throws: its connection will be found silent.
      }
    }
    this.#performing = false;
    this.#save();
    this.#arm();
  }

  /** Asks something of the session. @param {string} name @param {string} json @param {number | undefined} ttl_ms @returns {Promise<CommandOutcome>} */
  command(name, json, ttl_ms) {
    this.#locals += 1;
    const local = this.#locals;
    return new Promise((resolve) => {
      this.#waiting.set(local, { name, resolve });
      this.input({ type: 'command', local, name, json, ...(ttl_ms !== undefined && { ttl_ms }) });
    });
  }

  /**
   * The same in an application's terms: any JSON, and what is not done is thrown.
   * @param {string} name
   * @param {unknown} data
   * @param {number} [ttl_ms]
   * @returns {Promise<import('./wire/types.js').Done>}
   * @throws {FaultError}
   */
  async ask(name, data, ttl_ms) {
    let json;
    try {
      json = JSON.stringify(data) ?? '{}';
    } catch (error) {
      throw new FaultError(ownFault('invalid_request', { scope: 'command', message: String(error) }), 'refused');
    }
    const outcome = await this.command(name, json, ttl_ms);
    if ('refused' in outcome) throw new FaultError(outcome.refused, 'refused');
    if ('unknown' in outcome) throw new FaultError(outcome.unknown, 'unknown');
    if ('fault' in outcome.answered) throw new FaultError(outcome.answered.fault);
    return outcome.answered.ok;
  }

  /** Connects, or connects again after a failure. Resolves with the fault it failed with. @returns {Promise<Fault | undefined>} */
  connect() {
    const { state, since } = this.machine.status;
    if (this.#left) return Promise.resolve(over());
    if (since > 0 && state !== 'failed') return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#verdicts.push(resolve);
      this.feed.open();
      this.input({ type: 'connect' });
    });
  }

  /** Resolves when the status is terminal. @returns {Promise<void>} */
  over() {
    return isTerminal(this.machine.status) ? Promise.resolve() : new Promise((resolve) => void this.#ends.push(resolve));
  }

  /** Leaves for good. Resolves when nothing of this client is left. */
  async close() {
    this.input({ type: 'close' });
    this.#release();
    // Called from within a listener, what is to be left is still on its way to be.
    do await Promise.all(this.#leaving);
    while (this.#leaving.size > 0);
  }

  /** @param {Output} output */
  #perform(output) {
    switch (output.type) {
      case 'fetch_token': return this.#fetchToken();
      case 'dial': return this.#dial(output.conn, output.address);
      case 'send': return this.#send(output.conn, output.text);
      case 'hangup': return this.#hangUp(output.conn, output.code);
      case 'receipt': {
        const { local, outcome } = output;
        const { name = '', resolve } = this.#waiting.get(local) ?? {};
        this.#waiting.delete(local);
        resolve?.(outcome);
        return this.listeners.tell('receipt', { type: 'receipt', local, name, outcome });
      }
      case 'status': return this.listeners.tell('status', output.status);
      case 'media': return this.media?.order(output.media);
      case 'event': return this.#told(output.event);
    }
  }

  /** @param {Event} event */
  #told(event) {
    if (this.feed.push(event, this.#chars)) {
      // Readers that fell behind get a gap when they read on; whoever listens hears of it now.
      this.listeners.tell('slow_consumer', { type: 'slow_consumer' });
    }
    this.media?.told(event);
    this.listeners.tell(event.type, event);
    if (event.type === 'log' && event.known) this.listeners.tell(event.kind, event);
    if (event.type === 'joined' || event.type === 'queued') this.#judge(undefined);
    if (event.type !== 'ended' && event.type !== 'failed') return;
    this.feed.close();
    this.#judge(event.type === 'failed' ? event.fault : over());
    for (const end of this.#ends.splice(0)) end();
    // A place that is gone for good is not come back to by the next page either.
    if (event.type === 'ended' || event.fault.retry.when === 'never') this.#parts.tab?.forget();
    if (event.type === 'ended') this.#release();
  }

  /** @param {Fault | undefined} verdict */
  #judge(verdict) {
    for (const resolve of this.#verdicts.splice(0)) resolve(verdict);
  }

  /** @param {number} conn @param {string} address */
  #dial(conn, address) {
    const { transport, timers } = this.#parts;
    const connection = new Connection(conn, address, transport, timers, (input) => {
      if (input.type === 'closed') this.#connections.delete(conn);
      this.input(input);
    });
    this.#connections.set(conn, connection);
  }

  /** @param {number} conn @param {string} text */
  #send(conn, text) {
    if (this.#connections.get(conn)?.send(text) !== false) return;
    this.#hangUp(conn, undefined);
    this.input({ type: 'closed', conn, end: { kind: 'other', message: 'the connection takes nothing more' } });
  }

  /** @param {number} conn @param {number | undefined} code */
  #hangUp(conn, code) {
    const left = this.#connections.get(conn)?.leave(code);
    this.#connections.delete(conn);
    if (!left) return;
    this.#leaving.add(left);
    left.then(() => this.#leaving.delete(left));
  }

  #fetchToken() {
    // The machine has given up waiting for the one before.
    this.#fetching?.abort();
    const { fetchToken } = this.#parts;
    if (!fetchToken) return;
    const fetching = new AbortController();
    this.#fetching = fetching;
    const { signal } = fetching;
    Promise.resolve()
      .then(() => fetchToken({ signal }))
      .then(
        (token) => {
          if (signal.aborted) return;
          if (typeof token === 'string') this.input({ type: 'token', token });
          else this.input({ type: 'token', error: 'the token is not a string' });
        },
        (error) => {
          if (!signal.aborted) this.input({ type: 'token', error: error instanceof Error ? error.message : String(error) });
        },
      );
  }

  /** One timer, for the deadline. */
  #arm() {
    const at = this.machine.deadline();
    if (at === this.#timerAt) return;
    const { timers } = this.#parts;
    if (this.#timer !== undefined) timers.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === Infinity) return;
    const ms = Math.max(0, Math.ceil((at - this.#now().mono) / 1_000));
    this.#timer = timers.setTimeout(() => this.#fire(at), Math.min(ms, 2 ** 31 - 1));
  }

  /** @param {number} at */
  #fire(at) {
    const { timers } = this.#parts;
    const tick = () => {
      this.#timer = undefined;
      this.#timerAt = Infinity;
      this.input({ type: 'tick' });
    };
    // A throttled or frozen page: what came meanwhile is handled first.
    if (this.#now().mono - at > LATE_US) this.#timer = timers.setTimeout(tick, 0);
    else tick();
  }

  #save() {
    if (!this.#left && !this.machine.isOver()) this.#parts.tab?.save(this.machine.resumeState());
  }

  /** Nothing more is heard, and nothing is left. */
  #release() {
    this.#left = true;
    this.media?.close();
    this.#unwatch();
    this.#fetching?.abort();
    this.#parts.tab?.close();
  }
}
