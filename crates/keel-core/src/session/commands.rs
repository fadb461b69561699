//! What participants ask, and who may ask it.
//!
//! A command that is done is consumed and its receipt committed with what it did. One that is refused
//! changes nothing, so its refusal is told at once and not kept: should it be lost with the
//! connection, the client sends the command again and hears the verdict of that moment.

use keel_wire::{
    CancelTurn, ClientFrame, Code, Command, CommandFrame, CommandId, ContinueTurn, DescribeSession,
    EndReason, Fault, InjectFault, Injection, Message, ParamsChanged, ParticipantId, PromoteTurn,
    Receipt, ReceiptBody, RetryTurn, Role, Say, SessionDescribed, SetParams, codec::depth_of,
    journal::Fact, merge_patch,
};

use super::{
    Life, Session, Wanted,
    accept::{Asked, From},
    commit::Effect,
};
use crate::{
    limits,
    node::{ConnId, Ctx},
};

/// Who asks, and as which command.
pub(super) struct Asker {
    pub(super) participant: ParticipantId,
    pub(super) role: Role,
    pub(super) command: CommandId,
    /// The connection that it came on; `None` over HTTP.
    pub(super) conn: Option<ConnId>,
    /// Milliseconds after which it is not to be run.
    pub(super) ttl_ms: Option<u64>,
}

/// Done, with the receipt that is committed with it; or refused, with nothing changed.
pub(super) type Outcome = Result<ReceiptBody, Box<Fault>>;

impl Session {
    /// A participant's frame.
    pub(crate) fn frame(
        &mut self,
        id: ConnId,
        participant: &ParticipantId,
        frame: ClientFrame,
        ctx: &mut Ctx<'_>,
    ) {
        match frame {
            ClientFrame::Command(_) if self.stands_still() => self.leave_unheard(id),
            ClientFrame::Command(frame) => self.command(id, participant, frame, ctx),
            ClientFrame::Detach(_) => self.detach(id, ctx),
            ClientFrame::Offer(offer) => self.media_offer(id, participant, offer, ctx),
            ClientFrame::Answer(answer) => self.media_answer(participant, answer, ctx),
            ClientFrame::Candidate(frame) => self.media_candidate(participant, frame, ctx),
            ClientFrame::Refresh(frame) => self.media_refresh(id, participant, frame, ctx),
            ClientFrame::Hello(_)
            | ClientFrame::Auth(_)
            | ClientFrame::Beat(_)
            | ClientFrame::Ack(_) => unreachable!("the Node takes these itself"),
        }
    }

    fn command(
        &mut self,
        id: ConnId,
        participant: &ParticipantId,
        frame: CommandFrame,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(member) = self.members.get(participant) else {
            return;
        };
        let Some(conn) = ctx.conns.get_mut(id) else {
            return;
        };
        let Some(stream_id) = conn.stream.clone() else {
            return ctx
                .conns
                .refuse_as(id, Code::ProtocolError, ctx.now, ctx.mint, ctx.out);
        };
        let again = frame.n <= conn.command_n;
        conn.command_n = conn.command_n.max(frame.n);
        let granted = conn.grant.as_ref().map_or(Role::Viewer, |grant| grant.role);
        let role = member.role.min(granted);
        let command = CommandId {
            stream: stream_id,
            n: frame.n,
        };
        let Some(stream) = self.streams.get_mut(&command.stream) else {
            return;
        };
        stream.used = ctx.now.mono;
        stream.acknowledge(frame.receipts_ack);
        let kept = stream.receipts.len();
        if frame.n <= stream.consumed {
            if let Some(body) = self.answer_again(&command, ctx) {
                ctx.conns
                    .tell(id, &Receipt { n: frame.n, body }.into(), ctx.out);
            }
            return;
        }
        if again {
            // A proxy's echo of a command that was refused: its refusal stands.
            return;
        }
        let asker = Asker {
            participant: participant.clone(),
            role,
            command,
            conn: Some(id),
            ttl_ms: frame.ttl_ms,
        };
        let outcome = if kept >= limits::RECEIPTS_MAX {
            Err(self.no(
                Code::RateLimited,
                "receipts are not being acknowledged",
                ctx,
            ))
        } else {
            match Command::decode(&frame.name, frame.data.get()) {
                Ok(Some(command)) => self.run_command(&asker, command, ctx),
                Ok(None) => Err(self.no_such_command(ctx)),
                Err(error) => Err(self.no(Code::InvalidRequest, &error.to_string(), ctx)),
            }
        };
        match outcome {
            Ok(body) => self.consume(&asker.command, body),
            Err(fault) => {
                let receipt = Receipt {
                    n: frame.n,
                    body: ReceiptBody::Fault(fault),
                };
                ctx.conns.tell(id, &receipt.into(), ctx.out);
            }
        }
    }

    /// What a participant is on a connection: what it joined as, and no more than its token of now allows.
    pub(super) fn role_on(&self, id: ConnId, participant: &ParticipantId, ctx: &Ctx<'_>) -> Role {
        let grant = ctx.conns.get(id).and_then(|conn| conn.grant.as_ref());
        let granted = grant.map_or(Role::Viewer, |grant| grant.role);
        let member = self.members.get(participant);
        member.map_or(Role::Viewer, |member| member.role.min(granted))
    }

    pub(super) fn no(&self, code: Code, why: &str, ctx: &mut Ctx<'_>) -> Box<Fault> {
        Box::new(ctx.fault(code).session(&self.id).message(why))
    }

    fn no_such_command(&self, ctx: &mut Ctx<'_>) -> Box<Fault> {
        self.no(Code::InvalidRequest, "there is no such command", ctx)
    }

    /// Runs a command that was not run before.
    pub(super) fn run_command(
        &mut self,
        asker: &Asker,
        command: Command,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        if matches!(command, Command::InjectFault(_)) && !self.may_inject(asker, ctx) {
            // Off, or not allowed: exactly as if there were no such thing.
            return Err(self.no_such_command(ctx));
        }
        let said = match &command {
            Command::Send(send) => Some(&send.data),
            Command::SetParams(set) => Some(&set.patch),
            Command::Answer(answer) => Some(&answer.answer),
            Command::Say(_)
            | Command::CancelTurn(_)
            | Command::RetryTurn(_)
            | Command::ContinueTurn(_)
            | Command::PromoteTurn(_)
            | Command::DescribeSession(_)
            | Command::PublishTrack(_)
            | Command::UnpublishTrack(_)
            | Command::SubscribeTrack(_)
            | Command::MuteTrack(_)
            | Command::EndSession(_)
            | Command::InjectFault(_) => None,
        };
        if said.is_some_and(|said| depth_of(said) > limits::VALUE_DEPTH_MAX) {
            return Err(self.no(Code::InvalidRequest, "that nests too deep to be told", ctx));
        }
        self.doing = Some(asker.command.clone());
        let outcome = self.run_allowed_command(asker, command, ctx);
        self.doing = None;
        outcome
    }

    fn run_allowed_command(
        &mut self,
        asker: &Asker,
        command: Command,
        ctx: &mut Ctx<'_>,
    ) -> Outcome {
        match self.life {
            Life::Open => {}
            Life::Queued | Life::Ended { .. } if matches!(command, Command::DescribeSession(_)) => {
            }
            Life::Queued => return Err(Box::new(self.at_capacity(ctx))),
            Life::Ended { .. } => {
                return Err(self.no(Code::SessionNotFound, "the session is over", ctx));
            }
        }
        let needs = match command {
            Command::Say(_)
            | Command::Send(_)
            | Command::CancelTurn(_)
            | Command::RetryTurn(_)
            | Command::ContinueTurn(_)
            | Command::PromoteTurn(_)
            | Command::Answer(_)
            | Command::PublishTrack(_)
            | Command::UnpublishTrack(_)
            | Command::MuteTrack(_) => Role::Publisher,
            Command::SetParams(_) | Command::DescribeSession(_) | Command::EndSession(_) => {
                Role::Owner
            }
            Command::SubscribeTrack(_) | Command::InjectFault(_) => Role::Viewer,
        };
        if asker.role < needs {
            let why = format!("that takes the role {needs:?}").to_lowercase();
            return Err(self.no(Code::PermissionDenied, &why, ctx));
        }
        if self.store_is_refusing() && !matches!(command, Command::InjectFault(_)) {
            return Err(Box::new(self.store_fault(ctx)));
        }
        match command {
            Command::Say(say) => self.say(asker, say, ctx),
            Command::Send(send) => {
                self.stage_event(Message {
                    by: asker.participant.clone(),
                    command: asker.command.clone(),
                    data: send.data,
                });
                Ok(ReceiptBody::ok())
            }
            Command::SetParams(set) => self.set_params(asker, set, ctx),
            Command::CancelTurn(CancelTurn { turn }) => {
                self.cancel_turn(turn.as_ref(), &asker.participant, ctx)
            }
            Command::RetryTurn(RetryTurn { turn }) => self.retry_turn(asker, turn, ctx),
            Command::ContinueTurn(ContinueTurn { turn }) => self.continue_turn(asker, turn, ctx),
            Command::PromoteTurn(PromoteTurn { turn }) => {
                self.promote_turn(&turn, &asker.participant, ctx)
            }
            Command::DescribeSession(describe) => self.describe(asker, describe, ctx),
            Command::Answer(answer) => self.answer(asker, answer, ctx),
            Command::PublishTrack(publish) => self.publish_track(asker, publish, ctx),
            Command::UnpublishTrack(unpublish) => self.unpublish_track(asker, unpublish, ctx),
            Command::MuteTrack(mute) => self.mute_track(asker, mute, ctx),
            Command::SubscribeTrack(wish) => self.subscribe_track(asker, wish, ctx),
            Command::EndSession(_) => {
                self.end(EndReason::Ended, None, ctx);
                Ok(ReceiptBody::ok())
            }
            Command::InjectFault(inject) => self.inject_for(asker, inject, ctx),
        }
    }

    fn say(&mut self, asker: &Asker, say: Say, ctx: &mut Ctx<'_>) -> Outcome {
        if self.media_rule(ctx).is_some() {
            return Err(self.no(Code::InvalidRequest, "this backend answers no prompts", ctx));
        }
        if say.text.len() > limits::PROMPT_BYTES_MAX {
            return Err(self.no(Code::InvalidRequest, "the prompt is too long", ctx));
        }
        let (text, from) = (say.text, From::Said);
        self.accept_turn(asker, Asked { text, from }, ctx)
    }

    fn set_params(&mut self, asker: &Asker, set: SetParams, ctx: &mut Ctx<'_>) -> Outcome {
        if !set.patch.is_object() {
            return Err(self.no(Code::InvalidRequest, "a params patch is an object", ctx));
        }
        let mut params = self.params.clone();
        merge_patch(&mut params, &set.patch);
        if params.to_string().len() > limits::PARAMS_BYTES_MAX {
            return Err(self.no(Code::InvalidRequest, "the params are too large", ctx));
        }
        self.params = params;
        self.params_version = self.params_version.next();
        let version = self.params_version;
        self.stage_event(ParamsChanged {
            version,
            patch: set.patch,
            by: Some(asker.participant.clone()),
        });
        Ok(ReceiptBody::Ok {
            turn: None,
            position: None,
            version: Some(version),
        })
    }

    /// Changes what people say about it: also while it stands in line, and when it is over.
    fn describe(&mut self, asker: &Asker, about: DescribeSession, ctx: &mut Ctx<'_>) -> Outcome {
        let tags = about.tags.as_deref().unwrap_or_default();
        if !limits::may_describe(about.title.as_deref(), None, tags) {
            return Err(self.no(Code::InvalidRequest, "the description is too long", ctx));
        }
        let row = &mut self.row.about;
        if let Some(title) = &about.title {
            row.title = Some(title.clone()).filter(|title| !title.is_empty());
        }
        row.starred = about.starred.unwrap_or(row.starred);
        row.archived = about.archived.unwrap_or(row.archived);
        if let Some(tags) = &about.tags {
            row.tags.clone_from(tags);
        }
        if matches!(self.life, Life::Ended { .. }) {
            // Nothing follows a log's end: what is listed changes, and what was told does not.
            self.stage_row();
            return Ok(ReceiptBody::ok());
        }
        self.stage_event(SessionDescribed {
            by: Some(asker.participant.clone()),
            title: about.title,
            starred: about.starred,
            archived: about.archived,
            tags: about.tags,
        });
        Ok(ReceiptBody::ok())
    }

    fn may_inject(&self, asker: &Asker, ctx: &Ctx<'_>) -> bool {
        let conn = asker.conn.and_then(|conn| ctx.conns.get(conn));
        let granted = conn
            .and_then(|conn| conn.grant.as_ref())
            .is_some_and(|g| g.may_inject);
        ctx.config.faults && granted
    }

    fn inject_for(&mut self, asker: &Asker, inject: InjectFault, ctx: &mut Ctx<'_>) -> Outcome {
        let times = match inject.fault {
            Injection::Panic { times } => Some(times),
            Injection::DropConnection
            | Injection::CloseConnection { .. }
            | Injection::FaultThenClose { .. }
            | Injection::HalfOpen
            | Injection::KillProvider
            | Injection::StallProvider
            | Injection::FailStore
            | Injection::SlowServer
            | Injection::ExpireToken => None,
        };
        if times.is_some_and(|times| !(1..=2).contains(&times)) {
            return Err(self.no(Code::InvalidRequest, "a panic strikes once or twice", ctx));
        }
        let wanted = Wanted {
            fault: inject.fault,
            for_ms: inject.for_ms,
            seed: inject.seed,
        };
        let injected = wanted.named(ctx);
        if times == Some(1) {
            // Its receipt is kept first: else its sender would send it again, and strike again.
            self.journal(Some(&asker.participant), Fact::Injected { injected }, ctx);
            let command = asker.command.clone();
            self.after_commit(Effect::Panic { command });
            return Ok(ReceiptBody::ok());
        }
        let conns: Vec<ConnId> = asker.conn.into_iter().collect();
        if self.inject(Some(&asker.participant), &conns, &injected, ctx) == 0 {
            return Err(self.no(Code::InvalidRequest, "there is nothing to break", ctx));
        }
        Ok(ReceiptBody::ok())
    }
}
