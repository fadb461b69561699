//! A model server that does what each prompt says, and providers that ask it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use keel_agent::{
    Provider,
    anthropic::Anthropic,
    endpoint::{BaseUrl, Config, Key, Secret},
    openai::{Api, OpenAi},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A key that must be seen nowhere.
pub(crate) const CANARY: &str = "sk-canary-0123456789abcdef";

/// `keel-fake-model` at work; it ends with this value.
pub(crate) struct Model {
    child: Child,
    pub(crate) url: String,
}

impl Model {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keel-fake-model"))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fake model starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        let read = BufReader::new(stdout).read_line(&mut line);
        read.expect("the fake model says where it is");
        let url = line.trim().to_owned();
        Self { child, url }
    }

    /// The usual settings to ask it.
    pub(crate) fn config(&self) -> Config {
        let base_url = BaseUrl::parse(&format!("{}/v1", self.url), false).expect("a URL");
        let mut config = Config::new(base_url, "fake-model");
        config.key = Key::Known(Secret::new(CANARY.to_owned()));
        // Waits are what they are told to be; here nobody has time for long ones.
        config.clocks.retry_wait = Duration::from_millis(100);
        config
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let sent = stream.write_all(request.as_bytes()).await;
        sent.expect("it reads");
        // It answers, and ends what will not be followed by another request.
        stream.shutdown().await.expect("a socket");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("it answers");
        let body = answer.split_once("\r\n\r\n").expect("a head").1;
        serde_json::from_str(body).expect("JSON")
    }

    /// How often it was asked `prompt`.
    pub(crate) async fn calls(&self, prompt: &str) -> u64 {
        let counts = self.get("/counts").await;
        counts["prompts"][prompt].as_u64().unwrap_or(0)
    }

    /// Waits until no answer is under way, and says how many were left by who asked.
    pub(crate) async fn aborted(&self) -> u64 {
        loop {
            let counts = self.get("/counts").await;
            if counts["open"] == 0 {
                return counts["aborted"].as_u64().expect("a number");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("the fake model ends");
    }
}

/// How an endpoint is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Chat,
    Responses,
    Messages,
}

impl Dialect {
    pub(crate) const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];

    pub(crate) fn provider(self, config: Config) -> Arc<dyn Provider> {
        match self {
            Self::Chat => Arc::new(OpenAi::new(config, Api::Chat).expect("a configuration")),
            Self::Responses => {
                Arc::new(OpenAi::new(config, Api::Responses).expect("a configuration"))
            }
            Self::Messages => Arc::new(Anthropic::new(config).expect("a configuration")),
        }
    }
}
