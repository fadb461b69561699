//! Any inputs about media, and what was promised of what comes of them.

use std::collections::BTreeSet;

use keel_wire::{
    AnswerFrame, IceServersFrame, Leg, LegState, LegStatus, LinesFrame, MediaLine, MediaSignal,
    OfferFrame, StatusFrame,
};

use super::*;
use crate::client::media::{LineSample, MediaInput, MediaOrder, TransportState};

/// A session that stands, with a transport that is connected and lines on which something is to come.
pub(crate) fn prefix() -> Vec<Act> {
    vec![
        Act::Connect,
        Act::Opened(0),
        Act::Frame(0, 0, 0),
        Act::Frame(0, 5, 0),
        Act::Media(0, 0, 1),
        Act::MediaFrame(0, 0, 0),
        Act::MediaFrame(0, 0, 1),
        Act::Media(1, 0, 0),
        Act::MediaFrame(0, 3, 0),
    ]
}

fn who(n: u64) -> ParticipantId {
    ParticipantId::from_bits(u128::from(1 + n % 2))
}

fn track(n: u64) -> &'static str {
    ["camera", "screen"][usize::from(n % 4 >= 2)]
}

pub(super) fn some_input(kind: u8, peer: u32, n: u64) -> MediaInput {
    match kind % 16 {
        0 => MediaInput::Want(n > 0),
        1 | 2 => MediaInput::Transport {
            peer,
            state: TransportState::Connected,
        },
        3 => MediaInput::Transport {
            peer,
            state: TransportState::Disconnected,
        },
        4 => MediaInput::Transport {
            peer,
            state: TransportState::Failed,
        },
        5 => MediaInput::Retry,
        6 => MediaInput::Say(MediaSignal::Offer(OfferFrame {
            peer,
            sdp: "v=0".into(),
            lines: Vec::new(),
            settled: false,
        })),
        _ => MediaInput::Sampled {
            peer,
            lines: (0..n % 4)
                .map(|mid| LineSample {
                    mid: mid.to_string(),
                    packets: n / 3,
                    frames: kind.is_multiple_of(2).then_some(n / 4),
                })
                .collect(),
        },
    }
}

/// Lines of both participants' tracks.
fn lines(n: u64) -> Vec<MediaLine> {
    let line = |mid: u64| MediaLine {
        mid: mid.to_string(),
        participant: (n + mid != 5).then(|| who(mid + n / 6)),
        track: track(mid).parse().expect("a name"),
    };
    (0..n % 5).map(line).collect()
}

pub(super) fn some_frame(client: &Client, kind: u8, n: u64) -> ServerFrame {
    let at = client.cursor().seq.next().get();
    let peer = client.media.last_opened();
    let of = json!({ "participant": who(n), "track": track(n), "kind": "video", "muted": n > 5 });
    match kind % 12 {
        0 => event_frame(at, at, "track.published", &of).into(),
        1 => event_frame(at, at, "track.muted", &of).into(),
        2 => event_frame(at, at, "track.unpublished", &of).into(),
        3 | 4 => AnswerFrame {
            peer,
            sdp: "v=0".into(),
            lines: lines(n + 2),
        }
        .into(),
        5 => LinesFrame {
            peer: peer.saturating_sub(u32::from(n > 9)),
            lines: lines(n),
        }
        .into(),
        6 => {
            let code = [Code::MediaFailed, Code::AtCapacity, Code::MediaRefused];
            let code = code[usize::try_from(n % 3).expect("small")];
            let fault = fault(code).leg(Leg::Media).detail("peer", peer);
            FaultFrame {
                fault: if n > 8 { fault.retry(after(n)) } else { fault },
            }
            .into()
        }
        7 => StatusFrame {
            status: Status {
                legs: vec![LegStatus {
                    leg: Leg::Media,
                    state: LegState::Degraded {
                        fault: Box::new(fault(Code::MediaStalled).detail("stalled", json!([of]))),
                    },
                }],
                ..live()
            },
        }
        .into(),
        8 => StatusFrame { status: live() }.into(),
        9 => IceServersFrame {
            ice_servers: Vec::new(),
        }
        .into(),
        _ => {
            let mut welcome = welcome(Joined::Resumed, client.cursor().seq.get(), 0);
            welcome.peer =
                [None, Some(peer), Some(u32::MAX)][usize::from(n > 3) + usize::from(n > 10)];
            Box::new(welcome).into()
        }
    }
}

/// The transports as a shell keeps them.
#[derive(Debug, Default)]
pub(super) struct Laws {
    last: u32,
    open: BTreeSet<u32>,
    pub(super) is_lost: bool,
}

impl Laws {
    /// A shell closes the old transport when it says that the new one is connected.
    pub(super) fn before(&mut self, input: &Input) {
        if let Input::Media(MediaInput::Transport {
            peer,
            state: TransportState::Connected,
        }) = input
            && self.open.last() == Some(peer)
        {
            self.open.retain(|open| open == peer);
        }
        if matches!(input, Input::Media(MediaInput::Want(false))) {
            // What was lost is not wanted any more.
            self.is_lost = false;
        }
    }

    pub(super) fn check(&mut self, order: &MediaOrder) {
        let is_open = |peer: &u32| self.open.contains(peer);
        match order {
            MediaOrder::Open { peer, .. } => {
                assert!(*peer > self.last, "a number is used twice: {order:?}");
                self.last = *peer;
                self.open.insert(*peer);
                assert!(self.open.len() <= 2, "too many are open: {:?}", self.open);
            }
            MediaOrder::Close { peer } => {
                assert!(self.open.remove(peer), "closed a stranger: {order:?}");
            }
            MediaOrder::Hear(signal) => assert!(is_open(&signal.peer()), "{order:?}"),
            MediaOrder::Restart { peer, .. }
            | MediaOrder::Resume { peer }
            | MediaOrder::Sample { peer } => assert!(is_open(peer), "{order:?}: {:?}", self.open),
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.open.is_empty()
    }
}
