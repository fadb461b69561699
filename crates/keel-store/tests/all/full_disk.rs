//! A file system without space, for real.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use keel_store::{CommitError, StoreErrorKind, conformance::Scribe};

use crate::support::{created, head, healed, open, said, why};

/// A small file system in memory; unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where mounting is not permitted: skipped loudly at home, an error in CI.
    fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            assert!(
                std::env::var("CI").as_deref() != Ok("1"),
                "CI must be able to mount a tmpfs"
            );
            eprintln!("skipped{{needs: root}}");
            return None;
        }
        Some(Self(dir))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// Takes all space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.path().join("filler");
        let mut file = File::create(&path).expect("a file");
        for size in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmounted");
    }
}

fn free(path: &Path) {
    std::fs::remove_file(path).expect("the filler is there");
}

#[tokio::test]
async fn no_acked_commit_is_lost_on_a_full_disk_and_it_heals_s07() {
    let Some(disk) = Tmpfs::mount(4 * 1024 * 1024) else {
        return;
    };
    let store = open(&disk.path());
    let mut scribe = Scribe::new(&store, 1);
    scribe.write(&[created()]).await;
    for round in 0..3 {
        let filler = disk.fill();
        // What the log already holds of space may still be written into.
        let error = loop {
            match scribe
                .commit(scribe.batch(&[said(3_000), said(3_000)]))
                .await
            {
                Ok(()) => {}
                Err(CommitError::NotWritten(error) | CommitError::Unknown(error)) => break error,
                Err(other) => panic!("{other:?}"),
            }
        };
        assert_eq!(error.kind, StoreErrorKind::Full, "round {round}: {error}");
        assert_eq!(why(&store), Some(StoreErrorKind::Full));
        assert_eq!(head(&store, scribe.id()).await, Some(scribe.row.head.get()));
        assert!(store.load(scribe.id()).await.is_ok(), "reads go on");

        free(&filler);
        healed(&store).await;
        scribe.write(&[said(3_000)]).await;
    }
    store.close().await.expect("closed");
    let store = open(&disk.path());
    assert_eq!(head(&store, scribe.id()).await, Some(scribe.row.head.get()));
    assert!(store.load(scribe.id()).await.is_ok());
    store.close().await.expect("closed");
}

#[tokio::test]
async fn a_full_disk_at_the_start_is_an_error_and_no_ruin_s07() {
    let Some(disk) = Tmpfs::mount(1024 * 1024) else {
        return;
    };
    let filler = disk.fill();
    let config = keel_store::sqlite::Config::new(disk.path());
    keel_store::Sqlite::open(&config).expect_err("no space for a database");
    free(&filler);
    let store = open(&disk.path());
    Scribe::new(&store, 1).write(&[created()]).await;
    store.close().await.expect("closed");
}
