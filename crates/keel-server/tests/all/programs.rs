//! Backends that are programs.

use std::{fs, time::Duration};

use keel_server::config::{
    Backend, BackendKind, Capacity, CapacityKind, Clocks, Framing, StoreKind,
};
use serde_json::json;

use crate::support::{Host, hello, is_turn_end, text_of};

fn program(command: &[&str]) -> Backend {
    Backend {
        kind: BackendKind::Process,
        command: command.iter().map(|part| (*part).to_owned()).collect(),
        ..Backend::echo()
    }
}

async fn with(backend: Backend) -> Host {
    Host::start(StoreKind::Memory, |config| {
        config.backends.insert("program".to_owned(), backend);
        config.session.default_backend = Some("program".to_owned());
    })
    .await
}

#[tokio::test]
async fn a_program_answers() {
    let host = with(program(&["cat"])).await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "as it is").await;
    let frames = wire.until(is_turn_end).await;
    assert_eq!(text_of(&frames), "as it is", "{frames:#?}");
    host.close().await;
}

/// More than the credit of one run: what is committed is given back, to the byte.
#[tokio::test]
async fn a_program_that_says_much_is_read_to_its_end() {
    let host = with(program(&["sh", "-c", "seq 1 200000"])).await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "go").await;
    let frames = wire.until(is_turn_end).await;
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(text_of(&frames) == wanted, "{:?}", frames.last());
    host.close().await;
}

#[tokio::test]
async fn a_program_that_fails_is_told_with_its_cause() {
    for (command, code) in [
        (vec!["sh", "-c", "exit 3"], "provider_crashed"),
        (vec!["/nowhere/to/be/found"], "provider_spawn"),
    ] {
        let host = with(program(&command)).await;
        let mut wire = host.dial().await;
        wire.send(hello(&host.token())).await;
        wire.until(|frame| frame["type"] == "welcome").await;
        wire.say(1, "go").await;
        let end = wire.until(is_turn_end).await.pop().expect("one");
        assert_eq!(end["data"]["fault"]["code"], code, "{end:#?}");
        host.close().await;
    }
}

/// As codex does where it is let out to no network.
#[tokio::test]
async fn a_program_that_mutters_for_ever_is_as_silent_as_one_that_hangs_c25() {
    let script = "read -r l; while :; do echo waiting for network; sleep 0.1; done";
    let host = with(Backend {
        output: Framing::JsonLines,
        clocks: Clocks {
            first_output_ms: 500,
            ..Clocks::default()
        },
        ..program(&["sh", "-c", script])
    })
    .await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "go").await;
    let end = wire.until(is_turn_end).await.pop().expect("one");
    let fault = &end["data"]["fault"];
    assert_eq!(fault["code"], "provider_timeout", "{end:#?}");
    assert_eq!(fault["detail"]["clock"], "first output", "{end:#?}");
    host.close().await;
}

#[tokio::test]
async fn closing_leaves_no_program_behind() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let pid_file = dir.path().join("pid");
    let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
    let host = with(program(&["sh", "-c", &script])).await;
    let mut wire = host.dial().await;
    wire.send(hello(&host.token())).await;
    wire.until(|frame| frame["type"] == "welcome").await;
    wire.say(1, "go").await;
    let pid = loop {
        match fs::read_to_string(&pid_file) {
            Ok(pid) if pid.ends_with('\n') => break pid.trim().to_owned(),
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    host.close().await;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

/// S16: told before the close, by a code that says the same.
#[tokio::test]
async fn a_full_backend_says_so_before_it_closes_s16() {
    let capacity = Capacity {
        kind: CapacityKind::Session,
        slots: 1,
        queue: 0,
    };
    let host = with(Backend {
        capacity: Some(capacity),
        ..program(&["cat"])
    })
    .await;
    let mut first = host.dial().await;
    first.send(hello(&host.token())).await;
    first.until(|frame| frame["type"] == "welcome").await;

    let mut second = host.dial().await;
    let mut wanted = hello(&host.token());
    wanted["instance"] = json!("i-second");
    second.send(wanted).await;
    let (code, frames) = second.closed().await;

    assert_eq!(code, 4503);
    let told = frames
        .iter()
        .find(|frame| frame["type"] == "fault")
        .expect("a fault");
    assert_eq!(told["fault"]["code"], "at_capacity");
    host.close().await;
}
