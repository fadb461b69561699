//! The one layer that asks again. It tells each time that it will, why, and when; and it never does
//! so after the answer has called a tool.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    Endpoint,
    answer::Answer,
    call::{Call, Ended},
    config::Key,
    later,
    refusal::{Again, Failed},
};
use crate::{Control, Failure, NetworkStage, Outcome, Output, Request, Sink, Stopped};

pub(crate) async fn run(
    endpoint: &Endpoint,
    request: &Request,
    mut control: Control,
    mut sink: Sink,
) -> Result<Outcome, Stopped> {
    if let Key::Missing(name) = &endpoint.config.key {
        return Ok(Outcome::failed(Failure::Auth {
            message: format!("the server's environment variable {name} is not set"),
            methods: vec![name.clone()],
        }));
    }
    let body = endpoint.body(request).to_string().into_bytes();
    let mut tries = Tries::new(endpoint);
    loop {
        let mut call = Call {
            endpoint,
            control: &mut control,
            sink: &mut sink,
            answer: Answer::default(),
        };
        let ended = call.run(body.clone()).await?;
        let answer = call.answer;
        let failed = match ended {
            Ended::Done { stop_reason } => return Ok(Outcome::done(Some(stop_reason))),
            Ended::Cancelled => return Ok(Outcome::cancelled(false)),
            Ended::Failed(failed) => failed,
        };
        let Some(wait) = tries.wait(&failed, &answer) else {
            return Ok(Outcome::failed(tries.first_cause(failed.failure)));
        };
        let failure = failed.failure;
        let in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let told = async {
            let failure = Box::new(failure);
            let retrying = Output::Retrying {
                in_ms,
                failure: failure.clone(),
            };
            sink.send(retrying).await?;
            sleep(wait).await;
            sink.send(Output::NewAttempt { failure }).await
        };
        tokio::select! {
            biased;
            () = control.cancelled() => return Ok(Outcome::cancelled(false)),
            told = told => told?,
        }
    }
}

/// What was tried so far.
struct Tries<'a> {
    endpoint: &'a Endpoint,
    began: Instant,
    failed: u32,
    silent: u32,
    loading: u32,
    /// How it broke off, if it did, and has not answered since.
    broken: Option<Failure>,
}

impl<'a> Tries<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        Self {
            endpoint,
            began: Instant::now(),
            failed: 0,
            silent: 0,
            loading: 0,
            broken: None,
        }
    }

    /// Keeps in mind how it broke off.
    fn note(&mut self, failure: &Failure) {
        if is_broken_off(failure) {
            self.broken = Some(failure.clone());
        } else if !matches!(failure, Failure::Network { .. }) {
            self.broken = None;
        }
    }

    /// What a last failure is told as. That nobody listens any more, where an answer was broken off
    /// before, is what came of that: the server died of it, and is not back.
    fn first_cause(self, last: Failure) -> Failure {
        let (Some(mut broken), Failure::Network { stage, error: then }) = (self.broken, &last)
        else {
            return last;
        };
        if *stage != NetworkStage::Connect {
            return last;
        }
        if let Failure::Cut { error, .. } | Failure::Network { error, .. } = &mut broken {
            error.push_str(&format!("; then: {then}"));
        }
        broken
    }

    /// How long to wait before asking again; `None` if that is not to be.
    fn wait(&mut self, failed: &Failed, answer: &Answer) -> Option<Duration> {
        self.note(&failed.failure);
        let config = &self.endpoint.config;
        if answer.called || (answer.text_bytes > 0 && !config.retry_after_text) {
            return None;
        }
        let asked = match failed.again {
            Again::Never => return None,
            Again::WhenLoaded => {
                self.loading += 1;
                let wait = later::wait(self.loading + 2, None, config.clocks.retry_wait);
                return self.fits(wait, config.clocks.first_byte);
            }
            Again::Once => {
                self.silent += 1;
                if self.silent > 1 {
                    return None;
                }
                None
            }
            Again::After(asked) => asked,
        };
        self.failed += 1;
        if self.failed >= config.tries {
            return None;
        }
        let wait = later::wait(self.failed, asked, config.clocks.retry_wait);
        self.fits(wait, config.clocks.whole)
    }

    fn fits(&self, wait: Duration, within: Duration) -> Option<Duration> {
        (self.began.elapsed() + wait < within).then_some(wait)
    }
}

/// Whether the connection broke once the request was on its way.
const fn is_broken_off(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Cut { .. }
            | Failure::Network {
                stage: NetworkStage::Send,
                ..
            }
    )
}
