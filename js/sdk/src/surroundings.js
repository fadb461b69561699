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
  window: /** @type {any} */ (globalThis),
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
  /** @param {EventTarget | undefined} target @param {string} types @param {(event: Event) => void} listener */
  const on = (target, types, listener) => {
    for (const type of types.split(' ')) target?.addEventListener?.(type, listener, { signal: stop.signal });
  };
  const probe = () => tell({ type: 'probe' });
  on(window, 'online offline', ({ type }) => tell({ type: 'network', online: type === 'online' }));
  on(window, 'pageshow', probe);
  on(window, 'pagehide', save);
  on(document, 'visibilitychange', () => (document?.visibilityState === 'hidden' ? save() : probe()));
  on(document, 'resume', probe);
  on(document, 'freeze', save);
  if (navigator?.onLine === false) tell({ type: 'network', online: false });
  return () => stop.abort();
}
