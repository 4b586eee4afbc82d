//! Golden image: the same configuration and the same pushes give the same bytes, today, tomorrow
//! and in C.
//!
//! `core/tests/golden/basic.ring` is a whole segment, `basic.cursor` the page of its reader,
//! `basic.expected` what a reader must deliver: one record a line,
//! `seq type len timestamp_ns payload`, decimal but for the payload, which is hex, `-` if empty;
//! after that each attribute as ` name=value`, the value in hex. `attributes.*` are the same of
//! records with attributes. `AQUEDUCT_BLESS=1` writes them anew; that is a change of the ABI.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use aqueduct_core::geometry::low32;
use aqueduct_core::internals::Framing;
use aqueduct_core::layout::{CLOCK_REALTIME, DATA_OFFSET_MAPPED, KIND_PAD};
use aqueduct_core::{AttributeBlock, Memory, Meta, Next, Producer, Reader, RingConfig, Start};
use aqueduct_verify::heap::Heap;

const EPOCH: u64 = 0x0123_4567_89ab_cdef;
const CREATED_NS: u64 = 1_700_000_000_000_000_000;
const CAPACITY: usize = 32;
const DATA: usize = DATA_OFFSET_MAPPED as usize;
type Ring = Heap<{ DATA + CAPACITY * 32 }>;
type Page = Heap<4096>;

fn payload(seq: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (seq * 29 + at * 3 + 1).to_le_bytes()[0]).collect()
}

fn meta(seq: u64) -> Meta {
    Meta {
        type_tag: 0x0100 + u16::try_from(seq).unwrap(),
        timestamp_ns: CREATED_NS + 1_000_000_007 * seq,
    }
}

/// An empty ring with a reader.
fn create(ring: &Ring, page: &Page) -> Producer<Ring, Page> {
    let mut config = RingConfig::new("golden", EPOCH, CAPACITY * 32);
    (config.data_offset_bytes, config.created_ns, config.clock_id) =
        (DATA_OFFSET_MAPPED, CREATED_NS, CLOCK_REALTIME);
    let mut producer: Producer<_, _> = Producer::create(ring.clone(), &config).unwrap();
    let id = producer.subscribe(Start::Latest).unwrap();
    producer.attach(id, "golden", page.clone()).unwrap();
    producer
}

/// Two records that were read and released, then six that were not; the largest one does not fit
/// before the end, so a PAD is there.
fn generate() -> (Ring, Page) {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer = create(&ring, &page);
    let mut reader = Reader::attach(ring.clone(), page.clone()).unwrap();
    let mut push = |len| {
        let seq = producer.next_seq();
        assert!(producer.push(meta(seq), &payload(seq, len)).unwrap().1.is_none());
    };
    // 12 and 8 granules.
    [350, 200].into_iter().for_each(&mut push);
    for seq in 0..2 {
        assert!(
            matches!(reader.next(&mut [0; 512]), Ok(Next::Record(record)) if record.seq == seq)
        );
    }
    assert!(!reader.release());
    // From granule 20: 2, 2 and 3 granules, a PAD of 5, then 8, 1 and 2 in the next lap.
    [31, 32, 33, 200, 0, 1].into_iter().for_each(&mut push);
    (ring, page)
}

/// Records with and without attributes: one that ends with its unit, none, a name that comes twice,
/// attributes without a payload, a value of any bytes.
fn generate_attributes() -> (Ring, Page) {
    let (ring, page) = (Ring::new(), Page::new());
    let mut producer = create(&ring, &page);
    let value = payload(99, 70);
    let lists: [&[(&str, &[u8])]; 5] = [
        &[(":path", b"/v1/a")],
        &[],
        &[("content-type", b"text/plain"), ("x-twice", b"one"), ("x-twice", b"")],
        &[(":topic", "t/ä".as_bytes())],
        &[("user:k", &value), (":peer", b"127.0.0.1:4711")],
    ];
    for (seq, (list, len)) in (0..).zip(lists.into_iter().zip([5, 33, 32, 0, 100])) {
        let mut room = [0; 256];
        let block = AttributeBlock::write(list.iter().copied(), &mut room).unwrap();
        let pushed = producer.push_with(meta(seq), &payload(seq, len), block).unwrap();
        assert!(pushed.1.is_none());
    }
    (ring, page)
}

/// What a reader of these two segments delivers, in the form of `basic.expected`.
fn deliver(ring: &Ring, page: &Page) -> String {
    let mut reader = Reader::attach(ring.clone(), page.clone()).unwrap();
    let (mut lines, mut buf) = (String::new(), [0; 512]);
    loop {
        let record = match reader.next(&mut buf).unwrap() {
            Next::Record(record) => record,
            Next::Empty => return lines,
            Next::Closed => panic!("the image is of a running ring"),
        };
        write!(lines, "{} {} {} {} ", record.seq, record.type_tag, record.len, record.timestamp_ns)
            .unwrap();
        buf[..record.len].iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        lines.push_str(if record.len == 0 { "-" } else { "" });
        for attribute in record.attributes(&buf) {
            write!(lines, " {}=", str::from_utf8(attribute.name).unwrap()).unwrap();
            attribute.value.iter().for_each(|byte| write!(lines, "{byte:02x}").unwrap());
        }
        lines.push('\n');
    }
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../core/tests/golden").join(name)
}

/// Compares with the committed file, or writes it.
fn hold(name: &str, generated: &[u8]) {
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        fs::create_dir_all(path("")).unwrap();
        return fs::write(path(name), generated).unwrap();
    }
    let committed = fs::read(path(name))
        .unwrap_or_else(|error| panic!("{name}: {error}; AQUEDUCT_BLESS=1 writes it"));
    assert_eq!(committed.len(), generated.len(), "{name}: size");
    if let Some(at) = (0..committed.len()).find(|&at| committed[at] != generated[at]) {
        panic!(
            "{name}: byte {at} is {:#04x} in the committed file, {:#04x} generated",
            committed[at], generated[at]
        );
    }
}

#[test]
fn the_generated_image_is_the_committed_one() {
    let (ring, page) = generate();
    // Before anybody reads: the reader below stores into the page.
    hold("basic.ring", &ring.image());
    hold("basic.cursor", &page.image());
    hold("basic.expected", deliver(&ring, &page).as_bytes());
    let (ring, page) = generate_attributes();
    hold("attributes.ring", &ring.image());
    hold("attributes.cursor", &page.image());
    hold("attributes.expected", deliver(&ring, &page).as_bytes());
}

/// Compares what a reader delivers of a committed image, and returns it.
fn delivered(image: &str) -> String {
    let (ring, page) = (Ring::new(), Page::new());
    ring.fill_at(0, &fs::read(path(&format!("{image}.ring"))).unwrap());
    page.fill_at(0, &fs::read(path(&format!("{image}.cursor"))).unwrap());
    let expected = fs::read_to_string(path(&format!("{image}.expected"))).unwrap();
    assert_eq!(deliver(&ring, &page), expected);
    expected
}

#[test]
fn a_reader_delivers_what_the_committed_image_promises() {
    if std::env::var_os("AQUEDUCT_BLESS").is_some() {
        return;
    }
    let expected = delivered("attributes");
    let second = |line: &str| line.contains(" x-twice=6f6e65 x-twice=");
    assert!(expected.lines().count() == 5 && expected.lines().nth(2).is_some_and(second));
    let expected = delivered("basic");
    let lens: Vec<&str> = expected.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(lens, ["31", "32", "33", "200", "0", "1"]);
}

#[test]
fn the_image_holds_a_pad_and_records_behind_the_wrap() {
    let (ring, _) = generate();
    let mut bytes = [0; 32];
    ring.read(DATA + 27 * 32, &mut bytes);
    let pad = Framing::new(EPOCH).decode(27, &bytes).unwrap();
    assert_eq!((pad.kind, pad.len, pad.seq), (KIND_PAD, 4 * 32, 5));
    ring.read(DATA, &mut bytes);
    let wrapped = Framing::new(EPOCH).decode(low32(32), &bytes).unwrap();
    assert_eq!((wrapped.len, wrapped.seq), (200, 5));
}
