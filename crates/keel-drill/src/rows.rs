//! The rows: what is broken, when, for whom, and what must come of it.

mod admission;
mod network;
mod peer;
mod provider;
mod server;

use std::{future::Future, pin::Pin, time::Duration};

use anyhow::Result;
use futures_util::StreamExt;

use crate::{Options, results::Row, rig::Rig};

/// A row takes no longer than this, whatever happens.
const ROW_WITHIN: Duration = Duration::from_secs(150);

type Work<'a> = Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A row that can be run.
pub(crate) struct Spec {
    pub(crate) row: Row,
    pub(crate) more: String,
    /// Where its data lies, below its folder.
    pub(crate) data: Option<String>,
    pub(crate) files_max: Option<u32>,
    /// What the host lacks for it.
    needs: Option<String>,
    work: Box<dyn for<'a> Fn(&'a mut Rig) -> Work<'a>>,
}

impl Spec {
    fn new(
        id: &str,
        group: &str,
        fault: &str,
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
                group: group.to_owned(),
                fault: fault.to_owned(),
                phase: phase.to_owned(),
                role: role.unwrap_or("owner").to_owned(),
                backend: "process".to_owned(),
                expected_outcome: "recovered".to_owned(),
                ..Row::default()
            },
            more: String::new(),
            data: None,
            files_max: None,
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

    fn needs(mut self, lacking: Option<String>) -> Self {
        self.needs = lacking;
        self
    }
}

/// Every row of the catalogue that is built.
fn all() -> Vec<Spec> {
    let groups = [
        network::rows(),
        peer::rows(),
        admission::rows(),
        server::rows(),
        provider::rows(),
    ];
    groups.into_iter().flatten().collect()
}

/// Runs the rows that are wanted, several at once.
pub(crate) async fn run(
    options: &Options,
    wanted: impl Fn(&str) -> bool,
    told: &impl Fn(&str),
) -> Vec<Row> {
    let specs: Vec<_> = all()
        .into_iter()
        .filter(|spec| wanted(&spec.row.id))
        .collect();
    let count = specs.len();
    let running = specs.into_iter().enumerate().map(|(n, spec)| async move {
        let row = Box::pin(one(options, &spec)).await;
        let verdict = match (&row.skipped, row.pass) {
            (Some(_), _) => "skipped",
            (None, true) => "pass",
            (None, false) => "FAIL",
        };
        told(&format!("{:>3} of {count}: {verdict} {}", n + 1, row.id));
        row
    });
    futures_util::stream::iter(running)
        .buffered(options.parallel)
        .collect()
        .await
}

async fn one(options: &Options, spec: &Spec) -> Row {
    if let Some(lacking) = &spec.needs {
        return Row {
            skipped: Some(lacking.clone()),
            ..spec.row.clone()
        };
    }
    let mut rig = match Rig::start(options, spec).await {
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
    rig.finish().await
}
