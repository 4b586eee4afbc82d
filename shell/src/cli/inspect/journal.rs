//! A journal: its directory, or one of its files.

use std::path::Path;

use super::image::Image;
use super::report::{Damage, Report};
use super::why;
use crate::cli::text::written;
use crate::journal::Failure;
use crate::journal::cursors::{self, Copy};
use crate::journal::format::{
    BadBlock, CURSORS_MAGIC, GRANULE, HEADER_BYTES, SEGMENT_MAGIC, SEGMENT_USED, SegmentHeader,
    serial_of,
};
use crate::journal::history::{Ended, History, Piece};
use crate::journal::walk::{Cut, Step, Walk};

/// Looks at a directory. One without files of a journal may have journals in it.
pub(super) fn directory(path: &Path) -> Result<Report, Failure> {
    let history = History::open(path)?;
    let place = path.display().to_string();
    if history.pieces.is_empty() && history.cursors.is_none() {
        let mut report = Report::new("unknown", place);
        let mut inner: Vec<_> = std::fs::read_dir(path)
            .map_err(Failure::of("listing", path.display().to_string()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        inner.sort();
        for path in inner {
            let history = History::open(&path)?;
            if !history.pieces.is_empty() || history.cursors.is_some() {
                report.parts.push(whole(&history, &path.display().to_string()));
            }
        }
        return Ok(report);
    }
    Ok(whole(&history, &place))
}

fn whole(history: &History, place: &str) -> Report {
    let mut report = Report::new("journal", place);
    report.fact("segments", history.pieces.len() as u64);
    for piece in &history.pieces {
        let mut part = Report::new("journal segment", piece.name.clone());
        match &piece.header {
            Ok(header) => {
                describe(&mut part, header);
                let (mut records, mut bytes) = (0_u64, 0_u64);
                let walked = history.walk(piece, |_, found| {
                    records += u64::from(found.header.is_data());
                    bytes += found.bytes.len() as u64;
                    Ok(true)
                });
                part.fact("records", records);
                part.fact("record_bytes", bytes);
                match walked {
                    Ok(ends) => {
                        for end in &ends {
                            ended(&mut part, header, end, Some(piece));
                        }
                    }
                    Err(failure) => {
                        part.damaged(Damage::new("unreadable", failure.to_string()));
                    }
                }
            }
            Err(why) => {
                let mut block = history.block(piece).unwrap_or_default();
                if let Some((header, damage)) = mended(&mut block, *why) {
                    part.damaged(damage);
                    describe(&mut part, &header);
                } else {
                    part.damaged(bad(*why));
                }
            }
        }
        report.parts.push(part);
    }
    missing(history, &mut report);
    if let Some(gone) = history.gone() {
        report.damaged(Damage::new("missing", gone.to_string()));
    }
    match &history.cursors {
        Some(copies) => report.parts.push(copied(copies, cursors::NAME)),
        None if !history.pieces.is_empty() => {
            let text = "the file of the cursors is missing: where subscriptions are is not known";
            report.damaged(Damage::new("cursors", text));
        }
        None => {}
    }
    for name in &history.foreign {
        report.notes.push(format!("{name}: not a file of a journal"));
    }
    report
}

/// Says which segments are not there.
fn missing(history: &History, report: &mut Report) {
    for pair in history.pieces.windows(2) {
        let [one, next] = pair else { continue };
        if let (Some(one), Some(next)) = (serial_of(&one.name), serial_of(&next.name))
            && next > one + 1
        {
            let text = format!("segments {:#x} to {:#x} are missing", one + 1, next - 1);
            report.damaged(Damage::new("segment", text));
        }
    }
    for piece in &history.pieces {
        let Ok(header) = &piece.header else { continue };
        if serial_of(&piece.name) != Some(header.serial) {
            let text = format!("{} says that it is segment {:#x}", piece.name, header.serial);
            report.damaged(Damage::new("segment", text));
        }
    }
}

/// Looks at one file of a journal; `None` if it is none.
pub(super) fn file(image: &Image<'_>, place: &str) -> Option<Report> {
    let magic: [u8; 8] = image.bytes(0);
    if magic == CURSORS_MAGIC || image.bytes::<8>(4096) == CURSORS_MAGIC {
        return Some(match cursors::copies(image) {
            Ok(copies) => copied(&copies, place),
            Err(error) => {
                let mut report = Report::new("journal cursors", place);
                report.damaged(Damage::new("unreadable", error.to_string()));
                report
            }
        });
    }
    let mut report = Report::new("journal segment", place);
    let mut block = vec![0; HEADER_BYTES.min(usize::try_from(image.size()).unwrap_or(usize::MAX))];
    image.read_now(0, &mut block);
    let header = match SegmentHeader::decode(&block) {
        Ok(header) => header,
        Err(why) => match mended(&mut block, why) {
            Some((header, damage)) => {
                report.damaged(damage);
                header
            }
            None if magic == SEGMENT_MAGIC => {
                report.damaged(bad(why));
                return Some(report);
            }
            None => return None,
        },
    };
    describe(&mut report, &header);
    if let Err(error) = walk(image, &header, &mut report) {
        report.damaged(Damage::new("unreadable", error.to_string()));
    }
    Some(report)
}

fn walk(image: &Image<'_>, header: &SegmentHeader, report: &mut Report) -> std::io::Result<()> {
    let first = header.first_position;
    let space = image.size().saturating_sub(HEADER_BYTES as u64) / GRANULE;
    let limits = (first, first + space);
    let mut walk = Walk::new(image, header.epoch, first, limits, Some(header.first_seq));
    let (mut records, mut bytes) = (0_u64, 0_u64);
    let mut ends = Vec::new();
    loop {
        let cut = match walk.step()? {
            Step::Record(found) => {
                records += u64::from(found.header.is_data());
                bytes += found.bytes.len() as u64;
                continue;
            }
            Step::Cut(cut) => cut,
        };
        let (position, next_seq) = (walk.position(), walk.next_seq());
        let goes_on = cut != Cut::None && walk.skip_damage()?;
        ends.push(Ended { position, next_seq, cut, goes_on });
        if !goes_on {
            break;
        }
    }
    report.fact("records", records);
    report.fact("record_bytes", bytes);
    for end in &ends {
        ended(report, header, end, None);
    }
    Ok(())
}

fn describe(report: &mut Report, header: &SegmentHeader) {
    report.fact("ring", header.ring.clone());
    report.fact("serial", header.serial);
    report.fact("durability", header.durability.as_str());
    report.fact("epoch", format!("{:016x}", header.epoch));
    report.fact("first_position", header.first_position);
    report.fact("first_seq", header.first_seq);
    report.fact("created", written(header.created_ns));
}

/// Says where the records of a segment end, and why; `piece` is what its directory says of it.
fn ended(report: &mut Report, header: &SegmentHeader, end: &Ended, piece: Option<&Piece>) {
    let offset = HEADER_BYTES as u64 + (end.position - header.first_position) * GRANULE;
    if let Some(piece) = piece.filter(|piece| end.is_short(piece)) {
        let damage = Damage::new("missing", end.text(piece)).offset(offset).position(end.position);
        report.damaged(match end.missing(piece) {
            Some((first, last)) => damage.records(first, last),
            None => damage,
        });
        return;
    }
    if end.goes_on || piece.is_some_and(|piece| end.is_damage(piece)) {
        let kind = match end.cut {
            Cut::None | Cut::Blank => "blank",
            Cut::Header(_) => "record_header",
            Cut::Length { .. } => "length",
            Cut::Payload { .. } => "payload",
            Cut::Sequence { .. } => "sequence",
        };
        let (text, offset) = reason(&end.cut, offset);
        let damage = Damage::new(kind, text).offset(offset).position(end.position);
        report.damaged(match (end.cut, end.next_seq) {
            (Cut::Sequence { expected, found }, _) if found > expected => {
                damage.records(expected, found - 1)
            }
            (Cut::Payload { seq, .. }, _) | (_, Some(seq)) => damage.records(seq, seq),
            _ => damage,
        });
        return;
    }
    report.fact("end_position", end.position);
    if let Some(seq) = end.next_seq {
        report.fact("next_seq", seq);
    }
    if !matches!(end.cut, Cut::None | Cut::Blank) {
        report.notes.push(match piece {
            Some(_) => format!("torn end at byte {offset:#x}, never answered: {}", end.cut),
            None => format!(
                "torn end at byte {offset:#x}: {}; whether it was answered, the cursors beside the \
                 file tell: inspect the directory",
                end.cut
            ),
        });
    }
}

fn copied(copies: &[Copy; 2], place: &str) -> Report {
    let mut report = Report::new("journal cursors", place);
    let newest = copies.iter().flatten().max_by_key(|(_, counter)| *counter);
    if let Some((cursors, counter)) = newest {
        report.fact("counter", *counter);
        report.fact("epoch", format!("{:016x}", cursors.epoch));
        report.fact("published", cursors.published);
        report.fact("next_seq", cursors.next_seq);
        report.fact("ended_in_order", if cursors.is_end { "yes" } else { "no" });
        let places: Vec<String> =
            cursors.all().map(|(name, at)| format!("{name} at {at}")).collect();
        report.fact("subscriptions", places.join(", "));
    }
    for (place, copy) in copies.iter().enumerate() {
        if let Err(why) = copy {
            let offset = (place * 4096) as u64;
            let damage = Damage::new("cursors", format!("copy {place}: {why}"));
            match newest {
                // A copy that was not written yet, or torn: the other one is there for that.
                Some(_) => report.notes.push(damage.text),
                None => report.damaged(damage.offset(offset)),
            }
        }
    }
    report
}

/// Says what is wrong with a record that begins at an offset, and where: the one bit, if it is one.
fn reason(cut: &Cut, offset: u64) -> (String, u64) {
    match *cut {
        Cut::Header(crc) => {
            let Some((byte, bit)) = why::record_bit(crc.stored, crc.computed) else {
                return (cut.to_string(), offset);
            };
            let field = why::record_field(byte);
            (format!("{cut}: bit {bit} of byte {byte}, in {field}, is wrong"), offset)
        }
        Cut::Payload { bytes, stored, computed, .. } => {
            match why::flipped(stored, computed, bytes as usize) {
                Some((byte, bit)) => (
                    format!("{cut}; bit {bit} of byte {byte} of its payload is wrong"),
                    offset + GRANULE + byte as u64,
                ),
                None => (cut.to_string(), offset),
            }
        }
        _ => (cut.to_string(), offset),
    }
}

/// Puts right the one bit, or the magic, that is wrong in the block that a segment begins with;
/// returns what it says then, and the damage. `None` if it is more.
fn mended(block: &mut [u8], why: BadBlock) -> Option<(SegmentHeader, Damage)> {
    let used = block.get_mut(..SEGMENT_USED)?;
    let as_right = "it is read as if it were right";
    let (at, text) = if used.starts_with(&SEGMENT_MAGIC) {
        let (byte, bit) = why::mend(used, SEGMENT_USED - 4)?;
        let field = why::segment_field(byte);
        (byte, format!("{why}: bit {bit} of byte {byte}, in {field}, is wrong; {as_right}"))
    } else {
        // The checksum covers the magic: with it right, the rest tells.
        let found = used[..8].escape_ascii().to_string();
        used[..8].copy_from_slice(&SEGMENT_MAGIC);
        let right = SEGMENT_MAGIC.escape_ascii();
        (0, format!("the magic is \"{found}\", not \"{right}\"; {as_right}"))
    };
    let header = SegmentHeader::decode(block).ok()?;
    Some((header, Damage::new("header", text).offset(at as u64)))
}

fn bad(why: BadBlock) -> Damage {
    Damage::new("header", why.to_string()).offset(0)
}
