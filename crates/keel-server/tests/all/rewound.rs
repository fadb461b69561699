//! What is written under the server's feet: a log that begins anew, and one that is gone.

use std::time::{Duration, Instant};

use keel_server::config::StoreKind;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Host, hello, is_turn_end};

/// A stream looks again at the latest when it shows that it lives.
const LOOKS_EVERY: Duration = Duration::from_secs(15);

async fn session(host: &Host) -> String {
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await.pop();
    wire.say(1, "a few words").await;
    wire.until(is_turn_end).await;
    welcome.expect("one")["session"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// A stream of the session's events that has told all there is.
async fn reading(host: &Host, session: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(host.address()).await.expect("TCP");
    let request = format!(
        "GET /v1/sessions/{session}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
         accept: text/event-stream\r\n\r\n",
        host.address(),
        host.token(),
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains("turn.ended") {
        let read = timeout(crate::support::PATIENCE, stream.read(&mut bytes)).await;
        let count = read.expect("in time").expect("read");
        assert!(count > 0, "ended with {text}");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
    (stream, text)
}

/// Everything up to the end of the stream, which must come by itself.
async fn to_end(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    let all = async {
        // The chunk of length zero is the end.
        while !text.ends_with("0\r\n\r\n") {
            match stream.read(&mut bytes).await {
                Ok(count @ 1..) => text += &String::from_utf8_lossy(&bytes[..count]),
                Ok(0) | Err(_) => break,
            }
        }
    };
    timeout(LOOKS_EVERY * 2, all).await.expect("an end");
    text
}

fn last_word(text: &str) -> Option<String> {
    let (_, fault) = text.split_once("event: fault\ndata: ")?;
    let fault: Value = serde_json::from_str(fault.lines().next()?).ok()?;
    fault["code"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_stream_of_events_ends_with_a_word_when_its_log_is_another_or_gone_m23() {
    let host = Host::start(StoreKind::Sqlite, |_| ()).await;
    let (rewound, deleted, whole) = (
        session(&host).await,
        session(&host).await,
        session(&host).await,
    );
    let (first, _) = reading(&host, &rewound).await;
    let (second, _) = reading(&host, &deleted).await;
    let (mut third, _) = reading(&host, &whole).await;
    let file = host.dir.path().join("data/sessions.sqlite3");
    let begun = Instant::now();
    let changed = tokio::task::spawn_blocking(move || {
        let conn = rusqlite::Connection::open(file).expect("opened");
        conn.busy_timeout(Duration::from_secs(5)).expect("patient");
        let anew = "UPDATE session SET epoch = epoch + 1 WHERE session = ?1";
        let gone = "DELETE FROM session WHERE session = ?1";
        (
            conn.execute(anew, [rewound]).expect("written"),
            conn.execute(gone, [deleted]).expect("written"),
        )
    });
    assert_eq!(changed.await.expect("done"), (1, 1));
    let (first, second) = tokio::join!(to_end(first), to_end(second));
    assert_eq!(last_word(&first).as_deref(), Some("log_rewound"), "{first}");
    assert_eq!(
        last_word(&second).as_deref(),
        Some("session_not_found"),
        "{second}"
    );
    // A bystander reads on.
    assert!(begun.elapsed() < LOOKS_EVERY * 2);
    let mut rest = [0; 4096];
    if let Ok(read) = timeout(Duration::from_millis(100), third.read(&mut rest)).await {
        let text = String::from_utf8_lossy(&rest[..read.expect("read")]).into_owned();
        assert!(!text.is_empty() && last_word(&text).is_none(), "{text}");
    }
    host.close().await;
}
