//! The next frame at the front of some bytes.

use super::{Framing, Skipped};
use crate::codec::text;

/// Most digits of a count: more than any record needs.
const DIGITS_MAX: usize = 10;

/// What is at the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A part of a frame.
    More {
        /// Bytes that make a difference.
        need: usize,
    },
    /// Nothing, in so many bytes.
    Empty { bytes: usize },
    /// A frame: its payload is `start..end` of `bytes`.
    Frame { start: usize, end: usize, bytes: usize },
    /// A frame over the limit: so many bytes of it are seen, and this is left.
    TooLarge { bytes: usize, skipped: Option<Skipped> },
    /// No count.
    Malformed,
}

/// Looks at the front of `input`, which is not empty. In its first `seen` bytes is no delimiter.
pub(super) fn next(framing: Framing, input: &[u8], limit: usize, seen: usize) -> Next {
    match framing {
        Framing::Lines => delimited(input, b'\n', limit, seen),
        Framing::Nul => delimited(input, 0, limit, seen),
        Framing::Octets => counted(input, limit),
    }
}

fn delimited(input: &[u8], delimiter: u8, limit: usize, seen: usize) -> Next {
    // A CR that will be taken away does not count.
    let end = limit.saturating_add(2).min(input.len());
    let seen = seen.min(end);
    let Some(at) = memchr::memchr(delimiter, &input[seen..end]).map(|at| seen + at) else {
        return if end > limit + 1 {
            Next::TooLarge { bytes: end, skipped: Some(Skipped::Until(delimiter)) }
        } else {
            Next::More { need: input.len() + 1 }
        };
    };
    let is_line = delimiter == b'\n';
    let end = if is_line && at > 0 && input[at - 1] == b'\r' { at - 1 } else { at };
    let bytes = at + 1;
    match end {
        0 => Next::Empty { bytes },
        _ if end > limit => Next::TooLarge { bytes, skipped: None },
        _ => Next::Frame { start: 0, end, bytes },
    }
}

fn counted(input: &[u8], limit: usize) -> Next {
    let digits = input.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > DIGITS_MAX || input[0] == b'0' {
        return Next::Malformed;
    }
    let start = digits + 1;
    match input.get(digits) {
        None => return Next::More { need: start + 1 },
        Some(b' ') => {}
        Some(_) => return Next::Malformed,
    }
    let Some(length) = text::decimal(&input[..digits]) else { return Next::Malformed };
    match usize::try_from(length) {
        Ok(length) if length <= limit => {
            let bytes = start + length;
            if input.len() < bytes {
                Next::More { need: bytes }
            } else {
                Next::Frame { start, end: bytes, bytes }
            }
        }
        _ => Next::TooLarge { bytes: start, skipped: Some(Skipped::Bytes(length)) },
    }
}
