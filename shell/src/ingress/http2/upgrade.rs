//! `Upgrade: h2c` (RFC 7540 §3.2, which RFC 9113 only deprecates): the request that asks for it is
//! answered as the first stream of the connection.
//!
//! hyper knows nothing of it. So what it gets is what a client with prior knowledge would have
//! sent: the preface, the client's settings, and the request as a block of header fields that are
//! spelled out (RFC 7541 §6.2.2).

use hyper::body::Bytes;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::TcpStream;
use smol::{Timer, future};

use super::connection::drive;
use super::{Connection, Http2};
use crate::codec::http1::{MAX_HEADERS, PREFACE, h2c_settings};
use crate::ingress::http::LINGER_REJECTED;
use crate::ingress::line::Line;

const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";

const HEAD_BYTES: usize = 9;
/// Largest payload of a frame before a peer allows more (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Fields that belong to the HTTP/1.1 connection (RFC 9113 §8.2.2), or say what `:authority` does.
const LEFT_OUT: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A request without a body that asks for the upgrade.
struct Asked {
    /// Bytes of its head.
    head_bytes: usize,
    /// The client's settings, as the payload of a frame.
    settings: Vec<u8>,
    /// Its header block.
    block: Vec<u8>,
}

/// Upgrades a connection, whose codec found the request at the front of `read` to be good.
pub(super) async fn serve(connection: Connection, mut stream: TcpStream, mut read: Vec<u8>) {
    let http2 = &connection.http2;
    let Some(asked) = Asked::read(&read) else {
        http2.count_protocol_error("no upgrade is asked for");
        return;
    };
    read.drain(..asked.head_bytes);
    let settled = future::or(settle(&mut stream, &mut read), async {
        waited_long_enough(http2).await;
        None
    });
    http2.metrics.http_requests.with_label_values(&["101"]).inc();
    let Some(first) = settled.await else {
        if !http2.shutdown.has_begun() {
            http2.count_protocol_error("no HTTP/2 preface followed the upgrade");
        }
        return;
    };
    drive(connection, Line::new(stream, None), asked.as_frames(&first, &read)).await;
}

/// Waits as long as a client may take to send its preface: the time of a head or, once the process
/// has begun to end, that of a connection without requests.
async fn waited_long_enough(http2: &Http2) {
    let late = async {
        Timer::after(http2.limits.get().header_timeout).await;
    };
    let ending = async {
        http2.shutdown.wait().await;
        Timer::after(LINGER_REJECTED).await;
    };
    future::or(late, ending).await;
}

/// Answers that the protocol is switched and waits for the client's preface. Returns the payload of
/// its first frame, which is SETTINGS, and leaves in `read` what follows.
async fn settle(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Vec<u8>> {
    stream.write_all(SWITCHING).await.ok()?;
    let mut piece = [0; 1024];
    loop {
        match first_frame(read) {
            First::Whole(payload) => return Some(payload),
            First::Wrong => return None,
            First::Part => {}
        }
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&piece[..count]);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum First {
    Part,
    Wrong,
    Whole(Vec<u8>),
}

/// Takes the preface and the SETTINGS that follow it out of `read`.
fn first_frame(read: &mut Vec<u8>) -> First {
    let preface = &PREFACE[..read.len().min(PREFACE.len())];
    if !read.starts_with(preface) {
        return First::Wrong;
    }
    let Some(&[high, middle, low, kind, flags, ref stream @ ..]) =
        read[preface.len()..].first_chunk::<HEAD_BYTES>()
    else {
        return First::Part;
    };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if kind != SETTINGS || flags != 0 || stream != &[0; 4] || length > FRAME_BYTES_MAX {
        return First::Wrong;
    }
    let (start, end) = (PREFACE.len() + HEAD_BYTES, PREFACE.len() + HEAD_BYTES + length);
    if read.len() < end {
        return First::Part;
    }
    let payload = read[start..end].to_vec();
    read.drain(..end);
    First::Whole(payload)
}

impl Asked {
    /// Reads a request; `None` if it asks for no upgrade.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut fields);
        let Ok(httparse::Status::Complete(head_bytes)) = request.parse(bytes) else { return None };
        let named = |name: &'static str| {
            let fields = request.headers.iter();
            fields.filter(move |field| field.name.eq_ignore_ascii_case(name))
        };
        let settings =
            named("http2-settings").next().and_then(|field| h2c_settings(field.value))?;
        let mut block = Vec::with_capacity(head_bytes);
        add(&mut block, b":method", request.method?.as_bytes());
        add(&mut block, b":scheme", b"http");
        add(&mut block, b":path", request.path?.as_bytes());
        if let Some(host) = named("host").next() {
            add(&mut block, b":authority", host.value);
        }
        // What the field `connection` names ends here, too.
        let of_connection = |name: &str| {
            named("connection")
                .flat_map(|field| field.value.split(|byte| *byte == b','))
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        };
        for field in request.headers.iter() {
            let name = field.name.to_ascii_lowercase();
            if !LEFT_OUT.contains(&name.as_str()) && !of_connection(&name) {
                add(&mut block, name.as_bytes(), field.value);
            }
        }
        Some(Self { head_bytes, settings, block })
    }

    /// Makes the bytes of a client with prior knowledge: `first` is the payload of its first frame,
    /// and `rest` is what came after that.
    fn as_frames(&self, first: &[u8], rest: &[u8]) -> Bytes {
        let mut bytes = PREFACE.to_vec();
        // One frame: it is acknowledged once, as the client expects. What it says later counts.
        let settings = [&self.settings[..], first].concat();
        frame(
            &mut bytes,
            SETTINGS,
            0,
            0,
            &settings[settings.len().saturating_sub(FRAME_BYTES_MAX)..],
        );
        let mut pieces = self.block.chunks(FRAME_BYTES_MAX).peekable();
        let (mut kind, mut flags) = (HEADERS, END_STREAM);
        while let Some(piece) = pieces.next() {
            if pieces.peek().is_none() {
                flags |= END_HEADERS;
            }
            frame(&mut bytes, kind, flags, 1, piece);
            (kind, flags) = (CONTINUATION, 0);
        }
        bytes.extend_from_slice(rest);
        bytes.into()
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// Adds a field to a header block: spelled out, in no table.
fn add(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        // RFC 7541 §5.1, with a prefix of seven bits; the eighth says that nothing is compressed.
        let mut length = text.len();
        if length < 0x7f {
            block.push(u8::try_from(length).unwrap_or(0x7f));
        } else {
            block.push(0x7f);
            length -= 0x7f;
            while length >= 0x80 {
                block.push(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
                length >>= 7;
            }
            block.push(u8::try_from(length).unwrap_or(0));
        }
        block.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /healthz HTTP/1.1\r\nHost: h\r\nX-Name: v\r\nConnection: Upgrade, \
                           HTTP2-Settings, x-hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\n\
                           HTTP2-Settings: AAMAAABk\r\n\r\n";

    #[test]
    fn a_request_becomes_the_first_stream_without_what_belongs_to_its_connection() {
        let asked = Asked::read(format!("{REQUEST}rest").as_bytes()).expect("it asks");
        assert_eq!(asked.head_bytes, REQUEST.len());
        assert_eq!(asked.settings, [0, 3, 0, 0, 0, 100]);
        let spelled = "\0\x07:method\x03GET\0\x07:scheme\x04http\0\x05:path\x08/healthz\
                       \0\x0a:authority\x01h\0\x06x-name\x01v";
        assert_eq!(String::from_utf8_lossy(&asked.block), spelled);
        let bytes = asked.as_frames(&[0, 4, 0, 0, 255, 255], b"rest");
        let settings = [&PREFACE[..], &[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]].concat();
        assert!(bytes.starts_with(&settings), "{bytes:?}");
        let length = u8::try_from(spelled.len()).expect("short");
        let stream = [&[0, 0, length, 1, 5, 0, 0, 0, 1], spelled.as_bytes(), b"rest"].concat();
        assert!(bytes.ends_with(&stream), "{bytes:?}");
    }

    #[test]
    fn a_head_larger_than_a_frame_is_continued() {
        let long = REQUEST.replace("X-Name: v", &format!("X-Name: {}", "v".repeat(40_000)));
        let bytes = Asked::read(long.as_bytes()).expect("it asks").as_frames(&[], b"");
        let mut frames = &bytes[PREFACE.len()..];
        let mut seen = Vec::new();
        while let Some((head, rest)) = frames.split_first_chunk::<HEAD_BYTES>() {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            seen.push((head[3], head[4], head[8]));
            frames = &rest[length..];
        }
        assert_eq!(seen, [(4, 0, 0), (1, 1, 1), (9, 0, 1), (9, 4, 1)]);
    }

    #[test]
    fn only_a_preface_with_settings_goes_on() {
        let whole = [&PREFACE[..], &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 7]].concat();
        for end in 0..whole.len() - 1 {
            assert_eq!(first_frame(&mut whole[..end].to_vec()), First::Part, "{end}");
        }
        let mut read = whole.clone();
        assert_eq!(first_frame(&mut read), First::Whole(vec![0, 3, 0, 0, 0, 100]));
        assert_eq!(read, [7]);
        for (at, byte) in [(0, b'G'), (23, b'x'), (24, 1), (27, 1), (28, 1), (32, 1)] {
            let mut wrong = whole.clone();
            wrong[at] = byte;
            assert_eq!(first_frame(&mut wrong), First::Wrong, "byte {at}");
        }
    }
}
