// Makes `dist/`, which is what the package's users import: the modules of `src/`, one by one, minified and
// with short names for the members that only they know of each other (`internal.txt`). Nothing else differs:
// the traces, the vectors and the tests of the shell hold for it, too.

import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const modules = () => readdirSync(at('src'), { recursive: true }).filter((name) => name.endsWith('.js')).map((name) => at(`src/${name}`));
/** Those that are most often there anyway come first. */
const LETTERS = [...'etsoanircdlfuhmpgyvbwkxjqzETSOANIRCDLFUHMPGYVBWKXJQZ'];

/** The kinds of objects, as lists of the names of their members. */
export const kinds = () => readFileSync(at('scripts/internal.txt'), 'utf8').trim().split('\n').filter((line) => !line.startsWith('#')).map((line) => line.split(/:? /).slice(1));

/** A short name for each; the same for several, where no kind of object has two of them. */
export function shortNames() {
  const text = modules().map((path) => readFileSync(path, 'utf8')).join('\n');
  const all = [...new Set(kinds().flat())];
  const uses = new Map(all.map((name) => [name, text.match(new RegExp(`\\b${name}\\b`, 'g'))?.length ?? 0]));
  const short = {};
  for (const name of all.sort((a, b) => uses.get(b) - uses.get(a))) {
    const taken = kinds().filter((kind) => kind.includes(name)).flat().map((other) => short[other]);
    short[name] = LETTERS.find((letter) => !taken.includes(letter));
  }
  return short;
}

export async function makeDist(outdir = at('dist')) {
  const { build } = await import('esbuild');
  rmSync(outdir, { recursive: true, force: true });
  const mangleCache = shortNames();
  await build({
    entryPoints: modules(), outdir, outbase: at('src'), minify: true, format: 'esm', target: 'es2022',
    mangleProps: new RegExp(`^(${Object.keys(mangleCache).join('|')})$`), mangleCache,
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await makeDist();
