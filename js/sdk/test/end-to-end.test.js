// A real server, real sockets, real faults: what was said is neither lost nor doubled. Needs a built
// `evenkeel`: EVENKEEL_BIN.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { connect } from '../src/index.js';

const hasBinary = Boolean(process.env.EVENKEEL_BIN);
const hasWebSocket = typeof globalThis.WebSocket === 'function';
const skip = !hasBinary ? 'needs: EVENKEEL_BIN' : !hasWebSocket ? 'run again with a WebSocket' : false;
const options = { skip, timeout: 120_000 };

if (hasBinary && !hasWebSocket) {
  // Before Node 22 there is one behind a flag.
  test('with_a_websocket', () => {
    const env = { ...process.env };
    delete env.NODE_TEST_CONTEXT; // Its report is for people.
    const { status, stdout } = spawnSync(process.execPath, [...process.execArgv, '--experimental-websocket', '--test', fileURLToPath(import.meta.url)], { env, encoding: 'utf8' });
    assert.equal(status, 0, stdout);
  });
}

let server, words;
before(async () => {
  if (skip) return;
  const page = await import('../../../tests/page/server.mjs');
  ({ words } = page);
  server = await page.Server.start();
});
after(() => server?.stop());

const open = (more = {}) => connect({ url: server.url, token: () => server.token(), backend: 'echo', ...more });

/** The text of each turn as the events have it: what is not where it must be is counted. */
class Reading {
  texts = new Map();
  counts = { lost: 0, doubled: 0, events: 0 };
  recovered = [];
  messages = [];
  #waiters = [];
  ends = new Map();
  last = 0;

  constructor(session) {
    this.done = this.#read(session);
  }

  async #read(session) {
    for await (const event of session.events()) {
      if (event.type === 'recovered') this.recovered.push(event.strategy);
      if (event.type === 'gap') [this.last, this.counts.lost] = [event.to, this.counts.lost + (event.to - event.from + 1)];
      if (event.type !== 'log') continue;
      this.counts.events += 1;
      if (event.from !== this.last + 1) this.counts[event.from <= this.last ? 'doubled' : 'lost'] += 1;
      this.last = event.to;
      if (event.kind === 'message') this.messages.push(event.data.data);
      if (event.kind === 'text') {
        const { turn, at_byte, data } = event.data, text = this.texts.get(turn) ?? '';
        if (at_byte !== Buffer.byteLength(text)) this.counts[at_byte < Buffer.byteLength(text) ? 'doubled' : 'lost'] += 1;
        this.texts.set(turn, text + data);
      }
      if (event.kind === 'turn.ended') this.ends.set(event.data.turn, event.data);
      for (const wake of this.#waiters.splice(0)) wake();
    }
  }

  /** Until something holds of what was read. */
  async until(holds) {
    while (!holds(this)) await new Promise((wake) => this.#waiters.push(wake));
  }
}

/** The next event of a type. */
const next = (session, type) => new Promise((resolve) => {
  const off = session.on(type, (event) => {
    off();
    resolve(event);
  });
});

test('a_turn_that_is_cut_ten_times_over_arrives_whole_n01_n03_n05', options, async (context) => {
  const session = await open();
  const reading = new Reading(session);
  const { turn } = await session.say('!count=1500 seed=7 pace_ms=4');
  const cuts = [
    () => session.simulate('drop_transport'),
    () => void session.inject({ kind: 'drop_connection' }),
    () => void session.inject({ kind: 'close_connection', code: 1012 }),
    () => void session.inject({ kind: 'fault_then_close', code: 'server_shutdown' }),
    () => session.simulate({ kind: 'lose_frames', count: 3 }),
    () => session.simulate('half_open'),
    () => session.simulate('drop_transport'),
    () => void session.inject({ kind: 'fault_then_close', code: 'resume_refused' }),
    () => void session.inject({ kind: 'close_connection', code: 1006 }),
    () => session.simulate('drop_transport'),
  ];
  let lost = 0;
  session.on('connection_lost', () => (lost += 1));
  for (const [n, cut] of cuts.entries()) {
    const there = reading.texts.get(turn)?.length ?? 0;
    await reading.until(() => (reading.texts.get(turn)?.length ?? 0) > there || reading.ends.has(turn));
    if (reading.ends.has(turn)) break; // A loaded machine: what was cut so far counts.
    const recovered = next(session, 'recovered');
    cut();
    await recovered;
    assert.ok(lost >= n, `cut ${n} was told`);
  }
  await reading.until(() => reading.ends.has(turn));
  assert.equal(reading.texts.get(turn), words(1500, 7n));
  assert.deepEqual([reading.counts.lost, reading.counts.doubled], [0, 0]);
  context.diagnostic(`recovered ${reading.recovered.length} times (${reading.recovered}), lost ${reading.counts.lost}, doubled ${reading.counts.doubled}`);
  assert.ok(reading.recovered.length >= 5, `${reading.recovered}`);
  assert.equal(session.snapshot.turns.at(-1).bytes, 12_000);
  assert.equal(session.status.state, 'live');
  await session.detach();
  await reading.done;
});

test('commands_that_are_sent_while_cut_off_run_once_each_m5_m27', options, async () => {
  const session = await open();
  const reading = new Reading(session);
  const receipts = [];
  for (let n = 0; n < 40; n += 1) {
    receipts.push(session.send(n));
    if (n % 10 === 5) session.simulate('drop_transport');
  }
  await Promise.all(receipts);
  await reading.until(() => reading.messages.length >= 40);
  assert.deepEqual(reading.messages, Array.from({ length: 40 }, (_, n) => n));
  const { version } = await session.set({ a: { b: 1 } });
  assert.deepEqual([version, session.snapshot.params], [1, { a: { b: 1 } }]);
  await session.end();
  assert.equal(await session.over(), 'ended');
  await reading.done;
});

test('a_server_that_is_killed_and_comes_back_is_come_back_to_s01', options, async () => {
  const session = await open();
  const reading = new Reading(session);
  const { turn } = await session.say('!count=100000 pace_ms=3');
  await reading.until(() => (reading.texts.get(turn)?.length ?? 0) > 200);
  const recovered = next(session, 'recovered');
  await server.kill();
  const { fault } = session.status.fault ? { fault: session.status.fault } : await next(session, 'connection_lost');
  assert.match(fault.code, /transport_error|connection_closed/);
  await server.run();
  await recovered;
  await reading.until(() => reading.ends.has(turn));
  const end = reading.ends.get(turn);
  assert.deepEqual([end.end, end.bytes], ['interrupted', Buffer.byteLength(reading.texts.get(turn))], 'what was told stands');
  assert.ok(words(100_000).startsWith(reading.texts.get(turn)));
  assert.deepEqual([reading.counts.lost, reading.counts.doubled], [0, 0]);
  await session.detach();
});

test('another_client_goes_on_where_one_was_and_a_viewer_sees_the_same', options, async () => {
  const first = await open();
  await first.send('one');
  const state = first.resumeState();
  first.simulate('half_open');
  const second = await open({ resume: structuredClone(state) });
  assert.deepEqual([second.id, second.participant], [first.id, first.participant]);
  await second.send('two');
  const viewer = await open({ session: second.id, role: 'viewer', history: 'snapshot' });
  await assert.rejects(viewer.say('may I?'), { code: 'permission_denied' });
  await viewer.close();
  await second.end();
  await first.close();
});

test('a_wrong_token_and_a_server_that_is_not_there_are_told_as_they_are', options, async () => {
  await assert.rejects(open({ token: 'none of ours' }), { code: 'unauthenticated' });
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  await assert.rejects(open({ url: `ws://127.0.0.1:${port}` }), (error) => error.code === 'transport_error' && error.fault.detail.phase === 'dial');
});
