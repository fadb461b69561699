// A connection takes its place: in line, welcomed, replayed.

import { NORMAL } from '../wire/close.js';
import { tell } from './io.js';
import { forgetFaults } from './outcome.js';
import { planBeats } from './path.js';
import { attemptPath } from './attempt.js';
import { recovered } from './recovery.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 */

/**
 * The connection under way takes over; the one before it is dropped, whatever it was.
 * @param {Client} client
 * @param {Cx} cx
 * @param {'queued' | 'replaying'} stage
 */
export function promote(client, cx, stage) {
  const path = attemptPath(client);
  if (!path) return;
  client.attempt = undefined;
  forgetFaults(path);
  Object.assign(path, { stage, sealAt: undefined, trust: 'trusted' });
  if (client.current) cx.out.push({ type: 'hangup', conn: client.current.conn, code: NORMAL });
  if (client.target === path.address) client.target = undefined;
  client.home = path.address;
  client.current = path;
  const { life } = client;
  if (life.kind === 'connecting') {
    client.ledger.tries = 0;
    client.life = { kind: 'standing' };
  } else if (life.kind === 'recovering' && life.recovery.kind === 'move') {
    life.recovery.kind = 'moved';
    life.recovery.left = undefined;
  }
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Queued} queued */
export function queued(client, cx, { session, participant, resume_key: key, position, of, beat }) {
  client.seat = { session, participant, key, windowMs: 0 };
  const path = client.current;
  if (path) {
    planBeats(path, beat.suspect_ms);
    Object.assign(path, { joined: path.joined ?? cx.now.mono, stage: 'queued', place: { position, of } });
  }
  // One that fell silent has to last first, whatever it says.
  if (path?.trust === 'trusted' && client.life.kind === 'recovering') recovered(client, cx, path.strategy ?? 'fast', 0);
  tell(cx, { type: 'queued', position, of });
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Welcome} welcome */
export function welcomed(client, cx, welcome) {
  const path = client.current;
  if (!path) return;
  const { session, participant, role, how, cursor, params, params_version } = welcome;
  Object.assign(path, { stage: 'replaying', joined: cx.now.mono, epoch: cursor.epoch, inFlightMax: Math.max(welcome.limits.commands, 1) });
  planBeats(path, welcome.beat.suspect_ms);
  const isNew = how === 'created' || how === 'joined';
  if (client.fold.cursor.seq === 0 || (isNew && !path.resumes)) client.fold.start(cursor.epoch);
  if (isNew && path.resumes) disownCommands(client, cx);
  client.outbox.welcomed(welcome.consumed);
  client.seat = { session, participant, key: welcome.resume_key, windowMs: welcome.resume_window_ms };
  client.server = welcome.status;
  if (!client.toldJoined) {
    client.toldJoined = true;
    tell(cx, { type: 'joined', session, participant, role, how, cursor, params, params_version });
  }
  client.media?.welcomed(client, cx, welcome);
}

/** The participation that these were said in is given up, and with it what became of them. @param {Client} client @param {Cx} cx */
function disownCommands(client, cx) {
  for (let entry; (entry = client.outbox.giveUpSent()); ) {
    const unknown = client.mint.fault(cx.now, 'resume_refused', 'server', { scope: 'command' });
    cx.out.push({ type: 'receipt', local: entry.local, outcome: { unknown } });
  }
}

/** @param {Client} client @param {Cx} cx */
export function replayed(client, cx) {
  const path = client.current;
  if (!path) return;
  path.stage = 'joined';
  path.beatsBehind = 0;
  client.wasLive = true;
  if (path.trust === 'trusted' && client.life.kind === 'recovering') recovered(client, cx, path.strategy ?? 'fast', path.replayed);
}
