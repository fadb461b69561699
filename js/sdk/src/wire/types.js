// The types of the wire, for editors and `tsc`: what `spec/schema` says, in JSDoc. No code.

/** @typedef {'viewer' | 'publisher' | 'owner'} Role */
/** @typedef {'fast' | 'rejoin' | 'migrate'} Strategy */
/** @typedef {'network' | 'token' | 'server' | 'store'} WaitingFor */
/** @typedef {'token' | 'dial' | 'hello' | 'replay'} Phase */
/** @typedef {'detached' | 'ended' | 'duration_limit' | 'operator' | 'failed'} EndReason */
/** @typedef {'signaling' | 'media' | 'backend' | 'upstream' | 'store'} Leg */
/** @typedef {'connection' | 'attachment' | 'command' | 'turn' | 'session' | 'backend'} Scope */
/** @typedef {'client' | 'network' | 'server' | 'provider' | 'store'} Origin */
/** @typedef {{ when: 'now' } | { when: 'after', ms: number } | { when: 'after_action', what: 'refresh_token' | 'rejoin' | 'try_again' | 'configure_provider' } | { when: 'never' }} Retry */
/** @typedef {{ policy: 'fail' } | { policy: 'wait', max_ms?: number }} Admission */
/** @typedef {{ policy: 'reject' } | { policy: 'queue', max: number } | { policy: 'steer' } | { policy: 'replace' }} BusyPolicy */
/** @typedef {'all' | 'snapshot'} History */
/** @typedef {'created' | 'joined' | 'resumed' | 'rejoined'} How */
/** @typedef {{ epoch: number, seq: number }} Cursor */
/** @typedef {{ every_ms: number, suspect_ms: number }} BeatPlan */

/**
 * An outside failure as a value. The code says what happened, the retry whether and when to come back;
 * nobody classifies one by its text.
 * @typedef {object} Fault
 * @property {string} id names this occurrence
 * @property {string} code from the closed list in `codes.js`; unknown ones survive verbatim
 * @property {Scope} scope
 * @property {Origin} origin
 * @property {Retry} retry
 * @property {string} message a sentence for a person, never parsed
 * @property {Record<string, any>} [detail]
 * @property {Fault[]} [cause] what led to it, nearest first
 * @property {Fault[]} [suppressed] what was seen after it and means nothing new
 * @property {number} at
 * @property {string} [session]
 * @property {string} [turn]
 * @property {Leg} [leg]
 */

/** @typedef {{ health: 'recovering', strategy: Strategy, attempt: number, next_ms: number, waiting_for?: WaitingFor, deadline_ms?: number, fault: Fault }} LegRecovering */
/** @typedef {{ health: 'up' } | { health: 'degraded', fault: Fault } | { health: 'down', fault: Fault } | LegRecovering} LegState */
/** @typedef {{ leg: Leg } & LegState} LegStatus */
/** @typedef {{ state: 'connecting', phase: Phase } | { state: 'queued', position: number, of: number } | { state: 'live' } | { state: 'degraded' } | { state: 'recovering' } | { state: 'ended', reason: EndReason } | { state: 'failed' }} State */
/** What is broken on purpose. @typedef {{ id: string, fault: { kind: string, [fact: string]: any }, seed: number, until: number }} Injected */
/** @typedef {{ fault?: Fault, legs: LegStatus[], injected?: Injected[], since: number }} StatusRest */
/** @typedef {State & StatusRest} Status */

/** @typedef {{ option: string, label: string, kind?: 'allow_once' | 'allow_always' | 'reject_once' | 'reject_always' }} Choice */
/** @typedef {{ id: string, prompt: string, options?: string[], choices?: Choice[], tool_call?: string }} Action */
/** How a session is described; absent keeps. @typedef {{ title?: string, starred?: boolean, archived?: boolean, tags?: string[] }} About */
/** @typedef {{ stream: string, n: number }} CommandId */

/**
 * The data of each kind of event.
 * @typedef {{
 *   'session.created': { backend: string, project?: string, busy: BusyPolicy, title?: string, cwd?: string, tags?: string[] },
 *   'participant.joined': { participant: string, role: Role, subject: string },
 *   'participant.left': { participant: string, reason: 'detached' | 'expired' | 'removed' },
 *   'params.changed': { version: number, patch: any, by?: string },
 *   'params.applied': { version: number, turn: string },
 *   'message': { by: string, command: CommandId, data: any },
 *   'turn.accepted': { turn: string, by: string, command: CommandId, text: string, position: number, begin_by?: number, retry_of?: string, continues?: string },
 *   'turn.started': { turn: string, attempt: number, fault?: Fault },
 *   'text': { turn: string, attempt: number, at_byte: number, data: string },
 *   'item': { turn: string, attempt: number, data: any },
 *   'turn.waiting': { turn: string, action: Action },
 *   'turn.answered': { turn: string, action: string, by?: string, answer: any },
 *   'turn.moved': { turn: string, position: number, by: string },
 *   'turn.steered': { turn: string, by: string, command: CommandId, text: string },
 *   'turn.retrying': { turn: string, attempt: number, in_ms: number, fault: Fault },
 *   'turn.cancelling': { turn: string, step: 'asked' | 'terminating' | 'killing', by?: string },
 *   'turn.ended': TurnEnded,
 *   'agent.bound': { turn: string, provider: string, id: string },
 *   'session.described': About & { by?: string },
 *   'track.published': { participant: string, track: string, kind: 'audio' | 'video' },
 *   'track.unpublished': { participant: string, track: string },
 *   'track.muted': { participant: string, track: string, muted: boolean },
 *   'session.ended': { reason: EndReason, fault?: Fault },
 * }} EventData
 */
/** @typedef {{ turn: string, attempt: number, end: 'done' | 'failed' | 'cancelled' | 'interrupted', bytes: number, forced?: true, stop_reason?: string, fault?: Fault }} TurnEnded */

/** @typedef {{ state: 'queued' } | { state: 'running' } | { state: 'waiting', action: Action } | { state: 'ended', ended: TurnEnded }} TurnState */
/** @typedef {TurnState & { turn: string, by: string, prompt: string, attempt: number, bytes: number, tail: string }} TurnView */

/** @typedef {{ participant: string, track: string, kind: 'audio' | 'video', muted?: true }} TrackView */

/**
 * The fold of a log up to a position.
 * @typedef {object} Snapshot
 * @property {string} backend
 * @property {string} [project]
 * @property {BusyPolicy} busy
 * @property {string} [title]
 * @property {string} [cwd]
 * @property {true} [starred]
 * @property {true} [archived]
 * @property {string[]} [tags]
 * @property {{ provider: string, id: string }} [agent] the agent's own name for the conversation
 * @property {{ participant: string, role: Role, subject: string }[]} participants
 * @property {any} params
 * @property {number} params_version
 * @property {number} params_applied
 * @property {TurnView[]} turns the turns that are open, and the last that are not
 * @property {number} turns_ended
 * @property {TrackView[]} [tracks] the tracks that participants publish
 * @property {{ reason: EndReason, fault?: Fault }} [ended]
 */

/** @typedef {{ turn?: string, position?: number, version?: number }} Done */
/** @typedef {{ ok: Done } | { fault: Fault }} ReceiptBody */

/** @typedef {{ type: 'welcome', session: string, participant: string, role: Role, how: How, resume_key: string, resume_window_ms: number, cursor: Cursor, consumed: number, beat: BeatPlan, limits: { frame_bytes: number, commands: number, frames_per_s: number }, params: any, params_version: number, status: Status, peer?: number, ice_servers?: IceServer[] }} Welcome */
/** @typedef {{ type: 'queued', session: string, participant: string, resume_key: string, position: number, of: number, beat: BeatPlan }} Queued */
/** @typedef {{ type: 'event', from: number, to: number, kind: string, data: any }} EventFrame */
/** @typedef {{ type: 'gap', from: number, to: number, epoch: number, snapshot: Snapshot, fault?: Fault }} Gap */
/** @typedef {{ type: 'beat', n: number, seq: number, suspect_ms?: number, pace_ms?: number }} Beat */
/** @typedef {{ type: 'goaway', reason: string, deadline_ms: number, target?: string }} Goaway */
/** @typedef {{ type: 'ephemeral', kind: string, data: any }} Ephemeral */
/** A STUN or TURN server, as a browser takes it. @typedef {{ urls: string[], username?: string, credential?: string }} IceServer */
/** @typedef {{ mid: string, participant?: string, track: string }} MediaLine */
/**
 * The words of a media transport's signaling. `lines` only a server says, `refresh` only a client.
 * @typedef {{ type: 'offer' | 'answer', peer: number, sdp: string, lines?: MediaLine[], settled?: boolean }
 *   | { type: 'candidate', peer: number, candidate: string }
 *   | { type: 'lines', peer: number, lines: MediaLine[] }
 *   | { type: 'refresh', peer: number, mids: string[], anew?: boolean }} MediaSignal
 */
/** @typedef {{ type: 'receipt', n: number } & ReceiptBody} Receipt */
/** @typedef {Welcome | Queued | Receipt | EventFrame | Gap | { type: 'replayed', to: number } | Ephemeral | { type: 'status', status: Status } | Beat | Goaway | Exclude<MediaSignal, { type: 'refresh' }> | { type: 'ice_servers', ice_servers: IceServer[] } | { type: 'ended', reason: EndReason, at: number } | { type: 'fault', fault: Fault }} ServerFrame */

/** @typedef {{ id: string, next: number, receipts_ack: number }} StreamState */

export {};
