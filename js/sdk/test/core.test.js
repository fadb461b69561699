// The core alone: what it does without the parts that are imported one by one.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, FaultError } from '../src/core.js';
import { events } from '../src/events.js';
import { keep } from '../src/keep.js';
import { FakeServer, FakeTime, event, fault, page, settled, welcome } from './fakes.js';

/** A client that is joined and live, of the core and these parts. */
async function joined(parts = {}, said = welcome()) {
  const time = new FakeTime(), server = new FakeServer();
  const connecting = connect({ url: 'ws://a', token: 'token', transport: server.Transport, clock: time.clock, timers: time.timers, surroundings: page(), ...parts });
  await settled();
  server.last.open();
  server.last.say(said, { type: 'replayed', to: said.cursor.seq });
  return { time, server, session: await connecting };
}

/** What a session tells, by these types. */
function heard(session, ...types) {
  const told = [];
  for (const type of types) session.on(type, (it) => told.push(it));
  return told;
}

const started = event(1, 'turn.started', { turn: 't-1', attempt: 1 });
const text = (from, to, at_byte, data) => ({ type: 'event', from, to, kind: 'text', data: { turn: 't-1', attempt: 1, at_byte, data } });

test('the_core_recovers_and_what_is_resent_of_a_text_is_told_once_m5', async () => {
  const { time, server, session } = await joined();
  const told = heard(session, 'text', 'connection_lost', 'recovered');
  server.last.say(started, text(2, 2, 0, 'abc'));
  const command = session.say('later');
  server.last.die();
  await time.pass(1_000);
  server.last.open();
  assert.deepEqual(server.last.got('hello')[0].resume.cursor, { epoch: 1, seq: 2 });
  server.last.say(welcome('resumed', 2), text(2, 3, 0, 'abcdef'), { type: 'replayed', to: 3 });
  assert.deepEqual(told.map((it) => it.data?.data ?? it.type), ['abc', 'connection_lost', 'def', 'recovered']);
  const [said] = server.last.got('command');
  server.last.say({ type: 'receipt', n: said.n, ok: { turn: 't-2' } });
  assert.deepEqual(await command, { turn: 't-2' });
  await session.close();
});

test('after_a_gap_the_core_goes_on_from_the_servers_fold_m5', async () => {
  const { server, session } = await joined();
  const told = heard(session, 'gap', 'text');
  const snapshot = { backend: 'echo', turns: [{ turn: 't-1', attempt: 1, bytes: 3, state: 'running' }], turns_ended: 0, novel: true };
  server.last.say({ type: 'gap', from: 1, to: 5, epoch: 1, snapshot }, text(5, 6, 0, 'abcdef'));
  assert.deepEqual([told[0].snapshot, told[1].data.data], [snapshot, 'def']);
  server.last.say({ type: 'gap', from: 7, to: 9, epoch: 1, snapshot: { turns: 'none', turns_ended: 0 } });
  assert.equal(server.sockets[0].closedWith, 4003, 'a fold that it cannot go on from is refused');
  await session.close();
});

test('the_core_passes_events_on_unread_and_refuses_what_it_must_read_itself_a35', async () => {
  const { server, session } = await joined();
  const told = heard(session, 'item', 'text', 'from.the.future', 'protocol_notice');
  server.last.say(event(1, 'item', 'anything'), event(2, 'from.the.future', 7), event(3, 'text', { turn: 't-1', attempt: 1, at_byte: -1, data: 'x' }), text(4, 4, 0, 'y'));
  assert.deepEqual(told.map((it) => it.data?.data ?? it.data ?? it.notice), ['anything', 7, 'malformed_event', 'y']);
  server.last.say({ type: 'event', from: 5, to: 5, kind: 'session.ended', data: { reason: 'operator' } }, { type: 'ended', reason: 'operator', at: 1 });
  assert.equal(await session.over(), 'operator');
});

test('what_the_core_was_not_given_is_refused_typed', async () => {
  const { time, session } = await joined();
  for (const use of [() => session.media, () => session.events()]) assert.throws(use, (error) => error instanceof FaultError && error.code === 'invalid_request');
  session.simulate('drop_transport');
  assert.equal(session.status.state, 'live');
  await session.close();
  assert.equal(time.pending, 0);
});

test('a_close_code_alone_is_heeded_by_the_core_and_codes_speak_for_themselves_m6', async () => {
  for (const [code, retry, words] of [[4402, 'after_action', 'token expired'], [4503, 'after', 'at capacity'], [4403, 'never', 'connection closed'], [4507, 'after', 'connection closed']]) {
    const { server, session } = await joined();
    server.last.die(code);
    const { cause, ...rest } = session.status.fault;
    assert.deepEqual([rest.retry.when, rest.message, rest.detail.close_code], [retry, words, code]);
    await session.close();
    assert.equal(cause, undefined);
  }
});

test('parts_are_added_to_the_core_one_by_one', async () => {
  const stored = new Map(), storage = { getItem: (name) => stored.get(name) ?? null, setItem: (name, text) => stored.set(name, text), removeItem: (name) => stored.delete(name) };
  const locks = { request: async (name, options, hold) => hold() };
  const { server, session } = await joined({ events, keep: keep('test', { storage, locks }) });
  server.last.say(event(1));
  const seen = [];
  for await (const { type } of session.events()) {
    seen.push(type);
    if (type === 'log') break;
  }
  assert.deepEqual(seen, ['joined', 'log']);
  const time = new FakeTime(), next = new FakeServer();
  const again = connect({ url: 'ws://a', token: 'token', transport: next.Transport, clock: time.clock, timers: time.timers, surroundings: page(), keep: keep('test', { storage, locks }) });
  await settled();
  next.last.open();
  assert.deepEqual(next.last.got('hello')[0].resume, { participant: 'p-1', key: 'key', cursor: { epoch: 1, seq: 0 }, strategy: 'fast' });
  next.last.say(fault('session_not_found', { when: 'never' }, 'session'));
  next.last.die(4404);
  await assert.rejects(again, { code: 'session_not_found' });
});
