//! A snapshot that fits into a frame.
//!
//! What a session can put into its fold has bounds of its own, which together exceed a frame's. Where
//! they do, texts are told shorter and turns that have ended are left out: the oldest first, and no
//! more than it takes. Who is there and as what, the params, and how far each open turn is are always
//! told. The rest can be read from the log.

use std::{borrow::Cow, io};

use serde::Serialize;

use crate::{
    Snapshot, TurnView,
    limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_SUBJECT_BYTES_MAX},
};

impl Snapshot {
    /// This snapshot as it is sent: at most [`SNAPSHOT_BYTES_MAX`] bytes of JSON.
    #[must_use]
    pub fn fitted(&self) -> Cow<'_, Self> {
        let bytes = json_len(self);
        if bytes <= SNAPSHOT_BYTES_MAX {
            return Cow::Borrowed(self);
        }
        let mut snapshot = self.clone();
        snapshot.shrink(bytes - SNAPSHOT_BYTES_MAX);
        Cow::Owned(snapshot)
    }

    /// Takes at least `surplus` bytes of JSON away, as far as there is anything to take.
    fn shrink(&mut self, mut surplus: usize) {
        let ended = self.turns.iter_mut().filter(|turn| !turn.is_open());
        for turn in ended {
            clear(&mut turn.tail, &mut surplus);
        }
        self.turns.retain(|turn| {
            let keep = surplus == 0 || turn.is_open();
            if !keep {
                // With its comma, which the last one does not have.
                surplus = surplus.saturating_sub(json_len(turn));
            }
            keep
        });
        // From the end of the line: the text of the turn that runs goes last.
        for TurnView { prompt, tail, .. } in self.turns.iter_mut().rev() {
            clear(prompt, &mut surplus);
            clear(tail, &mut surplus);
        }
        for view in &mut self.participants {
            if surplus == 0 {
                break;
            }
            let before = json_len(&view.subject);
            cut(&mut view.subject, SNAPSHOT_SUBJECT_BYTES_MAX);
            surplus = surplus.saturating_sub(before - json_len(&view.subject));
        }
    }
}

fn clear(text: &mut String, surplus: &mut usize) {
    if *surplus > 0 {
        *surplus = surplus.saturating_sub(json_len(text) - 2);
        text.clear();
    }
}

/// Keeps the beginning of a text that is at most `bytes_max` bytes as JSON, without its quotes.
fn cut(text: &mut String, bytes_max: usize) {
    let mut bytes = 0;
    let end = text.char_indices().find_map(|(at, char)| {
        bytes += json_len(&char) - 2;
        (bytes > bytes_max).then_some(at)
    });
    text.truncate(end.unwrap_or(text.len()));
}

/// Bytes of a value as JSON.
#[must_use]
pub fn json_len(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).expect("counting fails on no value of the wire");
    count.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Action, ActionId, Code, Fault, FaultId, Origin, ParticipantId, ParticipantView, Role,
        TurnEnd, TurnEnded, TurnId, TurnState, limits,
    };

    /// Texts of one character, as it may be escaped: 1, 2 and 6 bytes, or 4 for one of 4.
    fn text(bytes_max: usize) -> impl Strategy<Value = String> {
        let char = prop_oneof![Just("x"), Just("\""), Just("\u{1}"), Just("🜁")];
        (char, 0..=bytes_max, any::<bool>()).prop_map(|(char, bytes, full)| {
            let bytes = if full { bytes.max(1) } else { bytes };
            char.repeat(bytes / char.len())
        })
    }

    fn turn(n: u128) -> impl Strategy<Value = TurnView> {
        let texts = (
            text(limits::SNAPSHOT_PROMPT_BYTES_MAX),
            text(limits::SNAPSHOT_TEXT_BYTES_MAX),
        );
        (texts, 0..4_u8, text(limits::ACTION_BYTES_MAX / 6)).prop_map(
            move |((prompt, tail), state, words)| TurnView {
                turn: TurnId::from_bits(n),
                by: ParticipantId::from_bits(n),
                prompt,
                state: match (state, n) {
                    (0, _) => ended(n, &words),
                    // One turn runs at a time.
                    (1, 1) => TurnState::Waiting {
                        action: Action {
                            id: ActionId::from_bits(1),
                            prompt: words,
                            options: Vec::new(),
                            choices: Vec::new(),
                            tool_call: None,
                        },
                    },
                    (2, 1) => TurnState::Running,
                    _ => TurnState::Queued,
                },
                attempt: 1,
                bytes: tail.len() as u64,
                tail,
            },
        )
    }

    fn ended(n: u128, words: &str) -> TurnState {
        let fault = Fault::new(FaultId::from_bits(n), Code::Internal, Origin::Server, 0);
        let ended = TurnEnded {
            turn: TurnId::from_bits(n),
            attempt: 1,
            end: TurnEnd::Failed,
            bytes: 0,
            forced: false,
            stop_reason: None,
            fault: Some(Box::new(fault.detail("stderr", words))),
        };
        TurnState::Ended {
            ended: Box::new(ended),
        }
    }

    fn snapshots() -> impl Strategy<Value = Snapshot> {
        let turns: Vec<_> = (1..=25).map(turn).collect();
        let members = (0..=1_024_usize, text(4_096));
        (
            turns,
            members,
            text(limits::PROJECT_BYTES_MAX),
            0..=5_400_usize,
        )
            .prop_map(|(turns, (members, subject), project, params)| Snapshot {
                backend: "b".repeat(64),
                project: Some(project),
                participants: (0..members)
                    .map(|n| ParticipantView {
                        participant: ParticipantId::from_bits(n as u128),
                        role: Role::Publisher,
                        subject: subject.clone(),
                    })
                    .collect(),
                params: json!({ "p": "\u{1}".repeat(params) }),
                turns,
                ..Snapshot::default()
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_session_holds_its_snapshot_fits_into_a_frame(snapshot in snapshots()) {
            let sent = snapshot.fitted();
            prop_assert!(json_len(&*sent) <= SNAPSHOT_BYTES_MAX, "{} bytes", json_len(&*sent));
            let who = |of: &Snapshot| -> Vec<_> {
                of.participants.iter().map(|p| (p.participant.clone(), p.role)).collect()
            };
            prop_assert_eq!(who(&sent), who(&snapshot));
            prop_assert_eq!(&sent.params, &snapshot.params);
            let open = |of: &Snapshot| -> Vec<_> {
                let open = of.turns.iter().filter(|turn| turn.is_open());
                open.map(|turn| (turn.turn.clone(), turn.state.clone(), turn.bytes)).collect()
            };
            prop_assert_eq!(open(&sent), open(&snapshot));
        }
    }

    #[test]
    fn what_fits_is_sent_as_it_is_and_no_more_is_cut_than_it_takes() {
        let mut snapshot = Snapshot::default();
        let view = |n: u128, tail: usize| TurnView {
            turn: TurnId::from_bits(n),
            by: ParticipantId::from_bits(1),
            prompt: "why".into(),
            state: ended(n, ""),
            attempt: 1,
            bytes: 9,
            tail: "x".repeat(tail),
        };
        snapshot.turns = vec![view(1, 2_000), view(2, 2_000)];
        snapshot.params = Value::from("p".repeat(SNAPSHOT_BYTES_MAX - 6_000));
        assert!(matches!(snapshot.fitted(), Cow::Borrowed(_)));
        snapshot.params = Value::from("p".repeat(SNAPSHOT_BYTES_MAX - 4_000));
        let tails: Vec<_> = snapshot
            .fitted()
            .turns
            .iter()
            .map(|t| t.tail.len())
            .collect();
        assert_eq!(tails, [0, 2_000]);
    }
}
