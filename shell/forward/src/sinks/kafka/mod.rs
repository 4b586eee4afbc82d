//! Kafka, and whatever speaks its protocol, by librdkafka.
//!
//! Delivered means that each record has its delivery report: with the default `acks=all` all
//! replicas in sync have it, with `acks=1` its leader. A record that librdkafka gives up is sent
//! again, with every record after it, some of which may have been delivered: so the last copies in
//! a partition are in order. Consumers recognise duplicates by the headers `aqueduct-epoch` and
//! `aqueduct-seq`. Idempotence keeps the order of what librdkafka itself retries. Without it one
//! request is in flight at a time, but librdkafka makes the next one meanwhile, which may overtake
//! a retry.

mod outcome;
mod reports;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::config::Millis;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::metadata::MetadataTopic;
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use serde::Deserialize;

use super::Context;
use crate::batch::{Records, View};
use crate::envelope::{Envelope, Form};
use crate::json::{self, Found, Wanted};
use crate::sink::{Delivered, Failure, Sink};
use crate::stop::Stop;
use crate::trace::{TRACEPARENT, Trace};
use reports::{Observer, Reports, Waited};

/// What librdkafka is set to, unless `[sink.settings]` says otherwise.
const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("client.id", "aqueduct-forward"),
    // A batch is complete when it is given to librdkafka: there is nothing to wait for.
    ("linger.ms", "1"),
    // The partitions that the clients for Java give to the same keys.
    ("partitioner", "murmur2_random"),
    // At its own defaults nothing is sent for seconds after the brokers are back.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "500"),
    ("retry.backoff.ms", "50"),
    ("retry.backoff.max.ms", "500"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "10000"),
];

/// Settings that the sink makes itself, and how they are named here.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "sink.brokers"),
    ("metadata.broker.list", "sink.brokers"),
    ("message.timeout.ms", "sink.delivery_timeout_ms"),
    ("delivery.timeout.ms", "sink.delivery_timeout_ms"),
];

/// How long the name of a broker and its answer are waited for by a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How many records are sent between two looks whether one has failed.
const LOOK_RECORDS: usize = 256;
/// How often a wait looks at the deadline.
const TICK: Duration = Duration::from_millis(100);
/// Headers of a message without attributes.
const HEADERS: usize = 3;

/// `[sink]` with `kind = "kafka"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `host:port`, several with commas between them.
    brokers: String,
    /// The topic.
    topic: String,
    /// Attribute that is the message's key; a record without it has none.
    key_attribute: Option<String>,
    /// JSON pointer into the payload to the key; a record without it has none.
    key_pointer: Option<String>,
    /// How long an attempt goes on.
    delivery_timeout_ms: Option<Millis>,
    /// Settings of librdkafka, by its names.
    #[serde(default)]
    settings: BTreeMap<String, toml::Value>,
}

/// Where the key comes from.
#[derive(Debug)]
enum Key {
    None,
    Attribute(String),
    Pointer(Wanted),
}

type Client = ThreadedProducer<Observer>;

/// The sink.
pub struct Kafka {
    topic: String,
    key: Key,
    timeout: Duration,
    config: ClientConfig,
    envelope: Envelope,
    /// Made by the first delivery or probe, and again after a failure that librdkafka calls fatal.
    client: Option<Client>,
    reports: Arc<Reports>,
    is_idempotent: bool,
}

impl Kafka {
    /// Takes the settings. Brokers are connected to by the first delivery or probe.
    ///
    /// # Errors
    /// What is wrong with the settings, with the name of the key: librdkafka's own, too.
    pub fn open(table: Table, context: &Context) -> Result<Self, String> {
        let key = match (table.key_attribute, table.key_pointer) {
            (None, None) => Key::None,
            (Some(name), None) => Key::Attribute(name),
            (None, Some(pointer)) if json::is_pointer(&pointer) => {
                Key::Pointer(Wanted::new([pointer.as_str()]))
            }
            (None, Some(_)) => return Err("sink.key_pointer: it begins with `/`".to_owned()),
            (Some(_), Some(_)) => {
                return Err("sink.key_pointer: there is a key_attribute already".to_owned());
            }
        };
        let timeout_ms = table.delivery_timeout_ms.map_or(30_000, Into::<u64>::into);
        if !(100..=900_000).contains(&timeout_ms) {
            let allowed = "allowed: 100ms to 15m";
            return Err(format!("sink.delivery_timeout_ms: `{timeout_ms}` is not; {allowed}"));
        }
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", table.brokers);
        config.set("message.timeout.ms", timeout_ms.to_string());
        for (name, value) in table.settings {
            if let Some((_, ours)) = OURS.iter().find(|(theirs, _)| *theirs == name) {
                return Err(format!("sink.settings: `{name}` is {ours}"));
            }
            let value = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(is) => is.to_string(),
                _ => return Err(format!("sink.settings: `{name}`: a string, number or boolean")),
            };
            config.set(name, value);
        }
        let acks = config.get("request.required.acks").or(config.get("acks")).unwrap_or_default();
        if acks == "0" {
            return Err("sink.settings: with `acks` 0 nothing says what is delivered".to_owned());
        }
        let waits_for_all = acks == "all" || acks == "-1";
        let is_set = |config: &ClientConfig, names: [&str; 2]| {
            names.iter().find_map(|&name| config.get(name).map(str::to_owned))
        };
        if config.get("enable.idempotence").is_none() {
            // It needs acks=all, and that librdkafka tries again.
            let retries = is_set(&config, ["retries", "message.send.max.retries"]);
            let is = waits_for_all && retries.is_none_or(|retries| retries != "0");
            config.set("enable.idempotence", is.to_string());
        }
        let is_idempotent = config.get("enable.idempotence") == Some("true");
        let in_flight = ["max.in.flight", "max.in.flight.requests.per.connection"];
        if !is_idempotent && is_set(&config, in_flight).is_none() {
            // A request that is retried is written after those in flight.
            config.set("max.in.flight", "1");
        }
        let reports = Arc::new(Reports::default());
        let sink = Self {
            topic: table.topic,
            key,
            timeout: Duration::from_millis(timeout_ms),
            config,
            envelope: context.envelope.clone(),
            is_idempotent,
            client: None,
            reports,
        };
        // librdkafka checks its settings when a client is made, which waits for nobody.
        let checked = sink.connect().map_err(|error| format!("[sink.settings] {error}"))?;
        drop(checked);
        Ok(sink)
    }

    fn connect(&self) -> Result<Client, KafkaError> {
        self.config.create_with_context(Observer::new(Arc::clone(&self.reports)))
    }

    fn client(&mut self) -> Result<&Client, Failure> {
        // Its numbering of messages is broken for good, as it says: a new one begins anew.
        let is_broken = |client: &Client| client.client().fatal_error().is_some();
        if self.client.as_ref().is_some_and(is_broken) {
            tracing::warn!("librdkafka's client has failed for good; another one is made");
            self.client = None;
        }
        if self.client.is_none() {
            self.client = Some(self.connect().map_err(Failure::retry)?);
        }
        self.client.as_ref().ok_or_else(|| Failure::retry("no client"))
    }

    /// Gives a record to librdkafka, waiting for room in its queue.
    fn send(
        client: &Client,
        mut message: BaseRecord<'_, [u8], [u8], usize>,
        until: Instant,
    ) -> Result<(), KafkaError> {
        while let Err((error, back)) = client.send(message) {
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() >= until {
                return Err(error);
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

const fn header<'h>(key: &'h str, value: &'h [u8]) -> Header<'h, &'h [u8]> {
    Header { key, value: Some(value) }
}

/// Makes messages of the records of a batch.
struct Messages<'k> {
    topic: &'k str,
    key: &'k Key,
    envelope: &'k Envelope,
    /// The header `aqueduct-epoch` of all of them.
    epoch: String,
    /// What the present one is made of.
    text: String,
    payload: Vec<u8>,
    found: Vec<Found<'k>>,
}

impl<'k> Messages<'k> {
    fn new(topic: &'k str, key: &'k Key, envelope: &'k Envelope, epoch: u64) -> Self {
        let epoch = format!("{epoch:016x}");
        let (text, payload, found) = (String::new(), Vec::new(), Vec::new());
        Self { topic, key, envelope, epoch, text, payload, found }
    }

    /// Makes the message of a record.
    fn of<'m>(
        &'m mut self,
        record: &View<'k>,
        ticket: usize,
    ) -> Result<BaseRecord<'m, [u8], [u8], usize>, String> {
        let headers = self.headers(record);
        let is_raw = self.envelope.form == Form::Raw;
        if !is_raw {
            self.payload.clear();
            self.envelope.encode(record, &mut self.payload)?;
        }
        let payload = if is_raw { record.payload } else { &self.payload };
        let key = match self.key {
            Key::None => None,
            Key::Attribute(name) => record.attributes.get(name),
            Key::Pointer(wanted) => {
                // What is no JSON has no key either.
                let is_json = wanted.of(record.payload, &mut self.found).is_ok();
                let found = self.found.pop().filter(|_| is_json).and_then(Found::into_text);
                self.found.extend(found.map(Found::Text));
                match self.found.first() {
                    Some(Found::Text(text)) => Some(text.as_bytes()),
                    _ => None,
                }
            }
        };
        let message = BaseRecord::with_opaque_to(self.topic, ticket).payload(payload);
        Ok(BaseRecord {
            key,
            headers: Some(headers),
            // 0: the time is unknown, and librdkafka takes its own.
            timestamp: i64::try_from(record.timestamp_ns / 1_000_000).ok().filter(|&it| it > 0),
            ..message
        })
    }

    fn headers(&mut self, record: &View<'_>) -> OwnedHeaders {
        let text = &mut self.text;
        let mut number = |headers: OwnedHeaders, key, value: u64| {
            text.clear();
            // Writing to a string does not fail.
            let _ = write!(text, "{value}");
            headers.insert(header(key, text.as_bytes()))
        };
        let mut headers = OwnedHeaders::new_with_capacity(HEADERS);
        headers = headers.insert(header("aqueduct-epoch", self.epoch.as_bytes()));
        headers = number(headers, "aqueduct-seq", record.seq);
        headers = number(headers, "aqueduct-type", record.type_tag.into());
        if record.block.is_empty() {
            return headers;
        }
        let is_raw = self.envelope.form == Form::Raw;
        if is_raw {
            // Any other form has them inside.
            for attribute in record.attributes.clone() {
                let name = String::from_utf8_lossy(attribute.name);
                headers = headers.insert(header(&name, attribute.value));
            }
        }
        if !is_raw || record.attributes.get(TRACEPARENT).is_none() {
            for (name, value) in Trace::of(record).headers() {
                headers = headers.insert(header(name, value.as_bytes()));
            }
        }
        headers
    }
}

impl Sink for Kafka {
    fn deliver(&mut self, records: &Records<'_>, stop: &Stop) -> Result<Delivered, Failure> {
        self.client()?;
        let Some(client) = &self.client else { return Err(Failure::retry("no client")) };
        let until = Instant::now() + stop.time_for(self.timeout);
        let tickets = self.reports.begin(records.len());
        let mut messages = Messages::new(&self.topic, &self.key, &self.envelope, records.epoch());
        // Why the record after those that were sent was not, if it was not because of another one.
        let mut refused = None;
        let mut sent = records.len();
        for (at, record) in records.iter().enumerate() {
            if at.is_multiple_of(LOOK_RECORDS) && self.reports.has_failed() {
                sent = at;
                break;
            }
            let given = match messages.of(&record, tickets.of(at)) {
                Ok(message) => Self::send(client, message, until)
                    .map_err(|error| outcome::of_sending(at, &error)),
                Err(reason) => Err(Failure::poison(at, reason)),
            };
            if let Err(failure) = given {
                sent = at;
                refused = Some(failure);
                break;
            }
        }
        // librdkafka ends each message within its own timeout; a little later this one ends, too.
        let grace = until + Duration::from_secs(1);
        loop {
            match self.reports.wait(sent, TICK) {
                Waited::All => break,
                // It is sent again with every record after it: those need not go out now. With
                // idempotence a purge would leave a gap in the message numbers.
                Waited::Failed if !self.is_idempotent => {
                    client.purge(PurgeConfig::default().queue());
                }
                Waited::Late if stop.is_over() || Instant::now() >= grace => {
                    // Nothing of this attempt may arrive while the next one is under way.
                    client.purge(PurgeConfig::default().queue().inflight());
                    let again = Instant::now() + Duration::from_secs(1);
                    while self.reports.wait(sent, TICK) != Waited::All {
                        if Instant::now() >= again {
                            self.client = None;
                            break;
                        }
                    }
                    break;
                }
                Waited::Failed | Waited::Late => {}
            }
        }
        let Some((done, error)) = self.reports.first_failure(sent) else {
            return refused.map_or(Ok(Delivered::default()), Err);
        };
        Err(outcome::of_delivery(done, error))
    }

    fn probe(&mut self, stop: &Stop) -> Result<(), Failure> {
        let topic = self.topic.clone();
        let time = stop.time_for(PROBE_TIMEOUT);
        let client = self.client()?.client();
        let found = client.fetch_metadata(Some(&topic), time);
        let found = found.map_err(|error| outcome::of_probe(&error))?;
        let error =
            found.topics().iter().find(|it| it.name() == topic).and_then(MetadataTopic::error);
        match error {
            Some(error) => Err(outcome::of_topic(&topic, error.into())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
