//! One agent process and the pipes to it: bytes in, messages out.
//!
//! It reads, writes, serves files and terminals, and sees the process end, all in one place that
//! may be left at any time and come back to; it decides nothing. It never keeps more than one chunk
//! and one line. Dropping it kills everything that the process started.

use std::{
    collections::VecDeque,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::unix::AsyncFd,
    net::unix::pipe,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};

use super::{
    choice::Choices,
    config::Config,
    files::Workspace,
    rpc::{self, Line, Message, RpcError},
    services::Services,
};
use crate::{
    Exit, Failure,
    process::{
        redact::Redactor,
        spawn::{Spawned, spawn},
        stderr::Tail,
        tree::{Felled, Tree},
    },
};

const CHUNK_BYTES: usize = 64 * 1024;
/// How much may wait for the agent to read it before no more is done for it.
const OUTGOING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// What happened on a link.
#[derive(Debug)]
pub(crate) enum Heard {
    /// There is more in the inbox, or more was counted.
    Messages,
    /// It closed its output.
    StdoutClosed,
    /// The process has ended.
    Ended,
    /// It cannot go on.
    Failed(Failure),
}

/// What was counted since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) lines: u64,
    pub(crate) noise_lines: u64,
    pub(crate) repaired: bool,
}

/// What the agent can do, by its own word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) load: bool,
    pub(crate) resume: bool,
    /// Ways to log in: id and name.
    pub(crate) logins: Vec<(String, String)>,
}

/// An agent process and the pipes to it.
#[derive(Debug)]
pub(crate) struct Link {
    tree: Option<Tree>,
    ended: AsyncFd<OwnedFd>,
    stdin: Option<pipe::Sender>,
    outgoing: VecDeque<u8>,
    /// When it last took something of `outgoing`, or that was last empty.
    took_at: Instant,
    /// It is not read, so it need not read either.
    held_back: bool,
    stdout: Option<pipe::Receiver>,
    chunk: Vec<u8>,
    rest: Vec<u8>,
    inbox: VecDeque<Message>,
    stderr: Arc<Mutex<Tail>>,
    draining: JoinHandle<()>,
    pub(crate) redactor: Redactor,
    pub(crate) services: Services,
    last_id: u64,
    counts: Counts,
    noise_lines: u64,
    bounds: Bounds,
    pub(crate) pid: Option<u32>,
    pub(crate) abilities: Abilities,
    /// What it lets be chosen in that session.
    pub(crate) choices: Choices,
    /// The agent's own session that this process serves.
    pub(crate) session: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    line_bytes_max: usize,
    noise_lines_max: u64,
    stdin: Duration,
}

impl Link {
    /// Starts a process in `workspace`, marked as `run`.
    pub(crate) async fn open(
        config: &Config,
        workspace: Workspace,
        run: String,
    ) -> Result<Self, Failure> {
        let mut process = config.process.clone();
        process.cwd = Some(workspace.door());
        let services = Services::new(config, Arc::new(workspace), &run);
        let Spawned {
            tree,
            ended,
            stdin,
            stdout,
            stderr,
            env,
        } = spawn(&process, run).await?;
        let tail = Arc::new(Mutex::new(Tail::default()));
        let draining = tokio::spawn(drain(stderr, Arc::clone(&tail)));
        Ok(Self {
            pid: u32::try_from(tree.pid().as_raw_nonzero().get()).ok(),
            tree: Some(tree),
            ended,
            stdin: Some(stdin),
            outgoing: VecDeque::new(),
            took_at: Instant::now(),
            held_back: false,
            stdout: Some(stdout),
            chunk: vec![0; CHUNK_BYTES],
            rest: Vec::new(),
            inbox: VecDeque::new(),
            stderr: tail,
            draining,
            redactor: Redactor::new(&env),
            services,
            last_id: 0,
            counts: Counts::default(),
            noise_lines: 0,
            bounds: Bounds {
                line_bytes_max: process.line_bytes_max,
                noise_lines_max: process.noise_lines_max,
                stdin: process.clocks.stdin,
            },
            abilities: Abilities::default(),
            choices: Choices::default(),
            session: None,
        })
    }

    /// Asks the agent; the answer repeats the number.
    pub(crate) fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        let line = rpc::request(self.last_id, method, params);
        self.write(&line);
        self.last_id
    }

    /// Tells the agent.
    pub(crate) fn notify(&mut self, method: &str, params: &Value) {
        self.write(&rpc::notification(method, params));
    }

    /// Answers the agent.
    pub(crate) fn answer(&mut self, id: &Value, result: Result<Value, RpcError>) {
        self.write(&rpc::answer(id, result));
    }

    /// Serves what the agent wants of its directory.
    pub(crate) fn serve(&mut self, id: Value, method: &str, params: Value) {
        if let Some(line) = self.services.serve(id, method, params) {
            self.write(&line);
        }
    }

    fn write(&mut self, line: &str) {
        // One that has closed its stdin hears nothing any more, and is none the worse for it.
        if self.stdin.is_some() {
            if self.outgoing.is_empty() {
                self.took_at = Instant::now();
            }
            self.outgoing.extend(line.as_bytes());
        }
    }

    /// The next message that was read; none while the agent does not take what it is told.
    pub(crate) fn take(&mut self) -> Option<Message> {
        if self.is_clogged() {
            return None;
        }
        self.inbox.pop_front()
    }

    /// It lives, and has so much to read that it is not listened to until it does.
    fn is_clogged(&self) -> bool {
        self.tree.is_some() && self.outgoing.len() >= OUTGOING_BYTES_MAX
    }

    /// What was counted since the last look.
    pub(crate) fn counted(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Bytes of a line without an end.
    pub(crate) fn half_line(&self) -> u64 {
        self.rest.trim_ascii().len() as u64
    }

    /// Whether there is a process that may be talked to again.
    pub(crate) fn is_whole(&self) -> bool {
        let sane = self.noise_lines <= self.bounds.noise_lines_max;
        let lives = self
            .tree
            .as_ref()
            .is_some_and(|tree| !tree.leader_is_dead());
        sane && lives && self.stdout.is_some() && self.stdin.is_some()
    }

    /// A turn begins: its noise is counted anew.
    pub(crate) const fn begin(&mut self) {
        self.noise_lines = 0;
    }

    /// The end of what it wrote to stderr, redacted, and how much there was before it.
    pub(crate) fn stderr(&self) -> (String, u64) {
        let tail = self
            .stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let dropped = tail.dropped();
        (self.redactor.redact(&tail.into_text()), dropped)
    }

    /// What happens next. Without `read`, nothing is read, and time that the agent does not read
    /// either is not held against it. May be dropped and called again without losing anything.
    pub(crate) async fn next(&mut self, read: bool) -> Heard {
        if std::mem::replace(&mut self.held_back, !read) {
            self.took_at = Instant::now();
        }
        loop {
            let clogged = self.is_clogged();
            if read && !clogged && !self.inbox.is_empty() {
                return Heard::Messages;
            }
            let listening = read && !clogged && self.stdout.is_some();
            let overdue = (
                self.took_at + self.bounds.stdin,
                !self.outgoing.is_empty() && read,
            );
            tokio::select! {
                _ = self.ended.readable(), if self.tree.is_some() => return Heard::Ended,
                ready = readable(self.stdout.as_ref()), if listening => {
                    if let Some(heard) = self.read(ready) {
                        return heard;
                    }
                }
                ready = writable(self.stdin.as_ref()), if !self.outgoing.is_empty() => {
                    self.pump(ready);
                }
                line = self.services.next(), if !clogged => {
                    if let Some(line) = line {
                        self.write(&line);
                    }
                }
                () = sleep_until(overdue.0), if overdue.1 => {
                    let ms = u64::try_from(self.bounds.stdin.as_millis()).unwrap_or(u64::MAX);
                    return Heard::Failed(Failure::StdinStalled { ms });
                }
            }
        }
    }

    fn pump(&mut self, ready: io::Result<()>) {
        let Some(stdin) = &self.stdin else { return };
        let (bytes, _) = self.outgoing.as_slices();
        match ready.and_then(|()| stdin.try_write(bytes)) {
            Ok(written) => {
                self.outgoing.drain(..written);
                self.took_at = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => {
                self.stdin = None;
                self.outgoing.clear();
            }
        }
    }

    fn read(&mut self, ready: io::Result<()>) -> Option<Heard> {
        let stdout = self.stdout.as_ref()?;
        match ready.and_then(|()| stdout.try_read(&mut self.chunk)) {
            Ok(0) => {
                self.stdout = None;
                Some(Heard::StdoutClosed)
            }
            Ok(bytes) => Some(
                self.hear(bytes)
                    .map_or_else(Heard::Failed, |()| Heard::Messages),
            ),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => Some(Heard::Failed(Failure::Pipe {
                error: error.to_string(),
            })),
        }
    }

    /// Takes what of the chunk was filled apart into lines.
    fn hear(&mut self, bytes: usize) -> Result<(), Failure> {
        let chunk = std::mem::take(&mut self.chunk);
        let mut parts = chunk[..bytes].split(|byte| *byte == b'\n').peekable();
        let mut heard = Ok(());
        while let Some(part) = parts.next() {
            if self.rest.len() + part.len() > self.bounds.line_bytes_max {
                let bytes_max = self.bounds.line_bytes_max as u64;
                heard = Err(Failure::LineTooLong { bytes_max });
                break;
            }
            self.rest.extend_from_slice(part);
            if parts.peek().is_some() {
                self.hear_line();
            }
        }
        self.chunk = chunk;
        let lines = self.noise_lines;
        match lines > self.bounds.noise_lines_max {
            true => heard.and(Err(Failure::Garbage { lines })),
            false => heard,
        }
    }

    fn hear_line(&mut self) {
        self.counts.lines += 1;
        let mut line = std::mem::take(&mut self.rest);
        match rpc::read(&line) {
            Line::Message(message, repaired) => {
                self.counts.repaired |= repaired;
                self.inbox.push_back(message);
            }
            Line::Noise => {
                self.noise();
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let start = self.redactor.start_of(&line);
                    let bytes = line.len();
                    tracing::debug!(bytes, ?start, "a line that is not of the protocol");
                }
            }
            Line::Blank => {}
        }
        line.clear();
        self.rest = line;
    }

    /// Something was of the protocol's form, and makes no sense.
    pub(crate) const fn noise(&mut self) {
        self.counts.noise_lines += 1;
        self.noise_lines += 1;
    }

    /// Reads what is left in the pipe of a process that is dead.
    fn read_out(&mut self) {
        while let Some(stdout) = &self.stdout {
            match stdout.try_read(&mut self.chunk) {
                Ok(bytes @ 1..) => {
                    if self.hear(bytes).is_err() {
                        self.stdout = None;
                    }
                }
                Ok(0) | Err(_) => self.stdout = None,
            }
        }
        // A last line that is whole but for its end still counts; half a line does not.
        if matches!(rpc::read(&self.rest), Line::Message(..)) {
            self.hear_line();
        }
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) {
        if let Some(tree) = &self.tree {
            tree.terminate();
        }
    }

    /// Kills everything and waits until it is gone; then what was still in its pipe can be taken.
    pub(crate) async fn fell(&mut self) -> Felled {
        self.services.close().await;
        let felled = match self.tree.take() {
            // It fails only if the runtime is going down, and then the tree's drop has felled it.
            Some(tree) => spawn_blocking(|| tree.fell()).await.unwrap_or_default(),
            None => Felled::default(),
        };
        self.read_out();
        // All who could write are dead, so this is only what is left in the pipe.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.draining).await;
        felled
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.draining.abort();
    }
}

/// How a process ended, for logs.
pub(crate) fn exit_words(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!("exited with code {code}"),
        Some(Exit::Signal(signal)) => format!("was killed by signal {signal}"),
        None => "ended".to_owned(),
    }
}

async fn readable(pipe: Option<&pipe::Receiver>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.readable().await,
        None => std::future::pending().await,
    }
}

async fn writable(pipe: Option<&pipe::Sender>) -> io::Result<()> {
    match pipe {
        Some(pipe) => pipe.writable().await,
        None => std::future::pending().await,
    }
}

async fn drain(pipe: pipe::Receiver, tail: Arc<Mutex<Tail>>) {
    let mut chunk = vec![0; 16 * 1024];
    while pipe.readable().await.is_ok() {
        match pipe.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                tail.push(&chunk[..read]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[tokio::test]
    async fn one_that_asks_and_does_not_read_is_not_listened_to() {
        let mut process = process::Config::new("yes", "test-clogged".to_owned());
        let asks = r#"{"id":1,"method":"terminal/output","params":{}}"#;
        process.args.push(asks.to_owned());
        process.clocks.stdin = Duration::from_millis(500);
        let workspace = Workspace::open(&std::env::temp_dir(), false).expect("a directory");
        let opened = Link::open(&Config::new(process), workspace, "clogged".to_owned()).await;
        let mut link = opened.expect("it starts");
        let long = Value::String("x".repeat(64 * 1024));
        let failure = loop {
            match link.next(true).await {
                Heard::Messages => {}
                Heard::Failed(failure) => break failure,
                heard @ (Heard::StdoutClosed | Heard::Ended) => panic!("{heard:?}"),
            }
            while let Some(message) = link.take() {
                let Message::Request { id, .. } = message else {
                    panic!("it only asks: {message:?}");
                };
                link.answer(&id, Ok(long.clone()));
            }
            assert!(link.outgoing.len() < OUTGOING_BYTES_MAX + CHUNK_BYTES * 2);
        };
        assert_eq!(failure, Failure::StdinStalled { ms: 500 });
        link.fell().await;
    }
}
