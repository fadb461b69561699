// A way for datagrams between clients and a server that can be broken: what a NAT does, with a switch.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';

async function bound() {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

export class Relay {
  /** Nothing gets through, either way. */
  hole = false;
  passed = 0;
  dropped = 0;
  /** A socket towards the server for each client, as a NAT has a port for each. */
  #clients = new Map();

  static async to(port) {
    const relay = new this();
    relay.front = await bound();
    relay.port = relay.front.address().port;
    relay.front.on('message', (bytes, { port: from }) => relay.#there(bytes, from, port));
    return relay;
  }

  #pass(socket, bytes, port) {
    this[this.hole ? 'dropped' : 'passed'] += 1;
    // A port that nobody listens on (any more) is no fault of the way's.
    if (!this.hole) socket.send(bytes, port, '127.0.0.1', () => {});
  }

  async #there(bytes, from, to) {
    if (!this.#clients.has(from)) {
      this.#clients.set(from, bound().then((socket) => {
        socket.on('message', (back) => this.#pass(this.front, back, from));
        return socket;
      }));
    }
    this.#pass(await this.#clients.get(from), bytes, to);
  }

  async close() {
    this.front.close();
    for (const socket of this.#clients.values()) (await socket).close();
  }
}
