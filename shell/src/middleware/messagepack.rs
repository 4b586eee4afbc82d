//! JSON as `MessagePack`, and back: [`super::binary`]. The crate rmp writes and reads
//! its parts.

use rmp::{Marker, decode};

use super::Problem;
use super::binary::{self, Bad, Encode, Number, Values};
use super::json::Kind;

/// Writes one JSON value as one `MessagePack` value, in at most `limit` bytes, each part in its
/// shortest form.
///
/// # Errors
/// The body is no JSON, has a number that `MessagePack` has no room for, or becomes too large.
pub fn from_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    binary::from_json::<MessagePack>(body, limit)
}

/// Writes one `MessagePack` value as JSON, in at most `limit` bytes.
///
/// # Errors
/// The body is no `MessagePack`, has what JSON cannot hold, or becomes too large.
pub fn to_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let (mut rest, mut values) = (body, Values::new(limit));
    let read = match value(&mut rest, &mut values) {
        Ok(()) if !rest.is_empty() => Err("the value has ended".into()),
        read => read,
    };
    let at = body.len() - rest.len();
    values.finish(read, |why| {
        let what = "the body is not MessagePack that can be taken";
        Problem::malformed(format!("{what}: before byte {at}, {why}"))
    })
}

/// Takes the next value.
fn value(rest: &mut &[u8], values: &mut Values) -> Result<(), Bad> {
    match marker(rest)? {
        Marker::Null => {
            decode::read_nil(rest).map_err(said)?;
            values.null()
        }
        Marker::True | Marker::False => values.scalar(decode::read_bool(rest).map_err(said)?),
        Marker::F32 => values.float(decode::read_f32(rest).map_err(said)?.into()),
        Marker::F64 => values.float(decode::read_f64(rest).map_err(said)?),
        Marker::FixPos(_) | Marker::U8 | Marker::U16 | Marker::U32 | Marker::U64 => {
            values.scalar(decode::read_int::<u64, _>(rest).map_err(said)?)
        }
        Marker::FixNeg(_) | Marker::I8 | Marker::I16 | Marker::I32 | Marker::I64 => {
            values.scalar(decode::read_int::<i64, _>(rest).map_err(said)?)
        }
        Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
            values.scalar(text(rest)?)
        }
        Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
            let length = decode::read_bin_len(rest).map_err(said)? as usize;
            let (bytes, after) = rest.split_at_checked(length).ok_or("it breaks off")?;
            *rest = after;
            values.bytes(bytes)
        }
        Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
            let count = decode::read_array_len(rest).map_err(said)?;
            let first = values.open(Kind::Array)?;
            for _ in 0..count {
                value(rest, values)?;
            }
            values.close(Kind::Array, first)
        }
        Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
            let count = decode::read_map_len(rest).map_err(said)?;
            let first = values.open(Kind::Object)?;
            for _ in 0..count {
                let name = text(rest)?;
                values.name(name)?;
                value(rest, values)?;
            }
            values.close(Kind::Object, first)
        }
        marker => Err(format!("JSON has nothing for {marker:?}").into()),
    }
}

fn marker(rest: &[u8]) -> Result<Marker, Bad> {
    rest.first().map(|byte| Marker::from_u8(*byte)).ok_or(Bad::Borrowed("it breaks off"))
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Bad> {
    let (text, after) = decode::read_str_from_slice(*rest).map_err(said)?;
    *rest = after;
    Ok(text)
}

fn said(error: impl std::fmt::Display) -> Bad {
    error.to_string().into()
}

#[derive(Default)]
struct MessagePack(Vec<u8>);

// Writing to memory cannot fail.
impl Encode for MessagePack {
    const NAME: &'static str = "MessagePack";

    fn null(&mut self) {
        let _ = rmp::encode::write_nil(&mut self.0);
    }

    fn boolean(&mut self, value: bool) {
        let _ = rmp::encode::write_bool(&mut self.0, value);
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Unsigned(number) => {
                let _ = rmp::encode::write_uint(&mut self.0, number);
            }
            Number::Negative(number) => {
                let _ = rmp::encode::write_sint(&mut self.0, number);
            }
            Number::Float(number) => {
                let _ = rmp::encode::write_f64(&mut self.0, number);
            }
        }
    }

    fn text(&mut self, text: &str) {
        let _ = rmp::encode::write_str(&mut self.0, text);
    }

    fn open(&mut self, of: Kind, count: u32) {
        let _ = match of {
            Kind::Array => rmp::encode::write_array_len(&mut self.0, count),
            Kind::Object => rmp::encode::write_map_len(&mut self.0, count),
        };
    }

    fn bytes(&self) -> &Vec<u8> {
        &self.0
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::middleware::binary::tests::any_json;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn values_become_messagepack_and_json_again() {
        for (json, packed) in [
            ("null", b"\xc0".as_slice()),
            ("true", b"\xc3"),
            ("127", b"\x7f"),
            ("128", b"\xcc\x80"),
            ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("-32", b"\xe0"),
            ("-33", b"\xd0\xdf"),
            ("1.5", b"\xcb\x3f\xf8\0\0\0\0\0\0"),
            ("\"a\"", b"\xa1a"),
            // From the home page of the format.
            ("{\"compact\":true,\"schema\":0}", b"\x82\xa7compact\xc3\xa6schema\0"),
            ("[[],{}]", b"\x92\x90\x80"),
        ] {
            assert_eq!(from_json(json.as_bytes(), LIMIT).unwrap(), packed, "{json}");
            assert_eq!(to_json(packed, LIMIT).unwrap(), json.as_bytes(), "{json}");
        }
        assert_eq!(to_json(b"\xc4\x04\x01\x02\x03\x04", LIMIT).unwrap(), b"\"AQIDBA\"");
        assert_eq!(to_json(b"\xca\x3f\xc0\0\0", LIMIT).unwrap(), b"1.5");
    }

    #[test]
    fn hostile_messagepack_is_refused() {
        let deep = [b"\x91".repeat(129), vec![0]].concat();
        let deeper = b"\x91".repeat(1 << 20);
        for packed in [
            b"".as_slice(),
            // Lengths that are not there.
            b"\xdd\xff\xff\xff\xff\0",
            b"\xdf\xff\xff\xff\xff\xa1a\0",
            b"\xdb\xff\xff\xff\xffa",
            b"\xc6\xff\xff\xff\xffa",
            b"\x92\0",
            b"\x81\xa1a",
            // What JSON cannot hold.
            b"\xc1",
            b"\xd4\x01\0",
            b"\xd6\xff\0\0\0\0",
            b"\xc7\x01\x01\0",
            b"\xca\x7f\x80\0\0",
            b"\xcb\x7f\xf8\0\0\0\0\0\0",
            b"\x81\x01\x02",
            b"\x81\xc4\x01a\0",
            b"\x82\xa1a\0\xa1a\0",
            b"\x82\xa1a\0\xd9\x01a\0",
            // No UTF-8, something behind.
            b"\xa2\xc3\x28",
            b"\0\0",
            &deep,
            &deeper,
        ] {
            let problem = to_json(packed, LIMIT).expect_err(&format!("{packed:.40x?}"));
            assert_eq!(problem.status, 400, "{packed:.40x?}");
        }
        let zeros = [b"\xdc\0\xff".as_slice(), &[0; 255]].concat();
        assert_eq!(to_json(&zeros, 100).unwrap_err().status, 413);
        assert_eq!(from_json(b"[0]", 1).unwrap_err().status, 413);
        assert!(to_json(&[b"\x91".repeat(128), vec![0]].concat(), LIMIT).is_ok());
    }

    proptest! {
        #[test]
        fn any_json_comes_back_from_messagepack_and_within_its_bounds(json in any_json()) {
            let packed = from_json(json.as_bytes(), LIMIT).unwrap();
            prop_assert!(packed.len() <= binary::most_bytes_of_json(json.len()));
            let again = to_json(&packed, LIMIT).unwrap();
            prop_assert!(again.len() <= binary::most_bytes_of_binary(packed.len()));
            let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            prop_assert_eq!(parse(&again), parse(json.as_bytes()));
        }

        #[test]
        fn whatever_is_read_as_messagepack_is_json_and_comes_back(
            body in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..0x94_u8, 0xa0..0xa3_u8], 0..24),
        ) {
            if let Ok(json) = to_json(&body, LIMIT) {
                prop_assert!(json.len() <= binary::most_bytes_of_binary(body.len()));
                let again = to_json(&from_json(&json, LIMIT).unwrap(), LIMIT).unwrap();
                prop_assert_eq!(again, json);
            }
        }
    }
}
