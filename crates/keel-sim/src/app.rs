//! The application that uses a client: what it asks, when it leaves, how it comes again.

use keel_core::client::{self, Client, Input};
use keel_wire::{
    Answer, CancelTurn, Command, ContinueTurn, EndSession, PromoteTurn, RetryTurn, Role, Say, Send,
    SetParams, TurnId, TurnState,
};
use serde_json::json;

use crate::{
    actor::{Asked, Over, View, What},
    queue::Happening,
    world::{BYSTANDERS, World},
};

impl World {
    pub(crate) fn acts(&mut self, client: usize) {
        if self.actors[client].gone || self.stretch == crate::world::Stretch::Leaving {
            return;
        }
        let (low, high) = self.mix.acts_every;
        let again = self.now + self.chance.between(low, high);
        self.queue.at(again, Happening::Act { client });
        let actor = &self.actors[client];
        if actor.asleep_until.is_some() {
            return;
        }
        if !actor.started {
            return self.start_client(client);
        }
        match actor.view.over {
            Some(over) => self.comes_again(client, over),
            None => {
                self.media_acts(client);
                if self.is_chaos() {
                    self.does(client);
                } else {
                    self.answers(client);
                }
            }
        }
    }

    fn start_client(&mut self, client: usize) {
        let (group, role) = (self.actors[client].group, self.actors[client].role);
        let opener = role == Role::Owner;
        if !opener && self.sessions[group].is_none() {
            return;
        }
        self.renew(client, None);
        self.actors[client].started = true;
        self.tell_client(client, Input::Connect);
    }

    /// A new machine for a client: another tab, or the same page loaded anew.
    pub(crate) fn renew(&mut self, client: usize, resume: Option<client::ResumeState>) {
        let (group, role) = (self.actors[client].group, self.actors[client].role);
        let mut config = self.client_config(group, role);
        let resumes = resume.is_some();
        config.resume = resume.map(Box::new);
        let seed = self.chance.bits();
        let actor = &mut self.actors[client];
        let links = std::mem::take(&mut actor.links);
        let open = std::mem::take(&mut actor.open_commands);
        actor.view = View {
            wants_snapshot: config.history == keel_wire::History::Snapshot,
            ..View::default()
        };
        if let Some(resume) = &config.resume {
            actor.view.session = Some(resume.session.clone());
            actor.view.at = resume.cursor.seq.get();
            actor.view.fold = resume.snapshot.clone();
        }
        actor.machine = Client::new(config.clone(), seed);
        actor.config = config;
        actor.life += 1;
        actor.carrier = None;
        actor.armed = None;
        actor.asleep_until = None;
        actor.pile.clear();
        actor.leaving = false;
        self.media.guests.entry(client).or_default().reload();
        for command in open {
            self.asked[command as usize].abandoned = true;
        }
        for link in links.into_values() {
            self.links[link].touched = true;
        }
        if resumes {
            self.actors[client].disturbed = true;
        } else {
            self.actors[client].excuses.clear();
        }
    }

    /// What an application does when its session is over for it.
    fn comes_again(&mut self, client: usize, over: Over) {
        let group = self.actors[client].group;
        let session = self.sessions[group].clone();
        let ended = session
            .and_then(|session| self.store.archive(&session).map(|archive| archive.ended))
            .unwrap_or(false);
        if ended || self.actors[client].tries > 40 {
            return;
        }
        self.actors[client].tries += 1;
        match over {
            Over::Failed { .. } if self.chance.permille(700) => {
                let actor = &mut self.actors[client];
                actor.view.over = None;
                actor.view.fresh = true;
                actor.leaving = false;
                actor.view.lost_at = None;
                self.tell_client(client, Input::Connect);
            }
            Over::Failed { .. } | Over::Ended => {
                self.renew(client, None);
                self.tell_client(client, Input::Connect);
            }
        }
    }

    fn does(&mut self, client: usize) {
        let role = self.actors[client].role;
        let bystander = self.actors[client].group == BYSTANDERS;
        let running = self.running_turn(client);
        let roll = self.chance.between(0, 99);
        let ttl = self
            .chance
            .permille(80)
            .then(|| std::time::Duration::from_millis(self.chance.between(50, 4_000)));
        match roll {
            0..=39 => self.say(client, ttl),
            40..=57 => {
                let id = self.asked.len() as u64;
                self.ask(client, What::Send, Send { data: json!(id) }.into(), ttl);
            }
            58..=71 => {
                let id = self.asked.len() as u64;
                let key = format!("k{}", id % 3);
                let value = if id.is_multiple_of(5) {
                    json!(null)
                } else {
                    json!(id)
                };
                let patch = json!({ "last": id, "deep": { key: value } });
                self.ask(client, What::Set, SetParams { patch }.into(), ttl);
            }
            72..=79 => {
                let turn = running.filter(|_| roll.is_multiple_of(2));
                self.ask(client, What::Other, CancelTurn { turn }.into(), None);
            }
            80..=83 => self.answers(client),
            84..=86 => self.moves_turns(client),
            93..=96 => self.once_more(client),
            87 if !bystander => self.tell_client(client, Input::Probe),
            88 | 89 if !bystander => {
                self.actors[client].leaving = true;
                self.disturb(client, self.now);
                self.tell_client(client, Input::Detach);
                self.closing_strike(client);
            }
            90 if !bystander => {
                self.actors[client].leaving = true;
                self.disturb(client, self.now);
                self.tell_client(client, Input::Close);
            }
            91 if self.mix.ends_sessions
                && role == Role::Owner
                && !bystander
                && self.chance.permille(300) =>
            {
                self.ask(client, What::Other, EndSession {}.into(), None);
            }
            92 if self.actors[client].view.over.is_none() && !bystander => {
                let simulate = self
                    .chance
                    .pick(&[client::Simulate::DropTransport, client::Simulate::HalfOpen]);
                if !self.mix.strikes.is_empty() {
                    if simulate == client::Simulate::HalfOpen
                        && let Some((_, link)) = self.actors[client].links.last_key_value()
                    {
                        let (link, now) = (*link, self.now);
                        self.links[link].down.kill(now);
                        self.links[link].up.kill(now);
                    }
                    self.disturb(client, self.now);
                    self.tell_client(client, Input::Simulate(simulate));
                }
            }
            _ => {}
        }
    }

    fn closing_strike(&mut self, client: usize) {
        let strikes = !self.mix.strikes.is_empty() && self.chance.permille(500);
        if let Some(link) = self.actors[client].carrier.filter(|_| strikes) {
            let at = self.now + self.chance.between(0, self.mix.latency.1);
            self.queue.at(at, Happening::StrikeAt { link });
        }
    }

    fn running_turn(&self, client: usize) -> Option<TurnId> {
        let turns = &self.actors[client].machine.snapshot().turns;
        turns
            .iter()
            .find(|turn| turn.is_open())
            .map(|turn| turn.turn.clone())
    }

    fn say(&mut self, client: usize, ttl: Option<std::time::Duration>) {
        let id = self.asked.len();
        let text = format!("#{id} go on");
        self.ask(client, What::Say, Say { text }.into(), ttl);
    }

    /// Makes a turn that waits the next one.
    fn moves_turns(&mut self, client: usize) {
        let turns = &self.actors[client].machine.snapshot().turns;
        let waiting = turns.iter().filter(|turn| turn.state == TurnState::Queued);
        let waiting: Vec<TurnId> = waiting.map(|turn| turn.turn.clone()).collect();
        if waiting.is_empty() {
            return;
        }
        let turn = waiting[self.chance.between(0, waiting.len() as u64 - 1) as usize].clone();
        self.ask(client, What::Other, PromoteTurn { turn }.into(), None);
    }

    /// Tries a turn that is over again, or goes on with it; now and then one that is not.
    fn once_more(&mut self, client: usize) {
        let turns = &self.actors[client].machine.snapshot().turns;
        let turns: Vec<TurnId> = turns.iter().map(|turn| turn.turn.clone()).collect();
        if turns.is_empty() {
            return;
        }
        let turn = turns[self.chance.between(0, turns.len() as u64 - 1) as usize].clone();
        let command = if self.chance.permille(500) {
            RetryTurn { turn }.into()
        } else {
            ContinueTurn { turn }.into()
        };
        self.ask(client, What::Other, command, None);
    }

    /// Answers what the session waits for, if it does.
    fn answers(&mut self, client: usize) {
        let waiting = self.actors[client].machine.snapshot().turns.iter();
        let question = waiting
            .filter_map(|turn| match &turn.state {
                TurnState::Waiting { action } => Some((turn.turn.clone(), action.id.clone())),
                TurnState::Queued | TurnState::Running | TurnState::Ended { .. } => None,
            })
            .next();
        let Some((turn, action)) = question else {
            return;
        };
        let answer = Answer {
            turn,
            action,
            answer: json!(self.chance.pick(&["yes", "no", "perhaps"])),
        };
        self.ask(client, What::Other, answer.into(), None);
    }

    pub(crate) fn ask(
        &mut self,
        client: usize,
        what: What,
        command: Command,
        ttl: Option<std::time::Duration>,
    ) {
        let local = self.asked.len() as u64;
        self.note(format_args!(
            "client {client} asks {local} {what:?} {ttl:?}"
        ));
        self.asked.push(Asked {
            actor: client,
            what,
            at: self.now,
            outcome: None,
            waits_told: false,
            abandoned: false,
        });
        self.actors[client].open_commands.insert(local);
        self.tell_client(
            client,
            Input::Command {
                local,
                command,
                ttl,
            },
        );
    }
}
