//! What the tests share: starting an attempt, consuming it to its end, and looking for what is
//! left of it.

use std::{
    fs,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use keel_agent::{
    Budgets, Ending, Exchange, Failure, Outcome, Output, OutputStream, Provider, Request, Running,
    Told,
    acp::{self, Acp},
    process::{self, Config, Process, Stdout},
    spawn,
};
use keel_wire::Action;
use serde_json::Value;

/// Longer than any bound of the crate: a test that reaches it hangs.
const NEVER: Duration = Duration::from_secs(30);

pub(crate) const FAKE: &str = env!("CARGO_BIN_EXE_keel-fake-agent");

pub(crate) fn request(prompt: &str) -> Request {
    Request {
        session: "s-1".parse().expect("an id"),
        turn: "t-1".parse().expect("an id"),
        attempt: 1,
        backend: "under-test".to_owned(),
        cwd: None,
        bound: None,
        prompt: prompt.to_owned(),
        params: Value::Null,
        history: vec![Exchange {
            prompt: "before".to_owned(),
            text: "yes".to_owned(),
        }],
    }
}

/// An owner that no other test has, so that each looks for its own processes only.
pub(crate) fn owner() -> String {
    static OWNERS: AtomicU32 = AtomicU32::new(0);
    static SUBREAPER: Once = Once::new();
    SUBREAPER.call_once(|| process::become_subreaper().expect("Linux"));
    format!(
        "test-{}-{}",
        std::process::id(),
        OWNERS.fetch_add(1, Ordering::Relaxed)
    )
}

/// The fake agent doing `ops`.
pub(crate) fn fake(stdout: Stdout, ops: &[&str]) -> Config {
    let args = ops.iter().map(|op| (*op).to_owned()).collect();
    Config {
        args,
        stdout,
        ..Config::new(FAKE, owner())
    }
}

/// The fake agent speaking the Agent Client Protocol, with these flags and ops.
pub(crate) fn agent(args: &[&str]) -> acp::Config {
    let mut config = Config::new(FAKE, owner());
    config.args.push("acp".to_owned());
    config.args.extend(args.iter().map(|arg| (*arg).to_owned()));
    acp::Config::new(config)
}

/// An agent that a test talks to for several turns.
pub(crate) struct Agent {
    pub(crate) provider: Arc<Acp>,
    pub(crate) owner: String,
}

impl Agent {
    pub(crate) fn new(config: acp::Config) -> Self {
        Self {
            owner: config.process.owner.clone(),
            provider: Arc::new(Acp::new(config)),
        }
    }

    pub(crate) fn with(args: &[&str]) -> Self {
        Self::new(agent(args))
    }

    pub(crate) fn start(&self, request: Request) -> Driven {
        let provider: Arc<dyn Provider> = Arc::<Acp>::clone(&self.provider);
        Driven::start_with(provider, request, Budgets::default())
    }

    pub(crate) async fn turn(&self, prompt: &str) -> Heard {
        self.start(request(prompt)).finish().await
    }

    /// Ends it; nothing of it may be left.
    pub(crate) async fn close(self) {
        self.provider.close().await;
        assert_nothing_left(&self.owner);
    }
}

/// What an attempt told, and how long it took.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) outputs: Vec<Output>,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl Heard {
    pub(crate) fn text(&self) -> String {
        let text = |output: &Output| match output {
            Output::Text(text) => Some(text.clone()),
            Output::Started { .. }
            | Output::Item(_)
            | Output::NewAttempt { .. }
            | Output::Retrying { .. }
            | Output::Bound { .. }
            | Output::Cancelling { .. }
            | Output::NeedsAction(_)
            | Output::ModelCall
            | Output::Noise { .. } => None,
        };
        self.outputs.iter().filter_map(text).collect()
    }

    /// Items of a type.
    pub(crate) fn items(&self, kind: &str) -> Vec<&Value> {
        let mut items = Vec::new();
        for output in &self.outputs {
            if let Output::Item(item) = output
                && item["type"] == kind
            {
                items.push(item);
            }
        }
        items
    }

    /// The process that it says it has.
    pub(crate) fn pid(&self) -> Option<u32> {
        for output in &self.outputs {
            if let Output::Started { pid } = output {
                return *pid;
            }
        }
        None
    }

    pub(crate) fn failure(&self) -> &Failure {
        match &self.outcome.ending {
            Ending::Failed(failure) => failure,
            Ending::Done { .. } | Ending::Cancelled { .. } => panic!("no failure: {self:?}"),
        }
    }

    pub(crate) fn assert_done(&self) {
        assert!(
            matches!(self.outcome.ending, Ending::Done { .. }),
            "{:?}",
            self.outcome
        );
    }
}

/// An attempt that a test drives step by step.
pub(crate) struct Driven {
    pub(crate) running: Running,
    pub(crate) stream: OutputStream,
    pub(crate) outputs: Vec<Output>,
    began: Instant,
}

impl Driven {
    pub(crate) fn start(provider: Arc<dyn Provider>, prompt: &str, budgets: Budgets) -> Self {
        Self::start_with(provider, request(prompt), budgets)
    }

    pub(crate) fn start_with(
        provider: Arc<dyn Provider>,
        request: Request,
        budgets: Budgets,
    ) -> Self {
        let (running, stream) = spawn(provider, request, budgets);
        Self {
            running,
            stream,
            outputs: Vec::new(),
            began: Instant::now(),
        }
    }

    /// What was asked last.
    pub(crate) fn action(&self) -> Option<&Action> {
        self.outputs.iter().rev().find_map(|output| {
            let Output::NeedsAction(action) = output else {
                return None;
            };
            Some(action)
        })
    }

    pub(crate) async fn next(&mut self) -> Told {
        let next = tokio::time::timeout(NEVER, self.stream.next()).await;
        next.expect("an attempt must not hang")
            .expect("an attempt tells its outcome")
    }

    /// Consumes until an output that `wanted` likes.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Output) -> bool) {
        loop {
            match self.next().await {
                Told::Output(output) => {
                    self.running.refill(output.cost());
                    let found = wanted(&output);
                    self.outputs.push(output);
                    if found {
                        return;
                    }
                }
                Told::Outcome(outcome) => panic!("ended before that: {outcome:?}"),
            }
        }
    }

    /// Consumes to the end, and checks that nothing follows it.
    pub(crate) async fn finish(mut self) -> Heard {
        loop {
            match self.next().await {
                Told::Output(output) => {
                    self.running.refill(output.cost());
                    self.outputs.push(output);
                }
                Told::Outcome(outcome) => {
                    assert_eq!(
                        self.stream.next().await,
                        None,
                        "an outcome is the last word"
                    );
                    let took = self.began.elapsed();
                    return Heard {
                        outputs: self.outputs,
                        outcome: *outcome,
                        took,
                    };
                }
            }
        }
    }
}

/// Runs `config` to its end; nothing of it may be left.
pub(crate) async fn run(config: Config, prompt: &str) -> Heard {
    run_within(config, prompt, Budgets::default()).await
}

pub(crate) async fn run_within(config: Config, prompt: &str, budgets: Budgets) -> Heard {
    let owner = config.owner.clone();
    let heard = Driven::start(Arc::new(Process::new(config)), prompt, budgets)
        .finish()
        .await;
    assert_nothing_left(&owner);
    heard
}

/// Living processes that carry the marker of `owner`.
pub(crate) fn left_of(owner: &str) -> Vec<String> {
    let marker = format!("EVENKEEL_NODE={owner}");
    let mut left = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|pair| pair == marker.as_bytes())
        {
            left.push(fs::read_to_string(entry.path().join("stat")).unwrap_or_default());
        }
    }
    left
}

/// How many cgroups there are of `owner`'s attempts.
pub(crate) fn cgroups_of(owner: &str) -> usize {
    let house = fs::read_dir(format!("/sys/fs/cgroup/unified/evenkeel-{owner}"));
    let entries = house.into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).count()
}

pub(crate) fn assert_nothing_left(owner: &str) {
    assert_eq!(left_of(owner), Vec::<String>::new(), "processes are left");
    assert_eq!(cgroups_of(owner), 0, "cgroups are left");
    assert_eq!(process::reap_leftovers(owner), 0);
}
