//! Memory of a process: a core dump, or any bytes in which segments may be.

use aqueduct_core::layout::{CURSOR_MAGIC, RING_MAGIC};
use memchr::memmem::Finder;

use super::image::{Image, Source};
use super::report::{Damage, Report};
use super::ring::Words;
use super::{cursor, ring};

/// Bytes that are searched at once, and how far two of these pieces overlap.
const PIECE_BYTES: u64 = 4 << 20;
const OVERLAP_BYTES: u64 = 8;
/// Segments are found where an allocator or the kernel puts them: at multiples of this.
const ALIGNMENT: u64 = 64;
/// Things found that are listed.
const PARTS_MAX: usize = 4096;
/// Program headers that are looked at.
const HEADERS_MAX: u64 = 1 << 20;

/// A mapping that is in the dump.
#[derive(Clone, Copy, Debug)]
struct Extent {
    address: u64,
    offset: u64,
    bytes: u64,
}

/// Looks for segments in a core dump of Linux; `None` if it is none.
pub(super) fn core_dump(source: &dyn Source, image: &Image<'_>, place: &str) -> Option<Report> {
    let ident: [u8; 16] = image.bytes(0);
    if !ident.starts_with(b"\x7fELF") || half(image, 16) != 4 {
        return None;
    }
    let mut report = Report::new("core dump", place);
    if ident[4] != 2 || ident[5] != 1 {
        report.damaged(Damage::new("elf", "only 64-bit little-endian dumps are read").offset(4));
        return Some(report);
    }
    let (extents, missing) = extents(image, &mut report);
    report.fact("mappings", extents.len() as u64);
    let total: u64 = extents.iter().map(|extent| extent.bytes).fold(0, u64::saturating_add);
    report.fact("mapped_bytes", total);
    let mut found = Search::default();
    // Mappings do not share bytes of a dump: one that says so is not searched without end.
    let mut left = image.size().saturating_mul(2);
    for extent in &extents {
        let offset = extent.offset;
        let Some(after) = left.checked_sub(extent.bytes.min(image.size())) else {
            report.damaged(Damage::new("elf", "its mappings overlap").offset(32));
            break;
        };
        left = after;
        let place = |at: u64| format!("address {:#x}", extent.address.wrapping_add(at - offset));
        // One whose magic is damaged is not found by it, but mappings begin with it.
        found.look(source, offset, extent.bytes, &place, Magic::Any);
        found.search(source, image, (offset, extent.bytes), extent.address, &place);
    }
    found.finish(&mut report);
    unreadable(image, &mut report);
    if !report.parts.iter().any(Report::is_known) && missing > 0 {
        report.notes.push(format!(
            "{missing} mappings are not in the dump; shared memory is in it if bit 1 of \
             /proc/PID/coredump_filter is set, as it is at first"
        ));
    }
    Some(report)
}

/// Looks for segments at any place of a file that is nothing we know.
pub(super) fn anything(source: &dyn Source, image: &Image<'_>, place: &str) -> Report {
    let mut report = Report::new("unknown", place);
    report.fact("bytes", image.size());
    let first: [u8; 8] = image.bytes(0);
    report.fact("begins_with", first.escape_ascii().to_string());
    let mut found = Search::default();
    let place = |at: u64| format!("byte {at:#x}");
    found.search(source, image, (0, image.size()), 0, &place);
    found.finish(&mut report);
    unreadable(image, &mut report);
    report
}

fn unreadable(image: &Image<'_>, report: &mut Report) {
    if let Some((at, error)) = image.failure() {
        report.damaged(Damage::new("unreadable", error.to_string()).offset(at));
    }
}

/// The mappings that a dump has, those that follow each other in one, and how many it has not.
fn extents(image: &Image<'_>, report: &mut Report) -> (Vec<Extent>, u64) {
    let (table, entry_bytes) = (number(image, 32), u64::from(half(image, 54)));
    let mut count = u64::from(half(image, 56));
    if count == 0xFFFF {
        // More than fit: the first section header says how many.
        count = u64::from(word(image, number(image, 40).saturating_add(44)));
    }
    if entry_bytes < 56 || count > HEADERS_MAX {
        let text = format!("{count} program headers of {entry_bytes} bytes are not possible");
        report.damaged(Damage::new("elf", text).offset(54));
        return (Vec::new(), 0);
    }
    let (mut extents, mut missing): (Vec<Extent>, u64) = (Vec::new(), 0);
    let mut cut = None;
    for index in 0..count {
        let at = table.saturating_add(index * entry_bytes);
        if at.saturating_add(56) > image.size() {
            let text = format!("the table of mappings ends after {index} of {count}");
            report.damaged(Damage::new("truncated", text).offset(image.size()));
            break;
        }
        if word(image, at) != 1 {
            continue;
        }
        let field = |field: u64| number(image, at + field);
        let (offset, address, bytes, mapped) = (field(8), field(16), field(32), field(40));
        if bytes < mapped {
            missing += 1;
        }
        let there = image.size().saturating_sub(offset).min(bytes);
        if there < bytes {
            cut.get_or_insert(offset.saturating_add(there));
        }
        if bytes == 0 {
            continue;
        }
        match extents.last_mut() {
            Some(last)
                if last.address.checked_add(last.bytes) == Some(address)
                    && last.offset.checked_add(last.bytes) == Some(offset) =>
            {
                last.bytes = last.bytes.saturating_add(bytes);
            }
            _ => extents.push(Extent { address, offset, bytes }),
        }
    }
    if let Some(at) = cut {
        let text = "the dump ends before its mappings do: a limit (ulimit -c) or a full disk";
        report.damaged(Damage::new("truncated", text).offset(at.min(image.size())));
    }
    (extents, missing)
}

fn half(image: &Image<'_>, at: u64) -> u16 {
    u16::from_le_bytes(image.bytes(at))
}

fn word(image: &Image<'_>, at: u64) -> u32 {
    u32::from_le_bytes(image.bytes(at))
}

fn number(image: &Image<'_>, at: u64) -> u64 {
    u64::from_le_bytes(image.bytes(at))
}

/// What a place may begin with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Magic {
    Ring,
    Cursor,
    Any,
}

/// What was found so far.
#[derive(Default)]
struct Search {
    parts: Vec<Report>,
    rings: Vec<Words>,
    /// Place in `parts`, offset, epoch, cursor.
    cursors: Vec<(usize, u64, u64, u32)>,
    /// Offsets that were looked at with success.
    known: Vec<u64>,
    /// Magics without a segment, as they are in programs.
    alone: u64,
    more: u64,
}

impl Search {
    fn look(
        &mut self,
        source: &dyn Source,
        at: u64,
        bytes: u64,
        place: &dyn Fn(u64) -> String,
        magic: Magic,
    ) -> bool {
        if self.known.contains(&at) {
            return true;
        }
        if self.parts.len() >= PARTS_MAX {
            self.more += 1;
            return true;
        }
        let image = Image::part(source, at, bytes);
        let found = match magic {
            Magic::Cursor => None,
            Magic::Ring | Magic::Any => ring::examine(&image, &place(at), true),
        };
        if let Some((report, words)) = found {
            self.parts.push(report);
            self.rings.extend(words);
            self.known.push(at);
            return true;
        }
        if magic == Magic::Ring {
            return false;
        }
        let Some((report, epoch, cursor)) = cursor::examine(&image, &place(at), true) else {
            return false;
        };
        self.cursors.push((self.parts.len(), at, epoch, cursor));
        self.parts.push(report);
        self.known.push(at);
        true
    }

    /// Searches a stretch for magics.
    fn search(
        &mut self,
        source: &dyn Source,
        image: &Image<'_>,
        (offset, bytes): (u64, u64),
        address: u64,
        place: &dyn Fn(u64) -> String,
    ) {
        let (rings, cursors) = (Finder::new(&RING_MAGIC), Finder::new(&CURSOR_MAGIC));
        let end = offset.saturating_add(bytes).min(image.size());
        let mut piece = Vec::new();
        let mut from = offset;
        loop {
            // Core dumps and images of disks are mostly holes.
            from = source.past_holes(from);
            if from >= end {
                break;
            }
            let there = (end - from).min(PIECE_BYTES + OVERLAP_BYTES);
            piece.resize(usize::try_from(there).unwrap_or(0), 0);
            image.read_now(from, &mut piece);
            let of = |finder: &Finder<'_>| -> Vec<usize> { finder.find_iter(&piece).collect() };
            let rings = of(&rings).into_iter().map(|at| (at, Magic::Ring));
            let mut places: Vec<(usize, Magic)> =
                rings.chain(of(&cursors).into_iter().map(|at| (at, Magic::Cursor))).collect();
            places.sort_unstable_by_key(|(at, _)| *at);
            for (at, magic) in places {
                let at = from + at as u64;
                let is_aligned =
                    address.wrapping_add(at - offset).is_multiple_of(ALIGNMENT) || address == 0;
                // What begins in the overlap is found again in the next piece.
                if !is_aligned || at >= from + PIECE_BYTES {
                    continue;
                }
                if !self.look(source, at, end - at, place, magic) {
                    self.alone += 1;
                }
            }
            from += PIECE_BYTES;
        }
    }

    fn finish(mut self, report: &mut Report) {
        for (part, offset, epoch, at) in self.cursors {
            if let Some(part) = self.parts.get_mut(part) {
                cursor::compare(part, offset, epoch, at, &self.rings);
            }
        }
        report.parts = self.parts;
        if self.alone > 0 {
            report.notes.push(format!("{} magics without a segment after them", self.alone));
        }
        if self.more > 0 {
            report.notes.push(format!("{} further segments are not listed", self.more));
        }
    }
}
