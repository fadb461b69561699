// The media leg: the transport that stands beside the connection.
//
// It belongs to the attachment: while the connection is lost and found again, it goes on. What comes over
// it is looked at, not believed; what does not come is told, and got back by the steps of the planner.
// Level-triggered as the rest: inputs change what is known, `settle` looks at it and does what is to be
// done now. A leg that is given up leaves the session standing.
//
// A client is made with a leg or without one, so that who wants no media loads none of this; one without
// hears nothing of media, and shows what the server says of it.

import { MEDIA_CODES } from '../codes-media.js';
import * as limits from '../limits.js';
import { since } from '../time.js';
import { MEDIA_FRAMES } from '../wire/media.js';
import { say } from './io.js';
import { order } from './media/io.js';
import { settle, transportFailed } from './media/ladder.js';
import { beginAnew, tellLost } from './media/loss.js';
import { compose } from './media/show.js';
import { isGood, isWelcomed } from './path.js';
import { LOSS, RECOVERING, STANDING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client

 * @typedef {import('./media/io.js').MediaInput} MediaInput
 * @typedef {import('./media/transport.js').Transport} Transport
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').MediaSignal} MediaSignal
 * @typedef {import('../wire/types.js').IceServer} IceServer
 */

/** See above. */
export class Leg {
  frames = MEDIA_FRAMES;
  wanted = false;
  /** The number of the last transport. */
  last = 0;
  /** @type {IceServer[]} */
  iceServers = [];
  /** The transport that is, or was, connected. @type {Transport | undefined} */
  shown = undefined;
  /** The one that is to take its place. @type {Transport | undefined} */
  next = undefined;
  /** What was told as lost, until it is back. @type {import('./media/loss.js').Loss | undefined} */
  loss = undefined;
  /** When all that was lost had last come again. @type {number | undefined} */
  recoveredAt = undefined;
  /** It was given up, for this. @type {Fault | undefined} */
  down = undefined;
  /** Transports in a row that came to nothing. */
  failures = 0;
  /** The next is not opened before this. @type {number | undefined} */
  openAt = undefined;
  /** When transports were opened; as many as count. @type {number[]} */
  opens = [];
  /** Since when it is being tried, with descriptions that could pass. @type {number | undefined} */
  triedFrom = undefined;
  /** When what has come is looked at next. @type {number | undefined} */
  sampleAt = undefined;
  /** When to look at the whole again. @type {number | undefined} */
  lookAt = undefined;

  /** What is waited for: something is lost, is being got back, and not given up. @param {Client} client @returns {import('./io.js').Because | undefined} */
  because(client) {
    const waits = this.loss && !this.loss.ofSource && !this.down;
    return waits ? { for: 'recovering', waiting_for: this.isSignaled(client) ? undefined : 'network' } : undefined;
  }

  /** When something is to be done, whatever comes. */
  deadline() {
    return Math.min(this.lookAt ?? Infinity, this.sampleAt ?? Infinity);
  }

  /** @param {Client} client @param {MediaInput} input @returns {void} */
  input(client, input) {
    const now = client.moment;
    switch (input.type) {
      case 'want':
        this.wanted = input.wanted;
        if (input.wanted) return undefined;
        // What was opened for it, and did not break, was no rejoin.
        if ((this.shown || this.next) && !this.loss) this.opens.pop();
        return this.close(client);
      case 'say': return this.transport(input.signal.peer) && this.say(client, input.signal);
      case 'transport': return this.#transportIs(client, input.peer, input.state);
      case 'sampled': return this.transport(input.peer)?.sampled(now, input.lines, client.fold.snapshot);
      case 'retry':
        this.opens = [];
        return this.#revive(now);
    }
  }

  /** After the end, only what is wanted is kept, for the next session. @param {MediaInput} input */
  whenOver(input) {
    if (input.type === 'want') this.wanted = input.wanted;
  }

  /** @param {number} peer */
  transport(peer) {
    return [this.shown, this.next].find((transport) => transport?.peer === peer);
  }

  /** What was given up is tried again. @param {number} now */
  #revive(now) {
    this.failures = 0;
    this.openAt = undefined;
    if (!this.down) return;
    this.down = this.triedFrom = undefined;
    if (this.loss) beginAnew(this.loss, now);
  }

  /** There is a network: what was given up is tried again, what waits does not. @param {number} now */
  online(now) {
    this.#revive(now);
  }

  /** This machine slept: what is as old as the sleep says nothing. @param {number} now */
  woke(now) {
    for (const transport of [this.shown, this.next]) {
      if (!transport) continue;
      transport.notLooked(now);
      transport.countedFrom = now;
    }
    if (this.triedFrom !== undefined) this.triedFrom = now;
    if (this.loss) this.loss.stepAt = now;
  }

  /** @param {Client} client @param {number} peer @param {import('./media/io.js').TransportState} state @returns {void} */
  #transportIs(client, peer, state) {
    const now = client.moment;
    if (this.next?.peer === peer) {
      if (state === 'connected') this.#nextConnected(this.next, now);
      else if (state === 'failed') transportFailed(this, client, peer, this.transportFault(client, peer, 'ice_failed'));
      return;
    }
    const { shown } = this;
    if (shown?.peer !== peer) return;
    if (state === 'connected') shown.way = { kind: 'up' };
    else if (state === 'failed') shown.way = { kind: 'failed' };
    // Browsers say so seconds late: then it is of the loss that is over.
    else if ((shown.way.kind === 'up' || shown.way.kind === 'proven') && this.recoveredAt !== undefined && since(now, this.recoveredAt) < limits.MEDIA_TRANSPORT_LATE_MAX) shown.way = { kind: 'proven' };
    else if (shown.way.kind !== 'lost' && shown.way.kind !== 'failed') shown.way = { kind: 'lost', since: now };
  }

  /** The transport that was opened is connected: the one before it is closed by the shell. @param {Transport} next @param {number} now */
  #nextConnected(next, now) {
    next.way = { kind: 'up' };
    next.connectedAt = now;
    this.shown = next;
    this.next = undefined;
    if (this.loss) beginAnew(this.loss, now);
  }

  /** What the server says of a transport that it has given up, or not taken. @param {Client} client @param {Fault} fault @returns {boolean} whether it was that */
  fault(client, fault) {
    const peer = fault.detail?.peer;
    if (fault.leg !== 'media' || typeof peer !== 'number' || !this.transport(peer)) return false;
    // What was refused is a change; what there is goes on.
    if (fault.code === 'media_refused' && this.next?.peer !== peer) return false;
    transportFailed(this, client, peer, fault);
    return true;
  }

  /**
   * The server still has a transport of this attachment, or has none.
   * @param {Client} client
   * @param {import('../wire/types.js').Welcome} welcome
   */
  welcomed(client, { peer, ice_servers: iceServers = [] }) {
    const now = client.moment;
    this.iceServers = iceServers;
    this.last = Math.max(this.last, peer ?? 0);
    if (peer !== undefined && this.transport(peer)) {
      for (const transport of [this.shown, this.next]) {
        if (!transport) continue;
        transport.countedFrom = now;
        order(client, { type: 'resume', peer: transport.peer });
      }
      if (this.loss) this.loss.stepAt = now;
      return;
    }
    this.#revive(now);
    // What was being agreed on was agreed on with a server that has forgotten it.
    this.closeNext(client);
    const moves = client.recovery !== undefined && client.recovery.nature !== LOSS;
    if (!this.shown) return;
    this.shown.superseded = true;
    if (!moves && !this.loss) tellLost(this, client, this.transportFault(client, this.shown.peer, 'peer_unknown'), false);
  }

  /** What the server says of media. @param {Client} client @param {MediaSignal | { type: 'ice_servers', ice_servers: IceServer[] }} signal */
  hear(client, signal) {
    if (signal.type === 'ice_servers') {
      this.iceServers = signal.ice_servers;
      return;
    }
    const transport = this.transport(signal.peer);
    if (!transport) return;
    if (signal.type === 'offer' || signal.type === 'answer' || signal.type === 'lines') transport.nameLines(client.moment, signal.lines ?? []);
    order(client, { type: 'hear', signal });
  }

  /** Asks for a look, where it is time. @param {Client} client */
  runTimers(client) {
    const now = client.moment;
    if (this.sampleAt === undefined || this.sampleAt > now) return;
    if (this.shown) order(client, { type: 'sample', peer: this.shown.peer });
    this.sampleAt = now + limits.MEDIA_SAMPLE_EVERY;
  }

  /** @param {Client} client */
  settle(client) {
    settle(this, client);
  }

  /** Looks are taken while something is expected. @param {Client} client */
  planSamples(client) {
    const { shown } = this;
    if (shown && shown.expected(client.fold.snapshot).length > 0) {
      if (this.sampleAt !== undefined) return;
      this.sampleAt = client.moment;
      this.runTimers(client);
    } else {
      if (this.sampleAt !== undefined) shown?.notLooked(client.moment);
      this.sampleAt = undefined;
    }
  }

  /** The leg, if there is one. @param {Client} client */
  compose(client) {
    return compose(this, client);
  }

  /** @param {Client} client @param {number} peer @param {string} why */
  transportFault(client, peer, why) {
    const fault = this.trouble(client, 'media_failed');
    return { ...fault, detail: { ...fault.detail, peer, why } };
  }

  /**
   * A fault of the leg, as this end sees it.
   * @param {Client} client
   * @param {'media_failed' | 'media_stalled' | 'rejoin_limit'} code
   * @param {string} [message]
   * @returns {Fault}
   */
  trouble(client, code, message) {
    return { ...client.blame(/** @type {any} */ (code), { message, detail: { side: 'client' }, row: code === 'rejoin_limit' ? undefined : MEDIA_CODES[code] }, 'network'), leg: 'media' };
  }

  /** @param {Client} client */
  closeNext(client) {
    if (this.next) order(client, { type: 'close', peer: this.next.peer });
    this.next = undefined;
  }

  /** @param {Client} client */
  closeShown(client) {
    if (this.shown) order(client, { type: 'close', peer: this.shown.peer });
    this.shown = undefined;
  }

  /** Closes everything, and forgets what was told: nobody wants it, or the session is over. @param {Client} client */
  close(client) {
    this.closeShown(client);
    this.closeNext(client);
    this.loss = this.down = this.recoveredAt = this.openAt = this.triedFrom = this.sampleAt = this.lookAt = undefined;
    this.failures = 0;
  }

  /** Whether descriptions can pass. @param {Client} client @returns {boolean} */
  isSignaled({ life, current }) {
    return (life === STANDING || life === RECOVERING) && isGood(current) && current !== undefined && isWelcomed(current);
  }

  /** To the connection that carries the session, if one does. @param {Client} client @param {MediaSignal} signal */
  say(client, signal) {
    const { current } = client;
    if (signal.type !== 'lines' && current && isWelcomed(current)) say(client, current, signal);
  }

  /** What is left to wait before the next transport. @param {number} now */
  wait(now) {
    return this.openAt === undefined ? 0 : since(this.openAt, now);
  }
}
