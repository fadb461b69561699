//! The media leg: the transport that stands beside the connection.
//!
//! It belongs to the attachment: while the connection is lost and found again, it goes on. What comes
//! over it is looked at, not believed; what does not come is told, and got back by the steps of the
//! planner. Level-triggered as the rest: inputs change what is known, `settle_media` looks at it and does
//! what is to be done now. A leg that is given up leaves the session standing.

mod io;
mod ladder;
mod loss;
mod planner;
mod show;
mod transport;

use std::{collections::VecDeque, time::Duration};

use keel_wire::{Code, Fault, IceServer, Leg, MediaSignal, Origin};

pub use io::{LineSample, MediaInput, MediaOrder, TransportState};

use self::{
    loss::Loss,
    transport::{Transport, Way},
};
use super::{Client, Cx, Life, Output, ladder::Kind, path::Stage};
use crate::{Deadline, Instant, limits};

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Media {
    wanted: bool,
    /// The number of the last transport.
    last: u32,
    ice_servers: Vec<IceServer>,
    /// The transport that is, or was, connected.
    shown: Option<Transport>,
    /// The one that is to take its place.
    next: Option<Transport>,
    /// What was told as lost, until it is back.
    loss: Option<Loss>,
    /// When all that was lost had last come again.
    recovered_at: Option<Instant>,
    /// It was given up, for this.
    down: Option<Box<Fault>>,
    /// Transports in a row that came to nothing.
    failures: u32,
    /// The next is not opened before this.
    open_at: Option<Instant>,
    /// When transports were opened; as many as count.
    opens: VecDeque<Instant>,
    /// Since when it is being tried, with descriptions that could pass.
    tried_from: Option<Instant>,
    /// When what has come is looked at next.
    sample_at: Option<Instant>,
    /// When to look at the whole again.
    look_at: Option<Instant>,
}

impl Media {
    /// When something is to be done, whatever comes.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let of = |at: Option<Instant>, why| at.map(|at| Deadline { at, why });
        Deadline::earlier(
            of(self.look_at, "media step"),
            of(self.sample_at, "media sample"),
        )
    }

    /// The number of the transport that was opened last.
    #[cfg(test)]
    pub(super) const fn last_opened(&self) -> u32 {
        self.last
    }

    fn transport(&mut self, peer: u32) -> Option<&mut Transport> {
        [&mut self.shown, &mut self.next]
            .into_iter()
            .flatten()
            .find(|transport| transport.peer == peer)
    }

    fn knows(&self, peer: u32) -> bool {
        let mut open = self.shown.iter().chain(&self.next);
        open.any(|transport| transport.peer == peer)
    }

    /// What was given up is tried again.
    fn revive(&mut self, now: Instant) {
        (self.failures, self.open_at) = (0, None);
        if self.down.take().is_some() {
            self.tried_from = None;
            if let Some(loss) = &mut self.loss {
                loss.begin_anew(now);
            }
        }
    }

    /// This machine slept: what is as old as the sleep says nothing.
    pub(super) fn woke(&mut self, now: Instant) {
        for transport in [&mut self.shown, &mut self.next].into_iter().flatten() {
            transport.not_looked(now);
            transport.counted_from = now;
        }
        self.tried_from = self.tried_from.map(|_| now);
        if let Some(loss) = &mut self.loss {
            loss.step_at = now;
        }
    }

    /// Nobody wants it any more: what was opened for it, and did not break, was no rejoin.
    fn forget_open(&mut self) {
        let is_open = self.shown.is_some() || self.next.is_some();
        if is_open && self.loss.is_none() {
            self.opens.pop_back();
        }
    }

    /// Whatever was, is no more.
    fn reset(&mut self) {
        let Self {
            wanted,
            last,
            ice_servers,
            opens,
            ..
        } = std::mem::take(self);
        *self = Self {
            wanted,
            last,
            ice_servers,
            opens,
            ..Self::default()
        };
    }
}

impl Client {
    pub(super) fn media(&mut self, cx: &mut Cx<'_>, input: MediaInput) {
        let now = cx.now.mono;
        match input {
            MediaInput::Want(wanted) => {
                self.media.wanted = wanted;
                if !wanted {
                    self.media.forget_open();
                    self.close_media(cx);
                }
            }
            MediaInput::Say(signal) if self.media.knows(signal.peer()) => self.signal(cx, signal),
            MediaInput::Say(_) => {}
            MediaInput::Transport { peer, state } => self.transport_is(cx, peer, state),
            MediaInput::Sampled { peer, lines } => {
                let snapshot = &self.fold.snapshot;
                if let Some(transport) = self.media.transport(peer) {
                    transport.sampled(now, &lines, snapshot);
                }
            }
            MediaInput::Retry => {
                self.media.opens.clear();
                self.media.revive(now);
            }
        }
    }

    /// After the end, only what is wanted is kept, for the next session.
    pub(super) const fn media_when_over(&mut self, input: &MediaInput) {
        if let MediaInput::Want(wanted) = input {
            self.media.wanted = *wanted;
        }
    }

    fn transport_is(&mut self, cx: &mut Cx<'_>, peer: u32, state: TransportState) {
        let now = cx.now.mono;
        if self
            .media
            .next
            .as_ref()
            .is_some_and(|next| next.peer == peer)
        {
            match state {
                TransportState::Connected => self.next_connected(now),
                TransportState::Disconnected => {}
                TransportState::Failed => {
                    let fault = self.transport_fault(cx, peer, "ice_failed");
                    self.transport_failed(cx, peer, Box::new(fault));
                }
            }
            return;
        }
        // Browsers say so seconds late: then it is of the loss that is over.
        let recovered_at = self.media.recovered_at;
        let is_late =
            recovered_at.is_some_and(|at| now.since(at) < limits::MEDIA_TRANSPORT_LATE_MAX);
        let Some(shown) = self.media.transport(peer) else {
            return;
        };
        shown.way = match (state, shown.way) {
            (TransportState::Connected, _) => Way::Up,
            (TransportState::Failed, _) => Way::Failed,
            (TransportState::Disconnected, Way::Up | Way::Proven) if is_late => Way::Proven,
            (TransportState::Disconnected, Way::Opening | Way::Up | Way::Proven) => {
                Way::Lost { since: now }
            }
            (TransportState::Disconnected, way @ (Way::Lost { .. } | Way::Failed)) => way,
        };
    }

    /// The transport that was opened is connected: the one before it is closed by the shell.
    fn next_connected(&mut self, now: Instant) {
        let Some(mut next) = self.media.next.take() else {
            return;
        };
        next.way = Way::Up;
        next.connected_at = Some(now);
        self.media.shown = Some(next);
        if let Some(loss) = &mut self.media.loss {
            loss.begin_anew(now);
        }
    }

    /// What the server says of a transport that it has given up, or not taken.
    pub(super) fn media_fault(&mut self, cx: &mut Cx<'_>, fault: &Fault) -> bool {
        let peer = fault.detail.get("peer").and_then(serde_json::Value::as_u64);
        let Some(peer) = peer.and_then(|peer| u32::try_from(peer).ok()) else {
            return false;
        };
        if fault.leg != Some(Leg::Media) || !self.media.knows(peer) {
            return false;
        }
        let opens = self
            .media
            .next
            .as_ref()
            .is_some_and(|next| next.peer == peer);
        if fault.code == Code::MediaRefused && !opens {
            // What was refused is a change; what there is goes on.
            return false;
        }
        self.transport_failed(cx, peer, Box::new(fault.clone()));
        true
    }

    /// The server still has a transport of this attachment, or has none.
    pub(super) fn welcomed_media(
        &mut self,
        cx: &mut Cx<'_>,
        peer: Option<u32>,
        ice_servers: Vec<IceServer>,
    ) {
        let now = cx.now.mono;
        self.media.ice_servers = ice_servers;
        self.media.last = self.media.last.max(peer.unwrap_or(0));
        if peer.is_some_and(|peer| self.media.knows(peer)) {
            let open = [&mut self.media.shown, &mut self.media.next];
            for transport in open.into_iter().flatten() {
                transport.counted_from = now;
                let peer = transport.peer;
                cx.out.push(Output::Media(MediaOrder::Resume { peer }));
            }
            if let Some(loss) = &mut self.media.loss {
                loss.step_at = now;
            }
            return;
        }
        self.media.revive(now);
        // What was being agreed on was agreed on with a server that has forgotten it.
        self.close_next(cx);
        let moves = matches!(&self.life, Life::Recovering(recovery) if recovery.kind != Kind::Loss);
        let Some(shown) = &mut self.media.shown else {
            return;
        };
        shown.superseded = true;
        let peer = shown.peer;
        if !moves && self.media.loss.is_none() {
            let fault = self.transport_fault(cx, peer, "peer_unknown");
            self.tell_media_lost(cx, Box::new(fault), false);
        }
    }

    pub(super) fn hear_media(&mut self, cx: &mut Cx<'_>, signal: MediaSignal) {
        let now = cx.now.mono;
        let Some(transport) = self.media.transport(signal.peer()) else {
            return;
        };
        match &signal {
            MediaSignal::Offer(offer) => transport.name_lines(now, offer.lines.clone()),
            MediaSignal::Answer(answer) => transport.name_lines(now, answer.lines.clone()),
            MediaSignal::Lines(lines) => transport.name_lines(now, lines.lines.clone()),
            MediaSignal::Candidate(_) | MediaSignal::Refresh(_) => {}
        }
        cx.out.push(Output::Media(MediaOrder::Hear(signal)));
    }

    pub(super) fn ice_servers(&mut self, ice_servers: Vec<IceServer>) {
        self.media.ice_servers = ice_servers;
    }

    /// There is a network: what was given up is tried again, what waits does not.
    pub(super) fn media_online(&mut self, now: Instant) {
        self.media.revive(now);
    }

    /// Asks for a look, where it is time.
    pub(super) fn run_media_timers(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        if self.media.sample_at.is_none_or(|at| at > now) {
            return;
        }
        if let Some(shown) = &self.media.shown {
            let peer = shown.peer;
            cx.out.push(Output::Media(MediaOrder::Sample { peer }));
        }
        self.media.sample_at = Some(now + limits::MEDIA_SAMPLE_EVERY);
    }

    /// Looks are taken while something is expected.
    fn plan_samples(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let snapshot = &self.fold.snapshot;
        let shown = self.media.shown.as_mut();
        let expects = shown.is_some_and(|shown| {
            let expects = shown.expected(snapshot).next().is_some();
            if !expects && self.media.sample_at.is_some() {
                shown.not_looked(now);
            }
            expects
        });
        if !expects {
            self.media.sample_at = None;
        } else if self.media.sample_at.is_none() {
            self.media.sample_at = Some(now);
            self.run_media_timers(cx);
        }
    }

    fn transport_fault(&mut self, cx: &Cx<'_>, peer: u32, why: &str) -> Fault {
        let code = Code::MediaFailed;
        self.media_trouble(cx, code)
            .detail("peer", peer)
            .detail("why", why)
    }

    /// A fault of the leg, as this end sees it.
    fn media_trouble(&mut self, cx: &Cx<'_>, code: Code) -> Fault {
        self.mint
            .fault(cx.now, code, Origin::Network)
            .leg(Leg::Media)
            .detail("side", "client")
    }

    fn close_next(&mut self, cx: &mut Cx<'_>) {
        if let Some(Transport { peer, .. }) = self.media.next.take() {
            cx.out.push(Output::Media(MediaOrder::Close { peer }));
        }
    }

    fn close_shown(&mut self, cx: &mut Cx<'_>) {
        if let Some(Transport { peer, .. }) = self.media.shown.take() {
            cx.out.push(Output::Media(MediaOrder::Close { peer }));
        }
    }

    /// Closes everything, and forgets what was told: nobody wants it, or the session is over.
    pub(super) fn close_media(&mut self, cx: &mut Cx<'_>) {
        self.close_shown(cx);
        self.close_next(cx);
        self.media.reset();
    }

    fn stands(&self) -> bool {
        let path = self.current.as_ref();
        path.is_some_and(|path| matches!(path.stage, Stage::Replaying | Stage::Joined))
    }

    /// Whether descriptions can pass.
    fn is_signaled(&self) -> bool {
        let lives = matches!(self.life, Life::Standing | Life::Recovering(_));
        lives && self.stands() && self.current.as_ref().is_some_and(super::Path::is_good)
    }

    /// To the connection that carries the session, if one does.
    fn signal(&self, cx: &mut Cx<'_>, signal: MediaSignal) {
        let path = self.current.as_ref().filter(|_| self.stands());
        if let (Some(path), Some(frame)) = (path, signal.into_client_frame()) {
            cx.send(path, frame.encode());
        }
    }

    /// What is left to wait before the next transport.
    fn media_wait(&self, now: Instant) -> Duration {
        self.media
            .open_at
            .map_or(Duration::ZERO, |at| at.since(now))
    }
}
