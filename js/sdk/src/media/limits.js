// Every bound and every span of the transport's shell. Spans are milliseconds.

/** Lines of a kind to receive on that a client brings along; the server offers more, where there is more to send. */
export const BROUGHT_LINES_MAX = 12;
/** Candidates that either side may name of a transport until its ICE is restarted: those beyond are passed over. */
export const CANDIDATES_MAX = 20;
/** From an offer to its answer; then it is said again. */
export const ANSWER_WITHIN = 5_000;
/** Times that an offer is said again without an agreement; then the transport is given up. */
export const REFUSALS_MAX = 3;
/** Characters of a description, so that its frame is taken by the server. */
export const SDP_CHARS_MAX = 60_000;
/** Steps of one transport that wait for the one before; a transport that falls further behind is given up. */
export const STEPS_MAX = 256;
/** From asking a transport for what has come to having it; then there is no answer. */
export const SAMPLE_WITHIN = 1_000;
