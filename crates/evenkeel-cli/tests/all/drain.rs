//! `drain --to`: two servers, each a process with a store of its own, and a client that does not notice.

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use evenkeel::{
    Client, Event, Events, LogEvent, Session,
    wire::{self, BusyPolicy, Strategy, TurnEnd},
};
use tempfile::TempDir;

use crate::home::{command, stderr, stdout, terminate};

/// Longer than anything here may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Host {
    dir: TempDir,
    address: SocketAddr,
    child: Child,
}

fn free_port() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
    probe.local_addr().expect("an address")
}

impl Host {
    /// One that clients find at `address`, and that reaches the other by `way`.
    fn start(address: SocketAddr, peer: SocketAddr, way: SocketAddr, more: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let digits = |digit: &str| digit.repeat(64);
        fs::write(dir.path().join("peer.key"), digits("a")).expect("written");
        fs::write(dir.path().join("token.key"), digits("b")).expect("written");
        let text = format!(
            "{more}\n[server]\nlisten = \"{address}\"\nallowed_hosts = [\"127.0.0.1\"]\n[store]\npath = \"data\"\n\
             [auth]\nkey_dir = \"keys\"\n\
             [peers.other]\nurl = \"http://{way}\"\naddress = \"ws://{peer}\"\nkey = \"peer.key\"\n\
             [backends.echo]\nkind = \"echo\"\n"
        );
        fs::write(dir.path().join("e.toml"), text).expect("written");
        // Tokens of the one are good at the other: they have the same key.
        fs::create_dir(dir.path().join("keys")).expect("a directory");
        fs::write(dir.path().join("keys/hs256.key"), digits("c")).expect("written");
        let child = serve(dir.path(), address);
        Self {
            dir,
            address,
            child,
        }
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("an end");
    }

    fn again(&mut self) {
        self.child = serve(self.dir.path(), self.address);
    }

    fn run(&self, args: &[&str]) -> Output {
        command(self.dir.path()).args(args).output().expect("a run")
    }

    fn token(&self, more: &[&str]) -> String {
        let mint = ["token", "mint", "--config", "e.toml", "--subject", "ann"];
        let output = self.run(&[&mint, more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).trim().to_owned()
    }

    fn drain(&self, within_s: u64) -> Output {
        let url = format!("http://{}", self.address);
        let (token, within) = (self.token(&["--admin"]), within_s.to_string());
        let args = [
            "drain", "--url", &url, "--token", &token, "--to", "other", "--within", &within,
        ];
        self.run(&args)
    }

    async fn join(&self) -> Session {
        let url = format!("ws://{}", self.address);
        let opened = Client::builder()
            .url(url)
            .token(self.token(&[]))
            .backend("echo")
            .busy(BusyPolicy::Queue { max: 16 })
            .connect();
        opened.await.expect("a session")
    }
}

fn serve(dir: &Path, address: SocketAddr) -> Child {
    let log = fs::File::options()
        .append(true)
        .create(true)
        .open(dir.join("server.log"))
        .expect("a file");
    let child = command(dir)
        .args(["serve", "--config", "e.toml"])
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log)
        .spawn()
        .expect("a server");
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(begun.elapsed() < PATIENCE, "it does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two servers that know each other.
fn pair(more: &str) -> (Host, Host) {
    let (blue, green) = (free_port(), free_port());
    (
        Host::start(blue, green, green, more),
        Host::start(green, blue, blue, ""),
    )
}

/// What a client saw.
#[derive(Debug, Default)]
struct Seen {
    next: u64,
    text: Vec<String>,
    ends: Vec<TurnEnd>,
    recovered: Vec<Strategy>,
    lost: usize,
    gaps: usize,
}

impl Seen {
    /// Takes events until so many turns have ended.
    async fn until(&mut self, events: &mut Events, turns: usize) {
        while self.ends.len() < turns {
            let event = tokio::time::timeout(PATIENCE, events.next()).await;
            let event = event.expect("an event in time").expect("it goes on");
            self.take(event);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is not looked at")]
    fn take(&mut self, event: Event) {
        match event {
            Event::Log { range, event } => {
                assert_eq!(range.from.get(), self.next + 1, "each once and in order");
                self.next = range.to.get();
                match event {
                    LogEvent::Known(wire::Event::TurnStarted(_)) => self.text.push(String::new()),
                    LogEvent::Known(wire::Event::Text(text)) => {
                        self.text.last_mut().expect("a turn").push_str(&text.data);
                    }
                    LogEvent::Known(wire::Event::TurnEnded(ended)) => self.ends.push(ended.end),
                    _ => {}
                }
            }
            Event::Recovered { strategy, .. } => self.recovered.push(strategy),
            Event::ConnectionLost { .. } => self.lost += 1,
            Event::Gap { .. } => self.gaps += 1,
            Event::Failed(fault) => panic!("failed: {fault}"),
            _ => {}
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn a_stream_and_commands_move_with_their_session_and_nothing_is_lost_or_doubled_m17() {
    let (mut blue, green) = pair("");
    runtime().block_on(async {
        let session = blue.join().await;
        let mut events = session.events();
        let mut seen = Seen::default();
        let long = session.say("!count=300 pace_ms=5");
        let mut receipts = vec![long];
        // Words that are said all along, while the session closes up, moves and stands again.
        let url = (
            blue.dir.path().to_owned(),
            blue.address,
            blue.token(&["--admin"]),
        );
        let drained = thread::spawn(move || {
            let (dir, address, token) = url;
            let url = format!("http://{address}");
            let args = ["drain", "--url", &url, "--token", &token, "--to", "other"];
            command(&dir).args(args).output().expect("a run")
        });
        for n in 0..8 {
            receipts.push(session.say(format!("word-{n}")));
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut turns = Vec::new();
        for receipt in receipts {
            let accepted = tokio::time::timeout(PATIENCE, receipt).await;
            turns.push(accepted.expect("in time").expect("taken").turn);
        }
        turns.dedup();
        assert_eq!(turns.len(), 9, "each a turn of its own");
        seen.until(&mut events, 9).await;
        assert_eq!(seen.ends, vec![TurnEnd::Done; 9]);
        assert_eq!(seen.text[0].split_whitespace().count(), 300);
        let words: Vec<_> = (0..8).map(|n| format!("word-{n}")).collect();
        assert_eq!(seen.text[1..], words);
        assert_eq!((seen.lost, seen.gaps), (0, 0), "{seen:?}");
        assert_eq!(seen.recovered, [Strategy::Migrate]);

        let output = drained.join().expect("a run");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output).trim(), "1 moved to other");

        // Where it was, HTTP says where it is; and so does the server after a restart.
        let id = session.id().expect("joined").to_string();
        for restarted in [false, true] {
            if restarted {
                terminate(&blue.child);
                blue.child.wait().expect("an end");
                blue.again();
            }
            let (url, token) = (format!("http://{}", blue.address), blue.token(&[]));
            let show = blue.run(&["sessions", "show", &id, "--url", &url, "--token", &token]);
            let told = stderr(&show);
            assert!(told.contains("session_moved"), "{told}");
            let late = Client::builder()
                .url(format!("ws://{}", blue.address))
                .token(blue.token(&[]))
                .session(session.id().expect("joined"))
                .connect();
            let late = late.await.expect("it is directed there");
            assert_eq!(late.id(), session.id());
            late.close().await;
        }
        let (url, token) = (format!("http://{}", green.address), green.token(&[]));
        let show = green.run(&["sessions", "show", &id, "--url", &url, "--token", &token]);
        assert_eq!(show.status.code(), Some(0), "{}", stderr(&show));
        session.close().await;
    });
}

#[test]
fn a_turn_that_does_not_end_in_time_is_interrupted_and_what_it_said_moves_m17() {
    let (blue, _green) = pair("");
    runtime().block_on(async {
        let session = blue.join().await;
        let mut events = session.events();
        let mut seen = Seen::default();
        session.say("!count=100000 pace_ms=5").await.expect("taken");
        let (dir, address) = (blue.dir.path().to_owned(), blue.address);
        let token = blue.token(&["--admin"]);
        let drained = thread::spawn(move || {
            let url = format!("http://{address}");
            let args = [
                "drain", "--url", &url, "--token", &token, "--to", "other", "--within", "1",
            ];
            command(&dir).args(args).output().expect("a run")
        });
        seen.until(&mut events, 1).await;
        assert_eq!(seen.ends, [TurnEnd::Interrupted]);
        let again = session.say("on it goes");
        seen.until(&mut events, 2).await;
        assert!(again.await.expect("taken").turn.is_some());
        assert_eq!(seen.text[1], "on it goes");
        assert_eq!(drained.join().expect("a run").status.code(), Some(0));
        session.close().await;
    });
}

#[test]
fn a_server_that_cannot_take_sessions_takes_none_and_they_stay_m17() {
    let (blue, mut green) = pair("");
    runtime().block_on(async {
        let session = blue.join().await;
        green.kill();
        let output = blue.drain(1);
        assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
        assert!(stderr(&output).contains("other: "), "{}", stderr(&output));
        let said = session.say("still here").await.expect("taken");
        assert!(said.turn.is_some());
        let token = blue.token(&["--admin"]);
        let url = format!("http://{}", blue.address);
        let args = ["drain", "--url", &url, "--token", &token, "--to", "nobody"];
        let unknown = blue.run(&args);
        assert!(stderr(&unknown).contains("no peer"), "{}", stderr(&unknown));
        session.close().await;
    });
}

#[test]
fn a_server_that_is_stopped_hands_its_sessions_over_first_m17_s14() {
    let (mut blue, green) = pair("drain.target = \"other\"");
    runtime().block_on(async {
        let session = blue.join().await;
        let mut events = session.events();
        let mut seen = Seen::default();
        session.say("before").await.expect("taken");
        seen.until(&mut events, 1).await;
        terminate(&blue.child);
        let status = tokio::task::spawn_blocking(move || {
            let status = blue.child.wait().expect("an end");
            (blue, status)
        });
        let (_blue, status) = status.await.expect("waited");
        assert!(status.success());
        session.say("after").await.expect("taken");
        seen.until(&mut events, 2).await;
        assert_eq!((seen.lost, seen.gaps), (0, 0), "{seen:?}");
        assert_eq!(seen.recovered, [Strategy::Migrate]);
        session.close().await;
        drop(green);
    });
}

/// The way from one server to the other, on which the answer to `accept` is lost, and every one after it
/// until the way is open again.
struct Way {
    address: SocketAddr,
    accepted: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
}

impl Way {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let way = Self {
            address: listener.local_addr().expect("an address"),
            accepted: Arc::default(),
            open: Arc::default(),
        };
        let (accepted, open) = (Arc::clone(&way.accepted), Arc::clone(&way.open));
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(server) else {
                    continue;
                };
                let (accepted, open) = (Arc::clone(&accepted), Arc::clone(&open));
                thread::spawn(move || converse(near, far, &accepted, &open));
            }
        });
        way
    }
}

/// One request and its answer after the other.
fn converse(mut near: TcpStream, mut far: TcpStream, accepted: &AtomicBool, open: &AtomicBool) {
    let mut bytes = vec![0; 1 << 20];
    let mut asked = Vec::new();
    while let Ok(read @ 1..) = near.read(&mut bytes) {
        asked.extend_from_slice(&bytes[..read]);
        let _ = far.write_all(&bytes[..read]);
        let text = String::from_utf8_lossy(&asked).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse::<usize>().ok())?
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let last = body.contains("\"step\":\"accept\"");
        asked.clear();
        let Ok(read @ 1..) = far.read(&mut bytes) else {
            break;
        };
        if last {
            accepted.store(true, Ordering::SeqCst);
        }
        if accepted.load(Ordering::SeqCst) && !open.load(Ordering::SeqCst) {
            break;
        }
        let _ = near.write_all(&bytes[..read]);
    }
    let _ = near.shutdown(Shutdown::Both);
    let _ = far.shutdown(Shutdown::Both);
}

/// Waits for what another thread does.
async fn happens(flag: &AtomicBool) {
    let begun = Instant::now();
    while !flag.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < PATIENCE, "it does not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_server_killed_before_it_hears_that_its_session_was_taken_gives_it_up_m17_s01() {
    let (here, there) = (free_port(), free_port());
    let way = Way::to(there);
    let mut blue = Host::start(here, there, way.address, "");
    let green = Host::start(there, here, here, "");
    runtime().block_on(async {
        let session = blue.join().await;
        let mut events = session.events();
        let mut seen = Seen::default();
        session.say("before").await.expect("taken");
        seen.until(&mut events, 1).await;
        let (dir, token) = (blue.dir.path().to_owned(), blue.token(&["--admin"]));
        let drained = thread::spawn(move || {
            let url = format!("http://{here}");
            let args = ["drain", "--url", &url, "--token", &token, "--to", "other"];
            command(&dir).args(args).output().expect("a run")
        });
        happens(&way.accepted).await;
        blue.kill();
        drained.join().expect("a run");
        // It has the session in its store, and does not know who serves it: it does not.
        blue.again();
        let after = session.say("after");
        let waited = tokio::time::timeout(Duration::from_secs(3), seen.until(&mut events, 2));
        assert!(waited.await.is_err(), "nobody serves it: {seen:?}");
        way.open.store(true, Ordering::SeqCst);
        seen.until(&mut events, 2).await;
        assert!(after.await.expect("taken").turn.is_some());
        assert_eq!(seen.text, ["before", "after"]);
        assert_eq!(seen.gaps, 0);
        assert_eq!(seen.recovered.last(), Some(&Strategy::Migrate), "{seen:?}");
        session.close().await;
        drop(green);
    });
}
