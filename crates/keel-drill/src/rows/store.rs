//! S07 to S10: the disk under the server's store.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::{Preload, S, Spec};
use crate::{
    heart::unix_ms,
    ledger::Seen,
    mutant::Mutant,
    rig::{Rig, Via, Who, span},
};

/// How long a sync takes on a slow disk.
const SLOW_SYNC_MS: u32 = 2_000;

pub(super) fn rows() -> Vec<Spec> {
    vec![
        Spec::new(
            "S07/mid-turn/owner",
            "the disk is full",
            Mutant::AckRefused,
            |rig| Box::pin(full(rig)),
        )
        .cause("store_failed")
        .told_within(2_000.)
        .back_within(5_000.)
        .data("small/data")
        .needs(lacks_mounts()),
        Spec::new(
            "S08/mid-turn/owner",
            "fsync fails",
            Mutant::AckRefused,
            |rig| Box::pin(sync_fails(rig)),
        )
        .cause("store_failed")
        .told_within(5_000.)
        .back_within(10_000.)
        .data("small/disk/data")
        .needs(lacks_mounts().or_else(lacks_loops)),
        Spec::new(
            "S09/mid-turn/owner",
            "fsync takes 2 s",
            Mutant::AckUnwritten,
            |rig| Box::pin(slow(rig)),
        )
        .cause("store_failed")
        .told_within(2_000.)
        .back_within(5_000.)
        .preload(Preload::ServersDisk),
        Spec::new(
            "S10/idle/owner",
            "a session's events are damaged",
            Mutant::DamageUnseen,
            |rig| Box::pin(damaged(rig)),
        )
        .fails()
        .cause("store_failed")
        .told_within(5_000.)
        .needs(lacks_program("sqlite3")),
    ]
}

/// What this host lacks for a small file system, if anything.
fn lacks_mounts() -> Option<String> {
    let mounted = tempfile::tempdir().is_ok_and(|dir| {
        let mounted = runs("mount", &tmpfs(dir.path(), 1));
        if mounted {
            runs("umount", &[dir.path()]);
        }
        mounted
    });
    (!mounted).then(|| "root, to mount a tmpfs".to_owned())
}

fn lacks_loops() -> Option<String> {
    let there = runs("losetup", &["--find"]) && runs("mkfs.ext4", &["-V"]);
    (!there).then(|| "a loop device, and mkfs.ext4".to_owned())
}

fn lacks_program(name: &str) -> Option<String> {
    (!runs(name, &["--version"])).then(|| name.to_owned())
}

fn runs(program: &str, args: &[impl AsRef<std::ffi::OsStr>]) -> bool {
    let output = Command::new(program).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

fn tmpfs(dir: &Path, mib: u32) -> Vec<String> {
    let size = format!("size={mib}m");
    let words = [
        "-t",
        "tmpfs",
        "-o",
        &size,
        "tmpfs",
        &dir.display().to_string(),
    ];
    words.map(str::to_owned).to_vec()
}

/// Starts the server anew on a tmpfs of its own, or on a disk that lies in one.
async fn move_to_small(rig: &mut Rig, mib: u32, disk: bool) -> Result<()> {
    rig.strikes_all = true;
    rig.server.kill().await?;
    let small = rig.dir.join("small");
    fs::remove_dir_all(&small)?;
    fs::create_dir_all(&small)?;
    let at = small.display().to_string();
    let mut mount = vec!["mount".to_owned()];
    mount.extend(tmpfs(&small, mib));
    let mount: Vec<&str> = mount.iter().map(String::as_str).collect();
    rig.host(&mount, Some(&["umount", "-l", &at])).await?;
    if disk {
        mount_disk(rig, &small).await?;
    }
    rig.server.launch().await?;
    rig.renew_tokens().await?;
    rig.enter(Who::Owner).await
}

/// An ext4 without a journal, in a file that promises more than the tmpfs below it has.
async fn mount_disk(rig: &mut Rig, small: &Path) -> Result<()> {
    let (image, disk) = (small.join("image"), small.join("disk"));
    fs::File::create(&image)?.set_len(256 * 1024 * 1024)?;
    fs::create_dir_all(&disk)?;
    let (image, disk) = (image.display().to_string(), disk.display().to_string());
    let lean = "lazy_itable_init=0,nodiscard";
    let make = [
        "mkfs.ext4",
        "-q",
        "-F",
        "-O",
        "^has_journal",
        "-E",
        lean,
        &image,
    ];
    rig.host(&make, None).await?;
    let device = rig
        .host(&["losetup", "--find", "--show", &image], None)
        .await?;
    let detach = ["losetup", "-d", &device].map(str::to_owned).to_vec();
    rig.undo.push(detach);
    let unmount = ["umount", "-l", &disk];
    rig.host(&["mount", &device, &disk], Some(&unmount)).await?;
    Ok(())
}

/// Waits until the owner is told that the store does not keep up.
async fn told_of_the_store(rig: &mut Rig, what: &str) -> Result<()> {
    let told = rig.sees(S(15), what, |line| match &line.what {
        Seen::Fault { code } | Seen::Lost { code, .. } => Some(code.clone()),
        Seen::Status { code, .. } => code.clone(),
        _ => None,
    });
    let (code, at) = told.await?;
    rig.row.cause = Some(code);
    rig.row.told_ms = Some(span(rig.struck_at, at));
    Ok(())
}

/// Waits until all is well again after the cause went; and that a turn is told as ever.
async fn heals(rig: &mut Rig, lifted_at: u64) -> Result<()> {
    let live = rig.sees(S(20), "live again", |line| {
        let live = matches!(&line.what, Seen::Status { state, .. } if state == "live");
        (live && line.t >= lifted_at).then_some(())
    });
    let ((), at) = live.await?;
    rig.row.recovered_ms = Some(span(lifted_at, at));
    rig.over("k1").await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    rig.recovered();
    Ok(())
}

/// Takes every byte that is left.
fn fill(path: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![b'x'; size]).is_ok() {}
    }
    Ok(())
}

/// What is refused is told, shown, and kept when there is room again.
async fn refused_until_there_is_room(rig: &mut Rig) -> Result<()> {
    let filler = rig.dir.join("small/filler");
    rig.losses = Some(0);
    rig.flow("k1", "lines=400 pace_ms=10").await?;
    rig.strike();
    fill(&filler)?;
    let told = told_of_the_store(rig, "told that the store refuses").await;
    let node = rig.ask_node().await;
    let lifted_at = unix_ms();
    fs::remove_file(&filler)?;
    told?;
    let node = node?;
    if node["store"]["writes"] != false {
        rig.wrong(format!("the node's status does not show it: {node}"));
    }
    heals(rig, lifted_at).await
}

/// The data lies on a file system of 48 MiB, which a file fills.
async fn full(rig: &mut Rig) -> Result<()> {
    move_to_small(rig, 48, false).await?;
    refused_until_there_is_room(rig).await
}

/// The data lies on a disk that takes every write, and finds no room for it when it is to be synced.
async fn sync_fails(rig: &mut Rig) -> Result<()> {
    move_to_small(rig, 48, true).await?;
    refused_until_there_is_room(rig).await?;
    let log = fs::read_to_string(rig.server.log())?;
    if !log.contains("sqlite 1034") {
        rig.wrong("the disk refused, and not at a sync");
    }
    Ok(())
}

/// Acknowledged late, but right; and beats do not wait for the disk.
async fn slow(rig: &mut Rig) -> Result<()> {
    rig.strikes_all = true;
    rig.losses = Some(0);
    rig.enter(Who::Owner).await?;
    let hello = serde_json::json!({ "session": rig.session, "role": "viewer" });
    let (mut raw, _) = rig.by_hand(&hello).await?;
    rig.flow("k1", "lines=400 pace_ms=20").await?;
    rig.strike();
    rig.syncs_take(SLOW_SYNC_MS)?;
    rig.tell(r#"set {"mood":"calm"}"#).await?;
    let beats = raw.beats(S(6)).await?;
    let lifted_at = unix_ms();
    rig.syncs_take(0)?;
    drop(raw);
    let late = beats.windows(2).map(|pair| pair[1] - pair[0]).max();
    match late {
        Some(late) if late.as_millis() < 1_800 => {}
        late => rig.wrong(format!("beats of a second came {late:?} apart")),
    }
    let (refused, at) = rig.receipt(r#"{"mood":"calm"}"#).await?;
    let took_ms = span(rig.struck_at, at);
    if refused.is_some() || took_ms < f64::from(SLOW_SYNC_MS) / 2. {
        rig.wrong(format!(
            "a command was answered {refused:?} after {took_ms} ms"
        ));
    }
    told_of_the_store(rig, "told of the slow store").await?;
    heals(rig, lifted_at).await
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
    let launched_at = unix_ms();
    rig.launch(Who::Viewer, Via::Direct, &[])?;
    let answer = rig
        .client(Who::Viewer)?
        .until(S(15), "an answer", |line| match &line.what {
            Seen::Failed { code, .. } | Seen::Fault { code } => Some((Some(code.clone()), line.t)),
            Seen::Status { state, .. } if state == "live" => Some((None, line.t)),
            _ => None,
        });
    let (code, at) = answer.await?;
    if code.is_none() {
        rig.wrong("a damaged session was served");
    }
    rig.row.cause = code;
    rig.row.told_ms = Some(span(launched_at, at));
    rig.dismiss(Who::Viewer);
    // Others are served.
    rig.session.clear();
    rig.enter(Who::Owner).await?;
    rig.flow("k2", "lines=20 pace_ms=20").await?;
    rig.over("k2").await?;
    // What the server says of the damaged one is looked at, too.
    rig.session = session;
    rig.unreadable = true;
    rig.row.outcome = Some("failed".to_owned());
    Ok(())
}
