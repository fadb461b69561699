// The handle of a session, as the core has it: what has no method here is asked by its name.

import { FaultError, over, ownFault } from './error.js';
import { until } from './until.js';

/**
 * @typedef {import('./client/io.js').Events} MachineEvents
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./client/io.js').Simulate} Simulate
 * @typedef {import('./client/io.js').CommandOutcome} CommandOutcome
 * @typedef {import('./wire/types.js').EventData} EventData
 * @typedef {import('./wire/types.js').Done} Done
 * @typedef {import('./wire/types.js').Fault} Fault
 */

/**
 * What can be listened to, by its type: what the machine tells; `status`; `receipt`, once for each
 * command; `slow_consumer`, when a reader of `events()` is passed over; and the events of the log by
 * their kind.
 * @typedef {MachineEvents & {
 *   status: import('./wire/types.js').Status,
 *   receipt: import('./driver.js').ReceiptEvent,
 *   slow_consumer: { type: 'slow_consumer' },
 * } & { [K in keyof EventData]: { type: 'log', from: number, to: number, known: true, kind: K, data: EventData[K] } }} SessionEvents
 */

/**
 * Of a command. `ttl`: milliseconds after which it is not to be run any more; then it ends as `expired`.
 * `signal`: stop waiting for the receipt. That does not undo a command, which may be on its way; if it is
 * aborted already, there is no command.
 * @typedef {{ ttl?: number, signal?: AbortSignal }} CommandOptions
 */

/**
 * One participant's handle of a session.
 *
 * A command is on its way when its method returns: the order of calls is the order of commands. While
 * the connection is down, commands wait in a bounded outbox and are sent after the recovery, each once.
 * Their promises reject with a `FaultError`; one that nobody waits for is told to `receipt` listeners all
 * the same, and is no unhandled rejection.
 *
 * What gives a promise takes a `signal`. When that is aborted, the promise rejects with its reason, and
 * nothing is undone; if it is aborted already, nothing is begun, except that whoever leaves has left.
 */
export class Handle {
  #driver;

  /** @param {import('./driver.js').Driver} driver */
  constructor(driver) {
    this.#driver = driver;
  }

  /** The session's id; undefined before the server gave it a place. */
  get id() {
    return this.#driver.machine.seat?.session;
  }

  /** Who this client is in it. */
  get participant() {
    return this.#driver.machine.seat?.participant;
  }

  /** Whether this tab was duplicated from another, and so is a participant of its own. */
  get duplicated() {
    return this.#driver.duplicated;
  }

  /** How the session is: never live while something is stuck. Listen to `status` for changes. */
  get status() {
    return this.#driver.machine.status;
  }

  /** Publishes and receives: there is one where `connect` was given `media` (of `@evenkeel/client/media`). @returns {import('./media.js').Media} */
  get media() {
    return given(this.#driver.media, 'media');
  }

  /** How far the log is applied. */
  get cursor() {
    return this.#driver.machine.fold.cursor;
  }

  /** The fold of every event up to the cursor. To be read, not changed. */
  get snapshot() {
    return this.#driver.machine.fold.snapshot;
  }

  /**
   * Calls `listener` for each event of a type, until the function given back is called, or `signal` is
   * aborted. An error that it throws is reported, and goes no further.
   * @template {keyof SessionEvents} T
   * @param {T} type
   * @param {(event: SessionEvents[T]) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void}
   */
  on(type, listener, options) {
    return this.#driver.listeners.on(type, listener, options);
  }

  /**
   * What happens, in order: for `for await`. The first reader begins with `joined` (or `queued`); a later
   * one with the fold, as a `gap`. Ends after `ended` or `failed`. A reader that does not keep up is not
   * waited for: beyond 10,000 events or 4 Mi characters it gets one `gap` with a `slow_consumer` fault and
   * the fold in place of what it missed.
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<Event, void, void>}
   */
  events({ signal } = {}) {
    return given(this.#driver.feed, 'events').reader(signal);
  }

  /** Begins a turn. @param {string} text @param {CommandOptions} [options] */
  say(text, options) {
    return this.command('say', { text }, options);
  }

  /** Tells every participant something; no turn begins. @param {unknown} data @param {CommandOptions} [options] */
  send(data, options) {
    return this.command('send', { data }, options);
  }

  /** Stops a turn; without one, the one that runs. @param {string} [turn] @param {CommandOptions} [options] */
  cancel(turn, options) {
    return this.command('turn.cancel', { turn }, options);
  }

  /** Ends the session for everybody. @param {CommandOptions} [options] */
  end(options) {
    return this.command('session.end', {}, options);
  }

  /**
   * Any command by its name.
   * @param {string} name
   * @param {unknown} data
   * @param {CommandOptions} [options]
   * @returns {Promise<Done>}
   */
  command(name, data, options) {
    const waited = until(() => this.#driver.ask(name, data, options?.ttl), options);
    waited.catch(() => {}); // Told to `receipt` listeners in any case.
    return waited;
  }

  /**
   * Breaks something on this side, by the path of the real fault: `drop_transport`, `half_open`, or
   * `{ kind: 'lose_frames', count }`. Told as a `protocol_notice` where there is nothing to break.
   * @param {'drop_transport' | 'half_open' | Simulate} fault
   */
  simulate(fault) {
    this.#driver.put({ type: 'simulate', simulate: typeof fault === 'string' ? { kind: fault } : fault });
  }

  /** Brings a fresh token: of the same subject and session, allowing no more than the last. @param {string} token */
  refreshToken(token) {
    this.#driver.put({ type: 'token', token });
  }

  /** Says whether there is a network, where the page cannot know: retries pause without one. @param {boolean} online */
  setOnline(online) {
    this.#driver.put({ type: 'network', online });
  }

  /** Has a look at once: the machine woke, the application came to the front. */
  probe() {
    this.#driver.put({ type: 'probe' });
  }

  /** What another client needs to go on where this one is (`connect({ resume })`): keep it as one keeps a token. */
  resumeState() {
    return this.#driver.machine.resumeState();
  }

  /**
   * Connects again after `failed`; `events()` then gives a new stream. Does nothing while the session
   * stands. `signal` ends the waiting, and not a connecting that has begun.
   * @param {{ signal?: AbortSignal }} [options]
   */
  async reconnect(options) {
    const fault = await until(() => this.#driver.connect(), options);
    if (fault) throw new FaultError(fault);
  }

  /**
   * Waits until the session is over for this client: why it ended, or a `FaultError`.
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<import('./wire/types.js').EndReason>}
   */
  async over(options) {
    await until(() => this.#driver.over(), options);
    const { status } = this;
    if (status.state === 'ended') return status.reason;
    throw new FaultError(status.fault ?? over());
  }

  /**
   * Leaves: the server is told, and the session's work goes on. Resolves when nothing of this client is left.
   * `signal` ends the waiting, and not the leaving, even if it is aborted already: the server is told, its
   * word is waited for a second at most, and then nothing is left all the same.
   * @param {{ signal?: AbortSignal }} [options]
   */
  detach(options) {
    this.#driver.put({ type: 'detach' });
    const left = this.#driver.over().then(this.#driver.close);
    return until(() => left, options);
  }

  /**
   * Drops everything at once: the server keeps this participant's place for the resume window. Resolves when
   * nothing of this client is left. `signal` ends the waiting for that, even if it is aborted already.
   * @param {{ signal?: AbortSignal }} [options]
   */
  close(options) {
    const left = this.#driver.close();
    return until(() => left, options);
  }
}

/**
 * What `connect` was given.
 * @template T
 * @param {T | undefined} part
 * @param {string} name
 * @returns {T}
 */
function given(part, name) {
  if (part) return part;
  throw new FaultError(ownFault('invalid_request', { message: `connect was given no ${name}` }), 'refused');
}
