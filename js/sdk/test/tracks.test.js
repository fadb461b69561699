// Tracks in the fold.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeEvent } from '../src/wire/event.js';
import { apply, emptySnapshot, readSnapshot } from '../src/wire/snapshot.js';

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
