//! Keys of MQTT 5 messages that may be sent again: the user property `idempotency-key`.
//!
//! DUP alone says nothing that holds beyond a connection, and no session outlives one here. A key
//! does: a message whose key the ring has seen with the same payload and type is acknowledged and
//! not appended.

use super::property;

/// The name of the user property.
const NAME: &str = "idempotency-key";
/// Most bytes of a key, as of `Idempotency-Key` in HTTP.
const KEY_BYTES_MAX: usize = 255;

/// A key that is there twice, empty or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadKey;

/// Reads the key of a message whose block of properties has been accepted.
pub(super) fn read(properties: &[u8]) -> Result<Option<String>, BadKey> {
    let mut key = None;
    property::for_each_text(properties, &mut |name, value| {
        if name != Some(NAME) {
            return Ok(());
        }
        if value.is_empty() || value.len() > KEY_BYTES_MAX || key.is_some() {
            return Err(BadKey);
        }
        key = Some(value.to_owned());
        Ok(())
    })?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with these user properties.
    fn block(properties: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in properties {
            block.push(0x26);
            for text in [name, value] {
                let length = u16::try_from(text.len()).expect("short");
                block.extend_from_slice(&length.to_be_bytes());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let mut length = block.len();
        let mut head = Vec::new();
        while length > 0x7f {
            head.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        head.push(u8::try_from(length).expect("seven bits"));
        [head, block].concat()
    }

    #[test]
    fn a_key_is_one_user_property_of_that_name() {
        assert_eq!(read(b""), Ok(None));
        assert_eq!(read(&block(&[])), Ok(None));
        assert_eq!(read(&block(&[("Idempotency-Key", "k"), ("other", "k")])), Ok(None));
        let found = read(&block(&[("a", "b"), (NAME, "k"), ("c", "d")]));
        assert_eq!(found, Ok(Some("k".to_owned())));
        let longest = "k".repeat(KEY_BYTES_MAX);
        assert_eq!(read(&block(&[(NAME, &longest)])), Ok(Some(longest.clone())));
        for bad in
            [vec![(NAME, "")], vec![(NAME, "k"), (NAME, "k")], vec![(NAME, &*(longest + "k"))]]
        {
            assert_eq!(read(&block(&bad)), Err(BadKey), "{bad:?}");
        }
    }
}
