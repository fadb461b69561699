// The size of what a page ships: an application that imports what is named here, bundled and minified by
// esbuild with its names as they are, then compressed with gzip. Fails when one has grown beyond its
// bound. `--modules` tells where the bytes are.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const src = fileURLToPath(new URL('../src', import.meta.url));
const gzipped = (bytes) => gzipSync(bytes, { level: 9 }).length;

/** What an application imports, and the most bytes that this may be. */
const APPLICATIONS = [
  ['core', "export { connect, FaultError } from './index.js';", 22_700],
  ['core and media', "export { connect, FaultError } from './index.js'; export { media } from './media.js';", 33_100],
];

if (!existsSync(new URL('../node_modules/esbuild', import.meta.url))) {
  if (process.env.CI) throw new Error('the size is measured with esbuild: npm ci');
  console.log('skipped{needs: js/sdk/node_modules}: the size of the JavaScript SDK');
} else {
  const { build } = await import('esbuild');
  for (const [name, contents, bytesMax] of APPLICATIONS) {
    const { outputFiles: [bundle], metafile } = await build({
      stdin: { contents, resolveDir: src }, absWorkingDir: src, bundle: true, minify: true, format: 'esm', target: 'es2022', write: false, metafile: true,
      outfile: 'bundle.js',
    });
    const bytes = gzipped(bundle.contents);
    console.log(`${name}: ${bytes} bytes gzipped (at most ${bytesMax}), ${bundle.contents.length} minified`);
    if (bytes > bytesMax) process.exitCode = 1;
    if (!process.argv.includes('--modules')) continue;
    const modules = Object.entries(Object.values(metafile.outputs)[0].inputs).sort((a, b) => b[1].bytesInOutput - a[1].bytesInOutput);
    for (const [module, { bytesInOutput }] of modules) console.log(`${String(bytesInOutput).padStart(7)} ${module}`);
  }
}
