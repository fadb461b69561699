//! Programs that an agent runs through us, in the session's directory.
//!
//! Each is a tree of its own, marked and limited as the agent's is, and dies with it. There is no
//! shell: a command is a program and its arguments.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::AsRawFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::{
    net::unix::pipe,
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
};

use super::{
    files::Workspace,
    rpc::{INTERNAL_ERROR, INVALID_PARAMS, RpcError},
};
use crate::{
    Exit,
    limits::{TERMINAL_BYTES_MAX, TERMINALS_MAX},
    process::{self, spawn::Spawned, spawn::spawn},
};

/// The end of what a program has written.
#[derive(Debug)]
struct Screen {
    kept: VecDeque<u8>,
    bytes_max: usize,
    truncated: bool,
}

impl Screen {
    fn push(&mut self, bytes: &[u8]) {
        self.kept.extend(bytes);
        let over = self.kept.len().saturating_sub(self.bytes_max);
        self.truncated |= over > 0;
        self.kept.drain(..over);
    }

    fn text(&self) -> String {
        let bytes: Vec<u8> = self.kept.iter().copied().collect();
        // A character that was cut at the beginning is not there at all.
        let tail = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
        let from = bytes.iter().take(3).take_while(tail).count();
        let from = if self.truncated { from } else { 0 };
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

#[derive(Debug)]
struct Terminal {
    screen: Arc<Mutex<Screen>>,
    exit: watch::Receiver<Option<Option<Exit>>>,
    kill: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Its tree is felled with its task.
        self.task.abort();
    }
}

/// The terminals of one agent.
#[derive(Debug)]
pub(crate) struct Terminals {
    config: process::Config,
    run: String,
    open: BTreeMap<String, Terminal>,
    made: u64,
}

impl Terminals {
    /// None so far; programs are run as `config` says, and marked after `run`.
    pub(crate) const fn new(config: process::Config, run: String) -> Self {
        let open = BTreeMap::new();
        Self {
            config,
            run,
            open,
            made: 0,
        }
    }

    /// `terminal/create`, up to the start of the program.
    pub(crate) fn prepare(
        &mut self,
        params: &Value,
        workspace: &Workspace,
    ) -> Result<Prepared, RpcError> {
        let text = |key: &str| params.get(key).and_then(Value::as_str);
        let invalid = |message| RpcError::new(INVALID_PARAMS, message);
        if self.open.len() >= TERMINALS_MAX {
            return Err(invalid("too many terminals; release one"));
        }
        let command = text("command").filter(|command| !command.is_empty());
        let command = command.ok_or_else(|| invalid("no command"))?;
        let args = params.get("args").and_then(Value::as_array);
        let args = args.into_iter().flatten();
        let args: Option<Vec<String>> = args.map(|arg| arg.as_str().map(str::to_owned)).collect();
        let env = params.get("env").and_then(Value::as_array);
        let env = env.into_iter().flatten().filter_map(|variable| {
            let part = |key: &str| variable.get(key)?.as_str().map(str::to_owned);
            let name = part("name").filter(|name| !name.is_empty() && !name.contains(['=', '\0']));
            Some((name?, part("value").filter(|value| !value.contains('\0'))?))
        });
        let dir = workspace.directory(text("cwd"))?;
        let mut config = self.config.clone();
        config.program = PathBuf::from(command);
        config.args = args.ok_or_else(|| invalid("an argument that is no text"))?;
        config.env.set.extend(env);
        // By its descriptor, which the child still has when it goes there: no name can be swapped.
        config.cwd = Some(format!("/proc/self/fd/{}", dir.as_raw_fd()).into());
        self.made += 1;
        let limit = params.get("outputByteLimit").and_then(Value::as_u64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(Prepared {
            id: format!("term-{}", self.made),
            run: format!("{}-term-{}", self.run, self.made),
            bytes_max: limit.unwrap_or(TERMINAL_BYTES_MAX).min(TERMINAL_BYTES_MAX),
            config,
            dir,
        })
    }

    /// Keeps a terminal that was started.
    pub(crate) fn keep(&mut self, Started { id, terminal }: Started) {
        self.open.insert(id, terminal);
    }

    fn find(&self, params: &Value) -> Result<(&str, &Terminal), RpcError> {
        let id = params.get("terminalId").and_then(Value::as_str);
        let found = id.and_then(|id| self.open.get_key_value(id));
        found
            .map(|(id, terminal)| (id.as_str(), terminal))
            .ok_or_else(|| RpcError::new(INVALID_PARAMS, "no such terminal"))
    }

    /// `terminal/output`.
    pub(crate) fn output(&self, params: &Value) -> Result<Value, RpcError> {
        let (_, terminal) = self.find(params)?;
        let screen = lock(&terminal.screen);
        let exit = *terminal.exit.borrow();
        Ok(json!({
            "output": screen.text(),
            "truncated": screen.truncated,
            "exitStatus": exit.map(status),
        }))
    }

    /// `terminal/kill`.
    pub(crate) fn kill(&self, params: &Value) -> Result<Value, RpcError> {
        self.find(params)?.1.kill.notify_one();
        Ok(json!({}))
    }

    /// `terminal/release`.
    pub(crate) fn release(&mut self, params: &Value) -> Result<Value, RpcError> {
        let id = self.find(params)?.0.to_owned();
        self.open.remove(&id);
        Ok(json!({}))
    }

    /// `terminal/wait_for_exit`, once it has.
    pub(crate) fn exit(
        &self,
        params: &Value,
    ) -> Result<watch::Receiver<Option<Option<Exit>>>, RpcError> {
        Ok(self.find(params)?.1.exit.clone())
    }

    /// Ends all of them, and waits until they have.
    pub(crate) async fn close(&mut self) {
        for (_, mut terminal) in std::mem::take(&mut self.open) {
            terminal.kill.notify_one();
            let _ = (&mut terminal.task).await;
        }
    }
}

/// A program that is about to be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    id: String,
    run: String,
    bytes_max: usize,
    config: process::Config,
    /// Open until the program is there.
    dir: std::os::fd::OwnedFd,
}

/// A terminal whose program runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) id: String,
    terminal: Terminal,
}

impl Prepared {
    /// Starts it.
    pub(crate) async fn start(self) -> Result<Started, RpcError> {
        let spawned = spawn(&self.config, self.run).await;
        drop(self.dir);
        let spawned =
            spawned.map_err(|failure| RpcError::new(INTERNAL_ERROR, failure.to_string()))?;
        let screen = Arc::new(Mutex::new(Screen {
            kept: VecDeque::new(),
            bytes_max: self.bytes_max,
            truncated: false,
        }));
        let kill = Arc::new(Notify::new());
        let (told, exit) = watch::channel(None);
        let task = tokio::spawn(attend(
            spawned,
            Arc::clone(&screen),
            Arc::clone(&kill),
            told,
        ));
        Ok(Started {
            id: self.id,
            terminal: Terminal {
                screen,
                exit,
                kill,
                task,
            },
        })
    }
}

/// How a program ended, in the protocol's words.
pub(crate) fn status(exit: Option<Exit>) -> Value {
    match exit {
        Some(Exit::Code(code)) => json!({"exitCode": code, "signal": null}),
        Some(Exit::Signal(signal)) => json!({"exitCode": null, "signal": signal.to_string()}),
        None => json!({"exitCode": null, "signal": null}),
    }
}

fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    // Bytes are valid whoever panicked.
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn attend(
    spawned: Spawned,
    screen: Arc<Mutex<Screen>>,
    kill: Arc<Notify>,
    told: watch::Sender<Option<Option<Exit>>>,
) {
    let Spawned {
        tree,
        ended,
        stdin,
        stdout,
        stderr,
        ..
    } = spawned;
    // Nobody writes to it, and who reads it must see that.
    drop(stdin);
    let (mut out, mut err) = (Some(stdout), Some(stderr));
    loop {
        tokio::select! {
            () = kill.notified() => break,
            _ = ended.readable() => break,
            () = read(&mut out, &screen), if out.is_some() => {}
            () = read(&mut err, &screen), if err.is_some() => {}
        }
    }
    // It fails only if the runtime is going down, and then the tree's drop has felled it.
    let felled = spawn_blocking(|| tree.fell()).await.unwrap_or_default();
    for pipe in [out, err].into_iter().flatten() {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(bytes @ 1..) = pipe.try_read(&mut chunk) {
            lock(&screen).push(&chunk[..bytes]);
        }
    }
    told.send_replace(Some(felled.exit));
}

async fn read(pipe: &mut Option<pipe::Receiver>, screen: &Mutex<Screen>) {
    let Some(open) = pipe else { return };
    let mut chunk = [0; 4096];
    let end = match open.readable().await {
        Ok(()) => match open.try_read(&mut chunk) {
            Ok(0) => true,
            Ok(bytes) => {
                lock(screen).push(&chunk[..bytes]);
                false
            }
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        },
        Err(_) => true,
    };
    if end {
        *pipe = None;
    }
}
