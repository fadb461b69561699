//! `dev`: a server that needs nothing, for this machine only.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use evenkeel::wire::Role;
use keel_server::{
    Claims, Config, Server,
    config::{Backend, BackendKind, Log, Source, StoreKind},
};

use super::serve::{refused, stop};
use crate::{
    exit::Failure,
    target::{DATA, Dev},
    terminal,
};

/// How long the token of a `dev` server lasts.
const TOKEN_TTL_S: u64 = 30 * 24 * 3_600;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address and port
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where sessions, keys and the token are kept
    #[arg(long, default_value = DATA, value_name = "DIR")]
    data: PathBuf,
    /// Keeps sessions in memory only
    #[arg(long)]
    memory: bool,
    /// A configuration to begin with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(args: Args) -> Result<ExitCode, Failure> {
    let config = configure(&args)?;
    keel_server::init_log(&config.log);
    keel_server::adopt_orphans();
    let (is_memory, faults) = (
        config.store.kind == StoreKind::Memory,
        config.faults.enabled,
    );
    let names: Vec<String> = config.backends.keys().cloned().collect();
    let server = Server::bind(config)
        .await
        .map_err(|error| refused(&error))?;
    let address = server.local_addr();

    let mut claims = Claims::new("dev", Role::Owner, TOKEN_TTL_S);
    (claims.admin, claims.faults) = (true, true);
    let token = server.tokens().mint(&claims);
    let url = format!("ws://{address}");
    let dev = Dev {
        url: url.clone(),
        token: token.clone(),
    };
    let kept = dev.write(&args.data);
    kept.map_err(|error| Failure::config(format!("{}: {error}", args.data.display())))?;

    let kept = if is_memory { "in memory" } else { "on disk" };
    terminal::print(&format!(
        "evenkeel is listening on {address}, sessions are kept {kept}"
    ));
    terminal::print(&format!("backends: {}", names.join(", ")));
    if faults {
        terminal::print("faults can be injected: this server is for this machine only");
    }
    // Behind '#' it stays in the browser, which takes it out of the address at once.
    terminal::print(&format!("page:    http://{address}/#token={token}"));
    let evenkeel = invoked();
    terminal::print(&format!(
        "connect: EVENKEEL_TOKEN={token} {evenkeel} connect {url}"
    ));
    terminal::print(&format!(
        "         (here, `{evenkeel} connect` finds both by itself)"
    ));
    terminal::print("stop with Ctrl-C");

    server.run(stop()?).await.map_err(Failure::temporary)?;
    Ok(ExitCode::SUCCESS)
}

/// How whoever started this starts it again: cargo says that it was there.
fn invoked() -> &'static str {
    if std::env::var_os("CARGO").is_none() {
        "evenkeel"
    } else if cfg!(debug_assertions) {
        "cargo run --"
    } else {
        "cargo run --release --"
    }
}

fn configure(args: &Args) -> Result<Config, Failure> {
    let source = args.config.clone().map_or(Source::None, Source::File);
    let mut config = Config::load(&source, std::env::vars()).map_err(Failure::config)?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    config.store.path.clone_from(&args.data);
    if args.memory {
        config.store.kind = StoreKind::Memory;
    }
    // What breaks things is for those who sit at this machine.
    config.faults.enabled |= config.server.listen.ip().is_loopback();
    config.server.playground = true;
    if config.log.level == Log::default().level {
        config.log.level = "warn".to_owned();
    }
    if args.config.is_none() {
        let named = &mut config.backends;
        named.entry("echo".to_owned()).or_insert_with(Backend::echo);
        named.entry("process".to_owned()).or_insert(demo()?);
        if config.server.listen.ip().is_loopback() {
            let beside = beside(config.server.listen);
            config.media.listen.get_or_insert(beside);
            let media = [
                ("passthrough", BackendKind::Passthrough),
                ("room", BackendKind::Room),
            ];
            for (name, kind) in media {
                let backend = named.entry(name.to_owned());
                backend.or_insert_with(|| Backend::of(kind));
            }
        }
        let default = &mut config.session.default_backend;
        default.get_or_insert_with(|| "echo".to_owned());
    }
    Ok(config)
}

/// Where media is taken: at the port after that of everything else; at any, where that is any.
fn beside(listen: SocketAddr) -> SocketAddr {
    let port = match listen.port() {
        0 => 0,
        port => port.wrapping_add(1),
    };
    SocketAddr::new(listen.ip(), port)
}

/// This very binary, as a program that streams text.
fn demo() -> Result<Backend, Failure> {
    let program = std::env::current_exe().map_err(Failure::temporary)?;
    let mut backend = Backend::echo();
    backend.kind = BackendKind::Process;
    let program = program.display().to_string();
    backend.command = vec![program, "demo-agent".to_owned()];
    Ok(backend)
}
