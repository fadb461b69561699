//! WHIP and WHEP (RFC 9725): a publisher and players that speak HTTP once, and WebRTC from then on.

use std::{net::SocketAddr, time::Duration};

use keel_server::{
    Claims,
    config::{Backend, BackendKind, StoreKind, WebOrigin},
};
use keel_wire::Role;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    peer::Peer,
    support::{Answer, Host, PATIENCE},
};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

pub(crate) async fn host() -> Host {
    host_with(|_| ()).await
}

async fn host_with(change: impl FnOnce(&mut keel_server::Config)) -> Host {
    Host::start(StoreKind::Memory, |config| {
        config.media.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.media.threads = 2;
        let backends = [
            ("passthrough", BackendKind::Passthrough),
            ("room", BackendKind::Room),
        ];
        for (name, kind) in backends {
            config.backends.insert(name.to_owned(), Backend::of(kind));
        }
        config.session.default_backend = Some("passthrough".to_owned());
        change(config);
    })
    .await
}

async fn http(
    host: &Host,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", host.address());
    text += "connection: close\r\n";
    if let Some(token) = token {
        text += &format!("authorization: Bearer {token}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("content-length: {}\r\n\r\n{body}", body.len());
    Answer::parse(&host.raw(text.as_bytes()).await)
}

fn header(answer: &Answer, name: &str) -> Option<String> {
    let mut lines = answer.head.lines();
    lines.find_map(|line| {
        let (of, value) = line.split_once(": ")?;
        of.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

fn expect(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["fault"]["code"], code, "{problem:#}");
    assert_eq!(problem["status"], status, "{problem:#}");
    let kind = header(answer, "content-type");
    assert_eq!(kind.as_deref(), Some("application/problem+json"));
}

pub(crate) struct Opened {
    pub(crate) peer: Peer,
    location: String,
    etag: String,
    answer: String,
}

impl Opened {
    pub(crate) fn session(&self) -> &str {
        self.location.split('/').nth(2).expect("a session")
    }
}

pub(crate) async fn opened(host: &Host, path: &str, token: &str) -> Opened {
    let (mut peer, offer) = Peer::offering(path.starts_with("/whip")).await;
    let answer = http(host, "POST", path, Some(token), &[SDP], &offer).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let kind = header(&answer, "content-type");
    assert_eq!(kind.as_deref(), Some("application/sdp"));
    peer.answered(&answer.body);
    Opened {
        peer,
        location: header(&answer, "location").expect("a location"),
        etag: header(&answer, "etag").expect("a tag"),
        answer: answer.body,
    }
}

/// A camera that runs by itself until it is taken back.
pub(crate) struct Camera {
    stop: oneshot::Sender<()>,
    peer: tokio::task::JoinHandle<Peer>,
}

impl Camera {
    pub(crate) fn run(mut peer: Peer) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let run = async move {
            let over = |_: &Peer| stopped.try_recv().is_ok();
            peer.until(PATIENCE * 6, over).await;
            peer
        };
        let peer = tokio::spawn(run);
        Self { stop, peer }
    }

    pub(crate) async fn stop(self) -> Peer {
        let _ = self.stop.send(());
        self.peer.await.expect("a peer")
    }
}

async fn participants(host: &Host, session: &str) -> usize {
    let path = format!("/v1/sessions/{session}");
    let answer = host.get(&path, &host.admin()).await;
    let body = answer.json();
    let all = body["participants"].as_array();
    let here =
        |all: &Vec<serde_json::Value>| all.iter().filter(|one| one["connected"] == true).count();
    all.map_or(0, here)
}

async fn falls_to(host: &Host, session: &str, wanted: usize, within: Duration) -> bool {
    let end = tokio::time::Instant::now() + within;
    while participants(host, session).await != wanted {
        if tokio::time::Instant::now() > end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

#[tokio::test]
async fn what_is_published_by_whip_is_played_by_whep() {
    let host = host().await;
    let publisher = opened(&host, "/whip", &host.token()).await;
    let session = publisher.session().to_owned();
    assert!(
        publisher.answer.contains("a=candidate:"),
        "nothing to trickle"
    );
    assert!(publisher.answer.contains("a=recvonly") && !publisher.answer.contains("a=sendrecv"));
    let camera = Camera::run(publisher.peer);
    let viewer = host.token_with(|claims| {
        *claims = Claims::new("bob", Role::Viewer, 600);
        claims.session = Some(session.parse().expect("an id"));
    });
    let mut player = opened(&host, &format!("/whep/{session}"), &viewer).await;
    assert!(player.answer.contains("a=sendonly") && !player.answer.contains("a=sendrecv"));
    let plays = player
        .peer
        .until(PATIENCE, |peer| peer.got.len() >= 30)
        .await;
    assert!(plays, "{:?}", player.peer.got);
    assert_eq!(participants(&host, &session).await, 2);
    // Nobody deletes what is another's.
    let path = player.location.clone();
    let other = host.token_with(|claims| claims.sub = "eve".to_owned());
    expect(
        &http(&host, "DELETE", &path, Some(&other), &[], "").await,
        404,
        "session_not_found",
    );
    let gone = http(&host, "DELETE", &path, Some(&viewer), &[], "").await;
    assert_eq!(gone.status, 200, "{gone:?}");
    assert_eq!(participants(&host, &session).await, 1, "it was awaited");
    let again = http(&host, "DELETE", &path, Some(&viewer), &[], "").await;
    expect(&again, 404, "session_not_found");
    assert!(
        player.peer.falls_silent(PATIENCE).await,
        "its transport is closed"
    );
    camera.stop().await;
    let gone = http(
        &host,
        "DELETE",
        &publisher.location,
        Some(&host.token()),
        &[],
        "",
    )
    .await;
    assert_eq!((gone.status, participants(&host, &session).await), (200, 0));
    host.close().await;
}

/// A player that is there first is sent what comes later, without another offer.
#[tokio::test]
async fn who_plays_before_anybody_publishes_is_sent_it_then() {
    let host = host().await;
    let first = opened(&host, "/whip?backend=room", &host.token()).await;
    let path = format!("/whep/{}", first.session());
    let gone = http(
        &host,
        "DELETE",
        &first.location,
        Some(&host.token()),
        &[],
        "",
    )
    .await;
    assert_eq!(gone.status, 200, "{gone:?}");
    let mut player = opened(&host, &path, &host.token()).await;
    assert!(player.peer.until(PATIENCE, |peer| peer.connected).await);
    let path = path.replace("whep", "whip");
    let camera = Camera::run(opened(&host, &path, &host.token()).await.peer);
    let plays = player
        .peer
        .until(PATIENCE, |peer| peer.got.len() >= 10)
        .await;
    assert!(plays, "{:?}", player.peer.got);
    camera.stop().await;
    host.close().await;
}

#[tokio::test]
async fn refusals_are_problems_that_carry_the_fault_a52_a53() {
    let host = host().await;
    let token = host.token();
    let own = Some(token.as_str());
    let (_, offer) = Peer::offering(true).await;
    let post = async |path: &str, token, header, body: &str| {
        http(&host, "POST", path, token, &[header], body).await
    };
    expect(
        &post("/whip", None, SDP, &offer).await,
        401,
        "unauthenticated",
    );
    expect(
        &post("/whip", Some("x.y.z"), SDP, &offer).await,
        401,
        "unauthenticated",
    );
    let viewer = host.token_with(|claims| claims.role = Role::Viewer);
    expect(
        &post("/whip", Some(&viewer), SDP, &offer).await,
        403,
        "permission_denied",
    );
    expect(
        &post("/whip/s-nobody", own, SDP, &offer).await,
        404,
        "session_not_found",
    );
    expect(
        &post("/whep/s-nobody", own, SDP, &offer).await,
        400,
        "media_refused",
    );
    expect(
        &post("/whip/..%2f..", own, SDP, &offer).await,
        404,
        "session_not_found",
    );
    expect(
        &post("/whip?backend=echo", own, SDP, &offer).await,
        400,
        "invalid_request",
    );
    expect(
        &post("/whip?backend=none", own, SDP, &offer).await,
        404,
        "backend_not_found",
    );
    let text = ("content-type", "text/plain");
    expect(
        &post("/whip", own, text, &offer).await,
        415,
        "invalid_request",
    );
    for junk in ["", "junk", "v=0\r\n", &offer.replace("a=mid:", "a=mud:")] {
        expect(&post("/whip", own, SDP, junk).await, 400, "media_refused");
    }
    let weak = offer.replace("sha-256", "sha-1");
    expect(&post("/whip", own, SDP, &weak).await, 400, "media_refused");
    let lines = format!(
        "{offer}{}",
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:x\r\n".repeat(400)
    );
    let many = post("/whip", own, SDP, &lines).await;
    assert!([400, 429].contains(&many.status), "{many:?}");
    let large = format!("{offer}{}", "a=x:y\r\n".repeat(20_000));
    expect(
        &post("/whip", own, SDP, &large).await,
        413,
        "invalid_request",
    );
    for method in ["PUT", "PATCH", "DELETE"] {
        let answer = http(&host, method, "/whip", own, &[], "").await;
        expect(&answer, 405, "invalid_request");
        assert!(header(&answer, "allow").is_some_and(|allow| allow.contains("POST")));
    }
    // RFC 9725 §4: a GET has nothing to show, and is no error.
    assert_eq!(
        http(&host, "GET", "/whip/s-x", own, &[], "").await.status,
        204
    );
    let sessions = host.get("/v1/sessions", &token).await.json();
    let left = sessions["sessions"].as_array().map_or(0, Vec::len);
    assert!(
        left <= 4,
        "what was refused left nothing but its session: {sessions:#}"
    );
    host.close().await;
}

#[tokio::test]
async fn pages_on_the_list_are_answered_and_others_not() {
    let origin: WebOrigin = serde_json::from_value(json!("https://app.example")).expect("one");
    let host = host_with(|config| config.server.allowed_origins.push(origin)).await;
    let ours = [("origin", "https://app.example")];
    let answer = http(&host, "OPTIONS", "/whip/s-x", None, &ours, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        header(&answer, "accept-post").as_deref(),
        Some("application/sdp")
    );
    let allowed = header(&answer, "access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some("https://app.example"));
    let headers = header(&answer, "access-control-allow-headers").unwrap_or_default();
    assert!(
        headers.contains("authorization") && headers.contains("if-match"),
        "{headers}"
    );
    let refused = http(&host, "POST", "/whip", None, &ours, "").await;
    assert_eq!(refused.status, 401);
    assert!(
        header(&refused, "access-control-allow-origin").is_some(),
        "it may be read"
    );
    let others = [("origin", "https://evil.example")];
    let answer = http(&host, "OPTIONS", "/whip/s-x", None, &others, "").await;
    assert_eq!(
        (
            answer.status,
            header(&answer, "access-control-allow-origin")
        ),
        (403, None)
    );
    host.close().await;
}

#[tokio::test]
async fn candidates_and_restarts_go_by_the_entity_tag_a47_a53() {
    let host = host().await;
    let token = host.token();
    let mut publisher = opened(&host, "/whip", &token).await;
    assert!(publisher.peer.until(PATIENCE, |peer| peer.sent > 5).await);
    let path = publisher.location.clone();
    let patch = async |headers: &[(&str, &str)], body: &str| {
        http(&host, "PATCH", &path, Some(&token), headers, body).await
    };
    let tag = publisher.etag.clone();
    let etag = ("if-match", tag.as_str());
    let trickle = "a=candidate:1 1 udp 2122260223 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
    let answer = patch(&[FRAGMENT, etag], trickle).await;
    assert_eq!((answer.status, header(&answer, "etag")), (204, None));
    let many = "a=candidate:1 1 udp 1 169.254.169.254 80 typ host\r\n".repeat(1_000);
    assert_eq!(
        patch(&[FRAGMENT, etag], &many).await.status,
        204,
        "passed over"
    );
    expect(&patch(&[FRAGMENT], trickle).await, 428, "invalid_request");
    let stale = ("if-match", "\"stale\"");
    expect(
        &patch(&[FRAGMENT, stale], trickle).await,
        412,
        "invalid_request",
    );
    expect(&patch(&[SDP, etag], trickle).await, 415, "invalid_request");
    expect(
        &patch(&[FRAGMENT, etag], "junk").await,
        400,
        "invalid_request",
    );
    let wrong = path.replace("/whip/", "/whep/");
    let answer = http(
        &host,
        "PATCH",
        &wrong,
        Some(&token),
        &[FRAGMENT, etag],
        trickle,
    )
    .await;
    expect(&answer, 404, "session_not_found");

    let fresh = restarted(&host, &token, &mut publisher).await;
    expect(
        &patch(&[FRAGMENT, etag], trickle).await,
        412,
        "invalid_request",
    );
    assert_eq!(
        patch(&[FRAGMENT, ("if-match", &fresh)], trickle)
            .await
            .status,
        204
    );
    let camera = Camera::run(publisher.peer);
    let path = path.replace("/whip/", "/whep/");
    let path = path.rsplit_once('/').expect("a resource").0;
    let mut player = opened(&host, path, &token).await;
    let plays = player
        .peer
        .until(PATIENCE, |peer| peer.got.len() >= 10)
        .await;
    assert!(plays, "media goes on after the restart");

    // A player's resource is no other.
    let trickled = [FRAGMENT, ("if-match", player.etag.as_str())];
    let answer = http(
        &host,
        "PATCH",
        &player.location,
        Some(&token),
        &trickled,
        trickle,
    )
    .await;
    assert_eq!(answer.status, 204, "{answer:?}");
    restarted(&host, &token, &mut player).await;
    let before = player.peer.got.len();
    let plays = player
        .peer
        .until(PATIENCE, |peer| peer.got.len() >= before + 50)
        .await;
    assert!(plays, "a picture goes on after its player's restart");
    camera.stop().await;
    host.close().await;
}

/// Restarts ICE of a resource (RFC 9725 §4.3.3): the entity tag that counts from then on.
async fn restarted(host: &Host, token: &str, of: &mut Opened) -> String {
    let offer = of.peer.restart();
    let of_ice = |line: &&str| line.starts_with("a=ice-ufrag") || line.starts_with("a=ice-pwd");
    let ice: Vec<&str> = offer.lines().filter(of_ice).take(2).collect();
    let fragment = format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n{}\r\n",
        ice.join("\r\n")
    );
    let headers = [FRAGMENT, ("if-match", "*")];
    let answer = http(
        host,
        "PATCH",
        &of.location,
        Some(token),
        &headers,
        &fragment,
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = header(&answer, "content-type");
    assert_eq!(kind.as_deref(), Some("application/trickle-ice-sdpfrag"));
    let fresh = header(&answer, "etag").expect("a tag");
    assert_ne!(fresh, of.etag);
    // What the client knows of the server is the answer before, with the fragment's ICE.
    let theirs: Vec<&str> = answer.body.lines().filter(of_ice).collect();
    let merged: String = of
        .answer
        .lines()
        .map(|line| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => theirs[0],
            Some(("a=ice-pwd", _)) => theirs[1],
            _ => line,
        })
        .flat_map(|line| [line, "\r\n"])
        .collect();
    assert!(!of.answer.contains(theirs[0]), "its credentials are fresh");
    of.peer.answered(&merged);
    fresh
}

#[tokio::test]
async fn a_transport_that_is_gone_ends_its_part_in_the_session() {
    let host = host_with(|config| config.session.resume_window_s = 2).await;
    let token = host.token();
    let mut closed = opened(&host, "/whip", &token).await;
    let session = closed.session().to_owned();
    assert!(closed.peer.until(PATIENCE, |peer| peer.connected).await);
    // It says goodbye by DTLS: gone at once.
    closed.peer.rtc.close().expect("closed");
    closed
        .peer
        .until(Duration::from_millis(300), |_| false)
        .await;
    assert!(
        falls_to(&host, &session, 0, Duration::from_secs(2)).await,
        "closed"
    );
    // It vanishes: gone when the resume window is over, not before.
    let mut vanished = opened(&host, "/whip", &token).await;
    let session = vanished.session().to_owned();
    assert!(vanished.peer.until(PATIENCE, |peer| peer.connected).await);
    drop(vanished.peer);
    assert!(
        !falls_to(&host, &session, 0, Duration::from_secs(2)).await,
        "it is waited for"
    );
    assert!(falls_to(&host, &session, 0, PATIENCE * 3).await, "vanished");
    expect(
        &http(&host, "DELETE", &vanished.location, Some(&token), &[], "").await,
        404,
        "session_not_found",
    );
    host.close().await;
}

#[tokio::test]
async fn a_flood_is_bounded_and_told_when_to_come_back_a53() {
    let host = host().await;
    let token = host.token();
    let (_, offer) = Peer::offering(true).await;
    let mut refused = None;
    for _ in 0..40 {
        let answer = http(&host, "POST", "/whip", Some(&token), &[SDP], &offer).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("a bound");
    expect(&refused, 429, "rate_limited");
    assert!(header(&refused, "retry-after").is_some());
    // Others go on.
    let other = host.token_with(|claims| claims.sub = "bob".to_owned());
    let answer = http(&host, "POST", "/whip", Some(&other), &[SDP], &offer).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    host.close().await;
}

/// Who makes tokens names sessions; who has one for any session does not.
#[tokio::test]
async fn a_session_is_opened_under_the_name_that_its_owners_token_gives_a08() {
    let host = host().await;
    let (_, offer) = Peer::offering(true).await;
    let post =
        async |token: &str| http(&host, "POST", "/whip/studio", Some(token), &[SDP], &offer).await;
    expect(&post(&host.token()).await, 404, "session_not_found");
    let of_studio = |role: Role| {
        host.token_with(|claims| {
            claims.role = role;
            claims.session = Some("studio".parse().expect("an id"));
        })
    };
    expect(
        &post(&of_studio(Role::Publisher)).await,
        404,
        "session_not_found",
    );
    let owner = of_studio(Role::Owner);
    let answer = post(&owner).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = post(&of_studio(Role::Publisher)).await;
    assert_eq!(answer.status, 201, "it is there now: {answer:?}");
    assert_eq!(participants(&host, "studio").await, 2);
    let other = host.token_with(|claims| {
        claims.session = Some("elsewhere".parse().expect("an id"));
    });
    expect(&post(&other).await, 404, "session_not_found");
    host.close().await;
}

/// A connection that the resource loses is found again, and its media goes on.
#[tokio::test]
async fn a_resource_outlives_its_connection_to_the_session() {
    let host = host_with(|config| config.faults.enabled = true).await;
    let token = host.token();
    let publisher = opened(&host, "/whip", &token).await;
    let session = publisher.session().to_owned();
    let camera = Camera::run(publisher.peer);
    let mut player = opened(&host, &format!("/whep/{session}"), &token).await;
    assert!(player.peer.until(PATIENCE, |peer| peer.got.len() > 5).await);
    let body = json!({ "session": session, "fault": { "kind": "drop_connection" } });
    let broken = host
        .request("POST", "/v1/debug/faults", Some(&host.admin()), Some(&body))
        .await;
    assert!(broken.status < 300, "{broken:?}");
    let before = player.peer.got.len();
    assert!(
        player
            .peer
            .until(PATIENCE, |peer| peer.got.len() > before + 30)
            .await
    );
    assert_eq!(participants(&host, &session).await, 2);
    for location in [&publisher.location, &player.location] {
        let gone = http(&host, "DELETE", location, Some(&token), &[], "").await;
        assert_eq!(gone.status, 200, "{gone:?}");
    }
    assert_eq!(participants(&host, &session).await, 0);
    camera.stop().await;
    host.close().await;
}

/// Revoking a viewer's token ends what it is sent, not only what it may ask.
#[tokio::test]
async fn a_revoked_or_expired_viewer_is_sent_nothing_more_a09_p12() {
    let host = host().await;
    let publisher = opened(&host, "/whip", &host.token()).await;
    let session = publisher.session().to_owned();
    let camera = Camera::run(publisher.peer);
    let path = format!("/whep/{session}");
    let mint = async |ttl_s: u64| {
        let body =
            json!({ "subject": "bob", "role": "viewer", "session": session, "ttl_s": ttl_s });
        let minted = host
            .request("POST", "/v1/tokens", Some(&host.admin()), Some(&body))
            .await;
        assert_eq!(minted.status, 201, "{minted:?}");
        minted.json()
    };
    let minted = mint(600).await;
    let token = minted["token"].as_str().expect("a token").to_owned();
    let mut player = opened(&host, &path, &token).await;
    assert!(player.peer.until(PATIENCE, |peer| peer.got.len() > 5).await);
    let body = json!({ "token_id": minted["token_id"] });
    let revoked = host
        .request(
            "POST",
            "/v1/tokens/revoke",
            Some(&host.admin()),
            Some(&body),
        )
        .await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let began = tokio::time::Instant::now();
    assert!(
        player.peer.falls_silent(Duration::from_secs(5)).await,
        "revoked"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
    let refused = http(&host, "DELETE", &player.location, Some(&token), &[], "").await;
    expect(&refused, 401, "unauthenticated");

    let minted = mint(3).await;
    let token = minted["token"].as_str().expect("a token").to_owned();
    let mut player = opened(&host, &path, &token).await;
    assert!(player.peer.until(PATIENCE, |peer| peer.got.len() > 5).await);
    assert!(player.peer.falls_silent(PATIENCE).await, "expired");
    assert_eq!(participants(&host, &session).await, 1);
    camera.stop().await;
    host.close().await;
}

#[tokio::test]
async fn relays_are_told_in_link_headers_a54() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let secret_file = dir.path().join("secret");
    std::fs::write(&secret_file, "sixteen bytes and more").expect("written");
    let fixed = json!([{ "urls": ["stun:stun.example.org"] }]);
    let turn =
        json!({ "urls": ["turn:turn.example.org:3478?transport=udp"], "secret_file": secret_file });
    let host = host_with(|config| {
        config.media.ice_servers = serde_json::from_value(fixed).expect("servers");
        config.turn = serde_json::from_value(turn).expect("a server");
    })
    .await;
    let (_, offer) = Peer::offering(true).await;
    let answer = http(&host, "POST", "/whip", Some(&host.token()), &[SDP], &offer).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let links: Vec<&str> = answer
        .head
        .lines()
        .filter_map(|line| line.strip_prefix("link: "))
        .collect();
    assert_eq!(links.len(), 2, "{links:?}");
    assert_eq!(links[0], "<stun:stun.example.org>; rel=\"ice-server\"");
    let turn = links[1];
    assert!(turn.starts_with(
        "<turn:turn.example.org:3478?transport=udp>; rel=\"ice-server\"; username=\""
    ));
    assert!(
        turn.contains("; credential=\"") && turn.ends_with("credential-type=\"password\""),
        "{turn}"
    );
    host.close().await;
}
