//! A server that has no file descriptor left.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use keel_server::config::StoreKind;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::support::Host;

const FILES: u64 = 64;

/// The other half of the test below: a server in a process of its own, until its stdin ends.
#[test]
#[ignore = "started by the test below"]
fn a_server_with_few_files() {
    let limit = Rlimit {
        current: Some(FILES),
        maximum: Some(FILES),
    };
    setrlimit(Resource::Nofile, limit).expect("a limit");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let host = runtime.block_on(Host::start(StoreKind::Memory, |_| ()));
    println!("\naddress={}", host.address());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    runtime.block_on(host.close());
}

fn start() -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args([
            "--exact",
            "files::a_server_with_few_files",
            "--ignored",
            "--nocapture",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut read = lines.by_ref().map_while(Result::ok);
    let address = read.find_map(|line| {
        line.strip_prefix("address=")
            .and_then(|text| text.parse().ok())
    });
    // A closed pipe would fail the child's own test.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address.expect("an address"))
}

/// Hundredths of a second that a process has used.
fn cpu(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .expect("fields")
        .split_whitespace()
        .collect();
    fields[11..13]
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum()
}

fn alive(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .expect("set");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_server_without_file_descriptors_answers_busy_and_does_not_spin_s05() {
    let (mut child, address) = start();
    assert!(alive(address).starts_with("HTTP/1.1 200"));
    let crowd: Vec<TcpStream> = (0..FILES + 40)
        .map(|_| TcpStream::connect(address).expect("the backlog"))
        .collect();
    let before = cpu(&child);
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu(&child) - before;
    assert!(used < 50, "{used} hundredths of a second in two seconds");
    let turned_away = crowd.iter().filter(|stream| {
        let mut stream = *stream;
        stream.set_nonblocking(true).expect("set");
        let mut answer = [0; 64];
        matches!(stream.read(&mut answer), Ok(read) if answer[..read].starts_with(b"HTTP/1.1 503"))
    });
    assert!(turned_away.count() > 0, "the reserve answers");

    drop(crowd);
    let began = Instant::now();
    while !alive(address).starts_with("HTTP/1.1 200") {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it does not come back"
        );
    }
    drop(child.stdin.take());
    assert!(child.wait().expect("an end").success());
}
