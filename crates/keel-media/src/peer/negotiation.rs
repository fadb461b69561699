//! Offers and answers: RFC 8829, and who yields when both offer at once.
//!
//! A server does not yield: an offer that meets one of its own is passed over, and its maker answers
//! ours first, then offers again. A client yields. So both ends may begin at any time, and one exchange
//! is under way at most.

use std::time::Instant;

use str0m::{
    Candidate,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    media::{Direction, Mid},
};

use super::{Peer, Published, translate};
use crate::{config::End, limits, packet::Kind, plane::TrackId};

/// Why a description or a candidate was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is too large, or has too many m-lines.
    #[error("the description is larger than {max} {unit}")]
    TooLarge {
        /// The bound.
        max: usize,
        /// Of what.
        unit: &'static str,
    },
    /// It cannot be read.
    #[error("the description cannot be read: {0}")]
    Malformed(String),
    /// It says what cannot be agreed on.
    #[error("the description cannot be accepted: {0}")]
    Unacceptable(String),
    /// It names no certificate, or by a hash that proves nothing (RFC 8122 §5).
    #[error("the description has no fingerprint by sha-256 or better")]
    WeakFingerprint,
    /// It is of another certificate than this transport's: a new transport is needed.
    #[error("the description is of another transport")]
    OtherTransport,
    /// An answer that nobody asked for.
    #[error("no offer waits for an answer")]
    NoOffer,
    /// More candidates than a peer may have.
    #[error("there are more than {} candidates", limits::CANDIDATES_MAX)]
    TooManyCandidates,
    /// A candidate cannot be read, or is one that nothing is ever sent to.
    #[error("the candidate is of no use")]
    BadCandidate,
}

impl Refusal {
    /// Whether it was a description that was waited for, and no candidate or late word.
    #[must_use]
    pub const fn is_of_description(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::Malformed(_)
            | Self::Unacceptable(_)
            | Self::WeakFingerprint
            | Self::OtherTransport => true,
            Self::NoOffer | Self::TooManyCandidates | Self::BadCandidate => false,
        }
    }
}

/// What an offer came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// With this answer.
    With(String),
    /// It met one of ours, and waits until that is answered: it is to be made again then.
    PassedOver,
}

#[derive(Debug)]
enum State {
    Stable,
    Offered(Box<Offered>),
}

#[derive(Debug)]
struct Offered {
    pending: SdpPendingOffer,
    /// As it was said.
    sdp: String,
    /// Lines that it adds.
    adds: Vec<(Mid, Kind)>,
    /// The fragment that it brings, if it restarts ICE.
    fragment: Option<String>,
    since: Instant,
}

/// What came of an answer.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// Kinds of the lines that were offered and not taken.
    pub(crate) declined: Vec<Kind>,
}

/// How far the agreement is.
#[derive(Debug)]
pub(super) struct Negotiation {
    end: End,
    state: State,
    /// The other side's fingerprint, once it is known.
    fingerprint: Option<String>,
    /// When it described itself first.
    described_at: Option<Instant>,
    /// The m-lines that there are.
    lines: usize,
    /// The other side's ICE fragment: another one begins another round of candidates.
    fragment: Option<String>,
    /// Candidates that the other side has named since, and those that came before its description.
    candidates: usize,
    early: Vec<Candidate>,
}

impl Negotiation {
    pub(super) const fn new(end: End) -> Self {
        Self {
            end,
            state: State::Stable,
            fingerprint: None,
            described_at: None,
            lines: 0,
            fragment: None,
            candidates: 0,
            early: Vec::new(),
        }
    }

    pub(super) const fn is_server(&self) -> bool {
        matches!(self.end, End::Server { .. })
    }

    pub(super) fn offered_fragment(&self) -> Option<&str> {
        match &self.state {
            State::Stable => None,
            State::Offered(offered) => offered.fragment.as_deref(),
        }
    }

    /// When an offer of ours has waited for long enough.
    fn offer_expires(&self) -> Option<Instant> {
        match &self.state {
            State::Stable => None,
            State::Offered(offered) => Some(offered.since + limits::ANSWER_WITHIN),
        }
    }
}

impl Peer {
    /// Whether an offer of ours waits for its answer.
    pub(crate) fn is_offering(&self) -> bool {
        matches!(self.negotiation.state, State::Offered(_))
    }

    pub(crate) fn offer_expires(&self) -> Option<Instant> {
        self.negotiation.offer_expires()
    }

    /// The offer that waits for its answer, to be said again. Never another in its place: a client that
    /// has taken it would have to refuse that, since lines keep their places (RFC 8829 §5.2.2).
    pub(crate) fn repeat_offer(&mut self, now: Instant) -> Option<String> {
        match &mut self.negotiation.state {
            State::Stable => None,
            State::Offered(offered) => {
                offered.since = now;
                Some(offered.sdp.clone())
            }
        }
    }

    /// Whether the other side has described itself.
    pub(crate) const fn is_described(&self) -> bool {
        self.negotiation.fingerprint.is_some()
    }

    /// When it has to be connected, once it is described.
    pub(crate) fn connects_by(&self) -> Option<Instant> {
        let described_at = self.negotiation.described_at;
        described_at.map(|at| at + limits::CONNECT_WITHIN)
    }

    /// The other side offers; `tracks` says which of its m-lines publish what.
    pub(crate) fn take_offer(
        &mut self,
        now: Instant,
        sdp: &str,
        tracks: &[(String, TrackId)],
    ) -> Result<Answered, Refusal> {
        let sdp = self.checked(sdp)?;
        let offer =
            SdpOffer::from_sdp_string(&sdp).map_err(|e| Refusal::Malformed(e.to_string()))?;
        if self.is_offering() {
            match self.negotiation.end {
                End::Server { .. } => return Ok(Answered::PassedOver),
                End::Client => self.negotiation.state = State::Stable,
            }
        }
        self.deadline = now;
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.map_err(|error| Refusal::Unacceptable(error.to_string()))?;
        self.negotiation.fingerprint = fingerprint(&sdp).map(str::to_owned);
        self.negotiation.lines = lines_of(&sdp);
        self.publish(tracks);
        self.note_lines(&sdp);
        self.described(now, &sdp);
        Ok(Answered::With(answer.to_sdp_string()))
    }

    /// The other side answers an offer of ours.
    ///
    /// # Errors
    /// When it is refused; the offer waits on. One that only str0m refuses has left it half agreed: the
    /// transport is over.
    pub(crate) fn take_answer(&mut self, now: Instant, sdp: &str) -> Result<Agreed, Refusal> {
        let State::Offered(offered) = &self.negotiation.state else {
            return Err(Refusal::NoOffer);
        };
        if !mids(sdp).eq(mids(&offered.sdp)) {
            let why = "its lines are not those of the offer";
            return Err(Refusal::Unacceptable(why.to_owned()));
        }
        let sdp = self.checked(sdp)?;
        let answer =
            SdpAnswer::from_sdp_string(&sdp).map_err(|e| Refusal::Malformed(e.to_string()))?;
        let State::Offered(offered) = std::mem::replace(&mut self.negotiation.state, State::Stable)
        else {
            return Err(Refusal::NoOffer);
        };
        self.deadline = now;
        let accepted = self.rtc.sdp_api().accept_answer(offered.pending, answer);
        if let Err(error) = accepted {
            self.rtc.disconnect();
            return Err(Refusal::Unacceptable(error.to_string()));
        }
        self.negotiation.fingerprint = fingerprint(&sdp).map(str::to_owned);
        let mut declined = Vec::new();
        for (mid, kind) in offered.adds {
            let media = self.rtc.media(mid);
            if media.is_some_and(|media| media.direction().is_sending()) {
                self.add_line(mid, kind);
            } else {
                declined.push(kind);
            }
        }
        self.negotiation.lines = lines_of(&sdp);
        self.described(now, &sdp);
        Ok(Agreed { declined })
    }

    /// Offers what is missing: lines to send these kinds on, a restart of ICE. `None` when nothing is,
    /// or when an offer is under way.
    pub(crate) fn offer(&mut self, now: Instant, sends: &[Kind], restart: bool) -> Option<String> {
        self.offer_with(now, sends, &[], restart)
            .map(|(sdp, _)| sdp)
    }

    /// The same from a client's end, which also publishes; the mids of what it publishes, in order.
    pub(crate) fn offer_with(
        &mut self,
        now: Instant,
        sends: &[Kind],
        receives: &[Kind],
        restart: bool,
    ) -> Option<(String, Vec<Mid>)> {
        if self.is_offering() {
            return None;
        }
        let mut changes = self.rtc.sdp_api();
        let mut adds = Vec::new();
        let room = limits::LINES_MAX.saturating_sub(self.negotiation.lines);
        for kind in sends.iter().take(room) {
            let media = translate::media_kind(*kind);
            let mid = changes.add_media(media, Direction::SendOnly, None, None, None);
            adds.push((mid, *kind));
        }
        for kind in receives {
            let media = translate::media_kind(*kind);
            changes.add_media(media, Direction::RecvOnly, None, None, None);
        }
        let fragment = restart.then(|| changes.ice_restart(true).ufrag);
        let (offer, pending) = changes.apply()?;
        self.deadline = now;
        let mids = adds.iter().map(|(mid, _)| *mid).collect();
        let sdp = offer.to_sdp_string();
        self.negotiation.state = State::Offered(Box::new(Offered {
            pending,
            sdp: sdp.clone(),
            adds,
            fragment,
            since: now,
        }));
        Some((sdp, mids))
    }

    /// The other side names a candidate. A server has no use for it: it is where it said that it is,
    /// and learns where the other side is from checks that prove it.
    pub(crate) fn take_candidate(&mut self, now: Instant, text: &str) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        if self.negotiation.candidates >= limits::CANDIDATES_MAX {
            return Err(Refusal::TooManyCandidates);
        }
        self.negotiation.candidates += 1;
        let text = text.strip_prefix("a=").unwrap_or(text);
        let candidate = Candidate::from_sdp_string(text).map_err(|_| Refusal::BadCandidate)?;
        if !is_reachable(&candidate) {
            return Err(Refusal::BadCandidate);
        }
        match self.negotiation.end {
            End::Server { .. } => {}
            End::Client if self.is_described() => {
                self.rtc.add_remote_candidate(candidate);
                self.deadline = now;
            }
            End::Client => self.negotiation.early.push(candidate),
        }
        Ok(())
    }

    /// The other side has described itself: what came too early has its place now.
    fn described(&mut self, now: Instant, sdp: &str) {
        self.negotiation.described_at.get_or_insert(now);
        let fragment = sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        if self.negotiation.fragment.as_deref() != fragment {
            // Those that came before the first description count as of its round.
            if self.negotiation.fragment.is_some() {
                self.negotiation.candidates = 0;
            }
            self.negotiation.fragment = fragment.map(str::to_owned);
        }
        self.lines.forget_payload_types();
        for candidate in std::mem::take(&mut self.negotiation.early) {
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// Lines that the other side wants something on are there as soon as they are agreed on: media may
    /// be put on them before the transport is connected.
    fn note_lines(&mut self, sdp: &str) {
        for mid in mids(sdp).map(Mid::from) {
            if let Some(media) = self.rtc.media(mid)
                && media.direction().is_sending()
            {
                self.add_line(mid, translate::kind(media.kind()));
            }
        }
    }

    /// What the other side publishes from here on.
    fn publish(&mut self, tracks: &[(String, TrackId)]) {
        self.publishes.clear();
        for (mid, track) in tracks.iter().take(limits::LINES_MAX) {
            let mid = Mid::from(mid.as_str());
            let Some(media) = self.rtc.media(mid) else {
                tracing::debug!(%mid, "a track is named on a line that is not there");
                continue;
            };
            let published = Published {
                track: *track,
                kind: translate::kind(media.kind()),
            };
            self.publishes.insert(mid, published);
        }
    }

    /// A description within bounds, of the transport that this is, and without addresses that a server
    /// has no use for.
    fn checked(&self, sdp: &str) -> Result<String, Refusal> {
        let too_large = |max, unit| Err(Refusal::TooLarge { max, unit });
        if sdp.len() > limits::SDP_BYTES_MAX {
            return too_large(limits::SDP_BYTES_MAX, "bytes");
        }
        if lines_of(sdp) > limits::LINES_MAX {
            return too_large(limits::LINES_MAX, "m-lines");
        }
        let strong = |line: &str| {
            let hash = line.strip_prefix("a=fingerprint:")?.split(' ').next()?;
            let strong = ["sha-256", "sha-384", "sha-512"];
            Some(strong.iter().any(|name| hash.eq_ignore_ascii_case(name)))
        };
        let mut fingerprints = sdp.lines().filter_map(strong);
        if !fingerprints
            .next()
            .is_some_and(|first| first && fingerprints.all(|next| next))
        {
            return Err(Refusal::WeakFingerprint);
        }
        match (&self.negotiation.fingerprint, fingerprint(sdp)) {
            (Some(known), Some(said)) if !known.eq_ignore_ascii_case(said) => {
                return Err(Refusal::OtherTransport);
            }
            (Some(_) | None, _) => {}
        }
        let keeps_candidates = self.negotiation.end == End::Client;
        let kept = sdp
            .lines()
            .filter(|line| keeps_candidates || !line.starts_with("a=candidate:"));
        Ok(kept.flat_map(|line| [line, "\r\n"]).collect())
    }
}

fn lines_of(sdp: &str) -> usize {
    sdp.lines().filter(|line| line.starts_with("m=")).count()
}

/// The lines that a description is of, in order.
fn mids(sdp: &str) -> impl Iterator<Item = &str> {
    let mids = sdp.lines().filter_map(|line| line.strip_prefix("a=mid:"));
    mids.map(str::trim)
}

fn fingerprint(sdp: &str) -> Option<&str> {
    let mut lines = sdp.lines();
    lines
        .find_map(|line| line.strip_prefix("a=fingerprint:"))
        .map(str::trim)
}

/// Whether anything is ever sent to a candidate's address.
pub(crate) fn is_reachable(candidate: &Candidate) -> bool {
    let addr = candidate.addr();
    let ip = addr.ip().to_canonical();
    let multicast = ip.is_multicast();
    let broadcast =
        matches!(ip, std::net::IpAddr::V4(v4) if v4.is_broadcast() || v4.is_link_local());
    addr.port() != 0 && !ip.is_unspecified() && !multicast && !broadcast
}
