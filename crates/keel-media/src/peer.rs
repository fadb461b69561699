//! One WebRTC transport, and the only place that drains it.
//!
//! str0m wants every change followed by a drain of its outputs; here each method that changes something
//! marks the peer, and the plane drains it once at the end of the step. Nothing outside this folder
//! names a type of str0m's, so that its next release is a change of these files.

mod lines;
mod negotiation;
pub(crate) mod translate;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use str0m::{
    Event, IceConnectionState, Input, Output, Rtc, RtcError,
    bwe::{Bitrate, BweKind},
    media::{Direction, KeyframeRequestKind, Mid, Rid},
    net::Receive,
    rtp::{RtpPacket, RtpWrite},
};

pub use negotiation::Refusal;
pub(crate) use negotiation::{Answered, is_reachable};
pub(crate) use translate::{Extensions, Format};

use crate::{
    config::{self, Config},
    forward::Placed,
    limits,
    packet::{Kind, Packet},
    path::Path,
    plane::{Line, TrackId},
};

use lines::Lines;
use negotiation::Negotiation;

/// What a drain brought to light.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A datagram is to be sent.
    Transmit { path: Path, bytes: Vec<u8> },
    /// ICE and DTLS are done.
    Connected,
    /// Checks succeed, or no longer.
    Ice { connected: bool },
    /// A packet of a published track.
    Packet { mid: Mid, packet: Packet },
    /// The other side cannot show a line before a keyframe.
    KeyframeAsked { mid: Mid },
    /// What the way to the other side is believed to carry, in bits a second.
    Estimate { bps: u64 },
    /// The other side has closed the transport.
    Closed,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Peer {
    rtc: Rtc,
    negotiation: Negotiation,
    lines: Lines,
    /// What it publishes, by m-line.
    publishes: BTreeMap<Mid, Published>,
    /// The rids of its lines' layers, smallest first, whether it publishes on them at present or not:
    /// they are named once a line. None without simulcast.
    rids: BTreeMap<Mid, Vec<Rid>>,
    /// Paths that were proven, over its life.
    learned: usize,
    /// The other side says when packets come (transport-wide congestion control).
    is_measured: bool,
    /// What the other side's checks and reports said last.
    reported: Reported,
    /// Its end was told.
    is_over: bool,
    /// When it wants to be driven.
    deadline: Instant,
    opened: Instant,
}

/// What only the other side can know of the way between.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reported {
    pub(crate) round_trip: Option<Duration>,
    /// The share of what was sent.
    pub(crate) missed: Option<f32>,
}

/// A track that this peer publishes.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) track: TrackId,
    pub(crate) kind: Kind,
}

impl Peer {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut rtc = config.rtc(now);
        for address in &config.addresses {
            match translate::candidate(address) {
                Ok(candidate) => {
                    rtc.add_local_candidate(candidate);
                }
                Err(error) => tracing::error!(?error, "an own address is no candidate"),
            }
        }
        Self {
            rtc,
            negotiation: Negotiation::new(config.end),
            lines: Lines::default(),
            publishes: BTreeMap::new(),
            rids: BTreeMap::new(),
            learned: 0,
            is_measured: false,
            reported: Reported::default(),
            is_over: false,
            deadline: now,
            opened: now,
        }
    }

    pub(crate) const fn reported(&self) -> Reported {
        self.reported
    }

    /// The names by which checks to this peer are known (RFC 8445 §7.2.2): its own fragment now, and
    /// the one that an offer of ours brought.
    pub(crate) fn fragments(&mut self) -> Vec<String> {
        let current = self.rtc.direct_api().local_ice_credentials().ufrag;
        let offered = self.negotiation.offered_fragment().map(str::to_owned);
        [Some(current), offered].into_iter().flatten().collect()
    }

    pub(crate) const fn deadline(&self) -> Instant {
        self.deadline
    }

    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.rtc.is_alive()
    }

    pub(crate) const fn publishes(&self) -> &BTreeMap<Mid, Published> {
        &self.publishes
    }

    pub(crate) const fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(crate) const fn lines_mut(&mut self) -> &mut Lines {
        &mut self.lines
    }

    /// Whether a datagram is this peer's: STUN by its credentials and integrity, all else by where it
    /// comes from.
    pub(crate) fn accepts(&self, now: Instant, path: Path, bytes: &[u8]) -> bool {
        receive(path, bytes).is_some_and(|r| self.rtc.accepts(&Input::Receive(now, r)))
    }

    /// A path to the other side is proven: a server may send there from here on.
    pub(crate) fn learn(&mut self, now: Instant, path: Path) {
        if self.negotiation.is_server()
            && let Ok(candidate) = translate::proven(path)
        {
            self.deadline = now;
            self.learned += 1;
            if self.learned > limits::PATHS_LEARNED_MAX {
                tracing::debug!("a transport was reached from too many addresses");
                return self.rtc.disconnect();
            }
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// The other side has left a path: what goes to it takes another at once.
    pub(crate) fn forsake(&mut self, now: Instant, path: Path) {
        if self.negotiation.is_server()
            && let Ok(candidate) = translate::proven(path)
        {
            self.rtc.direct_api().invalidate_candidate(&candidate);
            self.deadline = now;
        }
    }

    /// A line is there to be sent on, or takes something again.
    fn add_line(&mut self, mid: Mid, kind: Kind) {
        if !self.lines.add(mid, kind) {
            return;
        }
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(mid, None) {
            config::resend(stream);
            // What is passed on was paced by who sent it. Held back here it would only come late: where a way
            // carries less, a smaller layer is what helps.
            stream.set_unpaced(true);
        }
    }

    /// Takes a datagram.
    pub(crate) fn datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) {
        let Some(received) = receive(path, bytes) else {
            return;
        };
        self.deadline = now;
        if let Err(error) = self.rtc.handle_input(Input::Receive(now, received)) {
            self.broke(&error);
        }
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Err(error) = self.rtc.handle_input(Input::Timeout(now)) {
            self.broke(&error);
        }
    }

    /// Puts a packet on a line. False if the other side cannot take it.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        mid: Mid,
        packet: &Packet,
        placed: Placed,
    ) -> bool {
        let Some(pt) = self.lines.payload_type(&self.rtc, mid, packet.format) else {
            return false;
        };
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_tx_by_mid(mid, None) else {
            return false;
        };
        let payload = std::sync::Arc::clone(&packet.payload);
        let nackable = packet.kind == Kind::Video;
        let mut rtp = RtpWrite::new(pt, placed.seq.into(), placed.time, packet.at, payload)
            .marker(packet.marker)
            .nackable(nackable)
            .ext_vals(packet.extensions.write());
        if let Some(patch) = placed.patch {
            rtp = rtp.vp8_patch(patch);
        }
        stream.write_rtp(rtp);
        self.deadline = now;
        true
    }

    /// The way should carry so much: whether it does is looked for by probes.
    pub(crate) fn desire(&mut self, now: Instant, bps: u64) {
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(bps));
        self.deadline = now;
    }

    /// Asks the other side for a keyframe of a track that it publishes.
    pub(crate) fn request_keyframe(&mut self, now: Instant, mid: Mid, layer: crate::Layer) {
        let rids = self
            .rids
            .get(&mid)
            .filter(|_| self.publishes.contains_key(&mid));
        let rid = rids.and_then(|rids| rids.get(usize::from(layer.0)).copied());
        let mut api = self.rtc.direct_api();
        if let Some(stream) = api.stream_rx_by_mid(mid, rid) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            self.deadline = now;
        }
    }

    /// Ends the transport in the open.
    pub(crate) fn close(&mut self, now: Instant) {
        self.deadline = now;
        // Whoever closes it knows.
        self.is_over = true;
        if let Err(error) = self.rtc.close() {
            tracing::debug!(%error, "a transport could not be closed in the open");
            self.rtc.disconnect();
        }
    }

    /// Drives what is due and takes everything out.
    pub(crate) fn drain(&mut self, now: Instant, happenings: &mut Vec<Happening>) {
        if self.deadline <= now {
            self.tick(now);
        }
        let mut at_once = limits::DUE_AT_ONCE_MAX;
        loop {
            match self.rtc.poll_output() {
                // Each packet that is sent has it look at the next one at once.
                Ok(Output::Timeout(at)) if at <= now && at_once > 0 && self.rtc.is_alive() => {
                    at_once -= 1;
                    self.tick(now);
                }
                Ok(Output::Timeout(at)) => {
                    self.deadline = at;
                    if !self.rtc.is_alive() {
                        // Whatever broke it has no event of its own.
                        self.over(happenings);
                    }
                    return;
                }
                Ok(Output::Transmit(transmit)) => happenings.push(translate::transmit(transmit)),
                Ok(Output::Event(event)) => self.event(event, happenings),
                Err(error) => {
                    self.broke(&error);
                    return self.over(happenings);
                }
            }
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "our own watchdog knows more of a stream; the rest is of no use to a router"
    )]
    fn event(&mut self, event: Event, happenings: &mut Vec<Happening>) {
        match event {
            Event::Connected => happenings.push(Happening::Connected),
            Event::IceConnectionStateChange(state) => {
                let connected = match state {
                    IceConnectionState::Connected | IceConnectionState::Completed => true,
                    IceConnectionState::Disconnected => false,
                    IceConnectionState::New | IceConnectionState::Checking => return,
                };
                happenings.push(Happening::Ice { connected });
            }
            Event::MediaAdded(added) => {
                let kind = translate::kind(added.kind);
                if added.direction.is_sending() {
                    self.add_line(added.mid, kind);
                }
                let layers = added.simulcast.map(|layers| layers.recv);
                let rids: Vec<Rid> = layers.into_iter().flatten().map(|l| l.rid).collect();
                if !rids.is_empty() {
                    self.rids.insert(added.mid, rids);
                }
            }
            Event::MediaChanged(changed) => {
                let sends = matches!(changed.direction, Direction::SendOnly | Direction::SendRecv);
                let kind = self.rtc.media(changed.mid).map(|media| media.kind());
                match kind {
                    Some(kind) if sends => self.add_line(changed.mid, translate::kind(kind)),
                    Some(_) | None => self.lines.pause(changed.mid),
                }
            }
            Event::RtpPacket(packet) => self.packet(packet, happenings),
            Event::KeyframeRequest(request) => {
                happenings.push(Happening::KeyframeAsked { mid: request.mid });
            }
            Event::EgressBitrateEstimate(BweKind::Twcc {
                estimate,
                can_probe,
            }) => self.measured(estimate.as_u64(), can_probe, happenings),
            // The other side's own estimate, where ours has nothing to go by.
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) if !self.is_measured => {
                let bps = estimate.as_u64();
                happenings.push(Happening::Estimate { bps });
            }
            Event::PeerStats(stats) => {
                let pair = stats.selected_candidate_pair;
                self.reported = Reported {
                    round_trip: stats
                        .rtt
                        .or_else(|| pair?.current_round_trip_time)
                        .or(self.reported.round_trip),
                    missed: stats.egress_loss_fraction,
                };
            }
            Event::Closed => self.over(happenings),
            _ => {}
        }
    }

    fn measured(&mut self, bps: u64, can_probe: bool, happenings: &mut Vec<Happening>) {
        if !can_probe {
            return;
        }
        self.is_measured = true;
        happenings.push(Happening::Estimate { bps });
    }

    fn packet(&mut self, rtp: RtpPacket, happenings: &mut Vec<Happening>) {
        let mut api = self.rtc.direct_api();
        let Some(stream) = api.stream_rx(&rtp.header.ssrc) else {
            return;
        };
        let (mid, rid) = (stream.mid(), stream.rid());
        if !self.publishes.contains_key(&mid) {
            return;
        }
        let rids = self.rids.get(&mid);
        let layer = rid.and_then(|rid| rids?.iter().position(|known| *known == rid));
        let layer = crate::Layer(u8::try_from(layer.unwrap_or(0)).unwrap_or(u8::MAX));
        let params = self
            .rtc
            .codec_config()
            .find(|p| p.pt() == rtp.header.payload_type);
        let Some(format) = params.map(|params| Format(*params)) else {
            return;
        };
        let packet = translate::packet(rtp, layer, format);
        happenings.push(Happening::Packet { mid, packet });
    }

    /// Its end is told once.
    fn over(&mut self, happenings: &mut Vec<Happening>) {
        if !std::mem::replace(&mut self.is_over, true) {
            happenings.push(Happening::Closed);
        }
    }

    /// The transport is of no use any more.
    fn broke(&mut self, error: &RtcError) {
        tracing::debug!(%error, "a transport broke");
        self.rtc.disconnect();
    }
}

fn receive(path: Path, bytes: &[u8]) -> Option<Receive<'_>> {
    let contents = bytes.try_into().ok()?;
    Some(Receive {
        proto: translate::protocol(path.protocol),
        source: path.remote,
        destination: path.local,
        contents,
    })
}

impl Line {
    pub(crate) fn of(mid: Mid, track: TrackId) -> Self {
        Self {
            mid: mid.to_string(),
            track,
        }
    }
}
