// The client machine: one session as one participant sees it, whatever becomes of its connections.
//
// It keeps at most two connections: the one that carries the session, and one on its way to take over.
// The old one is given up only for a welcome on the new one. After every input the machine looks at
// the world and plans anew (`settle`), so that a loss during a recovery cannot get lost; it never acts
// on what it meant to do earlier. It does nothing itself: what it wants done, it puts out.
//
//   idle ── connect ──▶ connecting ── welcome, queued ──▶ standing ◀──▶ recovering
//                           │                                 │             │
//                           └──────────▶ failed, ended ◀──────┴─────────────┘
//
// A terminal state is told once, as the last output; only `connect` leads out of `failed`. Mirrors
// `keel-core/src/client.rs` and the files beside it, one by one.

import { Fold } from './client/apply.js';
import { attemptDeadline, connect, opened, takeToken } from './client/attempt.js';
import { finish, handleWhenOver } from './client/ending.js';
import { frame } from './client/frames.js';
import { giveUpAt, newLedger, settle } from './client/ladder.js';
import { closed, detach, network, probe, runTimers, simulate, slept, wake } from './client/liveness.js';
import { Outbox } from './client/outbox.js';
import { pathDeadline } from './client/path.js';
import { beforeConnect, show } from './client/show.js';
import { ms } from './limits.js';
import { Mint } from './mint.js';
import { earliest } from './time.js';

/**
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {import('./client/io.js').Input} Input
 * @typedef {import('./client/io.js').Output} Output
 * @typedef {import('./client/io.js').Cx} Cx
 * @typedef {import('./time.js').Now} Now
 */

/**
 * What a client waits for, as far as its owner is concerned.
 * @typedef {{ kind: 'idle' | 'standing' }
 *   | { kind: 'connecting', until: number, fault: Fault | undefined }
 *   | { kind: 'recovering', recovery: import('./client/ladder.js').Recovery }
 *   | { kind: 'detaching', until: number }
 *   | { kind: 'ended', reason: import('./wire/types.js').EndReason }
 *   | { kind: 'failed', fault: Fault }} Life
 */
/** A participation, and the proof of it. @typedef {{ session: string, participant: string, key: string, windowMs: number }} Seat */

/** One participant's side of a session. */
export class Client {
  online = true;
  /** Transports asked for so far. */
  conns = 0;
  /** Connections of this instance so far, as hello counts them; and the last that was said. */
  hellos = 0;
  said = 0;
  /** @type {Life} */
  life = { kind: 'idle' };
  /** The connection that carries the session, or did until it fell silent. @type {import('./client/path.js').Path | undefined} */
  current = undefined;
  /** What is under way to get one. @type {import('./client/attempt.js').Attempt | undefined} */
  attempt = undefined;
  /** @type {Seat | undefined} */
  seat = undefined;
  toldJoined = false;
  wasLive = false;
  /** Where the server said that the session goes on. @type {string | undefined} */
  target = undefined;
  ledger = newLedger();
  /** How the server says the session is. @type {import('./wire/types.js').Status | undefined} */
  server = undefined;
  /** @type {import('./client/show.js').Wait | undefined} */
  wait = undefined;
  unknownFrames = 0;
  status = beforeConnect();
  /** @type {{ last: Now | undefined, promised: number | undefined }} */
  clock = { last: undefined, promised: undefined };

  /**
   * A client that waits for `connect`.
   * @param {import('./client/config.js').Config} config
   * @param {bigint} seed
   * @param {import('./client/media.js').Leg} [media] the leg for media, where there is one
   */
  constructor(config, seed, media) {
    this.config = config;
    this.mint = new Mint(seed);
    this.instance = this.mint.id('i-');
    const stream = this.mint.id('c-');
    const { resume } = config;
    this.outbox = new Outbox(resume?.stream ?? stream, Math.max(resume?.next ?? 1, 1));
    this.fold = new Fold(resume?.cursor, resume?.snapshot);
    if (resume) this.seat = { session: resume.session, participant: resume.participant, key: resume.key, windowMs: 0 };
    this.token = config.token;
    this.media = media;
    /** Where `current` leads, or led. */
    this.home = config.addresses[0] ?? '';
  }

  /**
   * Takes one input. Total: nothing that comes in can make it fail.
   * @param {Now} now
   * @param {Input} input
   * @returns {Output[]}
   */
  handle(now, input) {
    /** @type {Cx} */
    const cx = { now, out: [] };
    if (this.isOver()) handleWhenOver(this, cx, input);
    else {
      const span = slept(this.clock, now);
      if (span) wake(this, cx, input, span);
      take(this, cx, input);
    }
    if (!this.isOver()) runTimers(this, cx);
    if (!this.isOver()) settle(this, cx);
    if (!this.isOver()) show(this, cx);
    this.clock = { last: now, promised: this.deadline()?.at };
    return cx.out;
  }

  /** When to call `handle` with a tick at the latest, and why. @returns {import('./time.js').Deadline | undefined} */
  deadline() {
    if (this.isOver()) return undefined;
    const { life, wait } = this;
    const giveUp = life.kind === 'recovering' ? giveUpAt(this, life.recovery) : undefined;
    const command = this.outbox.deadline();
    return earliest([
      life.kind === 'connecting' && { at: life.until, why: 'connect' },
      life.kind === 'detaching' && { at: life.until, why: 'detach' },
      giveUp !== undefined && { at: giveUp, why: 'give up' },
      pathDeadline(this.current),
      attemptDeadline(this.attempt),
      command !== undefined && { at: command, why: 'command' },
      wait && { at: wait.tellAt, why: 'still waiting' },
      ...(this.media?.deadlines() ?? []),
    ]);
  }

  /** What another client needs to go on where this one is; undefined before the first welcome. @returns {import('./client/config.js').ResumeState | undefined} */
  resumeState() {
    if (!this.seat) return undefined;
    const { session, participant, key } = this.seat;
    const { cursor, snapshot } = this.fold;
    return { session, participant, key, cursor, snapshot, stream: this.outbox.stream, next: this.outbox.next };
  }

  isOver() {
    return this.life.kind === 'ended' || this.life.kind === 'failed';
  }
}

/** @param {Client} client @param {Cx} cx @param {Input} input @returns {void} */
function take(client, cx, input) {
  switch (input.type) {
    case 'connect': return connect(client, cx);
    case 'opened': return opened(client, cx, input.conn);
    case 'frame': return frame(client, cx, input.conn, input.data);
    case 'closed': return closed(client, cx, input.conn, input.end);
    case 'command': return command(client, cx, input);
    case 'media': return client.media?.input(client, cx, input.media);
    case 'token': return takeToken(client, cx, input);
    case 'network': return network(client, cx, input.online);
    case 'probe': return probe(client, cx);
    case 'detach': return detach(client, cx);
    case 'close': return finish(client, cx, { kind: 'ended', reason: 'detached' });
    case 'simulate': return simulate(client, cx, input.simulate);
    case 'tick': return undefined;
  }
}

/** @param {Client} client @param {Cx} cx @param {Extract<Input, { type: 'command' }>} input */
function command(client, cx, { local, name, json, ttl_ms }) {
  const code = client.outbox.push(cx.now.mono, local, name, json, ttl_ms === undefined ? undefined : ms(ttl_ms));
  if (!code) return;
  const refused = client.mint.fault(cx.now, code, 'client', { scope: 'command' });
  cx.out.push({ type: 'receipt', local, outcome: { refused } });
}
