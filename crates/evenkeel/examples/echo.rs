//! Says something to a server and prints what comes back, whatever happens to the connection.
//!
//! ```text
//! evenkeel dev
//! EVENKEEL_TOKEN=… cargo run -p evenkeel --example echo -- ws://127.0.0.1:7080 "hello there"
//! ```

use std::{
    error::Error,
    io::{Write, stderr, stdout},
};

use evenkeel::{
    Client, Event, LogEvent,
    wire::{Event as Fact, TurnEnd},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("want the server's address")?;
    let prompt = args.next().unwrap_or_else(|| "hello there".to_owned());
    let session = Client::builder()
        .url(url)
        .token(std::env::var("EVENKEEL_TOKEN")?)
        .connect()
        .await?;
    let mut events = session.events();
    let turn = session.say(prompt).await?.turn;

    while let Some(event) = events.next().await {
        match event {
            Event::Log { event, .. } => match event {
                LogEvent::Known(Fact::Text(text)) => write!(stdout(), "{}", text.data)?,
                LogEvent::Known(Fact::TurnEnded(ended)) if Some(&ended.turn) == turn.as_ref() => {
                    if ended.end != TurnEnd::Done {
                        return Err(format!("the turn ended as {:?}", ended.end).into());
                    }
                    break;
                }
                LogEvent::Known(_) | LogEvent::Unknown { .. } => {}
            },
            Event::ConnectionLost { fault, .. } => writeln!(stderr(), "connection lost: {fault}")?,
            Event::Recovered { lost_ms, .. } => writeln!(stderr(), "back after {lost_ms} ms")?,
            Event::Failed(fault) => return Err(fault.into()),
            Event::Joined(_)
            | Event::Gap { .. }
            | Event::Ephemeral(_)
            | Event::MediaLost { .. }
            | Event::MediaRecovered { .. }
            | Event::Fault(_)
            | Event::AttemptFailed { .. }
            | Event::Queued { .. }
            | Event::Goaway { .. }
            | Event::Ended { .. }
            | Event::ProtocolNotice(_)
            | Event::StillWaiting { .. } => {}
        }
    }
    writeln!(stdout())?;
    session.close().await;
    Ok(())
}
