//! CONNECT (§3.1) of MQTT 3.1.1 and 5.

use super::property::{self, Owner, Properties};
use super::reason::Code;
use super::topic;
use super::wire::Reader;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    Three,
    /// MQTT 5.
    Five,
}

/// What a client says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Connect<'a> {
    pub(super) version: Version,
    pub(super) is_clean: bool,
    /// Seconds; 0 is no limit.
    pub(super) keep_alive: u16,
    pub(super) properties: Properties,
    pub(super) client_id: &'a str,
    pub(super) will: Option<Will<'a>>,
    pub(super) name: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
}

/// What is to be published when the client is gone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Will<'a> {
    pub(super) quality: u8,
    pub(super) is_retained: bool,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    /// With their length; empty for 3.1.1.
    pub(super) properties: &'a [u8],
}

/// Why a CONNECT is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadConnect {
    /// It is no MQTT at all, or broken before its version was known.
    NotMqtt,
    /// MQTT of another version.
    OtherVersion,
    /// It breaks the rules of its version.
    Refused(Version, Code),
}

/// Reads what follows the fixed header.
pub(super) fn read(packet: &[u8]) -> Result<Connect<'_>, BadConnect> {
    let mut reader = Reader(packet);
    let name = reader.text().map_err(|_| BadConnect::NotMqtt)?;
    let level = reader.byte().map_err(|_| BadConnect::NotMqtt)?;
    let version = match (name, level) {
        ("MQTT", 4) => Version::Three,
        ("MQTT", 5) => Version::Five,
        ("MQTT", _) | ("MQIsdp", 3) => return Err(BadConnect::OtherVersion),
        _ => return Err(BadConnect::NotMqtt),
    };
    rest(&mut reader, version).map_err(|code| BadConnect::Refused(version, code))
}

fn rest<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Connect<'a>, Code> {
    let flags = reader.byte()?;
    let has = |bit: u8| flags & 1 << bit != 0;
    let (quality, is_retained) = (flags >> 3 & 3, has(5));
    let (has_password, has_name) = (has(6), has(7));
    let will_flags_are_good = if has(2) { quality < 3 } else { quality == 0 && !is_retained };
    // MQTT-3.1.2-22 of 3.1.1: no password without a name.
    if has(0) || !will_flags_are_good || version == Version::Three && has_password && !has_name {
        return Err(Code::Malformed);
    }
    let keep_alive = reader.two()?;
    let properties = match version {
        Version::Three => Properties::default(),
        Version::Five => property::read(reader, Owner::Connect)?,
    };
    let client_id = reader.text()?;
    let will = if has(2) { Some(will(reader, version, quality, is_retained)?) } else { None };
    let name = if has_name { Some(reader.text()?) } else { None };
    let password = if has_password { Some(reader.binary()?) } else { None };
    if !reader.is_empty() {
        return Err(Code::Malformed);
    }
    let is_clean = has(1);
    Ok(Connect { version, is_clean, keep_alive, properties, client_id, will, name, password })
}

fn will<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    quality: u8,
    is_retained: bool,
) -> Result<Will<'a>, Code> {
    let before = reader.0;
    if version == Version::Five {
        property::read(reader, Owner::Will)?;
    }
    let properties = &before[..before.len() - reader.0.len()];
    let (topic, payload) = (reader.text()?, reader.binary()?);
    if !topic::is_name(topic) {
        return Err(Code::TopicName);
    }
    Ok(Will { quality, is_retained, topic, payload, properties })
}
