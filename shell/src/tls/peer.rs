//! Who the client of a session is: the names in its certificate (RFC 5280 §4.1.2.6, §4.2.1.6).
//! Whether they are to be believed, rustls has found out before.

/// A client that has shown a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its names, of which it may have none.
    pub names: Vec<PeerName>,
}

/// A name in a certificate. Two are the same if they are equal, with no wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerName {
    /// The subject: its parts in the order of the certificate, each one attribute or several in the
    /// order of their text. An attribute is its object identifier, as `2.5.4.3`, and its value.
    Subject(Vec<Vec<(String, String)>>),
    /// A DNS name among the alternatives, in lower case.
    Dns(String),
    /// A mailbox among them.
    Email(String),
    /// A URI among them.
    Uri(String),
}

#[cfg(feature = "tls")]
impl Peer {
    /// Reads the names of a certificate in DER. What is not text in a known encoding is no name.
    pub(super) fn of_certificate(der: &[u8]) -> Self {
        Self { names: reading::names(der).unwrap_or_default() }
    }
}

#[cfg(feature = "tls")]
mod reading {
    use super::PeerName;
    use crate::tls::der::{SEQUENCE, element, tagged};

    /// Tags of DER, and of the parts of a certificate and of `GeneralName`.
    const SET: u8 = 0x31;
    const OBJECT_IDENTIFIER: u8 = 0x06;
    const BOOLEAN: u8 = 0x01;
    const OCTET_STRING: u8 = 0x04;
    const UTF8_STRING: u8 = 0x0c;
    const NUMERIC_STRING: u8 = 0x12;
    const PRINTABLE_STRING: u8 = 0x13;
    const IA5_STRING: u8 = 0x16;
    const BMP_STRING: u8 = 0x1e;
    const VERSION: u8 = 0xa0;
    const EXTENSIONS: u8 = 0xa3;
    const EMAIL: u8 = 0x81;
    const DNS: u8 = 0x82;
    const URI: u8 = 0x86;

    /// `id-ce-subjectAltName`, 2.5.29.17.
    const ALTERNATIVES: &[u8] = &[0x55, 0x1d, 0x11];

    /// Finds subject and alternatives; `None` if it is no certificate.
    pub(super) fn names(certificate: &[u8]) -> Option<Vec<PeerName>> {
        let (certificate, _) = element(certificate, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            (_, _, rest) = tagged(rest)?;
        }
        // Serial number, algorithm, issuer, validity.
        for _ in 0..4 {
            (_, _, rest) = tagged(rest)?;
        }
        let (name, mut rest) = element(rest, SEQUENCE)?;
        let mut names: Vec<_> = subject(name).into_iter().collect();
        while !rest.is_empty() {
            let (tag, content, after) = tagged(rest)?;
            rest = after;
            if tag == EXTENSIONS {
                alternatives(element(content, SEQUENCE)?.0, &mut names)?;
            }
        }
        Some(names)
    }

    /// Reads the subject; `None` if it is empty or has something that is no text.
    fn subject(mut rest: &[u8]) -> Option<PeerName> {
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (mut set, after) = element(rest, SET)?;
            rest = after;
            let mut part = Vec::new();
            while !set.is_empty() {
                let (attribute, after) = element(set, SEQUENCE)?;
                set = after;
                let (identifier, value) = element(attribute, OBJECT_IDENTIFIER)?;
                let (tag, value, _) = tagged(value)?;
                part.push((dotted(identifier)?, text(tag, value)?));
            }
            part.sort();
            parts.push(part);
        }
        (!parts.is_empty()).then_some(PeerName::Subject(parts))
    }

    /// Reads the alternatives among the extensions.
    fn alternatives(mut rest: &[u8], names: &mut Vec<PeerName>) -> Option<()> {
        while !rest.is_empty() {
            let (extension, after) = element(rest, SEQUENCE)?;
            rest = after;
            let (identifier, mut value) = element(extension, OBJECT_IDENTIFIER)?;
            if identifier != ALTERNATIVES {
                continue;
            }
            if value.first() == Some(&BOOLEAN) {
                (_, _, value) = tagged(value)?;
            }
            let (value, _) = element(value, OCTET_STRING)?;
            let (mut all, _) = element(value, SEQUENCE)?;
            while !all.is_empty() {
                let (tag, content, after) = tagged(all)?;
                all = after;
                // Nothing that looks like another name when it is printed.
                let Some(name) = std::str::from_utf8(content)
                    .ok()
                    .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()))
                else {
                    continue;
                };
                names.extend(match tag {
                    DNS => Some(PeerName::Dns(name.to_ascii_lowercase())),
                    EMAIL => Some(PeerName::Email(name.to_owned())),
                    URI => Some(PeerName::Uri(name.to_owned())),
                    _ => None,
                });
            }
        }
        Some(())
    }

    /// An object identifier as text (X.690 §8.19).
    fn dotted(identifier: &[u8]) -> Option<String> {
        let (mut out, mut number, mut is_whole) = (String::new(), 0_u64, true);
        for byte in identifier {
            number = number.checked_mul(128)? | u64::from(byte & 0x7f);
            is_whole = byte & 0x80 == 0;
            if !is_whole {
                continue;
            }
            if out.is_empty() {
                let first = (number / 40).min(2);
                out = format!("{first}.{}", number - 40 * first);
            } else {
                out = format!("{out}.{number}");
            }
            number = 0;
        }
        (is_whole && !out.is_empty()).then_some(out)
    }

    /// The text of a value.
    fn text(tag: u8, value: &[u8]) -> Option<String> {
        match tag {
            UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
            NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING if value.is_ascii() => {
                String::from_utf8(value.to_vec()).ok()
            }
            BMP_STRING => {
                let (pairs, rest) = value.as_chunks::<2>();
                let units = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
                let text = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
                rest.is_empty().then_some(text)
            }
            _ => None,
        }
    }
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use rcgen::string::{BmpString, Ia5String, PrintableString};
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CountryName, "DE");
        let printable = PrintableString::try_from("Works, Ltd").expect("printable");
        subject.push(DnType::OrganizationName, DnValue::PrintableString(printable));
        let wide = BmpString::try_from("Zoë").expect("in the plane");
        subject.push(DnType::OrganizationalUnitName, DnValue::BmpString(wide));
        subject.push(DnType::CommonName, "Rö bot");
        subject.push(DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]), "r@example");
        params.distinguished_name = subject;
        let ia5 = |text: &str| Ia5String::try_from(text).expect("ASCII");
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("Robot.Example")),
            SanType::Rfc822Name(ia5("r@example")),
            SanType::URI(ia5("spiffe://example/robot")),
            SanType::IpAddress([127, 0, 0, 1].into()),
            SanType::DnsName(ia5("a b")),
        ];
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn a_certificate_has_its_subject_and_its_alternatives() {
        let part = |identifier: &str, value: &str| vec![(identifier.to_owned(), value.to_owned())];
        let expected = [
            PeerName::Subject(vec![
                part("2.5.4.6", "DE"),
                part("2.5.4.10", "Works, Ltd"),
                part("2.5.4.11", "Zoë"),
                part("2.5.4.3", "Rö bot"),
                part("1.2.840.113549.1.9.1", "r@example"),
            ]),
            PeerName::Dns("robot.example".to_owned()),
            PeerName::Email("r@example".to_owned()),
            PeerName::Uri("spiffe://example/robot".to_owned()),
        ];
        assert_eq!(Peer::of_certificate(&certificate()).names, expected);
    }

    #[test]
    fn what_is_cut_or_changed_is_no_panic_and_no_longer_name() {
        let whole = certificate();
        for length in 0..whole.len() {
            assert!(Peer::of_certificate(&whole[..length]).names.is_empty(), "{length}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                for name in Peer::of_certificate(&changed).names {
                    if let PeerName::Dns(name) | PeerName::Email(name) | PeerName::Uri(name) = name
                    {
                        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()));
                    }
                }
            }
        }
    }
}
