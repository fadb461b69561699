//! Between the Node's words for media and the plane's. The numbers are the Node's.

use keel_core::node::{
    MediaFact, MediaOrder,
    media::{self, StreamId},
};
use keel_media::{
    Failure, Finding, GroupId, Input, Kind, Layer, Line, Output, PeerId, Signal, TrackId,
};
use keel_wire::{LayerSize, TrackKind};

pub(super) fn input(order: MediaOrder) -> Input {
    match order {
        MediaOrder::Open { peer, group } => Input::Open {
            peer: of(peer),
            group: GroupId(group.0),
        },
        MediaOrder::Settle { peer } => Input::Settle { peer: of(peer) },
        MediaOrder::Signal { peer, signal } => Input::Signal {
            peer: of(peer),
            signal: said(signal),
        },
        MediaOrder::Subscribe { peer, stream, max } => Input::Subscribe {
            peer: of(peer),
            track: track(stream),
            max: max.map(|max| match max {
                LayerSize::Low => Layer(0),
                LayerSize::Medium => Layer(1),
                LayerSize::High => Layer(2),
            }),
        },
        MediaOrder::Unsubscribe { peer, stream } => Input::Unsubscribe {
            peer: of(peer),
            track: track(stream),
        },
        MediaOrder::Mute { stream, muted, .. } => Input::Mute {
            track: track(stream),
            muted,
        },
        MediaOrder::Restart { peer } => Input::Restart { peer: of(peer) },
        MediaOrder::Resume { peer } => Input::Resume { peer: of(peer) },
        MediaOrder::Refresh { peer, mids, anew } => Input::Refresh {
            peer: of(peer),
            mids,
            anew,
        },
        MediaOrder::Close { peer } => Input::Close { peer: of(peer) },
    }
}

/// What the Node is told; `None` where there is nothing for it to decide.
pub(super) fn fact(output: Output) -> Option<MediaFact> {
    Some(match output {
        Output::Signal { peer, signal } => MediaFact::Signal {
            peer: back(peer),
            signal: says(signal),
        },
        Output::Refused { peer, refusal } => MediaFact::Refused {
            peer: back(peer),
            description: refusal.is_of_description(),
            why: refusal.to_string(),
        },
        Output::Connected { peer, after } => MediaFact::Connected {
            peer: back(peer),
            after_ms: ms(after),
        },
        Output::Unreachable { peer } => MediaFact::Reachable {
            peer: back(peer),
            reachable: false,
        },
        Output::Reachable { peer } => MediaFact::Reachable {
            peer: back(peer),
            reachable: true,
        },
        Output::Failed { peer, failure } => MediaFact::Failed {
            peer: back(peer),
            full: failure == Failure::TooManyPeers,
            why: failure.to_string(),
        },
        Output::Published { track, kind, .. } => MediaFact::Published {
            stream: StreamId(track.0),
            kind: match kind {
                Kind::Audio => TrackKind::Audio,
                Kind::Video => TrackKind::Video,
            },
        },
        Output::Unpublished { track } => MediaFact::Unpublished {
            stream: StreamId(track.0),
        },
        Output::Speaking { group, track } => MediaFact::Speaking {
            group: media::GroupId(group.0),
            stream: track.map(|track| StreamId(track.0)),
        },
        Output::Cadence { track, finding } => {
            let (flows, gap_ms) = match finding {
                Finding::Stalled => (false, 0),
                Finding::Flowing { gap } => (true, ms(gap)),
            };
            MediaFact::Flow {
                stream: StreamId(track.0),
                flows,
                gap_ms,
            }
        }
        Output::Unsupported { peer, track } => MediaFact::Unsupported {
            peer: back(peer),
            stream: StreamId(track.0),
        },
        // Its maker answers ours, and offers again by itself.
        Output::PassedOver { .. } | Output::Moved { .. } | Output::Transmit { .. } => return None,
    })
}

fn said(signal: media::Signal) -> Signal {
    let lines = |lines: Vec<media::Line>| {
        let lines = lines.into_iter().map(|line| Line {
            mid: line.mid,
            track: track(line.stream),
        });
        lines.collect()
    };
    match signal {
        media::Signal::Offer { sdp, lines: named } => Signal::Offer {
            sdp,
            lines: lines(named),
        },
        media::Signal::Answer { sdp, lines: named } => Signal::Answer {
            sdp,
            lines: lines(named),
        },
        media::Signal::Candidate { candidate } => Signal::Candidate { candidate },
        media::Signal::Lines { lines: named } => Signal::Lines {
            lines: lines(named),
        },
    }
}

fn says(signal: Signal) -> media::Signal {
    let lines = |lines: Vec<Line>| {
        let lines = lines.into_iter().map(|line| media::Line {
            mid: line.mid,
            stream: StreamId(line.track.0),
        });
        lines.collect()
    };
    match signal {
        Signal::Offer { sdp, lines: named } => media::Signal::Offer {
            sdp,
            lines: lines(named),
        },
        Signal::Answer { sdp, lines: named } => media::Signal::Answer {
            sdp,
            lines: lines(named),
        },
        Signal::Candidate { candidate } => media::Signal::Candidate { candidate },
        Signal::Lines { lines: named } => media::Signal::Lines {
            lines: lines(named),
        },
    }
}

const fn of(peer: media::PeerId) -> PeerId {
    PeerId(peer.0)
}

const fn back(peer: PeerId) -> media::PeerId {
    media::PeerId(peer.0)
}

const fn track(stream: StreamId) -> TrackId {
    TrackId(stream.0)
}

fn ms(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
