//! What the events of a stream say, whatever the dialect.

use keel_wire::item;
use serde::Deserialize;
use serde_json::Value;

use crate::Failure;

/// One thing that an event says.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    /// More of the answer.
    Text(String),
    /// More of what the model thinks.
    Thought(String),
    /// A tool is called.
    Call(Call),
    /// What it took; later figures replace earlier ones.
    Usage(Usage),
    /// The answer is complete, for this reason.
    Finish(String),
    /// The stream is over; nothing after this is read.
    End,
    /// It came to nothing.
    Failed(Failure),
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// JSON, as the model wrote it.
    pub(crate) arguments: String,
}

/// Tokens, as an endpoint tells them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) input: Option<Value>,
    pub(crate) output: Option<Value>,
    pub(crate) cached: Option<Value>,
    pub(crate) cost: Option<Value>,
}

impl Usage {
    /// Takes what `later` knows.
    pub(crate) fn update(&mut self, later: Self) {
        let pairs = [
            (&mut self.input, later.input),
            (&mut self.output, later.output),
            (&mut self.cached, later.cached),
            (&mut self.cost, later.cost),
        ];
        for (known, later) in pairs {
            if later.as_ref().is_some_and(|value| !value.is_null()) {
                *known = later;
            }
        }
    }

    /// As it is told: figures that make no sense are left out, and that is told.
    pub(crate) fn told(&self) -> item::Usage {
        /// Above what any model takes.
        const TOKENS_MAX: u64 = 1_000_000_000;
        let mut unknown = self.input.is_none() || self.output.is_none();
        let mut tokens = |figure: &Option<Value>| {
            let figure = figure.as_ref()?;
            let tokens = figure.as_u64().filter(|tokens| *tokens <= TOKENS_MAX);
            unknown |= tokens.is_none();
            tokens
        };
        let input_tokens = tokens(&self.input);
        let output_tokens = tokens(&self.output);
        let cached_tokens = tokens(&self.cached);
        let cost = self.cost.as_ref();
        let cost_usd = cost
            .and_then(Value::as_f64)
            .filter(|cost| (0.0..1e6).contains(cost));
        item::Usage {
            input_tokens,
            cached_tokens,
            output_tokens,
            cost_usd,
            unknown: unknown || (cost.is_some() && cost_usd.is_none()),
            ..item::Usage::default()
        }
    }
}

/// An error object, of whichever maker.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorObject {
    r#type: Value,
    code: Value,
    status: Value,
    message: Value,
}

impl ErrorObject {
    /// Reads `{"error": …}`'s value: an object or just words.
    pub(crate) fn read(value: Value) -> Self {
        if value.is_string() {
            let message = value;
            return Self {
                message,
                ..Self::default()
            };
        }
        serde_json::from_value(value).unwrap_or_default()
    }

    /// What kind of error it is: the first of its names.
    pub(crate) fn kind(&self) -> String {
        let name = |value: &Value| {
            let name = value.as_str().filter(|name| !name.is_empty());
            name.map(str::to_owned)
                .or_else(|| value.as_i64().map(|number| number.to_string()))
        };
        let kind = name(&self.code)
            .or_else(|| name(&self.r#type))
            .or_else(|| name(&self.status));
        kind.unwrap_or_else(|| "error".to_owned())
    }

    pub(crate) fn message(&self) -> Option<&str> {
        self.message.as_str().filter(|message| !message.is_empty())
    }

    /// As a failure that was told inside a stream.
    pub(crate) fn failure(&self) -> Failure {
        Failure::Upstream {
            kind: self.kind(),
            message: self.message().unwrap_or("without a word why").to_owned(),
        }
    }
}

/// Reads an event's data; what is not what it should be is the stream's fault. The data itself is
/// not told: it may hold anything.
pub(crate) fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, Failure> {
    serde_json::from_str(data).map_err(|error| Failure::Sse {
        error: if error.is_data() {
            "an event is not what the API says".to_owned()
        } else {
            format!("an event is not JSON, at its character {}", error.column())
        },
    })
}

/// The word for why an answer ended: one for each reason, whatever the maker calls it.
pub(crate) fn stop_reason(word: &str) -> String {
    const WORD_BYTES_MAX: usize = 64;
    match word {
        "stop" | "eos" | "end_turn" | "stop_sequence" => "end_turn",
        "length" | "max_tokens" | "max_output_tokens" | "model_context_window_exceeded" => "length",
        "tool_calls" | "function_call" | "tool_use" => "tool_calls",
        other => &other[..other.floor_char_boundary(WORD_BYTES_MAX)],
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_that_make_no_sense_are_left_out_and_told_h14() {
        let item = |input: Value, output: Value, cached: Value| {
            let mut usage = Usage::default();
            let (input, output, cached) = (Some(input), Some(output), Some(cached));
            usage.update(Usage {
                input,
                output,
                cached,
                cost: None,
            });
            item::ItemData::Usage(usage.told()).into_value()
        };
        assert_eq!(
            item(json!(11), json!(7), json!(3)),
            json!({"type": "usage", "input_tokens": 11, "output_tokens": 7, "cached_tokens": 3})
        );
        let unknown = json!({"type": "usage", "unknown": true});
        assert_eq!(item(json!(-1), json!(-7), json!(-1)), unknown);
        assert_eq!(item(json!("many"), json!([7]), json!(null)), unknown);
        assert_eq!(item(json!(9e18), json!(1e300), json!(1.5)), unknown);
        assert!(Usage::default().told().unknown);
        assert_eq!(
            item(json!(11), json!(-1), json!(null)),
            json!({"type": "usage", "input_tokens": 11, "unknown": true})
        );
    }

    #[test]
    fn an_error_is_read_in_any_shape_h11() {
        let told = |value| ErrorObject::read(value).failure().to_string();
        assert_eq!(
            told(json!({"code": 502, "message": "m"})),
            "the model's server reports 502: m"
        );
        assert_eq!(
            told(json!({"code": null, "type": "t", "message": "m"})),
            "the model's server reports t: m"
        );
        assert_eq!(
            told(json!("words")),
            "the model's server reports error: words"
        );
        assert_eq!(
            told(json!(7)),
            "the model's server reports error: without a word why"
        );
    }
}
