//! Stdin: the prompt goes in while the program reads; one that stops reading is given up.

use std::{io, time::Duration};

use serde_json::json;
use tokio::{net::unix::pipe, sync::mpsc, time::timeout};

use super::config::Stdin;
use crate::{Answer, Failure, sink::Meter};

/// Writes `prompt`, then answers as they come, in the way of `stdin`; closes it at the end.
///
/// A program that closes its stdin is none the worse for it. The clock stands still while the
/// program itself is held back, as one that cannot write may well not read.
pub(crate) async fn feed(
    pipe: pipe::Sender,
    stdin: Stdin,
    prompt: String,
    mut answers: mpsc::UnboundedReceiver<Answer>,
    clock: Duration,
    meter: &Meter,
) -> Result<(), Failure> {
    let first = match stdin {
        Stdin::Prompt => prompt,
        Stdin::Dialogue => line(&json!({"type": "prompt", "text": prompt})),
    };
    write(&pipe, first.as_bytes(), clock, meter).await?;
    if stdin == Stdin::Prompt {
        return Ok(());
    }
    while let Some(Answer { action, answer }) = answers.recv().await {
        let answer = line(&json!({"type": "answer", "action": action, "answer": answer}));
        write(&pipe, answer.as_bytes(), clock, meter).await?;
    }
    Ok(())
}

fn line(value: &serde_json::Value) -> String {
    format!("{value}\n")
}

async fn write(
    pipe: &pipe::Sender,
    mut bytes: &[u8],
    clock: Duration,
    meter: &Meter,
) -> Result<(), Failure> {
    while !bytes.is_empty() {
        match timeout(clock, pipe.writable()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) if meter.credit.is_waiting() => continue,
            Err(_) => {
                let ms = u64::try_from(clock.as_millis()).unwrap_or(u64::MAX);
                return Err(Failure::StdinStalled { ms });
            }
        }
        match pipe.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
