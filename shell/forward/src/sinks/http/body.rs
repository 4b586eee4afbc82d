//! What a request holds. Pure over bytes.

use serde::Deserialize;

use crate::batch::Records;
use crate::envelope::{Envelope, element};
use crate::sink::Failure;
use crate::trace::Common;

/// The form of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Body {
    /// Lines, each a record in its envelope.
    #[default]
    Ndjson,
    /// Payloads, each after its length and type: what another listener takes.
    Counted,
    /// `aqueduct.v1.Records` of `schema/record.proto`.
    Protobuf,
    /// One record in its envelope; the rest of it in headers.
    Single,
}

/// The body of one request.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) records: usize,
    /// Names these records, and no others.
    pub(super) key: String,
    /// More headers.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The trace of its records, which the request goes on with.
    pub(super) trace: Common,
}

impl Body {
    /// Returns the media type.
    pub(super) const fn media_type(self, envelope: &Envelope) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Counted => "application/vnd.aqueduct.records",
            Self::Protobuf => "application/x-protobuf",
            Self::Single => envelope.media_type(),
        }
    }

    /// Divides records into bodies of at most so many records and bytes. Also returns what is wrong
    /// with the first record that has no such form; those before it are in the bodies.
    pub(super) fn pieces(
        self,
        envelope: &Envelope,
        records: &Records<'_>,
        (most_records, most_bytes): (usize, usize),
    ) -> (Vec<Piece>, Option<Failure>) {
        let most_records = if self == Self::Single { 1 } else { most_records };
        let mut pieces: Vec<Piece> = Vec::new();
        let (mut one, mut begin) = (Vec::new(), 0);
        for at in 0..records.len() {
            one.clear();
            let record = records.get(at);
            if let Err(reason) = self.frame(envelope, &record, &mut one) {
                return (pieces, Some(Failure::poison(at, reason)));
            }
            let is_new = pieces.last().is_none_or(|piece| {
                piece.records >= most_records || piece.bytes.len() + one.len() > most_bytes
            });
            if is_new {
                pieces.push(Piece::default());
                begin = at;
            }
            if let Some(piece) = pieces.last_mut() {
                piece.bytes.extend_from_slice(&one);
                piece.records += 1;
                piece.trace.add(&record);
                self.name(records, begin..at + 1, piece);
            }
        }
        (pieces, None)
    }

    /// The key and the headers of the body of these records.
    fn name(self, records: &Records<'_>, range: std::ops::Range<usize>, piece: &mut Piece) {
        let (first, last) = (records.get(range.start), records.get(range.end - 1));
        piece.key = first.name();
        if self == Self::Single {
            piece.headers = vec![
                ("aqueduct-epoch", format!("{:016x}", first.epoch)),
                ("aqueduct-seq", first.seq.to_string()),
                ("aqueduct-type", first.type_tag.to_string()),
                ("aqueduct-timestamp-ns", first.timestamp_ns.to_string()),
            ];
            return;
        }
        // A batch that begins alike and ends elsewhere is another one: with the same key, a service
        // that keeps keys would take it for known, and lose what it has more.
        piece.key = format!("{}-{}", piece.key, last.seq);
    }

    /// Appends one record as it stands in a body.
    fn frame(
        self,
        envelope: &Envelope,
        record: &crate::batch::View<'_>,
        into: &mut Vec<u8>,
    ) -> Result<(), String> {
        match self {
            Self::Ndjson => {
                envelope.encode(record, into)?;
                if into.contains(&b'\n') {
                    return Err("the record has a line break in it, which ends a line".to_owned());
                }
                if into.is_empty() {
                    return Err("the record is empty, and an empty line is no record".to_owned());
                }
                into.push(b'\n');
            }
            Self::Counted => {
                let len = u32::try_from(record.payload.len()).map_err(|error| error.to_string())?;
                into.extend_from_slice(&len.to_le_bytes());
                into.extend_from_slice(&record.type_tag.to_le_bytes());
                into.extend_from_slice(record.payload);
            }
            Self::Protobuf => {
                let mut encoded = Vec::new();
                envelope.encode(record, &mut encoded)?;
                element(&encoded, into);
            }
            Self::Single => envelope.encode(record, into)?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::sink::Remedy;

    fn keys(body: Body, limits: (usize, usize)) -> (Vec<(String, usize)>, Option<Failure>) {
        let mut batch = Batch::default();
        batch.clear(0xe);
        for (seq, payload) in [(5, "1"), (6, "22"), (8, "333"), (9, "4\n4"), (10, "5")] {
            batch.push(seq, 0, 0, payload.as_bytes(), b"");
        }
        let (pieces, failure) = body.pieces(&Envelope::default(), &batch.records(), limits);
        (pieces.into_iter().map(|piece| (piece.key, piece.records)).collect(), failure)
    }

    #[test]
    fn bodies_are_divided_by_records_and_bytes_and_named_by_both_ends() {
        let name = |rest: &str| format!("000000000000000e-{rest}");
        let (pieces, failure) = keys(Body::Counted, (2, 1000));
        let expected = [(name("5-6"), 2), (name("8-9"), 2), (name("10-10"), 1)];
        assert_eq!((&pieces[..], failure), (&expected[..], None));
        // 7, 8, 9, 9 and 7 bytes.
        let expected = [(name("5-6"), 2), (name("8-8"), 1), (name("9-10"), 2)];
        assert_eq!(keys(Body::Counted, (1000, 16)).0, expected);
        assert_eq!(keys(Body::Counted, (1000, 1)).0.len(), 5, "one is always taken");
        let singles = keys(Body::Single, (1000, 1000)).0;
        assert_eq!(singles[2], (name("8"), 1), "one record, one key");
    }

    #[test]
    fn a_line_break_is_poison_after_the_records_before_it() {
        let (pieces, failure) = keys(Body::Ndjson, (1000, 1000));
        assert_eq!(pieces, [("000000000000000e-5-8".to_owned(), 3)]);
        let failure = failure.expect("record 9 has a line break");
        assert_eq!((failure.done, failure.remedy), (3, Remedy::Poison));
    }
}
