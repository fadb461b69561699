// Tracks in the fold, and the words of signaling on their way through the machine.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeEvent } from '../src/wire/event.js';
import { apply, emptySnapshot, readSnapshot } from '../src/wire/snapshot.js';
import { joined, settled, welcome } from './rig.js';

const fold = (...events) => events.reduce((fold, [kind, data]) => apply(fold, decodeEvent(kind, data)), emptySnapshot());
const published = (participant, track, kind = 'video') => ['track.published', { participant, track, kind }];

test('tracks_are_folded_muted_and_leave_with_their_participant', () => {
  const all = fold(published('p-1', 'camera'), published('p-1', 'mic', 'audio'), published('p-2', 'camera'), ['track.muted', { participant: 'p-1', track: 'mic', muted: true }]);
  assert.deepEqual(all.tracks, [
    { participant: 'p-1', track: 'camera', kind: 'video' },
    { participant: 'p-1', track: 'mic', kind: 'audio', muted: true },
    { participant: 'p-2', track: 'camera', kind: 'video' },
  ]);
  assert.deepEqual(readSnapshot(structuredClone(all), ''), all);
  const [unmuted] = [['track.muted', { participant: 'p-1', track: 'mic', muted: false }]].map(([kind, data]) => apply(all, decodeEvent(kind, data)));
  assert.equal('muted' in unmuted.tracks[1], false);
  const gone = apply(apply(all, decodeEvent('participant.left', { participant: 'p-1', reason: 'detached' })), decodeEvent('track.unpublished', { participant: 'p-2', track: 'camera' }));
  assert.deepEqual(gone, emptySnapshot());
  assert.deepEqual(fold(['track.muted', { participant: 'p-1', track: 'none', muted: true }]), emptySnapshot());
});

test('signaling_is_told_sent_and_forgotten_where_no_connection_stands', async () => {
  const { server, socket, session } = await joined();
  const seen = [];
  session.on('media', ({ signal }) => seen.push(signal));
  const offer = { type: 'offer', peer: 1, sdp: 'v=0', lines: [{ mid: '0', participant: 'p-2', track: 'camera' }] };
  socket.say(offer, { type: 'candidate', peer: 1, candidate: '' }, { type: 'lines', peer: 1, lines: [] });
  assert.deepEqual(seen, [offer, { type: 'candidate', peer: 1, candidate: '' }, { type: 'lines', peer: 1, lines: [] }]);
  socket.die();
  await settled();
  server.last.open();
  const lost = [];
  session.on('attempt_failed', ({ fault }) => lost.push(fault.message));
  server.last.say(offer);
  assert.deepEqual(lost, ['offer came before welcome']);
  await session.close();
});

test('a_welcome_may_name_the_transport_that_is_still_there', async () => {
  const { server, socket, session } = await joined();
  socket.die();
  await settled();
  server.last.open();
  server.last.say({ ...welcome('resumed'), peer: 3 }, { type: 'replayed', to: 0 });
  assert.equal(session.status.state, 'live');
  await session.close();
});
