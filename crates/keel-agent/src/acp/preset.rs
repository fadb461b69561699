//! Agents that are known by name: how they are started, what they need of the environment, how a
//! person logs in, and how they are installed.
//!
//! Versions are those that this server was tried with. Nothing is downloaded when a server runs:
//! an agent is there, or a turn fails with `provider_spawn`, and `evenkeel doctor` says how to get it.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// An agent that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// What configurations call it.
    pub name: &'static str,
    /// The program, looked for in `PATH`, and its arguments.
    pub command: &'static [&'static str],
    /// Variables of the server's own that it is given, where they are set: keys, and where its
    /// configuration is. Addresses of models are not among them; they are the configuration's.
    pub env_pass: &'static [&'static str],
    /// Variables that it is given: nothing is updated, reported or downloaded behind our back.
    pub env_set: &'static [(&'static str, &'static str)],
    /// Variables that say where its configuration is, by the place beneath a home.
    pub config_dirs: &'static [(&'static str, &'static str)],
    /// The way to log in that asks nobody, by the agent's id of it.
    pub auth_method: Option<&'static str>,
    /// What a person does to log in.
    pub login: &'static str,
    /// The version that was tried; `None` if none was.
    pub version: Option<&'static str>,
    /// How to get it.
    pub install: &'static str,
}

/// Every agent that is known by name.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "claude",
        command: &["claude-agent-acp"],
        env_pass: &[
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_MODEL",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "CLAUDE_CONFIG_DIR",
        ],
        env_set: &[
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
            ("DISABLE_TELEMETRY", "1"),
        ],
        config_dirs: &[("CLAUDE_CONFIG_DIR", ".claude")],
        auth_method: None,
        login: "run `claude /login` as the server's user, or give the server ANTHROPIC_API_KEY",
        version: Some("0.100.0"),
        install: "npm install -g @agentclientprotocol/claude-agent-acp@0.100.0",
    },
    Preset {
        name: "codex",
        command: &["codex-acp"],
        env_pass: &["CODEX_API_KEY", "CODEX_HOME", "OPENAI_API_KEY"],
        env_set: &[],
        config_dirs: &[("CODEX_HOME", ".codex")],
        auth_method: None,
        login: "run `codex login` as the server's user, or give the server CODEX_API_KEY or OPENAI_API_KEY",
        version: Some("0.16.0"),
        install: "npm install -g @zed-industries/codex-acp@0.16.0",
    },
    Preset {
        name: "gemini",
        command: &["gemini", "--acp"],
        env_pass: &[
            "GEMINI_API_KEY",
            "GOOGLE_API_KEY",
            "GOOGLE_CLOUD_LOCATION",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_GENAI_USE_VERTEXAI",
        ],
        env_set: &[],
        config_dirs: &[],
        auth_method: Some("gemini-api-key"),
        login: "run `gemini` once as the server's user, or give the server GEMINI_API_KEY",
        version: Some("0.61.0"),
        install: "npm install -g @google/gemini-cli@0.61.0",
    },
    Preset {
        name: "cursor",
        command: &["agent", "acp"],
        env_pass: &["CURSOR_API_KEY", "CURSOR_AUTH_TOKEN"],
        env_set: &[],
        config_dirs: &[("XDG_CONFIG_HOME", ".config")],
        auth_method: None,
        login: "run `agent login` as the server's user, or give the server CURSOR_API_KEY",
        version: None,
        // No package registry has it: it comes by a script of its maker's.
        install: "see cursor.com/docs/cli/installation (no package registry has it)",
    },
    Preset {
        name: "opencode",
        command: &["opencode", "acp"],
        env_pass: &[
            "ANTHROPIC_API_KEY",
            "OPENAI_API_KEY",
            "OPENCODE_CONFIG",
            "OPENCODE_CONFIG_DIR",
            "OPENROUTER_API_KEY",
        ],
        env_set: &[
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_LSP_DOWNLOAD", "1"),
        ],
        config_dirs: &[
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
        ],
        auth_method: None,
        login: "run `opencode auth login` as the server's user",
        version: Some("1.18.33"),
        install: "npm install -g opencode-ai@1.18.33",
    },
    Preset {
        name: "goose",
        command: &["goose", "acp"],
        env_pass: &[
            "ANTHROPIC_API_KEY",
            "GOOGLE_API_KEY",
            "GOOSE_MODEL",
            "GOOSE_PROVIDER",
            "OPENAI_API_KEY",
            "OPENROUTER_API_KEY",
        ],
        env_set: &[("GOOSE_DISABLE_KEYRING", "1"), ("GOOSE_TELEMETRY_OFF", "1")],
        config_dirs: &[
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
        ],
        auth_method: None,
        login: "run `goose configure` as the server's user",
        version: Some("0.20.2"),
        install: "npm install -g @aaif/goose-binary-linux-x64@0.20.2",
    },
];

impl Preset {
    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// What it is given so that all that it knows of its user is beneath `home`, which is ours.
    #[must_use]
    pub fn at_home(&self, home: &Path) -> Vec<(String, String)> {
        let place = |path: &Path| path.display().to_string();
        let dirs = self.config_dirs.iter();
        let dirs = dirs.map(|(name, beneath)| ((*name).to_owned(), place(&home.join(beneath))));
        std::iter::once(("HOME".to_owned(), place(home)))
            .chain(dirs)
            .collect()
    }

    /// Where it is installed, looked for in the server's own `PATH`.
    #[must_use]
    pub fn installed(&self) -> Option<Installed> {
        let program = look_up(self.command.first()?, &env::var_os("PATH")?)?;
        let version = version_of(&program);
        Some(Installed { program, version })
    }
}

/// An agent that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The program.
    pub program: PathBuf,
    /// Its version, where its package says so; nothing is run to learn it.
    pub version: Option<String>,
}

/// The first program of that name in `path`.
fn look_up(name: &str, path: &OsStr) -> Option<PathBuf> {
    let runs = |program: &PathBuf| {
        fs::metadata(program).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(path).map(|dir| dir.join(name)).find(runs)
}

/// What the package that a program is of says is its version.
fn version_of(program: &Path) -> Option<String> {
    let program = program.canonicalize().ok()?;
    let mut dirs = program.ancestors().skip(1).take(5);
    dirs.find_map(|dir| {
        let package = fs::read(dir.join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
        Some(package["version"].as_str()?.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_pinned_and_hands_no_address_on_a62() {
        assert_eq!(PRESETS.len(), 6);
        for preset in PRESETS {
            assert_eq!(Preset::named(preset.name), Some(preset));
            assert!(!preset.command.is_empty() && !preset.login.is_empty());
            if let (Some(version), true) = (preset.version, preset.install.contains("npm")) {
                assert!(
                    preset.install.ends_with(&format!("@{version}")),
                    "{}",
                    preset.name
                );
            }
            let addresses = ["BASE_URL", "ENDPOINT", "PROXY", "HOST"];
            for name in preset.env_pass {
                assert!(!addresses.iter().any(|part| name.contains(part)), "{name}");
            }
            // What is fetched at run time is what was not there when it was looked at.
            assert!(!preset.command.contains(&"npx"));
        }
    }

    #[test]
    fn a_home_of_ours_is_all_that_an_agent_knows_a62() {
        let codex = Preset::named("codex").expect("it is known");
        let pairs = [("HOME", "/srv/h"), ("CODEX_HOME", "/srv/h/.codex")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(codex.at_home(Path::new("/srv/h")), pairs);
    }

    #[test]
    fn an_agent_is_looked_up_with_its_version() {
        let root = env::temp_dir().join(format!("keel-preset-{}", std::process::id()));
        let (bin, package) = (root.join("bin"), root.join("lib/agent"));
        fs::create_dir_all(&bin).expect("a directory");
        fs::create_dir_all(package.join("dist")).expect("a directory");
        let program = package.join("dist/index.js");
        fs::write(&program, "").expect("a file");
        fs::write(package.join("package.json"), r#"{"version": "1.2.3"}"#).expect("a file");
        std::os::unix::fs::symlink(&program, bin.join("agent")).expect("a link");
        assert_eq!(look_up("agent", bin.as_os_str()), None, "it cannot be run");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its own file");
        assert_eq!(look_up("agent", bin.as_os_str()), Some(bin.join("agent")));
        assert_eq!(version_of(&bin.join("agent")).as_deref(), Some("1.2.3"));
        let _ = fs::remove_dir_all(root);
    }
}
