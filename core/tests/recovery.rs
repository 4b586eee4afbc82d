//! Bytes of unknown state: what is found, where it is cut and why, and that nothing that was cut
//! comes back.

mod common;

use core::sync::atomic::Ordering;
use std::collections::BTreeMap;

use aqueduct_core::geometry::{distance, granules_for};
use aqueduct_core::internals::{Framing, Header};
use aqueduct_core::layout::{KIND_DATA, KIND_DISCARD, ring_word};
use aqueduct_core::recovery::{
    Bound, Checkpoint, Cut, Item, RecoverError, Recovery, recover, scan,
};
use aqueduct_core::{
    Memory, MemoryMut, Next, Observer, Producer, Reader, Region, Seek, SharedProducer, Start,
};
use common::{DATA, EPOCH, Page, Ring, Rng, create, flip, meta, payload, push, take, word};

const LENGTHS: [usize; 3] = [10, 40, 0];
const PLACES: [u32; 4] = [0, 2, 5, 6];

fn three(first: u32) -> Ring {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, first);
    for len in LENGTHS {
        push(&mut producer, len).unwrap();
    }
    drop(producer);
    ring
}

fn checkpoint(position: u32, seq: u64) -> Checkpoint {
    Checkpoint { position, seq: Some(seq) }
}

fn resume<'a>(ring: &'a Ring, recovery: &Recovery) -> Producer<Region<'a>> {
    Producer::resume(ring.region(), recovery).expect("it was just recovered")
}

#[test]
fn whole_ring_is_recovered_whole_by_either_bound() {
    for first in [0, 12, 3_u32.wrapping_neg()] {
        let ring = three(first);
        let checkpoint = Checkpoint::oldest(&ring.region());
        assert_eq!(checkpoint, Checkpoint { position: first, seq: None });
        let whole = recover(&ring.region(), checkpoint, Bound::Tail).unwrap();
        assert_eq!(
            (whole.start, whole.end, whole.records, whole.next_seq),
            (first, word(&ring, ring_word::TAIL), 3, Some(3))
        );
        assert_eq!((whole.cut, whole.cut_granules, whole.survivor), (Cut::None, 0, None));
        let longest = recover(&ring.region(), checkpoint, Bound::Longest).unwrap();
        assert!(matches!(longest.cut, Cut::Header(_)), "behind the tail stands nothing");
        assert_eq!(Recovery { cut: Cut::None, ..longest }, whole);
    }
}

#[test]
fn every_flipped_bit_cuts_exactly_at_its_record_and_says_why() {
    for first in [0, 5_u32.wrapping_neg() & !15] {
        let ring = three(first);
        let whole = recover(&ring.region(), checkpoint(first, 0), Bound::Tail).unwrap();
        for bit in (0..6 * 256).step_by(if cfg!(miri) { 41 } else { 1 }) {
            flip(&ring.region(), DATA * 8 + bit);
            let record = PLACES.iter().rposition(|&place| place as usize <= bit / 256).unwrap();
            let byte = bit / 8 - PLACES[record] as usize * 32;
            let at = first.wrapping_add(PLACES[record]);
            let found = recover(&ring.region(), checkpoint(first, 0), Bound::Tail).unwrap();
            let items: Vec<_> = scan(ring.region()).unwrap().collect();
            let granules = PLACES[record + 1] - PLACES[record];
            match found.cut {
                Cut::None => {
                    assert!(byte >= 32 + LENGTHS[record] && found == whole, "bit {bit} is padding");
                }
                Cut::Header(crc) => {
                    assert!(byte < 32 && crc.stored != crc.computed, "bit {bit}");
                    assert!(items.contains(&Item::Damage { position: at, granules }), "{items:?}");
                }
                Cut::Payload { seq, stored, computed } => {
                    assert!(
                        (32..32 + LENGTHS[record]).contains(&byte)
                            && seq == record as u64
                            && stored != computed,
                        "bit {bit}"
                    );
                    assert!(items.iter().any(
                        |item| matches!(item, Item::Payload { record, .. } if record.seq == seq)
                    ));
                }
                cut => panic!("{cut:?}"),
            }
            assert_eq!(items.len(), 3);
            if found.cut != Cut::None {
                assert_eq!(
                    (found.start, found.end, found.records, found.next_seq),
                    (first, at, record as u64, Some(record as u64))
                );
                assert_eq!(found.cut_granules, 6 - PLACES[record]);
                let next = (record < 2)
                    .then(|| (first.wrapping_add(PLACES[record + 1]), record as u64 + 1));
                assert_eq!(found.survivor, next, "bit {bit}");
                let longest =
                    recover(&ring.region(), checkpoint(first, 0), Bound::Longest).unwrap();
                assert_eq!(longest, found);
            }
            flip(&ring.region(), DATA * 8 + bit);
        }
    }
}

#[test]
fn torn_tail_word_means_nothing_to_the_longest_prefix() {
    let ring = three(0);
    for tail in [2, 5, 1, 17, 1 << 31, u32::MAX] {
        ring.region().store(ring_word::TAIL, tail, Ordering::Relaxed);
        let longest = recover(&ring.region(), checkpoint(0, 0), Bound::Longest).unwrap();
        assert_eq!((longest.end, longest.records, longest.next_seq), (6, 3, Some(3)), "{tail}");
        let by_tail = recover(&ring.region(), checkpoint(0, 0), Bound::Tail);
        match tail {
            2 | 5 => {
                assert!(by_tail.is_ok_and(|found| found.end == tail && found.cut == Cut::None));
            }
            1 => assert!(by_tail.is_ok_and(|found| found.end == 0
                && matches!(found.cut, Cut::Header(crc) if crc.stored == crc.computed))),
            _ => assert_eq!(by_tail, Err(RecoverError::Tail { checkpoint: 0, tail })),
        }
        assert!(scan(ring.region()).unwrap().count() <= 16);
    }
}

#[test]
fn checkpoint_in_the_middle_begins_there_and_a_wrong_one_recovers_nothing() {
    let ring = three(0);
    let middle = recover(&ring.region(), checkpoint(2, 1), Bound::Tail).unwrap();
    assert_eq!(
        (middle.start, middle.end, middle.records, middle.next_seq, middle.cut),
        (2, 6, 2, Some(3), Cut::None)
    );
    let end = recover(&ring.region(), Checkpoint { position: 6, seq: None }, Bound::Tail).unwrap();
    assert_eq!((end.records, end.next_seq, end.cut), (0, None, Cut::None));
    assert_eq!(
        Producer::<Region>::resume(ring.region(), &end).err(),
        Some(RecoverError::UnknownSeq)
    );
    let inside = recover(&ring.region(), checkpoint(1, 0), Bound::Tail).unwrap();
    assert_eq!((inside.end, inside.records, inside.survivor), (1, 0, Some((2, 1))));
    assert!(matches!(inside.cut, Cut::Header(_)));
    let other = recover(&ring.region(), checkpoint(2, 9), Bound::Tail).unwrap();
    assert_eq!(
        (other.cut, other.records, other.end),
        (Cut::Sequence { expected: 9, found: 1 }, 0, 2)
    );
}

fn forge(ring: &Region<'_>, position: u32, granules: u32, header: &Header) {
    let at = DATA + (position % granules) as usize * 32;
    ring.write(at, &Framing::new(EPOCH).encode(position, header));
}

fn header(kind: u8, len: u32, seq: u64) -> Header {
    Header { len, kind, flags: 0, type_tag: 0, seq, timestamp_ns: 0, payload_crc: 0 }
}

#[test]
fn break_in_the_numbers_is_a_cut_of_its_own() {
    let ring = three(0);
    forge(&ring.region(), 5, 16, &header(KIND_DATA, 0, 7));
    let found = recover(&ring.region(), checkpoint(0, 0), Bound::Tail).unwrap();
    assert_eq!(
        (found.cut, found.records, found.end),
        (Cut::Sequence { expected: 2, found: 7 }, 2, 5)
    );
    assert_eq!(found.cut_granules, 1);
}

#[test]
fn numbers_at_the_end_of_64_bits_go_on_without_a_panic() {
    let (ring, page) = (three(0), Page::new());
    forge(&ring.region(), 5, 16, &header(KIND_DISCARD, 0, u64::MAX));
    let found =
        recover(&ring.region(), Checkpoint { position: 5, seq: None }, Bound::Tail).unwrap();
    assert_eq!(found.next_seq, Some(u64::MAX));
    let mut producer = resume(&ring, &found);
    let id = producer.subscribe(Start::Oldest).unwrap();
    producer.attach(id, "", page.region()).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    assert_eq!([push(&mut producer, 3), push(&mut producer, 4)], [Ok(u64::MAX), Ok(0)]);
    assert_eq!(
        [take(&mut reader), take(&mut reader), take(&mut reader)],
        [Some((u64::MAX, 3)), Some((0, 4)), None]
    );
}

#[test]
fn resumed_ring_goes_on_and_readers_read_old_and_new() {
    for first in [0, 14, 9_u32.wrapping_neg()] {
        let (ring, pages) = (Ring::new(), [Page::new(), Page::new()]);
        let mut producer = create(&ring, 16, first);
        for seq in 0..4 {
            push(&mut producer, 30 + usize::from(seq == 3)).unwrap();
        }
        let cursor = first.wrapping_add(2);
        let _ = producer.close();
        drop(producer);
        let found =
            recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
        let mut producer = resume(&ring, &found);
        assert_eq!((word(&ring, ring_word::STATE), word(&ring, ring_word::NEXT_SEQ)), (0, 4));
        for refused in [first.wrapping_sub(1), found.end.wrapping_add(1)] {
            assert!(producer.subscribe(Start::At(refused)).is_err());
        }
        let ids = [
            producer.subscribe(Start::At(cursor)).unwrap(),
            producer.subscribe(Start::Oldest).unwrap(),
        ];
        let mut readers = [0, 1].map(|index| {
            producer.attach(ids[index], "", pages[index].region()).unwrap();
            Reader::attach(ring.region(), pages[index].region()).unwrap()
        });
        let mut seq = 4;
        while push(&mut producer, 1).is_ok() {
            seq += 1;
        }
        assert!(seq > 5);
        let _ = producer.close();
        for (reader, from) in readers.iter_mut().zip([1, 0]) {
            for expected in from..seq {
                assert_eq!(take(reader).map(|(seq, _)| seq), Some(expected));
            }
            assert_eq!(reader.next(&mut []), Ok(Next::Closed));
        }
        let mut observer = Observer::oldest(ring.region()).unwrap();
        assert!(matches!(observer.next(&mut [0; 64]), Ok(Next::Record(record)) if record.seq == 0));
    }
}

#[test]
fn closed_ring_that_is_full_to_the_last_granule_is_resumed_and_closed_again_without_loss() {
    for start in [Start::Oldest, Start::At(0)] {
        let (ring, page) = (Ring::new(), Page::new());
        let mut producer = create(&ring, 16, 0);
        producer.subscribe(Start::Latest).unwrap();
        while push(&mut producer, 0).is_ok() {}
        let _ = producer.close();
        drop(producer);
        let found =
            recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
        assert_eq!((found.end, found.records, found.cut), (16, 15, Cut::None), "a whole lap");
        let mut producer = resume(&ring, &found);
        let id = producer.subscribe(start).unwrap();
        producer.attach(id, "", page.region()).unwrap();
        let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
        assert!(push(&mut producer, 0).is_err());
        assert_eq!(producer.want_space(0), Ok(false));
        let _ = producer.close();
        for seq in 0..15 {
            assert_eq!(take(&mut reader), Some((seq, 0)));
        }
        assert_eq!(reader.next(&mut []), Ok(Next::Closed));
    }
}

#[test]
fn padding_that_ends_behind_the_lap_does_not_come_back_either() {
    // A stale checkpoint: the first life was most of a lap further, and its last record ends behind
    // the checkpoint's lap.
    let ring = three(0);
    for (position, granules) in [(14, 2), (19, 3)] {
        forge(&ring.region(), position, 16, &header(KIND_DISCARD, 32 * (granules - 1), 3));
    }
    let found = recover(&ring.region(), checkpoint(4, 0), Bound::Longest).unwrap();
    assert_eq!((found.end, found.records), (4, 0));
    let _ = resume(&ring, &found);
    for position in [14, 19] {
        let later = recover(&ring.region(), checkpoint(position, 3), Bound::Longest).unwrap();
        assert_eq!((later.end, later.survivor), (position, None));
    }
}

#[test]
fn headers_of_a_later_lap_left_by_a_lost_tail_do_not_come_back() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    push(&mut producer, 0).unwrap();
    let early = [ring_word::TAIL, ring_word::OLDEST].map(|at| (at, word(&ring, at)));
    for _ in 0..31 {
        push(&mut producer, 0).unwrap();
    }
    drop(producer);
    // The page of the control words is the early one, the data is the newest: positions 16 to 32
    // stand there.
    for (at, value) in early {
        ring.region().store(at, value, Ordering::Relaxed);
    }
    let cut = recover(&ring.region(), checkpoint(0, 20), Bound::Longest).unwrap();
    assert_eq!((cut.end, cut.records), (0, 0));
    let mut producer = resume(&ring, &cut);
    // A PAD over the end of the lap leaves granules as they were; then up to position 30, where the
    // first life's record 30 stood.
    for len in [64, 64, 64, 64, 0, 96, 96, 96, 0, 0] {
        push(&mut producer, len).unwrap();
    }
    let tail = word(&ring, ring_word::TAIL);
    let again =
        recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Longest).unwrap();
    assert_eq!((again.end, again.survivor), (tail, None), "{again:?}");
}

#[test]
fn prefix_longer_than_a_lap_is_not_resumed() {
    let ring = three(0);
    let mut found = recover(&ring.region(), checkpoint(0, 0), Bound::Tail).unwrap();
    found.end = 17;
    assert_eq!(
        Producer::<Region>::resume(ring.region(), &found).err(),
        Some(RecoverError::Tail { checkpoint: 0, tail: 17 })
    );
}

/// Lives of one ring that end in damage or power loss; which life wrote each number, as the oracle.
#[test]
fn nothing_that_was_cut_ever_comes_back_over_many_lives() {
    for seed in 0..if cfg!(miri) { 1 } else { 40 } {
        let mut dice = Rng::new(seed);
        let granules = [8, 16, 64][dice.below(3)];
        let ring = Ring::new();
        let mut producer = create(&ring, granules, 90_u32.wrapping_neg());
        let largest = producer.geometry().max_payload() as usize;
        let mut written: BTreeMap<u64, u64> = BTreeMap::new();
        for life in 0..if cfg!(miri) { 4 } else { 25 } {
            for _ in 0..dice.below(24) {
                let seq = producer.next_seq();
                let len = if dice.below(3) == 0 {
                    dice.below(largest + 1)
                } else {
                    dice.below(40.min(largest))
                };
                producer.push(meta(seq), &payload(seq ^ life << 32, len)).map(drop).unwrap();
                written.insert(seq, life);
            }
            let head = producer.next_seq();
            drop(producer);
            let region = ring.region();
            let items: Vec<Item> = scan(region).unwrap().collect();
            let first = items.iter().find_map(|item| {
                if let Item::Record(record) = item { Some(record.seq) } else { None }
            });
            let first = first.unwrap_or(head);
            // Power loss: one record is damaged, or nothing is, and the tail word is an old one or
            // none at all.
            let (oldest, tail) = (word(&ring, ring_word::OLDEST), word(&ring, ring_word::TAIL));
            let victim = dice.below(items.len() + 2);
            let (mut end, mut next) = (tail, head);
            if let Some(Item::Record(record)) = items.get(victim) {
                let byte = if dice.below(2) == 0 {
                    dice.below(32)
                } else {
                    32 + dice.below(record.len.max(1)).min(record.len.saturating_sub(1))
                };
                let byte = if record.len == 0 { byte % 32 } else { byte };
                flip(
                    &region,
                    (DATA + (record.position % granules) as usize * 32 + byte) * 8 + dice.below(8),
                );
                (end, next) = (record.position, record.seq);
            }
            if dice.below(2) == 0 {
                region.store(ring_word::TAIL, dice.word(), Ordering::Relaxed);
            }
            let found =
                recover(&region, Checkpoint { position: oldest, seq: Some(first) }, Bound::Longest)
                    .unwrap();
            assert_eq!(
                (found.start, found.end, found.next_seq),
                (oldest, end, Some(next)),
                "seed {seed} life {life}"
            );
            assert_eq!(found.records, next - first);
            producer = resume(&ring, &found);
            written.split_off(&next);
            let mut observer = Observer::oldest(region).unwrap();
            let mut buf = [0; 1024];
            for seq in first..next {
                let Ok(Next::Record(record)) = observer.next(&mut buf) else {
                    panic!("record {seq} is missing")
                };
                assert_eq!(record.seq, seq);
                assert_eq!(
                    buf[..record.len],
                    payload(seq ^ written[&seq] << 32, record.len),
                    "record {seq} of another life"
                );
            }
            assert_eq!(observer.next(&mut buf), Ok(Next::Empty));
            let again =
                recover(&region, Checkpoint { position: oldest, seq: Some(first) }, Bound::Longest)
                    .unwrap();
            assert_eq!(
                (again.end, again.survivor),
                (end, None),
                "what was behind the cut is erased"
            );
        }
    }
}

#[test]
fn scan_lists_everything_in_turn() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 10);
    push(&mut producer, 33).unwrap();
    let shared = SharedProducer::<_, _, aqueduct_core::shared::Native, 4>::new(producer).unwrap();
    drop(shared.claim(32).unwrap());
    let _ = shared.push(meta(1), &payload(1, 3)).unwrap();
    drop(shared);
    let mut items = scan(ring.region()).unwrap();
    assert!(
        matches!(items.next(), Some(Item::Record(record)) if (record.seq, record.len, record.position) == (0, 33, 10))
    );
    assert_eq!(items.next(), Some(Item::Padding { position: 13, kind: KIND_DISCARD, granules: 2 }));
    assert_eq!(items.next(), Some(Item::Padding { position: 15, kind: 2, granules: 1 }));
    assert!(
        matches!(items.next(), Some(Item::Record(record)) if (record.seq, record.position) == (1, 16))
    );
    assert_eq!((items.next(), items.next()), (None, None));
}

/// Everything that reads a ring, and then a producer that goes on with it, over whatever the bytes
/// are.
fn survive(ring: &Ring, dice: &mut Rng) {
    let region = ring.region();
    let mut granules = 0;
    for item in scan(region).unwrap() {
        granules += match item {
            Item::Record(record) | Item::Payload { record, .. } => {
                granules_for(u32::try_from(record.len).unwrap())
            }
            Item::Padding { granules, .. } | Item::Damage { granules, .. } => granules,
        };
    }
    assert!(granules <= 16, "each granule once");
    let mut buf = [0; 512];
    if let Ok(mut observer) = Observer::oldest(region) {
        for _ in 0..40 {
            let _ = observer.next(&mut buf);
        }
        let _ = (observer.seek(EPOCH, dice.next()), observer.lag(5));
    }
    for bound in [Bound::Longest, Bound::Tail] {
        let position = if dice.below(2) == 0 { word(ring, ring_word::OLDEST) } else { dice.word() };
        let Ok(found) = recover(&region, Checkpoint { position, seq: None }, bound) else {
            continue;
        };
        assert!(distance(found.start, found.end) <= 16 && found.records <= 16);
        let Ok(mut producer) = Producer::<Region>::resume(region, &found) else { continue };
        let page = Page::new();
        let mut gated = Producer::<Region>::resume(region, &found).unwrap();
        let id = gated.subscribe(Start::Oldest).unwrap();
        assert!(
            gated.attach(id, "", page.region()).is_err()
                || Reader::attach(region, page.region()).is_ok()
        );
        let mut reader = Reader::attach(region, page.region()).unwrap();
        for _ in 0..20 {
            let _ = (
                gated.append(meta(0), &[0; 40]),
                gated.publish(),
                reader.next(&mut buf),
                reader.release(),
            );
        }
        let _ = (reader.seek(EPOCH, dice.next()), reader.lag(5), gated.close());
        for _ in 0..20 {
            let _ = producer.push(meta(0), &[0; 40]).unwrap();
        }
        let _ = producer.close();
    }
}

#[test]
fn random_bytes_end_every_call_without_a_panic() {
    for seed in 0..if cfg!(miri) { 3 } else { 300 } {
        let mut dice = Rng::new(seed);
        let ring = three(16_u32.wrapping_neg());
        for granule in 0..16 {
            let bytes: Vec<u8> = (0..32).map(|_| dice.next().to_le_bytes()[2]).collect();
            ring.region().write(DATA + granule * 32, &bytes);
        }
        for at in [ring_word::TAIL, ring_word::OLDEST, ring_word::STATE, ring_word::NEXT_SEQ] {
            ring.region().store(at, dice.word(), Ordering::Relaxed);
        }
        survive(&ring, &mut dice);
    }
}

#[test]
fn forged_headers_with_right_checksums_end_every_call_without_a_panic() {
    let interesting = [0, 1, 31, 32, 33, 64, 223, 224, 225, 480, 481, u32::MAX - 31, u32::MAX];
    for seed in 0..if cfg!(miri) { 3 } else { 1500 } {
        let mut dice = Rng::new(seed);
        let ring = three(0);
        let base = [0, 7, 16_u32.wrapping_neg(), 1_u32.wrapping_neg()][dice.below(4)];
        for step in 0..16 {
            let seq = [0, 1, u64::from(step), u64::MAX - 1, u64::MAX, dice.next()][dice.below(6)];
            let kind = u8::try_from(dice.below(5)).unwrap();
            let len = interesting[dice.below(interesting.len())];
            forge(&ring.region(), base.wrapping_add(step), 16, &header(kind, len, seq));
        }
        ring.region().store(ring_word::OLDEST, base, Ordering::Relaxed);
        let tail = base.wrapping_add(u32::try_from(dice.below(18)).unwrap());
        ring.region().store(ring_word::TAIL, tail, Ordering::Relaxed);
        survive(&ring, &mut dice);
    }
}

#[test]
fn segment_that_is_no_ring_is_an_error_and_not_an_empty_ring() {
    let ring = Ring::new();
    let anywhere = Checkpoint::oldest(&ring.region());
    assert!(matches!(
        recover(&ring.region(), anywhere, Bound::Longest),
        Err(RecoverError::Geometry(_))
    ));
    assert!(scan(ring.region()).is_err());
    let mut untouched = [1; 32];
    ring.region().read(0, &mut untouched);
    assert_eq!(untouched, [0; 32]);
}

#[test]
fn seeking_passes_any_number_of_gaps() {
    let ring = three(0);
    for position in 0..16 {
        forge(&ring.region(), position, 16, &header(KIND_DATA, 0, u64::from(position) * 10));
    }
    ring.region().store(ring_word::TAIL, 16, Ordering::Relaxed);
    for (sought, expected) in
        [(1000, Seek::Ahead), (150, Seek::Found), (145, Seek::Gone { oldest: 150 })]
    {
        let mut observer = Observer::oldest(ring.region()).unwrap();
        assert_eq!(observer.seek(EPOCH, sought), Ok(expected));
    }
}

#[test]
fn largest_payload_is_a_limit_of_records_and_not_of_padding() {
    for (kind, cut) in [(KIND_DATA, true), (KIND_DISCARD, false)] {
        let ring = three(0);
        forge(&ring.region(), 0, 16, &header(kind, 225, 0));
        ring.region().store(ring_word::TAIL, 9, Ordering::Relaxed);
        let found = recover(&ring.region(), checkpoint(0, 0), Bound::Tail).unwrap();
        assert_eq!((found.end, found.records), (if cut { 0 } else { 9 }, 0));
        assert_eq!(
            matches!(found.cut, Cut::Header(crc) if crc.stored == crc.computed),
            cut,
            "{:?}",
            found.cut
        );
    }
}

#[test]
fn resumed_ring_is_overwritten_sector_by_sector_and_takes_kept_cursors_before_oldest() {
    let ring = Ring::new();
    let mut producer = create(&ring, 64, 0);
    for _ in 0..50 {
        push(&mut producer, 0).unwrap();
    }
    drop(producer);
    let found = recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
    let mut producer = resume(&ring, &found);
    for tail in 51..51 + 64 {
        push(&mut producer, 0).unwrap();
        let whole = u32::try_from(tail).unwrap().saturating_sub(63);
        let oldest = word(&ring, ring_word::OLDEST);
        assert!(
            (whole..whole + 5).contains(&oldest),
            "{oldest} is more than a sector of four behind {whole}"
        );
        for position in [whole, oldest] {
            let id = producer.subscribe(Start::At(position)).unwrap();
            assert!(producer.unsubscribe(id));
        }
        assert!(whole == 0 || producer.subscribe(Start::At(whole - 1)).is_err());
    }
}

#[test]
fn ring_resumed_full_to_the_last_granule_is_closed_whole_for_observers() {
    let ring = Ring::new();
    let mut producer = create(&ring, 16, 0);
    producer.subscribe(Start::Latest).unwrap();
    while push(&mut producer, 0).is_ok() {}
    let _ = producer.close();
    drop(producer);
    let found = recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
    assert_eq!((found.end, found.records), (16, 15));
    let _ = resume(&ring, &found).close();
    let mut observer = Observer::oldest(ring.region()).unwrap();
    for seq in 1..15 {
        assert!(matches!(observer.next(&mut []), Ok(Next::Record(record)) if record.seq == seq));
    }
    assert_eq!(observer.next(&mut []), Ok(Next::Closed));
}

#[test]
fn reader_that_sleeps_on_a_ring_resumed_full_is_woken_by_its_end() {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer = create(&ring, 16, 0);
    producer.subscribe(Start::Latest).unwrap();
    while push(&mut producer, 0).is_ok() {}
    let _ = producer.close();
    drop(producer);
    let found = recover(&ring.region(), Checkpoint::oldest(&ring.region()), Bound::Tail).unwrap();
    let mut producer = resume(&ring, &found);
    let id = producer.subscribe(Start::Oldest).unwrap();
    producer.attach(id, "", page.region()).unwrap();
    let mut reader = Reader::attach(ring.region(), page.region()).unwrap();
    // Read, and not released: there is no granule for a closing record.
    reader.skip_to_latest().unwrap();
    let asleep = reader.prepare_sleep(aqueduct_core::WaitMode::Futex);
    assert_eq!(asleep, Ok(aqueduct_core::Sleep::Wait { tail: 16 }));
    assert!(producer.close().futex);
    reader.finish_sleep(false).unwrap();
    assert_eq!(reader.next(&mut []), Ok(Next::Closed));
}

#[test]
fn seeking_in_a_ring_of_endless_damage_ends_after_four_laps() {
    use common::{Hooked, Touch};
    use core::cell::Cell;

    let (ring, page) = (Ring::new(), Page::new());
    let _ = common::pair(&ring, &page, 16, 0);
    let looks = Cell::new(0);
    let hook = |touch| {
        if touch == Touch::Loaded(ring_word::TAIL) {
            looks.set(looks.get() + 1);
            ring.region().store(ring_word::TAIL, 16 * looks.get(), Ordering::Relaxed);
        }
    };
    let hook = Cell::new(Some(&hook as &dyn Fn(Touch)));
    let mut reader =
        Reader::attach(Hooked { region: ring.region(), hook: &hook }, page.region()).unwrap();
    assert_eq!(looks.get(), 1);
    let overrun = aqueduct_core::ReadError::Overrun { expected: Some(5), found: None };
    assert_eq!(reader.seek(EPOCH, 5), Err(aqueduct_core::SeekError::Read(overrun)));
    assert_eq!((looks.get(), reader.stats().corrupt), (1 + 4, 4));
}
