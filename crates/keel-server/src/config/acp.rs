//! What a backend of kind `acp` says of its agent.

use std::{collections::BTreeSet, time::Duration};

use keel_agent::{
    acp::{self, Permissions, Preset},
    process,
};
use serde::Deserialize;

use super::backend::{Backend, BackendKind};

/// Longest time that an agent may be kept for its next turn, in seconds.
const IDLE_S_MAX: u64 = 86_400;

/// Who decides when an agent asks for permission.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum PermissionPolicy {
    /// Always the same.
    Always(AlwaysPolicy),
    /// Tools of these kinds may; a person decides over all others.
    Allow {
        /// Kinds of tools, in the protocol's words.
        allow: BTreeSet<String>,
    },
}

impl Default for PermissionPolicy {
    fn default() -> Self {
        Self::Always(AlwaysPolicy::Ask)
    }
}

/// A policy that knows no kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlwaysPolicy {
    /// A person does.
    Ask,
    /// Nobody may.
    Deny,
}

/// What happens when an agent does not know the conversation that it had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgotten {
    /// It gets a new one, and is told what was said so far.
    #[default]
    Retell,
    /// The turn fails.
    Fail,
}

/// An option and what is wrong with it.
type Wrong = (&'static str, String);

impl Backend {
    /// What the `acp` provider is to run; `None` for another kind.
    pub(crate) fn agent(&self, owner: &str) -> Result<Option<acp::Config>, Wrong> {
        if self.kind != BackendKind::Acp {
            return Ok(None);
        }
        let preset = self.agent_preset()?;
        let words = preset.map_or(&[][..], |preset| preset.command);
        let words: Vec<String> = match self.command.is_empty() {
            true => words.iter().map(|word| (*word).to_owned()).collect(),
            false => self.command.clone(),
        };
        let Some((program, args)) = words.split_first() else {
            return Err(("command", "want a `command` or a `preset`".to_owned()));
        };
        let idle_s = self.idle_s.unwrap_or(600);
        if idle_s == 0 || idle_s > IDLE_S_MAX {
            return Err(("idle_s", format!("want 1 to {IDLE_S_MAX} seconds")));
        }
        let mut process = process::Config::new(program, owner);
        process.args = args.to_vec();
        process.cwd.clone_from(&self.cwd);
        self.agent_environment(preset, &mut process.env)?;
        let mut config = acp::Config::new(process);
        config.permissions = match &self.permissions {
            PermissionPolicy::Always(AlwaysPolicy::Ask) => Permissions::Ask,
            PermissionPolicy::Always(AlwaysPolicy::Deny) => Permissions::Deny,
            PermissionPolicy::Allow { allow } => Permissions::Allow(allow.clone()),
        };
        (config.files, config.terminals) = (self.files, self.terminals);
        config.modes.clone_from(&self.modes);
        config.models.clone_from(&self.models);
        config.idle = Duration::from_secs(idle_s);
        config.forgotten = match self.forgotten {
            Forgotten::Retell => acp::Forgotten::Retell,
            Forgotten::Fail => acp::Forgotten::Fail,
        };
        let usual = preset.and_then(|preset| preset.auth_method);
        config.auth_method = self
            .auth_method
            .clone()
            .or_else(|| usual.map(str::to_owned));
        config.login = preset.map(|preset| preset.login.to_owned());
        Ok(Some(config))
    }

    /// The agent that it names, if it does.
    pub(crate) fn agent_preset(&self) -> Result<Option<&'static Preset>, Wrong> {
        let Some(name) = &self.preset else {
            return Ok(None);
        };
        let known = || {
            let names: Vec<_> = acp::PRESETS.iter().map(|preset| preset.name).collect();
            format!("want one of {}", names.join(", "))
        };
        let preset = Preset::named(name).ok_or_else(|| ("preset", known()))?;
        Ok(Some(preset))
    }

    fn agent_environment(
        &self,
        preset: Option<&Preset>,
        env: &mut process::Environment,
    ) -> Result<(), Wrong> {
        let own = |name: &str| name.to_owned();
        if let Some(preset) = preset {
            env.pass
                .extend(preset.env_pass.iter().map(|name| own(name)));
            let set = preset.env_set.iter();
            env.set
                .extend(set.map(|(name, value)| (own(name), own(value))));
        }
        env.pass.extend(self.env_pass.iter().cloned());
        if let Some(home) = &self.home {
            if !home.is_absolute() {
                let message = format!("{} is no absolute path", home.display());
                return Err(("home", message));
            }
            env.set.extend(match preset {
                Some(preset) => preset.at_home(home),
                None => vec![(own("HOME"), home.display().to_string())],
            });
        }
        env.set.extend(self.env.clone());
        Ok(())
    }

    /// Makes the home of its agent, where it has one of its own, and the places of its configuration,
    /// which some agents want to find; nobody else may look into it.
    pub(crate) fn make_home(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let Some(home) = &self.home else {
            return Ok(());
        };
        let preset = self.agent_preset().ok().flatten();
        let beneath = preset.map_or(&[][..], |preset| preset.config_dirs);
        let beneath = beneath.iter().map(|(_, place)| home.join(place));
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        std::iter::once(home.clone())
            .chain(beneath)
            .try_for_each(|dir| builder.create(dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(text: &str) -> Result<acp::Config, Wrong> {
        let backend: Backend = toml::from_str(text).expect("it can be read");
        backend
            .agent("owner")
            .map(|made| made.expect("it is an agent"))
    }

    #[test]
    fn a_preset_is_a_command_line_and_an_environment_a62() {
        let config = agent("kind = 'acp'\npreset = 'codex'\nhome = '/srv/h'\nenv = {X = '1'}");
        let config = config.expect("it is right");
        assert_eq!(config.process.program.to_str(), Some("codex-acp"));
        let set = |name: &str| {
            let mut set = config.process.env.set.iter().rev();
            set.find(|(it, _)| it == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(set("HOME"), Some("/srv/h"));
        assert_eq!(set("CODEX_HOME"), Some("/srv/h/.codex"));
        assert_eq!(set("X"), Some("1"));
        assert!(
            config
                .process
                .env
                .pass
                .contains(&"OPENAI_API_KEY".to_owned())
        );
        assert!(
            config
                .login
                .is_some_and(|login| login.contains("codex login"))
        );
        assert_eq!((config.files, config.terminals), (false, false));
        assert_eq!(config.permissions, Permissions::Ask);
    }

    #[test]
    fn a_command_stands_over_a_presets_and_permissions_are_what_they_say() {
        let config = agent(
            "kind = 'acp'\npreset = 'gemini'\ncommand = ['/opt/gemini', '--acp', '-m', 'x']\n\
             permissions = {allow = ['read', 'search']}\nfiles = true\nidle_s = 5\n\
             modes = ['plan']\nmodels = ['a', 'b']",
        );
        let config = config.expect("it is right");
        assert_eq!(config.process.args, ["--acp", "-m", "x"]);
        let kinds = ["read", "search"].map(str::to_owned);
        assert_eq!(config.permissions, Permissions::Allow(kinds.into()));
        assert_eq!(config.idle, Duration::from_secs(5));
        assert_eq!((config.modes.len(), config.models.len()), (1, 2));
        let config = agent("kind = 'acp'\ncommand = ['x']\npermissions = 'deny'");
        assert_eq!(config.expect("it is right").permissions, Permissions::Deny);
    }

    #[test]
    fn a_home_is_made_with_the_places_that_an_agent_wants_to_find_a62() {
        use std::os::unix::fs::PermissionsExt;
        let home = std::env::temp_dir().join(format!("keel-home-{}", std::process::id()));
        let text = format!(
            "kind = 'acp'\npreset = 'codex'\nhome = '{}'",
            home.display()
        );
        let backend: Backend = toml::from_str(&text).expect("it can be read");
        backend.make_home().expect("it is made");
        for dir in [home.clone(), home.join(".codex")] {
            let mode = std::fs::metadata(&dir)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
        }
        let _ = std::fs::remove_dir_all(home);
    }

    #[test]
    fn what_makes_no_agent_is_refused_by_its_option() {
        for (text, option) in [
            ("kind = 'acp'", "command"),
            ("kind = 'acp'\npreset = 'copilot'", "preset"),
            ("kind = 'acp'\npreset = 'codex'\nidle_s = 0", "idle_s"),
            ("kind = 'acp'\npreset = 'codex'\nhome = 'h'", "home"),
        ] {
            assert_eq!(agent(text).unwrap_err().0, option, "{text}");
        }
        let refused: Result<Backend, _> = toml::from_str("kind = 'acp'\npermissions = 'yolo'");
        assert!(refused.is_err());
    }
}
