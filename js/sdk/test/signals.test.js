// What is waited for is given up by an `AbortSignal`: the promise rejects with its reason, what was begun goes on,
// and nothing stays on the signal.

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';

import { fromCamera } from '../src/media.js';
import { ModelTrack, published, receipt, settled, withMedia } from './media-rig.js';
import { event, joined, rig, welcome } from './rig.js';

/** How many listen on a signal. */
const listeners = (signal) => getEventListeners(signal, 'abort').length;

/** Aborts what `begin` waits for once it was begun: it rejects with the reason, and leaves no listener. */
async function givenUp(begin) {
  const stop = new AbortController(), why = new Error('enough');
  const waiting = begin({ signal: stop.signal });
  waiting.catch(() => {});
  await settled();
  assert.equal(listeners(stop.signal), 1, 'it waits');
  stop.abort(why);
  assert.equal(listeners(stop.signal), 0, 'at once, and not when what was begun is done');
  await assert.rejects(waiting, why);
}

/** What waits for a signal that is aborted already rejects with the reason, and leaves no listener. */
async function tooLate(begin) {
  const why = new Error('too late'), signal = AbortSignal.abort(why);
  await assert.rejects(begin({ signal }), why);
  assert.equal(listeners(signal), 0);
}

/** What is done in time leaves no listener either. */
async function inTime(begin) {
  const { signal } = new AbortController();
  const done = await begin({ signal });
  assert.equal(listeners(signal), 0);
  return done;
}

/** Nothing that a test gives up is an error that nobody handles. */
const unhandled = [];
process.on('unhandledRejection', (error) => unhandled.push(error));

/** By what it is called, with the number of its command. */
const commands = ({ server }) => server.last.got('command').map(({ name }) => name);

test('every_command_of_a_session_is_waited_for_until_its_signal_says_so', async () => {
  const parts = await joined();
  const { session, socket } = parts;
  const all = [
    ['say', (options) => session.say('x', options)],
    ['send', (options) => session.send(1, options)],
    ['turn.cancel', (options) => session.cancel('t-1', options)],
    ['params.set', (options) => session.set({}, options)],
    ['turn.answer', (options) => session.answer('t-1', 'a', 1, options)],
    ['turn.retry', (options) => session.retry('t-1', options)],
    ['turn.continue', (options) => session.continueTurn('t-1', options)],
    ['turn.promote', (options) => session.promote('t-1', options)],
    ['session.describe', (options) => session.describe({}, options)],
    ['debug.fault', (options) => session.inject({ kind: 'x' }, options)],
    ['session.end', (options) => session.end(options)],
  ];
  for (const [, begin] of all) await tooLate(begin);
  assert.deepEqual(commands(parts), []);
  for (const [, begin] of all) await givenUp(begin);
  assert.deepEqual(commands(parts), all.map(([name]) => name), 'what was sent is not undone');
  const last = all.length + 1;
  const said = inTime((options) => session.say('x', options));
  socket.say({ type: 'receipt', n: last, ok: { turn: 't-2' } });
  assert.deepEqual(await said, { turn: 't-2' });
  await session.close();
});

test('a_signal_that_is_aborted_by_what_is_begun_is_heard', async () => {
  const { session, socket } = await joined();
  const stop = new AbortController();
  socket.send = () => stop.abort(new Error('from within'));
  await assert.rejects(session.say('x', { signal: stop.signal }), { message: 'from within' });
  assert.equal(listeners(stop.signal), 0);
  await session.close();
});

test('the_end_is_waited_for_until_a_signal_says_so_and_comes_all_the_same', async () => {
  const { session, socket } = await joined();
  await tooLate((options) => session.over(options));
  await givenUp((options) => session.over(options));
  const over = inTime((options) => session.over(options));
  socket.say({ type: 'ended', reason: 'ended', at: 1 });
  assert.equal(await over, 'ended');
});

test('connecting_again_goes_on_without_who_waited_for_it', async () => {
  const { time, server, socket, session } = await joined({ giveUpAfterMs: 1_000 });
  socket.die();
  await time.pass(1_001);
  assert.equal(session.status.state, 'failed');
  const dialed = server.sockets.length;
  await tooLate((options) => session.reconnect(options));
  assert.deepEqual([server.sockets.length, session.status.state], [dialed, 'failed'], 'nothing is begun');
  await givenUp((options) => session.reconnect(options));
  server.last.open();
  server.last.say(welcome('resumed'), { type: 'replayed', to: 0 });
  assert.equal(session.status.state, 'live');
  await session.close();
});

test('a_connect_leaves_nothing_on_its_signal', async () => {
  const { signal } = new AbortController();
  const { session } = await joined({ signal });
  assert.equal(listeners(signal), 0);
  await session.close();
  await givenUp((options) => rig(options).connecting);
});

test('detaching_goes_on_without_who_waited_for_it_m12', async () => {
  const { time, socket, session } = await joined();
  await givenUp((options) => session.detach(options));
  assert.equal(socket.got('detach').length, 1);
  socket.say({ type: 'ended', reason: 'detached', at: 1 });
  await settled();
  assert.deepEqual([session.status.reason, time.pending], ['detached', 0]);
});

test('detaching_is_done_even_if_nobody_waits_and_the_server_says_nothing_m12', async () => {
  const { time, socket, session, surroundings } = await joined();
  await tooLate((options) => session.detach(options));
  assert.equal(socket.got('detach').length, 1, 'it is told all the same');
  await time.pass(1_000);
  assert.deepEqual([session.status.state, session.status.reason, time.pending], ['ended', 'detached', 0]);
  surroundings.window.dispatchEvent(new Event('online'));
  await assert.rejects(session.reconnect(), { code: 'connection_closed' });
});

test('a_failed_session_that_is_left_with_an_aborted_signal_is_left_for_good_m12', async () => {
  const { time, socket, session } = await joined({ giveUpAfterMs: 1_000 });
  socket.die();
  await time.pass(1_001);
  await tooLate((options) => session.detach(options));
  await settled();
  await assert.rejects(session.reconnect(), { code: 'connection_closed' });
});

test('closing_is_done_even_if_nobody_waits_for_it_m12', async () => {
  for (const close of [givenUp, tooLate]) {
    const { time, socket, session } = await joined();
    socket.close = () => {}; // The closing handshake takes its time.
    await close((options) => session.close(options));
    assert.deepEqual([session.status.state, time.pending], ['ended', 1]);
    await time.pass(1_000);
    assert.equal(time.pending, 0);
  }
  const { session } = await joined();
  await inTime((options) => session.close(options));
});

test('listeners_and_readers_leave_nothing_on_a_signal', async () => {
  const { session, socket } = await joined();
  const stop = new AbortController(), seen = [];
  session.on('log', () => seen.push('log'), { signal: stop.signal });
  const reader = session.events({ signal: stop.signal });
  assert.equal(listeners(stop.signal), 2);
  stop.abort();
  const aborted = AbortSignal.abort();
  session.on('log', () => seen.push('log'), { signal: aborted });
  const late = session.events({ signal: aborted });
  socket.say(event(1));
  assert.deepEqual([seen, (await reader.next()).done, (await late.next()).done], [[], true, true]);
  assert.deepEqual([listeners(stop.signal), listeners(aborted)], [0, 0]);
  await session.close();
});

test('a_track_that_is_replaced_stays_so_whoever_waits', async () => {
  const parts = await withMedia();
  const { publication, track, pc } = await published(parts);
  await tooLate((options) => publication.replaceTrack(new ModelTrack(), options));
  assert.equal(publication.track, track, 'nothing is begun');
  const { sender } = pc.getTransceivers()[0], replace = sender.replaceTrack;
  let go;
  sender.replaceTrack = (next) => new Promise((done) => (go = () => done(replace(next))));
  const ended = new ModelTrack();
  ended.end();
  await givenUp((options) => publication.replaceTrack(ended, options));
  assert.deepEqual([publication.track, publication.muted], [ended, false]);
  const sent = go;
  sender.replaceTrack = replace;
  sent();
  await settled();
  assert.deepEqual([publication.muted, parts.told.map(({ type }) => type)], [true, ['publication_ended']], 'what comes after it is done, too');
  const next = new ModelTrack();
  await inTime((options) => publication.replaceTrack(next, options));
  await tooLate((options) => publication.replaceTrack(new ModelTrack('audio'), options));
  assert.equal(publication.track, next);
  await parts.session.close();
});

test('silence_that_is_said_is_meant_whoever_waits', async () => {
  const parts = await withMedia();
  const { socket } = parts;
  const { publication, track, pc } = await published(parts);
  await tooLate((options) => publication.mute(options));
  assert.deepEqual([publication.muted, commands(parts)], [false, ['track.publish']], 'nothing is begun');
  await givenUp((options) => publication.mute(options));
  assert.deepEqual([publication.muted, Object.values(pc.sends), socket.got('command').at(-1).data], [true, [null], { track: 'camera', muted: true }]);
  await tooLate((options) => publication.unmute(options));
  assert.equal(publication.muted, true);
  await givenUp((options) => publication.unmute(options));
  assert.deepEqual([publication.muted, Object.values(pc.sends), socket.got('command').at(-1).data], [false, [track], { track: 'camera', muted: false }]);
  const muting = inTime((options) => publication.mute(options));
  for (const { n } of socket.got('command').slice(1)) socket.say(receipt(n));
  await muting;
  await parts.session.close();
});

test('what_is_unpublished_is_so_whoever_waits', async () => {
  const parts = await withMedia();
  const { publication } = await published(parts);
  await tooLate((options) => publication.unpublish(options));
  assert.equal(parts.media.publications.get('camera'), publication, 'nothing is begun');
  await givenUp((options) => publication.unpublish(options));
  assert.deepEqual([parts.media.publications.size, commands(parts)], [0, ['track.publish', 'track.unpublish']]);
  await inTime((options) => publication.unpublish(options));
  await parts.session.close();
});

test('a_wish_that_is_said_stands_whoever_waits', async () => {
  const parts = await withMedia({ receive: true });
  const { media, socket, server } = parts;
  await tooLate(({ signal }) => media.subscribe('p-2', 'camera', { wanted: false, signal }));
  assert.deepEqual(commands(parts), []);
  await givenUp(({ signal }) => media.subscribe('p-2', 'camera', { max: 'low', signal }));
  assert.deepEqual(socket.got('command').at(-1).data, { participant: 'p-2', track: 'camera', wanted: true, max: 'low' });
  const again = inTime(({ signal }) => media.subscribe('p-2', 'screen', { signal }));
  for (const { n } of server.last.got('command')) server.last.say(receipt(n));
  await again;
  server.last.say({ type: 'ephemeral', kind: 'subscriptions', data: { kept: [] } });
  await settled();
  assert.deepEqual(socket.got('command').slice(2).map(({ data }) => data.max), ['low'], 'it is said again to who has not kept it');
  await parts.session.close();
});

test('figures_that_do_not_come_are_given_up', async () => {
  const parts = await withMedia();
  const { media, time } = parts;
  const { pc } = await published(parts);
  assert.deepEqual(await inTime((options) => media.stats(options)), []);
  let asked = 0;
  pc.getStats = () => {
    asked += 1;
    return new Promise(() => {});
  };
  await tooLate((options) => media.stats(options));
  assert.equal(asked, 0);
  await givenUp((options) => media.stats(options));
  assert.equal(asked, 1);
  await time.pass(2_000);
  await parts.session.close();
  assert.equal(time.pending, 0);
});

test('what_is_published_or_filmed_for_nobody_leaves_nothing_on_a_signal', async () => {
  const parts = await withMedia();
  const { media, socket } = parts;
  await tooLate(({ signal }) => media.publish(new ModelTrack(), { signal }));
  await givenUp(({ signal }) => media.publish(new ModelTrack(), { signal }));
  socket.say(receipt(1));
  await settled();
  assert.deepEqual(commands(parts), ['track.publish', 'track.unpublish']);
  const track = new ModelTrack();
  let grant;
  const devices = { getUserMedia: () => new Promise((done) => (grant = () => done({ getTracks: () => [track] }))) };
  await tooLate(({ signal }) => fromCamera({}, { devices, signal }));
  assert.equal(grant, undefined, 'nobody is asked');
  await givenUp(({ signal }) => fromCamera({}, { devices, signal }));
  grant();
  await settled();
  assert.equal(track.readyState, 'ended');
  const asking = inTime(({ signal }) => fromCamera({}, { devices, signal }));
  grant();
  assert.deepEqual(await asking, [track]);
  await parts.session.close();
});

test('what_is_given_up_and_fails_later_is_nobodys_error', async () => {
  const parts = await withMedia();
  const { publication } = await published(parts);
  const all = [
    (options) => publication.mute(options), ({ signal }) => parts.media.subscribe('p-2', 'camera', { signal }),
    ({ signal }) => parts.media.publish(new ModelTrack('audio'), { signal }), (options) => publication.unpublish(options),
  ];
  for (const begin of all) await givenUp(begin);
  // Closed, and given up, by what the publishing itself brings about.
  const stop = new AbortController();
  parts.socket.send = () => {
    parts.session.close();
    stop.abort();
  };
  await assert.rejects(parts.media.publish(new ModelTrack('audio'), { name: 'last', signal: stop.signal }), { name: 'AbortError' });
  await settled();
  assert.deepEqual(unhandled, []);
});
