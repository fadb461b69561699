//! Frames on their way to the application. What is late is worth less than what is new: a reader that
//! does not keep up loses the oldest, and is told.

use std::{
    collections::{BTreeSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_util::Stream;
use keel_media::{Codec, Kind};
use keel_wire::{ParticipantId, TrackName};
use tokio::sync::Notify;

use super::Frame;

/// Frames that wait for a reader; then the oldest is dropped.
pub const FRAMES_MAX: usize = 512;
/// Bytes of frames that wait for a reader; then the oldest is dropped.
pub const FRAMES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A frame that has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Whose.
    pub participant: ParticipantId,
    /// Of which track.
    pub track: TrackName,
    /// Sound or a picture.
    pub kind: Kind,
    /// How it is coded.
    pub codec: Codec,
    /// The frame; its place in time counts from an origin of the transport's.
    pub frame: Frame,
    /// Nothing is missing since the frame of this track before: neither on the way nor here.
    pub contiguous: bool,
    /// Over which transport it came.
    pub peer: u32,
    /// When its first packet came.
    pub at: Instant,
}

/// The task's end.
#[derive(Debug, Default)]
pub(crate) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Received>,
    bytes: usize,
    dropped: u64,
    /// Tracks of which something was dropped, and nothing was read since.
    gaps: BTreeSet<(ParticipantId, TrackName)>,
    over: bool,
    abandoned: bool,
    reader: Option<Waker>,
}

impl Queue {
    /// A poisoned lock only says that a task panicked between two pushes, each of which is whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False if nobody reads any more.
    pub(super) fn push(&self, received: Received) -> bool {
        let mut waiting = self.lock();
        if waiting.abandoned {
            return false;
        }
        waiting.bytes += received.frame.data.len();
        waiting.frames.push_back(received);
        while waiting.frames.len() > FRAMES_MAX || waiting.bytes > FRAMES_BYTES_MAX {
            let Some(oldest) = waiting.frames.pop_front() else {
                break;
            };
            waiting.bytes -= oldest.frame.data.len();
            waiting.dropped += 1;
            waiting.gaps.insert((oldest.participant, oldest.track));
        }
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
        true
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Nothing follows.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.over = true;
        if let Some(reader) = waiting.reader.take() {
            reader.wake();
        }
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Received> {
        let mut received = self.frames.pop_front()?;
        self.bytes -= received.frame.data.len();
        if !self.gaps.is_empty() {
            let key = (received.participant.clone(), received.track.clone());
            received.contiguous &= !self.gaps.remove(&key);
        }
        Some(received)
    }
}

/// Frames of every track that this participant is sent; ends with the session. Reading is cancel-safe.
#[derive(Debug)]
pub struct Frames {
    queue: Arc<Queue>,
    wake: Arc<Notify>,
}

impl Frames {
    pub(super) const fn new(queue: Arc<Queue>, wake: Arc<Notify>) -> Self {
        Self { queue, wake }
    }

    /// The next frame; `None` when the session is over.
    pub async fn next(&mut self) -> Option<Received> {
        std::future::poll_fn(|cx| self.poll(cx.waker())).await
    }

    /// The next frame, if it is here already.
    pub fn try_next(&mut self) -> Option<Received> {
        self.queue.lock().take()
    }

    /// Frames that were dropped here, because they were not read in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }

    fn poll(&self, waker: &Waker) -> Poll<Option<Received>> {
        let mut waiting = self.queue.lock();
        if let Some(received) = waiting.take() {
            return Poll::Ready(Some(received));
        }
        if waiting.over {
            return Poll::Ready(None);
        }
        waiting.reader = Some(waker.clone());
        Poll::Pending
    }
}

impl Stream for Frames {
    type Item = Received;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.poll(cx.waker())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.abandoned = true;
        waiting.frames.clear();
        drop(waiting);
        self.wake.notify_one();
    }
}
