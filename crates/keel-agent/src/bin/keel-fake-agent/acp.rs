//! An agent that speaks the Agent Client Protocol, well or badly.
//!
//! `keel-fake-agent acp [FLAG…] [OP…]`. A prompt that begins with `!` is a list of ops of its own,
//! else the ops of the arguments are done at each prompt; without any it says `one two three `.
//!
//! | flag | does |
//! |---|---|
//! | `--protocol=N` | answers that version |
//! | `--auth`, `--auth-always` | wants a login until there was one; for ever |
//! | `--load`, `--resume` | says that it can |
//! | `--state=DIR` | knows only sessions that it, or one like it, made there |
//! | `--replay=N` | tells N words again at `session/load` |
//! | `--replay-late` | does so after it has answered |
//! | `--crash-at=METHOD`, `--hang-at=METHOD` | does so when asked that; `start` before anything |
//! | `--modes` | tells of its modes |
//! | `--banner` | writes garbage first |
//! | `--witness=FILE` | appends the name of each method that it is asked, and of each cancel |
//! | `--ignore-term`, `--ignore-cancel` | does so |
//!
//! | op | does |
//! |---|---|
//! | `text=T`, `id=ID:T`, `thought=T` | says T; as part of message ID; thinks T |
//! | `count=N`, `big=N`, `endless` | says `again ` N times; N bytes; something for ever |
//! | `tool`, `plan`, `mode`, `usage`, `commands`, `unknown` | tells of it |
//! | `permit`, `permit=KIND`, `permit2` | asks for leave; for a tool of a kind; twice at once; says the outcome |
//! | `read=PATH`, `write=PATH:T`, `run=PROGRAM:ARG…` | has us do it; says what came of it |
//! | `waits=N:PROGRAM:ARG…` | waits N times at once for the end of one program, and ends it; says what came of it |
//! | `echo`, `cwd`, `env`, `session`, `pid` | says the prompt, its directory, names of its variables, … |
//! | `garbage=N`, `huge=N`, `half`, `deep`, `complain=N` | writes N bad lines, a line of N bytes, … |
//! | `error=CODE:T`, `stop=REASON`, `two-ends` | ends so |
//! | `end=REASON` | ends so at once, and goes on |
//! | `orphans=N`, `ignore-term`, `ignore-cancel`, `close-stdout` | does so |
//! | `hang-if=WORD` | hangs if the prompt holds WORD |
//! | `hang`, `sleep-ms=N`, `exit=N`, `signal=N` | does so |

use std::{
    io::{self, BufRead, Write},
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::perform;

pub(crate) fn run(args: &[String]) -> io::Result<()> {
    let (flags, ops): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with("--"));
    let flags = flags
        .iter()
        .map(|flag| flag.split_once('=').unwrap_or((flag, "")));
    let mut agent = Agent {
        flags: flags
            .map(|(flag, value)| (flag.to_owned(), value.to_owned()))
            .collect(),
        ops: ops.into_iter().cloned().collect(),
        heard: listen(),
        authenticated: false,
        session: None,
        cwd: String::new(),
        asked: 0,
        ignore_cancel: false,
        cancelled: false,
        answers: Vec::new(),
    };
    agent.run()
}

/// Reads stdin beside everything else.
fn listen() -> Receiver<Value> {
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            let message = serde_json::from_str(&line).unwrap_or(Value::Null);
            if told.send(message).is_err() {
                return;
            }
        }
    });
    heard
}

struct Agent {
    flags: Vec<(String, String)>,
    ops: Vec<String>,
    heard: Receiver<Value>,
    authenticated: bool,
    session: Option<String>,
    cwd: String,
    asked: u64,
    ignore_cancel: bool,
    cancelled: bool,
    /// Answers that nobody has looked for yet.
    answers: Vec<Value>,
}

/// Why no more ops are done.
enum Halt {
    Cancelled,
    /// The prompt was answered already.
    Answered,
    Io(io::Error),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Agent {
    fn flag(&self, name: &str) -> Option<&str> {
        let found = self
            .flags
            .iter()
            .find(|(flag, _)| flag.trim_start_matches('-') == name);
        found.map(|(_, value)| value.as_str())
    }

    fn run(&mut self) -> io::Result<()> {
        self.ignore_cancel = self.flag("ignore-cancel").is_some();
        if self.flag("ignore-term").is_some() {
            perform("ignore-term", "", &mut io::sink())?;
        }
        self.misbehave("start")?;
        if self.flag("banner").is_some() {
            raw("Welcome to \u{1b}[31mthe agent\u{1b}[0m!\n[\"npm\", \"warn\"]\n\n")?;
        }
        while let Ok(message) = self.heard.recv() {
            self.handle(&message)?;
        }
        Ok(())
    }

    fn misbehave(&self, at: &str) -> io::Result<()> {
        if self.flag("crash-at") == Some(at) {
            perform("signal", "11", &mut io::stdout())?;
        }
        if self.flag("hang-at") == Some(at) {
            perform("hang", "", &mut io::stdout())?;
        }
        Ok(())
    }

    fn witness(&self, word: &str) -> io::Result<()> {
        let Some(file) = self.flag("witness") else {
            return Ok(());
        };
        super::append_to(PathBuf::from(file))?.write_all(format!("{word}\n").as_bytes())
    }

    fn handle(&mut self, message: &Value) -> io::Result<()> {
        let Some(method) = message["method"].as_str() else {
            return Ok(());
        };
        self.witness(method)?;
        self.misbehave(method)?;
        let params = &message["params"];
        let answer = match method {
            "initialize" => Ok(self.initialized()),
            "authenticate" => {
                self.authenticated = params["methodId"] == "silent";
                Ok(json!({}))
            }
            "session/new" | "session/load" | "session/resume" if self.is_locked() => Err((
                -32_000,
                "Authentication required for sk-canary-0123456789".to_owned(),
            )),
            "session/new" => Ok(self.opened(params)?),
            "session/load" if self.flag("replay-late").is_some() => {
                reply(&message["id"], Ok(json!({})))?;
                thread::sleep(Duration::from_millis(50));
                self.reopened(method, params)?
                    .map_err(|(_, text)| io::Error::other(text))?;
                return Ok(());
            }
            "session/load" | "session/resume" => self.reopened(method, params)?,
            "session/prompt" => return self.prompt(&message["id"], params),
            _ if message["id"].is_null() => return Ok(()),
            _ => Err((-32_601, "no such method".to_owned())),
        };
        reply(&message["id"], answer)
    }

    fn is_locked(&self) -> bool {
        let once = self.flag("auth").is_some() && !self.authenticated;
        once || self.flag("auth-always").is_some()
    }

    fn initialized(&self) -> Value {
        let version = self
            .flag("protocol")
            .and_then(|n| n.parse().ok())
            .unwrap_or(1);
        let mut can = json!({"loadSession": self.flag("load").is_some()});
        if self.flag("resume").is_some() {
            can["sessionCapabilities"] = json!({"resume": {}});
        }
        let logins = json!([{"id": "browser", "name": "Log in with a browser"},
                            {"id": "silent", "name": "Use what is there"}]);
        json!({"protocolVersion": version, "agentCapabilities": can, "authMethods": logins})
    }

    fn opened(&mut self, params: &Value) -> io::Result<Value> {
        let id = format!("fake-{}-{}", std::process::id(), self.asked);
        if let Some(state) = self.flag("state") {
            std::fs::write(PathBuf::from(state).join(&id), "")?;
        }
        self.session = Some(id.clone());
        self.cwd = params["cwd"].as_str().unwrap_or_default().to_owned();
        let mut told = json!({"sessionId": id});
        if self.flag("modes").is_some() {
            told["modes"] = json!({"currentModeId": "code", "availableModes": []});
        }
        Ok(told)
    }

    fn reopened(
        &mut self,
        method: &str,
        params: &Value,
    ) -> io::Result<Result<Value, (i64, String)>> {
        let id = params["sessionId"].as_str().unwrap_or_default().to_owned();
        let known = self
            .flag("state")
            .is_none_or(|state| PathBuf::from(state).join(&id).exists());
        if !known || id.contains('/') {
            return Ok(Err((-32_002, format!("Resource not found: {id}"))));
        }
        self.session = Some(id);
        self.cwd = params["cwd"].as_str().unwrap_or_default().to_owned();
        let words = self
            .flag("replay")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        for _ in 0..words {
            if method == "session/load" {
                self.update(json!({"sessionUpdate": "user_message_chunk",
                    "content": {"type": "text", "text": "before"}}))?;
                self.text(None, "said before ")?;
            }
        }
        Ok(Ok(json!({})))
    }

    fn update(&self, update: Value) -> io::Result<()> {
        let params = json!({"sessionId": self.session, "update": update});
        line(&json!({"jsonrpc": "2.0", "method": "session/update", "params": params}))
    }

    fn text(&self, id: Option<&str>, text: &str) -> io::Result<()> {
        let content = json!({"type": "text", "text": text});
        let mut update = json!({"sessionUpdate": "agent_message_chunk", "content": content});
        if let Some(id) = id {
            update["messageId"] = id.into();
        }
        self.update(update)
    }

    fn prompt(&mut self, id: &Value, params: &Value) -> io::Result<()> {
        let blocks = params["prompt"].as_array().cloned().unwrap_or_default();
        let last = blocks.last().and_then(|block| block["text"].as_str());
        let script = last.and_then(|text| text.strip_prefix('!'));
        let mut ops = match script {
            Some(script) => script.split_whitespace().map(str::to_owned).collect(),
            None => self.ops.clone(),
        };
        if ops.is_empty() {
            ops.extend(["text=one ", "text=two ", "text=three "].map(str::to_owned));
        }
        self.cancelled = false;
        let mut stop = "end_turn".to_owned();
        for op in &ops {
            let (op, value) = op.split_once('=').unwrap_or((op, ""));
            // A list of ops has no blanks to give.
            let worded = script.is_some() && matches!(op, "text" | "id" | "thought");
            let value = if worded {
                value.replace('_', " ")
            } else {
                value.to_owned()
            };
            match self.op(op, &value, id, &blocks, &mut stop) {
                Ok(()) => {}
                Err(Halt::Cancelled) => {
                    stop = "cancelled".to_owned();
                    break;
                }
                Err(Halt::Answered) => return Ok(()),
                Err(Halt::Io(error)) => return Err(error),
            }
        }
        reply(id, Ok(json!({"stopReason": stop})))
    }

    fn op(
        &mut self,
        op: &str,
        value: &str,
        id: &Value,
        blocks: &[Value],
        stop: &mut String,
    ) -> Result<(), Halt> {
        self.hear(Duration::ZERO)?;
        let number = || value.parse::<usize>().map_err(io::Error::other);
        match op {
            "text" => self.text(None, value)?,
            "id" => {
                let (id, text) = value.split_once(':').unwrap_or((value, ""));
                self.text(Some(id), text)?;
            }
            "count" => (0..number()?).try_for_each(|_| self.text(None, "again "))?,
            "big" => {
                let piece = "x".repeat(16 * 1024);
                (0..number()?.div_ceil(piece.len())).try_for_each(|_| self.text(None, &piece))?;
            }
            "endless" => loop {
                self.text(None, "again and again and again and again ")?;
                self.hear(Duration::ZERO)?;
            },
            "permit" => {
                let kind = if value.is_empty() { "execute" } else { value };
                let asked = self.want_permission(kind, "call-1")?;
                let outcome = self.outcome(asked)?;
                self.text(None, &outcome.to_string())?;
            }
            "permit2" => {
                let one = self.want_permission("execute", "call-1")?;
                let two = self.want_permission("edit", "call-2")?;
                let outcome = self.outcome(one)?;
                self.text(None, &outcome.to_string())?;
                let outcome = self.outcome(two)?;
                self.text(None, &outcome.to_string())?;
            }
            "read" => self.tell_result("fs/read_text_file", json!({"path": value}))?,
            "write" => {
                let (path, content) = value.split_once(':').unwrap_or((value, ""));
                let params = json!({"path": path, "content": content});
                self.tell_result("fs/write_text_file", params)?;
            }
            "run" => self.run_program(value)?,
            "waits" => self.wait_at_once(value)?,
            "echo" => {
                let texts = blocks.iter().filter_map(|block| block["text"].as_str());
                self.text(None, &texts.collect::<String>())?;
            }
            "cwd" => {
                let real = std::env::current_dir()?;
                self.text(None, &format!("{} {}", self.cwd, real.display()))?;
            }
            "env" => {
                let mut names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
                names.sort();
                self.text(None, &names.join("\n"))?;
            }
            "session" => self.text(None, self.session.as_deref().unwrap_or_default())?,
            "pid" => self.text(None, &std::process::id().to_string())?,
            "ignore-cancel" => self.ignore_cancel = true,
            "hang-if" if !blocks.iter().any(|block| says(block, value)) => {}
            "hang" | "hang-if" => loop {
                self.hear(Duration::from_secs(3600))?;
            },
            "sleep-ms" => self.hear(Duration::from_millis(number()? as u64))?,
            "stop" => value.clone_into(stop),
            "error" => {
                let (code, text) = value.split_once(':').unwrap_or((value, "no"));
                let code = code.parse().unwrap_or(-32_603);
                let error = json!({"code": code, "message": text,
                    "data": {"errorKind": "overloaded", "key": "sk-canary-0123456789"}});
                line(&json!({"jsonrpc": "2.0", "id": id, "error": error}))?;
                return Err(Halt::Answered);
            }
            "end" => reply(id, Ok(json!({"stopReason": value})))?,
            "two-ends" => {
                reply(id, Ok(json!({"stopReason": "end_turn"})))?;
                self.text(None, "late")?;
                reply(id, Ok(json!({"stopReason": "refusal"})))?;
                return Err(Halt::Answered);
            }
            _ => self.noise(op, value)?,
        }
        Ok(())
    }

    /// Ops that need no answer.
    fn noise(&self, op: &str, value: &str) -> io::Result<()> {
        let number = || value.parse::<usize>().map_err(io::Error::other);
        match op {
            "thought" => self.update(json!({"sessionUpdate": "agent_thought_chunk",
                "content": {"type": "text", "text": value}})),
            "tool" => {
                self.update(json!({"sessionUpdate": "tool_call", "toolCallId": "call-1",
                    "title": "list files", "kind": "execute", "status": "in_progress",
                    "rawInput": {"command": "ls"}}))?;
                self.update(
                    json!({"sessionUpdate": "tool_call_update", "toolCallId": "call-1",
                    "status": "completed", "content": [{"type": "content",
                        "content": {"type": "text", "text": "a.txt"}}]}),
                )
            }
            "plan" => self.update(json!({"sessionUpdate": "plan", "entries": [
                {"content": "look", "status": "completed", "priority": "high"}]})),
            "mode" => self.update(json!({"sessionUpdate": "current_mode_update",
                "currentModeId": value})),
            "usage" => self.update(json!({"sessionUpdate": "usage_update", "used": 10,
                "size": 100, "cost": {"amount": 0.5, "currency": "USD"}})),
            "commands" => self.update(json!({"sessionUpdate": "available_commands_update",
                "availableCommands": [{"name": "init", "description": "begin"}]})),
            "unknown" => self.update(json!({"sessionUpdate": "from_the_future", "type": "notice"})),
            "garbage" => (0..number()?).try_for_each(|_| raw("npm \u{1b}[31mwarn\u{1b}[0m\n")),
            "huge" => raw(&format!("{}\n", "x".repeat(number()?))),
            "deep" => raw(&format!(
                "{{\"method\":{}1{}}}\n",
                "[".repeat(100_000),
                "]".repeat(100_000)
            )),
            "half" => {
                raw("{\"jsonrpc\":\"2.0\",\"id\"")?;
                perform("exit", "0", &mut io::stdout())
            }
            _ => perform(op, value, &mut io::stdout()),
        }
    }

    /// Hears what is told for up to `span`.
    fn hear(&mut self, span: Duration) -> Result<(), Halt> {
        loop {
            if self.cancelled {
                return Err(Halt::Cancelled);
            }
            match self.heard.recv_timeout(span) {
                Ok(message) => self.note(&message)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                // Nobody speaks any more.
                Err(RecvTimeoutError::Disconnected) => std::process::exit(0),
            }
        }
    }

    fn note(&mut self, message: &Value) -> io::Result<()> {
        if message["method"] == "session/cancel" {
            self.witness("session/cancel")?;
            self.cancelled = !self.ignore_cancel;
        } else if message["method"].is_null() {
            self.answers.push(message.clone());
        }
        Ok(())
    }

    fn request(&mut self, method: &str, params: Value) -> io::Result<u64> {
        self.asked += 1;
        line(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}))?;
        Ok(self.asked)
    }

    /// The answer to a request.
    fn answer(&mut self, asked: u64, is_permission: bool) -> Result<Value, Halt> {
        loop {
            if let Some(at) = self.answers.iter().position(|answer| answer["id"] == asked) {
                return Ok(self.answers.remove(at));
            }
            if self.cancelled && !is_permission {
                return Err(Halt::Cancelled);
            }
            let Ok(message) = self.heard.recv() else {
                std::process::exit(0);
            };
            self.note(&message)?;
        }
    }

    fn want_permission(&mut self, kind: &str, call: &str) -> io::Result<u64> {
        let session = self.session.clone();
        self.request(
            "session/request_permission",
            json!({
                "sessionId": session,
                "toolCall": {"toolCallId": call, "title": format!("{kind} something"), "kind": kind,
                    "status": "pending"},
                "options": [
                    {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
                    {"optionId": "always", "name": "Always allow", "kind": "allow_always"},
                    {"optionId": "no", "name": "Reject", "kind": "reject_once"},
                ],
            }),
        )
    }

    fn outcome(&mut self, asked: u64) -> Result<Value, Halt> {
        let answer = self.answer(asked, true)?;
        self.hear(Duration::ZERO)?;
        Ok(answer["result"]["outcome"].clone())
    }

    fn tell_result(&mut self, method: &str, mut params: Value) -> Result<(), Halt> {
        params["sessionId"] = json!(self.session);
        let asked = self.request(method, params)?;
        let answer = self.answer(asked, false)?;
        let result = &answer["result"];
        let said = match result.is_null() {
            true => format!("refused: {}", answer["error"]["message"]),
            false => result.to_string(),
        };
        Ok(self.text(None, &said)?)
    }

    fn run_program(&mut self, value: &str) -> Result<(), Halt> {
        let Some(terminal) = self.begin_program(value)? else {
            return Ok(());
        };
        for method in [
            "terminal/wait_for_exit",
            "terminal/output",
            "terminal/release",
        ] {
            self.tell_result(method, terminal.clone())?;
        }
        Ok(())
    }

    /// What names the terminal that a program runs in; it is told where there is none.
    fn begin_program(&mut self, value: &str) -> Result<Option<Value>, Halt> {
        let mut words = value.split(':');
        let command = words.next().unwrap_or_default();
        let args: Vec<&str> = words.collect();
        let session = json!(self.session);
        let params = json!({"sessionId": session, "command": command, "args": args});
        let asked = self.request("terminal/create", params)?;
        let answer = self.answer(asked, false)?;
        let Some(terminal) = answer["result"]["terminalId"].as_str() else {
            self.text(None, &format!("refused: {}", answer["error"]["message"]))?;
            return Ok(None);
        };
        Ok(Some(json!({"sessionId": session, "terminalId": terminal})))
    }

    fn wait_at_once(&mut self, value: &str) -> Result<(), Halt> {
        let (waits, program) = value.split_once(':').unwrap_or((value, "sleep:1000"));
        let waits: usize = waits.parse().map_err(io::Error::other)?;
        let Some(terminal) = self.begin_program(program)? else {
            return Ok(());
        };
        let mut asked = Vec::new();
        for _ in 0..waits {
            asked.push(self.request("terminal/wait_for_exit", terminal.clone())?);
        }
        for method in ["wait_for_exit", "output", "kill"] {
            self.text(None, &format!("{method}: "))?;
            self.tell_result(&format!("terminal/{method}"), terminal.clone())?;
            self.text(None, "\n")?;
        }
        let mut ended = 0;
        for asked in asked {
            let answer = self.answer(asked, false)?;
            ended += usize::from(answer["result"]["signal"].is_string());
        }
        self.text(None, &format!("ended: {ended}\nrelease: "))?;
        self.tell_result("terminal/release", terminal)
    }
}

fn reply(id: &Value, answer: Result<Value, (i64, String)>) -> io::Result<()> {
    line(&match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err((code, message)) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    })
}

fn line(value: &Value) -> io::Result<()> {
    raw(&format!("{value}\n"))
}

fn raw(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn says(block: &Value, word: &str) -> bool {
    let text = block["text"].as_str();
    text.is_some_and(|text| text.contains(word))
}
