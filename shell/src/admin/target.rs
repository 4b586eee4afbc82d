//! What a path names at the address of operators.

use super::page::File;

/// A resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/`, and what it needs
    File(File),
    /// `/healthz`
    Health,
    /// `/readyz`
    Readiness,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    Description,
    /// `/v1/status`
    Status,
    /// `/v1/rings`
    Rings,
    /// `/v1/rings/{ring}`
    Ring(String),
    /// `/v1/rings/{ring}/history`
    History(String),
    /// `/v1/rings/{ring}/readers/{name}`
    Reader(String, String),
}

impl Target {
    /// Reads a path, whose query is cut off already.
    pub fn of(path: &str) -> Option<Self> {
        let segments = path.strip_prefix('/')?.split('/').map(decoded);
        let segments: Vec<String> = segments.collect::<Option<_>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Some(match segments[..] {
            [""] => Self::File(File::Page),
            ["status.css"] => Self::File(File::Style),
            ["status.js"] => Self::File(File::Script),
            ["healthz"] => Self::Health,
            ["readyz"] => Self::Readiness,
            ["metrics"] => Self::Metrics,
            ["openapi.json"] => Self::Description,
            ["v1", "status"] => Self::Status,
            ["v1", "rings"] => Self::Rings,
            ["v1", "rings", ring] => Self::Ring(ring.to_owned()),
            ["v1", "rings", ring, "history"] => Self::History(ring.to_owned()),
            ["v1", "rings", ring, "readers", name] => {
                Self::Reader(ring.to_owned(), name.to_owned())
            }
            _ => return None,
        })
    }

    /// Names its methods.
    pub const fn methods(&self) -> &'static str {
        match self {
            Self::Reader(..) => "DELETE",
            _ => "GET, HEAD",
        }
    }
}

/// Decodes the percent signs of a segment (RFC 3986 §2.1).
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            // `from_str_radix` takes a sign.
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_resources_and_nothing_else_does() {
        let reader = Target::Reader("a.b".into(), "c-d".into());
        for (path, target) in [
            ("/healthz", Some(Target::Health)),
            ("/v1/rings", Some(Target::Rings)),
            ("/v1/rings/orders", Some(Target::Ring("orders".into()))),
            ("/v1/rings/%6frders", Some(Target::Ring("orders".into()))),
            ("/v1/rings/a%2Fb", Some(Target::Ring("a/b".into()))),
            ("/v1/rings/a.b/readers/c-d", Some(reader)),
            ("/v1/rings/a%", None),
            ("/v1/rings/a%+1", None),
            ("/v1/rings/%ff", None),
            ("/v1/rings/a/b", None),
            ("/v1//rings", None),
            ("/healthz/", None),
            ("/", Some(Target::File(File::Page))),
            ("//", None),
            ("/v1/rings/a/history", Some(Target::History("a".into()))),
            ("", None),
        ] {
            assert_eq!(Target::of(path), target, "{path}");
        }
    }
}
