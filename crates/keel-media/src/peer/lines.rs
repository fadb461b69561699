//! The m-lines on which a peer is sent something, and what is on each.
//!
//! A line outlives what it carries: a track that ends leaves its line free for the next of its kind, so
//! that who comes and goes in a room costs no renegotiation.

use std::collections::BTreeMap;

use str0m::{
    Rtc,
    media::{Mid, Pt},
};

use super::translate::Format;
use crate::{
    forward::Tail,
    packet::Kind,
    plane::{Line, TrackId},
};

#[derive(Debug)]
struct Sent {
    kind: Kind,
    track: Option<TrackId>,
    /// The other side takes nothing on it at present.
    paused: bool,
    /// What was sent on it last.
    tail: Option<Tail>,
    /// The payload type for the format that came last.
    pt: Option<(Pt, Option<Pt>)>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    table: BTreeMap<Mid, Sent>,
}

impl Lines {
    /// A line is there, or takes something again. True the first time.
    pub(super) fn add(&mut self, mid: Mid, kind: Kind) -> bool {
        let is_new = !self.table.contains_key(&mid);
        let sent = self.table.entry(mid).or_insert(Sent {
            kind,
            track: None,
            paused: false,
            tail: None,
            pt: None,
        });
        sent.paused = false;
        is_new
    }

    pub(super) fn pause(&mut self, mid: Mid) {
        if let Some(sent) = self.table.get_mut(&mid) {
            sent.paused = true;
        }
    }

    /// Puts a track on a free line, behind what was sent on it before; `None` if there is none.
    pub(crate) fn take(&mut self, kind: Kind, track: TrackId) -> Option<(Mid, Option<Tail>)> {
        let mut free = self.table.iter_mut();
        let (mid, sent) =
            free.find(|(_, sent)| sent.kind == kind && sent.track.is_none() && !sent.paused)?;
        (sent.track, sent.pt) = (Some(track), None);
        Some((*mid, sent.tail))
    }

    /// Takes a track off its line, if it is on one. `tail` is what was sent of it last.
    pub(crate) fn free(&mut self, track: TrackId, tail: Option<Tail>) -> bool {
        let mut table = self.table.values_mut();
        let Some(sent) = table.find(|sent| sent.track == Some(track)) else {
            return false;
        };
        sent.track = None;
        sent.tail = tail.or(sent.tail);
        true
    }

    /// What is on which line.
    pub(crate) fn named(&self) -> Vec<Line> {
        let named = self.table.iter();
        named
            .filter_map(|(mid, sent)| Some(Line::of(*mid, sent.track?)))
            .collect()
    }

    /// The track on a line.
    pub(crate) fn track(&self, mid: Mid) -> Option<TrackId> {
        self.table.get(&mid)?.track
    }

    /// Whether the other side takes nothing on a line at present.
    pub(crate) fn is_paused(&self, mid: Mid) -> bool {
        self.table.get(&mid).is_some_and(|sent| sent.paused)
    }

    /// The line of a track.
    pub(crate) fn of(&self, track: TrackId) -> Option<Mid> {
        let mut table = self.table.iter();
        table
            .find(|(_, sent)| sent.track == Some(track))
            .map(|(mid, _)| *mid)
    }

    /// What is sent on a line begins anew.
    pub(crate) fn forget_payload_type(&mut self, mid: Mid) {
        if let Some(sent) = self.table.get_mut(&mid) {
            sent.pt = None;
        }
    }

    /// What was negotiated may have changed.
    pub(super) fn forget_payload_types(&mut self) {
        for sent in self.table.values_mut() {
            sent.pt = None;
        }
    }

    /// The payload type that the other side knows a format by, on a line; `None` if it does not.
    pub(super) fn payload_type(&mut self, rtc: &Rtc, mid: Mid, format: Format) -> Option<Pt> {
        let sent = self.table.get_mut(&mid)?;
        let theirs = format.params();
        if let Some((from, to)) = sent.pt
            && from == theirs.pt()
        {
            return to;
        }
        let known = rtc.media(mid)?.remote_pts();
        let ours = rtc.codec_config().match_params(theirs);
        let pt = ours
            .map(|params| params.pt())
            .filter(|pt| known.contains(pt));
        sent.pt = Some((theirs.pt(), pt));
        pt
    }
}
