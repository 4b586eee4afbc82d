//! The file of credentials: a line each, with the name, the hash or what a certificate says, and
//! the rings it may write to.

use std::fmt;

use blake2::digest::consts::U8;
use blake2::{Blake2b, Digest};

use super::hash::Hash;
use crate::tls::PeerName;

/// One line of the file.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Whose it is; several lines may have the same name.
    pub(super) name: String,
    pub(super) proof: Proof,
    /// Where it may write; `None` is everywhere.
    pub(super) rings: Option<Vec<String>>,
}

/// By what a client is known.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Hash(Hash),
    /// A name in the certificate that it shows, with its text.
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nobody can show one"))]
    Certificate(PeerName, String),
}

/// The key before the name of a certificate.
const CERTIFICATE: &str = "certificate=";

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;

impl Line {
    /// Makes a line; the error says what is wrong with the name.
    pub(super) fn new(
        name: &str,
        proof: Proof,
        rings: Option<Vec<String>>,
    ) -> Result<Self, &'static str> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(good) {
            return Err("a name has 1 to 64 of A-Z a-z 0-9 . _ @ -");
        }
        Ok(Self { name: name.to_owned(), proof, rings })
    }

    /// Reads a line; `None` if it is empty or a remark. The error says what is wrong, without
    /// anything of the line.
    pub(super) fn read(text: &str) -> Result<Option<Self>, &'static str> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim_start();
        let (proof, rest) = match rest.strip_prefix(CERTIFICATE) {
            Some(named) => certificate(named)?,
            None => hash(rest)?,
        };
        let rings = match rest.trim() {
            "" => None,
            rings => {
                let rings = rings.strip_prefix("rings=").filter(|rings| !rings.is_empty());
                let rings = rings.ok_or("what follows the hash is rings=NAME,NAME")?;
                if rings.contains(char::is_whitespace) {
                    return Err(FORM);
                }
                Some(rings.split(',').map(str::to_owned).collect())
            }
        };
        Self::new(name, proof, rings).map(Some)
    }

    /// Tells name and proof from all others.
    pub(super) fn mark(&self) -> u64 {
        let line = Self { rings: None, ..self.clone() };
        let hash: [u8; 8] = Blake2b::<U8>::digest(line.to_string()).into();
        u64::from_le_bytes(hash)
    }
}

const FORM: &str = "a line is NAME HASH or NAME certificate=…, and rings=NAME,NAME may follow";

impl Proof {
    /// Reads a name of a certificate.
    #[cfg(feature = "tls")]
    pub(super) fn of_certificate(text: &str) -> Result<Self, &'static str> {
        super::certificate::read(text).map(|name| Self::Certificate(name, text.to_owned()))
    }

    /// Refuses: nobody can show one.
    #[cfg(not(feature = "tls"))]
    pub(super) fn of_certificate(_: &str) -> Result<Self, &'static str> {
        Err("certificates need a program that was built with the cargo feature `tls`")
    }
}

/// Reads a hash and finds what follows it.
fn hash(text: &str) -> Result<(Proof, &str), &'static str> {
    let (hash, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if hash.is_empty() {
        return Err(FORM);
    }
    Ok((Proof::Hash(Hash::read(hash)?), rest))
}

/// Reads a name of a certificate and finds what follows it. In quotes it may have spaces; the
/// backslashes in it are its own, and one keeps a quote from ending it.
fn certificate(text: &str) -> Result<(Proof, &str), &'static str> {
    let (name, rest) = match text.strip_prefix('"') {
        None => text.split_once(char::is_whitespace).unwrap_or((text, "")),
        Some(quoted) => {
            let mut is_escaped = false;
            let end = quoted.find(|character| {
                let ends = character == '"' && !is_escaped;
                is_escaped = character == '\\' && !is_escaped;
                ends
            });
            let end = end.ok_or("the name of the certificate has no closing quote")?;
            let rest = &quoted[end + 1..];
            if rest.starts_with(|character: char| !character.is_whitespace()) {
                return Err(FORM);
            }
            (&quoted[..end], rest)
        }
    };
    Ok((Proof::of_certificate(name)?, rest))
}

/// As it is read.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Hash(hash) => write!(f, "{} {hash}", self.name)?,
            Proof::Certificate(_, text) => write!(f, "{} {CERTIFICATE}\"{text}\"", self.name)?,
        }
        match &self.rings {
            Some(rings) => write!(f, " rings={}", rings.join(",")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn a_line_may_have_a_name_of_a_certificate() {
        for (text, name, rings) in [
            ("dns:a.example", PeerName::Dns("a.example".to_owned()), None),
            ("\"uri:x:y\"", PeerName::Uri("x:y".to_owned()), Some(vec!["a".to_owned()])),
            (
                "\"CN=The \\\"Robot\\\"\\\\\"",
                PeerName::Subject(vec![vec![("2.5.4.3".to_owned(), "The \"Robot\"\\".to_owned())]]),
                None,
            ),
        ] {
            let suffix = if rings.is_some() { " rings=a" } else { "" };
            let line = Line::read(&format!("r \t certificate={text} {suffix}")).expect("good");
            // Written, it is the same line again.
            let again = Line::read(&line.expect("a line").to_string()).expect("good");
            let again = again.expect("a line");
            assert_eq!(again.rings, rings);
            assert!(matches!(&again.proof, Proof::Certificate(read, _) if *read == name), "{text}");
        }
        for text in ["\"CN=a", "\"CN=a\"b", "CN=a b", "\"CN=a\\\"", "dns:a rings=a b", ""] {
            assert!(Line::read(&format!("r certificate={text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let hash = Hash::new_token().expect("random bytes").1;
        for rings in [None, Some(vec!["a".to_owned()]), Some(vec!["a".to_owned(), "b".to_owned()])]
        {
            let proof = Proof::Hash(hash.clone());
            let line = Line::new("some.one@x", proof, rings.clone()).expect("good");
            let read = Line::read(&format!("  {line}\t\n")).ok().flatten().expect("a line");
            assert_eq!((read.name.as_str(), &read.rings), ("some.one@x", &rings));
            assert!(matches!(read.proof, Proof::Hash(read) if read == hash));
        }
        for text in ["", "  ", "# x", " #"] {
            assert!(Line::read(text).is_ok_and(|line| line.is_none()), "{text:?}");
        }
        for (text, said) in [
            ("x", "a line is NAME HASH"),
            ("x ", "a line is NAME HASH"),
            (&format!("x {hash} y=1"), "rings=NAME,NAME"),
            (&format!("x {hash} rings="), "rings=NAME,NAME"),
            (&format!("x {hash} rings=a b"), "a line is NAME HASH"),
            (&format!("x:y {hash}"), "a name has"),
            ("x hunter2", "a hash begins with"),
        ] {
            let error = Line::read(text).err().unwrap_or("nothing");
            assert!(error.contains(said) && !error.contains("hunter2"), "{text}: {error}");
        }
    }
}
