//! One producer and gating readers: what goes in comes out, at every alignment, around every end.

mod common;

use aqueduct_core::geometry::max_payload_for;
use aqueduct_core::layout::ring_word;
use aqueduct_core::{ClaimError, Next, ReadError, Reader, Start};
use common::{
    Page, Ring, Rng, checked, config, create, meta, pair, payload, push, take, with, word,
};

/// First positions at which the 32-bit circle closes within the test, and 0.
fn starts(granules: u32) -> impl Iterator<Item = u32> {
    let near = if cfg!(miri) { 2 } else { granules + 1 };
    (0..near).map(u32::wrapping_neg)
}

const CAPACITIES: [u32; 5] = [4, 8, 16, 32, 64];

#[test]
fn everything_pushed_is_read_once_and_in_order_for_every_capacity_and_start() {
    for granules in CAPACITIES {
        for first in starts(granules) {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut producer, _, mut reader) = pair(&ring, &page, granules, first);
            let largest = max_payload_for(granules) as usize;
            let mut dice = Rng::new(u64::from(granules ^ first));
            let (mut pushed, mut read) = (0_u64, 0_u64);
            let mut lengths = Vec::new();
            for _ in 0..if cfg!(miri) { 30 } else { 120 } {
                let len = dice.below(largest + 1);
                match push(&mut producer, len) {
                    Ok(seq) => {
                        assert_eq!(seq, pushed);
                        lengths.push(len);
                        pushed += 1;
                    }
                    Err(ClaimError::Full { needed, free }) => {
                        assert!(needed > free, "{needed} do fit {free}");
                        assert!(pushed > read, "an empty ring takes every record it allows");
                        let mut some = 1 + dice.below(3);
                        while some > 0 && read < pushed {
                            assert_eq!(
                                take(&mut reader),
                                Some((read, lengths[usize::try_from(read).unwrap()]))
                            );
                            read += 1;
                            some -= 1;
                        }
                        assert!(!reader.release(), "nobody asked to be told");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            while let Some((seq, len)) = take(&mut reader) {
                assert_eq!((seq, len), (read, lengths[usize::try_from(seq).unwrap()]));
                read += 1;
            }
            assert_eq!(read, pushed);
            assert!(pushed > 8, "not vacuous");
            assert_eq!(reader.stats(), aqueduct_core::ReaderStats::default());
        }
    }
}

#[test]
fn largest_payload_fits_an_empty_ring_wherever_it_begins_and_one_byte_more_never() {
    for granules in CAPACITIES {
        let largest = max_payload_for(granules) as usize;
        for first in 0..granules {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut producer, _, mut reader) = pair(&ring, &page, granules, first);
            let refused = producer.push(meta(0), &vec![0; largest + 1]).map(|(seq, _)| seq);
            assert_eq!(
                refused,
                Err(ClaimError::TooLarge { bytes: largest + 1, limit: max_payload_for(granules) })
            );
            assert_eq!(push(&mut producer, largest), Ok(0), "capacity {granules}, at {first}");
            assert_eq!(take(&mut reader), Some((0, largest)));
        }
    }
}

#[test]
fn configured_limit_of_payloads_holds() {
    let ring = Ring::new();
    let limited = with(config(8, 0), |config| config.max_payload_bytes = Some(7));
    let mut producer: aqueduct_core::Producer<_> =
        aqueduct_core::Producer::create(ring.region(), &limited).unwrap();
    assert!(producer.append(meta(0), &[0; 7]).is_ok());
    assert_eq!(producer.append(meta(0), &[0; 8]), Err(ClaimError::TooLarge { bytes: 8, limit: 7 }));
    assert_eq!(
        producer.claim(usize::MAX).err(),
        Some(ClaimError::TooLarge { bytes: usize::MAX, limit: 7 })
    );
    assert_eq!(producer.want_space(8), Err(ClaimError::TooLarge { bytes: 8, limit: 7 }));
}

#[test]
fn record_that_would_cross_the_end_is_put_behind_a_pad() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    for _ in 0..3 {
        push(&mut producer, 32).unwrap();
        take(&mut reader).unwrap();
    }
    let _ = reader.release();
    push(&mut producer, 33).unwrap();
    assert_eq!(word(&ring, ring_word::TAIL), 11, "6 used, 2 PAD, 3 for the record");
    let mut buf = [0; 64];
    assert!(
        matches!(reader.next(&mut buf), Ok(Next::Record(record)) if record.position == 8 && record.seq == 3)
    );
    assert_eq!(reader.next(&mut buf), Ok(Next::Empty));
}

#[test]
fn batch_is_invisible_until_it_is_published_and_then_visible_at_once() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    for seq in 0..3 {
        assert_eq!(producer.append(meta(seq), &payload(seq, 5)), Ok(seq));
        assert_eq!(take(&mut reader), None);
        assert_eq!(word(&ring, ring_word::NEXT_SEQ), 0);
    }
    assert!(producer.publish().is_none());
    assert_eq!(word(&ring, ring_word::NEXT_SEQ), 3);
    let mut seen = Vec::new();
    let mut buf = [0; 64];
    let taken = reader.batch(&mut buf, 2, |record, bytes| seen.push((record.seq, bytes.to_vec())));
    assert_eq!(taken, Ok((2, false)));
    assert_eq!(producer.backlog(), 2, "the third record is held, the batch is released");
    let taken = reader.batch(&mut buf, 9, |record, bytes| seen.push((record.seq, bytes.to_vec())));
    assert_eq!(taken, Ok((1, false)));
    assert_eq!(seen, (0..3).map(|seq| (seq, payload(seq, 5))).collect::<Vec<_>>());
    assert_eq!(producer.backlog(), 0);
}

#[test]
fn batch_that_meets_an_error_releases_what_came_before_it() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
    push(&mut producer, 4).unwrap();
    push(&mut producer, 40).unwrap();
    let mut small = [0; 8];
    let error = ReadError::BufferTooSmall { needed: 40, given: 8 };
    assert_eq!(reader.batch(&mut small, 5, |_, _| {}), Err((error, false)));
    assert_eq!(producer.backlog(), 3);
    assert_eq!(
        reader.batch(&mut small, 5, |_, _| {}),
        Err((error, false)),
        "the reader did not move"
    );
    assert_eq!(take(&mut reader), Some((1, 40)));
}

#[test]
fn grant_filled_in_pieces_of_every_size_gives_the_same_bytes() {
    for piece in 1..=20 {
        for len in [0, 1, 3, 7, 8, 9, 31, 32, 33, 63, 95] {
            let (ring, page) = (Ring::new(), Page::new());
            let (mut producer, _, mut reader) = pair(&ring, &page, 8, 5);
            let bytes = payload(0, len);
            let mut grant = producer.claim(96).unwrap();
            for (count, part) in bytes.chunks(piece).enumerate() {
                grant.write(part).unwrap();
                grant.write(&[]).unwrap();
                assert_eq!(grant.remaining(), 96 - (count * piece + part.len()));
            }
            assert_eq!(grant.commit(meta(0)), 0);
            let _ = producer.publish();
            assert_eq!(take(&mut reader), Some((0, len)), "in pieces of {piece}");
            assert_eq!(
                word(&ring, ring_word::TAIL) % 8,
                1 + u32::try_from(len.div_ceil(32)).unwrap(),
                "only what was written is used"
            );
            if cfg!(miri) && piece % 5 != 0 {
                break;
            }
        }
    }
}

#[test]
fn random_pieces_give_the_same_bytes() {
    let mut dice = Rng::new(3);
    for _ in 0..if cfg!(miri) { 5 } else { 300 } {
        let (ring, page) = (Ring::new(), Page::new());
        let (mut producer, _, mut reader) = pair(&ring, &page, 16, 0);
        let bytes = payload(0, dice.below(225));
        let mut grant = producer.claim(bytes.len()).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, more) = rest.split_at(dice.below(rest.len().min(40) + 1));
            grant.write(part).unwrap();
            rest = more;
        }
        grant.commit(meta(0));
        let _ = producer.publish();
        assert_eq!(take(&mut reader), Some((0, bytes.len())));
    }
}

#[test]
fn overfull_write_into_a_grant_takes_nothing() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    let bytes = payload(0, 10);
    let mut grant = producer.claim(10).unwrap();
    grant.write(&bytes[..4]).unwrap();
    let error = grant.write(&[9; 7]).unwrap_err();
    assert_eq!((error.bytes, error.remaining), (7, 6));
    grant.write(&bytes[4..]).unwrap();
    assert!(grant.write(&[9]).is_err());
    grant.commit(meta(0));
    let _ = producer.publish();
    assert_eq!(take(&mut reader), Some((0, 10)));
}

#[test]
fn dropped_grant_leaves_no_record_even_if_it_made_a_pad() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 7);
    let mut grant = producer.claim(64).unwrap();
    grant.write(&[1; 64]).unwrap();
    _ = grant;
    let _ = producer.publish();
    assert_eq!(take(&mut reader), None);
    assert_eq!(push(&mut producer, 64), Ok(0));
    assert_eq!(take(&mut reader), Some((0, 64)));
}

#[test]
fn buffer_too_small_keeps_the_record() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    push(&mut producer, 40).unwrap();
    let mut buf = [0; 40];
    for given in [0, 39] {
        assert_eq!(
            reader.next(&mut buf[..given]),
            Err(ReadError::BufferTooSmall { needed: 40, given })
        );
    }
    let next = reader.next(&mut buf);
    assert_eq!(checked(next, &buf), Ok(Next::Record((0, 40))));
}

/// Fills a ring to the last granule that records may take, with `unread` of them not released, then
/// closes.
#[test]
fn close_fits_every_fill_level_and_destroys_nothing() {
    for granules in CAPACITIES {
        for first in [0, 1, granules - 1, 1_u32.wrapping_neg(), (granules - 1).wrapping_neg()] {
            for fill in 0..granules {
                for (subscribe_late, batched) in [(false, false), (true, false), (false, true)] {
                    let (ring, page) = (Ring::new(), Page::new());
                    let mut producer = create(&ring, granules, first);
                    // A ring whose head is laps ahead, with records as small as they get.
                    let laps = if subscribe_late { 3 * granules } else { 0 };
                    for _ in 0..laps {
                        push(&mut producer, 0).unwrap();
                    }
                    let id = producer
                        .subscribe(if subscribe_late { Start::Oldest } else { Start::Latest })
                        .unwrap();
                    producer.attach(id, "", page.region()).unwrap();
                    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
                    let mut more = 0;
                    while more < fill {
                        let seq = producer.next_seq();
                        match producer.append(meta(seq), &[]) {
                            Ok(_) => more += 1,
                            Err(ClaimError::Full { needed: 1, free: 0 }) => break,
                            Err(other) => panic!("{other}"),
                        }
                        if !batched {
                            let _ = producer.publish();
                        }
                    }
                    assert!(subscribe_late || more == fill);
                    let behind = word(&ring, ring_word::TAIL);
                    let _ = producer.close();
                    let _ = producer.close();
                    assert_eq!(word(&ring, ring_word::STATE), 1);
                    assert_eq!(
                        word(&ring, ring_word::TAIL),
                        behind.wrapping_add(if batched { fill + 1 } else { 1 }),
                        "once, by one granule"
                    );
                    assert_eq!(producer.append(meta(0), &[]), Err(ClaimError::Closed));
                    let mut next = None;
                    let mut buf = [0; 64];
                    loop {
                        let got = reader.next(&mut buf);
                        match checked(got, &buf).unwrap() {
                            Next::Record((seq, _)) => {
                                assert!(next.is_none_or(|next| next == seq));
                                next = Some(seq + 1);
                            }
                            Next::Closed => break,
                            Next::Empty => panic!(
                                "a closed ring is never merely empty: its reader would sleep on it"
                            ),
                        }
                    }
                    assert!(next.is_none_or(|next| next == producer.next_seq()));
                    assert_eq!(next.is_none(), producer.next_seq() == 0);
                }
            }
        }
        if cfg!(miri) {
            break;
        }
    }
}

#[test]
fn reader_of_a_closed_ring_is_told_so_at_once_and_again() {
    let (ring, page) = (Ring::new(), Page::new());
    let (mut producer, _, mut reader) = pair(&ring, &page, 8, 0);
    push(&mut producer, 3).unwrap();
    let _ = producer.close();
    assert_eq!(take(&mut reader), Some((0, 3)));
    let mut buf = [0; 8];
    assert_eq!(reader.next(&mut buf), Ok(Next::Closed));
    assert_eq!(reader.next(&mut buf), Ok(Next::Closed));
    assert_eq!(producer.want_space(0), Err(ClaimError::Closed));
}
