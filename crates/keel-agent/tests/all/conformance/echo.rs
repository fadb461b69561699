//! How the echo is made to behave.

use std::sync::Arc;

use keel_agent::echo::{Echo, NAME};

use super::kinds::{Behaviour, Subject};

pub(super) fn that(behaviour: Behaviour) -> Vec<Subject> {
    let prompt = match behaviour {
        Behaviour::Speak => "one two three ",
        Behaviour::Mute => "",
        Behaviour::Huge => "!count=4096 bytes=1024",
        Behaviour::SayBack => "what it was asked",
        Behaviour::Slow => "!pace_ms=150\none two three ",
        Behaviour::CrashAtOnce => "!fail=crash",
        Behaviour::CrashMidway => "!fail=crash fail_at=1\none two three ",
        Behaviour::HangAtOnce => "!fail=hang",
        Behaviour::Hang => "!fail=hang fail_at=1\none two three ",
        Behaviour::Garbage => "!fail=garbage",
        Behaviour::Ask => "!ask=well?",
        Behaviour::Endless => "!count=65536 bytes=1024",
        Behaviour::Flood
        | Behaviour::CrashAfter
        | Behaviour::ExitCodes
        | Behaviour::Signals
        | Behaviour::Stubborn
        | Behaviour::Truncated => return Vec::new(),
    };
    vec![Subject::new(NAME, Arc::new(Echo), prompt)]
}
