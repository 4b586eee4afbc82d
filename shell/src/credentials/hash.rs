//! Salted hashes: of tokens, which are long and random, by one fast hash; of passwords by Argon2id
//! (RFC 9106), which takes memory and time.
//!
//! They are written as is usual for passwords: `$argon2id$v=19$m=19456,t=2,p=1$SALT$HASH` and
//! `$blake2b$ID$SALT$HASH`, where ID is the public part of the token.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use rustix::rand::GetRandomFlags;
use subtle::ConstantTimeEq;

/// Length of every hash, bytes.
const HASH_BYTES: usize = 32;
/// Length of a salt that is made here, bytes.
const SALT_BYTES: usize = 16;
/// What Argon2id takes where a hash is made here: RFC 9106's second choice would be 64 MiB; this is
/// OWASP's first, so that several can be computed at once on a small machine. KiB, passes, lanes.
const COST: (u32, u32, u32) = (19_456, 2, 1);
/// Most that a file may ask for: KiB, passes, lanes.
const COST_MAX: (u32, u32, u32) = (64 << 10, 16, 4);
/// What tokens begin with, so that people and scanners know them.
const TOKEN_PREFIX: &str = "aqd_";
/// Characters of the public part of a token.
const ID_CHARS: usize = 8;
/// Random bytes of the secret part.
const SECRET_BYTES: usize = 32;
/// Characters of the secret part.
const SECRET_CHARS: usize = 43;

/// A hash by which a secret is known again. Shows nothing of itself in logs.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Hash {
    /// Of a token.
    Token { id: String, salt: Vec<u8>, hash: [u8; HASH_BYTES] },
    /// Of a password.
    Password { cost: (u32, u32, u32), salt: Vec<u8>, hash: [u8; HASH_BYTES] },
}

/// A token that somebody presents.
pub(super) struct Token<'a> {
    /// Says whose it is; no secret.
    pub(super) id: &'a str,
    secret: &'a str,
}

impl<'a> Token<'a> {
    /// Recognizes a token by its form.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_prefix(TOKEN_PREFIX)?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let good = text.len() == ID_CHARS + 1 + SECRET_CHARS && text.bytes().all(is_token);
        let (id, rest) = text.split_at_checked(ID_CHARS).filter(|_| good)?;
        Some(Self { id, secret: rest.strip_prefix('_')? })
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

impl Hash {
    /// Makes a token and its hash.
    pub(super) fn new_token() -> std::io::Result<(String, Self)> {
        let mut id = String::new();
        while id.len() < ID_CHARS {
            let byte = random::<1>()?[0];
            // Drawn until it fits, so that each letter is as likely.
            if byte < 252 {
                id.push(char::from(
                    b"abcdefghijklmnopqrstuvwxyz0123456789"[usize::from(byte % 36)],
                ));
            }
        }
        let secret = URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?);
        let salt = random::<SALT_BYTES>()?.to_vec();
        let hash = fast(&salt, &secret);
        Ok((format!("{TOKEN_PREFIX}{id}_{secret}"), Self::Token { id, salt, hash }))
    }

    /// Makes the hash of a password.
    pub(super) fn of_password(password: &[u8]) -> std::io::Result<Self> {
        let salt = random::<SALT_BYTES>()?.to_vec();
        let hash = slow(COST, &salt, password).ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(Self::Password { cost: COST, salt, hash })
    }

    /// Returns whether it is that of this token. Takes as long wherever they differ.
    pub(super) fn is_of_token(&self, token: &Token<'_>) -> bool {
        match self {
            Self::Token { salt, hash, .. } => fast(salt, token.secret).ct_eq(hash).into(),
            Self::Password { .. } => false,
        }
    }

    /// Returns whether it is that of this password. Takes as long wherever they differ, and so
    /// long that no event loop may call it.
    pub(super) fn is_of_password(&self, password: &[u8]) -> bool {
        match self {
            Self::Password { cost, salt, hash } => {
                slow(*cost, salt, password).is_some_and(|computed| computed.ct_eq(hash).into())
            }
            Self::Token { .. } => false,
        }
    }

    /// Reads a hash as it is written; the error says what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let parts: Vec<&str> = text.split('$').collect();
        let hash = |text: &str| -> Result<[u8; HASH_BYTES], &'static str> {
            let bytes = STANDARD_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or("a hash is 32 bytes in base64 without padding")
        };
        let salt = |text: &str| {
            let salt = STANDARD_NO_PAD.decode(text).ok();
            let salt = salt.filter(|salt| (8..=64).contains(&salt.len()));
            salt.ok_or("a salt is 8 to 64 bytes in base64 without padding")
        };
        match parts[..] {
            ["", "blake2b", id, salt_text, hash_text] => {
                let is_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
                if id.len() != ID_CHARS || !id.bytes().all(is_id) {
                    return Err("the id of a token has 8 of a-z 0-9");
                }
                let (salt, hash) = (salt(salt_text)?, hash(hash_text)?);
                Ok(Self::Token { id: id.to_owned(), salt, hash })
            }
            ["", "argon2id", "v=19", cost, salt_text, hash_text] => {
                let cost = read_cost(cost)
                    .ok_or("m, t and p are at most 65536 (KiB), 16 and 4, and m at least 8 p")?;
                Ok(Self::Password { cost, salt: salt(salt_text)?, hash: hash(hash_text)? })
            }
            _ => Err("a hash begins with $blake2b$ or with $argon2id$v=19$"),
        }
    }
}

/// As it is read.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { id, salt, hash } => {
                write!(
                    f,
                    "$blake2b${id}${}${}",
                    STANDARD_NO_PAD.encode(salt),
                    STANDARD_NO_PAD.encode(hash)
                )
            }
            Self::Password { cost: (m, t, p), salt, hash } => {
                let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
                write!(f, "$argon2id$v=19$m={m},t={t},p={p}${salt}${hash}")
            }
        }
    }
}

/// Reads `m=M,t=T,p=P`.
fn read_cost(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(',');
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.parse::<u32>().ok();
    let cost @ (m, t, p) = (number("m=")?, number("t=")?, number("p=")?);
    let good = parts.next().is_none()
        && (1..=COST_MAX.2).contains(&p)
        && (8 * p..=COST_MAX.0).contains(&m)
        && (1..=COST_MAX.1).contains(&t);
    good.then_some(cost)
}

/// BLAKE2b-256 of salt and secret. A salt has its length before it, so that no two pairs are one.
fn fast(salt: &[u8], secret: &str) -> [u8; HASH_BYTES] {
    let mut hash = Blake2b::<U32>::new();
    hash.update((salt.len() as u64).to_le_bytes());
    hash.update(salt);
    hash.update(secret);
    hash.finalize().into()
}

/// Argon2id; `None` if there is no memory for it.
fn slow((m, t, p): (u32, u32, u32), salt: &[u8], password: &[u8]) -> Option<[u8; HASH_BYTES]> {
    let params = Params::new(m, t, p, Some(HASH_BYTES)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = [0; HASH_BYTES];
    argon2.hash_password_into(password, salt, &mut hash).ok()?;
    Some(hash)
}

/// Draws random bytes from the system.
pub(super) fn random<const BYTES: usize>() -> std::io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    let mut filled = 0;
    while filled < BYTES {
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_and_by_nothing_else() {
        let (token, hash) = Hash::new_token().expect("random bytes");
        let (other, _) = Hash::new_token().expect("random bytes");
        let read = |text: &str| Token::read(text.as_bytes()).map(|token| hash.is_of_token(&token));
        assert_eq!(read(&token), Some(true));
        assert_eq!(read(&other), Some(false));
        for at in [TOKEN_PREFIX.len() + ID_CHARS + 1, token.len() - 1] {
            let mut wrong = token.clone();
            let letter = if &token[at..=at] == "A" { "B" } else { "A" };
            wrong.replace_range(at..=at, letter);
            assert_eq!(read(&wrong), Some(false), "{at}");
        }
        assert_eq!(read(&token[1..]), None);
        assert_eq!(read(&format!("{token}A")), None);
        assert_eq!(read(&token.replace('_', "-")), None);
        assert!(Hash::read(&hash.to_string()).is_ok_and(|read| read == hash));
        assert!(!hash.to_string().contains(&token[token.len() - 43..]));
        assert!(!hash.is_of_password(token.as_bytes()));
    }

    #[test]
    fn a_password_is_known_by_its_hash_which_others_can_make() {
        // Made by the reference implementation with two passes over 64 KiB.
        let text = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$\
                    FqGkmHNGCd0BRW2kBt6fPZ2pPmyGwwChL8FGUhTOSSI";
        let hash = Hash::read(text).expect("good");
        assert_eq!(hash.to_string(), text);
        assert!(hash.is_of_password(b"password"));
        assert!(!hash.is_of_password(b"passwore") && !hash.is_of_password(b""));
        assert!(!hash.is_of_password(b"assword"));
    }

    #[test]
    fn what_is_no_hash_is_told_what_one_looks_like() {
        let (_, hash) = Hash::new_token().expect("random bytes");
        let good = hash.to_string();
        for (text, said) in [
            ("", "begins with"),
            ("secret", "begins with"),
            ("$2y$10$abc", "begins with"),
            ("$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHQ$x", "begins with"),
            ("$argon2id$v=19$m=999999,t=2,p=1$c29tZXNhbHQ$x", "at most 65536"),
            ("$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$x", "at most"),
            ("$argon2id$v=19$m=64,t=1,p=1,x=1$c29tZXNhbHQ$x", "at most"),
            ("$argon2id$v=19$m=64,t=1,p=1$c29t$x", "a salt is 8 to 64"),
            ("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$Zm9v", "a hash is 32 bytes"),
            (&good[..good.len() - 1], "a hash is 32 bytes"),
            (&good.replace("$blake2b$", "$blake2b$A"), "8 of a-z 0-9"),
            (&good.replace("$blake2b$", "$blake2b$a"), "8 of a-z 0-9"),
            ("$blake2b$abcdefgH$c29tZXNhbHQ$x", "8 of a-z 0-9"),
        ] {
            let error = Hash::read(text).err().unwrap_or("nothing");
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_names_of_tokens_have_every_letter() {
        let mut letters = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let (token, _) = Hash::new_token().expect("random bytes");
            let id = token[TOKEN_PREFIX.len()..].split('_').next().expect("a name");
            assert_eq!(id.len(), ID_CHARS);
            letters.extend(id.chars());
        }
        assert_eq!(letters.len(), 36, "{letters:?}");
    }

    #[test]
    fn costs_are_taken_up_to_their_bounds_and_no_further() {
        for (cost, is_good) in [
            ((8, 1, 1), true),
            ((7, 1, 1), false),
            ((65_536, 16, 4), true),
            ((65_537, 16, 4), false),
            ((65_536, 17, 4), false),
            ((65_536, 16, 5), false),
            ((64, 0, 1), false),
            ((64, 1, 0), false),
            ((32, 1, 4), true),
            ((31, 1, 4), false),
        ] {
            let (m, t, p) = cost;
            let read = read_cost(&format!("m={m},t={t},p={p}"));
            assert_eq!(read, is_good.then_some(cost), "{cost:?}");
        }
        let (salt, hash) = (STANDARD_NO_PAD.encode([1; 65]), STANDARD_NO_PAD.encode([2; 32]));
        for (bytes, is_good) in [(7, false), (8, true), (64, true), (65, false)] {
            let salt =
                STANDARD_NO_PAD.encode(&STANDARD_NO_PAD.decode(&salt).expect("it is")[..bytes]);
            let read = Hash::read(&format!("$blake2b$abcdefg0${salt}${hash}"));
            assert_eq!(read.is_ok(), is_good, "a salt of {bytes} bytes");
        }
        assert_eq!(format!("{:?}", Hash::new_token().expect("random bytes").1), "Hash");
    }
}
