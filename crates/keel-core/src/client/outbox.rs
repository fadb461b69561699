//! Commands between the caller and their receipts: bounded, in order, each answered once.
//!
//! A number is given when a command is first sent, so that one refused before that leaves no hole in
//! the stream. Above the server's `consumed` a command is sent again after each welcome; at or below
//! it never, because the server has it or has its receipt.

use std::{collections::VecDeque, time::Duration};

use keel_wire::{
    ClientFrame, Command, CommandFrame, RawData, Seq, StreamId, StreamState,
    limits::FRAME_IN_BYTES_MAX,
};

use crate::{Instant, limits};

/// One command that has no receipt yet.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) local: u64,
    name: &'static str,
    data: RawData,
    accepted: Instant,
    ttl: Option<Duration>,
    /// Its number, once it was sent.
    n: Option<Seq>,
    /// Whether it has been sent since the last welcome.
    on_its_way: bool,
    /// When to say that it still waits.
    tell_at: Instant,
    tell_every: Duration,
}

impl Entry {
    pub(super) const fn was_sent(&self) -> bool {
        self.n.is_some()
    }

    fn expires(&self) -> Option<Instant> {
        self.ttl.map(|ttl| self.accepted + ttl)
    }
}

/// The commands of one stream.
#[derive(Debug)]
pub(super) struct Outbox {
    stream: StreamId,
    next: Seq,
    consumed: Seq,
    bytes: usize,
    /// Those sent come first, in the order of their numbers.
    entries: VecDeque<Entry>,
}

/// Why a command is not taken.
#[derive(Debug)]
pub(super) enum Refusal {
    /// As many wait as may.
    Full,
    /// No frame can hold it.
    TooLarge,
}

impl Outbox {
    pub(super) const fn new(stream: StreamId, next: Seq) -> Self {
        Self {
            stream,
            next,
            consumed: Seq::ZERO,
            bytes: 0,
            entries: VecDeque::new(),
        }
    }

    pub(super) const fn stream(&self) -> &StreamId {
        &self.stream
    }

    pub(super) const fn next(&self) -> Seq {
        self.next
    }

    pub(super) const fn consumed(&self) -> Seq {
        self.consumed
    }

    /// Where the stream stands, for hello.
    pub(super) fn state(&self) -> StreamState {
        StreamState {
            id: self.stream.clone(),
            next: self.next,
            receipts_ack: self.receipts_ack(),
        }
    }

    /// Every receipt up to here was read.
    fn receipts_ack(&self) -> Seq {
        let first = self
            .entries
            .front()
            .and_then(|entry| entry.n)
            .unwrap_or(self.next);
        Seq::new(first.get().saturating_sub(1)).unwrap_or_default()
    }

    pub(super) fn push(
        &mut self,
        now: Instant,
        local: u64,
        command: &Command,
        ttl: Option<Duration>,
    ) -> Result<(), Refusal> {
        let data = command.encode_data();
        if data.len() > FRAME_IN_BYTES_MAX - limits::COMMAND_ENVELOPE_BYTES {
            return Err(Refusal::TooLarge);
        }
        let bytes = self.bytes + data.len();
        if self.entries.len() >= limits::OUTBOX_COMMANDS_MAX || bytes > limits::OUTBOX_BYTES_MAX {
            return Err(Refusal::Full);
        }
        self.bytes = bytes;
        self.entries.push_back(Entry {
            local,
            name: command.name(),
            data: RawData::trusted(data),
            accepted: now,
            ttl,
            n: None,
            on_its_way: false,
            tell_at: now + limits::STILL_WAITING_AFTER,
            tell_every: limits::STILL_WAITING_AFTER,
        });
        Ok(())
    }

    /// The server has taken commands up to `consumed`; all else must be sent again.
    pub(super) fn welcomed(&mut self, consumed: Seq) {
        self.consumed = consumed;
        for entry in &mut self.entries {
            entry.on_its_way = entry.n.is_some_and(|n| n <= consumed);
        }
    }

    /// The next command to send, where the server takes `in_flight_max` without a receipt.
    pub(super) fn send_next(&mut self, now: Instant, in_flight_max: usize) -> Option<Vec<u8>> {
        let receipts_ack = self.receipts_ack();
        let at = self.entries.iter().position(|entry| !entry.on_its_way)?;
        let next = self.next;
        let entry = self.entries.get_mut(at).filter(|_| at < in_flight_max)?;
        entry.on_its_way = true;
        let n = *entry.n.get_or_insert(next);
        if n == next {
            self.next = next.next();
        }
        let ttl_ms = entry.expires().map(|expires| expires.ms_since(now));
        let frame = CommandFrame {
            n,
            name: entry.name.to_owned(),
            ttl_ms,
            receipts_ack,
            data: entry.data.clone(),
        };
        Some(ClientFrame::from(frame).encode())
    }

    /// The command that a receipt answers, if it still waits for one.
    pub(super) fn answered(&mut self, n: Seq) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.n == Some(n))?;
        self.consumed = self.consumed.max(n);
        self.remove(at)
    }

    /// A command that was not sent within its time.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Entry> {
        let is_over = |entry: &Entry| {
            !entry.was_sent() && entry.expires().is_some_and(|expires| expires <= now)
        };
        let at = self.entries.iter().position(is_over)?;
        self.remove(at)
    }

    /// A command whose caller is to be told that it still waits, and for how long.
    pub(super) fn still_waiting(&mut self, now: Instant) -> Option<(u64, u64)> {
        let entry = self.entries.iter_mut().find(|entry| entry.tell_at <= now)?;
        entry.tell_every = (entry.tell_every * 2).min(limits::STILL_WAITING_CAP);
        entry.tell_at = now + entry.tell_every;
        Some((entry.local, now.ms_since(entry.accepted)))
    }

    /// A command that was sent, because nobody knows any more what became of those.
    pub(super) fn give_up_sent(&mut self) -> Option<Entry> {
        self.entries.front().filter(|entry| entry.was_sent())?;
        self.remove(0)
    }

    /// Any command, because none will be answered any more.
    pub(super) fn give_up(&mut self) -> Option<Entry> {
        self.remove(0)
    }

    /// Time that passed unseen by the monotonic clock counts against every ttl.
    pub(super) fn slept(&mut self, unseen: Duration) {
        for entry in &mut self.entries {
            entry.ttl = entry.ttl.map(|ttl| ttl.saturating_sub(unseen));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let of = |entry: &Entry| {
            let expires = entry.expires().filter(|_| !entry.was_sent());
            expires.map_or(entry.tell_at, |expires| expires.min(entry.tell_at))
        };
        self.entries.iter().map(of).min()
    }

    fn remove(&mut self, at: usize) -> Option<Entry> {
        let entry = self.entries.remove(at)?;
        self.bytes = self.bytes.saturating_sub(entry.data.get().len());
        Some(entry)
    }
}
