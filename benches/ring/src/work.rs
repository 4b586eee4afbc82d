//! The work that every subject does: numbered payloads that are checked on arrival, and how a side
//! waits.

/// Data area of every ring, bytes; other media get room for as many records.
pub const CAPACITY_BYTES: usize = 4 << 20;

/// A receiver gives space back after so many records, and whenever there is nothing to read.
pub const RELEASE_EVERY: u32 = 64;

/// A payload whose first eight bytes are its number and whose last eight are the complement.
pub struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// Of this many bytes, at least 16.
    pub fn new(bytes: usize) -> Self {
        assert!(bytes >= 16, "a number and its complement");
        Self { bytes: (0..=u8::MAX).cycle().take(bytes).collect() }
    }

    /// The payload of this number.
    #[inline]
    pub fn numbered(&mut self, seq: u64) -> &[u8] {
        stamp(&mut self.bytes, seq);
        &self.bytes
    }
}

/// Writes a number into the first eight bytes and its complement into the last.
#[inline]
pub fn stamp(bytes: &mut [u8], seq: u64) {
    if let Some(first) = bytes.first_chunk_mut() {
        *first = seq.to_le_bytes();
    }
    if let Some(last) = bytes.last_chunk_mut() {
        *last = (!seq).to_le_bytes();
    }
}

/// Refuses a payload that is not the one of this number and length. What lies between is the
/// business of its CRC.
///
/// # Panics
/// It is another.
#[inline]
pub fn check(payload: &[u8], seq: u64, bytes: usize) {
    let same = payload.len() == bytes
        && payload.first_chunk() == Some(&seq.to_le_bytes())
        && payload.last_chunk() == Some(&(!seq).to_le_bytes());
    assert!(same, "record {seq} of {bytes} bytes: not what was sent");
}

/// How a side waits for the other where only throughput counts: 512 pauses, some ten microseconds;
/// after 64 times it yields the core as well. A side that looks more often takes the lines away
/// that the other is about to write. The C reader waits in the same way.
#[derive(Default)]
pub struct Backoff {
    step: u32,
}

impl Backoff {
    /// Waits.
    #[inline]
    pub fn pause(&mut self) {
        for _ in 0..512 {
            std::hint::spin_loop();
        }
        if self.step > 64 {
            std::thread::yield_now();
        }
        self.step += 1;
    }

    /// Something happened: start from the beginning.
    #[inline]
    pub const fn reset(&mut self) {
        self.step = 0;
    }
}

/// Tries until it succeeds; a side that was preempted is not in the way of the other for long.
#[inline]
pub fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    for tries in 1_u64.. {
        if let Some(value) = attempt() {
            return value;
        }
        std::hint::spin_loop();
        if tries.is_multiple_of(4096) {
            std::thread::yield_now();
        }
    }
    unreachable!("it tries for centuries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_of_another_number_is_refused() {
        let mut payload = Payload::new(16);
        check(payload.numbered(7), 7, 16);
        assert!(std::panic::catch_unwind(move || check(payload.numbered(7), 8, 16)).is_err());
    }
}
