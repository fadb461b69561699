//! How a session begins: what whoever opens it says about it.

use keel_wire::{BusyPolicy, Code, Hello};
use serde_json::Value;

/// What whoever opens a session says about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Opening {
    /// What is to serve it; absent means the default.
    pub backend: Option<String>,
    /// The project it belongs to, where the token does not say.
    pub project: Option<String>,
    /// Its params.
    pub params: Option<Value>,
    /// What happens to a `say` while a turn runs.
    pub busy: Option<BusyPolicy>,
    /// What a person calls it.
    pub title: Option<String>,
    /// Where its programs work: a path that the shell has found to be allowed.
    pub cwd: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
}

impl Opening {
    /// What a hello says; its directory counts only once it is found to be allowed.
    pub(crate) fn of(hello: &Hello) -> Self {
        Self {
            backend: hello.backend.clone(),
            project: hello.project.clone(),
            params: hello.params.clone(),
            busy: hello.busy,
            title: hello.title.clone(),
            cwd: None,
            tags: hello.tags.clone(),
        }
    }
}

/// Why a directory is not one for a session's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// What to call it.
    pub code: Code,
    /// A sentence for a person.
    pub message: String,
}
