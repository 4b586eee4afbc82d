//! Messages in Snappy, as they come: each is expanded, as far as it may be, before tonic sees it.
//! tonic itself knows other encodings, and refuses them here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tonic::Status;

use super::arriving::Arrived;

/// What every answer says about encodings.
pub(super) const ACCEPTED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("grpc-accept-encoding"), HeaderValue::from_static("identity,snappy"));
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Takes the encoding out of the metadata of a call if it is Snappy; whether it was.
pub(super) fn take_encoding(headers: &mut HeaderMap) -> bool {
    let is_snappy = headers.get(&ENCODING).is_some_and(|encoding| encoding == "snappy");
    if is_snappy {
        headers.remove(&ENCODING);
    }
    is_snappy
}

/// A body whose messages are not compressed any more.
pub(super) struct Expanded<B> {
    body: B,
    arrived: Arc<Arrived>,
    is_snappy: bool,
    /// Most bytes of a message.
    most: usize,
    /// What has come of a prefix, or of a prefix and a compressed message.
    waiting: Vec<u8>,
    /// Bytes that are still to come of a message that is not compressed.
    passing: usize,
}

impl<B> Expanded<B> {
    /// Expands messages, up to `most` bytes each, if they are in Snappy; else lets all pass.
    pub(super) fn new(body: B, arrived: Arc<Arrived>, is_snappy: bool, most: usize) -> Self {
        Self { body, arrived, is_snappy, most, waiting: Vec::new(), passing: 0 }
    }

    /// Takes bytes; returns what of them, and of those before, can be read now.
    fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>, Status> {
        let mut out = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            if self.passing > 0 {
                let (passed, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend_from_slice(passed);
                self.passing -= passed.len();
                bytes = rest;
                continue;
            }
            let length = self.length()?;
            let wanted = PREFIX_BYTES + length.unwrap_or(0) - self.waiting.len();
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.waiting.extend_from_slice(taken);
            bytes = rest;
            let Some(length) = self.length()? else { continue };
            if self.waiting[0] == 0 {
                out.append(&mut self.waiting);
                self.passing = length;
            } else if self.waiting.len() == PREFIX_BYTES + length {
                self.expand(&mut out)?;
                self.waiting.clear();
            }
        }
        Ok(out)
    }

    /// Length of the message that waits; `None` before its prefix is there.
    fn length(&self) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = self.waiting.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if flag != 0 && length > snap::raw::max_compress_len(self.most) {
            return Err(self.too_large(length));
        }
        Ok(Some(length))
    }

    fn expand(&self, out: &mut Vec<u8>) -> Result<(), Status> {
        let message = &self.waiting[PREFIX_BYTES..];
        let bad = |error: snap::Error| Status::invalid_argument(format!("the message: {error}"));
        let length = snap::raw::decompress_len(message).map_err(bad)?;
        if length > self.most {
            return Err(self.too_large(length));
        }
        self.arrived.grow(length.saturating_sub(message.len()))?;
        let from = out.len() + PREFIX_BYTES;
        out.push(0);
        // At most `most`, which is some records of a ring.
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        out.resize(from + length, 0);
        snap::raw::Decoder::new().decompress(message, &mut out[from..]).map_err(bad)?;
        Ok(())
    }

    fn too_large(&self, length: usize) -> Status {
        let most = self.most;
        Status::out_of_range(format!("a message of {length} bytes, and at most {most} are taken"))
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for Expanded<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if this.is_snappy => frame,
                Poll::Ready(None) if !this.waiting.is_empty() => {
                    this.waiting.clear();
                    let cut = Status::invalid_argument("the last message is cut off");
                    return Poll::Ready(Some(Err(cut)));
                }
                other => return other,
            };
            let bytes = match frame.into_data() {
                Ok(bytes) => bytes,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            };
            match this.take(&bytes) {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
                Err(status) => return Poll::Ready(Some(Err(status))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_snappy { SizeHint::default() } else { self.body.size_hint() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt, StreamBody};
    use smol::stream;
    use tonic::Code;

    use super::*;
    use crate::limits::ByteLimit;

    fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&[flag][..], &length, bytes].concat()
    }

    fn snappy(bytes: &[u8]) -> Vec<u8> {
        message(1, &snap::raw::Encoder::new().compress_vec(bytes).expect("memory"))
    }

    /// What is read of a body that comes in pieces of so many bytes.
    fn read(bytes: &[u8], piece: usize, most: usize) -> Result<Vec<u8>, Status> {
        let buffered = ByteLimit::new(1 << 20);
        let time = Duration::from_secs(30);
        let pieces: Vec<_> = bytes
            .chunks(piece)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces));
        let expanded = Expanded::new(body, Arrived::new(&buffered, time, time), true, most);
        smol::block_on(expanded.collect()).map(|all| all.to_bytes().to_vec())
    }

    #[test]
    fn compressed_messages_are_expanded_and_others_pass_however_they_are_cut() {
        let long = b"again and ".repeat(50);
        let sent = [message(0, b"plain"), snappy(&long), snappy(b""), message(0, &long)].concat();
        let expected =
            [message(0, b"plain"), message(0, &long), message(0, b""), message(0, &long)].concat();
        for piece in [1, 3, 7, 100, 10_000] {
            assert_eq!(read(&sent, piece, 500).expect("it is good"), expected, "{piece}");
        }
    }

    #[test]
    fn what_would_be_too_large_is_refused_before_it_is_read_or_expanded() {
        let bomb = snappy(&vec![0; 100_000]);
        assert!(bomb.len() < 10_000);
        let code = |bytes: &[u8]| read(bytes, 7, 500).expect_err("it is refused").code();
        assert_eq!(code(&bomb), Code::OutOfRange);
        assert_eq!(code(&[1, 0xff, 0xff, 0xff, 0xff]), Code::OutOfRange);
        assert_eq!(code(&message(1, b"\xff\xff\xff")), Code::InvalidArgument);
        assert_eq!(code(&message(1, b"\x05\x00a")), Code::InvalidArgument);
        assert_eq!(code(&snappy(b"cut off")[..9]), Code::InvalidArgument);
    }
}
