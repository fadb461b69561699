//! What goes into a Node and what comes out of it.
//!
//! Inputs are facts of the outside world, outputs only what leaves the machine. A shell performs
//! outputs in order and answers each that asks something by exactly one input, whatever happens:
//! a store that hangs is answered late, never not at all.

use std::{sync::Arc, time::Duration};

use keel_wire::{
    Action, ActionId, AgentView, CancelStep, CloseCode, Code, Fault, FaultCode, FaultId, Grant,
    HandoverId, Retry, Seq, SessionId, TurnId, UnixMillis,
    handover::Handover,
    journal,
    record::{Batch, Loaded, SessionRow, StoredEvent},
};
use serde_json::{Map, Value};

use super::{Answer, Ask, Delivered, Giving, Load, MediaFact, MediaOrder, Misplaced, Progress};

/// One transport, as the shell numbers them. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One attempt at a turn, as the Node numbers them. Never used twice by one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// One question of the shell's own (an HTTP request), as it numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// How a transport ended, as the shell saw it once its input was drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnEnd {
    /// A close frame was received.
    Close {
        /// Its code; [`CloseCode::NONE`] if it had none.
        code: CloseCode,
        /// Its reason.
        reason: String,
    },
    /// The stream ended without a close frame.
    Eof,
    /// The stream broke.
    Broken {
        /// The operating system's word for it.
        error: String,
    },
}

/// What became of a commit that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitFailure {
    /// Nothing was written.
    NotWritten {
        /// The store's word for it.
        error: String,
    },
    /// It may have been written or not.
    Unknown {
        /// The store's word for it.
        error: String,
    },
    /// Another server has the right to write this session.
    Fenced,
    /// The log does not end where this server believes.
    Conflict,
}

/// Why a session could not be read.
#[derive(Debug, Clone, PartialEq)]
pub enum LoadFailure {
    /// The store is busy, or fails: another try can help.
    Busy {
        /// The store's word for it.
        error: String,
    },
    /// What is kept of it makes no sense: no try can help, a backup can.
    Broken {
        /// The store's word for it.
        error: String,
    },
    /// It was handed over to another server.
    Moved {
        /// Where clients find it.
        address: String,
        /// What it was: who may not enter it does not learn where it is.
        row: Box<SessionRow>,
    },
}

/// What a run says.
#[derive(Debug, Clone, PartialEq)]
pub enum RunOutput {
    /// The program is there.
    Started,
    /// Text of the answer.
    Text(String),
    /// Anything else of the answer.
    Item(Value),
    /// The program began its answer anew; what it said before is superseded.
    NewAttempt {
        /// Why, as far as it said.
        failure: RunFailure,
    },
    /// It failed, and tries again in a while.
    Retrying {
        /// In so many milliseconds.
        in_ms: u64,
        /// Why.
        failure: RunFailure,
    },
    /// It waits for somebody.
    NeedsAction(Action),
    /// It keeps the conversation under a name of its own.
    Bound {
        /// The provider's kind.
        provider: String,
        /// The name.
        id: String,
    },
    /// A step on the way to its end, after it was asked to stop.
    Cancelling(CancelStep),
    /// It has taken the first of the words that it was given by [`Output::SteerRun`].
    WordsTaken,
    /// It is alive, and has nothing to say.
    Alive,
}

/// Why a run failed: becomes a fault of the turn.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFailure {
    /// What happened.
    pub code: Code,
    /// A sentence for a person.
    pub message: String,
    /// Facts for a program.
    pub detail: Map<String, Value>,
    /// Whether to come back, where there is more to say than the code does.
    pub retry: Option<Retry>,
    /// What led to it.
    pub causes: Vec<Fault>,
}

impl From<Fault> for RunFailure {
    /// What a provider's fault says of itself; the Node says the rest.
    fn from(fault: Fault) -> Self {
        let code = match fault.code {
            FaultCode::Known(code) => code,
            FaultCode::Unknown(_) => Code::ProviderProtocol,
        };
        Self {
            code,
            message: fault.message,
            detail: fault.detail,
            retry: Some(fault.retry).filter(|retry| *retry != code.retry()),
            causes: fault.cause,
        }
    }
}

/// How a run ended. Exactly one a run, by construction of the shell.
#[derive(Debug, Clone, PartialEq)]
pub enum RunEnd {
    /// The answer is complete.
    Done {
        /// Why it stopped, in the program's own word.
        stop_reason: Option<String>,
    },
    /// It is not.
    Failed(RunFailure),
    /// It was stopped because the Node asked for it.
    Cancelled {
        /// It did not stop when asked, and was killed.
        forced: bool,
    },
}

/// What a run needs to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    /// The session.
    pub session: SessionId,
    /// What serves it.
    pub backend: String,
    /// The turn.
    pub turn: TurnId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What was asked.
    pub prompt: String,
    /// The params in force.
    pub params: Value,
    /// Where the session's programs work.
    pub cwd: Option<String>,
    /// The agent's own name for the conversation, where one told it.
    pub bound: Option<AgentView>,
    /// What was said before lies in the log below this position.
    pub history_to: Seq,
    /// Turns that the provider is not to remember: they were replaced, or broke what answered them.
    pub forget: Vec<TurnId>,
}

/// A fact of the outside world.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The server has opened its store; nothing else comes before it.
    Start,
    /// A WebSocket is open.
    Opened {
        /// The transport.
        conn: ConnId,
    },
    /// A text message has arrived.
    Frame {
        /// The transport.
        conn: ConnId,
        /// What it said.
        bytes: Vec<u8>,
    },
    /// What has arrived is no text message: binary, or not UTF-8.
    NotText {
        /// The transport.
        conn: ConnId,
    },
    /// Bytes of earlier [`Output::Send`]s were taken by the transport.
    Flushed {
        /// The transport.
        conn: ConnId,
        /// How many.
        bytes: usize,
    },
    /// The transport is gone, and its input is drained.
    Lost {
        /// The transport.
        conn: ConnId,
        /// How.
        end: ConnEnd,
    },
    /// Answers [`Output::Place`]: the directory as it is to be used, or why it is not.
    Placed {
        /// The transport.
        conn: ConnId,
        /// The verdict.
        place: Result<String, Misplaced>,
    },
    /// Answers [`Output::Verify`].
    Verified {
        /// The transport.
        conn: ConnId,
        /// What the token allows, or why it allows nothing.
        verdict: Result<Grant, Code>,
    },
    /// Answers [`Output::Recover`].
    Recovered {
        /// Sessions with an open turn or a slot.
        rows: Result<Vec<SessionRow>, String>,
    },
    /// Answers [`Output::Load`].
    Loaded {
        /// The session.
        session: SessionId,
        /// All of it, if it is there.
        loaded: Result<Option<Box<Loaded>>, LoadFailure>,
    },
    /// Answers [`Output::Commit`].
    Committed {
        /// The session.
        session: SessionId,
        /// The commit's number.
        n: u64,
    },
    /// Answers [`Output::Commit`].
    CommitFailed {
        /// The session.
        session: SessionId,
        /// The commit's number.
        n: u64,
        /// What became of it.
        failure: CommitFailure,
    },
    /// Answers [`Output::Head`].
    Head {
        /// The session.
        session: SessionId,
        /// Where its log ends; `None` if it is not there.
        head: Result<Option<Seq>, String>,
    },
    /// Answers [`Output::Read`].
    Page {
        /// The transport that it was read for.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// The events, in order.
        events: Result<Vec<StoredEvent>, String>,
    },
    /// A run says something.
    RunOutput {
        /// The run.
        run: RunId,
        /// What.
        output: RunOutput,
    },
    /// A run is over, and nothing of it is left.
    RunEnded {
        /// The run.
        run: RunId,
        /// How.
        end: RunEnd,
    },
    /// What became of media.
    Media(MediaFact),
    /// A question of the shell's own.
    Ask {
        /// Names it.
        ask: AskId,
        /// What.
        question: Ask,
    },
    /// A token is no longer good; connections that came with it are closed.
    Revoked {
        /// Its id.
        token_id: String,
    },
    /// Take no new work, move the old, stop.
    Drain {
        /// Within this.
        within: Duration,
        /// Where sessions go on; absent means here, later.
        target: Option<String>,
    },
    /// Hand every session over to another server. The same again begins anew with what is still here.
    HandOver {
        /// Which, by the shell's name for it.
        peer: String,
        /// Where clients find the sessions there.
        address: String,
        /// What runs may end within this.
        within: Duration,
    },
    /// Answers [`Output::Held`].
    Held {
        /// Sessions that are here.
        sessions: Result<Vec<SessionId>, String>,
    },
    /// Answers [`Output::Mark`].
    Marked {
        /// The session.
        session: SessionId,
        /// Whether it is written; if not, it may be.
        result: Result<(), String>,
    },
    /// Answers [`Output::HandOver`].
    Delivered {
        /// The session.
        session: SessionId,
        /// The offer.
        id: HandoverId,
        /// What the other server says.
        outcome: Delivered,
    },
    /// A session of another server's was accepted, and is this one's.
    TookOver {
        /// Its row.
        row: Box<SessionRow>,
    },
    /// How much there is to do, measured a few times a second.
    Load(Load),
    /// Time has passed.
    Tick,
}

/// What leaves the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write a text message; told by [`Input::Flushed`], alone or with others.
    Send {
        /// The transport.
        conn: ConnId,
        /// The message; one encoding serves all who are sent it.
        bytes: Arc<[u8]>,
    },
    /// Write a close frame, half-close, linger, end. Answered by no further input.
    Close {
        /// The transport.
        conn: ConnId,
        /// With which code.
        code: CloseCode,
        /// For a person.
        reason: String,
    },
    /// End the transport without a word (an injected fault); answered by [`Input::Lost`], as any
    /// other loss.
    Abort {
        /// The transport.
        conn: ConnId,
    },
    /// Neither read nor write the transport any more, and leave it open (an injected fault).
    Freeze {
        /// The transport.
        conn: ConnId,
        /// How long at most; then it is broken.
        span: Duration,
    },
    /// See whether a session that a connection opens may work in that directory.
    Place {
        /// The transport.
        conn: ConnId,
        /// What is to serve the session.
        backend: String,
        /// The directory, as it was said.
        cwd: String,
    },
    /// Check a token.
    Verify {
        /// The transport.
        conn: ConnId,
        /// The token.
        token: String,
    },
    /// Read which sessions have an open turn or a slot, a page at a time.
    Recover {
        /// Behind this one.
        after: Option<SessionId>,
        /// So many.
        limit: usize,
    },
    /// Read a session.
    Load {
        /// Which.
        session: SessionId,
    },
    /// Write a batch; one at a time for each session.
    Commit {
        /// The session.
        session: SessionId,
        /// Names it, growing.
        n: u64,
        /// What.
        batch: Arc<Batch>,
    },
    /// Read where a log ends, after a commit whose outcome is unknown.
    Head {
        /// Which.
        session: SessionId,
    },
    /// Read events.
    Read {
        /// For this transport.
        conn: ConnId,
        /// Of this session.
        session: SessionId,
        /// Behind this position.
        after: Seq,
        /// At most so many.
        events: usize,
        /// At most so many bytes, but at least one event.
        bytes: usize,
    },
    /// Drop what lies at or below a position; a stored snapshot stands in for it.
    Trim {
        /// Of this session.
        session: SessionId,
        /// Up to here.
        through: Seq,
    },
    /// Begin a run; answered by [`Input::RunOutput`]s and one [`Input::RunEnded`].
    Run {
        /// Names it.
        run: RunId,
        /// What it needs.
        request: Box<RunRequest>,
    },
    /// A run's output was committed: as many more bytes may be read from it.
    Credit {
        /// The run.
        run: RunId,
        /// How many.
        bytes: usize,
    },
    /// Ask a run to stop, and make it stop soon after.
    CancelRun {
        /// The run.
        run: RunId,
    },
    /// Stop a run at once.
    KillRun {
        /// The run.
        run: RunId,
    },
    /// Say something into a run, of a backend that steers; told by [`RunOutput::WordsTaken`] when it
    /// is taken.
    SteerRun {
        /// The run.
        run: RunId,
        /// What.
        text: String,
    },
    /// The session is over, or leaves this server: nothing that its provider keeps for it is needed
    /// any more.
    Release {
        /// The session.
        session: SessionId,
        /// What served it.
        backend: String,
    },
    /// Do not read a run for a while (an injected fault).
    StallRun {
        /// The run.
        run: RunId,
        /// How long.
        span: Duration,
    },
    /// Pass an answer on to a run.
    AnswerRun {
        /// The run.
        run: RunId,
        /// What it waited for.
        action: ActionId,
        /// The answer.
        answer: Value,
    },
    /// Do something about media.
    Media(MediaOrder),
    /// Make the store refuse for a while (an injected fault).
    FailStore {
        /// How long.
        span: Duration,
        /// The fault's id.
        injected: FaultId,
    },
    /// Give inputs of connections and callers late for a while (an injected fault).
    DelayInputs {
        /// How long.
        span: Duration,
        /// How late each is.
        late: Duration,
    },
    /// Read which sessions are here and have not ended, a page at a time.
    Held {
        /// Behind this one.
        after: Option<SessionId>,
        /// So many.
        limit: usize,
    },
    /// Write where a session stands with being handed over; what has moved is deleted with it.
    Mark {
        /// The session.
        session: SessionId,
        /// The mark.
        handover: Box<Handover>,
    },
    /// Give a session to another server, or ask whether it has it.
    HandOver(Box<Giving>),
    /// Every session that is to leave has left or stays, and nobody is left on those that left.
    HandedOver(Progress),
    /// Count it, log it, and keep it for the session when there is time.
    Journal {
        /// The session.
        session: SessionId,
        /// What happened.
        entry: Box<journal::Entry>,
    },
    /// The answer to an [`Input::Ask`].
    Reply {
        /// Which.
        ask: AskId,
        /// The answer.
        answer: Answer,
    },
    /// Everything is settled and told: the process may end.
    Drained {
        /// When the Node began to drain, by the wall clock.
        since: UnixMillis,
    },
}

/// Outputs, in the order in which they are to be performed.
pub type Outputs = Vec<Output>;
