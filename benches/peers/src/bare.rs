//! The ring without its checks: the same granules, headers, positions and orderings, and no CRC. It
//! shows the price of the CRCs, and it is nothing to use: a reader that is lapped or a byte that is
//! damaged would not be noticed.

use std::sync::atomic::Ordering;

use aqueduct_benches::machine::Mapping;
use aqueduct_core::layout::GRANULE_BYTES;
use aqueduct_core::{Memory, MemoryMut, ReadRegion, Region};

const TAIL: usize = 128;
const CURSOR: usize = 64;
const DATA: usize = 4096;
/// `len` of a header that fills up to the end of the data area.
const PAD: u32 = u32::MAX;

/// Positions are counted in granules and never wrap in a benchmark.
fn granules(bytes: usize) -> u64 {
    1 + bytes.div_ceil(GRANULE_BYTES) as u64
}

#[allow(clippy::cast_possible_truncation, reason = "positions are shared by their low halves")]
const fn shared(position: u64) -> u32 {
    position as u32
}

/// Writes records into a segment and looks at one cursor segment.
pub struct BareSender<'a> {
    ring: Region<'a>,
    page: ReadRegion<'a>,
    capacity: u64,
    head: u64,
    seq: u64,
    cursor: u64,
}

/// Reads them and keeps the cursor segment.
pub struct BareReceiver<'a> {
    ring: ReadRegion<'a>,
    page: Region<'a>,
    capacity: u64,
    position: u64,
    tail: u64,
}

/// Both ends over zeroed segments.
pub fn bare<'a>(ring: &'a Mapping, page: &'a Mapping) -> (BareSender<'a>, BareReceiver<'a>) {
    let capacity = ((ring.read_only().size() - DATA) / GRANULE_BYTES) as u64;
    let sender = BareSender {
        ring: ring.region(),
        page: page.read_only(),
        capacity,
        head: 0,
        seq: 0,
        cursor: 0,
    };
    (
        sender,
        BareReceiver {
            ring: ring.read_only(),
            page: page.region(),
            capacity,
            position: 0,
            tail: 0,
        },
    )
}

#[allow(clippy::cast_possible_truncation, reason = "offsets within a mapping")]
fn offset(position: u64, capacity: u64) -> usize {
    DATA + (position & (capacity - 1)) as usize * GRANULE_BYTES
}

impl BareSender<'_> {
    /// Writes one record and publishes it; false if there is no room.
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> bool {
        let need = granules(payload.len());
        let to_end = self.capacity - (self.head & (self.capacity - 1));
        let pad = if need > to_end { to_end } else { 0 };
        if self.head + pad + need - self.cursor > self.capacity {
            // ORDER(release): Acquire. Pairs with `BareReceiver::release`.
            let cursor = self.page.load(CURSOR, Ordering::Acquire);
            self.cursor += u64::from(cursor.wrapping_sub(shared(self.cursor)));
            if self.head + pad + need - self.cursor > self.capacity {
                return false;
            }
        }
        if pad > 0 {
            self.header(PAD);
            self.head += pad;
        }
        self.header(u32::try_from(payload.len()).expect("a record's length"));
        self.ring.write(offset(self.head, self.capacity) + GRANULE_BYTES, payload);
        self.head += need;
        self.seq += 1;
        // ORDER(publish): Release. Pairs with `BareReceiver::try_receive`.
        self.ring.store(TAIL, shared(self.head), Ordering::Release);
        // ORDER(sleep): SeqCst, as the ring's own before it looks for sleepers.
        self.ring.fence(Ordering::SeqCst);
        true
    }

    fn header(&self, len: u32) {
        let mut header = [0; GRANULE_BYTES];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[8..16].copy_from_slice(&self.seq.to_le_bytes());
        self.ring.write(offset(self.head, self.capacity), &header);
    }
}

impl BareReceiver<'_> {
    /// Copies one record out and gives its length; none if there is none.
    #[inline]
    pub fn try_receive(&mut self, into: &mut [u8]) -> Option<usize> {
        loop {
            if self.position == self.tail {
                // ORDER(publish): Acquire. Pairs with `BareSender::try_send`.
                let tail = self.ring.load(TAIL, Ordering::Acquire);
                self.tail += u64::from(tail.wrapping_sub(shared(self.tail)));
                if self.position == self.tail {
                    return None;
                }
            }
            let at = offset(self.position, self.capacity);
            let mut header = [0; GRANULE_BYTES];
            self.ring.read(at, &mut header);
            let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            if len == PAD {
                self.position += self.capacity - (self.position & (self.capacity - 1));
                continue;
            }
            let len = len as usize;
            self.ring.read(at + GRANULE_BYTES, &mut into[..len]);
            self.position += granules(len);
            return Some(len);
        }
    }

    /// Gives everything read back.
    pub fn release(&mut self) {
        // ORDER(release): Release. Pairs with `BareSender::try_send`.
        self.page.store(CURSOR, shared(self.position), Ordering::Release);
        // ORDER(space): SeqCst, as the ring's own before it looks whether somebody waits for space.
        self.page.fence(Ordering::SeqCst);
    }
}
