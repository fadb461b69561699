//! Agents that wait for the next turn of their session.
//!
//! Each is watched by a task of its own, which owns the process: it sees it die at once, ends it
//! when nobody has wanted it for long enough, and hands it over when a turn does. A session has at
//! most one, and one that was released gets none back.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use keel_wire::SessionId;
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    time::sleep,
};

use super::{
    link::{Heard, Link, exit_words},
    permission,
    rpc::{INTERNAL_ERROR, Message, RpcError},
};
use crate::limits::WARM_MAX;

#[derive(Debug)]
struct Seat {
    n: u64,
    /// Takes the link over; dropping it ends the link.
    take: oneshot::Sender<oneshot::Sender<Link>>,
}

#[derive(Debug, Default)]
struct Kept {
    seats: BTreeMap<SessionId, Seat>,
    /// Sessions with a turn under way, by its number, and whether they were released since.
    leases: BTreeMap<u64, (SessionId, bool)>,
    last: u64,
}

/// The agents of one provider. Dropping it ends all that wait.
#[derive(Debug)]
pub(crate) struct Pool {
    kept: Mutex<Kept>,
    watched: watch::Sender<usize>,
    idle: Duration,
}

impl Pool {
    pub(crate) fn new(idle: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            watched: watch::Sender::new(0),
            idle,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Each change is whole, whoever panicked after it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn of `session` begins.
    pub(crate) fn lease(self: &Arc<Self>, session: &SessionId) -> Lease {
        let mut kept = self.kept();
        kept.last += 1;
        let n = kept.last;
        kept.leases.insert(n, (session.clone(), false));
        Lease {
            pool: Arc::clone(self),
            session: session.clone(),
            n,
        }
    }

    /// The session is over: what is kept for it ends, and so does what a turn would bring back.
    pub(crate) fn release(&self, session: &SessionId) {
        let mut kept = self.kept();
        kept.seats.remove(session);
        let of_session = kept.leases.values_mut().filter(|(of, _)| of == session);
        of_session.for_each(|(_, released)| *released = true);
    }

    /// Ends all that wait, and waits until they have.
    pub(crate) async fn close(&self) {
        self.kept().seats.clear();
        let mut watched = self.watched.subscribe();
        // It fails only without a sender, and this is one.
        let _ = watched.wait_for(|watched| *watched == 0).await;
    }

    fn forget(&self, session: &SessionId, n: u64) {
        let mut kept = self.kept();
        if kept.seats.get(session).is_some_and(|seat| seat.n == n) {
            kept.seats.remove(session);
        }
    }

    /// Has `link` wait, unless the session of the turn that had it was released; then it is given
    /// back.
    fn seat(self: &Arc<Self>, lease: &Lease, link: Link) -> Option<Link> {
        let session = &lease.session;
        let (take, taken) = oneshot::channel();
        let mut kept = self.kept();
        let released = kept.leases.get(&lease.n).is_none_or(|lease| lease.1);
        if released {
            return Some(link);
        }
        kept.last += 1;
        let n = kept.last;
        kept.seats.insert(session.clone(), Seat { n, take });
        if kept.seats.len() > WARM_MAX {
            let oldest = kept.seats.iter().min_by_key(|(_, seat)| seat.n);
            if let Some(oldest) = oldest.map(|(session, _)| session.clone()) {
                kept.seats.remove(&oldest);
            }
        }
        drop(kept);
        self.watched.send_modify(|watched| *watched += 1);
        let watched = Watched(self.watched.clone());
        let (pool, session) = (Arc::downgrade(self), session.clone());
        let idle = self.idle;
        tokio::spawn(async move {
            let _watched = watched;
            watch_over(link, idle, taken).await;
            if let Some(pool) = pool.upgrade() {
                pool.forget(&session, n);
            }
        });
        None
    }
}

/// Counts a task that watches.
struct Watched(watch::Sender<usize>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.send_modify(|watched| *watched -= 1);
    }
}

/// A turn's hold on the agent of its session.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    session: SessionId,
    n: u64,
}

impl Lease {
    /// The agent that waits for this session, if it lives.
    pub(crate) async fn take(&self) -> Option<Link> {
        let seat = self.pool.kept().seats.remove(&self.session)?;
        let (give, given) = oneshot::channel();
        seat.take.send(give).ok()?;
        given.await.ok()
    }

    /// Has `link` wait for the next turn; kills it if there will be none.
    pub(crate) async fn put(self, link: Link) {
        if let Some(mut link) = self.pool.seat(&self, link) {
            link.fell().await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.kept().leases.remove(&self.n);
    }
}

/// Watches over a link until it is taken, dies, or has been idle for too long.
async fn watch_over(
    mut link: Link,
    idle: Duration,
    mut taken: oneshot::Receiver<oneshot::Sender<Link>>,
) {
    let over = sleep(idle);
    tokio::pin!(over);
    loop {
        // The turn first: what says something all the time must not keep itself from it.
        tokio::select! {
            biased;
            give = &mut taken => {
                let not_given = match give {
                    Ok(give) => give.send(link).err(),
                    Err(_) => Some(link),
                };
                if let Some(mut link) = not_given {
                    link.fell().await;
                }
                return;
            }
            () = &mut over => {
                link.fell().await;
                return;
            }
            heard = link.next(true) => match heard {
                Heard::Messages => refuse(&mut link),
                Heard::StdoutClosed | Heard::Ended | Heard::Failed(_) => {
                    let felled = link.fell().await;
                    let how = exit_words(felled.exit);
                    tracing::info!(pid = link.pid, %how, "an agent ended between turns");
                    return;
                }
            },
        }
    }
}

/// What an agent says between turns is told to nobody, and what it asks is refused.
fn refuse(link: &mut Link) {
    while let Some(message) = link.take() {
        let Message::Request { id, method, .. } = message else {
            continue;
        };
        link.answer(&id, refusal(&method));
    }
    link.counted();
}

/// What an agent is told that asks for something while no turn is under way.
pub(super) fn refusal(method: &str) -> Result<Value, RpcError> {
    match method {
        "session/request_permission" => Ok(permission::cancelled()),
        _ => Err(RpcError::new(INTERNAL_ERROR, "no turn is under way")),
    }
}
