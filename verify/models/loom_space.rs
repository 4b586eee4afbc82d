//! Full ring: a producer that asked for space is told of it.
//!
//! Bounds: 1 producer, 1 reader, capacity 8 granules of which 7 are taken, then 1 record that needs
//! 2 releases and a PAD; and both sides waiting for each other with 3 records in 4 granules. No
//! time-outs: a lost notice is a deadlock and loom reports it. Not vacuous: notices are counted,
//! and a weaker fence on either side is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::ring_word;
use aqueduct_core::{Next, Sleep, WaitMode};
use aqueduct_verify::explore::{Bound, DEADLOCK, Events, explore, refuse};
use aqueduct_verify::futex::{Futex, Mailbox};
use aqueduct_verify::rig::{LoomProducer, Rig, drain, look, payload, push};
use aqueduct_verify::weak::Weakness;
use loom::thread;

/// Pushes the next record, waiting for space as long as there is none. How often it waited.
fn push_waiting(
    producer: &mut LoomProducer,
    told: &Mailbox,
    mut wake: impl FnMut(aqueduct_core::Wake),
) -> u64 {
    let mut waits = 0;
    loop {
        if let Some(sleepers) = push(producer) {
            wake(sleepers);
            return waits;
        }
        if producer
            .want_space(payload(producer.next_seq()).len())
            .expect("not closed, not too large")
        {
            wake(push(producer).expect("want_space found room"));
            return waits;
        }
        told.receive();
        waits += 1;
    }
}

/// The ring is full before the race begins; the reader knows how many records there are, so it
/// never waits.
fn full(rig: Rig, events: &Events) {
    let (mut producer, [mut reader], _) = rig.build();
    let told = Arc::new(Mailbox::new());
    let mut published = 0;
    while push(&mut producer).is_some() {
        published += 1;
    }
    let teller = told.clone();
    let reading = thread::spawn(move || {
        let (mut seen, mut notices) = (0, 0);
        while seen < published {
            assert!(matches!(look(&mut reader, &mut seen), Next::Record(_)));
            if reader.release() {
                teller.send();
                notices += 1;
            }
        }
        (reader, seen, notices)
    });
    let waits = push_waiting(&mut producer, &told, |wake| assert!(wake.is_none()));
    let (mut reader, mut seen, notices) = reading.join().expect("reader");
    drain(&mut reader, &mut seen);
    assert_eq!(seen, published + 1);
    assert!(waits <= notices);
    events.add("waited", waits);
    events.note("waited twice", waits > 1);
    events.note("never waited", waits == 0);
}

/// 7 of 8 granules are taken by records of 2, 2, 1 and 2; the next one needs a PAD and 2, so two
/// records must be released.
const NEARLY_AT_THE_END: Rig = Rig::new(8);

#[test]
fn a_producer_that_waits_for_space_is_told() {
    let events = explore("space", Bound::preemptions(3), |events| full(NEARLY_AT_THE_END, events));
    for name in ["waited", "waited twice", "never waited"] {
        assert!(events.count(name) > 0, "{name}: {events}");
    }
}

const NO_FENCE: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::Relaxed)];
const ACQ_REL: &[Weakness] = &[Weakness::Fence(Ordering::SeqCst, Ordering::AcqRel)];

#[test]
fn a_weaker_fence_on_either_side_is_refused() {
    for weakness in [NO_FENCE, ACQ_REL] {
        for (name, rig) in [
            ("weaker fence in want_space", NEARLY_AT_THE_END.spoil_producer(weakness)),
            ("weaker fence in release", NEARLY_AT_THE_END.spoil_reader(weakness)),
        ] {
            refuse(name, DEADLOCK, Bound::ALL, move |events| full(rig, events));
        }
    }
}

/// Both sides wait: the reader on the futex for records, the producer for space.
fn both(setup: Rig, records: u64, events: &Events) {
    let (mut producer, [mut reader], ring) = setup.build();
    let told = Arc::new(Mailbox::new());
    let futex = Arc::new(Futex::new());
    let (teller, sleeper) = (told.clone(), futex.clone());
    let reading = thread::spawn(move || {
        let (mut seen, mut slept) = (0, 0);
        while seen < records {
            let empty = look(&mut reader, &mut seen) == Next::Empty;
            if reader.release() {
                teller.send();
            }
            if !empty {
                continue;
            }
            if let Sleep::Wait { tail } =
                reader.prepare_sleep(WaitMode::Futex).expect("tail in range")
            {
                slept += u64::from(sleeper.wait(&ring, ring_word::TAIL, tail));
                reader.finish_sleep(false).expect("tail in range");
            }
        }
        slept
    });
    let mut waits = 0;
    for _ in 0..records {
        waits += push_waiting(&mut producer, &told, |wake| {
            if wake.futex {
                futex.wake();
            }
        });
    }
    let slept = reading.join().expect("reader");
    events.add("waited", waits);
    events.add("slept", slept);
    events.note("both waited", waits > 0 && slept > 0);
}

#[test]
fn producer_and_reader_that_wait_for_each_other_both_go_on() {
    let events = explore("space and sleep", Bound::preemptions(2), |events| {
        both(Rig::new(4).from(1), 3, events);
    });
    assert!(
        events.count("waited") > 0 && events.count("slept") > 0 && events.count("both waited") > 0,
        "{events}"
    );
}
