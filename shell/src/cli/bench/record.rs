//! The records of a run: each says which it is and when it was due, in text without a line feed, so
//! that every protocol can carry it.

use std::time::Duration;

/// What begins each of them.
const WORD: &str = "aqueduct-bench";

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) run: u64,
    pub(super) connection: u32,
    /// Of the connection, from 0.
    pub(super) number: u64,
    /// When it was due to be sent, nanoseconds after the beginning of the run.
    pub(super) due_ns: u64,
}

impl Mark {
    /// Writes a record of at least this size.
    pub(super) fn write(self, bytes: usize) -> Vec<u8> {
        let Self { run, connection, number, due_ns } = self;
        let mut record = format!("{WORD} {run:x} {connection} {number} {due_ns} ").into_bytes();
        if record.len() < bytes {
            record.resize(bytes, b'.');
        }
        record
    }

    /// Reads one; `None` if it is somebody else's record.
    pub(super) fn read(record: &[u8]) -> Option<Self> {
        let head = &record[..record.len().min(128)];
        let mut words = head.split(|&byte| byte == b' ').map(|word| std::str::from_utf8(word).ok());
        let mut word = || words.next().flatten();
        (word()? == WORD).then_some(())?;
        Some(Self {
            run: u64::from_str_radix(word()?, 16).ok()?,
            connection: word()?.parse().ok()?,
            number: word()?.parse().ok()?,
            due_ns: word()?.parse().ok()?,
        })
    }
}

/// A time that no run reaches the end of.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_was_written_and_has_the_size() {
        let mark = Mark { run: 0xfeed, connection: 3, number: 17, due_ns: 12_345 };
        for bytes in [0, 10, 100, 1000] {
            let record = mark.write(bytes);
            assert!(record.len() >= bytes && !record.contains(&b'\n'));
            assert_eq!(Mark::read(&record), Some(mark));
        }
        for other in [&b""[..], b"aqueduct-bench", b"aqueduct-bench x 1 2 3 ", b"hello \xff"] {
            assert_eq!(Mark::read(other), None);
        }
    }
}
