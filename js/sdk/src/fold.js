// @evenkeel/client/fold: reads all of the log, and keeps what it says. For `connect({ fold })`.

export { fold } from './wire/snapshot.js';
