//! `inspect`: any bytes, as they are, as a core dump or as a journal's segment: the command's
//! report is made, and its JSON is JSON. Of a ring it counts the records, the padding and the
//! damaged places that `scan` finds, however the ring was changed.

use aqueduct::cli::inspect::{Fact, Report, examine};
use aqueduct::journal::format::{Durability, SegmentHeader};
use aqueduct_core::recovery::{Item, scan};

use crate::image::Image;
use crate::input::Input;
use crate::wire::{self, u32_at};

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % 4 {
        0 => {
            looked(input.rest());
        }
        1 => core_dump(input),
        2 => journal(input),
        _ => ring(input),
    }
}

fn looked(bytes: &[u8]) -> Report {
    let report = examine(&bytes, "fuzz");
    let value: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!(value["damaged"].as_u64(), Some(report.damages()));
    assert!(report.text().ends_with('\n'));
    report
}

/// A dump whose mappings are anything, with a ring in it.
fn core_dump(mut input: Input<'_>) {
    let mut dump = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0".to_vec();
    dump.extend(input.take(46));
    dump.extend(input.take(56 * 3));
    let image = Image::take(&mut input);
    dump.resize(dump.len().next_multiple_of(64), 0);
    dump.extend(&image.ring.bytes()[..image.ring_bytes]);
    dump.extend(&image.page.bytes()[..image.page_bytes]);
    dump.extend(input.rest());
    looked(&dump);
}

/// A segment of a journal whose records are those of a ring, and then anything.
fn journal(mut input: Input<'_>) {
    let image = Image::take(&mut input);
    let header = SegmentHeader {
        serial: 1,
        epoch: image.epoch,
        first_position: u64::from(image.positions[0]),
        first_seq: u64::from(input.u8() % 2),
        created_ns: input.u64(),
        boot: [0; 16],
        durability: Durability::Disk,
        capacity: image.capacity,
        clock_id: 0,
        ring: "fuzz".to_owned(),
    };
    let mut file = header.encode();
    file.extend(&image.ring.bytes()[image.data_offset.min(image.ring_bytes)..image.ring_bytes]);
    let rest = input.rest();
    for (byte, change) in file.iter_mut().rev().zip(rest) {
        *byte ^= change;
    }
    let report = looked(&file);
    assert_eq!(report.what, "journal segment");
}

fn ring(mut input: Input<'_>) {
    let image = Image::take(&mut input);
    let bytes = image.ring.bytes()[..image.ring_bytes].to_vec();
    let report = looked(&bytes);
    let Ok(items) = scan(image.ring.region_of(image.ring_bytes)) else { return };
    let published = u32_at(&bytes, wire::TAIL).wrapping_sub(u32_at(&bytes, wire::OLDEST));
    // What its header says, which an input may have changed with a CRC that is right.
    if published > u32_at(&bytes, wire::CAPACITY) {
        return;
    }
    assert_eq!(report.what, "ring");
    let (mut records, mut padding, mut payloads, mut stretches) = (0, 0, 0, 0);
    for item in items {
        match item {
            Item::Record(_) => records += 1,
            Item::Padding { .. } => padding += 1,
            Item::Payload { .. } => payloads += 1,
            Item::Damage { .. } => stretches += 1,
        }
    }
    let fact = |name: &str| {
        let found = report.facts.iter().find(|(given, _)| *given == name);
        match found.map(|(_, fact)| fact) {
            Some(Fact::Number(number)) => *number,
            other => panic!("{name}: {other:?}"),
        }
    };
    let count = |is_it: &dyn Fn(&str) -> bool| {
        let found = report.damage.iter().filter(|it| it.position.is_some() && is_it(it.kind));
        found.count() as u64
    };
    let is_stretch = |kind: &str| !["payload", "sequence", "attributes"].contains(&kind);
    assert_eq!((fact("records"), fact("padding")), (records, padding));
    assert_eq!((count(&|kind| kind == "payload"), count(&is_stretch)), (payloads, stretches));
}
