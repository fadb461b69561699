// One try at a connection: wait, token, dial, hello. What it comes to is decided elsewhere.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { MIGRATE, UNREACHABLE } from '../wire/close.js';
import { say } from './io.js';
import { newPath, stands } from './path.js';
import { RUNGS } from './planner.js';
import { attemptFailed, canRefresh } from './recovery.js';
import { CONNECTING, DIALING, FETCHING, GREETING, IDLE, change } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 */

/** @param {Client} client */
export function connect(client) {
  if (client.life !== IDLE) return;
  client.life = CONNECTING;
  client.blamed = undefined;
  client.dueAt = client.moment + limits.ms(client.wishes.connectWithinMs);
  if (canRefresh(client)) client.bearer = null;
  beginAttempt(client, client.seat && 0);
}

/**
 * Fetches a token if need be, then dials.
 * @param {Client} client
 * @param {number} [strategy]
 * @param {number} [within]
 */
export function beginAttempt(client, strategy, within = Infinity) {
  client.tries += 1;
  const allUntil = client.moment + within;
  if (client.recovery) client.recovery.attemptsMade += 1;
  if (client.bearer !== null) return dial(client, strategy, allUntil);
  client.outputs.push({ type: 'fetch_token' });
  client.upcoming = newPath({ stage: FETCHING, endsAt: Math.min(client.moment + limits.TOKEN_WITHIN, allUntil), waitingFor: 'token', rung: strategy, allUntil });
}

/** @param {Client} client @param {number | undefined} strategy @param {number} allUntil */
function dial(client, strategy, allUntil) {
  const conn = (client.conns += 1);
  const address = (strategy === MIGRATE ? otherAddress(client) : undefined) ?? client.home;
  client.upcoming = newPath({ stage: DIALING, serial: conn, leadsTo: address, heardAt: client.moment, endsAt: client.moment + limits.DIAL_WITHIN, rung: strategy, allUntil });
  client.outputs.push({ type: 'dial', conn, address });
}

/** Where else the session may be found. @param {Client} client */
export const otherAddress = ({ elsewhere, home, wishes }) =>
  elsewhere !== undefined && elsewhere !== home ? elsewhere : wishes.addresses.find((address) => address !== home);

/** @param {Client} client @param {{ conn: number }} input */
export function opened(client, { conn }) {
  const { upcoming: path, moment: now, seat, rejoins } = client;
  if (path?.serial !== conn || path.stage !== DIALING) return;
  change(path, { stage: GREETING, endsAt: now + limits.WELCOME_WITHIN, answeredAt: now, heardAt: now, resumes: seat !== undefined });
  client.greeted = conn;
  if (path.rung) {
    rejoins.push(now);
    if (rejoins.length > limits.REJOIN_LIMIT) rejoins.shift();
  }
  say(client, path, hello(client, path));
}

/** @param {Client} client @param {Path} path */
function hello({ wishes, seat, recovery: loss, fold, moment: now, bearer, instance, outbox }, { serial: conn, rung = 0 }) {
  const { session, backend, project, busy, title, cwd, tags, role, admission, history, params, sdk } = wishes;
  return {
    type: 'hello', token: bearer ?? '', instance, attempt: conn, session: seat?.session ?? session,
    backend, project, busy, title, cwd, tags: tags?.length ? tags : undefined, role, admission, history, stream: outbox.streamState(), params, sdk,
    resume: seat && { participant: seat.participant, key: seat.key, cursor: fold.cursor, strategy: RUNGS[rung] },
    evidence: loss && { code: loss.firstFault.code, silent_ms: loss.silentMs, lost_ms: msSince(now, loss.lostAt), attempts: loss.attemptsMade },
  };
}

/** @param {Client} client @param {{ token?: string, error?: string }} told */
export function takeToken(client, { token, error: message }) {
  const wanted = client.upcoming?.stage === FETCHING ? client.upcoming : undefined;
  const { current } = client;
  if (wanted) client.upcoming = undefined;
  if (token !== undefined) {
    client.bearer = token;
    if (wanted) dial(client, wanted.rung, wanted.allUntil);
    else if (current && stands(current)) say(client, current, { type: 'auth', token });
  } else if (wanted) {
    const fault = client.blame('unauthenticated', { message, retry: { when: 'after_action', what: 'try_again' }, detail: { phase: 'token' } });
    attemptFailed(client, wanted, { fault, ask: UNREACHABLE });
  }
}
