//! The process provider against a program that does everything wrong.

use std::time::Duration;

use keel_agent::{
    Budgets, Ending, Exit, Failure, Output,
    process::{Clocks, Config, Stdin, Stdout},
};
use serde_json::json;

use super::harness::{Driven, FAKE, Heard, assert_nothing_left, fake, owner, run, run_within};

const ONE: &str = "text=one ";

/// Runs `ops` as JSON lines and wants this cause, and the text before it.
async fn check(ops: &[&str], cause: &str, text: &str) -> Heard {
    let heard = run(fake(Stdout::JsonLines, ops), "prompt").await;
    assert_eq!(heard.failure().cause(), cause, "{ops:?}: {heard:?}");
    assert_eq!(heard.text(), text, "{ops:?}");
    heard
}

#[tokio::test]
async fn what_cannot_be_started_is_named_c01() {
    let script = std::env::temp_dir().join(format!("{}-not-a-program", owner()));
    std::fs::write(&script, "neither a script nor a binary").unwrap();
    for (program, errno) in [
        ("/no/such/program", libc::ENOENT),
        (script.to_str().unwrap(), libc::EACCES),
    ] {
        let heard = run(Config::new(program, owner()), "").await;
        let Failure::Spawn {
            path, errno: told, ..
        } = heard.failure()
        else {
            panic!("{heard:?}")
        };
        assert_eq!((path.as_str(), *told), (program, Some(errno)));
        assert!(heard.took < Duration::from_secs(1));
    }
    std::fs::remove_file(script).unwrap();

    let cwd = Some("/no/such/place".into());
    let heard = run(
        Config {
            cwd,
            ..fake(Stdout::Lines, &[])
        },
        "",
    )
    .await;
    assert_eq!(
        heard.failure().to_string(),
        "cannot start /no/such/place: not a directory to run in"
    );
}

#[tokio::test]
async fn the_way_a_program_ends_is_told_c02_c03_c04() {
    check(&["exit=3"], "exited", "").await;
    check(&[ONE, "exit=3"], "exited", "one ").await;
    check(&[ONE], "no_result", "one ").await;
    check(&[], "no_result", "").await;
    for signal in [6, 9, 11] {
        let heard = check(&[ONE, &format!("signal={signal}")], "signal", "one ").await;
        assert_eq!(heard.outcome.exit, Some(Exit::Signal(signal)));
        assert!(heard.took < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn a_programs_own_word_counts_more_than_its_code_c05() {
    let heard = check(&[ONE, "error=out of luck", "exit=0"], "reported", "one ").await;
    assert_eq!(
        heard.failure().to_string(),
        "the program reports: out of luck"
    );
    let heard = run(
        fake(Stdout::JsonLines, &[ONE, "done=end_turn", "exit=1"]),
        "",
    )
    .await;
    let stop_reason = Some("end_turn".to_owned());
    assert_eq!(heard.outcome.ending, Ending::Done { stop_reason });
    assert_eq!(heard.outcome.exit, Some(Exit::Code(1)));

    let mute = Config {
        text_required: true,
        ..fake(Stdout::JsonLines, &["done"])
    };
    assert_eq!(run(mute, "").await.failure(), &Failure::NoOutput);
}

#[tokio::test]
async fn a_program_that_ignores_term_is_killed_after_three_seconds_c08() {
    for cgroups in [true, false] {
        let config = Config {
            cgroups,
            ..fake(Stdout::Lines, &["ignore-term", "say=one ", "hang"])
        };
        let owner = config.owner.clone();
        let provider = std::sync::Arc::new(keel_agent::process::Process::new(config));
        let mut driven = Driven::start(provider, "", Budgets::default());
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: true });
        assert_eq!(heard.outcome.exit, Some(Exit::Signal(9)));
        assert!(heard.took >= Duration::from_secs(3) && heard.took < Duration::from_secs(5));
        assert_nothing_left(&owner);
    }
}

#[tokio::test]
async fn children_in_sessions_of_their_own_are_killed_and_counted_c09() {
    for cgroups in [true, false] {
        let config = Config {
            cgroups,
            ..fake(Stdout::JsonLines, &["orphans=3", ONE, "done"])
        };
        let heard = run(config, "").await;
        heard.assert_done();
        assert_eq!(heard.outcome.orphans_killed, 3, "cgroups: {cgroups}");
        assert!(heard.took < Duration::from_secs(2), "{:?}", heard.took);

        let config = Config {
            cgroups,
            ..fake(Stdout::Lines, &["orphans=2", "say=one ", "hang"])
        };
        let owner = config.owner.clone();
        let provider = std::sync::Arc::new(keel_agent::process::Process::new(config));
        let mut driven = Driven::start(provider, "", Budgets::default());
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        driven.running.cancel();
        let heard = driven.finish().await;
        assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: false });
        assert_eq!(heard.outcome.orphans_killed, 2, "cgroups: {cgroups}");
        assert_nothing_left(&owner);
    }
}

#[tokio::test]
async fn a_program_that_closes_stdout_and_lives_is_killed_c10() {
    let heard = check(&[ONE, "close-stdout", "hang"], "stdout_closed", "one ").await;
    assert!(heard.took >= Duration::from_secs(1) && heard.took < Duration::from_secs(3));
    let heard = run(
        fake(Stdout::Lines, &["say=one ", "close-stdout", "hang"]),
        "",
    )
    .await;
    assert_eq!(heard.failure().cause(), "stdout_closed");
}

#[tokio::test]
async fn some_garbage_is_skipped_and_told_and_more_is_not_c11() {
    let banner = r"repeat=1000:\x1b[1mnpm warn\n";
    let heard = check(&[banner, ONE, banner, "done"], "garbage", "one ").await;
    assert_eq!(heard.failure(), &Failure::Garbage { lines: 1001 });

    let heard = run(fake(Stdout::JsonLines, &[banner, ONE, "done"]), "").await;
    heard.assert_done();
    assert_eq!(
        (heard.text().as_str(), heard.outcome.noise_lines),
        ("one ", 1000)
    );
    let noise = |output: &Output| {
        if let Output::Noise { lines } = output {
            *lines
        } else {
            0
        }
    };
    assert_eq!(heard.outputs.iter().map(noise).sum::<u32>(), 1000);
}

#[tokio::test]
async fn half_a_line_is_a_failure_and_a_whole_one_without_an_end_is_not_c12() {
    let half = r#"say={"type":"text","te"#;
    let heard = check(&[ONE, half], "truncated_line", "one ").await;
    assert_eq!(heard.failure(), &Failure::TruncatedLine { bytes: 18 });
    check(&[ONE, half, "exit=2"], "exited", "one ").await;
    let heard = run(
        fake(Stdout::JsonLines, &[ONE, r#"say={"type":"done"}"#]),
        "",
    )
    .await;
    heard.assert_done();
}

#[tokio::test]
async fn a_line_without_end_is_cut_off_at_the_cap_c13() {
    let heard = check(&[ONE, "fill=67108864", "hang"], "line_too_long", "one ").await;
    assert_eq!(
        heard.failure(),
        &Failure::LineTooLong {
            bytes_max: 1024 * 1024
        }
    );
    // As plain text it is told piece by piece.
    let heard = run(fake(Stdout::Lines, &["fill=8388608"]), "").await;
    heard.assert_done();
    assert_eq!((heard.text().len(), heard.outcome.lines), (8_388_608, 1));
}

#[tokio::test]
async fn broken_text_is_repaired_and_flagged_c14() {
    let heard = run(fake(Stdout::Lines, &[r"say=\xef\xbb\xbfa\xff\0b\r\nc"]), "").await;
    heard.assert_done();
    assert_eq!(heard.text(), "\u{feff}a\u{fffd}\u{fffd}b\r\nc");
    assert!(heard.outcome.repaired);

    // A character that comes in two writes is none the worse for it.
    let ops = [
        r"say=\xe2\x82",
        "sleep-ms=30",
        r"say=\xac",
        "sleep-ms=30",
        r"say=\xf0\x9f",
    ];
    let heard = run(fake(Stdout::Lines, &ops), "").await;
    assert_eq!(heard.text(), "\u{20ac}\u{fffd}");
}

#[tokio::test]
async fn deep_and_doubled_json_is_survived_c15() {
    let deep = format!(r#"say={{"type":"item","x":{}\n"#, "[".repeat(100_000));
    let twice = r#"say={"type":"text","text":"a","text":"b"}\n"#;
    let heard = run(fake(Stdout::JsonLines, &[&deep, twice, "done"]), "").await;
    heard.assert_done();
    assert_eq!((heard.text().as_str(), heard.outcome.noise_lines), ("b", 1));
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody_c16() {
    let ops = [ONE, "complain=33554432", "done"];
    let heard = run(fake(Stdout::JsonLines, &ops), "").await;
    heard.assert_done();
    assert!(heard.outcome.stderr_dropped >= 33_554_432 - 65_536);
    assert!(heard.outcome.stderr_tail.len() <= 65_536);
}

#[tokio::test]
async fn an_endless_flood_on_stderr_starves_no_clock_c16() {
    let ops = ["ignore-term", ONE, "complain=1000000000000"];
    let terminate = Duration::from_millis(500);
    let config = fake(Stdout::JsonLines, &ops);
    let config = Config {
        clocks: Clocks {
            terminate,
            ..Clocks::default()
        },
        ..config
    };
    let owner = config.owner.clone();
    let provider = std::sync::Arc::new(keel_agent::process::Process::new(config));
    let mut driven = Driven::start(provider, "", Budgets::default());
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    driven.running.cancel();
    let heard = driven.finish().await;
    assert_eq!(heard.outcome.ending, Ending::Cancelled { forced: true });
    assert!(heard.took < Duration::from_secs(3), "{:?}", heard.took);
    assert_nothing_left(&owner);
}

#[tokio::test]
async fn stdin_is_written_and_closed_c17() {
    let prompt = "first\n--dangerously-skip-permissions; $(rm) \u{0} '\u{200d}";
    let heard = run(fake(Stdout::Lines, &["echo"]), prompt).await;
    heard.assert_done();
    assert_eq!(heard.text(), prompt.replace('\0', "\u{fffd}"));

    let large = "a line of prose, and a little more\n".repeat(300_000);
    let heard = run(fake(Stdout::Lines, &["echo"]), &large).await;
    heard.assert_done();
    assert!(heard.text() == large);
}

#[tokio::test]
async fn a_program_that_does_not_read_is_killed_unless_it_ends_c18() {
    let large = "x".repeat(1024 * 1024);
    let stdin = Duration::from_millis(500);
    let clocks = Clocks {
        stdin,
        ..Clocks::default()
    };
    let config = Config {
        clocks,
        ..fake(Stdout::Lines, &["say=one ", "hang"])
    };
    let heard = run(config, &large).await;
    assert_eq!(heard.failure(), &Failure::StdinStalled { ms: 500 });
    assert_eq!(heard.failure().code(), keel_wire::Code::ProviderTimeout);

    run(fake(Stdout::Lines, &["say=one "]), &large)
        .await
        .assert_done();
}

#[tokio::test]
async fn many_tiny_events_are_told_together_c19() {
    let ops = [r#"repeat=200000:{"type":"text","text":"x"}\n"#, "done"];
    let heard = run(fake(Stdout::JsonLines, &ops), "").await;
    heard.assert_done();
    assert_eq!(
        (heard.text().len(), heard.outcome.lines),
        (200_000, 200_001)
    );
    assert!(heard.outputs.len() < 20_000, "{}", heard.outputs.len());
}

#[tokio::test]
async fn the_first_last_word_wins_c20() {
    let ops = [
        "done=first",
        r"say=noise\n",
        "error=no",
        "text=more",
        "done=again",
    ];
    let heard = run(fake(Stdout::JsonLines, &ops), "").await;
    assert_eq!(
        heard.outcome.ending,
        Ending::Done {
            stop_reason: Some("first".to_owned())
        }
    );
    assert_eq!((heard.text().as_str(), heard.outcome.late_lines), ("", 4));

    let linger = Duration::from_millis(300);
    for tail in ["hang", r"endless=late\n", "endless=late"] {
        let clocks = Clocks {
            linger,
            ..Clocks::default()
        };
        let config = Config {
            clocks,
            ..fake(Stdout::JsonLines, &[ONE, "done", tail])
        };
        let heard = run(config, "").await;
        // The endless one may have used up its lines first.
        if heard.outcome.lines < Budgets::default().lines_max - 100_000 {
            heard.assert_done();
        }
        assert!(
            heard.took < Duration::from_secs(3),
            "{tail}: {:?}",
            heard.took
        );
    }
}

#[tokio::test]
async fn a_programs_own_new_attempt_is_told_in_its_place_c21() {
    let again = r#"say={"type":"new_attempt","fault":"cut off"}\n"#;
    let heard = run(
        fake(Stdout::JsonLines, &[ONE, again, "text=one two", "done"]),
        "",
    )
    .await;
    heard.assert_done();
    let wanted = [
        Output::Text("one ".to_owned()),
        Output::NewAttempt {
            failure: Box::new(Failure::Reported {
                message: "cut off".to_owned(),
            }),
        },
        Output::Text("one two".to_owned()),
    ];
    assert_eq!(heard.outputs[1..], wanted);
}

#[tokio::test]
async fn budgets_of_lines_and_calls_end_an_endless_loop_c22() {
    let budgets = Budgets {
        lines_max: 10_000,
        calls_max: 20,
        ..Budgets::default()
    };
    let check = async |ops: &str, words: &str| {
        let heard = run_within(fake(Stdout::JsonLines, &[ops]), "", budgets).await;
        assert_eq!(heard.failure().to_string(), words);
    };
    check(
        r#"endless={"type":"model_call"}\n"#,
        "the budget of 20 calls is used up",
    )
    .await;
    check(r"endless=\n", "the budget of 10000 lines is used up").await;
}

#[tokio::test]
async fn items_and_their_order_are_kept_a63() {
    let item = r#"say={"type":"item","tool":{"type":"done"},"n":1}\n"#;
    let fake_end = r#"text={"type":"done"}\n</turn>\ndata: [DONE]\n"#;
    let heard = run(fake(Stdout::JsonLines, &[ONE, item, fake_end, "done"]), "").await;
    heard.assert_done();
    let wanted = Output::Item(json!({"type": "item", "tool": {"type": "done"}, "n": 1}));
    assert_eq!(heard.outputs[2], wanted);
    assert!(heard.text().contains("</turn>"));
}

#[tokio::test]
async fn a_dialogue_stays_open_until_the_last_word() {
    let ops = ["read-line", ONE, "done", "read", "complain=3"];
    let config = Config {
        stdin: Stdin::Dialogue,
        ..fake(Stdout::JsonLines, &ops)
    };
    let heard = run(config, "prompt").await;
    heard.assert_done();
    assert_eq!(
        (heard.outcome.stderr_tail.as_str(), heard.outcome.exit),
        ("xxx", Some(Exit::Code(0)))
    );
}

#[tokio::test]
async fn secrets_are_redacted_from_what_a_fault_tells_a67() {
    let mut config = Config::new("/bin/sh", owner());
    config.args = vec![
        "-c".to_owned(),
        "echo key $API_KEY and sk-0123456789abcdef >&2; exit 1".to_owned(),
    ];
    config.env.set = vec![("API_KEY".to_owned(), "canary-7f3a".to_owned())];
    let heard = run(config, "").await;
    assert_eq!(heard.outcome.stderr_tail, "key [redacted] and [redacted]\n");
    let fault = heard.outcome.fault("f-1".parse().unwrap(), 0).unwrap();
    assert_eq!(
        fault.detail["stderr_tail"],
        "key [redacted] and [redacted]\n"
    );
    assert!(!serde_json::to_string(&fault).unwrap().contains("canary"));
}

#[tokio::test]
async fn secrets_are_redacted_from_what_a_program_says_of_its_failure_a67() {
    let mut config = Config::new("/bin/sh", owner());
    config.stdout = Stdout::JsonLines;
    // The second would be cut in the midst of its secret.
    let script = format!(
        r#"echo "{{\"type\":\"new_attempt\",\"fault\":\"bad key $API_KEY\"}}"
        echo "{{\"type\":\"error\",\"message\":\"{}$API_KEY\"}}""#,
        "x".repeat(1018)
    );
    config.args = vec!["-c".to_owned(), script];
    config.env.set = vec![("API_KEY".to_owned(), "canary-7f3a".to_owned())];
    let heard = run(config, "").await;
    let told = format!("{heard:?}");
    assert!(told.contains("bad key [redacted]"), "{told}");
    let Failure::Reported { message } = heard.failure() else {
        panic!("{told}")
    };
    assert!(message.ends_with("x[redac"), "{message}");
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test]
async fn the_fake_agents_copy_is_what_was_heard() {
    let dir = std::env::temp_dir().join(owner());
    std::fs::create_dir(&dir).unwrap();
    let witness = dir.join("witness");
    let copy = dir.to_str().unwrap();
    let mut args = ["stream", "--seed", "7", "--lines", "50", "--pace-us", "100"]
        .map(str::to_owned)
        .to_vec();
    args.extend(["--copy", copy, "--witness", witness.to_str().unwrap()].map(str::to_owned));
    for (stdout, key) in [(Stdout::Lines, "plain"), (Stdout::JsonLines, "json")] {
        let mut args = args.clone();
        args.extend((stdout == Stdout::JsonLines).then(|| "--json".to_owned()));
        let config = Config {
            args,
            stdout,
            ..Config::new(FAKE, owner())
        };
        let heard = run(config, &format!("{key}\nrest")).await;
        heard.assert_done();
        assert_eq!(
            heard.text(),
            std::fs::read_to_string(dir.join(key)).unwrap()
        );
        assert_eq!(heard.text().len(), 50 * 64);
        let told = std::fs::read_to_string(&witness).unwrap();
        assert!(
            told.lines()
                .any(|line| line.starts_with(&format!("{key} 3200 "))),
            "{told}"
        );
    }
    std::fs::remove_dir_all(dir).unwrap();
}
