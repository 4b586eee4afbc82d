//! The data types of MQTT (§1.5): integers, lengths, strings.

use super::reason::Code;

/// The front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FixedHeader {
    /// Packet type, 1 to 15 (0 is never valid).
    pub(super) kind: u8,
    /// The lower four bits of the first byte.
    pub(super) flags: u8,
    /// Bytes of this header.
    pub(super) bytes: usize,
    /// Bytes of the packet after it.
    pub(super) remaining: usize,
}

impl FixedHeader {
    /// Reads the header at the front of `input`; `None` if it is not complete.
    pub(super) fn read(input: &[u8]) -> Result<Option<Self>, Code> {
        let Some((first, rest)) = input.split_first() else { return Ok(None) };
        let mut remaining = 0;
        for (index, byte) in rest.iter().take(4).enumerate() {
            remaining |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                let (kind, flags) = (first >> 4, first & 15);
                return Ok(Some(Self { kind, flags, bytes: index + 2, remaining }));
            }
        }
        if rest.len() < 4 { Ok(None) } else { Err(Code::Malformed) }
    }
}

/// The rest of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Code> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Code::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Code> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn two(&mut self) -> Result<u16, Code> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn four(&mut self) -> Result<u32, Code> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A packet identifier, which is not 0.
    pub(super) fn id(&mut self) -> Result<u16, Code> {
        match self.two()? {
            0 => Err(Code::Protocol),
            id => Ok(id),
        }
    }

    /// A variable byte integer in as few bytes as it needs (MQTT-1.5.5-1).
    pub(super) fn variable(&mut self) -> Result<u32, Code> {
        let mut number = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return if byte == 0 && index > 0 { Err(Code::Malformed) } else { Ok(number) };
            }
        }
        Err(Code::Malformed)
    }

    /// Binary data with its length before it.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Code> {
        let length = self.two()?;
        self.take(usize::from(length))
    }

    /// A string: UTF-8 without U+0000 (MQTT-1.5.4-1, -2).
    pub(super) fn text(&mut self) -> Result<&'a str, Code> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Code::Malformed)?;
        if text.contains('\0') { Err(Code::Malformed) } else { Ok(text) }
    }
}

/// Appends a packet of at most 127 bytes after its header.
pub(super) fn push_packet(out: &mut Vec<u8>, first: u8, rest: &[u8]) {
    debug_assert!(rest.len() < 128, "{} bytes", rest.len());
    out.push(first);
    out.push(u8::try_from(rest.len() & 0x7f).unwrap_or(0));
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_lengths_are_those_of_table_2_1() {
        for (length, remaining) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xff, 0xff, 0xff, 0x7f], 268_435_455),
        ] {
            let input = [&[0x32][..], length].concat();
            for cut in 0..input.len() {
                assert_eq!(FixedHeader::read(&input[..cut]), Ok(None), "{cut} of {length:?}");
            }
            let header = FixedHeader { kind: 3, flags: 2, bytes: input.len(), remaining };
            assert_eq!(FixedHeader::read(&input), Ok(Some(header)));
            assert_eq!(Reader(length).variable().map(|number| number as usize), Ok(remaining));
        }
        assert_eq!(FixedHeader::read(&[0x30, 0x80, 0x80, 0x80, 0x80]), Err(Code::Malformed));
        assert_eq!(Reader(&[0x80, 0x00]).variable(), Err(Code::Malformed), "not the shortest");
        assert_eq!(Reader(&[0x80, 0x80, 0x80, 0x80, 1]).variable(), Err(Code::Malformed));
    }

    #[test]
    fn strings_are_utf8_without_nul() {
        assert_eq!(Reader(b"\0\x02\xc3\xa9").text(), Ok("\u{e9}"));
        assert_eq!(Reader(b"\0\0").text(), Ok(""));
        for bytes in [&b"\0\x02a"[..], b"\0", b"\0\x01\xff", b"\0\x03a\0b", b"\0\x03\xed\xa0\x80"] {
            assert_eq!(Reader(bytes).text(), Err(Code::Malformed), "{bytes:?}");
        }
    }
}
