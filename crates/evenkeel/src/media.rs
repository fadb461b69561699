//! Pictures and sound: what a participant publishes, and what it is sent.
//!
//! The machine decides when a transport stands; here frames go in and come out. What is published is
//! one object whatever becomes of the transports below it: over a restart of ICE, a rejoin and a move to
//! another server it goes on where it was.

pub mod file;
mod frames;
pub mod pattern;
mod publisher;
mod sources;
mod task;
mod tone;
mod transport;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use keel_wire::{ParticipantId, TrackName};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

pub use frames::{FRAMES_BYTES_MAX, FRAMES_MAX, Frames, Received};
pub use keel_media::{Codec, Kind};
pub use publisher::{Counts, Dropped, Publisher};
pub use tone::Tone;

use crate::CommandError;

pub(crate) use task::{Order, Parts, Task};

use frames::Queue;
use publisher::Shared;
use task::Handles;

/// Frames that wait to be sent, of all sources; then the next is dropped.
const OUTGOING_MAX: usize = 256;
/// Asks of handles that wait for the task.
const ASKS_MAX: usize = 64;

/// A frame that is sent, or has come.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// H.264 as Annex B (RFC 6184 takes it apart), VP8 and Opus as they are.
    pub data: Arc<[u8]>,
    /// Its place in time, from an origin of its source's own.
    pub timestamp: Duration,
    /// A decoder can start here.
    pub key: bool,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("bytes", &self.data.len())
            .field("timestamp", &self.timestamp)
            .field("key", &self.key)
            .finish()
    }
}

/// What is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// A name of its own among this participant's tracks: of `[a-z0-9-]{1,64}`.
    pub name: String,
    /// Sound or a picture.
    pub kind: Kind,
    /// How its frames are coded.
    pub codec: Codec,
    /// The names of its simulcast layers, smallest first; none without simulcast.
    pub layers: Vec<String>,
}

impl Publish {
    /// A picture.
    pub fn video(name: impl Into<String>, codec: Codec) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Video,
            codec,
            layers: Vec::new(),
        }
    }

    /// Sound, coded by Opus.
    pub fn audio(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Audio,
            codec: Codec::Opus,
            layers: Vec::new(),
        }
    }

    /// In several sizes at once (RFC 8853), smallest first.
    #[must_use]
    pub fn layers(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.layers = names.into_iter().map(Into::into).collect();
        self
    }
}

/// How the transports of a session are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Each transport there is, the newest last: two while one takes over from another.
    pub transports: Vec<TransportStats>,
    /// Transports that were opened so far.
    pub opened: u32,
    /// Frames that came over a transport after another had taken over, or on a line that another track had
    /// been put on, and were dropped.
    pub superseded: u64,
    /// Frames that came on lines of which the server had not said what is on them, and were dropped.
    pub unnamed: u64,
}

/// How one transport is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportStats {
    /// Its number.
    pub peer: u32,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// Frames that were sent over it.
    pub frames_sent: u64,
    /// RTP packets that were sent over it, those sent again included.
    pub packets_sent: u64,
    /// What has come over it.
    pub lines: Vec<LineStats>,
}

/// What has come on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineStats {
    /// The line.
    pub mid: String,
    /// Whose track is on it.
    pub participant: Option<ParticipantId>,
    /// Which track.
    pub track: Option<TrackName>,
    /// RTP packets, each counted once; not those that came again.
    pub packets: u64,
    /// Packets that did not come, or only when they were asked for again.
    pub packets_lost: u64,
    /// Whole frames.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Keyframes that were asked for.
    pub keyframes_asked: u64,
}

/// A handle of a session's media. Cheap to clone; it keeps no session alive.
#[derive(Debug, Clone)]
pub struct Media {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) wake: Arc<Notify>,
    connected: watch::Receiver<Option<u32>>,
}

/// What handles ask of the task.
#[derive(Debug)]
pub(crate) enum Ask {
    Publish {
        what: Publish,
        name: TrackName,
        shared: Arc<Shared>,
        done: oneshot::Sender<Result<keel_media::client::SourceId, CommandError>>,
    },
    Receive(Arc<Queue>),
    Mute {
        source: keel_media::client::SourceId,
        muted: bool,
        done: oneshot::Sender<Result<(), CommandError>>,
    },
    Unpublish {
        source: keel_media::client::SourceId,
        done: oneshot::Sender<Result<(), CommandError>>,
    },
    Stats(oneshot::Sender<Stats>),
    Retry,
}

/// The task of a session's media, until it is begun.
#[derive(Debug)]
pub(crate) struct Beginning {
    begun: OnceLock<Media>,
    parts: Mutex<Option<Parts>>,
}

impl Beginning {
    pub(crate) const fn new(parts: Parts) -> Self {
        Self {
            begun: OnceLock::new(),
            parts: Mutex::new(Some(parts)),
        }
    }

    pub(crate) fn handle(&self, tracker: &TaskTracker) -> Media {
        let begin = || {
            let (asks, asked) = mpsc::channel(ASKS_MAX);
            let (outgoing, taken) = mpsc::channel(OUTGOING_MAX);
            let wake = Arc::new(Notify::new());
            let (connected, connected_seen) = watch::channel(None);
            let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(parts) = { parts }.take() {
                let handles = Handles {
                    asks: asked,
                    outgoing: taken,
                    wake: Arc::clone(&wake),
                    connected,
                };
                let task = Task::new(parts, handles);
                tracker.spawn(Box::pin(task.run()));
            }
            Media {
                asks,
                outgoing,
                wake,
                connected: connected_seen,
            }
        };
        self.begun.get_or_init(begin).clone()
    }
}

/// A frame on its way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) source: keel_media::client::SourceId,
    pub(crate) layer: usize,
    pub(crate) frame: Frame,
}

impl Media {
    /// Publishes a track. Comes back when the session knows of it; the transport is made meanwhile, and
    /// [`Publisher::keyframe_wanted`] says when it takes a picture.
    ///
    /// # Errors
    /// When the name is none, or the server refuses it.
    pub async fn publish(&self, what: Publish) -> Result<Publisher, CommandError> {
        let name = what.name.parse::<TrackName>().map_err(|error| {
            let message = format!("the name of a track: {error}");
            let code = keel_wire::Code::InvalidRequest;
            CommandError::Refused(Box::new(crate::error::own_fault(code, &message)))
        })?;
        let shared = Arc::new(Shared::default());
        let (done, told) = oneshot::channel();
        let ask = Ask::Publish {
            what,
            name: name.clone(),
            shared: Arc::clone(&shared),
            done,
        };
        self.asks.send(ask).await.map_err(|_| gone())?;
        let source = told.await.map_err(|_| gone())??;
        Ok(Publisher::new(source, name, shared, self.clone()))
    }

    /// What the others publish from here on; in a session that gives a participant its own tracks back,
    /// those, too. Every stream gets every frame.
    pub async fn receive(&self) -> Frames {
        let queue = Arc::new(Queue::default());
        let asked = self.asks.send(Ask::Receive(Arc::clone(&queue))).await;
        if asked.is_err() {
            queue.end();
        }
        Frames::new(queue, Arc::clone(&self.wake))
    }

    /// The number of the transport that stands, while one does. That it stands is no proof that anything
    /// flows: see the session's status, and [`crate::Event::MediaLost`].
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<Option<u32>> {
        self.connected.clone()
    }

    /// How the transports are; `None` when the session is over.
    pub async fn stats(&self) -> Option<Stats> {
        let (reply, told) = oneshot::channel();
        self.asks.send(Ask::Stats(reply)).await.ok()?;
        told.await.ok()
    }

    /// Tries again, after the leg was given up.
    pub async fn retry(&self) {
        // With the session everything is over.
        let _ = self.asks.send(Ask::Retry).await;
    }
}

fn gone() -> CommandError {
    CommandError::Refused(Box::new(crate::error::over()))
}
