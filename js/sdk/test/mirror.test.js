// What must be the same on both sides of the mirror, where no trace would tell.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';

import { kinds, shortNames } from '../scripts/dist.mjs';
import { SDK } from '../src/index.js';
import * as machine from '../src/limits.js';
import * as wire from '../src/wire/limits.js';

const root = new URL('../../../', import.meta.url);
const read = (path) => readFileSync(new URL(path, root), 'utf8');

/** The constants of a Rust file, spans in microseconds. */
function constants(path) {
  const found = new Map();
  for (const [, name, text] of read(path).matchAll(/^pub const (\w+): \w+ = ([^;]+);/gm)) {
    const js = text.replaceAll('_', '').replace(/^ms\((.*)\)$/, '($1) * 1000').replace(/^s\((.*)\)$/, '($1) * 1000000').replace('(1 << 53) - 1', '2 ** 53 - 1');
    if (/^[\d\s()*+-]+$/.test(js)) found.set(name, Function(`return ${js}`)());
  }
  return found;
}

test('limits_are_those_of_the_rust_machine', () => {
  for (const [limits, path] of [[machine, 'crates/keel-core/src/limits.rs'], [wire, 'crates/keel-wire/src/limits.rs']]) {
    const rust = constants(path);
    const ours = Object.entries(limits).filter(([, value]) => typeof value === 'number');
    assert.ok(ours.length > 8, path);
    for (const [name, value] of ours) assert.equal(value, rust.get(name), `${name} of ${path}`);
  }
});

test('each_file_of_the_rust_machine_has_its_mirror', () => {
  for (const folder of ['', 'media/']) {
    const rust = readdirSync(new URL(`crates/keel-core/src/client/${folder}`, root)).filter((name) => name.endsWith('.rs') && !/tests/.test(name));
    assert.ok(rust.length > 5);
    for (const name of rust) assert.ok(existsSync(new URL(`js/sdk/src/client/${folder}${name.replace('.rs', '.js')}`, root)), name);
  }
});

test('the_version_that_hello_tells_is_that_of_the_package', () => {
  assert.equal(SDK, `evenkeel-js/${JSON.parse(read('js/sdk/package.json')).version}`);
});

test('no_registry_stands_in_the_lock_file', () => {
  assert.ok(!/https?:/.test(read('js/sdk/package-lock.json')));
});

test('what_is_published_has_other_names_only_for_what_the_sdk_alone_knows', () => {
  // What types and documentation promise of options, events, the wire and the handles of an application.
  const promised = new Set(['handle', 'deadline', 'isOver', 'fold', 'cursor', 'snapshot', 'duplicates']);
  for (const file of ['connect', 'index', 'surroundings', 'tab', 'connection', 'client/config', 'client/io', 'client/media/io', 'client/backoff', 'wire/types', 'driver', 'media', 'media/stats', 'media/streams']) {
    const comments = read(`js/sdk/src/${file}.js`).match(/\/\*\*[^]*?\*\//g).filter((text) => file !== 'driver' || text.includes('ReceiptEvent'));
    for (const [, name] of comments.join('\n').matchAll(/(\w+)\??: /g)) promised.add(name);
    for (const [, name] of comments.join('\n').matchAll(/@property \{.*?\} \[?(\w+)/g)) promised.add(name);
  }
  for (const file of ['handle', 'session', 'error', 'media', 'media/publication', 'chance']) {
    for (const [, name] of read(`js/sdk/src/${file}.js`).matchAll(/^ {2}(?:async |get )?(\w+)(?:\(.*\) \{|: )/gm)) promised.add(name);
  }
  assert.ok(['url', 'ttl_ms', 'reconnect', 'replaceTrack', 'attempt'].every((name) => promised.has(name)));
  assert.deepEqual(kinds().flat().filter((name) => promised.has(name)), []);
  const short = shortNames();
  for (const kind of kinds()) assert.equal(new Set(kind.map((name) => short[name])).size, kind.length, kind.join(' '));
});
