//! JSON-RPC 2.0, one message a line: what a line is, and how a line is made.
//!
//! Only the envelope is looked at. A line that is no message is noise, as agents print banners and
//! warnings where messages belong; a batch is noise, too, as the protocol has none.

use serde_json::{Map, Value, json};

use crate::process::json_line::{self, Read};

/// The agent wants somebody to log in.
pub(crate) const AUTH_REQUIRED: i64 = -32_000;
/// There is no such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
/// The parameters make no sense.
pub(crate) const INVALID_PARAMS: i64 = -32_602;
/// It did not work.
pub(crate) const INTERNAL_ERROR: i64 = -32_603;

/// One message from the agent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// It asks; the answer repeats `id`.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    /// It tells.
    Notification { method: String, params: Value },
    /// It answers the request that we numbered `id`.
    Response {
        id: u64,
        result: Result<Value, RpcError>,
    },
}

/// An error that an answer carries, as it came: its texts may be long, and have secrets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RpcError {
    pub(crate) code: i64,
    pub(crate) message: String,
    pub(crate) data: Option<Value>,
}

/// How deep an error's data is looked through.
const DATA_DEPTH_MAX: usize = 6;

impl RpcError {
    /// Its words: those of its data where it says no more itself than that it is an error.
    pub(crate) fn words(&self) -> &str {
        let data = self.data.as_ref();
        let keys = ["message", "details", "error"];
        let more = keys.iter().find_map(|key| data?.get(key)?.as_str());
        let more = more.or_else(|| data?.as_str());
        let more = more.filter(|more| !more.is_empty() && self.message != *more);
        match more {
            Some(more) if self.message == "Internal error" => more,
            _ => &self.message,
        }
    }

    /// What the model's server of the agent answered, where the data has it, or a word for it; or
    /// where the code is that, as Gemini's is.
    pub(crate) fn status(&self) -> Option<u16> {
        let data = self.data.as_ref();
        let word = || data?.get("errorKind")?.as_str().and_then(status_of);
        let told = data.and_then(|data| status_in(data, DATA_DEPTH_MAX));
        let code = u16::try_from(self.code).ok();
        told.or_else(word)
            .or_else(|| code.filter(|code| is_failure(*code)))
    }

    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }
}

/// What a line is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// A message, and whether something in it was replaced.
    Message(Message, bool),
    /// Not of the protocol.
    Noise,
    /// Nothing.
    Blank,
}

pub(crate) fn read(bytes: &[u8]) -> Line {
    let (mut object, repaired) = match json_line::object(bytes) {
        Read::Object(object, repaired, _) => (object, repaired),
        Read::Noise => return Line::Noise,
        Read::Blank => return Line::Blank,
    };
    let id = object.remove("id");
    let method = object.remove("method");
    let params = object.remove("params").unwrap_or(Value::Null);
    let message = match (id, method) {
        (None, Some(Value::String(method))) => Some(Message::Notification { method, params }),
        (Some(id), Some(Value::String(method))) if is_id(&id) => {
            Some(Message::Request { id, method, params })
        }
        (Some(id), None) => response(&id, object),
        _ => None,
    };
    message.map_or(Line::Noise, |message| Line::Message(message, repaired))
}

const fn is_id(id: &Value) -> bool {
    matches!(id, Value::Number(_) | Value::String(_))
}

fn response(id: &Value, mut object: Map<String, Value>) -> Option<Message> {
    let id = id.as_u64()?;
    let result = match (object.remove("result"), object.remove("error")) {
        (_, Some(Value::Object(mut error))) => Err(RpcError {
            code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
            message: match error.remove("message") {
                Some(Value::String(message)) => message,
                _ => "an error without a message".to_owned(),
            },
            data: error.remove("data").filter(|data| !data.is_null()),
        }),
        (Some(result), None | Some(_)) => Ok(result),
        (None, _) => return None,
    };
    Some(Message::Response { id, result })
}

/// A status of HTTP that tells of a failure, by one of the names that agents have for it.
fn status_in(data: &Value, depth: usize) -> Option<u16> {
    let Value::Object(object) = data else {
        return None;
    };
    let names = ["http_status_code", "httpStatusCode", "statusCode", "status"];
    let own = names.iter().find_map(|name| object.get(*name)?.as_u64());
    let own = own.and_then(|status| u16::try_from(status).ok());
    let own = own.filter(|status| is_failure(*status));
    let beneath = || {
        object
            .values()
            .find_map(|value| status_in(value, depth - 1))
    };
    own.or_else(|| if depth > 0 { beneath() } else { None })
}

fn is_failure(status: u16) -> bool {
    (400..600).contains(&status)
}

/// The status that Claude's words for failures stand for.
fn status_of(word: &str) -> Option<u16> {
    match word {
        "authentication_failed" => Some(401),
        "billing_error" => Some(402),
        "rate_limit" => Some(429),
        "invalid_request" => Some(400),
        "server_error" => Some(500),
        "overloaded" => Some(529),
        _ => None,
    }
}

/// A request's line.
pub(crate) fn request(id: u64, method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notification's line.
pub(crate) fn notification(method: &str, params: &Value) -> String {
    line(&json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// The line that answers a request of the agent's.
pub(crate) fn answer(id: &Value, result: Result<Value, RpcError>) -> String {
    line(&match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(RpcError { code, message, .. }) => {
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
        }
    })
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        match read(text.as_bytes()) {
            Line::Message(message, _) => message,
            other @ (Line::Noise | Line::Blank) => panic!("{text} is {other:?}"),
        }
    }

    #[test]
    fn the_envelope_tells_requests_notifications_and_answers_apart() {
        let id = json!("x");
        let (method, params) = ("m".to_owned(), json!({"a": 1}));
        assert_eq!(
            message(r#"{"jsonrpc":"2.0","id":"x","method":"m","params":{"a":1}}"#),
            Message::Request { id, method, params }
        );
        let (method, params) = ("m".to_owned(), Value::Null);
        assert_eq!(
            message(r#"{"method":"m"}"#),
            Message::Notification { method, params }
        );
        let result = Ok(Value::Null);
        assert_eq!(
            message(r#"{"id":7,"result":null}"#),
            Message::Response { id: 7, result }
        );
        let error = RpcError {
            code: -32_000,
            message: "log in".to_owned(),
            data: Some(json!([1])),
        };
        assert_eq!(
            message(r#"{"id":7,"error":{"code":-32000,"message":"log in","data":[1]}}"#),
            Message::Response {
                id: 7,
                result: Err(error)
            }
        );
    }

    #[test]
    fn what_is_no_message_is_noise_c11_c15_c20() {
        let deep = format!(
            r#"{{"method":"m","params":{}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        let noise = [
            "npm warn",
            "\u{1b}[31mred",
            "[]",
            r#"[{"method":"m"}]"#,
            r#"{"id":-1,"result":1}"#,
            r#"{"id":"theirs","result":1}"#,
            r#"{"id":7}"#,
            r#"{"id":null,"method":"m"}"#,
            r#"{"id":[1],"method":"m"}"#,
            r#"{"method":7}"#,
            r#"{"method":"m","params":1e999}"#,
            &deep,
        ];
        for text in noise {
            let start = &text[..text.len().min(60)];
            assert_eq!(read(text.as_bytes()), Line::Noise, "{start}");
        }
        assert_eq!(read(b" \r"), Line::Blank);
    }

    #[test]
    fn what_the_models_server_answered_is_found_in_an_errors_data() {
        let error = |data: Value| RpcError {
            data: Some(data),
            ..RpcError::new(INTERNAL_ERROR, "Internal error")
        };
        let codex = error(
            json!({"message": "exceeded retry limit", "codex_error_info":
            {"response_too_many_failed_attempts": {"http_status_code": 429}}}),
        );
        assert_eq!(
            (codex.words(), codex.status()),
            ("exceeded retry limit", Some(429))
        );
        let gemini = error(json!({"details": "Invalid session identifier"}));
        assert_eq!(
            (gemini.words(), gemini.status()),
            ("Invalid session identifier", None)
        );
        let claude = error(json!({"errorKind": "rate_limit"}));
        assert_eq!(
            (claude.words(), claude.status()),
            ("Internal error", Some(429))
        );
        assert_eq!(RpcError::new(401, "no such key").status(), Some(401));
        let none = RpcError::new(7, "no");
        assert_eq!((none.words(), none.status()), ("no", None));
        assert_eq!(error(json!({"status": 200})).status(), None);
        assert_eq!(error(json!([{"status": 500}])).status(), None);
    }

    #[test]
    fn broken_text_is_repaired_and_flagged_c14() {
        let broken = [&br#"{"method":"m\ud83d"}"#[..], b"{\"method\":\"m\xff\"}"];
        for bytes in broken {
            let (method, params) = ("m\u{fffd}".to_owned(), Value::Null);
            assert_eq!(
                read(bytes),
                Line::Message(Message::Notification { method, params }, true)
            );
        }
    }
}
