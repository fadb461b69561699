// Writes `src/codes*.js` from `spec/vectors/codes.json`; with `--check`, fails when one is stale. The first
// has the codes that a client makes faults of, and so is in every bundle; the second those of media; the
// third adds those that only a server tells, for whoever wants the whole list.

import { readFileSync, writeFileSync } from 'node:fs';

const rows = JSON.parse(readFileSync(new URL('../../../spec/vectors/codes.json', import.meta.url), 'utf8'));
const quoted = (text) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** Codes without a close code that a client has a use for all the same. */
const OWN = ['origin_not_allowed', 'expired', 'outbox_full', 'connection_closed', 'transport_error', 'log_rewound', 'recovery_deadline', 'rejoin_limit'];
/** Codes that a client has no use for, but for the sentence: what their close code asks for is the same without. */
const TOLD = ['permission_denied', 'origin_not_allowed', 'unsupported_version', 'backend_not_found', 'rate_limited', 'session_duration_limit', 'slow_consumer', 'store_failed', 'internal'];
const isMedia = ({ code }) => code.startsWith('media_');
const isOwn = ({ code, close }) => close !== null || OWN.includes(code);

/** Which of the retries named in the file a row has. */
function retry({ when, what, ms }) {
  if (when === 'after') return `after(${ms})`;
  return { now: 'NOW', never: 'NEVER' }[when] ?? what.toUpperCase();
}

const lines = (rows) => rows.map(({ code, scope, close, retry: when, says }) => `  ${code}: row('${scope}', ${close}, ${retry(when)}, ${quoted(says)}),`).join('\n');
const silent = (rows) => rows.map(({ code, scope, close, retry: when }) => `  ${code}: row('${scope}', ${close}, ${retry(when)}),`).join('\n');

const own = `// The fault codes that a client makes faults of. Generated from \`spec/vectors/codes.json\` by \`npm run codes\`.

/** @typedef {import('./wire/types.js').Retry} Retry */
/** @typedef {{ scope: import('./wire/types.js').Scope, close: number | null, retry: Retry, says?: string }} Row */
/** Codes whose row is in every bundle. @typedef {${rows.filter((row) => isOwn(row) && !TOLD.includes(row.code)).map(({ code }) => quoted(code)).join(' | ')}} OwnCode */

/** @type {Retry} */
export const NOW = { when: 'now' };
/** @type {Retry} */
export const NEVER = { when: 'never' };
/** @type {Retry} */
const REFRESH_TOKEN = { when: 'after_action', what: 'refresh_token' };
/** @type {Retry} */
export const REJOIN = { when: 'after_action', what: 'rejoin' };
/** @type {Retry} */
export const TRY_AGAIN = { when: 'after_action', what: 'try_again' };
/** @param {number} ms @returns {Retry} */
export const after = (ms) => ({ when: 'after', ms });

/**
 * @param {Row['scope']} scope what it usually strikes
 * @param {number | null} close how a connection that ends with it is closed
 * @param {Retry} retry whether to come back, where the fault itself says nothing better
 * @param {string} [says] a sentence for a person, where it is not among the texts
 * @returns {Row}
 */
export const row = (scope, close, retry, says) => ({ scope, close, retry, says });

/** @type {Record<string, Row>} */
export const OWN_CODES = {
${silent(rows.filter((row) => isOwn(row) && !TOLD.includes(row.code)))}
};
`;

const media = `// The fault codes of media. Generated from \`spec/vectors/codes.json\` by \`npm run codes\`.

import { NEVER, NOW, row } from './codes.js';

export const MEDIA_CODES = {
${lines(rows.filter(isMedia))}
};
`;

const told = `// The closed list of fault codes. Generated from \`spec/vectors/codes.json\` by \`npm run codes\`.

import { NEVER, NOW, OWN_CODES, TRY_AGAIN, after, row } from './codes.js';
import { MEDIA_CODES } from './codes-media.js';
import { MORE_CODES, SAYINGS } from './codes-texts.js';

/** @type {import('./codes.js').Retry} */
const CONFIGURE_PROVIDER = { when: 'after_action', what: 'configure_provider' };

/** @type {Record<string, import('./codes.js').Row & { says: string }>} */
export const CODES = /** @type {any} */ ({
  ...Object.fromEntries(Object.entries({ ...OWN_CODES, ...MORE_CODES }).map(([code, row]) => [code, { ...row, says: SAYINGS[code] }])),
  ...MEDIA_CODES,
${lines(rows.filter((row) => !isOwn(row) && !isMedia(row)))}
});
`;

const texts = `// What else a client makes faults of, and what they say to a person. Generated from
// \`spec/vectors/codes.json\` by \`npm run codes\`.

import { NEVER, NOW, after, row } from './codes.js';

/** @type {Record<string, import('./codes.js').Row>} */
export const MORE_CODES = {
${silent(rows.filter(({ code }) => TOLD.includes(code)))}
};

/** @type {Record<string, string>} */
export const SAYINGS = {
${rows.filter(isOwn).map(({ code, says }) => `  ${code}: ${quoted(says)},`).join('\n')}
};
`;

export const sources = { 'codes.js': own, 'codes-texts.js': texts, 'codes-media.js': media, 'codes-told.js': told };

if (process.argv[1] === new URL(import.meta.url).pathname) {
  for (const [name, source] of Object.entries(sources)) {
    const target = new URL(`../src/${name}`, import.meta.url);
    if (!process.argv.includes('--check')) writeFileSync(target, source);
    else if (readFileSync(target, 'utf8') !== source) {
      console.error(`src/${name} is stale: npm run codes`);
      process.exitCode = 1;
    }
  }
}
