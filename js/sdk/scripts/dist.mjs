// Makes `dist/`, which is what the package's users import: the modules of `src/`, one by one, minified and
// with short names for what only they know of each other (`internal-names.txt`). Nothing else differs: the
// traces, the vectors and the tests of the shell hold for it, too.

import { readFileSync, readdirSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** Names of members that no application, server or platform knows. */
export const internal = () => readFileSync(at('scripts/internal-names.txt'), 'utf8').split(/\s+/).filter(Boolean);

/** The short name of each, by its long one. */
export async function makeDist(outdir = at('dist')) {
  const { build } = await import('esbuild');
  rmSync(outdir, { recursive: true, force: true });
  const entryPoints = readdirSync(at('src'), { recursive: true }).filter((name) => name.endsWith('.js')).map((name) => at(`src/${name}`));
  const { mangleCache } = await build({
    entryPoints, outdir, outbase: at('src'), minify: true, format: 'esm', target: 'es2022', mangleProps: new RegExp(`^(${internal().join('|')})$`), mangleCache: {},
  });
  return mangleCache;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await makeDist();
