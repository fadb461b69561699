//! The data directory, keys and secrets.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use keel_server::{Config, config::StoreKind};
use rustix::fs::{Access, access};

use super::Report;

/// Free space below which the store is soon full.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;
/// Permissions that nobody but a secret's owner needs.
const OTHERS: u32 = 0o077;

pub(super) fn examine(config: &Config, report: &mut Report) {
    if config.store.kind == StoreKind::Memory {
        report.warn(
            "data",
            "sessions are kept in memory, and are gone with the process",
            "set `store.kind = \"sqlite\"` to keep them",
        );
    } else {
        data(&config.store.path, report);
    }
    keys(config, report);
}

fn data(path: &Path, report: &mut Report) {
    // What is not there yet is made where the nearest directory above it is.
    let Some(there) = path
        .ancestors()
        .find(|dir| dir.exists() || dir.as_os_str().is_empty())
    else {
        return report.ok("data", format!("{} will be made", path.display()));
    };
    let there = if there.as_os_str().is_empty() {
        Path::new(".")
    } else {
        there
    };
    if !there.is_dir() {
        return report.fail(
            "data",
            format!("{} is no directory", there.display()),
            "set `store.path` to a directory",
        );
    }
    if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return report.fail(
            "data",
            format!("{} cannot be written", there.display()),
            format!("make it this user's: chown -R $USER {}", there.display()),
        );
    }
    let Ok(space) = rustix::fs::statvfs(there) else {
        return report.ok("data", format!("{} can be written", path.display()));
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mib = free / (1024 * 1024);
    if free < FREE_BYTES_MIN {
        report.warn(
            "data",
            format!("{} has {mib} MiB left", there.display()),
            "make room: a full disk refuses every new word (`store_failed`)",
        );
    } else {
        let there = path.display();
        report.ok(
            "data",
            format!("{there} can be written, {mib} MiB are free"),
        );
    }
}

fn keys(config: &Config, report: &mut Report) {
    let dir = config.key_dir();
    let own = ["hs256.key", "resume.key", "media.key"].map(|name| dir.join(name));
    let there: Vec<_> = own.iter().filter(|path| path.exists()).collect();
    if there.is_empty() {
        report.ok(
            "keys",
            format!("{} gets its keys at the first start", dir.display()),
        );
    }
    let mut sound = true;
    for path in there {
        sound &= secret("keys", path, report);
    }
    if sound && dir.exists() {
        report.ok("keys", format!("{} is its owner's alone", dir.display()));
    }
    for key in &config.auth.keys {
        if fs::metadata(&key.file).is_err() {
            report.fail(
                "keys",
                format!("{} (kid {:?}) cannot be read", key.file.display(), key.kid),
                "put the key there, or take it out of `auth.keys`",
            );
        } else if key.alg == keel_server::config::Algorithm::HS256 {
            secret("keys", &key.file, report);
        }
    }
    if let Some(tls) = &config.server.tls {
        for file in [Some(&tls.cert), tls.key.as_ref()].into_iter().flatten() {
            if fs::File::open(file).is_err() {
                report.fail(
                    "tls",
                    format!("{} cannot be read", file.display()),
                    "let this user read it, or correct `server.tls`",
                );
            }
        }
        secret("tls", tls.key.as_ref().unwrap_or(&tls.cert), report);
    }
    if let Some(turn) = &config.turn {
        match fs::read_to_string(&turn.secret_file) {
            Ok(text) if text.trim_end().len() < 16 => report.fail(
                "turn",
                format!("the secret in {} is too short", turn.secret_file.display()),
                "use 16 bytes or more, the same as coturn's `static-auth-secret`",
            ),
            Ok(_) => _ = secret("turn", &turn.secret_file, report),
            Err(error) => report.fail(
                "turn",
                format!("{}: {error}", turn.secret_file.display()),
                "put coturn's `static-auth-secret` there",
            ),
        }
    }
}

/// Whether a secret is readable for its owner alone.
fn secret(check: &'static str, path: &Path, report: &mut Report) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return true;
    };
    let mode = meta.permissions().mode() & 0o777;
    let own = rustix::process::geteuid().as_raw();
    if mode & OTHERS != 0 {
        report.warn(
            check,
            format!("{} may be read by others (mode {mode:03o})", path.display()),
            format!("chmod 600 {}", path.display()),
        );
        return false;
    }
    if meta.uid() != own && own != 0 {
        report.fail(
            check,
            format!("{} is another user's", path.display()),
            format!("run as its owner, or chown it to uid {own}"),
        );
        return false;
    }
    true
}
