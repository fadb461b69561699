//! Answers that are no stream, and whether asking again can help.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION},
};
use serde_json::Value;

use super::{Endpoint, later, said::ErrorObject};
use crate::{
    Failure,
    limits::{ERROR_BODY_BYTES_MAX, ERROR_BODY_MAX, REPORTED_BYTES_MAX},
};

/// A failure, and whether asking again can help.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) failure: Failure,
    pub(crate) again: Again,
}

/// Whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It cannot.
    Never,
    /// It may, after this if the endpoint says so.
    After(Option<Duration>),
    /// It may, once.
    Once,
    /// It will, when the model is loaded: that is no failed try.
    WhenLoaded,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let again = Again::Never;
        Self { failure, again }
    }
}

/// What is wrong with an answer's head: `None` if a stream follows.
pub(crate) async fn refused(endpoint: &Endpoint, response: Response) -> Result<Response, Failed> {
    let status = response.status();
    if status.is_redirection() {
        let to = redirect_of(endpoint, response.headers());
        return Err(Failure::Redirect { to }.into());
    }
    if !status.is_success() {
        return Err(bad_status(endpoint, response).await);
    }
    let text = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let encoding = text(CONTENT_ENCODING).filter(|encoding| *encoding != "identity");
    let kind = text(CONTENT_TYPE).unwrap_or("nothing");
    let is_stream = kind
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("text/event-stream");
    if is_stream && encoding.is_none() {
        return Ok(response);
    }
    let mut content_type = tidy(endpoint, encoding.unwrap_or(kind));
    if encoding.is_none() {
        let body = read_body(response).await;
        if let Some(words) = words_of(&body) {
            content_type = format!("{content_type}: {}", tidy(endpoint, &words));
        }
    }
    Err(Failure::NotSse { content_type }.into())
}

/// Where a redirect points to, without anything that could be a secret.
fn redirect_of(endpoint: &Endpoint, headers: &HeaderMap) -> String {
    let location = headers.get(LOCATION).and_then(|to| to.to_str().ok());
    let to = location.unwrap_or("nowhere");
    let to = to.split(['?', '#']).next().unwrap_or_default();
    tidy(endpoint, to)
}

async fn bad_status(endpoint: &Endpoint, response: Response) -> Failed {
    let status = response.status().as_u16();
    let asked = later::asked_for(response.headers(), SystemTime::now());
    let body = read_body(response).await;
    let object = error_of(&body);
    let kind = object.as_ref().map(ErrorObject::kind).unwrap_or_default();
    let message = message(endpoint, &body);
    let lower = message.to_ascii_lowercase();
    let memory = ["out of memory", "more system memory", "not enough memory"];
    let out_of_memory = memory.iter().any(|words| lower.contains(words));

    let again = match status {
        // A quota that is used up does not come back by waiting.
        429 if kind == "insufficient_quota" => Again::Never,
        503 if endpoint.config.local && lower.contains("loading model") => Again::WhenLoaded,
        500.. if out_of_memory => Again::Never,
        408 | 429 | 500 | 502 | 503 | 504 | 520..=524 | 529 => Again::After(asked),
        _ => Again::Never,
    };
    let advice = match status {
        _ if !endpoint.config.local => None,
        404 if lower.contains("model") || lower.contains("not found") => Some(
            "the server does not have this model: fetch it there (Ollama: `ollama pull`), or name \
             one that `evenkeel doctor` lists",
        ),
        500.. if out_of_memory => Some(
            "the model does not fit in the memory of that machine: take a smaller model, a shorter \
             context, or stop what else is loaded",
        ),
        _ => None,
    };
    let message = match advice {
        Some(advice) => format!("{message} ({advice})"),
        None => message,
    };
    let clamped = asked.map(|asked| asked.min(endpoint.config.clocks.retry_wait));
    let failure = Failure::Http {
        status,
        message,
        retry_after_ms: clamped.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX)),
    };
    Failed { failure, again }
}

/// The first of a body, as far as it comes in time.
pub(crate) async fn read_body(mut response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= ERROR_BODY_BYTES_MAX {
                break;
            }
        }
    };
    // What has come by then is enough.
    let _ = tokio::time::timeout(ERROR_BODY_MAX, read).await;
    body.truncate(ERROR_BODY_BYTES_MAX);
    String::from_utf8_lossy(&body).into_owned()
}

fn error_of(body: &str) -> Option<ErrorObject> {
    let body: Value = serde_json::from_str(body).ok()?;
    // Some wrap it in a list.
    let body = body.get(0).unwrap_or(&body);
    match body.get("error") {
        Some(error) => Some(ErrorObject::read(error.clone())),
        // FastAPI's, as vLLM and others say it.
        None => {
            let words = body.get("detail").or_else(|| body.get("message"));
            words.map(|words| ErrorObject::read(words.clone()))
        }
    }
}

/// The words of a body that says what is wrong.
fn words_of(body: &str) -> Option<String> {
    if let Some(object) = error_of(body) {
        return object.message().map(str::to_owned);
    }
    let body = body.trim();
    let title = |body: &str| {
        let from = body.find("<title>")? + "<title>".len();
        let to = body[from..].find("</title>")?;
        Some(body[from..from + to].to_owned())
    };
    let is_page = body.starts_with('<');
    let words = if is_page {
        title(body)
    } else {
        Some(body.to_owned())
    };
    words.filter(|words| !words.is_empty())
}

/// What a body says is wrong, as it may be told.
pub(crate) fn message(endpoint: &Endpoint, body: &str) -> String {
    let words = words_of(body).unwrap_or_else(|| "without a word why".to_owned());
    tidy(endpoint, &words)
}

/// `words` without secrets and control characters, on one line, cut.
pub(crate) fn tidy(endpoint: &Endpoint, words: &str) -> String {
    // A secret must not be cut before it is known for one.
    let words = endpoint.redactor.redact(words);
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut words: String = words.chars().map(plain).take(REPORTED_BYTES_MAX).collect();
    words.truncate(words.floor_char_boundary(REPORTED_BYTES_MAX));
    words
}
