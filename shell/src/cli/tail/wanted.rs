//! Which records are shown: by type, attribute, number and time.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_client::{Attributes, Record};

use crate::cli::text::time_of;
use crate::config::Millis;

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Oldest,
    Latest,
    Seq(u64),
    Time(Moment),
}

/// A time, nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) u64);

/// An attribute that a record must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    name: String,
    value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Is(String),
    Begins(String),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oldest" => return Ok(Self::Oldest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if let Ok(seq) = text.parse() {
            return Ok(Self::Seq(seq));
        }
        text.parse()
            .map(Self::Time)
            .map_err(|expected| format!("`oldest`, `latest`, a sequence number, or {expected}"))
    }
}

impl FromStr for Moment {
    type Err = String;

    /// Reads a time, or how long ago it was. A number without a unit is neither.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(ns) = time_of(text) {
            return Ok(Self(ns));
        }
        let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
        match text.parse::<Millis>() {
            Ok(Millis(ago)) if has_unit => {
                let ns = u128::from(now_ns()).saturating_sub(u128::from(ago) * 1_000_000);
                Ok(Self(u64::try_from(ns).unwrap_or(u64::MAX)))
            }
            _ => Err("a time as 2026-11-29T10:00:00Z, or how long ago, as 90s or 5m".to_owned()),
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("NAME, NAME=VALUE or NAME=BEGINNING*".to_owned());
        }
        let value = value.map(|value| match value.strip_suffix('*') {
            Some(beginning) => Value::Begins(beginning.to_owned()),
            None => Value::Is(value.to_owned()),
        });
        Ok(Self { name: name.to_owned(), value })
    }
}

impl Named {
    /// Whether one of the attributes is this one. A name may occur more than once.
    fn is_among(&self, attributes: Attributes<'_>) -> bool {
        attributes.filter(|attribute| attribute.name == self.name.as_bytes()).any(|attribute| {
            match &self.value {
                None => true,
                Some(Value::Is(value)) => attribute.value == value.as_bytes(),
                Some(Value::Begins(value)) => attribute.value.starts_with(value.as_bytes()),
            }
        })
    }
}

/// What a record must be to be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// One of these; empty: any.
    pub(super) types: Vec<u16>,
    /// All of these.
    pub(super) attributes: Vec<Named>,
    /// This number or a later one, in the epoch with which reading began.
    pub(super) from_seq: Option<(u64, u64)>,
    /// This time or a later one.
    pub(super) from_ns: Option<u64>,
}

impl Wanted {
    pub(super) fn is_met_by(
        &self,
        epoch: u64,
        record: &Record,
        attributes: &Attributes<'_>,
    ) -> bool {
        (self.types.is_empty() || self.types.contains(&record.type_tag))
            && self.from_seq.is_none_or(|(of, from)| of != epoch || record.seq >= from)
            && self.from_ns.is_none_or(|from| record.timestamp_ns >= from)
            && self.attributes.iter().all(|named| named.is_among(attributes.clone()))
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::attributes::AttributeBlock;

    use super::*;

    #[test]
    fn a_beginning_is_a_word_a_number_a_time_or_how_long_ago() {
        assert_eq!("oldest".parse(), Ok(From::Oldest));
        assert_eq!("17".parse(), Ok(From::Seq(17)));
        let time = From::Time(Moment(1_795_946_400_000_000_000));
        assert_eq!("2026-11-29T10:00:00Z".parse(), Ok(time));
        let Ok(From::Time(Moment(ago))) = "2h".parse() else { panic!("it is a time") };
        let expected = now_ns() - 7_200_000_000_000;
        assert!(expected.abs_diff(ago) < 60_000_000_000, "{ago}, not {expected}");
        for text in ["", "old", "-1", "5 parsecs", "2026-11-29"] {
            assert!(text.parse::<From>().is_err(), "{text}");
        }
        assert!("5".parse::<Moment>().is_err(), "five of what?");
    }

    #[test]
    fn records_are_chosen_by_all_that_is_asked_and_by_any_attribute_of_a_name() {
        let mut room = [0; 64];
        let attributes = [("a", &b"one"[..]), ("a", b"two"), ("b", b"")];
        let block = AttributeBlock::write(attributes, &mut room).expect("they fit");
        let record = Record {
            seq: 5,
            timestamp_ns: 100,
            len: 0,
            type_tag: 7,
            flags: 0,
            attribute_units: 0,
            position: 0,
        };
        let named = |texts: &[&str]| -> Wanted {
            let attributes = texts.iter().map(|text| text.parse().expect("one")).collect();
            Wanted { attributes, ..Wanted::default() }
        };
        for (wanted, is_met) in [
            (Wanted::default(), true),
            (named(&["a=two", "b"]), true),
            (named(&["a=tw*"]), true),
            (named(&["a=tw"]), false),
            (named(&["b="]), true),
            (named(&["a", "c"]), false),
            (Wanted { types: vec![1, 7], ..Wanted::default() }, true),
            (Wanted { types: vec![1], ..Wanted::default() }, false),
            (Wanted { from_seq: Some((9, 6)), ..Wanted::default() }, false),
            (Wanted { from_seq: Some((8, 6)), ..Wanted::default() }, true),
            (Wanted { from_ns: Some(101), ..Wanted::default() }, false),
        ] {
            assert_eq!(wanted.is_met_by(9, &record, &block.attributes()), is_met, "{wanted:?}");
        }
    }
}
