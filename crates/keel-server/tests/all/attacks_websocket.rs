//! Hostile frames: closed with the RFC's code, and nobody else notices.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Host, PATIENCE, hello, is_turn_end};

/// A WebSocket whose frames are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn open(host: &Host) -> Self {
        let mut stream = TcpStream::connect(host.address())
            .await
            .expect("a connection");
        let request = format!(
            "GET /v1/connect HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: evenkeel.v1.json\r\n\r\n",
            host.address()
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a header"));
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Self(stream)
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have hung up before it has read everything.
        let _ = self.0.write_all(bytes).await;
    }

    /// The code that the server closes with; 1006 if it does not.
    async fn close_code(mut self) -> u16 {
        let mut all = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut all))
            .await
            .expect("an end");
        let mut rest = all.as_slice();
        while let [first, second, after @ ..] = rest {
            let (len, after) = match second & 0x7f {
                126 => (
                    usize::from(u16::from_be_bytes([after[0], after[1]])),
                    &after[2..],
                ),
                127 => panic!("a huge frame"),
                len => (usize::from(len), after),
            };
            if first & 0x0f == 8 {
                return u16::from_be_bytes([after[0], after[1]]);
            }
            rest = &after[len..];
        }
        1006
    }
}

/// A masked frame (the mask is 0).
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match u16::try_from(payload.len()) {
        Ok(len @ 0..126) => out.push(0x80 | u8::try_from(len).expect("short")),
        Ok(len) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        Err(_) => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

async fn expect_close(host: &Host, bytes: &[u8], wanted: &[u16]) {
    let began = Instant::now();
    let mut raw = Raw::open(host).await;
    raw.write(bytes).await;
    let code = raw.close_code().await;
    let shown = &bytes[..bytes.len().min(16)];
    assert!(wanted.contains(&code), "{shown:02x?}: {code}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{shown:02x?}: {:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn claimed_lengths_are_refused_without_being_allocated_a25_a32() {
    let host = Host::memory().await;
    let claim = |len: u64| {
        let mut bytes = vec![0x81, 0xff];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    };
    for len in [u64::MAX, u64::MAX >> 1, 1 << 40, 65_537] {
        expect_close(&host, &claim(len), &[1009, 1002]).await;
    }
    expect_close(&host, &frame(0x81, &vec![b' '; 65_537]), &[1009]).await;
    expect_close(&host, &frame(0x81, &vec![b' '; 1 << 20]), &[1009]).await;
    let mut halves = frame(0x01, &vec![b' '; 40_000]);
    halves.extend(frame(0x80, &vec![b' '; 40_000]));
    expect_close(&host, &halves, &[1009]).await;
    host.close().await;
}

#[tokio::test]
async fn unmasked_frames_are_refused_a26() {
    let host = Host::memory().await;
    expect_close(&host, &[0x81, 0x02, b'{', b'}'], &[1002]).await;
    host.close().await;
}

#[tokio::test]
async fn frames_against_the_rfc_are_refused_a27() {
    let host = Host::memory().await;
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x87, 0x8b, 0x8f] {
        expect_close(&host, &frame(first, b"x"), &[1002]).await;
    }
    expect_close(&host, &frame(0x09, b"fragmented ping"), &[1002]).await;
    expect_close(&host, &frame(0x89, &[b'x'; 126]), &[1002]).await;
    expect_close(&host, &frame(0x80, b"continues nothing"), &[1002]).await;
    let mut inside = frame(0x01, b"a");
    inside.extend(frame(0x81, b"b"));
    expect_close(&host, &inside, &[1002]).await;
    host.close().await;
}

#[tokio::test]
async fn fragments_without_end_are_refused_a28() {
    let host = Host::memory().await;
    let mut endless = frame(0x01, b"");
    for _ in 0..60_000 {
        endless.extend(frame(0x00, b""));
    }
    expect_close(&host, &endless, &[1009]).await;
    let mut tiny = frame(0x01, b"a");
    for _ in 0..80_000 {
        tiny.extend(frame(0x00, b"a"));
    }
    expect_close(&host, &tiny, &[1009]).await;
    host.close().await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused_a30() {
    let host = Host::memory().await;
    for bad in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"ab\xe2\x82"] {
        expect_close(&host, &frame(0x81, bad), &[1007]).await;
    }
    host.close().await;
}

#[tokio::test]
async fn floods_of_control_frames_and_bad_closes_are_refused_a31() {
    let host = Host::memory().await;
    let pings: Vec<u8> = (0..100_000).flat_map(|_| frame(0x89, b"x")).collect();
    expect_close(&host, &pings, &[1008, 1006]).await;
    let pongs: Vec<u8> = (0..100_000).flat_map(|_| frame(0x8a, b"")).collect();
    expect_close(&host, &pongs, &[1008, 1006]).await;
    for code in [0_u16, 999, 1005, 1006, 1015, 65_535] {
        expect_close(&host, &frame(0x88, &code.to_be_bytes()), &[1002, code]).await;
    }
    expect_close(&host, &frame(0x88, b"\x03\xe8\xff\xff"), &[1002, 1007]).await;
    expect_close(&host, &frame(0x88, b"\x03\xe8bye"), &[1000]).await;
    host.close().await;
}

#[tokio::test]
async fn a_flood_of_messages_is_cut_off_and_a_bystander_is_unharmed_a33() {
    let host = Host::memory().await;
    let mut bystander = host.dial().await;
    bystander
        .send(hello(
            &host.token_with(|claims| claims.sub = "bob".to_owned()),
        ))
        .await;
    bystander.until(|frame| frame["type"] == "welcome").await;
    let mut flooder = host.dial().await;
    flooder.send(hello(&host.token())).await;
    flooder.until(|frame| frame["type"] == "welcome").await;

    let mut flooding = flooder;
    let flood = tokio::spawn(async move {
        for seq in 0..20_000_u32 {
            let ack = json!({ "type": "ack", "seq": seq % 2 }).to_string();
            if flooding.ws.feed(Message::text(ack)).await.is_err() {
                break;
            }
        }
        let _ = flooding.ws.flush().await;
        flooding.closed().await
    });
    let mut slowest = Duration::ZERO;
    for n in 1..=10 {
        let began = Instant::now();
        bystander.say(n, "hi").await;
        bystander.until(is_turn_end).await;
        slowest = slowest.max(began.elapsed());
    }
    let (code, frames) = flood.await.expect("joined");
    assert!([4529, 1008, 1006].contains(&code), "{code} {frames:#?}");
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    host.close().await;
}

#[tokio::test]
async fn binary_and_bad_json_are_told_as_protocol_errors_a34_a35() {
    let host = Host::memory().await;
    let deep = format!("{{\"type\":{}", "[".repeat(30_000));
    for message in [
        Message::binary(vec![1, 2]),
        Message::text("{"),
        Message::text(deep),
    ] {
        let mut wire = host.dial().await;
        wire.send(hello(&host.token())).await;
        wire.until(|frame| frame["type"] == "welcome").await;
        wire.ws.send(message).await.expect("sent");
        let told = wire
            .until(|frame| frame["type"] == "fault")
            .await
            .pop()
            .expect("one");
        assert_eq!(told["fault"]["code"], "protocol_error");
    }
    host.close().await;
}

/// A client that never reads costs its own bound and then its connection, nothing more.
#[tokio::test]
async fn a_client_that_never_reads_is_dropped_a39_p04() {
    let host = Host::memory().await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    wire.say(1, "!count=4000 bytes=8000").await;
    // Whoever looks at the session meanwhile is answered.
    let path = format!(
        "/v1/sessions/{}",
        welcome["session"].as_str().expect("an id")
    );
    let began = Instant::now();
    let mut gone = false;
    while began.elapsed() < Duration::from_secs(25) && !gone {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let answer = host.get(&path, &host.token()).await;
        assert_eq!(answer.status, 200);
        gone = answer.json()["participants"][0]["connected"] == json!(false);
    }
    assert!(gone, "it is still there after {:?}", began.elapsed());
    // The journal is put away a little later.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let journal = host.get(&format!("{path}/journal"), &host.token()).await;
    assert!(journal.body.contains("connection_lost"), "{journal:?}");
    host.close().await;
}

/// N10: a message that comes byte by byte is given up.
#[tokio::test]
async fn a_message_that_comes_too_slowly_is_given_up_n10() {
    let host = Host::memory().await;
    let mut raw = Raw::open(&host).await;
    let first = frame(0x81, hello(&host.token()).to_string().as_bytes());
    raw.write(&first).await;
    raw.write(&[0x81, 0xfe, 0xff, 0x00]).await;
    let began = Instant::now();
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    let mut read = [0; 4096];
    loop {
        tokio::select! {
            _ = beat.tick() => raw.write(b" ").await,
            got = raw.0.read(&mut read) => if matches!(got, Ok(0) | Err(_)) { break },
        }
        assert!(began.elapsed() < Duration::from_secs(15));
    }
    assert!(began.elapsed() > Duration::from_secs(5));
    host.close().await;
}

/// Whatever is offered, and by whom: no extension, and what comes compressed is no frame.
#[tokio::test]
async fn compression_is_never_negotiated_and_never_read_a29() {
    let host = Host::memory().await;
    let offers = [
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8; client_max_window_bits",
        "permessage-deflate, permessage-deflate; client_max_window_bits=15",
        "x-webkit-deflate-frame, deflate-stream, permessage-bzip2",
    ];
    for offer in offers {
        let header = [("sec-websocket-extensions", offer)];
        let mut wire = crate::support::Wire::dial(host.address(), &header)
            .await
            .expect("an upgrade, and nothing with it");
        wire.send(hello(&host.token())).await;
        wire.until(|frame| frame["type"] == "welcome").await;
        wire.say(1, "in plain words").await;
        wire.until(is_turn_end).await;
    }
    // RSV1 says that a message is compressed. 1,000 bytes of zeros, deflated to a few; masked with
    // zeros.
    let bomb = [
        0xc1, 0x8a, 0, 0, 0, 0, 0x62, 0x60, 0x18, 0x05, 0xa3, 0x60, 0x14, 0, 0, 0,
    ];
    expect_close(&host, &bomb, &[1002]).await;
    // Answers over HTTP are as they are, too, and so is what is asked.
    let accept = [(
        "accept-encoding".to_owned(),
        "gzip, br, deflate, zstd".to_owned(),
    )];
    let admin = host.admin();
    for path in ["/v1/sessions", "/metrics", "/v1/node"] {
        let answer = host
            .request_with("GET", path, Some(&admin), &accept, None)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            !answer.head.to_lowercase().contains("content-encoding"),
            "{answer:?}"
        );
    }
    let head = format!(
        "POST /v1/tokens HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {admin}\r\n\
         content-type: application/json\r\ncontent-encoding: gzip\r\nconnection: close\r\n\
         content-length: 12\r\n\r\n",
        host.address()
    );
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae];
    let answer = host.raw(&[head.as_bytes(), &gzip].concat()).await;
    let answer = crate::support::Answer::parse(&answer);
    assert_eq!(answer.status, 400, "{answer:?}");
    host.close().await;
}
