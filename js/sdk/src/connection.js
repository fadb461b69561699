// One WebSocket, from the dial to its end: no decisions. The end is told once, after everything that
// came before; after `leave` nothing is told at all.

import { SUBPROTOCOL } from './wire/frame.js';

/** Bytes that wait to be sent; a connection that takes no more is broken. */
const BUFFERED_BYTES_MAX = 4 * 1024 * 1024;
/** How long a closing handshake may take, in milliseconds. */
const LINGER_MS = 1_000;
/** What a browser may close with in place of 1002, which only the protocol's own code may: `protocol_error`. */
const BROKEN_OFF = 4003;

/** @typedef {import('./client/io.js').Input} Input */
/** What is used of a WebSocket. @typedef {Pick<WebSocket, 'onopen' | 'onmessage' | 'onclose' | 'onerror' | 'binaryType' | 'bufferedAmount' | 'readyState' | 'send' | 'close'>} Transport */
/** @typedef {new (url: string, protocol: string) => Transport} TransportClass */
/** @typedef {{ setTimeout: (run: () => void, ms: number) => any, clearTimeout: (timer: any) => void }} Timers */

/**
 * Where an address leads. Takes `ws`, `wss`, `http` and `https`, and an address without a scheme as `ws`.
 * @param {string} address
 * @throws {TypeError} with what is wrong with it
 */
export function endpoint(address) {
  const url = new URL(/^\w+:\/\//.test(address) ? address : `ws://${address}`);
  const scheme = { 'ws:': 'ws:', 'http:': 'ws:', 'wss:': 'wss:', 'https:': 'wss:' }[url.protocol];
  if (!scheme) throw new TypeError('the address has another scheme: want ws://HOST[:PORT] or wss://HOST[:PORT]');
  if (url.username || url.password) throw new TypeError('a password does not belong into an address');
  if (url.search) throw new TypeError('an address has no query, and a token does not belong there');
  return `${scheme}//${url.host}${url.pathname === '/' ? '/v1/connect' : url.pathname}`;
}

/** The driver's end of a connection. */
export class Connection {
  #left = false;
  /** @type {Transport | undefined} */
  #socket = undefined;
  #opened = false;
  /** @type {() => void} */
  #gone = () => {};

  /**
   * @param {number} conn
   * @param {string} address
   * @param {TransportClass} Transport
   * @param {Timers} timers
   * @param {(input: Input) => void} tell
   */
  constructor(conn, address, Transport, timers, tell) {
    this.#timers = timers;
    this.#tell = (/** @type {Input} */ input) => void (this.#left || tell(input));
    try {
      const socket = new Transport(endpoint(address), SUBPROTOCOL);
      this.#socket = socket;
      this.#listen(socket, conn);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      queueMicrotask(() => this.#tell({ type: 'closed', conn, end: { kind: 'dial_failed', why: 'other', message } }));
    }
  }

  /** @type {Timers} */
  #timers;
  /** @type {(input: Input) => void} */
  #tell;

  /** @param {Transport} socket @param {number} conn */
  #listen(socket, conn) {
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.#opened = true;
      this.#tell({ type: 'opened', conn });
    };
    socket.onmessage = ({ data }) => {
      // The machine says what is wrong with a binary one.
      this.#tell({ type: 'frame', conn, data: typeof data === 'string' ? data : new Uint8Array(data) });
    };
    /** @param {number} code @param {string} reason */
    const closed = (code, reason) => {
      this.#gone();
      this.#tell({ type: 'closed', conn, end: this.#end(code, reason) });
      this.#left = true; // Told once.
    };
    // What went wrong is not said. Before it was open nothing can follow, and not every platform closes.
    socket.onerror = () => void (this.#opened || closed(1006, ''));
    socket.onclose = ({ code, reason }) => closed(code, reason);
  }

  /** @param {number} code @param {string} reason @returns {import('./client/io.js').ConnEnd} */
  #end(code, reason) {
    if (!this.#opened) return { kind: 'dial_failed', why: 'other', message: 'the server cannot be reached' };
    return code === 1006 ? { kind: 'eof' } : { kind: 'close', code, reason };
  }

  /** False when it takes no more. One that is at its end says so itself. @param {string} text */
  send(text) {
    const socket = this.#socket;
    if (!socket || socket.readyState !== 1) return true;
    if (socket.bufferedAmount > BUFFERED_BYTES_MAX) return false;
    socket.send(text);
    return true;
  }

  /**
   * Leaves, with a closing handshake where there is a code for it. Resolves when the socket is gone, or
   * after a second.
   * @param {number | undefined} code
   * @returns {Promise<void>}
   */
  leave(code) {
    this.#left = true;
    const socket = this.#socket;
    if (!socket || socket.readyState === 3) return Promise.resolve();
    return new Promise((done) => {
      const timer = this.#timers.setTimeout(done, LINGER_MS);
      this.#gone = () => {
        this.#timers.clearTimeout(timer);
        done();
      };
      if (code === undefined) socket.close();
      else socket.close(code === 1002 ? BROKEN_OFF : code);
    });
  }
}
