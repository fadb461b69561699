// What passes between the client and whoever runs its transport for media, as types.
//
// The client decides when a transport is opened, when its ICE is restarted and when it is given up; the
// shell does it, agrees on descriptions with the server, and measures.

/**
 * @typedef {import('../../wire/types.js').MediaSignal} MediaSignal
 * @typedef {import('../../wire/types.js').IceServer} IceServer
 */

/** How a transport is by its own account: no proof that anything flows. @typedef {'connected' | 'disconnected' | 'failed'} TransportState */
/**
 * What has come on a line since its transport was opened: RTP packets, and pictures that were decoded
 * where that is known: not of sound, nor where a page that nobody sees decodes none.
 * @typedef {{ mid: string, packets: number, frames?: number }} LineSample
 */
/**
 * What the shell tells of media: whether a transport is wanted; something to be said to the server,
 * forgotten where no connection stands; how a transport is; the answer to `sample`; and `retry`, after
 * the leg was given up.
 * @typedef {{ type: 'want', wanted: boolean }
 *   | { type: 'say', signal: MediaSignal }
 *   | { type: 'transport', peer: number, state: TransportState }
 *   | { type: 'sampled', peer: number, lines: LineSample[] }
 *   | { type: 'retry' }} MediaInput
 */
/**
 * What the shell is to do about media: open a transport and offer it (the one before is closed when this
 * one is connected, or by `close`); hear the server; offer a restart of ICE; say again what may have been
 * lost with a connection; say what has come; close a transport and forget it.
 * @typedef {{ type: 'open' | 'restart', peer: number, ice_servers: IceServer[] }
 *   | { type: 'hear', signal: MediaSignal }
 *   | { type: 'resume' | 'sample' | 'close', peer: number }} MediaOrder
 */

/** @param {import('../../client.js').Client} client @param {MediaOrder} media */
export const order = (client, media) => void client.outputs.push({ type: 'media', media });
