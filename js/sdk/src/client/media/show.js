// How the leg is, as this end sees it; the server's view counts where it sees nothing itself.

import * as limits from '../../limits.js';
import { msSince } from '../../time.js';

/**
 * @typedef {import('../media.js').Leg} Leg
 * @typedef {import('../../client.js').Client} Client

 * @typedef {import('../../wire/types.js').LegStatus} LegStatus
 */

/** @param {Client} client */
const serversMedia = ({ serverSays }) => serverSays?.legs.find(({ leg }) => leg === 'media');

/** What the server finds wrong with media. @param {Client} client */
export function serversFault(client) {
  const servers = serversMedia(client);
  return !servers || servers.health === 'up' ? undefined : servers.fault;
}

/** The leg, if there is one. @param {Leg} leg @param {Client} client @returns {LegStatus | undefined} */
export function compose(leg, client) {
  const own = ownState(leg, client);
  if (own) return own;
  const servers = serversMedia(client);
  // It says how the session's media is. Of this client's there is none yet.
  return servers?.health === 'up' && leg.wanted && !leg.shown ? undefined : servers;
}

/** @param {Leg} leg @param {Client} client @returns {LegStatus | undefined} */
function ownState(leg, client) {
  const { down, loss, shown, triedFrom } = leg;
  if (down) return { leg: 'media', health: 'down', fault: down };
  if (!loss) return undefined;
  const { fault } = loss;
  if (loss.ofSource) {
    const servers = serversMedia(client);
    return servers && servers.health !== 'up' ? servers : { leg: 'media', health: 'degraded', fault };
  }
  const now = client.moment;
  const wait = leg.wait(now);
  const rebuilds = !shown || shown.superseded || loss.rejoins > 0;
  return {
    leg: 'media',
    health: 'recovering',
    strategy: rebuilds ? 'rejoin' : 'fast',
    attempt: Math.max(loss.attempts + (wait > 0 ? 1 : 0), 1),
    next_ms: msSince(wait, 0),
    ...(!leg.isSignaled(client) && { waiting_for: 'network' }),
    ...(triedFrom !== undefined && { deadline_ms: msSince(triedFrom + limits.VERDICT_WITHIN, now) }),
    fault,
  };
}
