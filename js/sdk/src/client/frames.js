// What the server says, frame by frame.

import * as limits from '../limits.js';
import { decodeFrame, encodeFrame } from '../wire/frame.js';
import { attemptPath, saidHello } from './attempt.js';
import { finish } from './ending.js';
import { send, tell } from './io.js';
import { promote, queued, replayed, welcomed } from './joining.js';
import { breakOff, pathAt, slotOf } from './liveness.js';
import { FAULT, GOAWAY, asks, forgetFaults, note } from './outcome.js';
import { isGood, isProven, isWelcomed, planBeats } from './path.js';
import { beginMigration, canRefresh, mayEndConnection, recovered } from './recovery.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('./liveness.js').Slot} Slot
 * @typedef {import('../wire/types.js').ServerFrame} ServerFrame
 */

/** @param {Client} client @param {Cx} cx @param {number} conn @param {string | Uint8Array} data @returns {void} */
export function frame(client, cx, conn, data) {
  const slot = slotOf(client, conn);
  const path = pathAt(client, slot);
  if (!slot || !path || path.deaf) return;
  path.heard = Math.max(path.heard, cx.now.mono);
  path.answered ??= cx.now.mono;
  if (path.loseFrames > 0) {
    path.loseFrames -= 1;
    return;
  }
  let decoded;
  try {
    decoded = decodeFrame(data);
  } catch (error) {
    return breakOff(client, cx, slot, /** @type {Error} */ (error).message);
  }
  if ('unknown' in decoded) return unknownFrame(client, cx, decoded.unknown);
  const said = decoded.frame;
  const isLastWord = said.type === 'fault' || said.type === 'ended' || said.type === 'goaway';
  if (slot === 'current' && !isLastWord) {
    releaseFault(client, cx);
    forgetFaults(path);
    heardAgain(client, cx);
  }
  if (slot === 'current') frameOnCurrent(client, cx, said);
  else frameOnAttempt(client, cx, said);
}

/** @param {Client} client @param {Cx} cx @param {string} name */
function unknownFrame(client, cx, name) {
  client.unknownFrames += 1;
  if (client.unknownFrames <= limits.UNKNOWN_FRAMES_MAX) tell(cx, { type: 'protocol_notice', notice: 'unknown_frame', name });
}

/**
 * A silent connection speaks. What it says counts at once; it is kept in the other's stead once it has
 * lasted, unless the other has said hello: then the server will close this one.
 * @param {Client} client
 * @param {Cx} cx
 */
function heardAgain(client, cx) {
  const path = client.current;
  if (path?.trust === 'suspected') {
    path.trust = 'heard';
    path.heardAgain = cx.now.mono;
  } else if (path?.trust === 'heard' && isProven(path, cx.now.mono) && !saidHello(client)) recovered(client, cx, 'fast', 0);
}

/** @param {Client} client @param {Cx} cx @param {ServerFrame} said @returns {void} */
function frameOnAttempt(client, cx, said) {
  switch (said.type) {
    case 'welcome':
      promote(client, cx, 'replaying');
      return welcomed(client, cx, said);
    case 'queued':
      promote(client, cx, 'queued');
      return queued(client, cx, said);
    case 'fault': return fault(client, cx, 'attempt', said.fault);
    case 'goaway': return goaway(client, cx, 'attempt', said);
    case 'ended': return finish(client, cx, { kind: 'ended', reason: said.reason });
    case 'beat': {
      const path = attemptPath(client);
      return path && answer(client, cx, path, said.n);
    }
    // What is told before welcome is not of the session.
    case 'status': case 'ephemeral': return undefined;
    case 'receipt': case 'event': case 'gap': case 'replayed': case 'offer': case 'answer': case 'candidate': case 'lines': case 'ice_servers': return breakOff(client, cx, 'attempt', `${said.type} came before welcome`);
  }
}

/** @param {Client} client @param {Cx} cx @param {ServerFrame} said @returns {void} */
function frameOnCurrent(client, cx, said) {
  const waits = client.current?.stage === 'queued';
  const outOfTurn = () => breakOff(client, cx, 'current', `${said.type} came out of turn`);
  switch (said.type) {
    case 'welcome': return waits ? welcomed(client, cx, said) : outOfTurn();
    case 'queued': return waits ? queued(client, cx, said) : outOfTurn();
    case 'receipt': return waits ? outOfTurn() : receipt(client, cx, said);
    case 'event': return waits ? outOfTurn() : event(client, cx, said);
    case 'gap': return waits ? outOfTurn() : gap(client, cx, said);
    case 'replayed': return waits ? outOfTurn() : replayed(client, cx);
    // In line, too, a token may expire.
    case 'ephemeral': return ephemeral(client, cx, said);
    case 'status':
      client.server = said.status;
      return undefined;
    case 'offer': case 'answer': case 'candidate': case 'lines':
      return waits ? outOfTurn() : client.media?.hear(cx, said);
    case 'ice_servers':
      if (client.media) client.media.iceServers = said.ice_servers;
      return undefined;
    case 'beat': return beat(client, cx, said);
    case 'goaway': return goaway(client, cx, 'current', said);
    case 'ended': return finish(client, cx, { kind: 'ended', reason: said.reason });
    case 'fault': return fault(client, cx, 'current', said.fault);
  }
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Ephemeral} said */
function ephemeral(client, cx, said) {
  if (said.kind === 'token.expiring' && canRefresh(client)) cx.out.push({ type: 'fetch_token' });
  tell(cx, said);
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Receipt} said */
function receipt(client, cx, said) {
  // Of a command that has its receipt, or of an earlier life of this stream: nobody waits.
  const entry = client.outbox.answered(said.n);
  if (!entry) return;
  const outcome = 'ok' in said ? { answered: { ok: said.ok } }
    : said.fault.code === 'outcome_unknown' ? { unknown: said.fault } : { answered: { fault: said.fault } };
  cx.out.push({ type: 'receipt', local: entry.local, outcome });
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').EventFrame} said */
function event(client, cx, said) {
  const path = client.current;
  if (!path) return;
  const applied = client.fold.event(path.epoch, said);
  if (applied && 'wrong' in applied) return breakOff(client, cx, 'current', applied.wrong);
  if (applied) {
    path.movedSinceBeat = true;
    if (path.stage === 'replaying') path.replayed += 1;
    tell(cx, applied.event);
    if (applied.malformed !== undefined) tell(cx, { type: 'protocol_notice', notice: 'malformed_event', kind: said.kind, message: applied.malformed });
  }
  ack(client, cx);
}

/**
 * Says how far it is, after so many events or so long: where the way is narrow, beats come late, and the
 * server must not take one that is being told things for one that is gone.
 * @param {Client} client
 * @param {Cx} cx
 */
function ack(client, cx) {
  const now = cx.now.mono;
  client.fold.ackedAt ??= now;
  if (client.fold.unacked < limits.ACK_EVERY_EVENTS && now < client.fold.ackedAt + limits.ACK_EVERY) return;
  client.fold.unacked = 0;
  client.fold.ackedAt = now;
  if (client.current) send(cx, client.current, encodeFrame({ type: 'ack', seq: client.fold.cursor.seq }));
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Gap} said */
function gap(client, cx, said) {
  const before = client.fold.cursor;
  const put = client.fold.gap(said);
  if (typeof put === 'string') return breakOff(client, cx, 'current', put);
  if (!put) return;
  if (client.current) {
    client.current.epoch = said.epoch;
    client.current.movedSinceBeat = true;
  }
  const rewound = said.epoch !== before.epoch && before.seq !== 0;
  const why = said.fault ?? (rewound ? client.mint.fault(cx.now, 'log_rewound', 'client') : undefined);
  tell(cx, { type: 'gap', from: said.from, to: said.to, ...(why && { fault: why }), snapshot: said.snapshot });
  ack(client, cx);
}

/** @param {Client} client @param {Cx} cx @param {import('../wire/types.js').Beat} said */
function beat(client, cx, said) {
  const { cursor } = client.fold;
  const path = client.current;
  if (!path) return;
  if (said.suspect_ms !== undefined) planBeats(path, said.suspect_ms);
  if (said.pace_ms !== undefined) path.pace = Math.min(limits.ms(said.pace_ms), limits.PACE_MAX);
  client.fold.unacked = 0;
  client.fold.ackedAt = cx.now.mono;
  answer(client, cx, path, said.n);
  if (!isWelcomed(path)) return;
  const replays = path.stage === 'replaying';
  const waits = said.seq > cursor.seq || replays;
  path.beatsBehind = waits && !path.movedSinceBeat && !storeIsSlow(client) ? path.beatsBehind + 1 : 0;
  path.movedSinceBeat = false;
  // A replay may wait for a page of the store; that one is slow is told before this. More than one: a
  // beat may overtake an event, but no two do.
  if (path.beatsBehind >= (replays ? limits.BEATS_REPLAYING_MAX : limits.BEATS_BEHIND_MAX)) {
    breakOff(client, cx, 'current', `the log is at ${said.seq}, nothing came after ${cursor.seq}`);
  }
}

/** @param {Client} client */
const storeIsSlow = ({ server }) => server?.legs.some(({ leg, health }) => leg === 'store' && health !== 'up') ?? false;

/** @param {Client} client @param {Cx} cx @param {Slot} slot @param {import('../wire/types.js').Goaway} said */
function goaway(client, cx, slot, { reason, deadline_ms, target }) {
  const why = client.mint.fault(cx.now, 'server_shutdown', 'server', { detail: { reason } });
  const path = pathAt(client, slot);
  if (!path) return;
  note(path.cell, GOAWAY, { fault: why, ask: { kind: target === undefined ? 'fast' : 'migrate' } });
  path.goaway = why;
  if (client.toldJoined) tell(cx, { type: 'goaway', reason, deadline_ms, ...(target !== undefined && { target }) });
  if (target === undefined) return;
  client.target = target === client.home ? undefined : target;
  if (client.target === undefined) return;
  const { life, current } = client;
  if (life.kind === 'standing' && slot === 'current' && current && isGood(current) && isWelcomed(current)) beginMigration(client, cx, why);
  else if (life.kind === 'recovering') {
    // Honoured by the next plan (req E9): what is under way goes on, what waits does not.
    life.recovery.ask = { kind: 'migrate' };
    if (client.attempt?.kind === 'waiting') client.attempt = undefined;
  }
}

/** @param {Client} client @param {Cx} cx @param {Slot} slot @param {import('../wire/types.js').Fault} said */
function fault(client, cx, slot, said) {
  if (slot === 'current' && client.media?.fault(client, cx, said)) return;
  if (slot === 'current' && !mayEndConnection(said)) return tell(cx, { type: 'fault', fault: said });
  if (slot === 'current') releaseFault(client, cx);
  const path = pathAt(client, slot);
  if (!path) return;
  note(path.cell, FAULT, { fault: said, ask: asks(said) });
  const at = cx.now.mono + limits.OUTCOME_SEALED_WITHIN;
  // A fault that answers hello is the answer. One on a connection that stands is its last word, or
  // news: the close tells.
  if (slot === 'attempt') path.sealAt ??= at;
  else path.held = { at, fault: said };
}

/** A fault that was not the connection's last word is news. @param {Client} client @param {Cx} cx */
export function releaseFault(client, cx) {
  const held = client.current?.held;
  if (!client.current || !held) return;
  client.current.held = undefined;
  const { retry } = held.fault;
  if (retry.when === 'after_action' && retry.what === 'refresh_token' && canRefresh(client)) cx.out.push({ type: 'fetch_token' });
  tell(cx, { type: 'fault', fault: held.fault });
}

/** Sends what may be sent. @param {Client} client @param {Cx} cx */
export function flush(client, cx) {
  const path = client.current;
  if (!path || !isWelcomed(path) || !isGood(path) || client.life.kind === 'detaching') return;
  for (let text; (text = client.outbox.sendNext(cx.now.mono, path.inFlightMax)); ) send(cx, path, text);
}

/** @param {Client} client @param {Cx} cx @param {import('./path.js').Path} path @param {number} n */
const answer = (client, cx, path, n) => send(cx, path, encodeFrame({ type: 'beat', n, seq: client.fold.cursor.seq }));
