//! Offers and answers of the end that yields.

use std::time::Instant;

use str0m::{
    Candidate,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    media::{Direction, Mid, Simulcast, SimulcastLayer},
};

use super::{Client, Output, SourceId, media_kind};
use crate::{
    limits,
    packet::Kind,
    peer::{Refusal, is_reachable, translate},
};

/// An offer that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    offer: SdpPendingOffer,
    sdp: String,
    /// Lines that it adds, and what is on each.
    adds: Vec<(Mid, SourceId)>,
    restarts: bool,
    said_at: Instant,
}

impl Pending {
    /// When it is said again.
    pub(super) fn again_at(&self) -> Instant {
        self.said_at + limits::SAID_AGAIN_AFTER
    }
}

impl Client {
    /// The server offers. An offer of ours that meets it is taken back, and made again after the answer.
    ///
    /// # Errors
    /// When it cannot be accepted; nothing has changed but that.
    pub fn hear_offer(&mut self, now: Instant, sdp: &str) -> Result<(), Refusal> {
        bounded(sdp)?;
        let offer = SdpOffer::from_sdp_string(sdp);
        let offer = offer.map_err(|error| Refusal::Malformed(error.to_string()))?;
        if let Some(pending) = self.pending.take() {
            self.is_dirty = true;
            self.restart |= pending.restarts;
        }
        self.deadline = now;
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.map_err(|error| Refusal::Unacceptable(error.to_string()))?;
        self.described(sdp);
        let sdp = answer.to_sdp_string();
        self.out.push(Output::Answer { sdp });
        Ok(())
    }

    /// The server answers an offer of ours. One that was said twice is answered twice: the second answer
    /// changes nothing.
    ///
    /// # Errors
    /// When it cannot be accepted: the offer is used up, and is made again.
    pub fn hear_answer(&mut self, now: Instant, sdp: &str) -> Result<(), Refusal> {
        bounded(sdp)?;
        let answer = SdpAnswer::from_sdp_string(sdp);
        let answer = answer.map_err(|error| Refusal::Malformed(error.to_string()))?;
        let Some(pending) = self.pending.take() else {
            let twice = self.is_described.then_some(());
            return twice.ok_or(Refusal::NoOffer);
        };
        self.deadline = now;
        let accepted = self.rtc.sdp_api().accept_answer(pending.offer, answer);
        if let Err(error) = accepted {
            self.is_dirty = true;
            self.restart |= pending.restarts;
            return Err(Refusal::Unacceptable(error.to_string()));
        }
        for (mid, source) in pending.adds {
            if self.rtc.media(mid).is_some() {
                let layers = self.sources.get(&source).map(|of| &of.layers);
                if layers.is_some_and(|layers| !layers.is_empty()) {
                    self.layered.insert(mid);
                }
                let source = self.sources.contains_key(&source).then_some(source);
                // Nobody wants it any more: its line is to say so.
                self.is_dirty |= source.is_none();
                self.lines.insert(mid, source);
                self.resends(mid);
            }
        }
        self.described(sdp);
        Ok(())
    }

    /// The server names a candidate; empty when there are no more.
    ///
    /// # Errors
    /// When it is of no use, or one too many.
    pub fn hear_candidate(&mut self, now: Instant, text: &str) -> Result<(), Refusal> {
        if text.is_empty() {
            return Ok(());
        }
        let text = text.strip_prefix("a=").unwrap_or(text);
        let candidate = Candidate::from_sdp_string(text).map_err(|_| Refusal::BadCandidate)?;
        if !is_reachable(&candidate) {
            return Err(Refusal::BadCandidate);
        }
        if self.remotes.len() + self.early.len() >= limits::CANDIDATES_MAX {
            return Err(Refusal::TooManyCandidates);
        }
        self.deadline = now;
        if self.is_described {
            self.reach(&candidate);
            self.rtc.add_remote_candidate(candidate);
        } else {
            self.early.push(candidate);
        }
        Ok(())
    }

    /// The way over which descriptions pass is new: an offer that waits is said again.
    pub fn resume(&mut self, now: Instant) {
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.said_at = now;
        let sdp = pending.sdp.clone();
        // What is published no longer is not named any more.
        let lines = self.named(&pending.adds);
        self.pending = Some(pending);
        self.out.push(Output::Offer { sdp, lines });
    }

    /// An offer that nobody answers is said again: it, or its answer, may have been lost, or it was refused
    /// for a track that the server knew no more.
    pub(super) fn say_again(&mut self, now: Instant) {
        let is_due = |pending: &Pending| pending.again_at() <= now;
        if !self.is_over && self.pending.as_ref().is_some_and(is_due) {
            self.resume(now);
        }
    }

    /// Offers what is missing, unless an offer is under way.
    pub(super) fn negotiate(&mut self, now: Instant) {
        if !self.is_dirty || self.pending.is_some() || self.is_over {
            return;
        }
        self.is_dirty = false;
        self.put_on_free_lines();
        let mut changes = self.rtc.sdp_api();
        for (mid, on) in &self.lines {
            let direction = if on.is_some() {
                Direction::SendOnly
            } else {
                Direction::Inactive
            };
            changes.set_direction(*mid, direction);
        }
        let mut adds = Vec::new();
        for (id, source) in &self.sources {
            if self.lines.values().any(|on| *on == Some(*id)) {
                continue;
            }
            let simulcast = (!source.layers.is_empty()).then(|| {
                let mut simulcast = Simulcast::new();
                for layer in &source.layers {
                    simulcast.add_send_layer(SimulcastLayer::new(layer));
                }
                simulcast
            });
            let kind = media_kind(source.kind);
            let mid = changes.add_media(kind, Direction::SendOnly, None, None, simulcast);
            adds.push((mid, *id));
        }
        if !self.is_described {
            let (audio, video) = self.receives;
            for (kind, lines) in [(Kind::Audio, audio), (Kind::Video, video)] {
                for _ in 0..lines {
                    let kind = media_kind(kind);
                    changes.add_media(kind, Direction::RecvOnly, None, None, None);
                }
            }
        }
        let restarts = std::mem::take(&mut self.restart);
        if restarts {
            changes.ice_restart(true);
        }
        let Some((offer, pending)) = changes.apply() else {
            return;
        };
        self.deadline = now;
        let sdp = offer.to_sdp_string();
        let lines = self.named(&adds);
        self.pending = Some(Pending {
            offer: pending,
            sdp: sdp.clone(),
            adds,
            restarts,
            said_at: now,
        });
        self.out.push(Output::Offer { sdp, lines });
    }

    /// What has no line takes one that nothing is on.
    fn put_on_free_lines(&mut self) {
        for (id, source) in &self.sources {
            if self.lines.values().any(|on| *on == Some(*id)) || !source.layers.is_empty() {
                continue;
            }
            let rtc = &self.rtc;
            let layered = &self.layered;
            let fits = |mid: &Mid| {
                let media = rtc.media(*mid).filter(|_| !layered.contains(mid));
                media.is_some_and(|media| translate::kind(media.kind()) == source.kind)
            };
            let mut lines = self.lines.iter_mut();
            if let Some((_, on)) = lines.find(|(mid, on)| on.is_none() && fits(mid)) {
                *on = Some(*id);
            }
        }
    }

    /// What is published on which line.
    fn named(&self, adds: &[(Mid, SourceId)]) -> Vec<(String, SourceId)> {
        let lines = self.lines.iter();
        let lines = lines.filter_map(|(mid, on)| Some((*mid, (*on)?)));
        let all = lines.chain(adds.iter().copied());
        let all = all.filter(|(_, source)| self.sources.contains_key(source));
        all.map(|(mid, source)| (mid.to_string(), source)).collect()
    }

    /// The server has described itself: what came too early has its place now.
    fn described(&mut self, sdp: &str) {
        self.is_described = true;
        let named = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
        let named = named.filter_map(|line| Candidate::from_sdp_string(line.get(2..)?).ok());
        for candidate in named.take(limits::CANDIDATES_MAX) {
            self.reach(&candidate);
        }
        for candidate in std::mem::take(&mut self.early) {
            self.reach(&candidate);
            self.rtc.add_remote_candidate(candidate);
        }
    }

    /// An own address is wanted for each of the server's; anew after a restart, since own addresses
    /// may be others.
    fn reach(&mut self, candidate: &Candidate) {
        let remote = candidate.addr();
        if !self.remotes.contains(&remote) && self.remotes.len() < limits::CANDIDATES_MAX {
            self.remotes.push(remote);
        }
        if is_reachable(candidate) {
            self.out.push(Output::Reach { remote });
        }
    }
}

fn bounded(sdp: &str) -> Result<(), Refusal> {
    if sdp.len() > limits::SDP_BYTES_MAX {
        return Err(Refusal::TooLarge {
            max: limits::SDP_BYTES_MAX,
            unit: "bytes",
        });
    }
    Ok(())
}
