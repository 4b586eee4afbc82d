//! A segment under loom: control words are loom atomics, everything else is loom cells or relaxed
//! loom words.
//!
//! Cells make loom report an access that the protocol does not order; words make it return every
//! value that a relaxed load may see. Only meaningful inside a loom model.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::layout::{
    CURSOR_BYTES_MIN, DATA_OFFSET_MIN, GRANULE_BYTES, cursor_word, ring_word,
};
use aqueduct_core::memory::Span;
use aqueduct_core::{Memory, MemoryMut};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

/// Bytes of a word of data, and of one of a head, as in `Region`.
const WORD_BYTES: usize = 8;
const HEAD_WORD_BYTES: usize = 4;
/// Bytes in front of the control words of a ring: its header.
const RING_HEAD: usize = 128;
/// Bytes in front of the control words of a page: its identity.
const PAGE_HEAD: usize = 64;

/// What takes the place of the bytes that are not control words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// One loom cell per granule: an access that is not ordered after the last conflicting one
    /// fails the model. For gating readers.
    Cells,
    /// One relaxed loom atomic per word: every stale value is tried. For accesses that are
    /// checked afterwards: creation, observers.
    Words,
}

/// One loom cell.
struct Granule(UnsafeCell<[u8; GRANULE_BYTES]>);

// SAFETY: loom runs one thread at a time and reports unordered accesses before it makes them; the
// cell is reached in this module only, by `with` and `with_mut`.
unsafe impl Sync for Granule {}

enum Store {
    Cells(Vec<Granule>),
    Words { head: Vec<AtomicU32>, data: Vec<AtomicU64> },
}

struct Shared {
    size: usize,
    /// Length of the bytes before the control words.
    head: usize,
    /// Offset of the bytes after them; `size` if there are none.
    data: usize,
    control: Vec<(usize, AtomicU32)>,
    store: Store,
}

/// A ring or a page of a loom model. Clones are the same memory.
#[derive(Clone)]
pub struct LoomMemory(Arc<Shared>);

impl LoomMemory {
    /// A zeroed ring segment with the data area after the smallest header.
    #[must_use]
    pub fn ring(capacity_granules: usize, bytes: Bytes) -> Self {
        let data = DATA_OFFSET_MIN as usize;
        let words = [
            ring_word::TAIL,
            ring_word::NEXT_SEQ,
            ring_word::OLDEST,
            ring_word::STATE,
            ring_word::SPACE_WANTED,
        ];
        Self::new(data + capacity_granules * GRANULE_BYTES, RING_HEAD, data, &words, bytes)
    }

    /// A zeroed cursor segment.
    #[must_use]
    pub fn page(bytes: Bytes) -> Self {
        use cursor_word::{CORRUPT, CURSOR, LOST, MISSED_WAKES, WAITING};
        Self::new(
            CURSOR_BYTES_MIN,
            PAGE_HEAD,
            CURSOR_BYTES_MIN,
            &[CURSOR, WAITING, CORRUPT, LOST, MISSED_WAKES],
            bytes,
        )
    }

    fn new(size: usize, head: usize, data: usize, words: &[usize], bytes: Bytes) -> Self {
        let plain = head + size - data;
        let store = match bytes {
            Bytes::Cells => Store::Cells(
                (0..plain / GRANULE_BYTES)
                    .map(|_| Granule(UnsafeCell::new([0; GRANULE_BYTES])))
                    .collect(),
            ),
            Bytes::Words => Store::Words {
                head: (0..head / HEAD_WORD_BYTES).map(|_| AtomicU32::new(0)).collect(),
                data: (0..(size - data) / WORD_BYTES).map(|_| AtomicU64::new(0)).collect(),
            },
        };
        Self(Arc::new(Shared {
            size,
            head,
            data,
            control: words.iter().map(|&at| (at, AtomicU32::new(0))).collect(),
            store,
        }))
    }

    fn control(&self, at: usize) -> &AtomicU32 {
        let word = self.0.control.iter().find(|word| word.0 == at);
        &word.unwrap_or_else(|| panic!("no control word at {at}")).1
    }

    /// Where `len` bytes from `at` begin in the store; they must not touch the control words.
    fn plain(&self, at: usize, len: usize) -> usize {
        let shared = &self.0;
        let inside = at + len <= shared.head || (at >= shared.data && at + len <= shared.size);
        assert!(inside, "{len} bytes at {at} are not all plain bytes of the segment");
        if at < shared.head { at } else { shared.head + at - shared.data }
    }
}

/// Splits `len` bytes from `at` into pieces within one unit: (index of the unit, offset within it,
/// range of the bytes).
fn pieces(
    at: usize,
    len: usize,
    unit: usize,
) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let (index, within) = ((at + done) / unit, (at + done) % unit);
        let range = done..len.min(done + unit - within);
        done = range.end;
        (!range.is_empty()).then_some((index, within, range))
    })
}

impl Memory for LoomMemory {
    fn size(&self) -> usize {
        self.0.size
    }

    fn load(&self, at: usize, order: Ordering) -> u32 {
        self.control(at).load(order)
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        assert!(at.is_multiple_of(GRANULE_BYTES), "read at {at}");
        let at = self.plain(at, into.len());
        match &self.0.store {
            Store::Cells(cells) => {
                for (index, within, range) in pieces(at, into.len(), GRANULE_BYTES) {
                    // SAFETY: loom has just checked that no write of this granule is unordered with
                    // this read; the pointer is its own.
                    let granule = cells[index].0.with(|granule| unsafe { *granule });
                    let len = range.len();
                    into[range].copy_from_slice(&granule[within..within + len]);
                }
            }
            Store::Words { head, .. } if at < self.0.head => {
                for (index, within, range) in pieces(at, into.len(), HEAD_WORD_BYTES) {
                    // ORDER(payload): Relaxed, as in `Region::read`.
                    let word = head[index].load(Ordering::Relaxed).to_le_bytes();
                    let len = range.len();
                    into[range].copy_from_slice(&word[within..within + len]);
                }
            }
            Store::Words { data, .. } => {
                for (index, within, range) in pieces(at - self.0.head, into.len(), WORD_BYTES) {
                    // ORDER(payload): Relaxed, as in `Region::read`.
                    let word = data[index].load(Ordering::Relaxed).to_le_bytes();
                    let len = range.len();
                    into[range].copy_from_slice(&word[within..within + len]);
                }
            }
        }
    }

    /// The words are the model checker's own.
    fn span(&self, _: usize, _: usize) -> Option<Span<'_>> {
        None
    }

    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

impl MemoryMut for LoomMemory {
    fn store(&self, at: usize, value: u32, order: Ordering) {
        self.control(at).store(value, order);
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        assert!(at.is_multiple_of(WORD_BYTES), "write at {at}");
        // The last word is filled up with zeros, as the trait asks.
        let mut filled = bytes.to_vec();
        filled.resize(bytes.len().next_multiple_of(WORD_BYTES), 0);
        let at = self.plain(at, filled.len());
        match &self.0.store {
            Store::Cells(cells) => {
                for (index, within, range) in pieces(at, filled.len(), GRANULE_BYTES) {
                    cells[index].0.with_mut(|granule| {
                        // SAFETY: loom has just checked that no other access of this granule is
                        // unordered with this write; the pointer is its own.
                        let granule = unsafe { &mut *granule };
                        granule[within..within + range.len()].copy_from_slice(&filled[range]);
                    });
                }
            }
            Store::Words { head, .. } if at < self.0.head => {
                for (index, _, range) in pieces(at, filled.len(), HEAD_WORD_BYTES) {
                    let mut word = [0; HEAD_WORD_BYTES];
                    word.copy_from_slice(&filled[range]);
                    // ORDER(payload): Relaxed, as in `Region::write`.
                    head[index].store(u32::from_le_bytes(word), Ordering::Relaxed);
                }
            }
            Store::Words { data, .. } => {
                for (index, _, range) in pieces(at - self.0.head, filled.len(), WORD_BYTES) {
                    let mut word = [0; WORD_BYTES];
                    word.copy_from_slice(&filled[range]);
                    // ORDER(payload): Relaxed, as in `Region::write`.
                    data[index].store(u64::from_le_bytes(word), Ordering::Relaxed);
                }
            }
        }
    }
}
