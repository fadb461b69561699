//! The one layer that asks again. It tells each time that it will, why, and when; and it never does
//! so after the answer has called a tool.

use tokio::time::{Instant, sleep};

use super::{
    Endpoint,
    answer::Answer,
    call::{Call, Ended},
    config::Key,
    failure::Failure,
    later,
    refusal::{Again, Failed},
};
use crate::{Control, Outcome, Output, Request, Sink, Stopped};

pub(crate) async fn run(
    endpoint: &Endpoint,
    request: &Request,
    mut control: Control,
    mut sink: Sink,
) -> Result<Outcome, Stopped> {
    if let Key::Missing(name) = &endpoint.config.key {
        return Ok(failed(Failure::Auth {
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
        let failed_once = match ended {
            Ended::Done { stop_reason } => return Ok(Outcome::done(Some(stop_reason))),
            Ended::Cancelled => return Ok(Outcome::cancelled(false)),
            Ended::Failed(failed) => failed,
        };
        let Some(wait) = tries.wait(&failed_once, &answer) else {
            return Ok(failed(failed_once.failure));
        };
        let failure = failed_once.failure;
        let in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let told = async {
            sink.send(retrying(in_ms, &failure)).await?;
            sleep(wait).await;
            sink.send(new_attempt(failure)).await
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
}

impl<'a> Tries<'a> {
    fn new(endpoint: &'a Endpoint) -> Self {
        Self {
            endpoint,
            began: Instant::now(),
            failed: 0,
            silent: 0,
            loading: 0,
        }
    }

    /// How long to wait before asking again; `None` if that is not to be.
    fn wait(&mut self, failed: &Failed, answer: &Answer) -> Option<std::time::Duration> {
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

    fn fits(
        &self,
        wait: std::time::Duration,
        within: std::time::Duration,
    ) -> Option<std::time::Duration> {
        (self.began.elapsed() + wait < within).then_some(wait)
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome::failed(crate::Failure::Reported {
        message: failure.to_string(),
    })
}

fn retrying(in_ms: u64, failure: &Failure) -> Output {
    Output::Item(
        serde_json::json!({"type": "retrying", "in_ms": in_ms, "why": failure.to_string()}),
    )
}

fn new_attempt(failure: Failure) -> Output {
    Output::NewAttempt {
        fault: failure.to_string(),
    }
}
