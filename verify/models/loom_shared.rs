//! Many producers in one process: every committed record appears once, whole, in the order of the
//! claims, and every sleeper is told.
//!
//! Bounds: 2 producers with 1 to 3 records each or 3 with 1, of 0 or 8 bytes; a claim table of 2 or
//! 4; 1 gating reader that looks while they run; capacity 4 (full, with PAD), 16 or 64 granules;
//! positions from 0, across 2^31 (private words) and across 2^32; 1 pre-emption, 2 or 3 where said.
//! Threads try a fixed number of times, are joined, and what is left is done at the end: nothing
//! finished may stay unpublished. loom's cells report two parties inside `Turns` and every
//! unordered access of a payload. Not vacuous: each test asserts that what it is about was seen,
//! and each spoilt ordering of a private word is refused.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use aqueduct_core::layout::ring_word;
use aqueduct_core::shared::{Commit, SharedGrant, SharedProducer};
use aqueduct_core::{ClaimError, Meta, Next, Sleep, WaitMode};
use aqueduct_verify::explore::{Bound, DEADLOCK, Events, UNORDERED, explore, refuse};
use aqueduct_verify::futex::Futex;
use aqueduct_verify::loom_backend::{Access, Loom, Role, Spoilt, with_roles};
use aqueduct_verify::loom_memory::LoomMemory;
use aqueduct_verify::rig::{LoomReader, Rig};
use aqueduct_verify::weak::Weak;
use loom::thread;

type Shared<const CLAIMS: usize> = SharedProducer<Weak, Weak, Loom, CLAIMS, 2>;

/// A record by its contents: who pushed it and which of its own it is.
type Name = (u16, u64);

const ONE: Bound = Bound::preemptions(1);
const TWO: Bound = Bound::preemptions(2);
const THREE: Bound = Bound::preemptions(3);
/// Debug builds are ten times slower.
const USUAL: Bound = if cfg!(debug_assertions) { ONE } else { TWO };

fn build<const CLAIMS: usize>(
    rig: Rig,
    spoilt: &'static [Spoilt],
) -> (Arc<Shared<CLAIMS>>, LoomReader, LoomMemory) {
    let (producer, [reader], memory) = rig.build();
    (
        Arc::new(with_roles(CLAIMS, spoilt, || Shared::new(producer).expect("small enough"))),
        reader,
        memory,
    )
}

/// Every second one is empty.
fn payload((who, which): Name) -> Vec<u8> {
    if which % 2 == 1 {
        Vec::new()
    } else {
        ((u64::from(who) << 32 | which) + 1).to_le_bytes().to_vec()
    }
}

const fn meta((who, which): Name) -> Meta {
    Meta { type_tag: who, timestamp_ns: which }
}

/// One try; `None` if there was no room or no slot.
fn push<const CLAIMS: usize>(shared: &Shared<CLAIMS>, name: Name) -> Option<Commit> {
    match shared.push(meta(name), &payload(name)) {
        Ok(commit) => Some(commit),
        Err(ClaimError::Full { .. } | ClaimError::Busy { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Looks once and adds what it sees: the next number, whole.
fn look(reader: &mut LoomReader, seen: &mut Vec<Name>) -> bool {
    let mut buf = [0; 8];
    match reader.next(&mut buf).expect("nothing is damaged") {
        Next::Record(record) => {
            let name = (record.type_tag, record.timestamp_ns);
            assert_eq!(record.seq, seen.len() as u64);
            assert_eq!(&buf[..record.len], payload(name));
            seen.push(name);
            true
        }
        Next::Empty | Next::Closed => false,
    }
}

fn drain(reader: &mut LoomReader, seen: &mut Vec<Name>) {
    while look(reader, seen) {}
}

/// Each producer's records are there once and in its order.
fn assert_complete(seen: &[Name], producers: u16, each: u64) {
    for who in 0..producers {
        let mine: Vec<u64> = seen.iter().filter(|name| name.0 == who).map(|name| name.1).collect();
        assert_eq!(mine, (0..each).collect::<Vec<_>>(), "producer {who} of {seen:?}");
    }
    assert_eq!(seen.len() as u64, u64::from(producers) * each);
}

/// What a race is made of.
#[derive(Clone, Copy)]
struct Race {
    rig: Rig,
    producers: u16,
    /// Records of each.
    each: u64,
    /// Looks, each with a release, while they run.
    looks: usize,
    /// Room was made before, so that no claim has to.
    ready: bool,
}

impl Race {
    const fn new(rig: Rig, producers: u16, each: u64, looks: usize) -> Self {
        Self { rig, producers, each, looks, ready: false }
    }

    const fn ready(self) -> Self {
        Self { ready: true, ..self }
    }
}

/// The last producer is the main thread, the reader has its own. A producer goes on with its next
/// record only if it got rid of the last.
fn race<const CLAIMS: usize>(race: Race, events: &Events) {
    let (shared, mut reader, _) = build::<CLAIMS>(race.rig, &[]);
    if race.ready {
        drop(shared.claim(64).expect("nobody else is there"));
    }
    let produce = move |shared: &Shared<CLAIMS>, who: u16| {
        let commits: Vec<Commit> =
            (0..race.each).map_while(|which| push(shared, (who, which))).collect();
        assert!(commits.iter().all(|commit| commit.wake.is_none()), "nobody sleeps");
        commits
    };
    let threads: Vec<_> = (1..race.producers)
        .map(|who| {
            let shared = shared.clone();
            thread::spawn(move || produce(&shared, who))
        })
        .collect();
    let read = move || {
        let mut seen = Vec::new();
        for _ in 0..race.looks {
            look(&mut reader, &mut seen);
            assert!(!reader.release(), "nobody asked for space");
        }
        (reader, seen)
    };
    let reading = if race.looks > 0 { Err(thread::spawn(read)) } else { Ok(read()) };
    let mut commits = vec![produce(&shared, 0)];
    commits.extend(threads.into_iter().map(|thread| thread.join().expect("producer")));
    let (mut reader, mut seen) = reading.unwrap_or_else(|reading| reading.join().expect("reader"));
    let in_flight = seen.len();
    drain(&mut reader, &mut seen);
    assert_eq!(
        seen.len(),
        commits.iter().map(Vec::len).sum::<usize>(),
        "something finished was not published"
    );
    events.add("read in flight", in_flight as u64);
    events.note("all in flight", commits.iter().all(|commits| commits.len() as u64 == race.each));
    for (who, commits) in (0..).zip(&commits) {
        for (which, commit) in (0..).zip(commits) {
            if let Some(seq) = commit.seq {
                assert_eq!(
                    seen[usize::try_from(seq).expect("small")],
                    (who, which),
                    "told a wrong number"
                );
            }
            events.note("published by another", commit.seq.is_none());
        }
        events.note("turned away", (commits.len() as u64) < race.each);
        for which in commits.len() as u64..race.each {
            assert!(!reader.release());
            assert!(push(&shared, (who, which)).expect("everything is released").wake.is_none());
            drain(&mut reader, &mut seen);
        }
    }
    events.note("another order", seen.first().is_some_and(|first| first.0 != 0));
    assert_complete(&seen, race.producers, race.each);
    assert_eq!(shared.unfinished(), None);
}

const ROOMY: Rig = Rig::new(16);
/// Room for one record of 2 granules and an empty one.
const TIGHT: Rig = Rig::new(4);

#[test]
fn two_producers_publish_each_record_once_and_in_order() {
    let events = explore("2 producers, 2 records", ONE, |events| race::<2>(TWO_EACH, events));
    assert!(
        events.count("published by another") > 0 && events.count("another order") > 0,
        "{events}"
    );
    let events =
        explore("2 producers, no room at first", ONE, |events| race::<2>(ONE_EACH, events));
    assert!(
        events.count("turned away") > 0 && events.count("published by another") > 0,
        "{events}"
    );
    let events = explore("2 producers, 1 record, reader", ONE, |events| {
        race::<2>(Race::new(ROOMY, 2, 1, 2).ready(), events);
    });
    assert!(
        events.count("read in flight") > 0 && events.count("published by another") > 0,
        "{events}"
    );
}

#[test]
fn two_producers_with_room_do_so_in_more_interleavings() {
    let events =
        explore("2 producers, 2 records, room", USUAL, |events| race::<2>(TWO_EACH, events));
    assert!(
        events.count("published by another") > 0 && events.count("all in flight") > 0,
        "{events}"
    );
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn three_producers_publish_each_record_once_and_in_order() {
    let events = explore("3 producers, 1 record", ONE, |events| {
        race::<4>(Race::new(ROOMY, 3, 1, 0).ready(), events);
    });
    assert!(
        events.count("published by another") > 0 && events.count("another order") > 0,
        "{events}"
    );
    let events = explore("3 producers, 2 slots", ONE, |events| {
        race::<2>(Race::new(ROOMY, 3, 1, 0).ready(), events);
    });
    assert!(events.count("turned away") > 0, "{events}");
}

/// Others go round the whole table while one party holds on to a ticket of the lap before: the main
/// thread, and if `third` another one, whose first claim is the one that looks free again.
fn lapped(third: bool, spoilt: &'static [Spoilt], events: &Events) {
    let (shared, mut reader, _) = build::<2>(ROOMY, spoilt);
    drop(shared.claim(128).expect("nobody else is there"));
    let start = |who| {
        let beside = shared.clone();
        thread::spawn(move || u64::from(push(&beside, (who, 1)).is_some()))
    };
    let other = start(1);
    let mine: &[u64] = if third { &[1, 3] } else { &[1, 3, 5] };
    let pushed: u64 =
        mine.iter().map(|&which| u64::from(push(&shared, (0, which)).is_some())).sum();
    let theirs = if third { start(2).join().expect("producer") } else { 0 }
        + other.join().expect("producer");
    let mut seen = Vec::new();
    drain(&mut reader, &mut seen);
    assert_eq!(seen.len() as u64, pushed + theirs, "something finished was not published");
    events.note("a lap, then the other", seen.iter().position(|name| name.0 == 1) == Some(3));
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn a_ticket_of_the_lap_before_is_worth_nothing() {
    let events = explore("lapped", ONE, |events| lapped(false, &[], events));
    assert!(events.count("a lap, then the other") > 0, "{events}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn a_slot_of_the_next_lap_is_not_free_for_a_ticket_of_this_one() {
    let events = explore("lapped by two", ONE, |events| lapped(true, &[], events));
    assert!(events.count("a lap, then the other") > 0, "{events}");
}

#[test]
fn positions_across_2_31_and_2_32_make_no_difference() {
    for from in [(1 << 31) - 4, u32::MAX - 3] {
        let race_here = Race::new(ROOMY.from(from), 2, 2, 0).ready();
        let events =
            explore("2 producers, wrapping", ONE, move |events| race::<2>(race_here, events));
        assert!(events.count("published by another") > 0, "{events}");
    }
    let full_here = Race { rig: TIGHT.from(u32::MAX - 1), ..FULL };
    let events =
        explore("2 producers, wrapping, full", ONE, move |events| race::<2>(full_here, events));
    assert!(events.count("all in flight") > 0, "{events}");
}

#[test]
fn a_full_ring_turns_producers_away_and_released_space_is_used_again() {
    let events = explore("full", ONE, |events| race::<2>(FULL, events));
    for name in ["turned away", "all in flight", "read in flight", "published by another"] {
        assert!(events.count(name) > 0, "{name}: {events}");
    }
}

/// The ring is full; the reader releases it, two claims find no room, and one may use what the
/// other one made of it.
fn room(spoilt: &'static [Spoilt], events: &Events) {
    // Behind the first record a PAD is needed, and the next payload goes where the first one's
    // header was.
    let (shared, mut reader, _) = build::<2>(TIGHT.from(1), spoilt);
    let _ = push(&shared, (0, 0)).expect("there is room");
    let reading = thread::spawn(move || {
        let mut seen = Vec::new();
        look(&mut reader, &mut seen);
        assert!(!reader.release(), "nobody asked for space");
        (reader, seen)
    });
    let seen =
        two_for_the_room(&shared, [(0, 2), (1, 2)], || reading.join().expect("reader"), events);
    assert_eq!(seen[0], (0, 0));
}

/// As `room`, where `oldest` has run ahead of the reader by whole sectors of 4 granules and does
/// not move, so that no fence takes the place of the ordering of the limit.
fn room_within_a_sector(spoilt: &'static [Spoilt], events: &Events) {
    let (shared, mut reader, _) = build::<2>(Rig::new(64), spoilt);
    let (mut seen, first) = (Vec::new(), (0, 1));
    (0..63).for_each(|_| assert!(push(&shared, first).expect("there is room").wake.is_none()));
    look(&mut reader, &mut seen);
    assert!(!reader.release());
    let _ = push(&shared, first).expect("one was released");
    let reading = thread::spawn(move || {
        (0..3).for_each(|_| assert!(look(&mut reader, &mut seen)));
        assert!(!reader.release(), "nobody asked for space");
        (reader, seen)
    });
    // A payload goes where the reader's second record was.
    two_for_the_room(&shared, [(0, 2), (1, 1)], || reading.join().expect("reader"), events);
}

/// Pushes both, one beside this thread; what the reader has seen in the end.
fn two_for_the_room(
    shared: &Arc<Shared<2>>,
    names: [Name; 2],
    reading: impl FnOnce() -> (LoomReader, Vec<Name>),
    events: &Events,
) -> Vec<Name> {
    let beside = shared.clone();
    let other = thread::spawn(move || push(&beside, names[1]).is_some());
    let pushed = [push(shared, names[0]).is_some(), other.join().expect("the other")];
    let (mut reader, mut seen) = reading();
    drain(&mut reader, &mut seen);
    for (name, pushed) in names.iter().zip(pushed) {
        assert_eq!(seen.contains(name), pushed, "something finished was not published");
    }
    events.note("full", pushed == [false; 2]);
    events.note("used again", pushed != [false; 2]);
    seen
}

#[test]
fn room_that_another_party_made_is_used_after_the_reader_left_it() {
    for (name, model) in [
        ("room", room as fn(&'static [Spoilt], &Events)),
        ("room within a sector", room_within_a_sector),
    ] {
        let events = explore(name, USUAL, move |events| model(&[], events));
        assert!(events.count("full") > 0 && events.count("used again") > 0, "{events}");
    }
}

/// What was claimed first appears first, whichever is committed first. `keep`: it is committed;
/// else dropped, and skipped.
fn held(keep: bool, events: &Events) {
    let (shared, mut reader, _) = build::<2>(ROOMY, &[]);
    let mut grant = shared.claim(8).expect("there is room");
    let pushing = shared.clone();
    let other = thread::spawn(move || push(&pushing, (1, 0)).expect("a slot and room are left"));
    if keep {
        grant.write(&payload((0, 0))).expect("claimed");
        let _ = grant.commit(meta((0, 0)));
    } else {
        drop(grant);
    }
    let commit = other.join().expect("producer");
    events.note("waited", commit.seq.is_none());
    events.note("published itself", commit.seq.is_some());
    let mut seen = Vec::new();
    drain(&mut reader, &mut seen);
    let all: &[Name] = if keep { &[(0, 0), (1, 0)] } else { &[(1, 0)] };
    assert_eq!(seen, all);
}

#[test]
fn a_record_waits_for_those_claimed_before_it() {
    let events = explore("held", THREE, |events| held(true, events));
    assert!(events.count("waited") > 0 && events.count("published itself") > 0, "{events}");
}

#[test]
fn a_dropped_grant_leaves_no_record_and_holds_nobody_up() {
    let events = explore("dropped", THREE, |events| held(false, events));
    assert!(events.count("waited") > 0 && events.count("published itself") > 0, "{events}");
}

/// Both slots are taken when the other comes; it finds a slot only if both are published.
fn busy(events: &Events) {
    let (shared, mut reader, _) = build::<2>(ROOMY, &[]);
    let grants = [(); 2].map(|()| shared.claim(0).expect("there is room"));
    let pushing = shared.clone();
    let other = thread::spawn(move || match pushing.push(meta((1, 1)), &[]) {
        Ok(_) => true,
        Err(ClaimError::Busy { in_flight }) => {
            assert!(in_flight <= 2);
            false
        }
        Err(other) => panic!("{other}"),
    });
    let [first, second] = grants;
    let _ = second.commit(meta((0, 3)));
    let _ = first.commit(meta((0, 1)));
    let pushed = other.join().expect("producer");
    events.note("busy", !pushed);
    events.note("a slot was free again", pushed);
    let mut seen = Vec::new();
    drain(&mut reader, &mut seen);
    assert_eq!(seen, [(0, 1), (0, 3), (1, 1)][..2 + usize::from(pushed)]);
}

#[test]
fn a_full_table_turns_claims_away_until_one_is_published() {
    let events = explore("busy", TWO, busy);
    assert!(events.count("busy") > 0 && events.count("a slot was free again") > 0, "{events}");
}

/// What a party does that touches the ring and may publish what another one committed, but commits
/// nothing itself.
#[derive(Clone, Copy)]
enum Passer {
    /// Fails to claim.
    Claim,
    /// Drops a grant.
    Drop,
    /// Gives a grant up.
    Abandon,
    /// Looks at the readers.
    Look,
}

/// A reader sleeps until it has one record, which is committed while another party passes by.
/// `heeds`: that party wakes whom its call names, or, if that cannot say, `publish`.
fn passing(passer: Passer, heeds: bool, events: &Events) {
    let rig = if matches!(passer, Passer::Claim) { TIGHT } else { ROOMY };
    let (shared, mut reader, memory) = build::<2>(rig, &[]);
    let futex = Arc::new(Futex::new());
    // A party that finishes a claim publishes only what was claimed after it.
    let after = matches!(passer, Passer::Drop | Passer::Abandon);
    if after {
        drop(shared.claim(64).expect("there is room"));
    }
    let claim = || shared.claim(8).expect("there is room");
    let grant = (!after).then(claim);
    let sleeper = futex.clone();
    let reading = thread::spawn(move || {
        let (mut seen, mut slept) = (Vec::new(), false);
        while !look(&mut reader, &mut seen) {
            if let Sleep::Wait { tail } =
                reader.prepare_sleep(WaitMode::Futex).expect("tail in range")
            {
                slept |= sleeper.wait(&memory, ring_word::TAIL, tail);
                reader.finish_sleep(false).expect("tail in range");
            }
        }
        slept
    });
    let (beside, bell) = (shared.clone(), futex.clone());
    let other = thread::spawn(move || {
        let told = match passer {
            Passer::Claim => {
                assert!(beside.claim(8).is_err(), "nothing is released");
                heeds.then(|| beside.publish())
            }
            Passer::Drop => {
                drop(beside.claim(0));
                heeds.then(|| beside.publish())
            }
            Passer::Abandon => beside.claim(0).ok().map(SharedGrant::abandon),
            Passer::Look => beside.take_violation().ok().map(|outcome| outcome.wake),
        };
        let told = heeds && told.is_some_and(|wake| wake.futex);
        if told {
            bell.wake();
        }
        told
    });
    let mut grant = grant.unwrap_or_else(claim);
    grant.write(&payload((0, 0))).expect("claimed");
    if grant.commit(meta((0, 0))).wake.futex {
        futex.wake();
        events.add("told by the commit", 1);
    }
    events.note("told by the other", other.join().expect("the other"));
    events.note("slept", reading.join().expect("reader"));
}

#[test]
fn a_sleeper_is_told_by_whoever_does_not_commit() {
    // A claim that fails has so many interleavings that it takes most of a minute without
    // optimisation.
    let skip = usize::from(cfg!(debug_assertions));
    for passer in
        [Passer::Claim, Passer::Drop, Passer::Abandon, Passer::Look].into_iter().skip(skip)
    {
        let events = explore("passing by", TWO, move |events| passing(passer, true, events));
        for name in ["slept", "told by the commit", "told by the other"] {
            assert!(events.count(name) > 0, "{name}: {events}");
        }
    }
}

#[test]
fn passing_by_without_waking_is_refused() {
    for passer in [Passer::Claim, Passer::Drop, Passer::Abandon, Passer::Look] {
        refuse("passing by", DEADLOCK, TWO, move |events| passing(passer, false, events));
    }
}

/// The reader sleeps whenever there is nothing; each of two producers pushes one record and wakes
/// whom it is told to.
fn sleep(events: &Events) {
    let (shared, mut reader, memory) = build::<2>(ROOMY, &[]);
    let futex = Arc::new(Futex::new());
    // Room is made once, so that none of the two can be turned away.
    drop(shared.claim(64).expect("there is room"));
    let sleeper = futex.clone();
    let reading = thread::spawn(move || {
        let (mut seen, mut slept) = (Vec::new(), 0);
        while seen.len() < 2 {
            if look(&mut reader, &mut seen) {
                continue;
            }
            if let Sleep::Wait { tail } =
                reader.prepare_sleep(WaitMode::Futex).expect("tail in range")
            {
                slept += u64::from(sleeper.wait(&memory, ring_word::TAIL, tail));
                reader.finish_sleep(false).expect("tail in range");
            }
        }
        slept
    });
    let produce = |shared: &Shared<2>, futex: &Futex, who| {
        let told = push(shared, (who, 1)).expect("there is room").wake.futex;
        if told {
            futex.wake();
        }
        u64::from(told)
    };
    let (beside, bell) = (shared.clone(), futex.clone());
    let other = thread::spawn(move || produce(&beside, &bell, 1));
    let told = produce(&shared, &futex, 0) + other.join().expect("producer");
    let slept = reading.join().expect("reader");
    assert!(told >= slept, "woken by nobody");
    events.add("slept", slept);
    events.add("told", told);
    events.note("slept twice", slept == 2);
}

#[test]
fn a_sleeping_reader_never_misses_a_record() {
    let events = explore("sleep", ONE, sleep);
    assert!(events.count("slept") > 0 && events.count("told") > 0, "{events}");
}

const TWO_EACH: Race = Race::new(ROOMY, 2, 2, 0).ready();
/// Both find no room at first.
const ONE_EACH: Race = Race::new(ROOMY, 2, 1, 0);
const FULL: Race = Race::new(TIGHT, 2, 1, 1);

#[test]
fn a_limit_stored_relaxed_is_refused() {
    refuse("a limit stored relaxed", UNORDERED, TWO, |events| {
        room_within_a_sector(&[(Role::Limit, Access::Store, Relaxed)], events);
    });
}

#[test]
fn a_limit_loaded_relaxed_is_refused() {
    refuse("a limit loaded relaxed", UNORDERED, TWO, |events| {
        room(&[(Role::Limit, Access::Load, Relaxed)], events);
    });
}
