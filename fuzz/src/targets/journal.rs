//! `journal`: any directory as the journal of a ring. Recovery reads each byte a few times at most
//! and keeps no more than there is; each record that it gives back is intact by a second decoder,
//! at its place and in order; the directory stays as it was but for leftovers; a second recovery
//! finds the same, and so does one after the journal has gone on, with what was appended at its
//! end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use aqueduct::journal::files::{File, Files};
use aqueduct::journal::format::{
    Cursors, Durability, HEADER_BYTES, SegmentHeader, VERSION, segment_name,
};
use aqueduct::journal::recover::{Damage, OpenError, Opened, Past};
use aqueduct::journal::walk::Cut;
use aqueduct::journal::{Facts, Log};

use crate::input::Input;
use crate::wire::{self, Head, u32_at};

const BOOT: [u8; 16] = *b"the present boot";
const RING: &str = "fuzz";
const EPOCH: u64 = 0x00C0_FFEE;
/// How often each byte may be read by one recovery, and how many bytes besides.
const READS: u64 = 8;
const READS_BESIDES: u64 = 1 << 20;

type Content = Rc<RefCell<Vec<u8>>>;

/// A directory in memory.
#[derive(Clone, Default)]
struct Directory {
    names: Rc<RefCell<BTreeMap<String, Content>>>,
    read: Rc<Cell<u64>>,
}

struct OpenFile {
    content: Content,
    read: Rc<Cell<u64>>,
}

impl Directory {
    fn put(&self, name: String, bytes: Vec<u8>) {
        self.names.borrow_mut().insert(name, Rc::new(RefCell::new(bytes)));
    }

    fn copy(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.names.borrow();
        names.iter().map(|(name, content)| (name.clone(), content.borrow().clone())).collect()
    }

    fn handle(&self, content: &Content) -> OpenFile {
        OpenFile { content: Rc::clone(content), read: Rc::clone(&self.read) }
    }
}

impl Files for Directory {
    type File = OpenFile;
    type Lock = ();

    fn lock(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names.borrow().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<OpenFile> {
        let names = self.names.borrow();
        names.get(name).map(|content| self.handle(content)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn create(&self, name: &str) -> io::Result<OpenFile> {
        self.put(name.to_owned(), Vec::new());
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.borrow_mut();
        let content = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.insert(to.to_owned(), content);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let gone = self.names.borrow_mut().remove(name);
        gone.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl File for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.borrow().len() as u64)
    }

    fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let content = self.content.borrow();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
        let bytes = &content[from..content.len().min(from + into.len())];
        into[..bytes.len()].copy_from_slice(bytes);
        self.read.set(self.read.get() + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut content = self.content.borrow_mut();
        let (from, end) = (at as usize, at as usize + bytes.len());
        if content.len() < end {
            content.resize(end, 0);
        }
        content[from..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn fdatasync(&self) -> io::Result<()> {
        Ok(())
    }

    fn forget(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_linked(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn fallocate(&self, bytes: u64) -> io::Result<()> {
        let mut content = self.content.borrow_mut();
        let bytes = (bytes as usize).max(content.len());
        content.resize(bytes, 0);
        Ok(())
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let directory = Directory::default();
    let capacity = 4 << input.below(8);
    fill(&directory, capacity, &mut input);
    let facts = Facts {
        ring: RING.to_owned(),
        durability: Durability::Disk,
        capacity,
        clock_id: 0,
        boot: BOOT,
        segment_bytes: u64::from(capacity) * 32,
    };

    let before = directory.copy();
    let Some(opened) = open(&directory, &facts) else {
        return assert!(
            same_but_leftovers(&before, &directory.copy()),
            "a refusal changes nothing"
        );
    };
    assert!(same_but_leftovers(&before, &directory.copy()), "recovery only reads");
    let Some(past) = opened.past.clone() else { return };
    let records = records(&directory, &opened, before.values().map(Vec::len).sum());
    check(&past, &records);
    drop(opened);
    let again = open(&directory, &facts).expect("what was opened can be opened");
    assert_same(&past, again.past.as_ref().expect("it is still there"));
    let may_go_on = past.may_go_on && past.capacity == capacity && past.stretches.len() <= 1;
    if may_go_on {
        go_on(&directory, &facts, again, (&past, &records), input.u8());
    }
}

/// Recovers; `None` if the directory is refused, for a reason that it may be refused for.
fn open(directory: &Directory, facts: &Facts) -> Option<Opened<Directory>> {
    let bytes: usize = directory.names.borrow().values().map(|file| file.borrow().len()).sum();
    directory.read.set(0);
    let opened = Opened::open(directory.clone(), facts.clone());
    let read = directory.read.get();
    assert!(read <= READS * bytes as u64 + READS_BESIDES, "{read} bytes read of {bytes}");
    match opened {
        Ok(opened) => Some(opened),
        Err(OpenError::Newer { version, .. }) if version > VERSION => None,
        Err(OpenError::OtherRing { ring }) if ring != RING => None,
        Err(error) => panic!("a directory without faults: {error}"),
    }
}

/// Whether nothing changed, but for files that were never finished, and the file of the cursors,
/// which is made where there is none.
fn same_but_leftovers(
    before: &BTreeMap<String, Vec<u8>>,
    after: &BTreeMap<String, Vec<u8>>,
) -> bool {
    let kept = |name: &str| !name.ends_with(".tmp");
    let made = after.iter().filter(|(name, _)| !before.contains_key(*name));
    before.iter().filter(|(name, _)| kept(name)).all(|(name, bytes)| after.get(name) == Some(bytes))
        && made
            .clone()
            .all(|(name, bytes)| name == "cursors" && bytes.iter().all(|byte| *byte == 0))
}

/// Reads the records of each stretch: as many bytes as it says, no more than the files have.
fn records(directory: &Directory, opened: &Opened<Directory>, all: usize) -> Vec<Vec<u8>> {
    let past = opened.past.as_ref().expect("it has one");
    directory.read.set(0);
    let records: Vec<Vec<u8>> = past
        .stretches
        .iter()
        .map(|stretch| {
            let mut bytes = Vec::new();
            let copied = opened.copy(stretch, |_, piece| bytes.extend_from_slice(piece));
            copied.expect("a directory without faults");
            assert_eq!(bytes.len() as u64, stretch.bytes());
            bytes
        })
        .collect();
    let (read, kept) = (directory.read.get(), records.iter().map(Vec::len).sum::<usize>());
    assert!(read == kept as u64 && kept <= all, "{read} bytes read for {kept} kept of {all}");
    records
}

/// Each record by the second decoder; all in order.
fn check(past: &Past, records: &[Vec<u8>]) {
    // Segments may contradict each other; that is said, and an epoch ends.
    let is_of = |each: &Damage| matches!(each, Damage::Records { cut: Cut::Sequence { .. }, .. });
    let numbers_hold = !past.damage.iter().any(is_of);
    let (mut end, mut next) = (0, None);
    for (stretch, bytes) in past.stretches.iter().zip(records) {
        assert!(!bytes.is_empty() && stretch.start >= end, "{past:?}");
        let is_gap = stretch.start > end;
        let (mut at, mut rest) = (stretch.start, &bytes[..]);
        let mut first = true;
        while !rest.is_empty() {
            let stored = u32_at(rest, 28);
            assert_eq!(stored, wire::head_crc(past.epoch, at as u32, &rest[..32]), "at {at}");
            let head = Head::parse(rest);
            let bytes = usize::try_from(head.granules() * 32).expect("of 64 bits");
            if head.is_data() {
                let payload = &rest[32..32 + head.len as usize];
                assert_eq!(wire::crc(payload), head.payload_crc, "at {at}");
                assert!(head.len <= stretch.largest, "at {at}: {past:?}");
            }
            match next {
                Some(_) if !numbers_hold => {}
                Some(next) if first && is_gap => assert!(head.seq >= next, "{} {next}", head.seq),
                Some(next) => assert_eq!(head.seq, next, "at {at}"),
                None => {}
            }
            first = false;
            next = Some(head.seq + u64::from(head.is_data()));
            (at, rest) = (at + head.granules(), &rest[bytes..]);
        }
        assert_eq!(at, stretch.end);
        end = at;
    }
    if past.may_go_on {
        assert!(numbers_hold, "{past:?}");
        assert!(past.stretches.len() <= 1, "{past:?}");
        assert!(next.is_none_or(|next| (end, next) == (past.end, past.next_seq)), "{past:?}");
    }
    let start = past.stretches.first().map_or(past.end, |first| first.start);
    for (name, at) in &past.positions {
        assert!((start..=past.end.max(start)).contains(at), "{name} at {at}: {past:?}");
    }
}

fn assert_same(before: &Past, after: &Past) {
    assert_eq!((before.epoch, before.end), (after.epoch, after.end));
    assert_eq!((before.next_seq, before.may_go_on), (after.next_seq, after.may_go_on));
    assert_eq!(before.stretches, after.stretches);
    assert_eq!(before.positions, after.positions);
    assert_eq!(before.damage, after.damage);
}

/// Goes on after the past with a record more: it is found after all that was found before.
fn go_on(
    directory: &Directory,
    facts: &Facts,
    opened: Opened<Directory>,
    (past, before): (&Past, &[Vec<u8>]),
    len: u8,
) {
    let journal = opened.go_on(7).expect("no faults");
    let mut log: Log<Directory> = journal.log;
    let record = record(past.epoch, past.end, past.next_seq, &vec![len; usize::from(len) % 64]);
    if record.len() as u64 > facts.segment_bytes {
        return;
    }
    log.commit(&record, past.next_seq, 8).expect("no faults");
    drop(log);
    let opened = open(directory, facts).expect("it was open");
    let found = records(directory, &opened, usize::MAX);
    let after = opened.past.expect("it has a past");
    check(&after, &found);
    assert!(after.may_go_on, "{after:?}");
    let end = past.end + record.len() as u64 / 32;
    assert_eq!((after.epoch, after.end), (past.epoch, end));
    assert_eq!(after.next_seq, past.next_seq + 1);
    let (stretch, found) = after.stretches.last().zip(found.last()).expect("what was appended");
    assert!(found.ends_with(&record));
    // All that was there before, but for what must have been released so that this had room.
    let before = before.first().map_or(&[][..], |bytes| &bytes[..]);
    let kept = &found[..found.len() - record.len()];
    assert!(before.ends_with(kept), "other records than before");
    let held = u64::from(facts.capacity) - 1;
    let is_whole = kept.len() == before.len();
    assert!(is_whole || stretch.start >= end.saturating_sub(held), "{} of {end}", stretch.start);
}

/// A DATA record as it is stored.
fn record(epoch: u64, at: u64, seq: u64, payload: &[u8]) -> Vec<u8> {
    let head = Head {
        len: payload.len() as u32,
        kind: wire::DATA,
        flags: 0,
        type_tag: 0,
        seq,
        timestamp_ns: 1,
        payload_crc: wire::crc(payload),
    };
    let mut bytes = head.encode(epoch, at as u32).to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

/// Where the records of the input have come to.
struct Made {
    serial: u64,
    epoch: u64,
    position: u64,
    seq: u64,
}

/// The files that an input describes: mostly what a journal writes, with some of it wrong.
fn fill(directory: &Directory, capacity: u32, input: &mut Input<'_>) {
    let far = u64::from(input.u8() & 3) * ((1 << 32) - 40);
    let mut made = Made { serial: 0, epoch: EPOCH, position: far, seq: u64::from(input.u8()) };
    let mut ends = vec![(made.position, made.seq)];
    for _ in 0..input.below(5) {
        made.serial += 1 + u64::from(input.below(16) == 15);
        let bytes = segment(&mut made, capacity, &mut ends, input);
        directory.put(segment_name(made.serial), bytes);
    }
    if input.below(8) > 0 {
        let mut bytes = copy(&made, &ends, input);
        bytes.extend(copy(&made, &ends, input));
        bytes.truncate(bytes.len() - usize::from(input.u8().saturating_sub(200)));
        directory.put("cursors".to_owned(), bytes);
    }
    match input.below(32) {
        0 => directory.put("next.tmp".to_owned(), vec![1; 40]),
        1 => directory.put("cursors.tmp".to_owned(), Vec::new()),
        2 => directory.put("lost+found".to_owned(), Vec::new()),
        3 => directory.put("000000000000000A.segment".to_owned(), vec![0; 5]),
        _ => {}
    }
}

/// Changes a byte, or cuts, or leaves alone.
fn spoil(bytes: &mut Vec<u8>, from: usize, input: &mut Input<'_>) {
    let at = |input: &mut Input<'_>, len: usize| from + input.index(len.saturating_sub(from));
    match input.u8() {
        0..200 => {}
        200..230 if bytes.len() > from => {
            let at = at(input, bytes.len());
            bytes[at] ^= input.u8();
        }
        230..245 => {
            let at = at(input, bytes.len());
            bytes.truncate(at);
        }
        _ => {
            let some = input.take(64);
            let at = at(input, bytes.len()).min(bytes.len());
            let len = some.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&some[..len]);
        }
    }
}

fn segment(
    made: &mut Made,
    capacity: u32,
    ends: &mut Vec<(u64, u64)>,
    input: &mut Input<'_>,
) -> Vec<u8> {
    let flags = input.u8();
    if flags & 7 == 7 {
        made.epoch += 1;
        (made.position, made.seq) = (0, 0);
    }
    let odd = input.u8();
    let step = u64::from(odd >> 4);
    let header = SegmentHeader {
        serial: if odd & 15 == 1 { made.serial + step } else { made.serial },
        epoch: made.epoch,
        first_position: if odd & 15 == 2 { made.position + step } else { made.position },
        first_seq: if odd & 15 == 3 { made.seq + step } else { made.seq },
        created_ns: 5,
        boot: if flags & 8 == 0 { BOOT } else { [0; 16] },
        durability: if flags & 16 == 0 { Durability::Disk } else { Durability::Process },
        capacity: if odd & 15 == 4 { u32::from(odd >> 4) } else { capacity },
        clock_id: 0,
        ring: if odd == 0xFF { "other" } else { RING }.to_owned(),
    };
    let mut head = header.encode();
    spoil(&mut head, 0, input);
    head.resize(HEADER_BYTES, 0);
    let (mut body, mut at) = (Vec::new(), header.first_position);
    for _ in 0..input.below(16) {
        let len = usize::from(input.u8());
        let mut bytes = record(made.epoch, at, made.seq, &vec![len as u8; len]);
        match input.u8() {
            // Padding, as where a record does not fit before the end of the ring.
            0..32 => {
                let padding = Head { kind: 2, payload_crc: 0, ..Head::parse(&bytes) };
                bytes[..32].copy_from_slice(&padding.encode(made.epoch, at as u32));
                made.seq = made.seq.wrapping_sub(1);
            }
            // A header that is right for a record that is not there.
            32..48 => {
                let longer = Head { len: u32::from(input.u16()), ..Head::parse(&bytes) };
                bytes[..32].copy_from_slice(&longer.encode(made.epoch, at as u32));
            }
            48..64 => spoil(&mut bytes, 0, input),
            _ => {}
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        at += bytes.len() as u64 / 32;
        made.seq = made.seq.wrapping_add(1);
        body.extend(bytes);
        ends.push((at, made.seq));
    }
    made.position = at;
    body.resize(body.len() + 32 * input.below(9) as usize, 0);
    spoil(&mut body, 0, input);
    if flags & 0xE0 == 0xE0 {
        // The file ends inside of its header.
        head.truncate(usize::from(input.u8()));
        return head;
    }
    head.extend(body);
    head
}

/// One copy of the cursors.
fn copy(made: &Made, ends: &[(u64, u64)], input: &mut Input<'_>) -> Vec<u8> {
    let which = input.u8();
    if which == 0 {
        return vec![0; 4096];
    }
    let (published, next_seq) = ends[input.index(ends.len())];
    let (mut positions, mut lagging) = (Vec::new(), Vec::new());
    for n in 0..input.below(3) {
        let (at, _) = ends[input.index(ends.len())];
        let beside = u64::from(input.u8().saturating_sub(240));
        let of = if beside & 1 == 1 { &mut lagging } else { &mut positions };
        of.push((format!("s{n}"), at + beside));
    }
    let cursors = Cursors {
        epoch: if which < 24 { EPOCH + 1 } else { made.epoch },
        published: published + u64::from(which > 250),
        next_seq,
        is_end: which & 1 == 1,
        positions,
        lagging,
    };
    let mut bytes = cursors.encode(u64::from(input.u8()));
    spoil(&mut bytes, 0, input);
    bytes.resize(4096, 0);
    bytes
}
