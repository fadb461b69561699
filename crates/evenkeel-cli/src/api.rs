//! A server's HTTP API, one request a connection.

use std::time::Duration;

use evenkeel::wire::Fault;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    exit::Failure,
    target::{Target, authority},
};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) struct Api(Target);

impl Api {
    pub(crate) const fn new(target: Target) -> Self {
        Self(target)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Method::POST, path, Some(body)).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let exchange = Box::pin(self.exchange(method, path, body));
        let (status, bytes) = timeout(WITHIN, exchange)
            .await
            .map_err(|_| Failure::temporary(format!("{} did not answer in time", self.0.url)))??;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| {
                Failure::temporary(format!("an answer that is no JSON: {error}"))
            });
        }
        Err(match serde_json::from_slice::<Fault>(&bytes) {
            Ok(fault) => Failure::from(&fault),
            Err(_) => Failure::unavailable(format!("{} answered {status}", self.0.url)),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let url = &self.0.url;
        let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme);
        if !matches!(scheme, "http" | "ws") {
            return Err(Failure::usage(
                "this verb speaks plain HTTP: run it where the server is",
            ));
        }
        let host = authority(url);
        let address = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let gone = |error: &dyn std::fmt::Display| Failure::unavailable(format!("{url}: {error}"));
        let stream = TcpStream::connect(&address)
            .await
            .map_err(|error| gone(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| gone(&error))?;
        let token = &self.0.token;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(AUTHORIZATION, format!("Bearer {token}"));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        let request = request
            .body(body)
            .map_err(|error| Failure::usage(format!("not a request: {error}")))?;
        let asked = async {
            let response = sender.send_request(request).await;
            let response = response.map_err(|error| gone(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| gone(&error))?;
            Ok((status, body.to_bytes()))
        };
        // The connection lives as long as the exchange, in the same task.
        tokio::pin!(asked);
        let mut connection = Some(Box::pin(connection));
        loop {
            match &mut connection {
                Some(driving) => tokio::select! {
                    done = &mut asked => return done,
                    _ = driving => connection = None,
                },
                None => return asked.await,
            }
        }
    }
}
