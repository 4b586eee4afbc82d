//! Credentials: who may write to which ring, from a file of salted hashes and of names that
//! clients' certificates have.
//!
//! Tokens are long and random; one fast hash knows them again, so an event loop checks them at
//! once. Passwords cost an Argon2id, which never runs on an event loop; what it found is remembered
//! for a while.

mod cache;
#[cfg(feature = "tls")]
mod certificate;
mod hash;
mod line;
mod settings;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::cache::Cache;
use self::hash::{Hash, Token};
use self::line::{Line, Proof};
use crate::config::read_bounded;
use crate::middleware::credentials::{Check, Credential, Credentials, Presented};
use crate::tls::PeerName;

pub use settings::CredentialsTable;

/// Longest password that is looked at, bytes.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Names that stand for no name: what clients send that have none to send.
const NO_NAMES: [&[u8]; 2] = [b"", b"default"];

/// All credentials of a file.
pub struct Store {
    /// By the public part.
    tokens: HashMap<String, (Hash, Arc<Credential>)>,
    /// By name; several for one name while a password is being replaced.
    passwords: HashMap<String, Vec<(Hash, Arc<Credential>)>>,
    /// By a name in the certificate, with the number of its line.
    certificates: HashMap<PeerName, (usize, Arc<Credential>)>,
    /// By the mark of name and proof.
    marks: HashMap<u64, Arc<Credential>>,
    cache: Cache,
}

/// Why a file of credentials is refused.
#[derive(Debug)]
pub enum StoreError {
    /// It cannot be read.
    Read(io::Error),
    /// A line is wrong.
    Line {
        /// Which, from 1 on.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A line names a ring that there is not.
    Ring {
        /// Which line, from 1 on.
        number: usize,
        /// The name.
        ring: String,
    },
    /// The system has no random bytes.
    Random(io::Error),
    /// There are passwords, and there would never be the memory to verify one.
    Memory {
        /// Bytes that it may take.
        needed: usize,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Line { number, reason } => write!(f, "line {number}: {reason}"),
            Self::Ring { number, ring } => {
                write!(f, "line {number}: there is no ring `{}`", ring.escape_debug())
            }
            Self::Random(error) => write!(f, "random bytes: {error}"),
            Self::Memory { needed } => write!(
                f,
                "verifying its passwords may take {needed} bytes of memory: \
                 ingest.max_buffered_bytes must leave them"
            ),
        }
    }
}

impl std::error::Error for StoreError {}

impl Store {
    /// Reads a file. Its lines may name these rings only.
    pub fn read(path: &Path, rings: &[&str]) -> Result<Self, StoreError> {
        let store = Self::parse(&read_bounded(path).map_err(StoreError::Read)?, rings)?;
        if let Ok(stat) = rustix::fs::stat(path)
            && stat.st_mode & 0o007 != 0
        {
            tracing::warn!(
                path = %path.display(),
                "everyone on this machine may read or write the file of credentials"
            );
        }
        Ok(store)
    }

    /// Whether there are passwords, which take memory to verify.
    pub fn has_passwords(&self) -> bool {
        !self.passwords.is_empty()
    }

    /// Whether there are names of certificates.
    pub fn has_certificates(&self) -> bool {
        !self.certificates.is_empty()
    }

    fn parse(text: &str, rings: &[&str]) -> Result<Self, StoreError> {
        let mut tokens = HashMap::new();
        let mut passwords: HashMap<String, Vec<_>> = HashMap::new();
        let mut certificates = HashMap::new();
        let mut marks = HashMap::new();
        for (index, text) in text.lines().enumerate() {
            let number = index + 1;
            let refused = |reason| StoreError::Line { number, reason };
            let Some(line) = Line::read(text).map_err(refused)? else { continue };
            let unknown = |ring: &&String| !rings.contains(&ring.as_str());
            if let Some(ring) = line.rings.iter().flatten().find(unknown) {
                return Err(StoreError::Ring { number, ring: ring.clone() });
            }
            let mark = line.mark();
            let name = line.name.clone();
            let credential = Arc::new(Credential { name, rings: line.rings, mark });
            // Of the same line twice, the first is asked, here as there.
            marks.entry(mark).or_insert_with(|| Arc::clone(&credential));
            match line.proof {
                Proof::Hash(hash @ Hash::Password { .. }) => {
                    passwords.entry(line.name).or_default().push((hash, credential));
                }
                Proof::Hash(hash) => {
                    let Hash::Token { id, .. } = &hash else { continue };
                    if tokens.insert(id.clone(), (hash, credential)).is_some() {
                        return Err(refused("this token is there twice"));
                    }
                }
                Proof::Certificate(name, _) => {
                    if certificates.insert(name, (number, credential)).is_some() {
                        return Err(refused("this name of a certificate is there twice"));
                    }
                }
            }
        }
        let cache = Cache::new().map_err(StoreError::Random)?;
        Ok(Self { tokens, passwords, certificates, marks, cache })
    }

    /// Whose token it is. Of whoever gives a name, too, it must be the owner's.
    fn token(&self, token: &Token<'_>, name: &[u8]) -> Option<Arc<Credential>> {
        let (hash, credential) = self.tokens.get(token.id)?;
        let is_owner = NO_NAMES.contains(&name) || credential.name.as_bytes() == name;
        (hash.is_of_token(token) && is_owner).then(|| Arc::clone(credential))
    }

    /// Whose password it is. Takes as long for a name that nobody has.
    fn password(&self, name: &[u8], secret: &[u8]) -> Option<Arc<Credential>> {
        let of_name = std::str::from_utf8(name).ok().and_then(|name| self.passwords.get(name));
        if let Some(passwords) = of_name {
            let mut right = None;
            for (hash, credential) in passwords {
                if hash.is_of_password(secret) {
                    right.get_or_insert(credential);
                }
            }
            return right.map(Arc::clone);
        }
        if let Some((hash, _)) = self.passwords.values().next().and_then(|any| any.first()) {
            let _ = hash.is_of_password(secret);
        }
        None
    }
}

impl Credentials for Store {
    fn check(&self, presented: &Presented<'_>) -> Check {
        let granted = |found: Option<_>| found.map_or(Check::Denied, Check::Granted);
        match *presented {
            Presented::Bearer(token) => {
                granted(Token::read(token).and_then(|token| self.token(&token, b"")))
            }
            // Of several that are in the file, the first.
            Presented::Certificate(peer) => {
                let found = peer.names.iter().filter_map(|name| self.certificates.get(name));
                let first = found.min_by_key(|(number, _)| *number);
                granted(first.map(|(_, credential)| Arc::clone(credential)))
            }
            Presented::Basic { name, secret } => {
                if let Some(token) = Token::read(secret) {
                    return granted(self.token(&token, name));
                }
                if self.passwords.is_empty() || secret.len() > PASSWORD_BYTES_MAX {
                    return Check::Denied;
                }
                self.cache.get(name, secret)
            }
        }
    }

    fn verify(&self, presented: &Presented<'_>) -> Option<Arc<Credential>> {
        match (self.check(presented), *presented) {
            (Check::Granted(credential), _) => Some(credential),
            (Check::Slow, Presented::Basic { name, secret }) => {
                let found = self.password(name, secret);
                self.cache.put(name, secret, found.as_ref());
                found
            }
            (Check::Denied | Check::Slow, _) => None,
        }
    }

    fn renew(&self, before: &Credential) -> Option<Arc<Credential>> {
        self.marks.get(&before.mark).map(Arc::clone)
    }
}

/// Shows no hash.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("tokens", &self.tokens.len())
            .field("passwords", &self.passwords.len())
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}

/// Makes a token for `name`: the token, and the line for the file. The error says what is wrong.
pub fn new_token(name: &str, rings: Option<Vec<String>>) -> Result<(String, String), String> {
    let (token, hash) = Hash::new_token().map_err(|error| error.to_string())?;
    Ok((token, Line::new(name, Proof::Hash(hash), rings)?.to_string()))
}

/// Makes the line of a client whose certificate has this name. The error says what is wrong.
pub fn new_certificate(
    name: &str,
    certificate: &str,
    rings: Option<Vec<String>>,
) -> Result<String, String> {
    let line = Line::new(name, Proof::of_certificate(certificate)?, rings)?.to_string();
    // A quote in the wrong place would end the name early.
    Line::read(&line)?;
    Ok(line)
}

/// Makes the line for a password of `name`. The error says what is wrong.
pub fn new_password(
    name: &str,
    password: &[u8],
    rings: Option<Vec<String>>,
) -> Result<String, String> {
    if !(8..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(format!("a password has 8 to {PASSWORD_BYTES_MAX} bytes"));
    }
    if Token::read(password).is_some() {
        return Err("a password does not look like a token".to_owned());
    }
    let hash = Hash::of_password(password).map_err(|error| error.to_string())?;
    Ok(Line::new(name, Proof::Hash(hash), rings)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(check: &Check) -> Option<&str> {
        match check {
            Check::Granted(credential) => Some(credential.name.as_str()),
            Check::Denied => None,
            Check::Slow => Some("slow"),
        }
    }

    #[test]
    fn tokens_are_checked_at_once_and_passwords_once_for_many() {
        let (token, line) = new_token("robot", Some(vec!["a".to_owned()])).expect("a token");
        let password = "m=64,t=1,p=1";
        let hash = |secret: &str| {
            let made = new_password("ann", secret.as_bytes(), None).expect("a password");
            assert!(!made.contains(secret));
            made
        };
        let text = format!("# remark\n{line}\n{}\n{}\n", hash("first one"), hash("second one"));
        assert!(!text.contains(password) && !text.contains(&token));
        let store = Store::parse(&text, &["a"]).expect("good");
        assert!(store.has_passwords() && !store.has_certificates());
        let tokens = Store::parse(&line, &["a"]).expect("good");
        assert!(!tokens.has_passwords());
        let bearer = |token: &str| store.check(&Presented::Bearer(token.as_bytes()));
        assert!(matches!(bearer(&token), Check::Granted(who) if who.may_write("a")));
        assert!(matches!(bearer(&token), Check::Granted(who) if !who.may_write("b")));
        assert_eq!((name(&bearer("")), name(&bearer(&token[..40]))), (None, None));
        let basic = |name, secret| Presented::Basic { name, secret };
        for (who, found) in [(&b"robot"[..], true), (b"", true), (b"default", true), (b"x", false)]
        {
            let check = store.check(&basic(who, token.as_bytes()));
            assert_eq!(name(&check).is_some(), found, "{who:?}");
        }
        // Both passwords of a name are good while one replaces the other.
        for secret in [&b"first one"[..], b"second one"] {
            assert_eq!(name(&store.check(&basic(b"ann", secret))), Some("slow"));
            assert!(store.verify(&basic(b"ann", secret)).is_some());
            assert_eq!(name(&store.check(&basic(b"ann", secret))), Some("ann"), "remembered");
            assert_eq!(name(&store.check(&basic(b"bob", secret))), Some("slow"));
        }
        assert!(store.verify(&basic(b"bob", b"first one")).is_none());
        assert_eq!(name(&store.check(&basic(b"bob", b"first one"))), None, "remembered, too");
        let longest = [b'x'; PASSWORD_BYTES_MAX];
        assert_eq!(name(&store.check(&basic(b"ann", &longest))), Some("slow"));
        let long = [b'x'; PASSWORD_BYTES_MAX + 1];
        assert_eq!(name(&store.check(&basic(b"ann", &long))), None);
        assert_eq!(format!("{store:?}"), "Store { tokens: 1, passwords: 1, certificates: 0, .. }");
    }

    #[test]
    fn what_is_in_the_next_file_is_renewed_and_nothing_else() {
        let (token, line) = new_token("robot", None).expect("a token");
        let before = Store::parse(&line, &[]).expect("good");
        let Check::Granted(known) = before.check(&Presented::Bearer(token.as_bytes())) else {
            unreachable!("it is in the file")
        };
        let (_, other) = new_token("robot", None).expect("a token");
        let after = |text: &str| Store::parse(text, &["a"]).expect("good").renew(&known);
        assert_eq!(after(&format!("{other}\n# x\n{line}\n")), Some(Arc::clone(&known)));
        // With the rings that it has now.
        let narrow = after(&format!("{line} rings=a")).expect("the same proof");
        assert!(narrow.may_write("a") && !narrow.may_write("b"));
        for gone in [String::new(), other, line.replacen("robot", "ann", 1)] {
            assert_eq!(after(&gone), None, "{gone}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn a_certificate_is_whose_name_the_file_has_first() {
        use crate::tls::Peer;

        let line = |name, certificate| new_certificate(name, certificate, None).expect("good");
        let text = [
            line("robot", "dns:robot.example"),
            line("ann", "CN=Ann,O=Works"),
            line("ann", "email:ann@example"),
        ];
        let store = Store::parse(&text.join("\n"), &[]).expect("good");
        assert!(store.has_certificates() && !store.has_passwords());
        let check = |names: &[PeerName]| {
            let peer = Peer { names: names.to_vec() };
            name(&store.check(&Presented::Certificate(&peer))).map(str::to_owned)
        };
        let dns = |name: &str| PeerName::Dns(name.to_owned());
        let email = PeerName::Email("ann@example".to_owned());
        assert_eq!(check(std::slice::from_ref(&email)).as_deref(), Some("ann"));
        assert_eq!(check(&[email, dns("robot.example")]).as_deref(), Some("robot"));
        assert_eq!(check(&[dns("other.example"), dns("ann@example")]), None);
        assert_eq!(check(&[]), None);
        let part = |identifier: &str, value: &str| vec![(identifier.to_owned(), value.to_owned())];
        let (works, ann) = (part("2.5.4.10", "Works"), part("2.5.4.3", "Ann"));
        let subject = |parts: &[_]| PeerName::Subject(parts.to_vec());
        assert_eq!(check(&[subject(&[works.clone(), ann.clone()])]).as_deref(), Some("ann"));
        // The whole subject, in its order.
        assert_eq!(check(&[subject(&[ann.clone(), works])]), None);
        assert_eq!(check(&[subject(&[ann])]), None);
        let twice = format!("{}\n{}", text[0], line("eve", "dns:ROBOT.example"));
        let error = Store::parse(&twice, &[]).expect_err("twice").to_string();
        assert_eq!(error, "line 2: this name of a certificate is there twice");
        assert!(new_certificate("a", "CN=a\"", None).is_err());
    }

    #[test]
    fn a_file_that_is_wrong_is_told_its_line() {
        let (_, line) = new_token("robot", Some(vec!["a".to_owned()])).expect("a token");
        for (text, said) in [
            (format!("\n{line}\n{line}\n"), "line 3: this token is there twice"),
            (format!("{line},b\n"), "line 1: there is no ring `b`"),
            ("\n\nx y\n".to_owned(), "line 3: a hash begins with"),
        ] {
            let error = Store::parse(&text, &["a"]).expect_err("it is wrong").to_string();
            assert!(error.contains(said), "{error}");
        }
        let missing = Store::read(Path::new("/does/not/exist"), &[]).expect_err("not there");
        assert!(missing.to_string().contains("No such file"), "{missing}");
        assert!(new_token("a b", None).is_err() && new_password("a", b"short", None).is_err());
    }

    #[test]
    fn names_and_passwords_are_as_long_as_they_may_be() {
        let name = |length: usize| new_token(&"n".repeat(length), None).is_ok();
        assert_eq!([0, 1, 64, 65].map(name), [false, true, true, false]);
        let password = |length: usize| new_password("ann", &vec![b'p'; length], None).is_ok();
        assert_eq!([7, 8, 1024, 1025].map(password), [false, true, true, false]);
        let (token, _) = new_token("ann", None).expect("a token");
        let error = new_password("ann", token.as_bytes(), None).expect_err("a token");
        assert!(error.contains("does not look like a token"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let error = || io::Error::other("gone");
        for (refused, said) in [
            (StoreError::Read(error()), "gone"),
            (StoreError::Line { number: 3, reason: "bad" }, "line 3: bad"),
            (
                StoreError::Ring { number: 3, ring: "a\n".to_owned() },
                "line 3: there is no ring `a\\n`",
            ),
            (StoreError::Random(error()), "random bytes: gone"),
            (
                StoreError::Memory { needed: 7 },
                "verifying its passwords may take 7 bytes of memory: ingest.max_buffered_bytes \
                 must leave them",
            ),
        ] {
            assert_eq!(refused.to_string(), said);
        }
    }

    /// What is logged meanwhile.
    #[derive(Clone, Default)]
    struct Logged(Arc<std::sync::Mutex<Vec<u8>>>);

    impl io::Write for Logged {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            crate::sync::lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_everyone_may_use_is_warned_of() {
        use std::os::unix::fs::PermissionsExt;

        let home = tempfile::tempdir().expect("a place for files");
        let path = home.path().join("credentials");
        std::fs::write(&path, "").expect("written");
        for (mode, is_warned) in
            [(0o600, false), (0o660, false), (0o604, true), (0o602, true), (0o644, true)]
        {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
            let logged = Logged::default();
            let out = logged.clone();
            let log = tracing_subscriber::fmt().with_writer(move || out.clone()).finish();
            let read = tracing::subscriber::with_default(log, || Store::read(&path, &[]).map(drop));
            read.expect("it is empty");
            let text = String::from_utf8(crate::sync::lock(&logged.0).clone()).expect("text");
            assert_eq!(text.contains("everyone on this machine may read"), is_warned, "{mode:o}");
        }
    }
}
