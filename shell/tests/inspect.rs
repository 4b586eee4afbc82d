//! `aqueduct inspect`: whole and damaged rings, journals and core dumps.
#![cfg(feature = "look")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use aqueduct::cli::inspect::{Damage, Report, examine};
use aqueduct_core::attributes::AttributeBlock;
use aqueduct_core::memory::HeapSegment;
use aqueduct_core::{Memory, Meta, Producer, Region, RingConfig};
use common::reader::Attached;
use common::{Ends, Scratch, Server, command};
use rustix::process::Signal;
use serde_json::Value;

const EPOCH: u64 = 0x5eed_0123_4567_89ab;
/// The data area of the rings made here begins there.
const DATA: usize = 4096;
/// Its size.
const CAPACITY: usize = 2048;
/// Payload of record `seq`.
fn payload(seq: u64) -> Vec<u8> {
    (0..20 + seq * 7 % 60).map(|byte| (byte + seq) as u8 | 1).collect()
}

/// A ring with twelve records, 0 to 11, nothing overwritten, as bytes.
fn ring() -> Vec<u8> {
    ring_of(12)
}

fn ring_of(records: u64) -> Vec<u8> {
    let segment = HeapSegment::new(DATA + CAPACITY);
    let mut config = RingConfig::new("orders", EPOCH, CAPACITY);
    config.data_offset_bytes = DATA as u32;
    let mut producer: Producer<Region> =
        Producer::create(segment.region(), &config).expect("a ring");
    for seq in 0..records {
        let meta = Meta { type_tag: 7, timestamp_ns: 1_795_946_400_000_000_000 + seq };
        let pushed = if seq == 3 {
            let mut room = [0; 64];
            let attributes = AttributeBlock::write([("a", &b"b"[..])], &mut room).expect("fits");
            producer.push_with(meta, &payload(seq), attributes)
        } else {
            producer.push(meta, &payload(seq))
        };
        let _ = pushed.expect("there is room");
    }
    let mut bytes = vec![0; DATA + CAPACITY];
    segment.region().read(0, &mut bytes);
    bytes
}

/// Where record `seq` of `ring()` begins, bytes.
fn at(seq: u64) -> usize {
    let granules = |seq: u64| {
        let block = if seq == 3 { 16 } else { 0 };
        1 + (payload(seq).len() + block).div_ceil(32)
    };
    DATA + 32 * (0..seq).map(granules).sum::<usize>()
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

fn looked(bytes: &[u8]) -> Report {
    let report = examine(&bytes, "test");
    // Both forms are made of it without a fault, and the second is JSON.
    assert!(!report.text().is_empty());
    serde_json::from_str::<Value>(&report.json()).expect("JSON");
    report
}

fn all(report: &Report) -> Vec<&Damage> {
    let mut damage: Vec<&Damage> = report.damage.iter().collect();
    damage.extend(report.parts.iter().flat_map(all));
    damage
}

fn fact(report: &Report, name: &str) -> String {
    let found = report.facts.iter().find(|(given, _)| *given == name);
    format!("{:?}", found.unwrap_or_else(|| panic!("{name} not in {report:?}")).1)
}

/// Damages bytes.
type Flaw = fn(&mut Vec<u8>);
/// Damages a file, with what it has of its own.
type Act<'a> = Box<dyn Fn() + 'a>;
/// Damages bytes, with what it has of its own.
type Damaging = Box<dyn Fn(&mut Vec<u8>)>;

/// What a way of damage must lead to: kind, offset or 0, records, words in the text.
type Expected = (&'static str, usize, Option<(u64, u64)>, &'static str);

#[test]
fn a_whole_ring_is_whole_also_when_it_went_round_and_was_closed() {
    for records in [0, 1, 12] {
        let report = looked(&ring_of(records));
        assert_eq!((report.what, report.damages()), ("ring", 0), "{records}: {}", report.text());
        assert_eq!(fact(&report, "records"), format!("Number({records})"));
        assert_eq!(fact(&report, "name"), "Text(\"orders\")");
    }
    let segment = HeapSegment::new(256 + 1024);
    let config = RingConfig::new("round", EPOCH, 1024);
    let mut producer: Producer<Region> =
        Producer::create(segment.region(), &config).expect("a ring");
    for seq in 0..500 {
        let _ = producer.push(Meta::default(), &payload(seq)).expect("nobody is waited for");
    }
    let _ = producer.close();
    let mut bytes = vec![0; 256 + 1024];
    segment.region().read(0, &mut bytes);
    let report = looked(&bytes);
    assert_eq!(report.damages(), 0, "{}", report.text());
    assert_eq!(fact(&report, "last_seq"), "Number(499)");
    assert_eq!(fact(&report, "state"), "Text(\"closed\")");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn each_way_of_damage_to_a_ring_is_named_with_its_place() {
    let cases: Vec<(&str, Flaw, Expected)> = vec![
        ("a byte of the magic", |ring| ring[3] = b'?', ("magic", 0, None, "AQU?DUCT")),
        ("the whole magic", |ring| ring[..8].fill(0), ("magic", 0, None, "not \"AQUEDUCT\"")),
        ("a bit of the epoch", |ring| ring[17] ^= 4, ("header", 17, None, "in epoch")),
        ("a bit of the capacity", |ring| ring[33] ^= 1, ("header", 33, None, "in capacity")),
        ("a bit of the offset", |ring| ring[13] ^= 2, ("header", 13, None, "in data_offset")),
        ("a bit of the name", |ring| ring[50] ^= 0x20, ("header", 50, None, "in name")),
        (
            "a bit of the header's CRC",
            |ring| ring[125] ^= 8,
            ("header", 125, None, "in header_crc"),
        ),
        ("two bytes of the name", |ring| ring[48..50].fill(b'?'), ("header", 0, None, "stored")),
        ("an impossible capacity", |ring| put(ring, 32, 77), ("header", 0, None, "stored")),
        ("another major version", |ring| ring[8] ^= 3, ("header", 0, None, "stored")),
        ("the state", |ring| ring[196] = 9, ("state", 196, None, "the state is 9")),
        (
            "a tail far away",
            |ring| put(ring, 128, 1 << 20),
            ("words", 128, None, "`tail` is wrong"),
        ),
        (
            "an oldest far away",
            |ring| put(ring, 192, 1 << 20),
            ("words", 192, None, "`oldest` is wrong"),
        ),
        (
            "an oldest inside a record",
            |ring| put(ring, 192, 1),
            ("oldest", DATA + 32, None, "inside record 0"),
        ),
        (
            "a tail inside a record",
            |ring| put(ring, 128, (at(11) - DATA) as u32 / 32 + 1),
            ("length", at(11), Some((11, 11)), "lead past `tail`"),
        ),
        (
            "a tail that is too late",
            |ring| put(ring, 128, (at(12) - DATA) as u32 / 32 + 2),
            ("blank", at(12), None, "zeros"),
        ),
        ("next_seq", |ring| put(ring, 132, 99), ("next_seq", 132, None, "99 comes next")),
        (
            "a bit of a record's number",
            |ring| ring[at(5) + 8] ^= 0x40,
            ("record_header", at(5), Some((5, 5)), "in seq"),
        ),
        (
            "a bit of a record's length",
            |ring| ring[at(5)] ^= 0x10,
            ("record_header", at(5), Some((5, 5)), "in len"),
        ),
        (
            "a bit of a record's kind",
            |ring| ring[at(0) + 4] ^= 2,
            ("record_header", at(0), None, "in kind"),
        ),
        (
            "a bit of a record's time",
            |ring| ring[at(6) + 20] ^= 2,
            ("record_header", at(6), Some((6, 6)), "in timestamp_ns"),
        ),
        (
            "a bit of a record's header CRC",
            |ring| ring[at(6) + 30] ^= 2,
            ("record_header", at(6), Some((6, 6)), "in header_crc"),
        ),
        (
            "a byte of a record's header",
            |ring| ring[at(4) + 6] ^= 0xFF,
            ("record_header", at(4), Some((4, 4)), "CRC"),
        ),
        (
            "a header of zeros",
            |ring| ring[at(2)..at(2) + 32].fill(0),
            ("blank", at(2), Some((2, 2)), "zeros where a record should begin"),
        ),
        (
            "three records of zeros",
            |ring| ring[at(2)..at(5)].fill(0),
            ("blank", at(2), Some((2, 4)), "zeros"),
        ),
        ("everything of zeros", |ring| ring[at(0)..].fill(0), ("blank", at(0), None, "zeros")),
        (
            "a bit of a payload",
            |ring| ring[at(7) + 32 + 5] ^= 0x80,
            ("payload", at(7) + 32 + 5, Some((7, 7)), "bit 7 of its byte 5"),
        ),
        (
            "two bytes of a payload",
            |ring| {
                ring[at(7) + 33] ^= 0x81;
                ring[at(7) + 40] ^= 0x81;
            },
            ("payload", at(7), Some((7, 7)), "CRC"),
        ),
        (
            "a record copied over another",
            |ring| ring.copy_within(at(1)..at(1) + 32, at(8)),
            ("record_header", at(8), Some((8, 8)), "CRC"),
        ),
        (
            "the file cut off",
            |ring| ring.truncate(at(10)),
            ("truncated", at(10), None, "it ends after"),
        ),
        ("the file cut off in the header", |ring| ring.truncate(100), ("header", 0, None, "CRC")),
        (
            "a stretch of noise",
            |ring| {
                let mut noise = 0x1234_5678_u32;
                for byte in &mut ring[at(3)..at(9) - 1] {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *byte = (noise >> 24) as u8;
                }
            },
            ("record_header", at(3), Some((3, 8)), "no record begins in"),
        ),
    ];
    assert!(cases.len() >= 30);
    for (what, damage, (kind, offset, records, words)) in cases {
        let mut bytes = ring();
        damage(&mut bytes);
        let report = looked(&bytes);
        let found = all(&report);
        let is_named = found.iter().any(|damage| {
            damage.kind == kind
                && damage.offset == Some(offset as u64)
                && damage.text.contains(words)
                && (records.is_none() || damage.records == records)
        });
        assert!(is_named, "{what}: {kind} at {offset:#x} {records:?} {words}:\n{}", report.text());
        // The records that are whole are found all the same.
        if ["blank", "record_header", "payload"].contains(&kind) && what != "everything of zeros" {
            let missing = records.map_or(1, |(first, last)| last - first + 1);
            let missing = if what == "a tail that is too late" { 0 } else { missing };
            assert_eq!(fact(&report, "records"), format!("Number({})", 12 - missing), "{what}");
        }
    }
}

#[test]
fn records_past_the_tail_are_said_to_be_there_and_are_no_damage() {
    let mut bytes = ring();
    put(&mut bytes, 128, (at(9) - DATA) as u32 / 32);
    let report = looked(&bytes);
    assert_eq!(report.damages(), 0, "{}", report.text());
    assert!(report.notes.iter().any(|note| note.starts_with("records from 9 on")), "{report:?}");
}

#[test]
fn no_single_bit_of_a_ring_is_wrong_without_being_named() {
    let whole = ring();
    for at in (0..128).chain(DATA..at(12)) {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            let report = looked(&bytes);
            // Padding after a payload means nothing.
            let is_padding = at >= DATA && {
                let start = (0..12).rev().find(|&seq| self::at(seq) <= at).expect("a record");
                let block = if start == 3 { 16 } else { 0 };
                at >= self::at(start) + 32 + payload(start).len() + block
            };
            assert_eq!(report.damages() > 0, !is_padding, "{at} {bit}:\n{}", report.text());
        }
    }
}

/// A core dump as Linux writes it: a note, then mappings by address.
fn core_dump(mappings: &[(u64, &[u8])]) -> Vec<u8> {
    let number = |bytes: &mut Vec<u8>, number: u64| bytes.extend(number.to_le_bytes());
    let mut dump = b"\x7fELF\x02\x01\x01".to_vec();
    dump.resize(16, 0);
    dump.extend([4, 0, 62, 0, 1, 0, 0, 0]);
    number(&mut dump, 0);
    number(&mut dump, 64);
    number(&mut dump, 0);
    dump.extend([0, 0, 0, 0, 64, 0, 56, 0, mappings.len() as u8 + 1, 0, 0, 0, 0, 0, 0, 0]);
    let mut offset = 4096_u64;
    dump.extend([4, 0, 0, 0, 4, 0, 0, 0]);
    for field in [512, 0, 0, 16, 0, 4] {
        number(&mut dump, field);
    }
    for (address, bytes) in mappings {
        dump.extend([1, 0, 0, 0, 6, 0, 0, 0]);
        let len = bytes.len() as u64;
        for field in [offset, *address, 0, len, len, 4096] {
            number(&mut dump, field);
        }
        offset += len.next_multiple_of(4096);
    }
    dump.resize(4096, 0);
    for (_, bytes) in mappings {
        dump.extend_from_slice(bytes);
        dump.resize(dump.len().next_multiple_of(4096), 0);
    }
    dump
}

const HEAP: u64 = 0x5555_0000_0000;
const MAPPED: u64 = 0x7f00_0000_0000;

/// The identity of a cursor segment, and its cursor.
fn cursor(position: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[..8].copy_from_slice(b"AQDCURSR");
    bytes[8] = 1;
    bytes[16..24].copy_from_slice(&EPOCH.to_le_bytes());
    bytes[24..31].copy_from_slice(b"pricing");
    let crc = aqueduct_core::payload_crc(&bytes[..60]);
    put(&mut bytes, 60, crc);
    put(&mut bytes, 64, position);
    bytes
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn rings_and_cursors_are_found_in_core_dumps_however_they_are_damaged() {
    let mut heap = vec![0xAA; 8192];
    // A program has the magic among its constants, too.
    heap[128..136].copy_from_slice(b"AQUEDUCT");
    let whole = core_dump(&[(HEAP, &heap), (MAPPED, &ring()), (MAPPED + 0x10_0000, &cursor(3))]);
    let report = looked(&whole);
    assert_eq!((report.what, report.damages()), ("core dump", 0), "{}", report.text());
    let places: Vec<&str> = report.parts.iter().map(|part| &*part.place).collect();
    assert_eq!(places, ["address 0x7f0000000000", "address 0x7f0000100000"]);
    assert_eq!(fact(&report.parts[1], "subscription"), "Text(\"pricing\")");

    let ring_at = 4096 + 8192;
    let cases: Vec<(&str, Damaging, &str, usize)> = vec![
        ("ring magic", Box::new(move |dump| dump[ring_at] = 0), "magic", ring_at),
        ("ring epoch", Box::new(move |dump| dump[ring_at + 16] ^= 1), "header", ring_at + 16),
        (
            "record payload",
            Box::new(move |dump| dump[ring_at + at(2) + 32] ^= 1),
            "payload",
            ring_at + at(2) + 32,
        ),
        (
            "record header",
            Box::new(move |dump| dump[ring_at + at(2) + 8] ^= 1),
            "record_header",
            ring_at + at(2),
        ),
        (
            "a page that was not dumped",
            Box::new(move |dump| dump[ring_at + DATA..][..1024].fill(0)),
            "blank",
            ring_at + DATA,
        ),
        (
            "ring tail",
            Box::new(move |dump| put(dump, ring_at + 128, 5_000_000)),
            "words",
            ring_at + 128,
        ),
        (
            "cursor out of range",
            Box::new(|dump| {
                let at = dump.len() - 4096 + 64;
                put(dump, at, 77_777);
            }),
            "cursor",
            ring_at + 8192 + 64,
        ),
        (
            "cursor identity",
            Box::new(|dump| {
                let at = dump.len() - 4096 + 30;
                dump[at] ^= 1;
            }),
            "identity",
            ring_at + 8192 + 30,
        ),
        (
            "cursor magic",
            Box::new(|dump| {
                let at = dump.len() - 4096;
                dump[at] ^= 1;
            }),
            "magic",
            ring_at + 8192,
        ),
        (
            "waiting",
            Box::new(|dump| {
                let at = dump.len() - 4096 + 128;
                dump[at] = 3;
            }),
            "waiting",
            ring_at + 8192 + 128,
        ),
        (
            "the dump cut off in the ring",
            Box::new(move |dump| dump.truncate(ring_at + at(6))),
            "truncated",
            ring_at + at(6),
        ),
        ("the table cut off", Box::new(|dump| dump.truncate(150)), "truncated", 150),
        ("the table's entries", Box::new(|dump| dump[54] = 3), "elf", 54),
        ("32 bits", Box::new(|dump| dump[4] = 1), "elf", 4),
        ("big-endian", Box::new(|dump| dump[5] = 2), "elf", 4),
    ];
    for (what, damage, kind, offset) in &cases {
        let mut dump = whole.clone();
        damage(&mut dump);
        let report = looked(&dump);
        let is_named = all(&report)
            .iter()
            .any(|found| found.kind == *kind && found.offset == Some(*offset as u64));
        assert!(is_named, "{what}: {kind} at {offset:#x}:\n{}", report.text());
    }
    // Without the table it is still bytes in which rings are found.
    let mut dump = whole;
    dump[..4].fill(0);
    assert_eq!(looked(&dump).parts.len(), 2, "by their magics");
}

fn inspect(arguments: &[&str]) -> (Output, Value) {
    let output = command().arg("inspect").args(arguments).args(["--format", "json"]).ended();
    let output = output.expect("it ends");
    let value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, value)
}

#[test]
fn a_live_ring_is_looked_at_over_its_socket_and_through_proc() {
    let server = Server::start(&["--capacity-bytes", "64KiB"]);
    let _reader = Attached::attach(&server.socket, "", "");
    for _ in 0..5 {
        assert_eq!(server.post("default", b"payload").status, 202);
    }
    let (output, report) = inspect(&[server.socket.to_str().expect("ASCII")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((&report["what"], &report["facts"]["records"]), (&"ring".into(), &5.into()));
    let (output, report) = inspect(&["--pid", &server.pid().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let parts = report["parts"].as_array().expect("parts");
    let whats: Vec<&Value> = parts.iter().map(|part| &part["what"]).collect();
    assert_eq!(whats, ["ring", "cursor segment"], "{report}");
    assert_eq!(parts[1]["facts"]["behind_bytes"], 320, "{report}");
    let descriptor = parts[0]["place"].as_str().expect("a path");
    assert!(descriptor.starts_with("/proc/"), "{descriptor}");
    let (output, report) = inspect(&[descriptor]);
    assert_eq!((output.status.code(), &report["facts"]["records"]), (Some(0), &5.into()));
    let (output, _) = inspect(&["/dev/null"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let (output, report) = inspect(&["/proc/self/exe"]);
    assert_eq!((output.status.code(), &report["what"]), (Some(3), &"unknown".into()));
}

#[test]
fn the_holes_of_a_file_that_is_mostly_holes_cost_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("image");
    let file = std::fs::File::create(&path).expect("made");
    // As much as nobody reads in the time of a test.
    file.set_len(4 << 40).expect("a sparse file");
    let at = (3_u64 << 40) + 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &ring(), at).expect("written");
    let (output, report) = inspect(&[path.to_str().expect("ASCII")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = report.to_string();
    assert!(text.contains(&format!("byte {at:#x}")) && text.contains("orders"), "{text}");
}

#[test]
fn a_ring_that_is_being_written_is_not_taken_for_damaged() {
    let server = Server::start(&["--capacity-bytes", "8192", "--max-payload-bytes", "1024"]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let mut clients = server.connect();
    let post = common::record("default", "", &[7; 300]);
    let socket = server.socket.to_str().expect("ASCII").to_owned();
    let looking = std::thread::spawn(move || {
        for _ in 0..20 {
            let (output, report) = inspect(&[&socket]);
            assert_eq!(output.status.code(), Some(0), "{report}");
        }
    });
    let mut laps = 0;
    while !looking.is_finished() {
        for _ in 0..20 {
            std::io::Write::write_all(&mut clients, &post).expect("sent");
            assert_eq!(common::Response::read(&mut clients).status, 202);
            assert!(reader.next().is_some());
            reader.release();
        }
        laps += 1;
    }
    looking.join().expect("never damaged");
    assert!(laps > 1, "nothing was overwritten meanwhile");
}

#[test]
fn a_real_core_dump_of_the_listener_has_its_ring() {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim_end();
    if pattern.starts_with(['|', '/']) || pattern.contains('%') {
        eprintln!("cores go elsewhere here: {pattern}");
        return;
    }
    let cwd = Scratch::new();
    let unlimited = rustix::process::Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
    let limited = rustix::process::getrlimit(rustix::process::Resource::Core);
    if limited.maximum.is_some_and(|most| most < 1 << 30) {
        eprintln!("no core files may be written here");
        return;
    }
    rustix::process::setrlimit(rustix::process::Resource::Core, unlimited).expect("allowed");
    let directory = cwd.path("");
    let prepare = |command: &mut Command| {
        command.current_dir(&directory);
    };
    let mut server = Server::start_under(&["--capacity-bytes", "64KiB"], prepare);
    for _ in 0..5 {
        assert_eq!(server.post("default", b"payload").status, 202);
    }
    server.signal(Signal::ABORT);
    let _ = server.wait();
    let name = |entry: std::fs::DirEntry| entry.path();
    let files = std::fs::read_dir(&directory).expect("a directory").filter_map(Result::ok);
    let core = files.map(name).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(pattern))
    });
    let core = core.unwrap_or_else(|| panic!("no core in {}", directory.display()));
    let (output, report) = inspect(&[core.to_str().expect("ASCII")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let rings: Vec<&Value> = report["parts"].as_array().expect("parts").iter().collect();
    assert!(rings.iter().any(|ring| ring["facts"]["records"] == 5), "{report}");
}

#[test]
fn one_wrong_bit_of_a_segment_is_named_with_its_field_in_a_directory_and_alone() {
    let scratch = Scratch::new();
    let directory = journal(&scratch);
    let first = directory.join("0000000000000001.segment");
    let whole = std::fs::read(&first).expect("a segment");
    let count = fact(&looked(&whole), "records");
    let records = (10..20_u64).find(|records| count == format!("Number({records})"));
    let records = records.expect("what fits into a MiB");
    let fields = [
        (3, "magic"),
        (9, "in version"),
        (12, "in durability"),
        (17, "in serial"),
        (30, "in epoch"),
        (33, "in first_position"),
        (41, "in first_seq"),
        (50, "in created_ns"),
        (60, "in boot"),
        (73, "in capacity"),
        (78, "in clock_id"),
        (81, "in ring"),
        (150, "in reserved bytes"),
        (190, "in header_crc"),
        (4096, "in len"),
        (4096 + 9, "in seq"),
        (4096 + 17, "in timestamp_ns"),
        (4096 + 29, "in header_crc"),
        (4096 + 32 + 777, "bit 2 of byte 777 of its payload"),
    ];
    for (at, words) in fields {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&first, &bytes).expect("written");
        let report = looked(&bytes);
        assert_eq!(report.what, "journal segment", "{at}");
        let found = all(&report);
        assert!(found.len() == 1 && found[0].text.contains(words), "{at}: {}", report.text());
        let is_header = at < 4096;
        let records = if is_header { records } else { records - 1 };
        assert_eq!(fact(&report, "records"), format!("Number({records})"), "{at}");
        let (output, report) = inspect(&[directory.to_str().expect("ASCII")]);
        assert_eq!(output.status.code(), Some(1), "{at}");
        assert!(report.to_string().contains(words), "{at}: {report}");
    }
    // Two bits: only what is stored and what is computed.
    let mut bytes = whole;
    bytes[20] ^= 4;
    bytes[50] ^= 4;
    let report = looked(&bytes);
    assert_eq!((report.what, report.damages()), ("journal segment", 1));
    assert!(all(&report)[0].text.contains("is stored"), "{}", report.text());
}

/// A journal with two segments or more, and its directory.
fn journal(scratch: &Scratch) -> std::path::PathBuf {
    let directory = scratch.path("journal");
    let text = format!(
        "[journal]\ndirectory = \"{}\"\nsegment_bytes = \"1MiB\"\nretain_bytes = \"64MiB\"\nretain_ms = \"1h\"\n\
         [[ring]]\nname = \"default\"\ncapacity_bytes = \"1MiB\"\ndurability = \"process\"\n",
        directory.display()
    );
    let mut server = Server::with_file(&text, &[]);
    let mut reader = Attached::attach(&server.socket, "", "");
    let payload = vec![0xA5; 60_000];
    for _ in 0..24 {
        assert_eq!(server.post("default", &payload).status, 202);
        assert!(reader.next().is_some());
        reader.release();
    }
    server.terminate();
    let _ = server.wait();
    directory.join("default")
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_journal_is_looked_at_and_damage_named() {
    let scratch = Scratch::new();
    let directory = journal(&scratch);
    let path = directory.to_str().expect("ASCII");
    let (output, report) = inspect(&[path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(report["what"], "journal");
    let count = |report: &Value| -> u64 {
        let parts = report["parts"].as_array().expect("parts").iter();
        parts.filter_map(|part| part["facts"]["records"].as_u64()).sum()
    };
    assert_eq!(count(&report), 24, "{report}");
    let mut segments: Vec<_> = std::fs::read_dir(&directory)
        .expect("a directory")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    assert!(segments.len() >= 2, "{segments:?}");
    let (first, cursors) = (segments[0].clone(), directory.join("cursors"));
    let last = segments.last().expect("two or more");
    let over = |path: &Path, at: usize, with: &[u8]| {
        let mut bytes = std::fs::read(path).expect("a file");
        bytes[at..at + with.len()].copy_from_slice(with);
        std::fs::write(path, bytes).expect("written");
    };
    let cases: Vec<(&str, Act<'_>, &str)> = vec![
        ("segment magic", Box::new(|| over(&first, 0, b"x")), "header"),
        ("segment epoch", Box::new(|| over(&first, 24, b"xxxx")), "header"),
        ("first record", Box::new(|| over(&first, 4096, b"xxxx")), "record_header"),
        ("payload", Box::new(|| over(&first, 4096 + 40, b"xxxx")), "payload"),
        ("record", Box::new(|| over(&first, 4096 + 60_032, &vec![0; 60_032])), "blank"),
        ("segment empty", Box::new(|| std::fs::write(&first, b"").expect("written")), "header"),
        (
            "segment cut off",
            Box::new(|| {
                let bytes = std::fs::read(&first).expect("a file");
                std::fs::write(&first, &bytes[..300_000]).expect("written");
            }),
            "length",
        ),
        (
            "segment under another's name",
            Box::new(|| {
                std::fs::copy(&segments[1], &first).expect("copied");
            }),
            "segment",
        ),
        (
            "both copies of the cursors",
            Box::new(|| std::fs::write(&cursors, vec![1; 8192]).expect("written")),
            "cursors",
        ),
        ("no cursors", Box::new(|| std::fs::remove_file(&cursors).expect("removed")), "cursors"),
        ("no last segment", Box::new(|| std::fs::remove_file(last).expect("removed")), "missing"),
        (
            "no segment",
            Box::new(|| {
                for path in &segments {
                    std::fs::remove_file(path).expect("removed");
                }
            }),
            "missing",
        ),
        (
            "last segment cut off",
            Box::new(|| {
                let bytes = std::fs::read(last).expect("a file");
                std::fs::write(last, &bytes[..4096 + 2 * 60_032 + 8192]).expect("written");
            }),
            "missing",
        ),
    ];
    let kept: Vec<(std::path::PathBuf, Vec<u8>)> = segments
        .iter()
        .chain([&cursors])
        .map(|path| (path.clone(), std::fs::read(path).expect("a file")))
        .collect();
    for (what, damage, kind) in &cases {
        damage();
        let (output, report) = inspect(&[path]);
        assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
        let text = report.to_string();
        assert!(text.contains(&format!("\"kind\":\"{kind}\"")), "{what}: {kind}: {text}");
        if *kind == "missing" {
            assert!(text.contains("23 are missing, which the cursors say"), "{what}: {text}");
            assert!(!text.contains("never answered"), "{what}: {text}");
        }
        for (path, bytes) in &kept {
            std::fs::write(path, bytes).expect("written");
        }
    }
    // Files alone.
    let (output, report) = inspect(&[first.to_str().expect("ASCII")]);
    assert_eq!((output.status.code(), &report["what"]), (Some(0), &"journal segment".into()));
    let (output, report) = inspect(&[cursors.to_str().expect("ASCII")]);
    assert_eq!((output.status.code(), &report["what"]), (Some(0), &"journal cursors".into()));
    over(&first, 4096 + 40, b"xxxx");
    let (output, report) = inspect(&[first.to_str().expect("ASCII")]);
    assert_eq!((output.status.code(), &report["damage"][0]["kind"]), (Some(1), &"payload".into()));
    // The directory above.
    let above = directory.parent().and_then(Path::to_str).expect("ASCII");
    let (_, report) = inspect(&[above]);
    assert_eq!(report["parts"][0]["what"], "journal");
}
