//! Compares what the clients were told with what the reader received. Speed plays no part in it.

use std::collections::{HashMap, HashSet};

use crate::load::Report;
use crate::reader::Reading;
use crate::records::Id;

/// One stream out of what a killed reader and its successor received: nothing missing between the
/// two, and delivered twice only what the first one had not released for certain. Also returns how
/// many records came twice.
pub(crate) fn join(first: &Reading, second: &Reading) -> (Vec<(u64, Id)>, usize) {
    assert_contiguous(&first.records, 0, "the first reader");
    let first_end = first.records.len() as u64;
    let released = first.released.unwrap_or(0);
    let restart = second.records.first().map_or(first_end, |&(seq, _)| seq);
    assert!(
        restart >= released,
        "record {restart} came again although everything before {released} had been released"
    );
    assert!(
        restart <= first_end,
        "records {first_end} to {restart} are missing: released, but never delivered"
    );
    assert_contiguous(&second.records, restart, "the second reader");
    let again = usize::try_from(first_end - restart).expect("a count of records in memory");
    for (before, after) in first.records[first.records.len() - again..].iter().zip(&second.records)
    {
        assert_eq!(before, after, "a record changed between its two deliveries");
    }
    let mut all = first.records.clone();
    all.extend(second.records.iter().skip(again));
    (all, again)
}

/// Asserts that every 202 was received exactly once, in the order of its sequence number, with the
/// content that was posted, and that nothing was received that is neither accepted nor in doubt.
/// Returns how many of the records in doubt were received.
pub(crate) fn check(received: &[(u64, Id)], report: &Report) -> usize {
    let nonsense = &report.nonsense;
    assert!(
        nonsense.is_empty(),
        "{} answers make no sense, first: {:?}",
        nonsense.len(),
        nonsense[0]
    );
    assert_eq!(report.epochs.len(), 1, "one ring has one epoch: {:?}", report.epochs);
    assert_contiguous(received, 0, "the reader");

    let mut seq_of = HashMap::with_capacity(received.len());
    let mut last_of_client: HashMap<u32, u32> = HashMap::new();
    for &(seq, id) in received {
        let earlier = seq_of.insert(id, seq);
        assert!(earlier.is_none(), "{id:?} was received twice, as {earlier:?} and {seq}");
        let before = last_of_client.insert(id.client, id.number);
        assert!(
            before < Some(id.number),
            "client {} posted {} after {before:?}, but it was received before",
            id.client,
            id.number
        );
    }
    let mut unanswered: HashSet<Id> = report.in_doubt.iter().copied().collect();
    for &(seq, id) in &report.accepted {
        let got = seq_of.remove(&id);
        assert!(
            got.is_some(),
            "{id:?} was answered with 202 and seq {seq}, but never received ({} records were)",
            received.len()
        );
        assert_eq!(
            got,
            Some(seq),
            "{id:?} was received under another sequence number than the 202 named"
        );
    }
    let extra = seq_of.len();
    for (id, seq) in seq_of {
        assert!(
            unanswered.remove(&id),
            "{id:?} was received as {seq}, but its client was never told so nor left in doubt"
        );
    }
    extra
}

/// Asserts that sequence numbers count up from `start` without a gap, and that the reader
/// complained about nothing.
fn assert_contiguous(records: &[(u64, Id)], start: u64, who: &str) {
    for (expected, &(seq, id)) in (start..).zip(records) {
        assert_eq!(seq, expected, "{who} received {id:?} out of sequence");
    }
}

/// A judge who never says guilty proves nothing.
mod catches {
    use super::{check, join};
    use crate::load::Report;
    use crate::reader::Reading;
    use crate::records::Id;

    const A: Id = Id { client: 0, number: 0 };
    const B: Id = Id { client: 0, number: 1 };
    const C: Id = Id { client: 1, number: 0 };

    fn told(accepted: &[(u64, Id)]) -> Report {
        Report {
            accepted: accepted.to_vec(),
            in_doubt: vec![C],
            epochs: ["0123456789abcdef".to_owned()].into(),
            ..Report::default()
        }
    }

    fn read(records: &[(u64, Id)], released: u64) -> Reading {
        Reading { records: records.to_vec(), released: Some(released), ..Reading::default() }
    }

    #[test]
    fn nothing_wrong_where_nothing_is() {
        assert_eq!(check(&[(0, A), (1, B)], &told(&[(0, A), (1, B)])), 0);
        assert_eq!(check(&[(0, A), (1, C), (2, B)], &told(&[(0, A), (2, B)])), 1);
        let (all, again) = join(&read(&[(0, A), (1, B)], 1), &read(&[(1, B), (2, C)], 3));
        assert_eq!((all, again), (vec![(0, A), (1, B), (2, C)], 1));
    }

    #[test]
    #[should_panic(expected = "never received")]
    fn an_accepted_record_that_never_came() {
        check(&[(0, A)], &told(&[(0, A), (1, B)]));
    }

    #[test]
    #[should_panic(expected = "out of sequence")]
    fn a_hole() {
        check(&[(0, A), (2, B)], &told(&[(0, A), (2, B)]));
    }

    #[test]
    #[should_panic(expected = "received twice")]
    fn a_record_delivered_twice() {
        check(&[(0, A), (1, A)], &told(&[(0, A)]));
    }

    #[test]
    #[should_panic(expected = "another sequence number")]
    fn a_202_that_named_the_wrong_number() {
        check(&[(0, A), (1, C)], &told(&[(1, A), (0, C)]));
    }

    #[test]
    #[should_panic(expected = "nor left in doubt")]
    fn a_record_that_nobody_was_told_of() {
        check(&[(0, A), (1, B)], &told(&[(0, A)]));
    }

    #[test]
    #[should_panic(expected = "was received before")]
    fn a_client_overtaking_itself() {
        check(&[(0, B), (1, A)], &told(&[(0, B), (1, A)]));
    }

    #[test]
    #[should_panic(expected = "never delivered")]
    fn a_hole_between_two_readers() {
        join(&read(&[(0, A)], 1), &read(&[(2, C)], 3));
    }

    #[test]
    #[should_panic(expected = "had been released")]
    fn a_released_record_delivered_again() {
        join(&read(&[(0, A), (1, B)], 2), &read(&[(1, B)], 2));
    }
}
