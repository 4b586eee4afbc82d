//! PUBLISH (§3.3).

use super::connect::Version;
use super::property::{self, Owner};
use super::reason::Code;
use super::topic;
use super::wire::Reader;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Publish<'a> {
    /// To be acknowledged under this identifier: quality of service 1.
    pub(super) id: Option<u16>,
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    /// With their length; empty for 3.1.1.
    pub(super) properties: &'a [u8],
}

/// Reads what follows the fixed header with these flags.
pub(super) fn read(packet: &[u8], flags: u8, version: Version) -> Result<Publish<'_>, Code> {
    let (is_duplicate, quality, is_retained) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
    // MQTT-3.3.1-2, -4.
    if quality == 3 || is_duplicate && quality == 0 {
        return Err(Code::Malformed);
    }
    // Said in CONNACK; there is no way to say it to a client of 3.1.1, whose messages are taken
    // without being retained.
    if version == Version::Five && is_retained {
        return Err(Code::Retain);
    }
    if quality == 2 {
        return Err(Code::QualityOfService);
    }
    let mut reader = Reader(packet);
    let topic = reader.text()?;
    let id = if quality > 0 { Some(reader.id()?) } else { None };
    let before = reader.0;
    if version == Version::Five
        && property::read(&mut reader, Owner::Publish)?.topic_alias.is_some()
    {
        // CONNACK allowed none.
        return Err(Code::TopicAlias);
    }
    let properties = &before[..before.len() - reader.0.len()];
    if !topic::is_name(topic) {
        return Err(Code::TopicName);
    }
    Ok(Publish { id, topic, payload: reader.0, properties })
}
