//! Whatever shared memory says: no panic, no access outside, and every call ends after a number of
//! loads that the capacity bounds.
//!
//! Bounds: 6,000 seeded cases of 40 calls (`AQUEDUCT_HOSTILE_CASES` enlarges it), capacity 4 to 64
//! granules, positions anywhere, every load a lie in 0 to 60 % of the cases or by a plan to keep
//! its reader busy; debug assertions and overflow checks are on. Not vacuous: every outcome that
//! can be had is counted and asserted on.

use std::sync::LazyLock;

use aqueduct_core::SeekError;
use aqueduct_core::geometry::{Geometry, max_payload_for};
use aqueduct_core::layout::{CLOCK_PRIVATE, cursor_word, ring_word};
use aqueduct_core::recovery::{Bound, Checkpoint, Recovery, recover, scan};
use aqueduct_core::shared::Native;
use aqueduct_core::{
    ClaimError, Memory, MemoryMut, Meta, Next, Observer, Producer, ReadError, Reader, RingConfig,
    Seek, SharedProducer, Start, WaitMode,
};
use aqueduct_verify::explore::Events;
use aqueduct_verify::hostile_memory::{Habit, Hostile};
use aqueduct_verify::rng::Rng;
use std::sync::atomic::Ordering;

const EPOCH: u64 = 0x0123_4567_89ab_cdef;
const PAGES: usize = 3;
type Victim = Producer<Hostile, Hostile, PAGES>;

static SEEN: LazyLock<Events> = LazyLock::new(Events::default);

/// The most words that one call may load: `per_granule` × capacity, and a constant.
#[derive(Clone, Copy)]
struct Budget {
    capacity: usize,
}

impl Budget {
    /// Does `call` and checks what it loaded.
    fn spend<R>(
        self,
        name: &'static str,
        per_granule: usize,
        constant: usize,
        memory: &[&Hostile],
        call: impl FnOnce() -> R,
    ) -> R {
        for memory in memory {
            let _ = memory.take_loaded();
        }
        let result = call();
        let loaded: usize = memory.iter().map(|memory| memory.take_loaded()).sum();
        let limit = per_granule * self.capacity + constant;
        assert!(
            loaded <= limit,
            "{name}: {loaded} words loaded with {} granules; {limit} allowed",
            self.capacity
        );
        SEEN.add(name, 1);
        result
    }
}

/// A header is 4 words and the look at `oldest` after it one.
const HEADER: usize = 5;
/// Words of the largest payload, per granule of capacity.
const PAYLOAD: usize = 2;
/// `next` of a gating reader: the tail it knew, the tail it finds, the tail after `closed`; then
/// one search or one payload.
const NEXT: usize = 3 * HEADER + HEADER + PAYLOAD;
/// `next` of an observer: it may be overrun 8 times while it looks for a record and 8 times while
/// it copies one.
const OBSERVE: usize = 8 * (8 * NEXT);

fn create(dice: &mut Rng, seed: u64) -> (Hostile, Victim, RingConfig<'static>) {
    let capacity = 4 << dice.below(5);
    let mut config = RingConfig::new("hostile", EPOCH, capacity * 32);
    config.first_position = [0, u32::MAX - 9, dice.word()][dice.below(3)];
    let size = 256 + capacity * 32;
    let narrow = u32::try_from(capacity).unwrap();
    let geometry =
        Geometry::new(EPOCH, narrow, max_payload_for(narrow), 256, CLOCK_PRIVATE, size).unwrap();
    let ring = Hostile::new(size, Some(geometry), seed);
    let producer = Producer::create(ring.clone(), &config).unwrap();
    (ring, producer, config)
}

fn fill(dice: &mut Rng, producer: &mut Victim) {
    let limit = producer.geometry().max_payload() as usize + 1;
    for _ in 0..dice.below(30) {
        let (len, tag) = (dice.below(limit), dice.word());
        match producer.push(
            Meta { type_tag: 1, timestamp_ns: tag.into() },
            &vec![dice.bits().to_le_bytes()[0]; len],
        ) {
            Ok((_, wake)) => assert!(wake.sockets >> PAGES == 0),
            Err(error) => assert!(matches!(error, ClaimError::Full { .. })),
        }
        if dice.once_in(8) {
            producer.ring().remember();
        }
    }
}

fn habit(dice: &mut Rng) -> Habit {
    match dice.below(12) {
        0 if dice.once_in(9) => Habit::Pendulum,
        0 => Habit::Debris,
        1 => Habit::Padding,
        2 => Habit::Jumps,
        3 => Habit::Runaway,
        often => Habit::Often([5, 20, 50, 100, 200, 300, 400, 600][often - 4]),
    }
}

fn note(seen: &Result<Next, ReadError>) {
    let name = match seen {
        Ok(Next::Record(_)) => "record",
        Ok(Next::Empty) => "empty",
        Ok(Next::Closed) => "closed",
        Err(ReadError::BufferTooSmall { .. }) => "short buffer",
        Err(ReadError::Payload { .. }) => "payload",
        Err(ReadError::Header { .. }) => "header",
        Err(ReadError::Gap { .. }) => "gap",
        Err(ReadError::Overrun { .. }) => "overrun",
        Err(ReadError::TailOutOfRange { .. }) => "tail out of range",
        Err(error) => panic!("nothing is known of this error: {error}"),
    };
    SEEN.add(name, 1);
}

fn numbers(dice: &mut Rng) -> u64 {
    [0, u64::MAX, dice.bits(), dice.bits() % 64][dice.below(4)]
}

fn reader(dice: &mut Rng, seed: u64) {
    let (ring, mut producer, _) = create(dice, seed);
    let page = Hostile::new(256, None, seed + 1);
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "victim", page.clone()).unwrap();
    fill(dice, &mut producer);
    let budget = Budget { capacity: producer.geometry().capacity() as usize };
    let (mut buf, limit) = ([0; 1024], producer.geometry().max_payload() as usize);
    // Half of the readers attach while both still tell the truth.
    let early = dice.once_in(2);
    let lie = |dice: &mut Rng| {
        ring.set(habit(dice));
        page.set(if dice.once_in(2) { Habit::Honest } else { Habit::Often(dice.below(700)) });
    };
    if !early {
        lie(dice);
    }
    let Ok(mut reader) = budget
        .spend("attach", 0, 40, &[&ring, &page], || Reader::attach(ring.clone(), page.clone()))
    else {
        return;
    };
    lie(dice);
    let all = [&ring, &page];
    for _ in 0..40 {
        let len = if dice.once_in(4) { dice.below(limit + 1) } else { 1024 };
        match dice.below(12) {
            0..6 => note(&budget.spend("next", NEXT, 8, &all, || reader.next(&mut buf[..len]))),
            6 => {
                let most = dice.below(5);
                let taken = budget.spend("batch", NEXT * 5, 40, &all, || {
                    reader.batch(&mut buf[..len], most, |record, bytes| {
                        assert_eq!(record.len, bytes.len());
                    })
                });
                assert!(taken.map_or(true, |(taken, _)| taken <= most));
            }
            7 => {
                let _ = budget.spend("release", 0, 1, &all, || reader.release());
            }
            8 => {
                let (epoch, seq) =
                    (if dice.once_in(9) { 1 } else { reader.geometry().epoch() }, numbers(dice));
                match budget.spend("seek", SEEK, 40, &all, || reader.seek(epoch, seq)) {
                    Ok(Seek::Found) => SEEN.add("found", 1),
                    Ok(Seek::Gone { oldest }) => assert!(oldest > seq),
                    Ok(Seek::Ahead) | Err(SeekError::Read(_)) => {}
                    Err(SeekError::Epoch { .. }) => assert_eq!(epoch, 1),
                    Err(error) => panic!("nothing is known of this error: {error}"),
                }
            }
            9 => {
                let now = numbers(dice);
                if let Ok(lag) = budget.spend("lag", HEADER, 4, &all, || reader.lag(now)) {
                    assert!(
                        lag.bytes <= u64::from(reader.geometry().capacity()) * 32
                            && lag.nanoseconds <= now
                    );
                }
            }
            10 => {
                let _ = budget.spend("skip", 0, 4, &all, || reader.skip_to_latest());
            }
            _ => {
                let mode = if dice.once_in(2) { WaitMode::Futex } else { WaitMode::Socket };
                if budget.spend("sleep", 0, 4, &all, || reader.prepare_sleep(mode)).is_ok() {
                    let _ = budget.spend("wake", 0, 4, &all, || reader.finish_sleep(true));
                }
            }
        }
        if dice.once_in(6) {
            lie(dice);
        }
    }
}

/// `seek` of a reader: it gives up when it has skipped four laps, a header each and as much again
/// to find the next valid one.
const SEEK: usize = 2 * (4 + 1) * HEADER;

/// `seek` of an observer: as a reader's, but the last round may begin a lap anew 8 times, and a
/// round that is overrun counts for one lap less than it goes over.
const OBSERVER_SEEK: usize = 2 * (4 + 8 + 1) * HEADER;

fn observer(dice: &mut Rng, seed: u64) {
    let (ring, mut producer, _) = create(dice, seed);
    fill(dice, &mut producer);
    let budget = Budget { capacity: producer.geometry().capacity() as usize };
    let mut buf = [0; 1024];
    if dice.once_in(2) {
        ring.set(habit(dice));
    }
    let latest = dice.once_in(3);
    let joined = budget.spend("join", 0, 60, &[&ring], || {
        if latest { Observer::latest(ring.clone()) } else { Observer::oldest(ring.clone()) }
    });
    let Ok(mut observer) = joined else { return };
    ring.set(habit(dice));
    for _ in 0..40 {
        let len = if dice.once_in(4) { dice.below(100) } else { 1024 };
        match dice.below(8) {
            0..6 => note(
                &budget.spend("observe", OBSERVE, 200, &[&ring], || observer.next(&mut buf[..len])),
            ),
            6 => {
                let (epoch, seq) = (observer.geometry().epoch(), numbers(dice));
                let _ = budget.spend("observer's seek", OBSERVER_SEEK, 400, &[&ring], || {
                    observer.seek(epoch, seq)
                });
            }
            _ => {
                let now = numbers(dice);
                if let Ok(lag) =
                    budget.spend("observer's lag", HEADER, 24, &[&ring], || observer.lag(now))
                {
                    assert!(lag.bytes <= u64::from(observer.geometry().capacity()) * 32);
                }
            }
        }
        if dice.once_in(6) {
            ring.set(habit(dice));
        }
    }
}

fn recovery(dice: &mut Rng, seed: u64) {
    let (ring, mut producer, config) = create(dice, seed);
    fill(dice, &mut producer);
    let budget = Budget { capacity: producer.geometry().capacity() as usize };
    ring.set(habit(dice));
    let bound = if dice.once_in(2) { Bound::Tail } else { Bound::Longest };
    let mut checkpoint = Checkpoint::oldest(&ring);
    if dice.once_in(3) {
        checkpoint = Checkpoint {
            position: config.first_position.wrapping_add(dice.word() % 100),
            seq: dice.once_in(2).then(|| numbers(dice)),
        };
    }
    // Header and payload of the prefix, then a search of the rest.
    let found =
        budget.spend("recover", 4 + 4 + 4, 60, &[&ring], || recover(&ring, checkpoint, bound));
    if let Ok(scan) = budget.spend("scan", 0, 40, &[&ring], || scan(ring.clone())) {
        let items = budget.spend("scanned", 4 + 4 + 4, 40, &[&ring], || scan.take(1000).count());
        assert!(items <= budget.capacity);
    }
    let mut recovery = match found {
        Ok(recovery) => recovery,
        // Numbers that nobody found: a caller's mistake must not take the process down either.
        Err(_) if dice.once_in(2) => Recovery {
            start: dice.word(),
            end: dice.word(),
            records: dice.bits(),
            next_seq: Some(numbers(dice)),
            cut: aqueduct_core::recovery::Cut::None,
            cut_granules: dice.word(),
            survivor: None,
        },
        Err(_) => return,
    };
    if dice.once_in(2) {
        ring.set(habit(dice));
    }
    recovery.next_seq = recovery.next_seq.or(Some(numbers(dice)));
    let Ok(mut producer) =
        budget.spend("resume", 4 + 4, 60, &[&ring], || Victim::resume(ring.clone(), &recovery))
    else {
        return;
    };
    SEEN.add("resumed", 1);
    let page = Hostile::new(256, None, seed + 1);
    if let (true, Ok(id)) = (dice.once_in(2), producer.subscribe(Start::Oldest)) {
        producer.attach(id, "next", page).unwrap();
    }
    fill(dice, &mut producer);
    let _ = producer.close();
}

/// The producer's own ring is honest; the pages are not. An observer of the ring never sees damage.
fn producer(dice: &mut Rng, seed: u64) {
    let (ring, mut producer, _) = create(dice, seed);
    let pages: [Hostile; PAGES] =
        std::array::from_fn(|index| Hostile::new(256, None, seed + 7 + index as u64));
    let mut ids = Vec::new();
    let mut observer = Observer::oldest(ring.clone()).unwrap();
    let mut buf = [0; 1024];
    let limit = producer.geometry().max_payload() as usize + 2;
    let all = [&pages[0], &pages[1], &pages[2]];
    let budget = Budget { capacity: 0 };
    let mut expected = None;
    for _ in 0..40 {
        let (len, which) = (dice.below(limit), dice.below(PAGES));
        if dice.once_in(8) {
            pages[which].set(Habit::Often([0, 30, 200, 700][dice.below(4)]));
        }
        // What a reader would store, and what none would.
        if dice.once_in(3) {
            let tail = ring.load(ring_word::TAIL, Ordering::Relaxed);
            let cursor =
                if dice.once_in(8) { dice.word() } else { tail.wrapping_sub(dice.word() % 8) };
            pages[which].store(cursor_word::CURSOR, cursor, Ordering::Relaxed);
            pages[which].store(cursor_word::WAITING, dice.word() % 16, Ordering::Relaxed);
        }
        match dice.below(16) {
            0..6 => {
                let pushed = budget.spend("push", 0, 2 * PAGES, &all, || {
                    producer.push(Meta::default(), &buf[..len.min(1000)])
                });
                match pushed {
                    Ok((_, wake)) => assert!(wake.sockets >> PAGES == 0),
                    Err(ClaimError::Full { needed, free }) => assert!(needed > free),
                    Err(error) => {
                        assert!(matches!(error, ClaimError::TooLarge { .. } | ClaimError::Closed));
                    }
                }
            }
            6 => {
                let _ = budget.spend("append", 0, PAGES, &all, || {
                    producer.append(Meta::default(), &buf[..len.min(1000)])
                });
            }
            7 => {
                let _ = budget.spend("publish", 0, PAGES, &all, || producer.publish());
            }
            8 => {
                let _ = budget.spend("want space", 0, PAGES, &all, || producer.want_space(len));
            }
            9 => {
                if let Ok(mut grant) = producer.claim(len) {
                    grant.write(&buf[..len / 2]).unwrap();
                }
            }
            10 => {
                let start = [Start::Oldest, Start::Latest, Start::At(dice.word())][dice.below(3)];
                ids.extend(producer.subscribe(start).ok());
            }
            11 if !ids.is_empty() => {
                let id = ids[dice.below(ids.len())];
                let page = pages[id.index()].clone();
                let _ = producer.attach(id, "liar", page);
            }
            12 if !ids.is_empty() => {
                let id = ids[dice.below(ids.len())];
                let status = budget
                    .spend("status", 0, PAGES + 3, &all, || producer.subscription(id))
                    .unwrap();
                assert!(status.lag_granules <= producer.geometry().capacity());
                assert!(producer.backlog() <= producer.geometry().capacity());
                while let Some(violation) = producer.take_violation() {
                    SEEN.add("violation", 1);
                    assert!(
                        violation.stored.wrapping_sub(violation.last_seen)
                            > violation.tail.wrapping_sub(violation.last_seen)
                    );
                }
            }
            13 if dice.once_in(4) && !ids.is_empty() => {
                let id = ids.swap_remove(dice.below(ids.len()));
                let _page = producer.detach(id);
                assert!(producer.unsubscribe(id));
            }
            14 => producer = many(dice, producer),
            15 if dice.once_in(9) => {
                let _ = budget.spend("close", 0, 3 * PAGES, &all, || producer.close());
            }
            _ => {}
        }
        for _ in 0..dice.below(5) {
            match observer.next(&mut buf) {
                Ok(Next::Record(record)) => {
                    assert!(expected.is_none_or(|seq| seq == record.seq));
                    expected = Some(record.seq + 1);
                }
                Ok(Next::Empty | Next::Closed) => break,
                Err(ReadError::Overrun { found: Some(found), .. }) => expected = Some(found),
                Err(error) => panic!("a ring that its producer wrote: {error}"),
            }
        }
    }
}

fn many(dice: &mut Rng, producer: Victim) -> Victim {
    let shared = SharedProducer::<Hostile, Hostile, Native, 4, PAGES>::new(producer).unwrap();
    let limit = shared.geometry().max_payload() as usize + 1;
    let mut grants = Vec::new();
    for _ in 0..12 {
        if dice.once_in(2) {
            match shared.claim(dice.below(limit)) {
                Ok(grant) => grants.push(grant),
                Err(ClaimError::Full { needed, free }) => assert!(needed > free),
                Err(ClaimError::Busy { in_flight }) => assert!(in_flight == 4),
                Err(error) => assert_eq!(error, ClaimError::Closed),
            }
        } else if !grants.is_empty() {
            let grant = grants.swap_remove(dice.below(grants.len()));
            if dice.once_in(4) {
                drop(grant);
            } else {
                let commit = grant.commit(Meta::default());
                assert!(commit.wake.sockets >> PAGES == 0);
            }
        }
    }
    drop(grants);
    shared.into_producer().0
}

#[test]
fn whatever_the_memory_says_every_call_ends_inside_it() {
    let cases: u64 = std::env::var("AQUEDUCT_HOSTILE_CASES")
        .map_or(6_000, |cases| cases.parse().expect("AQUEDUCT_HOSTILE_CASES: a number"));
    let started = std::time::Instant::now();
    for seed in 0..cases {
        let case = || {
            let mut dice = Rng::new(seed);
            match seed % 4 {
                0 => reader(&mut dice, seed),
                1 => observer(&mut dice, seed),
                2 => recovery(&mut dice, seed),
                _ => producer(&mut dice, seed),
            }
        };
        if let Err(panic) = std::panic::catch_unwind(case) {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
    println!("hostile: {cases} cases{}, {:.1?}", *SEEN, started.elapsed());
    for name in [
        "record",
        "empty",
        "closed",
        "short buffer",
        "payload",
        "header",
        "gap",
        "overrun",
        "tail out of range",
        "found",
        "resumed",
        "violation",
        "scanned",
    ] {
        assert!(SEEN.count(name) > 0, "{name} never happened");
    }
}

/// Words that one call loads at worst, by capacity, under each plan.
#[test]
fn the_worst_plans_cost_what_the_capacity_allows() {
    for habit in [Habit::Debris, Habit::Padding, Habit::Jumps, Habit::Runaway, Habit::Pendulum] {
        for capacity in [16, 64, 256] {
            let size = 256 + capacity * 32;
            let narrow = u32::try_from(capacity).unwrap();
            let geometry =
                Geometry::new(EPOCH, narrow, max_payload_for(narrow), 256, CLOCK_PRIVATE, size)
                    .unwrap();
            let (ring, page) = (Hostile::new(size, Some(geometry), 1), Hostile::new(256, None, 2));
            let mut producer: Victim =
                Producer::create(ring.clone(), &RingConfig::new("worst", EPOCH, capacity * 32))
                    .unwrap();
            let id = producer.subscribe(Start::Latest).unwrap();
            producer.attach(id, "victim", page.clone()).unwrap();
            let mut reader = Reader::attach(ring.clone(), page).unwrap();
            let mut observer = Observer::oldest(ring.clone()).unwrap();
            ring.set(habit);
            let (mut buf, mut worst) = ([0; 8192], [0; 4]);
            for _ in 0..4 {
                let mut count = |call: usize| worst[call] = worst[call].max(ring.take_loaded());
                let _ = ring.take_loaded();
                let _ = reader.next(&mut buf);
                count(0);
                let _ = reader.seek(EPOCH, u64::MAX);
                count(1);
                let _ = observer.next(&mut buf);
                count(2);
                let _ = observer.seek(EPOCH, u64::MAX);
                count(3);
            }
            println!(
                "{habit:?}, {capacity} granules: next {}, seek {}, observer's next {}, seek {}",
                worst[0], worst[1], worst[2], worst[3]
            );
            assert!(worst[0] <= NEXT * capacity + 8 && worst[2] <= OBSERVE * capacity + 200);
            assert!(worst[1] <= SEEK * capacity + 40 && worst[3] <= OBSERVER_SEEK * capacity + 400);
        }
    }
}
