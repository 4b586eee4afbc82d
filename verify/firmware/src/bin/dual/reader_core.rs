//! The core that reads. Three look at the same bytes:
//!
//! 1. the reader `ahead` sees each record first, whole; then its bytes may be damaged;
//! 2. the `reader` comes next and must find the record, or say exactly what is wrong with it;
//! 3. the observer `late` is slow on purpose: it is overrun, and everything it did not see must be
//!    in its count.

use core::ptr::NonNull;

use aqueduct_core::ReaderStats;
use aqueduct_core::geometry::GeometryError;
use aqueduct_core::layout::{DATA_OFFSET_MIN, GRANULE_BYTES};
use aqueduct_core::payload_crc;
use aqueduct_core::{
    AttachError, Memory, MemoryMut, Next, Observer, ReadError, ReadRegion, Reader, Record, Region,
    Sleep, WaitMode,
};
use aqueduct_firmware::content::{self, MAX_BYTES};
use aqueduct_firmware::seeded;
use cortex_m::asm;
use cortex_m::peripheral::SCB;
use cortex_m_semihosting::hprintln;

use crate::{Map, Place, RECORDS, SOURCE, producer_core};

/// The ring as a reader uses it.
fn read_only(place: Place) -> ReadRegion<'static> {
    let base = NonNull::with_exposed_provenance(place.address);
    // SAFETY: (1) the memory map keeps these bytes free of everything else, for ever; (2) it
    // asserts their alignment; (3) this program touches them through regions only.
    unsafe { ReadRegion::from_raw(base, place.bytes) }
}

/// Bytes that may be written to: the reader's cursor segment, and the ring for the part that
/// damages it.
fn writable(place: Place) -> Region<'static> {
    let base = NonNull::with_exposed_provenance(place.address);
    // SAFETY: as for `read_only`.
    unsafe { Region::from_raw(base, place.bytes) }
}

/// What shall happen to a record between `ahead` and `reader`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    Payload,
    Header,
}

const fn damage(record: &Record) -> Damage {
    match record.seq % 97 {
        50 if record.len > 0 => Damage::Payload,
        80 => Damage::Header,
        _ => Damage::None,
    }
}

/// A wild write: flips one bit of the byte at this offset.
fn flip(segment: Region<'_>, at: usize) {
    let granule = at - at % GRANULE_BYTES;
    let mut bytes = [0; GRANULE_BYTES];
    segment.read(granule, &mut bytes);
    bytes[at - granule] ^= 0x10;
    segment.write(granule, &bytes);
}

type RawReader = Reader<ReadRegion<'static>, Region<'static>>;

/// Polls until ring and page are there.
fn attach(ring: Place, page: Place) -> RawReader {
    let (mut without_ring, mut without_page) = (0_u32, 0_u32);
    loop {
        match Reader::attach(read_only(ring), writable(page)) {
            Ok(reader) => {
                hprintln!(
                    "dual: attached after {} looks without a ring and {} without a page",
                    without_ring,
                    without_page
                );
                return reader;
            }
            Err(AttachError::Geometry(GeometryError::Magic { .. })) => without_ring += 1,
            Err(AttachError::CursorSegmentIdentity) => without_page += 1,
            Err(other) => panic!("{other}"),
        }
    }
}

struct Reading {
    ahead: RawReader,
    reader: RawReader,
    /// The whole ring, to be damaged.
    wild: Region<'static>,
    capacity: u32,
    /// Set if damage at the very end of the stream hid how much is lost; the next call must tell.
    gap_after: Option<u64>,
    payloads_damaged: u32,
    headers_damaged: u32,
    damage_fault: bool,
}

impl Reading {
    /// Damages the record that `ahead` just saw, if it is its turn, and reads it.
    fn follow(&mut self, seen: &Record, content: &[u8]) {
        let kind = damage(seen);
        let record_at =
            DATA_OFFSET_MIN as usize + (seen.position % self.capacity) as usize * GRANULE_BYTES;
        #[allow(clippy::cast_possible_truncation, reason = "a small record number")]
        let number = seen.seq as usize;
        if kind == Damage::Payload || self.damage_fault && number == 60 {
            flip(self.wild, record_at + GRANULE_BYTES + number * 13 % seen.len.max(1));
        } else if kind == Damage::Header {
            flip(self.wild, record_at + number * 7 % GRANULE_BYTES);
        }

        let mut buf = [0; MAX_BYTES];
        let mut next = self.reader.next(&mut buf);
        if let Some(expected) = self.gap_after.take() {
            assert_eq!(next, Err(ReadError::Gap { expected, found: expected + 1 }));
            next = self.reader.next(&mut buf);
        }
        match (kind, next) {
            (Damage::None, Ok(Next::Record(record))) => {
                assert_eq!(record, *seen);
                assert!(&buf[..record.len] == content);
            }
            (Damage::Payload, Err(ReadError::Payload { seq, position, stored, computed })) => {
                self.payloads_damaged += 1;
                assert_eq!((seq, position), (seen.seq, seen.position));
                assert!(
                    stored == payload_crc(content) && computed != stored,
                    "{stored:#x} {computed:#x}"
                );
            }
            (
                Damage::Header,
                Err(ReadError::Header { position, resumed_at, stored, computed, lost }),
            ) => {
                self.headers_damaged += 1;
                assert_eq!(position, seen.position);
                assert!(resumed_at != position && computed != stored, "{stored:#x} {computed:#x}");
                match lost {
                    Some(lost) => assert_eq!(lost, 1),
                    None => self.gap_after = Some(seen.seq),
                }
            }
            (_, other) => panic!("record {}: {other:?}", seen.seq),
        }
    }

    /// Lets go of what was read, and rings the other core if it waits for that. How often it rang.
    fn release(&mut self) -> u32 {
        let mut rings = 0;
        for reader in [&mut self.ahead, &mut self.reader] {
            if reader.release() {
                SCB::set_pendst();
                rings += 1;
            }
        }
        rings
    }
}

/// The slow observer.
struct Late {
    observer: Observer<ReadRegion<'static>>,
    read: u32,
    overrun: u32,
}

impl Late {
    /// One look. Whether the stream is over.
    fn step(&mut self) -> bool {
        let mut buf = [0; MAX_BYTES];
        match self.observer.next(&mut buf) {
            Ok(Next::Record(record)) => {
                let number = u32::try_from(record.seq).expect("a small record number");
                content::check(&record, &buf[..record.len], SOURCE, number);
                self.read += 1;
            }
            Ok(Next::Closed) => return true,
            Err(ReadError::Overrun { .. }) => self.overrun += 1,
            // Damage is met here too; that all of it is counted is checked at the end.
            Ok(Next::Empty)
            | Err(ReadError::Payload { .. } | ReadError::Header { .. } | ReadError::Gap { .. }) => {
            }
            Err(other) => panic!("{other}"),
        }
        false
    }
}

pub(crate) fn run(map: Map) {
    let Map { ring, pages } = map;
    if seeded("fault") {
        asm::udf();
    }
    let (ahead, reader) = (attach(ring, pages[0]), attach(ring, pages[1]));
    let mut late = Late {
        observer: Observer::oldest(read_only(ring)).expect("as before"),
        read: 0,
        overrun: 0,
    };
    let mut reading = Reading {
        capacity: reader.geometry().capacity(),
        ahead,
        reader,
        wild: writable(ring),
        gap_after: None,
        payloads_damaged: 0,
        headers_damaged: 0,
        damage_fault: seeded("damage"),
    };

    let mut buf = [0; MAX_BYTES];
    let (mut number, mut rings, mut sleeps) = (0_u32, 0_u32, 0_u32);
    loop {
        match reading.ahead.next(&mut buf).expect("nothing is damaged yet") {
            Next::Record(record) => {
                assert_eq!(record.seq, u64::from(number));
                content::check(&record, &buf[..record.len], SOURCE, number);
                reading.follow(&record, &buf[..record.len]);
                number += 1;
                if number.is_multiple_of(5) {
                    rings += reading.release();
                }
                if number == 1 || number.is_multiple_of(4) {
                    late.step();
                }
                if number.is_multiple_of(400) {
                    // Long enough for the other core to fill the ring.
                    (0..60).for_each(|_| asm::wfi());
                }
            }
            Next::Empty => {
                rings += reading.release();
                if let Sleep::Wait { .. } =
                    reading.ahead.prepare_sleep(WaitMode::Futex).expect("it gates")
                {
                    sleeps += 1;
                    asm::wfe();
                    reading.ahead.finish_sleep(false).expect("it gates");
                }
            }
            Next::Closed => break,
        }
    }
    assert_eq!(number, RECORDS);
    if let Some(expected) = reading.gap_after {
        panic!("the last record ({expected}) is not one that is damaged");
    }
    assert_eq!(reading.reader.next(&mut buf), Ok(Next::Closed));
    rings += reading.release();
    while !late.step() {}
    assert_eq!(
        late.read + late.observer.lost(),
        RECORDS,
        "every record was read or counted as lost"
    );

    let damaged = reading.payloads_damaged + reading.headers_damaged;
    assert_eq!(reading.ahead.stats(), ReaderStats::default());
    assert_eq!(
        reading.reader.stats(),
        ReaderStats { corrupt: damaged, lost: damaged, missed_wakes: 0 }
    );
    let told = loop {
        if let Some(summary) = producer_core::summary() {
            break summary;
        }
    };
    for (status, damaged) in told.status.iter().zip([0, damaged]) {
        assert!(
            status.attached && status.corrupt == damaged && status.lost == damaged,
            "{status:?}"
        );
    }

    for (count, what) in [
        (reading.payloads_damaged, "payload damaged"),
        (reading.headers_damaged, "header damaged"),
        (late.overrun, "observer overrun"),
        (told.asked_for_space, "ring full"),
        (rings, "space told of"),
        (sleeps, "reader asleep"),
        (told.wakes, "reader woken"),
    ] {
        assert!(count > 0, "this never happened: {what}");
    }
    identities_are_checked(ring, pages[1]);
    hprintln!(
        "ok: dual: {} records by address; {} payloads and {} headers damaged and reported; slow observer read {}, counted {} lost,",
        number,
        reading.payloads_damaged,
        reading.headers_damaged,
        late.read,
        late.observer.lost()
    );
    hprintln!(
        "    overrun {} times; space asked for {} and told {} times; {} sleeps, {} wake-ups; end seen by all three",
        late.overrun,
        told.asked_for_space,
        rings,
        sleeps,
        told.wakes
    );
}

/// Damage to what is written once: the ring's header and the page's identity.
fn identities_are_checked(ring: Place, page: Place) {
    let attach = || Reader::attach(read_only(ring), writable(page)).map(|_| ());
    for at in [16, 50, 127] {
        flip(writable(ring), at);
        assert!(
            matches!(attach(), Err(AttachError::Geometry(GeometryError::Crc { stored, computed })) if stored != computed)
        );
        flip(writable(ring), at);
    }
    for at in [0, 20, 63] {
        flip(writable(page), at);
        assert_eq!(attach(), Err(AttachError::CursorSegmentIdentity));
        flip(writable(page), at);
    }
    assert_eq!(attach(), Ok(()));
}
