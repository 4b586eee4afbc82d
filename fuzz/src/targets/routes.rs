//! `routes`: which route a request takes, with a plain reading of RFC 3986 and of what the README
//! says about matching.

use std::cmp::Ordering;

use aqueduct::middleware::{
    Acknowledge, Host, METHODS, NotFound, Pattern, Route, Router, normalise,
};

use crate::input::Input;

/// What paths and patterns are made of.
const PIECES: [&str; 32] = [
    "/", "/", "/", "/", "a", "b", "A", "ab", "{x}", "{y}", "{x}", "{x", "y}", "{}", ".", "..",
    "...", "%61", "%2e", "%2E", "%2f", "%2F", "%7e", "~", "%c3%a9", "%ff", "%00", "%", "%4", "%25",
    "?", "!",
];

/// Hosts of routes, and what requests say; the same as a name if it says so.
const NAMES: [&str; 4] = ["", "a.example", "A.Example.", "[::1]"];
const ASKED: [(&str, &str); 8] = [
    ("", ""),
    ("a.example", "a.example"),
    ("A.EXAMPLE:80", "a.example"),
    ("a.example.", "a.example"),
    ("a.example.:8080", "a.example"),
    ("b.example", "b.example"),
    ("[::1]", "[::1]"),
    ("[::1]:80", "[::1]"),
];

/// One segment of a plain pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plain {
    Literal(Vec<u8>),
    Parameter(String),
}

struct PlainRoute {
    methods: Vec<&'static str>,
    /// Empty: any.
    host: String,
    segments: Vec<Plain>,
}

/// One input: up to six routes, then requests.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut routes, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..=input.below(6) {
        let chosen = input.u8();
        let mut methods: Vec<_> =
            METHODS.into_iter().enumerate().filter(|(at, _)| chosen >> at & 1 == 1).collect();
        if methods.is_empty() {
            methods.push((0, METHODS[0]));
        }
        let methods: Vec<_> = methods.into_iter().map(|(_, name)| name).collect();
        let name = NAMES[usize::from(chosen >> 6)];
        let text = format!("/{}", path(&mut input));
        let found = Pattern::new(&text);
        let expected = segments(&text);
        assert_eq!(found.is_ok(), expected.is_some(), "{text}: {found:?}");
        let (Ok(pattern), Some(segments)) = (found, expected) else { continue };
        let names = segments.iter().filter_map(|segment| match segment {
            Plain::Parameter(name) => Some(name.clone()),
            Plain::Literal(_) => None,
        });
        assert_eq!(pattern.parameters(), names.collect::<Vec<_>>(), "{text}");
        routes.push(Route {
            index: 0,
            methods: methods.clone(),
            host: if name.is_empty() { Host::Any } else { Host::only(name) },
            pattern,
            rings: vec![plain.len().to_string()],
            type_tag: None,
            attributes: None,
            acknowledge: Acknowledge::default(),
            is_open: false,
            units: Vec::new(),
        });
        let host = name.trim_end_matches('.').to_ascii_lowercase();
        plain.push(PlainRoute { methods, host, segments });
    }
    let clash = (0..plain.len()).any(|at| plain[..at].iter().any(|one| is_same(one, &plain[at])));
    let router = Router::new(routes);
    assert_eq!(router.is_err(), clash);
    let Ok(router) = router else { return };
    for _ in 0..8 {
        let method = ["POST", "PUT", "PATCH", "GET"][input.below(4) as usize];
        let (asked, host) = ASKED[input.below(8) as usize];
        let text = format!("/{}", path(&mut input));
        let normal = normalise(text.as_bytes());
        let expected = plain_normal(text.as_bytes());
        assert_eq!(normal.as_deref().ok(), expected.as_deref(), "{text}");
        let Some(normal) = expected else { continue };
        assert_eq!(normalise(&normal).as_deref(), Ok(&*normal), "normal once, normal for ever");
        let found = router.find(method.as_bytes(), asked.as_bytes(), &normal);
        let found = found.map(|found| (found.route.rings[0].clone(), found.values));
        let context = (method, asked, &text);
        match (expect(&plain, method, host, &normal), found) {
            (Expected::Route(at, Some(values)), Ok((ring, found))) => {
                assert_eq!((at.to_string(), values), (ring, found), "{context:?}");
            }
            (Expected::Route(_, None), Err(NotFound::Bad(_)))
            | (Expected::NoHost, Err(NotFound::Host))
            | (Expected::NoPath, Err(NotFound::Path)) => {}
            (Expected::Methods(mut names), Err(NotFound::Method(allowed))) => {
                let mut allowed: Vec<_> = allowed.split(", ").collect();
                allowed.sort_unstable();
                names.sort_unstable();
                // Several routes of a path may have the same method; it is named once.
                names.dedup();
                assert_eq!(allowed, names, "{context:?}");
            }
            (_, found) => panic!("{context:?}: {found:?}"),
        }
        if input.is_empty() {
            break;
        }
    }
}

/// A path without its first slash: pieces up to one that ends it.
fn path(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    while !input.is_empty() && text.len() < 200 {
        match input.u8() {
            255 => break,
            byte => text.push_str(PIECES[usize::from(byte) % PIECES.len()]),
        }
    }
    text
}

enum Expected {
    /// This one, with these values, unless one of them is not UTF-8.
    Route(usize, Option<Vec<String>>),
    Methods(Vec<&'static str>),
    NoHost,
    NoPath,
}

/// What becomes of a request: of all routes that take it, the one that no other goes before.
fn expect(routes: &[PlainRoute], method: &str, host: &str, path: &[u8]) -> Expected {
    let parts: Vec<_> = path[1..].split(|byte| *byte == b'/').collect();
    let of_path: Vec<_> =
        (0..routes.len()).filter(|at| matches(&routes[*at].segments, &parts)).collect();
    let mut of_host = of_path.clone();
    of_host.retain(|at| routes[*at].host.is_empty() || routes[*at].host == host);
    let taking = of_host.iter().copied().filter(|at| routes[*at].methods.contains(&method));
    let best = taking.reduce(|one, other| match before(&routes[one], &routes[other]) {
        Ordering::Greater => other,
        _ => one,
    });
    match best {
        Some(at) => Expected::Route(at, values(&routes[at].segments, &parts)),
        None if !of_host.is_empty() => {
            Expected::Methods(of_host.iter().flat_map(|at| routes[*at].methods.clone()).collect())
        }
        None if !of_path.is_empty() => Expected::NoHost,
        None => Expected::NoPath,
    }
}

fn matches(segments: &[Plain], parts: &[&[u8]]) -> bool {
    segments.len() == parts.len()
        && segments.iter().zip(parts).all(|(segment, part)| match segment {
            Plain::Literal(literal) => literal == part,
            Plain::Parameter(_) => !part.is_empty(),
        })
}

/// Which of two routes that take a path goes before the other.
fn before(one: &PlainRoute, other: &PlainRoute) -> Ordering {
    for (mine, theirs) in one.segments.iter().zip(&other.segments) {
        match (mine, theirs) {
            (Plain::Literal(_), Plain::Parameter(_)) => return Ordering::Less,
            (Plain::Parameter(_), Plain::Literal(_)) => return Ordering::Greater,
            _ => {}
        }
    }
    one.host.is_empty().cmp(&other.host.is_empty())
}

fn is_same(one: &PlainRoute, other: &PlainRoute) -> bool {
    let shape = |route: &PlainRoute| -> Vec<Option<Vec<u8>>> {
        let literal = |segment: &Plain| match segment {
            Plain::Literal(literal) => Some(literal.clone()),
            Plain::Parameter(_) => None,
        };
        route.segments.iter().map(literal).collect()
    };
    one.host == other.host
        && shape(one) == shape(other)
        && one.methods.iter().any(|method| other.methods.contains(method))
}

fn values(segments: &[Plain], parts: &[&[u8]]) -> Option<Vec<String>> {
    let of = segments.iter().zip(parts).filter(|(one, _)| matches!(one, Plain::Parameter(_)));
    of.map(|(_, part)| {
        let mut bytes = Vec::new();
        let mut rest = part.iter();
        while let Some(byte) = rest.next() {
            bytes.push(if *byte == b'%' {
                hexadecimal(rest.next()?, rest.next()?)?
            } else {
                *byte
            });
        }
        String::from_utf8(bytes).ok()
    })
    .collect()
}

fn hexadecimal(high: &u8, low: &u8) -> Option<u8> {
    let text = [*high, *low];
    let text = std::str::from_utf8(&text).ok().filter(|text| !text.starts_with('+'))?;
    u8::from_str_radix(text, 16).ok()
}

/// The segments of a pattern; `None` if it is none.
fn segments(text: &str) -> Option<Vec<Plain>> {
    if text.contains('?') {
        return None;
    }
    let normal = plain_normal(text.as_bytes())?;
    let mut names: Vec<String> = Vec::new();
    let mut segments = Vec::new();
    for part in normal[1..].split(|byte| *byte == b'/') {
        let part = String::from_utf8_lossy(part).into_owned();
        if part.len() > 2 && part.starts_with('{') && part.ends_with('}') {
            let name = part[1..part.len() - 1].to_owned();
            if name.len() > 64
                || names.contains(&name)
                || !name.bytes().all(|byte| byte.is_ascii_alphanumeric())
            {
                return None;
            }
            names.push(name.clone());
            segments.push(Plain::Parameter(name));
        } else if part.contains(['{', '}']) {
            return None;
        } else {
            segments.push(Plain::Literal(part.into_bytes()));
        }
    }
    (segments.len() <= 32).then_some(segments)
}

/// Normalises a path as RFC 3986 §6.2.2 says, by the steps of its §5.2.4; `None` if it cannot be
/// read.
fn plain_normal(path: &[u8]) -> Option<Vec<u8>> {
    let mut text = String::new();
    let mut rest = path.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'%' {
            text.push(char::from(*byte));
            continue;
        }
        match hexadecimal(rest.next()?, rest.next()?)? {
            0 => return None,
            one if one.is_ascii_alphanumeric() || b"-._~".contains(&one) => {
                text.push(char::from(one));
            }
            one => text.push_str(&format!("%{one:02X}")),
        }
    }
    let (mut input, mut output) = (text, String::new());
    while !input.is_empty() {
        if input.starts_with("/./") {
            input.replace_range(..2, "");
        } else if input == "/." {
            input = "/".to_owned();
        } else if input.starts_with("/../") || input == "/.." {
            input = format!("/{}", input.get(4..).unwrap_or_default());
            output.truncate(output.rfind('/').unwrap_or(0));
        } else {
            let end = input[1..].find('/').map_or(input.len(), |at| at + 1);
            output.push_str(&input[..end]);
            input.replace_range(..end, "");
        }
    }
    Some(output.into_bytes())
}
