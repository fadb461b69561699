//! A real server that speaks OpenAI's API, by somebody else: LiteLLM's proxy, in front of the fake
//! model. `EVENKEEL_LITELLM` names a Python that has it, as `cargo xtask test --full` makes one
//! (`tests/litellm/requirements.txt`); without it this test is skipped, and says so.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use keel_agent::{
    Budgets, Ending, Failure, Output,
    endpoint::{BaseUrl, Config, Key, Secret},
};
use keel_wire::Code;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::sleep};

use super::{
    harness::{Driven, Heard},
    model::{Dialect, Model},
};

const KEY: &str = "sk-litellm-canary-0123456789";
/// It takes its time to import itself.
const STARTS_WITHIN: Duration = Duration::from_secs(240);

struct Proxy {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Proxy {
    async fn start(python: &str, model: &Model) -> Self {
        let dir = tempfile::TempDir::new().expect("a directory");
        let config = dir.path().join("config.yaml");
        let text = format!(
            "model_list:\n  - model_name: fake-model\n    litellm_params:\n      \
             model: openai/fake-model\n      api_base: {}/v1\n      api_key: none\n      \
             max_retries: 0\n\
             router_settings:\n  num_retries: 0\n  disable_cooldowns: true\n\
             general_settings:\n  master_key: {KEY}\n",
            model.url
        );
        std::fs::write(&config, text).expect("written");
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let run = "from litellm.proxy.proxy_cli import run_server; run_server()";
        let child = Command::new(python)
            .args(["-c", run, "--host", "127.0.0.1", "--telemetry", "False"])
            .arg("--port")
            .arg(port.to_string())
            .arg("--config")
            .arg(&config)
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the Python that EVENKEEL_LITELLM names");
        let mut proxy = Self {
            child,
            port,
            _dir: dir,
        };
        let listens = tokio::time::timeout(STARTS_WITHIN, proxy.listens());
        listens.await.expect("it listens in time");
        proxy
    }

    async fn listens(&mut self) {
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it has ended: {ended:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn config(&self) -> Config {
        let url = format!("http://127.0.0.1:{}/v1", self.port);
        let mut config = Config::new(BaseUrl::parse(&url, false).expect("a URL"), "fake-model");
        config.key = Key::Known(Secret::new(KEY.to_owned()));
        config.clocks.retry_wait = Duration::from_millis(100);
        config
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ask(dialect: Dialect, config: Config, prompt: &str) -> Heard {
    let provider = dialect.provider(config);
    let heard = Driven::start(provider, prompt, Budgets::default())
        .finish()
        .await;
    let told = format!("{heard:?}");
    assert!(!told.contains("canary"), "{told}");
    heard
}

#[tokio::test]
async fn a_real_server_answers_refuses_limits_and_dies_and_each_is_told() {
    let Ok(python) = std::env::var("EVENKEEL_LITELLM") else {
        // Straight to the terminal: the harness would keep it to itself.
        let mut terminal = tokio::io::stderr();
        let skipped = b"SKIPPED: LiteLLM is not here (EVENKEEL_LITELLM names no Python)\n";
        let _ = terminal.write_all(skipped).await;
        let _ = terminal.flush().await;
        return;
    };
    let model = Model::start(&[]);
    let mut proxy = Proxy::start(&python, &model).await;

    for dialect in [Dialect::Chat, Dialect::Responses] {
        let heard = ask(dialect, proxy.config(), "hello").await;
        assert_eq!(heard.text(), "Hello from the fake model.", "{heard:?}");
        let stop_reason = Some("end_turn".to_owned());
        assert_eq!(heard.outcome.ending, Ending::Done { stop_reason });
    }
    let called = ask(Dialect::Chat, proxy.config(), "!toolsplit").await;
    let is_call = |output: &Output| {
        matches!(output, Output::Item(item) if item["title"] == "get_weather"
            && item["input"]["days"] == 3)
    };
    assert!(called.outputs.iter().any(is_call), "{called:?}");

    // It looks keys up in a database that it does not have here, and refuses for that.
    let mut config = proxy.config();
    config.key = Key::Known(Secret::new("sk-wrong-canary-0123456789".to_owned()));
    let heard = ask(Dialect::Chat, config, "hello").await;
    assert!(matches!(heard.failure(), Failure::Http { .. }), "{heard:?}");
    let mut config = proxy.config();
    config.model = "no-such-model".to_owned();
    let heard = ask(Dialect::Chat, config, "hello").await;
    assert_eq!(heard.failure().code(), Code::ProviderRefused, "{heard:?}");

    let heard = ask(Dialect::Chat, proxy.config(), "!429").await;
    assert_eq!(
        heard.failure().code(),
        Code::ProviderRateLimited,
        "{heard:?}"
    );
    assert_eq!(
        model.calls("!429").await,
        3,
        "we are the ones who ask again"
    );

    // The upstream dies in mid-answer: whatever the proxy makes of it, it is no success.
    let heard = ask(Dialect::Chat, proxy.config(), "!cutrst").await;
    assert!(heard.text().len() <= "Hello from ".len(), "{heard:?}");
    assert!(
        matches!(heard.outcome.ending, Ending::Failed(_)),
        "{heard:?}"
    );

    // The proxy itself dies in mid-answer.
    let provider = Dialect::Chat.provider(proxy.config());
    let mut driven = Driven::start(provider, "!hangmid", Budgets::default());
    driven
        .until(|output| matches!(output, Output::Text(_)))
        .await;
    proxy.child.kill().expect("a child");
    let heard = driven.finish().await;
    assert!(matches!(heard.failure(), Failure::Cut { .. }), "{heard:?}");

    let heard = ask(Dialect::Chat, proxy.config(), "hello").await;
    assert!(
        matches!(heard.failure(), Failure::Network { .. }),
        "{heard:?}"
    );
}
