//! `doctor`: what it finds is what is so.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::home::{Home, command, stdout};

/// Findings, and the exit code.
fn examined(dir: &Path, config: &str) -> (Vec<Value>, i32) {
    fs::write(dir.join("evenkeel.toml"), config).expect("written");
    let output = command(dir).args(["doctor", "--json"]).output();
    let output = output.expect("a run");
    let text = stdout(&output);
    let findings = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (findings, output.status.code().expect("a code"))
}

fn levels(findings: &[Value], check: &str) -> Vec<String> {
    let of = findings.iter().filter(|finding| finding["check"] == check);
    of.filter_map(|finding| Some(finding["level"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn what_will_work_is_said_to() {
    let dir = TempDir::new().expect("a directory");
    let config = "[store]\npath = \"data\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
        [media]\nlisten = \"127.0.0.1:0\"\n";
    let (findings, code) = examined(dir.path(), config);
    assert_eq!(code, 0, "{findings:#?}");
    for check in [
        "configuration",
        "data",
        "keys",
        "clock",
        "http",
        "media",
        "address",
        "udp",
    ] {
        let levels = levels(&findings, check);
        assert!(
            !levels.is_empty() && levels.iter().all(|l| l == "ok"),
            "{check}: {findings:#?}"
        );
    }
    let sound = |finding: &Value| finding["level"] == "ok" || finding["next"].is_string();
    assert!(
        findings.iter().all(sound),
        "each has a next step: {findings:#?}"
    );
    assert!(
        !dir.path().join("data").exists(),
        "it looks, and makes nothing"
    );
}

#[test]
fn what_will_not_work_is_told_with_the_next_step() {
    let dir = TempDir::new().expect("a directory");
    let (findings, code) = examined(dir.path(), "[server]\nlisten = 7\n");
    assert_eq!(
        (code, levels(&findings, "configuration")),
        (1, vec!["fail".to_owned()])
    );

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let config = format!(
        "[store]\npath = \"data\"\n[server]\nlisten = \"{}\"\n",
        taken.local_addr().expect("an address")
    );
    let (findings, code) = examined(dir.path(), &config);
    assert_eq!(
        (code, levels(&findings, "http")),
        (1, vec!["fail".to_owned()]),
        "taken"
    );

    let config = "[store]\npath = \"data\"\n[server]\nlisten = \"0.0.0.0:0\"\n\
         [media]\nlisten = \"0.0.0.0:0\"\nadvertise = \"127.0.0.1\"\n";
    let (findings, code) = examined(dir.path(), config);
    assert_eq!(
        (code, levels(&findings, "address")),
        (1, vec!["fail".to_owned()]),
        "{findings:#?}"
    );
    assert_eq!(
        levels(&findings, "browsers"),
        ["warn"],
        "plain HTTP for others"
    );
    // Where none is named, clients are told one that somebody can be told.
    let config = config.replace("advertise = \"127.0.0.1\"\n", "");
    let (findings, _) = examined(dir.path(), &config);
    let address = findings
        .iter()
        .find(|finding| finding["check"] == "address");
    let said = address.and_then(|finding| finding["says"].as_str());
    let said = said.unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(!said.contains("0.0.0.0"), "{said}");
    let config = "[store]\npath = \"data\"\n[server]\nlisten = \"127.0.0.1:0\"\n\
        [media]\nlisten = \"127.0.0.1:0\"\nadvertise = \"203.0.113.9\"\n";
    let (findings, _) = examined(dir.path(), config);
    assert_eq!(
        levels(&findings, "address"),
        ["warn"],
        "no address of this machine"
    );
    // Where clients are told other ports than are listened on, both are named.
    let mapped = config.replace(
        "127.0.0.1:0\"\nadvertise = \"203.0.113.9",
        "127.0.0.1:37081\"\nthreads = 3\nadvertise = \"203.0.113.9:9000",
    );
    let (findings, _) = examined(dir.path(), &mapped);
    let next = findings
        .iter()
        .find(|finding| finding["check"] == "address");
    let next = next.and_then(|finding| finding["next"].as_str());
    let next = next.unwrap_or_else(|| panic!("{findings:#?}"));
    assert!(
        next.contains("9000-9002") && next.contains("37081-37083"),
        "{next}"
    );

    fs::create_dir_all(dir.path().join("data/keys")).expect("made");
    let key = dir.path().join("data/keys/hs256.key");
    fs::write(&key, "00").expect("written");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("set");
    let (findings, _) = examined(dir.path(), config);
    assert_eq!(levels(&findings, "keys"), ["warn"]);
    let next = |finding: &Value| {
        finding["next"]
            .as_str()
            .is_some_and(|n| n.contains("chmod 600"))
    };
    assert!(findings.iter().any(next), "{findings:#?}");
}

#[test]
fn a_server_that_runs_is_recognised() {
    let home = Home::start();
    let dir = TempDir::new().expect("a directory");
    let config = format!(
        "[store]\npath = \"data\"\n[server]\nlisten = \"{}\"\n",
        home.address
    );
    let (findings, code) = examined(dir.path(), &config);
    assert_eq!(
        (code, levels(&findings, "http")),
        (0, vec!["ok".to_owned()])
    );
}

#[test]
fn turn_servers_answer_or_are_told_within_a_deadline() {
    let dir = TempDir::new().expect("a directory");
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let answers = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let port = |socket: &UdpSocket| socket.local_addr().expect("an address").port();
    let config = format!(
        "[store]\npath = \"data\"\n[server]\nlisten = \"127.0.0.1:0\"\n[media]\nlisten = \"127.0.0.1:0\"\n\
         ice_servers = [{{ urls = [\"stun:127.0.0.1:{}\", \"turn:127.0.0.1:{}?transport=udp\"] }}]\n",
        port(&answers),
        port(&silent),
    );
    let answering = std::thread::spawn(move || {
        let mut request = [0; 512];
        let (bytes, from) = answers.recv_from(&mut request).expect("a request");
        // A success that repeats cookie and transaction (RFC 8489 §5).
        let mut answer = vec![1, 1, 0, 0];
        answer.extend(&request[4..bytes.min(20)]);
        answers.send_to(&answer, from).expect("sent");
    });
    let began = Instant::now();
    let (findings, code) = examined(dir.path(), &config);
    assert!(began.elapsed() < Duration::from_secs(10));
    answering.join().expect("answered");
    let turn = levels(&findings, "turn");
    assert_eq!(
        (code, turn),
        (1, vec!["ok".to_owned(), "fail".to_owned()]),
        "{findings:#?}"
    );
}

/// Answers each request on loopback with this status and body.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
    // It ends with the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n");
            let answer = format!("{head}connection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    url
}

#[test]
fn a_model_s_server_is_asked_whether_it_has_the_model() {
    let dir = TempDir::new().expect("a directory");
    let list = r#"{"object":"list","data":[{"id":"small:latest"},{"id":"big"}]}"#;
    let has = answering("200 OK", list);
    let refuses = answering(
        "401 Unauthorized",
        r#"{"error":{"message":"who are you?"}}"#,
    );
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr();
    let closed = format!("http://{}", closed.expect("an address"));
    let backend = |url: &str, model: &str, more: &str| {
        format!(
            "[store]\npath = \"data\"\n[server]\nlisten = \"127.0.0.1:0\"\n[backends.m]\n\
             kind = \"openai\"\npreset = \"local\"\nbase_url = \"{url}\"\nmodel = \"{model}\"\n{more}"
        )
    };
    let unset = "api_key_env = \"EVENKEEL_TEST_NOT_SET\"\n";
    for (config, level, says) in [
        (backend(&has, "small", ""), "ok", "has small"),
        (backend(&has, "huge", ""), "fail", "small:latest, big"),
        (backend(&refuses, "big", ""), "fail", "401: who are you?"),
        (backend(&closed, "big", ""), "fail", "ollama serve"),
        (
            backend(&has, "big", unset),
            "fail",
            "EVENKEEL_TEST_NOT_SET is not set",
        ),
    ] {
        let (findings, code) = examined(dir.path(), &config);
        assert_eq!(code, i32::from(level == "fail"), "{findings:#?}");
        assert_eq!(levels(&findings, "model"), [level], "{says}: {findings:#?}");
        let told = serde_json::to_string(&findings).expect("JSON");
        assert!(told.contains(says), "{says}: {findings:#?}");
    }
}
