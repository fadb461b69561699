//! The shell of a server process: performs what its Node puts out, and answers what it asks.

use std::sync::Arc;

use keel_core::node::{self, Input, Output, RunEnd, RunOutput};
use keel_wire::{Code, Grant, Role, SessionId, journal::Fact};

use crate::{
    cell::Kind,
    laws::RunParams,
    link::{Down, Up},
    mix::MS,
    mutant::Mutant,
    program::{Act, Program, failure, words},
    queue::Happening,
    store::Fate,
    world::World,
};
use keel_core::{client::ConnEnd as ClientEnd, node::ConnEnd as ServerEnd};

impl World {
    pub(crate) fn to_server(&mut self, server: usize, input: Input) {
        let now = self.server_now();
        let mut out = Vec::new();
        self.servers[server].node.handle(now, input, &mut out);
        for output in out {
            self.perform(server, output);
        }
        self.arm_server(server);
    }

    fn arm_server(&mut self, index: usize) {
        let server = &mut self.servers[index];
        let Some(deadline) = server.node.deadline() else {
            return;
        };
        let at = deadline.at.micros().saturating_sub(1).max(self.now);
        if server
            .armed
            .is_some_and(|armed| armed <= at && armed >= self.now)
        {
            return;
        }
        server.armed = Some(at);
        let life = server.life;
        self.queue.at(
            at,
            Happening::ServerTick {
                server: index,
                life,
            },
        );
    }

    pub(crate) fn server_tick(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if server.armed != Some(self.now) {
            return;
        }
        server.armed = None;
        let due = server
            .node
            .deadline()
            .is_some_and(|deadline| deadline.at.micros().saturating_sub(1) <= self.now);
        if !due {
            return self.arm_server(index);
        }
        let why = server.node.deadline().map(|deadline| deadline.why);
        self.trace.number(2);
        self.to_server(index, Input::Tick);
        let server = &mut self.servers[index];
        server.spins = if server.armed == Some(self.now) {
            server.spins + 1
        } else {
            0
        };
        if server.spins > 50 {
            self.breaks("deadlines advance", format!("server: {why:?}"));
        }
    }

    fn answer_after(&mut self, server: usize, after: u64, input: Input) {
        let life = self.servers[server].life;
        let input = Box::new(input);
        self.queue.at(
            self.now + after,
            Happening::Answer {
                server,
                life,
                input,
            },
        );
    }

    fn perform(&mut self, server: usize, output: Output) {
        match output {
            Output::Send { conn, bytes } => self.server_sends(server, conn, bytes),
            Output::Close { conn, code, reason } => {
                let link = conn.0 as usize;
                self.links[link].server_open = false;
                self.note(format_args!("close #{link} {code} {reason}"));
                let end = ClientEnd::Close { code, reason };
                self.send_down(link, Down::End(end), 0);
            }
            Output::Abort { conn } => {
                let link = conn.0 as usize;
                let end = ServerEnd::Broken {
                    error: "reset on purpose".to_owned(),
                };
                self.cut(link, Some(ClientEnd::Reset), None);
                self.links[link].server_open = false;
                self.answer_after(server, 0, Input::Lost { conn, end });
            }
            Output::Freeze { conn } => {
                let (link, now) = (conn.0 as usize, self.now);
                self.links[link].touched = true;
                self.links[link].up.kill(now);
                self.links[link].down.kill(now);
            }
            Output::Verify { conn, token } => {
                let verdict = self.verify(&token);
                let after = self.chance.between(10, 5 * MS);
                self.answer_after(server, after, Input::Verified { conn, verdict });
            }
            Output::Commit { session, n, batch } => self.commit(server, session, n, batch),
            Output::Recover { .. }
            | Output::Load { .. }
            | Output::Head { .. }
            | Output::Read { .. } => self.ask_store(server, output),
            Output::Trim { session, through } => self.store.trim(&session, through),
            Output::Run { run, request } => self.begin_run(server, run, &request),
            Output::Credit { run, bytes } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run) {
                    program.credit += bytes;
                }
                self.plan_program(server, run);
            }
            Output::CancelRun { run } => self.stop_run(server, run, false),
            Output::KillRun { run } => self.stop_run(server, run, true),
            Output::StallRun { run } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run) {
                    program.stalled = true;
                }
            }
            Output::AnswerRun { run, action, .. } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run)
                    && program.asks == Some(action)
                {
                    program.asks = None;
                }
                self.plan_program(server, run);
            }
            Output::FailStore { span } => {
                let until = self.now + u64::try_from(span.as_micros()).unwrap_or(0);
                self.store.refuses_until = until;
            }
            Output::Journal { session, entry } => self.journal(&session, &entry.fact),
            Output::Reply { answer, .. } => {
                if let node::Answer::Census(census) = answer {
                    self.census = Some(census);
                }
            }
            Output::Drained { .. } => {
                let life = self.servers[server].life;
                self.queue
                    .at(self.now + 50 * MS, Happening::Exit { server, life });
            }
        }
    }

    fn server_sends(&mut self, server: usize, conn: node::ConnId, bytes: Arc<[u8]>) {
        let link = conn.0 as usize;
        if !self.links[link].server_open {
            return self.breaks(
                "nothing is sent after the end",
                format!("server {server} sends on #{link}"),
            );
        }
        self.check_told(link, &bytes);
        self.frame_down(link, bytes);
    }

    fn verify(&self, token: &str) -> Result<Grant, Code> {
        let mut parts = token.split(' ');
        let (Some(subject), Some(role), Some(until)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Code::Unauthenticated);
        };
        let until: Option<u64> = until.parse().ok();
        if until.is_some_and(|until| until <= self.now) {
            return Err(Code::TokenExpired);
        }
        let role = match role {
            "viewer" => Role::Viewer,
            "publisher" => Role::Publisher,
            _ => Role::Owner,
        };
        Ok(Grant {
            subject: subject.to_owned(),
            role,
            session: None,
            backends: None,
            project: None,
            session_ms_max: None,
            expires: until.map_or(u64::MAX, |until| 1_700_000_000_000 + until / 1_000),
            token_id: None,
            may_inject: true,
            admin: false,
        })
    }

    // The store.

    fn commit(
        &mut self,
        server: usize,
        session: SessionId,
        n: u64,
        batch: Arc<keel_wire::record::Batch>,
    ) {
        let at = self
            .store
            .takes(self.now, &session, &self.mix.store, &mut self.chance);
        let early = (self.mutant == Some(Mutant::TellBeforeCommit)).then(|| session.clone());
        let (id, fate) = self.store.begin(
            self.now,
            server,
            (session, n, batch),
            &self.mix.store,
            &mut self.chance,
        );
        match fate {
            Fate::Written => {}
            Fate::Refused => {
                self.struck_all(Kind::StoreRefuses);
                self.disturb_all(at + 3_000 * MS);
            }
            Fate::WrittenUnknown | Fate::LostUnknown => {
                self.struck_all(Kind::StoreUnknown);
                self.disturb_all(at + 3_000 * MS);
            }
        }
        let life = self.servers[server].life;
        self.queue.at(at, Happening::Synced { server, life, id });
        if let Some(session) = early {
            self.mutated = true;
            self.answer_after(server, 0, Input::Committed { session, n });
        }
    }

    fn ask_store(&mut self, server: usize, read: Output) {
        let session = match &read {
            Output::Load { session } | Output::Head { session } | Output::Read { session, .. } => {
                Some(session.clone())
            }
            _ => None,
        };
        let at = match session {
            Some(session) => {
                self.store
                    .takes(self.now, &session, &self.mix.store, &mut self.chance)
            }
            None => self.now + 1_000,
        };
        let life = self.servers[server].life;
        let read = Box::new(read);
        self.queue.at(at, Happening::Read { server, life, read });
    }

    pub(crate) fn read(&mut self, server: usize, read: Output) {
        let fails = self.store.sick && self.chance.permille(self.mix.store.read_error);
        if fails {
            self.struck_all(Kind::ReadError);
            self.disturb_all(self.now + 3_000 * MS);
        }
        let error = || "the simulated disk".to_owned();
        let fence = self.servers[server].config.fence;
        let input = match read {
            Output::Recover { after, limit } => Input::Recovered {
                rows: if fails {
                    Err(error())
                } else if self.servers.iter().filter(|server| server.up).count() > 1 {
                    // What has an owner is not unsettled.
                    Ok(Vec::new())
                } else {
                    Ok(self.store.rows(after.as_ref(), limit))
                },
            },
            Output::Load { session } => {
                let loaded = if fails {
                    Err(error())
                } else {
                    Ok(self.store.load(&session, fence))
                };
                Input::Loaded { session, loaded }
            }
            Output::Head { session } => {
                let head = if fails {
                    Err(error())
                } else {
                    Ok(self.store.head(&session, fence))
                };
                Input::Head { session, head }
            }
            Output::Read {
                conn,
                session,
                after,
                events,
                bytes,
            } => {
                let events = if fails {
                    Err(error())
                } else {
                    Ok(self.store.page(&session, after, events, bytes))
                };
                Input::Page {
                    conn,
                    session,
                    events,
                }
            }
            _ => return,
        };
        self.to_server(server, input);
    }

    // Runs.

    fn begin_run(&mut self, server: usize, run: node::RunId, request: &node::RunRequest) {
        let sick = self.is_chaos() && Some(&request.session) != self.sessions[0].as_ref();
        let mut program = Program::new(request, &self.mix.provider, sick, &mut self.chance);
        let mut params = request.params.clone();
        let before = self
            .last_params
            .insert(request.session.clone(), params.clone());
        if self.mutant == Some(Mutant::StaleParams)
            && let Some(before) = before.filter(|before| *before != params)
        {
            self.mutated = true;
            params = before;
        }
        let version = self
            .store
            .archive(&request.session)
            .map_or(0, crate::archive::Archive::versions);
        self.runs_params.push(RunParams {
            session: request.session.clone(),
            server,
            life: self.servers[server].life,
            version,
            params,
            at: self.now,
        });
        self.note(format_args!("run {} of {} begins", run.0, request.turn));
        program.said = self.chance.between(0, 99);
        if self.servers[server].programs.insert(run, program).is_some() {
            self.breaks("a run is begun once", format!("{run:?}"));
        }
        self.plan_program(server, run);
    }

    fn plan_program(&mut self, server: usize, run: node::RunId) {
        let life = self.servers[server].life;
        let Some(program) = self.servers[server].programs.get_mut(&run) else {
            return;
        };
        if !program.may_go_on() {
            return;
        }
        let Some((after, _)) = program.script.front() else {
            return;
        };
        program.planned = true;
        let at = self.now + after;
        self.queue.at(at, Happening::Program { server, life, run });
    }

    fn stop_run(&mut self, server: usize, run: node::RunId, kill: bool) {
        if self.mutant == Some(Mutant::SlotLeaked) && kill {
            self.mutated = true;
            self.servers[server].programs.remove(&run);
            return;
        }
        let Some(program) = self.servers[server].programs.get_mut(&run) else {
            return;
        };
        if program.ended || (program.stubborn && !kill) || program.killed {
            let counts = program.stubborn && !kill;
            if counts {
                self.strike_run(server, run, Kind::ProviderStubborn);
            }
            return;
        }
        program.killed = kill;
        program.cancelled = true;
        program.stalled = false;
        program.asks = None;
        program.script.clear();
        let after = self
            .chance
            .between(100, if kill { 50 * MS } else { 800 * MS });
        let crashes = self.chance.permille(300);
        let Some(program) = self.servers[server].programs.get_mut(&run) else {
            return;
        };
        let last = if crashes { Act::Crash } else { Act::Finish };
        program.script.push_back((after, last));
        if program.credit == 0 {
            program.credit = 1;
        }
        self.plan_program(server, run);
    }

    /// Counts a fault of a program for everybody in its session.
    fn strike_run(&mut self, server: usize, run: node::RunId, kind: Kind) {
        let Some(program) = self.servers[server].programs.get(&run) else {
            return;
        };
        let turn = program.turn.clone();
        let session = self
            .store
            .archives()
            .find(|(_, archive)| archive.turns.contains_key(&turn))
            .map(|(session, _)| session.clone());
        for client in 0..self.actors.len() {
            let group = self.actors[client].group;
            if session.is_some() && self.sessions[group] == session {
                self.struck(kind, client);
            }
        }
    }

    pub(crate) fn program_acts(&mut self, server: usize, run: node::RunId) {
        let Some(program) = self.servers[server].programs.get_mut(&run) else {
            return;
        };
        program.planned = false;
        if program.stalled || program.asks.is_some() {
            return;
        }
        let Some((_, act)) = program.script.pop_front() else {
            return;
        };
        let mut outputs = Vec::new();
        let mut end = None;
        let mut strike = None;
        match act {
            Act::Begin => outputs.push(RunOutput::Started),
            Act::Say(bytes) => {
                program.said += 1;
                let text = words(program.said, bytes);
                program.credit = program.credit.saturating_sub(text.len());
                let key = (program.turn.clone(), program.attempt);
                self.emitted.entry(key).or_default().push_str(&text);
                outputs.push(RunOutput::Text(text));
            }
            Act::Items(count) => {
                for n in 0..count {
                    outputs.push(RunOutput::Item(serde_json::json!({ "n": n })));
                }
                program.credit = program.credit.saturating_sub(count * 8);
            }
            Act::Restart => {
                program.attempt += 1;
                let failure = failure(Code::ProviderCrashed);
                outputs.push(RunOutput::NewAttempt { failure });
            }
            Act::Ask(id) => {
                program.asks = Some(id.clone());
                outputs.push(RunOutput::NeedsAction(keel_wire::Action {
                    id,
                    prompt: "may I?".to_owned(),
                    options: vec!["yes".to_owned(), "no".to_owned()],
                }));
            }
            Act::Crash => {
                strike = (!program.cancelled).then_some(Kind::ProviderCrash);
                end = Some(RunEnd::Failed(failure(Code::ProviderCrashed)));
            }
            Act::Hang => {
                strike = Some(Kind::ProviderHang);
                program.stalled = true;
            }
            Act::Finish => {
                end = Some(if program.cancelled {
                    RunEnd::Cancelled
                } else {
                    RunEnd::Done {
                        stop_reason: Some("end".to_owned()),
                    }
                });
            }
            Act::Mutter => {
                strike = Some(Kind::ProviderLate);
                outputs.push(RunOutput::Text("late".to_owned()));
            }
        }
        if end.is_some() {
            program.ended = true;
            program.script.clear();
            if program.mutters {
                program.script.push_back((5 * MS, Act::Mutter));
            }
        }
        if let Some(kind) = strike {
            self.strike_run(server, run, kind);
        }
        for output in outputs {
            self.trace.number(3);
            self.to_server(server, Input::RunOutput { run, output });
        }
        if let Some(end) = end {
            self.note(format_args!("run {} ends {end:?}", run.0));
            self.to_server(server, Input::RunEnded { run, end });
        }
        self.plan_program(server, run);
        let over = self.servers[server]
            .programs
            .get(&run)
            .is_some_and(|program| program.ended && program.script.is_empty());
        if over {
            self.servers[server].programs.remove(&run);
        }
    }

    // The process.

    fn journal(&mut self, session: &SessionId, fact: &Fact) {
        if self.trace.wants_lines() {
            let text = format!("{fact:?}");
            self.note(format_args!("journal {session} {text}"));
        }
        match fact {
            Fact::Panicked { .. } => {
                if self.panics_injected == 0 {
                    self.breaks("no machine panics", format!("{session} panicked"));
                }
                self.disturb_all(self.now + 1_000 * MS);
            }
            Fact::AuditFailed { law } => {
                // Its right to write went to another node.
                if self.servers.len() == 1 || law != "one writer" {
                    self.breaks("the auditor is content", law.clone());
                }
                self.disturb_all(self.now + 1_000 * MS);
            }
            _ => {}
        }
    }

    /// A process is killed: what it had in memory is gone.
    pub(crate) fn kill(&mut self, server: usize, silently: bool) {
        self.note(format_args!("server {server} is killed"));
        self.store.crash(self.now, server, &self.emitted);
        self.servers[server].up = false;
        self.servers[server].programs.clear();
        for link in 0..self.links.len() {
            let wire = &mut self.links[link];
            if wire.server != server || !wire.server_open {
                continue;
            }
            wire.server_open = false;
            let end = (!silently).then_some(ClientEnd::Reset);
            self.cut(link, end, None);
        }
    }

    /// A drained process ends.
    pub(crate) fn exit(&mut self, server: usize) {
        self.kill(server, false);
        if self.servers.len() > 1 {
            self.servers[server].gone = true;
        } else {
            let (low, high) = self.mix.restart;
            let after = self.chance.between(low, high);
            self.disturb_all(self.now + after);
            self.queue
                .at(self.now + after, Happening::Restart { server });
        }
    }

    pub(crate) fn lost_by_server(&mut self, link: usize) {
        let end = ServerEnd::Eof;
        self.queue.at(
            self.now,
            Happening::Up {
                link,
                what: Up::End(end),
            },
        );
    }
}
