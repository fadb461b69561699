//! How a model's server is made to behave: by what the fake one is asked.

use keel_agent::Provider;
use std::sync::Arc;

use super::kinds::{Behaviour, Subject};
use crate::all::model::{Dialect, Model};

pub(super) fn chat_that(behaviour: Behaviour) -> Vec<Subject> {
    endpoint_that("openai/chat", Dialect::Chat, behaviour)
}

pub(super) fn responses_that(behaviour: Behaviour) -> Vec<Subject> {
    endpoint_that("openai/responses", Dialect::Responses, behaviour)
}

pub(super) fn messages_that(behaviour: Behaviour) -> Vec<Subject> {
    endpoint_that("anthropic", Dialect::Messages, behaviour)
}

fn endpoint_that(name: &str, dialect: Dialect, behaviour: Behaviour) -> Vec<Subject> {
    let prompt = match behaviour {
        Behaviour::Speak => "!ok text=one_two_three_",
        Behaviour::Mute => "!empty",
        Behaviour::Huge => "!ok count=2048 bytes=1024",
        Behaviour::SayBack => "!echo",
        Behaviour::Slow => "!ok rate=6 text=one_two_three_",
        Behaviour::CrashAtOnce => "!cut0",
        Behaviour::CrashMidway => "!cutrst after=1 text=one_two_three_",
        Behaviour::CrashAfter => "!cutafter text=one_two_three_",
        Behaviour::HangAtOnce => "!hang",
        Behaviour::Hang => "!hangmid after=1 text=one_two_three_",
        Behaviour::Garbage => "!badsse:badjson",
        Behaviour::Truncated => "!noend after=1 text=one_two_three_",
        Behaviour::Endless => "!endless",
        Behaviour::Flood
        | Behaviour::ExitCodes
        | Behaviour::Signals
        | Behaviour::Stubborn
        | Behaviour::Ask => return Vec::new(),
    };
    let model = Model::start(&[]);
    let mut config = model.config();
    // What is asked again is not what is looked at here.
    config.tries = 1;
    let provider: Arc<dyn Provider> = dialect.provider(config);
    vec![Subject {
        model: Some(model),
        ..Subject::new(name, provider, prompt)
    }]
}
