//! What an agent may have us do: files and terminals, each off unless it was switched on.
//!
//! All of it goes on beside the turn, so that no file and no program holds the conversation up.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use super::{
    config::Config,
    files::Workspace,
    rpc::{self, INTERNAL_ERROR, METHOD_NOT_FOUND, RpcError},
    terminal::{self, Prepared, Started, Terminals},
};
use crate::limits::SERVICES_MAX;

type Answer = Result<Value, RpcError>;

/// Something that was asked for and is done.
#[derive(Debug)]
enum Done {
    Answer(Value, Answer),
    Started(Value, Result<Started, RpcError>),
}

/// What one agent may have done, and what is being done for it.
#[derive(Debug)]
pub(crate) struct Services {
    workspace: Arc<Workspace>,
    files: bool,
    terminals: Option<Terminals>,
    work: JoinSet<Done>,
}

impl Services {
    /// The services of an agent that lives in `workspace`, marked as `run`.
    pub(crate) fn new(config: &Config, workspace: Arc<Workspace>, run: &str) -> Self {
        let terminals = || Terminals::new(config.process.clone(), run.to_owned());
        Self {
            workspace,
            files: config.files,
            terminals: config.terminals.then(terminals),
            work: JoinSet::new(),
        }
    }

    /// What the agent is told that it may ask for.
    pub(crate) fn capabilities(&self) -> Value {
        json!({
            "fs": {"readTextFile": self.files, "writeTextFile": self.files},
            "terminal": self.terminals.is_some(),
        })
    }

    pub(crate) fn directory(&self) -> &Path {
        self.workspace.path()
    }

    /// Begins what a request asks for; its answer, if it is there at once.
    pub(crate) fn serve(&mut self, id: Value, method: &str, params: Value) -> Option<String> {
        let answer = self.begin(&id, method, params)?;
        Some(rpc::answer(&id, answer))
    }

    fn begin(&mut self, id: &Value, method: &str, params: Value) -> Option<Answer> {
        let unknown = || RpcError::new(METHOD_NOT_FOUND, "there is no such method");
        let is_file = matches!(method, "fs/read_text_file" | "fs/write_text_file");
        if !self.files && is_file {
            return Some(Err(unknown()));
        }
        // What is answered at once waits for nobody, and may be what makes room.
        let at_once = matches!(
            method,
            "terminal/output" | "terminal/kill" | "terminal/release"
        );
        if self.work.len() >= SERVICES_MAX && !at_once {
            let message = "too much at once; ask again later";
            return Some(Err(RpcError::new(INTERNAL_ERROR, message)));
        }
        let workspace = Arc::clone(&self.workspace);
        let id = id.clone();
        if is_file {
            let read = method == "fs/read_text_file";
            self.work.spawn(async move {
                let work = move || match read {
                    true => workspace.read(&params),
                    false => workspace.write(&params),
                };
                let broken = |_| Err(RpcError::new(INTERNAL_ERROR, "it did not work"));
                Done::Answer(id, spawn_blocking(work).await.unwrap_or_else(broken))
            });
            return None;
        }
        let Some(terminals) = &mut self.terminals else {
            return Some(Err(unknown()));
        };
        match method {
            "terminal/create" => match terminals.prepare(&params, &workspace) {
                Ok(prepared) => {
                    self.work.spawn(start(id, prepared));
                    None
                }
                Err(error) => Some(Err(error)),
            },
            "terminal/output" => Some(terminals.output(&params)),
            "terminal/kill" => Some(terminals.kill(&params)),
            "terminal/release" => Some(terminals.release(&params)),
            "terminal/wait_for_exit" => match terminals.exit(&params) {
                Ok(mut exit) => {
                    self.work.spawn(async move {
                        let exited = exit.wait_for(Option::is_some).await;
                        let exit = exited.ok().and_then(|exit| exit.flatten());
                        Done::Answer(id, Ok(terminal::status(exit)))
                    });
                    None
                }
                Err(error) => Some(Err(error)),
            },
            _ => Some(Err(unknown())),
        }
    }

    /// The line that answers what is done next; pending for ever while nothing is being done. May
    /// be dropped and called again without losing anything.
    pub(crate) async fn next(&mut self) -> Option<String> {
        let done = match self.work.join_next().await {
            Some(done) => done.ok()?,
            None => return std::future::pending().await,
        };
        Some(match done {
            Done::Answer(id, answer) => rpc::answer(&id, answer),
            Done::Started(id, Err(error)) => rpc::answer(&id, Err(error)),
            Done::Started(id, Ok(started)) => {
                let told = json!({"terminalId": started.id});
                if let Some(terminals) = &mut self.terminals {
                    terminals.keep(started);
                }
                rpc::answer(&id, Ok(told))
            }
        })
    }

    /// Ends all of it, and waits until it has.
    pub(crate) async fn close(&mut self) {
        self.work.shutdown().await;
        if let Some(terminals) = &mut self.terminals {
            terminals.close().await;
        }
    }
}

async fn start(id: Value, prepared: Prepared) -> Done {
    Done::Started(id, prepared.start().await)
}
