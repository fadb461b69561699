//! From media that is told as lost to media that is seen to flow again.

use std::collections::BTreeSet;

use keel_wire::{Code, Fault, ParticipantId, Strategy};
use serde_json::{Value, json};

use super::{
    Client, Cx,
    planner::{Flow, Rung},
    transport::{self, Line, TrackKey, Way},
};
use crate::{Instant, client::Event, limits};

/// Something that is expected does not come, and that was told.
#[derive(Debug)]
pub(super) struct Loss {
    /// The first cause.
    pub(super) fault: Box<Fault>,
    /// What the last transport that was opened for it came to.
    pub(super) last: Option<Box<Fault>>,
    pub(super) lost_at: Instant,
    /// Steps taken.
    pub(super) attempts: u32,
    /// The last on this transport, and when.
    pub(super) rung: Rung,
    pub(super) step_at: Instant,
    /// Transports opened for it.
    pub(super) rejoins: u32,
    /// Nothing is wrong with the way: it was told, and nothing is done about it.
    pub(super) of_source: bool,
    /// What was expected when it was told.
    owed: BTreeSet<TrackKey>,
}

impl Loss {
    /// The ladder begins anew: on another transport, or after it was given up.
    pub(super) const fn begin_anew(&mut self, now: Instant) {
        (self.rung, self.step_at) = (Rung::Told, now);
    }
}

/// What the server's status lists as silent at its source.
pub(super) fn stalled_at_source(fault: &Fault, of: &TrackKey) -> bool {
    let names =
        |value: &Value| value["participant"] == of.0.as_str() && value["track"] == of.1.as_str();
    if fault.code != Code::MediaStalled {
        return false;
    }
    match fault.detail.get("stalled") {
        Some(Value::Array(all)) => all.iter().any(names),
        Some(_) | None => names(&json!({
            "participant": fault.detail.get("participant"),
            "track": fault.detail.get("track"),
        })),
    }
}

impl Client {
    fn me(&self) -> Option<&ParticipantId> {
        self.seat.as_ref().map(|seat| &seat.participant)
    }

    fn is_stalled_at_source(&self, of: &TrackKey) -> bool {
        self.servers_media_fault()
            .is_some_and(|fault| stalled_at_source(fault, of))
    }

    /// A track of this client's own does not come to the server.
    fn own_is_stalled(&self) -> bool {
        let mut tracks = self.fold.snapshot.tracks.iter();
        tracks.any(|view| {
            let of = (view.participant.clone(), view.track.clone());
            !view.muted && Some(&of.0) == self.me() && self.is_stalled_at_source(&of)
        })
    }

    /// A silent line whose silence is not this end's to repair: its source is silent, and the way to here
    /// is not what stops it. Of a track of its own that is so once the way was made anew.
    pub(super) fn is_excused(&self, cx: &Cx<'_>, line: &Line) -> bool {
        let way_is_proven = self.media.loss.as_ref().is_some_and(|loss| {
            let waited = cx.now.mono.since(loss.step_at) >= limits::MEDIA_RESTART_WITHIN;
            loss.rejoins > 0 || (loss.rung == Rung::Restart && waited)
        });
        let own = Some(&line.of.0) == self.me();
        line.stalled_at_source && (!own || way_is_proven)
    }

    /// What flows, as far as was looked.
    pub(super) fn media_flow(&self, cx: &Cx<'_>) -> Flow {
        let Some(shown) = &self.media.shown else {
            return Flow::Fine;
        };
        match shown.way {
            Way::Lost { .. } => return Flow::Lost,
            Way::Failed => return Flow::Failed,
            Way::Opening | Way::Up | Way::Proven => {}
        }
        let expected = shown.expected(&self.fold.snapshot);
        let ours = expected
            .clone()
            .filter(|line| !(line.is_troubled() && self.is_excused(cx, line)));
        let troubled = ours.clone().filter(|line| line.is_troubled()).count();
        if troubled == 0 {
            return if expected.clone().any(Line::is_troubled) || self.own_is_stalled() {
                Flow::Source
            } else if self.media.loss.is_some() {
                Flow::Pending
            } else {
                Flow::Fine
            };
        }
        let least = ours.clone().map(|line| line.quiet).min();
        match least {
            Some(silent) if ours.clone().all(Line::is_silent) => Flow::All { silent },
            Some(_) | None => Flow::Line,
        }
    }

    /// Looks at what flows: tells what is lost and what is back.
    pub(super) fn judge_media(&mut self, cx: &mut Cx<'_>) {
        self.note_sources(cx.now.mono);
        self.believe_packets();
        let flow = self.media_flow(cx);
        let of_source = flow == Flow::Source;
        match (&mut self.media.loss, flow) {
            (None, Flow::Fine | Flow::Pending) => {}
            (None, Flow::Source | Flow::Line | Flow::All { .. } | Flow::Lost | Flow::Failed) => {
                let fault = self.fault_of_flow(cx, flow);
                self.tell_media_lost(cx, fault, of_source);
            }
            (Some(_), Flow::Fine | Flow::Pending) => self.end_loss(cx),
            (Some(loss), Flow::Source) => loss.of_source = true,
            (Some(loss), Flow::Line | Flow::All { .. } | Flow::Lost | Flow::Failed) => {
                if std::mem::take(&mut loss.of_source) {
                    loss.begin_anew(cx.now.mono);
                    self.tell_other_trouble(cx, flow);
                }
            }
        }
    }

    /// What the server says of the sources of lines. One that is back is given the time to get here.
    fn note_sources(&mut self, now: Instant) {
        let Some(mut shown) = self.media.shown.take() else {
            return;
        };
        for line in &mut shown.lines {
            let is_stalled = self.is_stalled_at_source(&line.of);
            if std::mem::replace(&mut line.stalled_at_source, is_stalled) && !is_stalled {
                line.count_anew(now);
            }
        }
        self.media.shown = Some(shown);
    }

    /// It was not the source alone. Where somebody else's track was told, and it is another trouble, it is
    /// told too; of the same track, or of one's own, it is the same loss, and told already.
    fn tell_other_trouble(&mut self, cx: &mut Cx<'_>, flow: Flow) {
        let fault = self.fault_of_flow(cx, flow);
        let track = |fault: &Fault| {
            let named = |key: &str| fault.detail.get(key).cloned();
            (named("participant"), named("track"))
        };
        let me = self.me().map(|me| Value::from(me.as_str()));
        let loss = self.media.loss.as_mut();
        let is_other = |loss: &&mut Loss| {
            let told = track(&loss.fault);
            told.0 != me && told != track(&fault)
        };
        let Some(loss) = loss.filter(is_other) else {
            return;
        };
        loss.fault = fault.clone();
        cx.tell(Event::MediaLost { fault });
    }

    /// A transport that says that nobody answers, while everything that is expected comes, is wrong.
    fn believe_packets(&mut self) {
        let Some(shown) = &self.media.shown else {
            return;
        };
        let Way::Lost { since } = shown.way else {
            return;
        };
        let expected = shown.expected(&self.fold.snapshot);
        let is_any = expected.clone().next().is_some();
        let comes = is_any && expected.clone().all(|line| line.came_since(since));
        let proven = comes && !self.own_is_stalled();
        drop(expected);
        if let Some(shown) = self.media.shown.as_mut().filter(|_| proven) {
            shown.way = Way::Proven;
        }
    }

    pub(super) fn tell_media_lost(&mut self, cx: &mut Cx<'_>, fault: Box<Fault>, of_source: bool) {
        let now = cx.now.mono;
        tracing::info!(code = %fault.code, "media is lost");
        let snapshot = &self.fold.snapshot;
        let shown = self.media.shown.as_ref();
        let owed = shown.map(|shown| {
            shown
                .expected(snapshot)
                .map(|line| line.of.clone())
                .collect()
        });
        self.media.loss = Some(Loss {
            fault: fault.clone(),
            last: None,
            lost_at: now,
            attempts: 0,
            rung: Rung::Told,
            step_at: now,
            rejoins: 0,
            of_source,
            owed: owed.unwrap_or_default(),
        });
        cx.tell(Event::MediaLost { fault });
    }

    fn fault_of_flow(&mut self, cx: &Cx<'_>, flow: Flow) -> Box<Fault> {
        let peer = self.media.shown.as_ref().map_or(0, |shown| shown.peer);
        match flow {
            Flow::Failed => return Box::new(self.transport_fault(cx, peer, "ice_failed")),
            Flow::Lost => {
                let fault = self.media_trouble(cx, Code::MediaStalled);
                return Box::new(fault.detail("peer", peer).detail("why", "disconnected"));
            }
            Flow::Fine | Flow::Pending | Flow::Source | Flow::Line | Flow::All { .. } => {}
        }
        let shown = self.media.shown.as_ref();
        let worst = shown.and_then(|shown| {
            let troubled = |line: &&Line| line.is_troubled();
            let expected = shown.expected(&self.fold.snapshot);
            let mut ours = expected.clone().filter(troubled);
            let first = ours.find(|line| flow == Flow::Source || !self.is_excused(cx, line));
            first.map(|line| (line.of.clone(), line.is_frozen()))
        });
        let Some(((participant, track), is_frozen)) = worst else {
            // What is silent is this client's own, as the server says.
            let fault = self.servers_media_fault().cloned();
            return Box::new(fault.unwrap_or_else(|| self.media_trouble(cx, Code::MediaStalled)));
        };
        let fault = self
            .media_trouble(cx, Code::MediaStalled)
            .detail("participant", participant.as_str())
            .detail("track", track.as_str());
        Box::new(if is_frozen {
            fault.detail("frozen", true)
        } else {
            fault
        })
    }

    /// When what a new transport did not bring back is named instead of waited for.
    pub(super) fn restore_by(&self) -> Option<Instant> {
        let loss = self.media.loss.as_ref()?;
        let connected_at = self.media.shown.as_ref()?.connected_at?;
        Some(connected_at.max(loss.lost_at) + limits::MEDIA_RESTORE_WITHIN)
    }

    /// Nothing is silent: once everything that is expected was seen, it is over.
    fn end_loss(&mut self, cx: &mut Cx<'_>) {
        let (Some(loss), Some(shown)) = (&self.media.loss, &self.media.shown) else {
            return;
        };
        let snapshot = &self.fold.snapshot;
        let came = shown
            .expected(snapshot)
            .all(|line| line.came_since(loss.lost_at));
        if shown.superseded || self.media.next.is_some() || !shown.is_up() || !came {
            return;
        }
        let is_there = |of: &TrackKey| shown.lines.iter().any(|line| line.of == *of);
        // On the same transport the server has taken back what is not there any more.
        let owed = loss.owed.iter().filter(|_| loss.rejoins > 0);
        let missing = owed.filter(|of| transport::is_expected(snapshot, of) && !is_there(of));
        let missing: Vec<Value> = missing
            .map(|(participant, track)| json!({ "participant": participant, "track": track }))
            .collect();
        let waits = self.restore_by().is_some_and(|at| at > cx.now.mono);
        if !missing.is_empty() && waits {
            return;
        }
        let event = Event::MediaRecovered {
            strategy: if loss.rejoins > 0 {
                Strategy::Rejoin
            } else {
                Strategy::Fast
            },
            attempts: loss.attempts,
            lost_ms: cx.now.mono.ms_since(loss.lost_at),
        };
        tracing::info!(attempts = loss.attempts, "media flows again");
        cx.tell(event);
        self.media.recovered_at = Some(cx.now.mono);
        if !missing.is_empty() {
            let fault = self.media_trouble(cx, Code::MediaStalled);
            let fault = fault
                .message("tracks that came before are not sent on the new transport")
                .detail("not_restored", missing);
            cx.tell(Event::Fault(Box::new(fault)));
        }
        (self.media.loss, self.media.down) = (None, None);
        (self.media.failures, self.media.open_at) = (0, None);
    }
}
