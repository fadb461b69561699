//! A provider that stands before another and spoils how its runs end.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use keel_agent::{Attempt, Closing, Control, Ending, Provider, Request, Sink};
use keel_drill::Mutant;
use keel_wire::SessionId;

/// What is wrong with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Defect {
    Endless,
    AlwaysDone,
    ChildLeft,
}

impl Defect {
    pub(super) const fn of(mutant: Mutant) -> Option<Self> {
        match mutant {
            Mutant::EndlessRun => Some(Self::Endless),
            Mutant::CrashIsDone => Some(Self::AlwaysDone),
            Mutant::ChildLeft => Some(Self::ChildLeft),
            Mutant::LossUntold
            | Mutant::LossTwice
            | Mutant::ToldLate
            | Mutant::CauseChanged
            | Mutant::NeverBack
            | Mutant::ReplayDropped
            | Mutant::TextDropped
            | Mutant::TextDoubled
            | Mutant::StatusUntold
            | Mutant::SaysTwice
            | Mutant::AgentLies
            | Mutant::CutAgain
            | Mutant::AckUnwritten
            | Mutant::AckRefused
            | Mutant::DamageUnseen
            | Mutant::Unlocked
            | Mutant::LogMute
            | Mutant::MediaUntold
            | Mutant::MediaTwice
            | Mutant::MediaNeverBack
            | Mutant::PictureDropped
            | Mutant::PictureDoubled
            | Mutant::PicturesMixed
            | Mutant::PictureFrozen
            | Mutant::WayBrokenAgain
            | Mutant::JournalLost => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Saboteur {
    inner: Arc<dyn Provider>,
    defect: Defect,
    /// What the drill looks for in command lines.
    folder: PathBuf,
}

impl Saboteur {
    pub(super) const fn new(inner: Arc<dyn Provider>, defect: Defect, folder: PathBuf) -> Self {
        Self {
            inner,
            defect,
            folder,
        }
    }
}

impl Provider for Saboteur {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        let attempt = self.inner.run(request, control, sink);
        let (defect, folder) = (self.defect, self.folder.clone());
        Box::pin(async move {
            let mut outcome = attempt.await;
            match defect {
                Defect::Endless => std::future::pending().await,
                Defect::AlwaysDone => outcome.ending = Ending::Done { stop_reason: None },
                Defect::ChildLeft => leave_child(&folder),
            }
            outcome
        })
    }

    fn steers(&self) -> bool {
        self.inner.steers()
    }

    fn release(&self, session: &SessionId) {
        self.inner.release(session);
    }

    fn close(&self) -> Closing<'_> {
        self.inner.close()
    }
}

/// Half a minute of a process that looks like one of the drill's programs.
fn leave_child(folder: &Path) {
    let script = format!("sleep 30; : drill-agent {}", folder.display());
    let child = Command::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    // Whoever drills sees whether it is there.
    drop(child);
}
