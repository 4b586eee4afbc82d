//! Observers: what is handed out was never torn, and what was missed is counted by `seq`, whichever
//! party overwrites.
//!
//! Bounds: 1 producer without readers, 1 observer; capacity 4 granules; 2 records of 0 or 8 bytes
//! overwrite older ones while the observer looks once or twice; positions from 0 and across 2^32; 2
//! shared producers with 1 claim each in 4 granules, and in 8, one after the other; 2 pre-emptions,
//! 1 in debug builds; 1 record and a close, without bound. Every byte is in a relaxed loom word, so
//! a look may see any mixture of old and new. Nobody damages anything, so of all errors only
//! `Overrun` is allowed. Not vacuous: records seen and overruns are counted, and spoilt orderings
//! of `oldest`, of `tail`, of `state` and of both fences are refused.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use aqueduct_core::layout::ring_word;
use aqueduct_core::read::Observer;
use aqueduct_core::shared::SharedProducer;
use aqueduct_core::{Meta, Next, Producer, ReadError};
use aqueduct_verify::explore::{Bound, Events, explore, refuse};
use aqueduct_verify::loom_backend::{Loom, with_roles};
use aqueduct_verify::loom_memory::{Bytes, LoomMemory};
use aqueduct_verify::rig::Rig;
use aqueduct_verify::weak::{Weak, Weakness};
use loom::thread;

/// Debug builds are ten times slower.
const USUAL: Bound = Bound::preemptions(if cfg!(debug_assertions) { 1 } else { 2 });

/// 8 bytes that follow from the number, or none.
fn payload(seq: u64, len: usize) -> Vec<u8> {
    (seq + 1).to_le_bytes()[..len].to_vec()
}

/// What an observer knows at the end.
#[derive(Default)]
struct Seen {
    records: u64,
    overrun: u64,
    /// What the records seen and the losses told add up to: the number expected next.
    next: Option<u64>,
    /// The first number seen.
    joined: Option<u64>,
}

/// One look. Every record is whole, and no number is missing that was not told of.
fn look(observer: &mut Observer<Weak>, len: usize, seen: &mut Seen) -> bool {
    let mut buf = [0; 8];
    match observer.next(&mut buf) {
        Ok(Next::Record(record)) => {
            assert_eq!((record.timestamp_ns, record.len), (record.seq, len), "torn");
            assert_eq!(&buf[..len], payload(record.seq, len), "torn");
            assert!(
                seen.next.is_none_or(|next| next == record.seq),
                "a loss was not told: {:?} {record:?}",
                seen.next
            );
            seen.next = Some(record.seq + 1);
            seen.joined = seen.joined.or(Some(record.seq));
            seen.records += 1;
            true
        }
        Ok(Next::Empty | Next::Closed) => false,
        Err(other @ ReadError::Overrun { expected, found: Some(found) }) => {
            // What was located and then overwritten counts as lost, also if it would have been the
            // first.
            assert!(
                seen.next.is_none() || expected == seen.next,
                "another loss: {:?} {other:?}",
                seen.next
            );
            assert!(
                expected.is_some_and(|expected| expected < found),
                "nothing was lost: {other:?}"
            );
            seen.joined = seen.joined.or(expected);
            seen.next = Some(found);
            seen.overrun += 1;
            true
        }
        Err(other) => panic!("nothing is damaged: {other:?}"),
    }
}

#[derive(Clone, Copy)]
struct Race {
    rig: Rig,
    /// Payload bytes of every record.
    len: usize,
    /// Records before the race.
    before: u64,
    /// Records in it.
    during: u64,
    looks: usize,
}

/// The observer is the main thread; it has read the `first` records when the race begins.
fn race(race: Race, first: u64, events: &Events) {
    let Race { rig, len, before, during, looks } = race;
    let ring = LoomMemory::ring(rig.capacity as usize, Bytes::Words);
    let mut producer: Producer<Weak, Weak, 1> =
        Producer::create(Weak::new(&ring, rig.producer), &rig.config()).expect("create");
    let mut push = move |seq| {
        let meta = Meta { type_tag: 7, timestamp_ns: seq };
        assert_eq!(producer.push(meta, &payload(seq, len)).expect("nobody holds it back").0, seq);
    };
    (0..before).for_each(&mut push);
    let mut observer = Observer::oldest(Weak::new(&ring, rig.reader)).expect("join");
    let mut seen = Seen::default();
    for _ in 0..first {
        assert!(look(&mut observer, len, &mut seen));
    }
    seen.records = 0;
    let writing = thread::spawn(move || (before..before + during).for_each(push));
    for _ in 0..looks {
        look(&mut observer, len, &mut seen);
    }
    events.add("seen in flight", seen.records);
    events.add("overrun in flight", seen.overrun);
    writing.join().expect("producer");
    while look(&mut observer, len, &mut seen) {}
    assert_eq!(seen.next, Some(before + during), "the last record is always there");
    // It joined at a record that was whole; what it did not get since, it counted.
    assert_eq!(
        u64::from(observer.lost()) + seen.records + first,
        before + during - seen.joined.expect("something was read")
    );
    assert_eq!(observer.corrupt(), 0);
    events.note("overrun", seen.overrun > 0);
}

/// Three records of one granule; each one more overwrites one.
const EMPTY: Race = Race { rig: Rig::new(4), len: 0, before: 3, during: 2, looks: 2 };
/// One record of two granules; one more overwrites it.
const FILLED: Race = Race { rig: Rig::new(4), len: 8, before: 1, during: 2, looks: 1 };

/// As before, but the observer looks again, a lap later.
const LAPPED: Race = Race { looks: 2, ..FILLED };

const fn spoil(race: Race, producer: &'static [Weakness], reader: &'static [Weakness]) -> Race {
    Race { rig: race.rig.spoil_producer(producer).spoil_reader(reader), ..race }
}

#[test]
fn an_observer_gets_whole_records_or_knows_what_it_missed() {
    for (name, bound, what) in
        [("observer, headers", USUAL, EMPTY), ("observer, payloads", USUAL, FILLED)]
    {
        let events = explore(name, bound, move |events| race(what, 1, events));
        for name in ["seen in flight", "overrun in flight"] {
            assert!(events.count(name) > 0, "{name}: {events}");
        }
    }
}

#[test]
fn an_observer_that_has_read_nothing_yet_is_overrun_like_any_other() {
    let events = explore("observer, nothing read", USUAL, |events| race(LAPPED, 0, events));
    assert!(
        events.count("seen in flight") > 0 && events.count("overrun in flight") > 0,
        "{events}"
    );
}

#[test]
fn positions_across_2_32_make_no_difference_to_an_observer() {
    let what = Race { rig: Rig::new(4).from(u32::MAX - 2), ..EMPTY };
    let events =
        explore("observer across 2^32", Bound::preemptions(1), move |events| race(what, 1, events));
    assert!(
        events.count("seen in flight") > 0 && events.count("overrun in flight") > 0,
        "{events}"
    );
}

/// Two shared producers overwrite what an observer may be copying: one of them may use room that
/// the other one made.
fn shared(setup: Rig, events: &Events) {
    let ring = LoomMemory::ring(setup.capacity as usize, Bytes::Words);
    let mut producer: Producer<Weak, Weak, 1> =
        Producer::create(Weak::new(&ring, setup.producer), &setup.config()).expect("create");
    for seq in 0..3 {
        let _ = producer
            .push(Meta { type_tag: 7, timestamp_ns: seq }, &[])
            .expect("nobody holds it back");
    }
    let shared = with_roles(2, &[], || {
        SharedProducer::<Weak, Weak, Loom, 2, 1>::new(producer).expect("small enough")
    });
    let shared = Arc::new(shared);
    let mut observer = Observer::oldest(Weak::new(&ring, setup.reader)).expect("join");
    let beside = shared.clone();
    let other = thread::spawn(move || {
        // Its payload goes where an old header was.
        if let Ok(mut grant) = beside.claim(8) {
            grant.write(&[0xff; 8]).expect("claimed");
            let _ = grant.commit(Meta::default());
        }
    });
    let making = thread::spawn(move || drop(shared.claim(8)));
    let mut buf = [0; 8];
    match observer.next(&mut buf) {
        Ok(Next::Record(record)) => {
            events.add("seen in flight", 1);
            events.note("passed over", record.seq > 0);
        }
        Ok(Next::Empty) => {}
        Ok(Next::Closed) => panic!("it is not closed"),
        Err(ReadError::Overrun { .. }) => events.add("overrun in flight", 1),
        Err(other) => panic!("nothing is damaged: {other:?}"),
    }
    other.join().expect("producer");
    making.join().expect("producer");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes long without optimisation")]
fn an_observer_of_shared_producers_gets_whole_records() {
    let events =
        explore("observer of two", Bound::preemptions(1), |events| shared(Rig::new(4), events));
    assert!(events.count("seen in flight") > 0 && events.count("passed over") > 0, "{events}");
}

/// What one party does with room that another one made: it moved `oldest`, and ended before the
/// first one began.
#[derive(Clone, Copy)]
enum HandedOn {
    /// It fills a claim of its own.
    Payload,
    /// It publishes, with one of its own, what the other had claimed: it writes that one's headers.
    Headers,
}

/// An observer may be copying record 0, granules 0 to 3, when granule 0 or 1 gets other bytes.
fn handed_on(what: HandedOn, events: &Events) {
    const OLD: [u8; 96] = [0xee; 96];
    let setup = Rig::new(8);
    let ring = LoomMemory::ring(setup.capacity as usize, Bytes::Words);
    let mut producer: Producer<Weak, Weak, 1> =
        Producer::create(Weak::new(&ring, setup.producer), &setup.config()).expect("create");
    let _ = producer.push(Meta::default(), &OLD).expect("nobody holds it back");
    for _ in 0..if matches!(what, HandedOn::Payload) { 3 } else { 2 } {
        let _ = producer.push(Meta::default(), &[]).expect("nobody holds it back");
    }
    let mut observer = Observer::oldest(Weak::new(&ring, setup.reader)).expect("join");
    let shared = with_roles(2, &[], || {
        SharedProducer::<Weak, Weak, Loom, 2, 1>::new(producer).expect("small enough")
    });
    let shared = Arc::new(shared);
    // Up to granule 7, for which nothing is overwritten.
    let before = matches!(what, HandedOn::Headers).then(|| shared.claim(0).expect("there is room"));
    let looking = thread::spawn(move || {
        let mut buf = [0; 96];
        match observer.next(&mut buf) {
            Ok(Next::Record(record)) => {
                assert!(record.seq > 0 || buf == OLD, "torn");
                Some(record.seq)
            }
            Ok(other) => panic!("it is published: {other:?}"),
            Err(ReadError::Overrun { .. }) => None,
            Err(other) => panic!("nothing is damaged: {other:?}"),
        }
    });
    let beside = shared.clone();
    let making = thread::spawn(move || {
        // Behind a PAD if something is claimed before it: its header goes to granule 0.
        let len = if matches!(what, HandedOn::Payload) { 0 } else { 8 };
        assert!(beside.claim(len).expect("nobody holds it back").abandon().is_none());
    });
    making.join().expect("producer");
    if let Some(grant) = before {
        assert!(grant.abandon().is_none());
    } else {
        let mut grant = shared.claim(8).expect("room was made");
        grant.write(&[0xff; 8]).expect("claimed");
        // Neither committed nor given up, so that its payload, in granule 1, is all that changes.
        std::mem::forget(grant);
    }
    let seen = looking.join().expect("observer");
    events.note("old", seen == Some(0));
    events.note("passed over", seen != Some(0));
}

#[test]
fn room_that_another_party_made_is_used_without_tearing_what_an_observer_copies() {
    for (name, what) in [("payload", HandedOn::Payload), ("headers", HandedOn::Headers)] {
        let events = explore(name, USUAL, move |events| handed_on(what, events));
        assert!(events.count("old") > 0 && events.count("passed over") > 0, "{name}: {events}");
    }
}

/// One record and the end, with no reader attached: no fence of a publication takes the place of
/// the ordering of `state`.
fn close(setup: Rig, events: &Events) {
    let ring = LoomMemory::ring(setup.capacity as usize, Bytes::Words);
    let mut producer: Producer<Weak, Weak, 1> =
        Producer::create(Weak::new(&ring, setup.producer), &setup.config()).expect("create");
    let mut observer = Observer::oldest(Weak::new(&ring, setup.reader)).expect("join");
    let writing = thread::spawn(move || {
        let _ = producer.push(Meta::default(), &[]).expect("there is room");
        let _ = producer.close();
    });
    let mut seen = 0;
    let mut look = || {
        let next = observer.next(&mut []).expect("nothing is damaged");
        seen += u64::from(matches!(next, Next::Record(_)));
        assert!(next != Next::Closed || seen == 1, "the end came before the last record");
        next
    };
    let looks = [(); 3].map(|()| look());
    events.note("closed in flight", looks.contains(&Next::Closed));
    events.note("empty in flight", looks.contains(&Next::Empty));
    writing.join().expect("producer");
    while look() != Next::Closed {}
}

#[test]
fn an_observer_learns_of_the_end_behind_the_last_record() {
    let events = explore("observer, close", Bound::ALL, |events| close(Rig::new(4), events));
    assert!(
        events.count("closed in flight") > 0 && events.count("empty in flight") > 0,
        "{events}"
    );
}

const NO_RELEASE: &[Weakness] = &[Weakness::Fence(Release, Relaxed)];
const NO_ACQUIRE: &[Weakness] = &[Weakness::Fence(Acquire, Relaxed)];

#[test]
fn retiring_without_the_release_fence_is_refused() {
    refuse("no fence after oldest", "nothing is damaged", USUAL, |events| {
        race(spoil(FILLED, NO_RELEASE, &[]), 0, events);
    });
}

#[test]
fn a_relaxed_store_of_state_is_refused_by_observers() {
    const SPOILT: &[Weakness] = &[Weakness::Store(ring_word::STATE)];
    refuse("state stored relaxed", "the end came before", Bound::ALL, |events| {
        close(Rig::new(4).spoil_producer(SPOILT), events);
    });
}

#[test]
fn copying_without_the_acquire_fence_is_refused() {
    refuse("no fence after the copy", "nothing is damaged", USUAL, |events| {
        race(spoil(FILLED, &[], NO_ACQUIRE), 0, events);
    });
}

#[test]
fn a_relaxed_store_of_oldest_is_refused() {
    const SPOILT: &[Weakness] = &[Weakness::Store(ring_word::OLDEST)];
    refuse("oldest stored relaxed", "nothing is damaged", USUAL, |events| {
        race(spoil(LAPPED, SPOILT, &[]), 0, events);
    });
}

#[test]
fn a_relaxed_load_of_oldest_is_refused() {
    const SPOILT: &[Weakness] = &[Weakness::Load(ring_word::OLDEST)];
    refuse("oldest loaded relaxed", "nothing is damaged", USUAL, |events| {
        race(spoil(LAPPED, &[], SPOILT), 0, events);
    });
}

#[test]
fn a_relaxed_store_of_tail_is_refused_by_observers() {
    const SPOILT: &[Weakness] = &[Weakness::Store(ring_word::TAIL)];
    refuse("tail stored relaxed", "nothing is damaged", USUAL, |events| {
        race(spoil(LAPPED, SPOILT, &[]), 0, events);
    });
}

#[test]
fn a_relaxed_load_of_tail_is_refused_by_observers() {
    const SPOILT: &[Weakness] = &[Weakness::Load(ring_word::TAIL)];
    refuse("tail loaded relaxed", "nothing is damaged", USUAL, |events| {
        race(spoil(LAPPED, &[], SPOILT), 0, events);
    });
}
