//! `serve` and `token`: configuration, signals, exit codes.

use std::{
    fs,
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::home::{Home, command, stderr, stdout, terminate};

#[test]
fn a_certificate_that_is_not_there_is_refused_with_its_option_its_file_and_78() {
    let dir = TempDir::new().expect("a directory");
    fs::create_dir(dir.path().join("etc")).expect("a directory");
    let text = "[server]\nlisten = \"127.0.0.1:0\"\n[server.tls]\ncert = \"cert.pem\"\n\
                [store]\nkind = \"memory\"\npath = \"data\"\n";
    fs::write(dir.path().join("etc/e.toml"), text).expect("written");
    let output = command(dir.path())
        .args(["serve", "--config", "etc/e.toml"])
        .output()
        .expect("a run");
    assert_eq!(output.status.code(), Some(78));
    // It is looked for beside the file that names it.
    let wanted = "server.tls.cert: etc/cert.pem: ";
    assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
}

#[test]
fn a_wrong_option_is_refused_with_its_line_and_78() {
    let dir = TempDir::new().expect("a directory");
    fs::write(
        dir.path().join("e.toml"),
        "[server]\nlissen = \"127.0.0.1:0\"\n",
    )
    .expect("written");
    let output = command(dir.path())
        .args(["serve", "--config", "e.toml"])
        .output()
        .expect("a run");
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).contains("e.toml:2:"), "{}", stderr(&output));
    let output = command(dir.path())
        .args(["serve", "--config", "none.toml"])
        .output()
        .expect("a run");
    assert_eq!(output.status.code(), Some(78));
}

/// S14 from outside, and a token made beside the server.
#[test]
fn sigterm_drains_and_exits_with_0_s14() {
    let dir = TempDir::new().expect("a directory");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let text = format!("[server]\nlisten = \"{address}\"\n[store]\npath = \"data\"\n");
    fs::write(dir.path().join("e.toml"), text).expect("written");
    let mut server = command(dir.path())
        .args(["serve", "--config", "e.toml"])
        .spawn()
        .expect("a server");
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "it does not listen"
        );
        std::thread::sleep(Duration::from_millis(10));
    }

    let token = command(dir.path())
        .args([
            "token",
            "mint",
            "--config",
            "e.toml",
            "--subject",
            "ann",
            "--ttl-s",
            "60",
        ])
        .output()
        .expect("a run");
    let token = stdout(&token).trim().to_owned();
    let said = command(dir.path())
        .args(["connect", &address.to_string(), "--say", "hello"])
        .env("EVENKEEL_TOKEN", &token)
        .output()
        .expect("a run");
    assert_eq!(stdout(&said), "hello", "{}", stderr(&said));

    terminate(&server);
    let status = server.wait().expect("an end");
    let mut log = String::new();
    server
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut log)
        .expect("text");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("drained") && !log.contains(&token), "{log}");
}

#[test]
fn what_a_program_leaves_behind_is_the_servers_child_and_gone_with_the_turn_c09() {
    // A shell that ends before what it began, which is in no group of the server's.
    let script = r"stray=$(sh -c 'setsid sleep 100 >/dev/null & echo $!'); \
                   grep PPid: /proc/$stray/status; echo stray: $stray";
    let home = Home::start_with(&format!(
        "[backends.leaves]\nkind = \"process\"\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    ));
    let output = home.run(&["connect", "--backend", "leaves", "--say", "hello"]);
    let said = stdout(&output);
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|number| number.trim().parse::<u32>().ok());
        number.unwrap_or_else(|| panic!("{name} in {said:?}: {}", stderr(&output)))
    };
    assert_eq!(number("PPid:"), home.pid());
    let stray = format!("/proc/{}", number("stray:"));
    assert!(
        !std::path::Path::new(&stray).exists(),
        "neither alive nor a zombie"
    );
}
