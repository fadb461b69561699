// @evenkeel/client/keep: for `connect({ keep: keep('chat') })`.

import { Tab } from './tab.js';

/**
 * Keeps the place of this tab across reloads, in `sessionStorage`.
 * @param {string} name
 * @param {import('./tab.js').TabDeps} [deps] in place of `sessionStorage` and `navigator.locks`
 */
export const keep = (name, deps) => new Tab(name, deps);
