//! What there is to show: asked of the listener's pages for operators and of forwarders, as rows of
//! named values.

use std::io;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::cli::http::Client;

/// What the cells of a column hold, which says how they may be made to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Name,
    Number,
    /// Words, which may go on in a further line.
    Sentence,
}

/// A column of a table.
pub(super) struct Column {
    /// Key of a row's value.
    pub(super) key: &'static str,
    pub(super) heading: &'static str,
    pub(super) holds: Holds,
    /// In a narrow terminal the highest is left out first; 0 never is.
    pub(super) rank: u8,
}

/// A column of names.
pub(super) const fn name(key: &'static str, heading: &'static str, rank: u8) -> Column {
    Column { key, heading, holds: Holds::Name, rank }
}

/// A column of numbers.
pub(super) const fn number(key: &'static str, heading: &'static str, rank: u8) -> Column {
    Column { key, heading, holds: Holds::Number, rank }
}

/// A column of sentences.
pub(super) const fn sentence(key: &'static str, heading: &'static str, rank: u8) -> Column {
    Column { key, heading, holds: Holds::Sentence, rank }
}

/// One kind of thing, a row for each.
pub(super) struct Kind {
    /// Its name, and its key in JSON.
    pub(super) key: &'static str,
    /// What is shown of a row, from left to right.
    pub(super) columns: &'static [Column],
}

/// All kinds, in the order in which they are shown.
pub(super) const KINDS: [Kind; 6] = [
    Kind {
        key: "findings",
        columns: &[
            name("kind", "KIND", 0),
            name("ring", "RING", 0),
            name("reader", "READER", 1),
            name("forwarder", "FORWARDER", 2),
            sentence("text", "WHAT", 0),
        ],
    },
    Kind {
        key: "rings",
        columns: &[
            name("name", "RING", 0),
            name("state", "STATE", 0),
            number("records_per_second", "RECORDS/S", 0),
            number("bytes_per_second", "BYTES/S", 4),
            number("refused_per_second", "REFUSED/S", 1),
            number("used_percent", "USED %", 0),
            number("next_seq", "NEXT", 6),
            number("attached", "READERS", 3),
            number("full_waits_per_second", "WAITS/S", 2),
            number("full_waits", "WAITS", 7),
            number("wakes_per_second", "WAKES/S", 5),
        ],
    },
    Kind {
        key: "readers",
        columns: &[
            name("ring", "RING", 0),
            name("name", "READER", 0),
            name("state", "STATE", 0),
            number("lag_records", "LAG", 0),
            number("lag_bytes", "LAG BYTES", 4),
            number("lag_seconds", "LAG S", 1),
            number("records_per_second", "RECORDS/S", 1),
            number("corrupt", "CORRUPT", 2),
            number("lost_records", "LOST", 3),
            number("missed_wakes", "MISSED WAKES", 5),
            name("lagging", "MAY LAG", 7),
        ],
    },
    Kind {
        key: "journals",
        columns: &[
            name("ring", "RING", 0),
            name("durability", "DURABILITY", 4),
            name("state", "STATE", 0),
            number("waiting_seconds", "WAITING S", 1),
            number("written_bytes_per_second", "BYTES/S", 2),
            number("commit_seconds", "BATCH S", 3),
            number("size_bytes", "SIZE", 3),
            number("segments", "SEGMENTS", 6),
            number("room_bytes", "ROOM", 1),
            number("cursor_failures", "UNSAVED", 5),
            number("missing_records", "MISSING", 3),
        ],
    },
    Kind {
        key: "addresses",
        columns: &[
            name("protocol", "PROTOCOL", 0),
            name("address", "ADDRESS", 0),
            number("connections", "OPEN", 0),
            number("records_per_second", "RECORDS/S", 0),
            number("refused_per_second", "REFUSED/S", 1),
            number("records", "RECORDS", 3),
            number("refused", "REFUSED", 2),
        ],
    },
    Kind {
        key: "forwarders",
        columns: &[
            name("address", "FORWARDER", 0),
            name("sink", "SINK", 4),
            name("ring", "RING", 3),
            name("subscription", "SUBSCRIPTION", 6),
            name("ready", "READY", 0),
            number("delivered_per_second", "RECORDS/S", 1),
            number("delivered_records", "DELIVERED", 7),
            number("lag_records", "LAG", 1),
            number("in_flight_records", "IN FLIGHT", 8),
            number("retries", "RETRIES", 5),
            number("dead_lettered_records", "DEAD", 2),
            number("acknowledgement_age_seconds", "LAST ACK S", 2),
            sentence("why", "WHY NOT", 0),
        ],
    },
];

/// A row: an object.
pub(super) type Row = Map<String, Value>;

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// What is said of the whole process: `version`, `ready`, `connections`, …
    pub(super) process: Row,
    /// Rows of each kind, in the order of `KINDS`.
    pub(super) rows: [Vec<Row>; KINDS.len()],
}

impl Snapshot {
    /// Returns it as one object.
    pub(super) fn json(&self) -> Value {
        let mut all = self.process.clone();
        for (kind, rows) in KINDS.iter().zip(&self.rows) {
            all.insert(kind.key.to_owned(), json!(rows));
        }
        Value::Object(all)
    }
}

/// The addresses that are asked, and what they said before, for rates.
pub(super) struct Looker {
    listener: Client,
    forwarders: Vec<(String, Client)>,
    before: Option<(Instant, Totals)>,
}

/// Counts that only grow: of a ring, a reader, a forwarder, by its name.
type Totals = Vec<(String, f64)>;

impl Looker {
    pub(super) fn new(listener: &str, forwarders: &[String]) -> Self {
        let of = |host: &String| (host.clone(), Client::for_pages(host));
        Self {
            listener: Client::for_pages(listener),
            forwarders: forwarders.iter().map(of).collect(),
            before: None,
        }
    }

    /// Asks everybody. A forwarder that does not answer is a row that says so; a listener that does
    /// not answer is an error.
    pub(super) fn look(&mut self) -> io::Result<Snapshot> {
        let rings = page(&mut self.listener, "/v1/rings")?;
        // One of an earlier version has no such page, and finds nothing.
        let status = page(&mut self.listener, "/v1/status").unwrap_or(Value::Null);
        let metrics = self.listener.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        let metrics = String::from_utf8_lossy(&metrics);
        let (now, mut totals) = (Instant::now(), Totals::new());
        let before = self.before.take();
        let mut rate = |name: String, total: f64| -> Value {
            let was = before.as_ref().and_then(|(at, totals)| {
                let (_, was) = totals.iter().find(|(known, _)| *known == name)?;
                let seconds = now.duration_since(*at).as_secs_f64().max(0.001);
                // Less than before: it was started again.
                Some(((total - was).max(0.0) / seconds * 10.0).round() / 10.0)
            });
            totals.push((name, total));
            json!(was)
        };
        let mut snapshot = Snapshot::default();
        for (key, value) in status.as_object().into_iter().flatten() {
            let is_list =
                matches!(&**key, "rings" | "forwarders" | "findings" | "addresses" | "journals");
            if !is_list && key != "history" {
                snapshot.process.insert(key.clone(), value.clone());
            }
        }
        let list = |value: &Value, key: &str| -> Vec<Row> {
            let rows = value[key].as_array().into_iter().flatten();
            rows.filter_map(Value::as_object).cloned().collect()
        };
        let [findings, ring_rows, readers, journals, addresses, forwarders] = &mut snapshot.rows;
        *journals = list(&status, "journals");
        *findings = list(&status, "findings");
        *addresses = list(&status, "addresses");
        for mut ring in list(&rings, "rings") {
            let name = ring.get("name").and_then(Value::as_str).unwrap_or("?").to_owned();
            let number = |row: &Row, key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(0.0);
            let next_seq = number(&ring, "next_seq");
            let own_readers = ring.remove("readers").unwrap_or(Value::Null);
            // What the listener says of its own rates goes before what two looks say.
            let is_it = |row: &Row| row.get("name").is_some_and(|named| *named == *name);
            let said = list(&status, "rings").into_iter().find(is_it);
            let records = rate(format!("records {name}"), next_seq);
            ring.insert("records_per_second".to_owned(), records);
            for (key, value) in said.into_iter().flatten() {
                ring.entry(key.clone()).and_modify(|old| *old = value.clone()).or_insert(value);
            }
            let used = number(&ring, "used_bytes") / number(&ring, "capacity_bytes").max(1.0);
            ring.insert("used_percent".to_owned(), json!((used * 1000.0).round() / 10.0));
            let label = format!("ring=\"{name}\"");
            let waits = total(&metrics, "aqueduct_publish_wait_seconds_count", &label);
            let wakes = total(&metrics, "aqueduct_wakes_total", &label);
            ring.insert("full_waits".to_owned(), json!(waits));
            ring.insert("full_waits_per_second".to_owned(), rate(format!("waits {name}"), waits));
            ring.insert("wakes".to_owned(), json!(wakes));
            ring.insert("wakes_per_second".to_owned(), rate(format!("wakes {name}"), wakes));
            let own = own_readers.as_array().into_iter().flatten().filter_map(Value::as_object);
            let mut attached = 0;
            for reader in own {
                let mut row = reader.clone();
                attached += u64::from(row.get("state").is_some_and(|state| state == "attached"));
                row.insert("ring".to_owned(), json!(name));
                let subscription = row.get("name").and_then(Value::as_str).unwrap_or("?");
                let released = next_seq - number(&row, "lag_records");
                let records = rate(format!("reader {name} {subscription}"), released);
                row.insert("records_per_second".to_owned(), records);
                readers.push(row);
            }
            ring.insert("attached".to_owned(), json!(attached));
            ring_rows.push(ring);
        }
        *forwarders = list(&status, "forwarders");
        for (host, client) in &mut self.forwarders {
            if forwarders.iter().any(|row| row.get("address").is_some_and(|at| *at == **host)) {
                continue;
            }
            let mut row = forwarder(client);
            row.insert("address".to_owned(), json!(host));
            if let Some(delivered) = row.get("delivered_records").and_then(Value::as_f64) {
                let records = rate(format!("forwarder {host}"), delivered);
                row.insert("delivered_per_second".to_owned(), records);
            }
            findings.extend(finding(host, &row));
            forwarders.push(row);
        }
        for row in &mut *forwarders {
            if let Some(why) = why_not(row).map(str::to_owned) {
                row.insert("why".to_owned(), json!(why));
            }
        }
        self.before = Some((now, totals));
        Ok(snapshot)
    }
}

/// Asks for a page of JSON.
fn page(client: &mut Client, path: &str) -> io::Result<Value> {
    let answer = client.get(path)?;
    if answer.status == 503 {
        let said: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let why = said["detail"].as_str().unwrap_or("not now");
        let text = format!("it answers, but not with {path}: {why}");
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
    }
    if answer.status != 200 {
        return Err(io::Error::other(format!("{path}: status {}", answer.status)));
    }
    serde_json::from_slice(&answer.body).map_err(io::Error::other)
}

/// What a forwarder says of itself: its page, or, of an earlier version, its metrics.
fn forwarder(client: &mut Client) -> Row {
    if let Ok(Value::Object(row)) = page(client, "/v1/status") {
        return row;
    }
    let mut row = Row::new();
    match client.get("/metrics") {
        Ok(answer) if answer.status == 200 => {
            let text = String::from_utf8_lossy(&answer.body);
            for (key, metric) in [
                ("ready", "aqueduct_forward_ready"),
                ("delivered_records", "aqueduct_forward_delivered_records_total"),
                ("lag_records", "aqueduct_forward_lag_records"),
                ("retries", "aqueduct_forward_retries_total"),
                ("dead_lettered_records", "aqueduct_forward_dead_lettered_records_total"),
            ] {
                if text.contains(metric) {
                    row.insert(key.to_owned(), json!(total(&text, metric, "")));
                }
            }
        }
        Ok(answer) => {
            row.insert("error".to_owned(), json!(format!("status {}", answer.status)));
        }
        Err(error) => {
            row.insert("error".to_owned(), json!(error.to_string()));
        }
    }
    row
}

/// Says why nothing gets through a forwarder; `None` if it does, or was not asked yet.
fn why_not(row: &Row) -> Option<&str> {
    if let Some(error) = row.get("error").and_then(Value::as_str) {
        return Some(error);
    }
    // Of an earlier version, a number.
    let ready = row.get("ready")?;
    let is_ready = ready.as_bool().or(ready.as_f64().map(|ready| ready > 0.0))?;
    let detail = || row.get("detail").and_then(Value::as_str).unwrap_or("it is not ready");
    (!is_ready).then(detail)
}

/// Finds what the listener would, if it asked this forwarder itself.
fn finding(host: &str, row: &Row) -> Option<Row> {
    let why = why_not(row)?;
    let said = |key: &str| row.get(key).and_then(Value::as_str);
    let (kind, text) = match (said("sink"), said("ring"), said("subscription")) {
        _ if row.contains_key("error") => ("forwarder_unreachable", why.to_owned()),
        (Some(sink), Some(ring), Some(subscription)) => {
            ("forwarder_behind", format!("{sink} of {ring}/{subscription}: {why}"))
        }
        _ => ("forwarder_behind", why.to_owned()),
    };
    json!({ "kind": kind, "forwarder": host, "text": text }).as_object().cloned()
}

/// Adds up the series of a metric that have this label.
fn total(text: &str, metric: &str, label: &str) -> f64 {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(metric)?;
            let is_series = rest.starts_with('{') || rest.starts_with(' ');
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = is_series && labels.contains(label);
            value.parse::<f64>().ok().filter(|_| is_it)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarder_says_why_nothing_gets_through_and_it_is_found() {
        let row = |value: Value| value.as_object().cloned().expect("an object");
        let hangs = row(json!({
            "sink": "kafka", "ring": "r", "subscription": "s", "ready": false,
            "detail": "the other side does not answer"
        }));
        let gone = row(json!({ "error": "connection refused" }));
        let old = row(json!({ "ready": 0.0 }));
        for (row, why, kind, text) in [
            (
                &hangs,
                "the other side does not answer",
                "forwarder_behind",
                "kafka of r/s: the other side does not answer",
            ),
            (&gone, "connection refused", "forwarder_unreachable", "connection refused"),
            (&old, "it is not ready", "forwarder_behind", "it is not ready"),
        ] {
            assert_eq!(why_not(row), Some(why));
            let expected = json!({ "kind": kind, "forwarder": "h:1", "text": text });
            assert_eq!(finding("h:1", row).map(Value::Object), Some(expected));
        }
        for good in [json!({ "ready": true, "detail": null }), json!({ "ready": 1.0 }), json!({})] {
            assert_eq!(finding("h:1", &row(good)), None);
        }
    }

    #[test]
    fn series_of_one_ring_are_added_up() {
        let text = "# TYPE w counter\nw{ring=\"a\",way=\"futex\"} 3\nw{ring=\"a\",way=\"socket\"} 4\n\
                    w{ring=\"b\"} 5\nw_other{ring=\"a\"} 6\n";
        for (label, sum) in [("ring=\"a\"", 7.0), ("ring=\"b\"", 5.0), ("ring=\"c\"", 0.0)] {
            assert!((total(text, "w", label) - sum).abs() < 1e-9, "{label}");
        }
    }
}
