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
    use x509_parser::asn1_rs::{Any, BmpString, Class, Tag};
    use x509_parser::extensions::GeneralName;
    use x509_parser::x509::X509Name;

    use super::PeerName;

    /// Finds subject and alternatives; `None` if it is no certificate.
    pub(super) fn names(certificate: &[u8]) -> Option<Vec<PeerName>> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let alternatives = certificate.subject_alternative_name().ok()?;
        let alternatives = alternatives.iter().flat_map(|found| &found.value.general_names);
        Some(
            subject(certificate.subject())
                .into_iter()
                .chain(alternatives.filter_map(name))
                .collect(),
        )
    }

    /// Reads the subject; `None` if it is empty or has something that is no text.
    fn subject(name: &X509Name<'_>) -> Option<PeerName> {
        let mut parts = Vec::new();
        for set in name.iter() {
            let mut part = Vec::new();
            for attribute in set.iter() {
                let value = text(attribute.attr_value())?;
                part.push((attribute.attr_type().to_id_string(), value));
            }
            part.sort();
            parts.push(part);
        }
        (!parts.is_empty()).then_some(PeerName::Subject(parts))
    }

    /// Reads an alternative, if it is of a kind that a credential may name.
    fn name(name: &GeneralName<'_>) -> Option<PeerName> {
        // Nothing that looks like another name when it is printed.
        let is_plain = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        match name {
            GeneralName::DNSName(name) if is_plain(name) => {
                Some(PeerName::Dns(name.to_ascii_lowercase()))
            }
            GeneralName::RFC822Name(name) if is_plain(name) => {
                Some(PeerName::Email((*name).to_owned()))
            }
            GeneralName::URI(name) if is_plain(name) => Some(PeerName::Uri((*name).to_owned())),
            _ => None,
        }
    }

    /// The text of a value.
    pub(super) fn text(value: &Any<'_>) -> Option<String> {
        if value.class() != Class::Universal || value.header.is_constructed() {
            return None;
        }
        match value.tag() {
            Tag::Utf8String => String::from_utf8(value.data.to_vec()).ok(),
            Tag::NumericString | Tag::PrintableString | Tag::Ia5String if value.data.is_ascii() => {
                String::from_utf8(value.data.to_vec()).ok()
            }
            Tag::BmpString if value.data.len().is_multiple_of(2) => {
                BmpString::try_from(value).ok().map(|text| text.string())
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
    fn only_what_is_text_in_its_encoding_is_text() {
        use x509_parser::asn1_rs::{Any, Class, Header, Length, Tag};

        let read = |class, is_constructed, tag, data: &[u8]| {
            let header = Header::new(class, is_constructed, tag, Length::Definite(data.len()));
            reading::text(&Any::new(header, data))
        };
        let plain = |tag, data| read(Class::Universal, false, tag, data);
        for tag in [Tag::Utf8String, Tag::NumericString, Tag::PrintableString, Tag::Ia5String] {
            assert_eq!(plain(tag, b"17").as_deref(), Some("17"), "{tag}");
            assert_eq!(read(Class::ContextSpecific, false, tag, b"17"), None, "{tag}");
            assert_eq!(read(Class::Universal, true, tag, b"17"), None, "{tag}");
            let umlaut = plain(tag, "ö".as_bytes());
            assert_eq!(umlaut.is_some(), tag == Tag::Utf8String, "{tag}");
        }
        assert_eq!(plain(Tag::Utf8String, b"\xff"), None);
        assert_eq!(plain(Tag::BmpString, b"\0Z\0\xeb").as_deref(), Some("Zë"));
        assert_eq!(plain(Tag::BmpString, b"\0Z\0"), None, "half a character");
        assert_eq!(plain(Tag::TeletexString, b"Z"), None, "nobody agrees on what it means");
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
