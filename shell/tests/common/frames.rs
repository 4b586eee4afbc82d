//! HTTP/2 by hand, for what no well-behaved client does.

use std::io::{self, Read, Write};
use std::net::TcpStream;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block: every field spelled out.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 0x7f, "{text}");
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The header block of a request.
pub fn asking(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":path", path), (":authority", "t")])
}

/// The next frame; `None` at the end of the connection, however it ends.
pub fn read(stream: &mut impl Read) -> Option<Frame> {
    let mut head = [0; 9];
    let mut whole = |bytes: &mut [u8]| match stream.read_exact(bytes) {
        Ok(()) => Some(()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            None
        }
        Err(error) => panic!("neither a frame nor the end: {error}"),
    };
    whole(&mut head)?;
    let [high, middle, low, kind, flags, stream @ ..] = head;
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let mut payload = vec![0; length];
    whole(&mut payload)?;
    Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

/// Frames up to the first of this kind, which is the last of them; up to the end, if none comes.
pub fn read_until(stream: &mut impl Read, kind: u8) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = read(stream) {
        let is_last = frame.kind == kind;
        frames.push(frame);
        if is_last {
            break;
        }
    }
    frames
}

/// Begins a connection with these settings, and waits until both sides have agreed.
pub fn begin(stream: &mut TcpStream, settings: &[u8]) {
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    stream.write_all(&begin).expect("sent");
    assert_eq!(read(stream).map(|frame| frame.kind), Some(SETTINGS));
    stream.write_all(&frame(SETTINGS, 1, 0, &[])).expect("sent");
    loop {
        let frame = read(stream).expect("an acknowledgement");
        if frame.kind == SETTINGS {
            assert_eq!(frame.flags, 1, "{frame:?}");
            return;
        }
    }
}
