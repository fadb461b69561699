//! Pictures over a real server and real sockets: published, sent back, and counted by their numbers.

use std::time::{Duration, Instant};

use evenkeel::{
    Session,
    media::{
        Codec, Frames, Publish, Publisher, Received,
        pattern::{self, Pattern},
    },
};
use keel_server::{
    Config,
    config::{Backend, BackendKind},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::{Host, soon};

/// With a socket for media, and backends that pass it on.
pub(crate) fn with_media(config: &mut Config) {
    config.media.listen = Some(([127, 0, 0, 1], 0).into());
    for (name, kind) in [
        ("passthrough", BackendKind::Passthrough),
        ("room", BackendKind::Room),
    ] {
        let backend = Backend {
            kind,
            ..Backend::echo()
        };
        config.backends.insert(name.to_owned(), backend);
    }
}

/// A camera: publishes the test picture until it is stopped, and gives back its handle.
pub(crate) struct Camera {
    stop: oneshot::Sender<()>,
    task: JoinHandle<(Publisher, Pattern)>,
}

impl Camera {
    pub(crate) async fn start(session: &Session, name: &str) -> Self {
        let publish = Publish::video(name, Codec::H264);
        let publisher = soon(session.media().publish(publish)).await;
        Self::run(publisher.expect("published"), Pattern::default())
    }

    pub(crate) fn run(publisher: Publisher, mut pattern: Pattern) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(pattern.period());
            loop {
                tokio::select! {
                    _ = &mut stopped => return (publisher, pattern),
                    _ = beat.tick() => {
                        let frame = pattern.frame(publisher.take_keyframe_wanted());
                        publisher.send_frame(frame).expect("taken");
                    }
                }
            }
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) -> (Publisher, Pattern) {
        let _ = self.stop.send(());
        soon(self.task).await.expect("a camera")
    }
}

/// The numbers of so many frames as they come.
pub(crate) async fn numbers(frames: &mut Frames, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let received = soon(frames.next()).await.expect("a frame");
        numbers.push(number(&received));
    }
    numbers
}

pub(crate) fn number(received: &Received) -> u32 {
    pattern::number(&received.frame.data).expect("a frame of the test picture")
}

pub(crate) fn assert_consecutive(numbers: &[u32]) {
    let holes = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1);
    let holes: Vec<_> = holes.collect();
    assert!(holes.is_empty(), "not one after the other: {holes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_comes_back_within_a_second_and_no_frame_is_missing_m34() {
    let host = Host::start(with_media).await;
    let started = Instant::now();
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let mut frames = session.media().receive().await;
    let camera = Camera::start(&session, "camera").await;
    let first = soon(frames.next()).await.expect("a frame");
    let after = started.elapsed();
    assert!(after < Duration::from_secs(1), "the first after {after:?}");
    assert_eq!(first.track.as_str(), "camera");
    assert!(first.frame.key, "it begins with what can be shown");
    assert!(
        first.frame.data.starts_with(&[0, 0, 0, 1, 0x67]),
        "by its parameters"
    );
    assert_eq!(
        Some(&first.participant),
        session.membership().as_ref().map(|of| &of.participant)
    );
    let mut seen = vec![number(&first)];
    seen.extend(numbers(&mut frames, 90).await);
    assert_consecutive(&seen);
    let stats = soon(session.media().stats()).await.expect("stats");
    assert_eq!(stats.transports.len(), 1, "{stats:?}");
    assert_eq!(stats.transports[0].lines[0].packets_lost, 0, "{stats:?}");
    camera.stop().await;
    soon(session.close()).await;
    host.close().await;
}
