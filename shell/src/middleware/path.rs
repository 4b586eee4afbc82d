//! Paths as RFC 3986 compares them, and the patterns that routes match them with.

use std::borrow::Cow;

/// Most segments of a pattern.
const SEGMENTS_MAX: usize = 32;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath(
    /// What is wrong with it.
    pub &'static str,
);

/// Whether [`normalise`] would leave this path as it is. Looks at each byte once.
#[inline]
pub fn is_normal(path: &[u8]) -> bool {
    // Paths are short: making a searcher would take longer.
    let mut last = 0;
    path.iter().all(|&byte| {
        let is_normal = byte != b'%' && !(byte == b'.' && last == b'/');
        last = byte;
        is_normal
    })
}

/// Normalises a path that begins with a slash (RFC 3986 §6.2.2): hexadecimal digits in upper case,
/// unreserved characters decoded, then dot segments removed. Everything else stays: letters keep
/// their case, empty segments and an encoded slash remain what they are.
///
/// # Errors
/// A percent sign without two digits, or an encoded NUL.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, BadPath> {
    if is_normal(path) {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = after;
            continue;
        }
        let value = octet(after).ok_or(BadPath("a percent sign is not followed by two digits"))?;
        match value {
            0 => return Err(BadPath("the path has an encoded NUL")),
            _ if is_unreserved(value) => decoded.push(value),
            _ => {
                decoded.push(b'%');
                decoded.extend(after[..2].iter().map(u8::to_ascii_uppercase));
            }
        }
        rest = &after[2..];
    }
    Ok(Cow::Owned(without_dots(&decoded)))
}

/// Appends a segment that [`normalise`] has seen, with every percent sign decoded.
fn decode(segment: &[u8], decoded: &mut Vec<u8>) {
    if !segment.contains(&b'%') {
        decoded.extend_from_slice(segment);
        return;
    }
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        let value = if byte == b'%' { octet(after) } else { None };
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[2..] } else { after };
    }
}

fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." => {}
            b".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push(b"");
        }
    }
    let mut normal = Vec::with_capacity(path.len());
    for segment in kept {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if normal.is_empty() {
        normal.push(b'/');
    }
    normal
}

/// A segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// Itself, in its normal form.
    Literal(Vec<u8>),
    /// Any segment that is not empty.
    Parameter,
}

/// What the path of a route looks like: segments, some of them parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    /// In the order of the path.
    parameters: Vec<String>,
}

impl Pattern {
    /// Reads a pattern: a path whose segments are literal or `{name}`.
    ///
    /// # Errors
    /// What a pattern has to look like.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "a path as /crm/users/{id}: each parameter a whole segment";
        const NAME: &str = "names of parameters that differ, of a-z, A-Z, 0-9 and _";
        if !text.starts_with('/') || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(FORM);
        }
        if text.contains(['?', '#', '\\', '"', '<', '>', '^', '`', '|']) {
            return Err("a path without query, fragment and characters that no path has");
        }
        // Braces are no characters of a path, so what is normal does not depend on them.
        let normal = normalise(text.as_bytes()).map_err(|bad| bad.0)?;
        let (mut segments, mut parameters) = (Vec::new(), Vec::new());
        for segment in normal[1..].split(|byte| *byte == b'/') {
            let inside = segment.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
            match inside {
                Some(name) => {
                    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                    let name = String::from_utf8_lossy(name).into_owned();
                    if name.is_empty()
                        || name.len() > 64
                        || !name.as_bytes().iter().all(is_of_name)
                        || parameters.contains(&name)
                    {
                        return Err(NAME);
                    }
                    parameters.push(name);
                    segments.push(Segment::Parameter);
                }
                None if segment.iter().any(|byte| b"{}".contains(byte)) => return Err(FORM),
                None => segments.push(Segment::Literal(segment.to_owned())),
            }
        }
        if segments.len() > SEGMENTS_MAX {
            return Err("a path of at most 32 segments");
        }
        Ok(Self { text: text.to_owned(), segments, parameters })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Names of its parameters.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// Whether it matches the same paths as another one.
    pub fn is_same(&self, other: &Self) -> bool {
        self.segments == other.segments
    }

    /// Orders patterns so that of those that match a path the first is the most specific: at the
    /// first segment where they differ it has the literal one.
    pub fn rank(&self, other: &Self) -> std::cmp::Ordering {
        self.segments.cmp(&other.segments)
    }

    /// Whether it matches a normal path.
    pub fn matches(&self, path: &[u8]) -> bool {
        let Some(rest) = path.strip_prefix(b"/") else { return false };
        let mut found = rest.split(|byte| *byte == b'/');
        let all = self.segments.iter().all(|segment| match (segment, found.next()) {
            (Segment::Literal(literal), Some(found)) => literal == found,
            (Segment::Parameter, Some(found)) => !found.is_empty(),
            (_, None) => false,
        });
        all && found.next().is_none()
    }

    /// The values of its parameters in a normal path that it matches, decoded.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn values(&self, path: &[u8]) -> Result<Vec<String>, BadPath> {
        let mut values = Vec::new();
        self.read_values(path, &mut values)?;
        Ok(values)
    }

    /// The same into `values`, in place of what is there, whose memory is taken.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    pub fn read_values(&self, path: &[u8], values: &mut Vec<String>) -> Result<(), BadPath> {
        values.resize_with(self.parameters.len(), String::new);
        let found = path.get(1..).unwrap_or_default().split(|byte| *byte == b'/');
        let parameters = self.segments.iter().zip(found);
        let parameters = parameters.filter(|(segment, _)| **segment == Segment::Parameter);
        for (value, (_, found)) in values.iter_mut().zip(parameters) {
            let mut bytes = std::mem::take(value).into_bytes();
            bytes.clear();
            decode(found, &mut bytes);
            *value = String::from_utf8(bytes)
                .map_err(|_| BadPath("a parameter of the path is not UTF-8"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> String {
        let normal = normalise(path.as_bytes()).unwrap_or_else(|bad| panic!("{path}: {bad:?}"));
        String::from_utf8(normal.into_owned()).unwrap()
    }

    #[test]
    fn equivalent_paths_have_one_normal_form() {
        for (path, expected) in [
            ("/crm/users/7", "/crm/users/7"),
            ("/%63rm/%75sers/%37", "/crm/users/7"),
            ("/crm/./users/../users/7", "/crm/users/7"),
            ("/crm/%2e/users/%2E%2e/users/7", "/crm/users/7"),
            ("/../../crm", "/crm"),
            ("/crm/..", "/"),
            ("/crm/.", "/crm/"),
            ("/crm/x/..", "/crm/"),
            ("/a%2fb", "/a%2Fb"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("/CRM", "/CRM"),
            ("/...", "/..."),
            ("/.a/..b", "/.a/..b"),
            ("/%7Euser/%e9", "/~user/%E9"),
            ("/%252e%252e/x", "/%252e%252e/x"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
            assert_eq!(normal(expected), expected, "normalising twice: {path}");
        }
        for bad in ["/%", "/%4", "/%zz", "/a%0", "/%00", "/%+1"] {
            assert!(normalise(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_one_segment_that_is_not_empty() {
        let pattern = Pattern::new("/crm/users/{id}").unwrap();
        assert!(pattern.matches(b"/crm/users/7"));
        for other in
            ["/crm/users/", "/crm/users", "/crm/users/7/", "/crm/users/7/x", "/CRM/users/7"]
        {
            assert!(!pattern.matches(other.as_bytes()), "{other}");
        }
        assert_eq!(pattern.values(b"/crm/users/a%2Fb").unwrap(), ["a/b"]);
        assert!(pattern.values(b"/crm/users/%FF").is_err());
        assert_eq!(Pattern::new("/%63rm/{a}/x").unwrap().values(b"/crm/1/x").unwrap(), ["1"]);
    }

    #[test]
    fn the_more_specific_pattern_comes_first() {
        let mut patterns =
            ["/{a}/{b}", "/{a}/x", "/users/{id}", "/users/me"].map(|it| Pattern::new(it).unwrap());
        patterns.sort_by(Pattern::rank);
        let texts: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
        assert_eq!(texts, ["/users/me", "/users/{id}", "/{a}/x", "/{a}/{b}"]);
        assert!(Pattern::new("/{a}/x").unwrap().is_same(&Pattern::new("/{b}/x").unwrap()));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "", "crm", "/a?b", "/a#b", "/{}", "/{a}{b}", "/x{a}", "/{a}/{a}", "/{a b}", "/%",
            "/\u{e9}",
        ] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_is_normal_and_has_no_dots(
            path in "/(/|\\.|a|B|%2e|%2E|%2f|%41|%7e|%e9|%25|%|\\{|x){0,12}",
        ) {
            if let Ok(normal) = normalise(path.as_bytes()) {
                prop_assert!(normal.starts_with(b"/"));
                prop_assert_eq!(normalise(&normal).map(Cow::into_owned), Ok(normal.to_vec()));
                let mut segments = normal.split(|byte| *byte == b'/');
                prop_assert!(!segments.any(|segment| segment == b"." || segment == b".."));
            }
        }
    }
}
