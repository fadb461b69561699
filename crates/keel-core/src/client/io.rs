//! What goes into a client and what comes out of it.
//!
//! An input that names a connection the client does not know (any more) changes nothing: bytes of a
//! superseded connection cannot reach the session.

use std::time::Duration;

use keel_wire::{
    CloseCode, Command, Cursor, EndReason, Ephemeral, Fault, Joined, ParticipantId, Phase, Range,
    RawData, ReceiptBody, Role, Seq, SessionId, Snapshot, Status, Strategy, WaitingFor,
};
use serde_json::Value;

use super::media::{MediaInput, MediaOrder};

/// A transport, named by the client when it asks for it; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What the shell tells the client.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Connect; after a failure, connect again.
    Connect,
    /// The upgrade is done.
    Opened {
        /// Which transport.
        conn: ConnId,
    },
    /// One WebSocket message.
    Frame {
        /// From which transport.
        conn: ConnId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A transport is at its end, and everything that it had received was told before.
    Closed {
        /// Which.
        conn: ConnId,
        /// How.
        end: ConnEnd,
    },
    /// Ask something of the session. Answered by exactly one [`Output::Receipt`].
    Command {
        /// The caller's name for it.
        local: u64,
        /// What.
        command: Command,
        /// Not to be run later than this.
        ttl: Option<Duration>,
    },
    /// Something about the transport for media.
    Media(MediaInput),
    /// A token, asked for by [`Output::FetchToken`] or fresh; or why there is none.
    Token(Result<String, String>),
    /// The system says whether there is a network.
    Network {
        /// Whether.
        online: bool,
    },
    /// The page is visible again, the machine woke: have a look.
    Probe,
    /// Leave; the session's work goes on.
    Detach,
    /// Drop everything at once.
    Close,
    /// Break something on purpose.
    Simulate(Simulate),
    /// The deadline has come.
    Tick,
}

/// How a transport ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnEnd {
    /// There never was one.
    DialFailed {
        /// Why.
        kind: DialFailure,
        /// The system's own words.
        message: String,
    },
    /// The other side closed it.
    Close {
        /// With this code; 1005 where it gave none.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
    /// It ended without a close frame.
    Eof,
    /// It was reset.
    Reset,
    /// Nothing can be written any more. What is still to be read may follow for a moment.
    WriteFailed,
    /// It broke in another way.
    Other {
        /// The system's own words.
        message: String,
    },
}

/// Why there is no transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody listens.
    Refused,
    /// Nobody answered.
    Timeout,
    /// The name leads nowhere.
    Dns,
    /// The certificate is not good, or the handshake broke.
    Tls(TlsFailure),
    /// Somebody answered with something else.
    NotWebSocket {
        /// The HTTP status.
        status: u16,
        /// When to come back, if that was said.
        retry_after: Option<Duration>,
    },
    /// Anything else.
    Other,
}

/// Why there is no TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come; or it has, and this machine's clock is wrong.
    NotYetValid,
    /// It is the certificate of another name.
    WrongHost,
    /// It leads to no root that is trusted here.
    Untrusted,
    /// Anything else.
    Handshake,
}

impl TlsFailure {
    /// Its name, as faults have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongHost => "wrong_host",
            Self::Untrusted => "untrusted",
            Self::Handshake => "handshake",
        }
    }
}

/// What a client can break on purpose, by the paths of the real faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Simulate {
    /// The transport is gone.
    DropTransport,
    /// The transport stays open, and nothing gets through it either way.
    HalfOpen,
    /// So many of the frames that come next are lost.
    LoseFrames {
        /// How many.
        count: u32,
    },
}

/// What the client asks of the shell, or tells the application.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A token is needed: [`Input::Token`].
    FetchToken,
    /// Open a transport.
    Dial {
        /// Its name from now on.
        conn: ConnId,
        /// Where to.
        address: String,
    },
    /// Send one WebSocket text message.
    Send {
        /// On this transport.
        conn: ConnId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Drop a transport and forget it.
    Hangup {
        /// Which.
        conn: ConnId,
        /// With this close code, where one is worth sending.
        code: Option<CloseCode>,
    },
    /// Do something about media.
    Media(MediaOrder),
    /// What became of a command.
    Receipt {
        /// The caller's name for it.
        local: u64,
        /// What.
        outcome: CommandOutcome,
    },
    /// Something happened.
    Event(Event),
    /// The status has changed.
    Status(Box<Status>),
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandOutcome {
    /// The server answered.
    Answered(ReceiptBody),
    /// It was never sent, and will not be.
    Refused(Box<Fault>),
    /// It was sent, and nobody knows what became of it: the session was given up before an answer came,
    /// or the server has forgotten.
    Unknown(Box<Fault>),
}

/// What the application is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Connected for the first time. Nothing of the session is told before this.
    Joined(Box<Membership>),
    /// A fact of the log, in order and once.
    Log {
        /// The positions that it covers.
        range: Range,
        /// The fact.
        event: LogEvent,
    },
    /// Positions that were not delivered.
    Gap {
        /// Which.
        range: Range,
        /// Why; absent where a snapshot was asked for.
        fault: Option<Box<Fault>>,
        /// What stands in for them.
        snapshot: Box<Snapshot>,
    },
    /// Told without a sequence.
    Ephemeral(Ephemeral),
    /// Media is lost, or something of it is; what is done about it is in the status.
    MediaLost {
        /// The first cause.
        fault: Box<Fault>,
    },
    /// Everything that is expected flows again.
    MediaRecovered {
        /// What had to be rebuilt: `fast` the way, if anything, `rejoin` the transport.
        strategy: Strategy,
        /// Steps taken meanwhile; it may have come back without any of them.
        attempts: u32,
        /// Milliseconds from being told.
        lost_ms: u64,
    },
    /// Something is wrong, and the connection goes on.
    Fault(Box<Fault>),
    /// The connection is lost, or suspected to be; what is done about it is in the status.
    ConnectionLost {
        /// Which.
        conn: ConnId,
        /// The first cause.
        fault: Box<Fault>,
    },
    /// One try at getting it back came to nothing.
    AttemptFailed {
        /// What was to be rebuilt.
        strategy: Strategy,
        /// The try, from 1.
        attempt: u32,
        /// Why.
        fault: Box<Fault>,
    },
    /// The session is as it was, and what was missed has been delivered.
    Recovered {
        /// What had to be rebuilt.
        strategy: Strategy,
        /// Tries begun meanwhile; the connection may have come back without any of them.
        attempts: u32,
        /// Milliseconds from being told; 0 for a move without a loss.
        lost_ms: u64,
        /// Events that were delivered late.
        replayed: u64,
    },
    /// In line for a slot.
    Queued {
        /// Place in line, from 1.
        position: u32,
        /// How long the line is.
        of: u32,
    },
    /// The server will stop.
    Goaway {
        /// Why.
        reason: String,
        /// In so many milliseconds.
        deadline_ms: u64,
        /// Where the session goes on, if that is known.
        target: Option<String>,
    },
    /// Over, on purpose. Nothing follows.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// Over, by a fault. Nothing follows until [`Input::Connect`].
    Failed(Box<Fault>),
    /// The other side said something that was passed over.
    ProtocolNotice(Notice),
    /// A wait goes on.
    StillWaiting {
        /// For what.
        because: Because,
        /// For how long already.
        for_ms: u64,
    },
}

/// A fact of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// Of a kind known here.
    Known(keel_wire::Event),
    /// Of a kind that is not, or not of the kind's shape.
    Unknown {
        /// The kind.
        kind: String,
        /// The kind's own.
        data: RawData,
    },
}

/// What the first welcome said.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The session.
    pub session: SessionId,
    /// Who this client is in it.
    pub participant: ParticipantId,
    /// As what.
    pub role: Role,
    /// How it came in.
    pub how: Joined,
    /// The end of the log at that time.
    pub cursor: Cursor,
    /// The params in force.
    pub params: Value,
    /// Their version.
    pub params_version: Seq,
}

/// What was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A frame of a type that is not known here.
    UnknownFrame {
        /// Its type.
        name: String,
    },
    /// An event whose data is not what its kind wants; it was told raw.
    MalformedEvent {
        /// Its kind.
        kind: String,
        /// What is wrong.
        message: String,
    },
    /// [`Input::Simulate`] found nothing to break.
    NothingToBreak,
}

/// What a wait is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// A first connect, which has come this far.
    Connecting(Phase),
    /// A slot.
    Queued,
    /// A recovery, of the connection or of media, and what it waits for in turn.
    Recovering(Option<WaitingFor>),
    /// The receipt of a command.
    Receipt {
        /// The caller's name for it.
        local: u64,
    },
}
