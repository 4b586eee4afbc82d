//! Chunked bodies (RFC 9112 §7.1), joined in place.
//!
//! Data moves to the front of the buffer over the chunk headers, so a whole body is one slice and
//! nothing is allocated. Strict: a size is hexadecimal digits and nothing else, every line ends in
//! CR LF, and what says nothing (extensions, trailers) is bounded.

use crate::codec::text::hexadecimal;

/// Longest chunk header, bytes: the size, and extensions, which are ignored.
const LINE_BYTES_MAX: usize = 1 << 10;
/// Most digits of a size: what 64 bits hold.
const DIGITS_MAX: usize = 16;
/// Most bytes of all extensions, and of all trailers, of one body.
const IGNORED_BYTES_MAX: usize = 16 << 10;

/// A body of which this much has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    /// Body bytes, joined at the front of the buffer.
    joined: usize,
    /// Bytes of extensions and trailers.
    ignored: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A chunk header comes next.
    Size,
    /// So many bytes of data, then CR LF.
    Data(usize),
    /// CR LF after data.
    DataEnd,
    /// Trailers, up to an empty line.
    Trailer,
}

/// How far a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// More is needed: the buffer now ends at `end`, and `need` bytes make a difference.
    More { end: usize, need: usize },
    /// All of it: `body` bytes at the front, out of `wire` bytes received.
    Whole { body: usize, wire: usize },
}

/// Why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadChunk {
    /// It breaks the grammar.
    Malformed,
    /// It is larger than allowed.
    TooLarge,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { joined: 0, ignored: 0, phase: Phase::Size }
    }

    /// Goes on with `input`, which begins with what was joined before. `limit` is the largest body,
    /// bytes.
    pub(super) fn join(&mut self, input: &mut [u8], limit: usize) -> Result<Joined, BadChunk> {
        let mut wire = self.joined;
        loop {
            let rest = &input[wire..];
            match self.phase {
                Phase::Size => {
                    let Some(line) = line(rest, LINE_BYTES_MAX)? else { break };
                    let (size, extension) = chunk_size(line)?;
                    self.ignore(extension)?;
                    wire += line.len() + 2;
                    if size > (limit - self.joined) as u64 {
                        return Err(BadChunk::TooLarge);
                    }
                    self.phase = match usize::try_from(size) {
                        Ok(0) => Phase::Trailer,
                        Ok(size) => Phase::Data(size),
                        Err(_) => return Err(BadChunk::TooLarge),
                    };
                }
                Phase::Data(size) => {
                    let here = size.min(rest.len());
                    input.copy_within(wire..wire + here, self.joined);
                    self.joined += here;
                    wire += here;
                    if here < size {
                        self.phase = Phase::Data(size - here);
                        break;
                    }
                    self.phase = Phase::DataEnd;
                }
                Phase::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        wire += 2;
                        self.phase = Phase::Size;
                    }
                    [] | [b'\r'] => break,
                    _ => return Err(BadChunk::Malformed),
                },
                Phase::Trailer => {
                    let Some(line) = line(rest, IGNORED_BYTES_MAX)? else { break };
                    wire += line.len() + 2;
                    if line.is_empty() {
                        return Ok(Joined::Whole { body: self.joined, wire });
                    }
                    if !is_field(line) {
                        return Err(BadChunk::Malformed);
                    }
                    self.ignore(line.len() + 2)?;
                }
            }
        }
        input.copy_within(wire.., self.joined);
        let end = input.len() - (wire - self.joined);
        let need = match self.phase {
            Phase::Data(size) => self.joined + size + 2,
            _ => end + 1,
        };
        Ok(Joined::More { end, need })
    }

    fn ignore(&mut self, bytes: usize) -> Result<(), BadChunk> {
        self.ignored += bytes;
        if self.ignored > IGNORED_BYTES_MAX { Err(BadChunk::Malformed) } else { Ok(()) }
    }
}

/// The line at the front, without its CR LF; `None` if it is not complete.
fn line(rest: &[u8], max: usize) -> Result<Option<&[u8]>, BadChunk> {
    let seen = &rest[..rest.len().min(max)];
    let Some(at) = memchr::memchr2(b'\r', b'\n', seen) else {
        return if seen.len() == max { Err(BadChunk::Malformed) } else { Ok(None) };
    };
    match rest[at..] {
        [b'\r', b'\n', ..] => Ok(Some(&rest[..at])),
        [b'\r'] => Ok(None),
        _ => Err(BadChunk::Malformed),
    }
}

/// The size, and how many bytes of extensions follow it.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > DIGITS_MAX {
        return Err(BadChunk::Malformed);
    }
    let (size, extension) = line.split_at(digits);
    let starts_well = extension.is_empty() || extension.trim_ascii_start().starts_with(b";");
    if !starts_well || !extension.iter().copied().all(is_text) {
        return Err(BadChunk::Malformed);
    }
    Ok((hexadecimal(size), extension.len()))
}

/// Whether a trailer is `name: value`.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = line.split_at(colon);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_token) && value.iter().copied().all(is_text)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}
