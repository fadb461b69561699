//! S: the server, its host and its store.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tokio::net::TcpStream;

use super::Spec;
use crate::{
    heart::unix_ms,
    rig::{Rig, Via, Who, span},
    server,
};

const S: fn(u64) -> Duration = Duration::from_secs;

pub(super) fn rows() -> Vec<Spec> {
    let mut rows = Vec::new();
    for after_ms in [30, 170, 410] {
        rows.push(
            house(
                &format!("S01/mid-turn/owner/{after_ms}ms"),
                "kill -9 in mid-turn",
                move |rig| Box::pin(killed(rig, Some(after_ms))),
            )
            .cause("transport_error")
            .told_within(250.)
            .back_within(3_000.),
        );
    }
    rows.push(
        house("S01/idle/owner", "kill -9 while nothing runs", |rig| {
            Box::pin(killed(rig, None))
        })
        .cause("transport_error")
        .told_within(250.)
        .back_within(3_000.),
    );
    rows.push(
        house(
            "S02/mid-turn/owner",
            "the session's machine panics",
            |rig| Box::pin(panics(rig)),
        )
        .cause("internal")
        .told_within(250.)
        .back_within(3_000.),
    );
    let id = "S03/mid-turn/owner";
    rows.push(
        house(id, "the whole process stands still for 5 s", |rig| {
            Box::pin(stands_still(rig))
        })
        .cause("heartbeat_timeout")
        .told_within(3_000.)
        .back_within(3_000.),
    );
    rows.push({
        let mut row = house(
            "S05/mid-turn/owner",
            "no file descriptors are left",
            |rig| Box::pin(no_files(rig)),
        );
        row.files_max = Some(96);
        row
    });
    rows.push({
        let mut row = house("S07/mid-turn/owner", "the disk is full", |rig| {
            Box::pin(full(rig))
        })
        .cause("store_failed")
        .told_within(2_000.)
        .back_within(5_000.)
        .needs(lacks_mounts());
        row.data = Some("small/data".to_owned());
        row
    });
    rows.push(
        house("S08/mid-turn/owner", "fsync fails", |_| {
            Box::pin(async { Ok(()) })
        })
        .cause("store_failed")
        .needs(Some(
            "a loop device with ext4 on a full tmpfs: not built".to_owned(),
        )),
    );
    rows.push(
        house("S09/mid-turn/owner", "fsync takes 2 s", |_| {
            Box::pin(async { Ok(()) })
        })
        .needs(Some("a FUSE file system that delays: not built".to_owned())),
    );
    rows.push(
        house("S10/idle/owner", "a session's events are damaged", |rig| {
            Box::pin(damaged(rig))
        })
        .fails()
        .needs(lacks_program("sqlite3")),
    );
    for id in ["S14/mid-turn/owner", "N16/mid-turn/viewer"] {
        let who = if id.ends_with("viewer") {
            Who::Viewer
        } else {
            Who::Owner
        };
        rows.push(
            house(id, "SIGTERM, and started again", move |rig| {
                Box::pin(drained(rig, who))
            })
            .cause("server_shutdown")
            .back_within(3_000.),
        );
    }
    rows.push(
        house(
            "S20/mid-turn/owner",
            "a second server on the same data",
            |rig| Box::pin(second(rig)),
        )
        .told_within(10_000.),
    );
    rows
}

fn house(
    id: &str,
    fault: &str,
    work: impl for<'a> Fn(&'a mut Rig) -> super::Work<'a> + 'static,
) -> Spec {
    let group = if id.starts_with('N') {
        "network"
    } else {
        "server"
    };
    Spec::new(id, group, fault, work)
}

/// What this host lacks for a small file system, if anything.
fn lacks_mounts() -> Option<String> {
    let dir = std::env::temp_dir().join(format!("evenkeel-mount-{}", std::process::id()));
    let tried = fs::create_dir_all(&dir).and_then(|()| mount(&dir));
    if tried.is_ok() {
        let _ = Command::new("umount").arg(&dir).status();
    }
    let _ = fs::remove_dir(&dir);
    tried.err().map(|_| "root, to mount a tmpfs".to_owned())
}

fn mount(dir: &Path) -> std::io::Result<()> {
    let mut mount = Command::new("mount");
    mount
        .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
        .arg(dir);
    let output = mount.output()?;
    if output.status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

fn lacks_program(name: &str) -> Option<String> {
    let there = Command::new(name).arg("--version").output().is_ok();
    (!there).then(|| name.to_owned())
}

async fn killed(rig: &mut Rig, after_ms: Option<u64>) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    if let Some(ms) = after_ms {
        rig.ends.insert("k1".to_owned(), "interrupted");
        rig.flow("k1", "lines=500 pace_ms=20").await?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
    } else {
        rig.flow("k1", "lines=5 pace_ms=20").await?;
        rig.over("k1").await?;
    }
    rig.strike();
    rig.server.kill().await?;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.server.launch().await?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.journal_names("transport_error").await
}

async fn panics(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.ends.insert("k1".to_owned(), "interrupted");
    rig.strikes_session = true;
    rig.flow("k1", "lines=500 pace_ms=20").await?;
    let body = serde_json::json!({ "session": rig.session, "fault": { "kind": "panic" } });
    let (addr, token) = (rig.server.addr(), rig.token.clone());
    rig.strike();
    // Not as a command, which would be sent again and strike twice. The answer may be lost with it.
    let _ = server::ask(
        addr,
        "POST",
        "/v1/debug/faults",
        Some(&token),
        &body.to_string(),
    )
    .await;
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.back(rig.struck_at, S(10)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.journal_names("internal").await?;
    Ok(())
}

async fn stands_still(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.strike();
    rig.server.signal(Signal::STOP)?;
    rig.losses = Some(1);
    let told = rig.told(S(10)).await;
    tokio::time::sleep(S(2)).await;
    rig.server.signal(Signal::CONT)?;
    told?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.journal_names("heartbeat_timeout").await
}

async fn no_files(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    let addr = rig.server.addr();
    rig.strike();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await);
    }
    rig.losses = Some(0);
    tokio::time::sleep(S(1)).await;
    drop(held);
    let lifted_at = unix_ms();
    crate::rig::wait("an answer over HTTP", S(10), || true).await?;
    while server::get(addr, "/healthz", None)
        .await
        .map(|(status, _)| status)
        .unwrap_or(0)
        != 200
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rig.row.recovered_ms = Some(span(lifted_at, unix_ms()));
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}

/// The data lies on a file system of 48 MiB, which a file fills.
async fn full(rig: &mut Rig) -> Result<()> {
    let small = rig.dir.join("small");
    let worked = full_in(rig, &small).await;
    rig.server.kill().await?;
    let _ = Command::new("umount").arg("-l").arg(&small).status();
    worked
}

async fn full_in(rig: &mut Rig, small: &Path) -> Result<()> {
    rig.strikes_all = true;
    // The server is started anew on the small file system, which is mounted over its data.
    rig.server.kill().await?;
    fs::remove_dir_all(small)?;
    fs::create_dir_all(small)?;
    mount(small)?;
    rig.server.launch().await?;
    rig.token = rig.server.token(&["--subject", "drill"]).await?;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=300 pace_ms=20").await?;
    rig.strike();
    let filler = small.join("filler");
    fill(&filler)?;
    let since = rig.struck_at;
    let told =
        rig.client(Who::Owner)?
            .until(S(15), "told that the store refuses", |line| {
                let code = match &line.what {
                    crate::ledger::Seen::Fault { code }
                    | crate::ledger::Seen::Lost { code, .. } => Some(code.clone()),
                    crate::ledger::Seen::Status { code, .. } => code.clone(),
                    _ => None,
                };
                code.filter(|_| line.t >= since).map(|code| (code, line.t))
            });
    let told = told.await;
    let admin = rig.server.token(&["--subject", "x", "--admin"]).await?;
    let (_, node) = server::get(rig.server.addr(), "/v1/node", Some(&admin)).await?;
    fs::remove_file(&filler)?;
    let lifted_at = unix_ms();
    let (code, at) = told?;
    rig.row.cause = Some(code);
    rig.row.told_ms = Some(span(since, at));
    if !node.contains("\"writes\":false") {
        rig.wrong(format!("the node's status does not show it: {node}"));
    }
    let again = rig.client(Who::Owner)?.until(S(15), "text again", |line| {
        let text = matches!(&line.what, crate::ledger::Seen::Event { kind, .. } if kind == "text");
        (text && line.t >= lifted_at).then_some(line.t)
    });
    let at = again.await?;
    rig.row.recovered_ms = Some(span(lifted_at, at));
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}

fn fill(path: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

async fn damaged(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=20 pace_ms=20").await?;
    rig.over("k1").await?;
    for who in [Who::Owner, Who::Viewer] {
        if let Some(client) = rig.dismiss(who) {
            client.close().await?;
        }
    }
    rig.strike();
    rig.server.kill().await?;
    let session = rig.session.clone();
    let data = rig.dir.join("data");
    let found = fs::read_dir(&data)?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let file = found
        .into_iter()
        .find(|path| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.ends_with(".sqlite3"))
        })
        .context("a database file")?;
    let damage = format!(
        "UPDATE event SET data = '{{damaged' WHERE session = \
         (SELECT id FROM session WHERE session = '{session}')"
    );
    let done = Command::new("sqlite3").arg(&file).arg(damage).output()?;
    if !done.status.success() {
        bail!("sqlite3: {}", String::from_utf8_lossy(&done.stderr));
    }
    rig.server.launch().await?;
    rig.launch(Who::Viewer, Via::Direct, &[])?;
    let answer = rig
        .client(Who::Viewer)?
        .until(S(15), "an answer", |line| match &line.what {
            crate::ledger::Seen::Failed { code, .. } | crate::ledger::Seen::Fault { code } => {
                Some(code.clone())
            }
            crate::ledger::Seen::Event { kind, .. } if kind == "text" => Some("served".to_owned()),
            _ => None,
        });
    let code = answer.await?;
    if code == "served" {
        rig.wrong("damaged events were served");
    }
    rig.row.expected_cause = Some(code.clone());
    rig.row.cause = Some(code);
    rig.dismiss(Who::Viewer);
    // Others are served.
    rig.session.clear();
    rig.enter(Who::Owner).await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.row.outcome = Some("failed".to_owned());
    Ok(())
}

async fn drained(rig: &mut Rig, who: Who) -> Result<()> {
    rig.strikes_all = true;
    rig.enter(who).await?;
    rig.flow("k1", "lines=60 pace_ms=20").await?;
    rig.strike();
    let status = rig.server.terminate(S(20)).await?;
    if status.code() != Some(0) {
        rig.wrong(format!("the server ended with {status}"));
    }
    rig.losses = Some(1);
    rig.told(S(10)).await?;
    rig.server.launch().await?;
    rig.back(unix_ms(), S(20)).await?;
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.journal_names("server_shutdown").await
}

async fn second(rig: &mut Rig) -> Result<()> {
    rig.enter(Who::Owner).await?;
    rig.flow("k1", "lines=200 pace_ms=20").await?;
    rig.strike();
    rig.losses = Some(0);
    let mut second = tokio::process::Command::new(&rig.exe);
    second.arg("serve").arg("--config").arg(rig.server.config());
    second
        .env("EVENKEEL_SERVER__LISTEN", "127.0.0.1:0")
        .kill_on_drop(true);
    let output = tokio::time::timeout(S(20), second.output())
        .await
        .context("it runs")??;
    rig.row.told_ms = Some(span(rig.struck_at, unix_ms()));
    if output.status.success() || output.status.code().is_none() {
        rig.wrong(format!("the second server ended with {}", output.status));
    }
    if output.stderr.is_empty() {
        rig.wrong("the second server said nothing");
    }
    rig.over("k1").await?;
    rig.row.outcome = Some("recovered".to_owned());
    Ok(())
}
