//! Mutants: defects that are planted on purpose, to see that the drill sees them.
//!
//! A row that nothing turns red proves nothing. Each names a mutant, and with `--mutants` it is run once
//! more with that mutant planted: it must fail, and its verdict must say what the mutant does. They are
//! planted at the borders of real processes, never in what they judge: in what an app is told and says,
//! in the program behind a session, in the network, and in the store and providers of a server.

use crate::results::Row;

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The app is not told of a loss or a refusal.
    LossUntold,
    /// The app is told twice of each loss.
    LossTwice,
    /// The app is told 4 s late of what went wrong.
    ToldLate,
    /// The app is told another cause.
    CauseChanged,
    /// The app is not told that it is back.
    NeverBack,
    /// The first text after a loss does not reach the app.
    ReplayDropped,
    /// The first text of the second turn does not reach the app.
    TextDropped,
    /// The first text reaches the app twice.
    TextDoubled,
    /// The app is shown no status.
    StatusUntold,
    /// What the app says is said twice, under two numbers.
    SaysTwice,
    /// The program writes what it keeps no witness of.
    AgentLies,
    /// The network breaks a second time.
    CutAgain,
    /// The store acknowledges what it does not write.
    AckUnwritten,
    /// The store acknowledges what it could not write.
    AckRefused,
    /// What is damaged in the store is taken for never written.
    DamageUnseen,
    /// Two servers may write to the same data.
    Unlocked,
    /// No run ever ends.
    EndlessRun,
    /// A run that failed, or was cancelled, is taken for done.
    CrashIsDone,
    /// A run leaves a process behind.
    ChildLeft,
    /// The server logs nothing.
    LogMute,
    /// The server keeps no journal.
    JournalLost,
    /// The app is not told that media is lost.
    MediaUntold,
    /// The app is told twice of each loss of media.
    MediaTwice,
    /// The app is not told that media flows again.
    MediaNeverBack,
    /// Now and then a picture does not reach the app.
    PictureDropped,
    /// Now and then a picture reaches the app twice.
    PictureDoubled,
    /// Now and then a picture reaches the app after the next.
    PicturesMixed,
    /// No picture reaches the app any more once media was lost.
    PictureFrozen,
    /// The way of media breaks a second time.
    WayBrokenAgain,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 29] = [
        Self::LossUntold,
        Self::LossTwice,
        Self::ToldLate,
        Self::CauseChanged,
        Self::NeverBack,
        Self::ReplayDropped,
        Self::TextDropped,
        Self::TextDoubled,
        Self::StatusUntold,
        Self::SaysTwice,
        Self::AgentLies,
        Self::CutAgain,
        Self::AckUnwritten,
        Self::AckRefused,
        Self::DamageUnseen,
        Self::Unlocked,
        Self::EndlessRun,
        Self::CrashIsDone,
        Self::ChildLeft,
        Self::LogMute,
        Self::JournalLost,
        Self::MediaUntold,
        Self::MediaTwice,
        Self::MediaNeverBack,
        Self::PictureDropped,
        Self::PictureDoubled,
        Self::PicturesMixed,
        Self::PictureFrozen,
        Self::WayBrokenAgain,
    ];

    /// As processes are told, and machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LossUntold => "loss-untold",
            Self::LossTwice => "loss-twice",
            Self::ToldLate => "told-late",
            Self::CauseChanged => "cause-changed",
            Self::NeverBack => "never-back",
            Self::ReplayDropped => "replay-dropped",
            Self::TextDropped => "text-dropped",
            Self::TextDoubled => "text-doubled",
            Self::StatusUntold => "status-untold",
            Self::SaysTwice => "says-twice",
            Self::AgentLies => "agent-lies",
            Self::CutAgain => "cut-again",
            Self::AckUnwritten => "ack-unwritten",
            Self::AckRefused => "ack-refused",
            Self::DamageUnseen => "damage-unseen",
            Self::Unlocked => "unlocked",
            Self::EndlessRun => "endless-run",
            Self::CrashIsDone => "crash-is-done",
            Self::ChildLeft => "child-left",
            Self::LogMute => "log-mute",
            Self::JournalLost => "journal-lost",
            Self::MediaUntold => "media-untold",
            Self::MediaTwice => "media-twice",
            Self::MediaNeverBack => "media-never-back",
            Self::PictureDropped => "picture-dropped",
            Self::PictureDoubled => "picture-doubled",
            Self::PicturesMixed => "pictures-mixed",
            Self::PictureFrozen => "picture-frozen",
            Self::WayBrokenAgain => "way-broken-again",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mutant| mutant.name() == name)
    }

    /// Whether it is planted in the server: its store, its providers or its log.
    pub(crate) const fn is_in_server(self) -> bool {
        match self {
            Self::AckUnwritten
            | Self::AckRefused
            | Self::DamageUnseen
            | Self::EndlessRun
            | Self::CrashIsDone
            | Self::ChildLeft
            | Self::LogMute
            | Self::JournalLost => true,
            Self::LossUntold
            | Self::LossTwice
            | Self::ToldLate
            | Self::CauseChanged
            | Self::NeverBack
            | Self::ReplayDropped
            | Self::TextDropped
            | Self::TextDoubled
            | Self::StatusUntold
            | Self::SaysTwice
            | Self::AgentLies
            | Self::CutAgain
            | Self::Unlocked
            | Self::MediaUntold
            | Self::MediaTwice
            | Self::MediaNeverBack
            | Self::PictureDropped
            | Self::PictureDoubled
            | Self::PicturesMixed
            | Self::PictureFrozen
            | Self::WayBrokenAgain => false,
        }
    }

    /// Whether a row's verdict names what this one does. That the row failed is not enough.
    pub(crate) fn shows_in(self, row: &Row) -> bool {
        let says = |words: &str| row.wrong.iter().any(|wrong| wrong.contains(words));
        match self {
            Self::LossUntold => ["told of", ": failed", "before failed", "of 0 losses"]
                .iter()
                .any(|words| says(words)),
            Self::LossTwice => says("told of 2 losses instead of 1"),
            Self::ToldLate => says("told late"),
            Self::CauseChanged => says("told as Some(\"duplicate\")"),
            Self::NeverBack => says(": recovered"),
            Self::ReplayDropped | Self::TextDropped => row.lost > 0,
            Self::TextDoubled | Self::SaysTwice => row.duplicated > 0,
            Self::StatusUntold => says("no status names"),
            Self::AgentLies => says("what was told was not written"),
            Self::CutAgain => says("losses instead of"),
            Self::AckUnwritten => says("gaps at the") || says("the store holds") || says("told of"),
            Self::AckRefused => says("told that the store refuses"),
            Self::DamageUnseen => says("told as Some(\"session_not_found\")"),
            Self::Unlocked => says("the second server"),
            Self::EndlessRun => says("the end of"),
            Self::CrashIsDone => says("ended done"),
            Self::ChildLeft => row.leaked.children.is_some_and(|left| left > 0),
            Self::LogMute => says("no line of the log names"),
            Self::JournalLost => says("the journal does not name"),
            Self::MediaUntold => says("told of the loss of media"),
            Self::MediaTwice | Self::WayBrokenAgain => says("losses of media instead of"),
            Self::MediaNeverBack => says(": media recovered"),
            Self::PictureDropped => row.lost > 0,
            Self::PictureDoubled => row.duplicated > 0,
            Self::PicturesMixed => row.reordered > 0,
            Self::PictureFrozen => says(": pictures flow"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_name_of_its_own() {
        for mutant in Mutant::ALL {
            assert_eq!(Mutant::named(mutant.name()), Some(mutant));
        }
    }

    /// A row that could not be set up is red, and proves nothing.
    #[test]
    fn a_row_that_failed_for_another_reason_finds_no_mutant() {
        let mut row = Row::default();
        row.wrong.push("it could not be set up: no port".to_owned());
        row.wrong.push("outcome None".to_owned());
        row.wrong.push("told as None".to_owned());
        for mutant in Mutant::ALL {
            assert!(!mutant.shows_in(&row), "{}", mutant.name());
        }
    }
}
