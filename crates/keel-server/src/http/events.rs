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
use keel_store::{PageLimit, StoreError};
use keel_wire::{
    Code, Cursor, Epoch, EventFrame, Fault, Grant, Range, Seq, SessionId,
    record::{SessionRow, StoredEvent},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use super::{
    access::{self, Asked, Bearer, Target},
    reply,
};
use crate::{clock, edge, shared::Shared, tails::Tail};

/// A position in a log, with or without its epoch.
pub(super) const POSITION: &str = r"^[0-9]{1,15}(\.[0-9]{1,15})?$";
/// Events of a page, where the caller does not say.
const EVENTS: usize = 256;
/// Events of a page at most.
const EVENTS_MAX: usize = 2_048;
/// Bytes of a page.
const PAGE_BYTES: usize = 256 * 1024;
/// How often a stream shows that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// `seq` or `epoch.seq`.
    #[schemars(regex(pattern = r"^[0-9]{1,15}(\.[0-9]{1,15})?$"))]
    after: Option<String>,
    /// Events at most.
    #[schemars(range(min = 1, max = 2048))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
pub(super) struct Page {
    epoch: Epoch,
    /// Positions that are not here and will not come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gap: Option<Missing>,
    events: Vec<EventFrame>,
    /// The next page's `after`.
    next: Seq,
    head: Seq,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Missing {
    #[serde(flatten)]
    range: Range,
    #[schemars(with = "String")]
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
        return stream_of(shared, grant, row, after, gap);
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

pub(super) fn frame(event: StoredEvent) -> EventFrame {
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
    // Who has read nothing is at the beginning of any log.
    let same = after.epoch == row.epoch && after.seq <= row.head;
    let rewound = !same && after.seq > Seq::ZERO;
    let from = if rewound { Seq::ZERO } else { after.seq };
    let missing = |to, code| {
        let from = from.next();
        Some(Missing {
            range: Range { from, to },
            code: Code1(code),
        })
    };
    match (rewound, row.trimmed > from) {
        // All that was read is void, and what there is in its place begins anew.
        (true, _) => {
            let to = row.trimmed.max(after.seq);
            (row.trimmed, missing(to, Code::LogRewound))
        }
        (false, true) => (row.trimmed, missing(row.trimmed, Code::ResumeGap)),
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
    token_id: Option<String>,
    expires: u64,
    revoked: watch::Receiver<()>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

fn stream_of(
    shared: Arc<Shared>,
    grant: Grant,
    row: SessionRow,
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
    let (session, epoch) = (row.session, row.epoch);
    let tail = shared.tails.wait_for(&session);
    let revoked = shared.tokens.revoked().watch();
    let sse = Sse {
        shared,
        session,
        epoch,
        after,
        tail,
        token_id: grant.token_id,
        expires: grant.expires,
        revoked,
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
    /// The next piece of text; `None` at the end: of the session or the server, or after a
    /// last word.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        let limit = PageLimit {
            events: EVENTS,
            bytes: PAGE_BYTES,
        };
        loop {
            let page = self.shared.store.events(&self.session, self.after, limit);
            let page = match page.await {
                Ok(page) => page,
                Err(error) => return Some(self.failed(&error)),
            };
            // Read after the page: what it is of has not changed up to here.
            let row = match self.shared.store.row(&self.session).await {
                Ok(row) => row,
                Err(error) => return Some(self.failed(&error)),
            };
            let Some(row) = row else {
                return Some(match access::moved(&self.shared, &self.session).await {
                    Ok(Some((_, fault))) => self.tell_last(&fault),
                    Ok(None) => self.last(Code::SessionNotFound),
                    Err(error) => self.failed(&error),
                });
            };
            if row.epoch != self.epoch {
                return Some(self.last(Code::LogRewound));
            }
            if let Err(code) = self.is_allowed() {
                return Some(self.last(code));
            }
            if !page.is_empty() {
                return Some(self.write(page));
            }
            // Nothing follows a session's end.
            if row.ended && self.after >= row.head {
                return None;
            }
            let ttl = Duration::from_millis(self.expires.saturating_sub(clock::wall()));
            let closing = self.shared.closing.clone();
            tokio::select! {
                () = self.tail.grown() => {}
                Ok(()) = self.revoked.changed() => {}
                () = sleep(ALIVE_EVERY.min(ttl)) => {
                    if ttl <= ALIVE_EVERY {
                        return Some(self.last(Code::TokenExpired));
                    }
                    return Some(": alive\n\n".to_owned());
                }
                () = closing.cancelled() => return None,
            }
        }
    }

    /// Whether the token that it came with is still good.
    fn is_allowed(&self) -> Result<(), Code> {
        let revoked = self.shared.tokens.revoked();
        if (self.token_id.as_ref()).is_some_and(|token_id| revoked.has(token_id)) {
            return Err(Code::Unauthenticated);
        }
        if self.expires <= clock::wall() {
            return Err(Code::TokenExpired);
        }
        Ok(())
    }

    /// The last word: why nothing more comes.
    fn last(&mut self, code: Code) -> String {
        self.tell_last(&reply::new_fault(code))
    }

    fn failed(&mut self, error: &StoreError) -> String {
        let fault = reply::new_fault(Code::StoreFailed);
        tracing::error!(fault = %fault.id, %error, "an event stream failed");
        self.tell_last(&fault)
    }

    fn tell_last(&mut self, fault: &Fault) -> String {
        self.over = true;
        let data = serde_json::to_string(fault).unwrap_or_default();
        format!("event: fault\ndata: {data}\n\n")
    }

    fn write(&mut self, page: Vec<StoredEvent>) -> String {
        let mut text = String::new();
        for event in page {
            if event.from > self.after.next() {
                // They were trimmed while the reader was slow.
                let from = self.after.next();
                let to = Seq::new(event.from.get() - 1).unwrap_or(from);
                let range = Range { from, to };
                let code = Code1(Code::ResumeGap);
                let data = serde_json::to_string(&Missing { range, code }).unwrap_or_default();
                let _ = write!(
                    text,
                    "id: {}.{to}\nevent: gap\ndata: {data}\n\n",
                    self.epoch
                );
            }
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

#[cfg(test)]
mod tests {
    use keel_wire::SessionId;

    use super::*;

    fn seq(n: u64) -> Seq {
        Seq::new(n).expect("a small number")
    }

    /// Where reading begins in a log of epoch 2 that ends at 9, and what is told first.
    fn begun(trimmed: u64, epoch: u64, after: u64) -> (u64, Option<(u64, u64, &'static str)>) {
        let row = SessionRow {
            session: SessionId::from_bits(1),
            subject: String::new(),
            backend: String::new(),
            project: None,
            created_at: 0,
            last_activity: 0,
            ends_by: None,
            epoch: Epoch(seq(2)),
            head: seq(9),
            trimmed: seq(trimmed),
            open_turn: false,
            waiting: false,
            ended: false,
            slot: None,
            about: keel_wire::record::About::default(),
        };
        let after = Cursor {
            epoch: Epoch(seq(epoch)),
            seq: seq(after),
        };
        let (from, gap) = begin(&row, after);
        let gap = gap.map(|gap| (gap.range.from.get(), gap.range.to.get(), gap.code.0.name()));
        (from.get(), gap)
    }

    #[test]
    fn what_cannot_be_read_is_told_as_a_range_that_is_one() {
        assert_eq!(begun(0, 2, 5), (5, None));
        assert_eq!(begun(0, 1, 0), (0, None), "nothing was read");
        assert_eq!(begun(0, 1, 5), (0, Some((1, 5, "log_rewound"))));
        assert_eq!(begun(0, 2, 12), (0, Some((1, 12, "log_rewound"))));
        assert_eq!(begun(7, 1, 5), (7, Some((1, 7, "log_rewound"))));
        assert_eq!(begun(7, 2, 5), (7, Some((6, 7, "resume_gap"))));
    }
}
