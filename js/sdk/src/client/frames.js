// What the server says, frame by frame.

import * as limits from '../limits.js';
import { FAST, MIGRATE } from '../wire/close.js';
import { decodeFrame } from '../wire/frame.js';
import { finish } from './ending.js';
import { say, send, settleCommand, tell } from './io.js';
import { promote, queued, replayed, welcome } from './joining.js';
import { breakOff, pathOf } from './liveness.js';
import { FAULT, GOAWAY, asked, forgetFaults, note } from './outcome.js';
import { isGood, isProven, isWelcomed, planBeats, saidHello } from './path.js';
import { beginMigration, canRefresh, mayEndConnection, recovered } from './recovery.js';
import { DETACHING, HEARD, QUEUED, REPLAYING, STANDING, SUSPECTED, WAITING } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 * @typedef {import('../wire/types.js').ServerFrame} ServerFrame
 */

/** @param {Client} client @param {{ conn: number, data: string | Uint8Array }} input @returns {void} */
export function frame(client, { conn, data }) {
  const path = pathOf(client, conn);
  if (!path || path.deaf) return;
  path.heardAt = Math.max(path.heardAt, client.moment);
  path.answeredAt = Math.min(path.answeredAt, client.moment);
  if (path.loseFrames) {
    path.loseFrames -= 1;
    return;
  }
  let decoded;
  try {
    decoded = decodeFrame(client.readers, data);
  } catch (error) {
    return breakOff(client, path, /** @type {Error} */ (error).message);
  }
  if ('unknown' in decoded) {
    client.unknownFrames += 1;
    if (client.unknownFrames <= limits.UNKNOWN_FRAMES_MAX) tell(client, { type: 'protocol_notice', notice: 'unknown_frame', name: decoded.unknown });
    return;
  }
  const said = decoded.frame;
  const isLastWord = ['fault', 'ended', 'goaway'].includes(said.type);
  if (path === client.current && !isLastWord) {
    releaseFault(client);
    forgetFaults(path);
    heardAgain(client, path);
  }
  take(client, path, said);
}

/**
 * A silent connection speaks. What it says counts at once; it is kept in the other's stead once it has
 * lasted, unless the other has said hello: then the server will close this one.
 * @param {Client} client
 * @param {Path} path
 */
function heardAgain(client, path) {
  if (path.trust === SUSPECTED) {
    path.trust = HEARD;
    path.heardAgain = client.moment;
  } else if (path.trust === HEARD && isProven(client, path) && !saidHello(client.upcoming)) recovered(client);
}

/** What only comes on a connection that is welcomed. */
const OF_WELCOMED = 'receipt event gap replayed offer answer candidate lines'.split(' ');

/** @param {Client} client @param {Path} path @param {ServerFrame} said @returns {void} */
function take(client, path, said) {
  const { type } = said;
  const isNew = path !== client.current, { stage } = path;
  const answersHello = type === 'welcome' || type === 'queued';
  if (answersHello ? !isNew && stage !== QUEUED : (isNew || stage === QUEUED) && OF_WELCOMED.includes(type) || isNew && type === 'ice_servers') {
    return breakOff(client, path, `${type} came ${isNew ? 'before welcome' : 'out of turn'}`);
  }
  // What is told before welcome is not of the session.
  if (isNew && (type === 'status' || type === 'ephemeral')) return;
  if (isNew && answersHello) promote(client, path);
  (/** @type {any} */ (TAKE[type] ?? heard))(client, path, said);
}

/** @type {{ [F in ServerFrame as F['type']]?: (client: Client, path: Path, said: F) => void }} */
const TAKE = {
  welcome,
  queued,
  replayed,
  event,
  gap,
  beat,
  goaway,
  fault,
  ended: (client, _, { reason }) => finish(client, reason),
  receipt(client, _, said) {
    // Of a command that has its receipt, or of an earlier life of this stream: nobody waits.
    const entry = client.outbox.takeAnswered(said.n);
    if (!entry) return;
    const { ok, fault } = /** @type {any} */ (said);
    settleCommand(client, entry, ok ? { answered: { ok } } : fault.code === 'outcome_unknown' ? { unknown: fault } : { answered: { fault } });
  },
  ephemeral(client, _, said) {
    // In line, too, a token may expire.
    if (said.kind === 'token.expiring' && canRefresh(client)) client.outputs.push({ type: 'fetch_token' });
    tell(client, said);
  },
  status(client, _, { status }) {
    client.serverSays = status;
  },
};

/** What is about media alone. @param {Client} client @param {Path} _ @param {any} said */
const heard = (client, _, said) => client.mediaLeg?.hear(client, said);

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').EventFrame} said */
function event(client, path, said) {
  const applied = client.fold.event(path.logEpoch, said);
  if (typeof applied === 'string') return breakOff(client, path, applied);
  if (applied) {
    const { event, malformed: message } = applied;
    path.movedSinceBeat = true;
    if (path.stage === REPLAYING) path.replayedEvents += 1;
    tell(client, event);
    if (message !== undefined) tell(client, { type: 'protocol_notice', notice: 'malformed_event', kind: said.kind, message });
  }
  ack(client, path);
}

/**
 * Says how far it is, after so many events or so long: where the way is narrow, beats come late, and the
 * server must not take one that is being told things for one that is gone.
 * @param {Client} client
 * @param {Path} path
 */
function ack(client, path) {
  const { fold, moment: now } = client;
  fold.ackedAt ??= now;
  if (fold.unacked < limits.ACK_EVERY_EVENTS && now < fold.ackedAt + limits.ACK_EVERY) return;
  fold.acked(now);
  say(client, path, { type: 'ack', seq: fold.cursor.seq });
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Gap} said */
function gap(client, path, said) {
  const before = client.fold.cursor;
  const put = client.fold.gap(said);
  if (typeof put === 'string') return breakOff(client, path, put);
  if (!put) return;
  const { from, to, epoch, snapshot } = said;
  path.logEpoch = epoch;
  path.movedSinceBeat = true;
  const fault = said.fault ?? (epoch !== before.epoch && before.seq !== 0 ? client.blame('log_rewound') : undefined);
  tell(client, { type: 'gap', from, to, fault, snapshot });
  ack(client, path);
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Beat} said */
function beat(client, path, { n, seq, suspect_ms, pace_ms }) {
  const { cursor } = client.fold, isCurrent = path === client.current;
  if (isCurrent) {
    if (suspect_ms !== undefined) planBeats(path, suspect_ms);
    if (pace_ms !== undefined) path.pace = Math.min(limits.ms(pace_ms), limits.PACE_MAX);
    client.fold.acked(client.moment);
  }
  say(client, path, { type: 'beat', n, seq: cursor.seq });
  if (!isCurrent || !isWelcomed(path)) return;
  const replays = path.stage === REPLAYING;
  // A replay may wait for a page of the store; that one is slow is told before this. More than one: a
  // beat may overtake an event, but no two do.
  const storeIsSlow = client.serverSays?.legs.some(({ leg, health }) => leg === 'store' && health !== 'up');
  path.beatsBehind = (seq > cursor.seq || replays) && !path.movedSinceBeat && !storeIsSlow ? path.beatsBehind + 1 : 0;
  path.movedSinceBeat = false;
  if (path.beatsBehind >= (replays ? limits.BEATS_REPLAYING_MAX : limits.BEATS_BEHIND_MAX)) {
    breakOff(client, path, `the log is at ${seq}, nothing came after ${cursor.seq}`);
  }
}

/** @param {Client} client @param {Path} path @param {import('../wire/types.js').Goaway} said */
function goaway(client, path, { reason, deadline_ms, target }) {
  const why = client.blame('server_shutdown', { detail: { reason } }, 'server');
  const { life, upcoming, recovery, home } = client;
  note(path, GOAWAY, { fault: why, ask: target === undefined ? FAST : MIGRATE });
  path.goesAway = why;
  if (client.toldJoined) tell(client, { type: 'goaway', reason, deadline_ms, target });
  if (target === undefined) return;
  client.elsewhere = target === home ? undefined : target;
  if (target === home) return;
  if (life === STANDING && path === client.current && isGood(path) && isWelcomed(path)) beginMigration(client, why);
  else if (recovery) {
    // Honoured by the next plan (req E9): what is under way goes on, what waits does not.
    recovery.ask = MIGRATE;
    if (upcoming?.stage === WAITING) client.upcoming = undefined;
  }
}

/** @param {Client} client @param {Path} path @param {{ fault: import('../wire/types.js').Fault }} said */
function fault(client, path, { fault: said }) {
  const at = client.moment + limits.OUTCOME_SEALED_WITHIN;
  const isCurrent = path === client.current;
  if (isCurrent) {
    if (client.mediaLeg?.fault(client, said)) return;
    if (!mayEndConnection(said)) {
      // Media goes with whoever leaves on purpose.
      if (client.life !== DETACHING || said.leg !== 'media') tell(client, { type: 'fault', fault: said });
      return;
    }
    releaseFault(client);
  }
  note(path, FAULT, asked(said));
  // A fault that answers hello is the answer. One on a connection that stands is its last word, or
  // news: the close tells.
  if (isCurrent) path.held = { at, fault: said };
  else path.sealAt = Math.min(path.sealAt, at);
}

/** A fault that was not the connection's last word is news. @param {Client} client */
export function releaseFault(client) {
  const { current } = client;
  if (!current?.held) return;
  const { fault } = current.held;
  current.held = undefined;
  if (/** @type {any} */ (fault.retry).what === 'refresh_token' && canRefresh(client)) client.outputs.push({ type: 'fetch_token' });
  tell(client, { type: 'fault', fault });
}

/** Sends what may be sent. @param {Client} client */
export function flush(client) {
  const { current, life, outbox, moment: now } = client;
  if (!current || !isWelcomed(current) || !isGood(current) || life === DETACHING) return;
  for (let text; (text = outbox.sendNext(now, current.inFlightMax)); ) send(client, current, text);
}
