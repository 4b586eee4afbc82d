//! Frames one record: header, sequence number, checksums.
//!
//! Pure over private bytes: where they come from and when they are published is decided elsewhere.

use crate::attributes::Attributes;
use crate::crc::Crc;
use crate::crc::clmul::{Clmul, State};
use crate::layout::{
    ATTRIBUTES_UNIT_BYTES, GRANULE_BYTES, KIND_ATTRIBUTES, KIND_DATA, RecordHeader,
};
use crate::plain_crc::hash;
use core::mem::offset_of;
use zerocopy::IntoBytes;

const CRC_AT: usize = offset_of!(RecordHeader, header_crc);

/// Computes the CRC-32/ISO-HDLC of bytes; `b"123456789"` gives `0xCBF4_3926`. Infallible. Source:
/// CRC catalogue.
///
/// ```
/// assert_eq!(aqueduct_core::payload_crc(b"123456789"), 0xCBF4_3926);
/// ```
#[must_use]
#[inline]
pub fn payload_crc(bytes: &[u8]) -> u32 {
    hash(bytes)
}

/// The part of a record's header that the user chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Meta {
    /// The user's tag.
    pub type_tag: u16,
    /// Nanoseconds by the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
}

/// What a reader learns about a record besides its payload.
///
/// ```
/// use aqueduct_core::{AttributeBlock, Meta, Next, Ring};
///
/// let ring = Ring::<1024>::new();
/// let (mut producer, [mut reader]) = ring.split().expect("nobody has split it");
/// let mut room = [0; 16];
/// let block = AttributeBlock::write([("a", &b"b"[..])], &mut room)?;
/// let _ = producer.push_with(Meta { type_tag: 7, timestamp_ns: 5 }, b"payload", block)?;
///
/// let mut buf = [0; 64];
/// let Next::Record(record) = reader.next(&mut buf)? else { panic!("it was pushed") };
/// assert_eq!((record.seq, record.type_tag, record.timestamp_ns, record.len), (0, 7, 5, 7));
/// assert_eq!(record.bytes(), 7 + 16);
/// assert_eq!(record.payload(&buf), b"payload");
/// assert_eq!(record.attributes(&buf).get("a"), Some(&b"b"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record {
    /// Sequence number among the DATA records of the ring's epoch, from 0.
    pub seq: u64,
    /// Nanoseconds by the ring's clock; 0 if unknown.
    pub timestamp_ns: u64,
    /// Payload bytes.
    pub len: usize,
    /// The user's tag.
    pub type_tag: u16,
    /// Zero in ABI 1.2; bits without a meaning yet are ignored.
    pub flags: u8,
    /// Length of the attribute block after the payload, in units of 16 bytes; 0: no attributes.
    pub attribute_units: u8,
    /// Its position in the ring.
    pub position: u32,
}

impl Record {
    /// Returns the bytes that a buffer needs for it: payload and attributes.
    #[must_use]
    #[inline]
    pub const fn bytes(&self) -> usize {
        self.len + self.attribute_units as usize * ATTRIBUTES_UNIT_BYTES
    }

    /// Returns its payload in the buffer into which it was copied. Returns no bytes if the buffer
    /// is another one that is too short; a debug build panics.
    #[must_use]
    #[inline]
    pub fn payload<'b>(&self, copied: &'b [u8]) -> &'b [u8] {
        debug_assert!(self.len <= copied.len(), "the record was copied into another buffer");
        copied.get(..self.len).unwrap_or_default()
    }

    /// Returns its attributes in the buffer into which it was copied, or in any bytes that begin
    /// with payload and attribute block. Never panics, whatever the bytes are.
    #[must_use]
    #[inline]
    pub fn attributes<'b>(&self, copied: &'b [u8]) -> Attributes<'b> {
        Attributes::of(copied.get(self.len..self.bytes()).unwrap_or_default())
    }
}

/// A record's header in the machine's own integers, without its CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Bytes after the header: the payload and the attribute block.
    pub len: u32,
    /// One of the `KIND_` constants of [`layout`](crate::layout), or unknown.
    pub kind: u8,
    /// With attributes: length of their block, units. Otherwise zero.
    pub flags: u8,
    /// The user's tag.
    pub type_tag: u16,
    /// Sequence number of this DATA record, or of the next one.
    pub seq: u64,
    /// Nanoseconds by the ring's clock.
    pub timestamp_ns: u64,
    /// CRC-32 of the payload and the attribute block.
    pub payload_crc: u32,
}

impl Header {
    /// Describes a record that readers skip.
    #[must_use]
    pub const fn padding(kind: u8, payload_bytes: u32, next_seq: u64) -> Self {
        Self {
            len: payload_bytes,
            kind,
            flags: 0,
            type_tag: 0,
            seq: next_seq,
            timestamp_ns: 0,
            payload_crc: 0,
        }
    }

    /// Returns the first 24 bytes as little-endian numbers.
    #[inline]
    pub(crate) const fn first_numbers(&self) -> [u64; 3] {
        let a = self.len as u64
            | (self.kind as u64) << 32
            | (self.flags as u64) << 40
            | (self.type_tag as u64) << 48;
        [a, self.seq, self.timestamp_ns]
    }

    /// Takes apart 32 bytes given as little-endian numbers, without the header's CRC.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "takes the fields apart")]
    pub(crate) const fn of_numbers([a, seq, timestamp_ns, crcs]: [u64; 4]) -> Self {
        let (kind, flags, type_tag) = ((a >> 32) as u8, (a >> 40) as u8, (a >> 48) as u16);
        Self { len: a as u32, kind, flags, type_tag, seq, timestamp_ns, payload_crc: crcs as u32 }
    }

    /// Returns what a user learns of the record without attributes at `position`.
    #[inline]
    pub(crate) const fn plain_record_at(&self, position: u32) -> Record {
        let &Self { seq, timestamp_ns, len, type_tag, flags, .. } = self;
        Record {
            seq,
            timestamp_ns,
            len: len as usize,
            type_tag,
            flags,
            attribute_units: 0,
            position,
        }
    }

    /// Returns what a user learns of the record at `position`, whose header is valid.
    #[inline]
    pub(crate) const fn record_at(&self, position: u32) -> Record {
        let plain = self.plain_record_at(position);
        if self.attribute_bytes() == 0 {
            return plain;
        }
        let len = plain.len.saturating_sub(self.attribute_bytes());
        Record { len, flags: 0, attribute_units: self.flags, ..plain }
    }

    /// Returns whether this is a user's record.
    #[must_use]
    #[inline]
    pub const fn is_data(&self) -> bool {
        self.kind & !KIND_ATTRIBUTES == KIND_DATA
    }

    /// Returns whether this is a user's record without attributes.
    #[must_use]
    #[inline]
    pub(crate) const fn is_plain_data(&self) -> bool {
        self.kind == KIND_DATA
    }

    /// Returns the bytes of its attribute block.
    #[must_use]
    #[inline]
    pub const fn attribute_bytes(&self) -> usize {
        if self.kind == KIND_DATA | KIND_ATTRIBUTES {
            self.flags as usize * ATTRIBUTES_UNIT_BYTES
        } else {
            0
        }
    }
}

/// The stored and the computed CRC of a header that fails its check.
///
/// ```
/// use aqueduct_core::recovery::{Bound, Checkpoint, Cut, recover};
/// use aqueduct_core::{
///     HeaderCrc, Memory, MemoryMut, Meta, Producer, Region, RingConfig, Segment,
/// };
///
/// let ring = Segment::<{ 256 + 1024 }>::new();
/// let config = RingConfig::new("events", 0x5eed_5f0d, 1024);
/// let mut producer: Producer<Region> = Producer::create(ring.region(), &config)?;
/// let _ = producer.push(Meta::default(), b"one")?;
/// let mut length = [0; 8];
/// ring.region().read(256, &mut length);
/// length[0] ^= 1; // of the first record's header
/// ring.region().write(256, &length);
/// let found = recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail)?;
/// let Cut::Header(HeaderCrc { stored, computed }) = found.cut else { panic!("it is damaged") };
/// assert_ne!(stored, computed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct HeaderCrc {
    /// In the header.
    pub stored: u32,
    /// Of epoch, position and header.
    pub computed: u32,
}

/// Encodes and checks the headers of one ring.
///
/// Caches the initial CRC states: creating one runs CPU feature detection, which costs as much as
/// checksumming a small record.
#[derive(Clone, Debug)]
pub struct Framing {
    /// The state after the eight bytes of the epoch, with which every record begins.
    epoch: Crc,
    /// Kept where making another asks the processor.
    #[cfg(not(target_os = "none"))]
    empty: Crc,
}

impl Framing {
    /// Prepares for the ring with this epoch.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self::by(Crc::new(), epoch)
    }

    pub(crate) fn by(empty: Crc, epoch: u64) -> Self {
        let mut behind = empty.clone();
        behind.update(&epoch.to_le_bytes());
        Self {
            epoch: behind,
            #[cfg(not(target_os = "none"))]
            empty,
        }
    }

    /// Computes [`payload_crc`] without asking the processor again.
    #[must_use]
    #[inline]
    pub fn payload_crc(&self, bytes: &[u8]) -> u32 {
        let mut crc = self.empty_crc();
        crc.update(bytes);
        crc.finalize()
    }

    /// Returns the state before the first byte of a payload.
    #[inline]
    pub(crate) fn empty_crc(&self) -> Crc {
        #[cfg(not(target_os = "none"))]
        return self.empty.clone();
        #[cfg(target_os = "none")]
        self.epoch.restarted()
    }

    /// Returns the state after the epoch, if this processor multiplies without carries.
    #[inline]
    pub(crate) const fn clmul(&self) -> Option<(Clmul, State)> {
        self.epoch.clmul()
    }

    /// Encodes the 32 bytes of a header at `position`.
    #[must_use]
    #[cfg_attr(not(target_os = "none"), inline)]
    #[cfg_attr(target_os = "none", inline(never))]
    pub fn encode(&self, position: u32, header: &Header) -> [u8; GRANULE_BYTES] {
        let [a, b, c] = header.first_numbers();
        let crcs = u64::from(header.payload_crc);
        let mut wire = [a, b, c, crcs].map(u64::to_le);
        let crc = self.crc(position, wire.as_bytes());
        wire[3] = (crcs | u64::from(crc) << 32).to_le();
        zerocopy::transmute!(wire)
    }

    /// Checks 32 private bytes that were copied from `position`.
    ///
    /// # Errors
    /// [`HeaderCrc`] if they are not a header written for this ring and this position.
    #[inline]
    pub fn decode(&self, position: u32, bytes: &[u8; GRANULE_BYTES]) -> Result<Header, HeaderCrc> {
        self.decode_with_crc(position, bytes).map(|(header, _)| header)
    }

    /// Does the same as [`decode`](Self::decode), and returns the stored CRC too.
    #[inline]
    pub(crate) fn decode_with_crc(
        &self,
        position: u32,
        bytes: &[u8; GRANULE_BYTES],
    ) -> Result<(Header, u32), HeaderCrc> {
        let wire: RecordHeader = zerocopy::transmute!(*bytes);
        let (stored, computed) = (wire.header_crc.get(), self.crc(position, bytes));
        if stored != computed {
            return Err(HeaderCrc { stored, computed });
        }
        let header = Header {
            len: wire.len.get(),
            kind: wire.kind,
            flags: wire.flags,
            type_tag: wire.type_tag.get(),
            seq: wire.seq.get(),
            timestamp_ns: wire.timestamp_ns.get(),
            payload_crc: wire.payload_crc.get(),
        };
        Ok((header, stored))
    }

    /// Computes the CRC of epoch ‖ position ‖ the first 28 bytes of `header`.
    #[inline]
    fn crc(&self, position: u32, header: &[u8]) -> u32 {
        if cfg!(target_os = "none") {
            // Tables gain nothing from one long piece, and the copy costs as much as its CRC.
            let mut crc = self.epoch.clone();
            crc.update(&position.to_le_bytes());
            crc.update(&header[..CRC_AT]);
            return crc.finalize();
        }
        let mut input = [0; 4 + CRC_AT];
        input[..4].copy_from_slice(&position.to_le_bytes());
        input[4..].copy_from_slice(&header[..CRC_AT]);
        let mut crc = self.epoch.clone();
        crc.update(&input);
        crc.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: u64 = 0x0123_4567_89ab_cdef;

    fn hello() -> Header {
        Header {
            len: 16,
            kind: KIND_DATA,
            flags: 0,
            type_tag: 7,
            seq: 41,
            timestamp_ns: 1_700_000_000_123_456_789,
            payload_crc: payload_crc(b"hello, aqueduct\n"),
        }
    }

    #[test]
    fn data_header_encodes_to_the_worked_example_of_the_abi() {
        assert_eq!(hello().payload_crc, 0x60E3_F6D7);
        let bytes = Framing::new(EPOCH).encode(2, &hello());
        assert_eq!(bytes[28..], 0x355E_476A_u32.to_le_bytes());
        assert_eq!(bytes[..8], [0x10, 0, 0, 0, 1, 0, 7, 0]);
        assert_eq!(bytes[16..24], [0x15, 0xcd, 0x85, 0x3d, 0xfe, 0x9c, 0x97, 0x17]);
    }

    #[test]
    fn pad_header_encodes_to_the_worked_example_of_the_abi() {
        let bytes =
            Framing::new(EPOCH).encode(14, &Header::padding(crate::layout::KIND_PAD, 32, 42));
        assert_eq!(bytes[28..], 0x1B9B_E7F1_u32.to_le_bytes());
    }

    #[test]
    fn decode_returns_what_was_encoded_and_only_at_its_position_and_epoch() {
        let framing = Framing::new(EPOCH);
        let bytes = framing.encode(2, &hello());
        assert_eq!(framing.decode(2, &bytes), Ok(hello()));
        assert!(framing.decode(3, &bytes).is_err());
        assert!(framing.decode(2 + (1 << 20), &bytes).is_err());
        assert!(Framing::new(EPOCH + 1).decode(2, &bytes).is_err());
    }

    #[test]
    fn every_single_bit_flip_in_a_header_is_detected() {
        let framing = Framing::new(EPOCH);
        let good = framing.encode(2, &hello());
        for bit in 0..256 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(framing.decode(2, &bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn payload_crc_gives_the_check_value_of_the_catalogue() {
        assert_eq!(payload_crc(b"123456789"), 0xCBF4_3926);
    }
}
