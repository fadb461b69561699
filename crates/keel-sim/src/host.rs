//! The shell of a server process: performs what its Node puts out, and answers what it asks.

use std::sync::Arc;

use keel_core::node::{self, Input, Output};
use keel_wire::{Code, Grant, Role, SessionId, journal::Fact};

use crate::{
    cell::Kind,
    link::{Down, Up},
    mix::MS,
    mutant::Mutant,
    queue::Happening,
    store::Fate,
    world::World,
};
use keel_core::{client::ConnEnd as ClientEnd, node::ConnEnd as ServerEnd};

impl World {
    pub(crate) fn tell_server(&mut self, server: usize, input: Input) {
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
        let mut at = deadline.at.micros().saturating_sub(1).max(self.now);
        if self.mutant == Some(Mutant::LateTimer) {
            self.mutated = true;
            at += 400 * MS;
        }
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
        self.tell_server(index, Input::Tick);
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
            Output::Freeze { conn, .. } => {
                let (link, now) = (conn.0 as usize, self.now);
                self.links[link].touched = true;
                self.links[link].up.kill(now);
                self.links[link].down.kill(now);
            }
            Output::Place { conn, cwd, .. } => {
                let after = self.chance.between(10, 5 * MS);
                self.answer_after(
                    server,
                    after,
                    Input::Placed {
                        conn,
                        place: Ok(cwd),
                    },
                );
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
            Output::Run { run, request } => self.begin_run(server, run, *request),
            Output::Credit { run, bytes } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run) {
                    if program.credit == 0 {
                        // It was not read: its silence begins here.
                        program.heard_at = self.now;
                    }
                    program.credit += bytes;
                }
                self.plan_program(server, run);
            }
            Output::CancelRun { run } => self.stop_run(server, run, false),
            Output::KillRun { run } => self.stop_run(server, run, true),
            Output::SteerRun { run, text } => self.words_reach(server, run, &text),
            // Nothing of these programs outlives its run.
            Output::Release { .. } => {}
            Output::StallRun { run, .. } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run) {
                    program.stalled = true;
                }
            }
            Output::AnswerRun { run, action, .. } => {
                if let Some(program) = self.servers[server].programs.get_mut(&run)
                    && program.asks == Some(action)
                {
                    program.heard_at = self.now;
                    program.asks = None;
                }
                self.plan_program(server, run);
            }
            Output::Media(order) => self.media_order(server, order),
            Output::FailStore { span, .. } => {
                let until = self.now + u64::try_from(span.as_micros()).unwrap_or(0);
                self.store.refuses_until = until;
            }
            // Nothing here asks for it: how inputs wait is the simulator's own.
            Output::DelayInputs { .. } => {}
            // A store that servers share needs no handing over: nothing here asks for it.
            Output::Held { .. }
            | Output::Mark { .. }
            | Output::HandOver(_)
            | Output::HandedOver(_) => unreachable!("no schedule hands sessions over"),
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
        self.check_text_waited(server, &batch);
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
                    Err(node::LoadFailure::Busy { error: error() })
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
        self.tell_server(server, input);
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
