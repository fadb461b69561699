// Camera and microphone, with faults in place of a browser's exceptions.

import { MORE_CODES } from '../codes-texts.js';
import { FaultError, ownFault } from '../error.js';
import { until } from '../until.js';
import { mediaFailed } from './faults.js';

/** What a browser's refusal means. @type {Record<string, [code: 'permission_denied' | 'invalid_request' | 'media_failed', message: string]>} */
const REFUSALS = {
  NotAllowedError: ['permission_denied', 'the person, or this page\'s policy, does not allow the camera or the microphone'],
  SecurityError: ['permission_denied', 'this page may not use the camera or the microphone: it is not served securely'],
  NotFoundError: ['invalid_request', 'there is no such camera or microphone'],
  OverconstrainedError: ['invalid_request', 'no camera or microphone can do what is wanted'],
  NotReadableError: ['media_failed', 'the camera or the microphone is in use, or broken'],
  AbortError: ['media_failed', 'the camera or the microphone is broken'],
};

/** @param {string} code @param {{ message: string, detail?: Record<string, unknown> }} own */
const denied = (code, own) => ownFault(/** @type {any} */ (code), { ...own, row: MORE_CODES[code] });

/**
 * Asks for a device, and gives its tracks.
 * @param {MediaStreamConstraints} [constraints] the camera alone, by default
 * @param {{ signal?: AbortSignal, devices?: Pick<MediaDevices, 'getUserMedia'> }} [options] `signal`: if it is aborted while the person is asked, what is granted later is let go again
 * @returns {Promise<MediaStreamTrack[]>}
 * @throws {FaultError} `permission_denied`, `invalid_request` or `media_failed`
 */
export async function fromCamera(constraints = { video: true }, { signal, devices = globalThis.navigator?.mediaDevices } = {}) {
  signal?.throwIfAborted();
  if (!devices) throw new FaultError(denied('permission_denied', { message: 'there are no devices here: a page must be served securely to use them' }), 'refused');
  const asked = devices.getUserMedia(constraints).then((stream) => stream.getTracks(), (error) => {
    const [code, message] = REFUSALS[error?.name] ?? ['media_failed', String(error)];
    const detail = { error: String(error?.name) };
    throw new FaultError(code === 'media_failed' ? mediaFailed(message, detail) : denied(code, { message, detail }));
  });
  try {
    return await until(() => asked, { signal });
  } catch (error) {
    asked.then((tracks) => tracks.forEach((track) => track.stop()), () => {});
    throw error;
  }
}
