//! The verbs, a file each.

mod bench;
mod completions;
mod connect;
mod demo_agent;
mod dev;
mod doctor;
mod drain;
mod drill;
mod serve;
mod sessions;
mod sim;
mod token;

use std::process::ExitCode;

use clap::Subcommand;

use crate::exit::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Runs a server to try things with: no key, no configuration, demo backends
    Dev(dev::Args),
    /// Runs a server
    Serve(serve::Args),
    /// Says what will not work with this configuration on this machine, and what to do about it
    Doctor(doctor::Args),
    /// Joins a session: prints what it says, and what becomes of the connection
    Connect(connect::Args),
    /// Makes and revokes tokens
    #[command(subcommand)]
    Token(token::Verb),
    /// Finds, shows, explains, describes, exports, ends and deletes sessions
    #[command(subcommand)]
    Sessions(sessions::Verb),
    /// Hands every session of a server over to another one, and waits until they are there
    Drain(drain::Args),
    /// Breaks real processes in real ways, and judges what becomes of them
    Drill(drill::Args),
    /// Runs the machines under seeded faults, in virtual time
    Sim(sim::Args),
    /// Measures what sessions cost, beside the bare thing
    Bench(bench::Args),
    /// Prints what makes a shell complete this program's verbs and options
    Completions(completions::Args),
    /// A client process of a drill
    #[command(hide = true)]
    DrillClient(drill::Client),
    /// A server with something wrong in it on purpose
    #[command(hide = true)]
    DrillServer(drill::ServerArgs),
    /// The program behind a drill's sessions
    #[command(hide = true)]
    DrillAgent(drill::Agent),
    /// The bare server beside a benchmark
    #[command(hide = true)]
    BenchBaseline,
    /// The many clients of a benchmark
    #[command(hide = true)]
    BenchSwarm(bench::Swarm),
    #[command(hide = true)]
    BenchSpeakers(bench::Speakers),
    /// The participants with media of a benchmark
    #[command(hide = true)]
    BenchCalls(bench::Calls),
    /// Answers a prompt on stdin with text on stdout: the program behind `dev`'s backend `process`
    #[command(hide = true)]
    DemoAgent(demo_agent::Args),
}

impl Verb {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Dev(args) => dev::run(args).await,
            Self::Serve(args) => serve::run(args).await,
            Self::Doctor(args) => doctor::run(args).await,
            Self::Connect(args) => Box::pin(connect::run(args)).await,
            Self::Token(verb) => token::run(verb).await,
            Self::Sessions(verb) => sessions::run(verb).await,
            Self::Drain(args) => drain::run(&args).await,
            Self::Completions(args) => completions::run(&args),
            Self::Drill(args) => Box::pin(drill::run(args)).await,
            Self::Sim(args) => sim::run(&args),
            Self::Bench(args) => Box::pin(bench::run(args)).await,
            Self::BenchBaseline => bench::baseline().await,
            Self::BenchSwarm(args) => bench::swarm(args).await,
            Self::BenchSpeakers(args) => bench::speakers(args).await,
            Self::BenchCalls(args) => bench::calls(args).await,
            Self::DrillClient(args) => drill::client(args).await,
            Self::DrillServer(args) => drill::server(args).await,
            Self::DrillAgent(args) => drill::agent(args),
            Self::DemoAgent(args) => demo_agent::run(&args),
        }
    }
}
