//! What is wrong, said apart: each finding has a kind, where it is, and a sentence.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::journal::KeptJournal;
use super::series::SAMPLES;
use super::watch::{INTERVAL, Kept, KeptReader, KeptRing, Refusals};
use crate::admin::{Admin, health};
use crate::metrics::Eviction;
use crate::refusal::Refusal;
use crate::ring::SubscriptionLook;

/// A reader that has released nothing for so long, though it could, is stuck.
const STUCK: Duration = Duration::from_secs(5);
/// A reader that goes on, but whose oldest record is as old as this, is slow.
const SLOW: Duration = Duration::from_secs(2);
/// A reader that has been attached for less than this is not slow: it may find a backlog.
const CATCHING_UP: Duration = Duration::from_secs(5);
/// Samples that are looked back for what comes in bursts: ten seconds.
const RECENT: usize = 5;
/// Samples that are looked back for lost lines of the log: a minute.
const RECENT_LINES: usize = 30;
/// Refused records of all, as a share, from which on it is said.
const REFUSED_SHARE: f64 = 0.05;
/// A certificate that ends within this time is said to: three weeks, seconds.
const CERTIFICATE_SECONDS: i64 = 21 * 86_400;
/// Most findings that are written down; the rest is counted.
pub(super) const FINDINGS_MAX: usize = 200;

/// Something that is wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What kind of thing it is.
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ring: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) forwarder: Option<String>,
    /// A sentence for people.
    pub(super) text: String,
}

impl Finding {
    fn new(kind: &'static str, text: String) -> Self {
        Self { kind, ring: None, reader: None, forwarder: None, text }
    }

    fn of_ring(kind: &'static str, ring: &str, text: String) -> Self {
        Self { ring: Some(ring.to_owned()), ..Self::new(kind, text) }
    }
}

/// The state of a reader, in a word.
pub(super) fn reader_state(
    look: &SubscriptionLook,
    kept: Option<&KeptReader>,
    at: Instant,
) -> &'static str {
    let since = |then: Instant| at.saturating_duration_since(then);
    let still = kept.map_or(Duration::ZERO, |kept| since(kept.moved));
    let attached = kept.and_then(|kept| kept.attached).map_or(Duration::ZERO, since);
    match look {
        SubscriptionLook { attached: false, lag_bytes: 0, .. } => "detached",
        SubscriptionLook { attached: false, .. } => "absent",
        SubscriptionLook { lag_bytes: 0, .. } => "idle",
        _ if still >= STUCK => "stuck",
        SubscriptionLook { lag_ns, .. }
            if Duration::from_nanos(*lag_ns) >= SLOW && attached >= CATCHING_UP =>
        {
            "slow"
        }
        _ => "reading",
    }
}

/// Lists what is wrong, what concerns everything first.
pub(super) fn findings(admin: &Admin, kept: &Kept, now: Instant) -> Vec<Finding> {
    let mut found = Vec::new();
    if admin.shutdown.has_begun() {
        found.push(Finding::new("shutting_down", "the process is ending".to_owned()));
    }
    let refused = kept.connections_refused.sum(RECENT);
    if refused > 0.0 || health::is_crowded(admin) {
        let text = format!(
            "{} of {} connections are open; {refused} were refused in the last 10 s",
            admin.http_connections.used(),
            admin.http_connections.most()
        );
        found.push(Finding::new("connections_refused", text));
    }
    let refused = kept.admin_connections_refused.sum(RECENT);
    if refused > 0.0 {
        let text = format!(
            "{} of {} connections to the address for operators are open; {refused} were refused \
             in the last 10 s",
            admin.admin_connections.used(),
            admin.admin_connections.most()
        );
        found.push(Finding::new("admin_connections_refused", text));
    }
    let dropped = kept.log_lines_dropped.sum(RECENT_LINES);
    if dropped > 0.0 {
        let text = format!("{dropped} lines of the log were lost in the last minute");
        found.push(Finding::new("log_lines_dropped", text));
    }
    found.extend(admin.metrics.certificate().and_then(|(file, end)| certificate(&file, end)));
    for (ring, kept_ring) in admin.rings.iter().zip(&kept.rings) {
        of_ring(&mut found, ring.name(), kept_ring, kept.at.unwrap_or(now), now);
    }
    for forwarder in &kept.forwarders {
        let (kind, text) = match &forwarder.said {
            None => continue,
            Some(Ok(said)) if said.ready => continue,
            Some(Ok(said)) => {
                let why = said.detail.as_deref().unwrap_or("it is not ready");
                let (ring, subscription) = (&said.ring, &said.subscription);
                ("forwarder_behind", format!("{} of {ring}/{subscription}: {why}", said.sink))
            }
            Some(Err(error)) => ("forwarder_unreachable", error.clone()),
        };
        let forwarder = Some(forwarder.address.clone());
        found.push(Finding { forwarder, ..Finding::new(kind, text) });
    }
    found
}

/// Says that a certificate has ended or soon will, seconds since 1970.
fn certificate(file: &str, end: i64) -> Option<Finding> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let left = end.saturating_sub(i64::try_from(now.as_secs()).ok()?);
    let text = match left {
        CERTIFICATE_SECONDS.. => return None,
        ..=0 => format!("{file} has ended {} h ago", -left / 3600),
        _ => format!("{file} ends in {} h", left / 3600),
    };
    Some(Finding::new("certificate_ends", text))
}

fn of_ring(found: &mut Vec<Finding>, name: &str, ring: &KeptRing, at: Instant, now: Instant) {
    if ring.look.closed {
        found.push(Finding::of_ring("ring_closed", name, "the stream has ended".to_owned()));
    }
    if let Some(trouble) = &ring.journal_trouble {
        found.push(Finding::of_ring("journal_refuses", name, trouble.clone()));
    }
    if let Some(journal) = ring.journal.as_ref().filter(|journal| journal.waits()) {
        let waiting = journal.look.waiting.as_secs_f64();
        let text = format!("the disk has had a batch for {waiting:.1} s: clients wait for it");
        found.push(Finding::of_ring("journal_waits", name, text));
    }
    if let Some(text) = ring.journal.as_ref().and_then(KeptJournal::damage) {
        found.push(Finding::of_ring("journal_damaged", name, text));
    }
    if ring.look.full {
        let (kept_out, readers) = (ring.look.kept_out, ring.look.subscriptions.iter());
        let slowest = readers.filter(|reader| reader.lagging == kept_out);
        let text = slowest.max_by_key(|reader| reader.lag_bytes).map_or(
            "nothing fits".to_owned(),
            |reader| {
                let how = if kept_out { "lags as far as it may:" } else { "holds back" };
                format!("{} {how} {} bytes", reader.name, reader.lag_bytes)
            },
        );
        found.push(Finding::of_ring("ring_full", name, text));
    }
    let records = ring.records_per_second.last();
    let refused = ring.refused_per_second.last();
    if refused > 0.0 && refused >= REFUSED_SHARE * (refused + records) {
        let text = format!("{refused:.1} records a second are refused:{}", reasons(&ring.refusals));
        found.push(Finding::of_ring("records_refused", name, text));
    }
    if let Some((when, reason)) = ring.eviction {
        let ago = now.saturating_duration_since(when);
        if ago < INTERVAL * u32::try_from(SAMPLES).unwrap_or(u32::MAX) {
            let why = match reason {
                Eviction::Cursor => "stored a cursor that no honest reader has",
                Eviction::Packet => "sent a packet that no reader sends",
                Eviction::Operator => "was evicted by an operator",
            };
            let text = format!("a reader {why}, {} s ago", ago.as_secs());
            found.push(Finding::of_ring("reader_evicted", name, text));
        }
    }
    for (index, look) in ring.look.subscriptions.iter().enumerate() {
        let kept = ring.readers.get(index);
        let still = kept.map_or(0, |kept| at.saturating_duration_since(kept.moved).as_secs());
        let age = Duration::from_nanos(look.lag_ns).as_secs_f64();
        let place = if look.lagging { " in the journal" } else { "" };
        let lag = format!("{} records{place}, the oldest {age:.1} s old", look.lag_records);
        let (kind, text) = match reader_state(look, kept, at) {
            "stuck" => ("reader_stuck", format!("it has released nothing for {still} s: {lag}")),
            "slow" => ("reader_slow", format!("it is behind: {lag}{}", backlog(look, kept, at))),
            "absent" => ("reader_absent", format!("no reader is attached: {lag}")),
            _ => continue,
        };
        let reader = Some(look.name.clone());
        found.push(Finding { reader, ..Finding::of_ring(kind, name, text) });
    }
    for look in ring.look.subscriptions.iter().filter(|reader| reader.corrupt > 0) {
        let (corrupt, lost) = (look.corrupt, look.lost);
        let text = format!("it saw {corrupt} damaged records or stretches and lost {lost} records");
        let reader = Some(look.name.clone());
        found.push(Finding { reader, ..Finding::of_ring("ring_damaged", name, text) });
    }
}

/// Says since when a reader has been there, if its oldest record was there before it.
fn backlog(look: &SubscriptionLook, kept: Option<&KeptReader>, at: Instant) -> String {
    let attached = kept.and_then(|kept| kept.attached);
    let attached = attached.map(|then| at.saturating_duration_since(then));
    match attached.filter(|attached| *attached < Duration::from_nanos(look.lag_ns)) {
        Some(attached) => format!("; it attached {} s ago", attached.as_secs()),
        None => String::new(),
    }
}

/// Lists reasons and counts, the reasons that occur.
fn reasons(refusals: &Refusals) -> String {
    let mut text = String::new();
    for (label, count) in Refusal::LABELS.iter().zip(refusals).filter(|(_, count)| **count > 0) {
        // Writing to a string cannot fail.
        let _ = write!(text, " {label} {count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_said_to_end_three_weeks_before() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let now = i64::try_from(now).expect("before the end of time");
        let said = |end: i64| certificate("a.pem", now + end).map(|finding| finding.text);
        assert_eq!(said(22 * 86_400), None);
        assert_eq!(said(20 * 86_400 + 60).as_deref(), Some("a.pem ends in 480 h"));
        assert_eq!(said(-2 * 3600 - 60).as_deref(), Some("a.pem has ended 2 h ago"));
    }

    #[test]
    fn a_reader_that_comes_back_to_a_backlog_is_neither_stuck_nor_slow_at_first() {
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let look = |attached: bool, cursor: u32, lag_seconds: u64| SubscriptionLook {
            name: "r".to_owned(),
            attached,
            cursor,
            lag_bytes: 64,
            lag_records: 2,
            lag_ns: lag_seconds * 1_000_000_000,
            corrupt: 0,
            lost: 0,
            missed_wakes: 0,
            lagging: false,
        };
        let mut kept = KeptReader::new(&look(false, 7, 0), at(0), false);
        let mut state = |look: &SubscriptionLook, seconds: u64| {
            kept.sample(look, at(seconds));
            let behind = backlog(look, Some(&kept), at(seconds));
            (reader_state(look, Some(&kept), at(seconds)), behind)
        };
        assert_eq!(state(&look(false, 7, 654), 654).0, "absent");
        assert_eq!(state(&look(true, 7, 656), 656).0, "reading", "it has just attached");
        assert_eq!(state(&look(true, 7, 660), 660).0, "reading");
        assert_eq!(state(&look(true, 7, 661), 661).0, "stuck", "it has had five seconds");
        assert_eq!(state(&look(false, 7, 662), 662).0, "absent");
        assert_eq!(state(&look(true, 7, 664), 664).0, "reading", "another one");
        assert_eq!(state(&look(true, 8, 668), 668).0, "reading");
        let slow = ("slow", "; it attached 6 s ago".to_owned());
        assert_eq!(state(&look(true, 9, 669), 670), slow);
        // What came after it is its own.
        assert_eq!(state(&look(true, 10, 4), 672), ("slow", String::new()));
    }

    #[test]
    fn reasons_of_refusals_are_those_that_occur() {
        let mut refusals = Refusals::default();
        refusals[Refusal::Full.index()] = 3;
        refusals[Refusal::RateLimited.index()] = 1;
        assert_eq!(reasons(&refusals), " full 3 rate_limited 1");
    }
}
