// A connection takes its place: in line, welcomed, replayed.

import { NORMAL } from '../wire/close.js';
import { hangUp, settleCommand, tell } from './io.js';
import { forgetFaults } from './outcome.js';
import { planBeats } from './path.js';
import { recovered } from './recovery.js';
import { CONNECTING, JOINED, MOVE, MOVED, QUEUED, REPLAYING, STANDING, TRUSTED, change } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 */

/** The connection under way takes over; the one before it is dropped, whatever it was. @param {Client} client @param {Path} path */
export function promote(client, path) {
  const { current, recovery, elsewhere } = client;
  forgetFaults(path);
  path.sealAt = Infinity;
  hangUp(client, current, NORMAL);
  change(client, { upcoming: undefined, current: path, home: path.leadsTo, elsewhere: elsewhere === path.leadsTo ? undefined : elsewhere });
  if (client.life === CONNECTING) change(client, { tries: 0, life: STANDING, dueAt: Infinity });
  else if (recovery?.nature === MOVE) change(recovery, { nature: MOVED, former: undefined });
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Queued} said */
export function queued(client, path, { session, participant, resume_key: key, position, of, beat }) {
  client.seat = { session, participant, key, windowMs: 0 };
  planBeats(path, beat.suspect_ms);
  change(path, { joinedAt: Math.min(path.joinedAt, client.moment), stage: QUEUED, place: { position, of } });
  // One that fell silent has to last first, whatever it says.
  if (path.trust === TRUSTED) recovered(client, path.rung);
  tell(client, { type: 'queued', position, of });
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Welcome} welcome */
export function welcome(client, path, welcome) {
  const { session, participant, role, how, cursor, params, params_version, resume_key: key, resume_window_ms: windowMs } = welcome;
  change(path, {
    stage: REPLAYING, joinedAt: client.moment, logEpoch: cursor.epoch, inFlightMax: Math.max(welcome.limits.commands, 1), replayedEvents: 0, beatsBehind: 0,
  });
  planBeats(path, welcome.beat.suspect_ms);
  const isNew = how === 'created' || how === 'joined';
  if (client.fold.cursor.seq === 0 || (isNew && !path.resumes)) client.fold.start(cursor.epoch);
  // The participation that these were said in is given up, and with it what became of them.
  for (let entry; isNew && path.resumes && (entry = client.outbox.giveUpSent()); ) {
    settleCommand(client, entry, { unknown: client.blame('resume_refused', { scope: 'command' }, 'server') });
  }
  client.outbox.welcomed(welcome.consumed);
  client.seat = { session, participant, key, windowMs };
  client.serverSays = welcome.status;
  if (!client.toldJoined) {
    client.toldJoined = true;
    tell(client, { type: 'joined', session, participant, role, how, cursor, params, params_version });
  }
  client.mediaLeg?.welcomed(client, welcome);
}

/** @param {Client} client @param {Path} path */
export function replayed(client, path) {
  path.stage = JOINED;
  path.beatsBehind = 0;
  client.wasLive = true;
  if (path.trust === TRUSTED) recovered(client, path.rung, path.replayedEvents);
}
