//! The ledger law: what clients saw is what the store holds, read over HTTP and not by the SDK.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use super::{Rig, Who};
use crate::{
    ledger::{Account, Line, Seen, Turn},
    server,
};

/// Pages of a log that are read at most.
const PAGES_MAX: u32 = 1_000;

/// What is read of a page; the rest is of no use here.
#[derive(Deserialize)]
struct Page {
    events: Vec<Event>,
    next: u64,
    head: u64,
}

#[derive(Deserialize)]
struct Event {
    from: u64,
    to: u64,
    kind: String,
    data: Value,
}

impl Rig {
    /// Compares what each client saw with what is kept.
    pub(super) async fn check_what_is_kept(&mut self) -> Result<()> {
        if self.session.is_empty() || self.unreadable || !self.server.is_ready().await {
            return Ok(());
        }
        let kept = self.kept().await?;
        let mut wrong = Vec::new();
        for (who, client) in &self.clients {
            let seen = client.account();
            // One that was passed over something, or refused, has not seen it all.
            if seen.gaps > 0 || seen.cursor == 0 {
                continue;
            }
            compare(*who, &seen, &kept, &mut wrong);
        }
        self.row.wrong.extend(wrong);
        Ok(())
    }

    /// The whole log.
    async fn kept(&self) -> Result<Account> {
        let mut lines = Vec::new();
        let mut after = 0;
        for _ in 0..PAGES_MAX {
            let path = format!(
                "/v1/sessions/{}/events?after={after}&limit=2048",
                self.session
            );
            let (status, body) = server::get(self.server.addr(), &path, Some(&self.admin)).await?;
            if status != 200 {
                bail!("the log cannot be read: {status} {body}");
            }
            let page: Page = serde_json::from_str(&body).context("a page of the log")?;
            lines.extend(page.events.into_iter().map(line));
            if page.next >= page.head {
                return Ok(Account::of(&lines));
            }
            after = page.next;
        }
        bail!("the log has no end")
    }
}

fn line(event: Event) -> Line {
    let Event {
        from,
        to,
        kind,
        data,
    } = event;
    Line {
        t: 0,
        what: Seen::Event {
            from,
            to,
            kind,
            data,
        },
    }
}

fn compare(who: Who, seen: &Account, kept: &Account, wrong: &mut Vec<String>) {
    let who = who.name();
    for (id, turn) in &seen.turns {
        let same = |kept: &&Turn| match turn.end {
            Some(_) => kept.text == turn.text && kept.end == turn.end,
            None => kept.text.starts_with(&turn.text),
        };
        match kept.turns.get(id) {
            Some(kept) if same(&kept) => {}
            Some(kept) => {
                let (has, told) = (kept.text.len(), turn.text.len());
                wrong.push(format!(
                    "{}: the store holds {has} bytes, {:?}; the {who} was told {told}, {:?}",
                    turn.key, kept.end, turn.end
                ));
            }
            None => wrong.push(format!("{}: the store holds no such turn", turn.key)),
        }
    }
    for (id, turn) in &kept.turns {
        if !seen.turns.contains_key(id) {
            wrong.push(format!("{}: the {who} was never told of it", turn.key));
        }
    }
}
