//! `differential`: the Rust reader and the C reader on the same bytes, call by call: the same status, record, payload, evidence, counters and
//! page, copied (`next`) and in place (`next_in_place`, `aqd_reader_view`). Between calls the ring changes for both.

use std::ffi::c_void;
use std::ptr::null;

use aqueduct_core::error::AttachError;
use aqueduct_core::layout::GeometryError;
use aqueduct_core::region::Region;
use aqueduct_core::{Next, ReadError, Reader, Record, Sleep, TrustedRegion, WaitMode};

use super::outcome;
use super::reader::buffer_size;
use crate::image::Image;
use crate::input::Input;
use crate::memory::Shared;
use crate::oracle::Outcome;

/// `aqd_record`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct CRecord {
    seq: u64,
    timestamp_ns: u64,
    len: u32,
    type_tag: u16,
    flags: u8,
    reserved: u8,
}

/// `aqd_stats`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CStats {
    corrupt: u32,
    lost: u32,
    missed_wakes: u32,
}

/// `aqd_evidence`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct CEvidence {
    position: u64,
    resumed: u64,
    expected_seq: u64,
    found_seq: u64,
    tail: u64,
    stored_crc: u32,
    computed_crc: u32,
}

unsafe extern "C" {
    fn aqd_fuzz_reader_size() -> usize;
    fn aqd_fuzz_position(reader: *const c_void) -> u64;
    fn aqd_fuzz_released(reader: *const c_void) -> u32;
    fn aqd_reader_init(reader: *mut c_void, ring: *const c_void, ring_bytes: usize, cursor: *mut c_void, cursor_bytes: usize) -> i32;
    fn aqd_reader_next(reader: *mut c_void, buffer: *mut c_void, cap: usize, record: *mut CRecord) -> i32;
    fn aqd_reader_view(reader: *mut c_void, payload: *mut *const c_void, record: *mut CRecord) -> i32;
    fn aqd_reader_release(reader: *mut c_void) -> bool;
    fn aqd_reader_prepare_sleep(reader: *mut c_void, mode: u32, tail_seen: *mut u32) -> bool;
    fn aqd_reader_finish_sleep(reader: *mut c_void, timed_out: bool);
    fn aqd_reader_ready(reader: *const c_void) -> bool;
    fn aqd_reader_stats(reader: *const c_void) -> *const CStats;
    fn aqd_reader_evidence(reader: *const c_void) -> *const CEvidence;
}

/// `aqd_status`, in the order of `aqueduct/status.h`.
const OK: i32 = 0;
const EMPTY: i32 = 1;
const CLOSED: i32 = 2;
const HEADER: i32 = 16;
const PAYLOAD: i32 = 17;
const GAP: i32 = 18;
const SPACE: i32 = 19;
const OVERRUN: i32 = 20;
const MAGIC: i32 = 33;
const VERSION: i32 = 34;
const CHECKSUM: i32 = 35;
const GEOMETRY: i32 = 36;
const SIZE: i32 = 37;
const CURSOR: i32 = 38;

/// The C reader of one ring and page.
struct CReader<'m> {
    /// INVARIANT: room for an `aqd_reader`, initialised by `aqd_reader_init` with memory that lives for `'m`.
    state: Shared,
    memory: std::marker::PhantomData<&'m Shared>,
}

impl<'m> CReader<'m> {
    fn init(ring: &'m Shared, ring_bytes: usize, page: &'m Shared, page_bytes: usize) -> (i32, Self) {
        // SAFETY: no arguments.
        let size = unsafe { aqd_fuzz_reader_size() };
        let reader = Self { state: Shared::new(size), memory: std::marker::PhantomData };
        let (ring_bytes, page_bytes) = (ring_bytes.min(ring.size()), page_bytes.min(page.size()));
        // SAFETY: the state has its size and more than its alignment; both segments have these many bytes and outlive `'m`.
        let status = unsafe { aqd_reader_init(reader.raw(), ring.as_ptr().cast(), ring_bytes, page.as_ptr().cast(), page_bytes) };
        (status, reader)
    }

    fn raw(&self) -> *mut c_void {
        self.state.as_ptr().cast()
    }

    fn next(&mut self, buffer: &mut [u8], record: &mut CRecord) -> i32 {
        // SAFETY: an initialised reader, a buffer of that many bytes, a record.
        unsafe { aqd_reader_next(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), record) }
    }

    /// The status and a copy of what was lent.
    fn view(&mut self, record: &mut CRecord) -> (i32, Vec<u8>) {
        let mut payload = null();
        // SAFETY: an initialised reader, room for a pointer, a record.
        let status = unsafe { aqd_reader_view(self.raw(), &raw mut payload, record) };
        let mut copy = vec![0; if status == OK { record.len as usize } else { 0 }];
        if !copy.is_empty() {
            // SAFETY: the reader lends `record.len` bytes at `payload` until the next release; nobody writes meanwhile.
            unsafe { payload.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
        }
        (status, copy)
    }

    fn release(&mut self) -> bool {
        // SAFETY: an initialised reader.
        unsafe { aqd_reader_release(self.raw()) }
    }

    fn prepare_sleep(&mut self, mode: u32) -> Option<u32> {
        let mut tail = 0;
        // SAFETY: an initialised reader and room for a word.
        unsafe { aqd_reader_prepare_sleep(self.raw(), mode, &raw mut tail) }.then_some(tail)
    }

    fn finish_sleep(&mut self, timed_out: bool) {
        // SAFETY: an initialised reader.
        unsafe { aqd_reader_finish_sleep(self.raw(), timed_out) }
    }

    fn ready(&self) -> bool {
        // SAFETY: an initialised reader.
        unsafe { aqd_reader_ready(self.raw()) }
    }

    fn position(&self) -> u32 {
        // SAFETY: an initialised reader.
        unsafe { aqd_fuzz_position(self.raw()) as u32 }
    }

    /// What was released last, as the page says.
    fn released(&self) -> u32 {
        // SAFETY: an initialised reader, whose page is alive.
        unsafe { aqd_fuzz_released(self.raw()) }
    }

    fn stats(&self) -> CStats {
        // SAFETY: an initialised reader; the pointer is to a field of it.
        unsafe { *aqd_reader_stats(self.raw()) }
    }

    fn evidence(&self) -> CEvidence {
        // SAFETY: an initialised reader; the pointer is to a field of it.
        unsafe { *aqd_reader_evidence(self.raw()) }
    }
}

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let in_place = input.u8() % 2 == 1;
    let image = Image::take(&mut input);
    let c_page = Shared::new(image.page.size());
    c_page.write(0, &image.page.bytes());

    let trusted = image.ring.trusted_of(image.ring_bytes);
    let rust = Reader::attach(trusted, image.page.region_of(image.page_bytes));
    let (status, mut c) = CReader::init(&image.ring, image.ring_bytes, &c_page, image.page_bytes);
    let mut rust = match rust {
        Ok(rust) => rust,
        Err(error) => return assert!(same_refusal(error, status), "{error}: C says {status}"),
    };
    assert_eq!(status, OK);
    let mut buffers = (vec![0; image.ring.size()], vec![0; image.ring.size()]);
    for _ in 0..96 {
        match input.u8() {
            112..=255 => {
                let size = if in_place { buffers.0.len() } else { buffer_size(&mut input, image.max_payload).min(buffers.0.len()) };
                let small = next(&mut rust, &mut c, in_place, (&mut buffers.0[..size], &mut buffers.1[..size]));
                if small {
                    // Refused for its size, the record is known to one and not to the other; a change now would be told differently.
                    next(&mut rust, &mut c, in_place, (&mut buffers.0, &mut buffers.1));
                }
            }
            0..64 => image.change(&mut input),
            64..80 => release(&mut rust, &mut c),
            _ => sleep(&image, &mut rust, &mut c, input.u8(), in_place, &mut input, &mut buffers),
        }
        compare_state(&image, &rust, &c, &c_page);
        if input.is_empty() {
            break;
        }
    }
    release(&mut rust, &mut c);
    compare_state(&image, &rust, &c, &c_page);
}

fn release(rust: &mut Reader<TrustedRegion<'_>, Region<'_>>, c: &mut CReader<'_>) {
    assert_eq!(rust.release(), c.release());
    assert_eq!(c.position(), c.released());
}

fn compare_state(image: &Image, rust: &Reader<TrustedRegion<'_>, Region<'_>>, c: &CReader<'_>, c_page: &Shared) {
    let (ours, theirs) = (rust.stats(), c.stats());
    assert_eq!((ours.corrupt, ours.lost, ours.missed_wakes), (theirs.corrupt, theirs.lost, theirs.missed_wakes));
    assert_eq!(image.page.bytes(), c_page.bytes(), "the pages");
}

fn same_refusal(error: AttachError, status: i32) -> bool {
    match error {
        AttachError::Geometry(GeometryError::Magic { .. }) => status == MAGIC,
        AttachError::Geometry(GeometryError::Version { .. }) => status == VERSION,
        AttachError::Geometry(GeometryError::Crc { .. }) => status == CHECKSUM,
        AttachError::Geometry(GeometryError::SegmentTooSmall { .. }) | AttachError::PageTooSmall { .. } => status == SIZE,
        AttachError::Geometry(_) => status == GEOMETRY,
        AttachError::PageIdentity => status == CURSOR || status == VERSION,
        AttachError::Epoch { .. } => status == CURSOR,
        AttachError::Overrun(_) => status == OVERRUN,
    }
}

/// One record or whatever there is. Whether the buffer was too small.
fn next(
    rust: &mut Reader<TrustedRegion<'_>, Region<'_>>,
    c: &mut CReader<'_>,
    in_place: bool,
    (buffer, c_buffer): (&mut [u8], &mut [u8]),
) -> bool {
    let ours = if in_place {
        match rust.next_in_place() {
            Ok(Next::Record((record, payload))) => Outcome::Record(record, payload.to_vec()),
            Ok(Next::Empty) => Outcome::Empty,
            Ok(Next::Closed) => Outcome::Closed,
            Err(error) => Outcome::Error(error),
        }
    } else {
        let result = rust.next(buffer);
        outcome(result, buffer)
    };
    let mut record = CRecord::default();
    let ready = c.ready();
    let (status, payload) = if in_place {
        c.view(&mut record)
    } else {
        let status = c.next(c_buffer, &mut record);
        (status, c_buffer[..if status == OK { record.len as usize } else { 0 }].to_vec())
    };
    assert!(ready || status == EMPTY, "not ready, but {status}");
    let evidence = c.evidence();
    match ours {
        Outcome::Record(Record { seq, timestamp_ns, len, type_tag, flags, position }, bytes) => {
            assert_eq!(status, OK);
            let len = len as u32;
            assert_eq!(record, CRecord { seq, timestamp_ns, len, type_tag, flags, reserved: 0 });
            assert_eq!(bytes, payload);
            assert_eq!(position.wrapping_add(1 + len.div_ceil(32)), c.position());
        }
        Outcome::Empty => assert_eq!(status, EMPTY),
        Outcome::Closed => assert_eq!(status, CLOSED),
        Outcome::Error(ReadError::BufferTooSmall { needed, .. }) => {
            assert_eq!((status, record.len as usize), (SPACE, needed));
            return true;
        }
        Outcome::Error(ReadError::Payload { seq, position, stored, computed }) => {
            assert_eq!((status, record.seq), (PAYLOAD, seq));
            assert_eq!((evidence.position as u32, evidence.found_seq), (position, seq));
            assert_eq!((evidence.stored_crc, evidence.computed_crc), (stored, computed));
        }
        Outcome::Error(ReadError::Header { position, resumed_at, stored, computed, .. }) => {
            assert_eq!(status, HEADER);
            assert_eq!((evidence.position as u32, evidence.resumed as u32), (position, resumed_at));
            assert_eq!((evidence.stored_crc, evidence.computed_crc), (stored, computed));
            assert_eq!(resumed_at, c.position());
        }
        Outcome::Error(ReadError::Gap { expected, found }) => {
            assert_eq!((status, record.seq), (GAP, found));
            assert_eq!((evidence.expected_seq, evidence.found_seq), (expected, found));
        }
        Outcome::Error(ReadError::Overrun { position, tail }) => {
            assert_eq!((status, c.position(), evidence.tail as u32), (OVERRUN, position, tail));
        }
        Outcome::Error(error @ ReadError::Overtaken { .. }) => panic!("a gating reader says {error}"),
    }
    false
}

/// Announces a sleep and ends it; what was announced to both must be taken up by both before the ring changes again.
fn sleep(
    image: &Image,
    rust: &mut Reader<TrustedRegion<'_>, Region<'_>>,
    c: &mut CReader<'_>,
    how: u8,
    in_place: bool,
    input: &mut Input<'_>,
    buffers: &mut (Vec<u8>, Vec<u8>),
) {
    let (mode, number) = if how & 1 == 0 { (WaitMode::Futex, 1) } else { (WaitMode::Socket, 2) };
    let theirs = c.prepare_sleep(number);
    match rust.prepare_sleep(mode) {
        Ok(Sleep::Wait { tail }) => {
            assert_eq!(theirs, Some(tail));
            if how & 2 != 0 {
                image.set_word(input);
            }
            let ended = rust.finish_sleep(how & 4 != 0);
            c.finish_sleep(how & 4 != 0 && ended.is_ok());
        }
        Ok(Sleep::Ready) | Err(_) => assert_eq!(theirs, None),
    }
    next(rust, c, in_place, (&mut buffers.0, &mut buffers.1));
}

const _: () = assert!(size_of::<CRecord>() == 24);
