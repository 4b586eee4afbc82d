//! The records of a ring, one after the other, and an explanation of each place where there is
//! none.

use std::fmt::Write;

use aqueduct_client::Attributes;
use aqueduct_core::HeaderCrc;
use aqueduct_core::geometry::{Geometry, distance, granules_for, low32};
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{ATTRIBUTES_MAX_BYTES, CLOCK_REALTIME, GRANULE_BYTES, ring_word};

use super::image::Image;
use super::report::{Damage, Report};
use super::why;
use crate::cli::text::written;

/// Granules before a place in which a record that covers it is sought.
const SEARCH_BACK: u64 = 4096;
/// Earlier laps whose records are recognised.
const LAPS: u64 = 64;
/// Bytes of a payload that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// The records of one ring.
pub(super) struct Records<'i, 's> {
    image: &'i Image<'s>,
    geometry: &'i Geometry,
    framing: Framing,
    /// The word when it was first looked at.
    oldest: u32,
}

/// A valid header.
#[derive(Clone, Copy)]
struct Located {
    header: Header,
    end: u64,
}

/// Why there is no record.
enum Bad {
    Crc(HeaderCrc),
    /// The header is right, and what it says of its length is not possible here.
    Length(Header, &'static str),
}

/// What was counted on the way.
#[derive(Default)]
struct Counts {
    records: u64,
    padding: u64,
    attributes: u64,
    first: Option<(u64, u64)>,
    last: Option<(u64, u64)>,
    /// Granules that were overwritten while they were looked at.
    overwritten: u64,
}

impl<'i, 's> Records<'i, 's> {
    pub(super) fn new(image: &'i Image<'s>, geometry: &'i Geometry) -> Self {
        let oldest = image.word(ring_word::OLDEST);
        Self { image, geometry, framing: Framing::new(geometry.epoch()), oldest }
    }

    /// Counts the valid headers of a range.
    pub(super) fn count(&self, (from, to): (u64, u64)) -> u64 {
        let (mut position, mut count) = (from, 0);
        while position < to {
            match self.header_at(position, to) {
                Ok(located) => (position, count) = (located.end, count + 1),
                Err(_) => position = self.next_valid(position, to).unwrap_or(to),
            }
        }
        count
    }

    /// Lists those of a range whose beginning or end is a guess: from the first to the last that
    /// is there.
    pub(super) fn list_found(
        &self,
        (from, to): (u64, u64),
        next_seq: Option<u32>,
        report: &mut Report,
    ) {
        let first = match self.header_at(from, to) {
            Ok(_) => Some(from),
            Err(_) => self.next_valid(from, to),
        };
        let Some(first) = first else {
            report.notes.push("no record is left".to_owned());
            return;
        };
        let (mut position, mut last) = (first, first);
        while position < to {
            match self.header_at(position, to) {
                Ok(located) => (position, last) = (located.end, located.end),
                Err(_) => position = self.next_valid(position, to).unwrap_or(to),
            }
        }
        self.list((first, last), next_seq, report);
    }

    /// Checks every record from one position to another, and says what is missing.
    pub(super) fn list(&self, (from, to): (u64, u64), next_seq: Option<u32>, report: &mut Report) {
        let mut counts = Counts::default();
        let mut position = from;
        // Sequence number that comes next, if it is known.
        let mut expected: Option<u64> = None;
        // A stretch without records, whose loss the next record tells.
        let mut open: Option<Damage> = None;
        while position < to {
            let located = match self.header_at(position, to) {
                Ok(located) => located,
                Err(bad) => {
                    let next = self.next_valid(position, to).unwrap_or(to);
                    let damage = self.explain(position, next, (from, to), &bad);
                    if let Some(oldest) = self.overwritten(position) {
                        counts.overwritten += oldest.min(to) - position;
                        (position, expected) = (oldest.min(to), None);
                        continue;
                    }
                    open = Some(damage);
                    position = next;
                    continue;
                }
            };
            let header = located.header;
            if let Some(damage) = open.take() {
                report.damaged(lost(damage, expected, Some(header.seq)));
                expected = None;
            }
            if let Some(wanted) = expected.filter(|&wanted| wanted != header.seq) {
                let text = format!("record {} where {wanted} should follow", header.seq);
                let damage = self.place(Damage::new("sequence", text), position);
                report.damaged(lost(damage, expected, Some(header.seq)));
            }
            let is_data = header.is_data();
            expected = header.seq.checked_add(u64::from(is_data));
            let damage = if is_data { self.payload(position, &header) } else { None };
            if (damage.is_some() || !is_data)
                && let Some(oldest) = self.overwritten(position)
            {
                counts.overwritten += oldest.min(to) - position;
                (position, expected) = (oldest.min(to).max(position + 1), None);
                continue;
            }
            counts.add(&header, is_data && damage.as_ref().is_none_or(|it| it.kind != "payload"));
            if let Some(damage) = damage {
                report.damaged(damage.records(header.seq, header.seq));
            }
            position = located.end;
        }
        let missing = expected
            .zip(next_seq)
            .map(|(expected, next)| expected.wrapping_add(distance(low32(expected), next).into()));
        if let Some(damage) = open.take() {
            report.damaged(lost(damage, expected, missing));
        } else if let (Some(expected), Some(next)) = (expected, next_seq)
            && low32(expected) != next
        {
            self.unpublished(to, expected, next, report);
        }
        counts.describe(self.geometry, report);
    }

    /// Says why `next_seq` is not what follows the last record before `tail`.
    fn unpublished(&self, to: u64, expected: u64, next: u32, report: &mut Report) {
        if self.image.word(ring_word::TAIL) != low32(to) {
            // It was being published when the words were read.
            return;
        }
        let limit = to + u64::from(self.geometry.capacity());
        if self.header_at(to, limit).is_ok_and(|located| located.header.seq == expected) {
            // `next_seq` is stored just before `tail`.
            report.notes.push(format!(
                "records from {expected} on lie past `tail`, and `next_seq` says that {next} comes \
                 next: the producer ended while it published, or `tail` is wrong"
            ));
            return;
        }
        let text = format!(
            "the last record before `tail` is {}, and `next_seq` says that {next} comes next",
            expected.wrapping_sub(1)
        );
        let at = self.image.offset(ring_word::NEXT_SEQ as u64);
        report.damaged(Damage::new("next_seq", text).offset(at));
    }

    /// Where `oldest` is now, if the producer has moved it past this position.
    fn overwritten(&self, position: u64) -> Option<u64> {
        let oldest = self.image.word(ring_word::OLDEST);
        let ahead = distance(low32(position), oldest);
        let is_past = oldest != self.oldest && (1..1 << 31).contains(&ahead);
        is_past.then(|| position + u64::from(ahead))
    }

    fn header_at(&self, position: u64, end: u64) -> Result<Located, Bad> {
        let granule: [u8; GRANULE_BYTES] = self.granule(position);
        let header = self.framing.decode(low32(position), &granule).map_err(Bad::Crc)?;
        let granules = u64::from(granules_for(header.len));
        let why = if granules > u64::from(self.geometry.room_to_end(position)) {
            "the end of the data area"
        } else if granules > end - position {
            "`tail`"
        } else if header.is_data() && header.len > self.geometry.max_payload() {
            "the ring's largest payload"
        } else if header.is_data() && header.attribute_bytes() > header.len as usize {
            "its own payload with its attributes"
        } else {
            return Ok(Located { header, end: position + granules });
        };
        Err(Bad::Length(header, why))
    }

    /// The next position with a valid header. What lies past the end of the image has none.
    fn next_valid(&self, position: u64, end: u64) -> Option<u64> {
        let mut at = position + 1;
        while at < end {
            if self.geometry.offset_of(at) as u64 >= self.image.size() {
                at += u64::from(self.geometry.room_to_end(at));
                continue;
            }
            if self.header_at(at, end).is_ok() {
                return Some(at);
            }
            at += 1;
        }
        None
    }

    fn granule(&self, position: u64) -> [u8; GRANULE_BYTES] {
        self.image.bytes(self.geometry.offset_of(position) as u64)
    }

    fn place(&self, damage: Damage, position: u64) -> Damage {
        let offset = self.image.offset(self.geometry.offset_of(position) as u64);
        damage.offset(offset).position(low32(position).into())
    }

    /// Says why no record begins at a position, and how many granules hold none.
    fn explain(&self, position: u64, next: u64, range: (u64, u64), bad: &Bad) -> Damage {
        let (kind, mut text) = self.reason(position, range, bad);
        let granules = next - position;
        if granules > 1 {
            // Writing to a string cannot fail.
            let _ = write!(text, "; no record begins in {granules} granules from here");
        }
        self.place(Damage::new(kind, text), position)
    }

    fn reason(&self, position: u64, (from, end): (u64, u64), bad: &Bad) -> (&'static str, String) {
        let HeaderCrc { stored, computed } = match bad {
            Bad::Crc(crc) => *crc,
            Bad::Length(header, why) => {
                let granules = granules_for(header.len);
                let text = format!(
                    "the header is whole, of record {}, and its {granules} granules lead past {why}",
                    header.seq
                );
                return ("length", text);
            }
        };
        let granule = self.granule(position);
        let at = self.geometry.offset_of(position) as u64;
        if at >= self.image.size() {
            return ("truncated", "what should be here is past the end of the file".to_owned());
        }
        if granule == [0; GRANULE_BYTES] {
            return ("blank", "zeros where a record should begin".to_owned());
        }
        if position == from
            && let Some((start, header)) = self.covering(position, end)
        {
            let text = format!(
                "this is inside record {}, which begins {} granules before: `oldest` is wrong",
                header.seq,
                position - start
            );
            return ("oldest", text);
        }
        let crcs = format!("CRC {stored:#010x} stored, {computed:#010x} computed");
        let lap = u64::from(self.geometry.capacity());
        for laps in 1..=LAPS {
            for at in [position.wrapping_sub(laps * lap), position.wrapping_add(laps * lap)] {
                if let Ok(header) = self.framing.decode(low32(at), &granule) {
                    let text = format!(
                        "record {} of another lap, {laps} away: what should be here was never \
                         written, or `tail` is wrong",
                        header.seq
                    );
                    return ("stale", text);
                }
            }
        }
        let text = match why::record_bit(stored, computed) {
            Some((byte, bit)) => format!(
                "record header damaged ({crcs}): bit {bit} of byte {byte}, in {}, is wrong",
                why::record_field(byte)
            ),
            None => format!("record header damaged: {crcs}"),
        };
        ("record_header", text)
    }

    /// The record that begins before a position and reaches past it.
    fn covering(&self, position: u64, end: u64) -> Option<(u64, Header)> {
        let from = position.saturating_sub(SEARCH_BACK.min(self.geometry.capacity().into()));
        let located = (from..position)
            .rev()
            .find_map(|start| self.header_at(start, end).ok().map(|located| (start, located)))?;
        let (start, Located { header, end: covered }) = located;
        // One that was walked over ends here and covers nothing of it.
        (covered > position).then_some((start, header))
    }

    /// Checks a record's payload and attributes.
    fn payload(&self, position: u64, header: &Header) -> Option<Damage> {
        let from = self.geometry.offset_of(position) as u64 + GRANULE_BYTES as u64;
        let len = u64::from(header.len);
        if from + len > self.image.size() {
            let text = "its payload is cut off by the end of the file";
            return Some(self.place(Damage::new("payload", text), position));
        }
        let (mut crc, mut zeros) = (crc32fast::Hasher::new(), (0_u64, 0_u64));
        let mut run = 0_u64;
        let mut piece = vec![0; PIECE_BYTES.min(header.len as usize)];
        let mut at = 0;
        while at < len {
            let bytes = piece.len().min(usize::try_from(len - at).unwrap_or(usize::MAX));
            self.image.read(from + at, &mut piece[..bytes]);
            crc.update(&piece[..bytes]);
            for (index, byte) in piece[..bytes].iter().enumerate() {
                run = if *byte == 0 { run + 1 } else { 0 };
                if run > zeros.1 {
                    zeros = (at + index as u64 + 1 - run, run);
                }
            }
            at += bytes as u64;
        }
        let (stored, computed) = (header.payload_crc, crc.finalize());
        if stored != computed {
            let crcs = format!("CRC {stored:#010x} stored, {computed:#010x} computed");
            let mut text = format!("payload of {len} bytes damaged: {crcs}");
            let mut damage = Damage::new("payload", "");
            damage = self.place(damage, position);
            if let Some((byte, bit)) = why::flipped(stored, computed, header.len as usize) {
                // Writing to a string cannot fail.
                let _ = write!(text, "; bit {bit} of its byte {byte} is wrong");
                damage = damage.offset(self.image.offset(from + byte as u64));
            } else if zeros.1 >= 64 {
                let _ = write!(text, "; {} bytes from its byte {} are zeros", zeros.1, zeros.0);
            }
            damage.text = text;
            return Some(damage);
        }
        let block_bytes = header.attribute_bytes();
        if block_bytes > 0 {
            let mut block = [0; ATTRIBUTES_MAX_BYTES];
            self.image.read(from + len - block_bytes as u64, &mut block[..block_bytes]);
            if !Attributes::of(&block[..block_bytes]).are_whole() {
                let text = "its attributes are not whole, and were written so";
                return Some(self.place(Damage::new("attributes", text), position));
            }
        }
        None
    }
}

/// Says which records are lost between the number that should follow and the one that does.
fn lost(damage: Damage, expected: Option<u64>, found: Option<u64>) -> Damage {
    match (expected, found) {
        (Some(expected), Some(found)) if expected < found => damage.records(expected, found - 1),
        _ => damage,
    }
}

impl Counts {
    fn add(&mut self, header: &Header, is_whole: bool) {
        if !header.is_data() {
            self.padding += 1;
            return;
        }
        if is_whole {
            self.records += 1;
            self.attributes += u64::from(header.attribute_bytes() > 0);
            let place = (header.seq, header.timestamp_ns);
            self.first.get_or_insert(place);
            self.last = Some(place);
        }
    }

    fn describe(&self, geometry: &Geometry, report: &mut Report) {
        report.fact("records", self.records);
        report.fact("records_with_attributes", self.attributes);
        report.fact("padding", self.padding);
        for (names, place) in
            [(["first_seq", "first_time"], self.first), (["last_seq", "last_time"], self.last)]
        {
            let Some((seq, ns)) = place else { continue };
            report.fact(names[0], seq);
            if geometry.clock_id() == CLOCK_REALTIME {
                report.fact(names[1], written(ns));
            }
        }
        if self.overwritten > 0 {
            let granules = self.overwritten;
            report.notes.push(format!("{granules} granules were overwritten while they were read"));
        }
    }
}
