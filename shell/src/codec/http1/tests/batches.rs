//! Many records in one body.

use super::{config, post, say, say_to};
use crate::codec::http1::Http1;
use crate::codec::trial::Trial;
use crate::codec::{Codec, Event, Reason, RingId, State};

const NDJSON: &str = "content-type: application/x-ndjson\r\n";
const COUNTED: &str = "content-type: application/vnd.aqueduct.records\r\n";
const JSON: &str = "content-type: application/vnd.aqueduct.records+json; charset=utf-8\r\n";

#[test]
fn lines_are_records_and_the_answer_names_first_and_last() {
    let lines = format!("{NDJSON}aqueduct-type: 9\r\n");
    let heard = say([post("", "0"), post(&lines, "{\"a\":1}\n{\"b\":2}\r\n\n3")].concat());
    assert_eq!(heard.payloads(), [&b"0"[..], b"{\"a\":1}", b"{\"b\":2}", b"3"]);
    assert_eq!(heard.tags(), [0, 9, 9, 9]);
    let answer = "{\"seq\":1,\"epoch\":\"0123456789abcdef\",\"first\":1,\"last\":3,\"taken\":3}";
    assert!(heard.answers.ends_with(answer), "{}", heard.answers);
    assert!(heard.answers.contains("aqueduct-seq: 1\r\n"), "{}", heard.answers);
}

#[test]
fn counted_records_bring_their_own_types() {
    let body = b"\x02\0\0\0\x07\0hi\0\0\0\0\xff\xff";
    let heard = say(post(COUNTED, body));
    assert_eq!((heard.payloads(), heard.tags()), (vec![&b"hi"[..], b""], vec![7, 65_535]));
    let heard = say(post(&format!("{COUNTED}aqueduct-type: 1\r\n"), body));
    assert_eq!(heard.statuses(), [400], "one type too many");
    assert!(heard.sink.records.is_empty());
}

#[test]
fn elements_of_an_array_are_records_as_they_are_written() {
    let heard = say(post(JSON, "[ {\"a\": [1,2]},\"x\" , 7]"));
    assert_eq!(heard.payloads(), [&b"{\"a\": [1,2]}"[..], b"\"x\"", b"7"]);
}

#[test]
fn an_array_of_ordinary_json_stays_one_record() {
    let heard = say(post("content-type: application/json\r\n", "[1,2]"));
    assert_eq!(heard.payloads(), [b"[1,2]"]);
}

#[test]
fn a_batch_with_one_bad_record_is_not_taken_at_all() {
    let too_large = [&b"good\n"[..], &[b'x'; 1001]].concat();
    for (lines, body, status, records) in [
        (NDJSON, &too_large[..], 413, 1),
        (COUNTED, b"\x01\0\0\0\0\0a\x02\0\0\0\0\0b", 400, 1),
        (JSON, b"[1,2,]", 400, 1),
        (JSON, b"[1]2", 400, 1),
        (NDJSON, b"\r\n\n", 400, 0),
        (JSON, b"[]", 400, 0),
        (COUNTED, b"", 400, 0),
    ] {
        let heard = say([post(lines, body), post("", "after")].concat());
        assert_eq!(heard.statuses(), [status, 202], "{}", heard.answers);
        assert_eq!(heard.payloads(), [b"after"]);
        let rejected = heard.sink.events.iter().filter_map(|event| match event {
            Event::Rejected { ring: Some(RingId(0)), records, .. } => Some(*records),
            _ => None,
        });
        assert_eq!(rejected.sum::<u64>(), records);
    }
    let heard = say(post(JSON, "[1, 2, x]"));
    assert!(heard.answers.contains("record 2 of the batch"), "{}", heard.answers);
}

#[test]
fn a_batch_without_records_is_refused_and_no_record_is_counted() {
    let heard = say(post(NDJSON, "\n\n"));
    assert_eq!(heard.statuses(), [400]);
    assert!(heard.answers.contains("the batch holds no record"), "{}", heard.answers);
    assert_eq!(heard.sink.events, [Event::HttpStatus(400)]);
}

#[test]
fn a_batch_over_its_limits_is_answered_413() {
    let heard = say(post(NDJSON, vec![b'x'; 4097]));
    assert_eq!(heard.statuses(), [413]);
    assert!(heard.answers.contains("a batch has at most 4096 bytes"), "{}", heard.answers);
    // Two granules each: more than a ring of 512 granules ever has room for.
    let heard = say(post(NDJSON, "x\n".repeat(300)));
    assert_eq!(heard.statuses(), [413]);
    assert!(heard.answers.contains("300 records take 19200 bytes"), "{}", heard.answers);
    assert!(heard.sink.records.is_empty());
}

#[test]
fn a_batch_waits_for_room_as_a_whole_and_is_refused_as_a_whole() {
    let heard = say_to(Trial { fulls: 2, ..Trial::new() }, post(NDJSON, "1\n2\n3\n"));
    assert_eq!((heard.statuses(), heard.payloads().len()), (vec![202], 3));
    let sink = Trial { refusal: Some(Reason::Full), ..Trial::new() };
    let heard = say_to(sink, post(NDJSON, "1\n2\n3\n"));
    assert_eq!((heard.statuses(), heard.payloads().len()), (vec![503], 0));
    let rejected = Event::Rejected { ring: Some(RingId(0)), reason: Reason::Full, records: 3 };
    assert_eq!(heard.sink.events[0], rejected);
}

#[test]
fn a_batch_that_waits_for_room_is_looked_at_once_until_there_is_some() {
    let (mut codec, mut out) = (Http1::new(config()), Vec::new());
    let mut sink = Trial { fulls: 2, ..Trial::new() };
    let mut input = post(NDJSON, "a\nbc\n");
    let mut at = 0;
    for _ in 0..2 {
        let progress = codec.decode(&mut input[at..], &mut sink, &mut out);
        assert_eq!(progress.state, State::Parked);
        at += progress.consumed;
        let measured = codec.body.and_then(|body| body.measured);
        assert_eq!(measured.map(|size| (size.records, size.granules)), Some((2, 4)));
    }
    let _ = codec.decode(&mut input[at..], &mut sink, &mut out);
    assert_eq!(sink.records.len(), 2);
    assert!(codec.body.is_none() && out.starts_with(b"HTTP/1.1 202 "));
}
