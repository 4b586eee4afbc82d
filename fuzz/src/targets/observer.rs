//! `observer`: an observer against the oracle, call by call, on any ring that changes between
//! calls, and as in [`torn`] during them.

use aqueduct_core::JoinError;
use aqueduct_core::Observer;
use aqueduct_core::SeekError;

use super::outcome;
use super::reader::{buffer_size, refusal_of_ring, some_seq};
use crate::image::Image;
use crate::input::Input;
use crate::oracle::{Oracle, Outcome};
use crate::paths;
use crate::torn;
use crate::wire::Refusal;

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let mode = input.u8();
    let image = Image::take(&mut input);
    if mode % 4 == 3 {
        torn::observer(&image, input);
    } else {
        compare(&image, mode & 4 != 0, input);
    }
}

fn compare(image: &Image, latest: bool, mut input: Input<'_>) {
    let view = || image.ring.bytes()[..image.ring_bytes].to_vec();
    let region = image.ring.region_of(image.ring_bytes).read_only();
    let joined = if latest { Observer::latest(region) } else { Observer::oldest(region) };
    let (mut observer, mut oracle) = match (joined, Oracle::observe(&view(), latest)) {
        (Ok(observer), Ok(oracle)) => (observer, oracle),
        (Err(JoinError::Geometry(error)), Err(expected)) => {
            return assert_eq!(refusal_of_ring(error), expected, "{error}");
        }
        (Err(JoinError::Read(error)), Err(expected)) => {
            return assert_eq!(Refusal::TailOutOfRange, expected, "{error}");
        }
        (Ok(_), Err(expected)) => panic!("joined, though {expected:?}"),
        (Err(error), expected) => panic!("{error}; expected: {:?}", expected.err()),
    };
    let mut buffer = vec![0; image.ring.size()];
    let mut last_seq = None;
    for _ in 0..96 {
        let ring = view();
        match input.u8() {
            96..=255 => {
                let size = buffer_size(&mut input, oracle.layout.max_payload).min(buffer.len());
                let found = observer.next(&mut buffer[..size]);
                let found = outcome(found, &buffer);
                assert_eq!(found, oracle.next(&ring, size));
                if let Outcome::Record(record, _) = found {
                    last_seq = Some(record.seq);
                }
            }
            0..48 => image.change(&mut input),
            48..64 => {
                let seq = some_seq(&mut input, last_seq);
                let found = observer.seek(oracle.layout.epoch, seq).map_err(|error| match error {
                    SeekError::Read(error) => error,
                    error => panic!("{error}"),
                });
                assert_eq!(found, oracle.seek(&ring, seq, true));
            }
            64..96 => {
                let now = u64::from(input.u16()) << 16;
                assert_eq!(observer.lag(now), oracle.lag(&ring, now));
            }
        }
        assert_eq!((observer.corrupt(), observer.lost()), (oracle.corrupt, oracle.lost));
        if input.is_empty() {
            break;
        }
    }
}
