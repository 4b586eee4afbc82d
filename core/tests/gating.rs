//! Readers that hold the producer back: full rings, subscriptions that come and go, sleep and wake,
//! readers that lie.

mod common;

use core::sync::atomic::Ordering;

use aqueduct_core::layout::{cursor_word, ring_word};
use aqueduct_core::{
    AttachError, ClaimError, MemoryMut, Next, ReadError, Reader, Seek, Sleep, Start,
    SubscribeError, Violation, WaitMode, Wake,
};
use common::{EPOCH, Page, Ring, create, meta, pair, push, take, word};

#[test]
fn room_for_a_batch_is_what_the_readers_have_left_and_a_request_is_withdrawn_when_it_is_there() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 5_u32.wrapping_neg());
    for lap in 0..3 {
        for used in 0..=7 {
            for granules in 0..=9 {
                let fits = granules <= 7 - used;
                assert_eq!(producer.has_room(granules), fits, "{granules} beside {used}");
                assert_eq!(producer.want_room(granules), fits);
                assert_eq!(word(&ring, ring_word::SPACE_WANTED) == 0, fits);
            }
            if used < 7 {
                push(&mut producer, 0).unwrap();
            }
        }
        // What was seen of the cursor before is outdated now.
        take(&mut reader).unwrap();
        assert!(!producer.has_room(1), "read is not released, in lap {lap}");
        assert!(reader.release(), "it was asked to tell");
        assert!(producer.has_room(1) && !producer.has_room(2));
        while take(&mut reader).is_some() {}
        let _ = reader.release();
    }
    assert!(!producer.has_room(u64::MAX));
    let _ = producer.close();
    assert!(!producer.has_room(0) && !producer.want_room(0), "nothing has room in a closed ring");
}

#[test]
fn full_ring_says_what_is_missing_and_takes_again_what_was_released() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, mut reader) = pair(&ring, &page, 8, 0);
    for _ in 0..7 {
        push(&mut producer, 0).unwrap();
    }
    assert_eq!(push(&mut producer, 0), Err(ClaimError::Full { needed: 1, free: 0 }));
    take(&mut reader).unwrap();
    assert_eq!(
        push(&mut producer, 0),
        Err(ClaimError::Full { needed: 1, free: 0 }),
        "read is not released"
    );
    assert!(!reader.release());
    assert_eq!(
        push(&mut producer, 1),
        Err(ClaimError::Full { needed: 3, free: 1 }),
        "one granule of PAD"
    );
    assert_eq!(push(&mut producer, 0), Ok(7));
    assert_eq!(producer.subscription(id).unwrap().lag_granules, 7);
    assert!(producer.unsubscribe(id) && !producer.unsubscribe(id));
    assert_eq!(push(&mut producer, 0), Ok(8), "nobody holds it back any more");
    assert_eq!(producer.backlog(), 0);
}

#[test]
fn space_is_told_once_for_every_request() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 4, 0);
    for round in 1..=3_u32 {
        while push(&mut producer, 0).is_ok() {}
        assert_eq!(producer.want_space(0), Ok(false));
        assert_eq!(word(&ring, ring_word::SPACE_WANTED), round * 2 - 1);
        if round == 1 {
            assert!(
                reader.release(),
                "asked even if nothing was read: another may have released and died"
            );
            take(&mut reader).unwrap();
        } else {
            take(&mut reader).unwrap();
            assert!(reader.release());
        }
        take(&mut reader).unwrap();
        assert!(!reader.release(), "it was told already");
        assert_eq!(producer.want_space(0), Ok(true));
        assert_eq!(word(&ring, ring_word::SPACE_WANTED), 0);
        take(&mut reader).unwrap();
        assert!(!reader.release(), "nothing is wanted");
    }
}

#[test]
fn slowest_of_two_readers_holds_the_producer_and_both_get_everything() {
    let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
    let (mut producer, _, mut fast) = pair(&ring, &pages[0], 16, 9);
    let slow_id = producer.subscribe(Start::Oldest).unwrap();
    producer.attach(slow_id, "slow", pages[1].region()).unwrap();
    let mut slow = Reader::attach(ring.region(), pages[1].region()).unwrap();
    let (mut next_fast, mut next_slow) = (0, 0);
    for _ in 0..100 {
        while push(&mut producer, 20).is_ok() {}
        while let Some((seq, _)) = take(&mut fast) {
            assert_eq!(seq, next_fast);
            next_fast += 1;
        }
        let _ = fast.release();
        assert_eq!(next_fast, producer.next_seq());
        assert!(push(&mut producer, 20).is_err(), "the slow one has released nothing");
        assert_eq!(take(&mut slow), Some((next_slow, 20)));
        let _ = slow.release();
        next_slow += 1;
    }
}

#[test]
fn subscription_holds_its_place_while_nobody_is_attached() {
    let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
    let (mut producer, id, mut reader) = pair(&ring, &pages[0], 16, 2);
    for _ in 0..5 {
        push(&mut producer, 1).unwrap();
    }
    take(&mut reader).unwrap();
    let _ = reader.release();
    take(&mut reader).unwrap();
    assert!(producer.detach(id).is_some());
    assert!(producer.detach(id).is_none());
    assert!(!producer.subscription(id).unwrap().attached);
    while push(&mut producer, 1).is_ok() {}
    let last = producer.next_seq();
    producer.attach(id, "again", pages[1].region()).unwrap();
    let mut reader = Reader::attach(ring.region(), pages[1].region()).unwrap();
    for seq in 1..last {
        assert_eq!(take(&mut reader), Some((seq, 1)), "what was read and not released comes again");
    }
    assert_eq!(take(&mut reader), None);
}

#[test]
fn subscriptions_begin_where_they_are_told_or_are_refused() {
    let (ring, page) = (Ring::new(), Page::new());
    let first = 5_u32.wrapping_neg();
    let mut producer = create(&ring, 8, first);
    for _ in 0..20 {
        push(&mut producer, 0).unwrap();
    }
    let (oldest, tail) = (word(&ring, ring_word::OLDEST), word(&ring, ring_word::TAIL));
    assert_eq!((oldest, tail), (tail.wrapping_sub(7), first.wrapping_add(20)));
    // The record before `oldest` still stands, on the granule that is held back for closing.
    for refused in [
        oldest.wrapping_sub(1),
        tail.wrapping_add(1),
        tail.wrapping_add(1 << 31),
        oldest.wrapping_sub(8),
    ] {
        let error = SubscribeError::Position { position: refused, oldest, tail };
        assert_eq!(producer.subscribe(Start::At(refused)), Err(error));
    }
    for (start, expected) in [
        (Start::Oldest, Some(13)),
        (Start::Latest, None),
        (Start::At(oldest), Some(13)),
        (Start::At(tail), None),
    ]
    .into_iter()
    .chain((0..7).map(|k| (Start::At(oldest.wrapping_add(k)), Some(13 + u64::from(k)))))
    {
        let id = producer.subscribe(start).unwrap();
        producer.attach(id, "", page.region()).unwrap();
        let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
        assert_eq!(take(&mut reader).map(|(seq, _)| seq), expected, "{start:?}");
        assert!(producer.unsubscribe(id));
    }
}

#[test]
fn kept_cursor_before_oldest_is_taken_as_long_as_its_bytes_are_whole() {
    for dropped in [false, true] {
        let (ring, page) = (Ring::new(), Page::new());
        let mut producer = create(&ring, 64, 0);
        for _ in 0..100 {
            push(&mut producer, 0).unwrap();
        }
        // Bytes that were written and given back, or not committed, are gone all the same.
        let mut grant = producer.claim(128).unwrap();
        grant.write(&[7; 128]).unwrap();
        let behind = if dropped {
            _ = grant;
            105
        } else {
            grant.commit(meta(100));
            let _ = producer.publish();
            105
        };
        let whole = behind + 1 - 64;
        assert!(whole < word(&ring, ring_word::OLDEST), "not vacuous");
        for position in whole - 6..101 {
            let Ok(id) = producer.subscribe(Start::At(position)) else {
                assert!(position < whole, "{position}");
                continue;
            };
            assert!(position >= whole, "{position}");
            producer.attach(id, "", page.region()).unwrap();
            let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
            let first = (position < 100).then_some((u64::from(position), 0));
            assert!(position == 100 || take(&mut reader) == first, "{position}");
            assert!(producer.unsubscribe(id));
        }
        producer.subscribe(Start::At(whole)).unwrap();
        let tail = word(&ring, ring_word::TAIL);
        let _ = producer.close();
        assert_eq!(word(&ring, ring_word::TAIL), tail + 1, "the closing record has its granule");
    }
}

#[test]
fn table_of_subscriptions_is_as_large_as_it_says_and_reuses_places() {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer: aqueduct_core::Producer<_, _, 2> =
        aqueduct_core::Producer::create(ring.region(), &common::config(8, 0)).unwrap();
    let ids =
        [producer.subscribe(Start::Latest).unwrap(), producer.subscribe(Start::Latest).unwrap()];
    assert_eq!(ids.map(aqueduct_core::SubscriptionId::index), [0, 1]);
    assert_eq!(producer.subscribe(Start::Latest), Err(SubscribeError::TableFull { limit: 2 }));
    assert!(producer.unsubscribe(ids[0]));
    assert_eq!(producer.attach(ids[0], "", page.region()), Err(SubscribeError::Unknown));
    assert_eq!((producer.detach(ids[0]).is_none(), producer.subscription(ids[0])), (true, None));
    assert_eq!(producer.subscribe(Start::Latest), Ok(ids[0]));
    assert_eq!(producer.attach(ids[0], "", page.region()), Ok(()));
}

#[test]
fn reader_is_woken_once_for_every_sleep_in_the_way_it_sleeps() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, mut reader) = pair(&ring, &page, 8, 0);
    let push = |producer: &mut aqueduct_core::Producer<_>| producer.push(meta(0), &[]).unwrap().1;
    assert_eq!(push(&mut producer), Wake::NONE, "awake");
    assert_eq!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Ready), "there is something");
    let mut buf = [0; 8];
    for round in 0..40 {
        while let Ok(Next::Record(_)) = reader.next(&mut buf) {}
        let _ = reader.release();
        let mode = if round % 3 == 0 { WaitMode::Socket } else { WaitMode::Futex };
        let tail = word(&ring, ring_word::TAIL);
        assert_eq!(reader.prepare_sleep(mode), Ok(Sleep::Wait { tail }));
        let expected = match mode {
            WaitMode::Futex => Wake { futex: true, sockets: 0 },
            WaitMode::Socket => Wake { futex: false, sockets: 1 << id.index() },
        };
        assert_eq!(push(&mut producer), expected);
        assert_eq!(push(&mut producer), Wake::NONE, "one is enough for this sleep");
        assert_eq!(producer.publish(), Wake::NONE);
        reader.finish_sleep(false).unwrap();
        assert_eq!(push(&mut producer), Wake::NONE, "awake");
    }
    assert_eq!(reader.stats().missed_wakes, 0);
}

#[test]
fn whatever_a_page_says_of_sleep_costs_one_wake_up_per_change_at_most() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, _) = pair(&ring, &page, 8, 1 << 20);
    let mut woken = 0;
    for waiting in [
        1,
        2,
        2,
        5,
        6,
        4 * 7 + 1,
        4 * 7 + 2,
        u32::MAX - 1,
        u32::MAX - 2,
        3,
        4,
        u32::MAX,
        8,
        0,
        1,
        0,
        1,
        1,
    ] {
        let released = word(&ring, ring_word::TAIL);
        page.region().store(cursor_word::CURSOR, released, Ordering::Release);
        page.region().store(cursor_word::WAITING, waiting, Ordering::Relaxed);
        let wake = producer.push(meta(0), &[]).unwrap().1;
        let asleep = waiting != 0 && waiting != woken;
        assert_eq!(wake.futex, asleep && waiting % 4 == 1, "{waiting}");
        assert_eq!(wake.sockets, u64::from(asleep && waiting % 4 == 2), "{waiting}");
        assert_eq!(wake.is_none(), wake == Wake::NONE);
        woken = waiting;
    }
}

#[test]
fn second_reader_on_a_page_is_woken_like_the_first() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    for seq in 0..4 {
        assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
        assert!(producer.push(meta(seq), &common::payload(seq, 0)).unwrap().1.futex);
        reader.finish_sleep(false).unwrap();
        assert_eq!(take(&mut reader), Some((seq, 0)));
        let _ = reader.release();
        reader = Reader::attach(ring.region(), page.region()).unwrap();
    }
}

#[test]
fn closing_wakes_whoever_sleeps_and_nobody_can_fall_asleep_behind_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    assert_eq!(producer.close(), Wake { futex: true, sockets: 0 });
    reader.finish_sleep(false).unwrap();
    let mut buf = [0; 8];
    assert_eq!(
        reader.next(&mut buf),
        Ok(Next::Closed),
        "at the first look, for no wake-up comes any more"
    );
    // A reader that looked before the end came, and announces its sleep after.
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    assert_eq!(reader.next(&mut buf), Ok(Next::Empty));
    assert_eq!(producer.close(), Wake::NONE);
    assert_eq!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Ready));
    assert_eq!(reader.next(&mut buf), Ok(Next::Closed));
}

#[test]
fn sleep_that_ends_by_timeout_with_data_there_is_counted_where_the_producer_sees_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, mut reader) = pair(&ring, &page, 8, 0);
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    reader.finish_sleep(true).unwrap();
    assert_eq!(reader.stats().missed_wakes, 0, "nothing was there");
    assert!(matches!(reader.prepare_sleep(WaitMode::Futex), Ok(Sleep::Wait { .. })));
    push(&mut producer, 0).unwrap();
    reader.finish_sleep(true).unwrap();
    assert_eq!(reader.stats().missed_wakes, 1);
    assert_eq!(producer.subscription(id).unwrap().missed_wakes, 1);
    let reader = Reader::attach(ring.region(), page.region()).unwrap();
    assert_eq!(reader.stats().missed_wakes, 1, "since the page was made");
}

#[test]
fn cursor_that_no_honest_reader_can_store_evicts_and_the_subscription_stays() {
    for first in [0, 3_u32.wrapping_neg()] {
        for lie in [-1_i32, 4, 8, 9, i32::MAX, i32::MIN, i32::MIN + 3] {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut producer, id, mut reader) = pair(&ring, &page, 8, first);
            for _ in 0..5 {
                push(&mut producer, 0).unwrap();
            }
            take(&mut reader).unwrap();
            take(&mut reader).unwrap();
            let _ = reader.release();
            assert_eq!(producer.backlog(), 3);
            let seen = first.wrapping_add(2);
            let stored = seen.wrapping_add_signed(lie);
            page.region().store(cursor_word::CURSOR, stored, Ordering::Release);
            assert_eq!(producer.backlog(), 3, "{lie}: clamped");
            let violation = Violation {
                subscription: id,
                stored,
                last_seen: seen,
                tail: first.wrapping_add(5),
            };
            assert_eq!(producer.take_violation(), Some(violation));
            assert_eq!(producer.take_violation(), None);
            assert!(!producer.subscription(id).unwrap().attached);
            while push(&mut producer, 0).is_ok() {}
            assert_eq!(producer.next_seq(), 9, "it holds on where it was seen last");
            producer.attach(id, "", page.region()).unwrap();
            let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
            assert_eq!(take(&mut reader), Some((2, 0)));
        }
    }
}

#[test]
fn evicted_reader_finds_out_and_stays_out() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, mut reader) = pair(&ring, &page, 4, 0);
    assert!(producer.unsubscribe(id));
    for _ in 0..5 {
        push(&mut producer, 0).unwrap();
    }
    let mut buf = [0; 8];
    let out_of_range = ReadError::TailOutOfRange { position: 0, tail: 5 };
    assert_eq!(reader.next(&mut buf), Err(out_of_range));
    assert_eq!(reader.prepare_sleep(WaitMode::Futex), Err(out_of_range));
    assert_eq!(word_of(&page), 0, "not announced");
    assert_eq!(reader.finish_sleep(true), Err(out_of_range));
    assert_eq!((reader.lag(0), reader.skip_to_latest()), (Err(out_of_range), Err(out_of_range)));
    assert!(reader.seek(EPOCH, 3).is_err());
    assert!(
        matches!(Reader::attach(ring.region(), page.region()), Err(AttachError::TailOutOfRange(error)) if error == out_of_range)
    );
}

fn word_of(page: &Page) -> u32 {
    aqueduct_core::Memory::load(&page.region(), cursor_word::WAITING, Ordering::Relaxed)
}

#[test]
fn lie_of_one_reader_is_still_told_when_the_next_is_attached() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, _) = pair(&ring, &page, 8, 0);
    page.region().store(cursor_word::CURSOR, 1, Ordering::Release);
    assert_eq!(producer.backlog(), 0);
    producer.attach(id, "", page.region()).unwrap();
    assert_eq!(producer.take_violation().map(|violation| violation.stored), Some(1));
}

#[test]
fn reader_seeks_forward_skips_and_knows_its_lag() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 32, 3_u32.wrapping_neg());
    assert_eq!(reader.lag(9).unwrap().records, 0);
    for _ in 0..10 {
        push(&mut producer, 40).unwrap();
    }
    let stamp = meta(0).timestamp_ns;
    let lag = reader.lag(stamp + 17).unwrap();
    assert_eq!((lag.records, lag.bytes, lag.nanoseconds), (10, 30 * 32, 17));
    assert_eq!(reader.lag(0).unwrap().nanoseconds, 0);
    assert!(reader.seek(EPOCH + 1, 3).is_err());
    assert_eq!(reader.seek(EPOCH, 4), Ok(Seek::Found));
    assert_eq!(take(&mut reader), Some((4, 40)));
    assert_eq!(
        reader.seek(EPOCH, 4),
        Ok(Seek::Gone { oldest: 5 }),
        "a gating reader goes forward only"
    );
    assert_eq!(reader.seek(EPOCH, 10), Ok(Seek::Ahead));
    assert_eq!((take(&mut reader), reader.lag(0).unwrap().records), (None, 0));
    assert_eq!(
        reader.seek(EPOCH, 4),
        Ok(Seek::Gone { oldest: 10 }),
        "it was read, and nothing is there to tell it by"
    );
    assert_eq!(producer.backlog(), 30, "seeking releases nothing");
    let _ = reader.release();
    push(&mut producer, 0).unwrap();
    push(&mut producer, 0).unwrap();
    reader.skip_to_latest().unwrap();
    push(&mut producer, 7).unwrap();
    assert_eq!(take(&mut reader), Some((12, 7)));
}

#[test]
fn tail_is_adopted_only_when_all_before_the_last_one_is_used_up() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    for _ in 0..3 {
        push(&mut producer, 0).unwrap();
    }
    assert_eq!(take(&mut reader), Some((0, 0)));
    push(&mut producer, 0).unwrap();
    assert_eq!(reader.lag(0).unwrap().records, 3);
    ring.region().store(ring_word::TAIL, 1 << 20, Ordering::Relaxed);
    assert_eq!(reader.seek(EPOCH, 2), Ok(Seek::Found));
    assert_eq!(take(&mut reader), Some((2, 0)));
    assert_eq!(reader.next(&mut []), Err(ReadError::TailOutOfRange { position: 3, tail: 1 << 20 }));
}

#[test]
fn reader_that_goes_to_the_latest_and_is_there_still_learns_what_damage_took() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    push(&mut producer, 0).unwrap();
    push(&mut producer, 0).unwrap();
    assert_eq!(take(&mut reader), Some((0, 0)));
    common::flip(&ring.region(), (common::DATA + 32) * 8);
    assert!(matches!(reader.next(&mut []), Err(ReadError::Header { lost: None, .. })));
    reader.skip_to_latest().unwrap();
    push(&mut producer, 0).unwrap();
    assert_eq!(reader.next(&mut []), Err(ReadError::Gap { expected: 1, found: 2 }));
    assert_eq!((take(&mut reader), reader.stats().lost), (Some((2, 0)), 1));
}

#[test]
fn lag_is_the_age_of_the_first_record_and_not_of_a_padding_before_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, reader) = pair(&ring, &page, 8, 7);
    producer
        .push(aqueduct_core::Meta { type_tag: 0, timestamp_ns: 1000 }, &[0; 64])
        .map(drop)
        .unwrap();
    let lag = reader.lag(1017).unwrap();
    assert_eq!((lag.records, lag.bytes, lag.nanoseconds), (1, 4 * 32, 17), "one granule of PAD");
}

#[test]
fn lag_behind_damage_is_known_in_bytes_only() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, reader) = pair(&ring, &page, 8, 5);
    push(&mut producer, 32).unwrap();
    common::flip(&ring.region(), (common::DATA + 5 * 32) * 8);
    assert_eq!(reader.lag(9), Ok(aqueduct_core::Lag { records: 0, bytes: 64, nanoseconds: 0 }));
}
