//! A model server on loopback that behaves well or badly, as each request says. For tests, drills and
//! benchmarks; no model is in it.
//!
//! `keel-fake-model [--port N] [--mode-file FILE] [--key KEY]` prints `http://127.0.0.1:PORT` and
//! serves until its stdin is closed (or it gets SIGTERM). With `--key`, a request without that key
//! is a 401.
//!
//! | route | dialect |
//! |---|---|
//! | `POST …/chat/completions` | OpenAI Chat Completions, streamed or whole |
//! | `POST …/responses` | OpenAI Responses, likewise |
//! | `POST …/messages` | Anthropic Messages, likewise; `…/count_tokens` too |
//! | `POST …/models/M:streamGenerateContent`, `…:generateContent` | Gemini |
//! | `GET …/models` | `fake-model`, as OpenAI lists it |
//! | `GET /counts` | `{"total", "open", "aborted", "prompts": {PROMPT: n}, "paths": {PATH: n}}` |
//! | `GET /seen` | the last requests: `[{"method", "path", "headers", "body"}]` |
//! | `POST /reset` | forgets both |
//!
//! What a request gets is said by the header `x-fake`, else by `!` at the start of the last thing
//! that the user said, else by the mode file, read anew for each request; else it is `ok`. The words
//! are in [`mode::Mode`] (the grammar) and [`serve`] (each mode).

mod count;
mod dialect;
mod http;
mod mode;
mod prompt;
mod refuse;
mod serve;
mod speech;
mod stream;

use std::{io::Write as _, net::Ipv4Addr, path::PathBuf, rc::Rc};

use tokio::{io::AsyncReadExt as _, net::TcpListener, task::LocalSet};

/// What all connections share.
struct Server {
    counts: count::Counts,
    mode_file: Option<PathBuf>,
    key: Option<String>,
    port: u16,
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let port = value("--port").and_then(|port| port.parse().ok());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let port = listener.local_addr()?.port();
        let server = Rc::new(Server {
            counts: count::Counts::default(),
            mode_file: value("--mode-file").map(PathBuf::from),
            key: value("--key"),
            port,
        });
        let mut out = std::io::stdout();
        writeln!(out, "http://127.0.0.1:{port}")?;
        out.flush()?;
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                tokio::select! {
                    () = accept(listener, server) => {}
                    () = stdin_closed() => {}
                }
            })
            .await;
        Ok::<(), std::io::Error>(())
    })?;
    // A thread may still read stdin.
    runtime.shutdown_background();
    Ok(())
}

async fn accept(listener: TcpListener, server: Rc<Server>) {
    loop {
        // Out of descriptors, say: the next may fit again.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        tokio::task::spawn_local(serve::connection(stream, Rc::clone(&server)));
    }
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut some = [0; 256];
    while !matches!(stdin.read(&mut some).await, Ok(0) | Err(_)) {}
}
