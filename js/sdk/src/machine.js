// The machine without its shell: for other shells, simulators and tests.

export { Client } from './client.js';
export { decodeFrame, encodeFrame, SUBPROTOCOL } from './wire/frame.js';
export { apply, emptySnapshot } from './wire/snapshot.js';
