//! What the crates of the ecosystem do with grants and records: `embedded-io` and `postcard`.

use aqueduct_core::postcard::{GrantFlavor, ValueError, value, write};
use aqueduct_core::typed::{Tagged, ViewError};
use aqueduct_core::{GrantOverflow, Meta, Next, Reader, Ring};
use embedded_io::{Error, ErrorKind, Write};
use postcard::ser_flavors::Flavor;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Reading<'a> {
    sensor: &'a str,
    values: [u16; 3],
    celsius: Option<f32>,
}

impl Tagged for Reading<'_> {
    const TYPE_TAG: u16 = 7;
}

const READING: Reading<'static> =
    Reading { sensor: "boiler", values: [1, 300, 70], celsius: Some(71.5) };
/// A length and six letters, three numbers of 1, 2 and 1 bytes, a mark and a float.
const BYTES: usize = 7 + 4 + 5;

/// Reads the next record into `buf`.
fn next<'b, R: aqueduct_core::Memory, C: aqueduct_core::MemoryMut>(
    reader: &mut Reader<R, C>,
    buf: &'b mut [u8],
) -> (aqueduct_core::Record, &'b [u8]) {
    let Ok(Next::Record(record)) = reader.next(buf) else { panic!("one is there") };
    (record, &buf[..record.len])
}

#[test]
fn a_value_goes_through_either_grant_and_comes_out_of_the_payload() {
    let tagged = Meta { type_tag: Reading::TYPE_TAG, timestamp_ns: 0 };
    let mut buf = [0; 64];

    let ring = Ring::<1024>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let mut grant = producer.claim(64).expect("room");
    write(&READING, &mut grant).expect("it fits");
    grant.commit(tagged);
    let _ = producer.publish();
    let (record, payload) = next(&mut reader, &mut buf);
    assert_eq!(record.len, BYTES);
    assert_eq!(value::<Reading>(&record, payload), Ok(READING));

    let ring = Ring::<1024>::new();
    let (shared, [mut reader]) = ring.split_shared::<4>().expect("the first");
    let mut grant = shared.claim(BYTES).expect("room");
    write(&READING, &mut grant).expect("it fits to the byte");
    assert_eq!(grant.commit(tagged).seq, Some(0));
    let (record, payload) = next(&mut reader, &mut buf);
    assert_eq!(value::<Reading>(&record, payload), Ok(READING));
}

#[test]
fn a_value_that_does_not_fit_or_is_none_is_an_error() {
    let ring = Ring::<1024>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let mut grant = producer.claim(BYTES - 1).expect("room");
    assert_eq!(write(&READING, &mut grant), Err(postcard::Error::SerializeBufferFull));
    drop(grant);
    assert_eq!(producer.next_seq(), 0, "no record of a part");

    let mut grant = producer.claim(64).expect("room");
    write(&READING, &mut grant).expect("it fits");
    let mut flavour = GrantFlavor(&mut grant);
    flavour.try_push(5).expect("room");
    flavour.finalize().expect("nothing to do");
    grant.commit(Meta { type_tag: 7, timestamp_ns: 0 });
    let _ = producer.publish();
    let mut buf = [0; 64];
    let (record, payload) = next(&mut reader, &mut buf);
    assert_eq!(value::<Reading>(&record, payload), Err(ValueError::Rest { bytes: 1 }));
    assert_eq!(
        value::<Reading>(&record, &payload[..BYTES - 1]),
        Err(ValueError::Postcard(postcard::Error::DeserializeUnexpectedEnd))
    );
    let other = aqueduct_core::Record { type_tag: 8, ..record };
    let error = ViewError::Type { expected: 7, found: 8 };
    assert_eq!(value::<Reading>(&other, payload), Err(ValueError::View(error)));
}

#[test]
fn a_grant_is_a_writer_of_embedded_io_that_says_when_it_is_full() {
    /// What a driver that knows only the trait does.
    fn drive<W: Write<Error = GrantOverflow>>(writer: &mut W) {
        assert_eq!(writer.write(b"0123"), Ok(4));
        assert_eq!(writer.write_all(b"456789"), Ok(()));
        let overflow = GrantOverflow { bytes: 3, remaining: 2 };
        assert_eq!(writer.write_all(b"abc"), Err(overflow), "all or nothing");
        assert_eq!(writer.write(b"abc"), Ok(2), "what fits");
        assert_eq!(writer.write(b""), Ok(0));
        let full = writer.write(b"c").expect_err("nothing fits");
        assert_eq!(
            (full, full.kind()),
            (GrantOverflow { bytes: 1, remaining: 0 }, ErrorKind::WriteZero)
        );
        assert_eq!(writer.flush(), Ok(()));
    }
    let mut buf = [0; 64];

    let ring = Ring::<1024>::new();
    let (mut producer, [mut reader]) = ring.split().expect("the first");
    let mut grant = producer.claim(12).expect("room");
    drive(&mut grant);
    grant.commit(Meta::default());
    let _ = producer.publish();
    assert_eq!(next(&mut reader, &mut buf).1, b"0123456789ab");

    let ring = Ring::<1024>::new();
    let (shared, [mut reader]) = ring.split_shared::<4>().expect("the first");
    let mut grant = shared.claim(12).expect("room");
    drive(&mut grant);
    let _ = grant.commit(Meta::default());
    assert_eq!(next(&mut reader, &mut buf).1, b"0123456789ab");
}
