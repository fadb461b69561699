// What the playground does with devices, on a page that is a model: no browser, no server.

import assert from 'node:assert/strict';
import { test } from 'node:test';

class Node {
  dataset = {};
  children = [];
  classList = { toggle: () => {} };
  append(...nodes) { this.children.push(...nodes); }
  setAttribute() {}
  remove() {}
  play() { return Promise.resolve(); }
}

/** A page with a camera and a microphone that are granted when the test says so. */
function world() {
  const nodes = new Map(), granted = [], asking = [];
  const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  set('document', { createElement: () => new Node(), getElementById: (id) => nodes.get(id) ?? nodes.set(id, new Node()).get(id) });
  set('MediaStream', class { constructor(tracks) { this.tracks = tracks; } });
  const track = (kind) => ({ kind, readyState: 'live', stop() { this.readyState = 'ended'; } });
  const getUserMedia = ({ audio }) => new Promise((done) => asking.push(() => {
    const made = track(audio ? 'audio' : 'video');
    granted.push(made);
    done({ getVideoTracks: () => [made], getAudioTracks: () => [made] });
  }));
  set('navigator', { mediaDevices: { getUserMedia } });
  const listeners = {}, said = [];
  const publications = new Map();
  const publish = (track, { name, muted }) => new Promise((resolve, reject) => {
    const publication = {
      name, track, muted,
      replaceTrack: async (next) => void (publication.track = next), unpublish: async () => void publications.delete(name),
      mute: async () => void (publication.muted = true), unmute: async () => void (publication.muted = false),
    };
    publications.set(name, publication);
    const refused = () => { publications.delete(name); reject(new Error('refused')); };
    said.push({ track, name, publication, taken: () => resolve(publication), refused });
  });
  const media = { on: (type, listener) => (listeners[type] = listener), receive: () => {}, publications, publish };
  const settled = () => new Promise((done) => setImmediate(done));
  const grant = async () => { await settled(); asking.splice(0).forEach((give) => give()); await settled(); };
  return { session: { participant: 'p-1', snapshot: {}, media }, listeners, said, granted, grant, settled };
}

const stageOf = async (session) => new (await import('../../crates/keel-server/page/stage.js')).Stage(session, { note: () => {}, began: 0, returns: true, muted: false, lost: () => {} });

test('a_device_that_is_granted_too_late_or_not_published_is_let_go', async () => {
  const { session, said, granted, grant, settled } = world();
  const stage = await stageOf(session);
  const speaking = stage.speak(true);
  await grant();
  said[0].refused();
  await assert.rejects(speaking, { message: 'refused' });
  const sending = stage.send('camera');
  await grant();
  said[1].refused();
  await assert.rejects(sending, { message: 'refused' });
  assert.deepEqual([granted.map(({ readyState }) => readyState), stage.source, stage.voice], [['ended', 'ended'], 'none', undefined]);
  const late = [stage.send('camera'), stage.speak(true)];
  await settled();
  stage.close();
  await grant();
  await Promise.allSettled(late);
  assert.deepEqual([granted.slice(2).map(({ readyState }) => readyState), said.length], [['ended', 'ended'], 2]);
});

test('what_is_clicked_while_a_track_is_being_published_comes_after_it', async () => {
  const { session, said, granted, grant, settled } = world();
  const stage = await stageOf(session);
  const sending = stage.send('camera');
  await grant();
  const again = stage.send('camera'), stopping = stage.stop();
  const voices = [stage.speak(true)];
  await grant();
  voices.push(stage.speak(false), stage.speak(true), stage.speak(false));
  assert.deepEqual(said.map(({ name }) => name), ['camera', 'microphone'], 'once each');
  for (const { taken } of said) taken();
  await Promise.all([sending, again, stopping, ...voices]);
  await settled();
  assert.deepEqual([stage.publication, stage.voice, stage.source], [undefined, undefined, 'none']);
  assert.ok(granted.every(({ readyState }) => readyState === 'ended'), 'nothing is on that is not sent');
  stage.close();
});

test('a_publication_that_is_lost_takes_only_its_own_device_and_an_ended_one_is_sent_again', async () => {
  const { session, said, listeners, grant, granted } = world();
  const stage = await stageOf(session);
  const both = [stage.send('camera'), stage.speak(true)];
  await grant();
  for (const { taken } of said) taken();
  await Promise.all(both);
  const { publication, voice } = stage;
  listeners.publication_lost({ publication: voice, fault: { message: 'full' } });
  assert.deepEqual([stage.voice, stage.publication, granted.map(({ readyState }) => readyState)], [undefined, publication, ['live', 'ended']]);
  granted[0].readyState = 'ended';
  publication.muted = true;
  listeners.publication_ended({ publication });
  const sending = stage.send('camera');
  await grant();
  await sending;
  assert.deepEqual([publication.muted, publication.track], [false, granted[2]]);
  await stage.mute(true);
  await stage.send('camera');
  assert.equal(publication.muted, true, 'as somebody wanted it');
  listeners.publication_lost({ publication, fault: { message: 'full' } });
  assert.deepEqual([stage.publication, stage.source, granted[2].readyState], [undefined, 'none', 'ended']);
  stage.close();
});

test('who_mutes_is_neither_seen_nor_heard_by_what_is_only_on_its_way_either', async () => {
  const { session, said, grant } = world();
  const stage = await stageOf(session);
  const sending = stage.send('camera'), speaking = stage.speak(true);
  await grant();
  assert.deepEqual(said.map(({ publication }) => publication.muted), [false, false]);
  await stage.mute(true);
  assert.deepEqual(said.map(({ publication }) => publication.muted), [true, true], 'before the server has taken them');
  for (const { taken } of said) taken();
  await Promise.all([sending, speaking]);
  await stage.speak(false);
  const again = stage.speak(true);
  await grant();
  assert.equal(said[2].publication.muted, true, 'nor by what comes later');
  said[2].taken();
  await again;
  await stage.mute(false);
  assert.deepEqual([stage.isMuted, stage.publication.muted, stage.voice.muted], [false, false, false], 'one press takes it all back');
  stage.close();
});

test('what_was_asked_for_last_counts_whenever_a_device_is_granted', async () => {
  const { session, said, granted, grant } = world();
  const stage = await stageOf(session);
  const sending = stage.send('camera'), speaking = stage.speak(true);
  const stopping = stage.stop(), silent = stage.speak(false);
  assert.equal(stage.speaks, false);
  await grant();
  await Promise.all([sending, speaking, stopping, silent]);
  assert.deepEqual([said.length, stage.source, granted.map(({ readyState }) => readyState)], [0, 'none', ['ended']], 'nothing is on, and nothing was asked for in vain');
  stage.close();
});
