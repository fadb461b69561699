// The end: told once, with nothing left open and nothing after it.

import { NORMAL } from '../wire/close.js';
import { Fold } from './apply.js';
import { connect } from './attempt.js';
import { tell } from './io.js';
import { newLedger } from './ladder.js';
import { Outbox } from './outbox.js';
import { stands } from './path.js';
import { canRefresh, dropAttempt } from './recovery.js';
import { show } from './show.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../client.js').Life} Life
 * @typedef {import('./io.js').Cx} Cx
 */

/** @param {Client} client @param {Cx} cx */
const over = (client, cx) =>
  client.mint.fault(cx.now, 'connection_closed', 'client', { message: 'the session is over for this client', retry: { when: 'never' } });

/**
 * Ends the session for this client. Every connection is dropped and every command answered first; the
 * event is the last thing that is said.
 * @param {Client} client
 * @param {Cx} cx
 * @param {Extract<Life, { kind: 'ended' | 'failed' }>} life
 */
export function finish(client, cx, life) {
  client.media?.close(cx);
  dropAttempt(client, cx);
  const path = client.current;
  client.current = undefined;
  if (path) cx.out.push({ type: 'hangup', conn: path.conn, ...(stands(path) && { code: NORMAL }) });
  const fault = life.kind === 'failed' ? life.fault : over(client, cx);
  for (let entry; (entry = client.outbox.giveUp()); ) {
    const outcome = entry.n === undefined ? { refused: fault } : { unknown: fault };
    cx.out.push({ type: 'receipt', local: entry.local, outcome });
  }
  client.life = life;
  client.wait = undefined;
  show(client, cx);
  tell(cx, life.kind === 'failed' ? { type: 'failed', fault } : { type: 'ended', reason: life.reason });
}

/** After the end, a command is still answered, and a failed session can be connected again. @param {Client} client @param {Cx} cx @param {import('./io.js').Input} input @returns {void} */
export function handleWhenOver(client, cx, input) {
  switch (input.type) {
    case 'command': {
      const refused = client.life.kind === 'failed' ? client.life.fault : over(client, cx);
      cx.out.push({ type: 'receipt', local: input.local, outcome: { refused } });
      return undefined;
    }
    case 'connect': return connectAgain(client, cx);
    case 'token':
      if ('token' in input) client.token = input.token;
      return undefined;
    case 'network':
      client.online = input.online;
      return undefined;
    case 'media': return client.media?.whenOver(input.media);
    case 'opened': case 'frame': case 'closed': case 'probe': case 'detach': case 'close': case 'simulate': case 'tick': return undefined;
  }
}

/** @param {Client} client @param {Cx} cx */
function connectAgain(client, cx) {
  if (client.life.kind !== 'failed') return;
  const { code, retry } = client.life.fault;
  if (retry.when === 'never') {
    // The seat is gone. The session may still be there, for a new participant.
    const session = client.seat?.session ?? client.config.session;
    client.seat = undefined;
    if (code !== 'session_not_found') client.config = { ...client.config, session };
    client.fold = new Fold();
  }
  client.outbox = new Outbox(client.mint.id('c-'), 1);
  client.ledger = newLedger(client.ledger.rejoins);
  client.toldJoined = client.wasLive = false;
  client.server = undefined;
  client.target = undefined;
  if (canRefresh(client)) client.token = null;
  client.life = { kind: 'idle' };
  connect(client, cx);
}
