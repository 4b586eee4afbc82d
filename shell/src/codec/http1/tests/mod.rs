//! Conversations with the HTTP codec.

mod attributes;
mod batches;
mod fields;
mod forms;
mod life;
mod routes;
mod splits;

use std::sync::Arc;

use super::{Config, Http1, Origin};
use crate::codec::Keep;
use crate::codec::trial::{End, Trial, converse};

/// Bounds that tests can reach.
pub(super) fn config() -> Arc<Config> {
    Arc::new(Config {
        max_header_bytes: 1024,
        max_headers: 8,
        max_batch_bytes: 4096,
        origins: Origin::new("https://good.example").into_iter().collect(),
        http2: true,
        h2c: true,
        routes: None,
        guard: None,
        keep: Keep::default(),
    })
}

/// What a whole conversation came to.
pub(super) struct Heard {
    pub(super) answers: String,
    pub(super) end: End,
    pub(super) sink: Trial,
}

impl Heard {
    /// Status codes in order; 0 for a page.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let status = |line: &str| {
            if line.starts_with("Page {") {
                return Some(0);
            }
            line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
        };
        // A body has no line end, so the next status line may follow it directly.
        self.answers.replace("HTTP/1.1 ", "\nHTTP/1.1 ").lines().filter_map(status).collect()
    }

    pub(super) fn payloads(&self) -> Vec<&[u8]> {
        self.sink.records.iter().map(|record| &*record.payload).collect()
    }

    pub(super) fn tags(&self) -> Vec<u16> {
        self.sink.records.iter().map(|record| record.type_tag).collect()
    }
}

/// Says `bytes` at once, to a sink that takes everything.
pub(super) fn say(bytes: impl AsRef<[u8]>) -> Heard {
    say_to(Trial::new(), bytes)
}

pub(super) fn say_to(mut sink: Trial, bytes: impl AsRef<[u8]>) -> Heard {
    let mut codec = Http1::new(config());
    let (answers, end) = converse(&mut codec, &mut sink, bytes.as_ref(), &[]);
    Heard { answers: String::from_utf8_lossy(&answers).into_owned(), end, sink }
}

/// A request for ring `a`: `lines` are whole header lines.
pub(super) fn post(lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n{lines}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
