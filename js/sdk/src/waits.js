// @evenkeel/client/waits: what takes long is told as `still_waiting`. For `connect({ waits })`.

export { waits } from './client/waits.js';
