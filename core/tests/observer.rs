//! Observers: they hold nobody back, are overrun, and know exactly what they missed.

mod common;

use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering;

use aqueduct_core::geometry::{distance, granules_for, max_payload_for};
use aqueduct_core::layout::ring_word;
use aqueduct_core::recovery::{Item, scan};
use aqueduct_core::{
    ClaimError, Lag, MemoryMut, Next, Observer, Producer, ReadError, Region, Seek, Start,
};
use common::{
    DATA, EPOCH, Hooked, Page, Ring, Rng, Touch, checked, create, flip, meta, pair, push, take,
    word,
};

fn look<R: aqueduct_core::Memory>(
    observer: &mut Observer<R>,
) -> Result<Next<(u64, usize)>, ReadError> {
    let mut buf = [0; 1024];
    let next = observer.next(&mut buf);
    checked(next, &buf)
}

/// The numbers of the records from `oldest` on, after checking that there is nothing else but
/// padding records from `oldest` to `tail`.
fn whole(ring: &Ring) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut granules = 0;
    for item in scan(ring.region()).unwrap() {
        match item {
            Item::Record(record) => {
                numbers.push(record.seq);
                granules += granules_for(u32::try_from(record.len).unwrap());
            }
            Item::Padding { granules: more, .. } => granules += more,
            damaged => panic!("{damaged:?}"),
        }
    }
    assert_eq!(granules, distance(word(ring, ring_word::OLDEST), word(ring, ring_word::TAIL)));
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    numbers
}

#[test]
fn overwriting_keeps_oldest_on_a_boundary_and_most_of_the_ring_alive() {
    for granules in [4, 8, 16, 32, 64] {
        let largest = max_payload_for(granules) as usize;
        for (seed, first) in [0, 3, granules - 1, 9_u32.wrapping_neg(), 200_u32.wrapping_neg()]
            .into_iter()
            .enumerate()
        {
            let ring = Ring::new();
            let mut producer = create(&ring, granules, first);
            let mut dice = Rng::new(seed as u64 + u64::from(granules));
            for step in (0..400).step_by(if cfg!(miri) { 50 } else { 1 }) {
                // Small ones, large ones, all sizes, one size.
                let len = match (step / 50) % 4 {
                    0 => dice.below(33.min(largest)),
                    1 => largest - dice.below(33.min(largest)),
                    2 => dice.below(largest + 1),
                    _ => largest,
                };
                push(&mut producer, len).unwrap();
                let alive = whole(&ring);
                let live = distance(word(&ring, ring_word::OLDEST), word(&ring, ring_word::TAIL));
                assert!(live < granules, "the closing granule stays free");
                assert_eq!(
                    alive.last(),
                    Some(&producer.next_seq().wrapping_sub(1)),
                    "what was just pushed is whole"
                );
                let mut late = Observer::oldest(ring.region()).unwrap();
                assert_eq!(
                    look(&mut late)
                        .map(|next| matches!(next, Next::Record((seq, _)) if seq == alive[0])),
                    Ok(true)
                );
            }
            let _ = producer.close();
            whole(&ring);
        }
    }
}

#[test]
fn records_of_one_granule_leave_all_but_a_sector_and_the_closing_granule() {
    for granules in [4_u32, 8, 16, 32, 64] {
        let ring = Ring::new();
        let mut producer = create(&ring, granules, 0);
        for _ in 0..if cfg!(miri) { granules + 3 } else { 5 * granules } {
            push(&mut producer, 0).unwrap();
            let alive = whole(&ring).len() as u64;
            assert!(
                alive >= producer.next_seq().min(u64::from(granules - (granules / 16).max(1))),
                "{alive} of {granules}"
            );
        }
    }
}

#[test]
fn batch_that_is_not_published_never_takes_the_published_tail_away() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 6);
    push(&mut producer, 3).unwrap();
    for seq in 1..16 {
        assert_eq!(producer.append(meta(seq), &[]), Ok(seq));
        assert!(distance(word(&ring, ring_word::OLDEST), word(&ring, ring_word::TAIL)) <= 2);
        assert!(look(&mut Observer::oldest(ring.region()).unwrap()).is_ok());
    }
    assert_eq!(
        producer.append(meta(0), &[]),
        Err(ClaimError::Full { needed: 1, free: 0 }),
        "a batch is a lap at most"
    );
    let _ = producer.publish();
    assert_eq!(whole(&ring), (1..16).collect::<Vec<_>>());
}

#[test]
fn loss_is_exact_over_random_steps_against_an_oracle() {
    for granules in [4, 8, 16, 64] {
        let largest = max_payload_for(granules) as usize;
        for seed in 0..if cfg!(miri) { 1 } else { 6 } {
            let ring = Ring::new();
            let mut producer = create(&ring, granules, 70_u32.wrapping_neg());
            let mut observer = Observer::latest(ring.region()).unwrap();
            let mut dice = Rng::new(seed);
            push(&mut producer, 0).unwrap();
            assert_eq!(look(&mut observer), Ok(Next::Record((0, 0))));
            let (mut next, mut seen, mut lost, mut overrun) = (1, 1_u64, 0_u64, 0);
            for _ in 0..if cfg!(miri) { 40 } else { 1500 } {
                if dice.below(5) < 2 {
                    let most = if dice.below(8) == 0 { 70 } else { 4 };
                    for _ in 0..dice.below(most) {
                        push(&mut producer, dice.below(largest + 1)).unwrap();
                    }
                    continue;
                }
                let oldest = whole(&ring).first().copied();
                match look(&mut observer) {
                    Ok(Next::Record((seq, _))) => {
                        assert_eq!(seq, next);
                        assert!(oldest.is_some_and(|oldest| oldest <= seq));
                        (next, seen) = (seq + 1, seen + 1);
                    }
                    Ok(Next::Empty) => assert_eq!(next, producer.next_seq()),
                    Err(ReadError::Overrun { expected, found }) => {
                        assert_eq!((expected, found), (Some(next), oldest));
                        assert!(oldest.is_some_and(|oldest| oldest > next));
                        lost += oldest.unwrap() - next;
                        next = oldest.unwrap();
                        overrun += 1;
                    }
                    other => panic!("{other:?}"),
                }
                assert_eq!((u64::from(observer.lost()), observer.corrupt()), (lost, 0));
            }
            assert_eq!(seen + lost, next);
            assert!(cfg!(miri) || (overrun > 20 && seen > 20), "not vacuous: {overrun} {seen}");
        }
    }
}

#[test]
fn observer_several_laps_behind_is_told_once_and_goes_on() {
    for laps in 1..6 {
        let ring = Ring::new();
        let mut producer = create(&ring, 8, 0);
        push(&mut producer, 0).unwrap();
        let mut observer = Observer::oldest(ring.region()).unwrap();
        assert_eq!(look(&mut observer), Ok(Next::Record((0, 0))));
        for _ in 0..laps * 8 + 3 {
            push(&mut producer, 0).unwrap();
        }
        let oldest = whole(&ring)[0];
        assert_eq!(
            look(&mut observer),
            Err(ReadError::Overrun { expected: Some(1), found: Some(oldest) })
        );
        for seq in oldest..producer.next_seq() {
            assert_eq!(look(&mut observer), Ok(Next::Record((seq, 0))));
        }
        assert_eq!(look(&mut observer), Ok(Next::Empty));
        assert_eq!(u64::from(observer.lost()), oldest - 1);
    }
}

#[test]
fn observer_holds_nobody_back_and_sees_what_readers_have_released() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    let mut observer = Observer::latest(ring.region().read_only()).unwrap();
    for seq in 0..10 {
        push(&mut producer, 0).unwrap();
        assert_eq!(take(&mut reader), Some((seq, 0)));
        let _ = reader.release();
    }
    for seq in 0..10 {
        assert_eq!(look(&mut observer), Ok(Next::Record((seq, 0))));
    }
    assert_eq!((look(&mut observer), observer.geometry().capacity()), (Ok(Next::Empty), 16));
}

#[test]
fn observer_joins_at_either_end_and_sees_the_end_of_the_stream() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 4_u32.wrapping_neg());
    for _ in 0..5 {
        push(&mut producer, 9).unwrap();
    }
    let (mut oldest, mut latest) =
        (Observer::oldest(ring.region()).unwrap(), Observer::latest(ring.region()).unwrap());
    assert_eq!((look(&mut oldest), look(&mut latest)), (Ok(Next::Record((0, 9))), Ok(Next::Empty)));
    push(&mut producer, 8).unwrap();
    let _ = producer.close();
    assert_eq!(look(&mut latest), Ok(Next::Record((5, 8))));
    assert_eq!((look(&mut latest), look(&mut latest)), (Ok(Next::Closed), Ok(Next::Closed)));
    for seq in 1..6 {
        assert!(matches!(look(&mut oldest), Ok(Next::Record((found, _))) if found == seq));
    }
    assert_eq!(look(&mut oldest), Ok(Next::Closed));
    let mut none = Observer::latest(ring.region()).unwrap();
    assert_eq!(look(&mut none), Ok(Next::Closed));
}

#[test]
fn observer_seeks_in_both_directions_over_a_whole_lap() {
    for granules in [4, 16, 64] {
        let ring = Ring::new();
        let mut producer = create(&ring, granules, 30_u32.wrapping_neg());
        for _ in 0..3 * granules {
            push(&mut producer, 0).unwrap();
        }
        let (oldest, end) = (whole(&ring)[0], producer.next_seq());
        let mut observer = Observer::latest(ring.region()).unwrap();
        assert!(observer.seek(EPOCH ^ 1, oldest).is_err());
        for seq in (oldest..end).rev().chain(oldest..end) {
            assert_eq!(observer.seek(EPOCH, seq), Ok(Seek::Found));
            assert_eq!(look(&mut observer), Ok(Next::Record((seq, 0))));
        }
        for seq in [0, oldest - 1] {
            assert_eq!(observer.seek(EPOCH, seq), Ok(Seek::Gone { oldest }));
            assert_eq!(look(&mut observer), Ok(Next::Record((oldest, 0))));
        }
        for seq in [end, end + 1, u64::MAX] {
            assert_eq!(observer.seek(EPOCH, seq), Ok(Seek::Ahead));
            assert_eq!(look(&mut observer), Ok(Next::Empty));
        }
        assert_eq!((observer.lost(), observer.corrupt()), (0, 0));
    }
}

#[test]
fn seek_over_a_full_lap_of_single_granules_finds_the_last_one_behind_damage() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    for _ in 0..15 {
        push(&mut producer, 0).unwrap();
    }
    let mut observer = Observer::oldest(ring.region()).unwrap();
    flip(&ring.region(), (DATA + 32) * 8);
    flip(&ring.region(), (DATA + 7 * 32) * 8);
    assert_eq!(observer.seek(EPOCH, 14), Ok(Seek::Found));
    assert_eq!(observer.seek(EPOCH, 1), Ok(Seek::Gone { oldest: 2 }));
    assert_eq!(observer.seek(EPOCH, 15), Ok(Seek::Ahead));
    assert_eq!(observer.corrupt(), 2 + 1 + 2, "each time it comes by");
}

#[test]
fn observer_knows_its_lag_also_after_being_overrun() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    let mut observer = Observer::oldest(ring.region()).unwrap();
    assert_eq!(observer.lag(7), Ok(Lag::default()));
    for _ in 0..4 {
        push(&mut producer, 5).unwrap();
    }
    assert_eq!(look(&mut observer), Ok(Next::Record((0, 5))));
    let now = meta(1).timestamp_ns.saturating_add(5);
    assert_eq!(observer.lag(now), Ok(Lag { records: 3, bytes: 192, nanoseconds: 5 }));
    for _ in 0..20 {
        push(&mut producer, 5).unwrap();
    }
    let left = whole(&ring);
    let bytes =
        u64::from(distance(word(&ring, ring_word::OLDEST), word(&ring, ring_word::TAIL))) * 32;
    let now = meta(left[0]).timestamp_ns.saturating_add(5);
    let lag = Lag { records: left.len() as u64, bytes, nanoseconds: 5 };
    assert_eq!(
        (observer.lag(now), observer.lag(now)),
        (Ok(lag), Ok(lag)),
        "what is left to be read; it changes nothing"
    );
    assert_eq!(
        look(&mut observer),
        Err(ReadError::Overrun { expected: Some(1), found: Some(left[0]) })
    );
}

#[test]
fn numbers_that_go_back_are_a_gap_also_after_being_overrun() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    for _ in 0..5 {
        push(&mut producer, 0).unwrap();
    }
    let mut observer = Observer::oldest(ring.region()).unwrap();
    assert_eq!(observer.seek(EPOCH, 4), Ok(Seek::Found));
    assert_eq!(look(&mut observer), Ok(Next::Record((4, 0))));
    // A tail behind the observer can only be a lap before it.
    ring.region().store(ring_word::OLDEST, 1, Ordering::Relaxed);
    ring.region().store(ring_word::TAIL, 4, Ordering::Relaxed);
    assert_eq!(look(&mut observer), Err(ReadError::Gap { expected: 5, found: 1 }));
    assert_eq!((look(&mut observer), observer.lost()), (Ok(Next::Record((1, 0))), 0));
}

#[test]
fn seek_leaves_behind_that_the_observer_was_overrun() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 14);
    push(&mut producer, 0).unwrap();
    let mut observer = Observer::oldest(ring.region()).unwrap();
    assert_eq!(look(&mut observer), Ok(Next::Record((0, 0))));
    let words = |oldest, tail| {
        ring.region().store(ring_word::OLDEST, oldest, Ordering::Relaxed);
        ring.region().store(ring_word::TAIL, tail, Ordering::Relaxed);
    };
    words(1000, 1000);
    assert_eq!(
        look(&mut observer),
        Ok(Next::Empty),
        "overrun, and nothing is left to tell by how much"
    );
    words(14, 15);
    push(&mut producer, 32).unwrap();
    flip(&ring.region(), (DATA + 14 * 32) * 8);
    flip(&ring.region(), DATA * 8);
    assert_eq!(
        observer.seek(EPOCH, 7),
        Ok(Seek::Ahead),
        "only the PAD before record 1 is left, and tells its number"
    );
    push(&mut producer, 0).unwrap();
    assert_eq!(look(&mut observer), Err(ReadError::Gap { expected: 1, found: 2 }));
}

#[test]
fn record_that_is_overwritten_while_it_is_copied_is_never_handed_out() {
    for nth in 0..40 {
        let ring = Ring::new();
        let producer = RefCell::new(create(&ring, 8, 0));
        let touches = Cell::new(0);
        let armed = Cell::new(false);
        // After the nth access of the observer the producer goes round.
        let hook = |_: Touch| {
            touches.set(touches.get() + u32::from(armed.get()));
            if armed.get() && touches.get() == nth + 1 {
                for _ in 0..11 {
                    push(&mut producer.borrow_mut(), 20).unwrap();
                }
            }
        };
        let hook = Cell::new(Some(&hook as &dyn Fn(Touch)));
        let mut observer = Observer::oldest(Hooked { region: ring.region(), hook: &hook }).unwrap();
        push(&mut producer.borrow_mut(), 20).unwrap();
        push(&mut producer.borrow_mut(), 60).unwrap();
        armed.set(true);
        let (mut next, mut lost) = (0, 0);
        while next < producer.borrow().next_seq() {
            match look(&mut observer) {
                Ok(Next::Record((seq, _))) => {
                    assert!(seq == next || next == 0, "{seq} {next}");
                    lost += seq - next;
                    next = seq + 1;
                }
                Err(ReadError::Overrun { found: Some(found), expected }) => {
                    assert!(expected.is_none_or(|expected| expected == next));
                    lost += found - next;
                    next = found;
                }
                other => panic!("{other:?} after {nth}"),
            }
        }
        assert!(lost < next);
    }
}

#[test]
fn observer_that_never_finds_the_words_together_is_overrun_and_not_at_the_end() {
    let ring = Ring::new();
    let producer = RefCell::new(create(&ring, 4, 0));
    let fast = Cell::new(false);
    // Whenever the observer has looked at `oldest`, the producer goes round.
    let hook = |touch: Touch| {
        if fast.get() && touch == Touch::Loaded(ring_word::OLDEST) {
            for _ in 0..9 {
                push(&mut producer.borrow_mut(), 0).unwrap();
            }
        }
    };
    let hook = Cell::new(Some(&hook as &dyn Fn(Touch)));
    let mut observer = Observer::oldest(Hooked { region: ring.region(), hook: &hook }).unwrap();
    push(&mut producer.borrow_mut(), 0).unwrap();
    assert_eq!(look(&mut observer), Ok(Next::Record((0, 0))));
    for _ in 0..9 {
        push(&mut producer.borrow_mut(), 0).unwrap();
    }
    fast.set(true);
    for _ in 0..3 {
        assert_eq!(look(&mut observer), Err(ReadError::Overrun { expected: Some(1), found: None }));
    }
    fast.set(false);
    let oldest = whole(&ring)[0];
    assert_eq!(
        look(&mut observer),
        Err(ReadError::Overrun { expected: Some(1), found: Some(oldest) })
    );
    assert_eq!(u64::from(observer.lost()), oldest - 1);
}

#[test]
fn control_words_that_make_no_sense_are_a_tail_out_of_range() {
    let ring = Ring::new();
    drop(create(&ring, 4, 0));
    let mut observer = Observer::oldest(ring.region()).unwrap();
    ring.region().store(ring_word::TAIL, 1 << 20, Ordering::Relaxed);
    assert_eq!(look(&mut observer), Err(ReadError::TailOutOfRange { position: 0, tail: 1 << 20 }));
    assert!(Observer::oldest(ring.region()).is_err());
    assert!(observer.lag(0).is_err() && observer.seek(EPOCH, 0).is_err());
}

#[test]
fn hostile_words_and_bytes_end_every_call_without_a_panic() {
    let mut dice = Rng::new(99);
    let interesting = [
        0,
        1,
        3,
        4,
        5,
        8,
        0x7FFF_FFFF,
        0x8000_0000,
        0x8000_0001,
        u32::MAX - 4,
        u32::MAX - 1,
        u32::MAX,
    ];
    for _ in 0..if cfg!(miri) { 20 } else { 2000 } {
        let ring = Ring::new();
        let mut producer: Producer<Region> = create(&ring, 8, 0);
        let id = producer.subscribe(Start::Latest).unwrap();
        for _ in 0..3 {
            push(&mut producer, dice.below(33)).unwrap();
        }
        let (mut observer, region) = (Observer::oldest(ring.region()).unwrap(), ring.region());
        for _ in 0..20 {
            let at = [ring_word::TAIL, ring_word::OLDEST, ring_word::STATE, ring_word::NEXT_SEQ]
                [dice.below(4)];
            region.store(at, interesting[dice.below(interesting.len())], Ordering::Relaxed);
            flip(&region, (DATA + dice.below(8 * 32)) * 8);
            let mut buf = [0; 128];
            let _ = observer.next(&mut buf[..dice.below(129)]);
            let _ = observer.lag(u64::MAX);
            let _ = observer.seek(EPOCH, dice.below(9) as u64);
            let _ = Observer::oldest(region).map(|mut observer| observer.next(&mut buf));
            let _ = scan(region).map(Iterator::count);
        }
        // The producer believes nothing it could read here.
        assert!(producer.unsubscribe(id));
        assert!(push(&mut producer, 5).is_ok());
    }
}

#[test]
fn observer_that_is_overrun_at_every_copy_says_so_after_eight() {
    let ring = Ring::new();
    let producer = RefCell::new(create(&ring, 4, 0));
    let copies = Cell::new(None);
    // Whenever the observer has copied a header, the producer goes round.
    let hook = |touch: Touch| {
        if let (Touch::Read(_), Some(count)) = (touch, copies.get()) {
            copies.set(Some(count + 1));
            for _ in 0..9 {
                push(&mut producer.borrow_mut(), 0).unwrap();
            }
        }
    };
    let hook = Cell::new(Some(&hook as &dyn Fn(Touch)));
    let mut observer = Observer::oldest(Hooked { region: ring.region(), hook: &hook }).unwrap();
    push(&mut producer.borrow_mut(), 0).unwrap();
    copies.set(Some(0));
    assert_eq!(look(&mut observer), Err(ReadError::Overrun { expected: None, found: None }));
    assert_eq!(copies.take(), Some(8));
    let oldest = whole(&ring)[0];
    assert_eq!(look(&mut observer), Ok(Next::Record((oldest, 0))));
}

#[test]
fn senseless_words_that_stand_still_are_a_tail_out_of_range_wherever_they_point() {
    let ring = Ring::new();
    drop(create(&ring, 4, 7));
    let mut observer = Observer::oldest(ring.region()).unwrap();
    ring.region().store(ring_word::TAIL, 1 << 20, Ordering::Relaxed);
    assert_eq!(look(&mut observer), Err(ReadError::TailOutOfRange { position: 7, tail: 1 << 20 }));
}
