//! `reader`: a gating reader against the oracle, call by call, on any ring and page: the same
//! answers with the same evidence, the same words in the page. Between calls the ring changes. A
//! second mode lets it change during a call, see [`torn`].

use aqueduct_core::geometry::GeometryError;
use aqueduct_core::memory::Region;
use aqueduct_core::{AttachError, SeekError};
use aqueduct_core::{ReadError, ReadRegion, Reader, WaitMode};

use super::compare::unknown;
use super::outcome;
use crate::image::Image;
use crate::input::Input;
use crate::oracle::{Oracle, Outcome};
use crate::paths;
use crate::torn;
use crate::wire::{self, Refusal};

/// The oracle's word for a refused ring header.
#[must_use]
pub fn refusal_of_ring(error: GeometryError) -> Refusal {
    match error {
        GeometryError::Magic { .. } => Refusal::Magic,
        GeometryError::Version { .. } => Refusal::Version,
        GeometryError::Crc { .. } => Refusal::Crc,
        GeometryError::SegmentTooSmall { .. } => Refusal::Size,
        GeometryError::ZeroEpoch
        | GeometryError::Capacity { .. }
        | GeometryError::MaxPayload { .. }
        | GeometryError::DataOffset { .. } => Refusal::Geometry,
        _ => unknown(&error),
    }
}

/// The oracle's word for a refused attachment.
#[must_use]
pub fn refusal(error: AttachError) -> Refusal {
    match error {
        AttachError::Geometry(error) => refusal_of_ring(error),
        AttachError::CursorSegmentTooSmall { .. } => Refusal::PageSize,
        AttachError::CursorSegmentIdentity => Refusal::CursorSegmentIdentity,
        AttachError::Epoch { .. } => Refusal::PageEpoch,
        AttachError::TailOutOfRange(_) => Refusal::TailOutOfRange,
        _ => unknown(&error),
    }
}

/// A size for a buffer: often enough, sometimes not.
pub fn buffer_size(input: &mut Input<'_>, max_payload: u32) -> usize {
    match input.u8() {
        n @ 0..64 => usize::from(n) * 2,
        n @ 64..80 => usize::from(n) * 16,
        _ => max_payload as usize,
    }
}

/// A number to seek: near the last one, or anything.
pub fn some_seq(input: &mut Input<'_>, near: Option<u64>) -> u64 {
    match input.u8() {
        255 => input.u64(),
        n => near.unwrap_or(0).wrapping_add_signed(i64::from(n.cast_signed())),
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let torn = input.u8() % 4 == 3;
    let image = Image::take(&mut input);
    if torn {
        torn::reader(&image, input);
    } else {
        compare(&image, input);
    }
}

fn compare(image: &Image, mut input: Input<'_>) {
    let view = || image.ring.bytes()[..image.ring_bytes].to_vec();
    // First: attaching writes into the page.
    let expected = Oracle::attach(&view(), &image.page.bytes()[..image.page_bytes]);
    let attached = Reader::attach(
        image.ring.region_of(image.ring_bytes).read_only(),
        image.page.region_of(image.page_bytes),
    );
    let (mut reader, mut oracle) = match (attached, expected) {
        (Ok(reader), Ok(oracle)) => (reader, oracle),
        (Err(error), Err(expected)) => return assert_eq!(refusal(error), expected, "{error}"),
        (Ok(_), Err(expected)) => panic!("attached, though {expected:?}"),
        (Err(error), Ok(_)) => panic!("{error}"),
    };
    let mut buffer = vec![0; image.ring.size()];
    let mut last_seq = None;
    for _ in 0..96 {
        let ring = view();
        match input.u8() {
            128..=255 => {
                let size = buffer_size(&mut input, oracle.layout.max_payload);
                last_seq = next(
                    &mut reader,
                    &mut oracle,
                    &ring,
                    &mut buffer[..size.min(image.ring.size())],
                )
                .or(last_seq);
            }
            0..16 => image.change(&mut input),
            16..32 => assert_eq!(reader.release(), oracle.release(&ring)),
            32..48 => {
                let mode = input.u8() % 2;
                let wait = if mode == 0 { WaitMode::Futex } else { WaitMode::Socket };
                assert_eq!(
                    reader.prepare_sleep(wait),
                    oracle.prepare_sleep(&ring, u32::from(mode) + 1)
                );
            }
            48..64 => {
                let timed_out = input.u8() % 2 == 1;
                assert_eq!(reader.finish_sleep(timed_out), oracle.finish_sleep(&ring, timed_out));
            }
            64..72 => {
                let (stored, seq) = (
                    oracle.layout.epoch ^ u64::from(input.u8() == 255),
                    some_seq(&mut input, last_seq),
                );
                if stored != oracle.layout.epoch {
                    assert_eq!(
                        reader.seek(stored, seq),
                        Err(SeekError::Epoch { ring: oracle.layout.epoch, stored })
                    );
                } else {
                    assert_eq!(
                        reader.seek(stored, seq).map_err(read_error),
                        oracle.seek(&ring, seq, false)
                    );
                }
            }
            72..80 => assert_eq!(reader.skip_to_latest(), oracle.skip_to_latest(&ring)),
            80..96 => {
                let now = u64::from(input.u16()) << 16;
                assert_eq!(reader.lag(now), oracle.lag(&ring, now));
            }
            96..128 => batch(&mut reader, &mut oracle, &ring, &mut buffer, &mut input),
        }
        let page = image.page.bytes();
        let words = [wire::CURSOR, wire::WAITING, wire::CORRUPT, wire::LOST, wire::MISSED_WAKES]
            .map(|at| wire::u32_at(&page, at));
        assert_eq!(words, oracle.page_words(), "cursor, waiting, corrupt, lost, missed_wakes");
        let stats = reader.stats();
        assert_eq!(
            (stats.corrupt, stats.lost, stats.missed_wakes),
            (oracle.corrupt, oracle.lost, oracle.missed_wakes)
        );
        if input.is_empty() {
            break;
        }
    }
}

fn read_error(error: SeekError) -> ReadError {
    match error {
        SeekError::Read(error) => error,
        error => panic!("{error}"),
    }
}

fn next(
    reader: &mut Reader<ReadRegion<'_>, Region<'_>>,
    oracle: &mut Oracle,
    ring: &[u8],
    buffer: &mut [u8],
) -> Option<u64> {
    let found = reader.next(buffer);
    let found = outcome(found, buffer);
    assert_eq!(found, oracle.next(ring, buffer.len()));
    if let Outcome::Record(record, _) = found { Some(record.seq) } else { None }
}

fn batch(
    reader: &mut Reader<ReadRegion<'_>, Region<'_>>,
    oracle: &mut Oracle,
    ring: &[u8],
    buffer: &mut [u8],
    input: &mut Input<'_>,
) {
    let (limit, size) = (input.below(12) as usize, buffer_size(input, oracle.layout.max_payload));
    let buffer = &mut buffer[..size.min(ring.len())];
    let size = buffer.len();
    let mut found = Vec::new();
    let ended = reader.batch(buffer, limit, |record, payload| {
        found.push(Outcome::Record(record, payload.to_vec()))
    });
    let (mut expected, mut error) = (Vec::new(), None);
    while expected.len() < limit {
        match oracle.next(ring, size) {
            Outcome::Error(met) => {
                error = Some(met);
                break;
            }
            Outcome::Empty | Outcome::Closed => break,
            // A batch hands out payloads alone.
            Outcome::Record(record, mut bytes) => {
                bytes.truncate(record.len);
                expected.push(Outcome::Record(record, bytes));
            }
        }
    }
    let tell = oracle.release(ring);
    assert_eq!(found, expected);
    assert_eq!(ended, error.map_or(Ok((expected.len(), tell)), |error| Err((error, tell))));
}
