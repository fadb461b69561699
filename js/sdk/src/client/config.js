// What a client is told once: where to, as whom, and how patient to be.

/**
 * What a client leaves to the next one, so that it goes on where this one was. It holds the resume
 * key: keep it as one keeps a token.
 * @typedef {object} ResumeState
 * @property {string} session
 * @property {string} participant who this client is in it
 * @property {string} key proof of that
 * @property {import('../wire/types.js').Cursor} cursor how far the log was applied
 * @property {import('../wire/types.js').Snapshot} [snapshot] the fold up to there
 * @property {string} stream the stream of its commands
 * @property {number} next the number that its next command will have
 */

/**
 * How a client behaves.
 * @typedef {object} Config
 * @property {string[]} addresses where to connect; the later ones are for when the first is gone
 * @property {string | null} token a fixed one; null where the shell is asked for one
 * @property {string} [session] the session to join; absent opens a new one
 * @property {string} [backend] what a new session is served by
 * @property {string} [project] the project of a new session
 * @property {import('../wire/types.js').BusyPolicy} [busy] what happens to a `say` while a turn runs, in a new session
 * @property {string} [title] what a person calls a new session
 * @property {string} [cwd] where a new session's programs work
 * @property {string[]} [tags] words to find a new session by
 * @property {import('../wire/types.js').Role} role
 * @property {import('../wire/types.js').Admission} admission what to do when there is no slot
 * @property {import('../wire/types.js').History} history what is wanted of the past
 * @property {any} [params] the params of a new session
 * @property {string} sdk
 * @property {ResumeState} [resume] what an earlier client left
 * @property {import('./backoff.js').Backoff} backoff
 * @property {number} [giveUpAfterMs] absent means the server's resume window, zero never
 * @property {boolean} [retryFirstConnect] whether an unreachable server is tried again on a first connect
 * @property {number} connectWithinMs the longest that a first connect may take, a queue excepted
 */

export {};
