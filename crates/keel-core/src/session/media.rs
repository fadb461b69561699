//! The session's media: who publishes what, who is sent what, and whether it flows.
//!
//! A track belongs to a participant and a transport to its attachment, not to its connection: while
//! signaling is lost and found again, media goes on. What a session is served by says who is sent
//! what ([`MediaRule`]); the plane does the sending.

mod told;
mod wishes;

use std::collections::BTreeMap;

use keel_wire::{
    AnswerFrame, CandidateFrame, Code, Fault, FaultFrame, Leg, LegState, MediaLine, MuteTrack,
    OfferFrame, Origin, ParticipantId, PublishTrack, ReceiptBody, RefreshFrame, Role, TrackKind,
    TrackMuted, TrackName, TrackPublished, TrackUnpublished, UnpublishTrack,
};

use serde_json::{Value, json};
use wishes::Wish;

use super::{
    Life, Session,
    commands::{Asker, Outcome},
};
use crate::{
    Instant, limits,
    node::{
        ConnId, Ctx, MediaOrder, MediaRule, Output, Wired,
        media::{self, GroupId, Line, PeerId, Signal},
    },
};

/// An attachment's transport.
#[derive(Debug)]
struct Peer {
    id: PeerId,
    /// The client's number for it.
    number: u32,
    connected: bool,
    /// The way to it is gone since then.
    lost_since: Option<Instant>,
    /// ICE was restarted for this loss.
    restarted: bool,
    /// Its client takes no offers.
    settled: bool,
}

/// A track, and what is known of its flow.
#[derive(Debug)]
struct Track {
    kind: TrackKind,
    muted: bool,
    /// Its number on the transport that it comes over at present.
    stream: Option<media::StreamId>,
    /// The plane has it: it can be sent.
    is_there: bool,
    /// It does not flow, since then.
    stalled: Option<(Instant, Box<Fault>)>,
    /// What the journal was told and not taken back: it was lost then.
    lost_at: Option<Instant>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Media {
    peers: BTreeMap<ParticipantId, Peer>,
    tracks: BTreeMap<(ParticipantId, TrackName), Track>,
    /// What each participant has said of others' tracks.
    wishes: BTreeMap<ParticipantId, BTreeMap<(ParticipantId, TrackName), Wish>>,
    /// Until when each participant has opened transports, at an even pace.
    opened: BTreeMap<ParticipantId, Instant>,
    /// Its transports, while there are any; and whose voice is heard.
    group: Option<GroupId>,
    speaks: Option<(ParticipantId, TrackName)>,
}

impl Media {
    pub(super) fn is_idle(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether media may flow.
    pub(super) fn is_connected(&self) -> bool {
        self.peers.values().any(|peer| peer.connected)
    }

    /// Its transports.
    pub(super) fn transports(&self) -> impl Iterator<Item = PeerId> {
        self.peers.values().map(|peer| peer.id)
    }

    /// The number by which a participant knows its transport.
    pub(super) fn number(&self, participant: &ParticipantId) -> Option<u32> {
        Some(self.peers.get(participant)?.number)
    }

    /// How the leg is, once there is one.
    pub(super) fn state(&self) -> Option<LegState> {
        if self.peers.is_empty() {
            return None;
        }
        let mut stalled = self.tracks.iter().filter_map(|(key, track)| {
            let (since, fault) = track.stalled.as_ref()?;
            Some((*since, key, fault))
        });
        let Some((_, _, first)) = stalled.clone().min_by_key(|(since, ..)| *since) else {
            return Some(LegState::Up);
        };
        let named = stalled.by_ref().take(limits::STALLED_NAMED_MAX);
        let named: Vec<Value> = named
            .map(|(_, (participant, track), _)| {
                json!({ "participant": participant, "track": track })
            })
            .collect();
        let fault = Box::new(first.as_ref().clone().detail("stalled", named));
        Some(LegState::Degraded { fault })
    }

    fn peer_of(&self, id: PeerId) -> Option<(&ParticipantId, &Peer)> {
        self.peers.iter().find(|(_, peer)| peer.id == id)
    }

    fn track_of(&self, stream: media::StreamId) -> Option<&(ParticipantId, TrackName)> {
        let mut tracks = self.tracks.iter();
        let (key, _) = tracks.find(|(_, track)| track.stream == Some(stream))?;
        Some(key)
    }

    /// When silence has lasted for so long that ICE is to be restarted.
    pub(super) fn restart_at(&self) -> Option<Instant> {
        self.restarts().map(|(at, _)| at).min()
    }

    /// When the way to a client that takes no offers has been gone for so long that its transport ends.
    pub(super) fn settled_ends_at(&self, window: std::time::Duration) -> Option<Instant> {
        let lost = self.peers.values().filter(|peer| peer.settled);
        let lost = lost.filter_map(|peer| peer.lost_since).min();
        lost.map(|since| since + window)
    }

    /// Whose ICE is to be restarted, and when: once for each time that everything of a participant
    /// falls silent. One track that is silent beside others that flow is its source's matter.
    fn restarts(&self) -> impl Iterator<Item = (Instant, &ParticipantId)> {
        let waiting = self.peers.iter();
        let waiting = waiting.filter(|(_, peer)| !peer.restarted && !peer.settled);
        waiting.filter_map(|(participant, peer)| {
            let own = |(of, _): &&(ParticipantId, TrackName)| *of == *participant;
            let own = || self.tracks.iter().filter(move |(key, _)| own(key));
            let since = own().find_map(|(_, track)| track.stalled.as_ref().map(|(at, _)| *at));
            let all = own().all(|(_, track)| track.muted || track.stalled.is_some());
            let silent = since.filter(|_| all);
            let silent = silent.map(|since| since + limits::MEDIA_RESTART_AFTER);
            Some((peer.lost_since.or(silent)?, participant))
        })
    }
}

impl Session {
    /// Whose its transports and tracks are.
    pub(crate) fn wired(&self) -> Wired {
        let peers = self.media.peers.iter();
        let peers = peers.map(|(participant, peer)| (participant.clone(), peer.id));
        let tracks = self.media.tracks.iter().filter_map(|(key, track)| {
            let (participant, name) = key.clone();
            Some((participant, name, track.stream?))
        });
        Wired {
            peers: peers.collect(),
            tracks: tracks.collect(),
        }
    }

    // What participants ask.

    pub(super) fn publish_track(
        &mut self,
        asker: &Asker,
        publish: PublishTrack,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        if self.media_rule(ctx).is_none() {
            return Err(self.no(Code::InvalidRequest, "this backend takes no media", ctx));
        }
        let key = (asker.participant.clone(), publish.track.clone());
        match self.media.tracks.get(&key) {
            Some(track) if track.kind == publish.kind => return Ok(ReceiptBody::ok()),
            Some(_) => {
                let why = "a track of that name carries something else";
                return Err(self.no(Code::InvalidRequest, why, ctx));
            }
            None => {}
        }
        let mut own = self.media.tracks.keys();
        let own = own
            .by_ref()
            .filter(|(of, _)| *of == asker.participant)
            .count();
        if own >= limits::TRACKS_OF_PARTICIPANT_MAX || self.media.tracks.len() >= limits::TRACKS_MAX
        {
            return Err(self.no(Code::SessionLimit, "there are too many tracks", ctx));
        }
        self.media.tracks.insert(
            key,
            Track {
                kind: publish.kind,
                muted: false,
                stream: None,
                is_there: false,
                stalled: None,
                lost_at: None,
            },
        );
        self.stage_event(TrackPublished {
            participant: asker.participant.clone(),
            track: publish.track,
            kind: publish.kind,
        });
        Ok(ReceiptBody::ok())
    }

    pub(super) fn unpublish_track(
        &mut self,
        asker: &Asker,
        unpublish: UnpublishTrack,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let key = (asker.participant.clone(), unpublish.track);
        let Some(track) = self.media.tracks.remove(&key) else {
            return Err(self.no(Code::InvalidRequest, "there is no such track", ctx));
        };
        if let Some(stream) = track.stream {
            self.unsend(stream, ctx);
        }
        self.forget_wishes_for(&key);
        let (participant, track) = key;
        self.stage_event(TrackUnpublished { participant, track });
        self.tell_status(ctx);
        Ok(ReceiptBody::ok())
    }

    pub(super) fn mute_track(
        &mut self,
        asker: &Asker,
        mute: MuteTrack,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let key = (asker.participant.clone(), mute.track.clone());
        let Some(track) = self.media.tracks.get_mut(&key) else {
            return Err(self.no(Code::InvalidRequest, "there is no such track", ctx));
        };
        track.muted = mute.muted;
        (track.stalled, track.lost_at) = (None, None);
        let peer = self.media.peers.get(&asker.participant);
        if let (Some(stream), Some(peer)) = (track.stream, peer.map(|peer| peer.id)) {
            let muted = mute.muted;
            ctx.order(MediaOrder::Mute {
                peer,
                stream,
                muted,
            });
        }
        self.stage_event(TrackMuted {
            participant: asker.participant.clone(),
            track: mute.track,
            muted: mute.muted,
        });
        self.tell_status(ctx);
        Ok(ReceiptBody::ok())
    }

    // Signaling.

    pub(super) fn media_offer(
        &mut self,
        id: ConnId,
        participant: &ParticipantId,
        offer: OfferFrame,
        ctx: &mut Ctx<'_>,
    ) {
        if self.media_rule(ctx).is_none() {
            return self.refuse_offer(id, &offer, "this backend takes no media", ctx);
        }
        if self.life != Life::Open {
            return self.refuse_offer(id, &offer, "the session is not open", ctx);
        }
        let own = |line: &MediaLine| {
            let of = line.participant.as_ref();
            of.is_none_or(|of| of == participant)
                && self
                    .media
                    .tracks
                    .contains_key(&(participant.clone(), line.track.clone()))
        };
        if !offer.lines.iter().all(own) {
            let why = "a line carries a track that is not published";
            return self.refuse_offer(id, &offer, why, ctx);
        }
        if !offer.lines.is_empty() && self.role_on(id, participant, ctx) < Role::Publisher {
            return self.refuse_offer(id, &offer, "who views sends nothing", ctx);
        }
        match self.media.peers.get(participant).map(|peer| peer.number) {
            Some(number) if offer.peer < number => return,
            Some(number) if offer.peer == number => {}
            Some(_) | None if self.paces_open(participant, ctx.now.mono) => {
                self.open_peer(participant, offer.peer, ctx);
            }
            Some(_) | None => {
                let fault = ctx
                    .fault_of(Code::MediaFailed, Origin::Client)
                    .session(&self.id)
                    .leg(Leg::Media)
                    .detail("peer", offer.peer)
                    .message("transports are being opened too fast");
                return ctx.conns.tell(id, &FaultFrame { fault }.into(), ctx.out);
            }
        }
        let Some(peer) = self.media.peers.get_mut(participant) else {
            return;
        };
        let settles = offer.settled && !std::mem::replace(&mut peer.settled, offer.settled);
        let peer = peer.id;
        if settles {
            ctx.order(MediaOrder::Settle { peer });
        }
        let mut lines = Vec::new();
        for line in offer.lines {
            let key = (participant.clone(), line.track);
            let Some(track) = self.media.tracks.get_mut(&key) else {
                continue;
            };
            let stream = *track
                .stream
                .get_or_insert_with(|| ctx.peers.stream(&self.id));
            lines.push(Line {
                mid: line.mid,
                stream,
            });
        }
        let sdp = offer.sdp;
        let signal = Signal::Offer { sdp, lines };
        ctx.order(MediaOrder::Signal { peer, signal });
    }

    pub(super) fn media_answer(
        &self,
        participant: &ParticipantId,
        answer: AnswerFrame,
        ctx: &mut Ctx<'_>,
    ) {
        let (sdp, lines) = (answer.sdp, Vec::new());
        self.pass_signal(participant, answer.peer, Signal::Answer { sdp, lines }, ctx);
    }

    pub(super) fn media_candidate(
        &self,
        participant: &ParticipantId,
        frame: CandidateFrame,
        ctx: &mut Ctx<'_>,
    ) {
        let candidate = frame.candidate;
        self.pass_signal(
            participant,
            frame.peer,
            Signal::Candidate { candidate },
            ctx,
        );
    }

    /// What a participant is sent does not arrive, or cannot be shown. The plane asks publishers for
    /// keyframes no oftener for it than it does anyway.
    pub(super) fn media_refresh(
        &self,
        id: ConnId,
        participant: &ParticipantId,
        frame: RefreshFrame,
        ctx: &mut Ctx<'_>,
    ) {
        if frame.mids.len() > limits::REFRESH_LINES_MAX {
            return self.refuse_media(id, "a refresh names too many lines", ctx);
        }
        let peer = self.media.peers.get(participant);
        if let Some(peer) = peer.filter(|peer| peer.number == frame.peer) {
            let (peer, mids, anew) = (peer.id, frame.mids, frame.anew);
            ctx.order(MediaOrder::Refresh { peer, mids, anew });
        }
    }

    /// To the transport that is meant, if it still is the participant's.
    fn pass_signal(
        &self,
        participant: &ParticipantId,
        number: u32,
        signal: Signal,
        ctx: &mut Ctx<'_>,
    ) {
        let peer = self.media.peers.get(participant);
        if let Some(peer) = peer
            .filter(|peer| peer.number == number)
            .map(|peer| peer.id)
        {
            ctx.order(MediaOrder::Signal { peer, signal });
        }
    }

    /// What the session does not take, it does not take the next time: the transport is named.
    fn refuse_offer(&self, id: ConnId, offer: &OfferFrame, why: &str, ctx: &mut Ctx<'_>) {
        self.refuse_description(id, Some(offer.peer), why, ctx);
    }

    /// What was said of a transport is not taken: one that has nothing else comes to nothing.
    fn refuse_description(&self, id: ConnId, number: Option<u32>, why: &str, ctx: &mut Ctx<'_>) {
        let mut fault = self.media_refusal(why, ctx);
        if let Some(number) = number {
            fault = fault.detail("peer", number);
        }
        ctx.conns.tell(id, &FaultFrame { fault }.into(), ctx.out);
    }

    fn refuse_media(&self, id: ConnId, why: &str, ctx: &mut Ctx<'_>) {
        let fault = self.media_refusal(why, ctx);
        ctx.conns.tell(id, &FaultFrame { fault }.into(), ctx.out);
    }

    fn media_refusal(&self, why: &str, ctx: &mut Ctx<'_>) -> Fault {
        ctx.fault_of(Code::MediaRefused, Origin::Client)
            .session(&self.id)
            .leg(Leg::Media)
            .message(why)
    }

    // Transports.

    /// Whether a participant may open another transport now; counts it if so.
    fn paces_open(&mut self, participant: &ParticipantId, now: Instant) -> bool {
        let known = self.media.opened.get(participant);
        let until = known.map_or(now, |until| now.max(*until));
        if until > now + limits::MEDIA_OPENS_AHEAD {
            return false;
        }
        let until = until + limits::MEDIA_OPEN_EVERY;
        self.media.opened.insert(participant.clone(), until);
        true
    }

    /// A participant has a new transport; the one before, and what came over it, is gone.
    fn open_peer(&mut self, participant: &ParticipantId, number: u32, ctx: &mut Ctx<'_>) {
        self.close_peer(participant, ctx);
        let id = ctx.peers.open(&self.id);
        self.media.peers.insert(
            participant.clone(),
            Peer {
                id,
                number,
                connected: false,
                lost_since: None,
                restarted: false,
                settled: false,
            },
        );
        let group = *self
            .media
            .group
            .get_or_insert_with(|| ctx.peers.group(&self.id));
        ctx.order(MediaOrder::Open { peer: id, group });
        let there: Vec<(ParticipantId, TrackName)> = self
            .media
            .tracks
            .iter()
            .filter(|(_, track)| track.is_there)
            .map(|(key, _)| key.clone())
            .collect();
        for key in there {
            self.send_as_wished(&key, participant, ctx);
        }
    }

    /// A participant's transport is given up, by whichever end.
    fn close_peer(&mut self, participant: &ParticipantId, ctx: &mut Ctx<'_>) {
        let Some(peer) = self.media.peers.remove(participant) else {
            return;
        };
        ctx.peers.close(peer.id);
        ctx.order(MediaOrder::Close { peer: peer.id });
        self.plan_beats(ctx);
        for ((of, _), track) in &mut self.media.tracks {
            if of == participant
                && let Some(stream) = track.stream.take()
            {
                (track.is_there, track.stalled) = (false, None);
                ctx.peers.end(stream);
            }
        }
        if self.media.peers.is_empty()
            && let Some(group) = self.media.group.take()
        {
            ctx.peers.disband(group);
            self.media.speaks = None;
        }
    }

    /// A participant's transport ends; its tracks stay published, for when it comes back.
    pub(crate) fn stop_media_of(&mut self, participant: &ParticipantId, ctx: &mut Ctx<'_>) {
        self.close_peer(participant, ctx);
        self.tell_status(ctx);
    }

    /// Who leaves takes its transport and its tracks along.
    pub(super) fn forget_media_of(&mut self, participant: &ParticipantId, ctx: &mut Ctx<'_>) {
        self.close_peer(participant, ctx);
        self.media.tracks.retain(|(of, _), _| of != participant);
        self.media.opened.remove(participant);
        self.forget_wishes_of(participant);
        self.tell_status(ctx);
    }

    /// The session is over.
    pub(super) fn end_media(&mut self, ctx: &mut Ctx<'_>) {
        let all: Vec<ParticipantId> = self.media.peers.keys().cloned().collect();
        for participant in all {
            self.close_peer(&participant, ctx);
        }
    }

    /// A participant has another connection: what its transport was being told may be lost.
    pub(super) fn resume_media(&self, participant: &ParticipantId, ctx: &mut Ctx<'_>) {
        if let Some(peer) = self.media.peers.get(participant).map(|peer| peer.id) {
            ctx.order(MediaOrder::Resume { peer });
        }
    }

    /// The tracks that a log says are published; their transports are gone with the server before.
    pub(super) fn read_tracks_back(&mut self) {
        for view in &self.fold.tracks {
            let key = (view.participant.clone(), view.track.clone());
            let track = Track {
                kind: view.kind,
                muted: view.muted,
                stream: None,
                is_there: false,
                stalled: None,
                lost_at: None,
            };
            self.media.tracks.insert(key, track);
        }
    }

    fn unsend(&self, stream: media::StreamId, ctx: &mut Ctx<'_>) {
        for peer in self.media.peers.values() {
            let peer = peer.id;
            ctx.order(MediaOrder::Unsubscribe { peer, stream });
        }
        ctx.peers.end(stream);
    }

    // Rules.

    pub(super) fn media_rule(&self, ctx: &Ctx<'_>) -> Option<MediaRule> {
        ctx.config.backends.get(&self.row.backend)?.media
    }

    /// Whether a track of one participant is sent to another.
    fn sends(&self, from: &ParticipantId, to: &ParticipantId, ctx: &Ctx<'_>) -> bool {
        match self.media_rule(ctx) {
            Some(MediaRule::Passthrough) => true,
            Some(MediaRule::Room) => from != to,
            None => false,
        }
    }
}

impl Ctx<'_> {
    fn order(&mut self, order: MediaOrder) {
        self.out.push(Output::Media(order));
    }
}
