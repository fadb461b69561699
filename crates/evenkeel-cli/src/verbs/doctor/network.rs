//! Sockets, the addresses that clients are told, and what browsers make of them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket as Blocking},
    path::Path,
    time::Duration,
};

use keel_server::Config;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::Report;

/// How long anything on this machine may take.
const WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn examine(config: &Config, report: &mut Report) {
    let runs = http(config, report).await;
    browsers(config, report);
    let Some(listen) = config.media.listen else {
        return report.ok("media", "this server takes none (`media.listen` is absent)");
    };
    for (_, listen) in config.media.listens(listen) {
        media_ports(listen, runs, report);
    }
    for advertised in config.media.advertised(listen, 0) {
        addresses(config, listen, advertised, report);
    }
    round_trip(listen.ip(), report).await;
}

/// Whether a server runs there already.
async fn http(config: &Config, report: &mut Report) -> bool {
    let address = config.server.listen;
    match TcpListener::bind(address) {
        Ok(_) => report.ok("http", format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let ours = config.server.tls.is_none() && answers(address).await;
            if ours {
                report.ok("http", format!("a server answers at {address}"));
            } else {
                report.fail(
                    "http",
                    format!("{address} is taken by another program"),
                    "end it, or set `server.listen` to another port",
                );
            }
            return ours;
        }
        Err(error) => report.fail(
            "http",
            format!("{address} cannot be listened on: {error}"),
            if error.kind() == io::ErrorKind::PermissionDenied {
                "take a port above 1023, or give CAP_NET_BIND_SERVICE"
            } else {
                "set `server.listen` to an address of this machine"
            },
        ),
    }
    false
}

async fn answers(address: SocketAddr) -> bool {
    let address = reachable(address);
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let ask = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = vec![0; 64];
        let bytes = stream.read(&mut answer).await?;
        Ok::<_, io::Error>(answer[..bytes].starts_with(b"HTTP/1.1 200"))
    };
    timeout(WITHIN, asked)
        .await
        .is_ok_and(|is| is.unwrap_or(false))
}

/// An address by which a listener on any address is reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn media_ports(listen: SocketAddr, runs: bool, report: &mut Report) {
    let tried = [
        ("udp", Blocking::bind(listen).map(drop)),
        ("tcp", TcpListener::bind(listen).map(drop)),
    ];
    for (protocol, bound) in tried {
        match bound {
            Ok(()) => report.ok("media", format!("{listen} is free ({protocol})")),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && runs => {
                report.ok(
                    "media",
                    format!("{listen} is in use by the server ({protocol})"),
                );
            }
            Err(error) if protocol == "tcp" => report.warn(
                "media",
                format!("{listen} cannot be listened on ({protocol}): {error}"),
                "networks without UDP reach media over TCP only: free that port",
            ),
            Err(error) => report.fail(
                "media",
                format!("{listen} cannot be listened on ({protocol}): {error}"),
                "end what has it, or set `media.listen` to an address and port of this machine",
            ),
        }
    }
}

fn addresses(config: &Config, listen: SocketAddr, told: SocketAddr, report: &mut Report) {
    let advertised = told.ip();
    let more = config.media.threads.saturating_sub(1);
    let (inside, outside) = (ports(listen.port(), more), ports(told.port(), more));
    let contained = is_contained();
    if advertised.is_loopback() {
        if config.server.listen.ip().is_loopback() && listen.ip().is_loopback() {
            return report.ok("address", format!("{advertised}: for this machine alone"));
        }
        return report.fail(
            "address",
            format!("clients are told {advertised}: media reaches nobody but this machine"),
            "set `media.advertise` to the address by which clients reach this machine",
        );
    }
    let here = Blocking::bind((advertised, 0)).is_ok();
    if contained && here {
        return report.warn(
            "address",
            format!("this is a container, and {advertised} is an address in it"),
            format!("set `media.advertise` to the host's address, and publish the port (-p {outside}:{inside}/udp)"),
        );
    }
    if !here {
        return report.warn(
            "address",
            format!("{advertised} is no address of this machine"),
            format!(
                "see that UDP port {outside} of {advertised} is forwarded to {inside} of this one, port for port"
            ),
        );
    }
    if is_private(advertised) {
        return report.warn(
            "address",
            format!("{advertised} is private: clients elsewhere do not reach it"),
            "behind NAT set `media.advertise` to the public address and forward the port; within one network all is well",
        );
    }
    if config.media.ice_lite {
        report.ok(
            "address",
            format!("{advertised} is public, as ICE-lite wants it"),
        );
    } else {
        report.ok("address", format!("{advertised} is public"));
    }
}

/// A port, or the first and the last where more follow it, as Docker wants them.
fn ports(first: u16, more: u16) -> String {
    match more {
        0 => first.to_string(),
        more => format!("{first}-{}", first.saturating_add(more)),
    }
}

fn is_contained() -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|path| Path::new(path).exists());
    marked || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            ip.is_private() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// A datagram of this machine to itself, by the address that media takes.
async fn round_trip(ip: IpAddr, report: &mut Report) {
    let sent = async {
        let (from, to) = (
            UdpSocket::bind((ip, 0)).await?,
            UdpSocket::bind((ip, 0)).await?,
        );
        let token = b"evenkeel doctor";
        from.send_to(token, reachable(to.local_addr()?)).await?;
        let mut got = [0; 64];
        let (bytes, _) = to.recv_from(&mut got).await?;
        Ok::<_, io::Error>(&got[..bytes] == token)
    };
    match timeout(WITHIN, sent).await {
        Ok(Ok(true)) => report.ok("udp", "a datagram comes back to this machine"),
        Ok(Ok(false)) => report.warn("udp", "something else came", "run it again"),
        Ok(Err(error)) => report.fail(
            "udp",
            format!("datagrams cannot be sent: {error}"),
            "set `media.listen` to an address of this machine",
        ),
        Err(_) => report.fail(
            "udp",
            "a datagram to this machine itself was lost",
            "let the firewall pass UDP",
        ),
    }
}

/// Browsers give a camera to pages of `https`, and of this machine, alone.
fn browsers(config: &Config, report: &mut Report) {
    let local = config.server.listen.ip().is_loopback();
    let proxied = !config.server.trusted_proxies.is_empty();
    if config.server.tls.is_none() && !local && !proxied {
        report.warn(
            "browsers",
            "pages come by plain HTTP: browsers give them neither camera nor microphone, but on this machine",
            "configure `[server.tls]`, or put a proxy that ends TLS in front and list it in `server.trusted_proxies`",
        );
    } else {
        report.ok(
            "browsers",
            "cameras are given to pages of this machine, and of https",
        );
    }
}
