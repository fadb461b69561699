// @evenkeel/client/events: what happens, for `for await`. For `connect({ events })`.

export { events } from './feed.js';
