//! The client machine: one session as one participant sees it, whatever becomes of its connections.
//!
//! It keeps at most two connections: the one that carries the session, and one on its way to take
//! over. The old one is given up only for a welcome on the new one. After every input the machine
//! looks at the world and plans anew (`settle`), so that a loss during a recovery cannot get lost;
//! it never acts on what it meant to do earlier.
//!
//! ```text
//! Idle ── Connect ──▶ Connecting ── welcome, queued ──▶ Standing ◀──▶ Recovering
//!                         │                                 │             │
//!                         └──────────▶ Failed, Ended ◀──────┴─────────────┘
//! ```
//!
//! A terminal state is told once, as the last output; only `Connect` leads out of `Failed`.

mod apply;
mod attempt;
mod backoff;
mod config;
mod ending;
mod frames;
mod io;
mod joining;
mod ladder;
mod liveness;
mod media;
mod outbox;
mod outcome;
mod path;
mod planner;
mod recovery;
mod show;

#[cfg(test)]
mod tests;

use keel_wire::{
    Code, Cursor, EndReason, Fault, InstanceId, Origin, ParticipantId, Seq, SessionId, Snapshot,
    Status, StreamId,
};

pub use backoff::Backoff;
pub use config::{Config, ResumeState, TokenSource};
pub use io::{
    Because, CommandOutcome, ConnEnd, ConnId, DialFailure, Event, Input, LogEvent, Membership,
    Notice, Output, Simulate, TlsFailure,
};
pub use media::{LineSample, MediaInput, MediaOrder, TransportState};
pub use planner::{Ask, Failures, Situation, Step, Why, plan};

use self::{
    apply::Fold,
    attempt::Attempt,
    ladder::{Ledger, Recovery},
    liveness::Clock,
    media::Media,
    outbox::Outbox,
    path::Path,
    show::Wait,
};
use crate::{Deadline, Instant, Mint, Now};

/// Where a client puts what it wants done.
pub type Outputs = Vec<Output>;

/// One participant's side of a session. See the module's text.
#[derive(Debug)]
pub struct Client {
    config: Config,
    mint: Mint,
    instance: InstanceId,
    token: Option<String>,
    online: bool,
    /// Transports asked for so far.
    conns: u64,
    /// Connections of this instance so far, as hello counts them.
    hellos: u32,
    /// The last that was said.
    said: u32,
    life: Life,
    /// The connection that carries the session, or did until it fell silent.
    current: Option<Path>,
    /// What is under way to get one.
    attempt: Option<Attempt>,
    seat: Option<Seat>,
    told_joined: bool,
    was_live: bool,
    /// Where `current` leads, or led.
    home: String,
    /// Where the server said that the session goes on.
    target: Option<String>,
    fold: Fold,
    outbox: Outbox,
    ledger: Ledger,
    /// How the server says the session is.
    server: Option<Box<Status>>,
    status: Status,
    clock: Clock,
    wait: Option<Wait>,
    media: Media,
    unknown_frames: u32,
}

/// What a client waits for, as far as its owner is concerned.
#[derive(Debug)]
enum Life {
    /// To be told to connect.
    Idle,
    /// A first welcome.
    Connecting {
        until: Instant,
        fault: Option<Box<Fault>>,
    },
    /// Nothing.
    Standing,
    /// To stand again.
    Recovering(Box<Recovery>),
    /// The server's `ended`.
    Detaching { until: Instant },
    /// Nothing, for ever.
    Ended { reason: EndReason },
    /// To be told to connect again.
    Failed { fault: Box<Fault> },
}

/// A participation, and the proof of it.
#[derive(Debug, Clone)]
struct Seat {
    session: SessionId,
    participant: ParticipantId,
    key: String,
    window_ms: u64,
}

/// The moment of one input, and where its outputs go.
struct Cx<'a> {
    now: Now,
    out: &'a mut Outputs,
}

impl Cx<'_> {
    fn tell(&mut self, event: Event) {
        self.out.push(Output::Event(event));
    }

    fn send(&mut self, path: &Path, bytes: Vec<u8>) {
        if !path.deaf {
            self.out.push(Output::Send {
                conn: path.conn,
                bytes,
            });
        }
    }
}

impl Client {
    /// A client that waits for [`Input::Connect`].
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let mut mint = Mint::new(seed);
        let instance = InstanceId::from_bits(mint.bits());
        let stream = StreamId::from_bits(mint.bits());
        let mut outbox = Outbox::new(stream, Seq::ZERO.next());
        let mut fold = Fold::default();
        let mut seat = None;
        if let Some(resume) = config.resume.as_deref() {
            outbox = Outbox::new(resume.stream.clone(), resume.next.max(Seq::ZERO.next()));
            fold = Fold::at(resume.cursor, resume.snapshot.clone());
            seat = Some(Seat {
                session: resume.session.clone(),
                participant: resume.participant.clone(),
                key: resume.key.clone(),
                window_ms: 0,
            });
        }
        let token = match &config.token {
            TokenSource::Fixed(token) => Some(token.clone()),
            TokenSource::Fetched => None,
        };
        Self {
            mint,
            instance,
            token,
            online: true,
            conns: 0,
            hellos: 0,
            said: 0,
            life: Life::Idle,
            current: None,
            attempt: None,
            seat,
            told_joined: false,
            was_live: false,
            home: config.addresses.first().cloned().unwrap_or_default(),
            target: None,
            fold,
            outbox,
            ledger: Ledger::default(),
            server: None,
            status: show::before_connect(),
            clock: Clock::default(),
            wait: None,
            media: Media::default(),
            unknown_frames: 0,
            config,
        }
    }

    /// Takes one input. Total: nothing that comes in can make it fail.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Outputs) {
        let cx = &mut Cx { now, out };
        if self.is_over() {
            self.handle_when_over(cx, input);
        } else {
            self.wake(cx, &input);
            self.take(cx, input);
        }
        if !self.is_over() {
            self.run_timers(cx);
        }
        if !self.is_over() {
            self.settle(cx);
        }
        if !self.is_over() {
            self.show(cx);
        }
        self.clock.promise(now, self.deadline());
    }

    /// When to call [`Client::handle`] with [`Input::Tick`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        if self.is_over() {
            return None;
        }
        let of = |(at, why)| Deadline { at, why };
        let life = match &self.life {
            Life::Connecting { until, .. } => Some((*until, "connect")),
            Life::Detaching { until } => Some((*until, "detach")),
            Life::Recovering(recovery) => self.give_up_at(recovery).map(|at| (at, "give up")),
            Life::Idle | Life::Standing | Life::Ended { .. } | Life::Failed { .. } => None,
        };
        [
            life,
            self.current.as_ref().and_then(Path::deadline),
            self.attempt.as_ref().and_then(Attempt::deadline),
            self.outbox.deadline().map(|at| (at, "command")),
            self.wait
                .as_ref()
                .map(|wait| (wait.tell_at, "still waiting")),
            self.media.deadline().map(|next| (next.at, next.why)),
        ]
        .into_iter()
        .map(|deadline| deadline.map(of))
        .fold(None, Deadline::earlier)
    }

    /// How the session is, as last told.
    #[must_use]
    pub const fn status(&self) -> &Status {
        &self.status
    }

    /// The fold of every event applied.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.fold.snapshot
    }

    /// How far the log is applied.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.fold.cursor
    }

    /// Events that came twice and were dropped.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.fold.duplicates
    }

    /// What another client needs to go on where this one is; `None` before the first welcome.
    #[must_use]
    pub fn resume_state(&self) -> Option<ResumeState> {
        let seat = self.seat.as_ref()?;
        Some(ResumeState {
            session: seat.session.clone(),
            participant: seat.participant.clone(),
            key: seat.key.clone(),
            cursor: self.fold.cursor,
            snapshot: self.fold.snapshot.clone(),
            stream: self.outbox.stream().clone(),
            next: self.outbox.next(),
        })
    }

    const fn is_over(&self) -> bool {
        matches!(self.life, Life::Ended { .. } | Life::Failed { .. })
    }

    fn take(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Connect => self.connect(cx),
            Input::Opened { conn } => self.opened(cx, conn),
            Input::Frame { conn, bytes } => self.frame(cx, conn, &bytes),
            Input::Closed { conn, end } => self.closed(cx, conn, end),
            Input::Command {
                local,
                command,
                ttl,
            } => self.command(cx, local, &command, ttl),
            Input::Media(input) => self.media(cx, input),
            Input::Token(token) => self.token(cx, token),
            Input::Network { online } => self.network(cx, online),
            Input::Probe => self.probe(cx),
            Input::Detach => self.detach(cx),
            Input::Close => self.finish(
                cx,
                Life::Ended {
                    reason: EndReason::Detached,
                },
            ),
            Input::Simulate(simulate) => self.simulate(cx, simulate),
            Input::Tick => {}
        }
    }

    fn command(
        &mut self,
        cx: &mut Cx<'_>,
        local: u64,
        command: &keel_wire::Command,
        ttl: Option<std::time::Duration>,
    ) {
        let code = match self.outbox.push(cx.now.mono, local, command, ttl) {
            Ok(()) => return,
            Err(outbox::Refusal::Full) => Code::OutboxFull,
            Err(outbox::Refusal::TooLarge) => Code::InvalidRequest,
        };
        let fault = self
            .mint
            .fault(cx.now, code, Origin::Client)
            .scope(keel_wire::Scope::Command);
        let outcome = CommandOutcome::Refused(Box::new(fault));
        cx.out.push(Output::Receipt { local, outcome });
    }
}
