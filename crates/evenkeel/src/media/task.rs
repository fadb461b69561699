//! The one task of a session's media: owns the transports, and does what the machine orders.
//!
//! It decides nothing about when a transport is opened, restarted or given up.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use keel_core::client::{Input, LineSample, MediaInput, MediaOrder, TransportState};
use keel_media::{
    Kind,
    client::{Client, Frame as Came, NotSent, Output, SourceId},
};
use keel_wire::{
    AnswerFrame, CandidateFrame, LinesFrame, MediaLine, MediaSignal, OfferFrame, ParticipantId,
    TrackName,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep_until,
};

use super::{
    Ask, Frame, LineStats, Outgoing, Received, Stats, TransportStats,
    frames::Queue,
    publisher::count,
    sources::Sources,
    transport::{Name, Transport},
};
use crate::request;

/// What the task has to tell the driver; then the oldest is dropped, which never happens while the
/// driver runs.
const TELLING_MAX: usize = 1_024;

/// What the machine wants done, and which of this participant's tracks the session knows, and as muted.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) order: MediaOrder,
    pub(crate) participant: Option<ParticipantId>,
    pub(crate) known: BTreeMap<TrackName, bool>,
}

/// What a task is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// From the driver; the task ends with it.
    pub(crate) orders: mpsc::UnboundedReceiver<Order>,
    /// To the driver.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Commands of its own.
    pub(crate) commands: mpsc::Sender<request::Order>,
}

/// The ends of what handles hold.
#[derive(Debug)]
pub(super) struct Handles {
    pub(super) asks: mpsc::Receiver<Ask>,
    pub(super) outgoing: mpsc::Receiver<Outgoing>,
    pub(super) wake: Arc<Notify>,
    pub(super) connected: watch::Sender<Option<u32>>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Task {
    orders: mpsc::UnboundedReceiver<Order>,
    inputs: mpsc::Sender<Input>,
    asks: mpsc::Receiver<Ask>,
    outgoing: mpsc::Receiver<Outgoing>,
    wake: Arc<Notify>,
    connected: watch::Sender<Option<u32>>,
    sources: Sources,
    readers: Vec<Arc<Queue>>,
    /// The newest last.
    transports: Vec<Transport>,
    me: Option<ParticipantId>,
    telling: VecDeque<MediaInput>,
    is_wanted: bool,
    stats: Stats,
    outputs: Vec<Output>,
}

impl Task {
    pub(super) fn new(parts: Parts, handles: Handles) -> Self {
        Self {
            orders: parts.orders,
            inputs: parts.inputs,
            asks: handles.asks,
            outgoing: handles.outgoing,
            wake: handles.wake,
            connected: handles.connected,
            sources: Sources::new(parts.commands),
            readers: Vec::new(),
            transports: Vec::new(),
            me: None,
            telling: VecDeque::new(),
            is_wanted: false,
            stats: Stats::default(),
            outputs: Vec::new(),
        }
    }

    /// Runs until the driver is gone; then every socket is.
    pub(crate) async fn run(mut self) {
        let inputs = self.inputs.clone();
        loop {
            let due = self.transports.iter().map(Transport::deadline).min();
            let transports = &self.transports;
            let tells = !self.telling.is_empty();
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.order(order),
                    None => break,
                },
                permit = inputs.reserve(), if tells => match permit {
                    Ok(permit) => if let Some(input) = self.telling.pop_front() {
                        permit.send(Input::Media(input));
                    },
                    Err(_) => break,
                },
                Some(told) = self.sources.receipts.next() => self.told(told),
                Some(ask) = self.asks.recv() => self.ask(ask),
                Some(outgoing) = self.outgoing.recv() => self.send(outgoing),
                () = self.wake.notified() => self.forget_abandoned(),
                () = readable(transports) => self.read(),
                () = until(due) => {}
            }
            self.step();
        }
        self.end();
    }

    fn end(&mut self) {
        let now = Instant::now();
        for transport in &mut self.transports {
            transport.client.close(now);
            transport.drain(now, &mut self.outputs);
        }
        for reader in &self.readers {
            reader.end();
        }
        // Who asked for frames at the last moment gets none.
        self.asks.close();
        while let Ok(ask) = self.asks.try_recv() {
            if let Ask::Receive(queue) = ask {
                queue.end();
            }
        }
        self.connected.send_replace(None);
    }

    /// Takes out of every transport what there is.
    fn step(&mut self) {
        let now = Instant::now();
        let mut nth = 0;
        while let Some(transport) = self.transports.get_mut(nth) {
            transport.drain(now, &mut self.outputs);
            let peer = transport.peer;
            if transport.is_late(now) {
                self.tell_state(peer, TransportState::Failed);
            }
            for output in std::mem::take(&mut self.outputs) {
                self.perform(now, peer, output);
            }
            nth += 1;
        }
        let mut newest = self.transports.iter().rev();
        let standing = newest.find(|transport| transport.client.is_connected());
        let standing = standing.map(|transport| transport.peer);
        self.connected.send_if_modified(|shown| {
            let differs = *shown != standing;
            *shown = standing;
            differs
        });
    }

    fn find(&mut self, peer: u32) -> Option<&mut Transport> {
        let mut transports = self.transports.iter_mut();
        transports.find(|transport| transport.peer == peer)
    }

    // The machine's orders.

    fn order(&mut self, order: Order) {
        let now = Instant::now();
        if order.participant.is_some() {
            self.me = order.participant;
        }
        match order.order {
            MediaOrder::Open { peer, .. } => {
                self.sources.publish_anew(&order.known);
                self.open(now, peer);
            }
            MediaOrder::Hear(signal) => self.hear(now, signal),
            MediaOrder::Restart { peer, .. } => {
                if let Some(transport) = self.find(peer) {
                    transport.client.restart();
                }
            }
            MediaOrder::Resume { peer } => {
                if let Some(transport) = self.find(peer) {
                    transport.client.resume(now);
                }
            }
            MediaOrder::Sample { peer } => self.sample(peer),
            MediaOrder::Close { peer } => {
                let closed = |transport: &Transport| transport.peer == peer;
                for mut transport in self.transports.extract_if(.., |of| closed(of)) {
                    transport.client.close(now);
                    transport.drain(now, &mut Vec::new());
                }
            }
        }
    }

    fn open(&mut self, now: Instant, peer: u32) {
        self.stats.opened += 1;
        let lines = usize::from(!self.readers.is_empty() || !self.sources.is_empty());
        let mut client = Client::new(now, lines, lines);
        for (source, entry) in self.sources.iter().filter(|(_, entry)| entry.is_known) {
            client.publish(source, entry.source());
        }
        self.transports.push(Transport::new(now, peer, client));
    }

    fn hear(&mut self, now: Instant, signal: MediaSignal) {
        let peer = signal.peer();
        let Some(transport) = self.find(peer) else {
            return;
        };
        let (heard, lines) = match signal {
            MediaSignal::Offer(OfferFrame { sdp, lines, .. }) => {
                (transport.client.hear_offer(now, &sdp), Some(lines))
            }
            MediaSignal::Answer(AnswerFrame { sdp, lines, .. }) => {
                (transport.client.hear_answer(now, &sdp), Some(lines))
            }
            MediaSignal::Candidate(CandidateFrame { candidate, .. }) => {
                if let Err(refusal) = transport.client.hear_candidate(now, &candidate) {
                    tracing::debug!(%refusal, "a candidate is passed over");
                }
                (Ok(()), None)
            }
            MediaSignal::Lines(LinesFrame { lines, .. }) => (Ok(()), Some(lines)),
            // Only a client says it.
            MediaSignal::Refresh(_) => return,
        };
        if let Err(refusal) = heard {
            tracing::warn!(%refusal, "what the server says of a transport cannot be accepted");
            return self.tell_state(peer, TransportState::Failed);
        }
        if let Some(lines) = lines {
            self.name(peer, lines);
        }
        self.begin_sources(peer);
    }

    /// What the server sends on which line.
    fn name(&mut self, peer: u32, lines: Vec<MediaLine>) {
        let me = self.me.clone();
        let Some(transport) = self.find(peer) else {
            return;
        };
        let named = lines.into_iter().filter_map(|line| {
            let participant = line.participant.or_else(|| me.clone())?;
            Some((line.mid, (participant, line.track)))
        });
        let waiting = transport.name(named.collect());
        for frame in waiting {
            self.came(peer, frame);
        }
    }

    fn sample(&mut self, peer: u32) {
        let Some(transport) = self.find(peer) else {
            return;
        };
        let lines = transport
            .client
            .samples()
            .into_iter()
            .map(|sample| LineSample {
                mid: sample.mid,
                packets: sample.packets,
                frames: sample.shown,
            });
        let lines = lines.collect();
        self.tell(MediaInput::Sampled { peer, lines });
    }

    // What the transports bring to light.

    fn perform(&mut self, now: Instant, peer: u32, output: Output) {
        match output {
            Output::Offer { sdp, lines } => {
                let named = lines.into_iter().filter_map(|(mid, source)| {
                    let track = self.sources.get(source)?.name.clone();
                    let participant = None;
                    Some(MediaLine {
                        mid,
                        participant,
                        track,
                    })
                });
                let lines = named.collect();
                let offer = OfferFrame {
                    peer,
                    sdp,
                    lines,
                    settled: false,
                };
                self.tell(MediaInput::Say(MediaSignal::Offer(offer)));
            }
            Output::Answer { sdp } => {
                let lines = Vec::new();
                let answer = AnswerFrame { peer, sdp, lines };
                self.tell(MediaInput::Say(MediaSignal::Answer(answer)));
            }
            Output::Connected => {
                self.tell_state(peer, TransportState::Connected);
                self.take_over(now, peer);
                self.begin_sources(peer);
            }
            Output::Reachable(true) => {
                let connected = |of: &mut Transport| of.client.is_connected();
                if self.find(peer).is_some_and(connected) {
                    self.tell_state(peer, TransportState::Connected);
                }
            }
            Output::Reachable(false) => self.tell_state(peer, TransportState::Disconnected),
            Output::KeyframeWanted { source, .. } => {
                if let Some(entry) = self.sources.get(source) {
                    entry.shared.want_keyframe();
                }
            }
            Output::Frame(frame) => self.came(peer, frame),
            Output::Over => self.tell_state(peer, TransportState::Failed),
            // The transport's own.
            Output::Transmit { .. } | Output::Reach { .. } => {}
        }
    }

    /// A transport stands: those before it are closed.
    fn take_over(&mut self, now: Instant, peer: u32) {
        for mut older in self.transports.extract_if(.., |of| of.peer < peer) {
            older.client.close(now);
            older.drain(now, &mut Vec::new());
        }
    }

    /// A source begins on a transport with a keyframe.
    fn begin_sources(&mut self, peer: u32) {
        let mut transports = self.transports.iter_mut();
        let Some(transport) = transports.find(|transport| transport.peer == peer) else {
            return;
        };
        for (source, entry) in self.sources.iter() {
            let stands = transport.client.is_connected() && transport.client.carries(source);
            if stands && entry.what.kind == Kind::Video && transport.begun.insert(source) {
                entry.shared.want_keyframe();
            }
        }
    }

    fn came(&mut self, peer: u32, frame: Came) {
        let newest = self.transports.iter().rev();
        let mut standing = newest.filter(|transport| transport.client.is_connected());
        if standing.next().is_some_and(|newest| newest.peer > peer) {
            self.stats.superseded += 1;
            return;
        }
        let Some(transport) = self.find(peer) else {
            return;
        };
        let Some((participant, track)) = transport.names.get(&frame.mid).cloned() else {
            if !transport.keep_unnamed(frame) {
                self.stats.unnamed += 1;
            }
            return;
        };
        if !transport.begins(&frame) {
            self.stats.superseded += 1;
            return;
        }
        let received = Received {
            participant,
            track,
            kind: frame.kind,
            codec: frame.codec,
            frame: Frame {
                data: frame.data,
                timestamp: frame.time,
                key: frame.key,
            },
            contiguous: frame.contiguous,
            peer,
            at: frame.at,
        };
        self.readers.retain(|reader| reader.push(received.clone()));
    }

    fn read(&mut self) {
        let now = Instant::now();
        for transport in &mut self.transports {
            transport.read(now);
        }
    }

    // What handles ask.

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Publish {
                what,
                name,
                shared,
                done,
            } => {
                self.sources.publish(what, name, shared, done);
                self.want();
            }
            Ask::Receive(queue) => {
                self.readers.push(queue);
                self.want();
            }
            Ask::Mute {
                source,
                muted,
                done,
            } => self.sources.mute(source, muted, done),
            Ask::Unpublish { source, done } => {
                self.withdraw(source);
                self.sources.unpublish(source, Some(done));
                self.want();
            }
            Ask::Stats(reply) => {
                let _ = reply.send(self.stats());
            }
            Ask::Retry => self.tell(MediaInput::Retry),
        }
    }

    fn withdraw(&mut self, source: SourceId) {
        for transport in &mut self.transports {
            transport.client.unpublish(source);
        }
    }

    fn forget_abandoned(&mut self) {
        for source in self.sources.abandoned() {
            self.withdraw(source);
            self.sources.unpublish(source, None);
        }
        self.readers.retain(|reader| !reader.is_abandoned());
        self.want();
    }

    fn told(&mut self, told: super::sources::Told) {
        let Some(source) = self.sources.told(told) else {
            // What was refused may have been all that there was.
            return self.want();
        };
        if let Some(entry) = self.sources.get(source) {
            for transport in &mut self.transports {
                transport.client.publish(source, entry.source());
            }
        }
        self.want();
    }

    /// A transport is wanted while there is something for it.
    fn want(&mut self) {
        let known = self.sources.iter().any(|(_, entry)| entry.is_known);
        let wanted =
            !self.readers.is_empty() || known || (self.is_wanted && !self.sources.is_empty());
        if wanted != self.is_wanted {
            self.is_wanted = wanted;
            self.tell(MediaInput::Want(wanted));
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        let now = Instant::now();
        let Some(entry) = self.sources.get(outgoing.source) else {
            return;
        };
        let (source, layer) = (outgoing.source, outgoing.layer);
        let time = ticks(entry.what.kind, outgoing.frame.timestamp);
        let mut failed = NotSent::NotConnected;
        // On the newest that takes it: the one before goes on until another has taken over.
        for transport in self.transports.iter_mut().rev() {
            let data = Arc::clone(&outgoing.frame.data);
            match transport.client.write(now, source, layer, time, data) {
                Ok(()) => return count(&entry.shared.sent),
                Err(NotSent::NotConnected) => {}
                Err(error) => failed = error,
            }
        }
        count(match failed {
            NotSent::NotConnected => &entry.shared.not_connected,
            NotSent::NoLine => &entry.shared.no_line,
            NotSent::NoCodec => &entry.shared.no_codec,
            NotSent::Refused => &entry.shared.refused,
        });
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.transports = self.transports.iter().map(stats_of).collect();
        stats
    }

    // To the driver.

    fn tell_state(&mut self, peer: u32, state: TransportState) {
        self.tell(MediaInput::Transport { peer, state });
    }

    fn tell(&mut self, input: MediaInput) {
        if self.telling.len() >= TELLING_MAX {
            tracing::error!("the driver does not listen");
            self.telling.pop_front();
        }
        self.telling.push_back(input);
    }
}

fn stats_of(transport: &Transport) -> TransportStats {
    let line = |sample: keel_media::client::Sample| {
        let name: Option<Name> = transport.names.get(&sample.mid).cloned();
        let (participant, track) = name.unzip();
        LineStats {
            mid: sample.mid,
            participant,
            track,
            packets: sample.packets,
            packets_lost: sample.lost,
            frames: sample.frames,
            keyframes: sample.keyframes,
            keyframes_asked: sample.asked,
        }
    };
    let sent = transport.client.sent();
    TransportStats {
        peer: transport.peer,
        connected: transport.client.is_connected(),
        frames_sent: sent.frames,
        packets_sent: sent.packets,
        lines: transport.client.samples().into_iter().map(line).collect(),
    }
}

/// In the clock that RTP counts in: 90 kHz for pictures, 48 kHz for sound.
fn ticks(kind: Kind, timestamp: Duration) -> u64 {
    let clock = match kind {
        Kind::Audio => 48_000,
        Kind::Video => 90_000,
    };
    let ticks = timestamp.as_nanos() * clock / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

async fn readable(transports: &[Transport]) {
    poll_fn(|cx| {
        let ready = transports.iter().map(|of| of.poll_readable(cx).is_ready());
        if ready.fold(false, |any, ready| any | ready) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
