//! How a turn says what it has to say: one output at a time, and never in the way of anything else.

use std::{future::Future, pin::Pin};

use crate::{Output, Sink, Stopped};

pub(super) type Speaking = Pin<Box<dyn Future<Output = (Sink, Result<(), Stopped>)> + Send>>;

/// Says one output; gives the sink back.
fn speak(mut sink: Sink, output: Output) -> Speaking {
    Box::pin(async move {
        let said = sink.send(output).await;
        (sink, said)
    })
}

/// The attempt's mouth: one output at a time.
pub(super) enum Mouth {
    Closed(Sink),
    Open(Speaking),
    Stopped,
}

impl Mouth {
    /// Resolves when an output was said; never while there is none.
    pub(super) async fn said(&mut self) -> Result<(), Stopped> {
        let Self::Open(speaking) = self else {
            return std::future::pending().await;
        };
        let (sink, said) = speaking.await;
        *self = Self::Closed(sink);
        said
    }

    pub(super) fn open(&mut self, output: Output) {
        *self = match std::mem::replace(self, Self::Stopped) {
            Self::Closed(sink) => Self::Open(speak(sink, output)),
            other @ (Self::Open(_) | Self::Stopped) => other,
        };
    }
}
