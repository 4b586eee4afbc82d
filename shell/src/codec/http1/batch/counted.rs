//! `application/vnd.aqueduct.records`: u32 length ‖ u16 type ‖ payload, little-endian, repeated.

/// Bytes before each payload.
const HEADER_BYTES: usize = 6;

/// The records of a body.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Records<'a> {
    /// Type tag and payload, or what is wrong; nothing follows an error.
    type Item = Result<(u16, &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        let Some((header, rest)) = rest.split_at_checked(HEADER_BYTES) else {
            return Some(Err("the body ends within a record's length and type"));
        };
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Some(Err("the record is longer than the body"));
        };
        self.rest = rest;
        Some(Ok((u16::from_le_bytes([header[4], header[5]]), payload)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_counted() {
        let body = b"\x02\0\0\0\x07\x01ab\0\0\0\0\xff\xff\x01\0\0\0\0\0c";
        let read: Vec<_> = Records::new(body).collect();
        assert_eq!(read, [Ok((0x107, &b"ab"[..])), Ok((65_535, b"")), Ok((0, b"c"))]);
    }

    #[test]
    fn a_record_that_is_cut_is_an_error_and_the_last() {
        let body = b"\x01\0\0\0\0\0a\x02\0\0\0\0\0b";
        for cut in 8..body.len() {
            let read: Vec<_> = Records::new(&body[..cut]).collect();
            assert_eq!(read.len(), 2, "{cut}");
            assert!(read[0].is_ok() && read[1].is_err(), "{cut}");
        }
        let mut huge = Records::new(b"\xff\xff\xff\xff\0\0");
        assert!(matches!(huge.next(), Some(Err(_))) && huge.next().is_none());
    }
}
