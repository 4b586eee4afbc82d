//! Many producers, one party after the other: every order of claims, commits and drops, against an
//! oracle.

mod common;

use core::cell::Cell;
use core::mem::ManuallyDrop;

use aqueduct_core::layout::{KIND_DISCARD, cursor_word, ring_word};
use aqueduct_core::recovery::{Item, scan};
use aqueduct_core::shared::Native;
use aqueduct_core::shared::{Contended, Outcome, ShareError};
use aqueduct_core::{
    AttributeBlock, ClaimError, Next, Producer, Reader, Region, SharedProducer, Sleep, Start,
    SubscribeError, WaitMode, Wake,
};
use common::{Hooked, Page, Ring, Rng, Touch, checked, create, meta, payload, take, word};

type Shared<'a, const CLAIMS: usize> = SharedProducer<Region<'a>, Region<'a>, Native, CLAIMS>;

fn pair<'a, const CLAIMS: usize>(
    ring: &'a Ring,
    page: &'a Page,
    granules: u32,
    first: u32,
) -> (Shared<'a, CLAIMS>, Reader<Region<'a>, Region<'a>>) {
    let (producer, _, reader) = common::pair(ring, page, granules, first);
    (SharedProducer::new(producer).expect("it is small"), reader)
}

/// What a call gives that has nobody to wake.
const fn quiet<T>(value: T) -> Outcome<T> {
    Outcome { value, wake: Wake::NONE }
}

/// Discarded granules between the two words, and PADs.
fn padding_records(ring: &Ring) -> (u32, u32) {
    let (mut discarded, mut pads) = (0, 0);
    for item in scan(ring.region()).unwrap() {
        match item {
            Item::Padding { kind: KIND_DISCARD, granules, .. } => discarded += granules,
            Item::Padding { granules, .. } => pads += granules,
            Item::Record(_) => {}
            damaged => panic!("{damaged:?}"),
        }
    }
    (discarded, pads)
}

#[test]
fn later_claim_that_is_committed_first_waits_for_the_earlier_one() {
    let (ring, page) = (Ring::new(), Page::new());
    let (shared, mut reader) = pair::<4>(&ring, &page, 16, 0);
    let mut a = shared.claim(10).unwrap();
    let mut b = shared.claim(20).unwrap();
    assert_eq!((a.remaining(), b.remaining()), (10, 20));
    b.write(&payload(1, 20)).unwrap();
    assert!(b.write(&[0]).is_err());
    let commit = b.commit(meta(1));
    assert_eq!((commit.seq, commit.wake), (None, Wake::NONE));
    assert_eq!(take(&mut reader), None);
    assert_eq!(shared.unfinished().map(|claim| (claim.ticket, claim.in_flight)), Some((0, 2)));
    a.write(&payload(0, 10)).unwrap();
    assert_eq!(a.commit(meta(0)).seq, Some(0));
    assert_eq!(shared.unfinished(), None);
    assert_eq!(
        [take(&mut reader), take(&mut reader), take(&mut reader)],
        [Some((0, 10)), Some((1, 20)), None]
    );
}

/// Every order in which `left` can be finished.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for &first in left {
        let rest: Vec<usize> = left.iter().copied().filter(|&other| other != first).collect();
        all.extend(orders(&rest).into_iter().map(|mut order| {
            order.insert(0, first);
            order
        }));
    }
    all
}

#[test]
fn every_order_of_commits_and_drops_publishes_in_the_order_of_claims() {
    let most = if cfg!(miri) { 3 } else { 5 };
    for claims in 1..=most {
        for order in orders(&(0..claims).collect::<Vec<_>>()) {
            for dropped in 0..1_usize << claims {
                if cfg!(miri) && dropped % 3 == 2 {
                    continue;
                }
                let (ring, page) = (Ring::new(), Page::new());
                let (shared, mut reader) = pair::<8>(&ring, &page, 64, 20_u32.wrapping_neg());
                let sizes = [40, 0, 33, 64, 7];
                let mut grants: Vec<_> =
                    (0..claims).map(|claim| Some(shared.claim(sizes[claim]).unwrap())).collect();
                let gone = |claim: usize| dropped >> claim & 1 == 1;
                let number =
                    |claim: usize| (0..claim).filter(|&before| !gone(before)).count() as u64;
                let (mut finished, mut published) = ([false; 5], 0);
                for &claim in &order {
                    let mut grant = grants[claim].take().unwrap();
                    let before = published;
                    finished[claim] = true;
                    while published < claims && finished[published] {
                        published += 1;
                    }
                    if gone(claim) {
                        drop(grant);
                    } else {
                        // Half of them are shorter than what was claimed.
                        let len = if claim % 2 == 0 { sizes[claim] / 2 } else { sizes[claim] };
                        grant.write(&payload(number(claim), len)).unwrap();
                        let seq = grant.commit(meta(number(claim))).seq;
                        assert_eq!(
                            seq,
                            (before..published).contains(&claim).then(|| number(claim))
                        );
                    }
                    for visible in (before..published).filter(|&claim| !gone(claim)) {
                        let len =
                            if visible % 2 == 0 { sizes[visible] / 2 } else { sizes[visible] };
                        assert_eq!(
                            take(&mut reader),
                            Some((number(visible), len)),
                            "{order:?} {dropped:b}"
                        );
                    }
                    assert_eq!(take(&mut reader), None, "{order:?} {dropped:b}");
                    let in_flight = u32::try_from(claims - published).unwrap();
                    let ticket = u32::try_from(published).unwrap();
                    let unfinished =
                        shared.unfinished().map(|claim| (claim.ticket, claim.in_flight));
                    assert_eq!(unfinished, (in_flight > 0).then_some((ticket, in_flight)));
                }
                let whole: u32 = (0..claims)
                    .filter(|&claim| gone(claim))
                    .map(|claim| [3, 1, 3, 3, 2][claim])
                    .sum();
                let short = (0..claims)
                    .filter(|&claim| !gone(claim) && claim % 2 == 0 && claim < 4)
                    .count();
                assert_eq!(padding_records(&ring).0, whole + u32::try_from(short).unwrap());
            }
        }
    }
}

#[test]
fn full_table_is_busy_and_a_full_ring_is_full() {
    let (ring, page) = (Ring::new(), Page::new());
    let (shared, mut reader) = pair::<2>(&ring, &page, 8, 0);
    let grants = [shared.claim(32).unwrap(), shared.claim(32).unwrap()];
    assert_eq!(shared.claim(0).err(), Some(ClaimError::Busy { in_flight: 2 }));
    assert_eq!(shared.claim(97).err(), Some(ClaimError::TooLarge { bytes: 97, limit: 96 }));
    drop(grants);
    let seq = shared.push(meta(0), &payload(0, 32)).unwrap().seq;
    assert_eq!(seq, Some(0));
    assert_eq!(shared.push(meta(1), &[]).unwrap().seq, Some(1));
    assert_eq!(shared.push(meta(1), &[]).err(), Some(ClaimError::Full { needed: 1, free: 0 }));
    assert_eq!(shared.want_space(0), Ok(quiet(Ok(false))));
    assert_eq!(take(&mut reader), Some((0, 32)));
    assert!(reader.release());
    assert_eq!(shared.want_space(0), Ok(quiet(Ok(true))));
    assert_eq!(shared.claim(97).err(), Some(ClaimError::TooLarge { bytes: 97, limit: 96 }));
    assert!(shared.claim(32).is_ok());
    let (mut producer, wake) = shared.into_producer();
    assert!(wake.is_none());
    assert_eq!(
        [take(&mut reader), take(&mut reader)],
        [Some((1, 0)), None],
        "behind it two claims that were dropped"
    );
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    assert!(producer.close().futex);
    assert_eq!(reader.next(&mut []), Ok(Next::Closed));
    let shared = Shared::<2>::new(producer).unwrap();
    assert_eq!(shared.claim(0).err(), Some(ClaimError::Closed), "no record follows the end");
}

/// One party that keeps some claims open, over many laps of table and ring, against the single
/// producer's rules.
fn random_steps<const CLAIMS: usize>(granules: u32, first: u32, seed: u64, rounds: u32) {
    let (ring, page) = (Ring::new(), Page::new());
    let (shared, mut reader) = pair::<CLAIMS>(&ring, &page, granules, first);
    let largest = shared.geometry().max_payload() as usize;
    let mut dice = Rng::new(seed);
    let mut open = Vec::new();
    // By order of claims: number, once it is known that it becomes a record; what the reader will
    // see.
    let mut fates: Vec<Option<Option<Vec<u8>>>> = Vec::new();
    let (mut read, mut count, mut full, mut busy) = (0, 0_u64, 0, 0);
    for _ in 0..rounds {
        match dice.below(8) {
            0..=3 => match shared.claim(dice.below(largest + 1)) {
                Ok(grant) => {
                    open.push((fates.len(), grant));
                    fates.push(None);
                }
                Err(ClaimError::Full { .. }) => full += 1,
                Err(ClaimError::Busy { in_flight }) => {
                    assert_eq!(in_flight as usize, CLAIMS);
                    busy += 1;
                }
                Err(other) => panic!("{other}"),
            },
            4..=5 if !open.is_empty() => {
                let (fate, mut grant) = open.swap_remove(dice.below(open.len()));
                if dice.below(4) == 0 {
                    fates[fate] = Some(None);
                } else {
                    let bytes = payload(dice.next(), dice.below(grant.remaining() + 1));
                    grant.write(&bytes).unwrap();
                    fates[fate] = Some(Some(bytes));
                    assert!(grant.commit(meta(fate as u64)).wake.is_none());
                }
            }
            _ => {
                let mut buf = [0; 1024];
                while fates.get(read) == Some(&Some(None)) {
                    read += 1;
                }
                match (reader.next(&mut buf).unwrap(), fates.get(read)) {
                    (Next::Record(record), Some(Some(Some(bytes)))) => {
                        assert_eq!((&buf[..record.len], record.seq), (&bytes[..], count));
                        assert_eq!(record.timestamp_ns, meta(read as u64).timestamp_ns);
                        (read, count) = (read + 1, count + 1);
                    }
                    (Next::Empty, None | Some(None)) => {
                        // Whatever was claimed can be given back.
                        if dice.below(3) == 0 {
                            for (fate, _) in open.drain(..) {
                                fates[fate] = Some(None);
                            }
                        }
                    }
                    other => panic!("{other:?}"),
                }
                let _ = reader.release();
            }
        }
    }
    assert!(
        cfg!(miri) || (count > 50 && full > 0 && fates.len() > 3 * CLAIMS),
        "not vacuous: {count} {full}"
    );
    assert!(cfg!(miri) || CLAIMS > 2 || busy > 0);
}

#[test]
fn claims_in_flight_over_many_laps_come_out_as_they_went_in() {
    let steps = if cfg!(miri) { 60 } else { 1500 };
    for granules in [4, 8, 16, 64] {
        let near =
            [0, 3, (1 << 31) - 40, (1 << 31) - 1, 60_u32.wrapping_neg(), 1_u32.wrapping_neg()];
        for (seed, first) in near.into_iter().enumerate().skip(if cfg!(miri) { 4 } else { 0 }) {
            random_steps::<2>(granules, first, seed as u64, steps);
            random_steps::<4>(granules, first, seed as u64 + 100, steps);
            random_steps::<64>(granules, first, seed as u64 + 200, steps);
        }
    }
}

#[test]
fn grant_claimed_inside_another_is_published_behind_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (shared, mut reader) = pair::<4>(&ring, &page, 16, 0);
    let mut outer = shared.claim(40).unwrap();
    let bytes = payload(0, 40);
    for (count, part) in bytes.chunks(20).enumerate() {
        outer.write(part).unwrap();
        // The interrupt.
        let seq = 1 + count as u64;
        assert_eq!(shared.push(meta(seq), &payload(seq, 3)).unwrap().seq, None);
    }
    assert_eq!(take(&mut reader), None);
    assert_eq!(outer.commit(meta(0)).seq, Some(0));
    assert_eq!(
        [take(&mut reader), take(&mut reader), take(&mut reader)],
        [Some((0, 40)), Some((1, 3)), Some((2, 3))]
    );
}

#[test]
fn wake_up_of_a_publication_by_a_dropped_grant_is_told_to_the_next_who_asks() {
    let (ring, page) = (Ring::new(), Page::new());
    let (shared, mut reader) = pair::<4>(&ring, &page, 16, 0);
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    let first = shared.claim(1).unwrap();
    let second = shared.push(meta(0), &payload(0, 6)).unwrap();
    assert_eq!((second.seq, second.wake), (None, Wake::NONE), "nothing is published yet");
    drop(first);
    assert_eq!(shared.publish(), Wake { futex: true, sockets: 0 });
    assert_eq!(shared.publish(), Wake::NONE);
    reader.finish_sleep(false).unwrap();
    assert_eq!(take(&mut reader), Some((0, 6)));
    assert!(matches!(reader.prepare_sleep(WaitMode::Socket), Ok(Sleep::Wait { .. })));
    drop(shared.claim(1).unwrap());
    assert_eq!(shared.into_producer().1, Wake { futex: false, sockets: 1 });
}

#[test]
fn every_call_that_publishes_what_others_committed_says_whom_to_wake() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, mut reader) = common::pair(&ring, &page, 64, 0);
    let other = producer.subscribe(Start::Latest).unwrap();
    let shared = Shared::<4>::new(producer).unwrap();
    let woken = Wake { futex: true, sockets: 0 };
    let mut unheard = || {
        while take(&mut reader).is_some() {}
        assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    };
    unheard();
    let first = shared.claim(1).unwrap();
    assert_eq!(
        shared.push(meta(0), &payload(0, 6)).unwrap().wake,
        Wake::NONE,
        "nothing is published yet"
    );
    assert_eq!(first.abandon(), woken);
    assert_eq!(shared.publish(), Wake::NONE, "it was told once");
    // What nobody was told of is told by whichever call comes next.
    let calls: [&dyn Fn() -> Wake; 9] = [
        // Behind a claim that is not finished, and may never be.
        &|| {
            let _open = shared.claim(0).unwrap();
            shared.push(meta(1), &[]).unwrap().wake
        },
        &|| {
            let _open = shared.claim(0).unwrap();
            shared.claim(0).unwrap().abandon()
        },
        &|| shared.want_space(0).unwrap().wake,
        &|| shared.subscription(id).unwrap().wake,
        &|| shared.take_violation().unwrap().wake,
        &|| shared.subscribe(Start::At(1 << 20)).unwrap().wake,
        &|| {
            let outcome = shared.attach(id, "", &mut None).unwrap();
            assert_eq!(outcome.value, Err(SubscribeError::NoCursorSegment));
            outcome.wake
        },
        &|| shared.unsubscribe(other).unwrap().wake,
        &|| shared.detach(id).unwrap().wake,
    ];
    for call in calls {
        unheard();
        drop(shared.claim(1).unwrap());
        assert_eq!(call(), woken);
        assert_eq!(shared.publish(), Wake::NONE, "it was told once");
    }
}

#[test]
fn what_an_interrupt_commits_while_the_owner_is_inside_is_published_and_the_owner_told_whom_to_wake()
 {
    let (ring, page, hook) = (Ring::new(), Page::new(), Cell::new(None));
    let hooked = |region| Hooked { region, hook: &hook };
    let mut producer: Producer<Hooked<'_>> =
        Producer::create(hooked(ring.region()), &common::config(16, 0)).unwrap();
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "", hooked(page.region())).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    // Not dropped: its memory refers to the interrupt handler, which refers to it.
    let shared = ManuallyDrop::new(SharedProducer::<_, _, Native, 4>::new(producer).unwrap());
    drop(shared.claim(0).unwrap());
    assert_eq!(take(&mut reader), None);
    let _ = reader.release();
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    // In the middle of `subscription`, which looks at the page.
    let interrupt = |touch| {
        if touch == Touch::Loaded(cursor_word::CURSOR) {
            hook.set(None);
            let commit = shared.push(meta(0), &payload(0, 5)).unwrap();
            assert_eq!((commit.seq, commit.wake), (None, Wake::NONE), "the one inside does it");
            assert_eq!(shared.subscribe(Start::Latest), Err(Contended));
        }
    };
    hook.set(Some(&interrupt as &dyn Fn(Touch)));
    let outcome = shared.subscription(id).unwrap();
    assert!(hook.get().is_none(), "not vacuous");
    assert!(outcome.value.is_some());
    assert_eq!((outcome.wake, shared.publish()), (Wake { futex: true, sockets: 0 }, Wake::NONE));
    reader.finish_sleep(false).unwrap();
    assert_eq!(take(&mut reader), Some((0, 5)));
}

#[test]
fn what_was_appended_before_sharing_is_published_and_numbers_go_on_after_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = common::pair(&ring, &page, 16, 15);
    producer.append(meta(0), &payload(0, 4)).unwrap();
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    let shared = Shared::<2>::new(producer).unwrap();
    assert_eq!(shared.publish(), Wake { futex: true, sockets: 0 }, "kept until somebody asks");
    assert_eq!(shared.push(meta(1), &payload(1, 50)).unwrap().seq, Some(1));
    let (mut producer, _) = shared.into_producer();
    assert_eq!(common::push(&mut producer, 33), Ok(2));
    assert_eq!(
        [take(&mut reader), take(&mut reader), take(&mut reader)],
        [Some((0, 4)), Some((1, 50)), Some((2, 33))]
    );
}

#[test]
fn what_a_forgotten_grant_may_have_overwritten_cannot_be_subscribed_to() {
    let ring = Ring::new();
    let shared = Shared::<4>::new(create(&ring, 64, 0)).unwrap();
    for seq in 0..64 {
        let _ = shared.push(meta(seq), &[]).unwrap();
    }
    let mut grant = shared.claim(20 * 32).unwrap();
    grant.write(&[9; 20 * 32]).unwrap();
    core::mem::forget(grant);
    let behind = shared.push(meta(64), &[]).unwrap();
    assert_eq!((behind.seq, shared.unfinished().is_some()), (None, true));
    let (mut producer, _) = shared.into_producer();
    assert_eq!(producer.next_seq(), 64, "the record behind it is gone with it");
    let gone = 64 + 21 + 1 - 64;
    for position in 0..gone {
        assert!(
            matches!(producer.subscribe(Start::At(position)), Err(SubscribeError::Position { .. })),
            "{position}"
        );
    }
    assert!(producer.subscribe(Start::Oldest).is_ok());
    let whole =
        |item: Item| assert!(matches!(item, Item::Record(_) | Item::Padding { .. }), "{item:?}");
    let scanned = scan(ring.region()).unwrap().map(whole).count();
    assert!(scanned > 0, "whole up to the tail");
}

#[test]
fn shared_ring_without_subscription_overwrites_and_stays_whole() {
    for granules in [4, 8, 64] {
        let ring = Ring::new();
        let shared = Shared::<4>::new(create(&ring, granules, 100_u32.wrapping_neg())).unwrap();
        let mut dice = Rng::new(u64::from(granules));
        let mut observer = aqueduct_core::Observer::oldest(ring.region()).unwrap();
        let mut next = 0;
        for _ in 0..if cfg!(miri) { 24 } else { 600 } {
            let outer = shared.claim(dice.below(33)).unwrap();
            if let Ok(mut inner) =
                shared.claim(dice.below(shared.geometry().max_payload() as usize + 1))
            {
                drop(outer);
                let bytes = payload(next, dice.below(inner.remaining() + 1));
                inner.write(&bytes).unwrap();
                assert_eq!(inner.commit(meta(next)).seq, Some(next));
                next += 1;
                let mut buf = [0; 1024];
                let seen = observer.next(&mut buf);
                match checked(seen, &buf) {
                    Ok(Next::Record((seq, _))) => assert_eq!(seq, next - 1),
                    other => panic!("{other:?}"),
                }
            }
            padding_records(&ring);
        }
        assert!(next > 0 && word(&ring, ring_word::NEXT_SEQ) == u32::try_from(next).unwrap());
    }
}

/// A segment as large as may be, in which nothing stays.
#[derive(Clone)]
struct Vast;

impl aqueduct_core::Memory for Vast {
    fn size(&self) -> usize {
        1 << 31
    }
    fn load(&self, _: usize, _: core::sync::atomic::Ordering) -> u32 {
        0
    }
    fn read(&self, _: usize, into: &mut [u8]) {
        into.fill(0);
    }
    fn span(&self, _: usize, _: usize) -> Option<aqueduct_core::memory::Span<'_>> {
        None
    }
    fn fence(&self, _: core::sync::atomic::Ordering) {}
}

impl aqueduct_core::MemoryMut for Vast {
    fn store(&self, _: usize, _: u32, _: core::sync::atomic::Ordering) {}
    fn write(&self, _: usize, _: &[u8]) {}
}

#[test]
fn ring_too_large_for_29_bits_is_not_shared() {
    fn error<const CLAIMS: usize>(granules: u32) -> Option<ShareError> {
        let config = aqueduct_core::RingConfig::new("", 1, granules as usize * 32);
        let producer: Producer<Vast, Vast, 1> = Producer::create(Vast, &config).unwrap();
        SharedProducer::<_, _, Native, CLAIMS, 1>::new(producer).err()
    }
    for (granules, limit, error) in [
        (1 << 22, 1 << 22, error::<2> as fn(u32) -> _),
        (1 << 22, 1 << 22, error::<64>),
        (1 << 21, 1 << 21, error::<128>),
        (1 << 20, 1 << 20, error::<256>),
    ] {
        assert_eq!(error(granules), None);
        assert_eq!(error(granules * 2), Some(ShareError { granules: granules * 2, limit }));
    }
    let error = ShareError { granules: 1 << 23, limit: 1 << 22 };
    assert_eq!(
        error.to_string(),
        "a ring of 8388608 granules; shared producers with that many claims take 4194304"
    );
}

#[test]
fn contention_says_what_it_is() {
    assert_eq!(Contended.to_string(), "another producer is publishing");
}

#[test]
fn readers_come_go_and_are_evicted_while_the_ring_is_shared() {
    use aqueduct_core::MemoryMut as _;

    let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
    let shared = Shared::<4>::new(create(&ring, 16, 0)).unwrap();
    let id = shared.subscribe(Start::Latest).unwrap().value.unwrap();
    let mut page = Some(pages[0].region());
    shared.attach(id, "reader", &mut page).unwrap().value.unwrap();
    assert!(page.is_none(), "it is the producer's now");
    let mut reader = Reader::attach(ring.region(), pages[0].region()).unwrap();
    assert_eq!(shared.push(meta(0), &payload(0, 3)).unwrap().seq, Some(0));
    assert_eq!(take(&mut reader), Some((0, 3)));
    pages[0].region().store(cursor_word::CURSOR, 99, core::sync::atomic::Ordering::Release);
    assert!(!shared.subscription(id).unwrap().value.unwrap().attached);
    let violation = shared.take_violation().unwrap().value.unwrap();
    assert_eq!(
        (violation.subscription, violation.stored, violation.last_seen, violation.tail),
        (id, 99, 0, 2)
    );
    assert!(shared.take_violation().unwrap().value.is_none());
    shared.attach(id, "again", &mut Some(pages[1].region())).unwrap().value.unwrap();
    let mut reader = Reader::attach(ring.region(), pages[1].region()).unwrap();
    assert_eq!(take(&mut reader), Some((0, 3)), "the subscription stayed where it was seen last");
    let returned = [shared.detach(id).unwrap(), shared.detach(id).unwrap()];
    assert_eq!(returned.map(|page| page.value.is_some()), [true, false]);
    assert_eq!(
        [shared.unsubscribe(id).unwrap().value, shared.unsubscribe(id).unwrap().value],
        [true, false]
    );
    assert!(shared.subscription(id).unwrap().value.is_none());
}

#[test]
fn ring_resumed_full_to_the_last_granule_takes_a_shared_claim_only_when_its_reader_released() {
    use aqueduct_core::recovery::{Bound, Checkpoint, recover};

    let (ring, page) = (Ring::new(), Page::new());
    let mut producer = create(&ring, 16, 0);
    producer.subscribe(Start::Latest).unwrap();
    while common::push(&mut producer, 0).is_ok() {}
    let _ = producer.close();
    drop(producer);
    let found = recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
    assert_eq!(
        (found.end, found.records),
        (16, 15),
        "the head is a granule further than claims may come"
    );
    let mut producer = Producer::resume(ring.region(), &found).unwrap();
    let id = producer.subscribe(Start::Oldest).unwrap();
    producer.attach(id, "", page.region()).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    let shared = Shared::<2>::new(producer).unwrap();
    for seq in 0..2 {
        assert_eq!(shared.push(meta(15), &[]).err(), Some(ClaimError::Full { needed: 1, free: 0 }));
        assert_eq!(take(&mut reader), Some((seq, 0)));
        let _ = reader.release();
    }
    assert_eq!(shared.push(meta(15), &[]).unwrap().seq, Some(15));
    for seq in 2..16 {
        assert_eq!(take(&mut reader), Some((seq, 0)));
    }
    assert_eq!(take(&mut reader), None);
}

/// Looks at private words until a thread is interrupted, and what the interrupt does.
type Interrupt = (u32, Box<dyn FnOnce()>);

thread_local! {
    /// What this thread will be interrupted by.
    static INTERRUPT: Cell<Option<Interrupt>> = const { Cell::new(None) };
    /// How many private words it stored.
    static STORES: Cell<u32> = const { Cell::new(0) };
}

/// The machine's words, with a place for an interrupt before every look and a count of stores.
struct Watched;
#[allow(clippy::disallowed_types, reason = "private words of the tests, not shared bytes")]
struct WatchedWord(core::sync::atomic::AtomicU32);

impl aqueduct_core::shared::Backend for Watched {
    type Word = WatchedWord;
    type Cell<T> = aqueduct_core::shared::NativeCell<T>;
}

fn look() {
    match INTERRUPT.take() {
        Some((0, interrupt)) => interrupt(),
        Some((looks, interrupt)) => INTERRUPT.set(Some((looks - 1, interrupt))),
        None => {}
    }
}

// SAFETY: it is an atomic `u32`, changed only by these methods.
#[allow(clippy::disallowed_types, reason = "private words of the tests, not shared bytes")]
unsafe impl aqueduct_core::shared::Word for WatchedWord {
    fn new(value: u32) -> Self {
        Self(core::sync::atomic::AtomicU32::new(value))
    }
    fn load(&self, order: core::sync::atomic::Ordering) -> u32 {
        look();
        self.0.load(order)
    }
    fn store(&self, value: u32, order: core::sync::atomic::Ordering) {
        STORES.set(STORES.get() + 1);
        self.0.store(value, order);
    }
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: core::sync::atomic::Ordering,
        failure: core::sync::atomic::Ordering,
    ) -> Result<u32, u32> {
        look();
        self.0.compare_exchange(current, new, success, failure)
    }
    fn fetch_or(&self, bits: u32, order: core::sync::atomic::Ordering) -> u32 {
        look();
        self.0.fetch_or(bits, order)
    }
}

#[test]
fn claim_interrupted_between_any_two_steps_is_never_refused_and_takes_its_turn() {
    use std::rc::Rc;
    static RING: Ring = Ring::new();
    static PAGE: Page = Page::new();

    let most = if cfg!(miri) { 1 } else { 4 };
    for (pushes, at_once) in (1..=most).flat_map(|pushes| [(pushes, false), (pushes, true)]) {
        let mut looks = 0;
        loop {
            let (producer, _, mut reader) = common::pair(&RING, &PAGE, 64, 0);
            let shared = Rc::new(
                SharedProducer::<Region<'static>, Region<'static>, Watched, 2>::new(producer)
                    .unwrap(),
            );
            // The first claim makes the room, so that the second one has nothing to ask for.
            assert_eq!(shared.push(meta(0), &payload(0, 800)).unwrap().seq, Some(0));
            assert_eq!(take(&mut reader), Some((0, 800)));
            let _ = reader.release();
            let accepted = Rc::new(Cell::new(0));
            let (other, count) = (Rc::clone(&shared), Rc::clone(&accepted));
            let interrupt = move || {
                while count.get() < pushes && other.push(meta(100 + count.get()), &[]).is_ok() {
                    count.set(count.get() + 1);
                }
                assert!(count.get() > 0, "behind a claim in flight there is room for one more");
            };
            INTERRUPT.set(Some((looks, Box::new(interrupt))));
            let claimed = if at_once {
                shared.push(meta(99), &[5; 40]).map(|commit| Ok(commit.seq))
            } else {
                shared
                    .claim(40)
                    .map(|mut grant| grant.write(&[5; 40]).map(|()| grant.commit(meta(99)).seq))
            };
            let late = INTERRUPT.take().is_some();
            assert!(
                matches!(claimed, Ok(Ok(_))),
                "{pushes} pushes after {looks} looks: {claimed:?}"
            );
            let (mut buf, mut tags) = ([0; 64], Vec::new());
            while let Next::Record(record) = reader.next(&mut buf).unwrap() {
                tags.push(u64::from(record.type_tag));
            }
            let own = tags.iter().position(|&tag| tag == 99).unwrap();
            tags.remove(own);
            assert_eq!(tags, (100..100 + accepted.get()).collect::<Vec<_>>());
            if late {
                assert!(looks > 6, "not vacuous: {looks}");
                break;
            }
            looks += 1;
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "the interrupt's borrow is for ever, so the producer leaks")]
fn whoever_publishes_its_own_record_is_told_its_number() {
    use std::rc::Rc;
    static RING: Ring = Ring::new();
    static PAGE: Page = Page::new();

    let mut picked_up = 0;
    for looks in 0.. {
        let (producer, _, mut reader) = common::pair(&RING, &PAGE, 64, 0);
        let shared: &'static _ = Box::leak(Box::new(
            SharedProducer::<Region<'static>, Region<'static>, Watched, 4>::new(producer).unwrap(),
        ));
        // Somebody is to be woken whom nobody was told of, so that a commit behind an open claim
        // looks for the turn.
        assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
        drop(shared.claim(0).unwrap());
        let before = shared.claim(0).unwrap();
        let told = Rc::new(Cell::new(None));
        let tell = Rc::clone(&told);
        INTERRUPT.set(Some((looks, Box::new(move || tell.set(before.commit(meta(0)).seq)))));
        let seq = shared.push(meta(1), &[]).unwrap().seq;
        if let Some((_, interrupt)) = INTERRUPT.take() {
            interrupt();
            assert!(looks > 10, "not vacuous: {looks}");
            break;
        }
        reader.finish_sleep(false).unwrap();
        assert_eq!([take(&mut reader), take(&mut reader)], [Some((0, 0)), Some((1, 0))]);
        assert!(told.get().is_some() || seq.is_some(), "one of them published both, {looks} looks");
        picked_up += u32::from(told.get().is_none());
    }
    assert!(picked_up > 0, "not vacuous");
}

#[test]
fn room_that_an_interrupt_asks_for_is_made_by_the_one_it_interrupted() {
    let (ring, page, hook) = (Ring::new(), Page::new(), Cell::new(None));
    let hooked = |region| Hooked { region, hook: &hook };
    let mut producer: Producer<Hooked<'_>> =
        Producer::create(hooked(ring.region()), &common::config(8, 0)).unwrap();
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "", hooked(page.region())).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    // Old records stand everywhere, so that each granule must be made room for.
    for seq in 0..7 {
        producer.push(meta(seq), &payload(seq, 0)).map(drop).unwrap();
        assert_eq!(take(&mut reader), Some((seq, 0)));
    }
    let _ = reader.release();
    // Not dropped: its memory refers to the interrupt handler, which refers to it.
    let shared = ManuallyDrop::new(SharedProducer::<_, _, Watched, 4>::new(producer).unwrap());
    let pushed = Cell::new(None);
    // In the middle of `subscription`, which looks at the page.
    let interrupt = |touch| {
        if touch == Touch::Loaded(cursor_word::CURSOR) {
            hook.set(None);
            STORES.set(0);
            let outcome = shared.push(meta(7), &payload(7, 64)).map(|commit| commit.seq);
            pushed.set(Some((outcome, STORES.get())));
        }
    };
    let interrupted = || {
        hook.set(Some(&interrupt as &dyn Fn(Touch)));
        assert!(shared.subscription(id).unwrap().value.is_some());
        pushed.take()
    };
    assert_eq!(
        interrupted(),
        Some((Err(ClaimError::Busy { in_flight: 0 }), 2)),
        "asked again once, and no oftener"
    );
    assert_eq!(
        interrupted(),
        Some((Ok(None), 5)),
        "the room is there; what the header will say is all it leaves"
    );
    assert_eq!([take(&mut reader), take(&mut reader)], [Some((7, 64)), None]);
}

/// [`Watched`], which pauses after a push that met somebody publishing.
struct Pausing;

impl aqueduct_core::shared::Backend for Pausing {
    const PAUSES: u32 = 4;
    type Word = WatchedWord;
    type Cell<T> = aqueduct_core::shared::NativeCell<T>;
}

#[test]
fn a_push_that_meets_somebody_publishing_pauses_with_attributes_and_without() {
    let (ring, page, hook) = (Ring::new(), Page::new(), Cell::new(None));
    let hooked = |region| Hooked { region, hook: &hook };
    let mut producer: Producer<Hooked<'_>> =
        Producer::create(hooked(ring.region()), &common::config(64, 0)).unwrap();
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "", hooked(page.region())).unwrap();
    // Not dropped: its memory refers to the interrupt handler, which refers to it.
    let shared = ManuallyDrop::new(SharedProducer::<_, _, Pausing, 4>::new(producer).unwrap());
    // Makes room, which nobody can while another publishes.
    assert_eq!(shared.push(meta(0), &[]).unwrap().seq, Some(0));
    let mut room = [0; 16];
    let block = AttributeBlock::write([("a", &b"b"[..])], &mut room).unwrap();
    let (way, stored) = (Cell::new(0), Cell::new(0));
    // In the middle of `subscription`, which looks at the page.
    let interrupt = |touch| {
        if touch == Touch::Loaded(cursor_word::CURSOR) {
            hook.set(None);
            STORES.set(0);
            let commit = match way.get() {
                0 => shared.push(meta(0), &payload(0, 5)).unwrap(),
                1 => shared.push_with(meta(1), &payload(1, 5), block).unwrap(),
                _ => {
                    let mut grant = shared.claim(32).unwrap();
                    grant.write(&payload(2, 5)).unwrap();
                    grant.commit_with(meta(2), block).unwrap()
                }
            };
            assert_eq!(commit.seq, None, "the one inside publishes it");
            stored.set(STORES.get());
        }
    };
    // A push that pauses leaves a word about it, beside the five for the header.
    for (each, words) in [(0, 6), (1, 6), (2, 5)] {
        way.set(each);
        hook.set(Some(&interrupt as &dyn Fn(Touch)));
        let _ = shared.subscription(id).unwrap();
        assert_eq!(stored.take(), words, "way {each}");
    }
}
