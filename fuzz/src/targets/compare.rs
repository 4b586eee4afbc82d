//! When an answer of Rust and an answer of C are the same answer. Where one side tells more, the
//! rule is in the function's comment.

use aqueduct_core::geometry::GeometryError;
use aqueduct_core::{AttachError, ReadError, SeekError};
use aqueduct_core::{Lag, Record, Seek};

use crate::c_library::{self, CLag, CRecord, CSide};
use crate::input::Input;
use crate::memory::Shared;
use crate::oracle::Outcome;
use crate::wire::{self, Layout};

/// A ring that was refused.
pub fn refusal_of_ring(error: GeometryError, status: i32) {
    let expected = match error {
        GeometryError::Magic { .. } => c_library::MAGIC,
        GeometryError::Version { .. } => c_library::VERSION,
        GeometryError::Crc { .. } => c_library::CHECKSUM,
        GeometryError::SegmentTooSmall { .. } => c_library::SIZE,
        _ => c_library::GEOMETRY,
    };
    assert_eq!(status, expected, "{error}");
}

/// An error that was added to the crate and not to what it is compared with.
pub fn unknown(error: &impl std::fmt::Display) -> ! {
    panic!("nothing is known of this error: {error}")
}

/// An attachment that was refused. C does not tell a damaged page from that of another ring.
pub fn refusal(error: AttachError, status: i32) {
    match error {
        AttachError::Geometry(error) => refusal_of_ring(error, status),
        AttachError::CursorSegmentTooSmall { .. } => assert_eq!(status, c_library::SIZE, "{error}"),
        AttachError::CursorSegmentIdentity => {
            assert!(
                [c_library::CURSOR, c_library::VERSION].contains(&status),
                "{error}: C says {status}"
            )
        }
        AttachError::Epoch { .. } => assert_eq!(status, c_library::CURSOR, "{error}"),
        AttachError::TailOutOfRange(_) => assert_eq!(status, c_library::TAIL, "{error}"),
        _ => unknown(&error),
    }
}

/// What C says of a record.
#[must_use]
pub fn described(record: &Record) -> CRecord {
    let Record { seq, timestamp_ns, len, type_tag, flags, attribute_units, .. } = *record;
    CRecord { seq, timestamp_ns, len: len as u32, type_tag, flags, attribute_units }
}

/// Position after a record.
#[must_use]
pub fn end_of(record: &Record) -> u32 {
    record.position.wrapping_add(1 + (record.bytes() as u32).div_ceil(32))
}

/// One look at the stream.
pub fn on_next(ours: &Outcome, c: &CSide<'_>, status: i32, record: &CRecord, payload: &[u8]) {
    match ours {
        Outcome::Record(ours, bytes) => {
            assert_eq!((status, *record), (c_library::OK, described(ours)));
            assert_eq!(bytes, payload);
            assert_eq!(c.position(), end_of(ours));
        }
        Outcome::Empty => assert_eq!(status, c_library::EMPTY),
        Outcome::Closed => assert_eq!(status, c_library::CLOSED),
        Outcome::Error(error) => on_error(*error, c, status, record),
    }
}

/// What gave no record. Rust gives no number to a header that was found after damage, C no count
/// of what was lost: the statistics must agree.
pub fn on_error(error: ReadError, c: &CSide<'_>, status: i32, record: &CRecord) {
    let evidence = c.evidence();
    match error {
        ReadError::BufferTooSmall { needed, .. } => {
            assert_eq!((status, record.len as usize), (c_library::SPACE, needed))
        }
        ReadError::Payload { seq, position, stored, computed } => {
            assert_eq!((status, record.seq, evidence.found_seq), (c_library::PAYLOAD, seq, seq));
            assert_eq!(
                (evidence.position as u32, evidence.resumed as u32),
                (position, c.position())
            );
            assert_eq!((evidence.stored_crc, evidence.computed_crc), (stored, computed));
        }
        ReadError::Header { position, resumed_at, stored, computed, .. } => {
            assert_eq!(status, c_library::HEADER);
            assert_eq!((evidence.position as u32, evidence.resumed as u32), (position, resumed_at));
            assert_eq!((evidence.stored_crc, evidence.computed_crc), (stored, computed));
            assert_eq!(resumed_at, c.position());
        }
        ReadError::Gap { expected, found } => {
            assert_eq!((status, record.seq), (c_library::GAP, found), "{error}");
            assert_eq!((evidence.expected_seq, evidence.found_seq), (expected, found));
        }
        ReadError::Overrun { expected: Some(expected), found: Some(found) } => {
            assert_eq!((status, record.seq), (c_library::OVERRUN, found), "{error}");
            assert_eq!((evidence.expected_seq, evidence.found_seq), (expected, found));
        }
        ReadError::Overrun { .. } => {
            assert_eq!(
                (status, evidence.found_seq),
                (c_library::OVERRUN, evidence.expected_seq),
                "{error}"
            );
        }
        ReadError::TailOutOfRange { position, tail } => {
            assert_eq!(
                (status, evidence.position as u32, evidence.tail as u32),
                (c_library::TAIL, position, tail),
                "{error}"
            );
        }
        _ => unknown(&error),
    }
}

/// A look without taking: what Rust says to a buffer of no bytes. An empty record Rust takes all
/// the same, so C takes it by a skip, or, if its CRC of nothing is wrong, as Rust does.
pub fn on_peek(ours: &Outcome, c: &mut CSide<'_>) {
    let mut record = CRecord::default();
    let status = c.peek(&mut record);
    match ours {
        Outcome::Error(ReadError::BufferTooSmall { needed, .. }) => {
            assert_eq!((status, record.bytes()), (c_library::OK, *needed))
        }
        Outcome::Record(ours, _) => {
            assert_eq!((status, record), (c_library::OK, described(ours)));
            skip(ours, c);
        }
        Outcome::Error(ReadError::Payload { seq, .. }) => {
            assert_eq!(
                (status, record.seq, record.len),
                (c_library::OK, *seq, 0),
                "a peek looks at no payload"
            );
            let status = c.next(&mut [], &mut record);
            on_next(ours, c, status, &record, &[]);
        }
        _ => on_next(ours, c, status, &record, &[]),
    }
}

/// C goes over a record that Rust has read.
fn skip(ours: &Record, c: &mut CSide<'_>) {
    let mut record = CRecord::default();
    assert_eq!(
        (c.skip(&mut record), record, c.position()),
        (c_library::OK, described(ours), end_of(ours))
    );
}

/// C skips what Rust takes. A skip looks at no payload, so what Rust finds damaged is only looked
/// at, then taken.
pub fn on_skip(ours: &Outcome, c: &mut CSide<'_>, buffer: &mut [u8]) {
    let mut record = CRecord::default();
    match ours {
        Outcome::Record(ours, _) => skip(ours, c),
        Outcome::Error(ReadError::Payload { seq, .. }) => {
            assert_eq!(
                (c.peek(&mut record), record.seq),
                (c_library::OK, *seq),
                "a peek looks at no payload"
            );
            let status = c.next(buffer, &mut record);
            on_next(ours, c, status, &record, &[]);
        }
        _ => {
            let status = c.skip(&mut record);
            on_next(ours, c, status, &record, &[]);
        }
    }
}

/// A batch of C and the same records taken one by one by Rust, into the same rest of a buffer.
/// `take` is `next` of Rust.
pub fn on_batch(
    c: &mut CSide<'_>,
    size: usize,
    max: usize,
    mut take: impl FnMut(&mut [u8]) -> Outcome,
) {
    let (mut buffer, mut rest) = (vec![0; size], vec![0; size]);
    let (status, taken) = c.batch(&mut buffer, max);
    let mut at = 0;
    for (n, (record, payload, offset)) in taken.iter().enumerate() {
        let Outcome::Record(ours, bytes) = take(&mut rest[at..]) else {
            panic!("no record {n} of {}", taken.len())
        };
        assert_eq!((*record, payload, *offset), (described(&ours), &bytes, at));
        at = (at + ours.len).next_multiple_of(c_library::BATCH_ALIGN).min(size);
    }
    if taken.len() == max {
        return assert_eq!(status, c_library::OK);
    }
    let ended = take(&mut rest[at..]);
    let said_again = matches!(
        ended,
        Outcome::Empty | Outcome::Closed | Outcome::Error(ReadError::BufferTooSmall { .. })
    );
    if said_again && !taken.is_empty() {
        return assert_eq!(status, c_library::OK);
    }
    let record = match ended {
        // The item after the good ones describes what `next` would; no user may look at it.
        Outcome::Error(ReadError::BufferTooSmall { needed, .. }) => {
            CRecord { len: needed as u32, ..CRecord::default() }
        }
        Outcome::Error(ReadError::Payload { seq, .. }) => CRecord { seq, ..CRecord::default() },
        Outcome::Error(
            ReadError::Gap { found, .. } | ReadError::Overrun { found: Some(found), .. },
        ) => CRecord { seq: found, ..CRecord::default() },
        _ => CRecord::default(),
    };
    on_next(&ended, c, status, &record, &[]);
}

/// A search. At the tail, Rust says "ahead" of every number that is not before the one it knows to
/// come. C says so of a number past the one to come, which it takes from `next_seq` if it has
/// read none, and OK of another, which it expects from then on; made to forget it.
pub fn on_seek(
    ours: Result<Seek, SeekError>,
    c: &mut CSide<'_>,
    ring: &Shared,
    epoch: u64,
    seq: u64,
) {
    let (mut twin, from) = (c.twin(), c.position());
    if ours == Ok(Seek::Ahead) {
        // The lowest number that is surely ahead tells whether one is known without teaching one.
        // First, for it counts into the same page.
        let next_seq = wire::u32_at(&ring.bytes(), wire::NEXT_SEQ);
        twin.seek(epoch, u64::from(next_seq.wrapping_add(1)) | 0xFFFF_FFFF << 32);
    }
    let status = c.seek(epoch, seq);
    let evidence = c.evidence();
    match ours {
        Ok(Seek::Found) => assert_eq!((status, c.expected()), (c_library::OK, Some(seq))),
        Ok(Seek::Gone { oldest }) => {
            assert_eq!(
                (status, evidence.expected_seq, evidence.found_seq),
                (c_library::GONE, seq, oldest)
            );
            assert_eq!((evidence.position as u32, c.expected()), (c.position(), Some(oldest)));
        }
        Ok(Seek::Ahead) => {
            let next_seq = wire::u32_at(&ring.bytes(), wire::NEXT_SEQ);
            if twin.position() != c.position() {
                // It stopped before a record of a number beyond that, which C has passed and so
                // knows what is to come.
                return assert!(
                    seq > next_seq.into() && [c_library::AHEAD, c_library::OK].contains(&status)
                );
            }
            let behind_next = match twin.expected() {
                Some(expected) => expected < seq,
                None => (1..1 << 31).contains(&(seq as u32).wrapping_sub(next_seq)),
            };
            assert_eq!(status, if behind_next { c_library::AHEAD } else { c_library::OK });
            if twin.expected().is_none() {
                c.forget();
            }
        }
        Err(SeekError::Epoch { .. }) => {
            assert_eq!((status, c.position()), (c_library::EPOCH, from))
        }
        Err(SeekError::Read(error)) => on_error(error, c, status, &CRecord::default()),
        Err(error) => unknown(&error),
    }
}

/// A measure. Both count `next_seq` minus the first unread number, up to 32 bits: Rust that of the
/// first record that can be read, C the one it expects, each the other's if it has none. Where the
/// control words of an observer make no sense, C gives a lap at most and Rust an error.
pub fn on_lag(
    ours: Result<Lag, ReadError>,
    c: &CSide<'_>,
    ring: &Shared,
    now_ns: u64,
    observing: bool,
) {
    let (status, lag) = c.lag(now_ns);
    let bytes = ring.bytes();
    let layout = Layout::parse(&bytes).expect("it was joined");
    let (tail, oldest, next_seq) = (
        wire::u32_at(&bytes, wire::TAIL),
        wire::u32_at(&bytes, wire::OLDEST),
        wire::u32_at(&bytes, wire::NEXT_SEQ),
    );
    let lap = u64::from(layout.capacity) * 32;
    let from = match ours {
        Err(error) if observing => {
            assert!(status == c_library::OK && lag.bytes <= lap, "{error}: {lag:?}");
            return;
        }
        Err(error) => {
            assert_eq!((status, lag), (c_library::TAIL, CLag::default()), "{error}");
            return;
        }
        Ok(_) if !observing => c.position(),
        Ok(_) if c.position().wrapping_sub(oldest) <= tail.wrapping_sub(oldest) => c.position(),
        Ok(_) if c.position().wrapping_sub(oldest) > u32::MAX / 2 => oldest,
        // Not before `oldest` and past the tail: the tail went back.
        Ok(_) => {
            assert!(status == c_library::OK && lag.bytes <= lap);
            return;
        }
    };
    let (ours, mut at, mut first) = (ours.unwrap_or_default(), from, None);
    while at != tail && first.is_none() {
        let Ok(head) = layout.head(&bytes, at, tail) else { break };
        first = head.is_data().then_some(head.seq);
        at = at.wrapping_add(head.granules() as u32);
    }
    let since =
        |seq: Option<u64>| seq.map_or(0, |seq| u64::from(next_seq.wrapping_sub(seq as u32)));
    assert_eq!((status, lag.bytes, lag.age_ns), (c_library::OK, ours.bytes, ours.nanoseconds));
    assert_eq!(
        (lag.records, ours.records),
        (since(c.expected().or(first)), since(first.or(c.expected())))
    );
}

/// A time by the ring's clock, near the timestamps of [`Image`](crate::image::Image).
pub fn some_time(input: &mut Input<'_>) -> u64 {
    u64::from(input.u16()) << 16
}
