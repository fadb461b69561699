//! What a turn waits for: one question at a time, told to everybody, answered once.
//!
//! The first valid answer wins. Any other (late, to another question, not one of the options) changes
//! nothing, is refused, and is in the journal with who gave it.

use keel_wire::{
    Action, ActionId, Answer, Code, Fault, Origin, ReceiptBody, TurnAnswered, TurnEnd, TurnWaiting,
    journal::Fact, json_len, limits::ACTION_BYTES_MAX,
};
use serde_json::Value;

use super::{
    Session,
    commands::{Asker, Outcome},
};
use crate::{
    limits,
    node::{Ctx, Output},
};

impl Session {
    /// A run waits for somebody. What it asks while it waits already is told when that is answered.
    pub(super) fn run_asks(&mut self, action: Action, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let too_many = run.asks_next.len() >= limits::ACTIONS_WAITING_MAX;
        if too_many || json_len(&action) > ACTION_BYTES_MAX {
            return self.asks_too_much(ctx);
        }
        run.asks_next.push_back(action);
        self.surfaces();
        self.tell_next_question(ctx);
    }

    fn tell_next_question(&mut self, ctx: &Ctx<'_>) {
        let Some(run) = self.run.as_mut().filter(|run| run.waiting.is_none()) else {
            return;
        };
        let Some(action) = run.asks_next.pop_front() else {
            return;
        };
        let turn = run.turn.clone();
        run.waiting = Some((action.clone(), ctx.now.mono));
        self.stage_event(TurnWaiting { turn, action });
    }

    /// What it asks is more than anybody can be told.
    fn asks_too_much(&mut self, ctx: &mut Ctx<'_>) {
        let Some(run) = &self.run else { return };
        let turn = run.turn.clone();
        let fault = ctx
            .fault_of(Code::ProviderProtocol, Origin::Provider)
            .message("what the program asks is too long, or too much at once, to be told")
            .detail("bytes_max", ACTION_BYTES_MAX)
            .detail("questions_max", limits::ACTIONS_WAITING_MAX);
        self.kill_run(ctx);
        self.end_turn(&turn, TurnEnd::Failed, None, Some(fault), ctx);
    }

    /// `turn.answer`.
    pub(super) fn answer(&mut self, asker: &Asker, answer: Answer, ctx: &mut Ctx<'_>) -> Outcome {
        if let Err(why) = self.takes_answer(&answer) {
            let fault = self.no(Code::InvalidRequest, why, ctx);
            let fault = Box::new(fault.turn(&answer.turn));
            self.journal_refused_answer(asker, &answer, &fault, ctx);
            return Err(fault);
        }
        self.stage_event(TurnAnswered {
            turn: answer.turn.clone(),
            action: answer.action.clone(),
            by: Some(asker.participant.clone()),
            answer: answer.answer.clone(),
        });
        self.pass_answer_on(answer.action, answer.answer, ctx);
        Ok(ReceiptBody::Ok {
            turn: Some(answer.turn),
            position: None,
            version: None,
        })
    }

    fn takes_answer(&self, answer: &Answer) -> Result<(), &'static str> {
        let run = self.run.as_ref().filter(|run| run.turn == answer.turn);
        let action = run.and_then(|run| run.waiting.as_ref());
        let action = action.filter(|(action, _)| action.id == answer.action);
        let Some((action, _)) = action else {
            return Err("nothing waits for that answer");
        };
        let offered = |value: &Value| {
            let text = value.as_str();
            text.is_some_and(|text| action.options.iter().any(|option| option == text))
        };
        if !action.options.is_empty() && !offered(&answer.answer) {
            return Err("that is not one of the options");
        }
        Ok(())
    }

    fn journal_refused_answer(
        &self,
        asker: &Asker,
        answer: &Answer,
        fault: &Fault,
        ctx: &mut Ctx<'_>,
    ) {
        let fact = Fact::AnswerRefused {
            turn: answer.turn.clone(),
            action: answer.action.clone(),
            fault: Box::new(fault.clone()),
        };
        self.journal(Some(&asker.participant), fact, ctx);
    }

    /// Gives the run an answer; what it asks besides is told now.
    fn pass_answer_on(&mut self, action: ActionId, answer: Value, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        run.waiting = None;
        run.spoke_at = Some(ctx.now.mono);
        ctx.out.push(Output::AnswerRun {
            run: run.id,
            action,
            answer,
        });
        self.tell_next_question(ctx);
    }

    /// A question was not answered in time: that is a refusal.
    pub(super) fn nobody_answered(&mut self, ctx: &mut Ctx<'_>) {
        let Some(run) = self.run.as_mut() else { return };
        let Some((action, _)) = run.waiting.take() else {
            return;
        };
        let turn = run.turn.clone();
        self.stage_event(TurnAnswered {
            turn,
            action: action.id.clone(),
            by: None,
            answer: Value::Null,
        });
        self.pass_answer_on(action.id, Value::Null, ctx);
    }
}
