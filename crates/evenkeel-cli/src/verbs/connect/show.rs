//! Events in plain words.

use evenkeel::{
    Accepted, Because, CommandError, Event, LogEvent, Membership, Notice,
    wire::{self, Strategy, TurnEnd, TurnEnded, WaitingFor},
};

use super::event_json;
use crate::terminal::{self, Tone, plain, say_as};

pub(super) struct Show {
    json: bool,
    /// Whether the last text ended in the middle of a line.
    mid_line: bool,
    is_terminal: bool,
}

impl Show {
    pub(super) fn new(json: bool) -> Self {
        let is_terminal = terminal::is_stdout_terminal();
        Self {
            json,
            mid_line: false,
            is_terminal,
        }
    }

    pub(super) fn receipt(&mut self, outcome: &Result<Accepted, CommandError>) {
        if self.json {
            terminal::print(&event_json::receipt(outcome).to_string());
        }
        match outcome {
            Ok(Accepted {
                position: Some(position @ 1..),
                ..
            }) => self.note(Tone::Quiet, &format!("queued behind {position}")),
            Ok(_) => {}
            Err(error) => self.note(Tone::Bad, &format!("refused: {error}")),
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if self.json {
            terminal::print(&event_json::event(event).to_string());
        }
        match event {
            Event::Joined(membership) => self.joined(membership),
            Event::Log { event, .. } => self.fact(event),
            Event::Gap { range, fault, .. } => {
                let why = fault
                    .as_ref()
                    .map_or(String::new(), |fault| format!(": {fault}"));
                let line = format!(
                    "events {} to {} were passed over{why}",
                    range.from, range.to
                );
                self.note(Tone::Bad, &line);
            }
            Event::Ephemeral(_) => {}
            Event::MediaLost { fault } => self.note(Tone::Bad, &format!("media lost: {fault}")),
            Event::MediaRecovered { lost_ms, .. } => {
                self.note(Tone::Good, &format!("media flows again after {lost_ms} ms"));
            }
            Event::Fault(fault) => self.note(Tone::Bad, &format!("fault: {fault}")),
            Event::ConnectionLost { fault, .. } => {
                self.note(Tone::Bad, &format!("connection lost: {fault}"));
            }
            Event::AttemptFailed {
                strategy,
                attempt,
                fault,
            } => {
                let line = format!("attempt {attempt} ({}) failed: {fault}", rung(*strategy));
                self.note(Tone::Bad, &line);
            }
            Event::Recovered {
                strategy,
                lost_ms,
                replayed,
                ..
            } => {
                let by = rung(*strategy);
                let line = format!("recovered by {by} in {lost_ms} ms, {replayed} events replayed");
                self.note(Tone::Good, &line);
            }
            Event::Queued { position, of } => {
                self.note(
                    Tone::Quiet,
                    &format!("waiting for a slot: {position} of {of}"),
                );
            }
            Event::Goaway {
                reason,
                deadline_ms,
                ..
            } => {
                let line = format!("the server will stop in {deadline_ms} ms: {reason}");
                self.note(Tone::Quiet, &line);
            }
            Event::Ended { reason } => {
                let reason = format!("{reason:?}").to_lowercase();
                self.note(Tone::Quiet, &format!("the session is over: {reason}"));
            }
            // The caller tells it as the failure of the whole.
            Event::Failed(_) => self.end(),
            Event::ProtocolNotice(notice) => self.notice(notice),
            Event::StillWaiting { because, for_ms } => {
                let what = waited_for(*because);
                let s = for_ms / 1_000;
                self.note(Tone::Quiet, &format!("still waiting {what}, for {s} s now"));
            }
        }
    }

    fn joined(&mut self, membership: &Membership) {
        let Membership {
            session,
            participant,
            role,
            how,
            ..
        } = membership;
        let (role, how) = (format!("{role:?}"), format!("{how:?}"));
        let line = format!("session {session} {how} as {role} {participant}");
        self.note(Tone::Quiet, &line.to_lowercase());
    }

    fn fact(&mut self, event: &LogEvent) {
        let LogEvent::Known(event) = event else {
            return;
        };
        match event {
            wire::Event::Text(text) => self.text(&text.data),
            wire::Event::TurnStarted(started) if started.attempt > 1 => {
                let attempt = started.attempt;
                self.note(
                    Tone::Bad,
                    &format!("attempt {attempt}: what was said before is void"),
                );
            }
            wire::Event::TurnEnded(ended) => self.turn_ended(ended),
            wire::Event::TurnWaiting(waiting) => {
                let action = &waiting.action;
                let options = action.options.join(", ");
                let options = Some(options).filter(|options| !options.is_empty());
                let options = options.map_or(String::new(), |options| format!(" ({options})"));
                self.note(Tone::Quiet, &format!("it asks: {}{options}", action.prompt));
            }
            wire::Event::Message(message) => {
                self.note(Tone::Quiet, &format!("{}: {}", message.by, message.data));
            }
            wire::Event::TrackPublished(published) => {
                let (who, track) = (&published.participant, &published.track);
                self.note(Tone::Quiet, &format!("{who} publishes {track}"));
            }
            wire::Event::TrackUnpublished(gone) => {
                let (who, track) = (&gone.participant, &gone.track);
                self.note(Tone::Quiet, &format!("{who} no longer publishes {track}"));
            }
            wire::Event::TurnRetrying(retrying) => {
                let (ms, fault) = (retrying.in_ms, &retrying.fault);
                self.note(Tone::Bad, &format!("tries again in {ms} ms: {fault}"));
            }
            wire::Event::TurnCancelling(cancelling) => {
                let step = format!("{:?}", cancelling.step).to_lowercase();
                self.note(Tone::Quiet, &format!("stopping: {step}"));
            }
            wire::Event::TurnSteered(steered) => {
                self.note(
                    Tone::Quiet,
                    &format!("{} adds: {}", steered.by, steered.text),
                );
            }
            wire::Event::TurnMoved(moved) => {
                self.note(Tone::Quiet, &format!("{} is next", moved.turn));
            }
            wire::Event::SessionCreated(_)
            | wire::Event::AgentBound(_)
            | wire::Event::SessionDescribed(_)
            | wire::Event::TrackMuted(_)
            | wire::Event::ParticipantJoined(_)
            | wire::Event::ParticipantLeft(_)
            | wire::Event::ParamsChanged(_)
            | wire::Event::ParamsApplied(_)
            | wire::Event::TurnAccepted(_)
            | wire::Event::TurnStarted(_)
            | wire::Event::Item(_)
            | wire::Event::TurnAnswered(_)
            | wire::Event::SessionEnded(_) => {}
        }
    }

    /// To a pipe, exactly what was said; to a terminal, without what would steer it.
    fn text(&mut self, text: &str) {
        if self.json || text.is_empty() {
            return;
        }
        self.mid_line = !text.ends_with('\n');
        if !self.is_terminal {
            return terminal::write(text);
        }
        let shown: Vec<String> = text
            .split('\n')
            .map(|line| line.replace('\t', "    "))
            .collect();
        let shown: Vec<String> = shown.iter().map(|line| plain(line)).collect();
        terminal::write(&shown.join("\n"));
    }

    fn turn_ended(&mut self, ended: &TurnEnded) {
        let how = match ended.end {
            TurnEnd::Done => return self.end(),
            TurnEnd::Failed => "failed",
            TurnEnd::Cancelled => "was cancelled",
            TurnEnd::Interrupted => "was interrupted",
        };
        let why = ended
            .fault
            .as_ref()
            .map_or(String::new(), |fault| format!(": {fault}"));
        self.note(Tone::Bad, &format!("the turn {how}{why}"));
    }

    fn notice(&mut self, notice: &Notice) {
        let line = match notice {
            Notice::UnknownFrame { name } => format!("passed over a frame of type {name}"),
            Notice::MalformedEvent { kind, message } => {
                format!("an event {kind} is odd: {message}")
            }
            Notice::NothingToBreak => "there is nothing to break".to_owned(),
        };
        self.note(Tone::Quiet, &line);
    }

    /// A line about what happens, below what was said.
    fn note(&mut self, tone: Tone, line: &str) {
        self.end();
        say_as(tone, &plain(line));
    }

    /// Ends the line that text has begun.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.mid_line) && self.is_terminal {
            terminal::write("\n");
        }
    }
}

const fn rung(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Fast => "fast",
        Strategy::Rejoin => "rejoin",
        Strategy::Migrate => "migrate",
    }
}

const fn waited_for(because: Because) -> &'static str {
    match because {
        Because::Connecting(_) => "for the server",
        Because::Queued => "for a slot",
        Because::Recovering(None) => "for the connection",
        Because::Recovering(Some(WaitingFor::Network)) => "for the network",
        Because::Recovering(Some(WaitingFor::Token)) => "for a token",
        Because::Recovering(Some(WaitingFor::Server)) => "as the server asked",
        Because::Recovering(Some(WaitingFor::Store)) => "for the store",
        Because::Receipt { .. } => "for a receipt",
    }
}
