// A connection takes its place: in line, welcomed, replayed.

import { NORMAL } from '../wire/close.js';
import { hangUp, settleCommand, tell } from './io.js';
import { forgetFaults } from './outcome.js';
import { planBeats } from './path.js';
import { recovered } from './recovery.js';
import { CONNECTING, JOINED, MOVE, MOVED, QUEUED, REPLAYING, STANDING, TRUSTED } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 */

/** The connection under way takes over; the one before it is dropped, whatever it was. @param {Client} client @param {Path} path */
export function promote(client, path) {
  const { current, recovery, target } = client;
  forgetFaults(path);
  path.sealAt = Infinity;
  hangUp(client, current, NORMAL);
  Object.assign(client, { attempt: undefined, current: path, home: path.address, target: target === path.address ? undefined : target });
  if (client.life === CONNECTING) Object.assign(client, { tries: 0, life: STANDING, until: Infinity });
  else if (recovery?.kind === MOVE) Object.assign(recovery, { kind: MOVED, left: undefined });
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Queued} said */
export function queued(client, path, { session, participant, resume_key: key, position, of, beat }) {
  client.seat = { session, participant, key, windowMs: 0 };
  planBeats(path, beat.suspect_ms);
  Object.assign(path, { joined: path.joined ?? client.mono, stage: QUEUED, place: { position, of } });
  // One that fell silent has to last first, whatever it says.
  if (path.trust === TRUSTED) recovered(client, path.strategy);
  tell(client, { type: 'queued', position, of });
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Welcome} welcome */
export function welcome(client, path, welcome) {
  const { session, participant, role, how, cursor, params, params_version, resume_key: key, resume_window_ms: windowMs } = welcome;
  Object.assign(path, {
    stage: REPLAYING, joined: client.mono, epoch: cursor.epoch, inFlightMax: Math.max(welcome.limits.commands, 1), replayed: 0, beatsBehind: 0,
  });
  planBeats(path, welcome.beat.suspect_ms);
  const isNew = how === 'created' || how === 'joined';
  if (client.fold.cursor.seq === 0 || (isNew && !path.resumes)) client.fold.start(cursor.epoch);
  // The participation that these were said in is given up, and with it what became of them.
  for (let entry; isNew && path.resumes && (entry = client.outbox.giveUpSent()); ) {
    settleCommand(client, entry, { unknown: client.fault('resume_refused', { scope: 'command' }, 'server') });
  }
  client.outbox.welcomed(welcome.consumed);
  client.seat = { session, participant, key, windowMs };
  client.server = welcome.status;
  if (!client.toldJoined) {
    client.toldJoined = true;
    tell(client, { type: 'joined', session, participant, role, how, cursor, params, params_version });
  }
  client.media?.welcomed(client, welcome);
}

/** @param {Client} client @param {Path} path */
export function replayed(client, path) {
  path.stage = JOINED;
  path.beatsBehind = 0;
  client.wasLive = true;
  if (path.trust === TRUSTED) recovered(client, path.strategy, path.replayed);
}
