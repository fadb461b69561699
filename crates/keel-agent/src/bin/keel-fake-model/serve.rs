//! Connections: each request gets what it asks for.

use std::{io, rc::Rc};

use serde_json::{Value, json};
use tokio::{io::BufReader, net::TcpStream};

use crate::{
    Server,
    dialect::{Dialect, Speaker},
    http::{self, Answer, Request},
    mode::Mode,
    prompt::Asked,
    refuse,
    speech::{self, Words},
    stream::{self, Finish},
};

pub(crate) async fn connection(mut stream: TcpStream, server: Rc<Server>) {
    // A client that leaves is no fault.
    let _ = stream.set_nodelay(true);
    let reset = serve(&mut stream, &server).await.unwrap_or(false);
    if reset {
        let _ = stream.set_zero_linger();
    }
}

/// Serves until the client leaves or an answer ends the connection; `true` if it ends by a reset.
async fn serve(stream: &mut TcpStream, server: &Server) -> io::Result<bool> {
    let (reader, mut to) = stream.split();
    let mut from = BufReader::new(reader);
    loop {
        let Some(request) = http::read(&mut from, &mut to).await? else {
            return Ok(false);
        };
        let mut open = Dialect::of(&request.path).map(|_| Open::new(server));
        let mut answer = Answer { to: &mut to };
        let finish = tokio::select! {
            biased;
            finish = answer_to(&request, &mut answer, server) => finish?,
            () = left(from.get_mut()) => return Ok(false),
        };
        if let Some(open) = &mut open {
            open.aborted = false;
        }
        drop(open);
        match finish {
            Finish::KeepAlive => {}
            Finish::Close => return Ok(false),
            Finish::Reset => return Ok(true),
        }
    }
}

/// Counts an answer as over, whichever way it ends.
struct Open<'a> {
    server: &'a Server,
    aborted: bool,
}

impl<'a> Open<'a> {
    fn new(server: &'a Server) -> Self {
        server.counts.opened();
        let aborted = true;
        Self { server, aborted }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.server.counts.closed(self.aborted);
    }
}

/// Resolves when the client is gone.
async fn left(from: &mut tokio::net::tcp::ReadHalf<'_>) {
    let mut one = [0];
    match from.peek(&mut one).await {
        Ok(0) | Err(_) => {}
        // It has asked for more already.
        Ok(_) => std::future::pending().await,
    }
}

async fn answer_to(
    request: &Request,
    answer: &mut Answer<'_, '_>,
    server: &Server,
) -> io::Result<Finish> {
    let path = request.path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/counts") => answer.json(200, &server.counts.as_json()).await?,
        ("GET", "/seen") => answer.json(200, &server.counts.seen()).await?,
        ("POST", "/reset") => {
            server.counts.reset();
            answer.json(200, &json!({})).await?;
        }
        (method, path) => {
            server.counts.see(request);
            return match (method, Dialect::of(path)) {
                ("POST", Some(dialect)) => model(request, dialect, answer, server).await,
                ("POST", None) if path.ends_with("/count_tokens") => {
                    answer.json(200, &json!({"input_tokens": 11})).await?;
                    Ok(Finish::KeepAlive)
                }
                ("GET" | "HEAD", None) => models(request, path, answer, server).await,
                _ => {
                    answer
                        .json(404, &json!({"error": {"message": "no such route"}}))
                        .await?;
                    Ok(Finish::KeepAlive)
                }
            };
        }
    }
    Ok(Finish::KeepAlive)
}

/// The key that came with a request, however its dialect carries it.
fn key_of(request: &Request) -> &str {
    let bearer = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    let others = ["x-api-key", "x-goog-api-key"];
    let other = || others.iter().find_map(|name| request.header(name));
    bearer.or_else(other).unwrap_or_default()
}

fn is_let_in(request: &Request, server: &Server) -> bool {
    server
        .key
        .as_deref()
        .is_none_or(|key| key == key_of(request))
}

async fn models(
    request: &Request,
    path: &str,
    answer: &mut Answer<'_, '_>,
    server: &Server,
) -> io::Result<Finish> {
    if !is_let_in(request, server) {
        let body = refuse::error(Dialect::Chat, 401, "Incorrect API key provided.");
        answer.json(401, &body).await?;
    } else if path.ends_with("/models") {
        let model = json!({"id": "fake-model", "object": "model", "created": 1_700_000_000, "owned_by": "nobody"});
        answer
            .json(200, &json!({"object": "list", "data": [model]}))
            .await?;
    } else {
        answer
            .json(404, &json!({"error": {"message": "no such route"}}))
            .await?;
    }
    Ok(Finish::KeepAlive)
}

async fn model(
    request: &Request,
    dialect: Dialect,
    answer: &mut Answer<'_, '_>,
    server: &Server,
) -> io::Result<Finish> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let asked = Asked::read(dialect, &request.path, &body);
    let call = server.counts.call(&asked.prompt);
    let in_file = || {
        let path = server.mode_file.as_ref()?;
        std::fs::read_to_string(path).ok()
    };
    let line = request.header("x-fake").map(str::to_owned);
    let line = line.or_else(|| asked.prompt.strip_prefix('!').map(str::to_owned));
    let mode = Mode::read(&line.or_else(in_file).unwrap_or_default()).at_call(call);

    let key = key_of(request);
    if !is_let_in(request, server) {
        let body = refuse::error(dialect, 401, "Incorrect API key provided.");
        answer.json(401, &body).await?;
        return Ok(Finish::KeepAlive);
    }
    if refuse::refuse(answer, server, &mode, &asked, key).await? {
        return Ok(Finish::KeepAlive);
    }
    let mut speaker = Speaker::new(dialect, &asked.model, server.counts.answer());
    if asked.streamed {
        speaker.with_usage = asked.usage;
        return stream::stream(answer, &mode, &asked, speaker).await;
    }
    let calls = match stream::calls_tools(&mode, &asked) {
        true => speech::calls(&mode, &asked),
        false => Vec::new(),
    };
    let text: String = Words::of(&mode, &asked).take(1_000).collect();
    answer.json(200, &speaker.whole(&text, &calls)).await?;
    Ok(Finish::KeepAlive)
}
