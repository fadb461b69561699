//! Command streams: each command runs once, and its receipt is kept until the client has read it.
//!
//! A command that is run writes `consumed` and its receipt in the same batch as what it did. So a
//! number at or below `consumed` that has neither a receipt nor a place in a batch was never run, and
//! that is what its sender is told. Of a stream that is no longer kept nobody knows that much, so its
//! sender is told just this.

use std::collections::{BTreeMap, BTreeSet};

use keel_wire::{
    Code, CommandId, ParticipantId, Receipt, ReceiptBody, Seq, StreamId, StreamState,
    record::{LoadedStream, StoredReceipt, StreamRow},
};

use super::Session;
use crate::{
    Instant, limits,
    node::{ConnId, Ctx, Phase},
};

/// One SDK instance's commands.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) participant: ParticipantId,
    /// Commands up to here were taken, or passed over.
    pub(crate) consumed: Seq,
    /// Receipts up to here are forgotten.
    pub(crate) ack: Seq,
    /// What became of commands up to here that have no receipt is not known.
    pub(crate) forgotten: Seq,
    /// Committed receipts above `ack`.
    pub(crate) receipts: BTreeMap<Seq, ReceiptBody>,
    /// When it was last used.
    pub(crate) used: Instant,
}

impl Stream {
    pub(super) fn loaded(loaded: LoadedStream, now: Instant) -> (StreamId, Self) {
        let row = loaded.row;
        let stream = Self {
            participant: row.participant,
            consumed: row.consumed,
            ack: row.receipts_ack,
            forgotten: row.forgotten,
            receipts: loaded.receipts.into_iter().collect(),
            used: now,
        };
        (row.stream, stream)
    }

    /// Forgets receipts that the client has read.
    pub(super) fn acknowledge(&mut self, ack: Seq) {
        self.ack = self.ack.max(ack.min(self.consumed));
        self.receipts = self.receipts.split_off(&self.ack.next());
    }
}

impl Session {
    pub(super) fn stream_row(&self, id: &StreamId) -> Option<StreamRow> {
        let stream = self.streams.get(id)?;
        Some(StreamRow {
            stream: id.clone(),
            participant: stream.participant.clone(),
            consumed: stream.consumed,
            receipts_ack: stream.ack,
            forgotten: stream.forgotten,
        })
    }

    /// Opens the stream that a hello named, or finds it; what it says is `consumed` for the welcome.
    ///
    /// `came_back` with a stream that is not known here is a stream that has expired: nothing that was
    /// sent on it is run any more, and what became of it is not known.
    pub(super) fn open_stream(
        &mut self,
        participant: &ParticipantId,
        state: &StreamState,
        came_back: bool,
        ctx: &mut Ctx<'_>,
    ) -> Result<Seq, Box<keel_wire::Fault>> {
        if let Some(stream) = self.streams.get_mut(&state.id) {
            if stream.participant != *participant {
                let fault = ctx
                    .fault(Code::InvalidRequest)
                    .message("the stream is not yours");
                return Err(Box::new(fault));
            }
            stream.used = ctx.now.mono;
            stream.acknowledge(state.receipts_ack);
            return Ok(stream.consumed);
        }
        self.make_room_for_a_stream(ctx);
        let sent = Seq::new(state.next.get().saturating_sub(1)).unwrap_or(Seq::ZERO);
        let consumed = if came_back { sent } else { Seq::ZERO };
        let stream = Stream {
            participant: participant.clone(),
            consumed,
            ack: if came_back {
                state.receipts_ack.min(consumed)
            } else {
                Seq::ZERO
            },
            forgotten: consumed,
            receipts: BTreeMap::new(),
            used: ctx.now.mono,
        };
        self.streams.insert(state.id.clone(), stream);
        Ok(consumed)
    }

    /// A client comes back as a new participant: what became of its commands is known to nobody here,
    /// so nothing is said about them, and none is run again.
    pub(super) fn forget_outcomes(
        &mut self,
        participant: &ParticipantId,
        state: &StreamState,
        ctx: &Ctx<'_>,
    ) {
        if self.streams.contains_key(&state.id) {
            return;
        }
        self.make_room_for_a_stream(ctx);
        let sent = Seq::new(state.next.get().saturating_sub(1)).unwrap_or(Seq::ZERO);
        let stream = Stream {
            participant: participant.clone(),
            consumed: sent,
            ack: sent,
            forgotten: sent,
            receipts: BTreeMap::new(),
            used: ctx.now.mono,
        };
        self.streams.insert(state.id.clone(), stream);
    }

    /// Drops the stream that was used longest ago, if there is no room for one more.
    pub(super) fn make_room_for_a_stream(&mut self, ctx: &Ctx<'_>) {
        self.make_room(limits::STREAMS_MAX, Self::is_a_members, ctx);
    }

    /// The same among those of HTTP, each of which is one command under its idempotency key.
    pub(super) fn make_room_for_a_key(&mut self, ctx: &Ctx<'_>) {
        self.make_room(
            limits::IDEMPOTENCY_KEYS_MAX,
            |session, stream| !session.is_a_members(stream),
            ctx,
        );
    }

    fn is_a_members(&self, stream: &Stream) -> bool {
        self.members.contains_key(&stream.participant)
    }

    fn make_room(&mut self, max: usize, counts: fn(&Self, &Stream) -> bool, ctx: &Ctx<'_>) {
        if self.streams.len() < max {
            return;
        }
        let mut over = (self.streams.values())
            .filter(|stream| counts(self, stream))
            .count()
            .saturating_sub(max - 1);
        if over == 0 {
            return;
        }
        let in_use: BTreeSet<StreamId> = self
            .connections()
            .into_iter()
            .filter_map(|conn| ctx.conns.get(conn)?.stream_in_use().cloned())
            .collect();
        while over > 0 {
            let oldest = self
                .streams
                .iter()
                .filter(|(id, stream)| {
                    let free = !in_use.contains(*id) && counts(self, stream);
                    free && !self.receipt_is_pending(id, stream.consumed)
                })
                .min_by_key(|(_, stream)| stream.used)
                .map(|(id, _)| id.clone());
            let Some(id) = oldest else { return };
            self.streams.remove(&id);
            self.stage_stream_drop(id);
            over -= 1;
        }
    }

    /// Tells a client that is back what became of the commands that it has no receipt for.
    pub(super) fn tell_receipts(&self, conn: ConnId, ctx: &mut Ctx<'_>) {
        let Some(id) = ctx.conns.get(conn).and_then(|conn| conn.stream.clone()) else {
            return;
        };
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let open = stream
            .consumed
            .since(stream.ack)
            .min(limits::RECEIPTS_MAX as u64);
        let first = stream.consumed.get() - open + 1;
        for n in (first..=stream.consumed.get()).filter_map(Seq::new) {
            let kept = self
                .streams
                .get(&id)
                .and_then(|stream| stream.receipts.get(&n))
                .cloned();
            let body = match kept {
                Some(body) => body,
                None if self.receipt_is_pending(&id, n) => continue,
                None => ReceiptBody::Fault(Box::new(self.without_receipt(&id, n, ctx))),
            };
            ctx.conns.tell(conn, &Receipt { n, body }.into(), ctx.out);
        }
    }

    /// What is said of a command that was passed over, or whose stream has been.
    fn without_receipt(&self, stream: &StreamId, n: Seq, ctx: &mut Ctx<'_>) -> keel_wire::Fault {
        let stream = self.streams.get(stream);
        if stream.is_some_and(|stream| n <= stream.forgotten) {
            return ctx.fault(Code::OutcomeUnknown).session(&self.id);
        }
        ctx.fault(Code::Expired)
            .session(&self.id)
            .message("the command was not run: its place in the stream was passed over")
    }

    /// What became of a command whose number was seen before; `None` while that is being written.
    pub(super) fn answer_again(
        &self,
        command: &CommandId,
        ctx: &mut Ctx<'_>,
    ) -> Option<ReceiptBody> {
        let stream = self.streams.get(&command.stream)?;
        if let Some(body) = stream.receipts.get(&command.n) {
            return Some(body.clone());
        }
        if self.receipt_is_pending(&command.stream, command.n) {
            return None;
        }
        let fault = if command.n <= stream.ack && command.n > stream.forgotten {
            ctx.fault(Code::Duplicate).session(&self.id)
        } else {
            self.without_receipt(&command.stream, command.n, ctx)
        };
        Some(ReceiptBody::Fault(Box::new(fault)))
    }

    /// Stages that a command was taken and what became of it.
    pub(super) fn consume(&mut self, command: &CommandId, body: ReceiptBody) {
        if let Some(stream) = self.streams.get_mut(&command.stream) {
            stream.consumed = command.n;
        }
        self.stage_receipt(StoredReceipt {
            stream: command.stream.clone(),
            n: command.n,
            body,
        });
    }

    /// A receipt is committed: it is kept, and told if its sender is there.
    pub(super) fn keep_receipt(&mut self, receipt: &StoredReceipt, ctx: &mut Ctx<'_>) {
        let Some(stream) = self.streams.get_mut(&receipt.stream) else {
            return;
        };
        if receipt.n > stream.ack {
            stream.receipts.insert(receipt.n, receipt.body.clone());
        }
        let member = self.members.get(&stream.participant);
        let Some(conn) = member.and_then(|member| member.conn) else {
            return;
        };
        let theirs = ctx.conns.get(conn).is_some_and(|conn| {
            conn.stream.as_ref() == Some(&receipt.stream)
                && matches!(conn.phase, Phase::Attached { welcomed: true, .. })
        });
        if theirs {
            let frame = Receipt {
                n: receipt.n,
                body: receipt.body.clone(),
            };
            ctx.conns.tell(conn, &frame.into(), ctx.out);
        }
    }

    /// Drops the streams of a participant that has left.
    pub(super) fn drop_streams_of(&mut self, participant: &ParticipantId) {
        let gone: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.participant == *participant)
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.streams.remove(&id);
            self.stage_stream_drop(id);
        }
    }
}
