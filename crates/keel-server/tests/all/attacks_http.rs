//! Hostile requests: what is refused, as what, and that nothing else notices.

use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use keel_server::{Claims, config::StoreKind, config::WebOrigin};
use keel_wire::Role;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Answer, Host, Wire, hello};

fn upgrade(host: &str, more: &str) -> String {
    format!(
        "GET /v1/connect HTTP/1.1\r\nhost: {host}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: evenkeel.v1.json\r\n{more}\r\n"
    )
}

async fn status_of(host: &Host, request: String) -> u16 {
    // A request that is taken for an upgrade leaves the connection open: ask for its end.
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(&[0x88, 0x80, 0, 0, 0, 0]);
    Answer::parse(&host.raw(&bytes).await).status
}

#[tokio::test]
async fn pages_of_others_are_refused_before_the_upgrade_a01_a02() {
    let good = "https://good.example".to_owned();
    let host = Host::start(StoreKind::Memory, |config| {
        config.server.allowed_origins = vec![WebOrigin::try_from(good).expect("an origin")];
    })
    .await;
    let own = host.address().to_string();
    for origin in ["https://good.example", &format!("http://{own}")] {
        let request = upgrade(&own, &format!("origin: {origin}\r\n"));
        assert_eq!(status_of(&host, request).await, 101, "{origin}");
    }
    assert_eq!(
        status_of(&host, upgrade(&own, "")).await,
        101,
        "no page at all"
    );
    for origin in [
        "https://evil.example",
        "null",
        "",
        "https://good.example.evil.com",
        "https://good.example:444",
        "http://good.example",
        "https://good.example.",
        "https://GOOD.example",
        "https://good.example/",
        "https://good.example\r\norigin: https://good.example",
        "http://localhost:1",
    ] {
        let request = upgrade(&own, &format!("cookie: session=1\r\norigin: {origin}\r\n"));
        assert_eq!(status_of(&host, request).await, 403, "{origin}");
    }
    let headers = [("origin".to_owned(), "https://evil.example".to_owned())];
    let answer = host
        .request_with("GET", "/v1/sessions", Some(&host.token()), &headers, None)
        .await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (403, Some("origin_not_allowed"))
    );
    assert!(!answer.head.to_lowercase().contains("access-control"));
    host.close().await;
}

#[tokio::test]
async fn other_host_names_are_refused_on_every_route_a03() {
    let host = Host::start(StoreKind::Memory, |config| config.server.playground = true).await;
    let port = host.address().port();
    for path in [
        "/",
        "/healthz",
        "/v1/sessions",
        "/v1/connect",
        "/metrics",
        "/nothing",
    ] {
        for name in [
            "attacker.example",
            "127.0.0.1.attacker.example",
            "localhost.",
            "127.0.0.1:1",
        ] {
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
            let answer = Answer::parse(&host.raw(request.as_bytes()).await);
            assert_eq!(answer.status, 421, "{path} of {name}");
        }
    }
    let request =
        format!("GET /healthz HTTP/1.1\r\nhost: LocalHost:{port}\r\nconnection: close\r\n\r\n");
    assert_eq!(
        Answer::parse(&host.raw(request.as_bytes()).await).status,
        200
    );
    host.close().await;
}

fn signed(alg: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(alg);
    header.kid = kid.map(str::to_owned);
    header.jku = Some("http://127.0.0.1:9/keys".to_owned());
    header.x5u = Some("http://127.0.0.1:9/cert".to_owned());
    jsonwebtoken::encode(&header, claims, key).expect("a token")
}

#[tokio::test]
async fn bad_tokens_are_all_refused_alike_a04() {
    let host = Host::memory().await;
    let secret = std::fs::read_to_string(host.dir.path().join("data/keys/hs256.key"));
    let secret: Vec<u8> = secret
        .expect("a key")
        .trim()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex"))
        .collect();
    let key = EncodingKey::from_secret(&secret);
    let good =
        json!({ "sub": "ann", "aud": "evenkeel", "exp": 4_000_000_000_u64, "role": "owner" });
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let fine = signed(Algorithm::HS256, Some("local"), &key, &good);
    assert_eq!(
        host.get("/v1/sessions", &fine).await.status,
        200,
        "headers that point away are not followed"
    );

    let none =
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJhdWQiOiJldmVua2VlbCIsImV4cCI6NDAwMDAwMDAwMH0.";
    let hs = |kid: Option<&str>, claims: &Value| signed(Algorithm::HS256, kid, &key, claims);
    let mut cut = fine.clone();
    cut.pop();
    let other = EncodingKey::from_secret(&[7; 32]);
    let bad = [
        String::new(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        "a".repeat(9_000),
        none.to_owned(),
        cut,
        signed(Algorithm::HS256, Some("local"), &other, &good),
        signed(Algorithm::HS384, Some("local"), &key, &good),
        hs(Some("../../dev/null"), &good),
        hs(Some("tenant-b"), &good),
        hs(Some("local"), &with("aud", json!("other"))),
        hs(Some("local"), &with("nbf", json!(4_000_000_000_u64))),
        hs(Some("local"), &with("sub", json!(""))),
        hs(Some("local"), &with("role", json!("god"))),
        hs(
            Some("local"),
            &json!({ "aud": "evenkeel", "exp": 4_000_000_000_u64 }),
        ),
        hs(
            Some("local"),
            &json!({ "sub": "ann", "exp": 4_000_000_000_u64 }),
        ),
        hs(Some("local"), &json!({ "sub": "ann", "aud": "evenkeel" })),
    ];
    let reference = host.request("GET", "/v1/sessions", None, None).await;
    assert_eq!(reference.status, 401);
    for token in bad {
        let answer = host.get("/v1/sessions", &token).await;
        assert_eq!(answer.status, 401, "{token}");
        assert_eq!(answer.shape(), reference.shape(), "{token}");
    }
    let old = hs(Some("local"), &with("exp", json!(1_000_000_000)));
    let answer = host.get("/v1/sessions", &old).await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (401, Some("token_expired"))
    );
    host.close().await;
}

#[tokio::test]
async fn key_files_are_private_and_made_once_a58() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::memory().await;
    for name in ["hs256.key", "resume.key"] {
        let path = host.dir.path().join("data/keys").join(name);
        let mode = std::fs::metadata(path).expect("a key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    host.close().await;
}

#[tokio::test]
async fn sessions_of_others_are_as_if_they_were_not_there_a05() {
    let host = Host::memory().await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    let welcome = wire
        .until(|frame| frame["type"] == "welcome")
        .await
        .pop()
        .expect("one");
    let session = welcome["session"].as_str().expect("an id").to_owned();
    let bob = host.token_with(|claims| claims.sub = "bob".to_owned());
    let other = host.token_with(|claims| claims.session = "s-other".parse().ok());

    for token in [&bob, &other] {
        for path in ["", "/events", "/journal"] {
            let there = host
                .get(&format!("/v1/sessions/{session}{path}"), token)
                .await;
            let nowhere = host
                .get(&format!("/v1/sessions/s-nowhere{path}"), token)
                .await;
            assert_eq!((there.status, nowhere.status), (404, 404));
            assert_eq!(there.shape(), nowhere.shape());
        }
        let ended = format!("/v1/sessions/{session}/end");
        let answer = host
            .request("POST", &ended, Some(token), Some(&json!({})))
            .await;
        assert_eq!(answer.status, 404);
        let answer = host
            .request("DELETE", &ended.replace("/end", ""), Some(token), None)
            .await;
        assert_eq!(answer.status, 404);
        assert_eq!(
            host.get("/v1/sessions", token).await.json()["sessions"],
            json!([])
        );
        assert_eq!(host.get("/v1/node", token).await.status, 403);
        assert_eq!(host.get("/metrics", token).await.status, 403);
    }
    let mut thief = host.dial().await;
    let mut first = hello(&bob);
    first["session"] = welcome["session"].clone();
    thief.send(first).await;
    let (code, frames) = thief.closed().await;
    assert_eq!(code, 4404, "{frames:#?}");
    assert_eq!(
        host.get(&format!("/v1/sessions/{session}"), &host.token())
            .await
            .status,
        200
    );
    host.close().await;
}

#[tokio::test]
async fn tokens_in_addresses_are_refused_a06() {
    let host = Host::memory().await;
    let token = host.token();
    for name in ["token", "access_token", "TOKEN", "jwt"] {
        let answer = host
            .get(&format!("/v1/sessions?{name}={token}"), &token)
            .await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(!answer.body.contains(&token), "it is not said back");
    }
    host.close().await;
}

#[tokio::test]
async fn sessions_cannot_be_named_by_clients_a08_a40() {
    let host = Host::memory().await;
    for (id, codes) in [
        ("s-mine", [4404].as_slice()),
        ("../..", &[4003]),
        ("*", &[4003]),
        ("a\nb", &[4003]),
    ] {
        let mut wire = host.dial().await;
        let mut first = hello(&host.token());
        first["session"] = json!(id);
        wire.send(first).await;
        let (code, frames) = wire.closed().await;
        assert!(codes.contains(&code), "{id:?}: {code} {frames:#?}");
    }
    for id in [
        "%2e%2e",
        "..%2f..",
        "*",
        ">",
        "a%0ab",
        "a%00b",
        &"a".repeat(65),
    ] {
        let answer = host.get(&format!("/v1/sessions/{id}"), &host.token()).await;
        assert!([400, 404].contains(&answer.status), "{id}");
    }
    host.close().await;
}

#[tokio::test]
async fn header_bombs_are_refused_and_nobody_notices_a10() {
    let host = Host::memory().await;
    let own = host.address();
    let many: String = (0..2_000).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases = [
        (
            format!("GET /healthz HTTP/1.1\r\nhost: {own}\r\n{many}\r\n"),
            vec![431],
        ),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: {own}\r\nx: {}\r\n\r\n",
                "a".repeat(1 << 20)
            ),
            vec![431, 0],
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nhost: {own}\r\nx: a\0b\r\n\r\n"),
            vec![400],
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nhost: {own}\r\nx: a\r\n b\r\n\r\n"),
            vec![400],
        ),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), vec![400]),
        (
            format!("GET http://evil.example/ HTTP/1.1\r\nhost: {own}\r\n\r\n"),
            vec![400],
        ),
        (
            format!("GET /healthz HTTP/1.1\r\nhost: {own}\r\nhost: {own}\r\n\r\n"),
            vec![400],
        ),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), vec![400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), vec![400, 0]),
        (
            format!("CONNECT {own} HTTP/1.1\r\nhost: {own}\r\n\r\n"),
            vec![400, 404, 405],
        ),
        (
            format!("TRACE /healthz HTTP/1.1\r\nhost: {own}\r\n\r\n"),
            vec![405],
        ),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: {own}\r\n\r\n",
                "a".repeat(65_536)
            ),
            vec![414, 431, 0],
        ),
    ];
    for (request, wanted) in cases {
        let began = Instant::now();
        let mut bytes = request.clone().into_bytes();
        // Whoever answers and waits for more is asked to hang up.
        if !wanted.contains(&0) {
            bytes.extend_from_slice(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n");
        }
        let answer = Answer::parse(&host.raw(&bytes).await);
        let shown: String = request.chars().take(60).collect();
        assert!(wanted.contains(&answer.status), "{shown:?}: {answer:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{shown:?}");
    }
    assert_eq!(host.get("/v1/sessions", &host.token()).await.status, 200);
    host.close().await;
}

#[tokio::test]
async fn broken_handshakes_are_refused_in_linear_time_a11() {
    let host = Host::memory().await;
    let own = host.address().to_string();
    let good = upgrade(&own, "");
    let commas = format!("sec-websocket-protocol: {}\r\n", ", ".repeat(5_000));
    let cases = [
        (
            good.replace("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
        ),
        (good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        (
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "!!!!IHNhbXBsZSBub25jZQ=="),
            400,
        ),
        (
            upgrade(&own, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            400,
        ),
        (good.replace("version: 13", "version: 8"), 426),
        (good.replace("version: 13", "version: 0"), 426),
        (good.replace("version: 13", "version: 13, 8"), 426),
        (good.replace("evenkeel.v1.json", "evenkeel.v9"), 400),
        (
            good.replace("sec-websocket-protocol: evenkeel.v1.json\r\n", ""),
            400,
        ),
        (
            good.replace("sec-websocket-protocol: evenkeel.v1.json\r\n", &commas),
            400,
        ),
        (good.replace("upgrade: websocket", "upgrade: h2c"), 426),
        (good.replace("GET", "POST"), 405),
    ];
    for (request, wanted) in cases {
        let request = request.replace("connection: Upgrade", "connection: Upgrade, close");
        let began = Instant::now();
        assert_eq!(status_of(&host, request.clone()).await, wanted, "{request}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    for bits in ["0", "7", "16", "-1", "99999999999"] {
        let offer = format!(
            "sec-websocket-extensions: permessage-deflate; server_max_window_bits={bits}\r\n"
        );
        let mut bytes = upgrade(&own, &offer).into_bytes();
        bytes.extend_from_slice(&[0x88, 0x80, 0, 0, 0, 0]);
        let answer = Answer::parse(&host.raw(&bytes).await);
        assert_eq!(answer.status, 101);
        assert!(
            !answer.head.contains("extensions"),
            "nothing is negotiated (A29)"
        );
    }
    host.close().await;
}

#[tokio::test]
async fn smuggled_requests_are_not_read_a12() {
    let host = Host::memory().await;
    let own = host.address();
    let hidden = format!("GET /healthz HTTP/1.1\r\nhost: {own}\r\n\r\n");
    let cases = [
        format!(
            "content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            hidden.len()
        ),
        format!("content-length: 5\r\ncontent-length: 6\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n10000000000000001\r\n{hidden}"),
        format!(
            "transfer-encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n{hidden}",
            "a".repeat(70_000)
        ),
    ];
    for case in cases {
        let head = format!(
            "POST /v1/tokens HTTP/1.1\r\nhost: {own}\r\ncontent-type: application/json\r\n"
        );
        let bytes = host.raw(format!("{head}{case}").as_bytes()).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("\"ok\":true"), "{case}: {text}");
    }
    host.close().await;
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_are_given_up_a13_a14_n10() {
    let host = Host::start(StoreKind::Memory, |config| {
        config.limits.request_within_s = 1;
    })
    .await;
    let own = host.address();
    let admin = host.admin();
    let slow = format!(
        "POST /v1/tokens HTTP/1.1\r\nhost: {own}\r\nauthorization: Bearer {admin}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{{"
    );
    for request in ["GET /healthz HT", &slow] {
        let began = Instant::now();
        let answer = Answer::parse(&host.raw(request.as_bytes()).await);
        assert!([0, 408].contains(&answer.status), "{answer:?}");
        assert!(
            (1..4).contains(&began.elapsed().as_secs()),
            "{:?}",
            began.elapsed()
        );
    }
    host.close().await;
}

#[tokio::test]
async fn paths_lead_nowhere_but_where_they_should_a18() {
    let host = Host::start(StoreKind::Memory, |config| config.server.playground = true).await;
    let token = host.token();
    assert_eq!(host.get("/", &token).await.status, 200);
    for path in [
        "//",
        "/%2e%2e/",
        "/..%5c",
        "/%00",
        "/%c0%af",
        "/page/app.js/",
        "/assets/",
        "/../Cargo.toml",
    ] {
        let answer = host.get(path, &token).await;
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
    }
    for method in ["PUT", "PATCH", "OPTIONS", "DELETE"] {
        assert_eq!(
            host.request(method, "/v1/sessions", Some(&token), None)
                .await
                .status,
            405
        );
    }
    host.close().await;
}

#[tokio::test]
async fn header_lists_are_bounded_a19() {
    let host = Host::memory().await;
    let list = "br;q=0.1,".repeat(1_000);
    for name in ["accept-encoding", "if-none-match", "range"] {
        let headers = [(name.to_owned(), list.clone())];
        let answer = host
            .request_with("GET", "/healthz", None, &headers, None)
            .await;
        assert_eq!(answer.status, 200, "{name}");
    }
    host.close().await;
}

#[tokio::test]
async fn pages_of_others_cannot_post_a20() {
    let host = Host::memory().await;
    let own = host.address();
    let admin = host.admin();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let body = r#"{"subject":"eve","role":"owner"}"#;
        let request = format!(
            "POST /v1/tokens HTTP/1.1\r\nhost: {own}\r\nauthorization: Bearer {admin}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(
            Answer::parse(&host.raw(request.as_bytes()).await).status,
            415,
            "{kind}"
        );
    }
    let body = json!({ "subject": "a".repeat(70_000), "role": "owner" });
    assert_eq!(
        host.request("POST", "/v1/tokens", Some(&admin), Some(&body))
            .await
            .status,
        413
    );
    host.close().await;
}

#[tokio::test]
async fn without_a_token_there_is_nothing_but_liveness_a22() {
    let host = Host::memory().await;
    for path in [
        "/readyz",
        "/metrics",
        "/v1/node",
        "/v1/sessions",
        "/v1/sessions/s-1",
    ] {
        let answer = host.request("GET", path, None, None).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    let alive = host.request("GET", "/healthz", None, None).await;
    assert_eq!((alive.status, alive.body.as_str()), (200, r#"{"ok":true}"#));
    assert!(!alive.head.to_lowercase().contains("server:"), "no version");
    assert_eq!(host.request("GET", "/", None, None).await.status, 404);
    host.close().await;
}

#[tokio::test]
async fn one_address_and_the_unauthenticated_are_capped_a24() {
    let host = Host::start(StoreKind::Memory, |config| {
        config.server.per_address = 8;
        config.server.max_unauthenticated = 3;
    })
    .await;
    let mut wires = Vec::new();
    for _ in 0..3 {
        wires.push(host.dial().await);
    }
    let refused = Wire::dial(host.address(), &[])
        .await
        .err()
        .expect("a refusal");
    assert!(refused.to_string().contains("503"), "{refused}");

    // Whoever has shown a token is no longer counted.
    let first = wires.first_mut().expect("one");
    first.send(hello(&host.token())).await;
    first.until(|frame| frame["type"] == "welcome").await;
    wires.push(host.dial().await);

    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(host.address())
            .await
            .expect("a connection");
        let _ = stream.write_all(b"GET /").await;
        idle.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(Answer::parse(&host.raw(b"").await).status, 429);
    drop((idle, wires));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        host.request("GET", "/healthz", None, None).await.status,
        200
    );
    host.close().await;
}

#[tokio::test]
async fn a_hello_that_does_not_come_ends_the_connection_a24() {
    let host = Host::memory().await;
    let mut wire = host.dial().await;
    let (code, _) = wire.closed().await;
    assert_eq!(code, 4001);
    host.close().await;
}

#[tokio::test]
async fn revoked_tokens_are_refused_and_their_connections_closed_a09() {
    let host = Host::memory().await;
    let claims = Claims::new("ann", Role::Owner, 600);
    let token = host.running.tokens().mint(&claims);
    let mut wire = host.dial().await;
    wire.send(hello(&token)).await;
    let welcome = wire.until(|frame| frame["type"] == "welcome").await;
    let id = welcome.last().and_then(|frame| frame["session"].as_str());
    let id = id.expect("an id");
    let mut stream = TcpStream::connect(host.address())
        .await
        .expect("a connection");
    let request = format!(
        "GET /v1/sessions/{id}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         accept: text/event-stream\r\nconnection: close\r\n\r\n",
        host.address()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut piece = [0; 4096];
    let read = stream.read(&mut piece).await.expect("an answer");
    assert!(piece[..read].starts_with(b"HTTP/1.1 200"));

    let body = json!({ "token_id": claims.jti });
    let answer = host
        .request(
            "POST",
            "/v1/tokens/revoke",
            Some(&host.admin()),
            Some(&body),
        )
        .await;

    assert_eq!(answer.status, 200, "{answer:?}");
    let (code, frames) = wire.closed().await;
    assert!([4401, 4403].contains(&code), "{frames:#?}");
    assert_eq!(host.get("/v1/sessions", &token).await.status, 401);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.expect("its end");
    assert!(rest.contains("\"code\":\"unauthenticated\""), "{rest}");
    host.close().await;
}
