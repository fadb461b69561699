//! `connect --publish … --record …`: a picture that is sent, and one that comes, counted frame by frame.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel::{
    Event, Session,
    media::{
        self, Codec, Frames, Kind, Publish, Publisher, Received, file,
        pattern::{self, Pattern, Tally},
    },
};
use serde_json::{Value, json};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, sleep_until},
};

use crate::{
    exit::Failure,
    terminal::{self, Tone, say_as},
};

/// Between two lines about what has come.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What is on its way at the end of a file is waited for for so long.
const REST_WITHIN: Duration = Duration::from_millis(500);
const TRACK: &str = "camera";

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Options {
    /// Publishes a picture: `pattern`, a moving test picture, or a file
    #[arg(long, value_name = "pattern|FILE.ivf|FILE.h264")]
    publish: Option<String>,
    /// Writes the first picture that comes to a file
    #[arg(long, value_name = "OUT.ivf|OUT.h264")]
    record: Option<PathBuf>,
    /// Pictures a second, where what is published does not say
    #[arg(long, default_value_t = pattern::FRAMES_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..=120))]
    fps: u32,
    /// Leaves after so many seconds; without it at the end of the file, or when it is interrupted
    #[arg(long = "for", value_name = "SECONDS")]
    lasting: Option<u64>,
}

impl Options {
    /// Whether this is about media at all.
    pub(super) const fn is_wanted(&self) -> bool {
        self.publish.is_some() || self.record.is_some()
    }

    /// What a new session is served by, where that is not said: what gives a picture back.
    pub(super) fn backend(&self) -> Option<String> {
        self.is_wanted().then(|| "passthrough".to_owned())
    }
}

/// What is published, and from where.
enum Source {
    Pattern(Pattern),
    File(file::Reader),
}

impl Source {
    fn open(named: &str, fps: u32) -> Result<Self, Failure> {
        if named == "pattern" {
            return Ok(Self::Pattern(Pattern::new(fps)));
        }
        let period = Duration::from_secs(1) / fps;
        let reader = file::Reader::open(Path::new(named), period);
        let reader = reader.map_err(|error| Failure::usage(format!("{named}: {error}")))?;
        Ok(Self::File(reader))
    }

    const fn codec(&self) -> Codec {
        match self {
            Self::Pattern(_) => Codec::H264,
            Self::File(reader) => reader.codec(),
        }
    }

    /// The next frame; `None` at the end. A file has its keyframes where it has them.
    fn next(&mut self, wants_key: bool) -> Result<Option<media::Frame>, Failure> {
        match self {
            Self::Pattern(pattern) => Ok(Some(pattern.frame(wants_key))),
            Self::File(reader) => reader.read().map_err(Failure::usage),
        }
    }
}

/// The task that sends, and its end.
struct Sending {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), Failure>>,
}

/// See the module's text.
pub(super) struct Media {
    json: bool,
    started: Instant,
    until: Option<Instant>,
    session: Session,
    frames: Frames,
    connected: watch::Receiver<Option<u32>>,
    sending: Option<Sending>,
    publisher: Option<Arc<Publisher>>,
    recorder: Option<(PathBuf, file::Writer)>,
    recorded: Option<(evenkeel::wire::ParticipantId, evenkeel::wire::TrackName)>,
    beat: Interval,
    came: BTreeMap<(String, String), Came>,
    connected_ms: Option<u64>,
    first_frame_ms: Option<u64>,
    faults: u64,
    recovered_ms: Vec<u64>,
    told: u64,
}

/// What came of one track.
#[derive(Default)]
struct Came {
    frames: u64,
    keyframes: u64,
    /// Where the frames are numbered.
    tally: Option<Tally>,
    /// Where they are not: how often something was missing.
    gaps: u64,
}

/// What happened that the caller has to know.
pub(super) enum Happened {
    /// Nothing.
    Nothing,
    /// It is time to leave.
    Done,
}

impl Media {
    pub(super) async fn begin(
        session: &Session,
        options: Options,
        json: bool,
        started: Instant,
    ) -> Result<Self, Failure> {
        let recorder = match options.record {
            Some(path) => {
                let writer = file::Writer::create(&path);
                let writer = writer
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                Some((path, writer))
            }
            None => None,
        };
        let media = session.media();
        let frames = media.receive().await;
        let (sending, publisher) = match options.publish {
            Some(named) => {
                let source = Source::open(&named, options.fps)?;
                let publish = Publish::video(TRACK, source.codec());
                let publisher = media.publish(publish).await;
                let publisher = publisher.map_err(|error| Failure::from(error.fault()))?;
                let (stop, stopped) = oneshot::channel();
                let period = Duration::from_secs(1) / options.fps;
                let publisher = Arc::new(publisher);
                let sends = send(Arc::clone(&publisher), source, period, stopped);
                let task = tokio::spawn(sends);
                (Some(Sending { stop, task }), Some(publisher))
            }
            None => (None, None),
        };
        let mut beat = tokio::time::interval(TELL_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Ok(Self {
            json,
            started,
            until: options
                .lasting
                .map(|lasting| Instant::now() + Duration::from_secs(lasting)),
            session: session.clone(),
            frames,
            connected: media.connected(),
            sending,
            publisher,
            recorder,
            recorded: None,
            beat,
            came: BTreeMap::new(),
            connected_ms: None,
            first_frame_ms: None,
            faults: 0,
            recovered_ms: Vec::new(),
            told: 0,
        })
    }

    /// Waits for the next thing, and takes it. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Happened, Failure> {
        let until = self.until;
        tokio::select! {
            Some(received) = self.frames.next() => self.received(&received)?,
            Ok(()) = self.connected.changed() => self.transport(),
            _ = self.beat.tick() => self.tell(),
            sent = ended(&mut self.sending) => {
                self.sending = None;
                sent?;
                let rest = Instant::now() + REST_WITHIN;
                self.until = Some(self.until.map_or(rest, |until| until.min(rest)));
            }
            () = reached(until) => return Ok(Happened::Done),
        }
        Ok(Happened::Nothing)
    }

    pub(super) fn event(&mut self, event: &Event) {
        if let Event::MediaLost { .. } = event {
            self.faults += 1;
        }
        if let Event::MediaRecovered { lost_ms, .. } = event {
            self.recovered_ms.push(*lost_ms);
        }
    }

    fn transport(&mut self) {
        let Some(peer) = *self.connected.borrow_and_update() else {
            return;
        };
        let ms = ms(self.started.elapsed());
        let is_first = self.connected_ms.is_none();
        self.connected_ms.get_or_insert(ms);
        if self.json {
            let line = json!({ "event": "media_connected", "peer": peer, "after_ms": ms });
            terminal::print(&line.to_string());
        }
        let line = if is_first {
            format!("media connected in {ms} ms")
        } else {
            format!("media connected by transport {peer}")
        };
        say_as(Tone::Good, &line);
    }

    fn received(&mut self, received: &Received) -> Result<(), Failure> {
        if self.first_frame_ms.is_none() {
            self.first_frame_ms = Some(ms(self.started.elapsed()));
        }
        let key = (
            received.participant.to_string(),
            received.track.as_str().to_owned(),
        );
        let came = self.came.entry(key).or_default();
        came.frames += 1;
        came.keyframes += u64::from(received.frame.key && received.kind == Kind::Video);
        match pattern::number(&received.frame.data) {
            Some(number) if received.codec == Codec::H264 => {
                let tally = came.tally.get_or_insert_default();
                tally.take(number, received.at);
            }
            Some(_) | None => came.gaps += u64::from(!received.contiguous),
        }
        if received.kind != Kind::Video {
            return Ok(());
        }
        if let Some((path, writer)) = &mut self.recorder {
            let of = (received.participant.clone(), received.track.clone());
            if self.recorded.get_or_insert_with(|| of.clone()) == &of {
                let written = writer.write(received);
                written.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            }
        }
        Ok(())
    }

    /// How it goes, for scripts each second, for people now and then.
    fn tell(&mut self) {
        if self.json {
            let mut line = self.counts();
            line["event"] = json!("media");
            return terminal::print(&line.to_string());
        }
        self.told += 1;
        if self.told.is_multiple_of(10) {
            say_as(Tone::Quiet, &self.words());
        }
    }

    fn counts(&self) -> Value {
        let counts = self.publisher.as_ref().map(|of| of.counts());
        let sum = |of: fn(&Came) -> u64| self.came.values().map(of).sum::<u64>();
        let lost = |came: &Came| came.tally.map_or(came.gaps, |tally| tally.lost);
        let doubled = |came: &Came| came.tally.map_or(0, |tally| tally.doubled);
        let gap = |came: &Came| came.tally.map(|tally| ms(tally.longest_gap));
        json!({
            "connected_ms": self.connected_ms,
            "first_frame_ms": self.first_frame_ms,
            "sent": counts.map(|counts| counts.sent),
            "dropped": counts.map(|counts| counts.dropped()),
            "keyframes_asked": counts.map(|counts| counts.keyframes_asked),
            "received": sum(|came| came.frames),
            "keyframes": sum(|came| came.keyframes),
            "lost": self.came.values().map(lost).sum::<u64>(),
            "doubled": self.came.values().map(doubled).sum::<u64>(),
            "longest_gap_ms": self.came.values().filter_map(gap).max(),
            "faults": self.faults,
            "recovered_ms": self.recovered_ms,
        })
    }

    fn words(&self) -> String {
        let counts = self.counts();
        let of = |name: &str| counts[name].as_u64().unwrap_or(0);
        format!(
            "frames: {} received, {} lost, {} twice, {} keyframes; {} faults",
            of("received"),
            of("lost"),
            of("doubled"),
            of("keyframes"),
            of("faults")
        )
    }

    /// Stops sending, ends the file, and says what became of it all.
    pub(super) async fn finish(mut self) -> Result<(), Failure> {
        if let Some(Sending { stop, task }) = self.sending.take() {
            let _ = stop.send(());
            task.await.map_err(Failure::temporary)??;
        }
        let packets_lost = self.session.media().stats().await.map(|stats| {
            let lines = stats.transports.iter().flat_map(|of| &of.lines);
            lines.map(|line| line.packets_lost).sum::<u64>()
        });
        // What is on its way still counts.
        while let Some(received) = self.frames.try_next() {
            self.received(&received)?;
        }
        let recorded = match self.recorder.take() {
            Some((path, writer)) => {
                let frames = writer
                    .finish()
                    .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                Some((path, frames))
            }
            None => None,
        };
        let mut line = self.counts();
        if self.json {
            line["event"] = json!("media_summary");
            line["packets_lost"] = json!(packets_lost);
            line["recorded"] = json!(recorded.as_ref().map(|(_, frames)| frames));
            terminal::print(&line.to_string());
        }
        if let Some(counts) = self.publisher.as_ref().map(|of| of.counts()) {
            let line = format!(
                "sent {} frames, {} before or between transports; keyframes asked {} times",
                counts.sent,
                counts.dropped(),
                counts.keyframes_asked
            );
            say_as(Tone::Quiet, &line);
        }
        say_as(Tone::Quiet, &self.words());
        for lost_ms in &self.recovered_ms {
            say_as(Tone::Quiet, &format!("media was back after {lost_ms} ms"));
        }
        if let Some((path, frames)) = recorded {
            let line = format!("wrote {frames} frames to {}", path.display());
            say_as(Tone::Quiet, &line);
        }
        Ok(())
    }
}

/// Sends until it is stopped, or there is nothing more.
async fn send(
    publisher: Arc<Publisher>,
    mut source: Source,
    period: Duration,
    mut stopped: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let started = Instant::now();
    // What is sent before the first transport stands is lost: a file begins when a keyframe is wanted.
    if matches!(source, Source::File(_)) {
        tokio::select! {
            () = publisher.keyframe_wanted() => {}
            _ = &mut stopped => return Ok(()),
        }
    }
    let waited = started.elapsed();
    let mut due = started + waited;
    while let Some(frame) = source.next(publisher.take_keyframe_wanted())? {
        due = match source {
            Source::Pattern(_) => due + period,
            Source::File(_) => due.max(started + waited + frame.timestamp),
        };
        tokio::select! {
            () = sleep_until(due.into()) => {}
            _ = &mut stopped => return Ok(()),
        }
        // A frame that is not taken is counted where it was not.
        let _ = publisher.send_frame(frame);
    }
    Ok(())
}

async fn ended(sending: &mut Option<Sending>) -> Result<(), Failure> {
    match sending {
        Some(sending) => match (&mut sending.task).await {
            Ok(ended) => ended,
            Err(error) => Err(Failure::temporary(error)),
        },
        None => std::future::pending().await,
    }
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
