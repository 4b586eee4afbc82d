//! A page of where everyone is: written as the ring changes, read by the process that comes after.
//!
//! It is no part of the ABI: only the same program reads it, and one that does not know its
//! version begins a new ring.

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use aqueduct_core::geometry::low32;
use aqueduct_core::layout::CONTROL_BYTES;
use aqueduct_core::{Memory, MemoryMut};

use crate::ring::MAX_SUBSCRIPTIONS;
use crate::segment::{CURSOR_BYTES, CursorSegment, SegmentError};

const MAGIC: [u8; 8] = *b"AQDKEPT\0";
const VERSION: u32 = 1;

/// Byte offsets.
const AT_VERSION: usize = 8;
const AT_COMPLETE: usize = 12;
const AT_EPOCH: usize = 16;
const AT_COUNT: usize = 24;
const AT_ENDED: usize = 28;
const AT_SEQ: [usize; 2] = [32, 36];
const AT_CRASHES: usize = 40;
/// Past what is accessed by words.
const AT_ENTRIES: usize = CONTROL_BYTES;
const NAME_BYTES: usize = 32;
const ENTRY_BYTES: usize = NAME_BYTES + 8;

const _: () = assert!(AT_ENTRIES + MAX_SUBSCRIPTIONS * ENTRY_BYTES <= CURSOR_BYTES);

/// The page of a ring that lives.
pub(super) struct Page {
    memory: CursorSegment,
}

/// What the page of an earlier life says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// The ring's epoch.
    pub(super) epoch: u64,
    /// A sequence number that the ring had, not long before the end.
    pub(super) seq: u64,
    /// Whether the process ended in order.
    pub(super) ended: bool,
    /// How many processes in a row, before that one, did not.
    pub(super) crashes: u32,
    /// Positions that were believed, granules, 32 bits.
    pub(super) positions: Vec<(String, u32)>,
}

impl Page {
    /// Makes the page of a ring whose subscriptions have these names; returns its memfd, too.
    pub(super) fn create(
        ring: &str,
        epoch: u64,
        crashes: u32,
        names: &[String],
    ) -> Result<(Self, OwnedFd), SegmentError> {
        let (memory, fd) = CursorSegment::with_name(&format!("aqueduct-kept-{ring}"))?;
        memory.write(0, &MAGIC);
        memory.write(AT_EPOCH, &epoch.to_ne_bytes());
        // ORDER(none): the release store of `complete` comes after them.
        let put = |at, value| memory.store(at, value, Ordering::Relaxed);
        put(AT_VERSION, VERSION);
        put(AT_COUNT, u32::try_from(names.len()).unwrap_or(0));
        put(AT_CRASHES, crashes);
        for (index, name) in names.iter().enumerate() {
            memory.write(AT_ENTRIES + index * ENTRY_BYTES, name.as_bytes());
        }
        Ok((Self { memory }, fd))
    }

    /// Notes the position of a subscription.
    pub(super) fn note(&self, index: usize, position: u32) {
        let at = AT_ENTRIES + index * ENTRY_BYTES + NAME_BYTES;
        // One store of a word: an entry is never torn.
        self.memory.write(at, &u64::from(position).to_ne_bytes());
    }

    /// Notes about where the numbers are.
    pub(super) fn note_seq(&self, seq: u64) {
        let [low, high] = AT_SEQ;
        // ORDER(none): nobody looks while this process lives. Both words change together once in
        // 2^32 records.
        #[allow(clippy::cast_possible_truncation, reason = "the low half")]
        self.memory.store(low, seq as u32, Ordering::Relaxed);
        #[allow(clippy::cast_possible_truncation, reason = "the high half")]
        self.memory.store(high, (seq >> 32) as u32, Ordering::Relaxed);
    }

    /// Says that the ring is whole: what was copied into it need not be looked for elsewhere.
    pub(super) fn complete(&self) {
        // ORDER(complete): Release. Whoever finds it set sees all that was written before. Pairs
        // with the load in `Noted::read`.
        self.memory.store(AT_COMPLETE, 1, Ordering::Release);
    }

    /// Says that the process ends in order.
    pub(super) fn end(&self) {
        // ORDER(none): as in `note_seq`.
        self.memory.store(AT_ENDED, 1, Ordering::Relaxed);
    }
}

impl Noted {
    /// Reads a page; `None` if it is another program's, or was not complete.
    pub(super) fn read(memory: &impl Memory) -> Option<Self> {
        if memory.size() < CURSOR_BYTES {
            return None;
        }
        // ORDER(complete): Acquire. Pairs with the store in `Page::complete`.
        if memory.load(AT_COMPLETE, Ordering::Acquire) != 1 {
            return None;
        }
        let mut magic = [0; 8];
        memory.read(0, &mut magic);
        // ORDER(none): nobody writes it any more.
        let word = |at| memory.load(at, Ordering::Relaxed);
        let count =
            usize::try_from(word(AT_COUNT)).ok().filter(|&count| count <= MAX_SUBSCRIPTIONS)?;
        if magic != MAGIC || word(AT_VERSION) != VERSION {
            return None;
        }
        let mut epoch = [0; 8];
        memory.read(AT_EPOCH, &mut epoch);
        let [low, high] = AT_SEQ.map(|at| u64::from(word(at)));
        let mut positions = Vec::with_capacity(count);
        for index in 0..count {
            let at = AT_ENTRIES + index * ENTRY_BYTES;
            let mut name = [0; NAME_BYTES];
            memory.read(at, &mut name);
            let length = name.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
            let name = std::str::from_utf8(&name[..length]).ok()?.to_owned();
            let mut position = [0; 8];
            memory.read(at + NAME_BYTES, &mut position);
            positions.push((name, low32(u64::from_ne_bytes(position))));
        }
        Some(Self {
            epoch: u64::from_ne_bytes(epoch),
            seq: high << 32 | low,
            ended: word(AT_ENDED) == 1,
            crashes: word(AT_CRASHES),
            positions,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::segment::KeptSegment;

    fn names() -> Vec<String> {
        (0..MAX_SUBSCRIPTIONS).map(|number| format!("{number:032}")).collect()
    }

    #[test]
    fn a_page_says_what_was_noted_once_it_is_complete() {
        let (page, fd) = Page::create("r", 0x0123_4567_89ab_cdef, 3, &names()).expect("a page");
        let read = || Noted::read(&KeptSegment::open(fd.as_fd()).expect("mapped"));
        assert_eq!(read(), None, "not complete");
        page.complete();
        page.note(63, 0xffff_fff0);
        page.note_seq(7 << 32 | 9);
        let noted = read().expect("complete");
        assert_eq!((noted.epoch, noted.seq), (0x0123_4567_89ab_cdef, 7 << 32 | 9));
        assert_eq!((noted.ended, noted.crashes), (false, 3));
        assert_eq!(noted.positions[63], (format!("{:032}", 63), 0xffff_fff0));
        assert_eq!(noted.positions[0], ("0".repeat(32), 0));
        page.end();
        assert!(read().expect("complete").ended);
    }

    #[test]
    fn whatever_is_no_such_page_is_none() {
        let (page, fd) = Page::create("r", 1, 0, &names()).expect("a page");
        page.complete();
        let read = || Noted::read(&KeptSegment::open(fd.as_fd()).expect("mapped"));
        for (at, value) in [(0, 0), (AT_VERSION, 2), (AT_COUNT, 65), (AT_COMPLETE, 2)] {
            let before = page.memory.load(at, Ordering::Relaxed);
            page.memory.store(at, value, Ordering::Relaxed);
            assert_eq!(read(), None, "{at}");
            page.memory.store(at, before, Ordering::Relaxed);
        }
        assert!(read().is_some());
    }
}
