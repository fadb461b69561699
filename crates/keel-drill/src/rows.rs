//! The rows: what is broken, when, for whom, and what must come of it.

mod admission;
mod clocks;
mod closes;
mod closing;
mod connecting;
mod crowd;
mod cuts;
mod hand;
mod media;
mod overload;
mod pace;
mod peer;
mod provider;
mod resuming;
mod server;
mod store;

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Result;
use futures_util::StreamExt;

use crate::{
    Options,
    client::lacks_browser,
    mutant::Mutant,
    results::Row,
    rig::{Camera, Control, Rig, lacks_compiler},
    turn::lacks_coturn,
};

/// A row takes no longer than this, whatever happens.
const ROW_WITHIN: Duration = Duration::from_secs(150);

const S: fn(u64) -> Duration = Duration::from_secs;
/// For how long a machine sleeps, in seconds: a night.
const NIGHT_S: i64 = 8 * 3_600;

/// What a row does.
type Work<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// What the server's side must show of a fault, beside what a client was told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Witness {
    /// Status and journal of the session, log and metrics name the cause.
    Session,
    /// The same, but for the status: the session goes on as it was.
    Journal,
    /// Log and metrics do; there is no session whose journal could.
    Node,
    /// Log and metrics name this instead: the server sees the fault from its own side.
    Instead(&'static str),
    /// The server cannot see it, for this reason.
    Unseen(&'static str),
}

/// What stands between a process and its C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preload {
    None,
    /// The server's syncs can be made slow.
    ServersDisk,
    /// The server's wall clock can be made to jump.
    ServersClock,
    /// The wall clock of whoever is struck can.
    ClientsClock,
}

/// A row that can be run.
pub(crate) struct Spec {
    pub(crate) row: Row,
    pub(crate) more: String,
    /// Where its data lies, below its folder.
    pub(crate) data: Option<String>,
    pub(crate) files_max: Option<u32>,
    pub(crate) preload: Preload,
    pub(crate) witness: Witness,
    /// It is a row of media, and this has the camera.
    pub(crate) camera: Option<Camera>,
    /// There is a model server, which answers so.
    pub(crate) model: Option<String>,
    /// There is a TURN server, whose credentials last so many seconds.
    pub(crate) turn: Option<u64>,
    /// What must turn it red.
    mutant: Mutant,
    /// What the host lacks for it.
    needs: Option<String>,
    work: Box<dyn for<'a> Fn(&'a mut Rig) -> Work<'a>>,
}

impl Spec {
    fn new(
        id: &str,
        fault: &str,
        mutant: Mutant,
        work: impl for<'a> Fn(&'a mut Rig) -> Work<'a> + 'static,
    ) -> Self {
        let mut parts = id.split('/').skip(1);
        let phase = parts.next().unwrap_or("mid-turn");
        let role = id
            .rsplit('/')
            .find(|part| ["owner", "viewer"].contains(part));
        Self {
            row: Row {
                id: id.to_owned(),
                group: group(id).to_owned(),
                fault: fault.to_owned(),
                phase: phase.to_owned(),
                role: role.unwrap_or("owner").to_owned(),
                backend: "process".to_owned(),
                expected_outcome: "recovered".to_owned(),
                mutant: Some(mutant.name().to_owned()),
                ..Row::default()
            },
            more: String::new(),
            data: None,
            files_max: None,
            preload: Preload::None,
            witness: Witness::Session,
            camera: None,
            model: None,
            turn: None,
            mutant,
            needs: None,
            work: Box::new(work),
        }
    }

    fn cause(mut self, code: &str) -> Self {
        self.row.expected_cause = Some(code.to_owned());
        self
    }

    fn fails(mut self) -> Self {
        self.row.expected_outcome = "failed".to_owned();
        self
    }

    fn told_within(mut self, ms: f64) -> Self {
        self.row.told_bound_ms = Some(ms);
        self
    }

    fn back_within(mut self, ms: f64) -> Self {
        self.row.recovered_bound_ms = Some(ms);
        self
    }

    fn config(mut self, toml: impl Into<String>) -> Self {
        self.more = toml.into();
        self
    }

    /// Its data lies there, below its folder.
    fn data(mut self, name: &str) -> Self {
        self.data = Some(name.to_owned());
        self
    }

    /// What serves it.
    fn backend(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.row.backend);
        self
    }

    /// There is a model server, which answers so.
    fn model(mut self, mode: &str) -> Self {
        self.model = Some(mode.to_owned());
        self
    }

    const fn files_max(mut self, files: u32) -> Self {
        self.files_max = Some(files);
        self
    }

    /// What stands between a process and its C library.
    fn preload(mut self, what: Preload) -> Self {
        self.preload = what;
        self.needs = self.needs.or_else(lacks_compiler);
        self
    }

    const fn witness(mut self, witness: Witness) -> Self {
        self.witness = witness;
        self
    }

    fn camera(mut self, camera: Camera) -> Self {
        self.camera = Some(camera);
        "passthrough".clone_into(&mut self.row.backend);
        if camera == Camera::Chromium {
            self.needs = lacks_browser();
        }
        self
    }

    /// Of a row that has a camera: there is a TURN server, too.
    fn turn(mut self, ttl_s: u64) -> Self {
        self.turn = Some(ttl_s);
        self.needs = self.needs.or_else(lacks_coturn);
        self
    }

    fn needs(mut self, lacking: Option<String>) -> Self {
        self.needs = lacking;
        self
    }
}

/// What is broken, by the first letter of the catalogue's id.
fn group(id: &str) -> &'static str {
    match id.as_bytes().first() {
        Some(b'M') => "media",
        Some(b'N') => "network",
        Some(b'P') => "peer",
        Some(b'S') => "server",
        Some(_) | None => "provider",
    }
}

/// Every row of the catalogue that is built.
fn all() -> Vec<Spec> {
    let groups = [
        cuts::rows(),
        closes::rows(),
        resuming::rows(),
        closing::rows(),
        connecting::rows(),
        pace::rows(),
        crowd::rows(),
        hand::rows(),
        overload::rows(),
        peer::rows(),
        clocks::rows(),
        admission::rows(),
        server::rows(),
        store::rows(),
        provider::rows(),
        media::rows(),
    ];
    groups.into_iter().flatten().collect()
}

/// Runs the rows that are wanted, several at once.
pub(crate) async fn run(
    options: &Options,
    wanted: impl Fn(&str) -> bool,
    told: &impl Fn(&str),
) -> Result<Vec<Row>> {
    let specs: Vec<_> = all()
        .into_iter()
        .filter(|spec| wanted(&spec.row.id))
        .collect();
    let count = specs.len();
    if count == 0 {
        return Ok(Vec::new());
    }
    let control = Control::start(options).await?;
    let paired = &control;
    let running = specs.into_iter().enumerate().map(|(n, spec)| async move {
        let mut row = Box::pin(worst(options, &spec, paired)).await;
        let verdict = match (&row.skipped, row.pass) {
            (Some(_), _) => "skipped",
            (None, true) => "pass",
            (None, false) => "FAIL",
        };
        told(&format!("{:>3} of {count}: {verdict} {}", n + 1, row.id));
        if options.mutants && row.skipped.is_none() {
            let bad = Box::pin(one(options, &spec, Some(spec.mutant), paired)).await;
            let found = spec.mutant.shows_in(&bad);
            row.mutant_found = Some(found);
            let verdict = if found { "found" } else { "NOT FOUND" };
            let (mutant, why) = (spec.mutant.name(), bad.wrong.join("; "));
            told(&format!(
                "{:>3} of {count}: {mutant} {verdict} by {}: {why}",
                n + 1,
                row.id
            ));
        }
        (n, row)
    });
    let mut rows: Vec<(usize, Row)> = futures_util::stream::iter(running)
        .buffer_unordered(options.parallel)
        .collect()
        .await;
    rows.sort_by_key(|(n, _)| *n);
    control.end().await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// What may be missing elsewhere is an error there.
fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "0" && value != "false")
}

/// The worst of so many runs of a row: the first that does not hold, else the slowest.
async fn worst(options: &Options, spec: &Spec, control: &Control) -> Row {
    let mut worst = one(options, spec, None, control).await;
    for n in 1..options.times {
        if !worst.pass {
            break;
        }
        let again = Options {
            dir: options.dir.join(format!("again-{n}")),
            ..options.clone()
        };
        let row = one(&again, spec, None, control).await;
        if !row.pass || row.recovered_ms > worst.recovered_ms {
            worst = row;
        }
    }
    worst
}

async fn one(options: &Options, spec: &Spec, mutant: Option<Mutant>, control: &Control) -> Row {
    if let Some(lacking) = &spec.needs {
        if spec.camera.is_some() && is_ci() {
            let mut row = spec.row.clone();
            let wrong = format!("it needs {lacking}: run `cargo xtask setup`");
            row.wrong.push(wrong);
            return row;
        }
        return Row {
            skipped: Some(lacking.clone()),
            ..spec.row.clone()
        };
    }
    let mut rig = match Rig::start(options, spec, mutant).await {
        Ok(rig) => rig,
        Err(error) => {
            let mut row = spec.row.clone();
            row.wrong.push(format!("it could not be set up: {error:#}"));
            return row;
        }
    };
    match tokio::time::timeout(ROW_WITHIN, (spec.work)(&mut rig)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => rig.wrong(format!("{error:#}")),
        Err(_) => rig.wrong(format!("not over within {ROW_WITHIN:?}")),
    }
    rig.finish(control).await
}
