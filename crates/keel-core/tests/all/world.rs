//! A Node, the smallest store that keeps its promises, and connections that speak in frames.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use keel_core::{
    Instant, Now,
    node::{
        Backend, CommitFailure, Config, ConnEnd, ConnId, Delivered, Giving, Input, LoadFailure,
        Node, Output, Progress, RunEnd, RunId, RunOutput, RunRequest,
    },
};
use keel_wire::{
    ActionId, Admission, ClientFrame, CloseCode, Code, Command, CommandFrame, Epoch, Event, Fault,
    Grant, Hello, History, InstanceId, RawData, Receipt, Resume, Role, Seq, ServerFrame, SessionId,
    StreamId, StreamState, Welcome,
    codec::Decoded,
    handover::{Handover, Mark},
    journal::Fact,
    limits::FRAME_OUT_BYTES_MAX,
    record::{Batch, Fence, Loaded, LoadedStream, SessionRow, StoredEvent, StoredSnapshot},
};
use serde_json::Value;

pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

#[derive(Debug, Clone)]
struct Kept {
    row: SessionRow,
    events: Vec<StoredEvent>,
    snapshot: Option<StoredSnapshot>,
    streams: BTreeMap<StreamId, LoadedStream>,
}

/// How the store takes marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum MarkMood {
    #[default]
    Well,
    Refuses,
    /// It writes, and does not answer: the server dies then.
    Silent,
}

/// How the store answers commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreMood {
    Well,
    Refuses,
    /// It writes, and says that it does not know.
    WritesUnknown,
    /// It does not write, and says that it does not know.
    LosesUnknown,
    /// It does not answer until told.
    Holds,
}

#[derive(Debug, Default)]
pub(crate) struct Line {
    pub(crate) frames: Vec<ServerFrame>,
    pub(crate) closed: Option<CloseCode>,
    pub(crate) bytes_unflushed: usize,
    pub(crate) takes: bool,
}

pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) config: Config,
    pub(crate) now: Now,
    kept: BTreeMap<SessionId, Kept>,
    pub(crate) handovers: BTreeMap<SessionId, Handover>,
    pub(crate) mark_mood: MarkMood,
    /// Sessions that are to be given to another server.
    pub(crate) givings: Vec<Giving>,
    pub(crate) handed_over: Option<Progress>,
    pub(crate) mood: StoreMood,
    held: VecDeque<(SessionId, u64, Batch)>,
    /// How the store answers who reads a session, and how often it was asked to.
    pub(crate) load_failure: Option<LoadFailure>,
    pub(crate) loads: usize,
    /// Pages are not answered until told.
    pub(crate) holds_pages: bool,
    /// Nor are sessions that are to be read.
    pub(crate) holds_loads: bool,
    pages: Vec<Input>,
    /// What is killed is gone when the test says so.
    pub(crate) kills_slowly: bool,
    pub(crate) lines: BTreeMap<ConnId, Line>,
    pub(crate) runs: Vec<(RunId, RunRequest)>,
    pub(crate) stopped: Vec<(RunId, bool)>,
    /// Killed, and told to be over.
    pub(crate) gone: Vec<RunId>,
    pub(crate) credit: BTreeMap<RunId, usize>,
    /// What was said into runs.
    pub(crate) steered: Vec<(RunId, String)>,
    /// What runs were answered.
    pub(crate) answered: Vec<(ActionId, Value)>,
    pub(crate) released: Vec<(SessionId, String)>,
    pub(crate) facts: Vec<Fact>,
    /// What the media plane was told to do.
    pub(crate) orders: Vec<keel_core::node::MediaOrder>,
    pub(crate) replies: Vec<keel_core::node::Answer>,
    pub(crate) drained: bool,
    pub(crate) grant: Grant,
    next_conn: u64,
    lives: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            fence: Fence(1),
            epoch: Epoch(seq(1)),
            secret: [7; 32],
            backends: [("echo".to_owned(), Backend::default())].into(),
            default_backend: "echo".to_owned(),
            resume_window: Duration::from_secs(120),
            hibernate_after: Duration::from_secs(30),
            retain_events: 1_000_000,
            frames_per_s: 200,
            faults: true,
            ice: None,
        };
        change(&mut config);
        let grant = Grant {
            subject: "ada".into(),
            role: Role::Owner,
            session: None,
            backends: None,
            project: None,
            session_ms_max: None,
            expires: u64::MAX,
            token_id: None,
            may_inject: true,
            admin: false,
        };
        let mut world = Self {
            node: Node::new(config.clone(), 1),
            config,
            now: Now {
                mono: Instant::from_micros(1),
                wall: 1_000_000,
            },
            kept: BTreeMap::new(),
            handovers: BTreeMap::new(),
            mark_mood: MarkMood::Well,
            givings: Vec::new(),
            handed_over: None,
            mood: StoreMood::Well,
            held: VecDeque::new(),
            load_failure: None,
            loads: 0,
            holds_pages: false,
            holds_loads: false,
            pages: Vec::new(),
            kills_slowly: false,
            lines: BTreeMap::new(),
            runs: Vec::new(),
            stopped: Vec::new(),
            gone: Vec::new(),
            credit: BTreeMap::new(),
            steered: Vec::new(),
            answered: Vec::new(),
            released: Vec::new(),
            facts: Vec::new(),
            orders: Vec::new(),
            replies: Vec::new(),
            drained: false,
            grant,
            next_conn: 1,
            lives: 0,
        };
        world.input(Input::Start);
        world
    }

    /// The process is killed and started again over the same store.
    pub(crate) fn crash(&mut self) {
        // No two lives mint the same ids.
        self.lives += 1;
        let seed = (self.lives << 48) + self.now.mono.micros() + 7;
        self.node = Node::new(self.config.clone(), seed);
        self.held.clear();
        self.lines.clear();
        self.runs.clear();
        self.gone.clear();
        self.givings.clear();
        self.handed_over = None;
        self.input(Input::Start);
    }

    /// The store forgets everything above a position, as a restored backup does.
    pub(crate) fn rewind_store(&mut self, session: &SessionId, to: u64) {
        let kept = self.kept.get_mut(session).unwrap();
        kept.events.retain(|event| event.to <= seq(to));
        kept.row.head = seq(to);
    }

    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.kept.keys().cloned().collect()
    }

    pub(crate) fn log(&self, session: &SessionId) -> Vec<Event> {
        let events = self.kept[session].events.iter();
        events
            .map(|e| Event::decode(&e.kind, e.data.get()).unwrap().unwrap())
            .collect()
    }

    pub(crate) fn kept_sessions(&self) -> Vec<SessionId> {
        self.kept.keys().cloned().collect()
    }

    pub(crate) fn row(&self, session: &SessionId) -> SessionRow {
        self.kept[session].row.clone()
    }

    pub(crate) fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.node.handle(self.now, input, &mut out);
            for output in out {
                self.perform(output, &mut inputs);
            }
        }
    }

    /// Moves time on, stopping wherever the Node wants to be called.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        let wall = self.now.wall + u64::try_from(span.as_millis()).unwrap();
        let mut spins = 0;
        loop {
            let next = self.node.deadline().filter(|deadline| deadline.at <= end);
            let Some(deadline) = next else { break };
            spins = if deadline.at <= self.now.mono {
                spins + 1
            } else {
                0
            };
            assert!(
                spins < 100,
                "the deadline {:?} does not advance",
                deadline.why
            );
            self.now.mono = self.now.mono.max(deadline.at);
            self.input(Input::Tick);
        }
        self.now = Now { mono: end, wall };
        self.input(Input::Tick);
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::Media(order) => self.orders.push(order),
            Output::Send { conn, bytes } => {
                let line = self
                    .lines
                    .get_mut(&conn)
                    .expect("sent to a line that is open");
                assert!(line.closed.is_none(), "nothing is sent after the close");
                let Decoded::Known(frame) =
                    ServerFrame::decode(&bytes, FRAME_OUT_BYTES_MAX).expect("clients read it")
                else {
                    panic!("unknown frame")
                };
                line.frames.push(frame);
                if line.takes {
                    inputs.push_back(Input::Flushed {
                        conn,
                        bytes: bytes.len(),
                    });
                } else {
                    line.bytes_unflushed += bytes.len();
                }
            }
            Output::Close { conn, code, .. } => {
                self.lines.get_mut(&conn).unwrap().closed = Some(code);
            }
            Output::Abort { conn } => {
                let end = ConnEnd::Broken {
                    error: "reset".into(),
                };
                inputs.push_back(Input::Lost { conn, end });
            }
            Output::Place { conn, cwd, .. } => {
                // What the shell makes of a path; one outside is refused.
                let place = match cwd.strip_prefix("/link/") {
                    Some(rest) => Ok(format!("/real/{rest}")),
                    None => Err(keel_core::node::Misplaced {
                        code: Code::PermissionDenied,
                        message: "outside".into(),
                    }),
                };
                inputs.push_back(Input::Placed { conn, place });
            }
            Output::Verify { conn, token } => {
                let verdict = if token == "bad" {
                    Err(Code::Unauthenticated)
                } else {
                    Ok(self.grant.clone())
                };
                inputs.push_back(Input::Verified { conn, verdict });
            }
            Output::Recover { after, limit } => {
                let open = self.kept.values().map(|kept| kept.row.clone());
                let offered = |row: &SessionRow| {
                    let kept = self.handovers.get(&row.session).map(|kept| &kept.mark);
                    matches!(kept, Some(Mark::Offered { .. }))
                };
                let rows = open
                    .filter(|row| {
                        !row.ended && (row.open_turn || row.slot.is_some()) || offered(row)
                    })
                    .filter(|row| after.as_ref().is_none_or(|after| row.session > *after))
                    .take(limit)
                    .collect();
                inputs.push_back(Input::Recovered { rows: Ok(rows) });
            }
            Output::Load { session } => {
                let loaded = self.kept.get(&session).map(|kept| {
                    let above = kept.snapshot.as_ref().map_or(Seq::ZERO, |s| s.seq);
                    let events = kept.events.iter().filter(|e| e.to > above).cloned();
                    Box::new(Loaded {
                        row: kept.row.clone(),
                        snapshot: kept.snapshot.clone(),
                        events: events.collect(),
                        streams: kept.streams.values().cloned().collect(),
                        handover: self.handovers.get(&session).cloned(),
                    })
                });
                self.loads += 1;
                let loaded = match self.handovers.get(&session).map(|kept| &kept.mark) {
                    Some(Mark::Moved { address, row, .. }) => Err(LoadFailure::Moved {
                        address: address.clone(),
                        row: row.clone(),
                    }),
                    Some(_) | None => self.load_failure.clone().map_or(Ok(loaded), Err),
                };
                let loaded = Input::Loaded { session, loaded };
                if self.holds_loads {
                    self.pages.push(loaded);
                } else {
                    inputs.push_back(loaded);
                }
            }
            Output::Commit { session, n, batch } => {
                self.commit(session, n, (*batch).clone(), inputs);
            }
            Output::Head { session } => {
                let head = self.kept.get(&session).map(|kept| kept.row.head);
                inputs.push_back(Input::Head {
                    session,
                    head: Ok(head),
                });
            }
            Output::Read {
                conn,
                session,
                after,
                events,
                ..
            } => {
                let page = self.kept[&session]
                    .events
                    .iter()
                    .filter(|event| event.to > after);
                let page = page.take(events).cloned().collect();
                let page = Input::Page {
                    conn,
                    session,
                    events: Ok(page),
                };
                if self.holds_pages {
                    self.pages.push(page);
                } else {
                    inputs.push_back(page);
                }
            }
            Output::Trim { session, through } => {
                let kept = self.kept.get_mut(&session).unwrap();
                assert!(
                    kept.snapshot
                        .as_ref()
                        .is_some_and(|snapshot| snapshot.seq >= through)
                );
                kept.events.retain(|event| event.from > through);
                kept.row.trimmed = through;
            }
            Output::Held { after, limit } => {
                let here = self.kept.values().filter(|kept| !kept.row.ended);
                let ids = here.map(|kept| kept.row.session.clone());
                let page = ids.filter(|id| after.as_ref().is_none_or(|after| id > after));
                inputs.push_back(Input::Held {
                    sessions: Ok(page.take(limit).collect()),
                });
            }
            Output::Mark { session, handover } => {
                let result = match self.mark_mood {
                    MarkMood::Refuses => Err("full".to_owned()),
                    MarkMood::Well | MarkMood::Silent => {
                        if matches!(handover.mark, Mark::Moved { .. }) {
                            self.kept.remove(&session);
                        }
                        self.handovers.insert(session.clone(), *handover);
                        Ok(())
                    }
                };
                if self.mark_mood != MarkMood::Silent {
                    inputs.push_back(Input::Marked { session, result });
                }
            }
            Output::HandOver(giving) => self.givings.push(*giving),
            Output::HandedOver(progress) => self.handed_over = Some(progress),
            Output::Run { run, request } => self.runs.push((run, *request)),
            Output::Credit { run, bytes } => *self.credit.entry(run).or_default() += bytes,
            Output::CancelRun { run } => self.stopped.push((run, false)),
            Output::KillRun { run } => {
                self.stopped.push((run, true));
                // A shell knows nothing of what it was never told to begin.
                let known = self.runs.iter().any(|(begun, _)| *begun == run);
                if known && !self.kills_slowly {
                    self.gone.push(run);
                    inputs.push_back(Input::RunEnded {
                        run,
                        end: RunEnd::Cancelled { forced: false },
                    });
                }
            }
            Output::Journal { entry, .. } => {
                let broken = matches!(entry.fact, Fact::AuditFailed { .. });
                assert!(!broken, "a law does not hold: {:?}", entry.fact);
                self.facts.push(entry.fact);
            }
            Output::Reply { answer, .. } => self.replies.push(answer),
            Output::Drained { .. } => self.drained = true,
            Output::SteerRun { run, text } => self.steered.push((run, text)),
            Output::Release { session, backend } => self.released.push((session, backend)),
            Output::AnswerRun { action, answer, .. } => self.answered.push((action, answer)),
            Output::Freeze { .. }
            | Output::StallRun { .. }
            | Output::FailStore { .. }
            | Output::DelayInputs { .. } => {}
        }
    }

    fn commit(&mut self, session: SessionId, n: u64, batch: Batch, inputs: &mut VecDeque<Input>) {
        let error = "disk full".to_owned();
        let failure = match self.mood {
            StoreMood::Well => None,
            StoreMood::Refuses => Some(CommitFailure::NotWritten { error }),
            StoreMood::WritesUnknown => {
                self.write(&batch);
                Some(CommitFailure::Unknown { error })
            }
            StoreMood::LosesUnknown => Some(CommitFailure::Unknown { error }),
            StoreMood::Holds => return self.held.push_back((session, n, batch)),
        };
        if let Some(failure) = failure {
            return inputs.push_back(Input::CommitFailed {
                session,
                n,
                failure,
            });
        }
        self.write(&batch);
        inputs.push_back(Input::Committed { session, n });
    }

    fn write(&mut self, batch: &Batch) {
        let id = &batch.row.session;
        assert_eq!(
            self.kept.get(id).map(|kept| kept.row.head),
            batch.expected,
            "one writer"
        );
        let kept = self.kept.entry(id.clone()).or_insert_with(|| Kept {
            row: batch.row.clone(),
            events: Vec::new(),
            snapshot: None,
            streams: BTreeMap::new(),
        });
        let mut next = kept.row.head.next();
        if batch.expected.is_none() {
            next = seq(1);
        }
        for event in &batch.events {
            assert_eq!(event.from, next, "a log has no holes");
            next = event.to.next();
        }
        kept.row = batch.row.clone();
        kept.events.extend(batch.events.iter().cloned());
        if let Some(snapshot) = &batch.snapshot {
            kept.snapshot = Some((**snapshot).clone());
        }
        for row in &batch.streams {
            let fresh = LoadedStream {
                row: row.clone(),
                receipts: Vec::new(),
            };
            let stream = kept.streams.entry(row.stream.clone()).or_insert(fresh);
            stream.row = row.clone();
            stream.receipts.retain(|(n, _)| *n > row.receipts_ack);
        }
        for receipt in &batch.receipts {
            let stream = kept
                .streams
                .get_mut(&receipt.stream)
                .expect("its stream's row is there");
            stream.receipts.push((receipt.n, receipt.body.clone()));
        }
        for stream in &batch.streams_dropped {
            kept.streams.remove(stream);
        }
    }

    /// What another server's store makes of an offer of this one's session: the rule of stores.
    pub(crate) fn receive(&mut self, from: &Self, giving: &Giving) -> Delivered {
        let (id, moves) = (giving.offer.session.clone(), giving.offer.moves);
        let offer = giving.offer.id.clone();
        let known = self.handovers.get(&id);
        if known.is_some_and(|known| known.mark == Mark::Received { id: offer.clone() }) {
            return Delivered::Accepted;
        }
        let declined = |why: &str| Delivered::Declined {
            why: why.to_owned(),
        };
        if known.is_some_and(|known| known.moves >= moves) || self.kept.contains_key(&id) {
            return declined("past");
        }
        let mark = if giving.settle {
            Mark::Declined
        } else {
            Mark::Received { id: offer }
        };
        let key = (!giving.settle).then_some(giving.key);
        self.handovers
            .insert(id.clone(), Handover { moves, key, mark });
        if giving.settle {
            return declined("never came");
        }
        let kept = from.kept[&id].clone();
        let row = Box::new(kept.row.clone());
        self.kept.insert(id, kept);
        self.input(Input::TookOver { row });
        Delivered::Accepted
    }

    /// The store does the first commit that it held back, and goes on holding.
    pub(crate) fn release_one(&mut self) {
        if let Some((session, n, batch)) = self.held.pop_front() {
            self.write(&batch);
            self.input(Input::Committed { session, n });
        }
    }

    /// The store answers with the pages and the sessions that it held back.
    pub(crate) fn release_pages(&mut self) {
        (self.holds_pages, self.holds_loads) = (false, false);
        for page in std::mem::take(&mut self.pages) {
            self.input(page);
        }
    }

    /// The store answers what it held back.
    pub(crate) fn release(&mut self) {
        self.mood = StoreMood::Well;
        while let Some((session, n, batch)) = self.held.pop_front() {
            self.write(&batch);
            self.input(Input::Committed { session, n });
        }
    }

    // Connections.

    pub(crate) fn open(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.lines.insert(
            conn,
            Line {
                takes: true,
                ..Line::default()
            },
        );
        self.input(Input::Opened { conn });
        conn
    }

    pub(crate) fn say_hello(&mut self, conn: ConnId, hello: Hello) {
        self.send(conn, Box::new(hello));
    }

    pub(crate) fn send(&mut self, conn: ConnId, frame: impl Into<ClientFrame>) {
        self.raw(conn, frame.into().encode());
    }

    pub(crate) fn raw(&mut self, conn: ConnId, bytes: Vec<u8>) {
        if self.lines[&conn].closed.is_none() {
            self.input(Input::Frame { conn, bytes });
        }
    }

    pub(crate) fn reset(&mut self, conn: ConnId) {
        self.input(Input::Lost {
            conn,
            end: ConnEnd::Broken {
                error: "reset".into(),
            },
        });
    }

    pub(crate) fn connect(&mut self, tab: &Tab) -> ConnId {
        let conn = self.open();
        self.say_hello(conn, tab.hello());
        conn
    }

    pub(crate) fn command(&mut self, conn: ConnId, n: u64, command: impl Into<Command>) {
        let command = command.into();
        let frame = CommandFrame {
            n: seq(n),
            name: command.name().to_owned(),
            ttl_ms: None,
            receipts_ack: Seq::ZERO,
            data: RawData::trusted(command.encode_data()),
        };
        self.send(conn, frame);
    }

    pub(crate) fn say(&mut self, conn: ConnId, n: u64, text: &str) {
        self.command(
            conn,
            n,
            keel_wire::Say {
                text: text.to_owned(),
            },
        );
    }

    pub(crate) fn text(&mut self, text: &str) {
        let run = self.runs.last().expect("a run").0;
        self.input(Input::RunOutput {
            run,
            output: RunOutput::Text(text.to_owned()),
        });
    }

    pub(crate) fn finish(&mut self, end: RunEnd) {
        let run = self.runs.last().expect("a run").0;
        self.input(Input::RunEnded { run, end });
    }

    pub(crate) fn done(&mut self) {
        self.finish(RunEnd::Done { stop_reason: None });
    }

    // What was seen.

    pub(crate) fn welcome(&self, conn: ConnId) -> Welcome {
        let found = self.lines[&conn]
            .frames
            .iter()
            .find_map(|frame| match frame {
                ServerFrame::Welcome(welcome) => Some((**welcome).clone()),
                _ => None,
            });
        found.unwrap_or_else(|| panic!("no welcome: {:?}", self.lines[&conn].frames))
    }

    pub(crate) fn gap(&self, conn: ConnId) -> keel_wire::Gap {
        let found = self.lines[&conn]
            .frames
            .iter()
            .find_map(|frame| match frame {
                ServerFrame::Gap(gap) => Some((**gap).clone()),
                _ => None,
            });
        found.unwrap_or_else(|| panic!("no gap: {:?}", self.lines[&conn].frames))
    }

    pub(crate) fn receipts(&self, conn: ConnId) -> Vec<Receipt> {
        let frames = self.lines[&conn].frames.iter();
        frames
            .filter_map(|frame| match frame {
                ServerFrame::Receipt(receipt) => Some(receipt.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn faults(&self, conn: ConnId) -> Vec<Fault> {
        let frames = self.lines[&conn].frames.iter();
        frames
            .filter_map(|frame| match frame {
                ServerFrame::Fault(fault) => Some(fault.fault.clone()),
                _ => None,
            })
            .collect()
    }

    /// The events that a connection was sent, which must follow each other.
    pub(crate) fn events(&self, conn: ConnId) -> Vec<(Seq, Event)> {
        let mut next: Option<Seq> = None;
        let mut events = Vec::new();
        for frame in &self.lines[&conn].frames {
            match frame {
                ServerFrame::Event(event) => {
                    assert!(next.is_none_or(|next| next == event.from), "holes are gaps");
                    next = Some(event.to.next());
                    let decoded = Event::decode(&event.kind, event.data.get())
                        .unwrap()
                        .unwrap();
                    events.push((event.to, decoded));
                }
                ServerFrame::Gap(gap) => next = Some(gap.to.next()),
                _ => {}
            }
        }
        events
    }

    /// The text that a connection was sent.
    pub(crate) fn heard(&self, conn: ConnId) -> String {
        let events = self.events(conn);
        let texts = events.iter().filter_map(|(_, event)| match event {
            Event::Text(text) => Some(text.data.as_str()),
            _ => None,
        });
        texts.collect()
    }
}

/// One SDK instance, as far as a hello tells.
#[derive(Debug, Clone)]
pub(crate) struct Tab {
    pub(crate) hello: Hello,
}

impl Tab {
    pub(crate) fn new(n: u128) -> Self {
        let stream = StreamState {
            id: StreamId::from_bits(n),
            next: seq(1),
            receipts_ack: Seq::ZERO,
        };
        Self {
            hello: Hello {
                token: "good".into(),
                instance: InstanceId::from_bits(n),
                attempt: 1,
                session: None,
                backend: None,
                project: None,
                busy: None,
                role: Role::Owner,
                admission: Admission::Fail,
                history: History::All,
                resume: None,
                stream,
                params: None,
                sdk: "test".into(),
                evidence: None,
                title: None,
                cwd: None,
                tags: Vec::new(),
            },
        }
    }

    pub(crate) fn hello(&self) -> Hello {
        self.hello.clone()
    }

    pub(crate) fn of(mut self, session: &SessionId) -> Self {
        self.hello.session = Some(session.clone());
        self
    }

    pub(crate) fn role(mut self, role: Role) -> Self {
        self.hello.role = role;
        self
    }

    /// As this instance says hello on its next connection.
    pub(crate) fn again(&self, welcome: &Welcome, applied: u64) -> Self {
        let mut tab = self.clone();
        tab.hello.attempt += 1;
        tab.hello.session = Some(welcome.session.clone());
        tab.hello.resume = Some(Resume {
            participant: welcome.participant.clone(),
            key: welcome.resume_key.clone(),
            cursor: keel_wire::Cursor {
                epoch: welcome.cursor.epoch,
                seq: seq(applied),
            },
            strategy: keel_wire::Strategy::Fast,
        });
        tab
    }
}
