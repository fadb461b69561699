//! One turn: from a process, new or kept, to an outcome.
//!
//! Reading, writing, telling and the clocks go on side by side, so that nothing which one of them
//! waits for can hold up a cancel or the process's end. What comes first decides.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use keel_wire::{CancelStep, limits::AGENT_ID_BYTES_MAX};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    PROTOCOL_VERSION,
    config::{Config, Forgotten},
    files::Workspace,
    link::{Abilities, Heard, Link},
    permission::{self, Desk, Verdict},
    repeat::{Repeats, Say},
    rpc::{AUTH_REQUIRED, METHOD_NOT_FOUND, Message, RpcError},
    update::{self, Update},
    warm::Lease,
};
use crate::{
    Ask, Control, Ending, Failure, Outcome, Output, Request, Sink, Stopped,
    limits::{CREDIT_BYTES, OUTPUTS_WAITING_MAX, REPORTED_BYTES_MAX, RETOLD_BYTES_MAX},
    process::{
        redact::Redactor,
        run_marker,
        status::{self, Seen},
        tree::Felled,
    },
    sink::Meter,
};

/// Bytes of text that are gathered before they are told.
const GATHER_BYTES: usize = 32 * 1024;
/// How long what was said before a cancel may take to be told.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// What the agent is to answer next, and the number of that request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Initialize(u64),
    Authenticate(u64),
    Open(u64, Opening),
    Prompt(u64),
}

/// How the agent gets a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    New,
    /// It tells what was said before, once more; nobody else is told.
    Load,
    Resume,
}

/// How far a cancel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// By the protocol.
    Asked,
    /// By a signal; because it did not stop when asked, or because it could not be asked.
    Terminating { asked_before: bool },
}

/// How the turn ended, and whether the process can serve another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Settled(Ending),
    Broken(Ending),
    /// The process has ended, and only what was seen of that can say how.
    Gone,
}

/// Which wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Ladder,
    StdoutClosed,
}

struct Turn<'a> {
    config: &'a Config,
    request: Request,
    link: Link,
    stage: Stage,
    /// The agent is to be told what was said before.
    retell: bool,
    /// A way to log in was tried.
    authenticated: bool,
    desk: Desk,
    repeats: Repeats,
    outputs: VecDeque<Output>,
    outputs_bytes: u64,
    meter: Arc<Meter>,
    /// Tells of a cancel's steps.
    steps: Sink,
    ladder: Option<(Step, Instant)>,
    stdout_closed_at: Option<Instant>,
    end: Option<End>,
    said_text: bool,
    noise_lines: u64,
    late_lines: u64,
    repaired: bool,
}

/// Runs one attempt at a turn.
pub(crate) async fn run(
    config: Arc<Config>,
    lease: Lease,
    request: Request,
    control: Control,
    sink: Sink,
) -> Outcome {
    let workspace = match workspace(&config, &request) {
        Ok(workspace) => workspace,
        Err(failure) => return Outcome::failed(failure),
    };
    let mut kept = lease.take().await;
    // What was told of this conversation last is what stands.
    let fits = |link: &Link| {
        let other = request.bound.is_some() && request.bound != link.session;
        link.is_whole() && link.services.directory() == workspace.path() && !other
    };
    if let Some(link) = &mut kept
        && !fits(link)
    {
        link.fell().await;
        kept = None;
    }
    let link = match kept {
        Some(link) => link,
        None => match Link::open(&config, workspace, run_marker(&request)).await {
            Ok(link) => link,
            Err(failure) => return Outcome::failed(failure),
        },
    };
    Turn::new(&config, request, link, &sink)
        .hold(lease, control, sink)
        .await
}

/// Where the session's agent runs. A directory that the session named was looked at when it did:
/// it is that one, or none.
fn workspace(config: &Config, request: &Request) -> Result<Workspace, Failure> {
    let own = || {
        config
            .process
            .cwd
            .clone()
            .map_or_else(std::env::current_dir, Ok)
    };
    let (path, exact) = match &request.cwd {
        Some(cwd) => (Ok(cwd.clone()), true),
        None => (own(), false),
    };
    let named = path.as_ref().map(|path| path.display().to_string());
    let named = named.unwrap_or_default();
    path.and_then(|path| Workspace::open(&path, exact))
        .map_err(|error| Failure::Spawn {
            path: named,
            error: error.to_string(),
            errno: error.raw_os_error(),
        })
}

type Speaking = Pin<Box<dyn Future<Output = (Sink, Result<(), Stopped>)> + Send>>;

/// Says one output; gives the sink back.
fn speak(mut sink: Sink, output: Output) -> Speaking {
    Box::pin(async move {
        let said = sink.send(output).await;
        (sink, said)
    })
}

/// The attempt's mouth: one output at a time.
enum Mouth {
    Closed(Sink),
    Open(Speaking),
    Stopped,
}

impl Mouth {
    /// Resolves when an output was said; never while there is none.
    async fn said(&mut self) -> Result<(), Stopped> {
        let Self::Open(speaking) = self else {
            return std::future::pending().await;
        };
        let (sink, said) = speaking.await;
        *self = Self::Closed(sink);
        said
    }

    fn open(&mut self, output: Output) {
        *self = match std::mem::replace(self, Self::Stopped) {
            Self::Closed(sink) => Self::Open(speak(sink, output)),
            other => other,
        };
    }
}

impl<'a> Turn<'a> {
    fn new(config: &'a Config, request: Request, link: Link, sink: &Sink) -> Self {
        let wish = request.params.get("permissions").unwrap_or(&Value::Null);
        let policy = config.permissions.narrowed(wish);
        let mut turn = Self {
            config,
            stage: Stage::Initialize(0),
            retell: false,
            authenticated: false,
            desk: Desk::new(policy, question_prefix(&request)),
            repeats: Repeats::default(),
            outputs: VecDeque::new(),
            outputs_bytes: 0,
            meter: sink.meter(),
            steps: sink.twin(),
            ladder: None,
            stdout_closed_at: None,
            end: None,
            said_text: false,
            noise_lines: 0,
            late_lines: 0,
            repaired: false,
            request,
            link,
        };
        turn.link.begin();
        let pid = turn.link.pid;
        turn.tell(Output::Started { pid });
        if turn.link.session.is_some() {
            turn.prompt();
        } else {
            turn.initialize();
        }
        turn
    }

    async fn hold(mut self, lease: Lease, mut control: Control, sink: Sink) -> Outcome {
        let mut mouth = Mouth::Closed(sink);
        loop {
            self.pump();
            if let Some(action) = self.desk.ask() {
                self.tell(Output::NeedsAction(action));
            }
            if self.end.is_some() {
                break;
            }
            if matches!(mouth, Mouth::Closed(_))
                && let Some(output) = self.next_output()
            {
                mouth.open(output);
            }
            let read = self.ladder.is_some() || !self.is_full();
            let deadline = self.deadline();
            // Not biased: a flood on one pipe must not starve the others or the clocks.
            tokio::select! {
                ask = control.next() => self.ask(ask),
                heard = self.link.next(read) => self.heard(heard),
                said = mouth.said() => if said.is_err() {
                    // The runner knows why.
                    self.end = Some(End::Broken(Ending::Failed(Failure::Dropped)));
                },
                why = reached(deadline) => self.reached(why),
            }
        }
        self.finish(lease, control, mouth).await
    }

    /// Tells what is left, and keeps the process or ends it.
    async fn finish(mut self, lease: Lease, mut control: Control, mut mouth: Mouth) -> Outcome {
        let end = self.end.clone().unwrap_or(End::Gone);
        let keep = matches!(end, End::Settled(_))
            && self.link.is_whole()
            && !matches!(self.ladder, Some((Step::Terminating { .. }, _)));
        let felled = match keep {
            true => Felled::default(),
            false => self.link.fell().await,
        };
        self.pump();
        let ending = match self.end.take().unwrap_or(End::Gone) {
            End::Settled(ending) | End::Broken(ending) => ending,
            End::Gone => self.gone(&felled),
        };
        for said in self.repeats.settle() {
            self.say(said);
        }
        for (request, outcome) in self.desk.cancel() {
            self.link.answer(&request, Ok(outcome));
        }
        let cancelling = self.ladder.is_some();
        let told = async {
            loop {
                if matches!(mouth, Mouth::Closed(_)) {
                    let Some(output) = self.next_output() else {
                        return;
                    };
                    mouth.open(output);
                }
                if matches!(mouth, Mouth::Stopped) || mouth.said().await.is_err() {
                    return;
                }
            }
        };
        // Nobody waits for the words of a turn that was cancelled.
        if cancelling {
            let _ = timeout(TOLD_WITHIN, told).await;
        } else {
            tokio::select! {
                () = told => {}
                () = control.cancelled() => {}
            }
        }
        let (stderr_tail, stderr_dropped) = self.link.stderr();
        let outcome = Outcome {
            ending,
            exit: felled.exit,
            stderr_tail,
            stderr_dropped,
            bytes: 0,
            lines: 0,
            noise_lines: self.noise_lines,
            late_lines: self.late_lines,
            repaired: self.repaired,
            orphans_killed: felled.orphans,
        };
        if keep {
            lease.put(self.link).await;
        }
        outcome
    }

    /// How a turn ended whose process did.
    fn gone(&self, felled: &Felled) -> Ending {
        if let Some((step, _)) = self.ladder {
            let forced = step == Step::Terminating { asked_before: true };
            return Ending::Cancelled { forced };
        }
        let ending = status::ending(Seen {
            terminal: None,
            terminal_required: true,
            text: self.said_text,
            text_required: false,
            half_line: self.link.half_line(),
            exit: felled.exit,
        });
        let by_signal = matches!(ending, Ending::Failed(Failure::Signal { .. }));
        match by_signal && felled.out_of_memory {
            true => Ending::Failed(Failure::OutOfMemory),
            false => ending,
        }
    }

    // What is told.

    fn is_full(&self) -> bool {
        self.outputs.len() >= OUTPUTS_WAITING_MAX || self.outputs_bytes > u64::from(CREDIT_BYTES)
    }

    fn tell(&mut self, output: Output) {
        // Nobody waits for the words of a turn that is being cancelled.
        if self.ladder.is_some() && self.is_full() {
            return;
        }
        self.outputs_bytes += output.bytes();
        if let (Output::Text(more), Some(Output::Text(text))) = (&output, self.outputs.back_mut())
            && text.len() < GATHER_BYTES
        {
            text.push_str(more);
            return;
        }
        self.outputs.push_back(output);
    }

    fn next_output(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.outputs_bytes = self.outputs_bytes.saturating_sub(output.bytes());
        Some(output)
    }

    fn say(&mut self, say: Say) {
        match say {
            Say::Text(text) => {
                self.said_text |= !text.is_empty();
                self.tell(Output::Text(text));
            }
            Say::Anew => {
                let message = "the agent began its answer anew".to_owned();
                let failure = Box::new(Failure::Reported { message });
                self.tell(Output::NewAttempt { failure });
            }
        }
    }

    fn notice(&mut self, level: &str, text: &str) {
        self.tell(Output::Item(
            json!({"type": "notice", "level": level, "text": text}),
        ));
    }

    fn item(&mut self, item: Value) {
        for said in self.repeats.part() {
            self.say(said);
        }
        self.tell(Output::Item(item));
    }

    // What is heard.

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Messages => {}
            Heard::StdoutClosed => self.stdout_closed_at = Some(Instant::now()),
            Heard::Ended => {
                self.end = Some(End::Gone);
            }
            Heard::Failed(failure) => {
                // What was read before it still counts.
                self.pump();
                if self.end.is_none() {
                    self.end = Some(End::Broken(Ending::Failed(failure)));
                }
            }
        }
    }

    /// Takes what was read.
    fn pump(&mut self) {
        let counts = self.link.counted();
        self.repaired |= counts.repaired;
        self.noise_lines += counts.noise_lines;
        if let (Ok(lines @ 1..), None) = (u32::try_from(counts.noise_lines), &self.end) {
            self.tell(Output::Noise { lines });
        }
        if counts.lines > 0 && self.meter.count_lines(counts.lines).is_err() {
            self.end
                .get_or_insert(End::Broken(Ending::Failed(Failure::Dropped)));
        }
        while let Some(message) = self.link.take() {
            // A process that has ended may have said its last word before.
            let over = !matches!(self.end, None | Some(End::Gone));
            match message {
                _ if over => self.late_lines += 1,
                Message::Response { id, result } => self.answered(id, result),
                Message::Request { id, method, params } => self.asked(id, &method, params),
                Message::Notification { method, params } => self.told(&method, params),
            }
        }
    }

    fn told(&mut self, method: &str, mut params: Value) {
        if method != "session/update" {
            return;
        }
        let of = params.get("sessionId").and_then(Value::as_str);
        let ours = of.is_some() && of == self.link.session.as_deref();
        let update = params.get_mut("update").map(Value::take);
        let update = update::read(update.unwrap_or(Value::Null));
        if !matches!(self.stage, Stage::Prompt(_)) {
            // What was said before is being replayed; what it can do counts all the same.
            if let Update::Item(item) = update
                && item["type"] == "commands"
            {
                self.tell(Output::Item(item));
            }
            return;
        }
        match update {
            _ if !ours => {}
            Update::Text { message, text } => {
                for said in self.repeats.piece(message.as_deref(), &text) {
                    self.say(said);
                }
            }
            Update::Thought(item) => self.tell(Output::Item(item)),
            Update::Item(item) => self.item(item),
            Update::Tool { id, kind, items } => {
                if let Some(kind) = kind {
                    self.desk.learn(&id, &kind);
                }
                items.into_iter().for_each(|item| self.item(item));
            }
            Update::Silent => {}
        }
    }

    fn asked(&mut self, id: Value, method: &str, params: Value) {
        match method {
            "session/request_permission" => self.permission(id, &params),
            _ if method.starts_with("fs/") || method.starts_with("terminal/") => {
                self.link.serve(id, method, params);
            }
            _ => {
                let error = RpcError::new(METHOD_NOT_FOUND, "there is no such method");
                self.link.answer(&id, Err(error));
            }
        }
    }

    fn permission(&mut self, id: Value, params: &Value) {
        let prompting = matches!(self.stage, Stage::Prompt(_));
        if self.ladder.is_some() || !prompting {
            self.link.answer(&id, Ok(permission::cancelled()));
            return;
        }
        // What it is asked for is told, should the agent not have told it before.
        let call = params.get("toolCall").and_then(Value::as_object);
        if let Some(Update::Tool { items, .. }) = call.map(update::tool_update) {
            items.into_iter().for_each(|item| self.item(item));
        }
        match self.desk.request(id.clone(), params) {
            Verdict::Wait => {}
            Verdict::Answer(outcome, told) => {
                self.link.answer(&id, Ok(outcome));
                if let Some(told) = told {
                    self.notice("warning", &told);
                }
            }
        }
    }

    // What is asked of the agent.

    fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": PROTOCOL_VERSION,
            "clientCapabilities": self.link.services.capabilities(),
            "clientInfo": {"name": "evenkeel", "version": env!("CARGO_PKG_VERSION")},
        });
        self.stage = Stage::Initialize(self.link.request("initialize", &params));
    }

    fn open(&mut self) {
        let bound = self.request.bound.clone();
        let opening = match (&bound, &self.link.abilities) {
            (None, _) => Opening::New,
            (Some(_), Abilities { resume: true, .. }) => Opening::Resume,
            (Some(_), Abilities { load: true, .. }) => Opening::Load,
            (Some(_), _) => return self.forgotten("it cannot take a session up again"),
        };
        self.open_as(opening, bound);
    }

    fn open_as(&mut self, opening: Opening, bound: Option<String>) {
        let cwd = self.link.services.directory().display().to_string();
        let mut params = json!({"cwd": cwd, "mcpServers": []});
        if let Some(bound) = bound {
            params["sessionId"] = bound.into();
        }
        let method = match opening {
            Opening::New => "session/new",
            Opening::Load => "session/load",
            Opening::Resume => "session/resume",
        };
        self.retell |= opening == Opening::New && !self.request.history.is_empty();
        self.stage = Stage::Open(self.link.request(method, &params), opening);
    }

    fn prompt(&mut self) {
        let mut prompt = Vec::new();
        if self.retell {
            prompt.push(json!({"type": "text", "text": retold(&self.request)}));
        }
        prompt.push(json!({"type": "text", "text": self.request.prompt}));
        let params = json!({"sessionId": self.link.session, "prompt": prompt});
        self.stage = Stage::Prompt(self.link.request("session/prompt", &params));
    }

    /// The agent does not know the session that it had.
    fn forgotten(&mut self, why: &str) {
        let mut why = self.link.redactor.redact(why);
        why.truncate(why.floor_char_boundary(REPORTED_BYTES_MAX));
        match self.config.forgotten {
            Forgotten::Fail => self.fail(Failure::Resume { message: why }),
            Forgotten::Retell => {
                let text = format!(
                    "the agent has lost this conversation ({why}); it begins a new one and is told \
                     what was said so far"
                );
                self.notice("warning", &text);
                self.open_as(Opening::New, None);
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.end = Some(End::Broken(Ending::Failed(failure)));
    }

    // What the agent answers.

    fn answered(&mut self, id: u64, result: Result<Value, RpcError>) {
        match self.stage {
            Stage::Initialize(asked) if asked == id => self.initialized(result),
            Stage::Authenticate(asked) if asked == id => match result {
                Ok(_) => self.open(),
                Err(error) => self.unauthenticated(&error),
            },
            Stage::Open(asked, opening) if asked == id => self.opened(opening, result),
            Stage::Prompt(asked) if asked == id => self.settled(result),
            // Nobody asked, or nobody wants to know any more.
            Stage::Initialize(_) | Stage::Authenticate(_) | Stage::Open(..) | Stage::Prompt(_) => {
                self.link.noise()
            }
        }
    }

    fn initialized(&mut self, result: Result<Value, RpcError>) {
        let told = match result {
            Ok(told) => told,
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) => return self.fail(self.failure(&error)),
        };
        let version = &told["protocolVersion"];
        if version.as_u64() != Some(PROTOCOL_VERSION) {
            let message = format!("its is {version}, and {PROTOCOL_VERSION} is spoken here");
            return self.fail(Failure::Incompatible { message });
        }
        let can = &told["agentCapabilities"];
        let logins = told["authMethods"]
            .as_array()
            .into_iter()
            .flatten()
            .take(16);
        self.link.abilities = Abilities {
            load: can["loadSession"] == true,
            resume: can["sessionCapabilities"]["resume"].is_object(),
            logins: logins
                .filter_map(|login| {
                    let login = login.as_object()?;
                    let id = update::text(login, "id")?;
                    let name = update::text(login, "name").unwrap_or_else(|| id.clone());
                    Some((id, name))
                })
                .collect(),
        };
        self.open();
    }

    /// The agent wants somebody to log in.
    fn unauthenticated(&mut self, error: &RpcError) {
        let offered = &self.link.abilities.logins;
        let silent = self.config.auth_method.as_ref();
        let silent = silent.filter(|method| offered.iter().any(|(id, _)| id == *method));
        if let (Some(method), false) = (silent, self.authenticated) {
            let params = json!({"methodId": method});
            self.authenticated = true;
            self.stage = Stage::Authenticate(self.link.request("authenticate", &params));
            return;
        }
        let said = self.link.redactor.redact(error.words());
        let hint = self.config.login.as_deref();
        let hint = hint.unwrap_or("log in with the agent's own program, as the server's user");
        let message = format!("{said}; {hint}");
        let methods = offered.iter().map(|(_, name)| name.clone()).collect();
        self.fail(Failure::Auth { message, methods });
    }

    fn opened(&mut self, opening: Opening, result: Result<Value, RpcError>) {
        let told = match result {
            Ok(told) => told,
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) if opening != Opening::New => return self.forgotten(error.words()),
            Err(error) => return self.fail(self.failure(&error)),
        };
        let session = match opening {
            Opening::New => told["sessionId"].as_str().map(str::to_owned),
            Opening::Load | Opening::Resume => self.request.bound.clone(),
        };
        let usable = |id: &String| (1..=AGENT_ID_BYTES_MAX).contains(&id.len());
        let Some(session) = session.filter(usable) else {
            let message = "the agent opened a session without a name".to_owned();
            return self.fail(Failure::Reported { message });
        };
        if opening == Opening::New {
            let id = session.clone();
            self.tell(Output::Bound { id });
        }
        if let Some(mode) = told["modes"]
            .as_object()
            .and_then(|m| update::text(m, "currentModeId"))
        {
            self.tell(Output::Item(json!({"type": "mode", "mode": mode})));
        }
        self.link.session = Some(session);
        self.prompt();
    }

    fn settled(&mut self, result: Result<Value, RpcError>) {
        for said in self.repeats.settle() {
            self.say(said);
        }
        let cancelling = self.ladder.is_some();
        let ending = match result {
            Ok(told) => {
                if let Some(usage) = update::turn_usage(&told["usage"]) {
                    self.tell(Output::Item(usage));
                }
                match told["stopReason"].as_str() {
                    Some("cancelled") if cancelling => Ending::Cancelled { forced: false },
                    Some(reason) => Ending::Done {
                        stop_reason: Some(reason.chars().take(64).collect()),
                    },
                    None => Ending::Failed(Failure::NoResult),
                }
            }
            Err(_) if cancelling => Ending::Cancelled { forced: false },
            Err(error) if error.code == AUTH_REQUIRED => return self.unauthenticated(&error),
            Err(error) => Ending::Failed(self.failure(&error)),
        };
        self.end = Some(End::Settled(ending));
    }

    /// An error of the agent's as a failure, without secrets.
    fn failure(&self, error: &RpcError) -> Failure {
        failure_of(error, &self.link.redactor)
    }

    // What the session asks.

    fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Answer(answer) => {
                if let Some((request, outcome)) = self.desk.answer(&answer.action, &answer.answer) {
                    self.link.answer(&request, Ok(outcome));
                }
            }
            Ask::Cancel => self.cancel(),
            // The protocol has no word for it, so nobody is told that it can be done.
            Ask::Steer(_) => {}
        }
    }

    fn cancel(&mut self) {
        if !matches!(self.stage, Stage::Prompt(_)) {
            // There is nothing yet that it could be asked to stop.
            return self.terminate(false);
        }
        let params = json!({"sessionId": self.link.session});
        self.link.notify("session/cancel", &params);
        // After the cancel, so that nobody takes them for refusals and goes on.
        for (request, outcome) in self.desk.cancel() {
            self.link.answer(&request, Ok(outcome));
        }
        self.steps.step(CancelStep::Asked);
        self.ladder = Some((Step::Asked, Instant::now()));
    }

    fn terminate(&mut self, asked_before: bool) {
        self.link.terminate();
        self.steps.step(CancelStep::Terminating);
        self.ladder = Some((Step::Terminating { asked_before }, Instant::now()));
    }

    fn deadline(&self) -> Option<(Instant, Why)> {
        let clocks = &self.config.process.clocks;
        let ladder = self.ladder.map(|(step, since)| {
            let span = match step {
                Step::Asked => self.config.ask,
                Step::Terminating { .. } => clocks.terminate,
            };
            (since + span, Why::Ladder)
        });
        let closed = self.stdout_closed_at;
        let closed = closed.map(|at| (at + clocks.stdout_closed, Why::StdoutClosed));
        [ladder, closed]
            .into_iter()
            .flatten()
            .min_by_key(|(at, _)| *at)
    }

    fn reached(&mut self, why: Why) {
        match (why, self.ladder) {
            (Why::Ladder, Some((Step::Asked, _))) => self.terminate(true),
            (Why::Ladder, _) => {
                self.steps.step(CancelStep::Killing);
                self.end = Some(End::Broken(Ending::Cancelled { forced: true }));
            }
            (Why::StdoutClosed, _) => {
                let ms = self.config.process.clocks.stdout_closed.as_millis();
                let ms = u64::try_from(ms).unwrap_or(u64::MAX);
                self.fail(Failure::StdoutClosed { ms });
            }
        }
    }
}

/// Resolves at the deadline; never, if there is none.
async fn reached(deadline: Option<(Instant, Why)>) -> Why {
    match deadline {
        Some((at, why)) => {
            sleep_until(at).await;
            why
        }
        None => std::future::pending().await,
    }
}

/// What was said so far, for an agent that does not remember it: the end of it, if it is long.
fn retold(request: &Request) -> String {
    let mut told = VecDeque::new();
    let mut bytes = 0;
    for exchange in request.history.iter().rev() {
        let said = format!(
            "User: {}\n\nAssistant: {}\n\n",
            exchange.prompt, exchange.text
        );
        bytes += said.len();
        if bytes > RETOLD_BYTES_MAX {
            break;
        }
        told.push_front(said);
    }
    let told: String = told.into_iter().collect();
    format!("What was said before in this conversation, for you to go on from:\n\n{told}")
}

/// Begins the names of an attempt's questions; like no other attempt's.
fn question_prefix(request: &Request) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    let n = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    let turn: String = request.turn.as_str().chars().take(30).collect();
    format!("a-{turn}-{}-{n}", request.attempt)
}

/// An error of the agent's as a failure, without secrets.
fn failure_of(error: &RpcError, redactor: &Redactor) -> Failure {
    let data = error.data.as_ref().map(|data| {
        let mut told = redactor.redact(&data.to_string());
        told.truncate(told.floor_char_boundary(REPORTED_BYTES_MAX));
        told
    });
    let mut message = redactor.redact(error.words());
    message.truncate(message.floor_char_boundary(REPORTED_BYTES_MAX));
    Failure::Rpc {
        code: error.code,
        message,
        data,
        status: error.status(),
    }
}
