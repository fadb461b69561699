//! `token`: made from the key on this machine, revoked at the server.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use evenkeel::wire::{Role, SessionId};
use keel_server::{
    Claims, Config, Tokens,
    config::{Source, Store},
};
use serde_json::json;

use crate::{
    api::Api,
    exit::Failure,
    target::{Access, DATA},
    terminal,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes a token with the server's own key, which must be on this machine
    Mint(Box<Mint>),
    /// Revokes a token by its id; connections that came with it are closed
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Mint {
    /// Whom it is for; sessions are found and listed by it
    #[arg(long, visible_alias = "sub")]
    subject: String,
    /// The highest role that may be asked for: viewer, publisher or owner
    #[arg(long, default_value = "owner", value_parser = role)]
    role: Role,
    /// How long it lasts, in seconds
    #[arg(long, default_value_t = 3_600)]
    ttl_s: u64,
    /// The one session that it is good for
    #[arg(long)]
    session: Option<SessionId>,
    /// A backend that it may open; may be given several times
    #[arg(long)]
    backend: Vec<String>,
    /// The project that its sessions belong to
    #[arg(long)]
    project: Option<String>,
    /// A page's origin that may use it; may be given several times
    #[arg(long)]
    origin: Vec<String>,
    /// The longest that a session opened with it may last, in seconds
    #[arg(long)]
    max_s: Option<u64>,
    /// Lets it inject faults, where the server has that switched on
    #[arg(long)]
    faults: bool,
    /// Lets it read and end anybody's sessions, mint and revoke tokens
    #[arg(long)]
    admin: bool,
    /// The server's configuration, which says where its keys are
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server keeps its data
    #[arg(long, value_name = "DIR", default_value = DATA)]
    data: PathBuf,
    /// Prints `{"token","token_id","expires"}`
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The token's id, as `mint` told it
    token_id: String,
    /// The server
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    access: Access,
}

pub(crate) fn role(text: &str) -> Result<Role, String> {
    match text {
        "viewer" => Ok(Role::Viewer),
        "publisher" => Ok(Role::Publisher),
        "owner" => Ok(Role::Owner),
        _ => Err("want viewer, publisher or owner".to_owned()),
    }
}

pub(crate) async fn run(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Mint(args) => mint(*args),
        Verb::Revoke(args) => {
            let api = Api::new(args.access.target(args.url.as_deref())?);
            let body = json!({ "token_id": args.token_id });
            api.post("/v1/tokens/revoke", &body).await?;
            terminal::say(&format!("revoked {}", terminal::plain(&args.token_id)));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn mint(args: Mint) -> Result<ExitCode, Failure> {
    let mut claims = Claims::new(args.subject, args.role, args.ttl_s);
    claims.session = args.session;
    claims.backends = Some(args.backend).filter(|backends| !backends.is_empty());
    claims.project = args.project;
    claims.origins = Some(args.origin).filter(|origins| !origins.is_empty());
    claims.max_s = args.max_s;
    (claims.faults, claims.admin) = (args.faults, args.admin);

    let source = args.config.map_or(Source::None, Source::File);
    let mut config = Config::load(&source, std::env::vars()).map_err(Failure::config)?;
    if config.store.path == Store::default().path {
        config.store.path = args.data;
    }
    let tokens = Tokens::local(&config.key_dir()).map_err(Failure::config)?;
    let token = tokens.mint(&claims);
    if args.json {
        let expires = claims.exp.saturating_mul(1_000);
        let minted = json!({ "token": token, "token_id": claims.jti, "expires": expires });
        terminal::print(&minted.to_string());
    } else {
        let id = claims.jti.unwrap_or_default();
        terminal::say(&format!("token id {id}, good for {} s", args.ttl_s));
        terminal::print(&token);
    }
    Ok(ExitCode::SUCCESS)
}
