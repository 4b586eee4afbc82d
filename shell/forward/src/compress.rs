//! Compression of what is sent, if it is large enough to be worth it. Pure over bytes.

use std::borrow::Cow;
use std::io;

use serde::Deserialize;

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// Snappy, block format, as Prometheus' remote write has it.
    Snappy,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Codec {
    /// Returns the word of a `content-encoding`; `None` for none.
    pub const fn encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Snappy => Some("snappy"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// Returns whether this build has it.
    pub const fn is_built(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Zstd => cfg!(feature = "zstd"),
        }
    }
}

/// Compresses what is larger than a threshold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compression {
    /// How.
    pub codec: Codec,
    /// Bytes up to which nothing is compressed.
    pub above_bytes: usize,
}

impl Compression {
    /// Returns the bytes as they are sent, and their `content-encoding`, if they have one. What
    /// would not get smaller stays as it is.
    pub fn apply<'b>(&self, bytes: &'b [u8]) -> (Cow<'b, [u8]>, Option<&'static str>) {
        if bytes.len() <= self.above_bytes {
            return (Cow::Borrowed(bytes), None);
        }
        match self.codec.compress(bytes) {
            Ok(Some(smaller)) if smaller.len() < bytes.len() => {
                (Cow::Owned(smaller), self.codec.encoding())
            }
            _ => (Cow::Borrowed(bytes), None),
        }
    }
}

impl Codec {
    /// Compresses; `None` if that is not to be done. Memory for the result is all that can lack.
    #[allow(unused_variables, reason = "a build without any codec has nothing to do")]
    fn compress(self, bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => {
                use std::io::Write;
                let fast = flate2::Compression::new(3);
                let mut writer = flate2::write::GzEncoder::new(Vec::new(), fast);
                writer.write_all(bytes)?;
                writer.finish().map(Some)
            }
            #[cfg(feature = "snappy")]
            Self::Snappy => {
                let compressed = snap::raw::Encoder::new().compress_vec(bytes);
                compressed.map(Some).map_err(io::Error::other)
            }
            #[cfg(feature = "zstd")]
            Self::Zstd => zstd::bulk::compress(bytes, 3).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_large_enough_and_gets_smaller_is_compressed() {
        let repeated = vec![b'a'; 4096];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Zstd] {
            let compression = Compression { codec, above_bytes: 1000 };
            assert_eq!(compression.apply(&repeated[..1000]).1, None, "at the threshold");
            let (bytes, encoding) = compression.apply(&repeated);
            let expected = if codec.is_built() { codec.encoding() } else { None };
            assert_eq!(encoding, expected);
            assert_eq!(bytes.len() < 400, codec.is_built(), "{codec:?}: {}", bytes.len());
        }
        let (bytes, encoding) = Compression::default().apply(&repeated);
        assert_eq!((bytes.len(), encoding), (4096, None));
        // Nothing repeats in it.
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(2000)
        .collect();
        let compression = Compression { codec: Codec::Gzip, above_bytes: 0 };
        assert_eq!(compression.apply(&noise), (Cow::Borrowed(&noise[..]), None));
    }

    #[cfg(all(feature = "gzip", feature = "snappy"))]
    #[test]
    fn what_was_compressed_comes_back() {
        use std::io::Read;
        let text = b"a reading, a reading, a reading and another reading".repeat(20);
        let gzip = Compression { codec: Codec::Gzip, above_bytes: 0 };
        let mut back = Vec::new();
        let compressed = gzip.apply(&text).0;
        flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut back).expect("gzip");
        assert_eq!(back, text);
        let snappy = Compression { codec: Codec::Snappy, above_bytes: 0 };
        let back = snap::raw::Decoder::new().decompress_vec(&snappy.apply(&text).0);
        assert_eq!(back.expect("snappy"), text);
    }
}
