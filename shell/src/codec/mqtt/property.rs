//! Properties of MQTT 5 packets (§2.2.2).

use super::reason::Code;
use super::topic;
use super::wire::Reader;

/// Which packet a block of properties belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Connect,
    Will,
    Publish,
    Subscribe,
    Unsubscribe,
    /// PUBREL.
    Release,
    Disconnect,
}

/// What matters of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    /// Seconds for which a session is wanted after the connection.
    pub(super) session_expiry: Option<u32>,
    /// Largest packet that the client takes.
    pub(super) max_packet_bytes: Option<u32>,
    /// An authentication method is named.
    pub(super) has_method: bool,
    pub(super) topic_alias: Option<u16>,
}

/// Reads a block with its length. `None` is a property that the packet has not.
pub(super) fn read(reader: &mut Reader<'_>, owner: Owner) -> Result<Properties, Code> {
    let length = usize::try_from(reader.variable()?).unwrap_or(usize::MAX);
    let mut block = Reader(reader.take(length)?);
    let (mut found, mut seen, mut has_data) = (Properties::default(), 0_u64, false);
    while !block.is_empty() {
        // All identifiers of the standard are one byte.
        let id = u8::try_from(block.variable()?).map_err(|_| Code::Malformed)?;
        if !is_of(id, owner)? {
            return Err(Code::Protocol);
        }
        // A user property may be there many times, everything else once.
        if id != 0x26 && seen & 1 << id != 0 {
            return Err(Code::Protocol);
        }
        seen |= 1 << id;
        match id {
            0x01 | 0x17 | 0x19 => {
                if block.byte()? > 1 {
                    return Err(Code::Protocol);
                }
            }
            0x02 | 0x18 => {
                block.four()?;
            }
            0x03 | 0x1f => {
                block.text()?;
            }
            0x08 => {
                if !topic::is_name(block.text()?) {
                    return Err(Code::Protocol);
                }
            }
            0x09 => {
                block.binary()?;
            }
            0x0b => {
                if block.variable()? == 0 {
                    return Err(Code::Protocol);
                }
            }
            0x11 => found.session_expiry = Some(block.four()?),
            0x15 => {
                block.text()?;
                found.has_method = true;
            }
            0x16 => {
                block.binary()?;
                has_data = true;
            }
            0x21 => {
                if block.two()? == 0 {
                    return Err(Code::Protocol);
                }
            }
            0x22 => {
                block.two()?;
            }
            0x23 => found.topic_alias = Some(block.two()?),
            0x26 => {
                block.text()?;
                block.text()?;
            }
            0x27 => match block.four()? {
                0 => return Err(Code::Protocol),
                bytes => found.max_packet_bytes = Some(bytes),
            },
            _ => return Err(Code::Malformed),
        }
    }
    if has_data && !found.has_method { Err(Code::Protocol) } else { Ok(found) }
}

/// Gives the content type and the user properties of a block that [`read`] has accepted, with its
/// length.
pub(super) fn for_each_text<E>(
    block: &[u8],
    collector: &mut impl FnMut(Option<&str>, &str) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader(block);
    // Nothing here fails, for it did not when the block was read.
    let _ = reader.variable();
    while let Ok(id) = reader.variable() {
        let skipped = match id {
            0x01 | 0x17 | 0x19 => reader.byte().map(drop),
            0x02 | 0x11 | 0x18 | 0x27 => reader.four().map(drop),
            0x09 | 0x16 => reader.binary().map(drop),
            0x0b => reader.variable().map(drop),
            0x21..=0x23 => reader.two().map(drop),
            0x03 | 0x26 => {
                let Ok(first) = reader.text() else { return Ok(()) };
                if id == 0x03 {
                    collector(None, first)?;
                } else if let Ok(second) = reader.text() {
                    collector(Some(first), second)?;
                }
                Ok(())
            }
            _ => reader.text().map(drop),
        };
        if skipped.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether a client's packet may have the property; malformed if no packet has it.
fn is_of(id: u8, owner: Owner) -> Result<bool, Code> {
    Ok(match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => matches!(owner, Owner::Publish | Owner::Will),
        0x0b => owner == Owner::Subscribe,
        0x11 => matches!(owner, Owner::Connect | Owner::Disconnect),
        0x15 | 0x16 | 0x17 | 0x19 | 0x21 | 0x22 | 0x27 => owner == Owner::Connect,
        0x18 => owner == Owner::Will,
        0x1f => matches!(owner, Owner::Release | Owner::Disconnect),
        0x23 => owner == Owner::Publish,
        0x26 => true,
        // A server's.
        0x12 | 0x13 | 0x1a | 0x1c | 0x24 | 0x25 | 0x28..=0x2a => false,
        _ => return Err(Code::Malformed),
    })
}
