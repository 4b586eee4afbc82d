//! What a call takes of the heap, counted for its thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that the thread has taken and not given back; what it gives back for others counts
    /// against it.
    static USED: Cell<isize> = const { Cell::new(0) };
    /// The most that they were.
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static HEAP: Counting = Counting;

fn count(more: usize, less: usize) {
    // A thread that ends is not counted any more.
    let _ = USED.try_with(|used| {
        used.set(used.get() + more.cast_signed() - less.cast_signed());
        let _ = MOST.try_with(|most| most.set(most.get().max(used.get())));
    });
}

// SAFETY: every call is the system allocator's, with what the caller has promised; counting touches
// no heap, and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promises are those that it wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as above; the pointer came from there.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as above; the pointer came from there.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Calls `f`: what it returns, and the most bytes of heap that it had at once.
pub fn most<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = USED.with(Cell::get);
    MOST.with(|most| most.set(before));
    let result = f();
    let most = MOST.with(Cell::get) - before;
    (result, usize::try_from(most).unwrap_or(0))
}
