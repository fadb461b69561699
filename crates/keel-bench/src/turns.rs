//! Many turns at once: what is between a model's server and whoever reads along, in time and in
//! processors, beside a bare client of the same model's server.

mod speakers;
mod stamps;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

pub use speakers::{Speakers, main};

use crate::{
    bench::{Bench, Served, UNHINDERED},
    process::{Process, cpu_us},
    results::Measured,
    samples::Samples,
};
use speakers::{Speak, Spoken};

/// Turns at once, of a model's server.
const TURNS: usize = 500;
/// The same, of a program each.
const PROGRAMS: usize = 50;
/// Words a second, in each.
const RATE: u32 = 50;
/// Words of a turn.
const WORDS: u32 = 250;
/// Ours and the bare one's, in turns.
const ROUNDS: usize = 3;
/// What may come on top of the model's own time to its first word, in milliseconds, in 99 of 100.
const OVERHEAD_MS: f64 = 10.;

pub(crate) async fn run(bench: &Bench<'_>) -> Result<Vec<Measured>> {
    let exe = &bench.options.exe;
    let mut model = Process::start(&beside(exe, "keel-fake-model")?, &[], "")?;
    let url = model.line().await?;
    let addr = url.trim_start_matches("http://").to_owned();
    let served = bench.serve("turns", &backends(exe, &url)?).await?;
    let many = bench.samples(TURNS);
    let few = bench.samples(PROGRAMS);

    let mut ours = speakers(bench, &served, "model")?;
    let bare = [
        "bench-speakers",
        "--addr",
        &addr,
        "--path",
        "/v1/chat/completions",
    ];
    let mut bare = Process::start(exe, &bare, "")?;
    let say = Speak {
        turns: many,
        prompt: format!("!ok count={WORDS} rate={RATE} stamp=1"),
    };
    let (mut our, mut their) = (Figures::default(), Figures::default());
    for round in 0..ROUNDS {
        (bench.told)(&format!("{many} turns of a model, round {}", round + 1));
        their.add(bare.pid()?, &mut bare, &say).await?;
        our.add(served.pid()?, &mut ours, &say).await?;
    }
    let mut results = of_model(bench, many, &our, &their);
    for (name, backend, prompt) in [
        (
            "turns_echo_cpu",
            "echo",
            format!("!count={WORDS} pace_ms={} bytes=17\n", 1_000 / RATE),
        ),
        ("turns_process_cpu", "talk", "talk".to_owned()),
    ] {
        (bench.told)(&format!("{few} turns of {backend}"));
        let mut readers = speakers(bench, &served, backend)?;
        let mut figures = Figures::default();
        let say = Speak { turns: few, prompt };
        figures.add(served.pid()?, &mut readers, &say).await?;
        results.push(of_programs(bench, name, backend, few, &figures));
    }
    drop(model);
    Ok(results)
}

/// A program that is built with the one that runs.
fn beside(exe: &Path, name: &str) -> Result<PathBuf> {
    let program = exe.with_file_name(name);
    let how = "build it: cargo build --release -p keel-agent --bins";
    ensure!(
        program.exists(),
        "{} is not there; {how}",
        program.display()
    );
    Ok(program)
}

fn backends(exe: &Path, url: &str) -> Result<String> {
    let agent = beside(exe, "keel-fake-agent")?;
    let pace_us = 1_000_000 / RATE;
    Ok(format!(
        "{UNHINDERED}\n[backends.model]\nkind = \"openai\"\nbase_url = \"{url}/v1\"\nmodel = \"m\"\n\
         tries = 1\n[backends.talk]\nkind = \"process\"\ncommand = [{agent:?}, \"stream\", \"--lines\", \
         \"{WORDS}\", \"--bytes\", \"17\", \"--pace-us\", \"{pace_us}\"]\n"
    ))
}

/// A process of readers who speak to a backend of the server.
fn speakers(bench: &Bench<'_>, served: &Served, backend: &str) -> Result<Process> {
    let addr = served.server.addr().to_string();
    let args = [
        "bench-speakers",
        "--addr",
        &addr,
        "--path",
        "/v1/connect",
        "--backend",
        backend,
    ];
    Process::start(&bench.options.exe, &args, &served.token)
}

/// What rounds of one side came to.
#[derive(Debug, Default)]
struct Figures {
    /// From a model's first word to its reader, in milliseconds; a turn each.
    first: Samples,
    /// From any word to its reader, in milliseconds: the 99th of 100 in each turn.
    word: Samples,
    /// Processor time, in microseconds.
    cpu_us: f64,
    messages: u64,
    words: u64,
}

impl Figures {
    async fn add(&mut self, pid: u32, readers: &mut Process, say: &Speak) -> Result<()> {
        let before = cpu_us(pid)?;
        let spoken: Spoken = readers.ask(&serde_json::to_string(say)?).await?;
        self.cpu_us += cpu_us(pid)? - before;
        let whole = spoken.done == say.turns as u64;
        ensure!(whole, "{} of {} turns were whole", spoken.done, say.turns);
        for (first, word) in spoken.first_us.iter().zip(&spoken.word_us) {
            self.first.push(first / 1_000.);
            self.word.push(word / 1_000.);
        }
        self.messages += spoken.messages;
        self.words += spoken.words;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a few million")]
    fn cpu_per(&self, count: u64) -> f64 {
        self.cpu_us / count.max(1) as f64
    }
}

fn of_model(bench: &Bench<'_>, turns: usize, our: &Figures, their: &Figures) -> Vec<Measured> {
    let how = format!(
        "{turns} turns at once of {WORDS} words at {RATE} a second each, which begin within a second, from \
         keel-fake-model over Chat Completions; each word is the model's clock in microseconds, read on the \
         same machine by readers in a process of their own; committed, with beats and acknowledgements; \
         beside readers of the same model's stream without anything between; {ROUNDS} rounds each, in \
         turns; {}",
        bench.build()
    );
    let over = our.first.p99() - their.first.p99();
    let first = Measured::of("turns_first_token", "ms", &our.first)
        .beside(their.first.median())
        .target(
            format!(
                "p99 at most {OVERHEAD_MS} ms over the bare one's {:.2}: {over:.2}",
                their.first.p99()
            ),
            over <= OVERHEAD_MS,
        )
        .method(format!("from the first word's stamp to its reader: {how}"));
    let word = Measured::of("turns_word", "ms", &our.word)
        .beside(their.word.median())
        .method(format!(
            "the 99th of 100 of a turn's words, from its stamp to its reader: {how}"
        ));
    let cpu = Measured::figure(
        "turns_cpu",
        "us",
        usize::try_from(our.messages).unwrap_or(usize::MAX),
        our.cpu_per(our.messages),
    )
    .beside(their.cpu_per(their.words))
    .method(format!(
        "user and system time of the server's process (/proc/PID/stat) by events delivered, {:.2} us by \
         word; the bare one is the readers' own process by words: {how}",
        our.cpu_per(our.words)
    ));
    vec![first, word, cpu]
}

fn of_programs(
    bench: &Bench<'_>,
    name: &str,
    backend: &str,
    turns: usize,
    figures: &Figures,
) -> Measured {
    let n = usize::try_from(figures.messages).unwrap_or(usize::MAX);
    let method = format!(
        "user and system time of the server's process (/proc/PID/stat), not of its programs, by events \
         delivered; {turns} turns at once of {backend}, {WORDS} words of 17 bytes at {RATE} a second each; {}",
        bench.build()
    );
    Measured::figure(name, "us", n, figures.cpu_per(figures.messages)).method(method)
}
