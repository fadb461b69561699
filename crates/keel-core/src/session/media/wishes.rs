//! What participants want of others' tracks: all of them, unless somebody says otherwise.
//!
//! A wish is its participant's, and outlives connections and transports. It ends with the track, with
//! the participant, and with the server: after a welcome that resumes, what is kept is told, so that a
//! client says again what is not.

use std::collections::BTreeMap;

use keel_wire::{
    Code, Ephemeral, Joined, LayerSize, ParticipantId, RawData, ReceiptBody, SubscribeTrack,
    TrackName,
};
use serde_json::json;

use crate::{
    node::{ConnId, Ctx, MediaOrder},
    session::{
        Session,
        commands::{Asker, Outcome},
    },
};

/// What one participant wants of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    wanted: bool,
    max: Option<LayerSize>,
}

impl Wish {
    /// Of whoever has said nothing.
    const ALL: Self = Self {
        wanted: true,
        max: None,
    };
}

impl Session {
    /// Bounded by the tracks that there are.
    pub(in crate::session) fn subscribe_track(
        &mut self,
        asker: &Asker,
        subscribe: SubscribeTrack,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        let key = (subscribe.participant, subscribe.track);
        let Some(track) = self.media.tracks.get(&key) else {
            return Err(self.no(Code::InvalidRequest, "there is no such track", ctx));
        };
        let (stream, is_there) = (track.stream, track.is_there);
        let wish = Wish {
            wanted: subscribe.wanted,
            max: subscribe.max,
        };
        let wishes = self.media.wishes.entry(asker.participant.clone());
        let wishes = wishes.or_default();
        if wish == Wish::ALL {
            wishes.remove(&key);
        } else {
            wishes.insert(key.clone(), wish);
        }
        if is_there {
            self.send_as_wished(&key, &asker.participant, ctx);
        }
        let peer = self.media.peers.get(&asker.participant);
        if let (Some(peer), Some(stream), false) = (peer, stream, wish.wanted) {
            let peer = peer.id;
            ctx.order(MediaOrder::Unsubscribe { peer, stream });
        }
        Ok(ReceiptBody::ok())
    }

    /// A track that is there is sent to a participant, if that is the rule and its wish.
    pub(super) fn send_as_wished(
        &self,
        key: &(ParticipantId, TrackName),
        to: &ParticipantId,
        ctx: &mut Ctx<'_>,
    ) {
        let wish = self.media.wishes.get(to).and_then(|wishes| wishes.get(key));
        let wish = wish.copied().unwrap_or(Wish::ALL);
        if !wish.wanted || !self.sends(&key.0, to, ctx) {
            return;
        }
        let stream = self.media.tracks.get(key).and_then(|track| track.stream);
        let peer = self.media.peers.get(to).map(|peer| peer.id);
        if let (Some(peer), Some(stream)) = (peer, stream) {
            let max = wish.max;
            ctx.order(MediaOrder::Subscribe { peer, stream, max });
        }
    }

    pub(super) fn forget_wishes_for(&mut self, key: &(ParticipantId, TrackName)) {
        for wishes in self.media.wishes.values_mut() {
            wishes.remove(key);
        }
    }

    pub(super) fn forget_wishes_of(&mut self, participant: &ParticipantId) {
        self.media.wishes.remove(participant);
        for wishes in self.media.wishes.values_mut() {
            wishes.retain(|(of, _), _| of != participant);
        }
    }

    /// Tells somebody who is back which of its wishes are kept.
    pub(in crate::session) fn tell_wishes(
        &self,
        id: ConnId,
        participant: &ParticipantId,
        how: Joined,
        ctx: &mut Ctx<'_>,
    ) {
        let is_new = matches!(how, Joined::Created | Joined::Joined);
        if is_new || self.media_rule(ctx).is_none() {
            return;
        }
        let none = BTreeMap::new();
        let wishes = self.media.wishes.get(participant).unwrap_or(&none);
        let kept: Vec<SubscribeTrack> = wishes
            .iter()
            .map(|((participant, track), wish)| SubscribeTrack {
                participant: participant.clone(),
                track: track.clone(),
                wanted: wish.wanted,
                max: wish.max,
            })
            .collect();
        let data = RawData::from_value(&json!({ "kept": kept }));
        let kind = "subscriptions".to_owned();
        ctx.conns
            .tell(id, &Ephemeral { kind, data }.into(), ctx.out);
    }
}
