// The recorded traces of the Rust machine (`spec/traces`): the same inputs, from the same seed, must
// have the same outputs and the same deadlines here.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import '../src/texts.js';
import { Client } from '../src/client.js';
import { Leg } from '../src/client/media.js';
import { ofDial } from '../src/client/dial.js';
import { simulate } from '../src/client/simulate.js';
import { waits } from '../src/client/waits.js';
import { Mint } from '../src/mint.js';
import { fold } from '../src/wire/snapshot.js';
import { check } from '../src/wire/status.js';

const folder = new URL('../../../spec/traces/', import.meta.url);

/** The traces of a file: a head line each, and as many steps as it says. */
function* traces(file) {
  const lines = readFileSync(new URL(file, folder), 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
  while (lines.length > 0) {
    const head = lines.shift();
    yield { ...head, steps: lines.splice(0, head.steps) };
  }
}

/** As the recorder writes it: frames parsed, and members that are undefined left out. */
function plain(output) {
  const { text, ...rest } = output;
  return JSON.parse(JSON.stringify(text === undefined ? rest : { ...rest, frame: JSON.parse(text) }));
}

/** Messages of a JSON parser are its own: where the trace has one of those, any will do. */
function forgiving(got, want, own) {
  if (typeof want === 'string' && own.has(want)) return want;
  if (Array.isArray(got) && Array.isArray(want)) return got.map((item, n) => forgiving(item, want[n], own));
  if (typeof got !== 'object' || got === null || typeof want !== 'object' || want === null) return got;
  return Object.fromEntries(Object.entries(got).map(([key, value]) => [key, forgiving(value, want[key], own)]));
}

const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'));

test('there_are_traces_of_every_kind_of_output', () => {
  const seen = new Set();
  for (const file of files) {
    for (const { steps } of traces(file)) {
      for (const { out } of steps) for (const { type, event, media } of out) seen.add(event || media ? `${type} ${(event ?? media).type}` : type);
    }
  }
  const events = ['joined', 'log', 'gap', 'fault', 'ephemeral', 'connection_lost', 'attempt_failed', 'recovered', 'queued', 'goaway', 'ended', 'failed', 'protocol_notice', 'still_waiting', 'media_lost', 'media_recovered'];
  const orders = ['open', 'hear', 'restart', 'resume', 'sample', 'close'];
  const want = ['fetch_token', 'dial', 'send', 'hangup', 'receipt', 'status', ...events.map((event) => `event ${event}`), ...orders.map((order) => `media ${order}`)];
  assert.deepEqual(want.filter((kind) => !seen.has(kind)), []);
});

/** @param {() => Leg | undefined} leg */
function holds(file, leg) {
  for (const { scenario, client: n, seed, config, own_words, steps, end } of traces(file)) {
    const { give_up_after_ms: giveUpAfterMs, retry_first_connect: retryFirstConnect, connect_within_ms: connectWithinMs, ...rest } = config;
    const client = new Client({ ...rest, giveUpAfterMs, retryFirstConnect, connectWithinMs }, new Mint(BigInt(seed)), { media: leg(), fold, waits, simulate, ofDial });
    const own = new Set(own_words);
    for (const [at, { at: [mono, wall], in: input, out, next }] of steps.entries()) {
      const { bytes, ...told } = input;
      const got = client.handle({ mono, wall }, bytes ? { ...told, data: new Uint8Array(bytes) } : told);
      const where = `${scenario}, client ${n}, step ${at}: ${JSON.stringify(input)}`;
      assert.deepEqual(forgiving(got.map(plain), out, own), out, where);
      const deadline = client.deadline();
      assert.equal(deadline, next?.[0] ?? Infinity, where);
      assert.equal(check(client.status), undefined, where);
    }
    const { cursor, duplicates, snapshot } = client.fold;
    const last = { cursor, duplicates, resume: client.resumeState() ?? null, snapshot, status: client.status };
    assert.deepEqual(forgiving(plain(last), end, own), end, scenario);
  }
}

/** What the core tells of an output: not of data and folds, which it passes on as they are. */
function essence({ type, event, ...rest }) {
  if (!event) return [{ type, ...rest }];
  if (event.notice === 'malformed_event') return [];
  const { known, snapshot, data, ...told } = event;
  return [{ type, event: event.kind === 'text' && known !== false ? { ...told, data } : told }];
}

/** The core's own account of the log. (When waits are told is when it wants to be called, and so part of how sleep is seen.) */
function coreHolds(file) {
  for (const { scenario, client: n, seed, config, own_words, steps } of traces(file)) {
    const { give_up_after_ms: giveUpAfterMs, retry_first_connect: retryFirstConnect, connect_within_ms: connectWithinMs, ...rest } = config;
    const client = new Client({ ...rest, giveUpAfterMs, retryFirstConnect, connectWithinMs }, new Mint(BigInt(seed)), { waits, simulate, ofDial });
    const own = new Set(own_words);
    for (const [at, { at: [mono, wall], in: input, out }] of steps.entries()) {
      const { bytes, ...told } = input;
      const got = client.handle({ mono, wall }, bytes ? { ...told, data: new Uint8Array(bytes) } : told);
      const want = out.flatMap(essence);
      assert.deepEqual(forgiving(got.map(plain).flatMap(essence), want, own), want, `${scenario}, client ${n}, step ${at}: ${JSON.stringify(input)}`);
    }
  }
}

for (const file of files) {
  const name = file.replace('.jsonl', '');
  test(`the_machine_does_as_recorded_in_${name}`, () => holds(file, () => new Leg()));
  if (!name.startsWith('media')) test(`the_core_alone_recovers_as_recorded_in_${name}`, () => coreHolds(file));
  if (!name.startsWith('media')) test(`without_media_the_machine_does_the_same_in_${name}`, () => holds(file, () => undefined));
}
