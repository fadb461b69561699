//! Answers that are no stream: statuses, redirects, pages, archives.

use std::{
    io,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use crate::{Server, dialect::Dialect, http::Answer, mode::Mode, prompt::Asked};

/// Bytes that the bomb becomes.
const BOMB_BYTES: usize = 4 * 1024 * 1024 * 1024;

/// Answers if `mode` is one of these; `false` if it is not.
pub(crate) async fn refuse(
    answer: &mut Answer<'_, '_>,
    server: &Server,
    mode: &Mode,
    asked: &Asked,
    key: &str,
) -> io::Result<bool> {
    let json = ("content-type", "application/json");
    match mode.word.as_str() {
        // `401`, `429:2`, `503:date`; 529 is Anthropic's "overloaded".
        word if word.len() == 3 && word.parse::<u16>().is_ok_and(|status| status >= 400) => {
            let status: u16 = word.parse().map_err(io::Error::other)?;
            let mut headers = vec![json];
            let later = retry_after(&mode.argument);
            if let Some((name, value)) = &later {
                headers.push((name, value));
            }
            let body = error(asked.dialect, status, &message(status, key));
            answer.whole(status, &headers, &body.to_string()).await?;
        }
        // `redirect`, `redirect:307`, `redirect:file`.
        "redirect" => {
            let other = format!("http://localhost:{}/v1/redirected", server.port);
            let to = match mode.argument.as_str() {
                "file" => "file:///etc/passwd",
                "metadata" => "http://169.254.169.254/latest/meta-data/",
                _ => &other,
            };
            let status = mode.argument.parse().unwrap_or(302);
            answer.whole(status, &[("location", to)], "").await?;
        }
        // `html`, `html:sse` under the type of a stream.
        "html" => {
            let kind = match mode.argument.as_str() {
                "sse" => "text/event-stream",
                _ => "text/html; charset=utf-8",
            };
            let page =
                "<!DOCTYPE html>\n<html><title>Sign in to the hotel's network</title></html>\n";
            answer.whole(200, &[("content-type", kind)], page).await?;
        }
        "jsonerror200" => {
            let body = error(asked.dialect, 200, "the upstream is on holiday");
            answer.whole(200, &[json], &body.to_string()).await?;
        }
        "empty200" => {
            answer
                .whole(200, &[("content-type", "text/event-stream")], "")
                .await?
        }
        "gzipbomb" => {
            let headers = [
                ("content-type", "text/event-stream"),
                ("content-encoding", "gzip"),
            ];
            answer.head(200, &headers).await?;
            for chunk in bomb() {
                answer.chunk(&chunk).await?;
            }
            answer.end().await?;
        }
        // As Ollama, vLLM and llama.cpp say it.
        "nomodel" => {
            let text = format!("model \"{}\" not found, try pulling it first", asked.model);
            let body = json!({"error": {"message": text, "type": "api_error", "param": null, "code": null}});
            answer.json(404, &body).await?;
        }
        "oom" => {
            let text = match mode.argument.as_str() {
                "cuda" => "CUDA out of memory. Tried to allocate 2.00 GiB",
                _ => "model requires more system memory (25.0 GiB) than is available (3.1 GiB)",
            };
            let body = json!({"error": {"message": text, "type": "api_error"}});
            answer.json(500, &body).await?;
        }
        "loading" => {
            let body = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
            answer.json(503, &body).await?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// The header that says when to come again.
fn retry_after(argument: &str) -> Option<(&'static str, String)> {
    let (kind, value) = argument.split_once(':').unwrap_or((argument, "1"));
    match kind {
        "" | "none" => None,
        "date" => {
            let seconds = value.parse().unwrap_or(1);
            let at = SystemTime::now() + Duration::from_secs(seconds);
            Some(("retry-after", http_date(at)))
        }
        "ms" => Some(("retry-after-ms", value.to_owned())),
        "absurd" => Some(("retry-after", "1000000000".to_owned())),
        "nonsense" => Some(("retry-after", "soon \u{1f600}, or -5".to_owned())),
        seconds => Some(("retry-after", seconds.to_owned())),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, RFC 9110 5.6.7.
fn http_date(at: SystemTime) -> String {
    let seconds = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let index = |n: u64| usize::try_from(n).unwrap_or(0);
    format!(
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        weekdays[index(days % 7)],
        months[index(month - 1)],
        rest / 3_600,
        rest / 60 % 60,
        rest % 60,
    )
}

/// What a provider says with a status; a careless one says the key too.
fn message(status: u16, key: &str) -> String {
    match status {
        401 => format!("Incorrect API key provided: {key}. You can find your API key elsewhere."),
        403 => format!("The key {key} may not use this model."),
        404 => "The model does not exist or you do not have access to it.".to_owned(),
        429 => "Rate limit reached for requests".to_owned(),
        529 => "Overloaded".to_owned(),
        400 => "Invalid value for 'model'.".to_owned(),
        _ => format!("The server had an error (authorization: Bearer {key})."),
    }
}

pub(crate) fn error(dialect: Dialect, status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    match dialect {
        Dialect::Chat | Dialect::Responses => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
        }
        Dialect::Anthropic => json!({"type": "error", "error": {"type": kind, "message": message}}),
        Dialect::Gemini => json!({"error": {"code": status, "message": message, "status": kind}}),
    }
}

/// A gzip stream of zeros: each 13 bits are 258 of them.
fn bomb() -> impl Iterator<Item = Vec<u8>> {
    let mut bits = Bits::default();
    // Not the last block, fixed codes; then the literal 0.
    bits.push_low_first(0b010, 3);
    bits.push_code(0b0011_0000, 8);
    let mut head = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    head.append(&mut bits.bytes);
    let copies = BOMB_BYTES / 258;
    let per_chunk = 40_000;
    let chunks = (0..copies / per_chunk).map(move |_| {
        for _ in 0..per_chunk {
            // Length 258 is symbol 285; distance 1 is symbol 0.
            bits.push_code(0b1100_0101, 8);
            bits.push_code(0, 5);
        }
        std::mem::take(&mut bits.bytes)
    });
    std::iter::once(head).chain(chunks)
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    bits: u8,
    count: u8,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        self.bits |= u8::from(bit) << self.count;
        self.count += 1;
        if self.count == 8 {
            self.bytes.push(self.bits);
            (self.bits, self.count) = (0, 0);
        }
    }

    fn push_low_first(&mut self, value: u16, count: u8) {
        (0..count).for_each(|n| self.push(value >> n & 1 == 1));
    }

    /// Huffman codes go with their highest bit first.
    fn push_code(&mut self, value: u16, count: u8) {
        (0..count)
            .rev()
            .for_each(|n| self.push(value >> n & 1 == 1));
    }
}
