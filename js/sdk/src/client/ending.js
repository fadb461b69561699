// The end: told once, with nothing left open and nothing after it.

import { NORMAL } from '../wire/close.js';
import { Fold } from './apply.js';
import { connect } from './attempt.js';
import { hangUp, settleCommand, tell } from './io.js';
import { noFailures } from './ladder.js';
import { Outbox } from './outbox.js';
import { stands } from './path.js';
import { canRefresh, dropAttempt, enter } from './recovery.js';
import { show } from './show.js';
import { ENDED, FAILED, IDLE, change } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('../wire/types.js').Fault} Fault
 */

/** @param {Client} client */
const over = (client) => client.blame('connection_closed', { message: 'the session is over for this client', retry: { when: 'never' } });

/**
 * Ends the session for this client, for a reason or with a fault. Every connection is dropped and every
 * command answered first; the event is the last thing that is said.
 * @param {Client} client
 * @param {import('../wire/types.js').EndReason} [reason]
 * @param {Fault} [why]
 */
export function finish(client, reason = 'ended', why) {
  client.mediaLeg?.close(client);
  dropAttempt(client);
  const { current } = client;
  hangUp(client, current, current && stands(current) ? NORMAL : undefined);
  const fault = why ?? over(client);
  for (let entry; (entry = client.outbox.giveUp()); ) settleCommand(client, entry, entry.sentAs < Infinity ? { unknown: fault } : { refused: fault });
  enter(client, why ? FAILED : ENDED, { current: undefined, longWait: undefined, endReason: reason, blamed: why });
  show(client);
  tell(client, why ? { type: 'failed', fault: why } : { type: 'ended', reason });
}

/** After the end, a command is still answered, and a failed session can be connected again. @param {Client} client @param {import('./io.js').Input} input @returns {void} */
export function handleWhenOver(client, input) {
  if (input.type === 'command') settleCommand(client, input, { refused: client.blamed ?? over(client) });
  else if (input.type === 'connect') connectAgain(client);
  else if (input.type === 'token' && 'token' in input) client.bearer = input.token;
  else if (input.type === 'network') client.isOnline = input.online;
  else if (input.type === 'media') client.mediaLeg?.whenOver(input.media);
}

/** @param {Client} client */
function connectAgain(client) {
  const { blamed, seat, wishes } = client;
  if (!blamed) return;
  if (blamed.retry.when === 'never') {
    // The seat is gone. The session may still be there, for a new participant.
    client.seat = undefined;
    if (blamed.code !== 'session_not_found') client.wishes = { ...wishes, session: seat?.session ?? wishes.session };
    client.fold = new Fold(client.fold.folding);
  }
  client.outbox = new Outbox(client.mint.id('c-'), 1);
  change(client, { life: IDLE, toldJoined: false, wasLive: false, serverSays: undefined, elsewhere: undefined, failures: noFailures(), tries: 0, mark: '0/0' });
  if (canRefresh(client)) client.bearer = null;
  connect(client);
}
