//! The `fallback` provider: a chain of providers, of which the next is asked when one fails before it
//! has said anything.
//!
//! Each step is told once, with its cause; when all have failed that is one failure with all their
//! causes. Budgets, credit and cancels go through: the chain is one attempt, whoever works on it. It takes
//! no words while it works: what one provider had taken would be lost to the next.
//!
//! The conversation is bound to who spoke last. Whoever else remembers one has not heard all of it, so
//! what it remembers is not gone on from: it begins anew, and is told what was said.

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Poll,
};

use keel_wire::{SessionId, limits::AGENT_ID_BYTES_MAX};
use tokio::sync::mpsc;

use crate::{
    Ask, Attempt, Closing, Control, Ending, Failure, Outcome, Output, Provider, Request, Sink,
    Stopped, limits::ASKS_MAX, run::panic_message,
};

/// The name of this kind.
pub const KIND: &str = "fallback";

/// A provider of the chain.
#[derive(Clone)]
pub struct Link {
    /// Its name, which a failure is told with.
    pub name: String,
    /// It.
    pub provider: Arc<dyn Provider>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.provider)
    }
}

/// The provider. See the module's text.
#[derive(Debug, Clone)]
pub struct Fallback {
    chain: Arc<[Link]>,
}

impl Fallback {
    /// Asks the providers of `chain` in order.
    #[must_use]
    pub fn new(chain: Vec<Link>) -> Self {
        Self {
            chain: chain.into(),
        }
    }
}

impl Provider for Fallback {
    fn name(&self) -> &str {
        KIND
    }

    fn run(&self, request: Request, control: Control, sink: Sink) -> Attempt {
        let chain = Arc::clone(&self.chain);
        Box::pin(async move {
            let ended = run(&chain, request, control, sink).await;
            ended.unwrap_or(Outcome::failed(Failure::Dropped))
        })
    }

    fn wants_history(&self) -> bool {
        self.chain.iter().any(|link| link.provider.wants_history())
    }

    /// Only if each of them does: who works on a turn is not known beforehand.
    fn release(&self, session: &SessionId) {
        for link in self.chain.iter() {
            link.provider.release(session);
        }
    }

    fn close(&self) -> Closing<'_> {
        Box::pin(async {
            for link in self.chain.iter() {
                link.provider.close().await;
            }
        })
    }
}

async fn run(
    chain: &[Link],
    request: Request,
    mut control: Control,
    mut sink: Sink,
) -> Result<Outcome, Stopped> {
    let mut causes: Vec<(String, Failure)> = Vec::new();
    let mut last = Outcome::failed(Failure::NoResult);
    let mut stands = request.bound.clone();
    for link in chain {
        if let Some((_, failure)) = causes.last() {
            let failure = Box::new(failure.clone());
            sink.send(Output::NewAttempt { failure }).await?;
        }
        let mut step = Step::new(link, &request, &control, &sink, stands);
        last = step.run(&mut control, &sink).await?;
        stands = step.stands.take();
        let Ending::Failed(failure) = &last.ending else {
            return Ok(last);
        };
        causes.push((link.name.clone(), failure.clone()));
        let stopped = step.said || *control.cancel.borrow() || sink.meter().breach().is_some();
        if stopped || *failure == Failure::Dropped {
            break;
        }
    }
    // What the only one says of itself is clearer than what is said of all.
    if causes.len() > 1 {
        last.ending = Ending::Failed(Failure::Fallback { causes });
    }
    Ok(last)
}

/// One provider's part.
struct Step<'a> {
    link: &'a Link,
    attempt: Option<Attempt>,
    asks: mpsc::Sender<Ask>,
    outputs: mpsc::UnboundedReceiver<Output>,
    /// It has said something that somebody may have seen.
    said: bool,
    /// Its own conversation, which it goes on with.
    bound: Option<String>,
    /// What was told last of whose the conversation is.
    stands: Option<String>,
}

impl<'a> Step<'a> {
    fn new(
        link: &'a Link,
        request: &Request,
        control: &Control,
        sink: &Sink,
        stands: Option<String>,
    ) -> Self {
        let (asks, taken) = mpsc::channel(ASKS_MAX);
        // What is in it was charged and has credit, as the meter is the same.
        let (told, outputs) = mpsc::unbounded_channel();
        let own = Sink {
            meter: sink.meter(),
            outputs: told,
        };
        let ears = Control {
            cancel: control.cancel.clone(),
            asks: taken,
            cancel_told: false,
            words_taken: tokio::sync::watch::Sender::new(0),
        };
        let bound = bound_of(link, request);
        if bound.is_none() {
            // What it kept has not heard what others have said since.
            link.provider.release(&request.session);
        }
        let request = Request {
            backend: link.name.clone(),
            bound: bound.clone(),
            ..request.clone()
        };
        let provider = Arc::clone(&link.provider);
        // A provider may panic before there is a future of it.
        let attempt: Attempt = Box::pin(async move { provider.run(request, ears, own).await });
        Self {
            link,
            attempt: Some(attempt),
            asks,
            outputs,
            said: false,
            bound,
            stands,
        }
    }

    async fn run(&mut self, control: &mut Control, sink: &Sink) -> Result<Outcome, Stopped> {
        let outcome = loop {
            tokio::select! {
                biased;
                Some(output) = self.outputs.recv() => self.tell(output, sink)?,
                ask = control.next() => match ask {
                    // It hears of that by itself.
                    Ask::Cancel => {}
                    ask @ (Ask::Answer(_) | Ask::Steer(_)) => {
                        if self.asks.try_send(ask).is_err() {
                            tracing::warn!(provider = self.link.name, "an answer was not taken");
                        }
                    }
                },
                outcome = ended(&mut self.attempt) => break outcome,
            }
        };
        while let Ok(output) = self.outputs.try_recv() {
            self.tell(output, sink)?;
        }
        if !matches!(outcome.ending, Ending::Failed(_)) {
            self.bind(sink)?;
        }
        Ok(outcome)
    }

    fn tell(&mut self, mut output: Output, sink: &Sink) -> Result<(), Stopped> {
        if let Output::Bound { id } = &mut output {
            *id = format!("{}/{id}", self.link.name);
            if id.len() > AGENT_ID_BYTES_MAX {
                // Without it the next turn begins a new conversation, which is no loss of words.
                return Ok(());
            }
            self.stands = Some(id.clone());
        }
        if !self.said && is_seen(&output) {
            self.said = true;
            self.bind(sink)?;
        }
        sink.outputs.send(output).map_err(|_| Stopped::Gone)
    }

    /// The conversation is this one's now: who had it before does not hear this turn, and must not go
    /// on as if it had. Nothing is told where nobody else has it.
    fn bind(&mut self, sink: &Sink) -> Result<(), Stopped> {
        let name = &self.link.name;
        let others = self.stands.as_deref().is_some_and(|stands| {
            let whose = stands.split_once('/').map(|(whose, _)| whose);
            whose != Some(name)
        });
        let id = format!("{name}/{}", self.bound.as_deref().unwrap_or_default());
        if !others || id.len() > AGENT_ID_BYTES_MAX {
            return Ok(());
        }
        self.stands = Some(id.clone());
        let bound = Output::Bound { id };
        sink.outputs.send(bound).map_err(|_| Stopped::Gone)
    }
}

/// Items that tell of the agent, not of its answer.
const ASIDES: [&str; 4] = ["mode", "commands", "usage", "notice"];

/// Whether an output is part of the answer.
fn is_seen(output: &Output) -> bool {
    match output {
        Output::Text(_) | Output::NeedsAction(_) => true,
        Output::Item(item) => !item["type"]
            .as_str()
            .is_some_and(|kind| ASIDES.contains(&kind)),
        Output::Started { .. }
        | Output::NewAttempt { .. }
        | Output::Retrying { .. }
        | Output::Bound { .. }
        | Output::Cancelling { .. }
        | Output::ModelCall
        | Output::Noise { .. } => false,
    }
}

/// The conversation of `link`, if it was the one that spoke last and has a name for it.
fn bound_of(link: &Link, request: &Request) -> Option<String> {
    let (name, id) = request.bound.as_deref()?.split_once('/')?;
    (name == link.name && !id.is_empty()).then(|| id.to_owned())
}

/// The attempt's outcome; a panic is one, so that the next may be asked.
async fn ended(attempt: &mut Option<Attempt>) -> Outcome {
    let outcome = poll_fn(|context| {
        let Some(running) = attempt else {
            return Poll::Pending;
        };
        let polled = catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(context)));
        polled.unwrap_or_else(|payload| {
            let message = panic_message(payload.as_ref());
            Poll::Ready(Outcome::failed(Failure::Panicked { message }))
        })
    })
    .await;
    // All that it started stops with it, before anybody else is asked.
    *attempt = None;
    outcome
}
