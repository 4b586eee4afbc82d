//! The C reader and the C observer as the differential targets call them.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::null;
use std::rc::Rc;

use crate::memory::Shared;

/// `aqd_record`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CRecord {
    pub seq: u64,
    pub timestamp_ns: u64,
    pub len: u32,
    pub type_tag: u16,
    pub flags: u8,
    pub attribute_units: u8,
}

impl CRecord {
    /// Bytes of payload and attributes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len as usize + usize::from(self.attribute_units) * 16
    }
}

/// `aqd_stats`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CStats {
    pub corrupt: u32,
    pub lost: u32,
    pub missed_wakes: u32,
}

/// `aqd_evidence`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CEvidence {
    pub position: u64,
    pub resumed: u64,
    pub expected_seq: u64,
    pub found_seq: u64,
    pub tail: u64,
    pub stored_crc: u32,
    pub computed_crc: u32,
}

/// `aqd_lag`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CLag {
    pub records: u64,
    pub bytes: u64,
    pub age_ns: u64,
}

/// `aqd_item`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CItem {
    record: CRecord,
    payload: *const c_void,
}

const _: () = assert!(
    size_of::<CRecord>() == 24 && size_of::<CItem>() == 24 + size_of::<usize>().next_multiple_of(8)
);

/// `aqd_named_value`.
#[repr(C)]
struct CNamedValue {
    name: *const c_void,
    value: *const c_void,
    name_bytes: u32,
    value_bytes: u32,
}

/// `aqd_status`, in the order of `aqueduct/status.h`.
pub const OK: i32 = 0;
pub const EMPTY: i32 = 1;
pub const CLOSED: i32 = 2;
pub const AHEAD: i32 = 6;
pub const HEADER: i32 = 16;
pub const PAYLOAD: i32 = 17;
pub const GAP: i32 = 18;
pub const SPACE: i32 = 19;
pub const TAIL: i32 = 20;
pub const OVERRUN: i32 = 21;
pub const GONE: i32 = 22;
pub const EPOCH: i32 = 23;
pub const MAGIC: i32 = 33;
pub const VERSION: i32 = 34;
pub const CHECKSUM: i32 = 35;
pub const GEOMETRY: i32 = 36;
pub const SIZE: i32 = 37;
pub const CURSOR: i32 = 38;

/// `AQD_BATCH_ALIGN_BYTES`.
pub const BATCH_ALIGN: usize = 8;

/// What each pair of functions, of a reader and of an observer, has in common.
type State = *mut c_void;

unsafe extern "C" {
    fn aqd_fuzz_reader_size() -> usize;
    fn aqd_fuzz_observer_size() -> usize;
    fn aqd_fuzz_position(reader: State) -> u64;
    fn aqd_fuzz_observer_position(observer: State) -> u64;
    fn aqd_fuzz_observer_used_up(observer: State) -> bool;
    fn aqd_fuzz_released(reader: State) -> u32;
    fn aqd_fuzz_expected(reader: State, seq: *mut u64) -> bool;
    fn aqd_fuzz_observer_expected(observer: State, seq: *mut u64) -> bool;
    fn aqd_fuzz_forget(reader: State);
    fn aqd_fuzz_observer_forget(observer: State);
    fn aqd_reader_init(
        reader: State,
        ring: *const c_void,
        ring_bytes: usize,
        cursor: *mut c_void,
        cursor_bytes: usize,
    ) -> i32;
    fn aqd_observer_init(observer: State, ring: *const c_void, ring_bytes: usize) -> i32;
    fn aqd_reader_next(reader: State, buffer: *mut c_void, cap: usize, record: *mut CRecord)
    -> i32;
    fn aqd_observer_next(
        observer: State,
        buffer: *mut c_void,
        cap: usize,
        record: *mut CRecord,
    ) -> i32;
    fn aqd_reader_next_batch(
        reader: State,
        buffer: *mut c_void,
        cap: usize,
        items: *mut CItem,
        max: usize,
        n: *mut usize,
    ) -> i32;
    fn aqd_observer_next_batch(
        observer: State,
        buffer: *mut c_void,
        cap: usize,
        items: *mut CItem,
        max: usize,
        n: *mut usize,
    ) -> i32;
    fn aqd_reader_view(reader: State, payload: *mut *const c_void, record: *mut CRecord) -> i32;
    fn aqd_reader_release(reader: State) -> bool;
    fn aqd_reader_peek(reader: State, record: *mut CRecord) -> i32;
    fn aqd_observer_peek(observer: State, record: *mut CRecord) -> i32;
    fn aqd_reader_skip(reader: State, record: *mut CRecord) -> i32;
    fn aqd_observer_skip(observer: State, record: *mut CRecord) -> i32;
    fn aqd_reader_seek(reader: State, epoch: u64, seq: u64) -> i32;
    fn aqd_observer_seek(observer: State, epoch: u64, seq: u64) -> i32;
    fn aqd_reader_skip_to_latest(reader: State) -> i32;
    fn aqd_observer_skip_to_latest(observer: State) -> i32;
    fn aqd_reader_measure_lag(reader: State, now_ns: u64, lag: *mut CLag) -> i32;
    fn aqd_observer_measure_lag(observer: State, now_ns: u64, lag: *mut CLag) -> i32;
    fn aqd_reader_prepare_sleep(reader: State, mode: u32, tail_seen: *mut u32) -> bool;
    fn aqd_reader_finish_sleep(reader: State, timed_out: bool);
    fn aqd_reader_ready(reader: State) -> bool;
    fn aqd_observer_ready(observer: State) -> bool;
    fn aqd_next_attribute(
        record: *const CRecord,
        payload: *const c_void,
        at: *mut u32,
        attribute: *mut CNamedValue,
    ) -> bool;
    fn aqd_attribute(
        record: *const CRecord,
        payload: *const c_void,
        name: *const c_char,
        bytes: *mut u32,
    ) -> *const c_void;
    fn aqd_reader_get_stats(reader: State) -> *const CStats;
    fn aqd_observer_get_stats(observer: State) -> *const CStats;
    fn aqd_reader_get_evidence(reader: State) -> *const CEvidence;
    fn aqd_observer_get_evidence(observer: State) -> *const CEvidence;
}

thread_local! {
    /// What happens before each load of a control word in C.
    static MEANWHILE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Called by `c/meanwhile.h`.
#[unsafe(no_mangle)]
extern "C" fn aqd_fuzz_before_load() {
    // Not borrowed while it acts.
    let act = MEANWHILE.with_borrow(Clone::clone);
    if let Some(act) = act {
        act();
    }
}

/// Runs a call of the C library with something that happens before each of its loads of a control
/// word.
pub fn meanwhile<T>(act: Rc<dyn Fn()>, call: impl FnOnce() -> T) -> T {
    MEANWHILE.set(Some(act));
    let result = call();
    MEANWHILE.set(None);
    result
}

/// Every attribute that C walks in a record's bytes.
#[must_use]
pub fn attributes<'b>(record: &CRecord, bytes: &'b [u8]) -> Vec<(&'b [u8], &'b [u8])> {
    assert_eq!(record.bytes(), bytes.len());
    let (mut found, mut at) = (Vec::new(), 0);
    let mut one = CNamedValue { name: null(), value: null(), name_bytes: 0, value_bytes: 0 };
    // SAFETY: a record and as many bytes as it says, room for the state and the answer.
    while unsafe { aqd_next_attribute(record, bytes.as_ptr().cast(), &raw mut at, &raw mut one) } {
        let part = |from: usize, len: u32| &bytes[from - bytes.as_ptr() as usize..][..len as usize];
        found.push((
            part(one.name as usize, one.name_bytes),
            part(one.value as usize, one.value_bytes),
        ));
    }
    found
}

/// What C finds by a name.
#[must_use]
pub fn attribute<'b>(record: &CRecord, bytes: &'b [u8], name: &CStr) -> Option<&'b [u8]> {
    assert_eq!(record.bytes(), bytes.len());
    let mut len = 77;
    // SAFETY: a record and as many bytes as it says, a string, room for a length.
    let value =
        unsafe { aqd_attribute(record, bytes.as_ptr().cast(), name.as_ptr(), &raw mut len) };
    if value.is_null() {
        assert_eq!(len, 0);
        return None;
    }
    Some(&bytes[value as usize - bytes.as_ptr() as usize..][..len as usize])
}

/// A C reader, or a C observer, of memory that lives for `'m`.
pub struct CSide<'m> {
    /// INVARIANT: room for what `observing` says, initialised with memory that lives for `'m`.
    state: Shared,
    observing: bool,
    memory: PhantomData<&'m Shared>,
}

/// The answer of a batch: its status, and the records with their payloads and where these lie in
/// the buffer.
pub type Batch = (i32, Vec<(CRecord, Vec<u8>, usize)>);

impl<'m> CSide<'m> {
    pub fn attach(
        ring: &'m Shared,
        ring_bytes: usize,
        page: &'m Shared,
        page_bytes: usize,
    ) -> (i32, Self) {
        // SAFETY: no arguments.
        let size = unsafe { aqd_fuzz_reader_size() };
        let new = Self { state: Shared::new(size), observing: false, memory: PhantomData };
        let (ring_bytes, page_bytes) = (ring_bytes.min(ring.size()), page_bytes.min(page.size()));
        // SAFETY: the state has its size and more than its alignment; both segments have these many
        // bytes and outlive `'m`.
        let status = unsafe {
            aqd_reader_init(
                new.raw(),
                ring.as_ptr().cast(),
                ring_bytes,
                page.as_ptr().cast(),
                page_bytes,
            )
        };
        (status, new)
    }

    pub fn observe(ring: &'m Shared, ring_bytes: usize) -> (i32, Self) {
        // SAFETY: no arguments.
        let size = unsafe { aqd_fuzz_observer_size() };
        let new = Self { state: Shared::new(size), observing: true, memory: PhantomData };
        // SAFETY: as in `attach`.
        let status = unsafe {
            aqd_observer_init(new.raw(), ring.as_ptr().cast(), ring_bytes.min(ring.size()))
        };
        (status, new)
    }

    fn raw(&self) -> State {
        self.state.as_ptr().cast()
    }

    /// Another one in the same state, on the same memory.
    #[must_use]
    pub fn twin(&self) -> Self {
        let state = Shared::new(self.state.size());
        state.write(0, &self.state.bytes());
        Self { state, ..*self }
    }

    pub fn next(&mut self, buffer: &mut [u8], record: &mut CRecord) -> i32 {
        let next = if self.observing { aqd_observer_next } else { aqd_reader_next };
        // SAFETY: initialised (invariant), a buffer of that many bytes, a record.
        unsafe { next(self.raw(), buffer.as_mut_ptr().cast(), buffer.len(), record) }
    }

    /// Copies what was lent. For readers.
    pub fn view(&mut self, record: &mut CRecord) -> (i32, Vec<u8>) {
        assert!(!self.observing);
        let mut payload = null();
        // SAFETY: an initialised reader (invariant), room for a pointer, a record.
        let status = unsafe { aqd_reader_view(self.raw(), &raw mut payload, record) };
        let mut copy = vec![0; if status == OK { record.bytes() } else { 0 }];
        if !copy.is_empty() {
            // SAFETY: the reader lends that many bytes at `payload` until the next release;
            // nobody writes meanwhile.
            unsafe { payload.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
        }
        (status, copy)
    }

    pub fn batch(&mut self, buffer: &mut [u8], max: usize) -> Batch {
        let next_batch =
            if self.observing { aqd_observer_next_batch } else { aqd_reader_next_batch };
        let mut items = vec![CItem { record: CRecord::default(), payload: null() }; max];
        let (mut n, base) = (usize::MAX, buffer.as_ptr() as usize);
        // SAFETY: initialised (invariant), a buffer of that many bytes, room for `max` items and a
        // number.
        let status = unsafe {
            next_batch(
                self.raw(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                items.as_mut_ptr(),
                max,
                &raw mut n,
            )
        };
        let taken = items[..n].iter().map(|item| {
            let at = item.payload as usize - base;
            (item.record, buffer[at..at + item.record.bytes()].to_vec(), at)
        });
        (status, taken.collect())
    }

    pub fn peek(&mut self, record: &mut CRecord) -> i32 {
        let peek = if self.observing { aqd_observer_peek } else { aqd_reader_peek };
        // SAFETY: initialised (invariant), a record.
        unsafe { peek(self.raw(), record) }
    }

    pub fn skip(&mut self, record: &mut CRecord) -> i32 {
        let skip = if self.observing { aqd_observer_skip } else { aqd_reader_skip };
        // SAFETY: initialised (invariant), a record.
        unsafe { skip(self.raw(), record) }
    }

    pub fn seek(&mut self, epoch: u64, seq: u64) -> i32 {
        let seek = if self.observing { aqd_observer_seek } else { aqd_reader_seek };
        // SAFETY: initialised (invariant).
        unsafe { seek(self.raw(), epoch, seq) }
    }

    pub fn skip_to_latest(&mut self) -> i32 {
        let skip =
            if self.observing { aqd_observer_skip_to_latest } else { aqd_reader_skip_to_latest };
        // SAFETY: initialised (invariant).
        unsafe { skip(self.raw()) }
    }

    pub fn lag(&self, now_ns: u64) -> (i32, CLag) {
        let lag = if self.observing { aqd_observer_measure_lag } else { aqd_reader_measure_lag };
        let mut measured = CLag { records: 7, bytes: 7, age_ns: 7 };
        // SAFETY: initialised (invariant), room for a lag.
        (unsafe { lag(self.raw(), now_ns, &raw mut measured) }, measured)
    }

    pub fn release(&mut self) -> bool {
        assert!(!self.observing);
        // SAFETY: an initialised reader (invariant).
        unsafe { aqd_reader_release(self.raw()) }
    }

    pub fn prepare_sleep(&mut self, mode: u32) -> Option<u32> {
        assert!(!self.observing);
        let mut tail = 0;
        // SAFETY: an initialised reader (invariant) and room for a word.
        unsafe { aqd_reader_prepare_sleep(self.raw(), mode, &raw mut tail) }.then_some(tail)
    }

    pub fn finish_sleep(&mut self, timed_out: bool) {
        assert!(!self.observing);
        // SAFETY: an initialised reader (invariant).
        unsafe { aqd_reader_finish_sleep(self.raw(), timed_out) }
    }

    #[must_use]
    pub fn ready(&self) -> bool {
        let ready = if self.observing { aqd_observer_ready } else { aqd_reader_ready };
        // SAFETY: initialised (invariant).
        unsafe { ready(self.raw()) }
    }

    #[must_use]
    pub fn position(&self) -> u32 {
        let position = if self.observing { aqd_fuzz_observer_position } else { aqd_fuzz_position };
        // SAFETY: initialised (invariant).
        unsafe { position(self.raw()) as u32 }
    }

    /// Whether all before the last tail it has seen is used up. For observers.
    #[must_use]
    pub fn used_up(&self) -> bool {
        assert!(self.observing);
        // SAFETY: an initialised observer (invariant).
        unsafe { aqd_fuzz_observer_used_up(self.raw()) }
    }

    /// The number of the next record, if it is known.
    #[must_use]
    pub fn expected(&self) -> Option<u64> {
        let expected = if self.observing { aqd_fuzz_observer_expected } else { aqd_fuzz_expected };
        let mut seq = 0;
        // SAFETY: initialised (invariant), room for a number.
        unsafe { expected(self.raw(), &raw mut seq) }.then_some(seq)
    }

    pub fn forget(&mut self) {
        let forget = if self.observing { aqd_fuzz_observer_forget } else { aqd_fuzz_forget };
        // SAFETY: initialised (invariant).
        unsafe { forget(self.raw()) }
    }

    /// What was released last, as the page says.
    #[must_use]
    pub fn released(&self) -> u32 {
        assert!(!self.observing);
        // SAFETY: an initialised reader (invariant), whose page is alive.
        unsafe { aqd_fuzz_released(self.raw()) }
    }

    #[must_use]
    pub fn stats(&self) -> CStats {
        let stats = if self.observing { aqd_observer_get_stats } else { aqd_reader_get_stats };
        // SAFETY: initialised (invariant).
        let stats = unsafe { stats(self.raw()) };
        // SAFETY: it points to a field of the state.
        unsafe { *stats }
    }

    #[must_use]
    pub fn evidence(&self) -> CEvidence {
        let evidence =
            if self.observing { aqd_observer_get_evidence } else { aqd_reader_get_evidence };
        // SAFETY: initialised (invariant).
        let evidence = unsafe { evidence(self.raw()) };
        // SAFETY: it points to a field of the state.
        unsafe { *evidence }
    }
}
