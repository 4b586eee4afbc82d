//! What a connection has sent and its codec has not consumed.

use std::sync::Arc;

use super::driver::Buffers;
use crate::limits::{ByteLimit, Held};

/// There is no memory for what a connection sent, or others hold all that there may be.
pub(super) struct NoRoom;

/// Bytes that are consumed at the front and grow at the end.
///
/// A consumed front stays where it is until it is half of the buffer. So a client that pipelines
/// much, and whose answers are sent a part at a time, costs about one copy of each byte as it is
/// consumed, and not one of everything for each part.
pub(super) struct Input {
    bytes: Vec<u8>,
    /// Consumed. INVARIANT: at most `bytes.len()`, and 0 if that is 0.
    from: usize,
    /// Its share of what all connections may keep. INVARIANT: at least the capacity of `bytes`.
    held: Held,
}

impl Input {
    /// Nothing, without a buffer.
    pub(super) fn new(limit: &Arc<ByteLimit>) -> Self {
        Self { bytes: Vec::new(), from: 0, held: Held::nothing(limit) }
    }

    /// Returns what is not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    /// The same, to be decoded: a codec may rewrite it.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.from..]
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.from
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what came, of which decoding needs so many bytes in all.
    pub(super) fn keep(
        &mut self,
        more: &[u8],
        need: usize,
        buffers: &Buffers,
    ) -> Result<(), NoRoom> {
        if more.is_empty() {
            return Ok(());
        }
        if self.bytes.capacity() == 0 {
            self.bytes = buffers.take();
        }
        if self.bytes.len() + more.len() > self.bytes.capacity() {
            self.compact();
        }
        if !self.held.reserve(&mut self.bytes, more.len(), need) {
            return Err(NoRoom);
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// Drops `consumed` bytes at the front, and all from `end` on.
    pub(super) fn consume(&mut self, consumed: usize, end: usize, buffers: &Buffers) {
        self.bytes.truncate(self.from + end);
        self.from += consumed;
        if self.is_empty() {
            self.discard(buffers);
        } else if self.from >= self.len() {
            self.compact();
        }
    }

    /// Drops everything, and the buffer.
    pub(super) fn discard(&mut self, buffers: &Buffers) {
        self.from = 0;
        if self.bytes.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.bytes));
            let _ = self.held.resize(0);
        }
    }

    /// Takes what is not consumed, for another owner.
    pub(super) fn take(mut self) -> Vec<u8> {
        self.compact();
        std::mem::take(&mut self.bytes)
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.from);
        self.from = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> (Input, Buffers) {
        (Input::new(&ByteLimit::new(1 << 20)), Buffers::default())
    }

    #[test]
    fn what_is_consumed_at_the_front_is_gone_and_the_rest_stays() {
        let (mut input, buffers) = input();
        for round in 0..50_u8 {
            let came: Vec<u8> = (0..100).map(|at| at ^ round).collect();
            assert!(input.keep(&came, 1, &buffers).is_ok());
        }
        let whole = input.bytes().to_vec();
        let mut at = 0;
        while at < whole.len() {
            let bytes = 1 + at % 97;
            assert_eq!(input.bytes(), &whole[at..]);
            let (left, bytes) = (input.len(), bytes.min(whole.len() - at));
            input.consume(bytes, left, &buffers);
            at += bytes;
        }
        assert!(input.is_empty());
        assert_eq!((input.bytes.capacity(), input.from), (0, 0), "the buffer is given back");
    }

    #[test]
    fn an_end_that_a_codec_has_moved_is_cut_off() {
        let (mut input, buffers) = input();
        assert!(input.keep(b"abcdefgh", 1, &buffers).is_ok());
        input.consume(2, 8, &buffers);
        input.bytes_mut()[1] = b'D';
        input.consume(1, 4, &buffers);
        assert_eq!(input.bytes(), b"Def");
        assert!(input.keep(b"x", 1, &buffers).is_ok());
        assert_eq!(input.take(), b"Defx");
    }

    #[test]
    fn a_little_consumed_of_much_moves_nothing_and_all_moves_are_few() {
        let (mut input, buffers) = input();
        assert!(input.keep(&vec![7; 1 << 16], 1, &buffers).is_ok());
        let (mut moves, mut before) = (0, 0);
        while !input.is_empty() {
            let left = input.len();
            input.consume(16, left, &buffers);
            moves += u32::from(input.from < before);
            before = input.from;
        }
        assert!(moves < 20, "{moves} moves of {} parts", (1 << 16) / 16);
    }

    #[test]
    fn what_is_kept_counts_and_beyond_the_limit_there_is_no_room() {
        let limit = ByteLimit::new(1000);
        let (mut input, buffers) = (Input::new(&limit), Buffers::default());
        assert!(input.keep(&[1; 600], 1, &buffers).is_ok());
        assert!(input.keep(&[2; 600], 1, &buffers).is_err());
        assert_eq!(input.len(), 600);
        // The consumed front is room again.
        input.consume(200, 600, &buffers);
        assert!(input.keep(&[3; 500], 900, &buffers).is_ok());
        assert_eq!((input.len(), input.bytes()[0], input.bytes()[899]), (900, 1, 3));
    }
}
