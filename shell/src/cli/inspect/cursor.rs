//! A cursor segment: whose it is, and where its reader is.

use aqueduct_core::geometry::distance;
use aqueduct_core::layout::{CURSOR_BYTES_MIN, CURSOR_MAGIC, cursor_word};

use super::image::Image;
use super::report::{Damage, Report};
use super::ring::Words;
use super::why;

/// Bytes of the part that the producer writes.
const IDENTITY_BYTES: usize = 64;
const CRC_AT: usize = 60;

/// Looks at the cursor segment at the beginning of the image; `None` if there is none. Returns its
/// epoch and its cursor, too. With `certain`, only where there is no doubt.
pub(super) fn examine(image: &Image<'_>, place: &str, certain: bool) -> Option<(Report, u64, u32)> {
    let mut identity: [u8; IDENTITY_BYTES] = image.bytes(0);
    let mut report = Report::new("cursor segment", place);
    let crc = |identity: &[u8; IDENTITY_BYTES]| {
        let [.., a, b, c, d] = *identity;
        (u32::from_le_bytes([a, b, c, d]), aqueduct_core::payload_crc(&identity[..CRC_AT]))
    };
    if !identity.starts_with(&CURSOR_MAGIC) {
        let found = identity;
        identity[..8].copy_from_slice(&CURSOR_MAGIC);
        let (stored, computed) = crc(&identity);
        if stored != computed {
            return None;
        }
        let text = format!("the magic is \"{}\", not \"AQDCURSR\"", found[..8].escape_ascii());
        report.damaged(Damage::new("magic", text).offset(image.offset(0)));
    }
    let (stored, computed) = crc(&identity);
    if stored != computed {
        let crcs = format!("CRC {stored:#010x} stored, {computed:#010x} computed");
        let mended = why::mend(&mut identity, CRC_AT);
        if certain && mended.is_none() {
            return None;
        }
        let text = match mended {
            Some((byte, bit)) => format!(
                "identity damaged ({crcs}): bit {bit} of byte {byte}, in {}, is wrong",
                why::cursor_field(byte)
            ),
            None => format!("identity damaged: {crcs}"),
        };
        let at = mended.map_or(0, |(byte, _)| byte as u64);
        report.damaged(Damage::new("identity", text).offset(image.offset(at)));
    }
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&identity[16..24]);
    let epoch = u64::from_le_bytes(epoch);
    let name = &identity[24..56];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    report.fact("subscription", String::from_utf8_lossy(&name[..end]).into_owned());
    report.fact("epoch", format!("{epoch:016x}"));
    if image.size() < CURSOR_BYTES_MIN as u64 {
        let text = format!(
            "it ends after {} bytes; a cursor segment has {CURSOR_BYTES_MIN}",
            image.size()
        );
        report.damaged(Damage::new("truncated", text).offset(image.offset(image.size())));
    }
    let cursor = image.word(cursor_word::CURSOR);
    report.fact("cursor", cursor);
    let waiting = image.word(cursor_word::WAITING);
    let (mode, tail) = (waiting & 3, waiting >> 2);
    match mode {
        0 if waiting == 0 => report.fact("reader", "awake"),
        1 => report.fact("reader", format!("sleeps by futex at {tail}")),
        2 => report.fact("reader", format!("sleeps by socket at {tail}")),
        _ => {
            let text = format!("`waiting` is {waiting:#x}, of an unknown mode");
            let at = image.offset(cursor_word::WAITING as u64);
            report.damaged(Damage::new("waiting", text).offset(at));
        }
    }
    report.fact("corrupt", image.word(cursor_word::CORRUPT));
    report.fact("lost_records", image.word(cursor_word::LOST));
    report.fact("missed_wakes", image.word(cursor_word::MISSED_WAKES));
    if let Some((at, error)) = image.failure() {
        report.damaged(Damage::new("unreadable", error.to_string()).offset(at));
    }
    Some((report, epoch, cursor))
}

/// Compares a cursor with the ring of its epoch.
pub(super) fn compare(report: &mut Report, offset: u64, epoch: u64, cursor: u32, rings: &[Words]) {
    let Some(ring) = rings.iter().find(|ring| ring.epoch == epoch) else {
        report.notes.push("the ring of this epoch is not here".to_owned());
        return;
    };
    let (tail, behind) = (ring.tail, distance(cursor, ring.tail));
    if behind <= ring.capacity {
        report.fact("behind_bytes", u64::from(behind) * 32);
        return;
    }
    let text = format!(
        "the cursor is {cursor} and the ring's tail {tail}: more than its capacity of {} apart; \
         such a reader is evicted",
        ring.capacity
    );
    let damage = Damage::new("cursor", text).position(cursor.into());
    report.damaged(damage.offset(offset + cursor_word::CURSOR as u64));
}
