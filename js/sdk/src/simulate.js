// @evenkeel/client/simulate: breaks things on this side on purpose. For `connect({ simulate })`.

export { simulate } from './client/simulate.js';
