// What goes into a client and what comes out of it, as types; and the ways to put something out.
//
// An input that names a connection the client does not know (any more) changes nothing: bytes of a
// superseded connection cannot reach the session.

import { encodeFrame } from '../wire/frame.js';

/**
 * @typedef {import('../wire/types.js').Fault} Fault
 * @typedef {import('../wire/types.js').Status} Status
 * @typedef {import('../wire/types.js').Snapshot} Snapshot
 * @typedef {import('../wire/types.js').Strategy} Strategy
 * @typedef {import('../wire/types.js').WaitingFor} WaitingFor
 * @typedef {import('../wire/types.js').EventData} EventData
 */

/** @typedef {'refused' | 'timeout' | 'dns' | 'tls' | 'other' | 'not_websocket'} DialFailure */
/** @typedef {'expired' | 'not_yet_valid' | 'wrong_host' | 'untrusted' | 'handshake'} TlsFailure */
/** @typedef {{ kind: 'dial_failed', why: DialFailure, message: string, tls?: TlsFailure, status?: number, retry_after_ms?: number }} DialFailed */
/** @typedef {DialFailed | { kind: 'close', code: number, reason: string } | { kind: 'eof' } | { kind: 'reset' } | { kind: 'write_failed' } | { kind: 'other', message: string }} ConnEnd */
/** @typedef {{ kind: 'drop_transport' } | { kind: 'half_open' } | { kind: 'lose_frames', count: number }} Simulate */

/**
 * What the shell tells the client.
 * @typedef {{ type: 'connect' | 'probe' | 'detach' | 'close' | 'tick' }
 *   | { type: 'opened', conn: number }
 *   | { type: 'frame', conn: number, data: string | Uint8Array }
 *   | { type: 'closed', conn: number, end: ConnEnd }
 *   | { type: 'command', local: number, name: string, json: string, ttl_ms?: number }
 *   | { type: 'media', media: import('./media/io.js').MediaInput }
 *   | { type: 'token', token: string } | { type: 'token', error: string }
 *   | { type: 'network', online: boolean }
 *   | { type: 'simulate', simulate: Simulate }} Input
 */

/** @typedef {{ answered: import('../wire/types.js').ReceiptBody } | { refused: Fault } | { unknown: Fault }} CommandOutcome */

/**
 * What the client asks of the shell, or tells the application.
 * @typedef {{ type: 'fetch_token' }
 *   | { type: 'dial', conn: number, address: string }
 *   | { type: 'send', conn: number, text: string }
 *   | { type: 'hangup', conn: number, code?: number }
 *   | { type: 'receipt', local: number, outcome: CommandOutcome }
 *   | { type: 'media', media: import('./media/io.js').MediaOrder }
 *   | { type: 'event', event: Event }
 *   | { type: 'status', status: Status }} Output
 */

/** @typedef {{ notice: 'unknown_frame', name: string } | { notice: 'malformed_event', kind: string, message: string } | { notice: 'nothing_to_break' }} Notice */
/** @typedef {{ for: 'connecting', phase: import('../wire/types.js').Phase } | { for: 'queued' } | { for: 'recovering', waiting_for?: WaitingFor } | { for: 'receipt', local: number }} Because */
/** @typedef {{ session: string, participant: string, role: import('../wire/types.js').Role, how: import('../wire/types.js').How, cursor: import('../wire/types.js').Cursor, params: any, params_version: number }} Membership */

/**
 * A fact of the log, in order and once: of a kind known here, or raw.
 * @typedef {{ [K in keyof EventData]: { type: 'log', from: number, to: number, known: true, kind: K, data: EventData[K] } }[keyof EventData]
 *   | { type: 'log', from: number, to: number, known: false, kind: string, data: any }} LogEvent
 */

/**
 * What the application is told, by type.
 * @typedef {{
 *   joined: { type: 'joined' } & Membership,
 *   log: LogEvent,
 *   gap: { type: 'gap', from: number, to: number, fault?: Fault, snapshot: Snapshot },
 *   ephemeral: { type: 'ephemeral', kind: string, data: any },
 *   media_lost: { type: 'media_lost', fault: Fault },
 *   media_recovered: { type: 'media_recovered', strategy: Strategy, attempts: number, lost_ms: number },
 *   fault: { type: 'fault', fault: Fault },
 *   connection_lost: { type: 'connection_lost', conn: number, fault: Fault },
 *   attempt_failed: { type: 'attempt_failed', strategy: Strategy, attempt: number, fault: Fault },
 *   recovered: { type: 'recovered', strategy: Strategy, attempts: number, lost_ms: number, replayed: number },
 *   queued: { type: 'queued', position: number, of: number },
 *   goaway: { type: 'goaway', reason: string, deadline_ms: number, target?: string },
 *   ended: { type: 'ended', reason: import('../wire/types.js').EndReason },
 *   failed: { type: 'failed', fault: Fault },
 *   protocol_notice: { type: 'protocol_notice' } & Notice,
 *   still_waiting: { type: 'still_waiting', because: Because, for_ms: number },
 * }} Events
 */
/** @typedef {Events[keyof Events]} Event */

/** @typedef {import('../client.js').Client} Client */
/** @typedef {import('./path.js').Path} Path */

/** @param {Client} client @param {Event} event */
export const tell = (client, event) => void client.outputs.push({ type: 'event', event });

/** @param {Client} client @param {Path} path @param {{ type: string } & Record<string, unknown>} frame */
export const say = (client, path, frame) => send(client, path, encodeFrame(frame));

/** @param {Client} client @param {Path} path @param {string} text */
export const send = (client, { serial: conn, deaf }, text) => void (deaf || client.outputs.push({ type: 'send', conn, text }));

/** Of one that was dialed. @param {Client} client @param {Path | undefined} path @param {number} [code] for a closing handshake */
export const hangUp = (client, path, code) => void (path?.serial && client.outputs.push({ type: 'hangup', conn: path.serial, code }));

/** @param {Client} client @param {{ local: number }} command @param {CommandOutcome} outcome */
export const settleCommand = (client, { local }, outcome) => void client.outputs.push({ type: 'receipt', local, outcome });
