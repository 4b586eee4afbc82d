//! The bounded queue between the threads that log and the one that writes.
//!
//! Pushing never blocks and never makes a system call that can: a line that finds the queue full is
//! dropped and counted. Only the writer's thread touches the descriptor.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// Most bytes of lines that wait to be written.
const QUEUE_BYTES: usize = 1 << 20;

/// Lines on their way to a descriptor.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Notified when there is a line, or an earlier time to look.
    filled: Condvar,
    /// Notified when everything was written.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// INVARIANT: the sum of their sizes, at most [`QUEUE_BYTES`].
    bytes: usize,
    /// A line is being written.
    writing: bool,
    dropped: u64,
    /// Nothing was taken since somebody gave up waiting for it.
    is_deaf: bool,
    /// When the writer looks for something to summarize.
    look_at: Option<Instant>,
}

/// What the writer does next.
enum Next {
    Line(Vec<u8>),
    Look,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), filled: Condvar::new(), emptied: Condvar::new() })
    }

    /// Queues a line, or drops it.
    pub(super) fn push(&self, line: Vec<u8>) {
        {
            let mut state = lock(&self.state);
            if line.len() > QUEUE_BYTES - state.bytes {
                state.dropped += 1;
                return;
            }
            state.bytes += line.len();
            state.lines.push_back(line);
        }
        self.filled.notify_one();
    }

    /// Has the writer look for something to summarize at this time, or earlier.
    pub(super) fn look_at(&self, time: Instant) {
        {
            let mut state = lock(&self.state);
            state.look_at = Some(state.look_at.map_or(time, |before| before.min(time)));
        }
        self.filled.notify_one();
    }

    /// Returns when the writer is to look.
    #[cfg(test)]
    pub(super) fn looks_at(&self) -> Option<Instant> {
        lock(&self.state).look_at
    }

    /// Returns how many lines were lost, because the queue was full or the other end was gone.
    pub(super) fn dropped(&self) -> u64 {
        lock(&self.state).dropped
    }

    /// Waits until everything was written, but not longer than this, and not once more for who has
    /// taken nothing since the last time.
    pub(super) fn flush(&self, timeout: Duration) {
        let state = lock(&self.state);
        let waiting =
            |state: &mut State| !state.is_deaf && (state.writing || !state.lines.is_empty());
        let waited = self.emptied.wait_timeout_while(state, timeout, waiting);
        let (mut state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_deaf |= waited.timed_out();
    }

    /// Writes lines for ever. `look` is called when it is time to summarize, and may push lines.
    pub(super) fn write(&self, mut out: impl Write, look: impl Fn()) {
        loop {
            match self.next() {
                Next::Look => look(),
                Next::Line(line) => {
                    let written = out.write_all(&line).and_then(|()| out.flush());
                    let mut state = lock(&self.state);
                    state.writing = false;
                    state.is_deaf = false;
                    if written.is_err() {
                        state.dropped += 1;
                    }
                    if state.lines.is_empty() {
                        self.emptied.notify_all();
                    }
                }
            }
        }
    }

    /// Writes the lines that are there, in place of a writer.
    pub(super) fn write_what_is_there(&self, mut out: impl Write) {
        loop {
            let Some(line) = lock(&self.state).lines.pop_front() else { return };
            let written = out.write_all(&line);
            let mut state = lock(&self.state);
            state.bytes -= line.len();
            state.dropped += u64::from(written.is_err());
        }
    }

    fn next(&self) -> Next {
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            if state.look_at.is_some_and(|time| time <= now) {
                state.look_at = None;
                return Next::Look;
            }
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return Next::Line(line);
            }
            state = match state.look_at {
                Some(time) => {
                    self.filled
                        .wait_timeout(state, time - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Blocks in its first write until the other end of the channel goes.
    struct Stuck(std::sync::mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Lines(Sender<Vec<u8>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_no_time() {
        let queue = Queue::new();
        let (unblock, stuck) = channel();
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || writer.write(Stuck(stuck), || {}));
        let begun = Instant::now();
        for _ in 0..3 * QUEUE_BYTES / 1024 {
            queue.push(vec![b'x'; 1024]);
        }
        queue.flush(Duration::from_millis(10));
        // Whoever ends the process after that does not wait once more.
        queue.flush(Duration::from_secs(3600));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let lost = queue.dropped();
        assert!((2047..=2048).contains(&lost), "{lost}");
        drop(unblock);
        let until = Instant::now() + Duration::from_secs(10);
        while !lock(&queue.state).lines.is_empty() {
            queue.flush(Duration::from_secs(10));
            assert!(Instant::now() < until, "what is taken is written");
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_are_written_in_their_order_and_lost_ones_counted_when_the_other_end_is_gone() {
        let queue = Queue::new();
        let (sender, lines) = channel();
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || writer.write(Lines(sender), || {}));
        for n in 0..100 {
            queue.push(vec![n]);
        }
        queue.flush(Duration::from_secs(10));
        assert_eq!(lines.try_iter().flatten().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        drop(lines);
        queue.push(vec![1]);
        queue.flush(Duration::from_secs(10));
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn without_a_writer_the_last_words_are_written_by_who_has_them() {
        let queue = Queue::new();
        queue.push(b"a\n".to_vec());
        queue.push(b"b\n".to_vec());
        let mut out = Vec::new();
        queue.write_what_is_there(&mut out);
        assert_eq!((out.as_slice(), lock(&queue.state).bytes), (&b"a\nb\n"[..], 0));
    }

    #[test]
    fn it_looks_when_it_is_time_even_if_nothing_is_logged() {
        let queue = Queue::new();
        let (sender, looks) = channel();
        let writer = Arc::clone(&queue);
        let look = move || sender.send(()).expect("the test waits");
        std::thread::spawn(move || writer.write(io::sink(), look));
        queue.look_at(Instant::now() + Duration::from_secs(3600));
        queue.look_at(Instant::now() + Duration::from_millis(1));
        assert!(looks.recv_timeout(Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn what_was_written_makes_room_for_as_much() {
        let queue = Queue::new();
        for _ in 0..3 {
            queue.push(vec![b'x'; QUEUE_BYTES]);
            queue.write_what_is_there(io::sink());
        }
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || writer.write(io::sink(), || {}));
        for _ in 0..3 {
            queue.push(vec![b'x'; QUEUE_BYTES - 1]);
            queue.flush(Duration::from_secs(10));
            assert_eq!(lock(&queue.state).bytes, 0);
        }
        assert_eq!(queue.dropped(), 0);
        queue.push(vec![b'x'; QUEUE_BYTES + 1]);
        assert_eq!(queue.dropped(), 1, "it never has room");
        // What cannot be written without a writer is lost, too.
        let queue = Queue::new();
        queue.push(vec![b'x']);
        queue.write_what_is_there(&mut [0; 0][..]);
        assert_eq!(queue.dropped(), 1);
    }
}
