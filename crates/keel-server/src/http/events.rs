//! A session's log over HTTP: pages of JSON, or server-sent events that go on as it grows.
//!
//! Both read by position from the store. Positions that are no longer kept, or that an epoch has
//! taken away, are told as a gap and never passed over in silence.

use std::{convert::Infallible, fmt::Write, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use keel_store::PageLimit;
use keel_wire::{
    Code, Cursor, Epoch, EventFrame, Grant, Range, Seq, SessionId,
    record::{SessionRow, StoredEvent},
};
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, time::sleep};

use super::{
    access::{self, Asked, Bearer, Target},
    reply,
};
use crate::{clock, edge, shared::Shared, tails::Tail};

/// Events of a page, where the caller does not say.
const EVENTS: usize = 256;
/// Events of a page at most.
const EVENTS_MAX: usize = 2_048;
/// Bytes of a page.
const PAGE_BYTES: usize = 256 * 1024;
/// How often a stream shows that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// `seq` or `epoch.seq`.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    epoch: Epoch,
    /// Positions that are not here and will not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<Missing>,
    events: Vec<EventFrame>,
    /// The next page's `after`.
    next: Seq,
    head: Seq,
}

#[derive(Serialize)]
struct Missing {
    #[serde(flatten)]
    range: Range,
    code: Code1,
}

/// A code by its name.
struct Code1(Code);

impl Serialize for Code1 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

/// `GET /v1/sessions/{session}/events`.
pub(super) async fn read(
    State(shared): State<Arc<Shared>>,
    Bearer(grant): Bearer,
    Target(session): Target,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
) -> Response {
    let row = match access::row(&shared, &grant, &session).await {
        Ok(row) => row,
        Err(response) => return response,
    };
    let resumed = edge::one(&headers, "last-event-id").ok().flatten();
    let after = match resumed
        .or(query.after.as_deref())
        .map(|text| parse(text, row.epoch))
    {
        None => Cursor {
            epoch: row.epoch,
            seq: Seq::ZERO,
        },
        Some(Some(cursor)) => cursor,
        Some(None) => return reply::invalid("want `after` as seq or epoch.seq"),
    };
    let limit = query.limit.unwrap_or(EVENTS);
    if limit == 0 || limit > EVENTS_MAX {
        return reply::invalid("want a `limit` of 1 to 2048");
    }
    let (after, gap) = begin(&row, after);
    let accept = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if accept
        .into_iter()
        .any(|accept| accept.contains("text/event-stream"))
    {
        return stream_of(shared, grant, session, row.epoch, after, gap);
    }
    match shared
        .store
        .events(
            &session,
            after,
            PageLimit {
                events: limit,
                bytes: PAGE_BYTES,
            },
        )
        .await
    {
        Ok(events) => reply::ok(&Page {
            epoch: row.epoch,
            gap,
            next: events.last().map_or(after, |event| event.to),
            events: events.into_iter().map(frame).collect(),
            head: row.head,
        }),
        Err(error) => access::store(&error),
    }
}

fn frame(event: StoredEvent) -> EventFrame {
    let kind = event.kind.into_string();
    EventFrame {
        from: event.from,
        to: event.to,
        kind,
        data: event.data,
    }
}

fn parse(text: &str, now: Epoch) -> Option<Cursor> {
    let seq = |text: &str| text.parse().ok().and_then(Seq::new);
    Some(match text.split_once('.') {
        Some((epoch, position)) => Cursor {
            epoch: Epoch(seq(epoch)?),
            seq: seq(position)?,
        },
        None => Cursor {
            epoch: now,
            seq: seq(text)?,
        },
    })
}

/// Where reading begins, and what cannot be read.
fn begin(row: &SessionRow, after: Cursor) -> (Seq, Option<Missing>) {
    let rewound = after.epoch != row.epoch || after.seq > row.head;
    let from = if rewound { Seq::ZERO } else { after.seq };
    let missing = |code| Missing {
        range: Range {
            from: from.next(),
            to: row.trimmed.max(from),
        },
        code: Code1(code),
    };
    match (rewound, row.trimmed > from) {
        (true, _) => (row.trimmed, Some(missing(Code::LogRewound))),
        (false, true) => (row.trimmed, Some(missing(Code::ResumeGap))),
        (false, false) => (from, None),
    }
}

/// A stream under way.
struct Sse {
    shared: Arc<Shared>,
    session: SessionId,
    epoch: Epoch,
    after: Seq,
    tail: Tail,
    expires: u64,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

fn stream_of(
    shared: Arc<Shared>,
    grant: Grant,
    session: SessionId,
    epoch: Epoch,
    after: Seq,
    gap: Option<Missing>,
) -> Response {
    let Ok(permit) = Arc::clone(&shared.event_streams).try_acquire_owned() else {
        return reply::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::AtCapacity,
            "too many event streams",
        );
    };
    let tail = shared.tails.wait_for(&session);
    let expires = grant.expires;
    let sse = Sse {
        shared,
        session,
        epoch,
        after,
        tail,
        expires,
        over: false,
        _permit: permit,
    };
    let first = gap.map_or_else(
        || ": ok\n\n".to_owned(),
        |gap| {
            let data = serde_json::to_string(&gap).unwrap_or_default();
            format!("id: {epoch}.{after}\nevent: gap\ndata: {data}\n\n")
        },
    );
    let rest = stream::unfold((Some(first), sse), |(first, mut sse)| async move {
        let text = match first {
            Some(first) => first,
            None => sse.next().await?,
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), (None, sse)))
    });
    let mut response = Response::new(Body::from_stream(rest));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl Sse {
    /// The next piece of text; `None` at the end: of the session, the token or the server.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let limit = PageLimit {
            events: EVENTS,
            bytes: PAGE_BYTES,
        };
        loop {
            let page = match self
                .shared
                .store
                .events(&self.session, self.after, limit)
                .await
            {
                Ok(page) => page,
                Err(error) => {
                    let fault = reply::new_fault(Code::StoreFailed);
                    tracing::error!(fault = %fault.id, %error, "an event stream failed");
                    self.over = true;
                    let data = serde_json::to_string(&fault).unwrap_or_default();
                    return Some(format!("event: fault\ndata: {data}\n\n"));
                }
            };
            if !page.is_empty() {
                return Some(self.write(page));
            }
            let ttl = Duration::from_millis(self.expires.saturating_sub(clock::wall()));
            let closing = self.shared.closing.clone();
            tokio::select! {
                () = self.tail.grown() => {}
                () = sleep(ALIVE_EVERY.min(ttl)) => {
                    if ttl <= ALIVE_EVERY {
                        self.over = true;
                        let fault = reply::new_fault(Code::TokenExpired);
                        let data = serde_json::to_string(&fault).unwrap_or_default();
                        return Some(format!("event: fault\ndata: {data}\n\n"));
                    }
                    return Some(": alive\n\n".to_owned());
                }
                () = closing.cancelled() => return None,
            }
        }
    }

    fn write(&mut self, page: Vec<StoredEvent>) -> String {
        let mut text = String::new();
        for event in page {
            self.after = event.to;
            self.over |= &*event.kind == "session.ended";
            let frame = frame(event);
            let data = serde_json::to_string(&frame).unwrap_or_default();
            // JSON has no line breaks of its own, so one data line is the whole.
            let _ = write!(text, "id: {}.{}\ndata: {data}\n\n", self.epoch, self.after);
        }
        text
    }
}
