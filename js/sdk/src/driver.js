// The shell of the client machine: owns it, performs what it puts out, and decides nothing about the
// protocol. One timer, at most two sockets, one request for a token; all gone when the session is over.

import { chance } from './chance.js';
import { Client } from './client.js';
import { dial } from './connection.js';
import { FaultError, messageOf, over as itIsOver, ownFault, report } from './error.js';
import { Listeners } from './listeners.js';
import { ofPage, watch } from './surroundings.js';
import { FAILED, IDLE } from './client/states.js';

/** A timer that fires so late finds messages waiting: those are heard first. */
const LATE_US = 500_000;
/** The longest that a timer of the platform may be told to take, in milliseconds. */
const TIMER_MAX_MS = 2_147_483_647;

/**
 * @typedef {import('./client/io.js').Input} Input
 * @typedef {import('./client/io.js').Output} Output
 * @typedef {import('./client/io.js').Event} Event
 * @typedef {import('./client/io.js').CommandOutcome} CommandOutcome
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {{ mono: () => number, wall: () => number }} Clock monotonic and wall, both in milliseconds
 */

/** @typedef {{ type: 'receipt', local: number, name: string, outcome: CommandOutcome }} ReceiptEvent */
/**
 * @typedef {object} Driver
 * @property {Client} machine
 * @property {Listeners} listeners
 * @property {import('./feed.js').Feed} [feed]
 * @property {import('./media.js').Media} [media]
 * @property {import('./connection.js').Timers} timers
 * @property {boolean} duplicated whether this tab was duplicated from another
 * @property {import('./surroundings.js').Surroundings} surroundings
 * @property {(input: Input) => void} put gives the machine an input and performs what comes of it; may be called from within a listener
 * @property {(name: string, data: unknown, ttl_ms?: number) => Promise<import('./wire/types.js').Done>} ask asks something of the session: any JSON, and what is not done is thrown as a `FaultError`
 * @property {() => Promise<Fault | undefined>} connect connects, or connects again after a failure; resolves with the fault it failed with
 * @property {() => Promise<void>} over resolves when the status is terminal
 * @property {() => Promise<void>} close leaves for good; resolves when nothing of this client is left
 */

/** @param {import('./client/config.js').Config} config @param {import('./connect.js').ConnectOptions} options everything that touches the world can be put in its place @returns {Driver} */
export function drive(config, {
  token: fetchToken, keep: tab, media, fold = media?.fold, events, waits, simulate, mint = chance, transport = globalThis.WebSocket,
  surroundings = ofPage(), clock = { mono: () => performance.now(), wall: Date.now }, timers = globalThis,
}) {
  const machine = new Client(config, mint, { media: media?.leg(), fold, waits, simulate });
  const feed = events?.(machine);
  const listeners = new Listeners();
  /** By `local`. @type {Map<number, { name: string, resolve: (outcome: CommandOutcome) => void }>} */
  const waiting = new Map();
  /** @type {Map<number, import('./connection.js').Connection>} */
  const connections = new Map();
  /** Connections that are being closed; each has a bound. @type {Set<Promise<void>>} */
  const leaving = new Set();
  /** @type {Output[]} */
  const outputs = [];
  let performing = false, left = false, locals = 0;
  /** Characters of the frame that is being performed. */
  let chars = 0;
  /** @type {any} */
  let timer;
  let timerAt = Infinity;
  /** @type {AbortController | undefined} */
  let fetching;
  /** @type {((fault: Fault | undefined) => void)[]} */
  let verdicts = [];
  /** @type {(() => void)[]} */
  let ends = [];

  const now = () => ({ mono: Math.floor(clock.mono() * 1_000), wall: Math.floor(clock.wall()) });

  /** @param {Input} it */
  function input(it) {
    outputs.push(...machine.handle(now(), it));
    if (performing) return;
    performing = true;
    chars = it.type === 'frame' ? it.data.length : 0;
    for (let output; (output = outputs.shift()); ) {
      try {
        (/** @type {any} */ (perform[output.type]))(output);
      } catch (error) {
        report(error); // A transport that throws: its connection will be found silent.
      }
    }
    performing = false;
    save();
    arm();
  }

  /** @type {{ [O in Output as O['type']]: (output: O) => void }} */
  const perform = {
    fetch_token() {
      // The machine has given up waiting for the one before.
      fetching?.abort();
      const { signal } = (fetching = new AbortController());
      /** @param {{ token: string } | { error: string }} told */
      const tell = (told) => void (signal.aborted || input({ type: 'token', ...told }));
      Promise.resolve({ signal }).then(/** @type {any} */ (fetchToken)).then(
        (token) => tell(typeof token === 'string' ? { token } : { error: 'the token is not a string' }),
        (error) => tell({ error: messageOf(error) }),
      );
    },
    dial({ conn, address }) {
      connections.set(conn, dial(conn, address, transport, timers, (it) => {
        if (it.type === 'closed') connections.delete(conn);
        input(it);
      }));
    },
    send({ conn, text }) {
      if (connections.get(conn)?.send(text) !== false) return;
      hangUp(conn);
      input({ type: 'closed', conn, end: { kind: 'other', message: 'the connection takes nothing more' } });
    },
    hangup: ({ conn, code }) => hangUp(conn, code),
    receipt({ local, outcome }) {
      const { name = '', resolve } = waiting.get(local) ?? {};
      waiting.delete(local);
      resolve?.(outcome);
      listeners.tell('receipt', { type: 'receipt', local, name, outcome });
    },
    status: ({ status }) => listeners.tell('status', status),
    media: (output) => driver.media?.order(output.media),
    event: ({ event }) => told(event),
  };

  /** @param {Event} event */
  function told(event) {
    const { type } = event;
    feed?.push(event, chars, listeners);
    driver.media?.told(event);
    listeners.tell(type, event);
    if (type === 'log' && event.known !== false) listeners.tell(event.kind, event);
    if (type === 'joined' || type === 'queued') judge(undefined);
    if (type !== 'ended' && type !== 'failed') return;
    feed?.close();
    const fault = type === 'failed' ? event.fault : undefined;
    judge(fault ?? itIsOver());
    for (const end of ends.splice(0)) end();
    // A place that is gone for good is not come back to by the next page either.
    if (!fault || fault.retry.when === 'never') tab?.forget();
    if (!fault) release();
  }

  /** @param {Fault | undefined} verdict */
  function judge(verdict) {
    for (const resolve of verdicts.splice(0)) resolve(verdict);
  }

  /** @param {number} conn @param {number} [code] */
  function hangUp(conn, code) {
    const gone = connections.get(conn)?.leave(code);
    connections.delete(conn);
    if (!gone) return;
    leaving.add(gone);
    gone.then(() => leaving.delete(gone));
  }

  /** One timer, for the deadline. */
  function arm() {
    const at = machine.deadline();
    if (at === timerAt) return;
    timers.clearTimeout(timer);
    timerAt = at;
    const tick = () => {
      timerAt = Infinity;
      input({ type: 'tick' });
    };
    // A throttled or frozen page: what came meanwhile is handled first.
    const fire = () => {
      if (now().mono - at > LATE_US) timer = timers.setTimeout(tick, 0);
      else tick();
    };
    if (at < Infinity) timer = timers.setTimeout(fire, Math.min(Math.max(0, Math.ceil((at - now().mono) / 1_000)), TIMER_MAX_MS));
  }

  function save() {
    if (!left && !machine.isOver()) tab?.save(machine.resumeState());
  }

  /** Nothing more is heard, and nothing is left. */
  function release() {
    left = true;
    driver.media?.close();
    unwatch();
    fetching?.abort();
    tab?.close();
  }

  /** @type {Driver} */
  const driver = {
    machine, listeners, feed, timers, surroundings, put: input, duplicated: tab?.duplicated ?? false,
    async ask(name, data, ttl_ms) {
      let json;
      try {
        json = JSON.stringify(data) ?? '{}';
      } catch (error) {
        throw new FaultError(ownFault('invalid_request', { scope: 'command', message: String(error) }), 'refused');
      }
      const local = (locals += 1);
      /** @type {any} */
      const { refused, unknown, answered } = await new Promise((resolve) => {
        waiting.set(local, { name, resolve });
        input({ type: 'command', local, name, json, ttl_ms });
      });
      const fault = refused ?? unknown ?? answered.fault;
      if (fault) throw new FaultError(fault, refused ? 'refused' : unknown && 'unknown');
      return answered.ok;
    },
    connect: () => new Promise((resolve) => {
      if (left) return resolve(itIsOver());
      if (machine.life !== IDLE && machine.life !== FAILED) return resolve(undefined);
      verdicts.push(resolve);
      feed?.open();
      input({ type: 'connect' });
    }),
    over: () => new Promise((resolve) => void (machine.isOver() ? resolve() : ends.push(resolve))),
    async close() {
      input({ type: 'close' });
      release();
      // Called from within a listener, what is to be left is still on its way to be.
      do await Promise.all(leaving);
      while (leaving.size > 0);
    },
  };
  const unwatch = watch(surroundings, input, save);
  driver.media = media?.open(driver);
  return driver;
}
