//! The tables `[ingest]` and `[[listen]]` of the configuration: how connections are served, and
//! what is spoken where.

use std::time::Duration;

use aqueduct_core::attributes::name::{CONTENT_TYPE, PATH, PEER, TOPIC, USER_PREFIX};
use serde::Deserialize;

use super::driver::Choice;
use crate::codec::Keep;
use crate::codec::lines::{Framing, Oversize};
use crate::codec::mqtt::Filter;
use crate::config::{
    Change, ConfigError, Endpoint, Given, Millis, Origin, Section, Size, list, number, quoted,
    time, written_size, written_time,
};
use crate::ring::RingSettings;
use crate::tls::{TlsSettings, tls};

/// What a message may have on top of the largest record, bytes: names, fields, a topic.
const MESSAGE_OVERHEAD_BYTES: u64 = 64 << 10;

/// Most bytes of messages that are not complete, unless records may be larger.
const BUFFERED_BYTES_DEFAULT: u64 = 256 << 20;
/// Readers are woken again after this time at the earliest, us.
const WAKE_INTERVAL_US: u64 = 100;
/// Idempotency keys that are remembered for a ring, and how long, ms.
const IDEMPOTENCY_KEYS: u64 = 4096;
const IDEMPOTENCY_MS: u64 = 600_000;
/// Longest time that this may be, us: a reader sleeps that much longer under load.
const WAKE_INTERVAL_US_MAX: u64 = 10_000;

/// `[ingest]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestTable {
    /// How the loops talk to the system.
    pub driver: Option<Given<Choice>>,
    /// Event loops, each in a thread.
    pub loops: Option<Given<u64>>,
    /// Most bytes of messages that are not complete, of all connections together.
    pub max_buffered_bytes: Option<Given<Size>>,
    /// Least time between two wake-ups of readers by one loop.
    pub wake_interval_us: Option<Given<u64>>,
    /// Most idempotency keys that are remembered for a ring.
    pub idempotency_keys: Option<Given<u64>>,
    /// How long they are.
    pub idempotency_time_ms: Option<Given<Millis>>,
}

/// How connections are served, checked.
#[derive(Clone, Copy, Debug)]
pub struct IngestSettings {
    /// How the loops talk to the system.
    pub driver: Choice,
    /// Event loops, each in a thread.
    pub loops: usize,
    /// Most bytes of messages that are not complete, of all connections together.
    pub max_buffered_bytes: u64,
    /// Least time between two wake-ups of readers by one loop.
    pub wake_interval: Duration,
    /// Most idempotency keys that are remembered for a ring; 0 takes none.
    pub idempotency_keys: usize,
    /// How long they are.
    pub idempotency_time: Duration,
}

impl IngestSettings {
    /// Checks the table against the rings there are: any record must fit.
    pub fn check(table: &IngestTable, rings: &[RingSettings]) -> Result<Self, ConfigError> {
        let largest = rings.iter().map(|ring| u64::from(ring.max_payload_bytes)).max().unwrap_or(0);
        // A buffer that grows is up to twice what is in it.
        let least = 2 * (largest + MESSAGE_OVERHEAD_BYTES);
        let default = BUFFERED_BYTES_DEFAULT.max(least);
        let given = table.max_buffered_bytes.as_ref();
        let max_buffered_bytes =
            number("ingest.max_buffered_bytes", given, default, least..=1 << 40)?;
        let loops = number("ingest.loops", table.loops.as_ref(), default_loops(), 1..=256)?;
        let interval = table.wake_interval_us.as_ref();
        let key = "ingest.wake_interval_us";
        let interval = number(key, interval, WAKE_INTERVAL_US, 0..=WAKE_INTERVAL_US_MAX)?;
        let keys = table.idempotency_keys.as_ref();
        let keys = number("ingest.idempotency_keys", keys, IDEMPOTENCY_KEYS, 0..=1 << 24)?;
        let key = "ingest.idempotency_time_ms";
        Ok(Self {
            driver: table.driver.as_ref().map(|given| given.value).unwrap_or_default(),
            loops: usize::try_from(loops).unwrap_or(usize::MAX),
            max_buffered_bytes,
            wake_interval: Duration::from_micros(interval),
            idempotency_keys: usize::try_from(keys).unwrap_or(usize::MAX),
            idempotency_time: time(key, table.idempotency_time_ms.as_ref(), IDEMPOTENCY_MS, 1)?,
        })
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &IngestTable) -> Section {
        const STARTED: Change = Change::Fixed("the event loops are started once");
        let mut section = Section::new("[ingest]");
        section.put("driver", quoted(self.driver), table.driver.as_ref(), STARTED);
        section.put("loops", self.loops.to_string(), table.loops.as_ref(), STARTED);
        let buffered = written_size(self.max_buffered_bytes);
        let checked = Change::Fixed("it is compared with the machine's memory at the start");
        section.put("max_buffered_bytes", buffered, table.max_buffered_bytes.as_ref(), checked);
        let interval = self.wake_interval.as_micros().to_string();
        section.put("wake_interval_us", interval, table.wake_interval_us.as_ref(), STARTED);
        let kept = Change::Fixed("keys are remembered by these bounds");
        let keys = self.idempotency_keys.to_string();
        section.put("idempotency_keys", keys, table.idempotency_keys.as_ref(), kept);
        let time = written_time(self.idempotency_time);
        section.put("idempotency_time_ms", time, table.idempotency_time_ms.as_ref(), kept);
        section
    }
}

/// One loop for every four processors, and two as soon as there are two: one takes fewer requests
/// than nginx there, and two as many or more. The clients' kernel work and the readers want
/// processors too.
fn default_loops() -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    processors.div_ceil(4).clamp(processors.min(2), 256)
}

/// Name of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// HTTP/1.1.
    Http,
    /// RESP2, what Redis clients speak.
    Resp,
    /// MQTT 3.1.1 and 5, publishers.
    Mqtt,
    /// Lines.
    Lines,
    /// Frames that end with a zero byte.
    Nul,
    /// Octet counting (RFC 6587).
    Octets,
}

impl ProtocolName {
    /// Names it as the configuration does.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Resp => "resp",
            Self::Mqtt => "mqtt",
            Self::Lines => "lines",
            Self::Nul => "nul",
            Self::Octets => "octets",
        }
    }
}

/// What is done about a frame over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OversizeName {
    /// The connection ends.
    Close,
    /// The frame is skipped and counted.
    Skip,
}

/// One entry of `topics`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicTable {
    /// MQTT topic filter.
    pub filter: Given<String>,
    /// Ring of its messages; may be left out if there is only one.
    pub ring: Option<Given<String>>,
    /// Their type tag.
    pub r#type: Option<Given<u16>>,
}

/// One `[[listen]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTable {
    /// Where connections come in.
    pub address: Given<Endpoint>,
    /// What they speak.
    pub protocol: Given<ProtocolName>,
    /// How long a connection may say nothing; 0 is for ever.
    pub idle_timeout_ms: Option<Given<Millis>>,
    /// Largest command, packet or frame.
    pub max_message_bytes: Option<Given<Size>>,
    /// `lines`, `nul`, `octets`: ring of the records; may be left out if there is only one.
    pub ring: Option<Given<String>>,
    /// `lines`, `nul`, `octets`: type tag of the records.
    pub r#type: Option<Given<u16>>,
    /// `lines`, `nul`, `octets`: what is done about a frame over the limit.
    pub oversize: Option<Given<OversizeName>>,
    /// `mqtt`: where the messages of some topics go; the first that matches decides.
    pub topics: Option<Given<Vec<TopicTable>>>,
    /// What is kept with the records, by the names of the attributes.
    pub attributes: Option<Given<Vec<String>>>,
    /// Whether clients that bring records need credentials.
    pub authenticate: Option<Given<bool>>,
    /// Whether TLS is spoken.
    pub tls: Option<Given<bool>>,
}

/// A ring by its place in the configuration, and a type tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which ring.
    pub ring: usize,
    /// The tag.
    pub type_tag: u16,
}

/// What is spoken at an address, checked.
#[derive(Clone, Debug)]
pub enum ProtocolSettings {
    /// HTTP/1.1, bounded as `[http]` says.
    Http,
    /// RESP2.
    Resp,
    /// MQTT.
    Mqtt(Vec<(Filter, Target)>),
    /// Lines and frames.
    Frames(Target, Framing, Oversize),
}

/// One listening address, checked.
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// Where connections come in.
    pub endpoint: Endpoint,
    /// For the line that says that all is ready.
    pub name: ProtocolName,
    /// What they speak.
    pub protocol: ProtocolSettings,
    /// How long a connection may say nothing; `None` is for ever.
    pub idle_timeout: Option<Duration>,
    /// Largest command, packet or frame.
    pub max_message_bytes: usize,
    /// What is kept with the records.
    pub keep: Keep,
    /// Whether clients that bring records need credentials.
    pub authenticate: bool,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl ListenSettings {
    /// Whether its connections can bring records with attributes into this ring.
    pub fn brings_attributes_to(&self, ring: usize) -> bool {
        !self.keep.is_empty()
            && match &self.protocol {
                ProtocolSettings::Http | ProtocolSettings::Resp => true,
                ProtocolSettings::Mqtt(rules) => rules.iter().any(|(_, to)| to.ring == ring),
                ProtocolSettings::Frames(to, ..) => to.ring == ring,
            }
    }

    /// Lists what is in effect at the address of this number, from 1 on.
    pub fn describe(&self, number: usize, table: &ListenTable, rings: &[RingSettings]) -> Section {
        const BOUND: Change = Change::Fixed("addresses are bound at the start");
        const KEPT: Change = Change::Fixed("readers were told whether records have attributes");
        let origin = table.address.origin;
        let mut section = Section::one_of("[[listen]]", number.to_string(), origin);
        section.put("address", quoted(&self.endpoint), Some(&table.address), BOUND);
        section.put("protocol", quoted(self.name.as_str()), Some(&table.protocol), BOUND);
        let idle = written_time(self.idle_timeout.unwrap_or_default());
        section.put("idle_timeout_ms", idle, table.idle_timeout_ms.as_ref(), Change::Live);
        if self.name != ProtocolName::Http {
            let most = written_size(self.max_message_bytes as u64);
            section.put("max_message_bytes", most, table.max_message_bytes.as_ref(), Change::Live);
        }
        let name =
            |target: &Target| quoted(rings.get(target.ring).map_or("", |ring| ring.name.as_str()));
        match &self.protocol {
            ProtocolSettings::Http | ProtocolSettings::Resp => {}
            ProtocolSettings::Mqtt(topics) => {
                let rule = |(filter, target): &(Filter, Target)| {
                    let (filter, ring) = (quoted(filter), name(target));
                    format!("{{ filter = {filter}, ring = {ring}, type = {} }}", target.type_tag)
                };
                let rules: Vec<String> = topics.iter().map(rule).collect();
                let rules = format!("[{}]", rules.join(", "));
                section.put("topics", rules, table.topics.as_ref(), Change::Live);
            }
            ProtocolSettings::Frames(target, _, oversize) => {
                section.put("ring", name(target), table.ring.as_ref(), Change::Live);
                let tag = target.type_tag.to_string();
                section.put("type", tag, table.r#type.as_ref(), Change::Live);
                let oversize = match oversize {
                    Oversize::Close => "close",
                    Oversize::Skip => "skip",
                };
                section.put("oversize", quoted(oversize), table.oversize.as_ref(), Change::Live);
            }
        }
        let kept = table.attributes.as_ref().map_or(&[][..], |given| &given.value[..]);
        section.put("attributes", list(kept), table.attributes.as_ref(), KEPT);
        let asks = self.authenticate.to_string();
        section.put("authenticate", asks, table.authenticate.as_ref(), Change::Live);
        section.put("tls", self.tls.to_string(), table.tls.as_ref(), Change::Live);
        section
    }

    /// Checks the tables against the rings there are.
    pub fn check(
        tables: &[ListenTable],
        rings: &[RingSettings],
        keep_alive: Duration,
        has_credentials: bool,
        certificates: Option<&TlsSettings>,
    ) -> Result<Vec<Self>, ConfigError> {
        let check =
            |table| Self::check_one(table, rings, keep_alive, (has_credentials, certificates));
        tables.iter().map(check).collect()
    }

    fn check_one(
        table: &ListenTable,
        rings: &[RingSettings],
        keep_alive: Duration,
        (has_credentials, certificates): (bool, Option<&TlsSettings>),
    ) -> Result<Self, ConfigError> {
        let name = table.protocol.value;
        let frames = matches!(name, ProtocolName::Lines | ProtocolName::Nul | ProtocolName::Octets);
        let foreign = [
            ("ring", frames, table.ring.as_ref().map(|given| given.origin)),
            ("type", frames, table.r#type.as_ref().map(|given| given.origin)),
            ("oversize", frames, table.oversize.as_ref().map(|given| given.origin)),
            ("topics", name == ProtocolName::Mqtt, table.topics.as_ref().map(|given| given.origin)),
        ];
        let foreign = foreign.into_iter().filter(|(_, belongs, _)| !belongs);
        let mut foreign = foreign.filter_map(|(key, _, origin)| Some((key, origin?)));
        if let Some((key, origin)) = foreign.next() {
            let allowed = match key {
                "topics" => "topics with protocol = \"mqtt\"",
                _ => "this key with protocol = \"lines\", \"nul\" or \"octets\"",
            };
            return Err(refused(origin, &format!("listen.{key}"), name.as_str(), allowed));
        }
        let largest = rings.iter().map(|ring| u64::from(ring.max_payload_bytes)).max().unwrap_or(0);
        let default = if frames { largest } else { largest + MESSAGE_OVERHEAD_BYTES };
        let given = table.max_message_bytes.as_ref();
        let max_message = number("listen.max_message_bytes", given, default, 1..=1 << 35)?;
        let given = table.idle_timeout_ms.as_ref();
        let default = if name == ProtocolName::Http { keep_alive } else { Duration::ZERO };
        let default = u64::try_from(default.as_millis()).unwrap_or(0);
        let idle = time("listen.idle_timeout_ms", given, default, 0)?;
        let place = table.protocol.origin;
        let target = || {
            target("listen.ring", table.ring.as_ref(), place, rings).map(|ring| Target {
                ring,
                type_tag: table.r#type.as_ref().map_or(0, |given| given.value),
            })
        };
        let oversize = match table.oversize.as_ref().map(|given| given.value) {
            Some(OversizeName::Skip) => Oversize::Skip,
            Some(OversizeName::Close) | None => Oversize::Close,
        };
        let protocol = match name {
            ProtocolName::Http => ProtocolSettings::Http,
            ProtocolName::Resp => ProtocolSettings::Resp,
            ProtocolName::Mqtt => ProtocolSettings::Mqtt(topics(table, rings)?),
            ProtocolName::Lines => ProtocolSettings::Frames(target()?, Framing::Lines, oversize),
            ProtocolName::Nul => ProtocolSettings::Frames(target()?, Framing::Nul, oversize),
            ProtocolName::Octets => ProtocolSettings::Frames(target()?, Framing::Octets, oversize),
        };
        let has_tls = tls("listen.tls", table.tls.as_ref(), certificates.is_some())?;
        // Without words, what they show is all that they can say.
        let is_silent = frames && !(has_tls && certificates.is_some_and(TlsSettings::asks_clients));
        let asks = table.authenticate.as_ref();
        let authenticate = match asks.map(|given| given.value) {
            Some(true) | None if is_silent && (has_credentials || asks.is_some()) => {
                let place = asks.map_or(place, |given| given.origin);
                let allowed = "false: this protocol has no words for credentials, and clients show \
                               certificates only over TLS with tls.client_ca";
                return Err(refused(place, "listen.authenticate", "true", allowed));
            }
            _ => authenticate("listen.authenticate", asks, has_credentials)?,
        };
        Ok(Self {
            authenticate,
            tls: has_tls,
            endpoint: table.address.value.clone(),
            name,
            protocol,
            idle_timeout: (!idle.is_zero()).then_some(idle),
            max_message_bytes: usize::try_from(max_message).unwrap_or(usize::MAX),
            keep: keep("listen.attributes", table.attributes.as_ref(), name)?,
        })
    }
}

/// Checks whether an address asks for credentials: where there are some, it does by default.
pub fn authenticate(
    key: &str,
    given: Option<&Given<bool>>,
    has_credentials: bool,
) -> Result<bool, ConfigError> {
    match given {
        Some(Given { value: true, origin }) if !has_credentials => {
            let allowed = "true where `credentials.file` names some";
            Err(ConfigError::value(*origin, key, true, allowed))
        }
        given => Ok(given.map_or(has_credentials, |given| given.value)),
    }
}

/// Checks which attributes an address of this protocol keeps.
pub fn keep(
    key: &str,
    given: Option<&Given<Vec<String>>>,
    protocol: ProtocolName,
) -> Result<Keep, ConfigError> {
    let Some(Given { value: names, origin }) = given else { return Ok(Keep::default()) };
    let is_header = |name: &str| {
        let token = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        !name.is_empty() && name.len() <= 255 && name.bytes().all(token)
    };
    let (allowed, others): (&[&str], &str) = match protocol {
        ProtocolName::Http => {
            (&[PATH, PEER], "\":path\", \":peer\" and names of HTTP headers in lower case")
        }
        ProtocolName::Mqtt => (
            &[TOPIC, PEER, CONTENT_TYPE],
            "\":topic\", \":peer\", \"content-type\", \"user:*\" and \"user:KEY\"",
        ),
        _ => (&[PEER], "\":peer\""),
    };
    for (index, name) in names.iter().enumerate() {
        let is_known = allowed.contains(&name.as_str())
            || protocol == ProtocolName::Http && is_header(name)
            || protocol == ProtocolName::Mqtt
                && name.len() <= 255
                && name.strip_prefix(USER_PREFIX).is_some_and(|key| !key.is_empty());
        if !is_known {
            return Err(ConfigError::value(*origin, key, name.escape_debug(), others));
        }
        if names[..index].contains(name) {
            return Err(ConfigError::value(*origin, key, name, "names that differ"));
        }
    }
    Ok(Keep::new(names.clone()))
}

fn refused(origin: Origin, key: &str, value: &str, allowed: &str) -> ConfigError {
    ConfigError::value(origin, key, value, allowed)
}

/// Finds a ring by its name; without one there must be only one ring. `place` is that of the table.
fn target(
    key: &str,
    name: Option<&Given<String>>,
    place: Origin,
    rings: &[RingSettings],
) -> Result<usize, ConfigError> {
    let names = || rings.iter().map(|ring| ring.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        None if rings.len() == 1 => Ok(0),
        None => Err(refused(place, key, "", &format!("one of the rings {}", names()))),
        Some(name) => rings.iter().position(|ring| ring.name == name.value).ok_or_else(|| {
            let allowed = format!("one of the rings {}", names());
            refused(name.origin, key, &name.value, &allowed)
        }),
    }
}

/// The rules of an MQTT address: without any, everything goes to the only ring.
fn topics(
    table: &ListenTable,
    rings: &[RingSettings],
) -> Result<Vec<(Filter, Target)>, ConfigError> {
    let place = table.protocol.origin;
    let filter = |text: &str, origin| {
        Filter::new(text).ok_or_else(|| {
            let allowed = "an MQTT topic filter, as sensors/+/state or #";
            refused(origin, "listen.topics.filter", text, allowed)
        })
    };
    let Some(topics) = &table.topics else {
        let ring = target("listen.topics.ring", None, place, rings)?;
        return Ok(vec![(filter("#", place)?, Target { ring, type_tag: 0 })]);
    };
    if topics.value.is_empty() {
        let allowed = "at least one; without this key, all go to the only ring";
        return Err(refused(topics.origin, "listen.topics", "[]", allowed));
    }
    topics
        .value
        .iter()
        .map(|topic| {
            let ring = topic.ring.as_ref();
            let ring = target("listen.topics.ring", ring, topic.filter.origin, rings)?;
            let type_tag = topic.r#type.as_ref().map_or(0, |given| given.value);
            let target = Target { ring, type_tag };
            Ok((filter(&topic.filter.value, topic.filter.origin)?, target))
        })
        .collect()
}
