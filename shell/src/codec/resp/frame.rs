//! Commands as arrays of bulk strings: `*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n`.

use crate::codec::text;

/// Most arguments of a command, as in Redis.
const ARGS_MAX: u64 = 1 << 20;
/// Longest `*` or `$` line without its end: the sign and 20 digits.
const LINE_BYTES_MAX: usize = 22;

/// Why the connection cannot go on, after `Protocol error: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad(pub(super) &'static str);

/// What is at the front of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan<'a> {
    /// A part of a command.
    More {
        /// Bytes that make a difference.
        need: usize,
    },
    /// An empty command, which is not answered.
    Nothing {
        /// What it takes.
        bytes: usize,
    },
    /// A whole command.
    Command {
        /// What it takes.
        bytes: usize,
        /// Its arguments, at least one.
        args: Args<'a>,
    },
    /// A whole command that was typed as a line.
    Inline {
        /// What it takes.
        bytes: usize,
        /// The same as an array of bulk strings.
        command: Vec<u8>,
    },
}

/// How far the command at the front of the input was looked at, so that one that arrives in many
/// pieces is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scanner {
    /// Bytes that are whole arguments, and the array's own line; 0 before that.
    at: usize,
    /// Arguments still to come.
    left: u64,
    /// First argument.
    first: usize,
}

impl Scanner {
    /// Looks for a whole command of at most `max` bytes at the front of `input`.
    pub(super) fn scan<'a>(&mut self, input: &'a [u8], max: usize) -> Result<Scan<'a>, Bad> {
        if self.at == 0 {
            let Some((count, bytes)) =
                count_line(input, b'*', "too big mbulk count string", "invalid multibulk length")?
            else {
                return Ok(Scan::More { need: input.len() + 1 });
            };
            // Redis takes a negative count for an empty command, too.
            let count = match count {
                Count::Negative | Count::Number(0) => return Ok(Scan::Nothing { bytes }),
                Count::Number(count) if count > ARGS_MAX => {
                    return Err(Bad("invalid multibulk length"));
                }
                Count::Number(count) => count,
            };
            *self = Self { at: bytes, left: count, first: bytes };
        }
        while self.left > 0 {
            let rest = &input[self.at..];
            if rest.first().is_some_and(|byte| *byte != b'$') {
                return Err(Bad("expected '$'"));
            }
            let line = count_line(rest, b'$', "too big bulk count string", "invalid bulk length")?;
            let Some((length, bytes)) = line else {
                return Ok(Scan::More { need: input.len() + 1 });
            };
            let Count::Number(length) = length else { return Err(Bad("invalid bulk length")) };
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| (self.at + bytes + 2).checked_add(length))
                .filter(|end| *end <= max);
            let Some(end) = end else { return Err(Bad("the command is too large")) };
            if input.len() < end {
                return Ok(Scan::More { need: end });
            }
            if input[end - 2..end] != *b"\r\n" {
                return Err(Bad("expected CR LF after a bulk string"));
            }
            self.at = end;
            self.left -= 1;
        }
        let Self { at: bytes, first, .. } = std::mem::take(self);
        Ok(Scan::Command { bytes, args: Args { rest: &input[first..bytes] } })
    }
}

/// A number in a `*` or `$` line.
enum Count {
    Negative,
    Number(u64),
}

/// Reads a line of one to three digits, as nearly all are: its number and its bytes.
fn short_line(input: &[u8]) -> Option<(u64, usize)> {
    let [_, line @ ..] = input.first_chunk::<6>()?;
    let mut number = 0;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b'0'..=b'9' if at < 3 => number = number * 10 + u64::from(byte - b'0'),
            b'\r' if at > 0 && line[at + 1] == b'\n' && (at == 1 || line[0] != b'0') => {
                return Some((number, at + 3));
            }
            _ => return None,
        }
    }
    None
}

/// The number after `sigil`, and the bytes of its line; `None` if the line is not complete.
fn count_line(
    input: &[u8],
    sigil: u8,
    too_long: &'static str,
    invalid: &'static str,
) -> Result<Option<(Count, usize)>, Bad> {
    debug_assert!(input.first().is_none_or(|byte| *byte == sigil), "looked at before");
    if let Some((number, bytes)) = short_line(input) {
        return Ok(Some((Count::Number(number), bytes)));
    }
    let seen = &input[..input.len().min(LINE_BYTES_MAX + 2)];
    let Some(end) = seen.iter().position(|byte| *byte == b'\r') else {
        return if seen.len() == LINE_BYTES_MAX + 2 { Err(Bad(too_long)) } else { Ok(None) };
    };
    match input.get(end + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return Err(Bad(invalid)),
    }
    let digits = &input[1..end];
    let (is_negative, digits) =
        digits.strip_prefix(b"-").map_or((false, digits), |digits| (true, digits));
    // As Redis: no sign but minus, no leading zeros, 64 bits with a sign.
    let is_canonical = digits == b"0" && !is_negative || !digits.starts_with(b"0");
    let number = text::decimal(digits)
        .filter(|number| is_canonical && i64::try_from(*number).is_ok())
        .ok_or(Bad(invalid))?;
    let count = if is_negative { Count::Negative } else { Count::Number(number) };
    Ok(Some((count, end + 2)))
}

/// The arguments of a whole command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Args<'a> {
    /// INVARIANT: whole bulk strings, as [`Scanner::scan`] found them.
    rest: &'a [u8],
}

impl<'a> Args<'a> {
    /// Of a command that is known to be whole.
    pub(super) fn whole(command: &'a [u8]) -> Self {
        let start = command.iter().position(|byte| *byte == b'$').unwrap_or(command.len());
        Self { rest: &command[start..] }
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, bytes) = if let Some(short) = short_line(self.rest) {
            short
        } else {
            let end = self.rest.iter().position(|byte| *byte == b'\r')?;
            (text::decimal(&self.rest[1..end])?, end + 2)
        };
        let (arg, rest) = self.rest[bytes..].split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = &rest[2..];
        Some(arg)
    }
}
