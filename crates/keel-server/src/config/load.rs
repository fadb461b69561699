//! File, then environment: each refused as itself, so that an error names where to look.

use std::path::{Path, PathBuf};

use toml::{Table, Value, de::DeTable};

use super::{Backend, BackendKind, Config, ConfigError};

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// This file, which must be there.
    File(PathBuf),
    /// This file, if it is there.
    FileIfThere(PathBuf),
    /// No file.
    None,
}

impl Config {
    /// Reads the file, then what of `env` begins with `EVENKEEL_` and names a section and a key
    /// with `__` between them.
    ///
    /// # Errors
    /// When something is not known, not of its type or makes no sense; it says where.
    pub fn load(
        source: &Source,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (path, text) = read(source)?;
        let config: Self = toml::from_str(&text).map_err(|error| syntax(&path, &text, &error))?;
        if let Err((option, message)) = config.clone().with_defaults().check() {
            return Err(at_option(&path, &text, option, message));
        }
        // The file is good by itself, so what fails from here on is the variable's.
        let mut table: Table =
            toml::from_str(&text).map_err(|error| syntax(&path, &text, &error))?;
        let mut config = config;
        let mut variables: Vec<_> = env
            .into_iter()
            .filter_map(|(name, value)| Some((key_path(&name)?, name, value)))
            .collect();
        variables.sort();
        for (keys, variable, value) in variables {
            let refuse = |message: String| ConfigError::Environment {
                variable: variable.clone(),
                message,
            };
            (config, table) = set(&table, &keys, &value).map_err(&refuse)?;
            if let Err((option, message)) = config.clone().with_defaults().check() {
                return Err(refuse(format!("{option}: {message}")));
            }
        }
        if let (Some(dir), Some(tls)) = (path.parent(), &mut config.server.tls) {
            tls.begin_at(dir);
        }
        for peer in config.peers.values_mut() {
            peer.begin_at(path.parent().unwrap_or_else(|| Path::new("")));
        }
        if let (Some(dir), Some(turn)) = (path.parent(), &mut config.turn) {
            turn.begin_at(dir);
        }
        Ok(config.with_defaults())
    }

    /// What the types cannot say: the option, and what is wrong with it.
    fn check(&self) -> Result<(), (String, String)> {
        let refuse = |option: &str, message: &str| Err((option.to_owned(), message.to_owned()));
        if let Err(message) = self.media.fits() {
            return refuse("media.threads", &message);
        }
        for (name, backend) in &self.backends {
            let grammar = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(grammar) {
                return refuse(
                    &format!("backends.{name}"),
                    "want a name of a-z, 0-9 and '-'",
                );
            }
            if backend.kind == BackendKind::Process && backend.command.is_empty() {
                return refuse(&format!("backends.{name}"), "a process wants a `command`");
            }
            if let Err((option, message)) = backend.agent("check") {
                return refuse(&format!("backends.{name}.{option}"), &message);
            }
            if let Err((option, message)) = backend.endpoint() {
                return refuse(&format!("backends.{name}.{option}"), &message);
            }
            if backend.kind == BackendKind::Fallback {
                let broken = self.broken_chain(name, backend);
                if let Some(message) = broken {
                    return refuse(&format!("backends.{name}.chain"), &message);
                }
            }
            if let Some(root) = backend.cwd_roots.iter().find(|root| !root.is_absolute()) {
                let message = format!("{} is no absolute path", root.display());
                return refuse(&format!("backends.{name}.cwd_roots"), &message);
            }
            let takes_media = backend.for_node().media.is_some();
            if takes_media && self.media.listen.is_none() {
                let message = "this kind wants `media.listen`";
                return refuse(&format!("backends.{name}"), message);
            }
            if backend.capacity.is_some_and(|capacity| capacity.slots == 0) {
                return refuse(
                    &format!("backends.{name}.capacity.slots"),
                    "want at least 1",
                );
            }
        }
        if !self.backends.contains_key(&self.default_backend()) {
            let message = format!("there is no backend named {:?}", self.default_backend());
            return refuse("session.default_backend", &message);
        }
        let positive = [
            ("server.max_connections", self.server.max_connections),
            ("server.per_address", self.server.per_address),
            (
                "server.max_unauthenticated",
                self.server.max_unauthenticated,
            ),
            ("limits.frames_per_s", self.limits.frames_per_s as usize),
        ];
        if let Some((option, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return refuse(option, "want at least 1");
        }
        let spans = [
            (
                "session.resume_window_s",
                self.session.resume_window_s,
                86_400,
            ),
            (
                "session.hibernate_after_s",
                self.session.hibernate_after_s,
                86_400,
            ),
            ("server.drain_within_s", self.server.drain_within_s, 3_600),
            ("limits.request_within_s", self.limits.request_within_s, 300),
        ];
        for (option, value, most) in spans {
            if value == 0 || value > most {
                return refuse(option, &format!("want 1 to {most} seconds"));
            }
        }
        for (name, peer) in &self.peers {
            if let Err((option, message)) = peer.check() {
                return refuse(&format!("peers.{name}.{option}"), message);
            }
        }
        let target = self.drain.target.as_ref();
        if let Some(target) = target.filter(|target| !self.peers.contains_key(*target)) {
            let message = format!("there is no peer named {target:?}");
            return refuse("drain.target", &message);
        }
        if let Err(error) = crate::log::filter(&self.log.level) {
            return refuse("log.level", &error.to_string());
        }
        Ok(())
    }
}

impl Config {
    /// What is wrong with the chain of the backend `name`.
    fn broken_chain(&self, name: &str, backend: &Backend) -> Option<String> {
        const LINKS_MAX: usize = 8;
        if backend.chain.is_empty() || backend.chain.len() > LINKS_MAX {
            return Some(format!("want the names of 1 to {LINKS_MAX} backends"));
        }
        backend.chain.iter().find_map(|link| {
            let Some(linked) = self.backends.get(link) else {
                return Some(format!("there is no backend named {link:?}"));
            };
            if link == name || linked.kind == BackendKind::Fallback {
                return Some(format!("{link:?} is a chain itself"));
            }
            let takes_media = linked.for_node().media.is_some();
            takes_media.then(|| format!("{link:?} answers nothing that is said"))
        })
    }
}

fn read(source: &Source) -> Result<(PathBuf, String), ConfigError> {
    let (path, needed) = match source {
        Source::File(path) => (path.clone(), true),
        Source::FileIfThere(path) => (path.clone(), false),
        Source::None => return Ok((PathBuf::new(), String::new())),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) if !needed && error.kind() == std::io::ErrorKind::NotFound => {
            Ok((path, String::new()))
        }
        Err(source) => Err(ConfigError::Unreadable { path, source }),
    }
}

fn key_path(name: &str) -> Option<Vec<String>> {
    let rest = name
        .strip_prefix("EVENKEEL_")
        .filter(|rest| rest.contains("__"))?;
    Some(rest.split("__").map(str::to_ascii_lowercase).collect())
}

fn set(table: &Table, keys: &[String], text: &str) -> Result<(Config, Table), String> {
    // A value is read as TOML where that fits, and as plain text otherwise: `7080`, `true` and
    // `["a"]` need no quotes, and neither does a path.
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
    let mut first_error = None;
    for value in parsed.into_iter().chain([Value::String(text.to_owned())]) {
        let mut changed = table.clone();
        insert(&mut changed, keys, value)?;
        match changed.clone().try_into::<Config>() {
            Ok(config) => return Ok((config, changed)),
            Err(error) => first_error.get_or_insert_with(|| error.message().to_owned()),
        };
    }
    Err(first_error.unwrap_or_default())
}

fn insert(table: &mut Table, keys: &[String], value: Value) -> Result<(), String> {
    match keys {
        [] => Err("names no option".to_owned()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => {
            let empty = || Value::Table(Table::new());
            match table
                .entry(section.clone())
                .or_insert_with(empty)
                .as_table_mut()
            {
                Some(inner) => insert(inner, rest, value),
                None => Err(format!("{section} is no section")),
            }
        }
    }
}

fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let (line, column) = position(text, at);
    let option = option_at(text, at);
    let message = error.message().to_owned();
    ConfigError::File {
        path: path.to_owned(),
        line,
        column,
        option,
        message,
    }
}

fn at_option(path: &Path, text: &str, option: String, message: String) -> ConfigError {
    let at = offset_of(text, &option);
    let (line, column) = at.map_or((0, 0), |at| position(text, at));
    ConfigError::File {
        path: path.to_owned(),
        line,
        column,
        option,
        message,
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// Where the longest part of a dotted option that the text has begins.
fn offset_of(text: &str, option: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut table = table.get_ref();
    let mut found = None;
    for key in option.split('.') {
        let Some((key, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else {
            break;
        };
        found = Some(key.span().start);
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    found
}

/// The dotted option whose key or value lies at an offset, as far as the text is TOML.
fn option_at(text: &str, at: usize) -> String {
    let Ok(table) = DeTable::parse(text) else {
        return String::new();
    };
    let mut path: Vec<String> = Vec::new();
    let mut table = table.get_ref();
    'deeper: loop {
        for (key, value) in table {
            let in_key = key.span().contains(&at);
            if in_key || value.span().contains(&at) {
                path.push(key.get_ref().to_string());
                match value.get_ref().as_table() {
                    Some(inner) if !in_key => {
                        table = inner;
                        continue 'deeper;
                    }
                    Some(_) | None => return path.join("."),
                }
            }
        }
        // The span of `[a.b]` is its header alone, so what stands below it has to be looked for.
        for (key, value) in table {
            if let Some(inner) = value.get_ref().as_table().filter(|inner| holds(inner, at)) {
                path.push(key.get_ref().to_string());
                table = inner;
                continue 'deeper;
            }
        }
        return path.join(".");
    }
}

fn holds(table: &DeTable<'_>, at: usize) -> bool {
    table.iter().any(|(key, value)| {
        key.span().contains(&at)
            || value.span().contains(&at)
            || value
                .get_ref()
                .as_table()
                .is_some_and(|inner| holds(inner, at))
    })
}
