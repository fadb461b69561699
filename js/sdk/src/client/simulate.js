// Something is broken on purpose, by the path of the real fault.

import { FAST } from '../wire/close.js';
import { withDetail } from '../wire/fault.js';
import { tell } from './io.js';
import { seal } from './liveness.js';
import { note, ofEnd } from './outcome.js';

/** @param {import('../client.js').Client} client @param {{ simulate: import('./io.js').Simulate }} input */
export function simulate(client, { simulate }) {
  const { current, upcoming } = client;
  const path = current ?? (upcoming?.serial ? upcoming : undefined);
  const [rank, { fault }] = ofEnd(client, path, { kind: 'reset' });
  if (!path) tell(client, { type: 'protocol_notice', notice: 'nothing_to_break' });
  else if (simulate.kind === 'half_open') path.deaf = true;
  else if (simulate.kind === 'lose_frames') path.loseFrames = simulate.count;
  else {
    note(path, rank, { fault: withDetail(fault, { simulated: simulate.kind }), ask: FAST });
    seal(client, path, true);
  }
}
