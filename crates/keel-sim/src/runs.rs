//! The shell of a server's programs: begun, read, answered, stopped.

use keel_core::node::{self, Input, RunEnd, RunOutput};
use keel_wire::Code;

use crate::{
    cell::Kind,
    laws::RunParams,
    mix::{MS, Room},
    mutant::Mutant,
    program::{Act, Program, failure, words},
    queue::Happening,
    world::World,
};

impl World {
    pub(crate) fn begin_run(
        &mut self,
        server: usize,
        run: node::RunId,
        mut request: node::RunRequest,
    ) {
        self.check_request(&mut request);
        let request = &request;
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
        program.heard_at = self.now;
        self.check_slot(server, request);
        if self.servers[server].programs.insert(run, program).is_some() {
            self.breaks("a run is begun once", format!("{run:?}"));
        }
        self.plan_program(server, run);
    }

    /// Where slots are few nothing runs without one.
    fn check_slot(&mut self, server: usize, request: &node::RunRequest) {
        let alive = |program: &&Program| !program.ended && !program.killed;
        let fits = match self.mix.room {
            Room::Unbounded => true,
            // It is written with the start of the turn, or before.
            Room::Sessions(_) => self.store.holds_slot(&request.session),
            Room::Turns(slots) => {
                self.servers[server].programs.values().filter(alive).count() < slots
            }
        };
        if !fits {
            let what = format!("{} of {}", request.turn, request.session);
            self.breaks("nothing runs without a slot", what);
        }
    }

    pub(crate) fn plan_program(&mut self, server: usize, run: node::RunId) {
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

    pub(crate) fn stop_run(&mut self, server: usize, run: node::RunId, kill: bool) {
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
        program.words.clear();
        let slow = program.slow && !kill;
        if slow {
            // It is sent a signal after a while, as the shell's ladder does.
            let terminating = Act::Stop(keel_wire::CancelStep::Terminating);
            program.script.push_back((5_000 * MS, terminating));
        }
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
        let turn = program.turn.clone();
        let takes = matches!(act, Act::Say(_)).then(|| program.words.pop_front());
        let taken = takes.flatten();
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
                if !program.ended && !program.cancelled {
                    let said_at = self.words.said_at.entry(program.turn.clone());
                    said_at.or_insert(self.now);
                }
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
            Act::Retry(in_ms) => {
                let failure = failure(Code::ProviderUnavailable);
                outputs.push(RunOutput::Retrying { in_ms, failure });
            }
            Act::Bind(name) => outputs.push(RunOutput::Bound {
                provider: "echo".to_owned(),
                id: format!("name-{name}"),
            }),
            Act::Stop(step) => outputs.push(RunOutput::Cancelling(step)),
            Act::Ask(id) => {
                program.asks = Some(id.clone());
                outputs.push(RunOutput::NeedsAction(keel_wire::Action {
                    id,
                    prompt: "may I?".to_owned(),
                    options: vec!["yes".to_owned(), "no".to_owned()],
                    choices: Vec::new(),
                    tool_call: None,
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
                    RunEnd::Cancelled { forced: false }
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
        let is_over = program.ended || program.cancelled;
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
        if let Some(program) = self.servers[server].programs.get_mut(&run)
            && !outputs.is_empty()
        {
            program.heard_at = self.now;
        }
        if let Some(text) = taken {
            self.words_taken(&turn, &text);
            outputs.insert(0, RunOutput::WordsTaken);
        }
        for output in outputs {
            let surfaces = matches!(
                output,
                RunOutput::Text(_) | RunOutput::Item(_) | RunOutput::NeedsAction(_)
            );
            if surfaces && !is_over {
                self.surfaces(&turn);
            }
            if self.mutant == Some(Mutant::ItemUnheard) && matches!(output, RunOutput::Item(_)) {
                self.mutated = true;
                continue;
            }
            self.trace.number(3);
            self.tell_server(server, Input::RunOutput { run, output });
        }
        if let Some(end) = end {
            self.note(format_args!("run {} ends {end:?}", run.0));
            self.tell_server(server, Input::RunEnded { run, end });
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
}
