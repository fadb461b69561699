// Clients of a scripted server.

import { connect } from '../src/index.js';
import { FakeServer, FakeTime, event, page, settled, welcome } from './fakes.js';

export * from './fakes.js';

/** A connecting client, with all that it was made of. */
export function rig(options = {}) {
  const time = new FakeTime(), server = new FakeServer(), surroundings = page();
  const connecting = connect({
    url: 'ws://a', token: 'token', transport: server.Transport, clock: time.clock, timers: time.timers, seed: 1n, surroundings, ...options,
  });
  connecting.catch(() => {});
  return { time, server, surroundings, connecting };
}

/** One that is joined and live. */
export async function joined(options = {}, head = 0) {
  const parts = rig(options);
  await settled();
  const socket = parts.server.last;
  socket.open();
  socket.say(welcome('created', head), ...Array.from({ length: head }, (_, n) => event(n + 1)), { type: 'replayed', to: head });
  return { ...parts, socket, session: await parts.connecting };
}
