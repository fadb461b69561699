//! One function from any bytes to a Node that lived through them, and the laws that held.
//!
//! The bytes are a program of a few operations: connections that say hello, resume, send commands
//! and junk, and are lost; time; a store that refuses, forgets and does not know; providers that
//! speak and end; crashes. `cargo test` runs it over the committed corpus and mutations of it;
//! `fuzz/` gives the same function to libFuzzer. It must not know what the Node does inside.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use keel_core::{
    audit,
    node::{
        Ask, AskId, Backend, Capacity, ConnEnd, ConnId, Input, RunEnd, RunFailure, RunId,
        RunOutput, SlotKind,
    },
};
use keel_wire::{
    Ack, Beat, BusyPolicy, ClientFrame, CloseCode, Code, Command, CommandFrame, Detach, Event,
    RawData, ReceiptBody, Role, Seq, ServerFrame, SessionId, Snapshot, StreamId, Welcome,
    journal::Fact,
};

use crate::world::{StoreMood, Tab, World, seq};

/// Operations of one program; what comes behind them is not read.
const STEPS_MAX: usize = 400;
/// Instances that say hello.
const TABS: usize = 4;

/// What is still to be read; at its end everything is zero.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// One instance, as far as it remembers.
struct Instance {
    tab: Tab,
    conn: Option<ConnId>,
    welcome: Option<Welcome>,
    next: u64,
    /// It has sent what nobody numbered, so its numbers prove nothing.
    lies: bool,
}

struct Life {
    world: World,
    instances: Vec<Instance>,
    /// Which stream the receipts of a connection are of.
    streams: BTreeMap<ConnId, StreamId>,
    over: BTreeSet<RunId>,
    asked: u64,
}

/// Lives through `bytes` and checks what must hold, whatever they are.
pub(crate) fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let mut life = Life::new(bytes.next());
    for _ in 0..STEPS_MAX {
        if bytes.0.is_empty() {
            break;
        }
        life.step(&mut bytes);
    }
    life.settle();
    life.check();
}

impl Life {
    fn new(variant: u8) -> Self {
        let world = World::with(|config| {
            // A panic is a law broken, not a wish fulfilled.
            config.faults = false;
            config.retain_events = if variant & 1 == 0 { 1_000_000 } else { 20 };
            let backend = Backend {
                capacity: (variant & 2 != 0).then(|| Capacity {
                    kind: if variant & 4 == 0 {
                        SlotKind::Session
                    } else {
                        SlotKind::Turn
                    },
                    slots: 1,
                    queue: usize::from(variant >> 6),
                }),
                busy: match variant >> 3 & 0b101 {
                    0 => BusyPolicy::Reject,
                    1 => BusyPolicy::Queue { max: 2 },
                    4 => BusyPolicy::Steer,
                    _ => BusyPolicy::Replace,
                },
                steers: variant & 64 != 0,
                attempts: u32::from(variant >> 4 & 1) + 1,
                ..Backend::default()
            };
            config.backends.insert("echo".to_owned(), backend);
        });
        let instances = (0..TABS).map(|at| Instance {
            tab: Tab::new(at as u128 + 1),
            conn: None,
            welcome: None,
            next: 1,
            lies: false,
        });
        Self {
            world,
            instances: instances.collect(),
            streams: BTreeMap::new(),
            over: BTreeSet::new(),
            asked: 0,
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let at = usize::from(bytes.next()) % TABS;
        match bytes.next() % 20 {
            0 | 1 => self.hello(at, bytes.next()),
            2..=4 => self.command(at, bytes),
            5 => {
                self.instances[at].lies = true;
                let count = usize::from(bytes.next());
                self.say_raw(at, bytes.take(count).to_vec());
            }
            6 => self.say_nearly(at, bytes),
            7 => self.say_small(at, bytes),
            8 => self.lose(at, bytes.next()),
            9 | 10 => self.pass(bytes.next()),
            11..=13 => self.provider_says(bytes),
            14 => {
                self.world.mood = match bytes.next() % 5 {
                    0 => StoreMood::Refuses,
                    1 => StoreMood::WritesUnknown,
                    2 => StoreMood::LosesUnknown,
                    3 => StoreMood::Holds,
                    _ => StoreMood::Well,
                };
            }
            15 => match bytes.next() % 4 {
                0 => self.world.release(),
                1 => self.world.release_one(),
                2 => self.world.release_pages(),
                _ => self.world.holds_pages = true,
            },
            16 => self.crash(),
            17 => self.flow(at, bytes.next()),
            18 => self.ask(at, bytes.next()),
            _ => self.world.kills_slowly = bytes.next().is_multiple_of(2),
        }
        self.remember();
    }

    /// The connection, as long as the shell would pass on what it says.
    fn conn(&self, at: usize) -> Option<ConnId> {
        let conn = self.instances[at].conn?;
        let line = self.world.lines.get(&conn)?;
        line.closed.is_none().then_some(conn)
    }

    fn hello(&mut self, at: usize, how: u8) {
        let conn = match self.conn(at).filter(|_| how & 1 != 0) {
            // A second hello on one connection.
            Some(conn) => conn,
            None => self.world.open(),
        };
        let session = self.some_session(usize::from(how >> 5));
        let instance = &mut self.instances[at];
        let mut tab = match &instance.welcome {
            Some(welcome) if how & 2 == 0 => {
                let applied = welcome.cursor.seq.get() / u64::from(how >> 6 | 1);
                instance.tab.again(welcome, applied)
            }
            Some(_) | None => instance.tab.clone(),
        };
        if how & 4 != 0 && tab.hello.session.is_none() {
            tab.hello.session = session;
        }
        if how & 8 != 0 {
            tab.hello.role = Role::Viewer;
        }
        if how & 16 != 0 {
            tab.hello.admission = keel_wire::Admission::Wait { max_ms: None };
        }
        tab.hello.stream.next = seq(instance.next);
        instance.tab.hello.attempt += 1;
        instance.conn = Some(conn);
        let stream = tab.hello.stream.id.clone();
        self.streams.insert(conn, stream);
        self.world.say_hello(conn, tab.hello);
    }

    fn some_session(&self, at: usize) -> Option<SessionId> {
        let welcome = self.instances[at % TABS].welcome.as_ref();
        welcome.map(|welcome| welcome.session.clone())
    }

    fn a_command(&self, kind: u8) -> Command {
        let turn = self
            .world
            .runs
            .last()
            .map(|(_, request)| request.turn.clone());
        match kind % 6 {
            0 | 1 => keel_wire::Say {
                text: format!("prompt {kind}"),
            }
            .into(),
            2 => keel_wire::Send { data: kind.into() }.into(),
            3 => keel_wire::SetParams {
                patch: serde_json::json!({ "a": kind }),
            }
            .into(),
            4 => keel_wire::CancelTurn {
                turn: turn.filter(|_| kind & 64 == 0),
            }
            .into(),
            _ if kind > 240 => keel_wire::EndSession {}.into(),
            _ if kind > 120 => {
                let turns = self.world.runs.iter().map(|(_, request)| &request.turn);
                let some = turns.rev().nth(usize::from(kind) / 6 % 4).cloned();
                let turn = some.unwrap_or_else(|| keel_wire::TurnId::from_bits(1));
                match kind / 6 % 3 {
                    0 => keel_wire::RetryTurn { turn }.into(),
                    1 => keel_wire::ContinueTurn { turn }.into(),
                    _ => keel_wire::PromoteTurn { turn }.into(),
                }
            }
            _ => keel_wire::Answer {
                turn: turn.unwrap_or_else(|| keel_wire::TurnId::from_bits(1)),
                action: keel_wire::ActionId::from_bits(1),
                answer: kind.into(),
            }
            .into(),
        }
    }

    fn frame_of(&mut self, at: usize, kind: u8, step: u8) -> ClientFrame {
        let command = self.a_command(kind);
        let instance = &mut self.instances[at];
        let n = match step % 8 {
            // Again, left out, or far away.
            0 => instance.next.saturating_sub(1).max(1),
            1 => instance.next + 2,
            2 => 1 << 40,
            _ => instance.next,
        };
        instance.next = instance.next.max(n + 1).min(1 << 20);
        CommandFrame {
            n: seq(n),
            name: command.name().to_owned(),
            ttl_ms: (step & 64 != 0).then_some(u64::from(step)),
            receipts_ack: if step & 128 == 0 {
                Seq::ZERO
            } else {
                seq(instance.next / 2)
            },
            data: RawData::trusted(command.encode_data()),
        }
        .into()
    }

    fn command(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let frame = self.frame_of(at, bytes.next(), bytes.next());
        self.say_raw(at, frame.encode());
    }

    fn say_raw(&mut self, at: usize, frame: Vec<u8>) {
        if let Some(conn) = self.conn(at) {
            self.world.raw(conn, frame);
        }
    }

    /// A frame that is right but for a few bytes.
    fn say_nearly(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        self.instances[at].lies = true;
        let mut frame = self.frame_of(at, bytes.next(), bytes.next()).encode();
        for _ in 0..=bytes.next() % 4 {
            let index = usize::from(bytes.next()) % frame.len();
            frame[index] = bytes.next();
        }
        self.say_raw(at, frame);
    }

    fn say_small(&mut self, at: usize, bytes: &mut Bytes<'_>) {
        let n = seq(u64::from(bytes.next()));
        let frame = match bytes.next() % 3 {
            0 => Ack { seq: n }.into(),
            1 => Beat {
                n,
                seq: n,
                suspect_ms: None,
                pace_ms: None,
            }
            .into(),
            _ => ClientFrame::from(Detach {}),
        };
        self.say_raw(at, frame.encode());
    }

    fn lose(&mut self, at: usize, how: u8) {
        let Some(conn) = self.conn(at) else { return };
        let end = match how % 4 {
            0 => ConnEnd::Eof,
            1 => ConnEnd::Broken {
                error: "reset".into(),
            },
            2 => return self.world.input(Input::NotText { conn }),
            _ => ConnEnd::Close {
                code: CloseCode(1000 + u16::from(how)),
                reason: String::new(),
            },
        };
        self.instances[at].conn = None;
        self.world.input(Input::Lost { conn, end });
        // Of a connection that it was told has gone, the Node says no more.
        if let Some(line) = self.world.lines.get_mut(&conn) {
            line.closed.get_or_insert(CloseCode::NONE);
        }
    }

    fn pass(&mut self, how: u8) {
        let ms = match how {
            0..=127 => u64::from(how),
            128..=200 => u64::from(how - 127) * 100,
            201..=250 => u64::from(how - 200) * 2_000,
            251..=255 => u64::from(how - 250) * 200_000,
        };
        self.world.pass(Duration::from_millis(ms));
    }

    fn is_over(&self, run: RunId) -> bool {
        self.over.contains(&run) || self.world.gone.contains(&run)
    }

    fn provider_says(&mut self, bytes: &mut Bytes<'_>) {
        let (pick, what) = (usize::from(bytes.next()), bytes.next());
        let live = self.live();
        let Some(run) = live.get(pick % live.len().max(1)).copied() else {
            return;
        };
        let failure = || RunFailure {
            code: Code::ProviderCrashed,
            message: "it crashed".into(),
            detail: serde_json::Map::new(),
            retry: None,
            causes: Vec::new(),
        };
        let output = match what % 14 {
            0..=4 => RunOutput::Text("x".repeat(usize::from(what))),
            5 => RunOutput::Item(what.into()),
            6 => RunOutput::Started,
            7 => RunOutput::NewAttempt { failure: failure() },
            8 => RunOutput::NeedsAction(keel_wire::Action {
                id: keel_wire::ActionId::from_bits(1),
                prompt: "well?".into(),
                options: Vec::new(),
                choices: Vec::new(),
                tool_call: None,
            }),
            9 => RunOutput::Text("y".repeat(40_000)),
            10 => return self.finish(run, RunEnd::Done { stop_reason: None }),
            11 => RunOutput::WordsTaken,
            12 => RunOutput::Cancelling(keel_wire::CancelStep::Terminating),
            _ => return self.finish(run, RunEnd::Failed(failure())),
        };
        self.world.input(Input::RunOutput { run, output });
    }

    fn finish(&mut self, run: RunId, end: RunEnd) {
        self.over.insert(run);
        self.world.input(Input::RunEnded { run, end });
    }

    fn live(&self) -> Vec<RunId> {
        let runs = self.world.runs.iter().map(|(run, _)| *run);
        runs.filter(|run| !self.is_over(*run)).collect()
    }

    fn crash(&mut self) {
        self.world.crash();
        self.world.stopped.clear();
        self.over.clear();
        self.streams.clear();
        for instance in &mut self.instances {
            instance.conn = None;
        }
    }

    /// The transport takes nothing, or again everything.
    fn flow(&mut self, at: usize, how: u8) {
        let Some(conn) = self.conn(at) else { return };
        let Some(line) = self.world.lines.get_mut(&conn) else {
            return;
        };
        line.takes = how & 1 == 0;
        if line.takes {
            let bytes = std::mem::take(&mut line.bytes_unflushed);
            if bytes > 0 {
                self.world.input(Input::Flushed { conn, bytes });
            }
        }
    }

    fn ask(&mut self, at: usize, what: u8) {
        let grant = self.world.grant.clone();
        let session = self
            .some_session(at)
            .unwrap_or_else(|| SessionId::from_bits(7));
        let question = match what % 8 {
            0 => Ask::Census,
            1..=3 => Ask::Command {
                session,
                grant,
                key: format!("key-{}", what >> 4),
                command: self.a_command(what),
            },
            4 if what > 200 => Ask::End { session, grant },
            _ => Ask::Status { session },
        };
        self.asked += 1;
        let ask = AskId(self.asked);
        self.world.input(Input::Ask { ask, question });
    }

    fn remember(&mut self) {
        for instance in &mut self.instances {
            let line = instance.conn.and_then(|conn| self.world.lines.get(&conn));
            let welcomes = line.into_iter().flat_map(|line| &line.frames);
            let last = welcomes.rev().find_map(|frame| match frame {
                ServerFrame::Welcome(welcome) => Some((**welcome).clone()),
                _ => None,
            });
            if last.is_some() {
                instance.welcome = last;
            }
        }
    }

    /// The world is well again, everybody goes, and time passes.
    fn settle(&mut self) {
        self.world.kills_slowly = false;
        self.world.release();
        self.world.release_pages();
        for at in 0..TABS {
            self.lose(at, 0);
        }
        for round in 0..20 {
            for run in self.live() {
                self.finish(run, RunEnd::Done { stop_reason: None });
            }
            self.world.pass(Duration::from_secs(10 + round * 10));
        }
    }

    fn check(&self) {
        let panicked = |fact: &&Fact| matches!(fact, Fact::Panicked { .. });
        assert_eq!(self.world.facts.iter().find(panicked), None);
        for conn in self.world.lines.keys() {
            // Without a hole or a repetition, as it says.
            let _ = self.world.events(*conn);
        }
        self.check_receipts();
        for session in self.world.sessions() {
            let mut fold = Snapshot::default();
            let log = self.world.log(&session);
            // A log that was trimmed begins with a fold of what it has no more.
            if !matches!(log.first(), Some(Event::SessionCreated(_))) {
                continue;
            }
            for event in &log {
                assert_eq!(audit::check(&fold, event), None, "{event:?}");
                fold.apply(event);
            }
            let open = fold.turns.iter().find(|turn| turn.is_open());
            assert_eq!(open, None, "nobody runs it, and it has no end");
            assert!(!self.world.row(&session).open_turn);
        }
        let live = self.live();
        assert!(live.is_empty(), "{live:?} run on");
    }

    /// What a command came to is one thing, however often it is told.
    fn check_receipts(&self) {
        let mut told: BTreeMap<_, &ReceiptBody> = BTreeMap::new();
        let lies = |stream: &StreamId| {
            let mut liars = self.instances.iter().filter(|instance| instance.lies);
            liars.any(|instance| instance.tab.hello.stream.id == *stream)
        };
        for (conn, stream) in self.streams.iter().filter(|(_, stream)| !lies(stream)) {
            let mut session = None;
            for frame in &self.world.lines[conn].frames {
                if let ServerFrame::Welcome(welcome) = frame {
                    session = Some(&welcome.session);
                }
                let ServerFrame::Receipt(receipt) = frame else {
                    continue;
                };
                let ReceiptBody::Ok { .. } = &receipt.body else {
                    continue;
                };
                let before = told.insert((session, stream, receipt.n), &receipt.body);
                assert!(
                    before.is_none_or(|before| *before == receipt.body),
                    "{stream} {}: {before:?}, then {:?}",
                    receipt.n,
                    receipt.body
                );
            }
        }
    }
}
