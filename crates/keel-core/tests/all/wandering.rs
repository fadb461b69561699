//! A session that wanders between two servers, each with a store of its own, under everything that goes
//! wrong on the way: answers that are lost or come late, servers that die, stores that refuse or do not
//! know. At every step one log goes on, and at the end one server has it.

use std::time::Duration;

use keel_core::node::{Delivered, Giving};
use keel_wire::{Event, Receipt, ReceiptBody, ServerFrame, SessionId};
use proptest::{
    prelude::{ProptestConfig, any, prop},
    prop_oneof, proptest,
    strategy::{Just, Strategy},
};

use super::{
    handover::{answer, green, hand_over, unknown},
    world::{MarkMood, StoreMood, Tab, World},
};

/// What happens next; the number says at which server.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Somebody comes and asks something.
    Say(usize),
    /// The program says a word.
    Text(usize),
    /// The program ends its turn.
    Done(usize),
    /// The server is to give all it has to the other.
    HandOver(usize),
    /// What the server wants to give is given, and that is answered.
    Give(usize),
    /// It is given, and the answer is lost.
    GiveUnheard(usize),
    /// It is lost on its way.
    Lose(usize),
    /// It is held up on its way; the server hears nothing.
    HoldUp(usize),
    /// What was held up arrives.
    Arrive,
    /// The server is killed and started again.
    Crash(usize),
    /// The store answers commits so from now on.
    Mood(usize, StoreMood),
    /// The store takes marks, or refuses them.
    Marks(usize, bool),
    /// So many milliseconds pass.
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..2_usize;
    let mood = prop_oneof![
        3 => Just(StoreMood::Well),
        1 => Just(StoreMood::Refuses),
        1 => Just(StoreMood::WritesUnknown),
        1 => Just(StoreMood::LosesUnknown),
    ];
    prop_oneof![
        4 => at().prop_map(Step::Say),
        2 => at().prop_map(Step::Text),
        3 => at().prop_map(Step::Done),
        3 => at().prop_map(Step::HandOver),
        4 => at().prop_map(Step::Give),
        2 => at().prop_map(Step::GiveUnheard),
        2 => at().prop_map(Step::Lose),
        1 => at().prop_map(Step::HoldUp),
        1 => Just(Step::Arrive),
        2 => at().prop_map(Step::Crash),
        1 => (at(), mood).prop_map(|(at, mood)| Step::Mood(at, mood)),
        1 => (at(), any::<bool>()).prop_map(|(at, well)| Step::Marks(at, well)),
        4 => (0..6_000_u16).prop_map(Step::Pass),
    ]
}

/// Both servers, and what is known of the session from outside.
struct Journey {
    worlds: [World; 2],
    session: SessionId,
    /// The log so far, whoever wrote it.
    log: Vec<Event>,
    /// What was said to be accepted.
    accepted: Vec<String>,
    /// What is still on its way.
    held_up: Vec<(usize, Giving)>,
    tabs: u128,
}

impl Journey {
    fn begin() -> Self {
        let mut blue = World::new();
        let conn = blue.connect(&Tab::new(1));
        let session = blue.welcome(conn).session;
        // No two servers mint the same ids.
        let mut green = green();
        green.lives = 1_000;
        green.crash();
        let mut journey = Self {
            worlds: [blue, green],
            session,
            log: Vec::new(),
            accepted: Vec::new(),
            held_up: Vec::new(),
            tabs: 1,
        };
        journey.look();
        journey
    }

    /// Comes to a server, and says something if it is let in: whether it was.
    fn say(&mut self, at: usize) -> bool {
        self.tabs += 1;
        let text = format!("say {}", self.tabs);
        let world = &mut self.worlds[at];
        let conn = world.connect(&Tab::new(self.tabs).of(&self.session));
        let welcomed = |world: &World| {
            let frames = &world.lines[&conn].frames;
            frames.iter().any(|f| matches!(f, ServerFrame::Welcome(_)))
        };
        let is_in = welcomed(world);
        if is_in {
            let log = world.log(&self.session).len();
            assert!(log >= self.log.len(), "who serves it has all of its log");
            world.say(conn, 1, &text);
        }
        let receipts = world.receipts(conn);
        if let [
            Receipt {
                body: ReceiptBody::Ok { .. },
                ..
            },
        ] = &receipts[..]
        {
            self.accepted.push(text);
        }
        if world.lines[&conn].closed.is_none() {
            world.reset(conn);
        }
        is_in
    }

    fn give(&mut self, at: usize, arrives: bool, is_heard: bool) {
        if self.worlds[at].givings.is_empty() {
            return;
        }
        let giving = self.worlds[at].givings.remove(0);
        let outcome = if arrives {
            self.receive(at, &giving)
        } else {
            unknown()
        };
        let told = if is_heard { outcome } else { unknown() };
        answer(&mut self.worlds[at], &giving, told);
    }

    /// The other server gets what `from` wants to give.
    fn receive(&mut self, from: usize, giving: &Giving) -> Delivered {
        let [blue, green] = &mut self.worlds;
        let (from, to) = if from == 0 {
            (blue, green)
        } else {
            (green, blue)
        };
        to.receive(from, giving)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Say(at) => {
                self.say(at);
            }
            Step::Text(at) if !self.worlds[at].runs.is_empty() => self.worlds[at].text("word "),
            Step::Done(at) if !self.worlds[at].runs.is_empty() => self.worlds[at].done(),
            Step::Text(_) | Step::Done(_) => {}
            Step::HandOver(at) => hand_over(&mut self.worlds[at], 5),
            Step::Give(at) => self.give(at, true, true),
            Step::GiveUnheard(at) => self.give(at, true, false),
            Step::Lose(at) => self.give(at, false, false),
            Step::HoldUp(at) => {
                if !self.worlds[at].givings.is_empty() {
                    let giving = self.worlds[at].givings.remove(0);
                    answer(&mut self.worlds[at], &giving, unknown());
                    self.held_up.push((at, giving));
                }
            }
            Step::Arrive => {
                if let Some((from, giving)) = self.held_up.pop() {
                    // Its answer comes to nobody who waits for it.
                    let _ = self.receive(from, &giving);
                }
            }
            Step::Crash(at) => self.worlds[at].crash(),
            Step::Mood(at, mood) => self.worlds[at].mood = mood,
            Step::Marks(at, well) => {
                let mood = if well {
                    MarkMood::Well
                } else {
                    MarkMood::Refuses
                };
                self.worlds[at].mark_mood = mood;
            }
            Step::Pass(ms) => {
                for world in &mut self.worlds {
                    world.pass(Duration::from_millis(ms.into()));
                }
            }
        }
        self.look();
    }

    /// Whatever either store has of the log is one log, and it only grows.
    fn look(&mut self) {
        for world in &self.worlds {
            if !world.sessions().contains(&self.session) {
                continue;
            }
            let log = world.log(&self.session);
            let both = log.len().min(self.log.len());
            assert_eq!(log[..both], self.log[..both], "two servers write it");
            if log.len() > self.log.len() {
                self.log = log;
            }
        }
    }

    /// Everything is well again, and nobody is to give anything away.
    fn heal(&mut self) {
        for world in &mut self.worlds {
            (world.mood, world.mark_mood) = (StoreMood::Well, MarkMood::Well);
            world.crash();
        }
        self.look();
        for _ in 0..20 {
            for at in 0..2 {
                while !self.worlds[at].givings.is_empty() {
                    self.take(Step::Give(at));
                }
            }
            self.take(Step::Pass(6_000));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_session_has_one_owner_and_one_log_whatever_goes_wrong_on_its_way_m17(
        steps in prop::collection::vec(step(), 0..200)
    ) {
        let mut journey = Journey::begin();
        for step in steps {
            journey.take(step);
        }
        journey.heal();
        let lets_in = [journey.say(0), journey.say(1)];
        assert_ne!(lets_in[0], lets_in[1], "one of them has it: {lets_in:?}");
        journey.look();
        for text in &journey.accepted {
            let asks = |event: &&Event| matches!(event, Event::TurnAccepted(turn) if turn.text == *text);
            assert_eq!(journey.log.iter().filter(asks).count(), 1, "{text}");
        }
    }
}
