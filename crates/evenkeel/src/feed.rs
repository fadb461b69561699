//! Events on their way to the application: every reader gets every event, and none gets lost.
//!
//! A reader that is slow is waited for: once it has [`EVENTS_MAX`] events or [`EVENTS_BYTES_MAX`]
//! bytes before it, the driver stops reading the connection, and the server's log is the buffer. As
//! long as nobody reads at all, events are not kept beyond that bound, and who comes later begins
//! with a snapshot.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use keel_core::client::Event;
use tokio::sync::Notify;

/// Events that wait for a reader; then the connection is not read.
pub const EVENTS_MAX: usize = 10_000;
/// Bytes of events that wait for a reader; then the connection is not read.
pub const EVENTS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The driver's end.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    queues: Mutex<Queues>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queues {
    /// What the first reader will get, until it comes.
    unread: Option<Arc<Queue>>,
    read: Vec<Arc<Queue>>,
    over: bool,
}

#[derive(Debug, Default)]
struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    /// Events were passed over: a snapshot comes first.
    behind: bool,
    over: bool,
    abandoned: bool,
    reader: Option<Waker>,
}

/// What happens to a session, in order: a stream that ends after [`Event::Ended`] or
/// [`Event::Failed`].
///
/// Reading is cancel-safe. A reader that does not keep up is waited for, and with it the session:
/// see [`EVENTS_MAX`]. Drop a stream that is not read any more. It keeps no session alive.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
    feed: Arc<Feed>,
}

/// A poisoned lock only says that a task panicked between two pushes, each of which is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX || self.bytes >= EVENTS_BYTES_MAX
    }

    fn push(&mut self, event: Event, bytes: usize) {
        self.bytes += bytes;
        self.events.push_back((event, bytes));
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Feed {
    /// With room for what comes before the first reader.
    pub(crate) fn open(&self) {
        let mut queues = lock(&self.queues);
        queues.over = false;
        queues.unread = Some(Arc::default());
    }

    pub(crate) fn reader(self: &Arc<Self>) -> Events {
        let mut queues = lock(&self.queues);
        let queue = queues.unread.take().unwrap_or_else(|| {
            let behind = !queues.over;
            let over = queues.over;
            Arc::new(Queue(Mutex::new(Waiting {
                behind,
                over,
                ..Waiting::default()
            })))
        });
        if !queues.over {
            queues.read.push(Arc::clone(&queue));
        }
        drop(queues);
        self.changed.notify_one();
        Events {
            queue,
            feed: Arc::clone(self),
        }
    }

    /// Something became of a reader: it came, went, or made room.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether a reader has to be waited for.
    pub(crate) fn is_full(&self) -> bool {
        let mut queues = lock(&self.queues);
        queues.read.retain(|queue| !lock(&queue.0).abandoned);
        queues.read.iter().any(|queue| lock(&queue.0).is_full())
    }

    /// Gives every reader an event of about so many bytes.
    pub(crate) fn push(&self, event: Event, bytes: usize) {
        let queues = lock(&self.queues);
        if let Some(queue) = &queues.unread {
            let mut waiting = lock(&queue.0);
            if waiting.is_full() {
                // Nobody listens; who comes later gets a snapshot.
                *waiting = Waiting {
                    behind: true,
                    ..Waiting::default()
                };
            }
            if !waiting.behind || matches!(event, Event::Ended { .. } | Event::Failed(_)) {
                waiting.push(event.clone(), bytes);
            }
        }
        for queue in &queues.read {
            let mut waiting = lock(&queue.0);
            if !waiting.behind && !waiting.abandoned {
                waiting.push(event.clone(), bytes);
            }
        }
    }

    /// Gives readers that were passed over a snapshot to begin with.
    pub(crate) fn catch_up(&self, snapshot: impl Fn() -> Option<Event>) {
        for queue in &lock(&self.queues).read {
            let mut waiting = lock(&queue.0);
            if waiting.behind {
                waiting.behind = false;
                if let Some(event) = snapshot() {
                    waiting.push(event, 0);
                }
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn close(&self) {
        let mut queues = lock(&self.queues);
        queues.over = true;
        let unread = queues.unread.iter().cloned().collect::<Vec<_>>();
        for queue in queues.read.drain(..).chain(unread) {
            let mut waiting = lock(&queue.0);
            waiting.over = true;
            waiting.wake();
        }
    }
}

impl Events {
    /// The next event; `None` when the session is over.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll(cx.waker())).await
    }

    /// The next event, if it is here already.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut waiting = lock(&self.queue.0);
        self.take(&mut waiting)
    }

    fn take(&self, waiting: &mut Waiting) -> Option<Event> {
        let was_full = waiting.is_full();
        let (event, bytes) = waiting.events.pop_front()?;
        waiting.bytes -= bytes;
        if was_full && !waiting.is_full() {
            self.feed.changed.notify_one();
        }
        Some(event)
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Event>> {
        let mut waiting = lock(&self.queue.0);
        if let Some(event) = self.take(&mut waiting) {
            return Poll::Ready(Some(event));
        }
        if waiting.over {
            return Poll::Ready(None);
        }
        waiting.reader = Some(waker.clone());
        Poll::Pending
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll(cx.waker())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut waiting = lock(&self.queue.0);
        waiting.abandoned = true;
        waiting.events.clear();
        drop(waiting);
        self.feed.changed.notify_one();
    }
}
