// One try at a connection: wait, token, dial, hello. What it comes to is decided elsewhere.

import * as limits from '../limits.js';
import { msSince } from '../time.js';
import { encodeFrame } from '../wire/frame.js';
import { send } from './io.js';
import { newPath, pathDeadline, stands } from './path.js';
import { attemptFailed, canRefresh } from './recovery.js';

/**
 * @typedef {import('../client.js').Client} Client
 * @typedef {import('./io.js').Cx} Cx
 * @typedef {import('../wire/types.js').Strategy} Strategy
 * @typedef {import('./path.js').Path} Path
 */

/**
 * What is under way: a wait before the try (`at` is undefined until there is a network), a token, or a
 * connection without a welcome.
 * @typedef {{ kind: 'waiting', at: number | undefined, strategy: Strategy | undefined, waitingFor: import('../wire/types.js').WaitingFor | undefined, within: number | undefined }
 *   | { kind: 'token', until: number, strategy: Strategy | undefined, allUntil: number | undefined }
 *   | { kind: 'path', path: Path }} Attempt
 */

/** @param {Attempt | undefined} attempt @returns {import('../time.js').Deadline | undefined} */
export function attemptDeadline(attempt) {
  switch (attempt?.kind) {
    case 'waiting': return attempt.at === undefined ? undefined : { at: attempt.at, why: 'retry' };
    case 'token': return { at: attempt.until, why: 'token' };
    case 'path': return pathDeadline(attempt.path);
    case undefined: return undefined;
  }
}

/** @param {Client} client */
export const attemptPath = ({ attempt }) => (attempt?.kind === 'path' ? attempt.path : undefined);

/** Whether the server may have taken notice of it already. @param {Client} client */
export function saidHello(client) {
  const path = attemptPath(client);
  return path !== undefined && path.stage !== 'dialing';
}

/** @param {Client} client @param {Cx} cx */
export function connect(client, cx) {
  if (client.life.kind !== 'idle') return;
  client.life = { kind: 'connecting', until: cx.now.mono + limits.ms(client.config.connect_within_ms), fault: undefined };
  if (canRefresh(client)) client.token = null;
  beginAttempt(client, cx, client.seat && 'fast', undefined);
}

/**
 * Fetches a token if need be, then dials.
 * @param {Client} client
 * @param {Cx} cx
 * @param {Strategy | undefined} strategy
 * @param {number | undefined} within
 */
export function beginAttempt(client, cx, strategy, within) {
  const now = cx.now.mono;
  client.ledger.tries += 1;
  const allUntil = within === undefined ? undefined : now + within;
  if (client.life.kind === 'recovering') client.life.recovery.attempts += 1;
  if (client.token !== null) return dial(client, cx, strategy, allUntil);
  cx.out.push({ type: 'fetch_token' });
  client.attempt = { kind: 'token', until: Math.min(now + limits.TOKEN_WITHIN, allUntil ?? Infinity), strategy, allUntil };
}

/** @param {Client} client @param {Cx} cx @param {Strategy | undefined} strategy @param {number | undefined} allUntil */
function dial(client, cx, strategy, allUntil) {
  client.conns += 1;
  client.hellos += 1;
  const conn = client.conns;
  const address = (strategy === 'migrate' ? otherAddress(client) : undefined) ?? client.home;
  const path = { ...newPath(cx.now.mono, conn, address, client.hellos), strategy, allUntil };
  client.attempt = { kind: 'path', path };
  cx.out.push({ type: 'dial', conn, address });
}

/** Where else the session may be found. @param {Client} client */
export function otherAddress({ target, home, config }) {
  return target !== undefined && target !== home ? target : config.addresses.find((address) => address !== home);
}

/** @param {Client} client @param {Cx} cx @param {number} conn */
export function opened(client, cx, conn) {
  const path = attemptPath(client);
  if (path?.conn !== conn || path.stage !== 'dialing') return;
  const now = cx.now.mono;
  Object.assign(path, { stage: 'greeting', until: now + limits.WELCOME_WITHIN, answered: now, heard: now, resumes: client.seat !== undefined });
  client.said = path.hello;
  const { rejoins } = client.ledger;
  if (path.strategy === 'rejoin' || path.strategy === 'migrate') {
    rejoins.push(now);
    if (rejoins.length > limits.REJOIN_LIMIT) rejoins.shift();
  }
  send(cx, path, encodeFrame(hello(client, cx, path)));
}

/** @param {Client} client @param {Cx} cx @param {Path} path */
function hello(client, cx, path) {
  const { config, seat, life, fold } = client;
  const { backend, project, busy, title, cwd, tags, role, admission, history, params, sdk } = config;
  const resume = seat && { participant: seat.participant, key: seat.key, cursor: fold.cursor, strategy: path.strategy ?? 'fast' };
  const loss = life.kind === 'recovering' ? life.recovery : undefined;
  const evidence = loss && { code: loss.cause.code, silent_ms: loss.silentMs, lost_ms: msSince(cx.now.mono, loss.lostAt), attempts: loss.attempts };
  return {
    type: 'hello', token: client.token ?? '', instance: client.instance, attempt: path.hello, session: seat?.session ?? config.session,
    backend, project, busy, title, cwd, tags: tags?.length ? tags : undefined, role, admission, history, resume, stream: client.outbox.state(), params, sdk, evidence,
  };
}

/** @param {Client} client @param {Cx} cx @param {{ token: string } | { error: string }} told */
export function takeToken(client, cx, told) {
  const wanted = client.attempt?.kind === 'token' ? client.attempt : undefined;
  if (wanted) client.attempt = undefined;
  if ('token' in told) {
    const { token } = told;
    client.token = token;
    if (wanted) return dial(client, cx, wanted.strategy, wanted.allUntil);
    if (client.current && stands(client.current)) send(cx, client.current, encodeFrame({ type: 'auth', token }));
    return;
  }
  if (!wanted) return; // A token that nobody waits for.
  const fault = client.mint.fault(cx.now, 'unauthenticated', 'client', {
    message: told.error, retry: { when: 'after_action', what: 'try_again' }, detail: { phase: 'token' },
  });
  attemptFailed(client, cx, wanted.strategy, undefined, { fault, ask: { kind: 'unreachable' } });
}
