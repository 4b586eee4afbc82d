//! The bytes of ABI 1.2, written a second time from `core/ABI.md` and from nothing else.

pub const CAPACITY: usize = 32;
pub const TAIL: usize = 128;
pub const NEXT_SEQ: usize = 132;
pub const OLDEST: usize = 192;
pub const STATE: usize = 196;
pub const SPACE_WANTED: usize = 200;

pub const CURSOR: usize = 64;
pub const WAITING: usize = 128;
pub const CORRUPT: usize = 192;
pub const LOST: usize = 196;
pub const MISSED_WAKES: usize = 200;

pub const DATA: u8 = 1;
pub const DATA_ATTRIBUTES: u8 = 0x81;

const TABLE: [u32; 256] = {
    let (mut table, mut byte) = ([0; 256], 0);
    while byte < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// §5. CRC-32/ISO-HDLC, byte by byte; `b"123456789"` gives `0xCBF4_3926`.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ TABLE[usize::from(crc as u8 ^ byte)])
}

#[must_use]
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[must_use]
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

#[must_use]
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// §3: a record's header without its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub len: u32,
    pub kind: u8,
    pub flags: u8,
    pub type_tag: u16,
    pub seq: u64,
    pub timestamp_ns: u64,
    pub payload_crc: u32,
}

impl Head {
    /// Granules of the record.
    #[must_use]
    pub fn granules(&self) -> u64 {
        1 + u64::from(self.len).div_ceil(32)
    }

    /// Whether it is a user's record.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.kind == DATA || self.kind == DATA_ATTRIBUTES
    }

    /// §3.1: units of its attributes.
    #[must_use]
    pub fn units(&self) -> u8 {
        if self.kind == DATA_ATTRIBUTES { self.flags } else { 0 }
    }

    /// As it is stored at a position.
    #[must_use]
    pub fn encode(&self, epoch: u64, position: u32) -> [u8; 32] {
        let mut wire = [0; 32];
        wire[0..4].copy_from_slice(&self.len.to_le_bytes());
        wire[4] = self.kind;
        wire[5] = self.flags;
        wire[6..8].copy_from_slice(&self.type_tag.to_le_bytes());
        wire[8..16].copy_from_slice(&self.seq.to_le_bytes());
        wire[16..24].copy_from_slice(&self.timestamp_ns.to_le_bytes());
        wire[24..28].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = head_crc(epoch, position, &wire);
        wire[28..32].copy_from_slice(&crc.to_le_bytes());
        wire
    }

    /// Whatever the 32 bytes say, checked or not.
    #[must_use]
    pub fn parse(wire: &[u8]) -> Self {
        Self {
            len: u32_at(wire, 0),
            kind: wire[4],
            flags: wire[5],
            type_tag: u16_at(wire, 6),
            seq: u64_at(wire, 8),
            timestamp_ns: u64_at(wire, 16),
            payload_crc: u32_at(wire, 24),
        }
    }
}

/// The CRC that belongs into bytes 28..32 of a record header.
#[must_use]
pub fn head_crc(epoch: u64, position: u32, wire: &[u8]) -> u32 {
    crc(&[&epoch.to_le_bytes()[..], &position.to_le_bytes(), &wire[..28]].concat())
}

/// §2.1, §6.1: why a segment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Magic,
    Version,
    Crc,
    Geometry,
    Size,
    PageSize,
    CursorSegmentIdentity,
    PageEpoch,
    TailOutOfRange,
}

/// §2.1: what a ring header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub epoch: u64,
    pub capacity: u32,
    pub max_payload: u32,
    pub data_offset: u32,
}

impl Layout {
    /// # Errors
    /// The first check that fails, in the order of the ABI.
    pub fn parse(ring: &[u8]) -> Result<Self, Refusal> {
        if ring.len() < 128 {
            return Err(Refusal::Size);
        }
        if &ring[..8] != b"AQUEDUCT" {
            return Err(Refusal::Magic);
        }
        if u16_at(ring, 8) != 1 {
            return Err(Refusal::Version);
        }
        if u32_at(ring, 124) != crc(&ring[..124]) {
            return Err(Refusal::Crc);
        }
        let layout = Self {
            epoch: u64_at(ring, 16),
            capacity: u32_at(ring, 32),
            max_payload: u32_at(ring, 36),
            data_offset: u32_at(ring, 12),
        };
        let Self { epoch, capacity, max_payload, data_offset } = layout;
        let capacity_ok = capacity.count_ones() == 1 && (4..=1 << 30).contains(&capacity);
        if epoch == 0
            || !capacity_ok
            || u64::from(max_payload) > u64::from(capacity / 2) * 32 - 32
            || data_offset < 256
            || data_offset % 64 != 0
        {
            return Err(Refusal::Geometry);
        }
        if (ring.len() as u64) < u64::from(data_offset) + 32 * u64::from(capacity) {
            return Err(Refusal::Size);
        }
        Ok(layout)
    }

    /// §1: byte offset of a position.
    #[must_use]
    pub fn offset(&self, position: u32) -> usize {
        self.data_offset as usize + (position % self.capacity) as usize * 32
    }

    /// §3 "valid": the header at a position before `tail`, or the stored and the computed CRC,
    /// equal if the length is what is wrong.
    pub fn head(&self, ring: &[u8], position: u32, tail: u32) -> Result<Head, (u32, u32)> {
        let at = self.offset(position);
        let wire = &ring[at..at + 32];
        let (stored, computed) = (u32_at(wire, 28), head_crc(self.epoch, position, wire));
        if stored != computed {
            return Err((stored, computed));
        }
        let head = Head::parse(wire);
        let before_tail = head.granules() <= u64::from(tail.wrapping_sub(position));
        let before_end = head.granules() <= u64::from(self.capacity - position % self.capacity);
        let not_large = !head.is_data()
            || (head.len <= self.max_payload && u32::from(head.units()) * 16 <= head.len);
        if before_tail && before_end && not_large { Ok(head) } else { Err((stored, stored)) }
    }

    /// The payload and the attributes of a valid record.
    #[must_use]
    pub fn payload<'b>(&self, ring: &'b [u8], position: u32, head: &Head) -> &'b [u8] {
        let at = self.offset(position) + 32;
        &ring[at..at + head.len as usize]
    }
}

/// §6.1: whether these are a cursor segment of that ring.
///
/// # Errors
/// The first check that fails.
pub fn check_page(page: &[u8], epoch: u64) -> Result<(), Refusal> {
    if page.len() < 256 {
        return Err(Refusal::PageSize);
    }
    if &page[..8] != b"AQDCURSR" || u16_at(page, 8) != 1 || u32_at(page, 60) != crc(&page[..60]) {
        return Err(Refusal::CursorSegmentIdentity);
    }
    if u64_at(page, 16) == epoch { Ok(()) } else { Err(Refusal::PageEpoch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example_of_the_abi_comes_out() {
        let payload = b"hello, aqueduct\n";
        let head = Head {
            len: 16,
            kind: DATA,
            flags: 0,
            type_tag: 7,
            seq: 41,
            timestamp_ns: 1_700_000_000_123_456_789,
            payload_crc: crc(payload),
        };
        assert_eq!(head.payload_crc, 0x60E3_F6D7);
        assert_eq!(u32_at(&head.encode(0x0123_4567_89AB_CDEF, 2), 28), 0x355E_476A);
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    }
}
