//! `sessions why`: one sentence, from the journal.

use evenkeel::wire::journal::Entry;
use keel_core::why::explain;
use serde_json::Value;

use super::One;
use crate::{exit::Failure, terminal};

pub(super) async fn run(one: &One) -> Result<(), Failure> {
    let path = format!("/v1/sessions/{}/journal", one.session);
    let mut page = one.server.api()?.get(&path).await?;
    let entries = page["entries"].as_array_mut().map(std::mem::take);
    // An entry of a newer server that this version does not know explains nothing here.
    let read = |entry: Value| serde_json::from_value::<Entry>(entry).ok();
    let entries: Vec<Entry> = entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(read)
        .collect();
    let why = explain(&entries);
    if one.server.json {
        let json = serde_json::to_string(&why).map_err(Failure::temporary)?;
        terminal::print(&json);
    } else {
        terminal::print(&why.to_string());
    }
    Ok(())
}
