//! The trace that a record belongs to (W3C Trace Context): what a request says of it in its
//! headers, so that the other side goes on with it. Pure.

use crate::batch::View;

/// The header of a trace, and the attribute it is kept as.
pub const TRACEPARENT: &str = "traceparent";
/// What the names of user properties of MQTT begin with as attributes.
const USER_PREFIX: &str = "user:";
/// The header that may follow a `traceparent`, and the attribute it is kept as.
const TRACESTATE: &str = "tracestate";
/// Length of a `traceparent` of version 00, bytes. Later versions may have more.
const TRACEPARENT_BYTES: usize = 55;
/// Longest value that is passed on, bytes: as much as W3C asks everybody to pass on.
const VALUE_BYTES_MAX: usize = 512;

/// The trace of a record; the default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    parent: Option<String>,
    state: Option<String>,
}

impl Trace {
    /// Reads the trace of a record. What does not look like one is none.
    pub fn of(record: &View<'_>) -> Self {
        let value = |name: &str| {
            let value = record.attributes.get(name);
            let value = value.or_else(|| record.attributes.get(&format!("{USER_PREFIX}{name}")));
            let is_text = |byte: &u8| (b' '..=b'~').contains(byte);
            let value = value.filter(|value| value.len() <= VALUE_BYTES_MAX)?;
            value.iter().all(is_text).then(|| String::from_utf8_lossy(value).into_owned())
        };
        if record.block.is_empty() {
            return Self::default();
        }
        let is_parent = |text: &String| {
            let known = text.as_bytes().get(..TRACEPARENT_BYTES).unwrap_or_default();
            let is_part = |(at, byte): (usize, &u8)| match at {
                2 | 35 | 52 => *byte == b'-',
                _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            };
            !known.is_empty() && known.iter().enumerate().all(is_part)
        };
        let parent = value(TRACEPARENT).filter(is_parent);
        let state = parent.as_ref().and_then(|_| value(TRACESTATE)).filter(|it| !it.is_empty());
        Self { parent, state }
    }

    /// Lists its headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let parent = self.parent.as_deref().map(|value| (TRACEPARENT, value));
        parent.into_iter().chain(self.state.as_deref().map(|value| (TRACESTATE, value)))
    }
}

/// The trace of a request: that of its records, if all belong to the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Common(Option<Trace>);

impl Common {
    /// Takes one more record.
    pub fn add(&mut self, record: &View<'_>) {
        let trace = Trace::of(record);
        match &mut self.0 {
            Some(before) if *before != trace => *before = Trace::default(),
            Some(_) => {}
            none => *none = Some(trace),
        }
    }

    /// Lists its headers: none if the records differ.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().flat_map(Trace::headers)
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::AttributeWriter;
    use aqueduct_core::attributes::name;

    use super::*;
    use crate::batch::Batch;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The headers of one request with records of these attributes.
    fn headers(records: &[&[(&str, &str)]]) -> Vec<(&'static str, String)> {
        let mut batch = Batch::default();
        batch.clear(1);
        for (seq, attributes) in (0..).zip(records) {
            let mut room = [0; 2048];
            let mut writer = AttributeWriter::new(&mut room);
            for (name, value) in *attributes {
                writer.add(name, value.as_bytes()).expect("room");
            }
            batch.push(seq, 0, 0, b"", writer.finish().as_bytes());
        }
        let mut common = Common::default();
        for record in batch.records().iter() {
            common.add(&record);
        }
        common.headers().map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn attributes_have_the_names_that_listeners_give_them() {
        assert_eq!((TRACEPARENT, USER_PREFIX), (name::TRACEPARENT, name::USER_PREFIX));
    }

    #[test]
    fn a_trace_goes_on_if_it_is_that_of_all() {
        let one: &[(&str, &str)] = &[("x", "y"), ("traceparent", PARENT), ("tracestate", "a=b")];
        let expected = [("traceparent", PARENT.to_owned()), ("tracestate", "a=b".to_owned())];
        assert_eq!(headers(&[one]), expected);
        assert_eq!(headers(&[one, one]), expected);
        let of_mqtt: &[(&str, &str)] = &[("user:traceparent", PARENT)];
        assert_eq!(headers(&[of_mqtt]), expected[..1]);
        for others in [&[one, of_mqtt][..], &[one, &[]], &[&[], one], &[one, &[], one]] {
            assert_eq!(headers(others), [], "{others:?}");
        }
        assert_eq!(headers(&[]), []);
    }

    #[test]
    fn what_is_no_trace_is_not_passed_on() {
        let upper = PARENT.to_uppercase();
        let long = format!("{PARENT}-{}", "a".repeat(VALUE_BYTES_MAX));
        let broken = format!("{PARENT}\r\nx: y");
        for text in ["", "00", &PARENT[..54], &upper, &long, &broken] {
            assert_eq!(headers(&[&[("traceparent", text), ("tracestate", "a=b")]]), [], "{text}");
        }
        let later = format!("cc{}-what-comes-then", &PARENT[2..]);
        assert_eq!(headers(&[&[("traceparent", &later)]]), [("traceparent", later.clone())]);
        let broken: &[_] = &[("traceparent", PARENT), ("tracestate", "a\n")];
        assert_eq!(headers(&[broken]), [("traceparent", PARENT.to_owned())]);
    }
}
