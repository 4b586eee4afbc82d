//! Reading with an attached client: records, damage, releases, seeking, and how an end is told.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_client::{Client, Event, Options, ReadError, Seek, SeekError, Start, Stats};
use aqueduct_core::layout::{DATA_OFFSET_MAPPED, cursor_word};
use aqueduct_core::{Memory, MemoryMut};
use common::fake::{EPOCH, Fake, GRANULES};

const DATA: usize = DATA_OFFSET_MAPPED as usize;

fn attach(fake: &mut Fake) -> Client {
    fake.meet(|path| Options::new(path).attach()).expect("attached")
}

fn observe(fake: &mut Fake) -> Client {
    fake.meet(|path| Options::new(path).observe()).expect("attached")
}

/// The next event, with the payload in the place of the record.
fn text(client: &mut Client) -> Result<Event<(u64, String)>, ReadError> {
    Ok(match client.next()? {
        Event::Record((record, payload)) => {
            assert_eq!((record.len, record.type_tag), (payload.len(), 7));
            let text = String::from_utf8(payload.to_vec()).expect("text");
            Event::Record((record.seq, text))
        }
        Event::Empty => Event::Empty,
        Event::Closed => Event::Closed,
        Event::Lost => Event::Lost,
        Event::EpochChanged(change) => Event::EpochChanged(change),
    })
}

#[allow(clippy::unnecessary_wraps, reason = "it is compared with what may be an error")]
fn record(seq: u64, text: &str) -> Result<Event<(u64, String)>, ReadError> {
    Ok(Event::Record((seq, text.to_owned())))
}

/// The cursor that the producer sees, in granules.
fn cursor(fake: &Fake) -> u32 {
    fake.cursor.region.load(cursor_word::CURSOR, Ordering::Relaxed)
}

#[test]
fn records_are_delivered_and_released() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    assert_eq!(text(&mut client), Ok(Event::Empty));
    assert_eq!(client.next_seq(), None);
    for payload in ["one", "two", "three"] {
        fake.publish(payload.as_bytes());
    }
    assert_eq!(text(&mut client), record(0, "one"));
    assert_eq!(cursor(&fake), 0, "read is not released");
    client.release();
    assert_eq!(cursor(&fake), 2);
    let peeked = client.peek().expect("undamaged");
    assert!(matches!(peeked, Event::Record(record) if record.seq == 1 && record.len == 3));
    let mut small = [0; 2];
    let error = client.next_into(&mut small);
    assert_eq!(error, Err(ReadError::BufferTooSmall { needed: 3, given: 2 }));
    let mut buf = [0; 8];
    let taken = client.next_into(&mut buf).expect("undamaged");
    assert!(matches!(taken, Event::Record(record) if record.seq == 1 && buf.starts_with(b"two")));
    let skipped = client.skip().expect("undamaged");
    assert!(matches!(skipped, Event::Record(record) if record.seq == 2));
    assert_eq!((text(&mut client), client.next_seq()), (Ok(Event::Empty), Some(3)));
    let totals = client.totals();
    assert_eq!((totals.records, totals.payload_bytes, totals.skipped), (2, 6, 1));
    assert_eq!((totals.attachments, totals.attempts), (1, 0));
}

#[test]
fn the_buffer_grows_to_the_largest_payload() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    let largest = vec![b'x'; client.info().max_payload_bytes as usize];
    for payload in [&b"s"[..], &largest, b"s"] {
        fake.publish(payload);
        let event = client.next().expect("undamaged");
        assert!(matches!(event, Event::Record((_, found)) if found == payload));
        client.release();
    }
}

#[test]
fn a_batch_is_released_together_and_says_what_ended_it() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    for _ in 0..5 {
        fake.publish(b"x");
    }
    let mut seqs = Vec::new();
    assert_eq!(client.batch(3, |record, _| seqs.push(record.seq)), Ok((3, None)));
    assert_eq!(cursor(&fake), 6);
    assert_eq!(client.batch(9, |record, _| seqs.push(record.seq)), Ok((2, Some(Event::Empty))));
    assert_eq!((cursor(&fake), &seqs[..]), (10, &[0, 1, 2, 3, 4][..]));
    for _ in 0..2 {
        fake.publish(b"x");
    }
    fake.ring.region.write(DATA + 13 * 32, &[1; 32]); // payload of record 6
    let ended = client.batch(9, |record, _| seqs.push(record.seq));
    assert!(matches!(ended, Err(ReadError::Payload { seq: 6, .. })), "{ended:?}");
    assert_eq!((cursor(&fake), seqs.last()), (14, Some(&5)));
}

#[test]
fn damage_is_told_with_its_evidence_and_counted() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    for payload in ["zero", "one", "two", "three"] {
        fake.publish(payload.as_bytes());
    }
    fake.ring.region.write(DATA + 3 * 32, b"0ne"); // payload of record 1
    fake.ring.region.write(DATA + 4 * 32, &[0; 32]); // header of record 2
    assert_eq!(text(&mut client), record(0, "zero"));
    let Err(ReadError::Payload { seq: 1, position: 2, stored, computed }) = client.next() else {
        panic!("the damaged payload is not told");
    };
    assert_ne!(stored, computed);
    let Err(ReadError::Header { position: 4, resumed_at: 6, lost: Some(1), .. }) = client.next()
    else {
        panic!("the damaged header is not told");
    };
    assert_eq!(text(&mut client), record(3, "three"));
    assert_eq!(client.stats(), Stats { corrupt: 2, lost: 2, missed_wakes: 0 });
    assert_eq!(fake.cursor.region.load(cursor_word::LOST, Ordering::Relaxed), 2);
}

#[test]
fn a_producer_that_waits_for_space_is_told_once() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    while fake.try_publish(b"").is_ok() {}
    assert_eq!(fake.producer.want_space(0), Ok(false));
    text(&mut client).expect("undamaged");
    client.release();
    client.release();
    assert_eq!(fake.receive(), [b'S']);
    fake.publish(b"");
    drop(client);
    assert!(fake.receive().is_empty(), "nothing more was sent");
}

#[test]
fn a_stored_number_is_found_gone_ahead_or_of_another_ring() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    for _ in 0..6 {
        fake.publish(b"x");
    }
    assert_eq!(client.seek(EPOCH, 3), Ok(Seek::Found));
    assert_eq!(text(&mut client), record(3, "x"));
    assert_eq!(client.seek(EPOCH, 1), Ok(Seek::Gone { oldest: 4 }));
    let other = SeekError::Epoch { ring: EPOCH, stored: 5 };
    assert_eq!(client.seek(5, 0), Err(other));
    assert_eq!(client.seek(EPOCH, 9), Ok(Seek::Ahead));
    assert_eq!(text(&mut client), Ok(Event::Empty));
    fake.publish(b"x");
    client.skip_to_latest().expect("in range");
    assert_eq!(text(&mut client), Ok(Event::Empty));
    client.release();
    assert_eq!(cursor(&fake), 14);
}

#[test]
fn an_observer_reads_along_is_overrun_and_knows_what_it_missed() {
    let mut fake = Fake::observed();
    fake.publish(b"zero");
    assert!(fake.producer.unsubscribe(fake.subscription), "nobody gates");
    let mut client = observe(&mut fake);
    assert_eq!(text(&mut client), record(0, "zero"));
    for _ in 0..3 * GRANULES {
        fake.publish(b"x");
    }
    let overrun = text(&mut client);
    let Err(ReadError::Overrun { expected: Some(1), found: Some(found) }) = overrun else {
        panic!("{overrun:?}");
    };
    assert_eq!(text(&mut client), record(found, "x"));
    assert_eq!(u64::from(client.stats().lost), found - 1);
    client.release();
    assert_eq!(client.seek(EPOCH, found), Ok(Seek::Found), "an observer may go back");
    client.skip_to_latest().expect("an observer's never fails");
    assert_eq!(text(&mut client), Ok(Event::Empty));
    assert!(fake.hello[12] == 2 && !client.is_gating());
}

#[test]
fn an_observer_starts_at_the_oldest_or_the_latest() {
    for (start, first) in [(Start::Here, "old"), (Start::Oldest, "old"), (Start::Latest, "new")] {
        let mut fake = Fake::observed();
        fake.publish(b"old");
        let mut client =
            fake.meet(|path| Options::new(path).start(start).observe()).expect("attached");
        fake.publish(b"new");
        let seq = u64::from(start == Start::Latest);
        assert_eq!(text(&mut client), record(seq, first), "{start:?}");
    }
}

#[test]
fn lag_counts_records_and_tells_the_age_of_the_oldest() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    assert_eq!(client.lag().expect("in range").records, 0);
    fake.publish(b"one");
    fake.publish(b"two");
    let lag = client.lag().expect("in range");
    assert_eq!((lag.records, lag.bytes), (2, 128));
    // Stamped as published in 1970.
    assert!(lag.nanoseconds > 50 * 365 * 86_400 * 1_000_000_000, "{lag:?}");
    text(&mut client).expect("undamaged");
    assert_eq!(client.lag().expect("in range").records, 1);
}

#[test]
fn a_listener_that_dies_is_told_after_its_last_record() {
    for observed in [false, true] {
        let mut fake = if observed { Fake::observed() } else { Fake::new() };
        let mut client = if observed { observe(&mut fake) } else { attach(&mut fake) };
        fake.publish(b"last");
        fake.hang_up();
        client.wait(Some(Duration::ZERO)).expect("polled");
        assert_eq!(text(&mut client), record(0, "last"));
        while text(&mut client) == Ok(Event::Empty) {
            client.wait(None).expect("polled");
        }
        for _ in 0..2 {
            assert_eq!(text(&mut client), Ok(Event::Lost));
        }
        assert!(!client.is_attached());
    }
}

#[test]
fn a_reader_that_never_waits_notices_the_death_too() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    fake.hang_up();
    assert!((0..1024).any(|_| text(&mut client) == Ok(Event::Lost)));
}

#[test]
fn a_closed_ring_is_closed_even_if_the_listener_has_gone() {
    for gone in [false, true] {
        let mut fake = Fake::new();
        let mut client = attach(&mut fake);
        fake.publish(b"last");
        fake.close();
        if gone {
            fake.hang_up();
        }
        assert_eq!(text(&mut client), record(0, "last"));
        for _ in 0..2 {
            assert_eq!(text(&mut client), Ok(Event::Closed));
        }
    }
}

#[test]
fn an_evicted_reader_is_told_so_at_once() {
    let mut fake = Fake::new();
    let mut client = attach(&mut fake);
    fake.publish(b"one");
    assert!(fake.producer.unsubscribe(fake.subscription));
    for _ in 0..2 * GRANULES {
        fake.publish(b"x");
    }
    fake.hang_up();
    for _ in 0..2 {
        let evicted = text(&mut client);
        assert!(matches!(evicted, Err(ReadError::TailOutOfRange { position: 0, .. })));
    }
    assert!(!client.is_attached());
}
