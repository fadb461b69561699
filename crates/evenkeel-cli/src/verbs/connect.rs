//! `connect`: one participant at a terminal, or in a script.
//!
//! What the session says goes to stdout as it comes, everything about the connection to stderr: losses,
//! attempts, recoveries, waits. With `--json` every event is one object on stdout (`docs/results.md`).

mod event_json;
mod lines;
mod media;
mod owed;
mod show;

use std::{collections::VecDeque, process::ExitCode, time::Instant};

use evenkeel::{
    Builder, Client, Event, Events, LogEvent, Receipt, Session, Simulate,
    wire::{self, Admission, BusyPolicy, Role, Seq, SessionId, TurnId},
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    lines::Line,
    media::{Happened, Media},
    owed::Owed,
    show::Show,
};
use super::token::role;
use crate::{
    exit::{FAILED, Failure},
    target::Access,
    terminal,
};

/// Turns that wait where nothing else is said.
const QUEUED_MAX: u32 = 16;

#[derive(Debug, clap::Args)]
#[command(after_help = lines::HELP)]
pub(crate) struct Args {
    /// A server's address, or the id of a session at the `dev` server of this directory
    #[arg(value_name = "URL|SESSION")]
    target: Option<String>,
    #[command(flatten)]
    access: Access,
    /// The session to join; without it a new one is opened
    #[arg(long)]
    session: Option<SessionId>,
    /// What a new session is served by
    #[arg(long)]
    backend: Option<String>,
    /// The project of a new session
    #[arg(long)]
    project: Option<String>,
    /// The role wanted: viewer, publisher or owner
    #[arg(long, default_value = "owner", value_parser = role)]
    role: Role,
    /// The params of a new session, as JSON
    #[arg(long, value_parser = params)]
    params: Option<Value>,
    /// What becomes of what is said while a turn runs, in a new session: reject, queue, queue=N, steer
    /// or replace. With it, typed lines do not wait for the turn before
    #[arg(long, value_parser = busy)]
    busy: Option<BusyPolicy>,
    /// Stands in line when there is no room
    #[arg(long)]
    wait: bool,
    /// Says this and leaves when it is answered; may be given several times, one after the other
    #[arg(long, value_name = "TEXT")]
    say: Vec<String>,
    #[command(flatten)]
    media: media::Options,
    /// Leaves as soon as no turn runs, without reading the terminal
    #[arg(long)]
    until_idle: bool,
    /// Prints one JSON object an event
    #[arg(long)]
    json: bool,
}

fn busy(text: &str) -> Result<BusyPolicy, String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("reject", "") => Ok(BusyPolicy::Reject),
        ("queue", "") => Ok(BusyPolicy::Queue { max: QUEUED_MAX }),
        ("queue", max) => {
            let max = max.parse().map_err(|error| format!("{max:?}: {error}"))?;
            Ok(BusyPolicy::Queue { max })
        }
        ("steer", "") => Ok(BusyPolicy::Steer),
        ("replace", "") => Ok(BusyPolicy::Replace),
        _ => Err("reject, queue, queue=N, steer or replace".to_owned()),
    }
}

fn params(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let named = args.target.as_deref();
    let id = named.and_then(|text| text.parse::<SessionId>().ok());
    let id = id.filter(|id| id.as_str().starts_with(SessionId::PREFIX));
    let url = named.filter(|_| id.is_none());
    let target = args.access.target(url)?;
    let mut builder = Client::builder()
        .url(target.url)
        .token(target.token)
        .role(args.role)
        .sdk(concat!("evenkeel-cli/", env!("CARGO_PKG_VERSION")));
    if let Some(ca) = target.ca {
        builder = trusting(builder, &ca)?;
    }
    let joins = args.session.or(id);
    let by_default = args.media.backend().filter(|_| joins.is_none());
    if let Some(session) = joins {
        builder = builder.session(session);
    }
    if let Some(backend) = args.backend.or(by_default) {
        builder = builder.backend(backend);
    }
    if let Some(project) = args.project {
        builder = builder.project(project);
    }
    if let Some(params) = args.params {
        builder = builder.params(params);
    }
    let at_once = args.busy.is_some();
    if let Some(busy) = args.busy {
        builder = builder.busy(busy);
    }
    if args.wait {
        builder = builder.admission(Admission::Wait { max_ms: None });
    }
    let started = Instant::now();
    let session = Box::pin(builder.connect()).await?;
    let events = session.events();
    let media = if args.media.is_wanted() {
        let begun = Media::begin(&session, args.media, args.json, started).await;
        match begun {
            Ok(media) => Some(media),
            Err(failure) => {
                session.detach().await;
                return Err(failure);
            }
        }
    } else {
        None
    };
    let scripted = !args.say.is_empty() || args.until_idle || media.is_some();
    let talk = Talk {
        session: session.clone(),
        show: Show::new(args.json),
        prompts: args.say.into(),
        at_once,
        lines: (!scripted).then(lines::read),
        receipt: None,
        owed: Owed::default(),
        replayed: false,
        shown: Seq::ZERO,
        media,
    };
    let done = Box::pin(talk.run(events)).await;
    session.detach().await;
    done
}

#[cfg(feature = "tls")]
#[expect(clippy::unnecessary_wraps, reason = "without TLS it is refused")]
fn trusting(builder: Builder, ca: &[u8]) -> Result<Builder, Failure> {
    Ok(builder.roots_pem(ca))
}

#[cfg(not(feature = "tls"))]
fn trusting(_: Builder, _: &[u8]) -> Result<Builder, Failure> {
    Err(Failure::usage("--ca: this build speaks no TLS"))
}

/// One participant's side of the conversation.
struct Talk {
    session: Session,
    show: Show,
    /// What is still to be said, in order.
    prompts: VecDeque<String>,
    /// What is typed is said at once, whatever runs.
    at_once: bool,
    /// What is typed; `None` when nothing more is.
    lines: Option<lines::Lines>,
    /// Of what was said last.
    receipt: Option<Receipt>,
    /// What is waited for of it.
    owed: Owed,
    /// The past has been told.
    replayed: bool,
    /// Up to here the log has been shown.
    shown: Seq,
    /// Pictures that are sent and that come, if any are wanted.
    media: Option<Media>,
}

impl Talk {
    async fn run(mut self, mut events: Events) -> Result<ExitCode, Failure> {
        let mut status = self.session.status();
        // One for all turns: what comes while nobody listens would be lost.
        let mut interrupts = signal(SignalKind::interrupt()).map_err(Failure::temporary)?;
        loop {
            self.replayed |= stands(&status.borrow().state);
            if self.replayed && self.receipt.is_none() && self.owed.turn().is_none() {
                match self.prompts.pop_front() {
                    Some(prompt) => self.receipt = Some(self.session.say(prompt)),
                    None if self.lines.is_none()
                        && self.media.is_none()
                        && self.is_idle().await =>
                    {
                        break;
                    }
                    None => {}
                }
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => {
                        if let Some(media) = &mut self.media {
                            media.event(&event);
                        }
                        if let Some(code) = self.event(event)? {
                            return Ok(code);
                        }
                    }
                    None => break,
                },
                outcome = answered(&mut self.receipt) => self.receipt(outcome),
                line = typed(&mut self.lines) => match line {
                    Some(line) => self.line(line).await,
                    None => self.lines = None,
                },
                happened = pictures(&mut self.media) => if let Happened::Done = happened? {
                    break;
                },
                Ok(()) = status.changed(), if !self.replayed => {}
                _ = interrupts.recv() => break,
            }
        }
        if let Some(media) = self.media.take() {
            // Whoever cannot wait for the last words interrupts once more.
            tokio::select! {
                finished = media.finish() => finished?,
                _ = interrupts.recv() => {}
            }
        }
        self.show.end();
        Ok(if self.owed.failed() {
            ExitCode::from(FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Shows an event. `Some` at the end of the session.
    fn event(&mut self, event: Event) -> Result<Option<ExitCode>, Failure> {
        self.show.event(&event);
        if let Event::Log { range, .. } | Event::Gap { range, .. } = &event {
            self.shown = range.to;
        }
        match event {
            Event::Log {
                event: LogEvent::Known(wire::Event::TurnEnded(ended)),
                ..
            } => {
                self.owed
                    .ended(ended.turn, ended.end, self.receipt.is_some());
            }
            // Its end may be among what was passed over.
            Event::Gap { snapshot, .. } => {
                for view in &snapshot.turns {
                    if let wire::TurnState::Ended { ended } = &view.state {
                        let turn = ended.turn.clone();
                        self.owed.ended(turn, ended.end, self.receipt.is_some());
                    }
                }
                let open = |turn: &TurnId| snapshot.turn(turn).is_some_and(|view| view.is_open());
                if self.owed.turn().is_some_and(|turn| !open(turn)) {
                    self.owed.forget();
                }
            }
            Event::Ended { .. } => {
                let unanswered = self.owed.turn().is_some() || !self.prompts.is_empty();
                return Ok(Some(if self.owed.failed() || unanswered {
                    ExitCode::from(FAILED)
                } else {
                    ExitCode::SUCCESS
                }));
            }
            Event::Failed(fault) => return Err(Failure::from(&*fault)),
            Event::Log { .. }
            | Event::Joined(_)
            | Event::Ephemeral(_)
            | Event::MediaLost { .. }
            | Event::MediaRecovered { .. }
            | Event::Fault(_)
            | Event::ConnectionLost { .. }
            | Event::AttemptFailed { .. }
            | Event::Recovered { .. }
            | Event::Queued { .. }
            | Event::Goaway { .. }
            | Event::ProtocolNotice(_)
            | Event::StillWaiting { .. } => {}
        }
        Ok(None)
    }

    fn receipt(&mut self, outcome: <Receipt as Future>::Output) {
        self.receipt = None;
        self.show.receipt(&outcome);
        match outcome {
            Ok(accepted) => self.owed.accepted(accepted.turn),
            Err(_) => self.owed.refused(),
        }
    }

    async fn line(&mut self, line: Line) {
        match line {
            Line::Say(text) if self.at_once && self.receipt.is_none() => {
                self.receipt = Some(self.session.say(text));
            }
            Line::Say(text) => self.prompts.push_back(text),
            Line::Retry(turn) => self.once_more(turn, Session::retry).await,
            Line::Continue(turn) => self.once_more(turn, Session::continue_turn).await,
            Line::Promote(turn) => self.receipt = Some(self.session.promote(turn)),
            Line::Answer(text) => self.answer(&text).await,
            Line::Cancel => self.receipt = Some(self.session.cancel(None)),
            Line::Set(patch) => self.receipt = Some(self.session.set(patch)),
            Line::Send(data) => self.receipt = Some(self.session.send(data)),
            Line::End => self.receipt = Some(self.session.end()),
            Line::Drop => self.session.simulate(Simulate::DropTransport).await,
            Line::Status => {
                let status = self.session.status().borrow().clone();
                terminal::say(&json!(status).to_string());
            }
            Line::Quit => (self.lines, self.prompts) = (None, VecDeque::new()),
            Line::Wrong(message) => terminal::say(&message),
        }
    }

    /// A turn that is over, or the last one that is, once more.
    async fn once_more(&mut self, turn: Option<TurnId>, how: fn(&Session, TurnId) -> Receipt) {
        let turn = match turn {
            Some(turn) => Some(turn),
            None => self.last_over().await,
        };
        match turn {
            Some(turn) => self.receipt = Some(how(&self.session, turn)),
            None => terminal::say("no turn is over yet"),
        }
    }

    async fn last_over(&self) -> Option<TurnId> {
        let turns = self.session.snapshot().await?.turns;
        let mut over = turns.into_iter().rev().filter(|view| !view.is_open());
        over.next().map(|view| view.turn)
    }

    /// Answers what is asked; what is no option and is JSON is given as that.
    async fn answer(&mut self, text: &str) {
        let turns = self.session.snapshot().await.map(|fold| fold.turns);
        let mut asked = turns
            .into_iter()
            .flatten()
            .filter_map(|view| match view.state {
                wire::TurnState::Waiting { action } => Some((view.turn, action)),
                wire::TurnState::Queued
                | wire::TurnState::Running
                | wire::TurnState::Ended { .. } => None,
            });
        let Some((turn, action)) = asked.next() else {
            return terminal::say("nothing is asked");
        };
        let free = action.options.is_empty();
        let json = serde_json::from_str(text).ok().filter(|_| free);
        let answer = json.unwrap_or_else(|| json!(text));
        self.receipt = Some(self.session.answer(turn, action.id, answer));
    }

    /// Whether nothing runs, and everything that was said has been shown.
    async fn is_idle(&self) -> bool {
        // Before what is shown is compared: the end of a turn may come with the answer.
        let snapshot = self.session.snapshot().await;
        if self.shown < self.session.cursor().seq {
            return false;
        }
        let turns = snapshot.into_iter().flat_map(|snapshot| snapshot.turns);
        !turns.into_iter().any(|turn| turn.is_open())
    }
}

/// Whether what was missed is here.
const fn stands(state: &wire::State) -> bool {
    match state {
        wire::State::Connecting { .. } | wire::State::Queued { .. } => false,
        wire::State::Live
        | wire::State::Degraded
        | wire::State::Recovering
        | wire::State::Ended { .. }
        | wire::State::Failed => true,
    }
}

async fn answered(receipt: &mut Option<Receipt>) -> <Receipt as Future>::Output {
    match receipt {
        Some(receipt) => receipt.await,
        None => std::future::pending().await,
    }
}

async fn pictures(media: &mut Option<Media>) -> Result<Happened, Failure> {
    match media {
        Some(media) => media.next().await,
        None => std::future::pending().await,
    }
}

async fn typed(lines: &mut Option<lines::Lines>) -> Option<Line> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}
