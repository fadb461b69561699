// A session with media: a scripted server, and transports that are models.

import { media } from '../src/media.js';
import { ModelStream, ModelTrack, answerTo, peerConnections } from './peer-connection.js';
import { event, joined, rig, settled, welcome } from './rig.js';

export { ModelTrack, answerTo, settled };

/** Joined, with what `options` say of media; `faults` is what its transports tell. */
export async function withMedia({ receive, iceTransportPolicy, ...options } = {}) {
  const { ModelConnection, made } = peerConnections();
  const part = media({ receive, iceTransportPolicy, peerConnection: ModelConnection, mediaStream: ModelStream });
  const parts = await joined({ ...options, media: part });
  const faults = [], told = [];
  parts.session.media.on('fault', ({ fault }) => faults.push(fault));
  for (const type of ['track', 'track_replaced', 'track_removed', 'publication_ended', 'publication_lost']) {
    parts.session.media.on(type, (event) => told.push({ type, ...event }));
  }
  let seq = 0;
  const log = (kind, data) => parts.server.last.say(event((seq += 1), kind, data));
  return { ...parts, ModelConnection, made, faults, told, log, media: parts.session.media };
}

/** The server takes a command, or refuses it. */
export const receipt = (n, fault) => ({ type: 'receipt', n, ...(fault ? { fault } : { ok: {} }) });

/** Publishes, and everything is agreed on: the publication, and the transport's model. */
export async function published(parts, { lines = [], ...options } = {}) {
  const { media, server, made, log } = parts;
  const track = options.track ?? new ModelTrack();
  const publishing = media.publish(track, options);
  await settled();
  const command = server.last.got('command').at(-1);
  server.last.say(receipt(command.n));
  log('track.published', { participant: 'p-1', track: command.data.track, kind: track.kind });
  const publication = await publishing;
  await agreed(parts, lines);
  return { publication, track, pc: made.at(-1) };
}

/** The server answers each offer, until nothing is under way. */
export async function agreed({ server, made }, lines = []) {
  await settled();
  while (made.at(-1).signalingState === 'have-local-offer') {
    server.last.say(answerTo(server.last.got('offer').at(-1), lines));
    await settled();
  }
}

/** The connection is lost, and the next one is welcomed. */
export async function reconnected({ server, time }, more = {}) {
  server.last.die();
  await time.pass(0);
  server.last.open();
  server.last.say({ ...welcome('resumed'), ...more }, { type: 'replayed', to: 0 });
  await settled();
}

export { rig };
