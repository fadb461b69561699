//! What serves the session that is drilled: its programs, found by a mark in their environment, and
//! its model server.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Model, Rig};

/// In the environment of every program of the backend that is drilled: the row's folder.
pub(crate) const MARK: &str = "DRILL_ROW";

impl Rig {
    /// The model server; only of a row that has one.
    pub(crate) fn model(&mut self) -> Result<&mut Model> {
        self.model.as_mut().context("the row has a model server")
    }

    /// Kills (-9) what serves the drilled session: its programs, or its model server, which is then
    /// started again.
    pub(crate) async fn kill_what_serves(&mut self) -> Result<()> {
        let programs = self.programs()?;
        if programs.is_empty() {
            let Some(model) = &mut self.model else {
                bail!("nothing serves the session");
            };
            model.kill().await?;
            return model.launch().await;
        }
        for program in programs {
            kill_process(program, Signal::KILL)?;
        }
        Ok(())
    }

    /// The programs that the server itself started for the drilled backend.
    pub(crate) fn programs(&self) -> Result<Vec<Pid>> {
        let server = self.server.pid().context("the server runs")?;
        let own = children(server)?.into_iter();
        let own = own.filter(|pid| is_marked(*pid, &self.dir));
        Ok(own.filter_map(Pid::from_raw).collect())
    }
}

/// The processes that a process itself started.
pub(crate) fn children(of: Pid) -> Result<Vec<i32>> {
    let mut children = Vec::new();
    let threads = format!("/proc/{}/task", of.as_raw_nonzero());
    for thread in fs::read_dir(threads).context("it runs")? {
        let listed = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
        children.extend(
            listed
                .split_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Ok(children)
}

/// Whether a process carries the mark of a row. One that ended meanwhile has none any more.
pub(crate) fn is_marked(pid: i32, dir: &Path) -> bool {
    let wanted = format!("{MARK}={}", dir.display());
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|pair| pair == wanted.as_bytes())
}

/// Processes that carry the mark of a row.
pub(crate) fn marked(dir: &Path) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("processes are listed")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        found.extend(pid.filter(|pid| is_marked(*pid, dir)));
    }
    Ok(found)
}
