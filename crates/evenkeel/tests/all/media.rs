//! Pictures over a real server and real sockets: published, sent back, and counted by their numbers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use evenkeel::{
    Event, Session,
    media::{
        Codec, Frames, Kind, Publish, Publisher, Received, Tone,
        pattern::{self, Pattern},
    },
    wire::Role,
};
use keel_server::{
    Claims, Config,
    config::{Backend, BackendKind},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::support::{Host, soon};

/// With a socket for media, and backends that pass it on.
pub(crate) fn with_media(config: &mut Config) {
    config.media.listen = Some(([127, 0, 0, 1], 0).into());
    // Planes beside each other: sessions of one test may be on either.
    config.media.threads = 2;
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
async fn a_picture_comes_back_within_a_second_and_no_frame_is_missing() {
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

/// A viewer of a session, and the tracks that it is sent.
pub(crate) async fn viewer(host: &Host, session: &Session, role: Role) -> (Session, Frames) {
    let id = session.id().expect("an id");
    let mut claims = Claims::new("bob", role, 600);
    claims.session = Some(id.clone());
    let token = host.running.tokens().mint(&claims);
    let builder = host.builder().token(token).session(id).role(role);
    let joined = soon(builder.connect()).await.expect("joined");
    let frames = joined.media().receive().await;
    (joined, frames)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_begins_with_a_keyframe_and_misses_nothing_m4() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let camera = Camera::start(&session, "camera").await;
    let (watching, mut frames) = viewer(&host, &session, Role::Viewer).await;
    let first = soon(frames.next()).await.expect("a frame");
    assert!(first.frame.key, "{first:?}");
    assert_consecutive(&numbers(&mut frames, 30).await);
    let refused = watching.media().publish(Publish::audio("voice")).await;
    assert!(refused.is_err(), "a viewer publishes nothing");
    camera.stop().await;
    soon(watching.close()).await;
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_in_a_room_see_each_other_and_not_themselves() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("room").connect()).await;
    let first = session.expect("a session");
    let mut others = Vec::new();
    let frames = first.media().receive().await;
    others.push((first.clone(), frames));
    for _ in 0..2 {
        others.push(viewer(&host, &first, Role::Publisher).await);
    }
    let mut cameras = Vec::new();
    for (session, _) in &others {
        cameras.push(Camera::start(session, "camera").await);
    }
    for (session, frames) in &mut others {
        let me = session.membership().expect("joined").participant.clone();
        let mut seen = BTreeMap::<_, Vec<u32>>::new();
        while seen.len() < 2 || seen.values().any(|numbers| numbers.len() < 30) {
            let received = soon(frames.next()).await.expect("a frame");
            assert_ne!(received.participant, me, "nobody is sent the own picture");
            let numbers = seen.entry(received.participant.clone()).or_default();
            numbers.push(number(&received));
        }
        for numbers in seen.values() {
            assert_consecutive(numbers);
        }
    }
    for camera in cameras {
        camera.stop().await;
    }
    for (session, _) in others {
        soon(session.close()).await;
    }
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_in_a_room_hear_each_other_and_not_themselves() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("room").connect()).await;
    let first = session.expect("a session");
    let frames = first.media().receive().await;
    let mut members = vec![(first.clone(), frames)];
    for _ in 0..2 {
        members.push(viewer(&host, &first, Role::Publisher).await);
    }
    let mut voices = Vec::new();
    for (session, _) in &members {
        let voice = soon(session.media().publish(Publish::audio("voice"))).await;
        let voice = voice.expect("published");
        voices.push(tokio::spawn(async move {
            let mut tone = Tone::default();
            let mut beat = tokio::time::interval(Tone::PERIOD);
            while voice.send_frame(tone.frame()).is_ok() {
                beat.tick().await;
            }
        }));
    }
    for (session, frames) in &mut members {
        let me = session.membership().expect("joined").participant.clone();
        let mut heard = BTreeMap::<_, usize>::new();
        while heard.len() < 2 || heard.values().any(|sounds| *sounds < 50) {
            let received = soon(frames.next()).await.expect("a frame");
            assert_eq!(received.kind, Kind::Audio);
            assert_ne!(received.participant, me, "nobody is sent the own voice");
            *heard.entry(received.participant).or_default() += 1;
        }
    }
    for (session, _) in members {
        soon(session.close()).await;
    }
    // A handle whose session is over takes nothing more.
    for voice in voices {
        soon(voice).await.expect("it ends");
    }
    host.close().await;
}

/// What the example prints of another's tracks, until it has told of both.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_participant_is_one() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let host = Host::start(with_media).await;
    let token = host.token();
    let url = host.url();
    let example = std::env::current_exe().expect("this test");
    let example = example.ancestors().nth(2).expect("beside it");
    let start = |session: Option<&str>| {
        let mut command = tokio::process::Command::new(example.join("examples/participant"));
        command
            .arg(&url)
            .args(session)
            .env("EVENKEEL_TOKEN", &token);
        let output = std::process::Stdio::piped();
        let child = command.stdout(output).kill_on_drop(true).spawn();
        let mut child = child.expect("`cargo test` builds examples, too");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        (child, lines)
    };
    let (_first, mut lines) = start(None);
    let line = soon(lines.next_line()).await.expect("read");
    let line = line.expect("a line");
    let session = line.strip_prefix("in session ");
    let (_second, _said) = start(Some(session.expect("it says which")));
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let line = soon(lines.next_line()).await.expect("read");
        let line = line.expect("a line");
        let mut words = line.split(' ');
        if let (Some(count), Some("frames"), _, Some(track)) =
            (words.next(), words.next(), words.next(), words.next())
        {
            told.insert(track.to_owned(), count.parse::<u64>().expect("a count"));
        }
    }
    assert!(told["camera"] > 10 && told["voice"] > 10, "{told:?}");
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tracks_come_and_go_while_others_flow() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let mut frames = session.media().receive().await;
    let camera = Camera::start(&session, "camera").await;
    let first = soon(frames.next()).await.expect("a frame");
    let mut kept = vec![number(&first)];
    for round in 0..3 {
        let name = format!("screen-{round}");
        let second = Camera::start(&session, &name).await;
        let mut of_screen = Vec::new();
        while of_screen.len() < 15 {
            let received = soon(frames.next()).await.expect("a frame");
            if received.track.as_str() == name {
                assert!(!of_screen.is_empty() || received.frame.key, "round {round}");
                of_screen.push(number(&received));
            } else if received.track.as_str() == "camera" {
                kept.push(number(&received));
            }
        }
        assert_consecutive(&of_screen);
        let (publisher, _) = second.stop().await;
        soon(publisher.unpublish()).await.expect("unpublished");
    }
    while kept.len() < 90 {
        let received = soon(frames.next()).await.expect("a frame");
        if received.track.as_str() == "camera" {
            kept.push(number(&received));
        }
    }
    assert_consecutive(&kept);
    let stats = soon(session.media().stats()).await.expect("stats");
    assert_eq!(stats.opened, 1, "nothing was made anew");
    assert!(
        stats.transports[0].lines.len() <= 3,
        "a line is used again: {stats:?}"
    );
    camera.stop().await;
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyframe_is_asked_of_the_publisher_for_whoever_begins_to_watch() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let publish = Publish::video("camera", Codec::H264);
    let publisher = soon(session.media().publish(publish)).await;
    let camera = Camera::run(publisher.expect("published"), Pattern::default());
    let mut watching = Vec::new();
    for _ in 0..3 {
        let (joined, mut frames) = viewer(&host, &session, Role::Viewer).await;
        assert!(soon(frames.next()).await.expect("a frame").frame.key);
        watching.push((joined, frames));
    }
    let (publisher, _) = camera.stop().await;
    let counts = publisher.counts();
    assert!(counts.keyframes_asked >= 2, "{counts:?}");
    for (joined, _) in watching {
        soon(joined.close()).await;
    }
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_and_picture_go_together_and_a_mute_is_no_loss() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let mut events = session.events();
    let mut frames = session.media().receive().await;
    let camera = Camera::start(&session, "camera").await;
    let voice = soon(session.media().publish(Publish::audio("voice"))).await;
    let voice = voice.expect("published");
    let mut tone = Tone::default();
    let mut beat = tokio::time::interval(Tone::PERIOD);
    let (mut sounds, mut pictures) = (0, 0);
    while sounds < 50 || pictures < 30 {
        tokio::select! {
            _ = beat.tick() => voice.send_frame(tone.frame()).expect("taken"),
            received = soon(frames.next()) => match received.expect("a frame").kind {
                Kind::Audio => sounds += 1,
                Kind::Video => pictures += 1,
            },
        }
    }
    soon(voice.mute(true)).await.expect("muted");
    let (publisher, _) = camera.stop().await;
    soon(publisher.mute(true)).await.expect("muted");
    while frames.try_next().is_some() {}
    // Longer than any silence that is not meant may last.
    tokio::time::sleep(Duration::from_secs(3)).await;
    while let Some(event) = events.try_next() {
        assert!(
            !matches!(event, Event::MediaLost { .. } | Event::Fault(_)),
            "{event:?}"
        );
    }
    soon(session.close()).await;
    host.close().await;
}

/// Sockets of this process that media could have: UDP, bound to loopback.
fn udp_sockets() -> usize {
    let own = std::fs::read_dir("/proc/self/fd").expect("descriptors");
    let own: Vec<String> = own
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| link.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string("/proc/self/net/udp").expect("a table");
    let inodes = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(9));
    inodes
        .filter(|inode| own.contains(&format!("socket:[{inode}]")))
        .count()
}

/// In a process of its own: other tests have sockets, too.
#[test]
fn a_session_that_is_closed_leaves_no_task_and_no_socket_of_media_m12_m35() {
    const INSIDE: &str = "EVENKEEL_TEST_ALONE";
    if std::env::var_os(INSIDE).is_none() {
        let test = std::env::current_exe().expect("this test");
        let name = "media::a_session_that_is_closed_leaves_no_task_and_no_socket_of_media_m12_m35";
        let output = std::process::Command::new(test)
            .args(["--exact", name, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("a run");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let host = Host::start(with_media).await;
        let sockets = udp_sockets();
        assert_eq!(sockets, 2, "one of each of the server's planes");
        for closes in [true, false] {
            let tasks = tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks();
            let session = soon(host.builder().backend("passthrough").connect()).await;
            let session = session.expect("a session");
            let mut frames = session.media().receive().await;
            let camera = Camera::start(&session, "camera").await;
            soon(frames.next()).await.expect("a frame");
            assert_eq!(udp_sockets(), sockets + 1);
            let (publisher, _) = camera.stop().await;
            if closes {
                soon(session.close()).await;
                assert_eq!(udp_sockets(), sockets, "closed");
                while soon(frames.next()).await.is_some() {}
                assert!(
                    publisher
                        .send_frame(Pattern::default().frame(true))
                        .is_err()
                );
                assert!(session.media().stats().await.is_none());
            } else {
                // Handles of media keep no session.
                drop(session);
                while soon(frames.next()).await.is_some() {}
                soon(async {
                    while udp_sockets() != sockets {
                        tokio::task::yield_now().await;
                    }
                })
                .await;
            }
            soon(async {
                let metrics = tokio::runtime::Handle::current().metrics();
                // The server's side of it ends by itself.
                while metrics.num_alive_tasks() > tasks {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        host.close().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_does_not_wait_for_the_next_one() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let mut frames = session.media().receive().await;
    let publish = Publish::video("camera", Codec::H264);
    let publisher = soon(session.media().publish(publish)).await;
    let publisher = publisher.expect("published");
    soon(publisher.keyframe_wanted()).await;
    let mut pattern = Pattern::default();
    // Until it is forwarded, frames may be passed over.
    let mut beat = tokio::time::interval(pattern.period());
    loop {
        tokio::select! {
            _ = beat.tick() => {
                let frame = pattern.frame(publisher.take_keyframe_wanted());
                publisher.send_frame(frame).expect("taken");
            }
            received = frames.next() => break drop(received.expect("a frame")),
        }
    }
    let mut last = pattern.next_number() - 1;
    while let Ok(Some(received)) =
        tokio::time::timeout(Duration::from_millis(500), frames.next()).await
    {
        last = number(&received);
    }
    assert_eq!(last, pattern.next_number() - 1, "the last one came");
    for _ in 0..5 {
        let frame = pattern.frame(publisher.take_keyframe_wanted());
        let sent = Instant::now();
        publisher.send_frame(frame).expect("taken");
        let received = soon(frames.next()).await.expect("a frame");
        let took = sent.elapsed();
        assert_eq!(number(&received) + 1, pattern.next_number());
        assert!(took < Duration::from_millis(100), "{took:?}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    soon(session.close()).await;
    host.close().await;
}

#[tokio::test]
async fn frames_that_are_asked_for_after_the_end_end_at_once() {
    let host = Host::start(with_media).await;
    let session = soon(host.builder().backend("passthrough").connect()).await;
    let session = session.expect("a session");
    let frames: Vec<Frames> = {
        let media = session.media();
        soon(session.close()).await;
        let mut asked = Vec::new();
        for _ in 0..8 {
            asked.push(soon(media.receive()).await);
        }
        asked
    };
    for mut frames in frames {
        assert!(soon(frames.next()).await.is_none());
    }
    host.close().await;
}
