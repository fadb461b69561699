//! Prompts of death: what crashed the program twice is not given to it a third time, be it ours or a
//! model's server, whose death is a connection that breaks under an answer.
//!
//! A prompt is known by a fingerprint, and only while it is among the last few that crashed anything.
//! It is let in again after a while, because the reason may have been another, and at once where it
//! was answered after all. Everything here follows from the log, so a restart forgets nothing of it.

use keel_wire::{
    Code, Event, Fault, FaultCode, Retry, TurnEnd, TurnId, UnixMillis, record::CrashedPrompt,
};
use sha2::{Digest, Sha256};

use crate::{limits, node::ms};

/// Prompts that crashed the program, the latest last.
#[derive(Debug, Default)]
pub(super) struct Quarantine(Vec<CrashedPrompt>);

/// Whether a failure is what a prompt of death does, and was not made on purpose.
pub(super) fn is_deadly(fault: &Fault) -> bool {
    let on_purpose = fault.detail.contains_key("injected");
    !on_purpose && (is_crash(fault) || is_broken_off(fault))
}

/// Whether a failure is the program's crash: not its own report of an error, not what it could not help
/// (a cause that may be gone at another try), and not ours.
fn is_crash(fault: &Fault) -> bool {
    let says = |key, value| says(fault, key, value);
    let passes = |cause: &Fault| matches!(cause.retry, Retry::Now | Retry::After { .. });
    let helpless = says("cause", "exited") && fault.cause.iter().any(passes);
    fault.code == FaultCode::Known(Code::ProviderCrashed)
        && !says("cause", "reported")
        && !says("cause", "dropped")
        && !helpless
}

/// Whether a model's server broke off while it had the prompt: in its answer, or before that. It may
/// have died of it, or the network may have; twice in a row it was the prompt. What it answers (an
/// error, a refusal), and that nobody listens, is no such thing.
fn is_broken_off(fault: &Fault) -> bool {
    let unavailable = fault.code == FaultCode::Known(Code::ProviderUnavailable);
    let cause = |value| says(fault, "cause", value);
    let last = || fault.cause.last().is_some_and(is_broken_off);
    let broke = cause("cut") || (cause("network") && says(fault, "stage", "send"));
    unavailable && (broke || (cause("fallback") && last()))
}

fn says(fault: &Fault, key: &str, value: &str) -> bool {
    fault.detail.get(key).is_some_and(|is| is == value)
}

impl Quarantine {
    pub(super) const fn kept(prompts: Vec<CrashedPrompt>) -> Self {
        Self(prompts)
    }

    /// What a stored snapshot keeps of it.
    pub(super) fn keep(&self) -> Vec<CrashedPrompt> {
        self.0.clone()
    }

    /// An event of a log that is read back; `prompt_of` knows the prompts of its turns.
    pub(super) fn replay<'a>(
        &mut self,
        event: &Event,
        prompt_of: impl FnOnce(&TurnId) -> Option<&'a str>,
    ) {
        match event {
            Event::TurnStarted(started) => {
                // What was broken off is asked for again within its attempt, which counts once, as it ends.
                let crash = started.fault.as_ref().filter(|fault| is_crash(fault));
                if let (Some(fault), Some(prompt)) = (crash, prompt_of(&started.turn)) {
                    self.failed(prompt, fault);
                }
            }
            Event::TurnEnded(ended) => match (&ended.fault, prompt_of(&ended.turn)) {
                (Some(fault), Some(prompt)) => self.failed(prompt, fault),
                (None, Some(prompt)) if ended.end == TurnEnd::Done => self.answered(prompt),
                (None | Some(_), _) => {}
            },
            Event::SessionCreated(_)
            | Event::ParticipantJoined(_)
            | Event::ParticipantLeft(_)
            | Event::ParamsChanged(_)
            | Event::ParamsApplied(_)
            | Event::Message(_)
            | Event::TurnAccepted(_)
            | Event::Text(_)
            | Event::Item(_)
            | Event::TurnWaiting(_)
            | Event::TurnAnswered(_)
            | Event::TurnMoved(_)
            | Event::TurnSteered(_)
            | Event::TurnRetrying(_)
            | Event::TurnCancelling(_)
            | Event::AgentBound(_)
            | Event::SessionDescribed(_)
            | Event::TrackPublished(_)
            | Event::TrackUnpublished(_)
            | Event::TrackMuted(_)
            | Event::SessionEnded(_) => {}
        }
    }

    /// An attempt at a prompt has failed.
    pub(super) fn failed(&mut self, prompt: &str, fault: &Fault) {
        if !is_deadly(fault) {
            return;
        }
        let print = fingerprint(prompt);
        let known = self.0.iter().position(|known| known.print == print);
        let crashes = known.map_or(0, |at| self.0.remove(at).crashes);
        if self.0.len() >= limits::QUARANTINE_PROMPTS_MAX {
            self.0.remove(0);
        }
        self.0.push(CrashedPrompt {
            print,
            crashes: crashes + 1,
            last_at: fault.at,
        });
    }

    /// A prompt was answered: it is not what crashes the program.
    pub(super) fn answered(&mut self, prompt: &str) {
        if !self.0.is_empty() {
            let print = fingerprint(prompt);
            self.0.retain(|known| known.print != print);
        }
    }

    /// For how many milliseconds more a prompt is not run, if it is not.
    pub(super) fn holds_ms(&self, prompt: &str, now: UnixMillis) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        let print = fingerprint(prompt);
        let known = self.0.iter().find(|known| known.print == print)?;
        let until = known.last_at.saturating_add(ms(limits::QUARANTINE_FOR));
        let held = known.crashes >= limits::QUARANTINE_CRASHES && until > now;
        held.then(|| until - now)
    }
}

fn fingerprint(prompt: &str) -> String {
    let digest = Sha256::digest(prompt.as_bytes());
    let bits = digest
        .iter()
        .take(16)
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    format!("{bits:032x}")
}

#[cfg(test)]
mod tests {
    use keel_wire::{FaultId, Origin};

    use super::*;

    fn crash(at: UnixMillis) -> Fault {
        Fault::new(
            FaultId::from_bits(1),
            Code::ProviderCrashed,
            Origin::Provider,
            at,
        )
    }

    #[test]
    fn the_second_crash_shuts_a_prompt_out_for_a_while_a64() {
        let mut quarantine = Quarantine::default();
        quarantine.failed("x", &crash(1_000));
        assert_eq!(quarantine.holds_ms("x", 1_000), None);
        quarantine.failed("x", &crash(2_000));
        let span = ms(limits::QUARANTINE_FOR);
        assert_eq!(quarantine.holds_ms("x", 3_000), Some(span - 1_000));
        assert_eq!(quarantine.holds_ms("y", 3_000), None);
        assert_eq!(quarantine.holds_ms("x", 2_000 + span), None);
        quarantine.answered("x");
        assert_eq!(quarantine.holds_ms("x", 3_000), None);
    }

    #[test]
    fn what_a_models_server_broke_off_twice_is_shut_out_and_what_it_answered_is_not_h18() {
        let unavailable = |cause: &str| {
            let mut fault = crash(1_000).detail("cause", cause);
            fault.code = Code::ProviderUnavailable.into();
            fault
        };
        let network = |stage: &str| unavailable("network").detail("stage", stage);
        let chain = |last: Fault| unavailable("fallback").caused_by(crash(1)).caused_by(last);
        let broken = [
            unavailable("cut"),
            network("send"),
            chain(unavailable("cut")),
        ];
        for fault in &broken {
            let mut quarantine = Quarantine::default();
            quarantine.failed("x", fault);
            assert_eq!(quarantine.holds_ms("x", 1_000), None, "{fault:?}");
            quarantine.failed("x", fault);
            assert!(quarantine.holds_ms("x", 1_000).is_some(), "{fault:?}");
            assert_eq!(quarantine.holds_ms("y", 1_000), None, "{fault:?}");
        }
        let other = [
            unavailable("http"),
            unavailable("upstream"),
            network("connect"),
            chain(network("connect")),
            unavailable("cut").detail("injected", "f-1"),
        ];
        for fault in &other {
            let mut quarantine = Quarantine::default();
            for _ in 0..3 {
                quarantine.failed("x", fault);
            }
            assert_eq!(quarantine.keep(), [], "{fault:?}");
        }
    }

    #[test]
    fn reports_and_faults_on_purpose_are_no_crashes_and_memory_is_bounded_a64() {
        let mut quarantine = Quarantine::default();
        for _ in 0..3 {
            quarantine.failed("x", &crash(1).detail("cause", "reported"));
            quarantine.failed("x", &crash(1).detail("injected", "f-1"));
            quarantine.failed("x", &crash(1).detail("cause", "dropped"));
            let mut network = crash(1);
            network.code = Code::ProviderUnavailable.into();
            let exited = crash(1).detail("cause", "exited");
            quarantine.failed("x", &exited.caused_by(network.retry(Retry::Now)));
        }
        assert_eq!(quarantine.keep(), []);
        for n in 0..1_000 {
            quarantine.failed(&format!("{n}"), &crash(1));
        }
        assert_eq!(quarantine.keep().len(), limits::QUARANTINE_PROMPTS_MAX);
    }
}
