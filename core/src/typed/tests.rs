//! What values are refused as, and viewed as.

use super::*;

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    bytemuck::Pod,
    bytemuck::Zeroable,
    zerocopy::FromBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
struct Reading {
    sensor: u32,
    celsius: f32,
}

impl Tagged for Reading {
    const TYPE_TAG: u16 = 7;
}

#[derive(
    Debug,
    PartialEq,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
struct Portable {
    sensor: zerocopy::little_endian::U32,
}

impl Tagged for Portable {
    const TYPE_TAG: u16 = 8;
}

fn record(type_tag: u16, len: usize) -> Record {
    Record { seq: 0, timestamp_ns: 0, len, type_tag, flags: 0, attribute_units: 0, position: 0 }
}

#[test]
fn value_is_viewed_as_it_was_pushed() {
    let reading = Reading { sensor: 3, celsius: 21.5 };
    let mut buf = AlignedBuf::<32>::default();
    buf.0[..8].copy_from_slice(bytemuck::bytes_of(&reading));
    assert_eq!(view::<Reading>(&record(7, 8), &buf.0[..8]), Ok(&reading));
    assert_eq!(view_slice::<Reading>(&record(7, 16), &buf.0[..16]).map(<[Reading]>::len), Ok(2));
    assert_eq!(value::<Reading>(&record(7, 8), &buf.0[..8]), Ok(reading));
    assert_eq!(
        view_ref::<Portable>(&record(8, 4), &buf.0[..4]).map(|p| p.sensor.get()),
        Ok(u32::from_le_bytes([buf.0[0], buf.0[1], buf.0[2], buf.0[3]]))
    );
}

#[test]
fn wrong_tag_size_and_alignment_are_errors_that_say_which() {
    let buf = AlignedBuf::<32>::default();
    assert_eq!(
        view::<Reading>(&record(9, 8), &buf.0[..8]),
        Err(ViewError::Type { expected: 7, found: 9 })
    );
    assert_eq!(
        view::<Reading>(&record(7, 9), &buf.0[..9]),
        Err(ViewError::Size { expected: 8, found: 9 })
    );
    assert_eq!(
        view_slice::<Reading>(&record(7, 9), &buf.0[..9]),
        Err(ViewError::Size { expected: 8, found: 9 })
    );
    assert_eq!(
        view::<Reading>(&record(7, 8), &buf.0[1..9]),
        Err(ViewError::Alignment { expected: 4 })
    );
    assert_eq!(
        view_ref::<Reading>(&record(7, 8), &buf.0[1..9]),
        Err(ViewError::Alignment { expected: 4 })
    );
    assert!(value::<Reading>(&record(7, 8), &buf.0[1..9]).is_ok());
    assert_eq!(
        value::<Reading>(&record(7, 7), &buf.0[..7]),
        Err(ViewError::Size { expected: 8, found: 7 })
    );
    assert_eq!(
        view_ref::<Portable>(&record(7, 4), &buf.0[..4]),
        Err(ViewError::Type { expected: 8, found: 7 })
    );
    assert_eq!(
        view_ref::<Portable>(&record(8, 5), &buf.0[..5]),
        Err(ViewError::Size { expected: 4, found: 5 })
    );
}
