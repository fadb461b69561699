// The media leg: the transport that stands beside the connection.
//
// It belongs to the attachment: while the connection is lost and found again, it goes on. A client is
// made with one or without; one without hears nothing of media, and `session.media` is not there.

import { encodeFrame } from '../wire/frame.js';
import { send } from './io.js';
import { isWelcomed } from './path.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('./io.js').MediaInput} MediaInput
 * @typedef {import('../wire/types.js').MediaSignal} MediaSignal
 * @typedef {import('../wire/types.js').IceServer} IceServer
 */

/** See above. */
export class Leg {
  wanted = false;
  /** The number of the last transport. */
  last = 0;
  isOpen = false;
  /** @type {IceServer[]} */
  iceServers = [];

  /** @param {Client} client @param {Cx} cx @param {MediaInput} input @returns {void} */
  input(client, cx, input) {
    switch (input.type) {
      case 'want':
        this.wanted = input.wanted;
        return this.#settle(client, cx);
      case 'say': return this.#say(client, cx, input.signal);
      case 'transport': case 'sampled': case 'retry': return undefined;
    }
  }

  /**
   * The server still has a transport of this attachment, or has none.
   * @param {Client} client
   * @param {Cx} cx
   * @param {import('../wire/types.js').Welcome} welcome
   */
  welcomed(client, cx, { peer, ice_servers = [] }) {
    this.iceServers = ice_servers;
    if (this.isOpen && peer === this.last) order(cx, { type: 'resume', peer });
    else this.isOpen = false;
    // One of an earlier page is superseded only by a higher number.
    this.last = Math.max(this.last, peer ?? 0);
    this.#settle(client, cx);
  }

  /** @param {Cx} cx @param {MediaSignal} signal */
  hear(cx, signal) {
    if (this.isOpen && signal.peer === this.last) order(cx, { type: 'hear', signal });
  }

  /** The session is over for this client. @param {Cx} cx */
  finish(cx) {
    if (this.isOpen) order(cx, { type: 'close', peer: this.last });
    this.isOpen = false;
  }

  /** @param {Client} client @param {Cx} cx */
  #settle(client, cx) {
    if (this.wanted && !this.isOpen && client.current && isWelcomed(client.current)) {
      this.last += 1;
      this.isOpen = true;
      order(cx, { type: 'open', peer: this.last, ice_servers: this.iceServers });
    }
    if (!this.wanted && this.isOpen) {
      this.isOpen = false;
      order(cx, { type: 'close', peer: this.last });
    }
  }

  /** To the connection that carries the session, if one does. @param {Client} client @param {Cx} cx @param {MediaSignal} signal */
  #say(client, cx, signal) {
    if (client.current && isWelcomed(client.current)) send(cx, client.current, encodeFrame(signal));
  }
}

/** @param {Cx} cx @param {import('./io.js').MediaOrder} media */
const order = (cx, media) => void cx.out.push({ type: 'media', media });
