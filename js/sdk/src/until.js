// Waiting that can be given up.

/** Does something once `signal` is aborted, until the function given back is called. @param {AbortSignal | undefined} signal @param {() => void} run */
export function onAbort(signal, run) {
  signal?.addEventListener('abort', run);
  return () => signal?.removeEventListener('abort', run);
}

/**
 * Waits for no longer than until `signal` is aborted.
 * @template T
 * @param {Promise<T>} promise
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export const until = (promise, signal) => new Promise((resolve, reject) => {
  const stop = () => reject(signal?.reason);
  if (signal?.aborted) stop();
  promise.then(resolve, reject).finally(onAbort(signal, stop));
});
