//! As much of DER (X.690) as a certificate needs to be walked.

pub(super) const SEQUENCE: u8 = 0x30;

/// Splits off an element of this tag: its content, and what follows.
pub(super) fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = tagged(der)?;
    (tag == wanted).then_some((content, rest))
}

/// Splits off an element of whatever tag.
pub(super) fn any(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, content, rest) = tagged(der)?;
    Some((content, rest))
}

/// The same with its tag.
pub(super) fn tagged(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // More than four bytes of length are more than any certificate has.
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
