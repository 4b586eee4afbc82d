//! `lines`: any cut of the bytes gives the same records, which are those of a plain reading of the
//! whole stream, and every frame is either a record or counted.

use std::sync::Arc;

use aqueduct::codec::lines::{Config, Framing, Lines, Oversize};
use aqueduct::codec::trial::{End, MAX_PAYLOADS, Trial};
use aqueduct::codec::{Event, Keep, Sink};

use crate::conversation::{Way, hear};
use crate::input::Input;

/// Largest record of ring `b`.
const LIMIT: usize = MAX_PAYLOADS[1] as usize;

/// One input.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let framing = [Framing::Lines, Framing::Nul, Framing::Octets][input.below(3) as usize];
    let oversize = [Oversize::Close, Oversize::Skip][input.below(2) as usize];
    let way = Way::take(&mut input);
    let ring = Trial::new().ring(b"b").expect("a ring");
    let config = Arc::new(Config {
        ring,
        type_tag: 3,
        framing,
        max_frame_bytes: 1000,
        oversize,
        keep: Keep::default(),
        credentials: None,
    });
    let bytes = input.rest();
    let heard = hear(|| Lines::new(Arc::clone(&config)), bytes, &way);
    assert!(heard.answers.is_empty());
    let frames = match framing {
        Framing::Lines => delimited(bytes, b'\n'),
        Framing::Nul => delimited(bytes, 0),
        Framing::Octets => counted(bytes),
    };
    let counted = heard.events.iter().filter(|event| matches!(event, Event::Rejected { .. }));
    let counted = counted.count();
    // After a frame that is too large, the connection may be over.
    let until = match (oversize, frames.iter().position(|frame| frame.payload.len() > LIMIT)) {
        (Oversize::Close, Some(first)) => first + 1,
        _ => frames.len(),
    };
    let frames = &frames[..until];
    let expected: Vec<&[u8]> = frames
        .iter()
        .filter(|frame| frame.is_whole && frame.payload.len() <= LIMIT)
        .map(|frame| frame.payload)
        .collect();
    let records: Vec<&[u8]> = heard.records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!(records, expected);
    assert_eq!(records.len() + counted, frames.len());
    if counted == 0 {
        assert_eq!(heard.end, End::Input);
    }
}

/// A frame, or what there is of the last one.
struct Frame<'a> {
    payload: &'a [u8],
    is_whole: bool,
}

fn delimited(bytes: &[u8], delimiter: u8) -> Vec<Frame<'_>> {
    let mut frames: Vec<Frame<'_>> = bytes
        .split(|byte| *byte == delimiter)
        .map(|payload| Frame { payload, is_whole: true })
        .collect();
    if let Some(last) = frames.last_mut() {
        last.is_whole = false;
    }
    for frame in &mut frames {
        let stripped = frame.payload.strip_suffix(b"\r");
        // The CR of a line that has not ended may be a part of it.
        if delimiter == b'\n' && (frame.is_whole || frame.payload.len() == LIMIT + 1) {
            frame.payload = stripped.unwrap_or(frame.payload);
        }
    }
    frames.retain(|frame| !frame.payload.is_empty());
    frames
}

/// Counted frames, up to anything else, which counts as one.
fn counted(mut bytes: &[u8]) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
        let digits = &bytes[..space];
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let is_count = digits.len() <= 10
            && !digits.starts_with(b"0")
            && digits.iter().all(u8::is_ascii_digit);
        let (Some(length), true, true) = (length, is_count, space < bytes.len()) else {
            frames.push(Frame { payload: b"", is_whole: false });
            break;
        };
        let rest = &bytes[space + 1..];
        let here: usize = rest.len().min(length);
        // One over the limit is counted when its length is known.
        let is_whole = here == length;
        let payload = if length > LIMIT { &[0; LIMIT + 1][..] } else { &rest[..here] };
        frames.push(Frame { payload, is_whole });
        bytes = &rest[here..];
    }
    frames
}
