// What a tab keeps across reloads, and a duplicated tab that must not take the first one's place.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { joined, rig, settled, welcome } from './rig.js';

const storage = (from = {}) => {
  const items = new Map(Object.entries(from));
  return { getItem: (key) => items.get(key) ?? null, setItem: (key, value) => void items.set(key, value), removeItem: (key) => void items.delete(key), items };
};

/** The locks of one origin: whoever asks for one that is held waits until its signal ends. */
function locks() {
  const held = new Map();
  return {
    held,
    async request(name, { signal }, hold) {
      while (held.has(name)) {
        await Promise.race([held.get(name), new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))]);
      }
      const held1 = Promise.resolve(hold()).finally(() => held.delete(name));
      held.set(name, held1);
      return held1;
    },
  };
}

test('a_reloaded_tab_is_the_same_participant_with_the_same_stream_p01', async () => {
  const tab = { storage: storage(), locks: locks() };
  const first = await joined({ keep: 'app', tab });
  void first.session.say('one');
  const kept = JSON.parse(tab.storage.getItem('evenkeel.app'));
  assert.deepEqual([kept.session, kept.participant, kept.key, kept.next], ['s-1', 'p-1', 'key', 2]);
  assert.ok(!JSON.stringify(kept).includes('token'));
  tab.locks.held.clear(); // The page is gone, and with it its locks.
  const second = rig({ keep: 'app', tab });
  await settled();
  second.server.last.open();
  const [hello] = second.server.last.got('hello');
  assert.deepEqual([hello.session, hello.resume.key, hello.resume.cursor, hello.stream.id, hello.stream.next], ['s-1', 'key', { epoch: 1, seq: 0 }, kept.stream, 2]);
  second.server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  const session = await second.connecting;
  assert.equal(session.duplicated, false);
  const left = session.detach();
  second.server.last.say({ type: 'ended', reason: 'detached', at: 1 });
  await left;
  assert.equal(tab.storage.getItem('evenkeel.app'), null, 'who leaves is not come back as');
});

test('who_leaves_takes_along_its_own_place_and_nobody_elses', async () => {
  const tab = { storage: storage(), locks: locks() };
  const { session, server } = await joined({ keep: 'app', tab });
  // Another session of the same page was opened meanwhile, and is kept in its place.
  const other = JSON.stringify({ ...JSON.parse(tab.storage.getItem('evenkeel.app')), lock: 'i-other', session: 's-2' });
  tab.storage.setItem('evenkeel.app', other);
  const left = session.detach();
  server.last.say({ type: 'ended', reason: 'detached', at: 1 });
  await left;
  assert.equal(tab.storage.getItem('evenkeel.app'), other);
});

test('a_duplicated_tab_joins_as_a_participant_of_its_own_p08', async () => {
  const shared = locks();
  const original = storage();
  const first = await joined({ keep: 'app', tab: { storage: original, locks: shared } });
  const copy = { storage: storage(Object.fromEntries(original.items)), locks: shared };
  const second = rig({ keep: 'app', tab: copy });
  while (!second.server.last) await new Promise((done) => setTimeout(done, 20)); // The lock is waited for by the real clock.
  second.server.last.open();
  const [hello] = second.server.last.got('hello');
  assert.deepEqual([hello.session, hello.resume, hello.stream.next], ['s-1', undefined, 1]);
  second.server.last.say({ ...welcome('joined'), participant: 'p-2' }, { type: 'replayed', to: 0 });
  const session = await second.connecting;
  assert.deepEqual([session.duplicated, session.participant], [true, 'p-2']);
  await session.close();
  await first.session.close();
});

test('a_kept_place_that_is_gone_for_good_is_forgotten', async () => {
  const kept = { lock: 'i-1', session: 's-1', participant: 'p-1', key: 'key', stream: 'c-1', next: 4, epoch: 1 };
  const tab = { storage: storage({ 'evenkeel.app': JSON.stringify(kept) }), locks: locks() };
  const { server, connecting } = rig({ keep: 'app', tab });
  await settled();
  server.last.open();
  server.last.say({ type: 'fault', fault: { id: 'f-1', code: 'session_not_found', scope: 'session', origin: 'server', retry: { when: 'never' }, message: 'gone', at: 1 } });
  server.last.die(4404);
  await assert.rejects(connecting, { code: 'session_not_found' });
  assert.deepEqual([tab.storage.getItem('evenkeel.app'), tab.locks.held.size], [null, 0]);
});

test('storage_that_is_forbidden_broken_or_without_locks_resumes_nothing_and_breaks_nothing', async () => {
  const throws = () => {
    throw new DOMException('no', 'SecurityError');
  };
  const kept = JSON.stringify({ lock: 'i-1', session: 's-1', participant: 'p-1', key: 'key', stream: 'c-1', next: 4, epoch: 1 });
  for (const tab of [
    {},
    { storage: { getItem: throws, setItem: throws, removeItem: throws }, locks: locks() },
    { storage: storage({ 'evenkeel.app': '{"lock":7' }), locks: locks() },
    { storage: storage({ 'evenkeel.app': kept }) },
  ]) {
    const { session, socket } = await joined({ keep: 'app', tab });
    assert.equal(socket.got('hello')[0].resume, undefined);
    await session.close();
  }
});

test('who_asks_for_another_session_does_not_go_on_in_the_kept_one', async () => {
  const kept = { lock: 'i-1', session: 's-1', participant: 'p-1', key: 'key', stream: 'c-1', next: 4, epoch: 1 };
  const tab = { storage: storage({ 'evenkeel.app': JSON.stringify(kept) }), locks: locks() };
  const { session, socket } = await joined({ keep: 'app', tab, session: 's-2' });
  const [hello] = socket.got('hello');
  assert.deepEqual([hello.session, hello.resume], ['s-2', undefined]);
  await session.close();
});
