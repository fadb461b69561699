// Waiting that can be given up.

/** Does something when `signal` is aborted, until the function given back is called. @param {AbortSignal | undefined} signal @param {() => void} run */
export function onAbort(signal, run) {
  if (!signal?.aborted) signal?.addEventListener('abort', run, { once: true });
  return () => signal?.removeEventListener('abort', run);
}

/**
 * Does something, and waits for it for no longer than until `signal` is aborted: then the promise rejects with
 * its reason, and what was begun goes on. If it is aborted already, nothing is begun.
 * @template T
 * @param {() => Promise<T>} begin throws nothing
 * @param {{ signal?: AbortSignal }} [options]
 * @returns {Promise<T>}
 */
export const until = (begin, { signal } = {}) => new Promise((resolve, reject) => {
  const stop = () => reject(signal?.reason);
  if (signal?.aborted) return stop();
  // What is begun may abort it.
  const forget = onAbort(signal, stop);
  begin().finally(forget).then(resolve, reject);
});
