//! How a unit refuses a request.

use std::borrow::Cow;

/// Why a record is not in the ring, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client may not do this.
    Denied,
    /// It did so too often.
    RateLimited,
    /// What it sent cannot be read or converted.
    Malformed,
    /// It sent, or its body became, too much.
    TooLarge,
    /// There is no memory, or nobody to do the work, now.
    NoMemory,
}

/// A refusal that becomes an RFC 9457 problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: u16,
    /// For counting.
    pub fault: Fault,
    /// Whole header lines, as `retry-after: 1\r\n`.
    pub lines: Cow<'static, str>,
    /// What is wrong, for people.
    pub detail: Cow<'static, str>,
}

impl Problem {
    /// 400: the request cannot be understood.
    pub fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 400, fault: Fault::Malformed, lines: "".into(), detail: detail.into() }
    }

    /// 422: the content is well-formed and cannot be taken all the same.
    pub fn unprocessable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 422, ..Self::malformed(detail) }
    }

    /// 413: the body is, or would become, larger than allowed.
    pub fn too_large(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 413, fault: Fault::TooLarge, ..Self::malformed(detail) }
    }

    /// 415: a media type or content coding that is not taken.
    pub fn unsupported(lines: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status: 415, lines: lines.into(), ..Self::malformed(detail) }
    }

    /// 503: everyone who could do the work is busy.
    pub fn busy() -> Self {
        Self {
            status: 503,
            fault: Fault::NoMemory,
            lines: "retry-after: 1\r\n".into(),
            detail: "too many requests are being worked on".into(),
        }
    }

    /// 500: a bug of ours.
    pub fn failed() -> Self {
        Self { status: 500, ..Self::malformed("the request could not be worked on") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status_what_is_counted_and_its_lines() {
        use Fault::{Malformed, NoMemory, TooLarge};
        for (problem, status, fault, lines) in [
            (Problem::malformed("x"), 400, Malformed, ""),
            (Problem::unprocessable("x"), 422, Malformed, ""),
            (Problem::too_large("x"), 413, TooLarge, ""),
            (
                Problem::unsupported("accept-encoding: gzip\r\n", "x"),
                415,
                Malformed,
                "accept-encoding: gzip\r\n",
            ),
            (Problem::busy(), 503, NoMemory, "retry-after: 1\r\n"),
            (Problem::failed(), 500, Malformed, ""),
        ] {
            assert_eq!((problem.status, problem.fault, &*problem.lines), (status, fault, lines));
            assert!(!problem.detail.is_empty());
        }
    }
}
