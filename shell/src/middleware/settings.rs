//! The tables `[[route]]` of the configuration.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::credentials::Credentials;
#[cfg(feature = "protobuf")]
use super::protobuf::Schema;
use super::route::Acknowledge;
#[cfg(feature = "decompress")]
use super::units::Decompress;
use super::units::{
    AccessLog, Authenticate, BodyLimit, Conversion, Convert, Per, RateLimit, RequestId, ValidJson,
};
use super::{Host, METHODS, Pattern, Route, Router, Unit};
use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, Size, list, number, quoted, time,
    written_size, written_time,
};
use crate::ring::RingSettings;

/// Most routes.
const ROUTES_MAX: usize = 1024;
/// How long a route waits for readers, unless something else is said, ms.
const WITHIN_MS: u64 = 5_000;
/// Bytes that decompression may make of each, unless something else is said.
const RATIO: u64 = 100;
/// Buckets of a rate limit, unless something else is said.
const BUCKETS: u64 = 16_384;

/// One `[[route]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// One method, or several.
    pub method: Option<Given<OneOrMore>>,
    /// Whom requests ask; without it, anyone.
    pub host: Option<Given<String>>,
    /// Their path, with parameters as `{id}`.
    pub path: Given<String>,
    /// Where their records go: one ring, or several. May be left out if there is only one.
    pub ring: Option<Given<OneOrMore>>,
    /// The tag of their records, instead of the one that they name.
    pub r#type: Option<Given<u16>>,
    /// What is kept with them, instead of what the address keeps.
    pub attributes: Option<Given<Vec<String>>>,
    /// When requests are answered: `published` or `consumed`.
    pub acknowledge: Option<Given<String>>,
    /// The subscription that is to release records; without it, all are.
    pub consumed_by: Option<Given<String>>,
    /// How long that may take.
    pub acknowledge_timeout_ms: Option<Given<Millis>>,
    /// `false`: they need no credentials, even where the address asks for some.
    pub authenticate: Option<Given<bool>>,
    /// What they pass, in order.
    pub units: Option<Given<Vec<UnitTable>>>,
}

/// A text, or a list of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOrMore(
    /// At least one.
    pub Vec<String>,
);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                if texts.is_empty() {
                    return Err(serde::de::Error::invalid_length(0, &self));
                }
                Ok(OneOrMore(texts))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A unit as it is written: its name, or a table with `unit` and what it takes.
#[derive(Clone, Debug, Default)]
pub struct UnitTable(Keys);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    unit: String,
    allow: Option<Vec<String>>,
    keep: Option<bool>,
    per: Option<String>,
    rate: Option<f64>,
    burst: Option<u32>,
    max_clients: Option<u64>,
    max_bytes: Option<Size>,
    max_ratio: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    descriptors: Option<PathBuf>,
    message: Option<String>,
    drop_unknown: Option<bool>,
    minify: Option<bool>,
}

impl<'de> Deserialize<'de> for UnitTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UnitTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a unit, or a table with the key `unit`")
            }

            fn visit_str<E>(self, name: &str) -> Result<UnitTable, E> {
                Ok(UnitTable(Keys { unit: name.to_owned(), ..Keys::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UnitTable, A::Error> {
                Keys::deserialize(MapAccessDeserializer::new(map)).map(UnitTable)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The routes, checked. The credentials come later: their file is opened by another part.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    routes: Vec<Checked>,
}

#[derive(Clone, Debug)]
struct Checked {
    methods: Vec<&'static str>,
    host: Host,
    pattern: Pattern,
    rings: Vec<usize>,
    names: Vec<String>,
    type_tag: Option<u16>,
    attributes: Option<Vec<String>>,
    units: Vec<UnitSettings>,
    acknowledge: Acknowledge,
    is_open: bool,
}

#[derive(Clone, Debug)]
enum UnitSettings {
    AccessLog,
    Authenticate { allowed: Option<Vec<String>> },
    BodyLimit { max_bytes: usize },
    Convert { conversion: Conversion, written: String },
    Decompress { max_bytes: Option<usize>, max_ratio: usize },
    Json { minify: bool },
    RateLimit(Arc<RateLimit>),
    RequestId { keeps: bool },
}

impl UnitSettings {
    /// Writes it as the configuration does.
    fn written(&self) -> String {
        match self {
            Self::AccessLog => quoted("access_log"),
            Self::Authenticate { allowed: None } => quoted("authenticate"),
            Self::Authenticate { allowed: Some(names) } => {
                format!("{{ unit = \"authenticate\", allow = {} }}", list(names))
            }
            Self::BodyLimit { max_bytes } => {
                let size = written_size(*max_bytes as u64);
                format!("{{ unit = \"body_limit\", max_bytes = {size} }}")
            }
            Self::Convert { written, .. } => written.clone(),
            Self::Decompress { max_bytes, max_ratio } => {
                let most = max_bytes.map(|most| written_size(most as u64));
                let most = most.map_or(String::new(), |most| format!(", max_bytes = {most}"));
                format!("{{ unit = \"decompress\", max_ratio = {max_ratio}{most} }}")
            }
            Self::Json { minify } => format!("{{ unit = \"json\", minify = {minify} }}"),
            Self::RateLimit(limit) => {
                let (per, rate, burst, most) = limit.settings();
                let per = if per == Per::Client { "client" } else { "credential" };
                format!(
                    "{{ unit = \"rate_limit\", per = \"{per}\", rate = {rate:?}, burst = {burst}, \
                     max_clients = {most} }}"
                )
            }
            Self::RequestId { keeps } => format!("{{ unit = \"request_id\", keep = {keeps} }}"),
        }
    }
}

/// Names of all units, and of the keys that each takes.
const UNITS: [(&str, &[&str]); 8] = [
    ("access_log", &[]),
    ("authenticate", &["allow"]),
    ("body_limit", &["max_bytes"]),
    ("convert", &["from", "to", "descriptors", "message", "drop_unknown"]),
    ("decompress", &["max_bytes", "max_ratio"]),
    ("json", &["minify"]),
    ("rate_limit", &["per", "rate", "burst", "max_clients"]),
    ("request_id", &["keep"]),
];

fn refused(key: &str, value: impl fmt::Display, allowed: impl Into<String>) -> ConfigError {
    ConfigError::value(Origin::Default, key, value, allowed)
}

/// Refuses what a program cannot do for want of a cargo feature.
fn without(feature: &str, asked: &str) -> ConfigError {
    let allowed = format!("units of this program, which was built without the feature {feature}");
    refused("route.units", asked, allowed)
}

/// Says where a value that is refused was given.
fn at<T>(given: &Given<T>) -> impl FnOnce(ConfigError) -> ConfigError {
    let place = given.origin;
    move |mut error| {
        if let ConfigError::Value { origin, .. } = &mut error {
            *origin = place;
        }
        error
    }
}

impl Keys {
    /// Names of the keys that are given.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("allow", self.allow.is_some()),
            ("keep", self.keep.is_some()),
            ("per", self.per.is_some()),
            ("rate", self.rate.is_some()),
            ("burst", self.burst.is_some()),
            ("max_clients", self.max_clients.is_some()),
            ("max_bytes", self.max_bytes.is_some()),
            ("max_ratio", self.max_ratio.is_some()),
            ("from", self.from.is_some()),
            ("to", self.to.is_some()),
            ("descriptors", self.descriptors.is_some()),
            ("message", self.message.is_some()),
            ("drop_unknown", self.drop_unknown.is_some()),
            ("minify", self.minify.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, is_given)| is_given.then_some(key))
    }

    fn check(&self) -> Result<UnitSettings, ConfigError> {
        let Some((_, keys)) = UNITS.iter().find(|(name, _)| *name == self.unit) else {
            let names = UNITS.map(|(name, _)| name).join(", ");
            return Err(refused("route.units", &self.unit, format!("one of {names}")));
        };
        if let Some(foreign) = self.given().find(|key| !keys.contains(key)) {
            let allowed = match keys {
                [] => "no key beside `unit`".to_owned(),
                keys => format!("for `{}`: {}", self.unit, keys.join(", ")),
            };
            return Err(refused("route.units", foreign, allowed));
        }
        let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Ok(match self.unit.as_str() {
            "access_log" => UnitSettings::AccessLog,
            "authenticate" => {
                if self.allow.as_ref().is_some_and(Vec::is_empty) {
                    let allowed = "at least one name; without this key, every credential";
                    return Err(refused("route.units.allow", "[]", allowed));
                }
                UnitSettings::Authenticate { allowed: self.allow.clone() }
            }
            "body_limit" => {
                let Some(Size(bytes)) = self.max_bytes.filter(|size| size.0 > 0) else {
                    return Err(refused("route.units.max_bytes", "", "a size for `body_limit`"));
                };
                UnitSettings::BodyLimit { max_bytes: count(bytes) }
            }
            "convert" => self.convert()?,
            "decompress" => self.decompress()?,
            "json" => UnitSettings::Json { minify: self.minify.unwrap_or(false) },
            "rate_limit" => self.rate_limit()?,
            _ => UnitSettings::RequestId { keeps: self.keep.unwrap_or(false) },
        })
    }

    fn convert(&self) -> Result<UnitSettings, ConfigError> {
        let (from, to) = (self.from.as_deref(), self.to.as_deref());
        let asked = format!("{} to {}", from.unwrap_or("?"), to.unwrap_or("?"));
        let is_asked =
            |(one, other, _): &&(&str, &str, &str)| from == Some(*one) && to == Some(*other);
        let Some((from, to, feature)) = Conversion::ALL.iter().find(is_asked) else {
            let pairs = Conversion::ALL.map(|(one, other, _)| format!("{one} to {other}"));
            return Err(refused("route.units.convert", asked, pairs.join(", ")));
        };
        let written = format!("unit = \"convert\", from = \"{from}\", to = \"{to}\"");
        if *from == "protobuf" {
            return self.protobuf(&written);
        }
        if let Some(foreign) =
            self.given().find(|key| ["descriptors", "message", "drop_unknown"].contains(key))
        {
            return Err(refused("route.units", foreign, "this key with from = \"protobuf\""));
        }
        let conversion = Conversion::new(from, to).ok_or_else(|| without(feature, &asked))?;
        Ok(UnitSettings::Convert { conversion, written: format!("{{ {written} }}") })
    }

    #[cfg(not(feature = "protobuf"))]
    #[expect(clippy::unused_self, reason = "with the feature it is")]
    fn protobuf(&self, _: &str) -> Result<UnitSettings, ConfigError> {
        Err(without("protobuf", "protobuf to json"))
    }

    #[cfg(feature = "protobuf")]
    fn protobuf(&self, written: &str) -> Result<UnitSettings, ConfigError> {
        let (Some(path), Some(message)) = (&self.descriptors, &self.message) else {
            let allowed = "descriptors = \"FILE\" and message = \"NAME\" with from = \"protobuf\"";
            return Err(refused("route.units.convert", "protobuf", allowed));
        };
        let drops_unknown = self.drop_unknown.unwrap_or(false);
        let file = path.display().to_string();
        let descriptors = std::fs::read(path).map_err(|error| {
            let allowed = format!("a file that can be read: {error}");
            refused("route.units.descriptors", &file, allowed)
        })?;
        let schema = Schema::new(&descriptors, message, drops_unknown)
            .map_err(|allowed| refused("route.units.descriptors", &file, allowed))?;
        let (file, message) = (quoted(&file), quoted(message));
        let written = format!(
            "{{ {written}, descriptors = {file}, message = {message}, \
             drop_unknown = {drops_unknown} }}"
        );
        Ok(UnitSettings::Convert { conversion: Conversion::ProtobufToJson(schema), written })
    }

    fn decompress(&self) -> Result<UnitSettings, ConfigError> {
        if !cfg!(feature = "decompress") {
            return Err(without("decompress", "decompress"));
        }
        let given = self.max_ratio.map(Given::by_default);
        let ratio = number("route.units.max_ratio", given.as_ref(), RATIO, 1..=100_000)?;
        let most = self.max_bytes.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
        if most == Some(0) {
            return Err(refused("route.units.max_bytes", 0, "a size for `decompress`"));
        }
        let max_ratio = usize::try_from(ratio).unwrap_or(usize::MAX);
        Ok(UnitSettings::Decompress { max_bytes: most, max_ratio })
    }

    fn rate_limit(&self) -> Result<UnitSettings, ConfigError> {
        let per = match self.per.as_deref() {
            None | Some("client") => Per::Client,
            Some("credential") => Per::Credential,
            Some(other) => {
                return Err(refused("route.units.per", other, "\"client\" or \"credential\""));
            }
        };
        let rate = self.rate.unwrap_or(0.0);
        if !(0.001..=1e9).contains(&rate) {
            let allowed = "requests a second for `rate_limit`: 0.001 to 1000000000";
            return Err(refused("route.units.rate", rate, allowed));
        }
        let burst = self.burst.unwrap_or_else(|| {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            let second = rate.ceil() as u32;
            second.max(1)
        });
        if burst == 0 {
            return Err(refused("route.units.burst", burst, "at least 1"));
        }
        let given = self.max_clients.map(Given::by_default);
        let most = number("route.units.max_clients", given.as_ref(), BUCKETS, 1..=1 << 20)?;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(UnitSettings::RateLimit(Arc::new(RateLimit::new(per, rate, burst, most))))
    }
}

impl RouteSettings {
    /// Checks the tables against the rings there are, and whether there are credentials.
    pub fn check(
        tables: &[RouteTable],
        rings: &[RingSettings],
        has_credentials: bool,
    ) -> Result<Self, ConfigError> {
        if tables.len() > ROUTES_MAX {
            let allowed = format!("at most {ROUTES_MAX} routes");
            return Err(refused("route", tables.len(), allowed));
        }
        let routes = tables.iter().map(|table| Checked::new(table, rings));
        let settings = Self { routes: routes.collect::<Result<_, _>>()? };
        settings.sorted(None).map_err(|(one, other)| {
            // Of two that are written alike, the later one.
            let mut all = settings.routes.iter().zip(tables).rev();
            let table = all.find(|(route, _)| {
                route.pattern.as_str() == one.pattern.as_str()
                    && route.methods == one.methods
                    && route.host == one.host
            });
            let origin = table.map_or(Origin::Default, |(_, table)| table.path.origin);
            taken_twice(&one, &other, origin)
        })?;
        let asking = settings.routes.iter().zip(tables).find(|(route, _)| route.asks());
        if let Some((_, table)) = asking.filter(|_| !has_credentials) {
            let allowed = "this where `credentials.file` is set";
            let asks = table.authenticate.as_ref().filter(|given| given.value);
            let (key, value, origin) = match (asks, &table.units) {
                (None, Some(given)) => ("route.units", "authenticate", given.origin),
                (given, _) => {
                    ("route.authenticate", "true", given.map_or(table.path.origin, |it| it.origin))
                }
            };
            return Err(ConfigError::value(origin, key, value, allowed));
        }
        Ok(settings)
    }

    /// Checks that bodies which units change fit into what all connections together may keep, of
    /// which a message may have half: a buffer that grows is up to twice what is in it. `tables`
    /// are those that were checked.
    pub fn fit(&self, tables: &[RouteTable], max_buffered_bytes: u64) -> Result<(), ConfigError> {
        let most = max_buffered_bytes / 2;
        for (route, table) in self.routes.iter().zip(tables) {
            let limit = |unit: &UnitSettings| match unit {
                UnitSettings::BodyLimit { max_bytes } => Some(*max_bytes as u64),
                _ => None,
            };
            let changes = |unit: &UnitSettings| {
                matches!(
                    unit,
                    UnitSettings::Convert { .. }
                        | UnitSettings::Decompress { .. }
                        | UnitSettings::Json { .. }
                )
            };
            if let Some(bytes) = route.units.iter().filter_map(limit).min()
                && bytes > most
                && route.units.iter().any(changes)
                && let Some(given) = &table.units
            {
                let allowed = format!("at most half of ingest.max_buffered_bytes, {most}");
                let (key, value) = ("route.units.max_bytes", written_size(bytes));
                return Err(ConfigError::value(given.origin, key, value, allowed));
            }
        }
        Ok(())
    }

    /// Takes over what rate limits have counted under settings before, where route and limit are
    /// the same: a reload fills no bucket.
    pub fn keep_counts(&mut self, before: &Self) {
        for route in &mut self.routes {
            let is_same = |other: &&Checked| {
                (&other.methods, &other.host, &other.pattern)
                    == (&route.methods, &route.host, &route.pattern)
            };
            let Some(old) = before.routes.iter().find(is_same) else { continue };
            let limits = route.units.iter_mut().filter_map(|unit| match unit {
                UnitSettings::RateLimit(limit) => Some(limit),
                _ => None,
            });
            let old = old.units.iter().filter_map(|unit| match unit {
                UnitSettings::RateLimit(limit) => Some(limit),
                _ => None,
            });
            for (limit, old) in limits.zip(old) {
                if limit.settings() == old.settings() {
                    *limit = Arc::clone(old);
                }
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Lists what is in effect. `tables` are those that were checked.
    pub fn describe(&self, tables: &[RouteTable]) -> Vec<Section> {
        self.routes.iter().zip(tables).map(|(route, table)| route.describe(table)).collect()
    }

    /// Whether a route keeps the attribute of this name.
    pub fn keep(&self, name: &str) -> bool {
        let kept = self.routes.iter().filter_map(|route| route.attributes.as_ref()).flatten();
        kept.into_iter().any(|kept| kept == name)
    }

    /// Whether a route keeps something with records of this ring.
    pub fn brings_attributes_to(&self, ring: usize) -> bool {
        self.brings_attributes_to_by(ring).is_some()
    }

    /// The number, from 0, of the first route that keeps something with records of this ring.
    pub fn brings_attributes_to_by(&self, ring: usize) -> Option<usize> {
        self.routes.iter().position(|route| {
            route.attributes.as_ref().is_some_and(|names| !names.is_empty())
                && route.rings.contains(&ring)
        })
    }

    /// Whether one of them wants credentials.
    pub fn wants_credentials(&self) -> bool {
        self.routes.iter().any(Checked::asks)
    }

    /// Makes the routes, in the order in which they are tried.
    ///
    /// # Errors
    /// Two of them take the same requests, or one wants credentials where there are none.
    pub fn router(
        &self,
        credentials: Option<&Arc<dyn Credentials>>,
    ) -> Result<Router, ConfigError> {
        if self.wants_credentials() && credentials.is_none() {
            let allowed = "this unit where there are credentials";
            return Err(refused("route.units", "authenticate", allowed));
        }
        let taken_twice = |(one, other): Pair| taken_twice(&one, &other, Origin::Default);
        self.sorted(credentials).map_err(taken_twice)
    }

    fn sorted(&self, credentials: Option<&Arc<dyn Credentials>>) -> Result<Router, Pair> {
        Router::new(self.routes.iter().map(|route| route.make(credentials)).collect())
    }
}

/// Two routes that would take the same requests.
type Pair = (Arc<Route>, Arc<Route>);

fn taken_twice(one: &Route, other: &Route, origin: Origin) -> ConfigError {
    let allowed = format!(
        "routes that differ in method, host or path; `{}` takes the same requests",
        other.pattern.as_str()
    );
    ConfigError::value(origin, "route.path", one.pattern.as_str(), allowed)
}

impl Checked {
    fn new(table: &RouteTable, rings: &[RingSettings]) -> Result<Self, ConfigError> {
        let methods = match &table.method {
            None => vec!["POST"],
            Some(given) => {
                let names = given.value.0.iter().map(|name| method(name));
                names.collect::<Result<_, _>>().map_err(at(given))?
            }
        };
        let host = match &table.host {
            None => Host::Any,
            Some(given) if is_host(&given.value) => Host::only(&given.value),
            Some(given) => {
                let allowed = "a name or address as requests name it, without a port";
                return Err(ConfigError::value(given.origin, "route.host", &given.value, allowed));
            }
        };
        let refused_path = |allowed: &str| {
            ConfigError::value(table.path.origin, "route.path", &table.path.value, allowed)
        };
        let pattern = Pattern::new(&table.path.value).map_err(refused_path)?;
        if pattern.as_str().starts_with("/v1/") || PAGES.contains(&pattern.as_str()) {
            let allowed =
                "a path that is not the listener's own: /v1/…, /healthz, /readyz, /metrics";
            return Err(refused_path(allowed));
        }
        let given = table.ring.as_ref();
        let found = match given {
            None => rings_of(None, rings).map_err(at(&table.path))?,
            Some(given) => rings_of(Some(&given.value), rings).map_err(at(given))?,
        };
        let (places, names): (Vec<usize>, _) = found.into_iter().unzip();
        let acknowledge = acknowledge(table, &places, rings)?;
        let mut units = match &table.units {
            None => Vec::new(),
            Some(given) => units(&given.value).map_err(at(given))?,
        };
        let asks = |unit: &UnitSettings| matches!(unit, UnitSettings::Authenticate { .. });
        let is_open = table.authenticate.as_ref().is_some_and(|given| !given.value);
        if let Some(given) = table.authenticate.as_ref().filter(|_| is_open)
            && units.iter().any(asks)
        {
            let (key, allowed) = ("route.authenticate", "true with the unit `authenticate`");
            return Err(ConfigError::value(given.origin, key, false, allowed));
        }
        if table.authenticate.as_ref().is_some_and(|given| given.value) && !units.iter().any(asks) {
            // Where an address that asks for credentials has it: see `Router::guarded`.
            let only_names = |unit: &&UnitSettings| {
                matches!(unit, UnitSettings::AccessLog | UnitSettings::RequestId { .. })
            };
            let place = units.iter().take_while(only_names).count();
            units.insert(place, UnitSettings::Authenticate { allowed: None });
        }
        let attributes = match &table.attributes {
            None => None,
            Some(given) => Some(attributes(&given.value, &pattern).map_err(at(given))?),
        };
        Ok(Self {
            methods,
            host,
            attributes,
            pattern,
            rings: places,
            names,
            type_tag: table.r#type.as_ref().map(|given| given.value),
            units,
            acknowledge,
            is_open,
        })
    }

    /// Whether it has the unit that asks for credentials.
    fn asks(&self) -> bool {
        self.units.iter().any(|unit| matches!(unit, UnitSettings::Authenticate { .. }))
    }

    fn describe(&self, table: &RouteTable) -> Section {
        let host = if let Host::Only(host) = &self.host { host.as_str() } else { "" };
        let name = format!("{} {host}{}", self.methods.join(","), self.pattern.as_str());
        let mut section = Section::one_of("[[route]]", name, table.path.origin);
        section.put("method", list(&self.methods), table.method.as_ref(), Change::Live);
        if let Host::Only(host) = &self.host {
            section.put("host", quoted(host), table.host.as_ref(), Change::Live);
        }
        section.put("path", quoted(self.pattern.as_str()), Some(&table.path), Change::Live);
        // A reload looks itself whether a ring gets attributes that had none.
        section.put("ring", list(&self.names), table.ring.as_ref(), Change::Live);
        if let Some(tag) = self.type_tag {
            section.put("type", tag.to_string(), table.r#type.as_ref(), Change::Live);
        }
        if let Some(names) = &self.attributes {
            section.put("attributes", list(names), table.attributes.as_ref(), Change::Live);
        }
        let level = table.acknowledge.as_ref();
        match &self.acknowledge {
            Acknowledge::Published => {
                section.put("acknowledge", quoted("published"), level, Change::Live);
            }
            Acknowledge::Consumed { by, within } => {
                section.put("acknowledge", quoted("consumed"), level, Change::Live);
                if let Some(by) = by {
                    let given = table.consumed_by.as_ref();
                    section.put("consumed_by", quoted(by), given, Change::Live);
                }
                let (time, given) = (written_time(*within), table.acknowledge_timeout_ms.as_ref());
                section.put("acknowledge_timeout_ms", time, given, Change::Live);
            }
        }
        // Without it a route does what the address does, which has no value of its own.
        if let Some(given) = &table.authenticate {
            section.put("authenticate", given.value.to_string(), Some(given), Change::Live);
        }
        let units: Vec<_> = self.units.iter().map(UnitSettings::written).collect();
        let units = format!("[{}]", units.join(", "));
        section.put("units", units, table.units.as_ref(), Change::Live);
        section
    }

    #[cfg_attr(
        not(any(
            feature = "xml",
            feature = "cbor",
            feature = "messagepack",
            feature = "protobuf"
        )),
        allow(unreachable_code, reason = "without any of them no conversion can be made")
    )]
    fn make(&self, credentials: Option<&Arc<dyn Credentials>>) -> Route {
        let units = self.units.iter().filter_map(|unit| -> Option<Arc<dyn Unit>> {
            Some(match unit {
                UnitSettings::AccessLog => Arc::new(AccessLog),
                UnitSettings::Authenticate { allowed } => {
                    Arc::new(Authenticate::new(Arc::clone(credentials?), allowed.clone()))
                }
                &UnitSettings::BodyLimit { max_bytes } => Arc::new(BodyLimit { max_bytes }),
                UnitSettings::Convert { conversion, .. } => Arc::new(Convert(conversion.clone())),
                #[cfg(feature = "decompress")]
                &UnitSettings::Decompress { max_bytes, max_ratio } => {
                    Arc::new(Decompress { max_bytes, max_ratio })
                }
                #[cfg(not(feature = "decompress"))]
                UnitSettings::Decompress { .. } => return None,
                &UnitSettings::Json { minify } => Arc::new(ValidJson { minify }),
                UnitSettings::RateLimit(limit) => Arc::<RateLimit>::clone(limit),
                &UnitSettings::RequestId { keeps } => Arc::new(RequestId::new(keeps)),
            })
        });
        Route {
            index: 0,
            methods: self.methods.clone(),
            host: self.host.clone(),
            pattern: self.pattern.clone(),
            rings: self.names.clone(),
            type_tag: self.type_tag,
            attributes: self.attributes.clone(),
            acknowledge: self.acknowledge.clone(),
            is_open: self.is_open,
            units: units.collect(),
        }
    }
}

/// Checks when the requests of a route are answered.
fn acknowledge(
    table: &RouteTable,
    places: &[usize],
    rings: &[RingSettings],
) -> Result<Acknowledge, ConfigError> {
    let level = table.acknowledge.as_ref();
    let within =
        time("route.acknowledge_timeout_ms", table.acknowledge_timeout_ms.as_ref(), WITHIN_MS, 1)?;
    match level.map(|given| given.value.as_str()) {
        None | Some("published") => {
            let lone = table.consumed_by.as_ref().map(|given| ("consumed_by", given.origin));
            let time = table.acknowledge_timeout_ms.as_ref();
            let lone = lone.or(time.map(|given| ("acknowledge_timeout_ms", given.origin)));
            match lone {
                None => Ok(Acknowledge::Published),
                Some((key, origin)) => {
                    let allowed = "this key with acknowledge = \"consumed\"";
                    Err(ConfigError::value(origin, format!("route.{key}"), "", allowed))
                }
            }
        }
        Some("consumed") => {
            if let Some(given) = &table.consumed_by {
                let names = places.iter().map(|place| &rings[*place]);
                let without = names.into_iter().find(|it| !it.subscriptions.contains(&given.value));
                if let Some(ring) = without {
                    let (name, names) = (&ring.name, ring.subscriptions.join(", "));
                    let allowed = format!("one of the subscriptions of ring {name}: {names}");
                    let key = "route.consumed_by";
                    return Err(ConfigError::value(given.origin, key, &given.value, allowed));
                }
            }
            let by = table.consumed_by.as_ref().map(|given| given.value.clone());
            Ok(Acknowledge::Consumed { by, within })
        }
        Some(other) => {
            let origin = level.map_or(Origin::Default, |given| given.origin);
            let allowed = "\"published\" or \"consumed\"";
            Err(ConfigError::value(origin, "route.acknowledge", other, allowed))
        }
    }
}

/// Checks the units of a route.
fn units(tables: &[UnitTable]) -> Result<Vec<UnitSettings>, ConfigError> {
    let mut is_known = false;
    let mut units = Vec::with_capacity(tables.len());
    for UnitTable(keys) in tables {
        let unit = keys.check()?;
        match unit {
            UnitSettings::Authenticate { .. } => is_known = true,
            UnitSettings::RateLimit(ref limit)
                if limit.settings().0 == Per::Credential && !is_known =>
            {
                let allowed = "\"credential\" after the unit `authenticate`";
                return Err(refused("route.units.per", "credential", allowed));
            }
            _ => {}
        }
        units.push(unit);
    }
    Ok(units)
}

/// Paths of pages.
const PAGES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn method(name: &str) -> Result<&'static str, ConfigError> {
    let known = METHODS.into_iter().find(|method| *method == name);
    known.ok_or_else(|| refused("route.method", name, METHODS.join(", ")))
}

fn is_host(name: &str) -> bool {
    let of_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(of_address),
        None => {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    }
}

/// Finds rings by name: their places and names, in the order of the configuration.
fn rings_of(
    given: Option<&OneOrMore>,
    rings: &[RingSettings],
) -> Result<Vec<(usize, String)>, ConfigError> {
    let known = || rings.iter().map(|ring| ring.name.as_str()).collect::<Vec<_>>().join(", ");
    let Some(OneOrMore(names)) = given else {
        return match rings {
            [only] => Ok(vec![(0, only.name.clone())]),
            _ => Err(refused("route.ring", "", format!("one of the rings {}", known()))),
        };
    };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let Some(place) = rings.iter().position(|ring| ring.name == *name) else {
            return Err(refused("route.ring", name, format!("one of the rings {}", known())));
        };
        if found.iter().any(|(other, _)| *other == place) {
            return Err(refused("route.ring", name, "rings that differ"));
        }
        found.push((place, name.clone()));
    }
    // The order in which they are locked.
    found.sort_unstable();
    Ok(found)
}

/// Attributes that only routes have, beside `:param.NAME`.
const OF_ROUTES: [&str; 4] = [":path", ":peer", ":request-id", ":credential"];

fn attributes(names: &[String], pattern: &Pattern) -> Result<Vec<String>, ConfigError> {
    for (index, name) in names.iter().enumerate() {
        let is_known = match name.strip_prefix(":param.") {
            Some(parameter) => pattern.parameters().iter().any(|known| known == parameter),
            None if name.starts_with(':') => OF_ROUTES.contains(&name.as_str()),
            None => {
                let token = |byte: u8| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)
                };
                !name.is_empty() && name.len() <= 255 && name.bytes().all(token)
            }
        };
        if !is_known {
            let allowed = "\":path\", \":peer\", \":request-id\", \":credential\", \":param.NAME\" of \
                           the path's parameters, and names of HTTP headers in lower case";
            return Err(refused("route.attributes", name.escape_debug(), allowed));
        }
        if names[..index].contains(name) {
            return Err(refused("route.attributes", name, "names that differ"));
        }
    }
    Ok(names.to_vec())
}

#[cfg(test)]
mod tests;
