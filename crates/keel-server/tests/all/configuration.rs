//! Configurations: what is refused, and that the error says where.

use std::{fs, path::PathBuf};

use keel_agent::endpoint::Key;
use keel_server::{
    Config, ConfigError,
    config::{BackendKind, Source, StoreKind},
};

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("evenkeel.toml");
    fs::write(&path, text).expect("written");
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&Source::File(path), env)
}

#[test]
fn the_whole_of_it_is_read() {
    let config = load(
        r#"
        [server]
        listen = "127.0.0.1:7999"
        allowed_origins = ["https://app.example"]
        trusted_proxies = ["10.0.0.1"]
        [store]
        kind = "memory"
        [session]
        resume_window_s = 60
        default_backend = "agent"
        [faults]
        enabled = true
        [backends.echo]
        kind = "echo"
        [backends.agent]
        kind = "process"
        command = ["agent", "--json"]
        output = "json_lines"
        capacity = { kind = "turn", slots = 2, queue = 4 }
        clocks = { idle_ms = 1000 }
        busy = { policy = "queue", max = 3 }
        "#,
        &[
            ("EVENKEEL_SERVER__LISTEN", "127.0.0.1:0"),
            ("EVENKEEL_LIMITS__FRAMES_PER_S", "7"),
        ],
    )
    .expect("a configuration");
    assert_eq!(
        config.server.listen.port(),
        0,
        "the environment is over the file"
    );
    assert_eq!(config.limits.frames_per_s, 7);
    assert_eq!(config.store.kind, StoreKind::Memory);
    assert_eq!(config.backends["agent"].kind, BackendKind::Process);
    assert_eq!(config.default_backend(), "agent");
    assert!(config.faults.enabled);
}

#[test]
fn a_preset_says_where_its_key_is_and_a_key_goes_nowhere_else_a66() {
    let endpoint = |options: &str| {
        let text = format!("[backends.a]\nmodel = \"m\"\n{options}");
        let config = load(&text, &[]).expect("a configuration");
        let endpoint = config.backends["a"].endpoint().expect("it makes sense");
        endpoint.expect("a model's server")
    };
    let missing = |name: &str| Key::Missing(name.to_owned());
    // None of these is set where tests run.
    let openai = endpoint("kind = \"openai\"");
    assert_eq!(openai.base_url.to_string(), "https://api.openai.com/v1");
    assert_eq!(openai.key, missing("OPENAI_API_KEY"));
    let openrouter = endpoint("kind = \"openai\"\npreset = \"openrouter\"");
    assert_eq!(openrouter.key, missing("OPENROUTER_API_KEY"));
    assert_eq!(
        openrouter.base_url.to_string(),
        "https://openrouter.ai/api/v1"
    );
    let local = endpoint("kind = \"openai\"\npreset = \"local\"");
    assert_eq!((local.key, local.local), (Key::None, true));
    let anthropic = endpoint("kind = \"anthropic\"");
    assert_eq!(anthropic.key, missing("ANTHROPIC_API_KEY"));
    let elsewhere = endpoint("kind = \"openai\"\nbase_url = \"https://models.example/v1\"");
    assert_eq!(elsewhere.key, Key::None, "the usual key is not for others");
}

#[test]
fn without_a_file_there_is_a_backend_that_echoes() {
    let nowhere = Source::FileIfThere(PathBuf::from("/nowhere/evenkeel.toml"));
    let config = Config::load(&nowhere, []).expect("the defaults");
    assert_eq!(config.backends["echo"].kind, BackendKind::Echo);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7080");
    assert!(!config.faults.enabled && !config.server.playground);
    let missing = Source::File(PathBuf::from("/nowhere/evenkeel.toml"));
    assert!(matches!(
        Config::load(&missing, []),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn what_is_wrong_in_the_file_is_named_with_its_line() {
    let cases = [
        ("[server]\nlisten = \"nowhere\"\n", ":2:", "server.listen"),
        ("[server]\n\nlistne = \"127.0.0.1:1\"\n", ":3:", "listne"),
        ("[sever]\n", ":1:", "sever"),
        ("[faults]\nenabled = \"yes\"\n", ":2:", "faults.enabled"),
        ("[faults]\nenabled = 1\n", ":2:", "faults.enabled"),
        (
            "[session]\nresume_window_s = 0\n",
            ":2:",
            "session.resume_window_s",
        ),
        (
            "[server]\nallowed_origins = [\"*\"]\n",
            ":2:",
            "server.allowed_origins",
        ),
        ("[store]\nkind = \"files\"\n", ":2:", "store.kind"),
        (
            "# one\n[backends.a]\nkind = \"process\"\n",
            ":2:",
            "backends.a",
        ),
        ("[backends.A]\nkind = \"echo\"\n", ":1:", "backends.A"),
        (
            "[backends.a]\nkind = \"echo\"\n[session]\ndefault_backend = \"b\"\n",
            ":4:",
            "session.default_backend",
        ),
        ("[log]\nlevel = \"=,=\"\n", ":2:", "log.level"),
        (
            "[backends.a]\nkind = \"openai\"\n",
            ":1:",
            "backends.a.model",
        ),
        (
            "[backends.a]\nkind = \"openai\"\nmodel = \"m\"\nbase_url = \"http://169.254.169.254/v1\"\n",
            ":4:",
            "backends.a.base_url",
        ),
        (
            "[backends.a]\nkind = \"anthropic\"\nmodel = \"m\"\npreset = \"openrouter\"\n",
            ":4:",
            "backends.a.preset",
        ),
        (
            "[backends.a]\nkind = \"openai\"\nmodel = \"m\"\ntries = 0\n",
            ":4:",
            "backends.a.tries",
        ),
        (
            "[backends.a]\nkind = \"fallback\"\nchain = [\"b\"]\n",
            ":3:",
            "backends.a.chain",
        ),
        (
            "[backends.a]\nkind = \"fallback\"\nchain = [\"a\"]\n",
            ":3:",
            "backends.a.chain",
        ),
        ("[server\n", ":1:", ""),
    ];
    for (text, line, option) in cases {
        let error = load(text, &[]).expect_err(text).to_string();
        assert!(error.contains(line), "{text:?}: {error}");
        assert!(error.contains(option), "{text:?}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

#[test]
fn what_is_wrong_in_the_environment_is_named_by_its_variable() {
    let cases = [
        ("EVENKEEL_FAULTS__ENABLED", "1"),
        ("EVENKEEL_FAULTS__ENABLED", "yes"),
        ("EVENKEEL_SERVER__LISTNE", "127.0.0.1:1"),
        ("EVENKEEL_SERVER__LISTEN", "7080"),
        ("EVENKEEL_SEVER__LISTEN", "127.0.0.1:1"),
        ("EVENKEEL_SESSION__RESUME_WINDOW_S", "0"),
    ];
    for (name, value) in cases {
        let error = load("", &[(name, value)]).expect_err(name).to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert!(
        load("", &[("EVENKEEL_TOKEN", "x"), ("PATH", "/")]).is_ok(),
        "not ours to read"
    );
    let path = load("", &[("EVENKEEL_STORE__PATH", "123")])
        .expect("a path")
        .store
        .path;
    assert_eq!(path, PathBuf::from("123"), "text needs no quotes");
}
