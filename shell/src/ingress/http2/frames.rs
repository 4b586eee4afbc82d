//! Watches the frames that a peer sends go by: what it has begun and not finished, and whether it
//! talks without saying anything.
//!
//! Pure. hyper decodes the frames; what is looked at here are their nine bytes of head only
//! (RFC 9113 §4.1).

use std::time::{Duration, Instant};

/// Bytes of the client's connection preface (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;
/// Bytes of a frame's head.
const HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Frames that carry nothing which a connection may send in a row.
const CREDIT_MAX: u32 = 10_000;
/// How many more it may send with each second.
const CREDIT_PER_SECOND: u64 = 100;
/// How many more with each request: windows are updated, and some requests cancelled.
const CREDIT_PER_REQUEST: u32 = 4;
/// What a cancelled stream costs. A request begun costs more than a frame.
const RESET_COST: u32 = 16;

/// What a peer has sent so far, as far as it matters.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of `head` that are there.
    have: usize,
    /// Bytes of the preface or of the payload that are missing.
    missing: u32,
    /// Nothing slow is wrong with what is missing: it is the payload of DATA.
    is_data: bool,
    /// Inside a header block: only CONTINUATION may follow.
    in_block: bool,
    /// When the first byte came of what is not finished.
    unfinished_since: Option<Instant>,
    credit: u32,
    credited_at: Instant,
}

impl Frames {
    /// Watches a connection from its first byte on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            head: [0; HEAD_BYTES],
            have: 0,
            missing: PREFACE_BYTES,
            is_data: false,
            in_block: false,
            unfinished_since: Some(now),
            credit: CREDIT_MAX,
            credited_at: now,
        }
    }

    /// Looks at what came.
    pub(super) fn pass(&mut self, mut bytes: &[u8], now: Instant) {
        self.earn(now);
        while !bytes.is_empty() {
            if self.missing > 0 {
                let count = bytes.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
                self.missing -= u32::try_from(count).unwrap_or(self.missing);
                bytes = &bytes[count..];
            } else {
                let count = bytes.len().min(HEAD_BYTES - self.have);
                self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
                self.have += count;
                bytes = &bytes[count..];
                if self.have == HEAD_BYTES {
                    self.have = 0;
                    self.begin();
                }
            }
            if self.missing == 0 && self.have == 0 && !self.in_block || self.is_data {
                self.unfinished_since = None;
            }
            if self.missing == 0 {
                self.is_data = false;
            }
        }
        let unfinished = self.in_block || self.have > 0 || self.missing > 0 && !self.is_data;
        if unfinished {
            self.unfinished_since.get_or_insert(now);
        }
    }

    /// Takes a complete head of a frame.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.missing = u32::from_be_bytes([0, a, b, c]);
        self.is_data = kind == DATA && self.missing > 0;
        match kind {
            HEADERS | PUSH_PROMISE | CONTINUATION => self.in_block = flags & END_HEADERS == 0,
            _ => {}
        }
        match kind {
            HEADERS => self.credit = (self.credit + CREDIT_PER_REQUEST).min(CREDIT_MAX),
            DATA if self.missing > 0 || flags & END_STREAM != 0 => {}
            CONTINUATION if self.missing > 0 => {}
            RST_STREAM => self.credit = self.credit.saturating_sub(RESET_COST),
            _ => self.credit = self.credit.saturating_sub(1),
        }
    }

    fn earn(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.credited_at);
        let earned = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let earned = earned.saturating_mul(CREDIT_PER_SECOND) / 1_000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(CREDIT_MAX);
            self.credit = self.credit.saturating_add(earned).min(CREDIT_MAX);
            self.credited_at = now;
        }
    }

    /// Returns whether the peer has sent more frames that carry nothing than anyone needs.
    pub(super) fn is_flood(&self) -> bool {
        self.credit == 0
    }

    /// Returns until when the peer must finish what it has begun, other than a body.
    pub(super) fn deadline(&self, time: Duration) -> Option<Instant> {
        self.unfinished_since.map(|since| since + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("small").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head[..], &vec![0; payload]].concat()
    }

    fn begun() -> (Frames, Instant) {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.pass(&[b'P'; 24], now);
        (frames, now)
    }

    fn unfinished(frames: &Frames) -> bool {
        frames.deadline(Duration::ZERO).is_some()
    }

    #[test]
    fn whole_frames_leave_nothing_unfinished_however_they_are_cut() {
        let all = [
            frame(4, 0, 12),
            frame(HEADERS, 0, 5),
            frame(CONTINUATION, END_HEADERS, 7),
            frame(DATA, END_STREAM, 300),
            frame(DATA, END_STREAM, 0),
        ]
        .concat();
        for size in 1..all.len() {
            let (mut frames, now) = begun();
            assert!(!unfinished(&frames));
            all.chunks(size).for_each(|piece| frames.pass(piece, now));
            assert!(!unfinished(&frames), "pieces of {size}: {frames:?}");
        }
    }

    #[test]
    fn a_header_block_is_unfinished_from_its_first_byte_to_the_end_of_its_last_frame() {
        let (mut frames, now) = begun();
        let second = Duration::from_secs(1);
        frames.pass(&[0], now);
        frames.pass(&frame(HEADERS, END_STREAM, 9)[1..], now + second);
        for n in 2..9 {
            frames.pass(&frame(CONTINUATION, 0, 3), now + second * n);
        }
        assert_eq!(frames.deadline(second), Some(now + second), "frames of it are no progress");
        frames.pass(&frame(CONTINUATION, END_HEADERS, 3), now + second * 9);
        assert!(!unfinished(&frames));
    }

    #[test]
    fn a_preface_that_does_not_end_is_unfinished_and_a_slow_body_is_not() {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.pass(b"PRI * HTTP", now + Duration::from_secs(1));
        assert_eq!(frames.deadline(Duration::ZERO), Some(now));
        let (mut frames, now) = begun();
        let data = frame(DATA, 0, 100);
        frames.pass(&data[..50], now);
        assert!(!unfinished(&frames), "the body has a clock of its own");
        frames.pass(&data[50..], now);
        frames.pass(&data[..4], now);
        assert!(unfinished(&frames), "what this will be is not known yet");
    }

    #[test]
    fn talk_is_a_flood_and_requests_are_not() {
        for (kind, flags) in
            [(6, 0), (4, 0), (2, 0), (8, 0), (DATA, 0), (0xbb, 0), (CONTINUATION, 0)]
        {
            let (mut frames, now) = begun();
            let talk = frame(kind, flags, 0);
            let needed = (1..20_000).find(|_| {
                frames.pass(&talk, now);
                frames.is_flood()
            });
            assert_eq!(needed, Some(10_000), "kind {kind}");
        }
        let (mut frames, now) = begun();
        for _ in 0..100_000 {
            frames.pass(&frame(HEADERS, END_HEADERS, 20), now);
            frames.pass(&frame(DATA, END_STREAM, 10), now);
            frames.pass(&frame(8, 0, 4), now);
        }
        assert!(!frames.is_flood(), "each request with its update of a window");
    }

    #[test]
    fn requests_that_are_all_cancelled_are_a_flood() {
        let (mut frames, now) = begun();
        let needed = (1..20_000).find(|_| {
            frames.pass(&frame(HEADERS, END_HEADERS | END_STREAM, 20), now);
            frames.pass(&frame(RST_STREAM, 0, 4), now);
            frames.is_flood()
        });
        assert!(needed.is_some_and(|pairs| (500..1_000).contains(&pairs)), "{needed:?}");
    }

    #[test]
    fn credit_comes_back_with_time() {
        let (mut frames, now) = begun();
        for _ in 0..9_999 {
            frames.pass(&frame(6, 0, 8), now);
        }
        assert!(!frames.is_flood());
        for n in 0..1_000 {
            let later = now + Duration::from_millis(10 * n);
            frames.pass(&frame(6, 0, 8), later);
            frames.pass(&frame(6, 1, 0), later);
        }
        assert!(frames.is_flood(), "twice as many as there is credit for");
        let later = now + Duration::from_secs(100);
        for n in 0..10_000 {
            frames.pass(&frame(6, 0, 8), later + Duration::from_millis(10 * n));
        }
        assert!(!frames.is_flood(), "a ping every 10 ms");
    }
}
