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

#[cfg(test)]
mod tests {
    use super::*;

    fn join(bytes: &[u8], limit: usize) -> Result<Joined, BadChunk> {
        Chunked::new().join(&mut bytes.to_vec(), limit)
    }

    #[test]
    fn a_body_may_be_as_large_as_the_limit_over_all_its_chunks() {
        let whole = |body, wire| Ok(Joined::Whole { body, wire });
        assert_eq!(join(b"3\r\nabc\r\n0\r\n\r\n", 3), whole(3, 13));
        assert_eq!(join(b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n", 4), whole(4, 19));
        assert_eq!(join(b"3\r\nabc\r\n2\r\n", 4), Err(BadChunk::TooLarge));
        assert_eq!(join(b"4\r\n", 3), Err(BadChunk::TooLarge));
        assert_eq!(join(b"ffffffffffffffff\r\n", 3), Err(BadChunk::TooLarge));
    }

    #[test]
    fn what_is_needed_is_the_rest_of_a_chunk_with_its_line_end() {
        assert_eq!(join(b"5\r\nab", 9), Ok(Joined::More { end: 2, need: 7 }));
        assert_eq!(join(b"2\r\nab\r\n5\r\ncd", 9), Ok(Joined::More { end: 4, need: 9 }));
        assert_eq!(join(b"2\r\nab\r", 9), Ok(Joined::More { end: 3, need: 4 }));
    }

    #[test]
    fn extensions_and_trailers_have_a_bound_together() {
        let trailer = format!("a:{}\r\n", "v".repeat(1020));
        let body = |trailers: &str| format!("0\r\n{trailers}\r\n").into_bytes();
        let most = trailer.repeat(16);
        assert_eq!(most.len(), IGNORED_BYTES_MAX);
        assert!(matches!(join(&body(&most), 9), Ok(Joined::Whole { body: 0, .. })));
        assert_eq!(join(&body(&format!("{most}a:\r\n")), 9), Err(BadChunk::Malformed));
        let extended = [b"1;x\r\na\r\n", &body(&most)[..]].concat();
        assert_eq!(join(&extended, 9), Err(BadChunk::Malformed));
        let short = [b"1;x\r\na\r\n", &body(&trailer.repeat(15))[..]].concat();
        assert!(matches!(join(&short, 9), Ok(Joined::Whole { body: 1, .. })));
    }

    #[test]
    fn a_trailer_is_a_name_a_colon_and_a_value_without_control_characters() {
        let of = |trailer: &str| join(format!("0\r\n{trailer}\r\n\r\n").as_bytes(), 9);
        for good in ["a: b", "a:", "x-!#$%&'*+-.^_`|~:\tv:w"] {
            assert!(of(good).is_ok(), "{good:?}");
        }
        for bad in ["a", ": b", "a b: c", "a : b", "a: \u{1}", "a: \u{7f}", "(a): b"] {
            assert_eq!(of(bad), Err(BadChunk::Malformed), "{bad:?}");
        }
    }
}
