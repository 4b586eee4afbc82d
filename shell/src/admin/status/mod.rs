//! The state of everything, with ten minutes of history and what is wrong: for the status page, for
//! `aqueduct top`, and for scripts.

mod findings;
mod forwarder;
mod journal;
mod series;
mod told;
mod watch;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use self::findings::{FINDINGS_MAX, Finding, findings, reader_state};
use self::journal::JournalSummary;
use self::series::Series;
use self::watch::{INTERVAL, Kept, KeptRing};
use super::{Admin, Page, health};
use crate::log;
use crate::ring::{Ring, SubscriptionLook};

pub use forwarder::ForwarderStatus;
pub use watch::Watch;

/// Media type of the pages.
const JSON: &str = "application/json";

/// An address at which records come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngestAddress {
    /// The protocol, as in the ready line.
    pub protocol: String,
    /// The address, as in the ready line.
    pub address: String,
}

/// Everything, rings in summary.
#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    /// Unix time.
    now_seconds: f64,
    uptime_seconds: f64,
    ready: bool,
    not_ready: Vec<String>,
    addresses: Vec<AddressSummary<'a>>,
    connections: Places,
    control_connections: usize,
    buffered_bytes: Bytes,
    log_lines_dropped: u64,
    rings: Vec<RingSummary<'a>>,
    journals: Vec<JournalSummary<'a>>,
    forwarders: Vec<Forwarder<'a>>,
    findings: Vec<Finding>,
    /// Findings beyond those.
    findings_left_out: usize,
    history: History<'a>,
}

#[derive(Serialize)]
struct AddressSummary<'a> {
    #[serde(flatten)]
    at: &'a IngestAddress,
    connections: i64,
    records: u64,
    refused: u64,
    records_per_second: f64,
    refused_per_second: f64,
}

#[derive(Serialize)]
struct Places {
    open: usize,
    limit: usize,
    refused: u64,
}

#[derive(Serialize)]
struct Bytes {
    used: u64,
    limit: u64,
}

#[derive(Serialize)]
struct RingSummary<'a> {
    name: &'a str,
    state: &'static str,
    capacity_bytes: u64,
    used_bytes: u64,
    next_seq: u64,
    records_per_second: f64,
    bytes_per_second: f64,
    refused_per_second: f64,
    readers: usize,
    attached: usize,
    /// The reader that is furthest behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<Worst<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_trouble: Option<&'a str>,
}

#[derive(Serialize)]
struct Worst<'a> {
    name: &'a str,
    state: &'static str,
    lag_records: u64,
    lag_bytes: u64,
    lag_seconds: f64,
}

#[derive(Serialize)]
struct Forwarder<'a> {
    address: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    said: Option<&'a ForwarderStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    delivered_per_second: f64,
}

#[derive(Serialize)]
struct History<'a> {
    interval_seconds: u64,
    records_per_second: &'a Series,
    refused_per_second: &'a Series,
    worst_lag_seconds: &'a Series,
}

/// Ten minutes of a ring.
#[derive(Serialize)]
struct RingHistory<'a> {
    name: &'a str,
    interval_seconds: u64,
    capacity_bytes: u64,
    records_per_second: &'a Series,
    bytes_per_second: &'a Series,
    refused_per_second: &'a Series,
    used_bytes: &'a Series,
    readers: Vec<ReaderHistory<'a>>,
}

#[derive(Serialize)]
struct ReaderHistory<'a> {
    name: &'a str,
    state: &'static str,
    lag_records: u64,
    lag_seconds: f64,
    /// Nothing where there are too many readers to keep it.
    lag_bytes: Option<&'a Series>,
}

/// Describes everything. Takes a sample first, if the last one is old enough.
pub(super) fn all(admin: &Admin) -> Page {
    let now = Instant::now();
    admin.watch.sample(admin, now);
    admin.watch.with(|kept| {
        let not_ready = health::obstacles(admin);
        let mut found = findings(admin, kept, now);
        let findings_left_out = found.len().saturating_sub(FINDINGS_MAX);
        found.truncate(FINDINGS_MAX);
        let buffered = &admin.buffered;
        page(&Status {
            version: env!("CARGO_PKG_VERSION"),
            now_seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, milliseconds),
            uptime_seconds: milliseconds(admin.watch.uptime()),
            ready: not_ready.is_empty(),
            not_ready,
            addresses: addresses(admin, kept),
            connections: Places {
                open: admin.http_connections.used(),
                limit: admin.http_connections.most(),
                refused: admin.metrics.http_connections_refused.get(),
            },
            control_connections: admin.control_connections.used(),
            buffered_bytes: Bytes {
                used: buffered.used(),
                limit: buffered.used().saturating_add(buffered.left()),
            },
            log_lines_dropped: log::dropped_lines(),
            rings: admin.rings.iter().zip(&kept.rings).map(|(r, k)| summary(r, k, kept)).collect(),
            journals: journals(admin, kept),
            forwarders: forwarders(kept),
            findings: found,
            findings_left_out,
            history: History {
                interval_seconds: INTERVAL.as_secs(),
                records_per_second: &kept.records_per_second,
                refused_per_second: &kept.refused_per_second,
                worst_lag_seconds: &kept.worst_lag_seconds,
            },
        })
    })
}

/// Describes ten minutes of one ring.
pub(super) fn history(admin: &Admin, name: &str) -> Page {
    admin.watch.sample(admin, Instant::now());
    let Some(index) = admin.rings.iter().position(|ring| ring.name() == name) else {
        return super::rings::NO_RING;
    };
    admin.watch.with(|kept| {
        let (ring, kept_ring) = (&admin.rings[index], &kept.rings[index]);
        let at = kept.at.unwrap_or_else(Instant::now);
        let looks = kept_ring.look.subscriptions.iter().enumerate();
        let readers = looks.map(|(index, look)| {
            let reader = kept_ring.readers.get(index);
            ReaderHistory {
                name: &look.name,
                state: reader_state(look, reader, at),
                lag_records: look.lag_records,
                lag_seconds: lag_seconds(look),
                lag_bytes: reader.and_then(|reader| reader.lag_bytes.as_ref()),
            }
        });
        page(&RingHistory {
            name: ring.name(),
            interval_seconds: INTERVAL.as_secs(),
            capacity_bytes: ring.capacity_bytes(),
            records_per_second: &kept_ring.records_per_second,
            bytes_per_second: &kept_ring.bytes_per_second,
            refused_per_second: &kept_ring.refused_per_second,
            used_bytes: &kept_ring.used_bytes,
            readers: readers.collect(),
        })
    })
}

fn page(content: &impl Serialize) -> Page {
    match serde_json::to_vec(content) {
        Ok(json) => Page::Content(JSON, json),
        Err(error) => {
            tracing::error!(%error, "status not encoded");
            Page::Failed("the status cannot be encoded")
        }
    }
}

fn summary<'a>(ring: &'a Ring, kept: &'a KeptRing, all: &Kept) -> RingSummary<'a> {
    let look = &kept.look;
    let at = all.at.unwrap_or_else(Instant::now);
    let behind = |&(_, look): &(usize, &SubscriptionLook)| (look.lag_ns, look.lag_bytes);
    // The first of those that are equally far behind.
    let worst = look.subscriptions.iter().enumerate().rev().max_by_key(behind);
    RingSummary {
        name: ring.name(),
        state: super::rings::state(look),
        capacity_bytes: ring.capacity_bytes(),
        used_bytes: look.used_bytes,
        next_seq: look.next_seq,
        records_per_second: rounded(kept.records_per_second.last()),
        bytes_per_second: rounded(kept.bytes_per_second.last()),
        refused_per_second: rounded(kept.refused_per_second.last()),
        readers: look.subscriptions.len(),
        attached: look.subscriptions.iter().filter(|reader| reader.attached).count(),
        worst: worst.map(|(index, look)| Worst {
            name: &look.name,
            state: reader_state(look, kept.readers.get(index), at),
            lag_records: look.lag_records,
            lag_bytes: look.lag_bytes,
            lag_seconds: lag_seconds(look),
        }),
        journal_trouble: kept.journal_trouble.as_deref(),
    }
}

fn addresses<'a>(admin: &'a Admin, kept: &Kept) -> Vec<AddressSummary<'a>> {
    let all = admin.addresses.iter().zip(&*admin.by_address).zip(&kept.addresses);
    let all = all.map(|((at, metrics), kept)| AddressSummary {
        at,
        connections: metrics.connections.get(),
        records: metrics.records.get(),
        refused: metrics.refused.get(),
        records_per_second: rounded(kept.records_per_second),
        refused_per_second: rounded(kept.refused_per_second),
    });
    all.collect()
}

fn journals<'a>(admin: &'a Admin, kept: &Kept) -> Vec<JournalSummary<'a>> {
    let rings = admin.rings.iter().zip(&kept.rings);
    let journals = rings.filter_map(|(ring, kept)| {
        let journal = kept.journal.as_ref()?;
        Some(journal.summary(ring.name(), kept.journal_trouble.as_deref()))
    });
    journals.collect()
}

fn forwarders(kept: &Kept) -> Vec<Forwarder<'_>> {
    let forwarders = kept.forwarders.iter().map(|forwarder| Forwarder {
        address: &forwarder.address,
        said: forwarder.said.as_ref().and_then(|said| said.as_ref().ok()),
        error: forwarder.said.as_ref().and_then(|said| said.as_ref().err()).map(String::as_str),
        delivered_per_second: rounded(forwarder.delivered_per_second.last()),
    });
    forwarders.collect()
}

fn lag_seconds(look: &SubscriptionLook) -> f64 {
    milliseconds(Duration::from_nanos(look.lag_ns))
}

/// Seconds, to three digits after the point.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
