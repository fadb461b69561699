// The golden vectors of `spec/vectors`, which every SDK must pass.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import '../src/texts.js';
import { sources } from '../scripts/codes.mjs';
import { Fold } from '../src/client/apply.js';
import { CODES } from '../src/codes-told.js';
import * as close from '../src/wire/close.js';
import { DecodeError } from '../src/wire/codec.js';
import { decodeEvent } from '../src/wire/event.js';
import { makeFault, readFault } from '../src/wire/fault.js';
import { FRAMES, decodeFrame as decodeBy, gapWith } from '../src/wire/frame.js';
import { mergePatch } from '../src/wire/merge.js';
import { apply, emptySnapshot, fold as whole, readSnapshot } from '../src/wire/snapshot.js';
import { decodeClientFrame } from './client-frames.js';

const decodeFrame = (data) => decodeBy({ ...FRAMES, gap: gapWith(readSnapshot) }, data);
const vectors = (name) => JSON.parse(readFileSync(new URL(`../../../spec/vectors/${name}.json`, import.meta.url), 'utf8'));

test('every_code_is_known_with_its_scope_retry_close_and_sentence_m6', () => {
  const rows = vectors('codes');
  assert.deepEqual(Object.fromEntries(Object.entries(CODES).map(([code, row]) => [code, { code, ...row }])), Object.fromEntries(rows.map((row) => [row.code, row])));
  for (const [name, source] of Object.entries(sources)) assert.equal(readFileSync(new URL(`../src/${name}`, import.meta.url), 'utf8'), source, 'npm run codes');
});

test('every_close_code_has_its_verdict', () => {
  for (const row of vectors('close')) assert.equal(close.verdict(row.close), close[row.verdict.toUpperCase()], `${row.close}`);
});

test('bytes_are_the_frames_that_the_vectors_say_a35_a36_a38', () => {
  for (const { input, is } of vectors('decode')) {
    for (const data of [input, new TextEncoder().encode(input)]) {
      let got;
      try {
        got = decodeClientFrame(data);
      } catch (error) {
        assert.ok(error instanceof DecodeError, input);
        got = { error: error.kind };
      }
      assert.deepEqual(got, is, input);
    }
  }
});

test('the_fold_is_that_of_the_vectors_after_each_event', () => {
  let fold = emptySnapshot();
  for (const { kind, data, fold: want } of vectors('fold')) {
    const event = decodeEvent(kind, data);
    assert.ok(event, kind);
    fold = apply(fold, event);
    assert.deepEqual(fold, want, kind);
    assert.deepEqual(readSnapshot(structuredClone(fold), ''), want, `${kind}, as a gap brings it`);
  }
});

test('what_is_resent_is_cut_known_or_refused_as_the_vectors_say_m5', () => {
  for (const { says, cursor, snapshot, epoch, frames } of vectors('resume')) {
    const fold = new Fold(whole, cursor, snapshot);
    for (const { frame, is, cursor: after } of frames) {
      assert.deepEqual(take(fold, epoch, frame), is, says);
      assert.deepEqual(fold.cursor, after, says);
    }
  }
});

/** What a client makes of a frame, in the words of the vectors. */
function take(fold, epoch, frame) {
  const { frame: read } = decodeFrame(JSON.stringify(frame));
  if (read.type === 'gap') {
    const took = fold.gap(read);
    if (typeof took === 'string') return 'protocol_error';
    return took ? { new: { from: read.from, to: read.to } } : 'known';
  }
  const took = fold.event(epoch, read);
  if (!took) return 'known';
  if (typeof took === 'string') return 'protocol_error';
  const { from, to, kind, data } = took.event;
  return { new: { from, to, kind, data } };
}

test('merge_patches_merge_as_the_vectors_say', () => {
  for (const { target, patch, merged } of vectors('merge-patch')) assert.deepEqual(mergePatch(target, patch), merged);
});

test('json_cannot_reach_a_prototype_a34', () => {
  const patch = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"a":{"__proto__":{"polluted":1}}}');
  const merged = mergePatch(mergePatch({}, patch), patch);
  assert.equal({}.polluted, undefined);
  assert.equal(Object.getPrototypeOf(merged), Object.prototype);
  assert.equal(Object.getPrototypeOf(merged.a), Object.prototype);
  assert.deepEqual(JSON.parse(JSON.stringify(merged)), patch, 'members like any other');
  for (const type of ['__proto__', 'constructor', 'toString']) {
    assert.deepEqual(decodeFrame(JSON.stringify({ type })), { unknown: type });
    assert.equal(decodeEvent(type, {}), undefined);
  }
  for (const hostile of ['{"__proto__":{"type":"beat"}}', '{"type":"beat","n":1,"__proto__":{"seq":1}}', '{"type":"fault","fault":{"__proto__":{"id":"f-1"}}}']) {
    assert.throws(() => decodeFrame(hostile), { kind: 'shape' }, hostile);
  }
});

test('large_deep_and_broken_frames_are_refused_before_they_are_parsed_a32_a34', () => {
  assert.throws(() => decodeFrame('['.repeat(256 * 1024 + 1)), { kind: 'too_large' });
  assert.throws(() => decodeFrame('é'.repeat(128 * 1024) + 'x'), { kind: 'too_large' });
  assert.throws(() => decodeFrame('['.repeat(30_000) + '1' + ']'.repeat(30_000)), { kind: 'too_deep' });
  assert.throws(() => decodeFrame(new Uint8Array([0x7b, 0xff, 0x7d])), { kind: 'not_utf8' });
  assert.throws(() => decodeFrame('\ufeff{}'), { kind: 'shape' });
  assert.throws(() => decodeFrame(new Uint8Array([0xef, 0xbb, 0xbf, 0x7b, 0x7d])), { kind: 'shape' });
  const quoted = JSON.stringify({ type: 'beat', n: 1, seq: 1, x: '['.repeat(1_000), y: '\\"[[' });
  assert.deepEqual(decodeFrame(quoted), { frame: { type: 'beat', n: 1, seq: 1 } });
});

test('faults_of_the_future_survive_verbatim_and_their_unknown_members_do_not_m6', () => {
  const fault = JSON.parse(JSON.stringify({ ...makeFault('f-1', 'internal', 'server', 5), code: 'from_the_future' }));
  assert.deepEqual(readFault({ ...fault, detail: {}, cause: [], novel: true }, ''), fault);
});
