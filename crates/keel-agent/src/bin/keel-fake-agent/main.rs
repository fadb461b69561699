//! A program that behaves like an agent, well or badly, as its arguments say. For tests, drills and
//! the dev server's demo.
//!
//! `keel-fake-agent stream [--seed N] [--lines N] [--pace-us N] [--bytes N] [--json]
//! [--copy DIR] [--witness FILE]` says made-up text, a line at a time, flushed. The first line of
//! stdin is the *key*: it makes the text another one, names the file in `DIR` that gets a copy of
//! each line *before* it is said, and begins the line that `FILE` gets at the end:
//! `KEY BYTES FNV1A64`. What was said is thus always a prefix of the copy, whenever it is killed.
//!
//! `keel-fake-agent acp …` speaks the Agent Client Protocol; see `acp.rs`.
//!
//! `keel-fake-agent OP…` does one thing after the other; `KEY=VALUE` where a value is wanted:
//!
//! | op | does |
//! |---|---|
//! | `say=TEXT` | writes TEXT; `\n`, `\r`, `\0`, `\xHH` are known |
//! | `text=TEXT`, `done`, `done=REASON`, `error=TEXT` | says so on a JSON line |
//! | `repeat=N:TEXT`, `endless=TEXT` | `say=TEXT` so often |
//! | `fill=N` | writes N letters without a line's end |
//! | `complain=N` | writes N bytes to stderr |
//! | `read`, `read-line` | reads stdin to its end; a line |
//! | `echo`, `tell-line` | the same, and says it; as a JSON line |
//! | `fds`, `env` | says its descriptors; its environment |
//! | `orphans=N` | leaves N children in sessions of their own, which hold stdout |
//! | `ignore-term`, `close-stdout` | does so |
//! | `reach=ADDR` | connects to ADDR; says why not, as a JSON line |
//! | `mutter=N` | writes a bad line each N ms, for ever |
//! | `hang`, `sleep-ms=N`, `exit=N`, `signal=N`, `hog=N` | does so; takes N MiB of memory |

mod acp;
mod choices;
mod ear;

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio, exit},
    thread,
    time::Duration,
};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|mode| mode == "stream") {
        return Stream::from_args(&args[1..]).run();
    }
    if args.first().is_some_and(|mode| mode == "acp") {
        return acp::run(&args[1..]);
    }
    let mut out = io::stdout().lock();
    for op in &args {
        let (op, value) = op.split_once('=').unwrap_or((op, ""));
        perform(op, value, &mut out)?;
    }
    out.flush()
}

fn perform(op: &str, value: &str, out: &mut impl Write) -> io::Result<()> {
    let number = || value.parse::<usize>().map_err(io::Error::other);
    match op {
        "say" => out.write_all(&unescape(value))?,
        "text" => writeln!(out, r#"{{"type":"text","text":{}}}"#, quote(value))?,
        "done" if value.is_empty() => writeln!(out, r#"{{"type":"done"}}"#)?,
        "done" => writeln!(out, r#"{{"type":"done","stop_reason":{}}}"#, quote(value))?,
        "error" => writeln!(out, r#"{{"type":"error","message":{}}}"#, quote(value))?,
        "repeat" => {
            let (times, text) = value.split_once(':').unwrap_or(("1", value));
            let text = unescape(text);
            for _ in 0..times.parse::<usize>().map_err(io::Error::other)? {
                out.write_all(&text)?;
            }
        }
        "endless" => {
            let text = unescape(value);
            loop {
                out.write_all(&text)?;
            }
        }
        "fill" => fill(out, number()?)?,
        "complain" => fill(&mut io::stderr().lock(), number()?)?,
        "read" => drop(io::copy(&mut io::stdin().lock(), &mut io::sink())?),
        "read-line" => drop(io::stdin().lock().read_line(&mut String::new())?),
        "tell-line" => {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            writeln!(out, r#"{{"type":"text","text":{}}}"#, quote(&line))?;
        }
        "echo" => drop(io::copy(&mut io::stdin().lock(), out)?),
        "fds" => descriptors(out)?,
        "env" => {
            let mut names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
            names.sort();
            for name in names {
                writeln!(out, "{}", name.display())?;
            }
        }
        "reach" => writeln!(out, r#"{{"type":"text","text":{}}}"#, quote(&reach(value)))?,
        "mutter" => loop {
            out.write_all(b"waiting for network\n")?;
            out.flush()?;
            thread::sleep(Duration::from_millis(number()? as u64));
        },
        "orphans" => {
            out.flush()?;
            (0..number()?).try_for_each(|_| orphan())?;
        }
        // SAFETY: a disposition is set before any thread could mind.
        "ignore-term" => drop(unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) }),
        "close-stdout" => {
            out.flush()?;
            // SAFETY: nothing is written after it, as `hang` follows.
            unsafe { libc::close(1) };
        }
        "hang" => {
            out.flush()?;
            loop {
                thread::park();
            }
        }
        "sleep-ms" => {
            out.flush()?;
            thread::sleep(Duration::from_millis(number()? as u64));
        }
        "hog" => {
            let hogged: Vec<Vec<u8>> = (0..number()?).map(|_| vec![1; 1024 * 1024]).collect();
            writeln!(out, "{}", std::hint::black_box(hogged).len())?;
        }
        "exit" => {
            out.flush()?;
            exit(value.parse().map_err(io::Error::other)?);
        }
        "signal" => {
            out.flush()?;
            let signal = value.parse().map_err(io::Error::other)?;
            // SAFETY: a signal to itself, with the disposition that any program would have; the
            // runtime has a handler for some.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
        _ => return Err(io::Error::other(format!("no such op: {op}"))),
    }
    out.flush()
}

/// What comes of connecting to `addr`, which may be a URL, in words.
fn reach(addr: &str) -> String {
    let addr = addr.trim_start_matches("http://");
    match TcpStream::connect(addr) {
        Ok(_) => format!("reached {addr}"),
        Err(error) => error.to_string(),
    }
}

fn fill(out: &mut impl Write, mut bytes: usize) -> io::Result<()> {
    let chunk = [b'x'; 8192];
    while bytes > 0 {
        let part = bytes.min(chunk.len());
        out.write_all(&chunk[..part])?;
        bytes -= part;
    }
    Ok(())
}

/// Says its descriptors, but for the one that reading the list takes.
fn descriptors(out: &mut impl Write) -> io::Result<()> {
    let mut found: Vec<(i32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry
            .file_name()
            .to_string_lossy()
            .parse()
            .map_err(io::Error::other)?;
        found.push((number, std::fs::read_link(entry.path()).unwrap_or_default()));
    }
    found.sort();
    let own = |path: &PathBuf| path.starts_with("/proc");
    for (number, _) in found.iter().filter(|(_, path)| !own(path)) {
        writeln!(out, "{number}")?;
    }
    Ok(())
}

/// Starts a child that is in a session of its own and never ends.
fn orphan() -> io::Result<()> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["ignore-term", "hang"]).stdin(Stdio::null());
    // SAFETY: one system call between fork and exec.
    unsafe {
        child.pre_exec(|| match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    child.spawn().map(drop)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'0') => out.push(0),
            Some(b'x') => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                out.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What `stream` says, and where it tells of it.
struct Stream {
    seed: u64,
    lines: u64,
    pace: Duration,
    line_bytes: u64,
    json: bool,
    copy: Option<PathBuf>,
    witness: Option<PathBuf>,
}

impl Stream {
    fn from_args(args: &[String]) -> Self {
        let value = |name: &str| {
            let at = args.iter().position(|arg| arg == name)?;
            args.get(at + 1).cloned()
        };
        let number = |name: &str, usual| value(name).and_then(|n| n.parse().ok()).unwrap_or(usual);
        Self {
            seed: number("--seed", 0),
            lines: number("--lines", 20),
            pace: Duration::from_micros(number("--pace-us", 50_000)),
            line_bytes: number("--bytes", 64).max(1),
            json: args.iter().any(|arg| arg == "--json"),
            copy: value("--copy").map(PathBuf::from),
            witness: value("--witness").map(PathBuf::from),
        }
    }

    fn run(&self) -> io::Result<()> {
        let mut prompt = String::new();
        io::stdin().lock().read_to_string(&mut prompt)?;
        let key = file_name(prompt.lines().next().unwrap_or_default());
        let mut copy = match &self.copy {
            Some(dir) => Some(append_to(dir.join(&key))?),
            None => None,
        };

        let mut out = io::stdout().lock();
        let mut state = self.seed ^ fnv(FNV_START, key.as_bytes());
        let (mut bytes, mut hash) = (0, FNV_START);
        for _ in 0..self.lines {
            let line = made_up_line(&mut state, self.line_bytes);
            if let Some(copy) = &mut copy {
                copy.write_all(line.as_bytes())?;
            }
            if self.json {
                writeln!(out, r#"{{"type":"text","text":{}}}"#, quote(&line))?;
            } else {
                out.write_all(line.as_bytes())?;
            }
            out.flush()?;
            bytes += line.len();
            hash = fnv(hash, line.as_bytes());
            thread::sleep(self.pace);
        }
        if let Some(witness) = &self.witness {
            append_to(witness.clone())?
                .write_all(format!("{key} {bytes} {hash:016x}\n").as_bytes())?;
        }
        if self.json {
            writeln!(out, r#"{{"type":"done","stop_reason":"end_turn"}}"#)?;
        }
        out.flush()
    }
}

fn append_to(path: PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The key as the name of a file, whatever the prompt holds.
fn file_name(key: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = key.chars().take(64).map(safe).collect();
    if name.is_empty() {
        "_".to_owned()
    } else {
        name
    }
}

fn made_up_line(state: &mut u64, bytes: u64) -> String {
    let mut line = String::new();
    for _ in 1..bytes {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let letters = b"abcdefghijklmnopqrstuvwxyz      ";
        line.push(char::from(letters[(*state >> 59) as usize]));
    }
    line.push('\n');
    line
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(hash, step)
}
