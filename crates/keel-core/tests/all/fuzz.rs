//! The fuzz target under `cargo test`: the committed corpus, and mutations of it.

use std::{fs, path::Path};

use crate::fuzzed;

/// Mutants that are run. `EVENKEEL_FUZZ_RUNS` says otherwise.
const RUNS: u64 = 3_000;
/// Longest program, in bytes.
const BYTES_MAX: usize = 2_048;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/session");
    let files = fs::read_dir(&dir).expect("the corpus is there");
    let mut corpus: Vec<_> = files
        .map(|file| {
            let file = file.expect("a file");
            let name = file.file_name().to_string_lossy().into_owned();
            (name, fs::read(file.path()).expect("read"))
        })
        .collect();
    corpus.sort();
    corpus
}

/// What libFuzzer does, less its eye for what is new.
fn mutate(random: &mut fastrand::Rng, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
    let pick = |random: &mut fastrand::Rng| &corpus[random.usize(..corpus.len())].1;
    let mut bytes = pick(random).clone();
    for _ in 0..random.usize(1..24) {
        let at = random.usize(..=bytes.len());
        match random.u8(..6) {
            0 => bytes.insert(at, random.u8(..)),
            1 => bytes.truncate(at.max(1)),
            2 => {
                let other = pick(random);
                let from = random.usize(..=other.len());
                let to = random.usize(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            3 => bytes.extend((0..32).map(|_| random.u8(..))),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u8(..);
                }
            }
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

#[test]
fn the_corpus_breaks_no_law() {
    let corpus = corpus();
    assert!(corpus.len() >= 6, "{}", corpus.len());
    for (name, bytes) in corpus {
        let lived = std::panic::catch_unwind(|| fuzzed::run(&bytes));
        assert!(lived.is_ok(), "{name}");
    }
}

/// A34–A38, with several connections, a store that fails, and crashes: no panic, and the laws hold.
#[test]
fn no_mutation_of_the_corpus_breaks_a_law_a34_a38() {
    let corpus = corpus();
    let runs = std::env::var("EVENKEEL_FUZZ_RUNS").map_or(RUNS, |runs| runs.parse().unwrap());
    for seed in 0..runs {
        let bytes = mutate(&mut fastrand::Rng::with_seed(seed), &corpus);
        let lived = std::panic::catch_unwind(|| fuzzed::run(&bytes));
        if lived.is_err() {
            let path = std::env::temp_dir().join(format!("evenkeel-fuzz-{seed}"));
            fs::write(&path, &bytes).unwrap();
            panic!(
                "seed {seed}: put {} into fuzz/corpus/session",
                path.display()
            );
        }
    }
}
