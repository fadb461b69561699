// One try at a connection: wait, token, dial, hello. What it comes to is decided elsewhere.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { MIGRATE, UNREACHABLE } from '../wire/close.js';
import { encodeFrame } from '../wire/frame.js';
import { send } from './io.js';
import { newPath, stands } from './path.js';
import { RUNGS } from './planner.js';
import { attemptFailed, canRefresh } from './recovery.js';
import { CONNECTING, DIALING, FETCHING, GREETING, IDLE } from './states.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./path.js').Path} Path
 */

/** @param {Client} client */
export function connect(client) {
  if (client.life !== IDLE) return;
  client.life = CONNECTING;
  client.why = undefined;
  client.until = client.mono + limits.ms(client.config.connect_within_ms);
  if (canRefresh(client)) client.token = null;
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
  const allUntil = client.mono + within;
  if (client.recovery) client.recovery.attempts += 1;
  if (client.token !== null) return dial(client, strategy, allUntil);
  client.out.push({ type: 'fetch_token' });
  client.attempt = newPath({ stage: FETCHING, until: Math.min(client.mono + limits.TOKEN_WITHIN, allUntil), waitingFor: 'token', strategy, allUntil });
}

/** @param {Client} client @param {number | undefined} strategy @param {number} allUntil */
function dial(client, strategy, allUntil) {
  const conn = (client.conns += 1);
  const address = (strategy === MIGRATE ? otherAddress(client) : undefined) ?? client.home;
  client.attempt = newPath({ stage: DIALING, conn, address, heard: client.mono, until: client.mono + limits.DIAL_WITHIN, strategy, allUntil });
  client.out.push({ type: 'dial', conn, address });
}

/** Where else the session may be found. @param {Client} client */
export const otherAddress = ({ target, home, config }) =>
  target !== undefined && target !== home ? target : config.addresses.find((address) => address !== home);

/** @param {Client} client @param {{ conn: number }} input */
export function opened(client, { conn }) {
  const { attempt: path, mono: now, seat, rejoins } = client;
  if (path?.conn !== conn || path.stage !== DIALING) return;
  Object.assign(path, { stage: GREETING, until: now + limits.WELCOME_WITHIN, answered: now, heard: now, resumes: seat !== undefined });
  client.said = conn;
  if (path.strategy) {
    rejoins.push(now);
    if (rejoins.length > limits.REJOIN_LIMIT) rejoins.shift();
  }
  send(client, path, encodeFrame(hello(client, path)));
}

/** @param {Client} client @param {Path} path */
function hello({ config, seat, recovery: loss, fold, mono, token, instance, outbox }, { conn, strategy = 0 }) {
  const { session, backend, project, busy, title, cwd, tags, role, admission, history, params, sdk } = config;
  return {
    type: 'hello', token: token ?? '', instance, attempt: conn, session: seat?.session ?? session,
    backend, project, busy, title, cwd, tags: tags?.length ? tags : undefined, role, admission, history, stream: outbox.state(), params, sdk,
    resume: seat && { participant: seat.participant, key: seat.key, cursor: fold.cursor, strategy: RUNGS[strategy] },
    evidence: loss && { code: loss.cause.code, silent_ms: loss.silentMs, lost_ms: msSince(mono, loss.lostAt), attempts: loss.attempts },
  };
}

/** @param {Client} client @param {{ token?: string, error?: string }} told */
export function takeToken(client, { token, error: message }) {
  const wanted = client.attempt?.stage === FETCHING ? client.attempt : undefined;
  const { current } = client;
  if (wanted) client.attempt = undefined;
  if (token !== undefined) {
    client.token = token;
    if (wanted) dial(client, wanted.strategy, wanted.allUntil);
    else if (current && stands(current)) send(client, current, encodeFrame({ type: 'auth', token }));
  } else if (wanted) {
    const fault = client.fault('unauthenticated', { message, retry: { when: 'after_action', what: 'try_again' }, detail: { phase: 'token' } });
    attemptFailed(client, wanted, { fault, ask: UNREACHABLE });
  }
}
