//! Streams, and what goes wrong in the middle of one.
//!
//! | word | does |
//! |---|---|
//! | `ok`, `long`, `huge`, `echo`, `history`, `empty`, `endless` | ends well |
//! | `slow`, `vslow` | ends well, at 10 words a second, at one in 10 s |
//! | `think` | thinks first |
//! | `tool`, `toolsleep`, `toolsplit`, `badtoolargs`, `unknowntool`, `manytools:N` | calls; once answered, `ok` |
//! | `length`, `content_filter`, `refusal` | ends so |
//! | `badusage:negative`, `:absurd`, `:text`, `:missing` | `ok` with such usage |
//! | `twice` | says all of it two times, each with an end |
//! | `hang`, `hangmid` | falls silent before the head, after some words |
//! | `die` | dies before the head |
//! | `cutfin`, `cutrst`, `cut0` | cuts the chunked body after some words, before any |
//! | `cutafter` | cuts the body after all was said, its end too |
//! | `noend`, `nodone` | ends the body properly without a reason, with one and without `[DONE]` |
//! | `errorevent`, `errorevent:KIND`, `errorevent:untyped` | tells an error after some words |
//! | `openrouter`, `openrouter:error` | comments between the words; an error as OpenRouter tells it |
//! | `badsse:…` | `nodata`, `badjson`, `nul`, `utf8`, `big`, `comments`, `lines`; and well-formed if rare: `split`, `cr`, `crlf`, `bom`, `multi` |

use std::{io, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    dialect::{Reason, Speaker},
    http::Answer,
    mode::Mode,
    prompt::Asked,
    speech::{self, Words},
};

const SSE: [(&str, &str); 2] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
];

/// What becomes of the connection.
pub(crate) enum Finish {
    KeepAlive,
    Close,
    Reset,
}

/// Whether `mode` calls tools now.
pub(crate) fn calls_tools(mode: &Mode, asked: &Asked) -> bool {
    let words = [
        "tool",
        "toolsleep",
        "toolsplit",
        "badtoolargs",
        "unknowntool",
        "manytools",
    ];
    words.contains(&mode.word.as_str()) && !asked.answered
}

pub(crate) async fn stream(
    answer: &mut Answer<'_, '_>,
    mode: &Mode,
    asked: &Asked,
    mut speaker: Speaker,
) -> io::Result<Finish> {
    if mode.word == "hang" {
        forever().await;
    }
    if mode.word == "die" {
        std::process::exit(1);
    }
    answer.head(200, &SSE).await?;
    set_usage(mode, &mut speaker);
    let mut words = Words::of(mode, asked);
    if mode.word == "badsse" {
        return bad_sse(answer, mode, words, speaker).await;
    }
    if mode.word == "cut0" {
        return Ok(Finish::Close);
    }
    answer.chunk(speaker.begin().as_bytes()).await?;
    if mode.word == "think" {
        answer
            .chunk(speaker.thought("Let me think. ").as_bytes())
            .await?;
        answer.chunk(speaker.thought("I know.").as_bytes()).await?;
    }
    if calls_tools(mode, asked) {
        let piece = if mode.word == "toolsplit" {
            4
        } else {
            usize::MAX
        };
        for (n, call) in speech::calls(mode, asked).iter().enumerate() {
            answer
                .chunk(speaker.call(n, call, piece).as_bytes())
                .await?;
        }
        answer.chunk(speaker.end(Reason::Tools).as_bytes()).await?;
        answer.end().await?;
        return Ok(Finish::KeepAlive);
    }
    match mode.word.as_str() {
        "cutfin" | "cutrst" | "hangmid" | "errorevent" | "noend" => {
            say(
                answer,
                &mut speaker,
                words.by_ref().take(mode.after()),
                mode,
            )
            .await?;
        }
        "openrouter" => {
            for word in words.by_ref().take(mode.after()) {
                answer.chunk(b": OPENROUTER PROCESSING\n\n").await?;
                answer.chunk(speaker.text(&word).as_bytes()).await?;
            }
        }
        "twice" => {
            let said: Vec<String> = words.by_ref().collect();
            say(answer, &mut speaker, said.iter().cloned(), mode).await?;
            answer.chunk(speaker.end(Reason::Stop).as_bytes()).await?;
            answer.chunk(speaker.begin().as_bytes()).await?;
            say(answer, &mut speaker, said.into_iter(), mode).await?;
        }
        _ => {}
    }
    let reason = match mode.word.as_str() {
        "cutfin" => return Ok(Finish::Close),
        "cutrst" => {
            // What was written must be read before the reset takes it back.
            sleep(Duration::from_millis(50)).await;
            return Ok(Finish::Reset);
        }
        "hangmid" => forever().await,
        "noend" => {
            answer.end().await?;
            return Ok(Finish::KeepAlive);
        }
        "errorevent" => {
            if mode.argument == "untyped" {
                let error = json!({"type": "server_error", "message": "the model fell over"});
                let frame = format!("data: {}\n\ndata: [DONE]\n\n", json!({"error": error}));
                answer.chunk(frame.as_bytes()).await?;
                answer.end().await?;
                return Ok(Finish::KeepAlive);
            }
            let kind = match mode.argument.as_str() {
                "" => "server_error",
                kind => kind,
            };
            answer
                .chunk(speaker.error(kind, "the model fell over").as_bytes())
                .await?;
            answer.end().await?;
            return Ok(Finish::KeepAlive);
        }
        "openrouter" if mode.argument == "error" => {
            answer
                .chunk(speaker.error_choice("Provider disconnected").as_bytes())
                .await?;
            answer.end().await?;
            return Ok(Finish::KeepAlive);
        }
        "length" => Reason::Length,
        "content_filter" => Reason::Filter,
        "refusal" => Reason::Refusal,
        "failed" => Reason::Error,
        _ => Reason::Stop,
    };
    say(answer, &mut speaker, words, mode).await?;
    let mut end = speaker.end(reason);
    if mode.word == "nodone" {
        end = end.replace("data: [DONE]\n\n", "");
    }
    answer.chunk(end.as_bytes()).await?;
    if mode.word == "cutafter" {
        sleep(Duration::from_millis(50)).await;
        return Ok(Finish::Reset);
    }
    answer.end().await?;
    Ok(Finish::KeepAlive)
}

async fn forever() -> ! {
    std::future::pending().await
}

async fn say(
    answer: &mut Answer<'_, '_>,
    speaker: &mut Speaker,
    words: impl Iterator<Item = String>,
    mode: &Mode,
) -> io::Result<()> {
    let pace = mode.pace();
    let mut at = Instant::now();
    for word in words {
        if let Some(pace) = pace {
            at += pace;
            sleep_until(at).await;
        }
        let word = speech::stamped(word);
        answer.chunk(speaker.text(&word).as_bytes()).await?;
    }
    Ok(())
}

fn set_usage(mode: &Mode, speaker: &mut Speaker) {
    if mode.word == "badusage" {
        speaker.usage = match mode.argument.as_str() {
            "absurd" => {
                Some(json!({"input": 9_000_000_000_000_000_000_u64, "output": 1e300, "cached": 5}))
            }
            "text" => Some(json!({"input": "many", "output": [7], "cached": null})),
            "missing" => None,
            _ => Some(json!({"input": -11, "output": -7, "cached": -1})),
        };
    }
}

async fn bad_sse(
    answer: &mut Answer<'_, '_>,
    mode: &Mode,
    words: Words,
    mut speaker: Speaker,
) -> io::Result<Finish> {
    let mut good = speaker.begin();
    words.for_each(|word| good.push_str(&speaker.text(&word)));
    good.push_str(&speaker.end(Reason::Stop));
    match mode.argument.as_str() {
        // Well-formed, if rare.
        "split" => {
            // A character's bytes come one by one.
            for byte in good.replace("Hello", "H\u{e9}llo \u{1f600}").as_bytes() {
                answer.chunk(&[*byte]).await?;
                tokio::task::yield_now().await;
            }
        }
        "cr" => answer.chunk(good.replace('\n', "\r").as_bytes()).await?,
        "crlf" => answer.chunk(good.replace('\n', "\r\n").as_bytes()).await?,
        "bom" => answer.chunk(format!("\u{feff}{good}").as_bytes()).await?,
        // Fields that nobody knows, comments, no blank after the colon.
        "multi" => {
            let odd = good.replace("data: {", "id: 7\nretry: 10\nfoo: bar\nnocolon\n:c\ndata:{");
            answer.chunk(odd.as_bytes()).await?;
        }
        // Not well-formed.
        "nodata" => answer.chunk(good.replace("data: ", "").as_bytes()).await?,
        "nul" => {
            answer
                .chunk(good.replace("fake", "f\0ke").as_bytes())
                .await?
        }
        "utf8" => {
            let mut bytes = good.into_bytes();
            let at = bytes
                .windows(5)
                .position(|five| five == b"Hello")
                .unwrap_or(0);
            bytes[at] = 0xff;
            answer.chunk(&bytes).await?;
        }
        "big" => {
            answer
                .chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"")
                .await?;
            for _ in 0..160 {
                answer.chunk(&[b'x'; 64 * 1024]).await?;
            }
            answer.chunk(b"\"}}]}\n\n").await?;
            answer.chunk(good.as_bytes()).await?;
        }
        // An event of many lines that never ends.
        "lines" => loop {
            answer.chunk(&b"data: 1\n".repeat(1_000)).await?;
        },
        "comments" => loop {
            answer.chunk(&b": still here\n\n".repeat(1_000)).await?;
        },
        _ => {
            answer
                .chunk(
                    good.replace("\"choices\":", "\"choices\"")
                        .replace("\"type\":", "\"type\"")
                        .as_bytes(),
                )
                .await?
        }
    }
    answer.end().await?;
    Ok(Finish::KeepAlive)
}
