//! The media leg: what is looked at, what is told, and what is done about it.

pub(super) mod losing;
pub(super) mod opening;
pub(super) mod repairing;

use std::collections::BTreeMap;

use keel_wire::{
    AnswerFrame, Leg, LegState, LegStatus, LinesFrame, MediaLine, MediaSignal, OfferFrame,
    RefreshFrame, StatusFrame, Strategy,
};

use super::*;
use crate::client::media::{LineSample, MediaInput, MediaOrder, TransportState};

pub(super) const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(super) fn me() -> ParticipantId {
    ParticipantId::from_bits(1)
}

pub(super) fn other() -> ParticipantId {
    ParticipantId::from_bits(2)
}

/// A line on which something comes, or does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Comes {
    packets: bool,
    frames: Option<bool>,
}

pub(super) const FLOWS: Comes = Comes {
    packets: true,
    frames: Some(true),
};
pub(super) const SILENT: Comes = Comes {
    packets: false,
    frames: Some(false),
};
pub(super) const FROZEN: Comes = Comes {
    packets: true,
    frames: Some(false),
};
pub(super) const SOUND: Comes = Comes {
    packets: true,
    frames: None,
};

/// A client with a transport that answers looks.
pub(super) struct Screen {
    pub(super) rig: Rig,
    pub(super) comes: BTreeMap<String, Comes>,
    /// Looks are not answered.
    pub(super) blind: bool,
    counts: BTreeMap<(u32, String), (u64, u64)>,
    orders: Vec<(u64, MediaOrder)>,
    start: Instant,
    at: u64,
}

impl Screen {
    /// A session that stands, with media wanted.
    pub(super) fn opening() -> Self {
        Self::opening_in(Rig::live())
    }

    pub(super) fn opening_in(mut rig: Rig) -> Self {
        rig.input(Input::Media(MediaInput::Want(true)));
        let start = rig.now.mono;
        let mut screen = Self {
            rig,
            comes: BTreeMap::new(),
            blind: false,
            counts: BTreeMap::new(),
            orders: Vec::new(),
            start,
            at: 0,
        };
        screen.collect();
        screen
    }

    /// Connected, with one line of the other's camera that flows.
    pub(super) fn showing() -> Self {
        let mut screen = Self::opening();
        screen.publish(&other(), "camera");
        screen.connected(1);
        screen.lines(1, &[("0", other(), "camera")]);
        screen.comes.insert("0".into(), FLOWS);
        screen.pass(millis(1_000));
        assert_eq!(screen.told(), Vec::<String>::new());
        screen
    }

    pub(super) fn publish(&mut self, participant: &ParticipantId, track: &str) {
        self.log(
            "track.published",
            &json!({"participant": participant, "track": track, "kind": "video"}),
        );
    }

    pub(super) fn mute(&mut self, participant: &ParticipantId, track: &str, muted: bool) {
        self.log(
            "track.muted",
            &json!({"participant": participant, "track": track, "muted": muted}),
        );
    }

    pub(super) fn log(&mut self, kind: &str, data: &serde_json::Value) {
        self.at += 1;
        let conn = self.rig.dialed();
        let frame = event_frame(self.at, self.at, kind, data);
        self.rig.frame(conn, frame);
        self.collect();
    }

    pub(super) fn input(&mut self, input: MediaInput) {
        self.rig.input(Input::Media(input));
        self.collect();
    }

    pub(super) fn connected(&mut self, peer: u32) {
        self.is(peer, TransportState::Connected);
    }

    pub(super) fn is(&mut self, peer: u32, state: TransportState) {
        self.input(MediaInput::Transport { peer, state });
    }

    /// The server says what it sends.
    pub(super) fn lines(&mut self, peer: u32, lines: &[(&str, ParticipantId, &str)]) {
        let line = |(mid, participant, track): &(&str, ParticipantId, &str)| MediaLine {
            mid: (*mid).into(),
            participant: Some(participant.clone()),
            track: track.parse().expect("a name"),
        };
        let lines = lines.iter().map(line).collect();
        let sdp = "v=0".into();
        let conn = self.rig.dialed();
        self.rig.frame(conn, AnswerFrame { peer, sdp, lines });
        self.collect();
    }

    /// The server says that tracks are silent at their source.
    pub(super) fn stalled(&mut self, tracks: &[(ParticipantId, &str)]) {
        let fault = tracks.first().map(|(participant, track)| {
            let named = |(participant, track): &(ParticipantId, &str)| {
                json!({"participant": participant, "track": track})
            };
            fault(Code::MediaStalled)
                .leg(Leg::Media)
                .detail("participant", participant.as_str())
                .detail("track", *track)
                .detail("stalled", tracks.iter().map(named).collect::<Vec<_>>())
        });
        let state = fault.map_or(LegState::Up, |fault| LegState::Degraded {
            fault: Box::new(fault),
        });
        let fault = match &state {
            LegState::Degraded { fault } => Some(fault.clone()),
            _ => None,
        };
        let status = Status {
            state: if fault.is_some() {
                State::Degraded
            } else {
                State::Live
            },
            fault,
            legs: vec![LegStatus {
                leg: Leg::Media,
                state,
            }],
            ..live()
        };
        let conn = self.rig.dialed();
        self.rig.frame(conn, StatusFrame { status });
        self.collect();
    }

    /// Moves time on: beats come, looks are answered.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.rig.now.mono + span;
        while let Some(deadline) = self.rig.client.deadline().filter(|next| next.at <= end) {
            self.rig.set(deadline.at.max(self.rig.now.mono));
            if let Some(conn) = self.standing() {
                let seq = self.rig.client.cursor().seq.get();
                self.rig.frame(conn, beat(1, seq));
            }
            self.rig.input(Input::Tick);
            self.collect();
        }
        self.rig.set(end);
    }

    fn standing(&self) -> Option<ConnId> {
        let path = self.rig.client.current.as_ref()?;
        (!path.deaf).then_some(path.conn)
    }

    /// Answers the looks among what came out, and keeps the orders.
    fn collect(&mut self) {
        while self.collect_once() {}
    }

    fn collect_once(&mut self) -> bool {
        let mut asked = None;
        for output in self.rig.take() {
            if let Output::Media(order) = output {
                if let MediaOrder::Sample { peer } = order {
                    asked = Some(peer);
                } else {
                    let at = self.rig.now.mono.ms_since(self.start);
                    self.orders.push((at, order));
                }
            }
        }
        match asked {
            Some(peer) if !self.blind => {
                self.look(peer);
                true
            }
            _ => false,
        }
    }

    pub(super) fn look(&mut self, peer: u32) {
        let lines = self.comes.iter().map(|(mid, comes)| {
            let (packets, frames) = self.counts.entry((peer, mid.clone())).or_default();
            *packets += u64::from(comes.packets) * 30;
            *frames += u64::from(comes.frames == Some(true)) * 7;
            LineSample {
                mid: mid.clone(),
                packets: *packets,
                frames: comes.frames.map(|_| *frames),
            }
        });
        let lines = lines.collect();
        self.rig
            .input(Input::Media(MediaInput::Sampled { peer, lines }));
    }

    /// What was told of media, in order: the codes of losses, and what brought it back.
    pub(super) fn told(&self) -> Vec<String> {
        let of = |event: &Event| match event {
            Event::MediaLost { fault } => Some(format!("lost {}", fault.code)),
            Event::MediaRecovered {
                strategy, attempts, ..
            } => Some(format!("back {strategy:?} {attempts}")),
            Event::Fault(fault) => Some(format!("fault {}", fault.code)),
            _ => None,
        };
        self.rig.events().into_iter().filter_map(of).collect()
    }

    pub(super) fn fault_told(&self) -> Fault {
        let of = |event: &&Event| match event {
            Event::MediaLost { fault } | Event::Fault(fault) => Some((**fault).clone()),
            _ => None,
        };
        self.rig.events().iter().rev().find_map(of).expect("told")
    }

    /// The names of orders, and when they came.
    pub(super) fn orders(&self) -> Vec<(u64, String)> {
        let name = |order: &MediaOrder| match order {
            MediaOrder::Open { peer, .. } => Some(format!("open {peer}")),
            MediaOrder::Restart { peer, .. } => Some(format!("restart {peer}")),
            MediaOrder::Resume { peer } => Some(format!("resume {peer}")),
            MediaOrder::Close { peer } => Some(format!("close {peer}")),
            MediaOrder::Hear(_) | MediaOrder::Sample { .. } => None,
        };
        let orders = self.orders.iter();
        orders
            .filter_map(|(at, order)| Some((*at, name(order)?)))
            .collect()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.orders().into_iter().map(|(_, name)| name).collect()
    }

    /// What was asked to begin anew: the lines, and whether a keyframe was not enough.
    pub(super) fn refreshes(&self) -> Vec<(Vec<String>, bool)> {
        let of = |frame| match frame {
            ClientFrame::Refresh(RefreshFrame { mids, anew, .. }) => Some((mids, anew)),
            _ => None,
        };
        let sent = self.rig.sent(self.rig.dialed()).into_iter();
        sent.filter_map(of).collect()
    }

    pub(super) fn leg(&self) -> Option<LegState> {
        let status = self.rig.client.status();
        let mut legs = status.legs.iter();
        legs.find(|leg| leg.leg == Leg::Media)
            .map(|leg| leg.state.clone())
    }

    pub(super) fn recovering(&self) -> Option<(Strategy, u32)> {
        match self.leg()? {
            LegState::Recovering {
                strategy, attempt, ..
            } => Some((strategy, attempt)),
            _ => None,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.leg(), Some(LegState::Down { .. }))
    }

    /// The connection is lost, and the server that answers next knows of a transport or of none.
    pub(super) fn reconnects(&mut self, knows: Option<u32>) {
        let conn = self.rig.dialed();
        self.rig.closed(conn, ConnEnd::Reset);
        self.comes_back(knows);
    }

    pub(super) fn comes_back(&mut self, knows: Option<u32>) {
        let dials = |screen: &Self| {
            let path = screen.rig.client.attempt.as_ref().and_then(Attempt::path);
            path.is_some_and(|path| path.stage == path::Stage::Dialing)
        };
        while !dials(self) {
            self.pass(millis(50));
        }
        let conn = self.rig.dialed();
        self.rig.opened(conn);
        let mut welcome = welcome(Joined::Resumed, self.at, 0);
        welcome.peer = knows;
        self.rig.welcomed(conn, welcome);
        self.collect();
    }
}

pub(super) fn offer(peer: u32) -> MediaInput {
    MediaInput::Say(MediaSignal::Offer(OfferFrame {
        peer,
        sdp: "v=0".into(),
        lines: Vec::new(),
        settled: false,
    }))
}

pub(super) fn refusal(code: Code, peer: u32) -> Fault {
    fault(code).leg(Leg::Media).detail("peer", peer)
}

pub(super) fn no_lines(peer: u32) -> ServerFrame {
    let lines = Vec::new();
    LinesFrame { peer, lines }.into()
}
