//! The W3C trace context of a record: `00-TRACE-PARENT-FLAGS`, as its attribute `traceparent`.

use aqueduct_core::attributes::name::{TRACEPARENT, USER_PREFIX};
use aqueduct_core::{AttributeBlock, AttributeWriter};

use super::TRACEPARENT_BYTES;

/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;
/// Place of the digit that has this flag, in what has the length of version 00 at least.
const LAST_FLAGS_AT: usize = TRACEPARENT_BYTES - 1;

/// A trace that goes on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace. Not zero.
    pub trace_id: [u8; 16],
    /// The span that it comes from; zero if it begins here.
    pub parent_id: [u8; 8],
    /// Its flags.
    pub flags: u8,
}

impl Context {
    /// Reads the trace of a record that is recorded; `None` if there is none, or none that is to
    /// be.
    pub fn of(attributes: &AttributeBlock<'_>) -> Option<Self> {
        if attributes.is_empty() {
            return None;
        }
        let found = attributes.attributes().find(|one| is_traceparent(one.name))?;
        // Of most records nothing more is read.
        if !is_marked_sampled(found.value) {
            return None;
        }
        Self::parse(found.value).filter(|context| context.flags & SAMPLED != 0)
    }

    /// Reads a `traceparent`. What a later version adds at its end is left alone, as W3C asks for.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let mut version = [0];
        let (mut trace_id, mut parent_id, mut flags) = ([0; 16], [0; 8], [0]);
        let is_hex = hex(&known[..2], &mut version)
            && hex(&known[3..35], &mut trace_id)
            && hex(&known[36..52], &mut parent_id)
            && hex(&known[53..], &mut flags);
        let is_whole = match version[0] {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        let has_dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        (is_hex && has_dashes && is_whole && trace_id != [0; 16]).then_some(Self {
            trace_id,
            parent_id,
            flags: flags[0],
        })
    }

    /// Writes a `traceparent` that comes from this span.
    pub fn written(&self, span_id: [u8; 8]) -> [u8; TRACEPARENT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&self.trace_id, &mut text[3..35]);
        put_hex(&span_id, &mut text[36..52]);
        put_hex(&[self.flags], &mut text[53..]);
        text
    }

    /// Copies attributes, so that they come from this span. They do not get larger.
    pub fn continued<'r>(
        &self,
        attributes: &AttributeBlock<'_>,
        span_id: [u8; 8],
        room: &'r mut [u8],
    ) -> AttributeBlock<'r> {
        let ours = self.written(span_id);
        let mut is_first = true;
        let mut writer = AttributeWriter::new(room);
        for one in attributes.attributes() {
            let mut value = one.value;
            if is_first && is_traceparent(one.name) {
                is_first = false;
                // What a later version has at the end belongs to a span that is not ours.
                value = &ours;
            }
            // They fit where they were, and names of a block are text.
            let name = core::str::from_utf8(one.name).unwrap_or_default();
            let added = writer.add(name, value);
            debug_assert!(added.is_ok(), "attributes have lost their place");
        }
        writer.finish()
    }
}

/// Whether the last digit of the flags says that the trace is recorded, whatever else there is.
fn is_marked_sampled(value: &[u8]) -> bool {
    matches!(value.get(LAST_FLAGS_AT), Some(b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'))
}

/// Whether an attribute of this name is a trace context: a header of HTTP, a user property of MQTT.
fn is_traceparent(name: &[u8]) -> bool {
    let name = name.strip_prefix(USER_PREFIX.as_bytes()).unwrap_or(name);
    name == TRACEPARENT.as_bytes()
}

/// Reads digits in lower case, two for each byte.
fn hex(digits: &[u8], bytes: &mut [u8]) -> bool {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    digits.chunks_exact(2).zip(bytes).all(|(pair, byte)| {
        let value = digit(pair[0]).zip(digit(pair[1]));
        value.map(|(high, low)| *byte = (high << 4) | low).is_some()
    })
}

fn put_hex(bytes: &[u8], digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the W3C recommendation.
    const EXAMPLE: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_w3c_is_read_and_written() {
        let context = Context::parse(EXAMPLE).expect("it is one");
        assert_eq!(context.trace_id[..2], [0x4b, 0xf9]);
        assert_eq!(
            (context.parent_id, context.flags),
            ([0, 0xf0, 0x67, 0xaa, 0xb, 0xa9, 2, 0xb7], 1)
        );
        assert_eq!(context.written(context.parent_id), EXAMPLE);
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for bad in [
            &b""[..],
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert_eq!(Context::parse(bad), None, "{}", bad.escape_ascii());
        }
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what";
        assert_eq!(Context::parse(later), Context::parse(EXAMPLE));
    }

    #[test]
    fn attributes_that_go_on_differ_only_in_the_span() {
        let (mut room, mut ours) = ([0; 256], [0; 256]);
        for name in ["traceparent", "user:traceparent"] {
            let values = [("a", &b"1"[..]), (name, EXAMPLE), ("z", b"")];
            let block = AttributeBlock::write(values, &mut room).expect("it fits");
            let context = Context::of(&block).expect("sampled");
            let continued = context.continued(&block, [0xab; 8], &mut ours);
            assert_eq!(continued.as_bytes().len(), block.as_bytes().len());
            let expected = b"00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01";
            let values = [("a", &b"1"[..]), (name, expected), ("z", b"")];
            let mut room = [0; 256];
            assert_eq!(continued, AttributeBlock::write(values, &mut room).expect("it fits"));
        }
    }

    #[test]
    fn a_look_at_one_digit_says_what_reading_all_of_them_does() {
        for version in ["00", "cc"] {
            for flags in 0..=u8::MAX {
                let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
                let value = format!("{version}-{ids}-{flags:02x}");
                let parsed = Context::parse(value.as_bytes()).expect("well formed");
                assert_eq!(
                    is_marked_sampled(value.as_bytes()),
                    parsed.flags & SAMPLED != 0,
                    "{value}"
                );
                let mut room = [0; 128];
                let attributes = [("traceparent", value.as_bytes())];
                let block = AttributeBlock::write(attributes, &mut room).expect("it fits");
                assert_eq!(Context::of(&block).is_some(), flags & SAMPLED != 0, "{value}");
            }
        }
        assert!(!is_marked_sampled(&EXAMPLE[..LAST_FLAGS_AT]));
    }

    #[test]
    fn a_trace_that_is_not_recorded_is_left_alone() {
        let mut room = [0; 128];
        let value = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let block = AttributeBlock::write([("traceparent", &value[..])], &mut room).unwrap();
        assert_eq!(Context::of(&block), None);
        assert_eq!(Context::of(&AttributeBlock::NONE), None);
    }
}
