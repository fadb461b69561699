//! Which body an idempotency key was first used with.
//!
//! The Node keeps what became of a command; this only tells a repeated request from another one
//! under the same key. It forgets with the process, and the oldest first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

/// Keys that are remembered.
const KEYS_MAX: usize = 16 * 1024;

type Hash = [u8; 32];

#[derive(Debug, Default)]
pub(crate) struct Idempotency {
    seen: Mutex<(HashMap<Hash, Hash>, VecDeque<Hash>)>,
}

impl Idempotency {
    /// Whether the key was not used with another body before.
    pub(super) fn fits(&self, scope: &[&str], body: &str) -> bool {
        let key = scope.iter().fold(Sha256::new(), |hash, part| {
            hash.chain_update((part.len() as u64).to_le_bytes())
                .chain_update(part)
        });
        let (key, body): (Hash, Hash) = (key.finalize().into(), Sha256::digest(body).into());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (bodies, order) = &mut *seen;
        if let Some(first) = bodies.get(&key) {
            return *first == body;
        }
        if order.len() == KEYS_MAX
            && let Some(oldest) = order.pop_front()
        {
            bodies.remove(&oldest);
        }
        order.push_back(key);
        bodies.insert(key, body);
        true
    }
}
