//! A ring's segment: its header, its control words, and every record in it.

use aqueduct_core::geometry::{Geometry, distance};
use aqueduct_core::layout::{STATE_CLOSED, ring_word};

use super::header::Header;
use super::image::Image;
use super::records::Records;
use super::report::{Damage, Report};

/// What other segments are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) epoch: u64,
    pub(super) capacity: u32,
    pub(super) tail: u32,
}

/// Looks at the ring at the beginning of the image; `None` if there is none. With `certain`, only
/// where there is no doubt.
pub(super) fn examine(
    image: &Image<'_>,
    place: &str,
    certain: bool,
) -> Option<(Report, Option<Words>)> {
    let header = Header::read(image)?;
    if certain && !header.is_certain {
        return None;
    }
    let mut report = Report::new("ring", place);
    header.describe(&mut report);
    for damage in header.damage {
        report.damaged(damage);
    }
    let words = header.geometry.map(|geometry| contents(image, &geometry, &mut report));
    if let Some((at, error)) = image.failure() {
        report.damaged(Damage::new("unreadable", error.to_string()).offset(at));
    }
    Some((report, words))
}

/// `oldest`, `tail` and `next_seq` of one moment, also if the producer goes on.
fn control_words(image: &Image<'_>) -> (u32, u32, u32) {
    let mut words = (0, 0, 0);
    for _ in 0..16 {
        let of = |at| image.word(at);
        words = (of(ring_word::OLDEST), of(ring_word::TAIL), of(ring_word::NEXT_SEQ));
        if of(ring_word::OLDEST) == words.0 {
            break;
        }
    }
    words
}

fn contents(image: &Image<'_>, geometry: &Geometry, report: &mut Report) -> Words {
    let needed = geometry.segment_bytes() as u64;
    if image.size() < needed {
        let text = format!("it ends after {} bytes; the ring needs {needed}", image.size());
        report.damaged(Damage::new("truncated", text).offset(image.offset(image.size())));
    }
    let (oldest, tail, next_seq) = control_words(image);
    // What was read with the header is older than this `tail`.
    image.refresh();
    let state = image.word(ring_word::STATE);
    report.fact("oldest", oldest);
    report.fact("tail", tail);
    report.fact("next_seq_low32", next_seq);
    match state {
        STATE_CLOSED => report.fact("state", "closed"),
        0 => report.fact("state", "running"),
        other => {
            report.fact("state", other);
            let text = format!("the state is {other}; 0 is running, 1 closed");
            let at = image.offset(ring_word::STATE as u64);
            report.damaged(Damage::new("state", text).offset(at));
        }
    }
    let capacity = geometry.capacity();
    let records = Records::new(image, geometry);
    if distance(oldest, tail) <= capacity {
        let from = u64::from(oldest) + (1 << 32);
        records.list((from, from + u64::from(distance(oldest, tail))), Some(next_seq), report);
    } else {
        // One of the two is wrong; the right one has records beside it.
        let after = u64::from(oldest) + (1 << 32);
        let after = (after, after + u64::from(capacity));
        let until = u64::from(tail) + (1 << 32);
        let until = (until - u64::from(capacity), until);
        let is_tail = records.count(until) > records.count(after);
        let (wrong, range, known) =
            if is_tail { ("oldest", until, Some(next_seq)) } else { ("tail", after, None) };
        let text = format!(
            "`oldest` is {oldest} and `tail` {tail}, more than the capacity of {capacity} apart: \
             by the records, `{wrong}` is wrong"
        );
        let word = if is_tail { ring_word::OLDEST } else { ring_word::TAIL };
        report.damaged(Damage::new("words", text).offset(image.offset(word as u64)));
        records.list_found(range, known, report);
    }
    Words { epoch: geometry.epoch(), capacity, tail }
}
