//! What a program gets of the server's, and what it may take.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use keel_agent::{
    Budgets, Exit, Output,
    process::{Config, Limits, Process, Stdout, has_cgroups, reap_leftovers},
};

use super::harness::{Driven, FAKE, assert_nothing_left, cgroups_of, fake, left_of, owner, run};

/// Whether cgroups are there; says so, loudly, if not.
fn cgroups_or_skip(test: &str) -> bool {
    let there = has_cgroups();
    if !there {
        // Not by a macro, whose words the test harness keeps to itself.
        let mut stderr = std::io::stderr();
        writeln!(
            stderr,
            "skipped{{needs: cgroup v2 that may be written}}: {test}"
        )
        .expect("stderr is there");
        let root = rustix::process::geteuid().is_root();
        assert!(
            !(root && std::env::var_os("CI").is_some()),
            "root in CI must have cgroups"
        );
    }
    there
}

#[tokio::test]
async fn a_child_has_three_descriptors_whatever_the_server_inherited_a59() {
    let file = File::open("/proc/self/status").unwrap();
    // A descriptor without the flag, as one gets from a careless parent.
    // SAFETY: it is owned by nobody else.
    let leaky = unsafe { OwnedFd::from_raw_fd(libc::dup(file.as_raw_fd())) };
    for cgroups in [true, false] {
        let heard = run(
            Config {
                cgroups,
                ..fake(Stdout::Lines, &["fds"])
            },
            "",
        )
        .await;
        assert_eq!(heard.text(), "0\n1\n2\n");
    }
    drop(leaky);
}

#[tokio::test]
async fn a_child_has_the_listed_environment_and_no_more_a58() {
    let mut config = fake(Stdout::Lines, &["env"]);
    config.env.pass = vec!["PATH".to_owned(), "NOT_THERE".to_owned()];
    config.env.set = vec![("GIVEN".to_owned(), "1".to_owned())];
    let heard = run(config, "").await;
    assert_eq!(heard.text(), "EVENKEEL_NODE\nEVENKEEL_RUN\nGIVEN\nPATH\n");
}

#[tokio::test]
async fn arguments_are_arguments_a56() {
    let mut config = Config::new("/bin/echo", owner());
    config.args = ["-n", "$(id)", ";", "|", "`ls`", "\n"]
        .map(str::to_owned)
        .to_vec();
    assert_eq!(run(config, "").await.text(), "$(id) ; | `ls` \n");
}

#[tokio::test]
async fn too_much_memory_is_an_end_with_a_cause_a61() {
    for cgroups in [true, false] {
        if cgroups && !cgroups_or_skip("too_much_memory") {
            continue;
        }
        let limits = Limits {
            memory_bytes_max: Some(256 * 1024 * 1024),
            processes_max: None,
        };
        let config = Config {
            cgroups,
            limits,
            ..fake(Stdout::Lines, &["say=one ", "hog=1024"])
        };
        let heard = run(config, "").await;
        let cause = if cgroups { "out_of_memory" } else { "signal" };
        assert_eq!(heard.failure().cause(), cause, "{heard:?}");
        assert_eq!(heard.text(), "one ");
        assert!(
            matches!(heard.outcome.exit, Some(Exit::Signal(6 | 9))),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn a_fork_bomb_is_bounded_a61() {
    if !cgroups_or_skip("a_fork_bomb") {
        return;
    }
    let limits = Limits {
        processes_max: Some(8),
        memory_bytes_max: None,
    };
    let config = Config {
        limits,
        ..fake(Stdout::Lines, &["orphans=50"])
    };
    let heard = run(config, "").await;
    assert_eq!(heard.failure().cause(), "exited");
    assert!((1..=8).contains(&heard.outcome.orphans_killed), "{heard:?}");
}

#[tokio::test]
async fn leftovers_of_a_dead_server_are_killed_at_the_next_ones_start_c09() {
    let owner = owner();
    let mut child = Command::new(FAKE);
    child
        .args(["orphans=2", "say=x", "hang"])
        .env("EVENKEEL_NODE", &owner);
    let mut child = child
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while left_of(&owner).len() < 3 && began.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(reap_leftovers(&owner), 3);
    assert_nothing_left(&owner);
    assert_eq!(reap_leftovers(&owner), 0);
    child.wait().unwrap();
}

fn zombie_children() -> usize {
    let own = std::process::id().to_string();
    let stats = std::fs::read_dir("/proc").expect("Linux").flatten();
    let stats = stats.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let is_ours = |stat: &String| stat.contains(&format!(") Z {own} "));
    stats.filter(is_ours).count()
}

#[tokio::test]
async fn nothing_is_leaked_by_many_runs() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    run(fake(Stdout::Lines, &["say=one "]), "")
        .await
        .assert_done();
    let before = descriptors();
    for _ in 0..20 {
        run(fake(Stdout::Lines, &["orphans=1", "say=one "]), "")
            .await
            .assert_done();
    }
    let zombies = zombie_children();
    assert!(zombies < 10, "{zombies} dead orphans are not reaped");
    // Other tests run beside this one; a leak of one a run would show all the same.
    assert!(
        descriptors() < before + 100,
        "{before} descriptors became {}",
        descriptors()
    );
}

/// Not a test: a server that another test kills.
#[tokio::test]
#[ignore = "run by the test after it, as a process of its own"]
async fn a_server_to_be_killed() {
    let owner = std::env::var("KEEL_TEST_OWNER").expect("it is run by a test");
    let args = ["orphans=2", "say=one ", "hang"]
        .map(str::to_owned)
        .to_vec();
    let config = Config {
        args,
        ..Config::new(FAKE, owner)
    };
    let mut driven = Driven::start(Arc::new(Process::new(config)), "", Budgets::default());
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    println!("the turn is under way");
    driven.finish().await;
}

#[tokio::test]
async fn a_killed_servers_program_dies_with_it_and_its_orphans_at_the_next_start() {
    let owner = owner();
    let server = [
        "--exact",
        "all::isolation::a_server_to_be_killed",
        "--ignored",
        "--nocapture",
    ];
    let mut server = Command::new(std::env::current_exe().unwrap())
        .args(server)
        .env("KEEL_TEST_OWNER", &owner)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("under way")));
    assert_eq!(left_of(&owner).len(), 3);

    server.kill().unwrap();
    server.wait().unwrap();
    let began = Instant::now();
    while left_of(&owner).len() > 2 && began.elapsed() < Duration::from_secs(5) {
        std::thread::yield_now();
    }
    assert_eq!(
        left_of(&owner).len(),
        2,
        "the program itself dies with its server"
    );
    assert_eq!(reap_leftovers(&owner), 2);
    assert_nothing_left(&owner);
}

#[test]
fn a_runtime_that_goes_down_takes_everything_with_it() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let config = fake(
        Stdout::Lines,
        &["orphans=1", "ignore-term", "say=one ", "hang"],
    );
    let owner = config.owner.clone();
    let driven = runtime.block_on(async {
        let mut driven = Driven::start(Arc::new(Process::new(config)), "", Budgets::default());
        driven
            .until(|output| matches!(output, Output::Text(_)))
            .await;
        driven
    });
    drop(runtime);
    assert_nothing_left(&owner);
    drop(driven);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_do_not_disturb_each_other() {
    let mut attempts = tokio::task::JoinSet::new();
    for n in 0..100 {
        let say = format!("say=this is {n}");
        attempts
            .spawn(async move { (n, run(fake(Stdout::Lines, &["orphans=1", &say]), "").await) });
    }
    let mut slowest = Duration::ZERO;
    for (n, heard) in attempts.join_all().await {
        heard.assert_done();
        assert_eq!(heard.text(), format!("this is {n}"));
        assert_eq!(heard.outcome.orphans_killed, 1);
        slowest = slowest.max(heard.took);
    }
    println!("the slowest of 100 took {slowest:?}");
}

#[tokio::test]
async fn an_attempt_that_is_dropped_while_it_starts_leaves_nothing() {
    // Without a cgroup there is nothing to see of what is about to be started.
    if !cgroups_or_skip("an_attempt_that_is_dropped") {
        return;
    }
    for _ in 0..50 {
        let config = fake(Stdout::Lines, &["orphans=1", "hang"]);
        let owner = config.owner.clone();
        let mut driven = Driven::start(Arc::new(Process::new(config)), "", Budgets::default());
        let soon = Duration::from_micros(200);
        let _ = tokio::time::timeout(soon, driven.stream.next()).await;
        drop(driven);
        // What was being started is killed as soon as it is.
        let began = Instant::now();
        let is_left = || cgroups_of(&owner) > 0 || !left_of(&owner).is_empty();
        while is_left() && began.elapsed() < Duration::from_secs(5) {
            tokio::task::yield_now().await;
        }
        assert_nothing_left(&owner);
    }
}

#[tokio::test]
async fn a_program_is_where_its_sessions_directory_is_and_nowhere_that_a_link_leads_a57() {
    let base = std::env::temp_dir().canonicalize().unwrap();
    let base = base.join(format!("keel-agent-places-{}", std::process::id()));
    std::fs::create_dir_all(base.join("repo")).unwrap();
    std::os::unix::fs::symlink("repo", base.join("link")).unwrap();
    let at = |place: &str, exact_cwd| Config {
        args: vec!["-c".to_owned(), "pwd -P".to_owned()],
        cwd: Some(base.join(place)),
        exact_cwd,
        ..Config::new("/bin/sh", owner())
    };
    let here = format!("{}\n", base.join("repo").display());
    assert_eq!(run(at("repo", true), "").await.text(), here);
    assert_eq!(
        run(at("link", false), "").await.text(),
        here,
        "the owner's own word"
    );
    let heard = run(at("link", true), "").await;
    assert_eq!(heard.failure().code(), keel_wire::Code::ProviderSpawn);
    assert_eq!(heard.text(), "", "nothing ran");
    std::fs::remove_dir_all(base).unwrap();
}
