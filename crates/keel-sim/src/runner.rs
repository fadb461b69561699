//! Many seeds over a few threads. The only place with threads: a run knows nothing of them.

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, Once,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::{
    cell::{self, Cells},
    mutant::Mutant,
    world::World,
};

/// Seeds in which each mutant must be found.
const MUTANT_SEEDS: u64 = 10_000;
/// Violations that are kept with their lines; the rest are only counted by seed.
const VIOLATIONS_MAX: usize = 16;
/// Lines of the trace that a violation keeps.
const LINES_MAX: usize = 40;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which seeds.
    pub seeds: Range<u64>,
    /// Over how many threads; 0 counts as 1.
    pub threads: usize,
    /// Whether mutants are to be found, too.
    pub mutants: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Seeds that are done.
    pub seeds: u64,
    /// Seeds there are.
    pub of: u64,
    /// Seeds in which a law did not hold.
    pub violations: u64,
    /// Mutants found.
    pub mutants: u64,
}

/// A law that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// In which run.
    pub seed: u64,
    /// At which step.
    pub step: u64,
    /// Which.
    pub law: String,
    /// What was found instead.
    pub what: String,
    /// The last lines of the trace.
    pub trace: Vec<String>,
}

/// Kinds of faults × phases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CellCount {
    /// That can occur.
    pub possible: usize,
    /// That did.
    pub covered: usize,
    /// That did not, by name.
    pub missing: Vec<String>,
}

/// Planted bugs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MutantCount {
    /// How many there are.
    pub planted: usize,
    /// How many were found.
    pub found: usize,
    /// Those that were not, by name.
    pub missing: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of this format.
    pub version: u32,
    /// Seeds that were run.
    pub seeds: u64,
    /// Steps of all of them.
    pub steps: u64,
    /// Laws that did not hold, by seed.
    pub violations: Vec<Violation>,
    /// What was tried where.
    pub cells: CellCount,
    /// What was planted, and found.
    pub mutants: MutantCount,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {} steps", self.seeds, self.steps)?;
        writeln!(
            f,
            "cells: {} of {} covered{}{}",
            self.cells.covered,
            self.cells.possible,
            if self.cells.missing.is_empty() {
                ""
            } else {
                ", not: "
            },
            self.cells.missing.join(", ")
        )?;
        if self.mutants.planted > 0 {
            writeln!(
                f,
                "mutants: {} of {} found{}{}",
                self.mutants.found,
                self.mutants.planted,
                if self.mutants.missing.is_empty() {
                    ""
                } else {
                    ", not: "
                },
                self.mutants.missing.join(", ")
            )?;
        }
        writeln!(f, "violations: {}", self.violations.len())?;
        for violation in &self.violations {
            writeln!(
                f,
                "\nseed {} step {}: {}: {}",
                violation.seed, violation.step, violation.law, violation.what
            )?;
            for line in &violation.trace {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// One run, seen whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The trace as a number.
    pub hash: u64,
    /// The trace.
    pub lines: Vec<String>,
    /// The law that did not hold, if one did not.
    pub violation: Option<Violation>,
}

/// What one run came to.
struct Ran {
    hash: u64,
    steps: u64,
    cells: Cells,
    lines: Vec<String>,
    broken: Option<(u64, String, String)>,
    mutated: bool,
}

/// A panic on purpose is caught by the Node, and nothing to be printed.
fn quiet_injected_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"injected") {
                before(info);
            }
        }));
    });
}

fn run_one(seed: u64, mutant: Option<Mutant>, lines: bool) -> Ran {
    run_world(World::new(seed, mutant, mutant, lines))
}

/// What a mutant's run would be without the bug.
fn run_control(seed: u64, mutant: Mutant) -> Ran {
    run_world(World::new(seed, Some(mutant), None, false))
}

fn run_world(mut world: World) -> Ran {
    quiet_injected_panics();
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match result {
        Ok(()) => world
            .broken
            .take()
            .map(|broken| (broken.step, broken.law.to_owned(), broken.what)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let what = text.unwrap_or_default();
            Some((world.steps, "no machine panics".to_owned(), what))
        }
    };
    Ran {
        hash: world.trace.hash(),
        steps: world.steps,
        cells: std::mem::take(&mut world.cells),
        mutated: world.mutated,
        lines: world.trace.into_lines(),
        broken,
    }
}

/// The trace of a seed as a number.
#[must_use]
pub fn trace_hash(seed: u64) -> u64 {
    run_one(seed, None, false).hash
}

/// Runs one seed and keeps every line of it.
#[must_use]
pub fn replay(seed: u64, mutant: Option<Mutant>) -> Replay {
    let ran = run_one(seed, mutant, true);
    let violation = ran.broken.map(|(step, law, what)| Violation {
        seed,
        step,
        law,
        what,
        trace: Vec::new(),
    });
    Replay {
        hash: ran.hash,
        lines: ran.lines,
        violation,
    }
}

/// A violation with the end of its trace, which takes a second run.
fn explain(seed: u64, mutant: Option<Mutant>) -> Option<Violation> {
    let replay = replay(seed, mutant);
    let from = replay.lines.len().saturating_sub(LINES_MAX);
    let trace = replay.lines[from..].to_vec();
    replay
        .violation
        .map(|violation| Violation { trace, ..violation })
}

#[derive(Default)]
struct Sums {
    steps: u64,
    cells: Cells,
    seeds: Vec<u64>,
}

/// Runs seeds, and tells `progress` every now and then.
///
/// # Panics
/// When a thread of its own does, which is a bug of the simulator's.
pub fn run(options: Options, progress: impl Fn(Progress) + Sync) -> Report {
    let of = options.seeds.end.saturating_sub(options.seeds.start);
    let (next, done) = (AtomicU64::new(options.seeds.start), AtomicU64::new(0));
    let sums = Mutex::new(Sums::default());
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| {
                let mut mine = Sums::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.seeds.end {
                        break;
                    }
                    let ran = run_one(seed, None, false);
                    mine.steps += ran.steps;
                    mine.cells.add(&ran.cells);
                    if ran.broken.is_some() {
                        failed.fetch_add(1, Ordering::Relaxed);
                        mine.seeds.push(seed);
                    }
                    let seeds = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if seeds % 64 == 0 || seeds == of {
                        let violations = failed.load(Ordering::Relaxed);
                        progress(Progress {
                            seeds,
                            of,
                            violations,
                            mutants: 0,
                        });
                    }
                }
                let mut sums = sums.lock().expect("nobody panics with it");
                sums.steps += mine.steps;
                sums.cells.add(&mine.cells);
                sums.seeds.append(&mut mine.seeds);
            });
        }
    });
    let mut sums = sums.into_inner().expect("every thread is joined");
    sums.seeds.sort_unstable();
    let explained = sums.seeds.iter().take(VIOLATIONS_MAX);
    let violations = explained.filter_map(|seed| explain(*seed, None)).collect();
    let mutants = if options.mutants {
        find_mutants(options.threads.max(1), |found| {
            progress(Progress {
                seeds: of,
                of,
                violations: failed.load(Ordering::Relaxed),
                mutants: found,
            });
        })
    } else {
        MutantCount {
            planted: 0,
            found: 0,
            missing: Vec::new(),
        }
    };
    Report {
        version: 1,
        seeds: of,
        steps: sums.steps,
        violations,
        cells: CellCount {
            possible: cell::possible(),
            covered: sums.cells.covered(),
            missing: sums.cells.missing(),
        },
        mutants,
    }
}

fn find_mutants(threads: usize, progress: impl Fn(u64) + Sync) -> MutantCount {
    let next = AtomicU64::new(0);
    let found = AtomicU64::new(0);
    let missing = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(mutant) = usize::try_from(index)
                        .ok()
                        .and_then(|index| Mutant::ALL.get(index))
                    else {
                        break;
                    };
                    if mutant.found_within(0..MUTANT_SEEDS).is_some() {
                        progress(found.fetch_add(1, Ordering::Relaxed) + 1);
                    } else {
                        let mut missing = missing.lock().expect("nobody panics with it");
                        missing.push(*mutant);
                    }
                }
            });
        }
    });
    let mut missing = missing.into_inner().expect("every thread is joined");
    missing.sort_unstable();
    MutantCount {
        planted: Mutant::ALL.len(),
        found: Mutant::ALL.len() - missing.len(),
        missing: missing.iter().map(|m| format!("{m:?}")).collect(),
    }
}

impl Mutant {
    /// The first of `seeds` in which the bug struck and a law did not hold.
    #[must_use]
    pub fn found_within(self, seeds: Range<u64>) -> Option<Violation> {
        for seed in seeds {
            let ran = run_one(seed, Some(self), false);
            // It counts only where the same run without the bug breaks no law.
            if let Some((step, law, what)) = ran.broken.filter(|_| ran.mutated)
                && run_control(seed, self).broken.is_none()
            {
                return Some(Violation {
                    seed,
                    step,
                    law,
                    what,
                    trace: Vec::new(),
                });
            }
        }
        None
    }
}
