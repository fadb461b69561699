// The reader of Markdown, without a browser: what it makes of a text, and that no text takes it long; and
// thousands of hostile texts in a real Chromium, under the server's own policy.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { blocks } from '../../crates/keel-server/page/text/markdown.js';
import { line, visible } from '../../crates/keel-server/page/text/visible.js';
import { hostileTexts, watchAll } from './hostile.mjs';
import { open, rig } from './playground.mjs';
import { Server } from './server.mjs';

/** How many elements are inside each other. */
const deep = (node) => (typeof node === 'string' ? 0 : 1 + Math.max(0, ...node.k.map(deep)));
/** As one would write it down. */
const told = (node) => (typeof node === 'string' ? node : `<${node.t}${node.c ? `.${node.c.replaceAll(' ', '.')}` : ''}${node.a?.href ? ` ${node.a.href}` : ''}>${node.k.map(told).join('')}</>`);
const check = (text, expected, isOpen = false) => assert.equal(blocks(text, 0, isOpen).map(({ node }) => told(node)).join(''), expected);

test('inline_marks_are_read_in_pairs_and_the_rest_is_text', () => {
  check('a **b *c*** d', '<p>a <strong>b <em>c</></> d</>');
  check('snake_case_name 2 * 3 * 4 _em_ ~~no~~ ~x~', '<p>snake_case_name 2 * 3 * 4 <em>em</> <del>no</> ~x~</>');
  check('`a *b*` ``c ` d`` `open', '<p><code>a *b*</> <code>c ` d</> `open</>');
  check('\\*not\\* <b>&amp;</b> **open', '<p>*not* <b>&amp;</b> **open</>');
  check('**open', '<p><strong>open</></>', true);
  check('two\nlines  ', '<p>two\nlines  </>');
  check(`${'*'.repeat(12)}a${'*'.repeat(12)}`, `<p>${'<strong>'.repeat(6)}a${'</>'.repeat(6)}</>`);
  check(`${'*'.repeat(13)}a${'*'.repeat(13)}`, `<p>${'*'.repeat(13)}a${'*'.repeat(13)}</>`);
});

test('links_go_to_http_and_mail_alone_and_say_where_a21', () => {
  check('[a](https://b.example/c "t")', '<p><a https://b.example/c>a</><span.target> (b.example/c)</></>');
  check('see https://b.example/c_(d).', '<p>see <a https://b.example/c_(d)>https://b.example/c_(d)</>.</>');
  check('<mailto:a@b.example>', '<p><a mailto:a@b.example>mailto:a@b.example</></>');
  check('![p](https://b.example/p.png)', '<p><a https://b.example/p.png>Image: p</><span.target> (b.example/p.png)</></>');
  check('[https://bank.example](https://evil.example/)', '<p><a https://evil.example/>https://bank.example</><span.target> (evil.example)</></>');
  check('[a [b](https://c.example/) d](https://e.example/)', '<p>[a <a https://c.example/>b</><span.target> (c.example)</> d](<a https://e.example/>https://e.example/</>)</>');
  check('[bаnk](https://bаnk.example/)', '<p><a https://xn--bnk-6cd.example/>bаnk</><span.target> (xn--bnk-6cd.example)</></>');
  for (const target of ['javascript:alert(1)', 'JAVASCRIPT:x', ' javascript:x', 'data:text/html,x', 'vbscript:x', 'file:///etc', '/relative', '//host', 'blob:x', 'https://a@b.example/', 'https://']) check(`[x](${target})`, `<p>[x](${target})</>`);
});

test('blocks_are_read_and_an_open_fence_goes_to_the_end', () => {
  check('# A\n## B ##\n####### no', '<h3>A</><h4>B ##</><p>####### no</>');
  check('- a\n- b\n  1. c\n\n     d\n- [ ] e', '<ul><li>a</><li>b<ol><li>c<p>d</></></></><li.task><span.box>☐</> e</></>');
  check('```sh x\n# no\n**no**', '<div.code><div.code-head><span>sh</><button.small.quiet.copy>Copy</></><pre><code># no\n**no**</></></>');
  check('> a\nb\n\nc', '<blockquote><p>a\nb</></><p>c</>');
  check('|a|b|\n|-|-:|\n|1|2\\|3|', '<div.table><table><thead><tr><th>a</><th.to-end>b</></></><tbody><tr><td>1</><td.to-end>2|3</></></></></>');
  check('In\n2024. It was', '<p>In\n2024. It was</>');
  check('~~~ a`b\nc', '<div.code><div.code-head><span>a`b</><button.small.quiet.copy>Copy</></><pre><code>c</></></>');
  check('``` a`b', '<p>``` a`b</>');
});

test('what_cannot_be_seen_is_called_by_its_name_and_emoji_and_scripts_stay_whole_a21', () => {
  assert.equal(visible('a\u202eb\u200bc\u001b[0m\u0000\ufeff\u{e0041}'), 'a⟨U+202E⟩b⟨U+200B⟩c␛[0m␀⟨U+FEFF⟩⟨U+E0041⟩');
  for (const whole of ['👩‍💻 ❤️ 1️⃣', 'می‌خواهم', 'क्‍ष', 'tab\tline\n', 'née 最後 שלום']) assert.equal(visible(whole), whole);
  assert.equal(visible(visible('\u202e')), visible('\u202e'));
  assert.equal(line('a\n\n  b \u202e', 80), 'a b ⟨U+202E⟩');
  assert.equal(line('😀'.repeat(50), 10), `${'😀'.repeat(9)}…`);
});

test('no_text_takes_the_reader_long', () => {
  const size = 64 * 1024, hostile = ['*a ', '**', '*_', '[', '![', '](', '[a](', '[a](b "', '`', '_a', '<http://', 'https://a)', '- ', '> ', '# ', '|', ' ', '\\', '~~', '\u202e', ')', '``` ', '-|', '|a|b|\n|-|-|\n', '- a\n', '1. a\n   '].map((text) => text.repeat(size / text.length));
  hostile.push(`# ${' '.repeat(size)}x`, `\`\`\`${' '.repeat(size)}\``, `a|b\n-${' '.repeat(size)}|x`, `https://a${')'.repeat(size)}`, `https://a${'.'.repeat(size)}a`, '>'.repeat(size), Array.from({ length: 350 }, (_, n) => `${'`'.repeat(n)}a`).join(''), Array.from({ length: 300 }, (_, n) => `${' '.repeat(n * 2)}- a`).join('\n'));
  hostile.push(`${'*'.repeat(20_000)}a${'*'.repeat(20_000)}`, '*a '.repeat(10_000) + 'a* '.repeat(10_000), `[a](${' '.repeat(size)}`, `[a](b${' '.repeat(size)}x`, `${'~'.repeat(size)}\``, `${'`'.repeat(size)}a\``);
  const nest = (text) => `${'a ************'.repeat(32)}b${text}${'b* '.repeat(384)}`;
  hostile.push(Array(30).fill(0).reduce((text) => `[${nest(text)}](https://b.example/)`, 'x'));
  for (const text of hostile) {
    const began = performance.now();
    const deepest = Math.max(...blocks(text, 0, true).map(({ node }) => deep(node)));
    const took = performance.now() - began;
    assert.ok(took < 3_000, `${JSON.stringify(text.slice(0, 12))} takes ${Math.round(took)} ms`); // a tenth of it on a quiet machine
    assert.ok(deepest < 1_000, `${JSON.stringify(text.slice(0, 12))} is ${deepest} deep`);
  }
});

describe('in Chromium', () => {
  const { page } = rig(Server);

  page('whatever_is_written_three_thousand_hostile_texts_run_load_and_hide_nothing_a21', [], async (context, server) => {
    const tab = await open(context, server.url);
    const seen = [];
    for (const what of ['request', 'page']) context.on(what, (it) => seen.push(`${what}: ${it.url?.()}`));
    for (const what of ['dialog', 'framenavigated', 'download']) tab.on(what, (it) => seen.push(`${what}: ${it.url?.() ?? it.message?.()}`));
    await tab.evaluate(watchAll);
    const texts = hostileTexts({ count: Number(process.env.HOSTILE ?? 3_000), seed: Number(process.env.SEED ?? 21) });
    seen.length = 0; // What the page itself is made of has come.
    const counts = { links: 0, elements: 0 };
    for (let at = 0; at < texts.length; at += 250) {
      const { wrong, links, elements } = await tab.evaluate((texts) => window.showAll(texts), texts.slice(at, at + 250));
      assert.deepEqual(wrong.slice(0, 3), []);
      counts.links += links;
      counts.elements += elements;
    }
    assert.deepEqual(seen, [], 'nothing is loaded, opened or asked');
    assert.equal(await tab.evaluate(() => window.owned), undefined);
    // A test that shows nothing would find nothing.
    assert.ok(counts.links > texts.length / 10 && counts.elements > 50 * texts.length, JSON.stringify(counts));
  });
});
