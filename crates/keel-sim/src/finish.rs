//! How a run comes to its end: everything settles, everybody leaves, and nothing is left.

use keel_core::{
    client::Input as ClientInput,
    node::{Ask, AskId, Input},
};
use keel_wire::State;

use crate::{
    actor::{Outcome, Over, What},
    mix::{MS, SECOND},
    world::{Stretch, World},
};

impl World {
    pub(crate) fn go_on_healing(&mut self) {
        match self.stretch {
            Stretch::Chaos => {}
            Stretch::Healing => {
                let quiet = self.is_quiet();
                let spent = self.now - self.stretch_since;
                if quiet && spent > SECOND {
                    self.leave_all();
                } else if spent > 260 * SECOND {
                    let what = self.unquiet();
                    if self.trace.wants_lines() {
                        let nodes: Vec<String> = self
                            .servers
                            .iter()
                            .filter(|server| server.up)
                            .map(|server| format!("{:?}", server.node))
                            .collect();
                        self.note(format_args!("{nodes:?}"));
                    }
                    self.breaks("everything settles", what);
                }
            }
            Stretch::Leaving => {}
        }
    }

    fn client_rests(&self, client: usize) -> bool {
        let actor = &self.actors[client];
        if actor.gone || !actor.started {
            return true;
        }
        if actor.asleep_until.is_some() || self.now < actor.offline_until {
            return false;
        }
        match actor.view.over {
            Some(Over::Ended) => true,
            Some(Over::Failed { .. }) => actor.tries > 40 || self.is_over(client),
            None => match actor.machine.status().state {
                State::Live => actor.open_commands.is_empty(),
                State::Queued { .. } => true,
                _ => false,
            },
        }
    }

    fn is_over(&self, client: usize) -> bool {
        let session = self.sessions[self.actors[client].group].as_ref();
        session
            .and_then(|session| self.store.archive(session))
            .is_some_and(|archive| archive.ended)
            || self.mix.room != crate::mix::Room::Unbounded
    }

    fn is_quiet(&self) -> bool {
        let servers = self
            .servers
            .iter()
            .all(|server| server.gone || (server.up && !server.draining));
        servers
            && self.store.is_idle()
            && (0..self.actors.len()).all(|client| self.client_rests(client))
            && self
                .store
                .archives()
                .all(|(_, archive)| archive.open_turns() == 0)
    }

    fn unquiet(&self) -> String {
        let clients: Vec<String> = (0..self.actors.len())
            .filter(|client| !self.client_rests(*client))
            .map(|client| {
                let actor = &self.actors[client];
                format!(
                    "client {client} {:?} over {:?} open {:?}",
                    actor.machine.status().state,
                    actor.view.over,
                    actor.open_commands
                )
            })
            .collect();
        let turns: Vec<String> = self
            .store
            .archives()
            .filter(|(_, archive)| archive.open_turns() > 0)
            .map(|(session, archive)| format!("{session}: {} turns open", archive.open_turns()))
            .collect();
        format!("{clients:?} {turns:?} store idle {}", self.store.is_idle())
    }

    fn leave_all(&mut self) {
        self.note(format_args!("everybody leaves"));
        for client in 0..self.actors.len() {
            if self.actors[client].started && self.actors[client].view.over.is_none() {
                self.check_caught_up(client);
            }
        }
        self.stretch = Stretch::Leaving;
        self.stretch_since = self.now;
        for client in 0..self.actors.len() {
            self.actors[client].leaving = true;
            let detach = self.chance.permille(500);
            if self.actors[client].started {
                let input = if detach {
                    ClientInput::Detach
                } else {
                    ClientInput::Close
                };
                if self.actors[client].view.over.is_none() {
                    self.tell_client(client, input);
                }
            }
        }
        // Long enough for every window, and with nobody there it costs nothing.
        let last = self.now + self.mix.resume_window * 2 + self.mix.hibernate_after + 40 * SECOND;
        self.stretch_since = last;
    }

    /// A client that is live has the whole log, or is about to have it.
    fn check_caught_up(&mut self, client: usize) {
        self.check_fold(client);
        let actor = &self.actors[client];
        if actor.machine.status().state != State::Live {
            return;
        }
        let Some(session) = actor.view.session.clone() else {
            return;
        };
        let slow = actor.carrier.is_some_and(|link| {
            let lane = &self.links[link].down;
            lane.rate.is_some() || lane.dead_since.is_some() || lane.held_until > self.now
        });
        if slow {
            return;
        }
        let head = self.store.head_of(&session);
        let at = self.actors[client].view.at;
        if at < head && self.now > self.store_rests_since(&session) + 2 * SECOND {
            let what = format!("client {client} is live at {at} of {head}");
            self.breaks("live has the whole log", what);
        }
    }

    fn store_rests_since(&self, session: &keel_wire::SessionId) -> u64 {
        self.store.last_write(session)
    }

    pub(crate) fn has_left(&self) -> bool {
        self.now >= self.stretch_since
    }

    pub(crate) fn check_the_end(&mut self) {
        if self.stretch != Stretch::Leaving {
            return self.breaks("the run ends", "nothing was left to happen".to_owned());
        }
        for server in 0..self.servers.len() {
            if !self.servers[server].up {
                continue;
            }
            self.census = None;
            self.tell_server(
                server,
                Input::Ask {
                    ask: AskId(9),
                    question: Ask::Census,
                },
            );
            let Some(census) = self.census else { continue };
            let left = census.connections
                + census.attached
                + census.runs
                + census.slots_held
                + census.slots_waiting
                + census.sessions;
            if left > 0 {
                let node = format!("{:?}", self.servers[server].node);
                self.note(format_args!("{node}"));
                self.breaks("nothing is left", format!("{census:?}"));
            }
        }
        self.check_media_end();
        self.check_ledger();
        self.check_words();
        self.check_params();
    }

    fn check_ledger(&mut self) {
        for local in 0..self.asked.len() {
            let asked = &self.asked[local];
            let Some(outcome) = asked.outcome else {
                if !asked.abandoned && !self.actors[asked.actor].leaving {
                    let what = format!("{local} has none");
                    return self.breaks("every command has an outcome", what);
                }
                continue;
            };
            let client = asked.actor;
            if asked.what != What::Other && outcome != Outcome::Unknown {
                self.check_outcome(client, local as u64, outcome);
            }
        }
    }

    fn check_params(&mut self) {
        let wrong = self.runs_params.iter().find(|run| {
            let alive = self.servers[run.server].life == run.life && self.servers[run.server].up;
            let moved = self.servers.len() > 1;
            let Some(archive) = self.store.archive(&run.session) else {
                return false;
            };
            alive && !moved && !archive.had_params(&run.params, run.version)
        });
        if let Some(wrong) = wrong {
            let what = format!(
                "{} at {} ms, version {}: {}",
                wrong.session,
                wrong.at / MS,
                wrong.version,
                wrong.params
            );
            self.breaks("programs have the params in force", what);
        }
    }
}
