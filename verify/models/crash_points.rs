//! A party killed after its k-th store, for every k: what the others find, what recovery finds, how
//! the ring goes on.
//!
//! Bounds: 1 producer process (at times of up to 4 claims in flight), 2 subscriptions, 1 observer;
//! capacity 4 to 16 granules; the scripted and 60 random lives (`AQUEDUCT_CRASH_LIVES` enlarges
//! it), each killed after every single store, in words of 8 or 4 bytes; after each of them both
//! kinds of recovery, each killed after every store of its own; and once more with stores missing
//! that nothing orders. Not vacuous: the events are counted and asserted on.

#[path = "crash_points/life.rs"]
mod life;

use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use aqueduct_core::AttachError;
use aqueduct_core::JoinError;
use aqueduct_core::geometry::GeometryError;
use aqueduct_core::layout::{STATE_CLOSED, cursor_word, ring_word};
use aqueduct_core::recovery::{Bound, Checkpoint, Cut, Recovery, recover};
use aqueduct_core::{
    ClaimError, MemoryMut, Next, Observer, Producer, ReadError, Reader, RingConfig, Sleep, Start,
    WaitMode,
};
use aqueduct_verify::crash_memory::{Bytes, Fuse, survive};
use aqueduct_verify::explore::Events;
use aqueduct_verify::rng::Rng;
use life::{EPOCH, Life, Mortal, SIDES, Shape, Step, Turn, check, meta, one, payload, random};

static SEEN: LazyLock<Events> = LazyLock::new(Events::default);

/// Everything that is asked of a ring whose producer died. `kept`: no store was lost.
fn autopsy(mut life: Life, kept: bool, deep: bool) {
    let closed = life.ring.word(ring_word::STATE) == STATE_CLOSED;
    // What was published, by a recovery that is checked against everything else below.
    let found =
        recover(&life.ring.immortal(), Checkpoint::oldest(&life.ring.immortal()), Bound::Tail)
            .unwrap();
    assert_eq!(
        (found.cut, found.cut_granules, found.survivor),
        (Cut::None, 0, None),
        "the published prefix is whole"
    );
    assert_eq!(found.end, life.ring.word(ring_word::TAIL));
    // An empty prefix does not tell its number.
    let told = || life.tails.iter().rev().find(|tail| tail.0 == found.end).map(|tail| tail.1);
    let published = found.next_seq.or_else(told).unwrap_or(life.published);
    assert!(published <= life.lens.len() as u64);
    assert!(
        !kept || published >= life.published,
        "{published} found, {} published",
        life.published
    );
    SEEN.add("records cut off", life.lens.len() as u64 - published);
    assert!(
        !closed || published == life.lens.len() as u64,
        "closed before everything was published"
    );
    SEEN.note("closed", closed);

    observers(&mut life, &found, published, closed);
    // Who was reading goes on, one as if the other were not there; so does a party that begins at a
    // stored cursor.
    for side in 0..SIDES {
        let newcomer = life.sides[side].page.as_ref().map(|page| {
            let attached = Reader::attach(life.ring.immortal(), page.duplicate().immortal());
            (attached, life.sides[side].released)
        });
        let active = &mut life.sides[side];
        if let Some(reader) = &mut active.reader {
            read_all(&life.lens, reader, &mut active.next, published, closed);
            SEEN.add("reader goes on", 1);
        }
        match newcomer {
            Some((Ok(mut reader), mut next)) => {
                read_all(&life.lens, &mut reader, &mut next, published, closed);
                SEEN.add("reader begins", 1);
            }
            Some((Err(error), _)) => {
                assert!(life.sides[side].reader.is_none(), "{error}");
                assert_eq!(error, AttachError::CursorSegmentIdentity);
                SEEN.add("page cut", 1);
            }
            None => {}
        }
    }
    recoveries(&life, published, deep);
}

fn read_all<C: MemoryMut>(
    lens: &[usize],
    reader: &mut Reader<life::Ring, C>,
    next: &mut Option<u64>,
    published: u64,
    closed: bool,
) {
    while one(lens, next, |buf| reader.next(buf)).is_some() {}
    assert!(next.is_none_or(|next| next == published), "{next:?} of {published} read");
    assert_eq!(reader.next(&mut [0; 1024]), Ok(if closed { Next::Closed } else { Next::Empty }));
}

/// A new observer sees everything from `oldest`; an old one goes on.
fn observers(life: &mut Life, found: &Recovery, published: u64, closed: bool) {
    let mut observer = Observer::oldest(life.ring.immortal()).unwrap();
    let (mut next, mut records) = (None, 0);
    while one(&life.lens, &mut next, |buf| observer.next(buf)).is_some() {
        records += 1;
    }
    assert_eq!(records, found.records);
    assert!(next.is_none_or(|next| next == published));
    assert_eq!(observer.next(&mut []), Ok(if closed { Next::Closed } else { Next::Empty }));
    life.look(usize::MAX);
    assert!(life.observed.is_none_or(|next| next == published) || records == 0);
}

/// Both recoveries, each cut after every store and then done.
fn recoveries(life: &Life, published: u64, deep: bool) {
    for bound in [Bound::Tail, Bound::Longest] {
        let memory = life.ring.immortal();
        let mut recovery = recover(&memory, Checkpoint::oldest(&memory), bound).unwrap();
        recovery.next_seq = recovery.next_seq.or(Some(published));
        let end = recovery.next_seq.unwrap();
        assert!(
            end >= published && end <= life.lens.len() as u64,
            "{end} recovered, {published} published: {recovery:?}, {:?}",
            life.tails
        );
        assert!(bound == Bound::Longest || end == published);
        SEEN.add("more than published", end - published);
        if bound == Bound::Tail {
            no_ghosts(life, &recovery, end);
        }
        for stores in 0.. {
            let ring = life.ring.duplicate();
            let fuse = Fuse::new(if deep { stores } else { u64::MAX }, life.shape.word_bytes);
            if let Some(producer) =
                survive(|| Mortal::resume(ring.mortal(&fuse), &recovery).unwrap())
            {
                fuse.disarm();
                go_on(life, &ring, producer, end);
                break;
            }
            SEEN.add("recovery cut", 1);
            // Cut: what was published is still there, and another recovery finds at least
            // that and never garbage.
            let again =
                recover(&ring.immortal(), Checkpoint::oldest(&ring.immortal()), Bound::Tail)
                    .unwrap();
            // From its store of `tail` on, what the cut recovery had decided holds; before, what
            // was published.
            assert!(
                again.cut == Cut::None
                    && again.next_seq.is_none_or(|seq| seq == published || seq == end)
            );
            let again =
                recover(&ring.immortal(), Checkpoint::oldest(&ring.immortal()), Bound::Longest)
                    .unwrap();
            assert!(
                again.next_seq.is_none_or(|seq| seq >= published && seq <= life.lens.len() as u64)
            );
            assert!(bound == Bound::Tail || again.next_seq.is_none_or(|seq| seq == end));
        }
    }
}

/// What was cut does not come back after a new record that takes the place of the first one cut.
fn no_ghosts(life: &Life, recovery: &Recovery, end: u64) {
    let Some(len) = life.len(end) else { return };
    let ring = life.ring.duplicate();
    let mut producer = Mortal::resume(ring.immortal(), recovery).unwrap();
    if producer.push(meta(end), &payload(end + 1000, len)).is_err() {
        return;
    }
    drop(producer);
    let found =
        recover(&ring.immortal(), Checkpoint::oldest(&ring.immortal()), Bound::Longest).unwrap();
    assert_eq!(found.next_seq, Some(end + 1), "a record that was cut came back");
    SEEN.add("no ghost", 1);
}

/// The resumed ring: kept cursors are accepted, their readers get everything from there and
/// everything new, in order.
fn go_on(life: &Life, ring: &Bytes, mut producer: Mortal, end: u64) {
    assert_eq!(producer.next_seq(), end);
    let mut lens: Vec<usize> = life.lens[..usize::try_from(end).unwrap()].to_vec();
    let mut readers: Vec<(Reader<_, _>, Option<u64>)> = Vec::new();
    for side in 0..SIDES {
        let Some(cursor) = life.cursor(side) else { continue };
        let next = life.sides[side].released;
        let Ok(id) = producer.subscribe(Start::At(cursor)) else {
            assert!(life.sides[side].id.is_none(), "the cursor of a gating reader is refused");
            continue;
        };
        let page = Bytes::new(256);
        producer.attach(id, "side", page.immortal()).unwrap();
        readers.push((Reader::attach(ring.immortal(), page.immortal()).unwrap(), next));
        SEEN.add("cursor kept", 1);
    }
    let mut observer = Observer::latest(ring.immortal()).unwrap();
    let mut expected = Some(end);
    let largest = producer.geometry().max_payload() as usize;
    let mut drained = false;
    for step in 0..6 {
        let (seq, len) =
            (lens.len() as u64, [largest, 0, 1, largest / 2, 33.min(largest), largest][step]);
        lens.push(len);
        match producer.push(meta(seq), &payload(seq, len)) {
            Ok((given, _)) => assert_eq!(given, seq),
            // What the readers have not released is theirs; when they have, there is room.
            Err(ClaimError::Full { .. }) if !drained && !readers.is_empty() => {
                lens.pop();
            }
            Err(error) => panic!("{error}"),
        }
        drained = step > 0;
        if drained {
            for (reader, next) in &mut readers {
                read_all(&lens, reader, next, lens.len() as u64, false);
                let _ = reader.release();
            }
        }
        if readers.is_empty() || drained {
            while one(&lens, &mut expected, |buf| match observer.next(buf) {
                // A record as large as half the ring may overrun it.
                Err(ReadError::Overrun { .. }) => observer.next(buf),
                seen => seen,
            })
            .is_some()
            {}
        }
    }
    assert!(lens.len() as u64 > end);
    SEEN.add("went on", 1);
}

/// Every k of one life; gives how many there were.
fn enumerate(shape: &Shape, steps: &[Step], deep: bool, seed: u64) -> u64 {
    let mut rng = Rng::new(seed);
    for stores in 0.. {
        let run = |rng: Option<&mut Rng>| {
            let fuse = Fuse::new(0, shape.word_bytes);
            let life = Life::live(shape, steps, &fuse, stores);
            let (kept, dead) = (rng.is_none(), fuse.dead());
            let lost = rng.map_or(0, |rng| fuse.lose_unordered(rng));
            SEEN.add("stores lost", lost as u64);
            autopsy(life, kept, deep && kept);
            dead
        };
        if !run(None) {
            return stores;
        }
        run(Some(&mut rng));
    }
    unreachable!("every life ends")
}

fn scripted() -> Vec<(&'static str, Vec<Step>)> {
    use Step::{
        Append, Attach, Claim, Close, Detach, Look, Publish, Push, Read, Shared, Subscribe,
        Unsubscribe, WantSpace,
    };
    let gated =
        || vec![Subscribe(0, Start::Latest), Attach(0), Subscribe(1, Start::Latest), Attach(1)];
    let all = |side| Read(side, 99, true);
    let with = |more: Vec<Step>| gated().into_iter().chain(more).collect::<Vec<_>>();
    vec![
        (
            "push, wrap with a PAD, close",
            with(vec![
                Push(96),
                Push(33),
                all(0),
                Push(0),
                all(1),
                Push(96),
                Push(5),
                all(0),
                all(1),
                Push(64),
                Append(0),
                Close,
            ]),
        ),
        (
            "a batch",
            with(vec![
                Append(1),
                Append(40),
                Append(0),
                Publish,
                Read(0, 2, true),
                Append(7),
                all(1),
                Publish,
                Append(9),
            ]),
        ),
        (
            "claims in pieces, and some dropped",
            with(vec![
                Claim { len: 50, pieces: vec![3, 0, 9, 20, 18], commit: true },
                Publish,
                Claim { len: 60, pieces: vec![31, 2], commit: false },
                Claim { len: 20, pieces: vec![1, 1, 1], commit: true },
                Publish,
                all(0),
                all(1),
                Claim { len: 96, pieces: vec![96], commit: false },
                Push(17),
            ]),
        ),
        (
            "nobody gates",
            (0..14)
                .flat_map(|number| [Push(number * 7 % 97), Append(number), Look(number % 3)])
                .collect(),
        ),
        (
            "subscriptions come and go",
            vec![
                Push(40),
                Push(40),
                Push(70),
                Subscribe(0, Start::Oldest),
                Attach(0),
                Push(20),
                Read(0, 1, true),
                Push(64),
                Attach(0),
                all(0),
                Detach(0),
                Push(50),
                Attach(0),
                Unsubscribe(0),
                Push(96),
                Push(96),
            ],
        ),
        (
            "full, asks for space",
            with(vec![
                Push(96),
                Push(64),
                WantSpace(96),
                all(0),
                all(1),
                WantSpace(96),
                Push(96),
                WantSpace(96),
            ]),
        ),
        (
            "many producers",
            with(vec![
                Push(1),
                Shared(vec![
                    Turn::Claim(30),
                    Turn::Claim(60),
                    Turn::Claim(0),
                    Turn::Commit(1, 40),
                    Turn::Commit(1, 0),
                    Turn::Commit(0, 5),
                    Turn::Read(0, 9, true),
                    Turn::Read(1, 9, true),
                    Turn::Claim(96),
                    Turn::Drop(0),
                    Turn::Claim(10),
                    Turn::Claim(20),
                    Turn::Commit(1, 0),
                ]),
                Push(8),
            ]),
        ),
    ]
}

#[test]
fn a_producer_killed_after_any_store_leaves_a_prefix_that_others_read_and_the_next_one_continues() {
    let started = std::time::Instant::now();
    let mut points = 0;
    for (name, steps) in scripted() {
        for (first_position, word_bytes) in [(0, 8), (u32::MAX - 5, 4)] {
            let shape = Shape { capacity: 8, first_position, word_bytes };
            let found = enumerate(&shape, &steps, word_bytes == 8, 1);
            assert!(found > 20, "{name}");
            points += found + 1;
        }
    }
    println!("scripted: {points} points, {:.1?}", started.elapsed());
    let lives = std::env::var("AQUEDUCT_CRASH_LIVES")
        .map_or(60, |lives| lives.parse().expect("AQUEDUCT_CRASH_LIVES: a number"));
    for seed in 0..lives {
        let (shape, steps) = random(seed);
        let found = std::panic::catch_unwind(|| enumerate(&shape, &steps, seed % 20 == 0, seed));
        points += 1 + found.unwrap_or_else(|_| panic!("seed {seed}: {shape:?} {steps:?}"));
    }
    println!("crash points: {points}{}, {:.1?}", *SEEN, started.elapsed());
    for name in [
        "reader goes on",
        "reader begins",
        "page cut",
        "more than published",
        "recovery cut",
        "cursor kept",
        "stores lost",
        "no ghost",
        "closed",
    ] {
        assert!(SEEN.count(name) > 0, "{name} never happened");
    }
}

#[test]
fn a_creation_that_was_cut_is_no_ring() {
    let config = |capacity: usize, epoch| RingConfig::new("cut", epoch, capacity * 32);
    let mut points = 0;
    for (before, word_bytes) in [(0, 8), (1, 8), (2, 8), (0, 4), (1, 4), (2, 4)] {
        for stores in 0.. {
            let ring = Bytes::new(256 + 16 * 32);
            let page = Bytes::new(256);
            match before {
                0 => {}
                1 => {
                    let mut dice = Rng::new(stores);
                    (0..256 + 16 * 32).for_each(|at| ring.flip(at, dice.bits().to_le_bytes()[0]));
                }
                _ => {
                    let mut old: Mortal =
                        Producer::create(ring.immortal(), &config(16, EPOCH)).unwrap();
                    let id = old.subscribe(Start::Latest).unwrap();
                    (0..5).for_each(|seq| assert!(old.push(meta(seq), &payload(seq, 40)).is_ok()));
                    old.attach(id, "old", page.immortal()).unwrap();
                }
            }
            let fuse = Fuse::new(stores, word_bytes);
            let created =
                survive(|| Mortal::create(ring.mortal(&fuse), &config(8, EPOCH + 1)).unwrap());
            // Twice in three times stores are missing.
            let lost = if created.is_none() && stores % 3 > 0 {
                fuse.lose_unordered(&mut Rng::new(stores))
            } else {
                0
            };
            let attached = Reader::attach(ring.immortal(), page.immortal()).map(|_| ());
            let joined =
                Observer::oldest(ring.immortal()).map(|observer| observer.geometry().epoch());
            if created.is_some() {
                assert_eq!(joined, Ok(EPOCH + 1));
                assert_eq!(
                    attached,
                    Err(if before == 2 {
                        AttachError::Epoch { ring: EPOCH + 1, cursor_segment: EPOCH }
                    } else {
                        AttachError::CursorSegmentIdentity
                    })
                );
                break;
            }
            points += 1;
            // Until its first store the old ring is there; from then on there is none.
            if before == 2 && joined == Ok(EPOCH) {
                assert!(attached.is_ok() && (stores == 0 || lost > 0), "{stores} stores");
                continue;
            }
            let refused =
                |error| matches!(error, GeometryError::Magic { .. } | GeometryError::Crc { .. });
            assert!(
                matches!(joined, Err(JoinError::Geometry(error)) if refused(error)),
                "{stores} stores: {joined:?}"
            );
            assert!(
                matches!(attached, Err(AttachError::Geometry(error)) if refused(error)),
                "{stores} stores: {attached:?}"
            );
            assert!(
                recover(&ring.immortal(), Checkpoint { position: 0, seq: None }, Bound::Longest)
                    .is_err()
            );
        }
    }
    println!("creation: {points} points");
    assert!(points > 150);
}

/// A reader's life: reads damaged records too, sleeps, releases. Gives what the next one may
/// expect.
fn read_on(ring: &Bytes, page: &Bytes, fuse: &std::rc::Rc<Fuse>, progress: &mut Progress) {
    let Some(mut reader) = survive(|| Reader::attach(ring.immortal(), page.mortal(fuse)).unwrap())
    else {
        return;
    };
    let mut buf = [0; 1024];
    survive(|| {
        for step in 0..40 {
            match reader.next(&mut buf) {
                Ok(Next::Record(record)) => {
                    check(&progress.lens, record, &buf);
                    assert!(
                        record.seq <= progress.processed,
                        "record {} after {}",
                        record.seq,
                        progress.processed
                    );
                    progress.processed = progress.processed.max(record.seq + 1);
                }
                Ok(Next::Empty) => {
                    if let Sleep::Wait { .. } = reader.prepare_sleep(WaitMode::Futex).unwrap() {
                        reader.finish_sleep(true).unwrap();
                    }
                    let _ = reader.release();
                    return;
                }
                Ok(Next::Closed) => return,
                Err(ReadError::Payload { seq, .. }) => {
                    assert_eq!(seq, progress.damaged);
                    progress.processed = progress.processed.max(seq + 1);
                }
                Err(error) => panic!("{error}"),
            }
            if step % 3 == 2 {
                let _ = reader.release();
                progress.released = progress.processed;
            }
        }
    });
}

struct Progress {
    lens: Vec<usize>,
    processed: u64,
    /// At least this was released.
    released: u64,
    damaged: u64,
}

#[test]
fn a_reader_killed_after_any_store_stops_nobody_and_the_next_of_its_name_loses_nothing() {
    let mut points = 0;
    for (replace, first) in [(false, 0), (true, 0), (false, u32::MAX - 15)] {
        for stores in 0.. {
            let (ring, page) = (Bytes::new(256 + 16 * 32), Bytes::new(256));
            let mut config = RingConfig::new("reader", EPOCH, 16 * 32);
            config.first_position = first;
            let mut producer: Mortal = Producer::create(ring.immortal(), &config).unwrap();
            let id = producer.subscribe(Start::Latest).unwrap();
            producer.attach(id, "reader", page.immortal()).unwrap();
            let mut progress = Progress { lens: Vec::new(), processed: 0, released: 0, damaged: 2 };
            let (fuse, mut page, mut died) = (Fuse::new(stores, 8), page, false);
            let mut refused = 0;
            for round in 0..8 {
                for _ in 0..3 {
                    let seq = progress.lens.len() as u64;
                    let len = [9, 70, 33, 0][progress.lens.len() % 4];
                    match producer.push(meta(seq), &payload(seq, len)) {
                        Ok(_) => progress.lens.push(len),
                        Err(ClaimError::Full { .. }) => {
                            refused += 1;
                            let _ = producer.want_space(len).unwrap();
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                if round == 0 {
                    // The payload of record 2: after granules of 2 and 4, and its header.
                    let at = (u64::from(first) + 6) % 16 * 32 + 32;
                    ring.flip(256 + usize::try_from(at).unwrap() + 3, 1);
                }
                let mine = if died { Fuse::new(u64::MAX, 8) } else { fuse.clone() };
                read_on(&ring, &page, &mine, &mut progress);
                assert_eq!(producer.take_violation(), None);
                if fuse.dead() && !died {
                    died = true;
                    assert!(
                        producer.subscription(id).unwrap().attached,
                        "a dead reader is no violation"
                    );
                    if replace {
                        assert!(producer.detach(id).is_some());
                        page = Bytes::new(256);
                        producer.attach(id, "reader", page.immortal()).unwrap();
                    }
                    // The next of its name, who says that he sleeps and is woken.
                    read_on(&ring, &page, &Fuse::new(u64::MAX, 8), &mut progress);
                    assert_eq!(progress.processed, progress.lens.len() as u64);
                    let mut reader = Reader::attach(ring.immortal(), page.immortal()).unwrap();
                    if let Sleep::Wait { .. } = reader.prepare_sleep(WaitMode::Futex).unwrap() {
                        let seq = progress.lens.len() as u64;
                        progress.lens.push(1);
                        assert!(
                            producer.push(meta(seq), &payload(seq, 1)).unwrap().1.futex,
                            "it sleeps on"
                        );
                    }
                    SEEN.add("reader killed", 1);
                }
            }
            read_on(&ring, &page, &Fuse::new(u64::MAX, 8), &mut progress);
            assert_eq!(progress.processed, progress.lens.len() as u64);
            assert!(progress.lens.len() > 12 && refused < 20);
            if !died {
                break;
            }
            points += 1;
        }
    }
    println!("reader: {points} points");
    assert!(points > 100 && SEEN.count("reader killed") > 100);
}

#[test]
fn lost_stores_keep_what_orderings_promise_and_lose_the_rest() {
    let mut lost = [0; 3];
    for seed in 0..200 {
        let ring = Bytes::new(256);
        let fuse = Fuse::new(u64::MAX, 8);
        let memory = ring.mortal(&fuse);
        memory.store(cursor_word::CURSOR, 1, Ordering::Relaxed);
        memory.store(cursor_word::WAITING, 1, Ordering::Release);
        memory.store(cursor_word::LOST, 1, Ordering::Relaxed);
        fuse.lose_unordered(&mut Rng::new(seed));
        let seen =
            [cursor_word::CURSOR, cursor_word::WAITING, cursor_word::LOST].map(|at| ring.word(at));
        assert!(seen[1] == 0 || seen[0] == 1, "a release store is seen before what it orders");
        (0..3).for_each(|at| lost[at] += 1 - seen[at]);
    }
    assert!(lost.iter().all(|&times| (20..180).contains(&times)), "{lost:?}");
}
