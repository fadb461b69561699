//! The handle of one published track.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use keel_media::client::SourceId;
use keel_wire::TrackName;
use tokio::sync::{Notify, mpsc::error::TrySendError, oneshot};

use super::{Ask, Frame, Media, Outgoing, gone};
use crate::CommandError;

/// What a handle and the task share of a source.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(super) gone: AtomicBool,
    wants_keyframe: AtomicBool,
    wanted: Notify,
    pub(super) sent: AtomicU64,
    keyframes_asked: AtomicU64,
    queue_full: AtomicU64,
    pub(super) not_connected: AtomicU64,
    pub(super) no_line: AtomicU64,
    pub(super) no_codec: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Shared {
    pub(super) fn want_keyframe(&self) {
        self.wants_keyframe.store(true, Ordering::Relaxed);
        self.keyframes_asked.fetch_add(1, Ordering::Relaxed);
        self.wanted.notify_one();
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What became of the frames of a source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// They were put on a transport.
    pub sent: u64,
    /// Dropped: more waited than are kept.
    pub queue_full: u64,
    /// Dropped: no transport was connected.
    pub not_connected: u64,
    /// Dropped: the line was not agreed on yet.
    pub no_line: u64,
    /// Dropped: the server does not take the codec.
    pub no_codec: u64,
    /// Dropped: the transport refused them.
    pub refused: u64,
    /// Keyframes that were asked for.
    pub keyframes_asked: u64,
}

impl Counts {
    /// All that were dropped, for whatever reason.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.queue_full + self.not_connected + self.no_line + self.no_codec + self.refused
    }
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// More frames wait than are kept.
    #[error("more frames wait than are kept")]
    QueueFull,
    /// The session is over.
    #[error("the session is over")]
    Over,
}

/// One published track, whatever becomes of the transports below it. Dropping it unpublishes.
#[derive(Debug)]
pub struct Publisher {
    source: SourceId,
    name: TrackName,
    shared: Arc<Shared>,
    media: Media,
}

impl Publisher {
    pub(super) const fn new(
        source: SourceId,
        name: TrackName,
        shared: Arc<Shared>,
        media: Media,
    ) -> Self {
        Self {
            source,
            name,
            shared,
            media,
        }
    }

    /// The track's name.
    #[must_use]
    pub const fn name(&self) -> &TrackName {
        &self.name
    }

    /// Sends a frame. What is taken while no transport is connected is dropped, and counted.
    ///
    /// # Errors
    /// When it was not taken: it is lost.
    pub fn send_frame(&self, frame: Frame) -> Result<(), Dropped> {
        self.send_layer(0, frame)
    }

    /// Sends a frame of a simulcast layer, as they were named, from 0.
    ///
    /// # Errors
    /// As for [`Publisher::send_frame`].
    pub fn send_layer(&self, layer: usize, frame: Frame) -> Result<(), Dropped> {
        let outgoing = Outgoing {
            source: self.source,
            layer,
            frame,
        };
        self.media
            .outgoing
            .try_send(outgoing)
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    count(&self.shared.queue_full);
                    Dropped::QueueFull
                }
                TrySendError::Closed(_) => Dropped::Over,
            })
    }

    /// Waits until a keyframe is wanted: by somebody who begins to watch, or lost something, or because a
    /// transport is new. Cancel-safe; a want that nobody waited for is kept.
    pub async fn keyframe_wanted(&self) {
        while !self.take_keyframe_wanted() {
            self.shared.wanted.notified().await;
        }
    }

    /// Whether a keyframe is wanted; the next one is meant to be it.
    pub fn take_keyframe_wanted(&self) -> bool {
        self.shared.wants_keyframe.swap(false, Ordering::Relaxed)
    }

    /// Says that the track's silence is meant, or no longer.
    ///
    /// # Errors
    /// When the server did not take it.
    pub async fn mute(&self, muted: bool) -> Result<(), CommandError> {
        let (done, told) = oneshot::channel();
        let source = self.source;
        let ask = Ask::Mute {
            source,
            muted,
            done,
        };
        self.media.asks.send(ask).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// Publishes it no longer. Comes back when the session knows.
    ///
    /// # Errors
    /// When the server did not take it; nothing more is sent all the same.
    pub async fn unpublish(self) -> Result<(), CommandError> {
        let (done, told) = oneshot::channel();
        let source = self.source;
        let ask = Ask::Unpublish { source, done };
        self.media.asks.send(ask).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }

    /// What became of its frames so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        Counts {
            sent: of(&shared.sent),
            queue_full: of(&shared.queue_full),
            not_connected: of(&shared.not_connected),
            no_line: of(&shared.no_line),
            no_codec: of(&shared.no_codec),
            refused: of(&shared.refused),
            keyframes_asked: of(&shared.keyframes_asked),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Relaxed);
        self.media.wake.notify_one();
    }
}
