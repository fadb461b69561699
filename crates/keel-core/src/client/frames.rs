//! What the server says, frame by frame.

use keel_wire::{
    Beat, ClientFrame, Code, Cursor, Ephemeral, EventFrame, Fault, Gap, Goaway, Leg, MediaSignal,
    Origin, Range, Receipt, ReceiptBody, Retry, Seq, ServerFrame, Strategy, Todo, codec::Decoded,
    limits::FRAME_OUT_BYTES_MAX,
};

use super::{
    Ask, Client, CommandOutcome, ConnId, Cx, Event, Life, Notice, Output,
    apply::Applied,
    attempt::Attempt,
    liveness::Slot,
    outcome::{self, Class, Outcome},
    path::{Path, Stage, Trust},
    recovery::may_end_connection,
};
use crate::limits;

impl Client {
    pub(super) fn frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: &[u8]) {
        let Some(slot) = self.slot(conn) else { return };
        let now = cx.now.mono;
        let Some(path) = self.path(slot).filter(|path| !path.deaf) else {
            return;
        };
        path.heard = path.heard.max(now);
        path.answered.get_or_insert(now);
        if path.lose_frames > 0 {
            path.lose_frames -= 1;
            return;
        }
        let frame = match ServerFrame::decode(bytes, FRAME_OUT_BYTES_MAX) {
            Ok(Decoded::Known(frame)) => frame,
            Ok(Decoded::Unknown { name }) => return self.unknown_frame(cx, name),
            Err(error) => return self.break_off(cx, slot, error.to_string()),
        };
        let is_last_word = matches!(
            frame,
            ServerFrame::Fault(_) | ServerFrame::Ended(_) | ServerFrame::Goaway(_)
        );
        if slot == Slot::Current && !is_last_word {
            self.release_fault(cx);
            if let Some(path) = &mut self.current {
                path.cell.forget_faults();
            }
            self.heard_again(cx);
        }
        match slot {
            Slot::Current => self.frame_on_current(cx, frame),
            Slot::Attempt => self.frame_on_attempt(cx, frame),
        }
    }

    fn unknown_frame(&mut self, cx: &mut Cx<'_>, name: String) {
        self.unknown_frames = self.unknown_frames.saturating_add(1);
        if self.unknown_frames <= limits::UNKNOWN_FRAMES_MAX {
            cx.tell(Event::ProtocolNotice(Notice::UnknownFrame { name }));
        }
    }

    /// A silent connection speaks. What it says counts at once; it is kept in the other's stead once it
    /// has lasted, unless the other has said hello: then the server will close this one.
    fn heard_again(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let Some(path) = &mut self.current else {
            return;
        };
        match path.trust {
            Trust::Trusted => {}
            Trust::Suspected => path.trust = Trust::Heard { since: now },
            Trust::Heard { .. } => {
                let taken_over = self.attempt.as_ref().is_some_and(Attempt::said_hello);
                if path.is_proven(now) && !taken_over {
                    self.recovered(cx, Strategy::Fast, 0);
                }
            }
        }
    }

    fn frame_on_attempt(&mut self, cx: &mut Cx<'_>, frame: ServerFrame) {
        match frame {
            ServerFrame::Welcome(welcome) => {
                self.promote(cx, Stage::Replaying);
                self.welcomed(cx, *welcome);
            }
            ServerFrame::Queued(queued) => {
                let stage = Stage::Queued {
                    position: queued.position,
                    of: queued.of,
                };
                self.promote(cx, stage);
                self.queued(cx, queued);
            }
            ServerFrame::Fault(frame) => self.fault(cx, Slot::Attempt, frame.fault),
            ServerFrame::Goaway(goaway) => self.goaway(cx, Slot::Attempt, goaway),
            ServerFrame::Ended(ended) => self.finish(
                cx,
                Life::Ended {
                    reason: ended.reason,
                },
            ),
            ServerFrame::Beat(beat) => {
                if let Some(path) = self.attempt.as_ref().and_then(Attempt::path) {
                    cx.send(path, answer(beat.n, self.fold.cursor));
                }
            }
            // What is told before welcome is not of the session.
            ServerFrame::Status(_) | ServerFrame::Ephemeral(_) => {}
            ServerFrame::Receipt(_)
            | ServerFrame::Event(_)
            | ServerFrame::Gap(_)
            | ServerFrame::Replayed(_)
            | ServerFrame::Offer(_)
            | ServerFrame::Answer(_)
            | ServerFrame::Candidate(_)
            | ServerFrame::Lines(_)
            | ServerFrame::IceServers(_) => {
                let message = format!("{} came before welcome", frame.name());
                self.break_off(cx, Slot::Attempt, message);
            }
        }
    }

    fn frame_on_current(&mut self, cx: &mut Cx<'_>, frame: ServerFrame) {
        let stage = self.current.as_ref().map(|path| path.stage);
        let waits = matches!(stage, Some(Stage::Queued { .. }));
        match frame {
            ServerFrame::Welcome(welcome) if waits => self.welcomed(cx, *welcome),
            ServerFrame::Queued(queued) if waits => self.queued(cx, queued),
            ServerFrame::Receipt(receipt) if !waits => self.receipt(cx, receipt),
            ServerFrame::Event(event) if !waits => self.event(cx, event),
            ServerFrame::Gap(gap) if !waits => self.gap(cx, *gap),
            ServerFrame::Replayed(_) if !waits => self.replayed(cx),
            // In line, too, a token may expire.
            ServerFrame::Ephemeral(ephemeral) => self.ephemeral(cx, ephemeral),
            ServerFrame::Status(frame) => self.server = Some(Box::new(frame.status)),
            ServerFrame::Offer(offer) if !waits => self.hear_media(cx, MediaSignal::Offer(offer)),
            ServerFrame::Answer(answer) if !waits => {
                self.hear_media(cx, MediaSignal::Answer(answer));
            }
            ServerFrame::Candidate(candidate) if !waits => {
                self.hear_media(cx, MediaSignal::Candidate(candidate));
            }
            ServerFrame::Lines(lines) if !waits => self.hear_media(cx, MediaSignal::Lines(lines)),
            ServerFrame::IceServers(frame) => self.ice_servers(frame.ice_servers),
            ServerFrame::Beat(beat) => self.beat(cx, beat),
            ServerFrame::Goaway(goaway) => self.goaway(cx, Slot::Current, goaway),
            ServerFrame::Ended(ended) => self.finish(
                cx,
                Life::Ended {
                    reason: ended.reason,
                },
            ),
            ServerFrame::Fault(frame) => self.fault(cx, Slot::Current, frame.fault),
            ServerFrame::Welcome(_)
            | ServerFrame::Queued(_)
            | ServerFrame::Receipt(_)
            | ServerFrame::Event(_)
            | ServerFrame::Gap(_)
            | ServerFrame::Replayed(_)
            | ServerFrame::Offer(_)
            | ServerFrame::Answer(_)
            | ServerFrame::Candidate(_)
            | ServerFrame::Lines(_) => {
                let message = format!("{} came out of turn", frame.name());
                self.break_off(cx, Slot::Current, message);
            }
        }
    }

    fn ephemeral(&self, cx: &mut Cx<'_>, ephemeral: Ephemeral) {
        if ephemeral.kind == "token.expiring" && self.can_refresh() {
            cx.out.push(Output::FetchToken);
        }
        cx.tell(Event::Ephemeral(ephemeral));
    }

    fn receipt(&mut self, cx: &mut Cx<'_>, receipt: Receipt) {
        // Of a command that has its receipt, or of an earlier life of this stream: nobody waits.
        let Some(entry) = self.outbox.answered(receipt.n) else {
            return;
        };
        let outcome = match receipt.body {
            ReceiptBody::Fault(fault) if fault.code == Code::OutcomeUnknown => {
                CommandOutcome::Unknown(fault)
            }
            body @ (ReceiptBody::Ok { .. } | ReceiptBody::Fault(_)) => {
                CommandOutcome::Answered(body)
            }
        };
        cx.out.push(Output::Receipt {
            local: entry.local,
            outcome,
        });
    }

    fn event(&mut self, cx: &mut Cx<'_>, frame: EventFrame) {
        let Some(path) = &mut self.current else {
            return;
        };
        let kind = frame.kind.clone();
        match self.fold.event(path.epoch, frame) {
            Ok(Applied::New {
                range,
                event,
                malformed,
            }) => {
                path.moved_since_beat = true;
                if path.stage == Stage::Replaying {
                    path.replayed += 1;
                }
                cx.tell(Event::Log {
                    range,
                    event: *event,
                });
                if let Some(message) = malformed {
                    cx.tell(Event::ProtocolNotice(Notice::MalformedEvent {
                        kind,
                        message,
                    }));
                }
            }
            Ok(Applied::Known) => {}
            Err(message) => return self.break_off(cx, Slot::Current, message),
        }
        self.ack(cx);
    }

    /// Says how far it is, after so many events or so long: where the way is narrow, beats come late,
    /// and the server must not take one that is being told things for one that is gone.
    fn ack(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        let acked_at = *self.fold.acked_at.get_or_insert(now);
        let many = self.fold.unacked >= limits::ACK_EVERY_EVENTS;
        if !many && now < acked_at + limits::ACK_EVERY {
            return;
        }
        self.fold.unacked = 0;
        self.fold.acked_at = Some(now);
        if let Some(path) = &self.current {
            let seq = self.fold.cursor.seq;
            cx.send(path, ClientFrame::from(keel_wire::Ack { seq }).encode());
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, gap: Gap) {
        let before = self.fold.cursor;
        match self.fold.gap(&gap) {
            Ok(true) => {}
            Ok(false) => return,
            Err(message) => return self.break_off(cx, Slot::Current, message),
        }
        if let Some(path) = &mut self.current {
            path.epoch = gap.epoch;
            path.moved_since_beat = true;
        }
        let rewound = gap.epoch != before.epoch && before.seq != Seq::ZERO;
        let fault = gap.fault.or_else(|| {
            rewound.then(|| Box::new(self.mint.fault(cx.now, Code::LogRewound, Origin::Client)))
        });
        let range = Range {
            from: gap.from,
            to: gap.to,
        };
        cx.tell(Event::Gap {
            range,
            fault,
            snapshot: Box::new(gap.snapshot),
        });
        self.ack(cx);
    }

    fn beat(&mut self, cx: &mut Cx<'_>, beat: Beat) {
        let cursor = self.fold.cursor;
        let store_slow = self.store_is_slow();
        let Some(path) = &mut self.current else {
            return;
        };
        if let Some(ms) = beat.suspect_ms {
            path.suspect_ms(ms);
        }
        if let Some(ms) = beat.pace_ms {
            path.pace = std::time::Duration::from_millis(ms).min(limits::PACE_MAX);
        }
        self.fold.unacked = 0;
        self.fold.acked_at = Some(cx.now.mono);
        cx.send(path, answer(beat.n, cursor));
        if !path.is_welcomed() {
            return;
        }
        let misses = beat.seq > cursor.seq;
        let waits = misses || path.stage == Stage::Replaying;
        let moved = std::mem::take(&mut path.moved_since_beat);
        path.beats_behind = if waits && !moved && !store_slow {
            path.beats_behind + 1
        } else {
            0
        };
        // A replay may wait for a page of the store; that one is slow is told before this.
        let limit = if path.stage == Stage::Replaying {
            limits::BEATS_REPLAYING_MAX
        } else {
            limits::BEATS_BEHIND_MAX
        };
        // More than one: a beat may overtake an event, but no two do.
        if path.beats_behind >= limit {
            let message = format!(
                "the log is at {}, nothing came after {}",
                beat.seq, cursor.seq
            );
            self.break_off(cx, Slot::Current, message);
        }
    }

    fn store_is_slow(&self) -> bool {
        use keel_wire::{Leg, LegState};
        self.server.as_deref().is_some_and(|status| {
            status
                .legs
                .iter()
                .any(|leg| leg.leg == Leg::Store && leg.state != LegState::Up)
        })
    }

    fn goaway(&mut self, cx: &mut Cx<'_>, slot: Slot, goaway: Goaway) {
        let fault = self
            .mint
            .fault(cx.now, Code::ServerShutdown, Origin::Server)
            .detail("reason", goaway.reason.as_str());
        let ask = if goaway.target.is_some() {
            Ask::Migrate
        } else {
            Ask::Fast
        };
        let Some(path) = self.path(slot) else { return };
        path.cell.note(
            Class::Goaway,
            Outcome {
                fault: fault.clone(),
                ask,
            },
        );
        path.goaway = Some(Box::new(fault.clone()));
        if self.told_joined {
            cx.tell(Event::Goaway {
                reason: goaway.reason,
                deadline_ms: goaway.deadline_ms,
                target: goaway.target.clone(),
            });
        }
        let Some(target) = goaway.target else { return };
        let stands = self
            .current
            .as_ref()
            .is_some_and(|path| path.is_good() && path.is_welcomed());
        self.target = Some(target).filter(|target| *target != self.home);
        if self.target.is_none() {
            return;
        }
        match &mut self.life {
            Life::Standing if slot == Slot::Current && stands => {
                self.begin_migration(cx, Box::new(fault));
            }
            // Honoured by the next plan (req E9): what is under way goes on, what waits does not.
            Life::Recovering(recovery) => {
                recovery.ask = Ask::Migrate;
                if matches!(self.attempt, Some(Attempt::Waiting { .. })) {
                    self.attempt = None;
                }
            }
            Life::Standing
            | Life::Idle
            | Life::Connecting { .. }
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => {}
        }
    }

    fn fault(&mut self, cx: &mut Cx<'_>, slot: Slot, fault: Fault) {
        let now = cx.now.mono;
        if slot == Slot::Current && self.media_fault(cx, &fault) {
            return;
        }
        if slot == Slot::Current && !may_end_connection(&fault) {
            if matches!(self.life, Life::Detaching { .. }) && fault.leg == Some(Leg::Media) {
                // It goes with whoever leaves on purpose.
                return;
            }
            return cx.tell(Event::Fault(Box::new(fault)));
        }
        if slot == Slot::Current {
            self.release_fault(cx);
        }
        let Some(path) = self.path(slot) else { return };
        let ask = outcome::ask(&fault);
        path.cell.note(
            Class::Fault,
            Outcome {
                fault: fault.clone(),
                ask,
            },
        );
        let at = now + limits::OUTCOME_SEALED_WITHIN;
        match slot {
            // A fault that answers hello is the answer.
            Slot::Attempt => {
                path.seal_at.get_or_insert(at);
            }
            // One on a connection that stands is its last word, or news: the close tells.
            Slot::Current => path.held = Some((at, Box::new(fault))),
        }
    }

    /// A fault that was not the connection's last word is news.
    pub(super) fn release_fault(&mut self, cx: &mut Cx<'_>) {
        let Some((_, fault)) = self.current.as_mut().and_then(|path| path.held.take()) else {
            return;
        };
        let refresh = Retry::AfterAction {
            what: Todo::RefreshToken,
        };
        if fault.retry == refresh && self.can_refresh() {
            cx.out.push(Output::FetchToken);
        }
        cx.tell(Event::Fault(fault));
    }

    /// Sends what may be sent.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        let ready = |path: &&Path| path.is_welcomed() && path.is_good();
        let Some(path) = self.current.as_ref().filter(ready) else {
            return;
        };
        if matches!(self.life, Life::Detaching { .. }) {
            return;
        }
        while let Some(bytes) = self.outbox.send_next(cx.now.mono, path.in_flight_max) {
            cx.send(path, bytes);
        }
    }
}

fn answer(n: Seq, cursor: Cursor) -> Vec<u8> {
    let beat = Beat {
        n,
        seq: cursor.seq,
        suspect_ms: None,
        pace_ms: None,
    };
    ClientFrame::from(beat).encode()
}
