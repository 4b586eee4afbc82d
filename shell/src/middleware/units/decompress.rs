//! Bodies that arrive compressed.

use std::io::Read;

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::middleware::{Exchange, Problem, RequestHead, Step, Unit};

/// Largest window that a zstd frame may ask for, bytes: what RFC 9659 allows on the web.
const WINDOW_BYTES_MAX: u64 = 8 << 20;
/// Most codings of one body.
const CODINGS_MAX: usize = 2;

const TAKEN: &str = "accept-encoding: gzip, zstd, snappy\r\n";

/// Decompresses what `content-encoding` names: gzip, zstd, snappy (one block, as Prometheus sends
/// it) and `x-snappy-framed`. Two bounds end it before it has become more than they allow: bytes,
/// and bytes for each byte that arrived.
#[derive(Debug)]
pub struct Decompress {
    /// Most bytes of a body.
    pub max_bytes: Option<usize>,
    /// Most bytes for each that arrived.
    pub max_ratio: usize,
}

/// Small bodies may grow by more: a head and a dictionary weigh much in them.
const FREE_BYTES: usize = 1 << 10;

impl Decompress {
    /// Most bytes that a body of so many may become.
    fn most(&self, bytes: usize) -> usize {
        let by_ratio = bytes.saturating_mul(self.max_ratio).max(FREE_BYTES);
        by_ratio.min(self.max_bytes.unwrap_or(usize::MAX))
    }
}

impl Unit for Decompress {
    fn name(&self) -> &'static str {
        "decompress"
    }

    fn head(&self, head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<Step, Problem> {
        let mut codings = Vec::new();
        for value in head.values("content-encoding") {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                let token = String::from_utf8_lossy(token).to_ascii_lowercase();
                match token.as_str() {
                    "" | "identity" => {}
                    "gzip" | "x-gzip" | "zstd" | "snappy" | "x-snappy-framed" => {
                        codings.push(token);
                    }
                    _ => {
                        let detail = "only gzip, zstd, snappy and x-snappy-framed are decompressed";
                        return Err(Problem::unsupported(TAKEN, detail));
                    }
                }
            }
        }
        if codings.len() > CODINGS_MAX {
            return Err(Problem::unsupported(TAKEN, "a body is compressed at most twice"));
        }
        exchange.codings = codings;
        Ok(Step::Next)
    }

    fn changes_bodies(&self) -> bool {
        true
    }

    fn reads(&self, bytes: usize, limit: usize) -> usize {
        // What a decoder needs by itself, and what is between two codings.
        bytes.saturating_add(self.most(bytes).min(limit))
    }

    fn writes(&self, bytes: usize) -> usize {
        self.most(bytes)
    }

    fn memory(&self, bytes: usize, limit: usize) -> usize {
        // Up to two codings at once, by vectors that grow twofold; a window of zstd of that size.
        let most = self.most(bytes).min(limit).max(ZSTD_BLOCK_BYTES_MAX);
        bytes.saturating_add(most.saturating_mul(8)).saturating_add(DECODER_BYTES)
    }

    fn body(
        &self,
        mut body: Vec<u8>,
        limit: usize,
        codings: &[String],
    ) -> Result<Vec<u8>, Problem> {
        let most = self.most(body.len()).min(limit);
        // What was applied last comes off first.
        for coding in codings.iter().rev() {
            body = match coding.as_str() {
                "zstd" => zstd(&body, most)?,
                "snappy" => snappy(&body, most)?,
                "x-snappy-framed" => bounded(snap::read::FrameDecoder::new(&*body), most, coding)?,
                _ => bounded(flate2::bufread::MultiGzDecoder::new(&*body), most, coding)?,
            };
        }
        Ok(body)
    }
}

fn broken(coding: &str) -> Problem {
    Problem::malformed(format!("the body is not {coding} that can be decompressed"))
}

fn bomb(most: usize) -> Problem {
    Problem::too_large(format!(
        "decompressed, the body has more than the {most} bytes that its size or this route allows"
    ))
}

/// Reads everything, and no more than `most` bytes.
fn bounded(reader: impl Read, most: usize, coding: &str) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::new();
    let end = most as u64 + 1;
    reader.take(end).read_to_end(&mut out).map_err(|_| broken(coding))?;
    if out.len() > most { Err(bomb(most)) } else { Ok(out) }
}

fn snappy(body: &[u8], most: usize) -> Result<Vec<u8>, Problem> {
    // It says how long it becomes, before anything is allocated.
    let bytes = snap::raw::decompress_len(body).map_err(|_| broken("snappy"))?;
    if bytes > most {
        return Err(bomb(most));
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|_| broken("snappy"))
}

/// Magic number of a frame of zstd, and the largest head of one, bytes.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_HEAD_BYTES_MAX: usize = 18;
/// Largest block of zstd, bytes.
const ZSTD_BLOCK_BYTES_MAX: usize = 128 << 10;
/// What a decoder takes by itself, bytes: tables, and blocks that it reads.
const DECODER_BYTES: usize = 1 << 20;

/// What the head of a frame says (RFC 8878 §3.1.1.1), before anything is allocated for it.
struct ZstdHead {
    bytes: usize,
    window_bytes: u64,
    /// Bytes of its content, if it says so.
    content_bytes: Option<u64>,
    has_window: bool,
}

impl ZstdHead {
    /// `None` if it is not whole.
    fn read(frame: &[u8]) -> Option<Self> {
        let descriptor = *frame.get(4)?;
        let is_single = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size = match descriptor >> 6 {
            0 => usize::from(is_single),
            code => 1 << code,
        };
        let size_at = 5 + usize::from(!is_single) + dictionary;
        let bytes = size_at + size;
        let mut number = [0; 8];
        number[..size].copy_from_slice(frame.get(size_at..bytes)?);
        let number = u64::from_le_bytes(number);
        // Two bytes count from 256 on.
        let content_bytes =
            (size > 0).then_some(if size == 2 { number.saturating_add(256) } else { number });
        let window_bytes = match content_bytes {
            Some(content) if is_single => content,
            _ => window(frame[5]),
        };
        Some(Self { bytes, window_bytes, content_bytes, has_window: !is_single })
    }
}

/// The window that a byte of the head stands for.
fn window(descriptor: u8) -> u64 {
    let base = 1_u64 << (10 + u32::from(descriptor >> 3));
    base + base / 8 * u64::from(descriptor & 7)
}

/// The head of a frame, with the smallest window that holds `most` bytes and a block, if that is
/// less than its own: its content may have no more, so what it refers to is within that window. So
/// a decoder keeps no more than is wanted of it, whatever window a frame asks for.
fn with_small_window(head: &ZstdHead, frame: &[u8], most: usize) -> [u8; ZSTD_HEAD_BYTES_MAX] {
    let mut bytes = [0; ZSTD_HEAD_BYTES_MAX];
    bytes[..head.bytes].copy_from_slice(&frame[..head.bytes]);
    let enough = most.saturating_add(1).max(ZSTD_BLOCK_BYTES_MAX) as u64;
    if head.has_window
        && head.window_bytes > enough
        && let Some(smallest) = (0..bytes[5]).find(|byte| window(*byte) >= enough)
    {
        bytes[5] = smallest;
    }
    bytes
}

/// Decompresses frames of zstd (RFC 8878) one after another, each with its checksum.
fn zstd(body: &[u8], most: usize) -> Result<Vec<u8>, Problem> {
    let mut rest = body;
    let mut out = Vec::new();
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES_MAX);
    while !rest.is_empty() {
        let begun = if rest.starts_with(&ZSTD_MAGIC) {
            let head = ZstdHead::read(rest).ok_or_else(|| broken("zstd"))?;
            if head.window_bytes > WINDOW_BYTES_MAX {
                return Err(Problem::too_large("a frame of zstd wants a window over 8 MiB"));
            }
            let left = most - out.len();
            if head.content_bytes.is_some_and(|bytes| bytes > left as u64) {
                return Err(bomb(most));
            }
            let bytes = with_small_window(&head, rest, left);
            rest = &rest[head.bytes..];
            decoder.reset(&bytes[..head.bytes])
        } else {
            decoder.reset(rest)
        };
        match begun {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let skipped = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(8);
                rest = rest.get(skipped..).ok_or_else(|| broken("zstd"))?;
                continue;
            }
            Err(_) => return Err(broken("zstd")),
        }
        while !decoder.is_finished() {
            let one = BlockDecodingStrategy::UptoBlocks(1);
            decoder.decode_blocks(&mut rest, one).map_err(|_| broken("zstd"))?;
            // What the window still needs is not collected before the end.
            if out.len() + decoder.can_collect() > most {
                return Err(bomb(most));
            }
            out.extend_from_slice(&decoder.collect().unwrap_or_default());
        }
        out.extend_from_slice(&decoder.collect().unwrap_or_default());
        if out.len() > most {
            return Err(bomb(most));
        }
        let stated = decoder.get_checksum_from_data();
        if stated.is_some() && stated != decoder.get_calculated_checksum() {
            return Err(broken("zstd"));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn compressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
        match coding {
            "gzip" => gzip(bytes),
            "zstd" => ruzstd::encoding::compress_to_vec(
                bytes,
                ruzstd::encoding::CompressionLevel::Fastest,
            ),
            "snappy" => snap::raw::Encoder::new().compress_vec(bytes).unwrap(),
            _ => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(bytes).unwrap();
                encoder.into_inner().unwrap()
            }
        }
    }

    const CODINGS: [&str; 4] = ["gzip", "zstd", "snappy", "x-snappy-framed"];

    fn unit(max_bytes: usize, max_ratio: usize) -> Decompress {
        Decompress { max_bytes: Some(max_bytes), max_ratio }
    }

    #[test]
    fn what_was_compressed_comes_back_also_twice() {
        let text = b"records, records, records and an end".repeat(50);
        for coding in CODINGS {
            let body = compressed(coding, &text);
            let found = unit(1 << 20, 100).body(body.clone(), 1 << 20, &[coding.to_owned()]);
            assert_eq!(found.as_deref(), Ok(&*text), "{coding}");
            let twice = compressed("gzip", &body);
            let codings = [coding.to_owned(), "gzip".to_owned()];
            assert_eq!(unit(1 << 20, 100).body(twice, 1 << 20, &codings), Ok(text.clone()));
        }
        let members = [gzip(b"one "), gzip(b"two")].concat();
        let both = unit(100, 100).body(members, 100, &["gzip".to_owned()]);
        assert_eq!(both.as_deref(), Ok(&b"one two"[..]));
    }

    #[test]
    fn what_is_taken_for_a_body_is_bounded_by_what_may_be_left_of_it() {
        // However far the ratio would let it grow.
        let unit = unit(usize::MAX, 100);
        assert_eq!((unit.reads(1 << 20, 1 << 21), unit.reads(10, 1 << 21)), (3 << 20, 10 + 1024));
        assert_eq!(unit.reads(usize::MAX, 1 << 20), usize::MAX);
    }

    #[test]
    fn bombs_end_at_the_bound_and_damage_is_found() {
        let zeros = vec![0; 8 << 20];
        for coding in CODINGS {
            let bomb = compressed(coding, &zeros);
            let codings = [coding.to_owned()];
            let by_bytes = unit(1 << 16, 1 << 20).body(bomb.clone(), usize::MAX, &codings);
            assert_eq!(by_bytes.unwrap_err().status, 413, "{coding}");
            let by_ratio = unit(usize::MAX, 10).body(bomb.clone(), usize::MAX, &codings);
            assert_eq!(by_ratio.unwrap_err().status, 413, "{coding}");
            let by_record = unit(usize::MAX, 1 << 20).body(bomb, 1 << 10, &codings);
            assert_eq!(by_record.unwrap_err().status, 413, "{coding}");
            let body = compressed(coding, &b"some text that is long enough".repeat(9));
            for at in 0..body.len() {
                let cut = unit(1 << 20, 100).body(body[..at].to_vec(), 1 << 20, &codings);
                // Between frames, rows of them may end: nothing is a row, and so is a mere head.
                let is_row = at == 0 && coding != "snappy" && coding != "gzip"
                    || at == 10 && coding == "x-snappy-framed";
                assert_eq!(cut.is_err(), !is_row, "{coding} cut at {at}: {cut:?}");
            }
        }
        let mut damaged = gzip(b"some text");
        let last = damaged.len() - 5;
        damaged[last] ^= 1;
        assert_eq!(unit(100, 9).body(damaged, 100, &["gzip".into()]).unwrap_err().status, 400);
    }

    #[test]
    fn a_bound_is_of_what_a_body_becomes_to_the_byte() {
        let text = b"records, records, records and an end".repeat(50);
        for coding in CODINGS {
            let (body, codings) = (compressed(coding, &text), [coding.to_owned()]);
            let within = |most| unit(most, 1 << 20).body(body.clone(), usize::MAX, &codings);
            assert_eq!(within(text.len()).as_deref(), Ok(&*text), "{coding}");
            let status = within(text.len() - 1).map_err(|problem| problem.status);
            assert_eq!(status, Err(413), "{coding}");
        }
    }

    /// The head of a frame, with these numbers where its descriptor has them.
    fn head(descriptor: u8, rest: &[u8]) -> Vec<u8> {
        [&ZSTD_MAGIC[..], &[descriptor], rest].concat()
    }

    #[test]
    fn the_head_of_a_frame_of_zstd_is_read_as_rfc_8878_has_it() {
        // The byte of the window is 0x0a: 2 KiB and two eighths of that.
        for (frame, bytes, window, content) in [
            (head(0x00, b"\x0a"), 6, 2560, None),
            (head(0x01, b"\x0a\x07"), 7, 2560, None),
            (head(0x02, b"\x0a\x07\x08"), 8, 2560, None),
            (head(0x03, b"\x0a\x07\x08\x09\x0a"), 10, 2560, None),
            (head(0x20, b"\x05"), 6, 5, Some(5)),
            (head(0x21, b"\x07\x05"), 7, 5, Some(5)),
            (head(0x40, b"\x0a\x01\x02"), 8, 2560, Some(0x201 + 256)),
            (head(0x60, b"\x01\x02"), 7, 0x301, Some(0x301)),
            (head(0xa0, b"\x01\x02\x03\x04"), 9, 0x0403_0201, Some(0x0403_0201)),
            (head(0xc3, b"\x0a\x09\x09\x09\x09\x01\0\0\0\0\0\0\x01"), 18, 2560, Some(1 << 56 | 1)),
        ] {
            let read = ZstdHead::read(&[&frame[..], b"more"].concat()).unwrap();
            assert_eq!((read.bytes, read.window_bytes), (bytes, window), "{frame:x?}");
            let has_window = frame[4] & 0x20 == 0;
            assert_eq!((read.content_bytes, read.has_window), (content, has_window));
            assert_eq!(frame.len(), bytes);
            // What has no content size may lack its window only.
            assert!(ZstdHead::read(&frame[..4]).is_none());
            if content.is_some() {
                assert!(ZstdHead::read(&frame[..bytes - 1]).is_none(), "{frame:x?}");
            }
        }
        for (byte, bytes) in [(0, 1024), (7, 1920), (8, 2048), (0x68, 8 << 20), (0x69, 9 << 20)] {
            assert_eq!(window(byte), bytes);
        }
    }

    #[test]
    fn a_window_is_as_large_as_what_is_wanted_and_no_larger_than_it_was() {
        for (byte, most, smallest) in [
            (0x68, 0, 0x38),
            (0x68, (128 << 10) - 1, 0x38),
            (0x68, 128 << 10, 0x39),
            (0x68, 200_000, 0x3d),
            (0x68, 16 << 20, 0x68),
            (0x38, 0, 0x38),
            (0x0a, 0, 0x0a),
        ] {
            let frame = head(0x00, &[byte]);
            let read = ZstdHead::read(&frame).unwrap();
            assert_eq!(with_small_window(&read, &frame, most)[..6], head(0x00, &[smallest]));
        }
        let frame = head(0xa0, &[0, 0, 0x40, 0]);
        let read = ZstdHead::read(&frame).unwrap();
        assert_eq!(with_small_window(&read, &frame, 0)[..9], frame, "it has no window");
    }

    /// A frame of one raw block, which says how many bytes it has.
    fn raw(content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len()).unwrap();
        [&head(0x20, &[size])[..], &[1 | size << 3, size >> 5, 0], content].concat()
    }

    #[test]
    fn what_a_frame_says_of_its_content_is_held_against_what_is_left() {
        let within = |body: &[u8], most| {
            let found = unit(most, 1 << 20).body(body.to_vec(), usize::MAX, &["zstd".to_owned()]);
            found.map_err(|problem| (problem.status, problem.detail.into_owned()))
        };
        let (one, two) = (raw(&[7; 20]), [raw(&[7; 20]), raw(&[8; 20])].concat());
        assert_eq!(within(&one, 20), Ok(vec![7; 20]));
        assert_eq!(within(&two, 40), Ok([[7; 20], [8; 20]].concat()));
        for (body, most) in [(&one, 19), (&two, 39), (&two, 20)] {
            assert_eq!(within(body, most).unwrap_err().0, 413, "{most}");
        }
        // It is refused for what it says, before anything is read of it.
        let claims = head(0xa0, &[0xff, 0xff, 0x3f, 0]);
        assert_eq!(within(&claims, 1 << 20).unwrap_err().0, 413);
        assert_eq!(within(&claims, 1 << 23).unwrap_err().0, 400, "there is nothing of it");
        for (byte, status) in [(0x68, 400), (0x69, 413)] {
            let (found, said) = within(&head(0x00, &[byte]), 1 << 23).unwrap_err();
            assert_eq!((found, said.contains("over 8 MiB")), (status, status == 413));
        }
    }
}
