//! Commands over HTTP: once for each key, whoever asks again.

use std::collections::BTreeMap;

use keel_wire::{Code, CommandId, Grant, ParticipantId, Seq, StreamId};
use sha2::{Digest, Sha256};

use super::{Session, commands::Asker, commit::Effect, streams::Stream};
use crate::node::{Answer, AskId, Ctx};

impl Session {
    /// A command over HTTP: once for each key, whoever asks again.
    ///
    /// The key names a stream with one command, whose number is a fingerprint of the body: the same
    /// key with another body is another number, and so a conflict.
    pub(crate) fn ask_command(
        &mut self,
        ask: AskId,
        grant: &Grant,
        key: &str,
        command: keel_wire::Command,
        ctx: &mut Ctx<'_>,
    ) {
        if self.stands_still() {
            let fault = Box::new(self.on_its_way(ctx));
            let body = keel_wire::ReceiptBody::Fault(fault);
            return ctx.reply(ask, Answer::Receipt(body));
        }
        let print = |parts: &[&str]| {
            let digest = Sha256::digest(parts.join("\n").as_bytes());
            digest
                .iter()
                .take(16)
                .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte))
        };
        let stream = StreamId::from_bits(print(&["stream", &grant.subject, key]));
        let body = print(&["body", command.name(), &command.encode_data()]);
        let n = Seq::new(u64::try_from(body >> 80).unwrap_or(0) + 1).unwrap_or(Seq::MAX);
        let participant = ParticipantId::from_bits(print(&["participant", &grant.subject]));
        let command_id = CommandId {
            stream: stream.clone(),
            n,
        };
        if let Some(known) = self.streams.get(&stream) {
            let same = known.consumed == n;
            let body = if same {
                self.answer_again(&command_id, ctx)
            } else {
                let why = "the idempotency key was used with another body";
                Some(keel_wire::ReceiptBody::Fault(self.no(
                    Code::Duplicate,
                    why,
                    ctx,
                )))
            };
            return match body {
                Some(body) => ctx.reply(ask, Answer::Receipt(body)),
                None => self.after_commit(Effect::Reply {
                    ask,
                    command: command_id,
                }),
            };
        }
        let asker = Asker {
            participant,
            role: grant.role,
            command: command_id,
            conn: None,
            ttl_ms: None,
        };
        match self.run_command(&asker, command, ctx) {
            Ok(body) => {
                self.make_room_for_a_key(ctx);
                self.streams.insert(
                    stream,
                    Stream {
                        participant: asker.participant.clone(),
                        consumed: Seq::ZERO,
                        ack: Seq::ZERO,
                        forgotten: Seq::ZERO,
                        receipts: BTreeMap::new(),
                        used: ctx.now.mono,
                    },
                );
                self.consume(&asker.command, body);
                self.after_commit(Effect::Reply {
                    ask,
                    command: asker.command,
                });
            }
            Err(fault) => {
                ctx.reply(ask, Answer::Receipt(keel_wire::ReceiptBody::Fault(fault)));
            }
        }
    }

    pub(super) fn reply_committed(&self, ask: AskId, command: &CommandId, ctx: &mut Ctx<'_>) {
        if let Some(body) = self.answer_again(command, ctx) {
            ctx.reply(ask, Answer::Receipt(body));
        }
    }
}
