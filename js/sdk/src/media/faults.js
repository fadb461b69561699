// Faults of media that are seen on this side of the machine.

import { MEDIA_CODES } from '../codes-media.js';
import { ownFault } from '../error.js';

/**
 * A transport, or what it is to carry, is broken.
 * @param {string} message
 * @param {Record<string, unknown>} [detail]
 */
export const mediaFailed = (message, detail) => ownFault(/** @type {any} */ ('media_failed'), { message, row: MEDIA_CODES.media_failed, ...(detail && { detail }) });
