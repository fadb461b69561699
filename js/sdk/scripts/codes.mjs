// Writes `src/codes.js` from `spec/vectors/codes.json`; with `--check`, fails when it is stale.

import { readFileSync, writeFileSync } from 'node:fs';

const rows = JSON.parse(readFileSync(new URL('../../../spec/vectors/codes.json', import.meta.url), 'utf8'));
const target = new URL('../src/codes.js', import.meta.url);
const quoted = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** Which of the retries named in the file a row has. */
function retry({ when, what, ms }) {
  if (when === 'after') return `after(${ms})`;
  return { now: 'NOW', never: 'NEVER' }[when] ?? what.toUpperCase();
}

const lines = rows.map(({ code, scope, close, retry: when, says }) => `  ${code}: row('${scope}', ${close}, ${retry(when)}, ${quoted(says)}),`);
export const source = `// The closed list of fault codes. Generated from \`spec/vectors/codes.json\` by \`npm run codes\`.

/** @typedef {import('./wire/types.js').Retry} Retry */
/** @typedef {{ scope: import('./wire/types.js').Scope, close: number | null, retry: Retry, says: string }} Row */

/** @type {Retry} */
const NOW = { when: 'now' };
/** @type {Retry} */
const NEVER = { when: 'never' };
/** @type {Retry} */
const REFRESH_TOKEN = { when: 'after_action', what: 'refresh_token' };
/** @type {Retry} */
const REJOIN = { when: 'after_action', what: 'rejoin' };
/** @type {Retry} */
const TRY_AGAIN = { when: 'after_action', what: 'try_again' };
/** @param {number} ms @returns {Retry} */
const after = (ms) => ({ when: 'after', ms });

/**
 * @param {Row['scope']} scope what it usually strikes
 * @param {number | null} close how a connection that ends with it is closed
 * @param {Retry} retry whether to come back, where the fault itself says nothing better
 * @param {string} says a sentence for a person
 * @returns {Row}
 */
const row = (scope, close, retry, says) => ({ scope, close, retry, says });

export const CODES = {
${lines.join('\n')}
};
`;

if (process.argv[1] === new URL(import.meta.url).pathname) {
  if (!process.argv.includes('--check')) writeFileSync(target, source);
  else if (readFileSync(target, 'utf8') !== source) {
    console.error('src/codes.js is stale: npm run codes');
    process.exitCode = 1;
  }
}
