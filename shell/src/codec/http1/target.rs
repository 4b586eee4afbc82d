//! What a request is about: its target, and the resource that the path names.

use crate::codec::Resource;

/// A resource of this listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/v1/rings/{ring}/records`
    Records(&'a [u8]),
    /// A page.
    Page(Resource),
    /// No such thing.
    Unknown,
}

/// Why a target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadTarget;

/// Reads a request target in origin-form or absolute-form (RFC 9112 §3.2). `*` and the
/// authority-form name no resource.
pub(super) fn parse(target: &[u8]) -> Result<Target<'_>, BadTarget> {
    Ok(split(target)?.map_or(Target::Unknown, |parts| parts.resource()))
}

/// A target that has a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Of the absolute-form.
    pub(super) authority: Option<&'a [u8]>,
    /// Without the query.
    pub(super) path: &'a [u8],
}

/// Takes a target apart; `None` for the asterisk-form and the authority-form.
pub(super) fn split(target: &[u8]) -> Result<Option<Parts<'_>>, BadTarget> {
    if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(BadTarget);
    }
    let (authority, path) = match target.first() {
        Some(b'/') => (None, target),
        _ => match after_authority(target) {
            Some(parts) => parts.map(|(authority, path)| (Some(authority), path))?,
            // Asterisk-form and authority-form.
            None if target == b"*" || is_host(target) => return Ok(None),
            None => return Err(BadTarget),
        },
    };
    let path = path.split(|byte| *byte == b'?').next().unwrap_or(path);
    Ok(Some(Parts { authority, path }))
}

impl<'a> Parts<'a> {
    /// The resource of this listener that the path names.
    pub(super) fn resource(&self) -> Target<'a> {
        match self.path {
            b"/healthz" => Target::Page(Resource::Health),
            b"/readyz" => Target::Page(Resource::Readiness),
            b"/metrics" => Target::Page(Resource::Metrics),
            path => ring_of(path).map_or(Target::Unknown, Target::Records),
        }
    }
}

/// `{ring}` of `/v1/rings/{ring}/records`.
fn ring_of(path: &[u8]) -> Option<&[u8]> {
    path.strip_prefix(b"/v1/rings/")?.strip_suffix(b"/records").filter(|name| !name.contains(&b'/'))
}

/// The two parts of the absolute-form.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The authority, and the path with its query, of `http://authority/path`; `None` if it has another
/// form.
fn after_authority(target: &[u8]) -> Option<Result<Pair<'_>, BadTarget>> {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"http://"))?;
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // RFC 9110 §4.2.4: userinfo in a target is likely an attempt to disguise the authority.
    Some(if authority.is_empty() || !is_host(authority) {
        Err(BadTarget)
    } else {
        Ok((authority, path))
    })
}

/// Whether the value of a `Host` field is `uri-host [ ":" port ]` (RFC 9110 §7.2), or empty, which
/// the grammar allows.
pub fn is_host(value: &[u8]) -> bool {
    let (host_is_good, port) = if let Some(literal) = value.strip_prefix(b"[") {
        let Some(end) = literal.iter().position(|byte| *byte == b']') else { return false };
        let (address, rest) = literal.split_at(end);
        (!address.is_empty() && address.iter().copied().all(is_of_address), &rest[1..])
    } else {
        let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
        let (name, rest) = value.split_at(end);
        (is_reg_name(name), rest)
    };
    let port_is_good =
        port.is_empty() || port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit);
    host_is_good && port_is_good
}

fn is_of_address(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || b":.".contains(&byte)
}

/// RFC 3986 §3.2.2: unreserved, percent-encoded and sub-delims.
fn is_reg_name(mut name: &[u8]) -> bool {
    while let Some((byte, rest)) = name.split_first() {
        name = match byte {
            b'%' => match rest {
                [a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
                _ => return false,
            },
            _ if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) => rest,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_record_path_names_a_ring() {
        for target in [
            "/v1/rings/demo/records",
            "/v1/rings/demo/records?x=/",
            "HTTP://h:1/v1/rings/demo/records",
        ] {
            assert_eq!(parse(target.as_bytes()), Ok(Target::Records(b"demo")), "{target}");
        }
        for other in [
            "/v1/rings/demo",
            "/v1/rings/a/b/records",
            "/v1/rings/demo/records/",
            "/v1/rings/records",
            "//healthz",
            "/",
            "*",
            "http://host",
            "http://host?/healthz",
            "example.com:443",
        ] {
            assert_eq!(parse(other.as_bytes()), Ok(Target::Unknown), "{other}");
        }
        assert_eq!(parse(b"/healthz?"), Ok(Target::Page(Resource::Health)));
    }

    #[test]
    fn targets_that_disguise_something_are_refused() {
        for target in [
            "/a b",
            "/#",
            "/\u{e9}",
            "/\u{7f}",
            "http:///healthz",
            "http://u@h/healthz",
            "https://h/healthz",
            "!/healthz",
            "*/",
            "http://a b/",
        ] {
            assert_eq!(parse(target.as_bytes()), Err(BadTarget), "{target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for host in
            ["", "a", "example.com:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a%20b", "x_y"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b", "a/b", "u@h", "a:b", "a:80:80", "[::1", "[]", "[::1]x", "a%2", "a\tb", "\u{e9}",
            "[::g]", "a%g2", "a%2g", "a%zz",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
