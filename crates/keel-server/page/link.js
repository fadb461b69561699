// Where the token comes from and goes to: out of the fragment, which no server sees, into this tab's own
// storage, and never into an address again, but for a viewer's link that somebody asks for.

const KEPT = 'evenkeel.playground.link';

/** What is asked for of another session: nobody's microphone is on there, and nothing is muted. */
export const SILENT = { voice: undefined, muted: undefined };

/** @typedef {{ token?: string, session?: string, backend?: string, role?: string, source?: string, wait?: boolean, voice?: boolean, muted?: boolean }} Wish */

/** What the address asks for, else what this tab had before a reload. @returns {{ wish: Wish, isNew: boolean }} */
export function arrive() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  if (location.hash) history.replaceState(null, '', location.pathname);
  const kept = read();
  const isNew = Object.keys(given).length > 0;
  if (!given.token) return { wish: { ...kept, ...(isNew && SILENT), ...wishOf(given) }, isNew };
  const isSame = kept.token === given.token && Object.keys(given).length === 1;
  return isSame ? { wish: kept, isNew: false } : { wish: wishOf(given), isNew: true };
}

function wishOf({ token, session, backend, role, source, wait }) {
  const wish = { token, session, backend, role, source, wait: wait === undefined ? undefined : wait === '1' };
  return Object.fromEntries(Object.entries(wish).filter(([, value]) => value !== undefined));
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT) ?? '{}') ?? {};
  } catch {
    return {};
  }
}

/** What a reload of this tab is to know. @param {Wish & { on: boolean }} wish */
export function keep(wish) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(wish));
  } catch {
    // Storage is forbidden: a reload asks for the token.
  }
}

/** What a token says, as far as a page may read it; the server alone judges it. @param {string} token */
export function claims(token) {
  try {
    const text = atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'));
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (letter) => letter.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** Asks the server something. Rejects with the fault that it answers. */
export async function ask(token, path, { body, method = body ? 'POST' : 'GET', signal = AbortSignal.timeout(10_000) } = {}) {
  const headers = { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), signal }).catch((error) => {
    throw new Error(error.name === 'TimeoutError' ? 'the server does not answer' : 'the server cannot be reached', { cause: error });
  });
  const said = await answer.json().catch(() => ({}));
  if (answer.ok) return said;
  throw Object.assign(new Error(said.message ?? `The server answers ${answer.status}.`), { code: said.code, status: answer.status });
}

/** A link that lets its holder watch, for an hour. The token is behind `#`, which stays in the browser. */
export async function viewerLink(token, session) {
  const subject = `guest-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  const made = await ask(token, '/v1/tokens', { body: { subject, role: 'viewer', session, ttl_s: 3_600 } });
  return `${location.origin}/#${new URLSearchParams({ token: made.token, session, role: 'viewer' })}`;
}
