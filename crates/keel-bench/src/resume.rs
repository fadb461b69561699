//! A reset connection comes back: beside connecting a bare WebSocket and hearing its echo once.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, Result, bail};
use evenkeel::{Events, Session};
use futures_util::{SinkExt, StreamExt};
use keel_drill::proxy::{Cut, Proxy};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    baseline::Listening,
    bench::{Bench, recovered, within},
    process::Process,
    results::Measured,
    samples::{Samples, ms},
};

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let served = bench.serve("resume", "").await?;
    let mut bare = Process::start(&bench.options.exe, &["bench-baseline"], "")?;
    let listening: Listening = bare.answer().await?;
    let ours = Proxy::start(served.server.addr()).await?;
    let theirs = Proxy::start(listening.addr).await?;
    let (session, mut events) = served.join(ours.addr()).await?;
    let (mut resumed, mut echoed) = (Samples::default(), Samples::default());
    for _ in 0..bench.samples(1_000) {
        resumed.push(cut_and_back(&ours, &session, &mut events).await?);
        echoed.push(connect_and_echo(theirs.addr()).await?);
    }
    session.close().await;
    let method = format!(
        "from resetting both ends of the SDK's connection, in a proxy, to its event `recovered`, with an \
         event committed before each reset; beside a tokio-tungstenite client's TCP connect, upgrade and \
         echo of one message at an axum server, through such a proxy, in turns; {}",
        bench.build()
    );
    let result = Measured::of("resume_after_reset", "ms", &resumed)
        .beside(echoed.median())
        .costs_at_most(3.)
        .method(method);
    Ok(vec![result])
}

/// Resets the connections through the proxy; how long until the client is back, in milliseconds.
pub(crate) async fn cut_and_back(
    proxy: &Proxy,
    session: &Session,
    events: &mut Events,
) -> Result<f64> {
    // A client that works: one that gets nowhere would be made to wait.
    within("a receipt", session.send(json!({ "still": "here" }))).await??;
    let struck = Instant::now();
    if proxy.cut(Cut::Reset) == 0 {
        bail!("there was no connection to cut");
    }
    recovered(events).await?;
    Ok(ms(struck.elapsed()))
}

/// What a bare client takes to hear its first echo, in milliseconds.
pub(crate) async fn connect_and_echo(addr: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{addr}/echo");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    socket.send(Message::text("still here")).await?;
    let echo = within("an echo", socket.next())
        .await?
        .context("an echo")??;
    let took = ms(begun.elapsed());
    anyhow::ensure!(echo.to_text()? == "still here", "another echo");
    Ok(took)
}
