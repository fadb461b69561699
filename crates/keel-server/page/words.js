// What the states, legs and faults are called in sentences for people. The words about a fault are the
// documentation's own, fetched once when the first one is looked at.

import { CODES } from '/sdk/index.js';

export const LEGS = { signaling: 'Signaling', media: 'Media', backend: 'Backend', upstream: 'Upstream', store: 'Store' };

/** The legs, from what everything needs to what the least does. */
export const inOrder = (legs) => Object.keys(LEGS).flatMap((name) => legs.filter(({ leg }) => leg === name)).concat(legs.filter(({ leg }) => !LEGS[leg]));

const ENDS = {
  detached: 'You left. The session goes on without you.',
  ended: 'The session was ended.',
  duration_limit: 'It lasted as long as it may.',
  operator: 'The server’s operator ended it.',
  failed: 'The session failed.',
};

const ROLES = { owner: 'the owner', publisher: 'taking part', viewer: 'watching' };
const PHASES = { token: 'Asking for a token.', dial: 'Reaching the server.', hello: 'Saying hello.', replay: 'Catching up on what was said.' };
const STRATEGIES = {
  fast: 'Coming back to the same place',
  rejoin: 'Joining anew in the same place',
  migrate: 'Moving to another server',
};
const WAITS = {
  network: 'The server cannot be reached.',
  token: 'Waiting for a fresh token.',
  server: 'The server asked to be given time.',
  store: 'The server’s store is being waited for.',
};

/** What a fault says of itself, as a sentence. @param {unknown} message */
export function sentenced(message) {
  const text = String(message ?? '').trim();
  return text && `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?…]$/.test(text) ? '' : '.'}`;
}

/** One sentence about how it is. @param {any} status @param {{ role?: string, online: boolean }} about */
export function sentence(status, { role, online }) {
  switch (status.state) {
    case 'connecting': return status.fault ? `${sentenced(status.fault.message)} Trying again.` : PHASES[status.phase] ?? 'Connecting.';
    case 'queued': return `Place ${status.position} of ${status.of} in line; it begins by itself.`;
    case 'live': return `Everything flows. You are ${ROLES[role] ?? 'here'}.`;
    case 'degraded': return sentenced(status.fault?.message) || 'Something is not as it should be.';
    case 'recovering': {
      if (!online) return 'This device is offline; it goes on when that is over.';
      const leg = status.legs.find(({ health }) => health === 'recovering');
      return leg ? recovering(leg) : sentenced(status.fault?.message) || 'Coming back.';
    }
    case 'ended': return ENDS[status.reason] ?? `The session is over (${status.reason}).`;
    case 'failed': return 'Nothing is tried any more until you try again.';
    default: return status.state;
  }
}

/** Tries after which a server counts as one that cannot be reached. */
const UNANSWERED = 2;

/** What is being done about a leg. */
export function recovering(leg) {
  // While one try follows the other nothing is waited for, and yet nobody answers.
  const waits = WAITS[leg.waiting_for] ?? (leg.leg === 'signaling' && leg.attempt > UNANSWERED ? WAITS.network : undefined);
  const how = leg.leg === 'media' ? ({ fast: 'Another way for the same transport', rejoin: 'A new transport' })[leg.strategy] : STRATEGIES[leg.strategy];
  return `${waits ? `${waits} ` : ''}${how ?? leg.strategy}, attempt ${leg.attempt}.`;
}

/** How a leg is, in a few words. */
export function legWords(leg) {
  switch (leg.health) {
    case 'up': return 'Up';
    case 'recovering': return recovering(leg);
    default: return sentenced(leg.fault.message);
  }
}

/** Whether and when to come back. */
export function comeBack({ retry }) {
  switch (retry.when) {
    case 'now': return 'It is tried again by itself.';
    case 'after': return `Worth another try in ${Math.max(1, Math.ceil(retry.ms / 1e3))} s.`;
    case 'never': return 'Trying the same again will not help.';
    default: return ({ refresh_token: 'A fresh token is needed.', rejoin: 'The session has to be joined anew.' })[retry.what] ?? 'You may try again.';
  }
}

/** A code as a title: `media_stalled` is `Media stalled`. */
export const title = (code) => (code.charAt(0).toUpperCase() + code.slice(1)).replaceAll('_', ' ');

let told;
/** What the documentation says of a code: what happened, what is done, what one can do. */
export async function explain(code) {
  told ??= fetch('/page/faults.json').then((answer) => answer.json()).catch(() => (told = undefined, {}));
  const [happened, does, can] = (await told)[code] ?? [CODES[code]?.says ?? 'This page does not know that code.', '–', '–'];
  return { happened, does, can };
}
