//! How a chain is made to behave: its first is down, and its second does.

use std::sync::Arc;

use keel_agent::{
    Provider,
    fallback::{Fallback, Link},
    process::{Process, Stdout},
};

use super::{
    kinds::{Behaviour, Subject},
    process,
};
use crate::all::harness::fake;

pub(super) fn that(behaviour: Behaviour) -> Vec<Subject> {
    let second = process::json_lines_that(behaviour);
    second.into_iter().map(after_one_that_is_down).collect()
}

fn after_one_that_is_down(subject: Subject) -> Subject {
    let mut down = fake(Stdout::Lines, &["exit=3"]);
    if let Some(owner) = &subject.owner {
        down.owner.clone_from(owner);
    }
    let name = subject.name.replace("process/json_lines", "fallback");
    let chain = [
        ("down", Arc::new(Process::new(down)) as Arc<dyn Provider>),
        ("up", Arc::clone(&subject.provider)),
    ];
    Subject {
        name,
        provider: of(chain),
        ..subject
    }
}

/// A chain of these.
pub(super) fn of<const N: usize>(chain: [(&str, Arc<dyn Provider>); N]) -> Arc<dyn Provider> {
    let link = |(name, provider): (&str, Arc<dyn Provider>)| Link {
        name: name.to_owned(),
        provider,
    };
    Arc::new(Fallback::new(chain.map(link).into()))
}
