//! What a ring's header says, also one that is damaged.

use aqueduct_core::geometry::Geometry;
use aqueduct_core::layout::{ABI_MAJOR, MAX_CAPACITY, MIN_CAPACITY, RING_MAGIC};

use super::image::Image;
use super::report::{Damage, Report};
use super::why;
use crate::cli::text::written;

/// Bytes of the header.
const BYTES: usize = 128;
const CRC_AT: usize = 124;

/// A header that was understood, damaged or not.
pub(super) struct Header {
    bytes: [u8; BYTES],
    /// `None`: it cannot be read as a ring.
    pub(super) geometry: Option<Geometry>,
    pub(super) damage: Vec<Damage>,
    /// Whether there is no doubt that it is a ring's.
    pub(super) is_certain: bool,
}

impl Header {
    /// Reads the header at the beginning of the image; `None` if there is none.
    pub(super) fn read(image: &Image<'_>) -> Option<Self> {
        let mut header =
            Self { bytes: image.bytes(0), geometry: None, damage: Vec::new(), is_certain: true };
        let has_magic = header.bytes.starts_with(&RING_MAGIC);
        if !has_magic {
            // The checksum covers the magic: with it right, the rest tells.
            let found = header.bytes;
            header.bytes[..8].copy_from_slice(&RING_MAGIC);
            if header.stored() != header.computed() {
                return None;
            }
            let found = found[..8].escape_ascii();
            header.damage.push(
                Damage::new("magic", format!("the magic is \"{found}\", not \"AQUEDUCT\""))
                    .offset(image.offset(0)),
            );
        }
        header.check(image);
        Some(header)
    }

    fn check(&mut self, image: &Image<'_>) {
        let (stored, computed) = (self.stored(), self.computed());
        if stored != computed {
            let crcs = format!("CRC {stored:#010x} stored, {computed:#010x} computed");
            let mended = why::mend(&mut self.bytes, CRC_AT);
            self.is_certain = mended.is_some() || self.plausible() >= 3;
            let text = match mended {
                Some((byte, bit)) => format!(
                    "ring header damaged ({crcs}): bit {bit} of byte {byte}, in {}, is wrong; it \
                     is read as if it were right",
                    why::ring_field(byte)
                ),
                None => format!("ring header damaged: {crcs}"),
            };
            let at = mended.map_or(0, |(byte, _)| byte as u64);
            self.damage.push(Damage::new("header", text).offset(image.offset(at)));
        }
        if self.u16(8) != ABI_MAJOR {
            let text = format!("ABI major {}; this program knows {ABI_MAJOR}", self.u16(8));
            self.damage.push(Damage::new("version", text).offset(image.offset(8)));
            return;
        }
        // Whether all of it is there is another question.
        let geometry = Geometry::new(
            self.u64(16),
            self.u32(32),
            self.u32(36),
            self.u32(12),
            self.u32(40),
            usize::MAX,
        );
        match geometry {
            Ok(geometry) => self.geometry = Some(geometry),
            Err(error) => {
                let damage = Damage::new("header", error.to_string());
                self.damage.push(damage.offset(image.offset(0)));
            }
        }
    }

    /// How many of four values could be those of a ring.
    fn plausible(&self) -> u32 {
        let capacity = self.u32(32);
        let is_capacity =
            (MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) && capacity.is_power_of_two();
        let offset = self.u32(12);
        [
            self.u16(8) == ABI_MAJOR,
            is_capacity,
            (256..=1 << 20).contains(&offset) && offset.is_multiple_of(64),
            u64::from(self.u32(36)) <= u64::from(capacity) * 16 && self.u32(36) > 0,
        ]
        .map(u32::from)
        .iter()
        .sum()
    }

    /// Adds what it says.
    pub(super) fn describe(&self, report: &mut Report) {
        let name = &self.bytes[48..112];
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        report.fact("name", String::from_utf8_lossy(&name[..end]).into_owned());
        report.fact("epoch", format!("{:016x}", self.u64(16)));
        report.fact("created", written(self.u64(24)));
        report.fact("capacity_bytes", u64::from(self.u32(32)) * 32);
        report.fact("max_payload_bytes", self.u32(36));
        match self.u32(40) {
            0 => report.fact("clock", "realtime"),
            1 => report.fact("clock", "monotonic"),
            u32::MAX => report.fact("clock", "private"),
            other => report.fact("clock", other),
        }
        report.fact("abi", format!("{}.{}", self.u16(8), self.u16(10)));
        report.fact("data_offset", self.u32(12));
    }

    fn stored(&self) -> u32 {
        self.u32(CRC_AT)
    }

    fn computed(&self) -> u32 {
        aqueduct_core::payload_crc(&self.bytes[..CRC_AT])
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.field(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.field(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.field(at))
    }

    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[at..at + N]);
        field
    }
}
