//! The mutants that stand between an SDK and its app: what the app is told in place of what happened.

use std::time::Duration;

use serde_json::Value;

use crate::{ledger::Seen, mutant::Mutant};

/// How late a mutant lets the app know.
pub(crate) const LATE: Duration = Duration::from_secs(4);
/// A code that no loss has, and no turn of a drill ends with.
const ANOTHER: &str = "duplicate";
/// Of so many pictures one is dropped, doubled or late.
const PICTURES: u64 = 12;

/// Stands in the way of what an app is told.
#[derive(Debug, Default)]
pub(crate) struct Spoiler {
    mutant: Option<Mutant>,
    lost: bool,
    media_lost: bool,
    turns: u32,
    struck: bool,
    pictures: u64,
    held: Option<Seen>,
}

/// What the app is told, and whether that is [`LATE`].
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) what: Vec<Seen>,
    pub(crate) late: bool,
}

impl Spoiler {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            mutant,
            ..Self::default()
        }
    }

    /// Takes what happened, and gives what the app is told.
    pub(crate) fn pass(&mut self, mut seen: Seen) -> Told {
        let mut told = Told::default();
        let Some(mutant) = self.mutant else {
            told.what.push(seen);
            return told;
        };
        self.note(&seen);
        let text = matches!(&seen, Seen::Event { kind, .. } if kind == "text");
        let picture = matches!(seen, Seen::Frame { .. });
        let is_due = picture && self.pictures.is_multiple_of(PICTURES);
        match mutant {
            Mutant::LossUntold if is_trouble(&seen) => return told,
            Mutant::MediaUntold if matches!(seen, Seen::MediaLost { .. }) => return told,
            Mutant::NeverBack if matches!(seen, Seen::Recovered { .. }) => return told,
            Mutant::MediaNeverBack if matches!(seen, Seen::MediaRecovered { .. }) => return told,
            Mutant::StatusUntold if matches!(seen, Seen::Status { .. }) => return told,
            Mutant::ReplayDropped if text && self.lost && self.first() => return told,
            Mutant::TextDropped if text && self.turns == 2 && self.first() => return told,
            Mutant::PictureDropped if is_due => return told,
            Mutant::PictureFrozen if picture && self.media_lost => return told,
            Mutant::PicturesMixed if is_due => {
                self.held = Some(seen);
                return told;
            }
            Mutant::LossTwice if matches!(seen, Seen::Lost { .. }) => told.what.push(seen.clone()),
            Mutant::MediaTwice if matches!(seen, Seen::MediaLost { .. }) => {
                told.what.push(seen.clone());
            }
            Mutant::TextDoubled if text && self.first() => told.what.push(seen.clone()),
            Mutant::PictureDoubled if is_due => told.what.push(seen.clone()),
            Mutant::ToldLate => told.late = is_trouble(&seen) || is_end(&seen),
            Mutant::CauseChanged => change_cause(&mut seen),
            _ => {}
        }
        told.what.push(seen);
        if picture {
            told.what.extend(self.held.take());
        }
        told
    }

    fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Lost { .. } => self.lost = true,
            Seen::MediaLost { .. } => self.media_lost = true,
            Seen::Frame { .. } => self.pictures += 1,
            Seen::Event { kind, .. } if kind == "turn.accepted" => self.turns += 1,
            _ => {}
        }
    }

    /// Whether this is the first time.
    const fn first(&mut self) -> bool {
        !std::mem::replace(&mut self.struck, true)
    }
}

/// Something went wrong, and this is how the app learns of it.
fn is_trouble(seen: &Seen) -> bool {
    match seen {
        Seen::Lost { .. }
        | Seen::Failed { .. }
        | Seen::Fault { .. }
        | Seen::Gap { .. }
        | Seen::MediaLost { .. } => true,
        Seen::Receipt { code, .. } => code.is_some(),
        _ => false,
    }
}

fn is_end(seen: &Seen) -> bool {
    matches!(seen, Seen::Event { kind, .. } if kind == "turn.ended")
        || matches!(seen, Seen::Note { text } if text.starts_with("goaway"))
}

fn change_cause(seen: &mut Seen) {
    match seen {
        Seen::Lost { code, .. }
        | Seen::Failed { code, .. }
        | Seen::Fault { code }
        | Seen::MediaLost { code, .. } => ANOTHER.clone_into(code),
        Seen::Gap { code, .. } | Seen::Receipt { code, .. } | Seen::Status { code, .. } => {
            if let Some(code) = code {
                ANOTHER.clone_into(code);
            }
        }
        Seen::Event { data, .. } => {
            if let Some(code) = data.pointer_mut("/fault/code") {
                *code = Value::from(ANOTHER);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(mutant: Mutant) -> Vec<u64> {
        let mut spoiler = Spoiler::new(Some(mutant));
        let mut numbers = Vec::new();
        for n in 1..=60 {
            let of = "camera".to_owned();
            for seen in spoiler.pass(Seen::Frame { of, n, wide: 0 }).what {
                if let Seen::Frame { n, .. } = seen {
                    numbers.push(n);
                }
            }
        }
        numbers
    }

    #[test]
    fn pictures_are_dropped_doubled_and_mixed_now_and_then() {
        let whole: Vec<u64> = (1..=60).collect();
        assert_eq!(told(Mutant::LogMute), whole);
        let dropped = told(Mutant::PictureDropped);
        assert_eq!(dropped.len(), 55);
        assert!(!dropped.contains(&12) && !dropped.contains(&24));
        assert_eq!(told(Mutant::PictureDoubled).len(), 65);
        let mixed = told(Mutant::PicturesMixed);
        assert_eq!(mixed[10..13], [11, 13, 12]);
    }
}
