//! The `[[ring]]` tables of the configuration.

use std::time::Duration;

use aqueduct_core::geometry::max_payload_for;
use aqueduct_core::layout::{
    DATA_OFFSET_MAPPED, GRANULE_BYTES, MAX_CAPACITY, MIN_CAPACITY, RING_NAME_BYTES,
    SUBSCRIPTION_NAME_BYTES,
};
use serde::Deserialize;

use crate::config::{ConfigError, Given, Millis, Origin, Size, number, time};

/// Data area of a ring that says nothing else, bytes.
const CAPACITY_BYTES_DEFAULT: u64 = 16 << 20;
/// Largest payload of a ring that says nothing else and is large enough, bytes. It bounds what one
/// request may hold in memory.
const MAX_PAYLOAD_BYTES_DEFAULT: u64 = 1 << 20;
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

/// One `[[ring]]` as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingTable {
    /// Its name.
    pub name: String,
    /// Size of its data area.
    pub capacity_bytes: Option<Given<Size>>,
    /// Largest payload.
    pub max_payload_bytes: Option<Given<Size>>,
    /// How long a record waits for space.
    pub full_wait_ms: Option<Given<Millis>>,
    /// Clock of the timestamps.
    pub clock: Option<ClockName>,
    /// Its subscriptions.
    pub subscriptions: Option<Given<Vec<String>>>,
}

/// What the flags say of every ring.
#[derive(Clone, Debug, Default)]
pub struct RingFlags {
    /// Rings to make instead of those of the file.
    pub names: Vec<String>,
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
    /// At least one, distinct.
    pub subscriptions: Vec<String>,
    /// Its records may have attributes, because an address that keeps some can bring them.
    pub has_attributes: bool,
}

impl RingSettings {
    /// Checks all rings of the file, with the flags over them; one ring named `default` if neither
    /// names any.
    pub fn check(file: &[RingTable], flags: &RingFlags) -> Result<Vec<Self>, ConfigError> {
        let table_of = |name: &str| RingTable { name: name.to_owned(), ..RingTable::default() };
        let (tables, origin) = match (&flags.names[..], file) {
            ([], []) => (vec![table_of("default")], Origin::Default),
            ([], file) => (file.to_vec(), Origin::File),
            (names, _) => {
                (names.iter().map(|name| table_of(name)).collect(), Origin::Flag("--ring"))
            }
        };
        let mut rings: Vec<Self> = Vec::with_capacity(tables.len());
        for table in tables {
            check_name(origin, "ring", &table.name, RING_NAME_BYTES)?;
            if rings.iter().any(|other| other.name == table.name) {
                return Err(ConfigError::value(origin, "ring", &table.name, "names that differ"));
            }
            rings.push(Self::check_one(table, flags)?);
        }
        Ok(rings)
    }

    /// Returns how much memory the ring takes, bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.capacity_bytes + u64::from(DATA_OFFSET_MAPPED)
    }

    fn check_one(table: RingTable, flags: &RingFlags) -> Result<Self, ConfigError> {
        let name = table.name;
        let key = |key: &str| format!("ring {name}: {key}");
        let granule = GRANULE_BYTES as u64;
        let (least, most) = (u64::from(MIN_CAPACITY) * granule, u64::from(MAX_CAPACITY) * granule);
        let capacity = flags.capacity_bytes.clone().or(table.capacity_bytes);
        let (capacity_bytes, origin) = capacity
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
            flags.max_payload_bytes.as_ref().or(table.max_payload_bytes.as_ref()),
            limit.min(MAX_PAYLOAD_BYTES_DEFAULT),
            1..=limit,
        )?;
        let full_wait = flags.full_wait_ms.as_ref().or(table.full_wait_ms.as_ref());
        let full_wait = time(&key("full_wait_ms"), full_wait, 1000, 0)?;
        let subscriptions = check_subscriptions(
            &key("subscriptions"),
            flags.subscriptions.as_ref().or(table.subscriptions.as_ref()),
        )?;
        Ok(Self {
            capacity_bytes,
            max_payload_bytes: u32::try_from(max_payload).unwrap_or(u32::MAX),
            full_wait,
            clock: table.clock.unwrap_or(ClockName::Realtime),
            subscriptions,
            has_attributes: false,
            name,
        })
    }
}

fn check_subscriptions(
    key: &str,
    given: Option<&Given<Vec<String>>>,
) -> Result<Vec<String>, ConfigError> {
    let Some(Given { value: names, origin }) = given else { return Ok(vec!["default".to_owned()]) };
    for (index, name) in names.iter().enumerate() {
        check_name(*origin, key, name, SUBSCRIPTION_NAME_BYTES)?;
        if names[..index].contains(name) {
            return Err(ConfigError::value(*origin, key, name, "names that differ"));
        }
    }
    if !(1..=MAX_SUBSCRIPTIONS).contains(&names.len()) {
        return Err(ConfigError::value(
            *origin,
            key,
            format!("{} names", names.len()),
            format!("1 to {MAX_SUBSCRIPTIONS} names"),
        ));
    }
    Ok(names.clone())
}

fn check_name(origin: Origin, key: &str, name: &str, most: usize) -> Result<(), ConfigError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=most).contains(&name.len()) && name.bytes().all(good) {
        return Ok(());
    }
    let allowed = format!("1 to {most} of A-Z a-z 0-9 . _ -");
    Err(ConfigError::value(origin, key, name.escape_debug(), allowed))
}
