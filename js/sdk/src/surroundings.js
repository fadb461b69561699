// What the browser says about the world: the network, and whether this page runs at all. Without a page
// (in Node, in a worker) there is less to hear.

/**
 * @typedef {object} Surroundings
 * @property {EventTarget} [window]
 * @property {EventTarget & { visibilityState?: string }} [document]
 * @property {{ onLine?: boolean }} [navigator]
 */

/** @returns {Surroundings} */
export const ofPage = () => ({
  window: typeof globalThis.addEventListener === 'function' ? globalThis : undefined,
  document: globalThis.document,
  navigator: globalThis.navigator,
});

/**
 * Tells the machine what matters to it, until the function given back is called.
 * @param {Surroundings} surroundings
 * @param {(input: import('./client/io.js').Input) => void} tell
 * @param {() => void} save the page may not run again: what is to be kept is kept now
 */
export function watch({ window, document, navigator }, tell, save) {
  const stop = new AbortController();
  const { signal } = stop;
  const probe = () => tell({ type: 'probe' });
  window?.addEventListener('online', () => tell({ type: 'network', online: true }), { signal });
  window?.addEventListener('offline', () => tell({ type: 'network', online: false }), { signal });
  window?.addEventListener('pageshow', probe, { signal });
  window?.addEventListener('pagehide', save, { signal });
  document?.addEventListener('visibilitychange', () => (document.visibilityState === 'hidden' ? save() : probe()), { signal });
  document?.addEventListener('resume', probe, { signal });
  document?.addEventListener('freeze', save, { signal });
  if (navigator?.onLine === false) tell({ type: 'network', online: false });
  return () => stop.abort();
}
