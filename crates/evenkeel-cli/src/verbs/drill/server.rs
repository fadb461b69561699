//! `drill-server`: the server that `serve` runs, behind whose store or providers something is wrong on
//! purpose. The drill starts it to see that it notices.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use keel_drill::Mutant;

use super::{mutant, providers, store};
use crate::{exit::Failure, verbs::serve};

#[derive(Debug, clap::Args)]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    serve: serve::Args,
    #[arg(long, value_parser = mutant)]
    mutant: Mutant,
}

pub(crate) async fn run(args: ServerArgs) -> Result<ExitCode, Failure> {
    let folder = args.serve.config.as_deref().and_then(|path| path.parent());
    let folder = folder.map_or_else(PathBuf::new, PathBuf::from);
    let server = serve::bind(args.serve).await?;
    let server = server
        .with_store(|inner| match store::Defect::of(args.mutant) {
            Some(defect) => Arc::new(store::Saboteur::new(inner, defect)),
            None => inner,
        })
        .with_providers(|inner| match providers::Defect::of(args.mutant) {
            Some(defect) => Arc::new(providers::Saboteur::new(inner, defect, folder.clone())),
            None => inner,
        });
    let stop = serve::stop()?;
    server.run(stop).await.map_err(Failure::temporary)?;
    Ok(ExitCode::SUCCESS)
}
