//! `recovery`: `recover` and `scan` against a naive search for whole records, then `resume`: what
//! was recovered and what is pushed afterwards is read back exactly, nothing that was cut comes
//! back, and a second recovery finds just that.

use aqueduct_core::ClaimError;
use aqueduct_core::memory::Region;
use aqueduct_core::recovery::{
    Bound, Checkpoint, Cut, Item, RecoverError, Recovery, recover, scan,
};
use aqueduct_core::{Meta, Next, Producer, Reader, Record, Start};

use super::reader::refusal_of_ring;
use crate::image::{Image, length, payload_of};
use crate::input::Input;
use crate::memory::Shared;
use crate::paths;
use crate::wire::{self, Head, Layout, u32_at};

/// DATA records with their payloads.
type Kept = Vec<(Record, Vec<u8>)>;

/// One input.
pub fn run(bytes: &[u8]) {
    let _path = paths::force(bytes);
    let mut input = Input::new(bytes);
    let (which, beside, mode) = (input.u8(), input.u8(), input.u8());
    let image = Image::take(&mut input);
    let ring = image.ring.bytes()[..image.ring_bytes].to_vec();
    let region = image.ring.region_of(image.ring_bytes);
    let layout = match (
        recover(&region, Checkpoint { position: 0, seq: None }, Bound::Longest),
        Layout::parse(&ring),
    ) {
        (Err(RecoverError::Geometry(error)), Err(expected)) => {
            return assert_eq!(refusal_of_ring(error), expected);
        }
        (Ok(_), Ok(layout)) => layout,
        (found, expected) => panic!("{found:?}, though {expected:?}"),
    };
    let known = match which {
        0..128 => u32_at(&ring, wire::OLDEST),
        n => image.positions[usize::from(n) % image.positions.len()],
    };
    let position = if beside < 240 { known } else { known.wrapping_add(u32::from(beside) % 16) };
    let seq = if mode & 2 == 0 {
        None
    } else {
        Some(first_seq(&layout, &ring, position).wrapping_add(u64::from(mode >> 6 == 3)))
    };
    let checkpoint = Checkpoint { position, seq };
    let bound = if mode & 1 == 0 { Bound::Tail } else { Bound::Longest };

    let found = recover(&region, checkpoint, bound);
    let expected = naive(&layout, &ring, checkpoint, bound);
    assert_eq!(found, expected.as_ref().map(|(recovery, _)| *recovery).map_err(Clone::clone));
    let items: Vec<Item> = scan(region).expect("it is a ring").collect();
    assert_eq!(items, naive_scan(&layout, &ring));
    agree(&layout, &ring, &items);
    assert_eq!(image.ring.bytes()[..image.ring_bytes], ring, "recovery and scan only read");

    if let Ok((recovery, kept)) = expected {
        go_on(&image, &layout, recovery, kept, mode, input);
    }
}

fn first_seq(layout: &Layout, ring: &[u8], position: u32) -> u64 {
    layout.head(ring, position, position.wrapping_add(layout.capacity)).map_or(0, |head| head.seq)
}

fn record(head: &Head, position: u32) -> Record {
    crate::oracle::described(head, position)
}

/// The longest prefix, with its DATA records.
fn naive(
    layout: &Layout,
    ring: &[u8],
    checkpoint: Checkpoint,
    bound: Bound,
) -> Result<(Recovery, Kept), RecoverError> {
    let (start, tail) = (checkpoint.position, u32_at(ring, wire::TAIL));
    let published = tail.wrapping_sub(start);
    if bound == Bound::Tail && published > layout.capacity {
        return Err(RecoverError::Tail { checkpoint: start, tail });
    }
    let limit = start.wrapping_add(if bound == Bound::Tail { published } else { layout.capacity });
    let (mut end, mut next_seq, mut kept, mut cut) = (start, checkpoint.seq, Vec::new(), Cut::None);
    while end != limit {
        let head = match layout.head(ring, end, limit) {
            Ok(head) => head,
            Err((stored, computed)) => {
                cut = Cut::Header(aqueduct_core::HeaderCrc { stored, computed });
                break;
            }
        };
        if next_seq.is_some_and(|expected| expected != head.seq) {
            cut = Cut::Sequence { expected: next_seq.unwrap_or(0), found: head.seq };
            break;
        }
        if head.is_data() {
            let payload = layout.payload(ring, end, &head);
            if wire::crc(payload) != head.payload_crc {
                cut = Cut::Payload {
                    seq: head.seq,
                    stored: head.payload_crc,
                    computed: wire::crc(payload),
                };
                break;
            }
            kept.push((record(&head, end), payload.to_vec()));
        }
        next_seq = Some(head.seq.wrapping_add(u64::from(head.is_data())));
        end = end.wrapping_add(head.granules() as u32);
    }
    let survivor = if cut == Cut::None {
        None
    } else {
        (1..limit.wrapping_sub(end)).map(|ahead| end.wrapping_add(ahead)).find_map(|at| {
            let head = layout.head(ring, at, limit).ok()?;
            Some((at, head.seq))
        })
    };
    let taken = end.wrapping_sub(start);
    let cut_granules =
        if published <= layout.capacity { published.saturating_sub(taken) } else { 0 };
    Ok((
        Recovery { start, end, records: kept.len() as u64, next_seq, cut, cut_granules, survivor },
        kept,
    ))
}

fn naive_scan(layout: &Layout, ring: &[u8]) -> Vec<Item> {
    let oldest = u32_at(ring, wire::OLDEST);
    let live = u32_at(ring, wire::TAIL).wrapping_sub(oldest).min(layout.capacity);
    let end = oldest.wrapping_add(live);
    let (mut at, mut items) = (oldest, Vec::new());
    while at != end {
        let Ok(head) = layout.head(ring, at, end) else {
            let granules = (1..end.wrapping_sub(at))
                .find(|ahead| layout.head(ring, at.wrapping_add(*ahead), end).is_ok());
            let granules = granules.unwrap_or(end.wrapping_sub(at));
            items.push(Item::Damage { position: at, granules });
            at = at.wrapping_add(granules);
            continue;
        };
        items.push(if !head.is_data() {
            Item::Padding { position: at, kind: head.kind, granules: head.granules() as u32 }
        } else {
            let (computed, stored) = (wire::crc(layout.payload(ring, at, &head)), head.payload_crc);
            let record = record(&head, at);
            if computed == stored {
                Item::Record(record)
            } else {
                Item::Payload { record, stored, computed }
            }
        });
        at = at.wrapping_add(head.granules() as u32);
    }
    items
}

/// The prefix from `oldest` to `tail` is what the scan lists up to the first damage or jump of the
/// numbers.
fn agree(layout: &Layout, ring: &[u8], items: &[Item]) {
    let checkpoint = Checkpoint { position: u32_at(ring, wire::OLDEST), seq: None };
    let Ok((recovery, kept)) = naive(layout, ring, checkpoint, Bound::Tail) else { return };
    let records: Vec<Record> = items
        .iter()
        .filter_map(|item| if let Item::Record(record) = item { Some(*record) } else { None })
        .collect();
    let prefix: Vec<Record> = kept.iter().map(|(record, _)| *record).collect();
    assert!(records.starts_with(&prefix));
    if recovery.cut == Cut::None {
        assert_eq!(records, prefix);
        assert!(
            !items.iter().any(|item| matches!(item, Item::Damage { .. } | Item::Payload { .. }))
        );
    }
}

fn go_on(
    image: &Image,
    layout: &Layout,
    mut recovery: Recovery,
    mut kept: Kept,
    mode: u8,
    mut input: Input<'_>,
) {
    let region = image.ring.region_of(image.ring_bytes);
    if recovery.next_seq.is_none() {
        let refused = Producer::<Region<'_>>::resume(region, &recovery);
        assert_eq!(refused.err(), Some(RecoverError::UnknownSeq));
        recovery.next_seq = Some(u64::from(mode));
    }
    let page = Shared::new(256);
    let first_new = recovery.next_seq.unwrap_or(0);
    let mut producer: Producer<Region<'_>> =
        Producer::resume(region, &recovery).expect("it was recovered");
    assert_eq!(producer.next_seq(), first_new);
    let gated = mode & 4 != 0;
    if gated {
        let subscription = producer.subscribe(Start::Oldest).expect("there is room");
        producer.attach(subscription, "again", page.region()).expect("a page");
    }

    for _ in 0..input.below(24) {
        let (len, what) = (length(&mut input, layout.max_payload), input.u8());
        let meta = Meta { type_tag: u16::from(what), timestamp_ns: u64::from(what) };
        let (seq, head) = (producer.next_seq(), u32_at(&image.ring.bytes(), wire::TAIL));
        let payload = payload_of(seq ^ 0x55, len);
        match producer.push(meta, &payload) {
            Ok((given, _wake)) => {
                assert_eq!(given, seq);
                let room = layout.capacity - head % layout.capacity;
                let pad = if 1 + (len as u32).div_ceil(32) > room { room } else { 0 };
                let position = head.wrapping_add(pad);
                let record = Record {
                    seq,
                    timestamp_ns: meta.timestamp_ns,
                    len,
                    type_tag: meta.type_tag,
                    flags: 0,
                    attribute_units: 0,
                    position,
                };
                kept.push((record, payload));
            }
            Err(ClaimError::Full { .. }) => assert!(gated, "nobody holds it back"),
            Err(ClaimError::TooLarge { .. }) => assert!(len > layout.max_payload as usize),
            Err(error) => panic!("{error}"),
        }
    }
    if mode & 8 != 0 {
        let _wake = producer.close();
    }

    // What is there now is just what was kept and pushed, to the tail and not a record further.
    let ring = image.ring.bytes();
    let (oldest, tail) = (u32_at(&ring, wire::OLDEST), u32_at(&ring, wire::TAIL));
    let again = recover(&region, Checkpoint { position: oldest, seq: None }, Bound::Longest)
        .expect("a ring");
    assert!(again.end.wrapping_sub(oldest) <= layout.capacity);
    kept.retain(|(record, _)| record.position.wrapping_sub(oldest) < tail.wrapping_sub(oldest));
    assert_eq!(again.end, tail, "a second recovery ends at the tail: {again:?}");
    assert_eq!(again.records, kept.len() as u64);
    let from_scan: Vec<Record> = scan(region)
        .expect("a ring")
        .filter_map(|item| match item {
            Item::Record(record) => Some(record),
            Item::Padding { .. } => None,
            Item::Damage { .. } | Item::Payload { .. } => panic!("{item:?}"),
        })
        .collect();
    assert!(from_scan.iter().eq(kept.iter().map(|(record, _)| record)));

    if gated {
        let mut reader =
            Reader::attach(region.read_only(), page.region()).expect("it was attached");
        let mut buffer = vec![0; layout.max_payload as usize];
        for (expected, payload) in &kept {
            assert_eq!(reader.next(&mut buffer), Ok(Next::Record(*expected)));
            assert_eq!(buffer[..payload.len()], **payload);
        }
        let closed = mode & 8 != 0;
        let end = reader.next(&mut buffer);
        assert_eq!(end, Ok(if closed { Next::Closed } else { Next::Empty }));
    }
}
