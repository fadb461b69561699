// The machine without its shell: for other shells, simulators and tests.

export { Client } from './client.js';
export { ofDial } from './client/dial.js';
export { simulate } from './client/simulate.js';
export { waits } from './client/waits.js';
export { Mint } from './mint.js';
export { FRAMES, decodeFrame, encodeFrame, SUBPROTOCOL } from './wire/frame.js';
export { apply, emptySnapshot, fold } from './wire/snapshot.js';
