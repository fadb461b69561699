//! What the plane tells of a session's transports and tracks, and what is done about it.

use keel_wire::{
    AnswerFrame, CandidateFrame, Code, Ephemeral, Fault, FaultFrame, Leg, LinesFrame, MediaLine,
    OfferFrame, Origin, ParticipantId, RawData, ServerFrame, TrackName, journal::Fact,
};
use serde_json::json;

use super::{Peer, Session};
use crate::node::{
    ConnId, Ctx, MediaFact, MediaOrder, MediaRule,
    media::{self, Line, PeerId, Signal},
};

impl Session {
    pub(crate) fn media_fact(&mut self, fact: MediaFact, ctx: &mut Ctx<'_>) {
        match fact {
            MediaFact::Signal { peer, signal } => self.tell_signal(peer, signal, ctx),
            MediaFact::Refused {
                peer,
                description,
                why,
            } => {
                let number = self.media.peer_of(peer).map(|(_, peer)| peer.number);
                match self.conn_of(peer) {
                    Some(conn) if description => self.refuse_description(conn, number, &why, ctx),
                    Some(conn) => self.refuse_media(conn, &why, ctx),
                    None => {}
                }
            }
            MediaFact::Connected { peer, .. } => {
                if let Some(peer) = self.peer_mut(peer) {
                    peer.connected = true;
                }
                self.plan_beats(ctx);
                self.tell_status(ctx);
            }
            MediaFact::Reachable { peer, reachable } => {
                let now = ctx.now.mono;
                if let Some(peer) = self.peer_mut(peer) {
                    peer.lost_since = (!reachable).then_some(now);
                    peer.restarted &= !reachable;
                }
            }
            MediaFact::Failed { peer, full, why } => self.media_failed(peer, full, &why, ctx),
            MediaFact::Published { stream, .. } => self.stream_is_there(stream, ctx),
            MediaFact::Unpublished { stream } => self.stream_is_gone(stream, ctx),
            MediaFact::Speaking { stream, .. } => self.tell_speaking(stream, ctx),
            MediaFact::Flow { stream, flows, .. } => self.stream_flows(stream, flows, ctx),
            MediaFact::Unsupported { peer, .. } => {
                if let Some(conn) = self.conn_of(peer) {
                    self.refuse_media(
                        conn,
                        "a track is not sent to this client: it takes no line or no codec for it",
                        ctx,
                    );
                }
            }
        }
    }

    fn peer_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.media.peers.values_mut().find(|peer| peer.id == id)
    }

    fn conn_of(&self, id: PeerId) -> Option<ConnId> {
        let (participant, _) = self.media.peer_of(id)?;
        self.members.get(participant)?.conn
    }

    fn tell_signal(&self, id: PeerId, signal: Signal, ctx: &mut Ctx<'_>) {
        let Some((participant, peer)) = self.media.peer_of(id) else {
            return;
        };
        let member = self.members.get(participant);
        // Whoever is away is told when it is back.
        let Some(conn) = member.and_then(|member| member.conn) else {
            return;
        };
        if !ctx.conns.is_welcomed(conn) {
            return;
        }
        let named = |lines: Vec<Line>| -> Vec<MediaLine> {
            let named = lines.into_iter().filter_map(|line| {
                let (participant, track) = self.media.track_of(line.stream)?.clone();
                Some(MediaLine {
                    mid: line.mid,
                    participant: Some(participant),
                    track,
                })
            });
            named.collect()
        };
        let peer = peer.number;
        let frame: ServerFrame = match signal {
            Signal::Offer { sdp, lines } => {
                let lines = named(lines);
                OfferFrame {
                    peer,
                    sdp,
                    lines,
                    settled: false,
                }
                .into()
            }
            Signal::Answer { sdp, lines } => {
                let lines = named(lines);
                AnswerFrame { peer, sdp, lines }.into()
            }
            Signal::Candidate { candidate } => CandidateFrame { peer, candidate }.into(),
            Signal::Lines { lines } => {
                let lines = named(lines);
                LinesFrame { peer, lines }.into()
            }
        };
        ctx.conns.tell(conn, &frame, ctx.out);
    }

    /// The transport is no more: its client makes another.
    fn media_failed(&mut self, id: PeerId, full: bool, why: &str, ctx: &mut Ctx<'_>) {
        let conn = self.conn_of(id);
        let Some((participant, peer)) = self.media.peer_of(id) else {
            return;
        };
        let (code, origin) = if full {
            (Code::AtCapacity, Origin::Server)
        } else {
            (Code::MediaFailed, Origin::Network)
        };
        let fault = ctx
            .fault_of(code, origin)
            .session(&self.id)
            .leg(Leg::Media)
            .detail("peer", peer.number)
            .message(why);
        let participant = participant.clone();
        self.close_peer(&participant, ctx);
        let own: Vec<TrackName> = self
            .media
            .tracks
            .keys()
            .filter(|(of, _)| *of == participant)
            .map(|(_, track)| track.clone())
            .collect();
        for track in own {
            self.note_lost(&(participant.clone(), track), &fault, ctx);
        }
        if let Some(conn) = conn {
            ctx.conns.tell(conn, &FaultFrame { fault }.into(), ctx.out);
        }
        self.tell_status(ctx);
    }

    fn stream_is_there(&mut self, stream: media::StreamId, ctx: &mut Ctx<'_>) {
        let Some(key) = self.media.track_of(stream).cloned() else {
            return;
        };
        if let Some(track) = self.media.tracks.get_mut(&key) {
            track.is_there = true;
            // Whatever it was before, it begins anew.
            track.stalled = None;
            let peer = self.media.peers.get(&key.0).map(|peer| peer.id);
            if let Some(peer) = peer.filter(|_| track.muted) {
                ctx.order(MediaOrder::Mute {
                    peer,
                    stream,
                    muted: true,
                });
            }
        }
        self.note_flow(&key, ctx);
        let present: Vec<ParticipantId> = self.media.peers.keys().cloned().collect();
        for to in present {
            self.send_as_wished(&key, &to, ctx);
        }
        self.tell_status(ctx);
    }

    /// Its line carries a track no longer; its number is kept, for it may come again on another.
    fn stream_is_gone(&mut self, stream: media::StreamId, ctx: &mut Ctx<'_>) {
        let Some(key) = self.media.track_of(stream).cloned() else {
            return;
        };
        if let Some(track) = self.media.tracks.get_mut(&key) {
            (track.is_there, track.stalled) = (false, None);
        }
        self.tell_status(ctx);
    }

    /// In a room everybody is told whose voice is heard. Nobody's is told, too.
    fn tell_speaking(&mut self, stream: Option<media::StreamId>, ctx: &mut Ctx<'_>) {
        let speaks = stream.and_then(|stream| self.media.track_of(stream).cloned());
        if self.media_rule(ctx) != Some(MediaRule::Room) || self.media.speaks == speaks {
            return;
        }
        let data = match &speaks {
            Some((participant, track)) => json!({ "participant": participant, "track": track }),
            None => json!({}),
        };
        self.media.speaks = speaks;
        let (kind, data) = ("speaking".to_owned(), RawData::from_value(&data));
        self.tell_all(&Ephemeral { kind, data }.into(), ctx);
    }

    /// Connected is not flowing: a track that falls silent is told at once, whatever its transport says.
    fn stream_flows(&mut self, stream: media::StreamId, flows: bool, ctx: &mut Ctx<'_>) {
        let Some(key) = self.media.track_of(stream).cloned() else {
            return;
        };
        if flows {
            self.note_flow(&key, ctx);
        }
        let stalled = (!flows).then(|| {
            let fault = ctx
                .fault_of(Code::MediaStalled, Origin::Network)
                .session(&self.id)
                .leg(Leg::Media)
                .detail("participant", key.0.to_string())
                .detail("track", key.1.to_string());
            (ctx.now.mono, Box::new(fault))
        });
        if let Some(track) = self.media.tracks.get_mut(&key) {
            // One that was muted meanwhile is silent on purpose.
            track.stalled = stalled.filter(|_| !track.muted);
        }
        if flows && let Some(peer) = self.media.peers.get_mut(&key.0) {
            peer.restarted = false;
        }
        let stalled = self.media.tracks.get(&key);
        let stalled = stalled.and_then(|track| track.stalled.as_ref());
        if let Some(fault) = stalled.map(|(_, fault)| fault.clone()) {
            self.note_lost(&key, &fault, ctx);
        }
        self.tell_status(ctx);
    }

    /// The journal is told of each loss of a track once, until it flows again.
    fn note_lost(&mut self, key: &(ParticipantId, TrackName), fault: &Fault, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let track = self.media.tracks.get_mut(key);
        let Some(track) = track.filter(|track| track.lost_at.is_none()) else {
            return;
        };
        track.lost_at = Some(now);
        let fault = Box::new(fault.clone());
        self.journal(Some(&key.0), Fact::MediaLost { fault }, ctx);
    }

    fn note_flow(&mut self, key: &(ParticipantId, TrackName), ctx: &mut Ctx<'_>) {
        let track = self.media.tracks.get_mut(key);
        if let Some(since) = track.and_then(|track| track.lost_at.take()) {
            let after_ms = ctx.now.mono.ms_since(since);
            self.journal(Some(&key.0), Fact::MediaRecovered { after_ms }, ctx);
        }
    }

    /// Ends transports of clients that take no offers, where the way has been gone for too long: no
    /// server can bring them back.
    pub(in crate::session) fn end_settled_media(&mut self, ctx: &mut Ctx<'_>) {
        let (now, window) = (ctx.now.mono, ctx.config.resume_window);
        let gone = |peer: &&Peer| {
            peer.settled && peer.lost_since.is_some_and(|since| since + window <= now)
        };
        let due: Vec<PeerId> = self
            .media
            .peers
            .values()
            .filter(gone)
            .map(|peer| peer.id)
            .collect();
        for peer in due {
            self.media_failed(peer, false, "the way to it stayed gone", ctx);
        }
    }

    /// Restarts ICE where silence has lasted for long enough. Whoever has no connection is told
    /// when it has one, and is waited for until then.
    pub(in crate::session) fn restart_media(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono;
        let due: Vec<ParticipantId> = self
            .media
            .restarts()
            .filter(|(at, _)| *at <= now)
            .map(|(_, participant)| participant.clone())
            .collect();
        for participant in due {
            if let Some(peer) = self.media.peers.get_mut(&participant) {
                peer.restarted = true;
                let peer = peer.id;
                ctx.order(MediaOrder::Restart { peer });
            }
        }
    }
}
