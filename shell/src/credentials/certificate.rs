//! Names of clients' certificates as the file of credentials has them: `dns:robot.example`,
//! `email:…`, `uri:…`, or the whole subject as RFC 4514 writes it.

use crate::tls::PeerName;

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Attributes that have a name beside their object identifier (RFC 4514 §3, and what openssl
/// prints).
const ATTRIBUTES: [(&str, &str); 14] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("title", "2.5.4.12"),
    ("GN", "2.5.4.42"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// Reads a name; the error says what is wrong, without anything of it.
pub(super) fn read(text: &str) -> Result<PeerName, &'static str> {
    if text.len() > NAME_BYTES_MAX {
        return Err("a name of a certificate has at most 1024 bytes");
    }
    let Some((kind, name)) =
        text.split_once(':').filter(|(kind, _)| ["dns", "email", "uri"].contains(kind))
    else {
        return subject(text);
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        return Err("a name of a certificate after dns:, email: or uri: is printable ASCII");
    }
    if name.contains('*') && kind != "uri" {
        return Err("a name of a certificate is whole: there are no wildcards");
    }
    Ok(match kind {
        "dns" => PeerName::Dns(name.to_ascii_lowercase()),
        "email" => PeerName::Email(name.to_owned()),
        _ => PeerName::Uri(name.to_owned()),
    })
}

const BAD_SUBJECT: &str = "a name of a certificate is dns:NAME, email:ADDRESS, uri:URI, or its \
                           subject in quotes, as \"CN=robot,O=Works\"";

/// Reads a subject, whose first part is the certificate's last.
fn subject(text: &str) -> Result<PeerName, &'static str> {
    let (mut parts, mut part, mut rest) = (Vec::new(), Vec::new(), text);
    loop {
        let (attribute, value) = rest.split_once('=').ok_or(BAD_SUBJECT)?;
        let (value, after) = value_of(value).ok_or(BAD_SUBJECT)?;
        part.push((identifier(attribute.trim()).ok_or(BAD_SUBJECT)?, value));
        if let Some(next) = after.strip_prefix('+') {
            rest = next;
            continue;
        }
        part.sort();
        parts.push(std::mem::take(&mut part));
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    parts.reverse();
    Ok(PeerName::Subject(parts))
}

/// The object identifier of an attribute that is named, or is one.
fn identifier(name: &str) -> Option<String> {
    let known = ATTRIBUTES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    if let Some((_, identifier)) = known {
        return Some((*identifier).to_owned());
    }
    let is_number = |arc: &str| {
        !arc.is_empty()
            && arc.bytes().all(|byte| byte.is_ascii_digit())
            && (arc == "0" || !arc.starts_with('0'))
    };
    (name.contains('.') && name.split('.').all(is_number)).then(|| name.to_owned())
}

/// The value of a hexadecimal digit.
fn digit(byte: u8) -> u8 {
    if byte.is_ascii_digit() { byte - b'0' } else { (byte | 0x20) - b'a' + 10 }
}

/// Reads a value up to the separator that follows it: the value, and the rest from there on. Spaces
/// around it are no part of it.
fn value_of(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches(' ');
    let (mut value, mut whole, mut rest) = (Vec::new(), 0, text.as_bytes());
    // Hexadecimal BER is nobody's name.
    if rest.first() == Some(&b'#') {
        return None;
    }
    loop {
        let (byte, after) = match rest {
            [] | [b',' | b'+', ..] => break,
            [b'\\', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (digit(*high) << 4 | digit(*low), after)
            }
            [b'\\', special, after @ ..] if b"\"+,;<> #=\\".contains(special) => (*special, after),
            [b'\\' | b'"' | b';' | b'<' | b'>' | 0, ..] => return None,
            [byte, after @ ..] => (*byte, after),
        };
        let is_escaped = rest.len() - after.len() > 1;
        value.push(byte);
        if byte != b' ' || is_escaped {
            whole = value.len();
        }
        rest = after;
    }
    value.truncate(whole);
    let value = String::from_utf8(value).ok().filter(|value| !value.is_empty())?;
    Some((value, &text[text.len() - rest.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_rfc_4514_writes_it() {
        let part = |identifier: &str, value: &str| (identifier.to_owned(), value.to_owned());
        let subject = |parts: Vec<Vec<(String, String)>>| Ok(PeerName::Subject(parts));
        let (name, works) = (part("2.5.4.3", "robot"), part("2.5.4.10", "Works, Ltd"));
        // As `openssl x509 -noout -subject -nameopt RFC2253` prints it, and with other escapes.
        for text in [
            "CN=robot,O=Works\\, Ltd,C=DE",
            "cn = robot , 2.5.4.10= Works\\2C Ltd ,C=DE",
            "2.5.4.3=ro\\62ot,O=Works\\,\\20Ltd,C=DE",
        ] {
            let country = vec![part("2.5.4.6", "DE")];
            let expected = subject(vec![country, vec![works.clone()], vec![name.clone()]]);
            assert_eq!(read(text), expected, "{text}");
        }
        let unit = part("2.5.4.11", "Zoë");
        for text in ["OU=Zoë+CN=robot", "CN=robot+OU=Zo\\C3\\AB"] {
            assert_eq!(read(text), subject(vec![vec![unit.clone(), name.clone()]]), "{text}");
        }
        assert_eq!(read("CN=a=\\ "), subject(vec![vec![part("2.5.4.3", "a= ")]]));
        // A separator that is escaped, before what is a digit.
        assert_eq!(read("CN=a\\,b"), subject(vec![vec![part("2.5.4.3", "a,b")]]));
        let longest = format!("uri:{}", "a".repeat(NAME_BYTES_MAX - 4));
        assert_eq!(read(&longest), Ok(PeerName::Uri(longest[4..].to_owned())));
        assert_eq!(read("dns:Robot.Example"), Ok(PeerName::Dns("robot.example".to_owned())));
        assert_eq!(read("email:R@example"), Ok(PeerName::Email("R@example".to_owned())));
        assert_eq!(read("uri:a:b/*"), Ok(PeerName::Uri("a:b/*".to_owned())));
    }

    #[test]
    fn what_could_mean_something_else_is_refused() {
        for text in [
            "",
            "robot",
            "dns:",
            "dns:*.example",
            "dns:a b",
            "email:\"",
            "ip:127.0.0.1",
            "CN=",
            "=a",
            "CN=a,",
            ",CN=a",
            "CN=a+",
            "CN=a;O=b",
            "CN=#0c0161",
            "XN=a",
            "2=a",
            "2.05=a",
            "2..5=a",
            "a.b=c",
            "2.5x=a",
            "CN=\\fz",
            "CN=a\\",
            "CN=a\\x",
            "CN=\\ff",
            "CN=a<b",
            "CN=\"a\"",
            "CN=\\C3",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
        assert!(read(&format!("uri:{}", "a".repeat(NAME_BYTES_MAX))).is_err());
    }
}
