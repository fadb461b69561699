//! A scripted server across encoded bytes, and what clients do in each of its moods.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "tests pick out what they look for"
)]

mod commands;
mod connecting;
mod ending;
mod log;
mod losing;
mod media;
mod migrating;
mod property;
mod resumes;
mod statuses;
mod suspecting;
mod traces;
mod waiting;

use std::time::Duration;

use keel_wire::{
    Beat, BeatPlan, ClientFrame, CloseCode, Code, Command, Cursor, Ended, Epoch, EventFrame, Fault,
    FaultCode, FaultFrame, FaultId, Goaway, Hello, Joined, Origin, ParticipantId, Receipt,
    ReceiptBody, Replayed, Retry, Role, Say, Seq, ServerFrame, SessionId, SessionLimits, State,
    Status, Welcome, codec::Decoded, limits::FRAME_IN_BYTES_MAX,
};
use serde_json::json;

use super::*;

pub(super) const SUSPECT_MS: u64 = 7_000;
pub(super) const BEAT_MS: u64 = 3_000;
/// Orders about media that one input may lead to.
const ORDERS_MAX: usize = 12;

/// A client, a clock, and all that came out.
pub(super) struct Rig {
    pub(super) client: Client,
    pub(super) now: Now,
    pub(super) out: Outputs,
    /// Everything since the start, which the laws are checked on.
    pub(super) all: Outputs,
    /// Where it is recorded.
    trace: Option<usize>,
}

pub(super) fn config() -> Config {
    Config::new("wss://a", TokenSource::Fixed("token".into()))
}

pub(super) fn seq(n: u64) -> Seq {
    Seq::new(n).expect("small")
}

pub(super) fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

pub(super) fn fault(code: Code) -> Fault {
    Fault::new(FaultId::from_bits(7), code, Origin::Server, 1)
}

pub(super) fn fault_frame(code: Code) -> ServerFrame {
    FaultFrame { fault: fault(code) }.into()
}

pub(super) fn say(text: &str) -> Command {
    Say { text: text.into() }.into()
}

pub(super) fn live() -> Status {
    Status {
        state: State::Live,
        fault: None,
        legs: Vec::new(),
        injected: Vec::new(),
        since: 0,
    }
}

pub(super) fn welcome(how: Joined, head: u64, consumed: u64) -> Welcome {
    Welcome {
        session: SessionId::from_bits(1),
        participant: ParticipantId::from_bits(1),
        role: Role::Owner,
        how,
        resume_key: "key".into(),
        resume_window_ms: 120_000,
        cursor: Cursor {
            epoch: Epoch(seq(1)),
            seq: seq(head),
        },
        consumed: seq(consumed),
        beat: BeatPlan {
            every_ms: BEAT_MS,
            suspect_ms: SUSPECT_MS,
        },
        limits: SessionLimits {
            frame_bytes: FRAME_IN_BYTES_MAX as u64,
            commands: 64,
            frames_per_s: 200,
        },
        params: json!({}),
        params_version: Seq::ZERO,
        status: live(),
        peer: None,
        ice_servers: Vec::new(),
    }
}

pub(super) fn event(at: u64) -> ServerFrame {
    event_frame(at, at, "from.the.future", &json!({ "at": at })).into()
}

pub(super) fn event_frame(from: u64, to: u64, kind: &str, data: &serde_json::Value) -> EventFrame {
    EventFrame {
        from: seq(from),
        to: seq(to),
        kind: kind.into(),
        data: keel_wire::RawData::from_value(data),
    }
}

pub(super) fn beat(n: u64, at: u64) -> ServerFrame {
    Beat {
        n: seq(n),
        seq: seq(at),
        suspect_ms: None,
        pace_ms: None,
    }
    .into()
}

pub(super) fn goaway(target: Option<&str>) -> ServerFrame {
    Goaway {
        reason: "deploy".into(),
        deadline_ms: 10_000,
        target: target.map(str::to_owned),
    }
    .into()
}

pub(super) fn ended(reason: EndReason) -> ServerFrame {
    Ended { reason, at: 1 }.into()
}

pub(super) fn receipt(n: u64) -> ServerFrame {
    Receipt {
        n: seq(n),
        body: ReceiptBody::ok(),
    }
    .into()
}

pub(super) fn close(code: u16) -> ConnEnd {
    ConnEnd::Close {
        code: CloseCode(code),
        reason: String::new(),
    }
}

pub(super) fn refused() -> ConnEnd {
    ConnEnd::DialFailed {
        kind: DialFailure::Refused,
        message: "refused".into(),
    }
}

impl Rig {
    pub(super) fn new(config: Config) -> Self {
        let mono = Instant::from_micros(1_000_000);
        let trace = traces::begin(&config, 1);
        Self {
            client: Client::new(config, 1),
            now: Now { mono, wall: 1_000 },
            out: Vec::new(),
            all: Vec::new(),
            trace,
        }
    }

    /// Connected, live, with nothing in the log.
    pub(super) fn live() -> Self {
        Self::live_with(config())
    }

    pub(super) fn live_with(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.input(Input::Connect);
        let conn = rig.dialed();
        rig.opened(conn);
        rig.welcomed(conn, welcome(Joined::Created, 0, 0));
        rig.take();
        rig
    }

    pub(super) fn input(&mut self, input: Input) {
        let told = self.trace.map(|_| input.clone());
        let before = self.out.len();
        self.client.handle(self.now, input, &mut self.out);
        if let Some(told) = told {
            traces::step(
                self.trace,
                &self.client,
                self.now,
                &told,
                &self.out[before..],
            );
        }
        let orders = self.out[before..].iter();
        let orders = orders.filter(|output| matches!(output, Output::Media(_)));
        assert!(orders.count() <= ORDERS_MAX, "{:?}", &self.out[before..]);
        for output in &self.out {
            if let Output::Status(status) = output {
                assert_eq!(status.check(), None);
            }
        }
    }

    /// The outputs since the last call.
    pub(super) fn take(&mut self) -> Outputs {
        self.all.extend(self.out.iter().cloned());
        std::mem::take(&mut self.out)
    }

    pub(super) fn opened(&mut self, conn: ConnId) {
        self.input(Input::Opened { conn });
    }

    pub(super) fn frame(&mut self, conn: ConnId, frame: impl Into<ServerFrame>) {
        let bytes = frame.into().encode();
        self.input(Input::Frame { conn, bytes });
    }

    pub(super) fn closed(&mut self, conn: ConnId, end: ConnEnd) {
        self.input(Input::Closed { conn, end });
    }

    pub(super) fn welcomed(&mut self, conn: ConnId, welcome: Welcome) {
        let to = welcome.cursor.seq;
        self.frame(conn, Box::new(welcome));
        self.frame(conn, Replayed { to });
    }

    pub(super) fn command(&mut self, local: u64, text: &str, ttl: Option<Duration>) {
        let command = say(text);
        self.input(Input::Command {
            local,
            command,
            ttl,
        });
    }

    /// Moves time on, ticking at each deadline on the way.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        let mut at_once = 0;
        while let Some(deadline) = self.client.deadline().filter(|deadline| deadline.at <= end) {
            at_once = if deadline.at <= self.now.mono {
                at_once + 1
            } else {
                0
            };
            assert!(at_once < 8, "spins: {deadline:?}");
            self.set(deadline.at.max(self.now.mono));
            self.input(Input::Tick);
        }
        self.set(end);
    }

    /// Moves the clocks without running anything.
    pub(super) fn set(&mut self, mono: Instant) {
        self.now.wall += mono.ms_since(self.now.mono);
        self.now.mono = mono;
    }

    /// The connection that was dialed last.
    pub(super) fn dialed(&self) -> ConnId {
        self.dials().last().expect("dialed").0
    }

    pub(super) fn dials(&self) -> Vec<(ConnId, String)> {
        let of = |output: &Output| match output {
            Output::Dial { conn, address } => Some((*conn, address.clone())),
            _ => None,
        };
        self.all.iter().chain(&self.out).filter_map(of).collect()
    }

    pub(super) fn sent(&self, to: ConnId) -> Vec<ClientFrame> {
        let of = |output: &Output| match output {
            Output::Send { conn, bytes } if *conn == to => {
                match ClientFrame::decode(bytes, FRAME_IN_BYTES_MAX) {
                    Ok(Decoded::Known(frame)) => Some(frame),
                    other => panic!("sent {other:?}"),
                }
            }
            _ => None,
        };
        self.all.iter().chain(&self.out).filter_map(of).collect()
    }

    pub(super) fn hello(&self, conn: ConnId) -> Hello {
        let of = |frame| match frame {
            ClientFrame::Hello(hello) => Some(*hello),
            _ => None,
        };
        self.sent(conn)
            .into_iter()
            .find_map(of)
            .expect("said hello")
    }

    /// Numbers and texts of the commands sent on a connection.
    pub(super) fn commands(&self, conn: ConnId) -> Vec<u64> {
        let of = |frame: &ClientFrame| match frame {
            ClientFrame::Command(command) => Some(command.n.get()),
            _ => None,
        };
        self.sent(conn).iter().filter_map(of).collect()
    }

    pub(super) fn events(&self) -> Vec<&Event> {
        fn of(output: &Output) -> Option<&Event> {
            match output {
                Output::Event(event) => Some(event),
                _ => None,
            }
        }
        self.all.iter().chain(&self.out).filter_map(of).collect()
    }

    pub(super) fn lost(&self) -> Vec<String> {
        let of = |event: &Event| match event {
            Event::ConnectionLost { fault, .. } => Some(fault.code.name().to_owned()),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    pub(super) fn recoveries(&self) -> Vec<(keel_wire::Strategy, u32)> {
        let of = |event: &Event| match event {
            Event::Recovered {
                strategy, attempts, ..
            } => Some((*strategy, *attempts)),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    /// The fault that it failed with, once.
    pub(super) fn failed(&self) -> Option<Fault> {
        let of = |event: &Event| match event {
            Event::Failed(fault) => Some((**fault).clone()),
            _ => None,
        };
        let failed: Vec<_> = self.events().into_iter().filter_map(of).collect();
        assert!(failed.len() <= 1, "failed {} times", failed.len());
        failed.into_iter().next()
    }

    pub(super) fn failed_code(&self) -> Option<FaultCode> {
        self.failed().map(|fault| fault.code)
    }

    pub(super) fn ended(&self) -> Vec<EndReason> {
        let of = |event: &Event| match event {
            Event::Ended { reason } => Some(*reason),
            _ => None,
        };
        self.events().into_iter().filter_map(of).collect()
    }

    pub(super) fn receipts(&self) -> Vec<(u64, &CommandOutcome)> {
        fn of(output: &Output) -> Option<(u64, &CommandOutcome)> {
            match output {
                Output::Receipt { local, outcome } => Some((*local, outcome)),
                _ => None,
            }
        }
        self.all.iter().chain(&self.out).filter_map(of).collect()
    }

    /// Answers the dial under way as a server that resumes.
    pub(super) fn answer(&mut self, how: Joined, head: u64, consumed: u64) -> ConnId {
        let conn = self.dialed();
        self.opened(conn);
        self.welcomed(conn, welcome(how, head, consumed));
        conn
    }

    pub(super) fn state(&self) -> &State {
        &self.client.status().state
    }
}

pub(super) fn after(ms: u64) -> Retry {
    Retry::After { ms }
}
