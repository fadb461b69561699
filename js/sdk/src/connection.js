// One WebSocket, from the dial to its end: no decisions. The end is told once, after everything that
// came before; after `leave` nothing is told at all.

import { messageOf } from './error.js';
import { SUBPROTOCOL } from './wire/frame.js';

/** Bytes that wait to be sent; a connection that takes no more is broken. */
const BUFFERED_BYTES_MAX = 4_194_304;
/** How long a closing handshake may take, in milliseconds. */
const LINGER_MS = 1_000;
/** What a browser may close with in place of 1002, which only the protocol's own code may: `protocol_error`. */
const BROKEN_OFF = 4003;

/** @typedef {import('./client/io.js').Input} Input */
/** @typedef {import('./client/io.js').ConnEnd} ConnEnd */
/** What is used of a WebSocket. @typedef {Pick<WebSocket, 'onopen' | 'onmessage' | 'onclose' | 'onerror' | 'binaryType' | 'bufferedAmount' | 'readyState' | 'send' | 'close'>} Transport */
/** @typedef {new (url: string, protocol: string) => Transport} TransportClass */
/** @typedef {{ setTimeout: (run: () => void, ms: number) => any, clearTimeout: (timer: any) => void }} Timers */
/** The driver's end of a connection. @typedef {ReturnType<typeof dial>} Connection */

/**
 * Where an address leads. Takes `ws`, `wss`, `http` and `https`, and an address without a scheme as `ws`.
 * A token does not belong into an address, nor does a password.
 * @param {string} address
 * @throws {TypeError} with what is wrong with it
 */
export function endpoint(address) {
  const { protocol, host, pathname, username, password, search } = new URL(/^\w+:\/\//.test(address) ? address : `ws://${address}`);
  const scheme = protocol.replace(/^http/, 'ws');
  if (!/^wss?:$/.test(scheme) || username || password || search) throw new TypeError('want ws://HOST or wss://HOST, and no password or query');
  return `${scheme}//${host}${pathname === '/' ? '/v1/connect' : pathname}`;
}

/**
 * Opens one.
 * @param {number} conn
 * @param {string} address
 * @param {TransportClass} Transport
 * @param {Timers} timers
 * @param {(input: Input) => void} tell
 */
export function dial(conn, address, Transport, timers, tell) {
  let left = false, opened = false, gone = () => {};
  /** @type {Transport | undefined} */
  let socket;
  /** Told once. @param {ConnEnd} end */
  const ended = (end) => {
    gone();
    if (!left) tell({ type: 'closed', conn, end });
    left = true;
  };
  /** @param {number} code @param {string} reason */
  const closed = (code, reason) => ended(opened ? code === 1006 ? { kind: 'eof' } : { kind: 'close', code, reason } : notDialed('the server cannot be reached'));
  try {
    socket = new Transport(endpoint(address), SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      opened = true;
      if (!left) tell({ type: 'opened', conn });
    };
    socket.onmessage = ({ data }) => {
      // The machine says what is wrong with a binary one.
      if (!left) tell({ type: 'frame', conn, data: typeof data === 'string' ? data : new Uint8Array(data) });
    };
    // What went wrong is not said. Before it was open nothing can follow, and not every platform closes.
    socket.onerror = () => void (opened || closed(1006, ''));
    socket.onclose = ({ code, reason }) => closed(code, reason);
  } catch (error) {
    queueMicrotask(() => ended(notDialed(messageOf(error))));
  }
  return {
    /** False when it takes no more. One that is at its end says so itself. @param {string} text */
    send(text) {
      if (socket?.readyState !== 1) return true;
      const takes = socket.bufferedAmount <= BUFFERED_BYTES_MAX;
      if (takes) socket.send(text);
      return takes;
    },

    /**
     * Leaves, with a closing handshake where there is a code for it. Resolves when the socket is gone, or
     * after a second.
     * @param {number | undefined} code
     * @returns {Promise<void>}
     */
    leave: (code) => new Promise((done) => {
      left = true;
      if (!socket || socket.readyState === 3) return done();
      const timer = timers.setTimeout(done, LINGER_MS);
      gone = () => {
        timers.clearTimeout(timer);
        done();
      };
      socket.close(...(code ? [code === 1002 ? BROKEN_OFF : code] : []));
    }),
  };
}

/** @param {string} message @returns {ConnEnd} */
const notDialed = (message) => ({ kind: 'dial_failed', why: 'other', message });
