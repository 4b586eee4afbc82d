//! JSON as CBOR (RFC 8949), and back: [`super::binary`]. minicbor writes and reads it.

use minicbor::Encoder;
use minicbor_serde::Deserializer;
use serde::de::DeserializeSeed;

use super::Problem;
use super::binary::{self, Encode, Next, Number, Values};
use super::json::Kind;

/// Writes one JSON value as one CBOR value, in at most `limit` bytes. Lengths are definite, and
/// integers and lengths as short as they can be.
///
/// # Errors
/// The body is no JSON, has a number that CBOR has no room for, or becomes too large.
pub fn from_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    binary::from_json::<Cbor>(body, limit)
}

/// Writes one CBOR value as JSON, in at most `limit` bytes.
///
/// # Errors
/// The body is no CBOR, has what JSON cannot hold, or becomes too large.
pub fn to_json(body: &[u8], limit: usize) -> Result<Vec<u8>, Problem> {
    let (mut deserializer, mut values) = (Deserializer::new(body), Values::new(limit));
    let read = Next(&mut values).deserialize(&mut deserializer).map_err(|error| error.to_string());
    let at = deserializer.decoder().position();
    let read = match read {
        Ok(()) if at != body.len() => Err("something follows the value".to_owned()),
        read => read,
    };
    values.finish(read, |why| {
        Problem::malformed(format!("the body is not CBOR that can be taken: at byte {at}, {why}"))
    })
}

struct Cbor(Encoder<Vec<u8>>);

impl Default for Cbor {
    fn default() -> Self {
        Self(Encoder::new(Vec::new()))
    }
}

// Writing to memory cannot fail: its error is one of which there is none.
impl Encode for Cbor {
    const NAME: &'static str = "CBOR";

    fn null(&mut self) {
        let _ = self.0.null();
    }

    fn boolean(&mut self, value: bool) {
        let _ = self.0.bool(value);
    }

    fn number(&mut self, number: Number) {
        let _ = match number {
            Number::Unsigned(number) => self.0.u64(number),
            Number::Negative(number) => self.0.i64(number),
            Number::Float(number) => self.0.f64(number),
        };
    }

    fn text(&mut self, text: &str) {
        let _ = self.0.str(text);
    }

    fn open(&mut self, of: Kind, count: u32) {
        let _ = match of {
            Kind::Array => self.0.array(count.into()),
            Kind::Object => self.0.map(count.into()),
        };
    }

    fn bytes(&self) -> &Vec<u8> {
        self.0.writer()
    }

    fn into_bytes(self) -> Vec<u8> {
        self.0.into_writer()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::middleware::binary::tests::any_json;

    const LIMIT: usize = 1 << 20;

    /// Examples of RFC 8949, appendix A, that JSON can hold: the same in both directions.
    #[test]
    fn examples_of_the_rfc_become_cbor_and_json_again() {
        for (json, cbor) in [
            ("0", "00"),
            ("23", "17"),
            ("24", "1818"),
            ("1000000000000", "1b000000e8d4a51000"),
            ("18446744073709551615", "1bffffffffffffffff"),
            ("-1", "20"),
            ("-1000", "3903e7"),
            ("1.1", "fb3ff199999999999a"),
            ("-4.1", "fbc010666666666666"),
            ("1e+300", "fb7e37e43c8800759c"),
            ("false", "f4"),
            ("null", "f6"),
            ("\"\"", "60"),
            ("\"\\\"\\\\\"", "62225c"),
            ("\"水\"", "63e6b0b4"),
            ("[1,[2,3],[4,5]]", "8301820203820405"),
            ("{\"a\":1,\"b\":[2,3]}", "a26161016162820203"),
            ("[\"a\",{\"b\":\"c\"}]", "826161a161626163"),
        ] {
            assert_eq!(hex(&from_json(json.as_bytes(), LIMIT).unwrap()), cbor, "{json}");
            let again = to_json(&bytes(cbor), LIMIT).unwrap();
            assert_eq!(String::from_utf8(again).unwrap(), json, "{cbor}");
        }
    }

    /// Further ones, which have another form in JSON.
    #[test]
    fn examples_of_the_rfc_become_json() {
        for (cbor, json) in [
            ("f90000", "0.0"),
            ("f98000", "-0.0"),
            ("f93e00", "1.5"),
            ("fa47c35000", "100000.0"),
            ("4401020304", "\"AQIDBA\""),
            ("5f42010243030405ff", "\"AQIDBAU\""),
            ("7f657374726561646d696e67ff", "\"streaming\""),
            ("9f018202039f0405ffff", "[1,[2,3],[4,5]]"),
            ("bf61610161629f0203ffff", "{\"a\":1,\"b\":[2,3]}"),
            ("1800", "0"),
        ] {
            let read = to_json(&bytes(cbor), LIMIT).unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), json, "{cbor}");
        }
    }

    #[test]
    fn hostile_cbor_is_refused() {
        let deep = format!("{}00", "81".repeat(129));
        let deeper = "81".repeat(1 << 20);
        let endless = "9f".repeat(1 << 20);
        for cbor in [
            "",
            // Lengths that are not there.
            "9bffffffffffffffff00",
            "bbffffffffffffffff6161f6",
            "7bffffffffffffffff61",
            "5bffffffffffffffff61",
            "9a7fffffff",
            "7f7bffffffffffffffff61ff",
            "7f62c328ff",
            "9f01",
            "bf6161ff",
            "ff",
            // What JSON cannot hold.
            "f7",
            "f0",
            "f97c00",
            "f97e00",
            "fbfff0000000000000",
            "c249010000000000000000",
            "c074323031332d30332d32315432303a30343a30305a",
            "d9d9f700",
            "3bffffffffffffffff",
            "a10102",
            "a1f6f6",
            "a1416100",
            "a2616101616102",
            "bf6161017f6161ff02ff",
            // Not UTF-8, a reserved head, bytes after the end.
            "62c328",
            "1c",
            "0000",
            &deep,
            &deeper,
            &endless,
        ] {
            let problem = to_json(&bytes(cbor), LIMIT).expect_err(cbor);
            assert_eq!(problem.status, 400, "{cbor:.40}");
        }
        let zeros = format!("9900ff{}", "00".repeat(255));
        assert_eq!(to_json(&bytes(&zeros), 100).unwrap_err().status, 413);
        assert_eq!(from_json(b"[0]", 1).unwrap_err().status, 413);
        assert_eq!(from_json(b"{\"a\":0,\"a\":0}", LIMIT).unwrap_err().status, 400);
        let depth = format!("{}00", "81".repeat(128));
        assert!(to_json(&bytes(&depth), LIMIT).is_ok());
    }

    #[test]
    fn the_bounds_hold_for_what_grows_most() {
        for json in ["[1e1,1e1,1e1]", "1e1", "[[],[],[]]", "{\"\":0.1,\"a\":1e1}"] {
            let cbor = from_json(json.as_bytes(), LIMIT).unwrap();
            assert!(cbor.len() <= binary::most_bytes_of_json(json.len()), "{json}");
        }
        // Every half float.
        for half in 0..=u16::MAX {
            let [high, low] = half.to_be_bytes();
            let cbor = [[0x99, 0, 4].as_slice(), &[0xf9, high, low].repeat(4)];
            if let Ok(json) = to_json(&cbor.concat(), LIMIT) {
                assert!(json.len() <= binary::most_bytes_of_binary(15), "{half:04x}: {json:?}");
            }
        }
        let cbor = [[0x78, 200].as_slice(), &[0; 200]].concat();
        assert!(to_json(&cbor, LIMIT).unwrap().len() <= binary::most_bytes_of_binary(202));
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    proptest! {
        #[test]
        fn any_json_comes_back_from_cbor_and_within_its_bounds(json in any_json()) {
            let cbor = from_json(json.as_bytes(), LIMIT).unwrap();
            prop_assert!(cbor.len() <= binary::most_bytes_of_json(json.len()));
            let again = to_json(&cbor, LIMIT).unwrap();
            prop_assert!(again.len() <= binary::most_bytes_of_binary(cbor.len()));
            let parse = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
            prop_assert_eq!(parse(&again), parse(json.as_bytes()));
        }

        #[test]
        fn whatever_is_read_as_cbor_is_json_and_comes_back(
            body in prop::collection::vec(prop_oneof![any::<u8>(), 0x5f..0x82_u8, 0xa0..0xa3_u8], 0..24),
        ) {
            if let Ok(json) = to_json(&body, LIMIT) {
                prop_assert!(json.len() <= binary::most_bytes_of_binary(body.len()));
                let again = to_json(&from_json(&json, LIMIT).unwrap(), LIMIT).unwrap();
                prop_assert_eq!(again, json);
            }
        }
    }
}
