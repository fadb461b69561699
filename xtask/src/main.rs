//! `cargo xtask <verb>`: what the repository does to itself.
//!
//! One recipe on a laptop and in CI. A missing capability is an error in CI and a loud `skipped`
//! elsewhere; everything that a test needs is installed by `setup`, which `test` calls.

mod guarantees;
mod setup;
mod shell;
mod spec;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <verb>

  setup [--yes]    install what the tests need (asks first, unless CI=1 or --yes)
  test [--full]    everything that has to hold before a change lands; --full adds the long proofs
  spec [--check]   write spec/schema and spec/vectors from the Rust types, or say if they are stale
  guarantees       write the tests that name an id into docs/guarantees.md
  tidy             checks that no compiler makes: documents in step, files within bounds
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|arg| arg == name);
    let done = match args.first().map(String::as_str) {
        Some("setup") => setup::run(flag("--yes")),
        Some("test") => test::run(flag("--full")),
        Some("spec") => spec::run(flag("--check")),
        Some("guarantees") => guarantees::refresh(),
        Some("tidy") => tidy::run(),
        Some(_) | None => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
