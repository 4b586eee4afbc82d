//! `attributes`: any bytes as the block after a payload. Rust and C walk the same attributes, those
//! of a plain reading of the ABI; names are found alike; what was walked is written again and is
//! the same.

use std::ffi::CString;

use aqueduct_core::{AttributeBlock, Attributes};

use crate::c_library::{self, CRecord};
use crate::wire::u16_at;

/// A name and its value.
type Entry<'b> = (&'b [u8], &'b [u8]);

/// §3.1, an entry after the other; and whether all of them were there.
fn plainly(block: &[u8]) -> (Vec<Entry<'_>>, bool) {
    let (mut found, mut at) = (Vec::new(), 4);
    if block.is_empty() {
        return (found, true);
    }
    if block.len() < 4 || !(4..=block.len()).contains(&usize::from(u16_at(block, 0))) {
        return (found, false);
    }
    let (used, count) = (usize::from(u16_at(block, 0)), usize::from(u16_at(block, 2)));
    while found.len() < count {
        if at + 3 > used {
            return (found, false);
        }
        let name_end = at + 3 + usize::from(block[at]);
        let end = name_end + usize::from(u16_at(block, at + 1));
        if block[at] == 0 || end > used {
            return (found, false);
        }
        found.push((&block[at + 3..name_end], &block[name_end..end]));
        at = end;
    }
    (found, at == used)
}

/// One input: a length of the payload, then payload and block.
pub fn run(bytes: &[u8]) {
    let Some((&len, bytes)) = bytes.split_first() else { return };
    let len = usize::from(len % 8).min(bytes.len());
    let units = ((bytes.len() - len) / 16).min(255);
    let block = &bytes[len..len + units * 16];
    let (expected, whole) = plainly(block);

    let attributes = Attributes::of(block);
    let ours: Vec<_> = attributes.clone().map(|one| (one.name, one.value)).collect();
    assert_eq!((&ours, attributes.are_whole()), (&expected, whole));
    let texts = expected.iter().all(|(name, _)| str::from_utf8(name).is_ok());
    let used = if block.is_empty() { 0 } else { usize::from(u16_at(block, 0)) };
    let taken = whole && texts && block[used..].iter().all(|&byte| byte == 0);
    assert_eq!(AttributeBlock::from_bytes(block).is_some(), taken);

    let record = CRecord { len: len as u32, attribute_units: units as u8, ..CRecord::default() };
    // To the byte, so that one too far is seen.
    let copy: Box<[u8]> = bytes[..record.bytes()].into();
    assert_eq!(c_library::attributes(&record, &copy), expected);
    for (name, _) in &expected {
        let (Ok(text), Ok(c)) = (str::from_utf8(name), CString::new(*name)) else { continue };
        let first = expected.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
        assert_eq!(attributes.get(text), first);
        assert_eq!(c_library::attribute(&record, &copy, &c), first);
    }
    let absent = expected.iter().all(|(name, _)| name != b":path");
    assert_eq!(c_library::attribute(&record, &copy, c":path").is_none(), absent);

    let mut room = [0; 4080];
    let texts = expected.iter().map(|(name, value)| (str::from_utf8(name), *value));
    let texts: Vec<_> = texts.filter_map(|(name, value)| Some((name.ok()?, value))).collect();
    let written =
        AttributeBlock::write(texts.iter().copied(), &mut room).expect("it came from one");
    let again: Vec<_> = written.attributes().map(|one| (one.name, one.value)).collect();
    assert!(again.iter().copied().eq(texts.iter().map(|(name, value)| (name.as_bytes(), *value))));
    if whole && texts.len() == expected.len() && !block.is_empty() && !expected.is_empty() {
        let used = usize::from(u16_at(block, 0));
        assert_eq!(written.as_bytes()[..used], block[..used]);
    }
}
