// The shell over a scripted transport and a clock that is a number.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { connect, FaultError } from '../src/index.js';
import { EVENTS_MAX } from '../src/feed.js';
import { check } from '../src/wire/status.js';
import { event, fault, joined, live, rig, settled, welcome } from './rig.js';

/** Everything that a session tells, by type. */
function told(session, ...types) {
  const seen = [];
  for (const type of types) session.on(type, (event) => seen.push(event));
  return seen;
}

/** So many events of a reader. */
async function take(reader, count) {
  const events = [];
  while (events.length < count) events.push((await reader.next()).value);
  return events;
}

test('connect_says_hello_and_resolves_when_joined_m13', async () => {
  const { server, connecting } = rig({ backend: 'echo', admission: 'wait', params: { a: 1 } });
  await settled();
  assert.deepEqual([server.last.url, server.last.protocol], ['ws://a/v1/connect', 'evenkeel.v1.json']);
  server.last.open();
  const [hello] = server.last.got('hello');
  assert.deepEqual([hello.token, hello.backend, hello.admission, hello.params, hello.role], ['token', 'echo', { policy: 'wait' }, { a: 1 }, 'owner']);
  server.last.say(welcome());
  const session = await connecting;
  assert.deepEqual([session.id, session.participant, session.status.state], ['s-1', 'p-1', 'connecting']);
  server.last.say({ type: 'replayed', to: 0 });
  assert.equal(session.status.state, 'live');
  await session.close();
});

test('a_refused_connect_throws_the_fault_and_leaves_nothing_m1_m30', async () => {
  const { time, server, connecting } = rig();
  await settled();
  server.last.open();
  server.last.say(fault('permission_denied'));
  server.last.die(4403, 'permission_denied');
  await assert.rejects(connecting, (error) => error instanceof FaultError && error.code === 'permission_denied' && error.retry.when === 'never');
  assert.equal(time.pending, 0);
});

test('what_makes_no_sense_is_refused_before_anything_is_dialed', async () => {
  const cases = [[{ token: '' }, 'unauthenticated'], [{ url: [] }, 'invalid_request'], [{ url: 'ftp://a' }, 'invalid_request'], [{ url: 'ws://a/?token=x' }, 'invalid_request']];
  for (const [options, code] of cases) {
    const { server, connecting } = rig(options);
    await assert.rejects(connecting, { code });
    assert.equal(server.sockets.length, 0);
  }
});

test('an_aborted_connect_drops_its_socket_and_throws_the_reason', async () => {
  const stop = new AbortController();
  const { time, server, connecting } = rig({ signal: stop.signal });
  await settled();
  stop.abort(new Error('enough'));
  await assert.rejects(connecting, { message: 'enough' });
  await settled();
  assert.deepEqual([server.last.closedWith, time.pending], ['none', 0]);
  await assert.rejects(connect({ token: 't', url: 'ws://a', signal: AbortSignal.abort(new Error('early')) }), { message: 'early' });
});

test('a_loss_is_told_once_and_recovered_with_nothing_lost_or_doubled_m10_n01', async () => {
  const { server, socket, session } = await joined({}, 2);
  const seen = told(session, 'connection_lost', 'recovered', 'status');
  const logs = told(session, 'log');
  socket.die();
  assert.equal(session.status.state, 'recovering');
  await settled();
  const next = server.last;
  assert.notEqual(next, socket);
  next.open();
  const [{ resume }] = next.got('hello');
  assert.deepEqual([resume.key, resume.cursor, resume.strategy], ['key', { epoch: 1, seq: 2 }, 'fast']);
  next.say(welcome('resumed', 4), event(3), event(4), event(4), { type: 'replayed', to: 4 });
  assert.deepEqual(seen.map(({ type, state }) => type ?? state), ['connection_lost', 'recovering', 'recovered', 'live'].map(String));
  assert.deepEqual(logs.map(({ from }) => from), [3, 4]);
  assert.deepEqual(session.cursor, { epoch: 1, seq: 4 });
  await session.close();
});

test('commands_have_one_receipt_each_and_wait_out_a_loss_m5_m27', async () => {
  const { server, socket, session } = await joined();
  const receipts = told(session, 'receipt');
  const first = session.say('one');
  socket.die();
  const second = session.set({ a: null });
  const third = session.send({ x: 1 }, { ttl: 60_000 });
  await settled();
  const next = server.last;
  next.open();
  next.say(welcome('resumed', 0, 1), { type: 'replayed', to: 0 });
  assert.deepEqual(next.got('command').map(({ n, name }) => [n, name]), [[2, 'params.set'], [3, 'send']], 'what was taken is not sent again');
  assert.ok(next.got('command')[1].ttl_ms <= 60_000);
  next.say({ type: 'receipt', n: 1, ok: { turn: 't-1' } }, { type: 'receipt', n: 2, ok: { version: 1 } }, { type: 'receipt', n: 3, fault: fault('rate_limited', { when: 'after', ms: 5 }, 'command').fault });
  assert.deepEqual([await first, await second], [{ turn: 't-1' }, { version: 1 }]);
  await assert.rejects(third, { code: 'rate_limited', outcome: 'faulted' });
  assert.deepEqual(receipts.map(({ name }) => name), ['say', 'params.set', 'send']);
  await session.close();
});

test('commands_end_with_the_session_and_say_whether_they_may_have_run_m5_e7', async () => {
  const { socket, session } = await joined();
  const sent = session.say('sent');
  socket.die();
  const queued = session.say('queued');
  await session.close();
  await assert.rejects(sent, { code: 'connection_closed', outcome: 'unknown' });
  await assert.rejects(queued, { code: 'connection_closed', outcome: 'refused' });
  await assert.rejects(session.say('late'), { code: 'connection_closed', outcome: 'refused' });
});

test('aborting_a_command_stops_the_waiting_and_not_the_command', async () => {
  const { socket, session } = await joined();
  const stop = new AbortController();
  const waited = session.say('x', { signal: stop.signal });
  stop.abort(new Error('bored'));
  await assert.rejects(waited, { message: 'bored' });
  await assert.rejects(session.say('never', { signal: stop.signal }), { message: 'bored' });
  assert.deepEqual(socket.got('command').map(({ data }) => data.text), ['x']);
  await assert.rejects(session.over({ signal: stop.signal }), { message: 'bored' });
  const loop = {};
  loop.loop = loop;
  await assert.rejects(session.send(loop), { code: 'invalid_request', outcome: 'refused' });
  await session.close();
});

test('a_full_outbox_refuses_and_drops_nothing_m27', async () => {
  const { socket, session } = await joined();
  socket.die();
  const commands = Array.from({ length: 257 }, (_, n) => session.say(`${n}`));
  await assert.rejects(commands.at(-1), { code: 'outbox_full', outcome: 'refused' });
  const large = session.say('x'.repeat(66_000));
  await assert.rejects(large, { code: 'invalid_request', outcome: 'refused' });
  await session.close();
  const ends = await Promise.allSettled(commands);
  assert.equal(ends.filter(({ reason }) => reason.outcome === 'refused').length, 257);
});

test('beats_are_answered_in_the_message_handler_p05', async () => {
  const { time, socket, session } = await joined();
  time.jump(6_000); // No timer has run, as in a hidden tab.
  socket.say({ type: 'beat', n: 1, seq: 0 });
  assert.deepEqual(socket.got('beat'), [{ type: 'beat', n: 1, seq: 0 }]);
  assert.equal(session.status.state, 'live');
  await session.close();
});

test('a_timer_that_fires_late_hears_what_came_meanwhile_first_p02_p05', async () => {
  const { time, server, socket, session } = await joined();
  const lost = told(session, 'connection_lost');
  time.jump(60_000); // Frozen; then the timer runs first, and the message that waited after it.
  const passing = time.pass(0);
  socket.say({ type: 'beat', n: 1, seq: 0 });
  await passing;
  assert.deepEqual([lost.length, server.sockets.length, session.status.state], [0, 1, 'live']);
  await session.close();
});

test('silence_starts_a_second_connection_and_the_first_is_kept_until_its_welcome_m11_m29', async () => {
  const { time, server, socket, session } = await joined();
  const lost = told(session, 'connection_lost');
  await time.pass(7_001);
  assert.deepEqual([lost[0].fault.code, server.sockets.length, socket.closedWith], ['heartbeat_timeout', 2, undefined]);
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  assert.deepEqual([socket.closedWith, session.status.state], [1000, 'live']);
  await session.close();
});

test('the_page_tells_of_networks_and_of_waking_p02', async () => {
  const { server, socket, surroundings, session } = await joined();
  surroundings.window.dispatchEvent(new Event('offline'));
  socket.die();
  assert.deepEqual([server.sockets.length, session.status.legs[0].waiting_for], [1, 'network']);
  surroundings.window.dispatchEvent(new Event('online'));
  assert.equal(server.sockets.length, 2, 'at once');
  await session.close();
  // Each on a connection of its own: none hides behind another.
  for (const [target, ...events] of [['document', 'visibilitychange'], ['window', 'pageshow'], ['document', 'resume'], ['window', 'offline', 'online']]) {
    const { time, server, surroundings, session } = await joined(), dials = [];
    for (const ms of [0, 5_000, 0]) {
      time.jump(ms);
      for (const name of events) surroundings[target].dispatchEvent(new Event(name));
      dials.push(server.sockets.length);
    }
    assert.deepEqual(dials, [1, 2, 2], `${events.at(-1)}: a connection that is overdue is probed, once`);
    await session.close();
  }
});

test('a_token_that_is_a_function_is_asked_for_at_each_need_m42_p11', async () => {
  let asked = 0;
  const token = async ({ signal }) => {
    assert.ok(signal instanceof AbortSignal);
    asked += 1;
    if (asked === 2) throw new Error('the house is empty');
    return `token ${asked}`;
  };
  const { socket, session } = await joined({ token });
  assert.equal(socket.got('hello')[0].token, 'token 1');
  socket.say({ type: 'ephemeral', kind: 'token.expiring', data: {} });
  await settled();
  assert.equal(session.status.state, 'live', 'nobody waited for the one that failed');
  socket.say({ type: 'ephemeral', kind: 'token.expiring', data: {} });
  await settled();
  assert.deepEqual(socket.got('auth'), [{ type: 'auth', token: 'token 3' }]);
  session.refreshToken('mine');
  assert.deepEqual(socket.got('auth').at(-1), { type: 'auth', token: 'mine' });
  await session.close();
});

test('a_token_that_never_comes_is_waited_for_ten_seconds_m3', async () => {
  let signal;
  const { time, connecting } = rig({ token: (context) => new Promise(() => void ({ signal } = context)) });
  await settled();
  await time.pass(10_001);
  await assert.rejects(connecting, { code: 'handshake_timeout' });
  assert.deepEqual([signal.aborted, time.pending], [true, 0]);
});

test('events_come_in_order_to_every_reader_and_end_with_the_session', async () => {
  const { socket, session } = await joined({}, 1);
  const first = session.events();
  socket.say(event(2));
  const second = session.events();
  socket.say(event(3), { type: 'ended', reason: 'ended', at: 1 });
  const seen = [];
  for await (const { type, from, to } of first) seen.push([type, from, to]);
  assert.deepEqual(seen, [['joined', undefined, undefined], ['log', 1, 1], ['log', 2, 2], ['log', 3, 3], ['ended', undefined, undefined]]);
  const late = [];
  for await (const { type, from, to } of second) late.push([type, from, to]);
  assert.deepEqual(late, [['gap', 1, 3], ['ended', undefined, undefined]], 'the fold in place of what was before');
  assert.equal(await session.over(), 'ended');
});

test('a_reader_that_does_not_keep_up_gets_a_gap_and_nobody_is_waited_for_p04', async () => {
  const { socket, session } = await joined();
  const slow = told(session, 'slow_consumer');
  const reader = session.events();
  await take(reader, 1);
  const far = EVENTS_MAX + 5;
  for (let at = 1; at <= far; at += 1) socket.say(event(at));
  assert.equal(slow.length, 1);
  const [gap] = await take(reader, 1);
  assert.deepEqual([gap.type, gap.from, gap.to, gap.fault.code], ['gap', 1, far, 'slow_consumer']);
  socket.say(event(far + 1));
  const [next] = await take(reader, 1);
  assert.deepEqual([next.type, next.from], ['log', far + 1], 'and goes on from there');
  await session.close();
  const rest = [];
  for await (const { type } of reader) rest.push(type);
  assert.deepEqual(rest, ['ended']);
});

test('a_reader_can_be_left_by_break_return_and_signal', async () => {
  const { socket, session } = await joined();
  for await (const { type } of session.events()) {
    assert.equal(type, 'joined');
    break;
  }
  const stop = new AbortController();
  const reader = session.events({ signal: stop.signal });
  const waiting = reader.next();
  stop.abort();
  assert.deepEqual(await waiting, { value: undefined, done: true });
  const unbegun = session.events();
  await unbegun.return();
  socket.say(event(1));
  assert.deepEqual(await unbegun.next(), { value: undefined, done: true });
  await session.close();
});

test('listeners_are_typed_unsubscribed_and_cannot_break_the_session', async (context) => {
  const errors = context.mock.method(console, 'error', () => {});
  const { socket, session } = await joined();
  const seen = [];
  const stop = new AbortController();
  const off = session.on('message', ({ data }) => seen.push(['message', data.data]));
  session.on('log', ({ kind }) => seen.push(['log', kind]), { signal: stop.signal });
  session.on('log', () => {
    throw new Error('an application');
  });
  socket.say(event(1));
  off();
  stop.abort();
  socket.say(event(2), { type: 'event', from: 3, to: 3, kind: 'status', data: { state: 'failed' } });
  assert.deepEqual(seen, [['log', 'message'], ['message', 1]]);
  assert.equal(errors.mock.callCount(), typeof globalThis.reportError === 'function' ? 0 : 3);
  assert.equal(session.cursor.seq, 3);
  await session.close();
});

test('a_listener_may_act_on_the_session_and_the_order_holds', async () => {
  const { time, socket, session } = await joined();
  const seen = [];
  let closing;
  session.on('message', () => {
    session.say('from within');
    seen.push('message');
  });
  session.on('receipt', () => seen.push('receipt'));
  session.on('ended', () => seen.push('ended'));
  session.on('ephemeral', () => (closing = session.close()));
  socket.say(event(1));
  assert.equal(socket.got('command').length, 1);
  socket.say({ type: 'ephemeral', kind: 'x', data: 1 });
  await closing;
  assert.deepEqual([seen, socket.closedWith, time.pending], [['message', 'receipt', 'ended'], 1000, 0]);
});

test('after_close_nothing_is_left_and_nothing_goes_out_e7_m12_m30', async () => {
  const { time, socket, surroundings, session } = await joined();
  const seen = told(session, 'log', 'connection_lost', 'status', 'ended');
  await session.close();
  const told0 = seen.length, sent = socket.sent.length;
  socket.say(event(1));
  surroundings.window.dispatchEvent(new Event('online'));
  session.simulate('drop_transport');
  await time.pass(300_000);
  assert.deepEqual([seen.length, socket.sent.length, time.pending, socket.closedWith], [told0, sent, 0, 1000]);
  assert.equal(seen.at(-1).type, 'ended');
  await assert.rejects(session.reconnect(), { code: 'connection_closed' });
});

test('detaching_tells_the_server_and_waits_for_its_word_m12', async () => {
  const { socket, session } = await joined();
  const left = session.detach();
  assert.equal(socket.got('detach').length, 1);
  socket.say({ type: 'ended', reason: 'detached', at: 1 });
  await left;
  assert.deepEqual(session.status, { ...session.status, state: 'ended', reason: 'detached' });
});

test('a_failed_session_is_connected_again_by_its_caller_only_m15', async () => {
  const { time, server, socket, session } = await joined({ giveUpAfterMs: 3_000 });
  socket.die();
  const refusing = setInterval(() => server.last.readyState === 0 && server.last.die(), 0);
  await time.pass(4_000);
  clearInterval(refusing);
  assert.equal(session.status.state, 'failed');
  await assert.rejects(session.over(), { code: 'recovery_deadline' });
  const dialed = server.sockets.length;
  await time.pass(60_000);
  assert.deepEqual([server.sockets.length, time.pending], [dialed, 0]);
  const again = session.reconnect();
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  await again;
  assert.equal(session.status.state, 'live');
  const [first] = await take(session.events(), 1);
  assert.equal(first.type, 'joined');
  await session.close();
});

test('faults_are_simulated_by_the_way_of_the_real_ones_m39', async () => {
  const { server, socket, session } = await joined();
  const lost = told(session, 'connection_lost');
  session.simulate('drop_transport');
  assert.deepEqual([lost[0].fault.detail.simulated, socket.closedWith, server.sockets.length], ['drop_transport', 'none', 2]);
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  const second = server.last;
  session.simulate({ kind: 'lose_frames', count: 1 });
  second.say(event(1), event(2));
  assert.equal(lost.length, 2, 'the hole is seen');
  assert.equal(second.closedWith, 4003, 'a code that a browser may send');
  await session.close();
});

test('broken_binary_and_hostile_messages_end_the_connection_and_not_the_page_a34', async () => {
  const { server, socket, session } = await joined();
  const lost = told(session, 'connection_lost');
  socket.onmessage({ data: new Uint8Array([1, 2, 3]).buffer });
  assert.equal(lost[0].fault.code, 'protocol_error');
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 }, { type: 'status', status: { ...live, legs: 'none' } });
  assert.equal(lost.length, 2);
  assert.equal({}.polluted, undefined);
  await session.close();
});

test('a_connection_that_takes_nothing_more_is_replaced', async () => {
  const { server, socket, session } = await joined();
  socket.bufferedAmount = 5 * 1024 * 1024;
  void session.say('x');
  await settled();
  assert.equal(server.sockets.length, 2);
  assert.equal(session.status.state, 'recovering');
  await session.close();
});

test('a_transport_that_cannot_be_made_is_a_fault_and_no_exception', async () => {
  const transport = class {
    constructor() {
      throw new DOMException('refused by policy', 'SecurityError');
    }
  };
  await assert.rejects(rig({ transport }).connecting, (error) => error.code === 'transport_error' && error.fault.message === 'refused by policy');
});

test('a_socket_that_fails_without_a_close_is_told_once_all_the_same', async () => {
  const stop = new AbortController();
  const { time, server, connecting } = rig({ retryFirstConnect: true, signal: stop.signal });
  await settled();
  const [socket] = server.sockets;
  socket.onerror({});
  socket.die();
  await time.pass(200); // The first wait is at most 100 ms.
  assert.deepEqual(server.sockets.map(({ readyState }) => readyState), [3, 0], 'one end, one new try');
  stop.abort();
  await assert.rejects(connecting);
});

test('the_status_is_told_through_a_loss_a_failure_and_a_return_m40', async () => {
  const { time, server, socket, session } = await joined({ giveUpAfterMs: 2_000 });
  const states = [];
  session.on('status', (status) => {
    assert.equal(check(status), undefined);
    if (states.at(-1) !== status.state) states.push(status.state);
  });
  socket.say({ type: 'status', status: { ...live, state: 'degraded', fault: fault('store_failed').fault } });
  socket.say({ type: 'status', status: live });
  socket.die();
  await time.pass(2_001);
  const again = session.reconnect();
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  await again;
  await session.close();
  assert.deepEqual(states, ['degraded', 'live', 'recovering', 'failed', 'connecting', 'live', 'ended']);
});
