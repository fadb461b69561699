//! What is published, and what the session has been told of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use futures_util::stream::FuturesUnordered;
use keel_media::{
    Kind,
    client::{Source, SourceId},
};
use keel_wire::{Command, MuteTrack, PublishTrack, TrackKind, TrackName, UnpublishTrack};
use tokio::sync::{mpsc, oneshot};

use super::{Publish, publisher::Shared};
use crate::{CommandError, Receipt, request};

type Done = oneshot::Sender<Result<(), CommandError>>;
type Published = oneshot::Sender<Result<SourceId, CommandError>>;

/// One published track.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: TrackName,
    pub(super) what: Publish,
    pub(super) shared: Arc<Shared>,
    /// The session knows of it: it may be offered.
    pub(super) is_known: bool,
    /// The session was told of it, and has not answered yet.
    is_asked: bool,
    muted: bool,
}

impl Entry {
    pub(super) fn source(&self) -> Source {
        Source {
            kind: self.what.kind,
            codec: self.what.codec,
            layers: self.what.layers.clone(),
        }
    }
}

/// What a receipt is waited for.
#[derive(Debug)]
pub(super) enum After {
    Published {
        source: SourceId,
        done: Option<Published>,
    },
    Told(Option<Done>),
}

/// A receipt that has come, and what it is of.
pub(super) type Told = (Result<(), CommandError>, After);
type Waiting = std::pin::Pin<Box<dyn Future<Output = Told> + Send>>;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Sources {
    table: BTreeMap<SourceId, Entry>,
    last: u64,
    orders: mpsc::Sender<request::Order>,
    pub(super) receipts: FuturesUnordered<Waiting>,
}

impl Sources {
    pub(super) fn new(orders: mpsc::Sender<request::Order>) -> Self {
        Self {
            table: BTreeMap::new(),
            last: 0,
            orders,
            receipts: FuturesUnordered::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    pub(super) fn get(&self, source: SourceId) -> Option<&Entry> {
        self.table.get(&source)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SourceId, &Entry)> {
        self.table.iter().map(|(source, entry)| (*source, entry))
    }

    /// Tells the session of a track.
    pub(super) fn publish(
        &mut self,
        what: Publish,
        name: TrackName,
        shared: Arc<Shared>,
        done: Published,
    ) {
        self.last += 1;
        let source = SourceId(self.last);
        let command = publish(&name, what.kind);
        let entry = Entry {
            name,
            what,
            shared,
            is_known: false,
            is_asked: true,
            muted: false,
        };
        self.table.insert(source, entry);
        let done = Some(done);
        self.command(command, After::Published { source, done });
    }

    /// The session is another one's, or has forgotten: whatever it does not know is told anew; what it
    /// refused when it was told last, too. So is a mute that it did not take.
    pub(super) fn publish_anew(&mut self, known: &BTreeMap<TrackName, bool>) {
        let mut anew = Vec::new();
        let of = |entry: &Entry| known.get(&entry.name).copied();
        let differs = |entry: &&Entry| of(entry).is_some_and(|muted| muted != entry.muted);
        for entry in self.table.values().filter(differs) {
            self.say_muted(entry.name.clone(), entry.muted, None);
        }
        for (source, entry) in &mut self.table {
            if !entry.is_asked && !known.contains_key(&entry.name) {
                (entry.is_known, entry.is_asked) = (false, true);
                anew.push((*source, entry.name.clone(), entry.what.kind, entry.muted));
            }
        }
        for (source, name, kind, muted) in anew {
            let done = None;
            self.command(publish(&name, kind), After::Published { source, done });
            if muted {
                self.say_muted(name, muted, None);
            }
        }
    }

    fn say_muted(&self, track: TrackName, muted: bool, done: Option<Done>) {
        let command = MuteTrack { track, muted };
        self.command(command.into(), After::Told(done));
    }

    pub(super) fn mute(&mut self, source: SourceId, muted: bool, done: Done) {
        let Some(entry) = self.table.get_mut(&source) else {
            return;
        };
        entry.muted = muted;
        let track = entry.name.clone();
        self.say_muted(track, muted, Some(done));
    }

    /// Forgets a source, and tells the session. True if there was one.
    pub(super) fn unpublish(&mut self, source: SourceId, done: Option<Done>) -> bool {
        let Some(entry) = self.table.remove(&source) else {
            return false;
        };
        // Another handle may publish the same track.
        let same = |other: &Entry| other.name == entry.name;
        if self.table.values().any(same) {
            if let Some(done) = done {
                let _ = done.send(Ok(()));
            }
            return true;
        }
        let command = UnpublishTrack { track: entry.name };
        self.command(command.into(), After::Told(done));
        true
    }

    /// Sources whose handles are gone.
    pub(super) fn abandoned(&self) -> Vec<SourceId> {
        let gone = |entry: &Entry| entry.shared.gone.load(Ordering::Relaxed);
        let table = self.table.iter();
        table
            .filter(|(_, entry)| gone(entry))
            .map(|(source, _)| *source)
            .collect()
    }

    /// Takes what became of a command. The source that may be offered from now on, if there is one.
    pub(super) fn told(&mut self, (outcome, after): Told) -> Option<SourceId> {
        match after {
            After::Told(done) => {
                if let Some(done) = done {
                    let _ = done.send(outcome);
                }
                None
            }
            After::Published { source, done } => {
                let entry = self.table.get_mut(&source)?;
                (entry.is_known, entry.is_asked) = (outcome.is_ok(), false);
                if let Err(error) = &outcome {
                    tracing::warn!(%error, track = %entry.name, "a track is not published");
                    if done.is_some() {
                        self.table.remove(&source);
                    }
                }
                let is_known = outcome.is_ok();
                if let Some(done) = done {
                    let _ = done.send(outcome.map(|()| source));
                }
                is_known.then_some(source)
            }
        }
    }

    fn command(&self, command: Command, after: After) {
        let receipt: Receipt = request::submit(&self.orders, command, None);
        self.receipts.push(Box::pin(async move {
            let outcome = receipt.await.map(|_| ());
            (outcome, after)
        }));
    }
}

fn publish(name: &TrackName, kind: Kind) -> Command {
    let kind = match kind {
        Kind::Audio => TrackKind::Audio,
        Kind::Video => TrackKind::Video,
    };
    let track = name.clone();
    PublishTrack { track, kind }.into()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use keel_core::client::CommandOutcome;
    use keel_media::Codec;
    use keel_wire::{Code, ReceiptBody};

    use super::*;
    use crate::error::own_fault;

    /// The session answers the next command.
    async fn answered(
        sources: &mut Sources,
        orders: &mut mpsc::Receiver<request::Order>,
        body: ReceiptBody,
    ) -> (Command, Option<SourceId>) {
        let order = orders.try_recv().expect("a command");
        order
            .receipt
            .send(CommandOutcome::Answered(body))
            .expect("somebody waits");
        let told = sources.receipts.next().await.expect("a receipt");
        (order.command, sources.told(told))
    }

    #[tokio::test]
    async fn what_was_refused_after_a_recovery_is_told_again_at_the_next_m19() {
        let (orders, mut asked) = mpsc::channel(8);
        let mut sources = Sources::new(orders);
        let name: TrackName = "camera".parse().expect("a name");
        let what = Publish::video("camera", Codec::Vp8);
        let (done, published) = oneshot::channel();
        sources.publish(what, name.clone(), Arc::default(), done);
        let (_, source) = answered(&mut sources, &mut asked, ReceiptBody::ok()).await;
        assert_eq!(published.await.expect("told").ok(), source);

        // The session has forgotten, and does not take it at once.
        sources.publish_anew(&BTreeMap::new());
        let busy = ReceiptBody::Fault(Box::new(own_fault(Code::SessionLimit, "full")));
        let (_, refused) = answered(&mut sources, &mut asked, busy).await;
        assert_eq!(refused, None);

        sources.publish_anew(&BTreeMap::new());
        sources.publish_anew(&BTreeMap::new());
        let (command, again) = answered(&mut sources, &mut asked, ReceiptBody::ok()).await;
        assert_eq!((command, again), (publish(&name, Kind::Video), source));
        assert!(asked.try_recv().is_err(), "told once");

        // Nor does it take that it is muted.
        let (done, muted) = oneshot::channel();
        sources.mute(source.expect("published"), true, done);
        let busy = ReceiptBody::Fault(Box::new(own_fault(Code::RateLimited, "busy")));
        let (first, _) = answered(&mut sources, &mut asked, busy).await;
        assert!(muted.await.expect("told").is_err());
        sources.publish_anew(&BTreeMap::from([(name.clone(), false)]));
        let (second, _) = answered(&mut sources, &mut asked, ReceiptBody::ok()).await;
        assert_eq!(first, second);
        sources.publish_anew(&BTreeMap::from([(name, true)]));
        assert!(asked.try_recv().is_err(), "it is known");
    }
}
