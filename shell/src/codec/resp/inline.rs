//! Commands typed as a line: `XADD ring * data "hello world"`. For people and shell scripts; they
//! are rewritten as an array of bulk strings.

use super::frame::{Bad, Scan};
use crate::codec::text::{hexadecimal, push_decimal};

/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 64 << 10;

const UNBALANCED: Bad = Bad("unbalanced quotes in request");

/// Looks for a whole line at the front of `input`.
pub(super) fn scan(input: &[u8], max: usize) -> Result<Scan<'static>, Bad> {
    let max = max.min(LINE_BYTES_MAX);
    let Some(end) = memchr::memchr(b'\n', &input[..input.len().min(max)]) else {
        let is_too_long = input.len() >= max;
        return if is_too_long {
            Err(Bad("too big inline request"))
        } else {
            Ok(Scan::More { need: input.len() + 1 })
        };
    };
    let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
    let (bulks, count) = split(line)?;
    if count == 0 {
        return Ok(Scan::Nothing { bytes: end + 1 });
    }
    Ok(Scan::Inline { bytes: end + 1, command: bulks })
}

/// The words of a line as bulk strings, and how many, split as Redis does: at spaces, with `"…"`
/// (escapes `\xHH \n \r \t \b \a`, and `\` before anything else) and `'…'` (escape `\'`).
fn split(line: &[u8]) -> Result<(Vec<u8>, usize), Bad> {
    let (mut bulks, mut count) = (Vec::with_capacity(line.len() + 16), 0);
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        let mut word = Vec::new();
        rest = match first {
            b'"' => double_quoted(&rest[1..], &mut word)?,
            b'\'' => single_quoted(&rest[1..], &mut word)?,
            _ => plain(rest, &mut word)?,
        };
        bulks.push(b'$');
        push_decimal(&mut bulks, word.len() as u64);
        bulks.extend_from_slice(b"\r\n");
        bulks.extend_from_slice(&word);
        bulks.extend_from_slice(b"\r\n");
        count += 1;
        rest = rest.trim_ascii_start();
    }
    Ok((bulks, count))
}

/// Up to a space; a quote within a word opens a quoted part, as in Redis.
fn plain<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Bad> {
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'"' => return double_quoted(after, word),
            b'\'' => return single_quoted(after, word),
            _ if byte.is_ascii_whitespace() || *byte == 0 => break,
            _ => word.push(*byte),
        }
        rest = after;
    }
    // Redis's lines are C strings and end at a NUL.
    if rest.first() == Some(&0) { Err(Bad("a NUL in an inline request")) } else { Ok(rest) }
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Bad> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                word.push(u8::try_from(hexadecimal(&[*a, *b])).unwrap_or(0));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UNBALANCED),
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Result<&'a [u8], Bad> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return closed(after),
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return Err(UNBALANCED),
        };
    }
}

/// After a closing quote comes a space or nothing.
fn closed(rest: &[u8]) -> Result<&[u8], Bad> {
    match rest.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(UNBALANCED),
        _ => Ok(rest),
    }
}
