//! What must hold at every step (DESIGN §2.12).

use std::collections::BTreeMap;

use keel_core::{
    client::{Because, Event, LogEvent},
    limits::TEXT_STEP_MAX,
    node::Input,
};
use keel_wire::{
    Code, EndReason, Fault, FaultCode, Range, Retry, SessionId, Snapshot, State, Status, Text,
    TurnId, record::Batch,
};
use serde_json::Value;

use crate::{
    actor::{Outcome, Over, Wait, What},
    cell::Kind,
    mix::{MS, Room, SECOND},
    world::{BYSTANDERS, World},
};

/// What a program was told to begin with.
#[derive(Debug)]
pub(crate) struct RunParams {
    pub(crate) session: SessionId,
    pub(crate) server: usize,
    pub(crate) life: u32,
    /// The version that was committed then.
    pub(crate) version: usize,
    pub(crate) params: Value,
    pub(crate) at: u64,
}

/// What programs have said and nobody has begun to write.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Since when, by turn.
    pub(crate) said_at: BTreeMap<TurnId, u64>,
    /// When the last commit of a process for a session was written; `None` while one has to be written
    /// again. Two may hold it for the one that has it.
    free_at: BTreeMap<(usize, u32, SessionId), Option<u64>>,
}

impl World {
    /// A commit of a session was answered.
    pub(crate) fn note_synced(&mut self, server: usize, answer: &Input) {
        let (session, free_at) = match answer {
            Input::Committed { session, .. } => (session, Some(self.now)),
            Input::CommitFailed { session, .. } => (session, None),
            _ => return,
        };
        let key = (server, self.servers[server].life, session.clone());
        self.words.free_at.insert(key, free_at);
    }

    /// What waits for more text waits no longer than it may, where nothing is being written.
    pub(crate) fn check_text_waited(&mut self, server: usize, batch: &Batch) {
        let key = (server, self.servers[server].life, batch.row.session.clone());
        let free_at = self.words.free_at.get(&key);
        let free_at = free_at.copied().unwrap_or(Some(0));
        for event in batch.events.iter().filter(|event| &*event.kind == "text") {
            let text: Result<Text, _> = serde_json::from_str(event.data.get());
            let Some(said_at) = text.ok().and_then(|t| self.words.said_at.remove(&t.turn)) else {
                continue;
            };
            let Some(free_at) = free_at else { continue };
            let waited = self.now - said_at.max(free_at);
            if u128::from(waited) > TEXT_STEP_MAX.as_micros() + u128::from(MS) {
                let what = format!("{} us in {}", waited, batch.row.session);
                self.breaks("text waits within its bound", what);
            }
        }
    }

    // What an application is told.

    pub(crate) fn check_event(&mut self, client: usize, event: Event) {
        if self.actors[client].view.over.is_some() {
            return self.breaks(
                "nothing follows the end",
                format!("client {client}: {event:?}"),
            );
        }
        self.check_media_event(client, &event);
        match event {
            Event::Joined(membership) => {
                let group = self.actors[client].group;
                let session = membership.session.clone();
                self.sessions[group].get_or_insert_with(|| session.clone());
                if self.sessions[group].as_ref() != Some(&session) {
                    self.sessions[group] = Some(session.clone());
                }
                let view = &mut self.actors[client].view;
                view.fresh |= view.session.as_ref() != Some(&session);
                view.session = Some(session);
            }
            Event::Log { range, event } => self.check_log(client, range, &event),
            Event::Gap {
                range,
                fault,
                snapshot,
            } => self.check_gap(client, range, fault.as_deref(), &snapshot),
            Event::ConnectionLost { conn, fault } => self.check_lost(client, conn.0, &fault),
            Event::Recovered { .. } => {
                let lost = self.actors[client].view.lost_at.take();
                if lost.is_none() && self.servers.len() == 1 {
                    self.breaks("a recovery follows a loss", format!("client {client}"));
                }
                self.actors[client].view.recovered = true;
            }
            Event::Ended { reason } => {
                self.actors[client].view.lost_at = None;
                self.actors[client].view.over = Some(Over::Ended);
                if reason == EndReason::Detached && !self.actors[client].leaving {
                    self.breaks("deliberate ends are meant", format!("client {client}"));
                }
                self.check_nothing_open(client);
            }
            Event::Failed(fault) => self.check_failed(client, &fault),
            Event::StillWaiting { because, .. } => self.note_waiting(client, because),
            Event::Ephemeral(_)
            | Event::MediaLost { .. }
            | Event::MediaRecovered { .. }
            | Event::Fault(_)
            | Event::AttemptFailed { .. }
            | Event::Queued { .. }
            | Event::Goaway { .. }
            | Event::ProtocolNotice(_) => {}
        }
    }

    fn check_log(&mut self, client: usize, range: Range, event: &LogEvent) {
        let view = &mut self.actors[client].view;
        let Some(session) = view.session.clone() else {
            return self.breaks("joined comes first", format!("client {client}"));
        };
        let fresh = std::mem::take(&mut view.fresh);
        if fresh && range.from.get() == 1 {
            view.fold = Snapshot::default();
            view.at = 0;
            view.ended.clear();
        }
        let at = view.at;
        if range.from.get() != at + 1 {
            let what = format!("client {client} is told {}.. after {at}", range.from);
            return self.breaks("positions follow each other", what);
        }
        let LogEvent::Known(told) = event else {
            return self.breaks("events are known", format!("client {client}: {event:?}"));
        };
        if let keel_wire::Event::TurnEnded(ended) = told
            && !view.ended.insert(ended.turn.clone())
        {
            return self.breaks(
                "a turn ends once",
                format!("client {client}: {}", ended.turn),
            );
        }
        let told = match self.store.archive(&session) {
            Some(archive) => archive.tells(range, told),
            None => Err("no such log".to_owned()),
        };
        if let Err(what) = told {
            return self.breaks(
                "what is told is the log",
                format!("client {client}: {what}"),
            );
        }
        self.move_fold(client, &session, range.to.get());
    }

    fn move_fold(&mut self, client: usize, session: &SessionId, to: u64) {
        let Some(archive) = self.store.archive(session) else {
            return;
        };
        let view = &mut self.actors[client].view;
        let to = to.min(archive.head());
        if to > view.at {
            archive.fold(&mut view.fold, view.at, to);
            view.at = to;
        }
    }

    fn check_gap(
        &mut self,
        client: usize,
        range: Range,
        fault: Option<&Fault>,
        snapshot: &Snapshot,
    ) {
        let view = &mut self.actors[client].view;
        let Some(session) = view.session.clone() else {
            return self.breaks("joined comes first", format!("client {client}"));
        };
        if std::mem::take(&mut view.fresh) && range.from.get() <= 1 {
            view.fold = Snapshot::default();
            view.at = 0;
            view.ended.clear();
        }
        let at = view.at;
        let why = fault.map(|fault| fault.code.clone());
        let meant = match &why {
            None => self.actors[client].view.wants_snapshot,
            // A new participant begins at the beginning, wherever this client is.
            Some(FaultCode::Known(Code::ResumeGap)) => self.store.trimmed(&session) > 0,
            Some(FaultCode::Known(Code::SlowConsumer)) => {
                self.store.head_of(&session) > at + 10_000 || self.mix.provider.large > 0
            }
            Some(_) => false,
        };
        if !meant {
            let what = format!("client {client} at {at}: {why:?} {range:?}");
            return self.breaks("gaps have a cause", what);
        }
        if range.from.get() > at + 1 {
            let what = format!("client {client} at {at}: a gap {range:?}");
            return self.breaks("positions follow each other", what);
        }
        self.move_fold(client, &session, range.to.get());
        if self.actors[client].view.fold != *snapshot {
            self.breaks("snapshots are the fold", format!("client {client}"));
        }
    }

    /// The fold of what was told is the fold of the log.
    pub(crate) fn check_fold(&mut self, client: usize) {
        let actor = &self.actors[client];
        let cursor = actor.machine.cursor().seq.get();
        if actor.view.fresh || (cursor == 0 && actor.view.at == 0) {
            return;
        }
        if cursor != actor.view.at || *actor.machine.snapshot() != actor.view.fold {
            let what = format!(
                "client {client} at {cursor}, told {}: {:?} is not {:?}",
                actor.view.at,
                actor.machine.snapshot(),
                actor.view.fold
            );
            self.breaks("the fold is the log's", what);
        }
    }

    fn check_lost(&mut self, client: usize, conn: u64, fault: &Fault) {
        let now = self.now;
        let view = &mut self.actors[client].view;
        if view.lost_at.is_some() {
            let what = format!("client {client} lost {conn} while it recovers");
            return self.breaks("one loss at a time", what);
        }
        view.lost_at = Some(now);
        // One that was lost may last again, and be lost again; but it has to last first.
        let before = view.lost.insert(conn, now);
        if let Some(before) = before.filter(|before| now < before + 2 * SECOND) {
            let what = format!("client {client} lost {conn} at {before} and at {now}");
            return self.breaks("one loss is told once", what);
        }
        let newer = self.actors[client]
            .carrier
            .map(|link| self.links[link].conn.0);
        if newer.is_some_and(|newer| newer > conn) {
            return self.breaks(
                "what was replaced is not lost",
                format!("client {client}: {conn}"),
            );
        }
        let link = self.actors[client].links.get(&conn).copied();
        let touched = link.is_none_or(|link| self.links[link].touched);
        if !touched {
            let what = format!("client {client}, connection {conn}: {fault}");
            self.breaks("no loss without a cause", what);
        }
    }

    fn check_failed(&mut self, client: usize, fault: &Fault) {
        let for_good = fault.retry == Retry::Never;
        let actor = &mut self.actors[client];
        actor.view.lost_at = None;
        actor.view.over = Some(Over::Failed { for_good });
        let FaultCode::Known(code) = fault.code else {
            return self.breaks("codes are known", format!("{fault:?}"));
        };
        let bounded = self.mix.room != Room::Unbounded;
        let sick_store = self.mix.store.not_written > 0
            || self.mix.store.read_error > 0
            || self.mix.store.unknown > 0
            || self.mix.store.moods_every.is_some();
        let group = self.actors[client].group;
        let meant = self.actors[client].excuses.contains(&code)
            || (code == Code::Internal && self.panicked.contains(&group))
            || match code {
                Code::AtCapacity | Code::QueueExpired => bounded,
                // The session is over, or its opener never got it committed.
                Code::TokenExpired => {
                    self.mix.token_life.is_some() || self.mix.strikes.contains(&Kind::TokenExpired)
                }
                Code::SessionNotFound => self.actors[client].disturbed,
                Code::StoreFailed => sick_store && self.actors[client].disturbed,
                Code::TransportError
                | Code::ConnectionClosed
                | Code::HandshakeTimeout
                | Code::HeartbeatTimeout
                | Code::ServerShutdown
                | Code::RecoveryDeadline
                | Code::RejoinLimit => self.actors[client].disturbed,
                // What it was to do about that took longer than it had left.
                Code::ResumeRefused => self.actors[client].disturbed && !fault.cause.is_empty(),
                _ => false,
            };
        if !meant {
            let what = format!("client {client}: {fault:?}");
            self.breaks("failures have a cause", what);
        }
        self.check_nothing_open(client);
    }

    fn check_nothing_open(&mut self, client: usize) {
        let open = &self.actors[client].open_commands;
        if let Some(local) = open.first() {
            let what = format!("client {client} ended with {local} unanswered");
            return self.breaks("every command has an outcome", what);
        }
        let left: Vec<u64> = self.actors[client]
            .links
            .iter()
            .filter(|(_, link)| self.links[**link].client_open)
            .map(|(conn, _)| *conn)
            .collect();
        if !left.is_empty() {
            self.breaks("nothing is left open", format!("client {client}: {left:?}"));
        }
    }

    fn note_waiting(&mut self, client: usize, because: Because) {
        match because {
            Because::Connecting(_) | Because::Queued | Because::Recovering(_) => {
                self.actors[client].view.wait_told_at = self.now;
            }
            Because::Receipt { local } => {
                if let Some(asked) = self.asked.get_mut(local as usize) {
                    asked.waits_told = true;
                }
            }
        }
    }

    pub(crate) fn check_status(&mut self, client: usize, status: &Status) {
        if let Some(rule) = status.check() {
            self.breaks(
                "the status keeps its rules",
                format!("client {client}: {rule}"),
            );
        }
        self.check_media_status(client, status);
        let now = self.now;
        let view = &mut self.actors[client].view;
        let wait = match &status.state {
            State::Connecting { .. } => Some(Wait::Connecting),
            State::Queued { .. } => Some(Wait::Queued),
            State::Recovering => Some(Wait::Recovering),
            State::Live | State::Degraded | State::Ended { .. } | State::Failed => None,
        };
        if wait != view.wait.map(|(wait, _)| wait) {
            view.wait = wait.map(|wait| (wait, now));
        }
        view.live_since = match (&status.state, view.live_since) {
            (State::Live, since) => since.or(Some(now)),
            _ => None,
        };
        if status.state == State::Live && view.lost_at.is_some() {
            self.breaks(
                "live is honest",
                format!("client {client} is live while lost"),
            );
        }
    }

    // Commands.

    /// What was told of a command is what the log says.
    pub(crate) fn check_outcome(&mut self, client: usize, local: u64, outcome: Outcome) {
        let what = self.asked[local as usize].what;
        if what == What::Other {
            return;
        }
        let ran = self.ran(local);
        match outcome {
            Outcome::Ok if !ran => {
                let what = format!("client {client} heard ok for {local}, which is not in the log");
                self.breaks("ok means done", what);
            }
            Outcome::Not if ran => {
                let what = format!("client {client} heard a fault for {local}, which was run");
                self.breaks("a fault means not done", what);
            }
            Outcome::Ok | Outcome::Not | Outcome::Unknown => {}
        }
    }

    fn ran(&self, local: u64) -> bool {
        self.store
            .archives()
            .any(|(_, archive)| archive.run.contains_key(&local))
    }

    // The passing of time.

    pub(crate) fn audit(&mut self) {
        self.queue
            .at(self.now + 500 * MS, crate::queue::Happening::Audit);
        for client in 0..self.actors.len() {
            self.audit_client(client);
        }
        self.audit_turns();
        self.audit_stalls();
        if self.stretch != crate::world::Stretch::Chaos {
            self.go_on_healing();
        }
    }

    fn audit_client(&mut self, client: usize) {
        let actor = &self.actors[client];
        if actor.gone || !actor.started || actor.asleep_until.is_some() {
            return;
        }
        let now = self.now;
        let view = &actor.view;
        if let Some((wait, since)) = view.wait
            && !actor.leaving
            && view.over.is_none()
            && now > since + 5 * SECOND + 600 * MS
            // It may have gone on under another name, and been told then.
            && view.wait_told_at < since
            && (view.wait_told_at == 0 || now > view.wait_told_at + 41 * SECOND)
        {
            let what = format!("client {client} waits ({wait:?}) since {}", since / MS);
            return self.breaks("a long wait is told", what);
        }
        // A log that keeps coming over a slow way may be waited for, as a place in line may.
        let comes = actor.carrier.map_or(0, |link| {
            let lane = &self.links[link].down;
            let is_slow = lane.rate.is_some() && lane.dead_since.is_none();
            if is_slow { lane.last_at } else { 0 }
        });
        if let Some((Wait::Connecting, since)) = view.wait
            && now > since.max(actor.well_since).max(comes) + 40 * SECOND
        {
            let what = format!("client {client} connects since {}", since / MS);
            return self.breaks("a first connect is bounded", what);
        }
        if let Some(lost_at) = view.lost_at {
            let from = lost_at.max(actor.well_since).max(self.unwell_at);
            if now > from + 42 * SECOND {
                let what = format!("client {client} is lost since {} ms", lost_at / MS);
                return self.breaks("recovery is bounded", what);
            }
            if let Some(give_up) = self.mix.give_up.filter(|_| actor.group != BYSTANDERS) {
                let from = lost_at.max(actor.view.wait.map_or(0, |(_, since)| since));
                let replays = actor
                    .carrier
                    .is_some_and(|link| self.links[link].client_open);
                if now > from + give_up + 2 * SECOND && !replays {
                    let what = format!("client {client} is lost since {} ms", lost_at / MS);
                    return self.breaks("a recovery is given up in time", what);
                }
            }
        }
        self.audit_live(client);
        self.audit_media(client);
        self.audit_commands(client);
    }

    /// No client is live on a connection that is dead.
    fn audit_live(&mut self, client: usize) {
        let actor = &self.actors[client];
        let (Some(link), Some(_)) = (actor.carrier, actor.view.live_since) else {
            return;
        };
        let wire = &self.links[link];
        let Some(dead) = wire.down.dead_since else {
            return;
        };
        let woke = actor.well_since;
        if wire.client_open && self.now > dead.max(woke) + 7 * SECOND + 1_500 * MS {
            let what = format!(
                "client {client} is live, #{link} is dead since {}",
                dead / MS
            );
            self.breaks("live is honest", what);
        }
    }

    fn audit_commands(&mut self, client: usize) {
        let late = self.actors[client].open_commands.iter().find(|local| {
            let asked = &self.asked[**local as usize];
            !asked.waits_told && self.now > asked.at + 5 * SECOND + 600 * MS
        });
        if let Some(local) = late {
            self.breaks(
                "a long wait is told",
                format!("client {client}: command {local}"),
            );
        }
    }

    /// Nobody is shown as live whose program has long been silent: that is told after 5 s.
    fn audit_stalls(&mut self) {
        let now = self.now;
        if now < self.unwell_at + 10 * SECOND {
            return;
        }
        let silent = |since: u64| now > since + 5 * SECOND + 2 * SECOND;
        let stuck: Vec<(usize, SessionId, u64)> = self
            .servers
            .iter()
            .enumerate()
            .filter(|(_, server)| server.up && !server.draining)
            .flat_map(|(at, server)| server.programs.values().map(move |program| (at, program)))
            .filter(|(_, program)| program.stalled && !program.cancelled && !program.ended)
            .filter(|(_, program)| silent(program.heard_at))
            .map(|(at, program)| (at, program.session.clone(), program.heard_at))
            .collect();
        for (server, session, since) in stuck {
            for client in 0..self.actors.len() {
                self.check_stall_shown(client, server, &session, since);
            }
        }
    }

    fn check_stall_shown(&mut self, client: usize, server: usize, session: &SessionId, since: u64) {
        let actor = &self.actors[client];
        let awake = actor.started && !actor.gone && actor.asleep_until.is_none();
        let (Some(link), Some(live_since)) =
            (actor.carrier.filter(|_| awake), actor.view.live_since)
        else {
            return;
        };
        let wire = &self.links[link];
        let lane = &wire.down;
        let flows = lane.dead_since.is_none() && lane.rate.is_none() && lane.held_until <= self.now;
        let here = wire.server == server && wire.client_open && wire.server_open && flows;
        let steady = self.now > live_since.max(actor.well_since) + 2 * SECOND;
        if here && steady && actor.view.session.as_ref() == Some(session) {
            let what = format!(
                "client {client} is live, its program is silent since {} ms",
                since / MS
            );
            self.breaks("live is honest", what);
        }
    }

    fn audit_turns(&mut self) {
        // Accepted turns wait for each other; begun ones have clocks.
        let bound = 12 * SECOND + 10 * SECOND + 12 * SECOND;
        let (now, unwell) = (self.now, self.unwell_at);
        let late = self.store.archives().find_map(|(session, archive)| {
            let mut turns = archive.turns.iter();
            turns
                .find(|(_, turn)| {
                    let from = turn.begun_at.unwrap_or(now);
                    !turn.ended && now > from.max(unwell) + bound
                })
                .map(|(turn, _)| format!("{turn} of {session}"))
        });
        if let Some(late) = late {
            self.breaks("a turn ends within its limits", late);
        }
    }
}
