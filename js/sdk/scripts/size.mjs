// The size of what a page ships: an application that imports what is named here of the package as it is
// published (`dist.mjs`), bundled and minified by esbuild, then compressed with gzip. Fails when one has grown
// beyond its bound. `--modules` tells where the bytes are.

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { makeDist } from './dist.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const gzipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** What an application imports, and the most bytes that this may be. */
const APPLICATIONS = [
  ['core', "export { connect, FaultError } from '@evenkeel/client/core';", 15_000],
  ['client', "export { connect, FaultError } from '@evenkeel/client';", 19_700],
  ['client and media', "export { connect, FaultError } from '@evenkeel/client'; export { media } from '@evenkeel/client/media';", 30_100],
];

/** The package's exports, resolved as for its users. */
const published = {
  name: 'published',
  setup(build) {
    const { name, exports } = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));
    build.onResolve({ filter: new RegExp(`^${name}(/|$)`) }, ({ path }) => ({ path: `${root}/${exports[`.${path.slice(name.length)}`].default}`, sideEffects: path.endsWith('/texts') }));
  },
};

if (!existsSync(new URL('../node_modules/esbuild', import.meta.url))) {
  if (process.env.CI) throw new Error('the size is measured with esbuild: npm ci');
  console.log('skipped{needs: js/sdk/node_modules}: the size of the JavaScript SDK');
} else {
  const { build } = await import('esbuild');
  await makeDist();
  for (const [name, contents, bytesMax] of APPLICATIONS) {
    const { outputFiles: [bundle], metafile } = await build({
      stdin: { contents, resolveDir: root }, absWorkingDir: root, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false, metafile: true,
      outfile: 'bundle.js', plugins: [published],
    });
    const bytes = gzipped(bundle.contents);
    console.log(`${name}: ${bytes} bytes gzipped (at most ${bytesMax}), ${bundle.contents.length} minified`);
    if (bytes > bytesMax) process.exitCode = 1;
    if (!process.argv.includes('--modules')) continue;
    const modules = Object.entries(Object.values(metafile.outputs)[0].inputs).sort((a, b) => b[1].bytesInOutput - a[1].bytesInOutput);
    for (const [module, { bytesInOutput }] of modules) console.log(`${String(bytesInOutput).padStart(7)} ${module}`);
  }
}
