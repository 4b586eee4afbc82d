//! How a record is written: for people, as bytes in hexadecimal, as JSON, or as it is.

use std::fmt::Write as _;
use std::io::{self, Write};

use aqueduct_client::{Attributes, Record};
use aqueduct_core::layout::CLOCK_REALTIME;
use clap::ValueEnum;

use crate::cli::text::{self, written};

/// Bytes in a line of hexadecimal digits.
const HEX_BYTES: usize = 16;

/// Shape of the output.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A line per record: number, time, type, attributes, payload with escapes
    Text,
    /// That without the payload, which follows as a hex dump
    Hex,
    /// An object per line: epoch, seq, type, time, attributes, and data as text or data_base64;
    /// also for what was missed or damaged
    Json,
    /// Payloads, each with a line feed
    Raw,
}

/// The ring that a record comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) epoch: u64,
    pub(super) clock_id: u32,
}

impl Format {
    /// Writes one record.
    pub(super) fn write(
        self,
        out: &mut impl Write,
        origin: Origin,
        record: &Record,
        payload: &[u8],
        attributes: Attributes<'_>,
    ) -> io::Result<()> {
        match self {
            Self::Raw => out.write_all(payload)?,
            Self::Json => return object(out, origin, record, payload, attributes),
            Self::Text => {
                let head = head(origin, record, attributes);
                write!(out, "{head} {}", Escaped(payload))?;
            }
            Self::Hex => {
                let head = head(origin, record, attributes);
                write!(out, "{head} {} bytes", payload.len())?;
                hex(out, payload)?;
            }
        }
        out.write_all(b"\n")
    }
}

fn head(origin: Origin, record: &Record, attributes: Attributes<'_>) -> String {
    let time = if origin.clock_id == CLOCK_REALTIME && record.timestamp_ns != 0 {
        written(record.timestamp_ns)
    } else {
        record.timestamp_ns.to_string()
    };
    let mut head = format!("{} {time} {}", record.seq, record.type_tag);
    for attribute in attributes {
        // Writing to a string cannot fail.
        let _ = write!(head, " {}={}", Escaped(attribute.name), Escaped(attribute.value));
    }
    head
}

/// Bytes as text: what a terminal could obey, and what is not UTF-8, as escapes.
struct Escaped<'b>(&'b [u8]);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\\' => f.write_str("\\\\")?,
                    character if character.is_control() => {
                        write!(f, "{}", character.escape_default())?;
                    }
                    character => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

fn hex(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    for (line, bytes) in payload.chunks(HEX_BYTES).enumerate() {
        write!(out, "\n  {:08x} ", line * HEX_BYTES)?;
        for at in 0..HEX_BYTES {
            match bytes.get(at) {
                Some(byte) => write!(out, " {byte:02x}")?,
                None => out.write_all(b"   ")?,
            }
        }
        let is_plain = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let text: String =
            bytes.iter().map(|&byte| if is_plain(byte) { char::from(byte) } else { '.' }).collect();
        write!(out, "  {text}")?;
    }
    Ok(())
}

fn object(
    out: &mut impl Write,
    origin: Origin,
    record: &Record,
    payload: &[u8],
    attributes: Attributes<'_>,
) -> io::Result<()> {
    let Record { seq, type_tag, timestamp_ns, .. } = *record;
    write!(out, "{{\"epoch\":\"{:016x}\",\"seq\":{seq},\"type\":{type_tag},", origin.epoch)?;
    if origin.clock_id == CLOCK_REALTIME {
        write!(out, "\"time\":\"{}\"", written(timestamp_ns))?;
    } else {
        write!(out, "\"timestamp_ns\":{timestamp_ns}")?;
    }
    text::attributes(out, attributes)?;
    text::value(out, "data", payload)?;
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use aqueduct_core::attributes::AttributeBlock;

    use super::*;

    fn shown(format: Format, payload: &[u8], attributes: &[(&str, &[u8])]) -> String {
        let mut room = [0; 256];
        let block = AttributeBlock::write(attributes.iter().copied(), &mut room).expect("they fit");
        let record = Record {
            seq: 3,
            timestamp_ns: 1_795_946_400_000_000_000,
            len: payload.len(),
            type_tag: 7,
            flags: 0,
            attribute_units: 0,
            position: 0,
        };
        let origin = Origin { epoch: 0x5eed, clock_id: CLOCK_REALTIME };
        let mut out = Vec::new();
        format.write(&mut out, origin, &record, payload, block.attributes()).expect("a buffer");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_record_has_a_line_and_nothing_in_it_can_steer_a_terminal() {
        assert_eq!(
            shown(Format::Text, b"a\x1b[2J\n\\\xff\xc3\xa9", &[(":path", b"/v1")]),
            "3 2026-11-29T10:00:00.000000000Z 7 :path=/v1 a\\u{1b}[2J\\n\\\\\\xffé\n"
        );
    }

    #[test]
    fn json_has_attributes_in_order_and_base64_where_it_is_no_text() {
        assert_eq!(
            shown(Format::Json, b"\xff", &[("a", b"1"), ("a", b"\xfe")]),
            "{\"epoch\":\"0000000000005eed\",\"seq\":3,\"type\":7,\
             \"time\":\"2026-11-29T10:00:00.000000000Z\",\"attributes\":[\
             {\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value_base64\":\"/g==\"}],\
             \"data_base64\":\"/w==\"}\n"
        );
        assert!(shown(Format::Json, b"x", &[]).ends_with("Z\",\"data\":\"x\"}\n"));
    }

    #[test]
    fn hex_has_sixteen_bytes_a_line() {
        let text = shown(Format::Hex, b"0123456789abcdef\n", &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], "3 2026-11-29T10:00:00.000000000Z 7 17 bytes");
        assert_eq!(
            lines[1],
            "  00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef"
        );
        assert!(lines[2].starts_with("  00000010  0a   ") && lines[2].ends_with("  ."));
    }
}
