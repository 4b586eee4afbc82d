//! A name for each request, in its answer, its log line and its record.

use rustix::rand::GetRandomFlags;

use crate::middleware::{Exchange, Field, Problem, RequestHead, Step, Unit};

#[allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]
type Counter = std::sync::atomic::AtomicU64;

/// The header that carries it.
const HEADER: &str = "x-request-id";
/// Longest id that is taken from a client.
const ID_BYTES_MAX: usize = 128;

/// Gives each request an id of 32 hexadecimal digits, which no other request of any process has, or
/// keeps the one that a client sent.
#[derive(Debug)]
pub struct RequestId {
    /// Keeps the id of a request that has one.
    keeps: bool,
    /// Drawn once.
    process: u64,
    next: Counter,
}

impl RequestId {
    /// `keeps`: an id that a client sent is kept, if it is made of letters, digits and `._-`.
    pub fn new(keeps: bool) -> Self {
        let mut bytes = [0; 8];
        // Without random numbers, at least the time tells processes apart.
        if rustix::rand::getrandom(&mut bytes[..], GetRandomFlags::empty()) != Ok(bytes.len()) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let ns = now.map_or(0, |since| since.as_nanos());
            bytes = u64::try_from(ns & u128::from(u64::MAX)).unwrap_or(0).to_ne_bytes();
        }
        Self { keeps, process: u64::from_ne_bytes(bytes), next: Counter::new(0) }
    }
}

impl Unit for RequestId {
    fn name(&self) -> &'static str {
        "request_id"
    }

    fn head(&self, head: &RequestHead<'_>, exchange: &mut Exchange) -> Result<Step, Problem> {
        let given = match self.keeps.then(|| head.field(HEADER)) {
            Some(Field::One(id)) => std::str::from_utf8(id).ok().filter(|id| is_id(id)),
            _ => None,
        };
        let mut id = exchange.room_for_id();
        if let Some(given) = given {
            id.push_str(given);
        } else {
            // ORDER(none): only its being different matters.
            let number = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            push_hexadecimal(&mut id, self.process, number);
        }
        let lines = &mut exchange.lines;
        lines.reserve(HEADER.len() + id.len() + 4);
        for part in [HEADER, ": ", &id, "\r\n"] {
            lines.push_str(part);
        }
        exchange.request_id = Some(id);
        Ok(Step::Next)
    }
}

/// Appends the 32 digits of two numbers. Formatting them would take as long as all else of this
/// unit.
fn push_hexadecimal(digits: &mut String, one: u64, other: u64) {
    digits.reserve(32);
    for word in [one, other] {
        for place in (0..16).rev() {
            let digit = (word >> (4 * place) & 0xf) as usize;
            digits.push(char::from(b"0123456789abcdef"[digit]));
        }
    }
}

fn is_id(id: &str) -> bool {
    let is_of_id = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !id.is_empty() && id.len() <= ID_BYTES_MAX && id.bytes().all(is_of_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_32_digits() {
        let mut digits = String::new();
        push_hexadecimal(&mut digits, 0x1f, u64::MAX);
        assert_eq!(digits, format!("{:016x}{:016x}", 0x1f, u64::MAX));
    }

    #[test]
    fn an_id_is_short_and_of_letters_digits_dots_and_lines() {
        for good in ["a", "0", "A.b_c-9", &"x".repeat(ID_BYTES_MAX)] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "a b", "a\r\nx: y", "é", "a/b", &"x".repeat(ID_BYTES_MAX + 1)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
