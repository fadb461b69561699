//! STUN and TURN servers: whether they answer. A Binding request (RFC 8489) asks nothing of them.

use std::{io, time::Duration};

use keel_server::{Config, config::IceUrl};
use tokio::{
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};

use super::Report;

/// From a name to its answer.
const WITHIN: Duration = Duration::from_secs(3);
/// Between two requests over UDP.
const AGAIN: Duration = Duration::from_millis(500);
/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

pub(super) async fn examine(config: &Config, report: &mut Report) {
    if config.media.listen.is_none() {
        return;
    }
    let fixed = config
        .media
        .ice_servers
        .iter()
        .flat_map(|server| &server.urls);
    let turn = config.turn.iter().flat_map(|turn| &turn.urls);
    let urls: Vec<&IceUrl> = fixed.chain(turn).collect();
    if !urls.iter().any(|url| url.is_turn()) {
        report.warn(
            "turn",
            "no TURN server is configured: clients whose network blocks UDP to this server have no way",
            "run coturn and configure `[turn]`, unless every client reaches this server",
        );
    }
    for url in urls {
        let name = url.as_str();
        match timeout(WITHIN, asked(url)).await {
            Ok(Ok(())) => report.ok("turn", format!("{name} answers")),
            Ok(Err(error)) => report.fail(
                "turn",
                format!("{name}: {error}"),
                "see that it runs and that the address is right",
            ),
            Err(_) => report.fail(
                "turn",
                format!("{name} does not answer within {} s", WITHIN.as_secs()),
                "see that it runs and that no firewall is between",
            ),
        }
    }
}

async fn asked(url: &IceUrl) -> io::Result<()> {
    let address = lookup_host(url.host_and_port()).await?.next();
    let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
    let over_tcp = url.as_str().starts_with("turns:")
        || url.as_str().starts_with("stuns:")
        || url.as_str().ends_with("transport=tcp");
    if over_tcp {
        return TcpStream::connect(address).await.map(drop);
    }
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    let mut request = Vec::from(BINDING_REQUEST);
    request.extend([0, 0]);
    request.extend(MAGIC_COOKIE);
    request.extend(*b"evenkeel-doc");
    let mut answer = [0; 512];
    loop {
        socket.send(&request).await?;
        let got = timeout(AGAIN, socket.recv(&mut answer)).await;
        let Ok(bytes) = got else { continue };
        let answer = &answer[..bytes?];
        if answer.starts_with(&BINDING_SUCCESS) && answer.get(4..20) == request.get(4..20) {
            return Ok(());
        }
    }
}
