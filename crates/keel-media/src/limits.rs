//! Every bound and every span of the media plane, and what happens at it.

use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

// Peers.

/// Peers at once; then `at_capacity`.
pub const PEERS_MAX: usize = 4_096;
/// Bytes of a session description; then `invalid_request`.
pub const SDP_BYTES_MAX: usize = 64 * 1024;
/// m-lines of a session description; then `invalid_request`.
pub const LINES_MAX: usize = 64;
/// Candidates that a peer may name until it restarts ICE; more are refused.
pub const CANDIDATES_MAX: usize = 20;
/// Candidates that wait for the description that they belong to; likewise.
pub const EARLY_CANDIDATES_MAX: usize = CANDIDATES_MAX;
/// Paths that a transport learns, over its life; then it ends, and its client makes another.
pub const PATHS_LEARNED_MAX: usize = 256;
/// From an offer of ours to its answer; then it is made again, as it was.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// From a client's offer to its answer; then it is said again.
pub const SAID_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// From the first description to a connected transport; then `media_failed`.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of one message on a data channel; then the channel is closed.
pub const MESSAGE_BYTES_MAX: u32 = 64 * 1024;

// What one transport may bring.

/// Of one transport's datagrams one each so long is taken, checks aside: 20,000 a second, some 190 Mbit/s.
pub const DATAGRAM_EVERY: Duration = Duration::from_micros(50);
/// And so much of that at once: keyframes come in bursts. What is beyond is dropped.
pub const DATAGRAMS_AHEAD: Duration = ms(500);

// STUN, tuned for outages that are told within a second.

/// The first retransmission of a check.
pub const STUN_RTO_FIRST: Duration = ms(100);
/// The longest span between two checks.
pub const STUN_RTO_MAX: Duration = ms(500);

/// A peer that has proven nothing for so long is sent nothing but checks (RFC 7675 §5.1).
pub const CONSENT_EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// A path that was silent for so long is given up for another that the other side uses.
pub const PATH_SILENT_AFTER: Duration = ms(500);

// Cadence.

/// A track whose packets stay away for less is never stalled.
pub const STALL_MIN: Duration = ms(600);
/// A track whose packets stay away for so long is stalled, however slow it was.
pub const STALL_MAX: Duration = Duration::from_secs(5);
/// A track is stalled when its packets stay away for so many of their usual gaps.
pub const STALL_GAPS: u32 = 4;
/// The span over which a usual gap that was longer is forgotten.
pub const GAP_FORGOTTEN_OVER: Duration = ms(500);
/// A track that was announced and never came is stalled after this.
pub const FIRST_PACKET_WITHIN: Duration = ms(5_000);

// A client's end.

/// Packets of pictures that a gap is waited for; then what is behind it is told as not contiguous.
pub const REORDERED_MAX: usize = 128;

// Retransmission.

/// What was sent longer ago is not sent again: nobody waits for it. It is held until then.
pub const RESEND_WITHIN: Duration = ms(1_000);
/// Packets of a line that are held to be sent again.
pub const RESENDS_MAX: usize = 512;
/// What of a line's bytes may be sent again, of a thousand: as much as is sent the first time. A way that
/// loses a share of what it is given needs that share for it, more than once where repairs are lost, too.
pub const RESENDS_PER_MILLE: u16 = 500;

// Keyframes.

/// Between two requests for one stream; wants in between are one.
pub const KEYFRAME_GAP: Duration = ms(500);
/// A request that brought none is made again after this, doubled each time up to [`KEYFRAME_AGAIN_MAX`].
pub const KEYFRAME_AGAIN: Duration = ms(1_000);
/// See [`KEYFRAME_AGAIN`].
pub const KEYFRAME_AGAIN_MAX: Duration = ms(8_000);

// Voices.

/// The span over which the loudness of a voice is smoothed.
pub const VOICE_WINDOW: Duration = ms(200);
/// The least loudness of a voice: -50 dBov.
pub const VOICE_MIN: f64 = 77.;
/// What is taken off where its maker says that it is no voice.
pub const NOISE_PENALTY_DB: f64 = 10.;
/// Who takes over is so much louder…
pub const TAKEOVER_DB: f64 = 6.;
/// …for so long.
pub const TAKEOVER_AFTER: Duration = ms(300);
/// Who speaks has ceased to after so much silence.
pub const QUIET_AFTER: Duration = ms(1_500);
/// Between two changes of the speaker.
pub const SPEAKER_GAP: Duration = ms(500);
/// How often it is looked at while anybody speaks.
pub const SPEAKER_LOOK_EVERY: Duration = ms(100);

// Layers.

/// A layer is gone when nothing of it came for so long.
pub const LAYER_GONE_AFTER: Duration = ms(1_500);
/// The window over which a layer's rate is reckoned.
pub const RATE_WINDOW: Duration = ms(1_000);
/// A higher layer is taken when the estimate had room for so much more than its rate, in percent…
pub const UP_HEADROOM_PERCENT: u64 = 120;
/// …for so long.
pub const UP_AFTER: Duration = Duration::from_secs(3);
/// What a way should carry of what is wished of it, in percent: more than [`UP_HEADROOM_PERCENT`], or the
/// last layer would never be taken. More room is looked for up to there, and no further.
pub const DESIRED_PERCENT: u64 = 150;
/// A wish that differs by less than this is no news, in percent.
pub const DESIRED_NEWS_PERCENT: u64 = 10;
/// Peers of which everything is taken out in one step of the plane, before what they say goes on its way.
pub const DRAINED_AT_ONCE: usize = 32;
/// How often a peer that has more to do at once goes on in the same step; then it is the others' turn.
pub const DUE_AT_ONCE_MAX: u32 = 32;
/// How often the other side's reports are looked at, for whoever asks how a transport is doing.
pub const STATS_EVERY: Duration = Duration::from_secs(5);
/// What a subscriber is believed to take before anything was measured, in bits a second.
pub const FIRST_ESTIMATE_BPS: u64 = 1_500_000;
