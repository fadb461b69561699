//! Text files that an agent reads and writes through us: those beneath the session's directory.
//!
//! The kernel resolves each path beneath a descriptor of the directory, and follows no link on the
//! way, so nothing that is swapped between a look and a use leads out (A57). What is opened is
//! looked at before it is touched: a device or a pipe is no text file.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use serde_json::{Value, json};

use super::rpc::{INTERNAL_ERROR, INVALID_PARAMS, RpcError};
use crate::limits::FILE_BYTES_MAX;

/// A session's directory.
#[derive(Debug)]
pub(crate) struct Workspace {
    path: PathBuf,
    dir: OwnedFd,
}

impl Workspace {
    /// Opens `path`; it stays the same directory, whatever becomes of its name. If `exact`, no link
    /// is followed on the way.
    pub(crate) fn open(path: &Path, exact: bool) -> io::Result<Self> {
        let path = match exact {
            true => path.to_owned(),
            false => path.canonicalize()?,
        };
        if !path.is_absolute() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not an absolute path",
            ));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let dir = openat2(CWD, &path, flags, Mode::empty(), resolve)?;
        Ok(Self { path, dir })
    }

    /// Another name of it, which stays with the descriptor, for a child of this process.
    pub(crate) fn door(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.dir.as_raw_fd()).into()
    }

    /// Its absolute path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a directory in it, or itself.
    pub(crate) fn directory(&self, path: Option<&str>) -> Result<OwnedFd, RpcError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match path {
            None => self.dir.try_clone().map_err(|error| failed(&error)),
            Some(path) => self.beneath(path, flags),
        }
    }

    fn beneath(&self, path: &str, flags: OFlags) -> Result<OwnedFd, RpcError> {
        let inside = Path::new(path).strip_prefix(&self.path);
        let inside = inside.map_err(|_| outside())?;
        let inside = match inside.as_os_str().is_empty() {
            true => Path::new("."),
            false => inside,
        };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::from_raw_mode(0o644),
            false => Mode::empty(),
        };
        openat2(&self.dir, inside, flags, mode, resolve).map_err(|errno| match errno {
            Errno::XDEV | Errno::LOOP => outside(),
            errno => failed(&errno.into()),
        })
    }

    fn file(&self, path: &str, flags: OFlags) -> Result<File, RpcError> {
        // Without waiting for a writer, should it be a pipe.
        let file = File::from(self.beneath(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        let kind = file.metadata().map_err(|error| failed(&error))?;
        match kind.is_file() {
            true => Ok(file),
            false => Err(RpcError::new(INVALID_PARAMS, "not a regular file")),
        }
    }

    /// `fs/read_text_file`: a file, or `limit` lines of it from `line` (counted from 1).
    pub(crate) fn read(&self, params: &Value) -> Result<Value, RpcError> {
        let file = self.file(path_of(params)?, OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| failed(&error))?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(too_large());
        }
        let text = String::from_utf8_lossy(&bytes);
        let number = |key: &str| params.get(key).and_then(Value::as_u64);
        let number = |key: &str| number(key).and_then(|number| usize::try_from(number).ok());
        let content = match (number("line"), number("limit")) {
            (None, None) => text.into_owned(),
            (line, limit) => {
                let lines = text.split_inclusive('\n');
                let lines = lines.skip(line.unwrap_or(1).saturating_sub(1));
                lines.take(limit.unwrap_or(usize::MAX)).collect()
            }
        };
        Ok(json!({"content": content}))
    }

    /// `fs/write_text_file`: replaces what is in a file, or makes it.
    pub(crate) fn write(&self, params: &Value) -> Result<Value, RpcError> {
        let content = params.get("content").and_then(Value::as_str);
        let content = content.ok_or_else(|| RpcError::new(INVALID_PARAMS, "no content"))?;
        if content.len() as u64 > FILE_BYTES_MAX {
            return Err(too_large());
        }
        let mut file = self.file(path_of(params)?, OFlags::WRONLY | OFlags::CREATE)?;
        file.set_len(0)
            .and_then(|()| file.write_all(content.as_bytes()))
            .map_err(|error| failed(&error))?;
        Ok(json!({}))
    }
}

fn path_of(params: &Value) -> Result<&str, RpcError> {
    let path = params.get("path").and_then(Value::as_str);
    path.ok_or_else(|| RpcError::new(INVALID_PARAMS, "no path"))
}

fn outside() -> RpcError {
    let message = "not beneath the session's directory, or by way of a link";
    RpcError::new(INVALID_PARAMS, message)
}

fn too_large() -> RpcError {
    let message = format!("more than {FILE_BYTES_MAX} bytes");
    RpcError::new(INVALID_PARAMS, message)
}

fn failed(error: &io::Error) -> RpcError {
    RpcError::new(INTERNAL_ERROR, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> (Self, Workspace) {
            let name = format!("keel-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join("inside/sub")).expect("a directory");
            fs::write(path.join("secret"), "secret").expect("a file");
            let workspace = Workspace::open(&path.join("inside"), false).expect("it is there");
            (Self(path.canonicalize().expect("it is there")), workspace)
        }

        fn inside(&self, path: &str) -> String {
            format!("{}/inside/{path}", self.0.display())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_beneath_the_directory_are_written_and_read() {
        let (place, workspace) = Place::new("beneath");
        let path = place.inside("sub/a.txt");
        let content = "one\ntwo\nthree\n";
        for content in ["longer than what follows, to be cut\n", content] {
            workspace
                .write(&json!({"path": path, "content": content}))
                .expect("written");
        }
        let read = |params: Value| workspace.read(&params).expect("read")["content"].clone();
        assert_eq!(read(json!({"path": path})), content);
        assert_eq!(read(json!({"path": path, "line": 2, "limit": 1})), "two\n");
        assert_eq!(read(json!({"path": path, "line": 3})), "three\n");
        assert_eq!(read(json!({"path": path, "line": 9})), "");
    }

    #[test]
    fn nothing_leads_out_of_the_directory_a57() {
        let (place, workspace) = Place::new("outside");
        symlink(place.0.join("secret"), place.inside("link")).expect("a link");
        symlink(&place.0, place.inside("up")).expect("a link");
        symlink("/proc/self/cwd", place.inside("magic")).expect("a link");
        let ways = [
            place.0.join("secret").display().to_string(),
            place.inside("../secret"),
            place.inside("sub/../../secret"),
            place.inside("link"),
            place.inside("up/secret"),
            place.inside("magic/Cargo.toml"),
            "/etc/passwd".to_owned(),
            "secret".to_owned(),
            "../secret".to_owned(),
            "/proc/self/environ".to_owned(),
            String::new(),
        ];
        for path in ways {
            let read = workspace.read(&json!({"path": path}));
            assert_eq!(read.unwrap_err().code, INVALID_PARAMS, "{path}");
            let written = workspace.write(&json!({"path": path, "content": "mine"}));
            assert_eq!(written.unwrap_err().code, INVALID_PARAMS, "{path}");
            assert!(workspace.directory(Some(&path)).is_err(), "{path}");
        }
        let secret = fs::read_to_string(place.0.join("secret")).expect("it is there");
        assert_eq!(secret, "secret");
    }

    #[test]
    fn an_exact_directory_is_not_reached_by_a_link_a57() {
        let (place, _) = Place::new("exact");
        symlink(place.0.join("inside"), place.0.join("link")).expect("a link");
        let open = |path: &str, exact| Workspace::open(&place.0.join(path), exact);
        assert!(open("inside/sub", true).is_ok());
        assert!(open("link/sub", false).is_ok());
        assert!(open("link/sub", true).is_err());
        assert!(Workspace::open(Path::new("inside"), true).is_err());
    }

    #[test]
    fn a_link_that_is_put_in_the_way_is_not_followed_a57() {
        let (place, workspace) = Place::new("swap");
        let path = place.inside("sub/file");
        workspace
            .write(&json!({"path": path, "content": "mine"}))
            .expect("written");
        fs::rename(place.inside("sub"), place.inside("old")).expect("moved");
        symlink(&place.0, place.inside("sub")).expect("a link");
        fs::write(place.0.join("file"), "theirs").expect("a file");
        assert!(workspace.read(&json!({"path": path})).is_err());
        assert!(
            workspace
                .write(&json!({"path": path, "content": "mine"}))
                .is_err()
        );
        let theirs = fs::read_to_string(place.0.join("file")).expect("it is there");
        assert_eq!(theirs, "theirs");
    }

    #[test]
    fn what_is_no_text_file_or_too_large_is_refused() {
        let (place, workspace) = Place::new("kinds");
        let size = usize::try_from(FILE_BYTES_MAX).expect("it fits") + 1;
        fs::write(place.inside("large"), "x".repeat(size)).expect("a file");
        let fifo = std::process::Command::new("mkfifo")
            .arg(place.inside("fifo"))
            .status();
        assert!(fifo.expect("mkfifo is there").success());
        for name in ["large", "fifo", "sub", "absent"] {
            let read = workspace.read(&json!({"path": place.inside(name)}));
            assert!(read.is_err(), "{name}");
        }
        let long = json!({"path": place.inside("new"), "content": "x".repeat(size)});
        assert!(workspace.write(&long).is_err());
        assert!(!Path::new(&place.inside("new")).exists());
    }
}
