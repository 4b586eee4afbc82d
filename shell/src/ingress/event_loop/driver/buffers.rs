//! Buffers that go round: those who need one take it and give it back, so that an idle connection
//! holds none.

use std::cell::RefCell;
use std::rc::Rc;

/// Most buffers kept for the next one who asks.
const KEPT: usize = 256;
/// Largest buffer kept, bytes. A larger one was an exception and goes back to the allocator.
const KEPT_BYTES: usize = 64 << 10;

/// A bounded stock of empty buffers, shared by a loop and its driver, which run in one thread.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Rc<RefCell<Vec<Vec<u8>>>>);

impl Buffers {
    /// Takes an empty buffer.
    pub fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Gives a buffer back, whatever is in it.
    pub fn give(&self, mut buffer: Vec<u8>) {
        let mut free = self.0.borrow_mut();
        if (1..=KEPT_BYTES).contains(&buffer.capacity()) && free.len() < KEPT {
            buffer.clear();
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_taken_again_empty() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.extend_from_slice(&[1; 100]);
        let (address, capacity) = (first.as_ptr(), first.capacity());
        buffers.give(first);
        let second = buffers.take();
        assert_eq!((second.as_ptr(), second.capacity(), second.len()), (address, capacity, 0));
    }

    #[test]
    fn neither_large_nor_many_buffers_are_kept() {
        let buffers = Buffers::default();
        buffers.give(Vec::with_capacity(KEPT_BYTES + 1));
        buffers.give(Vec::new());
        assert!(buffers.0.borrow().is_empty());
        for _ in 0..=KEPT {
            buffers.give(Vec::with_capacity(8));
        }
        assert_eq!(buffers.0.borrow().len(), KEPT);
    }
}
