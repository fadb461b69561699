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
// `keel-core/src/client.rs` and the files beside it, one by one; where those pass an input's moment and
// its outputs along, here the client has them.

import { Fold } from './client/apply.js';
import { connect, opened, takeToken } from './client/attempt.js';
import { finish, handleWhenOver } from './client/ending.js';
import { frame } from './client/frames.js';
import { settleCommand } from './client/io.js';
import { giveUpAt, noFailures, settle } from './client/ladder.js';
import { closed, detach, network, probe, runTimers, wake } from './client/liveness.js';
import { Outbox } from './client/outbox.js';
import { pathDeadline } from './client/path.js';
import { progress } from './client/progress.js';
import { beforeConnect, show } from './client/show.js';
import { ENDED, IDLE, change } from './client/states.js';
import { makeFault } from './wire/fault.js';
import { FRAMES, gapWith } from './wire/frame.js';

/**
 * @typedef {import('./wire/types.js').Fault} Fault
 * @typedef {import('./client/io.js').Input} Input
 * @typedef {import('./client/path.js').Path} Path
 */

/** A participation, and the proof of it. @typedef {{ session: string, participant: string, key: string, windowMs: number }} Seat */

/**
 * What a client may be made with.
 * @typedef {object} Parts
 * @property {import('./client/media.js').Leg} [media] the leg for media
 * @property {import('./client/apply.js').Folding} [fold] reads all of the log, and keeps what it says
 * @property {import('./client/waits.js').Waits} [waits] tells of what takes long
 * @property {typeof import('./client/simulate.js').simulate} [simulate] breaks things on purpose
 * @property {typeof import('./client/dial.js').ofDial} [ofDial] says why a dial failed, where the shell can tell
 */

/** One participant's side of a session. */
export class Client {
  isOnline = true;
  /** Transports asked for so far, and the last that said hello. */
  conns = 0;
  greeted = 0;
  life = IDLE;
  /** When connecting, or leaving, has taken long enough. */
  dueAt = Infinity;
  /** What the last try of a first connect came to, or the whole. @type {Fault | undefined} */
  blamed;
  /** Why it ended. @type {import('./wire/types.js').EndReason} */
  endReason = 'ended';
  /** While recovering. @type {import('./client/ladder.js').Recovery | undefined} */
  recovery;
  /** The connection that carries the session, or did until it fell silent. @type {Path | undefined} */
  current;
  /** What is under way to get one. @type {Path | undefined} */
  upcoming;
  /** @type {Seat | undefined} */
  seat;
  /** When sessions were rejoined lately. @type {number[]} */
  rejoins = [];
  /** @type {import('./client/waits.js').Wait | undefined} */
  longWait;
  unknownFrames = 0;
  status = beforeConnect();
  toldJoined = false;
  wasLive = false;
  /** How the server says the session is. @type {import('./wire/types.js').Status | undefined} */
  serverSays;
  /** Where the server said that the session goes on. @type {string | undefined} */
  elsewhere;
  // What outlasts a recovery: success must not buy a flapping connection a fresh budget.
  failures = noFailures();
  /** Tries since a connection lasted; for full jitter, since one brought progress. */
  tries = 0;
  /** The progress that `failures` counts from. */
  mark = '0/0';
  /** The moment of the input that is handled, or was last; and what comes of it. */
  moment = NaN;
  wallClock = NaN;
  /** @type {import('./client/io.js').Output[]} */
  outputs = [];
  /** When it had wanted to be called. */
  promised = Infinity;

  /**
   * A client that waits for `connect`.
   * @param {import('./client/config.js').Config} config
   * @param {typeof import('./chance.js').chance} mint what its ids and waits are drawn from
   * @param {Parts} [parts]
   */
  constructor(config, mint, { media, fold = progress, waits, simulate, ofDial } = {}) {
    this.wishes = config;
    this.mint = mint;
    this.instance = mint.id('i-');
    const fresh = mint.id('c-');
    const { resume } = config;
    const { session = '', participant = '', key = '', stream = fresh, next = 1, cursor, snapshot } = resume ?? {};
    this.outbox = new Outbox(stream, Math.max(next, 1));
    this.fold = new Fold(fold, cursor, snapshot);
    if (resume) this.seat = { session, participant, key, windowMs: 0 };
    this.bearer = config.token;
    this.mediaLeg = media;
    this.waits = waits;
    this.simulates = simulate;
    this.ofDial = ofDial;
    this.readers = { ...FRAMES, gap: gapWith(fold.readSnapshot), ...media?.frames };
    /** Where `current` leads, or led. */
    this.home = config.addresses[0] ?? '';
  }

  /**
   * Takes one input. Total: nothing that comes in can make it fail.
   * @param {import('./time.js').Now} now
   * @param {Input} input
   */
  handle({ mono, wall }, input) {
    const last = { mono: this.moment, wall: this.wallClock };
    change(/** @type {Client} */ (this), { moment: mono, wallClock: wall, outputs: [] });
    if (this.isOver()) handleWhenOver(this, input);
    else {
      wake(this, last, input);
      (/** @type {any} */ (TAKE[input.type]))?.(this, input);
    }
    for (const then of [runTimers, settle, show]) if (!this.isOver()) then(this);
    this.promised = this.deadline();
    return this.outputs;
  }

  /** When to call `handle` with a tick at the latest; `Infinity` for never. */
  deadline() {
    return Math.min(
      this.dueAt, giveUpAt(this), pathDeadline(this.current), pathDeadline(this.upcoming), this.outbox.nextLapse(),
      this.waits?.deadline(this) ?? Infinity, this.mediaLeg?.deadline() ?? Infinity,
    );
  }

  /** What another client needs to go on where this one is; undefined before the first welcome. @returns {import('./client/config.js').ResumeState | undefined} */
  resumeState() {
    if (!this.seat) return undefined;
    const { session, participant, key } = this.seat;
    const { cursor, snapshot } = this.fold;
    return { session, participant, key, cursor, snapshot, stream: this.outbox.streamId, next: this.outbox.nextNumber };
  }

  isOver() {
    return this.life >= ENDED;
  }

  /**
   * A fault of `code`, seen now.
   * @param {Parameters<typeof makeFault>[1]} code
   * @param {Parameters<typeof makeFault>[4]} [own]
   * @param {import('./wire/types.js').Origin} [origin]
   */
  blame(code, own, origin = 'client') {
    return makeFault(this.mint.id('f-'), code, origin, this.wallClock, own);
  }
}

/** By their type; `tick` is but an occasion to look at the time. @type {{ [I in Input as I['type']]?: (client: Client, input: I) => void }} */
const TAKE = {
  connect, opened, frame, closed, network, probe, detach,
  token: takeToken,
  close: (client) => finish(client, 'detached'),
  media: (client, { media }) => client.mediaLeg?.input(client, media),
  simulate: (client, input) => client.simulates?.(client, input),
  command(client, input) {
    const code = client.outbox.enlist(client.moment, input);
    if (code) settleCommand(client, input, { refused: client.blame(code, { scope: 'command' }) });
  },
};
