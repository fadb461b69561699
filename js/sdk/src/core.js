// @evenkeel/client/core: what it takes to stay in a session whatever happens, and no more. The rest comes in by
// the options of `connect`: `events` (of `@evenkeel/client/events`), `fold` (`@evenkeel/client/fold`), `keep` (`@evenkeel/client/keep`), `media`
// (`@evenkeel/client/media`), `waits` (`@evenkeel/client/waits`), `simulate` (`@evenkeel/client/simulate`); and the sentences of faults with
// `@evenkeel/client/texts`. `@evenkeel/client` has all of it in, but for media.

export { connect, SDK } from './connect.js';
export { Handle } from './handle.js';
export { FaultError } from './error.js';
export { SEED_C, SEED_D } from './client/backoff.js';
