// The size of what a browser loads: every module of `src` that `index.js` reaches, compressed with gzip,
// as it is shipped; and as one module, without the imports between them, comments and indentation. No
// names are shortened. Fails when the latter grows beyond the bound.

import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BYTES_MAX = 28_500;
const seen = new Map();

function load(url) {
  if (seen.has(url.href)) return;
  const source = readFileSync(url, 'utf8');
  seen.set(url.href, source);
  for (const [, from] of source.matchAll(/^(?:import|export)\s[^;]*?from '(\.[^']+)';/gm)) load(new URL(from, url));
}

/** Without comments: `//` to the end of its line where only blanks or code that ended come before it, and blocks. */
const bare = (source) => source.replace(/\/\*\*[^]*?\*\//g, '').replace(/(^|[\s;{},])\/\/ .*$/gm, '$1').replace(/^import\s[^;]*;$/gm, '').replace(/^export (?:\{[^;]*;)?/gm, '').replace(/^\s+/gm, '').replace(/[ \t]+$/gm, '');

load(new URL('../src/index.js', import.meta.url));
const all = [...seen.values()];
const whole = gzipSync(all.join('\n'), { level: 9 }).length;
const code = gzipSync(all.map(bare).join('\n'), { level: 9 }).length;
console.log(`${seen.size} modules; gzipped: ${code} bytes as one module without comments (at most ${BYTES_MAX}), ${whole} as shipped`);
if (code > BYTES_MAX) process.exitCode = 1;
