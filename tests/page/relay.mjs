// The way of media, in the hands of a test: a relay before the server, as a NAT would be, for UDP and, if
// it is let through, for TCP. A page that is `led` over it is told the relay's port in the place of the
// server's.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** Another port of a server's, for TCP. */
export class Door {
  #ends = new Set();

  /** @param {number} serverPort on loopback @param {number} [port] any, if none is given */
  static async start(serverPort, port = 0, address = '127.0.0.1') {
    const door = new Door();
    door.listener = createServer((from) => {
      const to = connect(serverPort, '127.0.0.1');
      for (const [end, other] of [[from, to], [to, from]]) {
        door.#ends.add(end);
        end.on('error', () => {}).on('close', () => door.#ends.delete(end) && other.destroy());
        end.pipe(other);
      }
    }).listen(port, address);
    await once(door.listener, 'listening');
    door.port = door.listener.address().port;
    return door;
  }

  /** What goes through it is cut, and nothing does from now on. */
  close() {
    this.listener.close();
    for (const end of this.#ends) end.destroy();
  }
}

export class Relay {
  /** Whether datagrams pass, to the server and from it. */
  up = true;
  down = true;
  /** Datagrams that came from pages, passed or not. */
  counted = 0;
  #ways = new Map(); // a page's port → the socket that stands for it at the server
  #socket = createSocket('udp4');
  #door = undefined; // for TCP

  /** @param {number} serverPort on loopback @param {string} [address] where pages reach it */
  static async start(serverPort, address = '127.0.0.1') {
    const relay = new Relay();
    Object.assign(relay, { serverPort, address });
    relay.#socket.bind(0, address);
    await once(relay.#socket, 'listening');
    relay.port = relay.#socket.address().port;
    relay.#socket.on('message', (bytes, from) => {
      relay.counted += 1;
      if (relay.up) relay.#way(from).send(bytes, serverPort, '127.0.0.1');
    });
    return relay;
  }

  /** TCP passes, too, at the same port. What `block` does is done to UDP alone. */
  async letTcpThrough() {
    this.#door = await Door.start(this.serverPort, this.port, this.address);
  }

  #way({ port, address }) {
    let way = this.#ways.get(port);
    if (way) return way;
    way = createSocket('udp4');
    way.on('message', (bytes) => this.down && this.#socket.send(bytes, port, address));
    way.bind(0, this.address); // The server says where it was seen from: Firefox takes no loopback for that.
    way.on('error', () => {}); // The server is not there: as on any way.
    this.#ways.set(port, way);
    return way;
  }

  /** A black hole: nothing passes, and nobody is told. */
  block() {
    this.up = this.down = false;
    return Date.now();
  }

  open() {
    this.up = this.down = true;
    return Date.now();
  }

  /** Another address in the middle of it, as when a NAT forgets. */
  rebind() {
    for (const way of this.#ways.values()) way.close();
    this.#ways.clear();
  }

  /** Every page of a context goes over the relay from now on. */
  async lead(context) {
    await context.addInitScript(([from, to]) => {
      const led = (text) => text.replace(/^(?:a=)?candidate:.*\r?\n?/gm, (line) => (/ udp /i.test(line) ? line.replace(` 127.0.0.1 ${from} `, ` 127.0.0.1 ${to} `) : ''));
      const { prototype } = RTCPeerConnection, { setRemoteDescription, addIceCandidate } = prototype;
      prototype.setRemoteDescription = function ({ type, sdp }) {
        return setRemoteDescription.call(this, { type, sdp: led(sdp) });
      };
      prototype.addIceCandidate = function (candidate) {
        return candidate?.candidate && !led(candidate.candidate) ? Promise.resolve() : addIceCandidate.call(this, candidate && { ...candidate.toJSON?.() ?? candidate, candidate: led(candidate.candidate ?? '') });
      };
    }, [this.serverPort, this.port]);
  }

  close() {
    this.#door?.close();
    this.rebind();
    this.#socket.close();
  }
}
