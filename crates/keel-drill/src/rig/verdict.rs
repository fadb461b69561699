//! The verdict: what a row came to, once everything it did is over.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    Control, Rig, Who,
    laws::{dishonest, is_text, losses, p99, silences, sum_up},
};
use crate::{
    heart::{children_left, unix_ms},
    ledger::{Seen, Turn},
    proxy::Proxy,
    results::{Leaked, Row},
    server,
};

/// A bystander that says something 20 times a second has not been heard for too long.
const BYSTANDER_SILENT_MS: u64 = 1_500;

impl Rig {
    /// The other one must have noticed nothing.
    pub(super) fn check_other(&mut self) {
        let other = self.struck.other();
        let Some(client) = self.clients.get(&other) else {
            return;
        };
        let losses = losses(&client.lines(), 0);
        if losses > 0 && !self.strikes_all && !self.strikes_session {
            self.wrong(format!(
                "the {} lost {losses} connections too",
                other.name()
            ));
        }
    }

    /// Judges what everybody saw, and looks for what was left behind.
    pub(crate) async fn finish(mut self, control: &Control) -> Row {
        if let Err(error) = self.conclude(control) {
            self.wrong(format!("{error:#}"));
        }
        if let Err(error) = self.check_what_is_kept().await {
            self.wrong(format!("the store: {error:#}"));
        }
        if let Err(error) = self.look_for_witnesses().await {
            self.wrong(format!("witnesses: {error:#}"));
        }
        for (who, client) in std::mem::take(&mut self.clients) {
            let _ = client.save(&self.dir.join(format!("{}.ledger", who.name())));
            let _ = client.close().await;
        }
        if let Some(client) = self.bystander.take() {
            let _ = client.save(&self.dir.join("bystander.ledger"));
            let _ = client.close().await;
        }
        self.hang_up_beside().await;
        if let Err(error) = self.look_for_leaks().await {
            self.wrong(format!("leaks: {error:#}"));
        }
        let _ = self.server.kill().await;
        for undo in std::mem::take(&mut self.undo).into_iter().rev() {
            let undo: Vec<&str> = undo.iter().map(String::as_str).collect();
            if let Err(error) = self.host(&undo, None).await {
                self.wrong(format!("it is not undone: {error:#}"));
            }
        }
        if self.struck_at == 0 {
            self.wrong("nothing was broken");
        }
        sum_up(&mut self.row);
        self.row
    }

    fn conclude(&mut self, control: &Control) -> Result<()> {
        self.check_other();
        if let (Some(losses_wanted), Ok(client)) = (self.losses, self.client(self.struck)) {
            let seen = losses(&client.lines(), self.struck_at);
            if seen != losses_wanted {
                self.wrong(format!("told of {seen} losses instead of {losses_wanted}"));
            }
        }
        let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut wrong = Vec::new();
        for (who, client) in &self.clients {
            let (account, lines) = (client.account(), client.lines());
            self.row.lost += account.lost;
            self.row.duplicated += account.duplicated + account.run_twice() as u64;
            self.row.reordered += account.reordered;
            self.row.silent += silences(&lines);
            if account.gaps > 0 {
                wrong.push(format!("{} gaps at the {}", account.gaps, who.name()));
            }
            if let Some(state) = dishonest(&lines) {
                wrong.push(format!("the {} was shown {state}", who.name()));
            }
            for turn in account.turns.values() {
                self.check_end(*who, turn, &mut wrong);
                // What was passed over is not in the text, and was complained of.
                if account.gaps > 0 {
                    continue;
                }
                let first = texts
                    .entry(turn.key.clone())
                    .or_insert_with(|| turn.text.clone());
                if *first != turn.text {
                    wrong.push(format!(
                        "{}: owner and viewer have different text",
                        turn.key
                    ));
                }
                self.row.lost += self.check_text(turn, &mut wrong);
            }
        }
        self.row.wrong.extend(wrong);
        self.judge_pictures()?;
        self.check_bystander(control);
        Ok(())
    }

    /// Whether a turn ended as it should, and once.
    fn check_end(&self, who: Who, turn: &Turn, wrong: &mut Vec<String>) {
        let (key, who) = (&turn.key, who.name());
        let end = turn.end.as_deref().unwrap_or("open");
        if end != self.ends.get(key).copied().unwrap_or("done") {
            let code = turn.end_code.as_deref().unwrap_or("no code");
            wrong.push(format!("{key} ended {end} ({code}) for the {who}"));
        }
        if turn.ends > 1 {
            wrong.push(format!("{key} ended {} times", turn.ends));
        }
    }

    /// Compares what was told with what the program wrote; the bytes that are missing of a done turn.
    fn check_text(&self, turn: &Turn, wrong: &mut Vec<String>) -> u64 {
        if !self.witnessed {
            return 0;
        }
        let wrote = fs::read(self.server.witness().join(&turn.key)).unwrap_or_default();
        if !wrote.starts_with(&turn.text) {
            wrong.push(format!("{}: what was told was not written", turn.key));
        }
        if turn.end.as_deref() == Some("done") {
            wrote.len().saturating_sub(turn.text.len()) as u64
        } else {
            0
        }
    }

    fn check_bystander(&mut self, control: &Control) {
        let Some(client) = self.bystander.as_ref().filter(|_| !self.strikes_all) else {
            return;
        };
        let (account, lines) = (client.account(), client.lines());
        let own = account.turns.values().all(|turn| turn.key == "bystander");
        let whole = account.lost + account.duplicated + account.reordered + account.gaps == 0;
        let spared = !lines.iter().any(|line| {
            matches!(
                line.what,
                Seen::Lost { .. } | Seen::Fault { .. } | Seen::Failed { .. } | Seen::Ended { .. }
            )
        });
        let now = unix_ms();
        let (before, after) = (
            p99(&lines, 0, self.struck_at),
            p99(&lines, self.struck_at, now),
        );
        let elsewhere = control.p99(self.struck_at, now);
        let calm = before.max(elsewhere);
        let on_time = after <= (2 * calm).max(calm + self.slack_ms);
        // One that hears nothing any more has no late text either.
        let texts = lines.iter().rev().filter(|line| is_text(line));
        let heard = texts.map(|line| line.t).next().unwrap_or(0);
        let silent_ms = now.saturating_sub(heard);
        let fine = own && whole && spared && on_time && silent_ms < BYSTANDER_SILENT_MS;
        self.row.bystander_ok = Some(fine);
        if !fine {
            self.wrong(format!(
                "the bystander: own events only {own}, whole {whole}, spared {spared}, \
                 p99 {before} ms before, {after} ms after, {elsewhere} ms elsewhere; silent for {silent_ms} ms"
            ));
        }
    }

    async fn look_for_leaks(&mut self) -> Result<()> {
        if !self.server.is_ready().await {
            self.row.leaked.children = Some(children_left(&self.dir)?);
            return Ok(());
        }
        let admin = self.admin.clone();
        let addr = self.server.addr();
        let own = [&self.bystander_session, &self.session];
        for session in own.into_iter().chain(&self.sessions) {
            if !session.is_empty() {
                let path = format!("/v1/sessions/{session}/end");
                server::ask(addr, "POST", &path, Some(&admin), "{}").await?;
            }
        }
        // Nobody is connected through the proxy once it is gone, black holes included.
        self.proxy = Proxy::start(addr).await?;
        let until = Instant::now() + Duration::from_secs(12);
        loop {
            let census = self.ask_node().await?["census"].take();
            let count = |name: &str| census[name].as_u64();
            self.row.leaked = Leaked {
                tasks: count("runs"),
                sockets: count("connections"),
                children: Some(children_left(&self.dir)?),
                slots: count("slots_held"),
                peers: count("peers"),
            };
            let leaked = &self.row.leaked;
            let Leaked {
                tasks,
                sockets,
                children,
                slots,
                peers,
            } = *leaked;
            let clean = [tasks, sockets, children, slots, peers]
                .iter()
                .all(|count| *count == Some(0));
            let open = match &self.model {
                Some(model) => model.counts().await?["open"].as_u64(),
                None => Some(0),
            };
            if clean && open == Some(0) {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{leaked:?}, and {open:?} answers of the model server are read no more");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
