//! A process in a room: it shows a picture, plays a tone, and says what it gets of the others.
//!
//! ```text
//! evenkeel dev
//! EVENKEEL_TOKEN=… cargo run -p evenkeel --features media --example participant -- ws://127.0.0.1:7080 [SESSION]
//! ```

use std::{
    collections::BTreeMap,
    error::Error,
    io::{Write, stdout},
    time::Duration,
};

use evenkeel::{
    Client, Event,
    media::{Codec, Publish, Tone, pattern::Pattern},
    wire::SessionId,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().ok_or("want the server's address")?;
    let mut builder = Client::builder()
        .url(url)
        .token(std::env::var("EVENKEEL_TOKEN")?);
    builder = match args.next() {
        Some(session) => builder.session(session.parse::<SessionId>()?),
        None => builder.backend("room"),
    };
    let session = builder.connect().await?;
    let id = session.id().ok_or("it is in a session")?;
    writeln!(stdout(), "in session {id}")?;
    let mut events = session.events();
    let media = session.media();
    let mut frames = media.receive().await;
    let camera = media.publish(Publish::video("camera", Codec::H264)).await?;
    let voice = media.publish(Publish::audio("voice")).await?;

    let (mut pattern, mut tone) = (Pattern::default(), Tone::default());
    let mut pictures = tokio::time::interval(pattern.period());
    let mut sounds = tokio::time::interval(Tone::PERIOD);
    let mut tell = tokio::time::interval(Duration::from_secs(5));
    let mut came = BTreeMap::<String, u64>::new();
    loop {
        tokio::select! {
            // What no transport takes at present is dropped and counted; the session tells why.
            _ = pictures.tick() => {
                let frame = pattern.frame(camera.take_keyframe_wanted());
                camera.send_frame(frame)?;
            }
            _ = sounds.tick() => voice.send_frame(tone.frame())?,
            Some(received) = frames.next() => {
                let of = format!("{} of {}", received.track, received.participant);
                *came.entry(of).or_default() += 1;
            }
            _ = tell.tick() => {
                for (of, frames) in std::mem::take(&mut came) {
                    writeln!(stdout(), "{frames} frames of {of}")?;
                }
            }
            event = events.next() => match event {
                Some(Event::MediaLost { fault }) => writeln!(stdout(), "media lost: {fault}")?,
                Some(Event::MediaRecovered { lost_ms, .. }) => {
                    writeln!(stdout(), "media flows again after {lost_ms} ms")?;
                }
                Some(Event::Failed(fault)) => return Err(fault.into()),
                Some(_) => {}
                None => break,
            },
        }
    }
    session.close().await;
    Ok(())
}
