//! Tokens that are no longer good, in memory; the store keeps them over restarts.

use std::{collections::HashMap, sync::RwLock};

use keel_wire::UnixMillis;
use tokio::sync::watch;

use crate::clock;

#[derive(Debug, Default)]
pub(crate) struct Revoked {
    until: RwLock<HashMap<String, UnixMillis>>,
    changed: watch::Sender<()>,
}

impl Revoked {
    pub(crate) fn has(&self, token_id: &str) -> bool {
        let until = self
            .until
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        until.contains_key(token_id)
    }

    /// Tells when there are more.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds some, and forgets those that have expired.
    pub(crate) fn add(&self, more: impl IntoIterator<Item = (String, UnixMillis)>) {
        let now = clock::wall();
        let mut until = self
            .until
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        until.extend(more);
        until.retain(|_, until| *until > now);
        drop(until);
        self.changed.send_replace(());
    }
}
