//! Records out of files and stdin, each with the offset past it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};

use aqueduct_core::internals::Crc;
use clap::ValueEnum;

use super::place::Read;

/// The longest record that is read.
const RECORD_MAX: u64 = 1 << 30;

/// How records are told apart.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Framing {
    /// A record is a line, without its LF or CR LF; empty lines are none
    Lines,
    /// A record ends with a zero byte
    Nul,
    /// A record has its length in decimal digits and a space before it (RFC 6587)
    Octets,
    /// A record is a whole file
    Whole,
}

impl Framing {
    /// Names it, as on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Nul => "nul",
            Self::Octets => "octets",
            Self::Whole => "whole",
        }
    }
}

/// One input.
pub(super) struct Input {
    reader: Box<dyn BufRead>,
    framing: Framing,
    /// What comes before the next record.
    pub(super) read: Read,
    crc: Crc,
    /// Bytes in all, if it is known.
    pub(super) bytes: Option<u64>,
    is_over: bool,
}

impl Input {
    /// Opens a file, `-` for stdin, past what was published of it, which must still be there.
    pub(super) fn open(name: &str, framing: Framing, read: &Read) -> io::Result<Self> {
        if name == "-" {
            return Self::after(Box::new(BufReader::new(io::stdin())), framing, read, None);
        }
        let file = File::open(name)?;
        let metadata = file.metadata()?;
        let bytes = metadata.is_file().then_some(metadata.len());
        Self::after(Box::new(BufReader::new(file)), framing, read, bytes)
    }

    fn after(
        mut reader: Box<dyn BufRead>,
        framing: Framing,
        read: &Read,
        bytes: Option<u64>,
    ) -> io::Result<Self> {
        let changed = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let (mut crc, mut skipped) = (Crc::new(), 0);
        while skipped < read.offset {
            let piece = reader.fill_buf()?;
            let left = usize::try_from(read.offset - skipped).unwrap_or(usize::MAX);
            let taken = piece.len().min(left);
            if taken == 0 {
                let text = format!("it has {skipped} bytes; {} were published before", read.offset);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            crc.update(&piece[..taken]);
            reader.consume(taken);
            skipped += taken as u64;
        }
        if crc.clone().finalize() != read.crc && read.offset > 0 {
            return changed(format!(
                "its first {} bytes are not those that were published before",
                read.offset
            ));
        }
        let mut input = Self { reader, framing, read: read.clone(), crc, bytes, is_over: false };
        // A whole file that was published is over, also an empty one.
        input.is_over = framing == Framing::Whole && (read.is_whole || read.offset > 0);
        if !input.is_over && !read.is_torn {
            return Ok(input);
        }
        let next = input.reader.fill_buf()?.first().copied();
        if input.is_over && next.is_some() {
            return changed("it was published as one record and has grown since".to_owned());
        }
        match (framing, next) {
            (_, None) | (Framing::Lines, Some(b'\n' | b'\r')) => {}
            (Framing::Nul, Some(0)) => {
                input.reader.consume(1);
                input.add(&[0])?;
            }
            _ => {
                return changed(
                    "its last record had no end when it was published, and goes on now".to_owned(),
                );
            }
        }
        Ok(input)
    }

    /// Reads the next record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Lines => loop {
                let Some(mut line) = self.until(b'\n')? else { return Ok(None) };
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            },
            Framing::Nul => self.until(0),
            Framing::Octets => self.counted(),
            Framing::Whole => {
                if self.is_over {
                    return Ok(None);
                }
                self.is_over = true;
                let mut whole = Vec::new();
                io::Read::take(&mut self.reader, RECORD_MAX + 1).read_to_end(&mut whole)?;
                self.add(&whole)?;
                Ok(Some(whole))
            }
        }
    }

    /// What comes before this byte, or before the end.
    fn until(&mut self, end: u8) -> io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        let read = io::Read::take(&mut self.reader, RECORD_MAX + 1).read_until(end, &mut record)?;
        if read == 0 {
            return Ok(None);
        }
        self.add(&record)?;
        self.read.is_torn = record.last() != Some(&end);
        if !self.read.is_torn {
            record.pop();
        }
        Ok(Some(record))
    }

    fn counted(&mut self) -> io::Result<Option<Vec<u8>>> {
        let at = self.read.offset;
        let bad = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("at byte {at}: {what}"))
        };
        let mut digits = Vec::new();
        let read = io::Read::take(&mut self.reader, 21).read_until(b' ', &mut digits)?;
        if read == 0 || digits.iter().all(u8::is_ascii_whitespace) {
            self.add(&digits)?;
            return Ok(None);
        }
        let length = digits.strip_suffix(b" ").and_then(|digits| std::str::from_utf8(digits).ok());
        let length: u64 = length
            .and_then(|digits| digits.trim_start().parse().ok())
            .ok_or_else(|| bad("a length in decimal digits and a space must be here"))?;
        if length > RECORD_MAX {
            return Err(bad("a record of more than 1 GiB"));
        }
        let mut record = Vec::new();
        let got = io::Read::take(&mut self.reader, length).read_to_end(&mut record)?;
        if got as u64 != length {
            return Err(bad("the last record is cut off"));
        }
        self.add(&digits)?;
        self.add(&record)?;
        Ok(Some(record))
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.read.offset += bytes.len() as u64;
        self.read.crc = self.crc.clone().finalize();
        if bytes.len() as u64 > RECORD_MAX {
            let text = format!("before byte {}: a record of more than 1 GiB", self.read.offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], framing: Framing) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let mut input = Input::after(Box::new(bytes), framing, &Read::default(), None)?;
        let mut all = Vec::new();
        while let Some(record) = input.next()? {
            all.push((record, input.read.offset));
        }
        Ok(all)
    }

    /// What is read of `later` after all of `first`, or why nothing is.
    fn resumed(
        first: &'static [u8],
        later: &'static [u8],
        framing: Framing,
    ) -> Result<Vec<Vec<u8>>, String> {
        let mut input = Input::after(Box::new(first), framing, &Read::default(), None);
        let input = input.as_mut().expect("from its begin");
        let mut read = Read::default();
        while input.next().expect("whole").is_some() {
            read = input.read.clone();
        }
        let mut input = Input::after(Box::new(later), framing, &read, None)
            .map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        while let Some(record) = input.next().map_err(|error| error.to_string())? {
            all.push(record);
        }
        Ok(all)
    }

    #[test]
    fn what_was_appended_is_read_and_what_was_changed_is_refused() {
        let of = |records: &[&[u8]]| -> Result<Vec<Vec<u8>>, String> {
            Ok(records.iter().map(|record| record.to_vec()).collect())
        };
        let (lines, nul, octets) = (Framing::Lines, Framing::Nul, Framing::Octets);
        assert_eq!(resumed(b"a\nb\n", b"a\nb\n", lines), of(&[]));
        assert_eq!(resumed(b"a\nb\n", b"a\nb\nc\n", lines), of(&[b"c"]));
        assert_eq!(resumed(b"a\nb", b"a\nb\nc", lines), of(&[b"c"]), "its end came later");
        assert_eq!(resumed(b"a\nb", b"a\nb\r\nc", lines), of(&[b"c"]));
        assert_eq!(resumed(b"a\0b", b"a\0b\0c\0", nul), of(&[b"c"]));
        assert_eq!(resumed(b"1 a", b"1 a2 bc", octets), of(&[b"bc"]));
        assert_eq!(resumed(b"ab", b"ab", Framing::Whole), of(&[]));
        for (first, later, framing, says) in [
            (&b"a\nb\n"[..], &b"a\nx\n"[..], lines, "first 4 bytes are not those"),
            (b"a\nb\n", b"a\n", lines, "it has 2 bytes; 4 were published"),
            (b"a\nb", b"a\nbc\n", lines, "had no end"),
            (b"a\0b", b"a\0bc", nul, "had no end"),
            (b"1 a", b"1 b", octets, "first 3 bytes are not those"),
            (b"ab", b"abc", Framing::Whole, "has grown"),
            (b"ab", b"ac", Framing::Whole, "first 2 bytes are not those"),
        ] {
            let error = resumed(first, later, framing).expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn records_are_told_apart_by_each_framing_and_know_where_they_end() {
        let all = |framing, bytes| read(bytes, framing).expect("whole");
        let of = |parts: &[(&[u8], u64)]| -> Vec<(Vec<u8>, u64)> {
            parts.iter().map(|(bytes, end)| (bytes.to_vec(), *end)).collect()
        };
        assert_eq!(all(Framing::Lines, b"a\r\n\nbc\nd"), of(&[(b"a", 3), (b"bc", 7), (b"d", 8)]));
        assert_eq!(all(Framing::Nul, b"a\n\0\0b"), of(&[(b"a\n", 3), (b"", 4), (b"b", 5)]));
        assert_eq!(
            all(Framing::Octets, b"3 a\nb0 1 c\n"),
            of(&[(b"a\nb", 5), (b"", 7), (b"c", 10)])
        );
        assert_eq!(all(Framing::Whole, b"a\nb"), of(&[(b"a\nb", 3)]));
        assert_eq!(all(Framing::Whole, b""), of(&[(b"", 0)]));
        for broken in [&b"x"[..], b"5 ab", b"-1 a", b"99999999999 a", b"3"] {
            assert!(read(broken, Framing::Octets).is_err(), "{broken:?}");
        }
    }
}
