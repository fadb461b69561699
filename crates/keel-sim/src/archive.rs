//! The reference: what a session's log must be, reckoned from the synced store and from what the
//! models of provider and application did themselves.
//!
//! Nothing here reads what a Node or a Client says. The fold and the patches are reckoned anew, so
//! that a bug in the machines cannot agree with itself.

use std::collections::{BTreeMap, BTreeSet};

use keel_wire::{
    BusyPolicy, Event, Range, Seq, Snapshot, TurnAccepted, TurnEnd, TurnEnded, TurnId,
    record::StoredEvent,
};
use serde_json::{Map, Value};

use crate::turns::Ties;

/// What the providers said, by turn and attempt.
pub(crate) type Emitted = BTreeMap<(TurnId, u32), String>;

/// One turn, as the log tells it.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) begun_at: Option<u64>,
    attempt: u32,
    text: String,
    pub(crate) ended: bool,
    waits: bool,
    prompt: String,
    pub(crate) end: Option<TurnEnd>,
}

/// A whole log, trimmed or not.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    events: Vec<Event>,
    pub(crate) turns: BTreeMap<TurnId, Turn>,
    open: Vec<TurnId>,
    /// The params at each version, from 0.
    params: Vec<Value>,
    /// Commands that this log shows as run: their turn or version.
    pub(crate) run: BTreeMap<u64, Ran>,
    busy: BusyPolicy,
    pub(crate) ended: bool,
    joined: BTreeSet<String>,
    /// Participants and their tracks.
    tracks: BTreeSet<(String, String)>,
    pub(crate) ties: Ties,
    /// The agent's own name for the conversation.
    pub(crate) bound: Option<String>,
}

/// What the log says about a command that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) turn: Option<TurnId>,
    pub(crate) version: Option<u64>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self {
            params: vec![Value::Null],
            ..Self::default()
        }
    }

    pub(crate) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    pub(crate) fn open_turns(&self) -> usize {
        self.open.len()
    }

    /// Versions of the params so far.
    pub(crate) fn versions(&self) -> usize {
        self.params.len() - 1
    }

    /// The params at a version.
    pub(crate) fn params_at(&self, version: u64) -> Option<&Value> {
        self.params.get(usize::try_from(version).ok()?)
    }

    /// Whether `params` were in force at `version` or later.
    pub(crate) fn had_params(&self, params: &Value, version: usize) -> bool {
        self.params.iter().skip(version).any(|had| had == params)
    }

    /// Moves a fold from one position to another.
    pub(crate) fn fold(&self, fold: &mut Snapshot, from: u64, to: u64) {
        for event in &self.events[from as usize..to as usize] {
            fold.apply(event);
        }
    }

    /// Takes a committed event, and says which law it breaks.
    pub(crate) fn take(
        &mut self,
        at: u64,
        stored: &StoredEvent,
        emitted: &Emitted,
    ) -> Result<(), String> {
        if stored.from.get() != self.head() + 1 || stored.to != stored.from {
            return Err(format!(
                "the log goes from {} to {}..{}",
                self.head(),
                stored.from,
                stored.to
            ));
        }
        let event = Event::decode(&stored.kind, stored.data.get())
            .map_err(|error| format!("an event that is none: {error}"))?
            .ok_or_else(|| format!("an event of unknown kind {}", stored.kind))?;
        if self.ended {
            return Err(format!("{} follows session.ended", event.name()));
        }
        self.check(at, &event, emitted)?;
        self.events.push(event);
        Ok(())
    }

    fn ran(&mut self, command: Option<u64>, ran: Ran) -> Result<(), String> {
        let Some(command) = command else {
            return Ok(());
        };
        match self.run.insert(command, ran) {
            None => Ok(()),
            Some(_) => Err(format!("command {command} was run twice")),
        }
    }

    fn check(&mut self, at: u64, event: &Event, emitted: &Emitted) -> Result<(), String> {
        match event {
            Event::SessionCreated(created) => {
                if self.head() != 0 {
                    return Err("session.created comes first".to_owned());
                }
                self.busy = created.busy;
            }
            Event::ParticipantJoined(joined) => {
                if !self.joined.insert(joined.participant.as_str().to_owned()) {
                    return Err(format!("{} joined twice", joined.participant));
                }
            }
            Event::ParticipantLeft(left) => {
                if !self.joined.remove(left.participant.as_str()) {
                    return Err(format!("{} left without being there", left.participant));
                }
                let left = left.participant.as_str();
                self.tracks.retain(|(participant, _)| participant != left);
            }
            Event::ParamsChanged(changed) => {
                if changed.version.get() != self.params.len() as u64 {
                    return Err(format!("params version {} comes", changed.version));
                }
                let mut params = self.params.last().cloned().unwrap_or_default();
                patch(&mut params, &changed.patch);
                self.params.push(params);
                let ran = Ran {
                    turn: None,
                    version: Some(changed.version.get()),
                };
                let command = changed.patch.get("last").and_then(Value::as_u64);
                self.ran(command.filter(|_| changed.by.is_some()), ran)?;
            }
            Event::ParamsApplied(applied) => {
                if applied.version.get() > self.versions() as u64 {
                    return Err("params were applied before they were set".to_owned());
                }
            }
            Event::Message(message) => {
                let ran = Ran {
                    turn: None,
                    version: None,
                };
                self.ran(message.data.as_u64(), ran)?;
            }
            Event::TurnAccepted(accepted) => {
                let room = match self.busy {
                    BusyPolicy::Reject => 0,
                    // Those that wait, and words that became turns when theirs ended.
                    BusyPolicy::Steer => 32,
                    // The one that is being stopped.
                    BusyPolicy::Replace => 1,
                    BusyPolicy::Queue { max } => max as usize,
                };
                if self.open.len() > room {
                    return Err("more turns are open than may be".to_owned());
                }
                if accepted.position as usize != self.open.len() {
                    return Err(format!(
                        "a turn is accepted as number {} of {}",
                        accepted.position,
                        self.open.len()
                    ));
                }
                let once_more = self.check_once_more(accepted)?;
                let turn = Turn {
                    begun_at: None,
                    attempt: 0,
                    text: String::new(),
                    ended: false,
                    waits: false,
                    prompt: accepted.text.clone(),
                    end: None,
                };
                if self.turns.insert(accepted.turn.clone(), turn).is_some() {
                    return Err("a turn was accepted twice".to_owned());
                }
                self.open.push(accepted.turn.clone());
                let ran = Ran {
                    turn: Some(accepted.turn.clone()),
                    version: None,
                };
                let command = command_of(&accepted.text).filter(|_| !once_more);
                let turns = &self.turns;
                let is_over = |turn: &TurnId| turns.get(turn).is_some_and(|turn| turn.ended);
                let again = command.is_some_and(|of| self.ties.comes_again(of, is_over));
                self.ran(command.filter(|_| !again), ran)?;
            }
            Event::TurnStarted(started) => {
                if self.open.first() != Some(&started.turn) {
                    return Err("a turn was begun out of order".to_owned());
                }
                let turn = self.open_turn(&started.turn)?;
                if started.attempt != turn.attempt + 1 {
                    return Err(format!(
                        "attempt {} follows {}",
                        started.attempt, turn.attempt
                    ));
                }
                turn.begun_at.get_or_insert(at);
                turn.attempt = started.attempt;
                turn.text.clear();
                turn.waits = false;
            }
            Event::Text(text) => {
                let turn = self.open_turn(&text.turn)?;
                if (text.attempt, text.at_byte) != (turn.attempt, turn.text.len() as u64) {
                    return Err("text does not follow text".to_owned());
                }
                turn.text.push_str(&text.data);
                let said = emitted.get(&(text.turn.clone(), text.attempt));
                if !said.is_some_and(|said| said.starts_with(&turn.text)) {
                    return Err("text was logged that nobody said".to_owned());
                }
            }
            Event::Item(item) => {
                if self.open_turn(&item.turn)?.attempt != item.attempt {
                    return Err("an item of another attempt".to_owned());
                }
            }
            Event::TurnMoved(moved) => {
                if self.open_turn(&moved.turn)?.begun_at.is_some() || moved.position > 1 {
                    return Err("only what waits is moved, and to the front".to_owned());
                }
                self.open.retain(|open| *open != moved.turn);
                let to = (moved.position as usize).min(self.open.len());
                self.open.insert(to, moved.turn.clone());
            }
            Event::TurnSteered(steered) => {
                let command = command_of(&steered.text);
                if self.open_turn(&steered.turn)?.begun_at.is_none() {
                    return Err("only what runs is steered".to_owned());
                }
                self.ties.steered(command, &steered.turn);
                let ran = Ran {
                    turn: Some(steered.turn.clone()),
                    version: None,
                };
                self.ran(command, ran)?;
            }
            Event::TurnRetrying(retrying) => {
                self.open_turn(&retrying.turn)?;
            }
            Event::TurnCancelling(cancelling) => {
                self.open_turn(&cancelling.turn)?;
            }
            Event::AgentBound(bound) => {
                self.open_turn(&bound.turn)?;
                self.bound = Some(bound.id.clone());
            }
            Event::SessionDescribed(_) => {}
            Event::TurnWaiting(waiting) => self.open_turn(&waiting.turn)?.waits = true,
            Event::TurnAnswered(answered) => {
                let turn = self.open_turn(&answered.turn)?;
                if !std::mem::take(&mut turn.waits) {
                    return Err("an answer that nothing waits for".to_owned());
                }
            }
            Event::TurnEnded(ended) => {
                self.check_stop_reason(ended)?;
                self.ties.ended(ended);
                let turn = self.open_turn(&ended.turn)?;
                turn.ended = true;
                turn.end = Some(ended.end);
                if ended.attempt != turn.attempt || ended.bytes != turn.text.len() as u64 {
                    return Err(format!(
                        "a turn of {} bytes ended with {}",
                        turn.text.len(),
                        ended.bytes
                    ));
                }
                if matches!(ended.end, TurnEnd::Failed | TurnEnd::Interrupted)
                    != ended.fault.is_some()
                {
                    return Err(format!("a turn ended {:?} {:?}", ended.end, ended.fault));
                }
                let said = emitted
                    .get(&(ended.turn.clone(), ended.attempt))
                    .map_or("", String::as_str);
                if ended.end == TurnEnd::Done && turn.text != said {
                    return Err("a turn is done that lacks text".to_owned());
                }
                turn.text = String::new();
                self.open.retain(|open| *open != ended.turn);
            }
            Event::TrackPublished(new) => {
                let participant = new.participant.as_str().to_owned();
                let there = self.joined.contains(&participant);
                if !there || !self.tracks.insert((participant, new.track.to_string())) {
                    return Err(format!("{} published {} twice", new.participant, new.track));
                }
            }
            Event::TrackUnpublished(of) => {
                let of = (of.participant.as_str().to_owned(), of.track.to_string());
                if !self.tracks.remove(&of) {
                    return Err(format!("{of:?} was not published"));
                }
            }
            Event::TrackMuted(of) => {
                let of = (of.participant.as_str().to_owned(), of.track.to_string());
                if !self.tracks.contains(&of) {
                    return Err(format!("{of:?} was not published"));
                }
            }
            Event::SessionEnded(_) => {
                if !self.open.is_empty() {
                    return Err("the session ended with a turn open".to_owned());
                }
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Whether a turn is another try at one or goes on with one; then that one is over.
    fn check_once_more(&mut self, accepted: &TurnAccepted) -> Result<bool, String> {
        self.ties.accepted(accepted);
        let of = accepted.retry_of.as_ref().or(accepted.continues.as_ref());
        let Some(of) = of else { return Ok(false) };
        let Some(turn) = self.turns.get(of).filter(|turn| turn.ended) else {
            return Err(format!("{of} is to come once more and is not over"));
        };
        if accepted.retry_of.is_some() && turn.prompt != accepted.text {
            return Err(format!("{of} is tried again with another prompt"));
        }
        let unfinished = turn.begun_at.is_some() && turn.end != Some(TurnEnd::Done);
        if accepted.continues.is_some() && !unfinished {
            return Err(format!("{of} is gone on with and has nothing left"));
        }
        Ok(true)
    }

    /// Only what a policy stops is stopped for it.
    fn check_stop_reason(&self, ended: &TurnEnded) -> Result<(), String> {
        let stopped = ended.end != TurnEnd::Done;
        let meant = match ended.stop_reason.as_deref().filter(|_| stopped) {
            Some("replaced") => self.busy == BusyPolicy::Replace,
            Some("steered") => self.busy == BusyPolicy::Steer,
            Some(_) | None => true,
        };
        let what = || format!("a turn was stopped as {:?}", ended.stop_reason);
        meant.then_some(()).ok_or_else(what)
    }

    fn open_turn(&mut self, id: &TurnId) -> Result<&mut Turn, String> {
        match self.turns.get_mut(id) {
            Some(turn) if !turn.ended => Ok(turn),
            Some(_) => Err(format!("turn {id} goes on after its end")),
            None => Err(format!("turn {id} was never accepted")),
        }
    }

    /// Whether an event that a client was told is what the log has at these positions.
    pub(crate) fn tells(&self, range: Range, told: &Event) -> Result<(), String> {
        let (from, to) = (range.from.get(), range.to.get());
        if from == 0 || to > self.head() {
            return Err(format!("told {from}..{to} of {}", self.head()));
        }
        let logged = &self.events[from as usize - 1..to as usize];
        if let [one] = logged
            && one == told
        {
            return Ok(());
        }
        let Event::Text(told) = told else {
            return Err(format!("told other than {from}..{to} is"));
        };
        // Text may have been put together, and cut at what was known.
        let mut sum = String::new();
        for event in logged {
            match event {
                Event::Text(text) if text.turn == told.turn && text.attempt == told.attempt => {
                    sum.push_str(&text.data);
                }
                _ => return Err(format!("told text for {}", event.name())),
            }
        }
        if sum.ends_with(&told.data) && !told.data.is_empty() && sum == told.data {
            Ok(())
        } else {
            Err(format!("told other text than {from}..{to} is"))
        }
    }
}

/// The command whose prompt this is.
pub(crate) fn command_of(prompt: &str) -> Option<u64> {
    prompt.strip_prefix('#')?.split(' ').next()?.parse().ok()
}

/// A JSON merge patch, reckoned independently of `keel-wire`'s.
fn patch(target: &mut Value, by: &Value) {
    let Value::Object(by) = by else {
        *target = by.clone();
        return;
    };
    let mut members = match std::mem::take(target) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (key, value) in by {
        if value.is_null() {
            members.remove(key);
        } else {
            let mut member = members.remove(key).unwrap_or_default();
            patch(&mut member, value);
            members.insert(key.clone(), member);
        }
    }
    *target = Value::Object(members);
}

/// A position.
pub(crate) fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap_or(Seq::MAX)
}
