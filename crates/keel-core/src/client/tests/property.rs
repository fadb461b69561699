//! Any inputs in any order, against an independent reading of the laws.

pub(super) mod media;

use std::collections::{BTreeMap, BTreeSet};

use keel_wire::{Queued, StatusFrame};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Act {
    Connect,
    Opened(u8),
    Frame(u8, u8, u64),
    Garbage(u8, Vec<u8>),
    Closed(u8, u8),
    Command(u8),
    Token(bool),
    Network(bool),
    Probe,
    Detach,
    Close,
    Simulate(u8),
    Tick(u8),
    Jump(u32, u32),
    /// Something about media: what, of which transport, counted from the last, and how much.
    Media(u8, u8, u64),
    /// The server says something that media depends on.
    MediaFrame(u8, u8, u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Connect),
        8 => (0..3_u8).prop_map(Act::Opened),
        24 => (0..3_u8, any::<u8>(), 0..12_u64).prop_map(|(conn, kind, n)| Act::Frame(conn, kind, n)),
        1 => (0..3_u8, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(conn, bytes)| Act::Garbage(conn, bytes)),
        8 => (0..3_u8, any::<u8>()).prop_map(|(conn, kind)| Act::Closed(conn, kind)),
        6 => any::<u8>().prop_map(Act::Command),
        3 => any::<bool>().prop_map(Act::Token),
        2 => any::<bool>().prop_map(Act::Network),
        2 => Just(Act::Probe),
        1 => any::<bool>().prop_map(|detach| if detach { Act::Detach } else { Act::Close }),
        1 => any::<u8>().prop_map(Act::Simulate),
        12 => any::<u8>().prop_map(Act::Tick),
        3 => (0..20_000_000_u32, 0..90_000_u32).prop_map(|(mono, wall)| Act::Jump(mono, wall)),
        16 => (any::<u8>(), 0..3_u8, 0..12_u64).prop_map(|(kind, peer, n)| Act::Media(kind, peer, n)),
        8 => (0..2_u8, any::<u8>(), 0..12_u64)
            .prop_map(|(conn, kind, n)| Act::MediaFrame(conn, kind, n)),
    ];
    proptest::collection::vec(act, 0..120)
}

fn some_frame(kind: u8, n: u64, cursor: Seq) -> ServerFrame {
    let code = Code::ALL[usize::from(kind) % Code::ALL.len()];
    match kind % 23 {
        0..=4 => Box::new(welcome(
            [
                Joined::Created,
                Joined::Joined,
                Joined::Resumed,
                Joined::Rejoined,
            ][usize::from(kind) % 4],
            n,
            n / 2,
        ))
        .into(),
        5 | 6 => Replayed { to: seq(n) }.into(),
        7..=9 => event(cursor.next().get()),
        10 => event(n),
        11 => receipt(n),
        12 => beat(n, n),
        13 => goaway(if n.is_multiple_of(2) {
            Some("wss://b")
        } else {
            None
        }),
        14 => ended(EndReason::Ended),
        15 | 16 => fault_frame(code),
        17 => StatusFrame {
            status: Status {
                fault: Some(Box::new(fault(code))),
                state: State::Degraded,
                ..live()
            },
        }
        .into(),
        18 => Queued {
            session: SessionId::from_bits(1),
            participant: ParticipantId::from_bits(1),
            resume_key: "q".into(),
            position: 1,
            of: 2,
            beat: BeatPlan {
                every_ms: n,
                suspect_ms: n,
            },
        }
        .into(),
        19 => Box::new(keel_wire::Gap {
            from: seq(1),
            to: seq(n + 1),
            epoch: Epoch(seq(1 + n % 2)),
            snapshot: Snapshot::default(),
            fault: None,
        })
        .into(),
        _ => beat(n, 0),
    }
}

fn some_end(kind: u8) -> ConnEnd {
    let codes = [
        1000, 1001, 1006, 1008, 1009, 1011, 1013, 4003, 4010, 4101, 4200, 4402, 4409, 4503, 4507,
    ];
    match kind % 6 {
        0 => refused(),
        1 => ConnEnd::Eof,
        2 => ConnEnd::WriteFailed,
        3 => ConnEnd::Reset,
        _ => close(codes[usize::from(kind) % codes.len()]),
    }
}

/// What was promised, read off the outputs alone.
#[derive(Default)]
struct Laws {
    dialed: BTreeSet<ConnId>,
    gone: BTreeSet<ConnId>,
    joined: bool,
    is_lost: bool,
    over: bool,
    waiting: BTreeMap<u64, ()>,
    cursor: Option<Cursor>,
    now: Instant,
    /// When each connection was last told lost.
    lost_at: BTreeMap<ConnId, Instant>,
    media: media::Laws,
}

/// The least that a server can have a client bear silence.
const SUSPECT_SHORTEST: Duration = Duration::from_millis(crate::limits::SUSPECT_MIN_MS);

impl Laws {
    fn check(&mut self, output: &Output) {
        if let Output::Receipt { local, .. } = output {
            assert!(
                self.waiting.remove(local).is_some(),
                "one receipt a command"
            );
            return;
        }
        assert!(!self.over, "after the end: {output:?}");
        match output {
            Output::Media(order) => self.media.check(order),
            Output::Dial { conn, .. } => assert!(self.dialed.insert(*conn), "dialed twice"),
            Output::Hangup { conn, .. } => {
                assert!(self.dialed.contains(conn), "hung up on a stranger");
                assert!(
                    self.gone.insert(*conn),
                    "hung up on {conn:?}, which was gone"
                );
            }
            Output::Send { conn, .. } => {
                assert!(
                    self.dialed.contains(conn) && !self.gone.contains(conn),
                    "sent to nobody"
                );
            }
            Output::Status(status) => assert_eq!(status.check(), None),
            Output::Event(event) => self.event(event),
            Output::FetchToken | Output::Receipt { .. } => {}
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Joined(_) => assert!(!std::mem::replace(&mut self.joined, true)),
            Event::ConnectionLost { conn, .. } => {
                assert!(
                    !std::mem::replace(&mut self.is_lost, true),
                    "one loss is told twice"
                );
                // One that was lost may last again, and be lost again; but not at once.
                let before = self.lost_at.insert(*conn, self.now);
                let lasted = before.is_none_or(|at| self.now.since(at) >= SUSPECT_SHORTEST);
                assert!(lasted, "{conn:?} is told lost again at once");
            }
            Event::Recovered { .. } => self.is_lost = false,
            Event::Ended { .. } | Event::Failed(_) => self.over = true,
            Event::Log { range, .. } => {
                assert!(self.joined, "no log before joining");
                assert!(range.from <= range.to);
            }
            Event::MediaLost { .. } => self.media.is_lost = true,
            Event::MediaRecovered { .. } => {
                assert!(
                    std::mem::take(&mut self.media.is_lost),
                    "back, and was not lost"
                );
            }
            Event::Gap { .. }
            | Event::Ephemeral(_)
            | Event::Fault(_)
            | Event::AttemptFailed { .. }
            | Event::Queued { .. }
            | Event::Goaway { .. }
            | Event::ProtocolNotice(_)
            | Event::StillWaiting { .. } => {}
        }
    }
}

pub(super) fn run(acts: Vec<Act>, config: Config) {
    let mut rig = Rig::new(config);
    let mut laws = Laws::default();
    let mut local = 0;
    for act in acts {
        let newest = rig.client.conns;
        let conn = |back: u8| ConnId(newest.saturating_sub(u64::from(back)));
        let input = match act {
            Act::Connect => Input::Connect,
            Act::Opened(back) => Input::Opened { conn: conn(back) },
            Act::Frame(back, kind, n) => Input::Frame {
                conn: conn(back),
                bytes: some_frame(kind, n, rig.client.cursor().seq).encode(),
            },
            Act::Garbage(back, bytes) => Input::Frame {
                conn: conn(back),
                bytes,
            },
            Act::Closed(back, kind) => Input::Closed {
                conn: conn(back),
                end: some_end(kind),
            },
            Act::Command(ttl) => {
                local += 1;
                laws.waiting.insert(local, ());
                let ttl = (ttl % 2 == 0).then(|| Duration::from_millis(u64::from(ttl) * 50));
                Input::Command {
                    local,
                    command: say("x"),
                    ttl,
                }
            }
            Act::Token(ok) => Input::Token(if ok { Ok("t".into()) } else { Err("no".into()) }),
            Act::Network(online) => Input::Network { online },
            Act::Probe => Input::Probe,
            Act::Detach => Input::Detach,
            Act::Close => Input::Close,
            Act::Simulate(kind) => Input::Simulate(match kind % 3 {
                0 => Simulate::DropTransport,
                1 => Simulate::HalfOpen,
                _ => Simulate::LoseFrames { count: 2 },
            }),
            Act::Tick(steps) => {
                for _ in 0..steps % 4 {
                    let Some(deadline) = rig.client.deadline() else {
                        break;
                    };
                    let span = deadline.at.since(rig.now.mono);
                    rig.pass(span);
                }
                Input::Tick
            }
            Act::Media(kind, back, n) => Input::Media(media::some_input(
                kind,
                rig.client
                    .media
                    .last_opened()
                    .saturating_sub(u32::from(back)),
                n,
            )),
            Act::MediaFrame(back, kind, n) => Input::Frame {
                conn: conn(back),
                bytes: media::some_frame(&rig.client, kind, n).encode(),
            },
            Act::Jump(mono, wall) => {
                rig.now.mono = rig.now.mono + Duration::from_micros(u64::from(mono));
                rig.now.wall += u64::from(mono / 1_000 + wall);
                Input::Tick
            }
        };
        laws.media.before(&input);
        let was_failed = matches!(rig.client.life, Life::Failed { .. });
        if input == Input::Connect && was_failed {
            (laws.over, laws.joined, laws.is_lost) = (false, false, false);
        }
        if let Input::Closed { conn, end } = &input
            && *end != ConnEnd::WriteFailed
        {
            // A transport that is gone is not hung up on, unless it was broken on purpose.
            let deaf = rig
                .client
                .slot(*conn)
                .and_then(|slot| rig.client.path(slot))
                .is_some_and(|path| path.deaf);
            if !deaf {
                laws.gone.insert(*conn);
            }
        }
        rig.input(input);
        laws.now = rig.now.mono;
        for output in rig.take() {
            laws.check(&output);
        }
        let cursor = rig.client.cursor();
        laws.cursor = Some(cursor);
        assert_eq!(rig.client.is_over(), laws.over);
        assert_eq!(
            rig.client.deadline().is_none(),
            laws.over || is_at_rest(&rig),
            "{:?}",
            rig.client.deadline()
        );
    }
    // From anywhere, time alone leads somewhere: it never spins, and every command is answered.
    rig.pass(secs(300));
    rig.input(Input::Close);
    laws.now = rig.now.mono;
    for output in rig.take() {
        laws.check(&output);
    }
    let open: Vec<_> = laws.dialed.difference(&laws.gone).collect();
    assert!(open.is_empty(), "left open: {open:?}");
    assert!(laws.media.is_closed(), "{:?}", laws.media);
    assert!(laws.over && laws.waiting.is_empty(), "{:?}", laws.waiting);
}

/// Not connected yet, with nothing to send.
fn is_at_rest(rig: &Rig) -> bool {
    matches!(rig.client.life, Life::Idle) && rig.client.outbox.deadline().is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_inputs_break_the_laws_e5_e7_m10_m12_m31(acts in acts(), variant in 0..6_u8) {
        let mut config = config();
        match variant {
            0 => config.token = TokenSource::Fetched,
            1 => config.retry_first_connect = true,
            2 => config.addresses.push("wss://c".into()),
            3 => config.backoff = Backoff::seed_d(),
            4 => config.give_up_after = Some(Duration::ZERO),
            _ => {}
        }
        run(acts, config);
    }

    /// The same, from a session that stands.
    #[test]
    fn no_inputs_break_the_laws_of_a_live_session(acts in acts()) {
        let mut prefix = vec![
            Act::Connect,
            Act::Opened(0),
            Act::Frame(0, 0, 0),
            Act::Frame(0, 5, 0),
        ];
        prefix.extend(acts);
        run(prefix, config());
    }

    /// The same, with a transport that is connected and lines on which something comes.
    #[test]
    fn no_inputs_break_the_laws_of_media_m35_e7(acts in acts()) {
        let mut prefix = media::prefix();
        prefix.extend(acts);
        run(prefix, config());
    }
}
