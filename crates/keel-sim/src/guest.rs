//! The shell of a client and the application that uses it.

use keel_core::client::{self, Input, Output};
use keel_wire::{Code, ReceiptBody, Role};

use crate::{
    actor::Outcome,
    cell::Kind,
    link::{Stage, Up},
    mix::{MS, SECOND},
    mutant::Mutant,
    queue::Happening,
    world::{BYSTANDERS, World},
};

impl World {
    /// Tells a client something, now or when it wakes.
    pub(crate) fn tell_client(&mut self, client: usize, input: Input) {
        let actor = &mut self.actors[client];
        if actor.gone {
            return;
        }
        if actor.asleep_until.is_some() {
            actor.pile.push(input);
            return;
        }
        self.watch_input(client, &input);
        let now = self.client_now(client);
        let mut out = Vec::new();
        let was_over = self.actors[client].view.over.is_some();
        let connects = input == Input::Connect;
        self.actors[client].machine.handle(now, input, &mut out);
        if was_over && !connects {
            let silent = out
                .iter()
                .all(|output| matches!(output, Output::Receipt { .. }));
            if !silent {
                self.breaks(
                    "nothing follows the end",
                    format!("client {client}: {out:?}"),
                );
            }
        }
        for output in out {
            self.client_puts_out(client, output);
        }
        if std::mem::take(&mut self.actors[client].view.recovered) {
            self.check_fold(client);
        }
        self.arm_client(client);
    }

    /// What an input says about its connection, when the machine hears of it.
    fn watch_input(&mut self, client: usize, input: &Input) {
        match input {
            Input::Frame { conn, bytes } => {
                if let Some(link) = self.actors[client].links.get(&conn.0).copied() {
                    self.watch_stage(link, bytes);
                }
            }
            Input::Closed { conn, .. } => {
                if let Some(link) = self.actors[client].links.get(&conn.0).copied() {
                    self.links[link].client_open = false;
                    if self.links[link].server_open && self.links[link].stage == Stage::Dialing {
                        self.lost_by_server(link);
                    }
                }
            }
            _ => {}
        }
    }

    fn arm_client(&mut self, client: usize) {
        let actor = &mut self.actors[client];
        let Some(deadline) = actor.machine.deadline().filter(|_| !actor.gone) else {
            return;
        };
        if actor.view.over.is_some() {
            return self.breaks("no deadline after the end", format!("{deadline:?}"));
        }
        if self.mutant == Some(Mutant::LostTimer) && deadline.why == "retry" {
            self.mutated = true;
            return;
        }
        let at = (deadline.at.micros() + actor.lag).saturating_sub(1_000_000_000);
        let at = at.max(self.now);
        if actor
            .armed
            .is_some_and(|armed| armed <= at && armed >= self.now)
        {
            return;
        }
        actor.armed = Some(at);
        let life = actor.life;
        self.queue.at(at, Happening::ClientTick { client, life });
    }

    pub(crate) fn client_tick(&mut self, client: usize, life: u32) {
        let actor = &mut self.actors[client];
        if actor.life != life || actor.armed != Some(self.now) || actor.gone {
            return;
        }
        actor.armed = None;
        if actor.asleep_until.is_some() {
            return;
        }
        let lag = actor.lag;
        let deadline = actor.machine.deadline();
        let due =
            deadline.is_some_and(|deadline| deadline.at.micros() + lag <= self.now + 1_000_000_000);
        if !due {
            return self.arm_client(client);
        }
        self.trace.number(4);
        self.tell_client(client, Input::Tick);
        let actor = &mut self.actors[client];
        actor.spins = if actor.armed == Some(self.now) {
            actor.spins + 1
        } else {
            0
        };
        if actor.spins > 50 {
            self.breaks(
                "deadlines advance",
                format!("client {client}: {deadline:?}"),
            );
        }
    }

    fn client_puts_out(&mut self, client: usize, output: Output) {
        match output {
            Output::Media(order) => self.client_media_order(client, order),
            Output::FetchToken => self.fetch_token(client),
            Output::Dial { conn, address } => {
                self.note(format_args!(
                    "client {client} dials {address} as {}",
                    conn.0
                ));
                self.actors[client].last_try_at = self.now;
                self.dial(client, conn, &address);
            }
            Output::Send { conn, bytes } => {
                let Some(link) = self.actors[client].links.get(&conn.0).copied() else {
                    return self.breaks("sends go to what was dialled", format!("{conn:?}"));
                };
                if !self.links[link].client_open {
                    // The shell finds that it is closed.
                    return;
                }
                let length = bytes.len();
                self.send_up(link, Up::Frame(bytes), length);
            }
            Output::Hangup { conn, code } => {
                let Some(link) = self.actors[client].links.get(&conn.0).copied() else {
                    return self.breaks("what is hung up was dialled", format!("{conn:?}"));
                };
                self.note(format_args!("client {client} hangs #{link} up"));
                self.hang_up(link, code);
            }
            Output::Receipt { local, outcome } => self.check_receipt(client, local, &outcome),
            Output::Event(event) => {
                self.note(format_args!("client {client} is told {event:?}"));
                for event in self.mutate_told(client, event) {
                    self.check_event(client, event);
                }
            }
            Output::Status(status) => {
                self.note(format_args!(
                    "client {client} status {:?} {:?}",
                    status.state,
                    status.code()
                ));
                let status = self.mutate_status(client, *status);
                self.check_status(client, &status);
            }
        }
    }

    pub(crate) fn fetch_token(&mut self, client: usize) {
        let actor = &self.actors[client];
        let role = match actor.role {
            Role::Viewer => "viewer",
            Role::Publisher => "publisher",
            Role::Owner => "owner",
        };
        let until = match self.mix.token_life {
            Some(life) if self.is_chaos() && actor.group != BYSTANDERS => {
                (self.now + life).to_string()
            }
            Some(_) | None => "never".to_owned(),
        };
        let token = format!("u{} {role} {until}", actor.group);
        let life = actor.life;
        let after = self.chance.between(10, 30 * MS);
        let input = Box::new(Input::Token(Ok(token)));
        self.queue.at(
            self.now + after,
            Happening::ToClient {
                client,
                life,
                input,
            },
        );
    }

    // Sleep.

    pub(crate) fn sleep(&mut self, client: usize, span: u64, clock_runs: bool) {
        let actor = &mut self.actors[client];
        if actor.asleep_until.is_some() {
            return;
        }
        actor.asleep_until = Some(self.now + span);
        let life = actor.life;
        if !clock_runs {
            actor.lag += span;
            actor.wall_off += span / 1_000;
        }
        self.disturb(client, self.now + span);
        self.queue
            .at(self.now + span, Happening::Wake { client, life });
    }

    pub(crate) fn wake(&mut self, client: usize, life: u32) {
        let actor = &mut self.actors[client];
        if actor.life != life || actor.gone {
            return;
        }
        actor.asleep_until = None;
        actor.view.wait = actor.view.wait.map(|(wait, _)| (wait, self.now));
        actor.armed = None;
        let mut pile = std::mem::take(&mut actor.pile);
        if self.chance.permille(500) {
            pile.insert(0, Input::Probe);
        }
        let now = self.now;
        for asked in self
            .asked
            .iter_mut()
            .filter(|asked| asked.actor == client && asked.outcome.is_none())
        {
            asked.at = now;
        }
        self.note(format_args!("client {client} wakes"));
        if pile.is_empty() {
            pile.push(Input::Tick);
        }
        for input in pile {
            self.tell_client(client, input);
        }
        self.arm_client(client);
    }

    pub(crate) fn online(&mut self, client: usize) {
        let until = self.actors[client].offline_until;
        if self.now < until {
            return self.queue.at(until, Happening::Online { client });
        }
        self.tell_client(client, Input::Network { online: true });
    }

    fn check_receipt(&mut self, client: usize, local: u64, outcome: &client::CommandOutcome) {
        self.note(format_args!(
            "client {client} hears of {local}: {outcome:?}"
        ));
        let known = self.actors[client].open_commands.remove(&local);
        let asked = &mut self.asked[local as usize];
        if !known || asked.outcome.is_some() || asked.actor != client {
            return self.breaks("one outcome a command", format!("{local} has another"));
        }
        let outcome = match outcome {
            client::CommandOutcome::Answered(ReceiptBody::Ok { .. }) => {
                let wrong = self.mutant == Some(Mutant::OkForNothing);
                self.mutated |= wrong;
                Outcome::Ok
            }
            client::CommandOutcome::Answered(ReceiptBody::Fault(fault)) => {
                if self.mutant == Some(Mutant::OkForNothing) && fault.code == Code::SessionBusy {
                    self.mutated = true;
                    Outcome::Ok
                } else {
                    Outcome::Not
                }
            }
            client::CommandOutcome::Refused(_) => Outcome::Not,
            client::CommandOutcome::Unknown(_) => Outcome::Unknown,
        };
        self.asked[local as usize].outcome = Some(outcome);
        self.check_outcome(client, local, outcome);
    }

    /// A strike that hits the phase that a connection has just entered.
    pub(crate) fn phase_strike(&mut self, link: usize) {
        let sick = self.is_chaos() && self.actors[self.links[link].client].group != BYSTANDERS;
        if sick && self.chance.permille(self.mix.strikes_on_phase) {
            let late = self.links[link].stage == Stage::Replayed;
            let bound = if late {
                300 * MS
            } else {
                self.mix.latency.1 * 2
            };
            let at = self.now + self.chance.between(0, bound.min(SECOND));
            self.queue.at(at, Happening::StrikeAt { link });
        }
    }

    /// The page is closed without a word.
    pub(crate) fn kill_client(&mut self, client: usize, reload: bool) {
        self.struck(if reload { Kind::Reload } else { Kind::Killed }, client);
        self.disturb(client, self.now);
        let state = self.actors[client].machine.resume_state();
        let state = state.filter(|_| reload);
        let links: Vec<usize> = self.actors[client].links.values().copied().collect();
        for link in links {
            let wire = &mut self.links[link];
            if wire.client_open {
                wire.client_open = false;
                if wire.server_open {
                    self.lost_by_server(link);
                }
            }
        }
        self.renew(client, state);
        self.actors[client].disturbed = true;
        self.actors[client].started = true;
        self.tell_client(client, Input::Connect);
    }
}
