// What the machine tells apart, as numbers that can be compared; what others see of it has words.

/** How a client is. */
export const IDLE = 0, CONNECTING = 1, STANDING = 2, RECOVERING = 3, DETACHING = 4, ENDED = 5, FAILED = 6;

/** What a path waits for: its time, a token, its transport, an answer to hello, its place in line, the end of the replay; it is joined. */
export const WAITING = 0, FETCHING = 1, DIALING = 2, GREETING = 3, QUEUED = 4, REPLAYING = 5, JOINED = 6;

/** Of a connection: it is believed in; it fell silent; it was heard again, and whether it lasts is to be seen. */
export const TRUSTED = 0, SUSPECTED = 1, HEARD = 2;

/** Of a recovery: the connection is lost; it is to go elsewhere, and what it has is good until then; it has, and replays. */
export const LOSS = 0, MOVE = 1, MOVED = 2;

/** @template T @param {T} of @param {Partial<T>} more @returns {T & Partial<T>} */
export const change = (of, more) => Object.assign(/** @type {any} */ (of), more);
