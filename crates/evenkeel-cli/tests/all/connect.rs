//! `connect`, scripted, typed into, and against what is not there.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use crate::home::{Home, command, signal, stderr, stdout};

#[test]
fn a_newcomers_first_session_needs_no_key_and_no_configuration() {
    let home = Home::start();
    let output = home.run(&["connect", "--say", "hello there"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "hello there",
        "what was said and nothing else"
    );
    assert!(!stderr(&output).contains('\x1b'), "no colours into a pipe");

    let output = home.run(&["connect", "--backend", "process", "--say", "hello"]);
    assert!(
        stdout(&output).starts_with("You said: hello\n"),
        "{}",
        stdout(&output)
    );
    assert_eq!(stdout(&output).lines().count(), 7);
    assert_eq!(home.stop(), (Some(0), String::new()), "nothing to warn of");
}

#[test]
fn losses_and_recoveries_are_told_as_they_happen_and_nothing_is_lost() {
    let home = Home::start();
    let prompt = "!count=100 pace_ms=5";
    let quiet = home.run(&["connect", "--say", prompt]);
    let mut child = command(home.dir.path())
        .arg("connect")
        .stdin(Stdio::piped())
        .spawn()
        .expect("a run");
    let mut typed = child.stdin.take().expect("piped");
    let mut told = BufReader::new(child.stderr.take().expect("piped"));
    let mut heard = String::new();
    writeln!(typed, "{prompt}").expect("typed");
    // A loss while the one before is being repaired is none of its own.
    for awaited in [
        " created as ",
        "recovered by fast in ",
        "recovered by fast in ",
    ] {
        let from = heard.len();
        while !heard[from..].contains(awaited) {
            let read = told.read_line(&mut heard).expect("text");
            assert!(read > 0, "it ended: {heard}");
        }
        if heard.matches("recovered").count() < 2 {
            writeln!(typed, "/drop").expect("typed");
        }
    }
    drop(typed);
    let rest = std::thread::spawn(move || {
        let mut rest = String::new();
        told.read_to_string(&mut rest).map(|_| rest)
    });
    let broken = child.wait_with_output().expect("an end");
    heard += &rest.join().expect("read").expect("text");
    assert_eq!(broken.status.code(), Some(0), "{heard}");
    assert_eq!(stdout(&broken), stdout(&quiet), "the same words");
    let lost = heard.matches("connection lost: transport_error");
    assert_eq!(lost.count(), 2, "{heard}");
    assert_eq!(heard.matches("recovered by fast in ").count(), 2, "{heard}");
}

#[test]
fn json_is_one_object_an_event() {
    let home = Home::start();
    let output = home.run(&["connect", "--json", "--say", "one two"]);
    let text = stdout(&output);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(events[0]["event"], "joined");
    let said: String = events
        .iter()
        .filter(|event| event["kind"] == "text")
        .filter_map(|event| event["data"]["data"].as_str())
        .collect();
    assert_eq!(said, "one two");
    assert!(
        events
            .iter()
            .any(|event| event["event"] == "receipt" && event["outcome"] == "ok")
    );
}

#[test]
fn exit_codes_say_what_was_wrong() {
    let home = Home::start();
    let code = |args: &[&str]| home.run(args).status.code();
    let url = format!("ws://{}", home.address);
    assert_eq!(code(&["connect", "--say", "!fail=crash"]), Some(1));
    assert_eq!(code(&["connect", "--role", "king"]), Some(2));
    assert_eq!(code(&["connect", "ftp://a", "--token", "x"]), Some(2));
    assert_eq!(
        code(&["connect", "ws://127.0.0.1:1", "--token", "x"]),
        Some(69)
    );
    assert_eq!(
        code(&["connect", "--backend", "nope", "--until-idle"]),
        Some(69)
    );
    assert_eq!(code(&["connect", &url, "--token", "x"]), Some(77));
    assert_eq!(
        code(&["connect", "ws://127.0.0.2:1"]),
        Some(77),
        "no token for that"
    );
}

#[test]
fn a_second_participant_reads_the_past_and_leaves_when_nothing_runs() {
    let home = Home::start();
    let first = home.run(&["connect", "--json", "--say", "hello there"]);
    let joined: Value =
        serde_json::from_str(stdout(&first).lines().next().expect("a line")).expect("JSON");
    let session = joined["session"].as_str().expect("an id");
    let second = home.run(&["connect", session, "--role", "viewer", "--until-idle"]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    assert_eq!(stdout(&second), "hello there");
}

#[test]
fn a_viewers_token_is_good_for_watching_one_session_until_it_is_revoked() {
    let home = Home::start();
    let open = |say: &str| {
        let opened = home.run(&["connect", "--json", "--say", say]);
        let text = stdout(&opened);
        let joined = text.lines().next().expect("a line");
        let joined: Value = serde_json::from_str(joined).expect("JSON");
        joined["session"].as_str().expect("an id").to_owned()
    };
    let (watched, other) = (open("to be seen"), open("not to be"));
    let minted = home.run(&[
        "token",
        "mint",
        "--subject",
        "bob",
        "--role",
        "viewer",
        "--session",
        &watched,
        "--ttl-s",
        "60",
        "--data",
        ".evenkeel",
        "--json",
    ]);
    let minted: Value = serde_json::from_str(&stdout(&minted)).expect("JSON");
    let token = minted["token"].as_str().expect("a token");
    let elsewhere = tempfile::TempDir::new().expect("a directory");
    let url = format!("ws://{}", home.address);
    let with_it = |args: &[&str]| {
        let mut run = command(elsewhere.path());
        run.env("EVENKEEL_TOKEN", token).args(["connect", &url]);
        run.args(args).output().expect("a run")
    };
    let watches = ["--session", &watched, "--role", "viewer", "--until-idle"];
    let seen = with_it(&watches);
    assert_eq!(
        (seen.status.code(), stdout(&seen).as_str()),
        (Some(0), "to be seen"),
        "{}",
        stderr(&seen)
    );
    for refused in [
        &["--session", &watched, "--role", "owner", "--until-idle"][..],
        &["--session", &watched, "--role", "viewer", "--say", "x"],
        &["--session", &other, "--role", "viewer", "--until-idle"],
        &["--say", "a session of its own"],
    ] {
        let output = with_it(refused);
        assert_ne!(
            output.status.code(),
            Some(0),
            "{refused:?}: {}",
            stdout(&output)
        );
        assert!(!stdout(&output).contains("not to be"), "{refused:?}");
    }
    let id = minted["token_id"].as_str().expect("an id");
    let revoked = home.run(&["token", "revoke", id]);
    assert_eq!(revoked.status.code(), Some(0), "{}", stderr(&revoked));
    let output = with_it(&watches);
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
}

#[test]
fn a_dev_token_is_found_where_dev_was_started_and_nowhere_else() {
    let home = Home::start();
    let elsewhere = tempfile::TempDir::new().expect("a directory");
    let url = format!("ws://{}", home.address);
    let output = command(elsewhere.path())
        .args(["connect", &url])
        .output()
        .expect("a run");
    assert_eq!(output.status.code(), Some(77));
    assert!(stderr(&output).contains("no token"), "{}", stderr(&output));
}

/// What `media_summary` says.
fn summary(output: &std::process::Output) -> Value {
    let text = stdout(output);
    let mut lines = text.lines();
    let line = lines.rfind(|line| line.contains("media_summary"));
    let line = line.unwrap_or_else(|| panic!("no summary: {text} {}", stderr(output)));
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn a_picture_is_published_recorded_and_published_again_from_its_file() {
    let home = Home::start();
    let first = home.run(&[
        "connect",
        "--publish",
        "pattern",
        "--record",
        "out.h264",
        "--for",
        "3",
        "--json",
    ]);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    let told = summary(&first);
    let count = |told: &Value, name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{told}"));
    assert!(count(&told, "received") > 50, "{told}");
    assert_eq!(
        (count(&told, "lost"), count(&told, "doubled")),
        (0, 0),
        "{told}"
    );
    assert_eq!(count(&told, "recorded"), count(&told, "received"), "{told}");
    assert!(count(&told, "connected_ms") < 2_000, "{told}");

    let second = home.run(&[
        "connect",
        "--publish",
        "out.h264",
        "--record",
        "out.ivf",
        "--json",
    ]);
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let again = summary(&second);
    assert_eq!(count(&again, "sent"), count(&told, "recorded"), "{again}");
    assert_eq!(count(&again, "received"), count(&again, "sent"), "{again}");
    assert_eq!(count(&again, "lost"), 0, "{again}");

    let third = home.run(&["connect", "--publish", "out.ivf"]);
    let told = stderr(&third);
    assert_eq!(third.status.code(), Some(0), "{told}");
    assert!(told.contains("media connected in "), "{told}");
    assert!(told.contains(" 0 lost, 0 twice"), "{told}");
    let wrong = home.run(&["connect", "--publish", "nothing.ivf"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    let wrong = home.run(&["connect", "--publish", "pattern", "--record", "out.mp4"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
}

/// Whatever it is doing at that moment: many pictures a second keep it busy.
#[test]
fn an_interrupt_ends_it_whenever_it_comes() {
    let home = Home::start();
    for round in 0..4 {
        let publishing = (0..6).map(|_| {
            let args = [
                "connect",
                "--publish",
                "pattern",
                "--fps",
                "120",
                "--json",
                "--backend",
                "passthrough",
            ];
            let mut child = command(home.dir.path()).args(args).spawn().expect("a run");
            let mut said = BufReader::new(child.stdout.take().expect("piped"));
            let mut line = String::new();
            while !line.contains("media_connected") {
                line.clear();
                let read = said.read_line(&mut line).expect("text");
                assert!(read > 0, "it ended");
            }
            (child, said)
        });
        let publishing: Vec<_> = publishing.collect();
        for (child, _) in &publishing {
            signal(child, Signal::INT);
        }
        let by = Instant::now() + Duration::from_secs(20);
        for (mut child, mut said) in publishing {
            // What it says at its end is read, or it could not be said.
            let reading =
                std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
            let status = loop {
                match child.try_wait().expect("it can be asked") {
                    Some(status) => break status,
                    None if Instant::now() < by => std::thread::sleep(Duration::from_millis(20)),
                    None => {
                        child.kill().expect("killed");
                        panic!("round {round}: it goes on though it was interrupted");
                    }
                }
            };
            assert_eq!(status.code(), Some(0), "round {round}");
            reading.join().expect("read").expect("read");
        }
    }
}
