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
        let server = server.as_raw_nonzero().get();
        let marked = marked(&self.dir)?;
        let own = marked
            .into_iter()
            .filter(|pid| parent(*pid) == Some(server));
        Ok(own.filter_map(Pid::from_raw).collect())
    }
}

/// Processes that carry the mark of a row.
pub(crate) fn marked(dir: &Path) -> Result<Vec<i32>> {
    let wanted = format!("{MARK}={}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("processes are listed")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ended meanwhile has no environment any more.
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|pair| pair == wanted.as_bytes())
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // A name may hold anything, a closing parenthesis too.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
