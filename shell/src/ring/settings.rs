//! The `[[ring]]` tables of the configuration.

use std::time::Duration;

use aqueduct_core::geometry::max_payload_for;
use aqueduct_core::layout::{
    CLOCK_MONOTONIC, CLOCK_REALTIME, DATA_OFFSET_MAPPED, GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY,
    RING_NAME_BYTES, SUBSCRIPTION_NAME_BYTES,
};
use serde::Deserialize;

use crate::config::{
    Change, ConfigError, Given, Millis, Origin, Section, Size, list, number, quoted, time,
    written_size, written_time,
};
use crate::journal::Durability;

/// Data area of a ring that says nothing else, bytes.
const CAPACITY_BYTES_DEFAULT: u64 = 16 << 20;
/// Largest payload of a ring that says nothing else and is large enough, bytes. It bounds what one
/// request may hold in memory.
const MAX_PAYLOAD_BYTES_DEFAULT: u64 = 1 << 20;
/// How far a subscription may lag where nothing else is said, bytes.
const LAG_BYTES_DEFAULT: u64 = 1 << 30;
/// The farthest: what was not released begins a new epoch, at positions of 32 bits.
const LAG_BYTES_MAX: u64 = 64 << 30;
/// Most subscriptions of one ring.
pub const MAX_SUBSCRIPTIONS: usize = 64;

/// Clock of a ring's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockName {
    /// Nanoseconds since the Unix epoch.
    Realtime,
    /// Nanoseconds of the machine's monotonic clock.
    Monotonic,
}

impl ClockName {
    /// Returns its number in the ring's header.
    pub const fn id(self) -> u32 {
        match self {
            Self::Realtime => CLOCK_REALTIME,
            Self::Monotonic => CLOCK_MONOTONIC,
        }
    }

    /// Names it as the configuration does.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Realtime => "realtime",
            Self::Monotonic => "monotonic",
        }
    }
}

/// One `[[ring]]` as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingTable {
    /// Its name.
    pub name: Given<String>,
    /// Size of its data area.
    pub capacity_bytes: Option<Given<Size>>,
    /// Largest payload.
    pub max_payload_bytes: Option<Given<Size>>,
    /// How long a record waits for space.
    pub full_wait_ms: Option<Given<Millis>>,
    /// Clock of the timestamps.
    pub clock: Option<Given<ClockName>>,
    /// What its records survive.
    pub durability: Option<Given<Durability>>,
    /// Its subscriptions.
    pub subscriptions: Option<Given<Vec<String>>>,
    /// Those of them that may lag behind the ring.
    pub lagging: Option<Given<Vec<String>>>,
    /// How far.
    pub lag_bytes: Option<Given<Size>>,
}

impl RingTable {
    /// A ring that is named, and no more.
    pub fn named(name: Given<String>) -> Self {
        Self {
            name,
            capacity_bytes: None,
            max_payload_bytes: None,
            full_wait_ms: None,
            clock: None,
            durability: None,
            subscriptions: None,
            lagging: None,
            lag_bytes: None,
        }
    }
}

/// What flags and environment say of every ring.
#[derive(Clone, Debug, Default)]
pub struct RingFlags {
    /// Rings to make instead of those of the file.
    pub names: Option<Given<Vec<String>>>,
    /// Replaces the capacity of every ring.
    pub capacity_bytes: Option<Given<Size>>,
    /// Replaces the largest payload of every ring.
    pub max_payload_bytes: Option<Given<Size>>,
    /// Replaces the wait of every ring.
    pub full_wait_ms: Option<Given<Millis>>,
    /// Replaces the subscriptions of every ring.
    pub subscriptions: Option<Given<Vec<String>>>,
}

/// One ring, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingSettings {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// 32 times a power of two.
    pub capacity_bytes: u64,
    /// At most what the capacity allows.
    pub max_payload_bytes: u32,
    /// How long a record waits for space.
    pub full_wait: Duration,
    /// Clock of the timestamps.
    pub clock: ClockName,
    /// What its records survive.
    pub durability: Durability,
    /// At least one, distinct.
    pub subscriptions: Vec<String>,
    /// Those of them that may lag behind the ring, and are fed from its journal.
    pub lagging: Vec<String>,
    /// How far they may, bytes: at least twice the capacity, so that the largest batch finds room.
    pub lag_bytes: u64,
    /// Its records may have attributes, because an address that keeps some can bring them.
    pub has_attributes: bool,
}

impl RingFlags {
    /// Puts the flags over the rings of the file; one ring named `default` if neither names any.
    pub fn put_over(&self, file: &mut Vec<RingTable>) {
        if let Some(Given { value: names, origin }) = &self.names {
            let named = |name: &String| Given { value: name.clone(), origin: *origin };
            *file = names.iter().map(|name| RingTable::named(named(name))).collect();
        }
        if file.is_empty() {
            file.push(RingTable::named(Given::by_default("default".to_owned())));
        }
        for ring in file {
            fn put<T: Clone>(to: &mut Option<Given<T>>, flag: Option<&Given<T>>) {
                if let Some(given) = flag {
                    *to = Some(given.clone());
                }
            }
            put(&mut ring.capacity_bytes, self.capacity_bytes.as_ref());
            put(&mut ring.max_payload_bytes, self.max_payload_bytes.as_ref());
            put(&mut ring.full_wait_ms, self.full_wait_ms.as_ref());
            put(&mut ring.subscriptions, self.subscriptions.as_ref());
        }
    }
}

impl RingSettings {
    /// Checks all rings; one named `default` if there are none.
    pub fn check(tables: &[RingTable]) -> Result<Vec<Self>, ConfigError> {
        let default = [RingTable::named(Given::by_default("default".to_owned()))];
        let tables = if tables.is_empty() { &default } else { tables };
        let mut rings: Vec<Self> = Vec::with_capacity(tables.len());
        for table in tables {
            let Given { value: name, origin } = &table.name;
            check_name(*origin, "ring", name, RING_NAME_BYTES)?;
            if rings.iter().any(|other| other.name == *name) {
                return Err(ConfigError::value(*origin, "ring", name, "names that differ"));
            }
            rings.push(Self::check_one(table)?);
        }
        Ok(rings)
    }

    /// Lists what is in effect.
    pub fn describe(&self, table: &RingTable) -> Section {
        const MAPPED: Change = Change::Fixed("readers have the ring mapped as it is");
        let mut section = Section::one_of("[[ring]]", self.name.clone(), table.name.origin);
        section.put("name", quoted(&self.name), Some(&table.name), MAPPED);
        let capacity = written_size(self.capacity_bytes);
        section.put("capacity_bytes", capacity, table.capacity_bytes.as_ref(), MAPPED);
        let largest = written_size(self.max_payload_bytes.into());
        section.put("max_payload_bytes", largest, table.max_payload_bytes.as_ref(), MAPPED);
        let wait = written_time(self.full_wait);
        section.put("full_wait_ms", wait, table.full_wait_ms.as_ref(), Change::Live);
        section.put("clock", quoted(self.clock.as_str()), table.clock.as_ref(), MAPPED);
        let opened = Change::Fixed("journals are opened at the start");
        let survives = quoted(self.durability.as_str());
        section.put("durability", survives, table.durability.as_ref(), opened);
        let names = list(&self.subscriptions);
        let held = Change::Fixed("subscriptions hold records back from the start");
        section.put("subscriptions", names, table.subscriptions.as_ref(), held);
        section.put("lagging", list(&self.lagging), table.lagging.as_ref(), held);
        let far = written_size(self.lag_bytes);
        section.put("lag_bytes", far, table.lag_bytes.as_ref(), held);
        section
    }

    /// Returns how much memory the ring takes, bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.capacity_bytes + u64::from(DATA_OFFSET_MAPPED)
    }

    /// Returns how much it takes with those that readers have for themselves, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.segment_bytes().saturating_mul(1 + self.lagging.len() as u64)
    }

    fn check_one(table: &RingTable) -> Result<Self, ConfigError> {
        let name = &table.name.value;
        let key = |key: &str| format!("ring {name}: {key}");
        let granule = GRANULE_BYTES as u64;
        let (least, most) = (u64::from(MIN_CAPACITY) * granule, u64::from(MAX_CAPACITY) * granule);
        let (capacity_bytes, origin) = table
            .capacity_bytes
            .as_ref()
            .map_or((CAPACITY_BYTES_DEFAULT, Origin::Default), |given| {
                (given.value.0, given.origin)
            });
        if !(least..=most).contains(&capacity_bytes) || !capacity_bytes.is_power_of_two() {
            let allowed = format!("32 times a power of two, {least} to {most}, as 16MiB");
            return Err(ConfigError::value(origin, key("capacity_bytes"), capacity_bytes, allowed));
        }
        let granules = u32::try_from(capacity_bytes / granule).unwrap_or(MAX_CAPACITY);
        let limit = u64::from(max_payload_for(granules));
        let max_payload = number(
            &key("max_payload_bytes"),
            table.max_payload_bytes.as_ref(),
            limit.min(MAX_PAYLOAD_BYTES_DEFAULT),
            1..=limit,
        )?;
        let full_wait = time(&key("full_wait_ms"), table.full_wait_ms.as_ref(), 1000, 0)?;
        let durability = table.durability.as_ref().map_or(Durability::Memory, |given| given.value);
        // The journal is a subscription of its own.
        let most = MAX_SUBSCRIPTIONS - usize::from(durability != Durability::Memory);
        let subscriptions =
            check_subscriptions(&key("subscriptions"), table.subscriptions.as_ref(), most)?;
        let lagging = check_lagging(&key("lagging"), table, durability, &subscriptions)?;
        let lag_bytes = check_lag_bytes(&key("lag_bytes"), table, capacity_bytes)?;
        Ok(Self {
            capacity_bytes,
            max_payload_bytes: u32::try_from(max_payload).unwrap_or(u32::MAX),
            full_wait,
            clock: table.clock.as_ref().map_or(ClockName::Realtime, |given| given.value),
            durability,
            subscriptions,
            lagging,
            lag_bytes,
            has_attributes: false,
            name: name.clone(),
        })
    }
}

fn check_subscriptions(
    key: &str,
    given: Option<&Given<Vec<String>>>,
    most: usize,
) -> Result<Vec<String>, ConfigError> {
    let Some(Given { value: names, origin }) = given else { return Ok(vec!["default".to_owned()]) };
    for (index, name) in names.iter().enumerate() {
        check_name(*origin, key, name, SUBSCRIPTION_NAME_BYTES)?;
        if names[..index].contains(name) {
            return Err(ConfigError::value(*origin, key, name, "names that differ"));
        }
    }
    if !(1..=most).contains(&names.len()) {
        return Err(ConfigError::value(
            *origin,
            key,
            format!("{} names", names.len()),
            format!("1 to {most} names"),
        ));
    }
    Ok(names.clone())
}

fn check_lagging(
    key: &str,
    table: &RingTable,
    durability: Durability,
    subscriptions: &[String],
) -> Result<Vec<String>, ConfigError> {
    let Some(Given { value: names, origin }) = &table.lagging else { return Ok(Vec::new()) };
    for (index, name) in names.iter().enumerate() {
        if !subscriptions.contains(name) {
            let allowed = format!("subscriptions of the ring: {}", subscriptions.join(", "));
            return Err(ConfigError::value(*origin, key, name.escape_debug(), allowed));
        }
        if names[..index].contains(name) {
            return Err(ConfigError::value(*origin, key, name, "names that differ"));
        }
    }
    if durability == Durability::Memory && !names.is_empty() {
        let allowed = "nobody, or a ring with durability = \"process\" or \"disk\": they are fed \
                       from its journal";
        return Err(ConfigError::value(*origin, key, list(names), allowed));
    }
    Ok(names.clone())
}

fn check_lag_bytes(key: &str, table: &RingTable, capacity: u64) -> Result<u64, ConfigError> {
    let least = 2 * capacity;
    let default = LAG_BYTES_DEFAULT.max(least);
    let Some(Given { value: Size(bytes), origin }) = table.lag_bytes else { return Ok(default) };
    if !(least..=LAG_BYTES_MAX).contains(&bytes) {
        let (least, most) = (written_size(least), written_size(LAG_BYTES_MAX));
        let allowed = format!("twice the capacity of the ring, {least}, to {most}");
        return Err(ConfigError::value(origin, key, bytes, allowed));
    }
    Ok(bytes)
}

fn check_name(origin: Origin, key: &str, name: &str, most: usize) -> Result<(), ConfigError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=most).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let allowed = format!("1 to {most} of A-Z a-z 0-9 . _ -");
    Err(ConfigError::value(origin, key, name.escape_debug(), allowed))
}

#[cfg(test)]
mod tests;
