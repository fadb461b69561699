//! Where a session's programs may work: beneath one of its backend's roots, and nowhere else (A57).
//!
//! What a client names is looked up by the kernel from the root down, in one step that leaves the root
//! by no way: not by `..`, not by a symbolic link, not through `/proc/self/fd`. What comes out is the
//! directory's own path, which is what is kept. When a program is to be started it is looked up
//! again, and then no link may be on the way: a directory that was swapped meanwhile is refused.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use keel_core::node::Misplaced;
use keel_wire::{Code, limits::CWD_BYTES_MAX};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// How long a look at a directory may take: it may lie on another machine.
const WITHIN: Duration = Duration::from_secs(5);

/// Roots, by the name of the backend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Workplaces(Arc<BTreeMap<String, Vec<PathBuf>>>);

/// What the look is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client has named the directory: links beneath the root are followed.
    Open,
    /// A program is to be started in a directory that was found before: nothing is followed.
    Spawn,
}

impl Workplaces {
    pub(crate) fn new(roots: impl IntoIterator<Item = (String, Vec<PathBuf>)>) -> Self {
        Self(Arc::new(roots.into_iter().collect()))
    }

    /// The directory's own path, if a session of that backend may work there.
    ///
    /// Runs on a thread where it may block.
    pub(crate) async fn find(
        &self,
        backend: String,
        wanted: String,
        purpose: Purpose,
    ) -> Result<String, Misplaced> {
        let this = self.clone();
        let look = tokio::task::spawn_blocking(move || this.look(&backend, &wanted, purpose));
        match tokio::time::timeout(WITHIN, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(misplaced(
                Code::Internal,
                "the directory could not be looked at",
            )),
            Err(_) => Err(outside("the directory could not be looked at in time")),
        }
    }

    fn look(&self, backend: &str, wanted: &str, purpose: Purpose) -> Result<String, Misplaced> {
        let roots = self.0.get(backend).map_or(&[][..], Vec::as_slice);
        if roots.is_empty() {
            return Err(outside("this backend takes no directories"));
        }
        let wanted = plain(wanted)?;
        for root in roots {
            let Ok(own) = root.canonicalize() else {
                tracing::warn!(root = %root.display(), "a root of directories is not there");
                continue;
            };
            let named = [&own, root].into_iter();
            let Some(below) = named
                .filter_map(|root| wanted.strip_prefix(root).ok())
                .next()
            else {
                continue;
            };
            return enter(&own, below, purpose);
        }
        Err(outside("that is beneath none of the backend's directories"))
    }
}

fn misplaced(code: Code, message: &str) -> Misplaced {
    Misplaced {
        code,
        message: message.to_owned(),
    }
}

fn outside(message: &str) -> Misplaced {
    misplaced(Code::PermissionDenied, message)
}

/// An absolute path without anything that means another one.
fn plain(text: &str) -> Result<&Path, Misplaced> {
    let odd = |why: &str| Err(misplaced(Code::InvalidRequest, why));
    if text.len() > CWD_BYTES_MAX || text.contains('\0') {
        return odd("that is no path");
    }
    if text.starts_with("//") || text.starts_with("\\\\") || !text.starts_with('/') {
        return odd("want an absolute path of this server's");
    }
    let path = Path::new(text);
    let whole = text.split('/').all(|part| part != "." && part != "..")
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if whole {
        Ok(path)
    } else {
        Err(outside("a directory is named without `.` and `..`"))
    }
}

fn enter(root: &Path, below: &Path, purpose: Purpose) -> Result<String, Misplaced> {
    let there = |error: Errno| match error {
        Errno::NOENT | Errno::NOTDIR => {
            misplaced(Code::InvalidRequest, "there is no such directory")
        }
        _ => outside("that directory is not beneath its root, or cannot be entered"),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let door = rustix::fs::open(root, flags, Mode::empty()).map_err(there)?;
    let below = if below.as_os_str().is_empty() {
        Path::new(".")
    } else {
        below
    };
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if purpose == Purpose::Spawn {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let entered = match rustix::fs::openat2(&door, below, flags, Mode::empty(), resolve) {
        // A kernel, or a sandbox, that knows no such call: by hand, and without any link.
        Err(Errno::NOSYS | Errno::PERM) => walk(door, below),
        entered => entered,
    };
    let entered = entered.map_err(there)?;
    let path = path_of(&entered).ok_or_else(|| outside("the directory has no path"))?;
    let path = PathBuf::from(path);
    // Where the kernel says that it is; a deleted directory, and one moved away, are nowhere.
    if !path.starts_with(root) || !path.is_dir() {
        return Err(outside("that directory is not beneath its root"));
    }
    if purpose == Purpose::Spawn && path != root.join(below) && below != Path::new(".") {
        return Err(outside("the directory is not where it was"));
    }
    path.into_os_string()
        .into_string()
        .map_err(|_| misplaced(Code::InvalidRequest, "the directory's path is not UTF-8"))
}

/// One directory after the other, none of them a link.
fn walk(door: OwnedFd, below: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut at = door;
    for part in below.components() {
        if let Component::Normal(name) = part {
            at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
        }
    }
    Ok(at)
}

fn path_of(entered: &impl AsRawFd) -> Option<OsString> {
    let link = format!("/proc/self/fd/{}", entered.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new()).ok()?;
    Some(OsString::from_vec(path.into_bytes()))
}
