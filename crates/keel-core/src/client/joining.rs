//! A connection takes its place: in line, welcomed, replayed.

use keel_wire::{CloseCode, Code, Joined, Origin, Queued, Scope, Seq, Strategy, Welcome};

use super::{
    Client, CommandOutcome, Cx, Event, Life, Membership, Output, Seat,
    attempt::Attempt,
    ladder::Kind,
    path::{Path, Stage, Trust},
};

impl Client {
    /// The connection under way takes over; the one before it is dropped, whatever it was.
    pub(super) fn promote(&mut self, cx: &mut Cx<'_>, stage: Stage) {
        let Some(Attempt::Path(mut path)) = self.attempt.take() else {
            return;
        };
        path.stage = stage;
        path.cell.forget_faults();
        path.seal_at = None;
        path.trust = Trust::Trusted;
        if let Some(old) = self.current.take() {
            cx.out.push(Output::Hangup {
                conn: old.conn,
                code: Some(CloseCode::NORMAL),
            });
        }
        if self.target.as_ref() == Some(&path.address) {
            self.target = None;
        }
        self.home.clone_from(&path.address);
        self.current = Some(*path);
        match &mut self.life {
            Life::Connecting { .. } => {
                self.ledger.tries = 0;
                self.life = Life::Standing;
            }
            Life::Recovering(recovery) if recovery.kind == Kind::Move => {
                recovery.kind = Kind::Moved;
                recovery.left = None;
            }
            Life::Recovering(_)
            | Life::Idle
            | Life::Standing
            | Life::Detaching { .. }
            | Life::Ended { .. }
            | Life::Failed { .. } => {}
        }
    }

    pub(super) fn queued(&mut self, cx: &mut Cx<'_>, queued: Queued) {
        let Queued {
            session,
            participant,
            resume_key,
            position,
            of,
            beat,
        } = queued;
        self.seat = Some(Seat {
            session,
            participant,
            key: resume_key,
            window_ms: 0,
        });
        if let Some(path) = &mut self.current {
            path.plan_beats(beat);
            path.joined.get_or_insert(cx.now.mono);
            path.stage = Stage::Queued { position, of };
        }
        let counts = self.current.as_ref().is_some_and(is_trusted);
        if counts && matches!(self.life, Life::Recovering(_)) {
            let strategy = self.current.as_ref().and_then(|path| path.strategy);
            self.recovered(cx, strategy.unwrap_or(Strategy::Fast), 0);
        }
        cx.tell(Event::Queued { position, of });
    }

    pub(super) fn welcomed(&mut self, cx: &mut Cx<'_>, welcome: Welcome) {
        let Some(path) = &mut self.current else {
            return;
        };
        path.stage = Stage::Replaying;
        path.joined = Some(cx.now.mono);
        path.epoch = welcome.cursor.epoch;
        path.head = welcome.cursor.seq;
        path.plan_beats(welcome.beat);
        path.in_flight_max = usize::try_from(welcome.limits.commands)
            .unwrap_or(usize::MAX)
            .max(1);
        let is_new = matches!(welcome.how, Joined::Created | Joined::Joined);
        if self.fold.cursor.seq == Seq::ZERO || (is_new && !path.resumes) {
            self.fold.start(welcome.cursor.epoch);
        }
        if is_new && path.resumes {
            self.disown_commands(cx);
        }
        self.outbox.welcomed(welcome.consumed);
        self.seat = Some(Seat {
            session: welcome.session.clone(),
            participant: welcome.participant.clone(),
            key: welcome.resume_key,
            window_ms: welcome.resume_window_ms,
        });
        self.server = Some(Box::new(welcome.status));
        if !std::mem::replace(&mut self.told_joined, true) {
            cx.tell(Event::Joined(Box::new(Membership {
                session: welcome.session,
                participant: welcome.participant,
                role: welcome.role,
                how: welcome.how,
                cursor: welcome.cursor,
                params: welcome.params,
                params_version: welcome.params_version,
            })));
        }
        self.welcomed_media(cx, welcome.peer, welcome.ice_servers);
    }

    /// The participation that these were said in is given up, and with it what became of them.
    fn disown_commands(&mut self, cx: &mut Cx<'_>) {
        while let Some(entry) = self.outbox.give_up_sent() {
            let fault = self
                .mint
                .fault(cx.now, Code::ResumeRefused, Origin::Server)
                .scope(Scope::Command);
            let outcome = CommandOutcome::Unknown(Box::new(fault));
            cx.out.push(Output::Receipt {
                local: entry.local,
                outcome,
            });
        }
    }

    pub(super) fn replayed(&mut self, cx: &mut Cx<'_>) {
        let Some(path) = &mut self.current else {
            return;
        };
        path.stage = Stage::Joined;
        path.beats_behind = 0;
        let strategy = path.strategy.unwrap_or(Strategy::Fast);
        let replayed = path.replayed;
        let counts = is_trusted(path);
        self.was_live = true;
        if counts && matches!(self.life, Life::Recovering(_)) {
            self.recovered(cx, strategy, replayed);
        }
    }
}

/// One that fell silent has to last first, whatever it says.
fn is_trusted(path: &Path) -> bool {
    path.trust == Trust::Trusted
}
