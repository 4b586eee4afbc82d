//! A ring as its readers see it: the header checked once, records located and checked on demand.
//!
//! Trusts nothing: lengths are checked before they are used.

use core::sync::atomic::Ordering;

use zerocopy::{FromZeros, IntoBytes};

use super::ReadError;
use crate::geometry::{Geometry, GeometryError, granules_for, low32};
use crate::layout::{GRANULE_BYTES, RING_MAGIC, RingHeader};
use crate::memory::Memory;
use crate::record::{Framing, Header, HeaderCrc, Record};
use crate::transfer::{read_header, read_with_crc};

/// A payload's CRC is computed in pieces of this many bytes.
const PIECE_BYTES: usize = 256;
const _: () = assert!(PIECE_BYTES.is_multiple_of(GRANULE_BYTES));

/// A valid header and what follows from it.
#[derive(Clone, Copy)]
pub(crate) struct Located {
    pub(super) header: Header,
    pub(super) position: u64,
    pub(super) end: u64,
}

impl Located {
    /// Returns its header.
    #[inline]
    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns where it begins.
    pub(crate) const fn position(&self) -> u64 {
        self.position
    }

    /// Returns the position just past it.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Returns what a user learns of it.
    #[inline]
    pub(crate) const fn record(&self) -> Record {
        self.header.record_at(low32(self.position))
    }
}

/// A ring's segment with what is needed to read a header in it.
#[derive(Clone)]
pub(crate) struct View<R> {
    pub(super) ring: R,
    pub(super) geometry: Geometry,
    pub(super) framing: Framing,
}

impl<R: Memory> View<R> {
    /// Copies and checks the ring's header.
    pub(crate) fn open(ring: R) -> Result<Self, GeometryError> {
        let needed = size_of::<RingHeader>() as u64;
        if (ring.size() as u64) < needed {
            return Err(GeometryError::SegmentTooSmall { bytes: ring.size() as u64, needed });
        }
        let mut magic = [0; 8];
        ring.read(0, &mut magic);
        if magic != RING_MAGIC {
            return Err(GeometryError::Magic { found: magic });
        }
        // ORDER(create): Acquire. Seeing the magic, we see the header. Pairs with the last fence of
        // `Producer::create`.
        ring.fence(Ordering::Acquire);
        let mut header = RingHeader::new_zeroed();
        ring.read(0, header.as_mut_bytes());
        let geometry = Geometry::from_header(&header, ring.size())?;
        Ok(Self { ring, geometry, framing: Framing::new(geometry.epoch()) })
    }

    /// Returns what never changes in the life of the ring.
    pub(crate) const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Returns the segment.
    pub(crate) const fn ring(&self) -> &R {
        &self.ring
    }

    /// Returns the header at a position before `tail`, if it is valid there (ABI §3). For a header
    /// whose CRC is right and whose length is not, both CRCs of the error are the same.
    #[inline]
    pub(crate) fn header_at(&self, position: u64, tail: u64) -> Result<Located, HeaderCrc> {
        let (header, stored) = read_header(
            &self.ring,
            self.geometry.offset_of(position),
            &self.framing,
            low32(position),
        )?;
        let granules = u64::from(granules_for(header.len));
        let fits = granules <= tail - position
            && granules <= u64::from(self.geometry.room_to_end(position))
            && (!header.is_data()
                || header.len <= self.geometry.max_payload()
                    && header.attribute_bytes() <= header.len as usize);
        if fits {
            Ok(Located { header, position, end: position + granules })
        } else {
            Err(HeaderCrc { stored, computed: stored })
        }
    }

    /// Returns the first valid header past `position`.
    pub(crate) fn next_valid(&self, position: u64, tail: u64) -> Option<Located> {
        (position + 1..tail).find_map(|position| self.header_at(position, tail).ok())
    }

    /// Computes the CRC of a located payload and its attributes piece by piece, without a buffer
    /// for the whole.
    pub(crate) fn crc_of_payload(&self, located: &Located) -> u32 {
        self.each_piece(located, |_| ())
    }

    /// Shows a located payload and its attributes piece by piece and returns their CRC.
    fn each_piece(&self, located: &Located, mut show: impl FnMut(&[u8])) -> u32 {
        let mut crc = self.framing.empty_crc();
        let mut piece = [0; PIECE_BYTES];
        let (mut at, mut left) = (self.payload_offset(located), located.header.len as usize);
        while left > 0 {
            let len = left.min(piece.len());
            read_with_crc(&self.ring, at, &mut piece[..len], &mut crc);
            show(&piece[..len]);
            (at, left) = (at + len, left - len);
        }
        crc.finalize()
    }

    /// Returns the byte offset of a located record's payload.
    #[inline]
    pub(crate) const fn payload_offset(&self, located: &Located) -> usize {
        self.geometry.offset_of(located.position) + GRANULE_BYTES
    }

    /// Copies a located payload without its attributes into the start of `buf` and returns the CRC
    /// of both.
    pub(crate) fn copy_start(&self, located: &Located, buf: &mut [u8]) -> Result<u32, ReadError> {
        let needed = located.record().len;
        if needed == located.header.len as usize {
            return self.copy_payload(located, buf);
        }
        let given = buf.len();
        let Some(mut rest) = buf.get_mut(..needed) else {
            return Err(ReadError::BufferTooSmall { needed, given });
        };
        let crc = self.each_piece(located, |piece| {
            let left = core::mem::take(&mut rest);
            let (copy, after) = left.split_at_mut(left.len().min(piece.len()));
            copy.copy_from_slice(&piece[..copy.len()]);
            rest = after;
        });
        Ok(crc)
    }

    /// Copies a located payload, with its attributes after it, into the start of `buf` and returns
    /// the CRC of the copy.
    #[inline]
    pub(crate) fn copy_payload(&self, located: &Located, buf: &mut [u8]) -> Result<u32, ReadError> {
        let len = located.header.len as usize;
        let Some(copy) = buf.get_mut(..len) else {
            return Err(ReadError::BufferTooSmall { needed: len, given: buf.len() });
        };
        let mut crc = self.framing.empty_crc();
        read_with_crc(&self.ring, self.payload_offset(located), copy, &mut crc);
        Ok(crc.finalize())
    }
}
