//! Publication and release: what a gating reader sees is whole, in order, and never overwritten
//! before it is released.
//!
//! Bounds: 1 producer, 1 or 2 gating readers, 2 to 4 records of 0 or 32 bytes, capacity 4 or 8
//! granules, positions from 0 and across 2^32. A thread polls a fixed number of times, is joined,
//! and the rest is drained, so a lost record fails the model too. Not vacuous: every test asserts
//! that records were seen while the producer ran, and that spoilt orderings are refused.

use std::sync::atomic::Ordering;

use aqueduct_core::Next;
use aqueduct_core::layout::{cursor_word, ring_word};
use aqueduct_verify::explore::{Bound, Events, UNORDERED, explore, refuse};
use aqueduct_verify::rig::{Rig, drain, look, push};
use aqueduct_verify::weak::Weakness;
use loom::thread;

/// `records` pushes; the reader looks `looks` times while the producer may run. Nothing is
/// released, so nothing can be full.
fn publish(rig: Rig, records: u64, looks: usize, events: &Events) {
    let (mut producer, [mut reader], _) = rig.build();
    let writer = thread::spawn(move || {
        (0..records).for_each(|_| assert!(push(&mut producer).expect("there is room").is_none()));
    });
    let mut seen = 0;
    for _ in 0..looks {
        look(&mut reader, &mut seen);
    }
    events.add("in flight", seen);
    events.note("all in flight", seen == records);
    events.note("none in flight", seen == 0);
    writer.join().expect("producer");
    drain(&mut reader, &mut seen);
    assert_eq!(seen, records);
}

fn assert_met(events: &Events) {
    assert!(events.count("interleavings") > 10, "{events}");
    assert!(events.count("in flight") > 0, "{events}");
}

#[test]
fn records_are_read_whole_and_in_order_while_the_producer_runs() {
    let events = explore("publish", Bound::ALL, |events| publish(Rig::new(8), 3, 3, events));
    assert_met(&events);
    assert!(events.count("all in flight") > 0 && events.count("none in flight") > 0, "{events}");
}

#[test]
fn records_are_read_whole_and_in_order_across_position_2_32() {
    let events = explore("publish across 2^32", Bound::ALL, |events| {
        publish(Rig::new(8).from(u32::MAX - 1), 3, 3, events);
    });
    assert_met(&events);
}

#[test]
fn a_relaxed_store_of_tail_is_refused() {
    let rig = Rig::new(8).spoil_producer(&[Weakness::Store(ring_word::TAIL)]);
    refuse("tail stored relaxed", UNORDERED, Bound::ALL, move |events| publish(rig, 3, 3, events));
}

#[test]
fn a_relaxed_load_of_tail_is_refused() {
    let rig = Rig::new(8).spoil_reader(&[Weakness::Load(ring_word::TAIL)]);
    refuse("tail loaded relaxed", UNORDERED, Bound::ALL, move |events| publish(rig, 3, 3, events));
}

/// Two records become visible by one store of `tail`.
fn batch(events: &Events) {
    let (mut producer, [mut reader], _) = Rig::new(8).build();
    let writer = thread::spawn(move || {
        let meta = |seq| aqueduct_core::Meta { type_tag: 7, timestamp_ns: seq };
        for seq in 0..2 {
            producer.append(meta(seq), &aqueduct_verify::rig::payload(seq)).expect("there is room");
        }
        assert!(producer.publish().is_none());
    });
    let mut seen = 0;
    if matches!(look(&mut reader, &mut seen), Next::Record(_)) {
        // Without another look at `tail` the second one must be there as well.
        look(&mut reader, &mut seen);
        assert_eq!(seen, 2);
    }
    events.add("in flight", seen);
    writer.join().expect("producer");
    drain(&mut reader, &mut seen);
    assert_eq!(seen, 2);
}

#[test]
fn a_batch_becomes_visible_as_a_whole() {
    let events = explore("batch", Bound::ALL, batch);
    assert!(events.count("in flight") > 0, "{events}");
}

/// A ring too small for all records, with a PAD on the way: the producer tries `tries` times to
/// push, each reader looks and releases `looks` times. What did not fit is pushed at the end, when
/// every stored cursor must be seen.
fn reuse<const READERS: usize>(
    rig: Rig,
    records: u64,
    tries: usize,
    looks: usize,
    events: &Events,
) {
    let (mut producer, readers, _) = rig.build::<READERS>();
    let threads = readers.map(|mut reader| {
        thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..looks {
                look(&mut reader, &mut seen);
                assert!(!reader.release(), "nobody asked for space");
            }
            (reader, seen)
        })
    });
    for _ in 0..tries {
        if producer.next_seq() < records {
            events.note("full", push(&mut producer).is_none());
        }
    }
    events.note("all pushed in flight", producer.next_seq() == records);
    let mut readers = threads.map(|thread| thread.join().expect("reader"));
    for (_, seen) in &readers {
        events.add("in flight", *seen);
    }
    loop {
        for (reader, seen) in &mut readers {
            drain(reader, seen);
            assert_eq!(*seen, producer.next_seq());
            assert!(!reader.release());
        }
        if producer.next_seq() == records {
            return;
        }
        assert!(push(&mut producer).is_some(), "everything is released");
    }
}

fn assert_reused(events: &Events) {
    assert_met(events);
    assert!(events.count("full") > 0 && events.count("all pushed in flight") > 0, "{events}");
}

/// The second record of 2 granules does not fit after the first: a PAD at position 3, and the
/// bytes of the first lap are used again.
const PAD_ON_THE_WAY: Rig = Rig::new(4).from(1);

#[test]
fn released_granules_are_reused_and_unreleased_ones_are_not() {
    assert_reused(&explore("reuse", Bound::ALL, |events| {
        reuse::<1>(PAD_ON_THE_WAY, 3, 4, 3, events);
    }));
}

#[test]
fn released_granules_are_reused_across_position_2_32() {
    let rig = Rig::new(4).from(u32::MAX - 2);
    assert_reused(&explore("reuse across 2^32", Bound::ALL, move |events| {
        reuse::<1>(rig, 3, 4, 3, events);
    }));
}

#[test]
fn the_slower_of_two_readers_holds_the_producer_back() {
    assert_reused(&explore("two readers", Bound::ALL, |events| {
        reuse::<2>(PAD_ON_THE_WAY, 2, 2, 1, events);
    }));
}

#[test]
fn a_relaxed_store_of_cursor_is_refused() {
    let rig = PAD_ON_THE_WAY.spoil_reader(&[Weakness::Store(cursor_word::CURSOR)]);
    refuse("cursor stored relaxed", UNORDERED, Bound::preemptions(3), move |events| {
        reuse::<1>(rig, 3, 4, 3, events);
    });
}

#[test]
fn a_relaxed_load_of_cursor_is_refused() {
    let rig = PAD_ON_THE_WAY.spoil_producer(&[Weakness::Load(cursor_word::CURSOR)]);
    refuse("cursor loaded relaxed", UNORDERED, Bound::preemptions(3), move |events| {
        reuse::<1>(rig, 3, 4, 3, events);
    });
}

/// The end of the stream is reported only after the last record.
fn close(rig: Rig, looks: usize, events: &Events) {
    let (mut producer, [mut reader], _) = rig.build();
    let writer = thread::spawn(move || {
        assert!(push(&mut producer).expect("there is room").is_none());
        assert!(producer.close().is_none());
    });
    let mut seen = 0;
    for _ in 0..looks {
        if look(&mut reader, &mut seen) == Next::Closed {
            assert_eq!(seen, 1, "the end came before the last record");
            events.add("closed in flight", 1);
            break;
        }
    }
    events.add("in flight", seen);
    writer.join().expect("producer");
    drain(&mut reader, &mut seen);
    assert_eq!(seen, 1);
    assert_eq!(look(&mut reader, &mut seen), Next::Closed);
}

#[test]
fn a_stream_ends_behind_its_last_record() {
    let events = explore("close", Bound::ALL, |events| close(Rig::new(4), 3, events));
    assert_met(&events);
    assert!(events.count("closed in flight") > 0, "{events}");
}

const NO_FENCE: Weakness = Weakness::Fence(Ordering::SeqCst, Ordering::Relaxed);

/// While a reader is attached the fence of every publication comes before the store of `state` and
/// covers it; without any, only the store's own ordering is left.
#[test]
fn a_relaxed_store_of_state_is_refused_where_no_fence_covers_it() {
    explore("close without fences", Bound::ALL, move |events| {
        close(Rig::new(4).spoil_producer(&[NO_FENCE]), 3, events);
    });
    let rig = Rig::new(4).spoil_producer(&[NO_FENCE, Weakness::Store(ring_word::STATE)]);
    refuse("state stored relaxed", "the end came before", Bound::ALL, move |events| {
        close(rig, 3, events);
    });
}

#[test]
fn a_relaxed_load_of_state_is_refused() {
    let rig = Rig::new(4).spoil_reader(&[Weakness::Load(ring_word::STATE)]);
    refuse("state loaded relaxed", "the end came before", Bound::ALL, move |events| {
        close(rig, 3, events);
    });
}
