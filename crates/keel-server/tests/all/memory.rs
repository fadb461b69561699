//! What an idle connection costs.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::{Host, hello};

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("a line");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

/// Clients are bare blocking sockets, which cost this process next to nothing.
#[test]
#[ignore = "measures; run it alone, in release: --ignored --test-threads 1"]
fn an_idle_session_costs_little() {
    const COUNT: u64 = 2_000;
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let host = runtime.block_on(Host::start(
        keel_server::config::StoreKind::Sqlite,
        |config| {
            config.server.per_address = 10_000;
        },
    ));
    let open = |n: u64, with_session: bool| {
        let mut stream = TcpStream::connect(host.address()).expect("a connection");
        let request = format!(
            "GET /v1/connect HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: evenkeel.v1.json\r\n\r\n",
            host.address()
        );
        stream.write_all(request.as_bytes()).expect("written");
        if !with_session {
            let mut head = [0; 512];
            let read = stream.read(&mut head).expect("an answer");
            assert!(head[..read].starts_with(b"HTTP/1.1 101"));
            return stream;
        }
        let mut first = hello(&host.token_with(|claims| claims.sub = format!("u-{n}")));
        first["instance"] = serde_json::json!(format!("i-{n}"));
        let payload = first.to_string();
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend_from_slice(&u16::try_from(payload.len()).expect("short").to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload.as_bytes());
        stream.write_all(&frame).expect("written");
        let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains("welcome") {
            let read = stream.read(&mut piece).expect("an answer");
            assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&piece[..read]);
        }
        stream
    };
    let mut streams: Vec<TcpStream> = (0..200).map(|n| open(n, true)).collect();
    let mut measure = |from: u64, with_session: bool| {
        let before = resident_kib();
        let more: Vec<TcpStream> = (from..from + COUNT)
            .map(|n| open(n, with_session))
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let each = (resident_kib() - before) * 1024 / COUNT;
        streams.extend(more);
        each
    };
    let session = measure(200, true);
    let connection = measure(200 + COUNT, false);
    println!("{session} bytes for each idle session, {connection} of them for its connection");
    drop(streams);
    runtime.block_on(host.close());
    assert!(session <= 12 * 1024, "{session}");
}
