//! The bytes of a journal: what a segment begins with, and a copy of the cursors. Both carry a
//! CRC-32 over everything before it and the version of the format.
//!
//! A segment is one block of [`HEADER_BYTES`] and then records as they are in the ring, at
//! `HEADER_BYTES + 32 × (position − first position)`. All numbers are little-endian.

use std::fmt;

use aqueduct_core::layout::{GRANULE_BYTES, RING_NAME_BYTES, SUBSCRIPTION_NAME_BYTES};
use aqueduct_core::payload_crc;

/// Marks the position of a subscription that may lag behind the ring. A program that does not know
/// it takes the copy for damaged, and what is kept for unread.
const LAGGING: u64 = 1 << 63;

/// Version of the format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// Bytes before the first record of a segment.
pub const HEADER_BYTES: usize = 4096;
/// Bytes of a copy of the cursors.
pub const CURSORS_BYTES: usize = 4096;
/// Granule of positions, bytes.
pub const GRANULE: u64 = GRANULE_BYTES as u64;

/// No position and no number is as large: far beyond what can ever be written, and no sum or
/// offset overflows.
const LARGEST: u64 = 1 << 50;

/// What a segment begins with.
pub const SEGMENT_MAGIC: [u8; 8] = *b"AQDJRNLS";
/// What a copy of the cursors begins with.
pub const CURSORS_MAGIC: [u8; 8] = *b"AQDJRNLC";
/// Bytes of a header that mean something, its CRC included.
pub const SEGMENT_USED: usize = 192;
const ENTRY_BYTES: usize = SUBSCRIPTION_NAME_BYTES + 8;
const ENTRIES_AT: usize = 64;
/// Most subscriptions in one copy.
pub const ENTRIES_MAX: usize = 64;
const _: () = assert!(ENTRIES_AT + ENTRIES_MAX * ENTRY_BYTES + 4 <= CURSORS_BYTES);

/// What survives what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A record is in memory: it is gone with the process.
    #[default]
    Memory,
    /// A record is written to a file before it is published: it survives the process and its
    /// readers, not the kernel.
    Process,
    /// A record is synced to the disk before it is published: it survives a loss of power.
    Disk,
}

/// What a segment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Place among the segments, from 1, as in its name.
    pub serial: u64,
    /// Epoch of its records.
    pub epoch: u64,
    /// Position of its first record, in granules since the epoch began.
    pub first_position: u64,
    /// Sequence number of its first DATA record.
    pub first_seq: u64,
    /// When it was begun, nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Boot of the machine in which it was written.
    pub boot: [u8; 16],
    /// What its records survive.
    pub durability: Durability,
    /// Granules of the ring's data area: where records wrap.
    pub capacity: u32,
    /// Clock of the timestamps, as in the ring.
    pub clock_id: u32,
    /// Name of the ring.
    pub ring: String,
}

/// Why a block is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadBlock {
    /// It is shorter than it has to be, or does not begin as it should.
    Foreign,
    /// Written by a newer program.
    Newer {
        /// Its version.
        version: u32,
    },
    /// It is damaged.
    Crc {
        /// In the block.
        stored: u32,
        /// Of the block.
        computed: u32,
    },
    /// Its CRC is right and its content is not possible.
    Content,
}

impl fmt::Display for BadBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "not a file of a journal"),
            Self::Newer { version } => {
                write!(f, "format {version} is newer than {VERSION}, which this program knows")
            }
            Self::Crc { stored, computed } => {
                write!(f, "damaged: CRC {stored:#010x} is stored, {computed:#010x} computed")
            }
            Self::Content => write!(f, "its values are not possible"),
        }
    }
}

/// Writes numbers one after the other.
struct Put<'b>(&'b mut [u8], usize);

impl Put<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0[self.1..self.1 + bytes.len()].copy_from_slice(bytes);
        self.1 += bytes.len();
    }

    fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
    }
}

/// Reads numbers one after the other, of a block whose size was checked.
struct Get<'b>(&'b [u8]);

impl Get<'_> {
    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (first, rest) = self.0.split_at(N.min(self.0.len()));
        taken[..first.len()].copy_from_slice(first);
        self.0 = rest;
        taken
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }
}

/// Checks magic, version and CRC of the first `used` bytes; returns what is between.
fn checked(block: &[u8], magic: [u8; 8], used: usize) -> Result<Get<'_>, BadBlock> {
    let Some(block) = block.get(..used).filter(|block| block.starts_with(&magic)) else {
        return Err(BadBlock::Foreign);
    };
    let (body, crc) = block.split_at(used - 4);
    let stored = u32::from_le_bytes(crc.try_into().map_err(|_| BadBlock::Foreign)?);
    let computed = payload_crc(body);
    let mut get = Get(&body[8..]);
    let version = get.u32();
    if stored != computed {
        return Err(BadBlock::Crc { stored, computed });
    }
    if version > VERSION {
        return Err(BadBlock::Newer { version });
    }
    Ok(get)
}

fn name_of(bytes: &[u8]) -> Result<String, BadBlock> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let name = std::str::from_utf8(&bytes[..end]).map_err(|_| BadBlock::Content)?;
    Ok(name.to_owned())
}

impl SegmentHeader {
    /// Returns the block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; HEADER_BYTES];
        let mut put = Put(&mut block, 0);
        put.bytes(&SEGMENT_MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        put.bytes(&(self.durability as u32).to_le_bytes());
        let Self { serial, epoch, first_position, first_seq, created_ns, .. } = *self;
        put.numbers(&[serial, epoch, first_position, first_seq, created_ns]);
        put.bytes(&self.boot);
        put.bytes(&self.capacity.to_le_bytes());
        put.bytes(&self.clock_id.to_le_bytes());
        put.bytes(self.ring.as_bytes());
        let crc = payload_crc(&block[..SEGMENT_USED - 4]);
        block[SEGMENT_USED - 4..SEGMENT_USED].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Checks a block.
    pub fn decode(block: &[u8]) -> Result<Self, BadBlock> {
        let mut get = checked(block, SEGMENT_MAGIC, SEGMENT_USED)?;
        let durability = match get.u32() {
            1 => Durability::Process,
            2 => Durability::Disk,
            _ => return Err(BadBlock::Content),
        };
        let [serial, epoch, first_position, first_seq, created_ns] = [(); 5].map(|()| get.u64());
        let (boot, capacity, clock_id) = (get.bytes(), get.u32(), get.u32());
        let ring = name_of(&get.bytes::<RING_NAME_BYTES>())?;
        let possible = |number: u64| number < LARGEST;
        if epoch == 0 || ![serial, first_position, first_seq].into_iter().all(possible) {
            return Err(BadBlock::Content);
        }
        Ok(Self {
            serial,
            epoch,
            first_position,
            first_seq,
            created_ns,
            boot,
            durability,
            capacity,
            clock_id,
            ring,
        })
    }
}

/// Where the subscriptions are, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// Epoch of the positions.
    pub epoch: u64,
    /// Just past the last published record, at that moment: everything before it was as safe as the
    /// ring promises.
    pub published: u64,
    /// Sequence number of the record that comes there.
    pub next_seq: u64,
    /// The process ended in order, and everything up to `published` is synced.
    pub is_end: bool,
    /// Position of the first record that each subscription has not released; by name.
    pub positions: Vec<(String, u64)>,
    /// The same of the subscriptions that may lag behind the ring.
    pub lagging: Vec<(String, u64)>,
}

impl Cursors {
    /// Returns the block, under this number.
    pub fn encode(&self, counter: u64) -> Vec<u8> {
        let mut block = vec![0; CURSORS_BYTES];
        let mut put = Put(&mut block, 0);
        put.bytes(&CURSORS_MAGIC);
        put.bytes(&VERSION.to_le_bytes());
        let count = self.positions.len() + self.lagging.len();
        let count = u32::try_from(count.min(ENTRIES_MAX)).unwrap_or(0);
        put.bytes(&(count | u32::from(self.is_end) << 31).to_le_bytes());
        put.numbers(&[counter, self.epoch, self.published, self.next_seq]);
        put.1 = ENTRIES_AT;
        let held = self.positions.iter().map(|(name, at)| (name, *at));
        let lagging = self.lagging.iter().map(|(name, at)| (name, at | LAGGING));
        for (name, position) in held.chain(lagging).take(ENTRIES_MAX) {
            let mut field = [0; SUBSCRIPTION_NAME_BYTES];
            let name = name.as_bytes();
            field[..name.len().min(SUBSCRIPTION_NAME_BYTES)]
                .copy_from_slice(&name[..name.len().min(SUBSCRIPTION_NAME_BYTES)]);
            put.bytes(&field);
            put.numbers(&[position]);
        }
        let crc = payload_crc(&block[..CURSORS_BYTES - 4]);
        block[CURSORS_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Checks a block; returns its number, too.
    pub fn decode(block: &[u8]) -> Result<(Self, u64), BadBlock> {
        let mut get = checked(block, CURSORS_MAGIC, CURSORS_BYTES)?;
        let count = get.u32();
        let [counter, epoch, published, next_seq] = [(); 4].map(|()| get.u64());
        let is_end = count >> 31 == 1;
        let count = (count & (u32::MAX >> 1)) as usize;
        let possible = |number: u64| number < LARGEST;
        if count > ENTRIES_MAX || ![counter, published, next_seq].into_iter().all(possible) {
            return Err(BadBlock::Content);
        }
        let mut get = Get(&block[ENTRIES_AT..]);
        let (mut positions, mut lagging) = (Vec::with_capacity(count), Vec::new());
        for _ in 0..count {
            let name = name_of(&get.bytes::<SUBSCRIPTION_NAME_BYTES>())?;
            let marked = get.u64();
            let position = marked & !LAGGING;
            if !possible(position) {
                return Err(BadBlock::Content);
            }
            let of = if marked == position { &mut positions } else { &mut lagging };
            of.push((name, position));
        }
        Ok((Self { epoch, published, next_seq, is_end, positions, lagging }, counter))
    }

    /// Returns where every subscription is.
    pub fn all(&self) -> impl Iterator<Item = &(String, u64)> {
        self.positions.iter().chain(&self.lagging)
    }
}

/// Name of a segment's file.
pub fn segment_name(serial: u64) -> String {
    format!("{serial:016x}.segment")
}

/// Place of the segment with this name; `None` if it is none.
pub fn serial_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment").filter(|digits| digits.len() == 16)?;
    let serial = u64::from_str_radix(digits, 16).ok().filter(|&serial| serial < LARGEST)?;
    (segment_name(serial) == name).then_some(serial)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            serial: 7,
            epoch: 0x5eed,
            first_position: 1 << 40,
            first_seq: 12,
            created_ns: 99,
            boot: *b"0123456789abcdef",
            durability: Durability::Disk,
            capacity: 1 << 19,
            clock_id: 0,
            ring: "r".repeat(RING_NAME_BYTES),
        }
    }

    fn cursors() -> Cursors {
        let mut positions: Vec<_> =
            (0..ENTRIES_MAX as u64).map(|n| (format!("{n:032}"), n)).collect();
        let lagging = positions.split_off(ENTRIES_MAX - 2);
        Cursors { epoch: 5, published: 70, next_seq: 8, is_end: true, positions, lagging }
    }

    #[test]
    fn blocks_come_back_as_they_were_written() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok(header()));
        assert_eq!(Cursors::decode(&cursors().encode(3)), Ok((cursors(), 3)));
        assert_eq!(serial_of(&segment_name(300)), Some(300));
        for name in ["1.segment", "000000000000000G.segment", "000000000000000A.segment", "x"] {
            assert_eq!(serial_of(name), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (segment, copy) = (header().encode(), cursors().encode(3));
        for bit in 0..SEGMENT_USED * 8 {
            let mut bad = segment.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        for bit in 0..CURSORS_BYTES * 8 {
            let mut bad = copy.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Cursors::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let mut block = header().encode();
        block[8] = 2;
        assert!(matches!(SegmentHeader::decode(&block), Err(BadBlock::Crc { .. })));
        let crc = payload_crc(&block[..SEGMENT_USED - 4]);
        block[SEGMENT_USED - 4..SEGMENT_USED].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&block), Err(BadBlock::Newer { version: 2 }));
        assert_eq!(SegmentHeader::decode(&[]), Err(BadBlock::Foreign));
    }

    #[test]
    fn numbers_that_no_journal_can_come_to_are_refused() {
        let with = |change: fn(&mut SegmentHeader, u64), number| {
            let mut header = header();
            change(&mut header, number);
            SegmentHeader::decode(&header.encode()).map(drop)
        };
        let numbers: [fn(&mut SegmentHeader, u64); 3] = [
            |header, number| header.serial = number,
            |header, number| header.first_position = number,
            |header, number| header.first_seq = number,
        ];
        for change in numbers {
            assert_eq!(with(change, LARGEST - 1), Ok(()));
            assert_eq!(with(change, LARGEST), Err(BadBlock::Content));
        }
        assert_eq!(with(|header, number| header.epoch = number, 0), Err(BadBlock::Content));
        let (name, too_large) = (segment_name(LARGEST - 1), segment_name(LARGEST));
        assert_eq!((serial_of(&name), serial_of(&too_large)), (Some(LARGEST - 1), None));
        for place in 0..4 {
            for (number, is_possible) in [(LARGEST - 1, true), (LARGEST, false)] {
                let (mut cursors, mut counter) = (cursors(), 3);
                let at = match place {
                    0 => &mut counter,
                    1 => &mut cursors.published,
                    2 => &mut cursors.next_seq,
                    _ => &mut cursors.positions[0].1,
                };
                *at = number;
                assert_eq!(
                    Cursors::decode(&cursors.encode(counter)).is_ok(),
                    is_possible,
                    "{place}"
                );
            }
        }
        let mut block = cursors().encode(3);
        block[12] += 1;
        let crc = payload_crc(&block[..CURSORS_BYTES - 4]);
        block[CURSORS_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Cursors::decode(&block), Err(BadBlock::Content), "one too many");
    }
}
