//! Back-pressure in bytes: taken when an output is told, given back when it is consumed.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::Semaphore;

use crate::limits::CREDIT_BYTES;

/// The bytes that may be told and not yet consumed.
#[derive(Debug)]
pub(crate) struct Credit {
    free: Semaphore,
    taken: AtomicU32,
    waiting: AtomicBool,
}

impl Credit {
    pub(crate) fn new() -> Self {
        Self {
            free: Semaphore::new(CREDIT_BYTES as usize),
            taken: AtomicU32::new(0),
            waiting: AtomicBool::new(false),
        }
    }

    /// Waits for `bytes` of credit and takes them.
    pub(crate) async fn take(&self, bytes: u32) {
        let permit = match self.free.try_acquire_many(bytes) {
            Ok(permit) => Ok(permit),
            Err(_) => {
                self.waiting.store(true, Ordering::Relaxed);
                let permit = self.free.acquire_many(bytes).await;
                self.waiting.store(false, Ordering::Relaxed);
                permit
            }
        };
        permit.expect("the semaphore is never closed").forget();
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back up to `bytes`: never more than was taken.
    pub(crate) fn refill(&self, bytes: u32) {
        let mut given = 0;
        let update = |taken: u32| {
            given = bytes.min(taken);
            Some(taken - given)
        };
        let _ = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        self.free.add_permits(given as usize);
    }

    /// Whether the provider stands still because nobody consumes.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}
