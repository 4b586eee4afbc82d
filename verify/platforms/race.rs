//! The Rust producer and the C reader race in one process, for ThreadSanitizer: built and run by
//! `platforms.sh tsan-c` only.
//!
//! Both languages are instrumented. Fences are invisible to it; what it checks are the orderings of
//! `tail`, `cursor` and the payload words, that both sides access every shared byte atomically and
//! in the same size, and that every record arrives whole and in order. Run:
//! `verify/platforms/run.sh tsan-c`. Expected: `tsan-c: 50000 records`.

use std::ffi::c_void;
use std::thread;

use aqueduct_core::{ClaimError, Meta, Producer, Region, RingConfig, Segment, Start};

/// Larger than `aqd_reader`, and aligned for it.
#[repr(C, align(64))]
struct Reader([u64; 128]);

/// `aqd_record`.
#[repr(C)]
#[derive(Default)]
struct Record {
    seq: u64,
    timestamp_ns: u64,
    len: u32,
    type_tag: u16,
    flags: u8,
    attribute_units: u8,
}

const OK: i32 = 0;
const EMPTY: i32 = 1;
const CLOSED: i32 = 2;

// The link flags name the library.
unsafe extern "C" {
    fn aqd_reader_init(
        reader: *mut Reader,
        ring: *const c_void,
        ring_bytes: usize,
        cursor: *mut c_void,
        cursor_bytes: usize,
    ) -> i32;
    fn aqd_reader_next(
        reader: *mut Reader,
        buf: *mut c_void,
        cap: usize,
        record: *mut Record,
    ) -> i32;
    fn aqd_reader_release(reader: *mut Reader) -> bool;
}

const RING: usize = 256 + 256 * 32;
static SEGMENT: Segment<RING> = Segment::new();
static PAGE: Segment<256> = Segment::new();
const RECORDS: u64 = 50_000;

fn payload(seq: u64) -> Vec<u8> {
    (0..seq % 90).map(|at| (seq ^ at).to_le_bytes()[0]).collect()
}

fn consume() {
    let mut reader = Box::new(Reader([0; 128]));
    let (ring, page) = (SEGMENT.region().base(), PAGE.region().base());
    // SAFETY: both segments are static, aligned to 64, and only accessed atomically; the struct is
    // large enough.
    let status = unsafe {
        aqd_reader_init(&raw mut *reader, ring.as_ptr().cast(), RING, page.as_ptr().cast(), 256)
    };
    assert_eq!(status, OK);
    let (mut buf, mut record, mut next) = ([0_u8; 1024], Record::default(), 0);
    loop {
        // SAFETY: the reader was initialised; the buffer has the size given.
        match unsafe {
            aqd_reader_next(&raw mut *reader, buf.as_mut_ptr().cast(), buf.len(), &raw mut record)
        } {
            OK => {
                assert_eq!(record.seq, next);
                assert_eq!(buf[..record.len as usize], payload(next));
                next += 1;
                if next % 5 == 0 {
                    // SAFETY: the reader was initialised.
                    let _ = unsafe { aqd_reader_release(&raw mut *reader) };
                }
            }
            EMPTY => {
                // SAFETY: the reader was initialised.
                let _ = unsafe { aqd_reader_release(&raw mut *reader) };
                thread::yield_now();
            }
            CLOSED => break,
            other => panic!("status {other} at record {next}"),
        }
    }
    assert_eq!(next, RECORDS);
}

fn main() {
    let config = RingConfig::new("tsan", 0x0123_4567_89ab_cdef, 256 * 32);
    let mut producer: Producer<Region<'_>> =
        Producer::create(SEGMENT.region(), &config).expect("the segment fits");
    let id = producer.subscribe(Start::Latest).expect("the table is empty");
    producer.attach(id, "c", PAGE.region()).expect("the page fits");
    let reader = thread::spawn(consume);
    for seq in 0..RECORDS {
        while let Err(error) = producer.push(Meta::default(), &payload(seq)) {
            assert!(matches!(error, ClaimError::Full { .. }), "{error}");
            assert!(!reader.is_finished(), "the reader gave up");
            thread::yield_now();
        }
    }
    let _ = producer.close();
    reader.join().expect("the reader");
    println!("tsan-c: {RECORDS} records");
}
