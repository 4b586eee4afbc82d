//! What the parts of a journal say and do by themselves.

use std::io;

use aqueduct_core::HeaderCrc;

use super::sim::{Fault, Random, Sim, State};
use super::story::{self, BOOT, Life, Oracle, facts};
use super::three_segments;
use crate::journal::cursors;
use crate::journal::files::{Files, read_at, write_at};
use crate::journal::format::{
    BadBlock, Cursors, Durability, GRANULE, HEADER_BYTES, SegmentHeader, segment_name,
};
use crate::journal::log::{self, Failure};
use crate::journal::recover::{Damage, OpenError, Opened};
use crate::journal::stretch::Places;
use crate::journal::walk::Cut;

fn open(sim: &Sim) -> Opened<Sim> {
    Opened::open(sim.clone(), facts(Durability::Disk)).unwrap_or_else(|error| panic!("{error}"))
}

fn life(sim: &Sim, epoch: u64) -> Life {
    Life::start(sim, Durability::Disk, BOOT, epoch, &mut Oracle::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn fails(sim: &Sim, after: usize, errno: i32) {
    sim.fail(Fault { call: sim.calls().len() + after, errno, short: false });
}

#[test]
fn an_interruption_is_tried_again_and_an_error_is_told() {
    let mut state = State::default();
    state.put("x", b"bytes".to_vec());
    let sim = Sim::of(state);
    let file = sim.open("x").expect("there");
    for (errno, is_told) in [(libc::EINTR, false), (libc::EIO, true)] {
        fails(&sim, 0, errno);
        assert_eq!(read_at(&file, &mut [0; 5], 0).is_err(), is_told);
        fails(&sim, 0, errno);
        assert_eq!(write_at(&file, b"b", 0).is_err(), is_told);
    }
}

#[test]
fn what_a_journal_says_to_people_names_the_place_and_what_is_there() {
    let crc = HeaderCrc { stored: 0x1a, computed: 0x2b };
    let crcs = "CRC 0x0000001a stored, 0x0000002b computed";
    let payload = Cut::Payload { seq: 7, bytes: 9, stored: 0x1a, computed: 0x2b };
    for (cut, said) in [
        (Cut::None, "whole".to_owned()),
        (Cut::Blank, "nothing was written there".to_owned()),
        (Cut::Header(crc), format!("no record header: {crcs}")),
        (
            Cut::Length { bytes: 12 },
            "a record of 12 bytes that leads out of the segment".to_owned(),
        ),
        (payload, format!("record 7 is damaged: {crcs}")),
        (Cut::Sequence { expected: 3, found: 5 }, "record 5 where 3 should follow".to_owned()),
    ] {
        assert_eq!(cut.to_string(), said);
    }
    let damaged = BadBlock::Crc { stored: 0x1a, computed: 0x2b };
    for (block, said) in [
        (BadBlock::Foreign, "not a file of a journal"),
        (BadBlock::Newer { version: 2 }, "format 2 is newer than 1, which this program knows"),
        (damaged, "damaged: CRC 0x0000001a is stored, 0x0000002b computed"),
        (BadBlock::Content, "its values are not possible"),
    ] {
        assert_eq!(block.to_string(), said);
    }
    let failure = Failure::of("syncing", "f")(io::Error::other("gone"));
    for (error, said) in [
        (OpenError::Locked, "another process uses this journal"),
        (OpenError::Failed(failure), "syncing f: gone"),
        (OpenError::Newer { name: "f".to_owned(), version: 2 }, "f: format 2 is newer than 1, "),
        (OpenError::OtherRing { ring: "r".to_owned() }, "this is the journal of ring r"),
    ] {
        assert!(error.to_string().starts_with(said), "{error}");
    }
    let segment = Damage::Segment { name: "f".to_owned(), why: BadBlock::Foreign };
    let cut = Cut::Blank;
    for (damage, said, missing) in [
        (segment, "f: not a file of a journal", None),
        (
            Damage::Records { position: 4, cut, first: Some(2), next: Some(5) },
            "at position 4: nothing was written there; missing from record 2 on; record 5 is the \
             next that is intact",
            Some(3),
        ),
        (
            Damage::Records { position: 4, cut, first: None, next: None },
            "at position 4: nothing was written there; no intact record follows",
            None,
        ),
        (
            Damage::End { position: 4, cut, first: Some(2), next_seq: Some(3) },
            "at position 4: nothing was written there; record 2 is missing, which the cursors say \
             was published",
            Some(1),
        ),
        (
            Damage::End { position: 4, cut, first: Some(2), next_seq: None },
            "at position 4: nothing was written there; missing from record 2 on",
            None,
        ),
        (
            Damage::Gone { published: 9, next_seq: 3 },
            "no segment can be read; records 0 to 2 are missing, which the cursors say were \
             published, up to position 9",
            Some(3),
        ),
        (Damage::Cursors, "no copy of the cursors is intact", None),
    ] {
        assert_eq!((damage.to_string().as_str(), damage.missing_records()), (said, missing));
    }
}

#[test]
fn a_disk_that_is_full_is_told_from_one_that_fails() {
    for (errno, is_full) in [
        (libc::ENOSPC, true),
        (libc::EDQUOT, true),
        (libc::EFBIG, true),
        (libc::EIO, false),
        (libc::EROFS, false),
    ] {
        let error = io::Error::from_raw_os_error(errno);
        assert_eq!(Failure::of("writing", "f")(error).is_out_of_space(), is_full, "{errno}");
        // A start waits for space, and for nothing else.
        let sim = Sim::of(three_segments());
        let opened = open(&sim);
        assert!(!opened.is_new());
        fails(&sim, 1, errno);
        let begun = opened.go_on(0).map(|journal| journal.log.waits_for().is_some());
        assert_eq!(begun.ok(), is_full.then_some(true), "{errno}");
    }
    assert!(open(&Sim::default()).is_new());
}

/// How many segments there are, and up to where may be appended.
fn room(life: &Life) -> (usize, u64) {
    (life.journal.log.segments().len(), life.journal.log.limit())
}

#[test]
fn a_segment_is_filled_to_its_last_granule_and_the_next_one_begins_there() {
    for (batches, segments) in [(&[30, 2][..], 1), (&[30, 3], 2), (&[32, 1], 2), (&[31, 1, 1], 2)] {
        let sim = Sim::default();
        let mut life = life(&sim, 5);
        assert_eq!((room(&life), life.journal.log.epoch()), ((1, 32), 5));
        assert!(life.journal.log.needs_segment());
        for granules in batches {
            life.journal.log.append(&vec![1; granules * 32], 0, 0).expect("no faults");
        }
        assert_eq!(room(&life).0, segments, "{batches:?}");
        assert_eq!(life.journal.log.written(), batches.iter().sum::<usize>() as u64);
        for serial in 1..=segments as u64 {
            // Blocks ahead are written within it.
            let bytes = sim.state().get(&segment_name(serial));
            assert_eq!(bytes.len(), HEADER_BYTES + 32 * 32);
            let first = if serial == 1 {
                0
            } else {
                life.journal.log.segments()[1]
                    .header
                    .as_ref()
                    .map_or(0, |header| header.first_position)
            };
            let used = (life.journal.log.written() - first).min(32) as usize * 32;
            let (used, rest) = bytes[HEADER_BYTES..].split_at(used);
            let is_last = serial == segments as u64;
            assert!(
                !is_last
                    || used.iter().all(|&byte| byte == 1) && rest.iter().all(|&byte| byte == 0)
            );
        }
    }
}

#[test]
fn a_spare_segment_is_used_when_the_last_one_is_full_and_none_is_wanted_meanwhile() {
    let sim = Sim::default();
    let mut life = life(&sim, 1);
    let spare = log::prepare(&sim, life.journal.log.facts()).expect("no faults");
    life.journal.log.spare(spare);
    assert!(!life.journal.log.needs_segment());
    assert_eq!(life.journal.log.limit(), u64::MAX);
    let before = sim.calls().len();
    life.journal.log.append(&[1; 33 * 32], 0, 0).expect("no faults");
    assert!(!sim.calls()[before..].contains(&"create"), "it was there");
    assert!(life.journal.log.needs_segment());
    assert_eq!(room(&life), (2, 32));
}

#[test]
fn the_first_failure_stays_and_names_the_file() {
    let sim = Sim::default();
    let mut life = life(&sim, 1);
    assert!(life.journal.log.failure().is_none());
    life.journal.log.check_linked().expect("it is there");
    sim.unlink(&segment_name(1)).expect("there");
    let said = life.journal.log.check_linked().expect_err("it is gone").to_string();
    assert_eq!(said, format!("looking for {}: it was removed by another program", segment_name(1)));
    assert_eq!(life.journal.log.failure().map(ToString::to_string).as_ref(), Some(&said));
    assert_eq!(
        life.journal.log.append(&[1; 32], 0, 0).map_err(|error| error.to_string()),
        Err(said)
    );
    assert!(!life.journal.log.needs_segment(), "nothing is written any more");
}

#[test]
fn segments_that_everyone_has_released_are_removed_and_counted() {
    // Without space for one of its own, too.
    for is_full in [false, true] {
        let sim = Sim::of(three_segments());
        let opened = open(&sim);
        if is_full {
            fails(&sim, 1, libc::ENOSPC);
        }
        let mut journal = opened.go_on(0).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(journal.log.waits_for().is_some(), is_full);
        let mut save = |at: u64| {
            let positions = vec![("a".to_owned(), at), ("b".to_owned(), 21)];
            let (epoch, lagging) = (1, Vec::new());
            let cursors =
                Cursors { epoch, published: 21, next_seq: 6, is_end: false, positions, lagging };
            journal.cursors.write(&cursors).expect("no faults");
            journal.cursors.sync().expect("no faults");
            // Somebody has removed one; any other error is told.
            let _ = sim.unlink(&segment_name(1));
            let first = journal.log.segments()[0].serial;
            fails(&sim, 0, libc::EACCES);
            let refused = journal.log.retain(&journal.cursors, |_, _| true);
            sim.fail(Fault { call: usize::MAX, errno: 0, short: false });
            let removed = journal.log.retain(&journal.cursors, |_, _| true).expect("no faults");
            assert_eq!(refused.is_err(), removed > 0, "{first} at {at}");
            (removed, journal.log.segments()[0].serial)
        };
        // The first two have seven granules each.
        assert_eq!(save(6), (0, 1));
        assert_eq!(save(7), (1, 2));
        assert_eq!(save(13), (0, 2));
        assert_eq!(save(21), (if is_full { 1 } else { 2 }, if is_full { 3 } else { 4 }));
    }
}

#[test]
fn a_segment_under_another_name_is_damage() {
    let mut state = three_segments();
    let second = state.get(&segment_name(2));
    state.put(&segment_name(4), second);
    let past = open(&Sim::of(state)).past.expect("records");
    let why = BadBlock::Content;
    assert_eq!(past.damage, [Damage::Segment { name: segment_name(4), why }]);
    assert!(!past.may_go_on, "it may have held anything");
}

#[test]
fn an_end_in_order_lets_another_boot_go_on_in_the_epoch() {
    for is_saved in [true, false] {
        let (sim, mut oracle) = (Sim::default(), Oracle::default());
        let life = Life::start(&sim, Durability::Process, BOOT, 1, &mut oracle);
        let mut life = life.unwrap_or_else(|error| panic!("{error}"));
        let batch = life.append(&[40, 20], &mut Random(3), &mut oracle);
        if is_saved {
            life.commit(&batch, &mut oracle).expect("no faults");
        }
        life.end(&oracle).expect("no faults");
        if !is_saved {
            // After the end, which no journal does.
            life.commit(&batch, &mut oracle).expect("no faults");
        }
        drop(life);
        let other = log::Facts { boot: [8; 16], ..facts(Durability::Process) };
        let opened = Opened::open(Sim::of(sim.state().killed()), other);
        let past = opened.unwrap_or_else(|error| panic!("{error}")).past.expect("records");
        assert_eq!(past.may_go_on, is_saved);
    }
}

#[test]
fn an_epoch_begins_with_cursors_at_the_end_of_what_it_begins_with() {
    let sim = Sim::of(three_segments());
    let opened = open(&sim);
    let (records, next_seq) = story::renumbered(&story::records(&opened).expect("no faults"), 2);
    let granules = records.len() as u64 / GRANULE;
    let places = (vec![("a".to_owned(), 0)], Vec::new());
    let journal = opened.begin_epoch(2, None, (&records, next_seq), places, 0);
    let journal = journal.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(journal.log.written(), granules);
    let file = sim.open(cursors::NAME).expect("there");
    let copies = cursors::copies(&file).expect("no faults");
    let saved = copies.iter().flatten().find(|(saved, _)| saved.epoch == 2);
    let (saved, _) = saved.expect("saved");
    assert_eq!((saved.published, saved.next_seq, granules), (granules, 6, 21));
}

#[test]
fn what_is_copied_from_a_segment_comes_in_pieces_and_whole_or_not_at_all() {
    let header = SegmentHeader {
        serial: 1,
        epoch: 1,
        first_position: 100,
        first_seq: 0,
        created_ns: 0,
        boot: BOOT,
        durability: Durability::Disk,
        capacity: 1 << 16,
        clock_id: 0,
        ring: "ring".to_owned(),
    };
    let bytes: Vec<u8> = (0..600_u32 << 10).map(|n| (n % 251) as u8).collect();
    let mut state = State::default();
    state.put(&segment_name(1), [&header.encode()[..], &bytes].concat());
    let sim = Sim::of(state);
    let places = Places { files: &sim, epoch: 1, chain: std::slice::from_ref(&header) };
    let granules = bytes.len() as u64 / GRANULE;
    let (mut copied, mut pieces) = (Vec::new(), 0);
    let copy = places.copy((100, 100 + granules), |position, piece| {
        assert_eq!(position, 100 + copied.len() as u64 / GRANULE);
        pieces += 1;
        copied.extend_from_slice(piece);
    });
    copy.expect("no faults");
    assert!(copied == bytes && pieces == 3, "{pieces} pieces of {} bytes", copied.len());
    let short = places.copy((100, 101 + granules), |_, _| {}).expect_err("the file ends");
    assert_eq!(short.error.kind(), io::ErrorKind::UnexpectedEof);
}
