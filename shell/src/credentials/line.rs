//! The file of credentials: a line each, with the name, the hash, and the rings it may write to.

use std::fmt;

use super::hash::Hash;

/// One line of the file.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Whose it is; several lines may have the same name.
    pub(super) name: String,
    pub(super) hash: Hash,
    /// Where it may write; `None` is everywhere.
    pub(super) rings: Option<Vec<String>>,
}

/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 64;

impl Line {
    /// Makes a line; the error says what is wrong with the name.
    pub(super) fn new(
        name: &str,
        hash: Hash,
        rings: Option<Vec<String>>,
    ) -> Result<Self, &'static str> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(good) {
            return Err("a name has 1 to 64 of A-Z a-z 0-9 . _ @ -");
        }
        Ok(Self { name: name.to_owned(), hash, rings })
    }

    /// Reads a line; `None` if it is empty or a remark. The error says what is wrong, without
    /// anything of the line.
    pub(super) fn read(text: &str) -> Result<Option<Self>, &'static str> {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (name, hash, rings) = match fields[..] {
            [name, hash] => (name, hash, None),
            [name, hash, rings] => {
                let rings = rings.strip_prefix("rings=").filter(|rings| !rings.is_empty());
                let rings = rings.ok_or("what follows the hash is rings=NAME,NAME")?;
                (name, hash, Some(rings.split(',').map(str::to_owned).collect()))
            }
            _ => return Err("a line is NAME HASH, or NAME HASH rings=NAME,NAME"),
        };
        Self::new(name, Hash::read(hash)?, rings).map(Some)
    }
}

/// As it is read.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.hash)?;
        match &self.rings {
            Some(rings) => write!(f, " rings={}", rings.join(",")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let hash = Hash::new_token().expect("random bytes").1;
        for rings in [None, Some(vec!["a".to_owned()]), Some(vec!["a".to_owned(), "b".to_owned()])]
        {
            let line = Line::new("some.one@x", hash.clone(), rings.clone()).expect("good");
            let read = Line::read(&format!("  {line}\t\n")).ok().flatten().expect("a line");
            assert_eq!((read.name.as_str(), &read.rings), ("some.one@x", &rings));
            assert!(read.hash == hash);
        }
        for text in ["", "  ", "# x", " #"] {
            assert!(Line::read(text).is_ok_and(|line| line.is_none()), "{text:?}");
        }
        for (text, said) in [
            ("x", "a line is NAME HASH"),
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
