//! Records out of files and stdin, each with the offset past it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use clap::ValueEnum;

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
    /// Bytes before the next record.
    pub(super) offset: u64,
    /// Bytes in all, if it is known.
    pub(super) bytes: Option<u64>,
    is_over: bool,
}

impl Input {
    /// Opens a file, `-` for stdin, past so many bytes.
    pub(super) fn open(name: &str, framing: Framing, offset: u64) -> io::Result<Self> {
        if name == "-" {
            let mut reader = BufReader::new(io::stdin());
            let skipped = io::copy(&mut Read::take(&mut reader, offset), &mut io::sink())?;
            return Self::after(skipped, offset, Box::new(reader), framing, None);
        }
        let mut file = File::open(name)?;
        let metadata = file.metadata()?;
        let bytes = metadata.is_file().then_some(metadata.len());
        let skipped = if metadata.is_file() {
            file.seek(SeekFrom::Start(offset))?.min(metadata.len())
        } else {
            io::copy(&mut Read::take(&mut file, offset), &mut io::sink())?
        };
        Self::after(skipped, offset, Box::new(BufReader::new(file)), framing, bytes)
    }

    fn after(
        skipped: u64,
        offset: u64,
        reader: Box<dyn BufRead>,
        framing: Framing,
        bytes: Option<u64>,
    ) -> io::Result<Self> {
        if skipped < offset {
            let text = format!("it has {skipped} bytes; {offset} were published before");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        // A whole file that was published is over, also an empty one.
        let is_over = framing == Framing::Whole && offset > 0;
        Ok(Self { reader, framing, offset, bytes, is_over })
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
                let read = Read::take(&mut self.reader, RECORD_MAX + 1).read_to_end(&mut whole)?;
                self.add(read as u64)?;
                Ok(Some(whole))
            }
        }
    }

    /// What comes before this byte, or before the end.
    fn until(&mut self, end: u8) -> io::Result<Option<Vec<u8>>> {
        let mut record = Vec::new();
        let read = Read::take(&mut self.reader, RECORD_MAX + 1).read_until(end, &mut record)?;
        self.add(read as u64)?;
        if read == 0 {
            return Ok(None);
        }
        if record.last() == Some(&end) {
            record.pop();
        }
        Ok(Some(record))
    }

    fn counted(&mut self) -> io::Result<Option<Vec<u8>>> {
        let at = self.offset;
        let bad = |what: &str| {
            io::Error::new(io::ErrorKind::InvalidData, format!("at byte {at}: {what}"))
        };
        let mut digits = Vec::new();
        let read = Read::take(&mut self.reader, 21).read_until(b' ', &mut digits)?;
        if read == 0 || digits.iter().all(u8::is_ascii_whitespace) {
            self.add(read as u64)?;
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
        let got = Read::take(&mut self.reader, length).read_to_end(&mut record)?;
        if got as u64 != length {
            return Err(bad("the last record is cut off"));
        }
        self.add(read as u64 + length)?;
        Ok(Some(record))
    }

    fn add(&mut self, bytes: u64) -> io::Result<()> {
        self.offset += bytes;
        if bytes > RECORD_MAX {
            let text = format!("before byte {}: a record of more than 1 GiB", self.offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], framing: Framing) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let mut input = Input::after(0, 0, Box::new(bytes), framing, None)?;
        let mut all = Vec::new();
        while let Some(record) = input.next()? {
            all.push((record, input.offset));
        }
        Ok(all)
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
