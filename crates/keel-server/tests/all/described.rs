//! Sessions opened and described over HTTP, and the directories that they may work in.

use std::{os::unix::fs::symlink, path::Path};

use keel_server::config::{Backend, BackendKind, StoreKind};
use keel_wire::Role;
use serde_json::{Value, json};

use crate::support::{Host, Wire, hello, is_turn_end, text_of};

async fn post(host: &Host, key: Option<&str>, body: &Value) -> (u16, Value) {
    let headers: Vec<_> = key
        .map(|key| ("idempotency-key".to_owned(), key.to_owned()))
        .into_iter()
        .collect();
    let token = host.token();
    let answer = host
        .request_with("POST", "/v1/sessions", Some(&token), &headers, Some(body))
        .await;
    (answer.status, answer.json())
}

async fn enter(host: &Host, session: &str, n: u64) -> Wire {
    let mut wire = host.dial().await;
    let mut first = hello(&host.token());
    first["session"] = json!(session);
    first["instance"] = json!(format!("i-{n}"));
    first["stream"]["id"] = json!(format!("c-{n}"));
    wire.send(first).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire
}

async fn opened_and_described(kind: StoreKind) {
    let host = Host::start(kind, |_| ()).await;
    let token = host.token();
    let body = json!({
        "title": "Cranes", "tags": ["docks"], "project": "port", "params": { "a": 1 },
        "busy": { "policy": "queue", "max": 2 },
    });
    let (status, row) = post(&host, Some("k-1"), &body).await;
    assert_eq!(status, 201, "{row:#}");
    assert_eq!(
        (&row["title"], &row["tags"]),
        (&json!("Cranes"), &json!(["docks"]))
    );
    assert_eq!(
        (&row["project"], &row["state"]),
        (&json!("port"), &json!("idle"))
    );
    let (again, same) = post(&host, Some("k-1"), &body).await;
    assert_eq!((again, &same["session"]), (200, &row["session"]));
    let (other, _) = post(&host, Some("k-1"), &json!({ "title": "Lifts" })).await;
    assert_eq!(other, 409, "the key stands for another body");
    let (fresh, another) = post(&host, None, &json!({})).await;
    assert_eq!(fresh, 201);
    assert_ne!(another["session"], row["session"]);

    // It is entered as any other, and every participant sees what is said about it.
    let id = row["session"].as_str().expect("an id").to_owned();
    let (mut one, mut two) = (enter(&host, &id, 1).await, enter(&host, &id, 2).await);
    let path = format!("/v1/sessions/{id}");
    let change = json!({ "title": "Lifts", "starred": true, "tags": ["a", "b"] });
    let changed = host
        .request("PATCH", &path, Some(&token), Some(&change))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(changed.json()["title"], "Lifts");
    for wire in [&mut one, &mut two] {
        let seen = wire
            .until(|frame| frame["kind"] == "session.described")
            .await;
        let data = &seen.last().expect("one")["data"];
        assert_eq!(
            (&data["title"], &data["starred"]),
            (&json!("Lifts"), &json!(true))
        );
        assert_eq!(data["archived"], Value::Null, "absent keeps");
    }
    one.say(1, "hello").await;
    one.until(is_turn_end).await;
    for query in [
        "starred=true",
        "tag=b",
        "q=lifts",
        "q=hello",
        "project=port",
    ] {
        let page = host
            .get(&format!("/v1/sessions?{query}"), &token)
            .await
            .json();
        assert_eq!(page["sessions"][0]["session"], json!(id), "{query}");
        assert_eq!(
            page["sessions"].as_array().map(Vec::len),
            Some(1),
            "{query}"
        );
    }
    let gone = host.get("/v1/sessions?q=cranes", &token).await.json();
    assert_eq!(
        gone["sessions"],
        json!([]),
        "the title of before is not found"
    );

    let away = json!({ "archived": true });
    assert_eq!(
        host.request("PATCH", &path, Some(&token), Some(&away))
            .await
            .status,
        200
    );
    let listed = host.get("/v1/sessions", &token).await.json();
    assert_eq!(
        listed["sessions"].as_array().map(Vec::len),
        Some(1),
        "what is put away is not listed"
    );
    let any = host.get("/v1/sessions?archived=any", &token).await.json();
    assert_eq!(any["sessions"].as_array().map(Vec::len), Some(2));
    let counts = host.get("/v1/sessions/counts", &token).await.json();
    assert_eq!(
        (&counts["archived"], &counts["idle"]),
        (&json!(1), &json!(1))
    );

    // Who is over is still put back.
    let end = format!("{path}/end");
    assert_eq!(
        host.request("POST", &end, Some(&token), Some(&json!({})))
            .await
            .status,
        200
    );
    let back = json!({ "archived": false, "title": "" });
    let row = host
        .request("PATCH", &path, Some(&token), Some(&back))
        .await
        .json();
    assert_eq!(
        (&row["archived"], &row["title"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(row["state"], "ended");

    let viewer = host.token_with(|claims| claims.role = Role::Viewer);
    assert_eq!(
        host.request("PATCH", &path, Some(&viewer), Some(&away))
            .await
            .status,
        403
    );
    assert_eq!(
        host.request("POST", "/v1/sessions", Some(&viewer), Some(&json!({})))
            .await
            .status,
        403
    );
    let stranger = host.token_with(|claims| claims.sub = "eve".to_owned());
    assert_eq!(
        host.request("PATCH", &path, Some(&stranger), Some(&away))
            .await
            .status,
        404
    );
    let long = "x".repeat(513);
    let tags: Vec<_> = (0..17).map(|n| n.to_string()).collect();
    for bad in [
        json!({ "title": long }),
        json!({ "tags": [""] }),
        json!({ "tags": tags }),
        json!({ "pinned": true }),
    ] {
        let open = host
            .request("POST", "/v1/sessions", Some(&token), Some(&bad))
            .await;
        let patched = host
            .request(
                "PATCH",
                &format!(
                    "/v1/sessions/{}",
                    another["session"].as_str().expect("an id")
                ),
                Some(&token),
                Some(&bad),
            )
            .await;
        assert_eq!((open.status, patched.status), (400, 400), "{bad}");
    }
    host.close().await;
}

#[tokio::test]
async fn a_session_is_opened_and_described_over_http_over_memory() {
    opened_and_described(StoreKind::Memory).await;
}

#[tokio::test]
async fn a_session_is_opened_and_described_over_http_over_sqlite() {
    opened_and_described(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_session_that_was_opened_with_a_key_is_the_same_after_a_restart() {
    let (config, dir) = crate::support::config(StoreKind::Sqlite);
    let start = async |config: keel_server::Config| {
        let server = keel_server::Server::bind(config).await.expect("a server");
        Host {
            running: server.start().expect("a start"),
            dir: tempfile::TempDir::new().expect("a directory"),
        }
    };
    let host = start(config.clone()).await;
    let (_, first) = post(&host, Some("k"), &json!({ "title": "one" })).await;
    host.close().await;
    let host = start(config).await;
    let (status, second) = post(&host, Some("k"), &json!({ "title": "one" })).await;
    assert_eq!((status, &second["session"]), (200, &first["session"]));
    host.close().await;
    drop(dir);
}

/// A server whose program says where it is, and may be sent beneath `root`.
async fn placed(root: &Path) -> Host {
    Host::start(StoreKind::Sqlite, |config| {
        let mut backend = Backend::of(BackendKind::Process);
        backend.command = ["/bin/sh", "-c", "pwd -P"].map(str::to_owned).to_vec();
        backend.cwd_roots = vec![root.to_owned()];
        config.backends.insert("shell".to_owned(), backend);
    })
    .await
}

#[tokio::test]
async fn a_directory_lies_beneath_a_root_or_is_refused_a57() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = dir.path().canonicalize().expect("a path");
    for made in ["real/repo/deep", "real-evil", "outside"] {
        std::fs::create_dir_all(base.join(made)).expect("made");
    }
    std::fs::write(base.join("real/file"), "x").expect("written");
    let link = |to: &str, from: &str| symlink(to, base.join(from)).expect("linked");
    link("real", "root");
    link("repo/deep", "real/inside");
    link("/etc", "real/etc");
    link("../outside", "real/up");
    link("/proc/self/cwd", "real/magic");
    link("loop", "real/loop");
    let host = placed(&base.join("root")).await;
    let at = |path: &str| base.join(path).display().to_string();
    let open = async |cwd: &str| {
        let body = json!({ "backend": "shell", "cwd": cwd });
        post(&host, None, &body).await
    };
    // By the root's own path or by the one that the configuration names, and by links within.
    for (cwd, canonical) in [
        (at("root/repo"), at("real/repo")),
        (at("real/repo/deep"), at("real/repo/deep")),
        (at("root/inside"), at("real/repo/deep")),
        (at("root"), at("real")),
    ] {
        let (status, row) = open(&cwd).await;
        assert_eq!(
            (status, &row["cwd"]),
            (201, &json!(canonical)),
            "{cwd}: {row}"
        );
        let mut wire = enter(&host, row["session"].as_str().expect("an id"), 1).await;
        wire.say(1, "where are you?").await;
        let said = text_of(&wire.until(is_turn_end).await);
        assert_eq!(said.trim(), canonical);
    }
    let outside = [
        "/etc".to_owned(),
        "/".to_owned(),
        at("real-evil"),
        at("outside"),
        at("root/../outside"),
        at("root/repo/../../outside"),
        at("root/etc"),
        at("root/up"),
        at("root/magic"),
        at("root/loop"),
        "/proc/self/fd/0".to_owned(),
        "/proc/self/cwd".to_owned(),
        "/proc/self/root/etc".to_owned(),
    ];
    for cwd in outside {
        let (status, fault) = open(&cwd).await;
        assert_eq!(
            (status, &fault["code"]),
            (403, &json!("permission_denied")),
            "{cwd}: {fault}"
        );
    }
    let malformed = [
        String::new(),
        "repo".to_owned(),
        "./repo".to_owned(),
        "//server/share".to_owned(),
        "\\\\server\\share".to_owned(),
        format!("{}\0/../etc", at("root/repo")),
        at("root/none"),
        at("root/file"),
        format!("{}/{}", at("root"), "x/".repeat(3_000)),
    ];
    for cwd in malformed {
        let (status, fault) = open(&cwd).await;
        assert_eq!(
            (status, &fault["code"]),
            (400, &json!("invalid_request")),
            "{cwd}: {fault}"
        );
    }
    let echo = json!({ "backend": "echo", "cwd": at("root/repo") });
    let (status, fault) = post(&host, None, &echo).await;
    assert_eq!(
        (status, &fault["code"]),
        (403, &json!("permission_denied")),
        "no roots, no directory"
    );

    // Who may not open a backend learns nothing about what lies beneath its roots.
    let other = host.token_with(|claims| claims.backends = Some(vec!["echo".to_owned()]));
    for cwd in [at("root/repo"), at("root/none"), at("root/up")] {
        let body = json!({ "backend": "shell", "cwd": cwd });
        let answer = host
            .request("POST", "/v1/sessions", Some(&other), Some(&body))
            .await;
        assert_eq!(answer.json()["code"], "backend_not_found", "{cwd}");
        let mut wire = host.dial().await;
        let mut first = hello(&other);
        (first["backend"], first["cwd"]) = (json!("shell"), json!(cwd));
        wire.send(first).await;
        assert_eq!(wire.closed().await.0, 4405, "{cwd}");
    }

    // By a WebSocket it is no other.
    for (cwd, code) in [(at("root/up"), 4403), (at("root/none"), 4400)] {
        let mut wire = host.dial().await;
        let mut first = hello(&host.token());
        (first["backend"], first["cwd"]) = (json!("shell"), json!(cwd));
        wire.send(first).await;
        let (closed, seen) = wire.closed().await;
        assert_eq!(closed / 100, code / 100, "{seen:?}");
        assert!(
            seen.iter().any(|frame| frame["type"] == "fault"),
            "{seen:?}"
        );
    }
    host.close().await;
}

#[tokio::test]
async fn a_directory_that_was_swapped_for_a_link_runs_nothing_a57() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = dir.path().canonicalize().expect("a path");
    for made in ["root/repo/deep", "root/other/deep", "outside/deep"] {
        std::fs::create_dir_all(base.join(made)).expect("made");
    }
    let host = placed(&base.join("root")).await;
    let mut first = hello(&host.token());
    let cwd = base.join("root/repo/deep");
    (first["backend"], first["cwd"]) = (json!("shell"), json!(cwd));
    let mut wire = host.dial().await;
    wire.send(first).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "where?").await;
    assert_eq!(
        text_of(&wire.until(is_turn_end).await).trim(),
        cwd.display().to_string()
    );

    std::fs::rename(base.join("root/repo"), base.join("root/was")).expect("moved");
    for (n, elsewhere) in [(2, "outside"), (3, "root/other")] {
        symlink(base.join(elsewhere), base.join("root/repo")).expect("linked");
        wire.say(n, "where?").await;
        let seen = wire.until(is_turn_end).await;
        let ended = &seen.last().expect("an end")["data"];
        assert_eq!(ended["end"], "failed", "{ended}");
        assert_eq!(ended["fault"]["code"], "permission_denied", "{ended}");
        assert_eq!(text_of(&seen), "", "nothing ran");
        std::fs::remove_file(base.join("root/repo")).expect("unlinked");
    }
    std::fs::rename(base.join("root/was"), base.join("root/repo")).expect("moved back");
    wire.say(4, "where?").await;
    assert_eq!(
        text_of(&wire.until(is_turn_end).await).trim(),
        cwd.display().to_string()
    );
    host.close().await;
}
