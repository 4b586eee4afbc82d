//! Peeking, skipping, and a reader or observer that goes on where another one was.

mod common;

use aqueduct_core::layout::ring_word;
use aqueduct_core::{MemoryMut, Next, Observer, ReadError, Reader, Start};
use common::{DATA, EPOCH, Page, Ring, create, flip, pair, push, take, word};

fn seq(next: Result<Next, ReadError>) -> Option<u64> {
    next.ok().and_then(|next| match next {
        Next::Record(record) => Some(record.seq),
        Next::Empty | Next::Closed => None,
    })
}

#[test]
fn peeking_describes_without_taking_and_skipping_takes_without_looking() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    let mut observer = Observer::oldest(ring.region()).unwrap();
    assert!(!reader.is_ready() && !observer.is_ready());
    assert_eq!((reader.peek(), observer.peek()), (Ok(Next::Empty), Ok(Next::Empty)));
    assert_eq!((reader.next_seq(), observer.next_seq()), (None, None));
    for len in [40, 8, 0] {
        push(&mut producer, len).unwrap();
    }
    assert!(reader.is_ready() && observer.is_ready());
    flip(&ring.region(), (DATA + 32) * 8 + 5); // payload of record 0
    for _ in 0..2 {
        assert_eq!((seq(reader.peek()), seq(observer.peek())), (Some(0), Some(0)));
    }
    assert_eq!((seq(reader.skip()), seq(observer.skip())), (Some(0), Some(0)));
    assert_eq!((reader.stats().corrupt, observer.corrupt()), (0, 0), "not looked at");
    assert_eq!((reader.next_seq(), observer.next_seq()), (Some(1), Some(1)));
    assert_eq!(seq(reader.skip()), Some(1));
    assert_eq!(take(&mut reader), Some((2, 0)));
    assert_eq!(reader.skip(), Ok(Next::Empty));
    assert!(!reader.is_ready());
    let _ = producer.close();
    assert!(reader.is_ready());
    assert_eq!(reader.skip(), Ok(Next::Closed));
    assert_eq!(reader.peek(), Ok(Next::Closed));
}

#[test]
fn a_reader_that_attaches_again_goes_on_after_what_was_read_and_not_released() {
    let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
    let (mut producer, id, mut first) = pair(&ring, &pages[0], 32, 100);
    for _ in 0..5 {
        push(&mut producer, 0).unwrap();
    }
    take(&mut first).unwrap();
    let _ = first.release();
    take(&mut first).unwrap();
    take(&mut first).unwrap();
    producer.detach(id);
    producer.attach(id, "reader", pages[1].region()).unwrap();
    let mut second = Reader::attach(ring.region(), pages[1].region()).unwrap();
    assert!(!second.is_at_first(), "record 0 is released");
    second.resume(&first);
    assert_eq!(second.next_seq(), Some(3));
    assert_eq!(take(&mut second), Some((3, 0)));
    let _ = second.release();
    assert_eq!(producer.subscription(id).unwrap().lag_granules, 1);
}

#[test]
fn what_was_read_before_a_record_is_released_without_it() {
    for place in [0, 0xFFFF_FFFE] {
        let (ring, page) = (Ring::new(), Page::new());
        let (mut producer, id, mut reader) = pair(&ring, &page, 32, place);
        for _ in 0..5 {
            push(&mut producer, 0).unwrap();
        }
        let at = [0; 4].map(|_| match reader.skip() {
            Ok(Next::Record(record)) => record.position,
            other => panic!("{other:?}"),
        });
        assert!(!reader.release_before(at[2]));
        let held = producer.subscription(id).unwrap().lag_granules;
        assert_eq!((held, reader.next_seq()), (3, Some(4)), "it reads on where it was");
        assert!(!reader.release_before(at[0]), "it never moves back");
        assert!(!reader.release_before(at[3].wrapping_add(2)), "that was not read");
        assert_eq!(producer.subscription(id).unwrap().lag_granules, 3);
        assert!(!reader.release_before(at[3].wrapping_add(1)));
        assert_eq!(producer.subscription(id).unwrap().lag_granules, 1);
        assert_eq!(take(&mut reader), Some((4, 0)));
    }
}

#[test]
fn what_was_released_stays_so_where_the_cursor_is_an_older_one() {
    for place in [0, 0xFFFF_FFFE] {
        let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
        let (mut producer, id, mut first) = pair(&ring, &pages[0], 32, place);
        for _ in 0..5 {
            push(&mut producer, 0).unwrap();
        }
        for _ in 0..3 {
            take(&mut first).unwrap();
        }
        let _ = first.release();
        take(&mut first).unwrap();
        // The next process has what was saved a moment before.
        producer.unsubscribe(id);
        let id = producer.subscribe(Start::At(place)).unwrap();
        producer.attach(id, "reader", pages[1].region()).unwrap();
        let mut second = Reader::attach(ring.region(), pages[1].region()).unwrap();
        assert_eq!(producer.subscription(id).unwrap().lag_granules, 5);
        second.resume(&first);
        assert_eq!(producer.subscription(id).unwrap().lag_granules, 2, "three are released");
        assert_eq!(take(&mut second), Some((4, 0)), "the fourth was read");
        let _ = second.release();
        assert_eq!(producer.subscription(id).unwrap().lag_granules, 0);
    }
}

#[test]
fn what_somebody_else_released_meanwhile_shows_as_a_gap() {
    for place in [0, 0xF000_0000] {
        let (ring, pages) = (Ring::new(), [Page::new(), Page::new(), Page::new()]);
        let (mut producer, id, mut first) = pair(&ring, &pages[0], 32, place);
        for _ in 0..5 {
            push(&mut producer, 0).unwrap();
        }
        take(&mut first).unwrap();
        producer.detach(id);
        producer.attach(id, "reader", pages[1].region()).unwrap();
        let mut other = Reader::attach(ring.region(), pages[1].region()).unwrap();
        for _ in 0..3 {
            take(&mut other).unwrap();
        }
        let _ = other.release();
        producer.detach(id);
        producer.attach(id, "reader", pages[2].region()).unwrap();
        let mut second = Reader::attach(ring.region(), pages[2].region()).unwrap();
        second.resume(&first);
        assert_eq!(second.next(&mut []), Err(ReadError::Gap { expected: 1, found: 3 }));
        assert_eq!(take(&mut second), Some((3, 0)));
    }
}

#[test]
fn an_observer_that_joins_again_goes_on_where_it_was_and_keeps_its_counts() {
    let ring = Ring::new();
    let mut producer = create(&ring, 8, 0);
    let mut first = Observer::oldest(ring.region()).unwrap();
    assert!(first.is_at_first());
    for _ in 0..3 {
        push(&mut producer, 0).unwrap();
    }
    assert_eq!(seq(first.skip()), Some(0));
    let mut second = Observer::latest(ring.region()).unwrap();
    second.resume(&first);
    assert_eq!(seq(second.skip()), Some(1));
    for _ in 0..20 {
        push(&mut producer, 0).unwrap();
    }
    let mut third = Observer::latest(ring.region()).unwrap();
    third.resume(&second);
    let Err(ReadError::Overrun { expected: Some(2), found: Some(found) }) = third.skip() else {
        panic!("not overrun");
    };
    assert_eq!(u64::from(third.lost()), found - 2);
    let mut fourth = Observer::oldest(ring.region()).unwrap();
    fourth.resume(&third);
    assert_eq!(fourth.lost(), third.lost());
    assert!(!fourth.is_at_first());
}

#[test]
fn another_ring_is_not_resumed() {
    let (rings, pages) = ([Ring::new(), Ring::new()], [Page::new(), Page::new()]);
    let (mut producer, _, mut first) = pair(&rings[0], &pages[0], 32, 0);
    push(&mut producer, 0).unwrap();
    take(&mut first).unwrap();
    let (mut producer, _, mut second) = pair(&rings[1], &pages[1], 16, 0);
    push(&mut producer, 0).unwrap();
    second.resume(&first);
    assert_eq!(take(&mut second), Some((0, 0)), "epoch {EPOCH:#x}, smaller ring");
}

#[test]
fn an_observer_skips_to_the_latest_without_counting_what_it_skips() {
    let ring = Ring::new();
    let mut producer = create(&ring, 8, 0);
    let mut observer = Observer::oldest(ring.region()).unwrap();
    for _ in 0..30 {
        push(&mut producer, 0).unwrap();
    }
    observer.skip_to_latest();
    assert_eq!((observer.peek(), observer.lost()), (Ok(Next::Empty), 0));
    push(&mut producer, 0).unwrap();
    assert_eq!(seq(observer.skip()), Some(30));
    observer.skip_to_latest();
    push(&mut producer, 0).unwrap();
    assert_eq!((seq(observer.skip()), observer.lost()), (Some(31), 0));
}

#[test]
fn an_observer_goes_back_to_the_oldest() {
    let ring = Ring::new();
    let mut producer = create(&ring, 8, 0);
    push(&mut producer, 0).unwrap();
    let mut observer = Observer::latest(ring.region()).unwrap();
    push(&mut producer, 0).unwrap();
    assert_eq!(seq(observer.peek()), Some(1));
    assert_eq!(observer.skip_to_oldest(), Ok(()));
    assert_eq!(observer.skip(), Err(ReadError::Gap { expected: 1, found: 0 }));
    assert_eq!((seq(observer.skip()), seq(observer.skip())), (Some(0), Some(1)));
}

#[test]
fn the_first_place_of_a_ring_is_told_from_a_later_one() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, id, reader) = pair(&ring, &page, 8, 0);
    assert!(reader.is_at_first(), "nothing is published");
    push(&mut producer, 0).unwrap();
    assert!(Observer::oldest(ring.region()).unwrap().is_at_first());
    assert!(!Observer::latest(ring.region()).unwrap().is_at_first());
    // Positions wrap, so position 0 may come again: the sequence number tells.
    let wrapped = Ring::new();
    let mut other = create(&wrapped, 8, 8_u32.wrapping_neg());
    while word(&wrapped, ring_word::OLDEST) != 0 {
        push(&mut other, 0).unwrap();
    }
    assert!(!Observer::oldest(wrapped.region()).unwrap().is_at_first());
    assert!(producer.unsubscribe(id));
    ring.region().write(DATA, &[0; 32]);
    assert!(Observer::oldest(ring.region()).unwrap().is_at_first(), "damage in the first place");
}
