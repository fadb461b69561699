//! One call of an endpoint: a request, and the stream that answers it.

use std::{error::Error as _, time::Duration};

use reqwest::Response;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Endpoint, Reader,
    address::ResolveError,
    answer::Answer,
    refusal::{Again, Failed, refused, tidy},
    sse,
};
use crate::{
    Control, Failure, NetworkStage, Output, SilentStage, Sink, Stopped, limits::STREAM_END_MAX,
};

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Done { stop_reason: String },
    Cancelled,
    Failed(Failed),
}

/// A call under way.
pub(crate) struct Call<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) control: &'a mut Control,
    pub(crate) sink: &'a mut Sink,
    /// What it has said.
    pub(crate) answer: Answer,
}

/// What a step comes to, unless somebody cancels it.
macro_rules! unless_cancelled {
    ($call:expr, $step:expr) => {
        tokio::select! {
            biased;
            () = $call.control.cancelled() => return Ok(Ended::Cancelled),
            done = $step => done,
        }
    };
}

impl Call<'_> {
    /// Asks with `body` and tells the answer.
    pub(crate) async fn run(&mut self, body: Vec<u8>) -> Result<Ended, Stopped> {
        unless_cancelled!(self, self.sink.send(Output::ModelCall))?;
        let endpoint = self.endpoint;
        let clocks = endpoint.config.clocks;
        let url = endpoint.config.base_url.at(endpoint.dialect.path());
        let asked = endpoint.client.post(url).body(body).send();
        let first_by = Instant::now() + clocks.first_byte;
        let response = match unless_cancelled!(self, timeout_at(first_by, asked)) {
            Err(_) => {
                let failure = silent(SilentStage::FirstByte, clocks.first_byte);
                let again = Again::Once;
                return Ok(Ended::Failed(Failed { failure, again }));
            }
            Ok(Err(error)) => {
                let failure = network(endpoint, &error);
                let again = Again::After(None);
                return Ok(Ended::Failed(Failed { failure, again }));
            }
            Ok(Ok(response)) => response,
        };
        match unless_cancelled!(self, refused(endpoint, response)) {
            Ok(response) => self.read(response, first_by).await,
            Err(failed) => Ok(Ended::Failed(failed)),
        }
    }

    async fn read(&mut self, mut response: Response, first_by: Instant) -> Result<Ended, Stopped> {
        let endpoint = self.endpoint;
        let clocks = endpoint.config.clocks;
        let mut parser = sse::Parser::default();
        let mut reader = endpoint.dialect.reader();
        let mut events = Vec::new();
        let mut heard = false;
        let mut checked = false;
        loop {
            let patience = match (&self.answer.finish, heard) {
                (Some(_), _) => STREAM_END_MAX,
                (None, true) => clocks.idle,
                // The first event has the time of the first byte, if that is more.
                (None, false) => {
                    let left = first_by.saturating_duration_since(Instant::now());
                    left.max(clocks.idle)
                }
            };
            let piece = unless_cancelled!(self, timeout(patience, response.chunk()));
            let more = match piece {
                Err(_) if self.answer.finish.is_some() => false,
                Err(_) => {
                    let failure = silent(SilentStage::Idle, patience);
                    let again = Again::Once;
                    return Ok(Ended::Failed(Failed { failure, again }));
                }
                // The answer is complete, whatever became of the connection after it.
                Ok(Err(_)) if self.answer.finish.is_some() => false,
                Ok(Err(error)) => {
                    let failure = Failure::Cut {
                        bytes: self.answer.text_bytes,
                        error: tidy(endpoint, &innermost(&error)),
                    };
                    let again = Again::After(None);
                    return Ok(Ended::Failed(Failed { failure, again }));
                }
                Ok(Ok(Some(piece))) => {
                    if !std::mem::replace(&mut checked, true) && is_no_stream(&piece) {
                        let content_type = "text/event-stream, which it is not".to_owned();
                        return Ok(Ended::Failed(Failure::NotSse { content_type }.into()));
                    }
                    if let Err(error) = parser.feed(&piece, &mut events) {
                        // What was well-formed before counts.
                        let failed = self.tell(&mut reader, &mut events).await?;
                        return Ok(failed.unwrap_or_else(|| malformed(error)));
                    }
                    true
                }
                Ok(Ok(None)) => {
                    if let Err(error) = parser.finish(&mut events) {
                        return Ok(malformed(error));
                    }
                    false
                }
            };
            heard |= !events.is_empty();
            if let Some(ended) = self.tell(&mut reader, &mut events).await? {
                return Ok(ended);
            }
            if !more || self.answer.over {
                return self.end().await;
            }
        }
    }

    /// Tells what `events` say; `Some` if that ends the call.
    async fn tell(
        &mut self,
        reader: &mut Reader,
        events: &mut Vec<sse::Event>,
    ) -> Result<Option<Ended>, Stopped> {
        self.sink.count_lines(events.len() as u64)?;
        let mut said = Vec::new();
        let mut wrong = None;
        for event in events.drain(..) {
            if let Err(failure) = reader.read(&event, &mut said) {
                wrong = Some(Failed::from(failure));
                break;
            }
        }
        let mut outputs = Vec::new();
        if let Err(failure) = self.answer.take(self.endpoint, said, &mut outputs) {
            let again = again_of(&failure);
            wrong = Some(Failed { failure, again });
        }
        if self.say(outputs).await? {
            return Ok(Some(Ended::Cancelled));
        }
        Ok(wrong.map(Ended::Failed))
    }

    async fn end(&mut self) -> Result<Ended, Stopped> {
        let mut outputs = Vec::new();
        let ended = self.answer.end(&mut outputs);
        if self.say(outputs).await? {
            return Ok(Ended::Cancelled);
        }
        Ok(match ended {
            Ok(stop_reason) => Ended::Done { stop_reason },
            Err(failure @ Failure::NoFinish) => {
                let again = Again::After(None);
                Ended::Failed(Failed { failure, again })
            }
            Err(failure) => Ended::Failed(failure.into()),
        })
    }

    /// Says all of it; `true` if somebody cancels meanwhile.
    async fn say(&mut self, outputs: Vec<Output>) -> Result<bool, Stopped> {
        for output in outputs {
            tokio::select! {
                biased;
                () = self.control.cancelled() => return Ok(true),
                said = self.sink.send(output) => said?,
            }
        }
        Ok(false)
    }
}

/// Whether asking again can help against an error that was told inside a stream.
fn again_of(failure: &Failure) -> Again {
    let Failure::Upstream { kind, .. } = failure else {
        return Again::Never;
    };
    const PASSING: [&str; 12] = [
        "overloaded_error",
        "api_error",
        "server_error",
        "internal_error",
        "internal_server_error",
        "rate_limit_error",
        "rate_limit_exceeded",
        "timeout",
        "timeout_error",
        "service_unavailable",
        "unavailable_error",
        "UNAVAILABLE",
    ];
    let is_status = |kind: &str| {
        let status = kind.parse::<u16>();
        status.is_ok_and(|status| status == 429 || status == 408 || (500..600).contains(&status))
    };
    match PASSING.contains(&kind.as_str()) || is_status(kind) {
        true => Again::After(None),
        false => Again::Never,
    }
}

fn silent(stage: SilentStage, span: Duration) -> Failure {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Failure::Silent { stage, ms }
}

fn malformed(error: sse::Malformed) -> Ended {
    let error = error.to_string();
    Ended::Failed(Failure::Sse { error }.into())
}

/// A page or a JSON object that calls itself a stream.
fn is_no_stream(piece: &[u8]) -> bool {
    matches!(piece.trim_ascii_start().first(), Some(b'<' | b'{' | b'['))
}

/// Why a request did not get through.
pub(super) fn network(endpoint: &Endpoint, error: &reqwest::Error) -> Failure {
    let mut stage = if error.is_connect() {
        NetworkStage::Connect
    } else {
        NetworkStage::Send
    };
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<ResolveError>() {
            stage = NetworkStage::Dns;
        }
        if is_of_tls(error) {
            stage = NetworkStage::Tls;
        }
        source = error.source();
    }
    let mut words = tidy(endpoint, &innermost(error));
    if error.is_timeout() && stage == NetworkStage::Connect {
        words = "no connection in time".to_owned();
    }
    let host = endpoint.config.base_url.host();
    let advice = match stage {
        NetworkStage::Connect if endpoint.config.local => {
            "; is the model's server running there? (Ollama: `ollama serve`)"
        }
        NetworkStage::Dns | NetworkStage::Connect | NetworkStage::Tls | NetworkStage::Send => "",
    };
    let error = format!("{words} ({host}{advice})");
    Failure::Network { stage, error }
}

fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    // An error that holds another as its own does not name it as its source.
    let held = || error.downcast_ref::<std::io::Error>()?.get_ref();
    error.is::<rustls::Error>() || held().is_some_and(|inner| is_of_tls(inner))
}

/// The words of the first cause: they name neither the URL nor what was sent.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error as &dyn std::error::Error) {
        return "the request failed".to_owned();
    }
    cause.to_string()
}
