//! Streams of frames, and what becomes of them.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{Config, Framing, Lines, Oversize};
use crate::codec::trial::{End, OneCertificate, Trial, certificate, converse};
use crate::codec::{Codec, Event, Keep, Reason, RingId, Sink, State, Wait};

/// A connection to ring `b`, whose records have at most 16 bytes.
fn codec(framing: Framing, oversize: Oversize) -> Lines {
    let ring = Trial::new().ring(b"b").expect("it is there");
    let config = Config {
        ring,
        type_tag: 5,
        framing,
        max_frame_bytes: 1000,
        oversize,
        keep: Keep::default(),
        credentials: None,
    };
    Lines::new(Arc::new(config))
}

fn say(framing: Framing, oversize: Oversize, bytes: &[u8]) -> (Vec<Vec<u8>>, End, Vec<Event>) {
    let mut sink = Trial::new();
    let (answers, end) = converse(&mut codec(framing, oversize), &mut sink, bytes, &[]);
    assert!(answers.is_empty(), "nothing is ever said");
    assert!(sink.records.iter().all(|record| (record.ring, record.type_tag) == (1, 5)));
    (sink.records.into_iter().map(|record| record.payload).collect(), end, sink.events)
}

fn rejected(reason: Reason) -> Event {
    Event::Rejected { ring: Some(RingId(1)), reason, records: 1 }
}

#[test]
fn lines_end_with_lf_and_lose_one_cr() {
    let (records, end, events) =
        say(Framing::Lines, Oversize::Skip, b"one\ntwo\r\n\n\r\nth\ree\r\r\n\0\n");
    assert_eq!(records, [&b"one"[..], b"two", b"th\ree\r", b"\0"]);
    assert_eq!((end, events), (End::Input, vec![]));
}

#[test]
fn nul_frames_keep_their_line_ends() {
    let (records, ..) = say(Framing::Nul, Oversize::Skip, b"one\r\n\0\0t\nwo\0");
    assert_eq!(records, [&b"one\r\n"[..], b"t\nwo"]);
}

#[test]
fn counted_frames_hold_any_bytes() {
    let (records, end, events) =
        say(Framing::Octets, Oversize::Skip, b"3 one5 t\nwo\x0010 1234567890");
    assert_eq!(records, [&b"one"[..], b"t\nwo\0", b"1234567890"]);
    assert_eq!((end, events), (End::Input, vec![]));
}

#[test]
fn what_is_no_count_ends_the_connection() {
    for bytes in
        ["x", " 1 a", "0 ", "01 a", "-1 a", "1a", "1\na", "12345678901 ", "<34>1 2003-10-11 host\n"]
    {
        let bytes = [b"1 a", bytes.as_bytes()].concat();
        let (records, end, events) = say(Framing::Octets, Oversize::Skip, &bytes);
        assert_eq!((records, end), (vec![b"a".to_vec()], End::Closed), "{bytes:?}");
        assert_eq!(events, [Event::ProtocolError, rejected(Reason::Malformed)], "{bytes:?}");
    }
}

#[test]
fn a_frame_over_the_limit_is_skipped_or_ends_the_connection_and_is_counted() {
    let long = [b'x'; 17];
    for (framing, bytes) in [
        (Framing::Lines, [b"a\n", &long[..], b"\nb\n"].concat()),
        (Framing::Lines, [b"a\n", &long.repeat(9)[..], b"\r\nb\n"].concat()),
        (Framing::Nul, [b"a\0", &long[..], b"\0b\0"].concat()),
        (Framing::Octets, [b"1 a17 ", &long[..], b"1 b"].concat()),
    ] {
        let (records, end, events) = say(framing, Oversize::Skip, &bytes);
        assert_eq!((records, end), (vec![b"a".to_vec(), b"b".to_vec()], End::Input));
        assert_eq!(events, [rejected(Reason::TooLarge)]);
        let (records, end, events) = say(framing, Oversize::Close, &bytes);
        assert_eq!((records, end), (vec![b"a".to_vec()], End::Closed));
        assert_eq!(events, [rejected(Reason::TooLarge)]);
    }
    let (records, _, events) = say(Framing::Lines, Oversize::Close, b"1234567890123456\r\n");
    assert_eq!((records.len(), events.len()), (1, 0), "a CR does not count");
    let (records, end, _) = say(Framing::Octets, Oversize::Skip, b"4294967296 x");
    assert_eq!((records.len(), end), (0, End::Input), "a count is believed, not stored");
}

#[test]
fn a_counted_frame_over_the_limit_is_skipped_however_it_is_cut() {
    let bytes = [b"1 a20 ", &[b'x'; 20][..], b"1 b1 c1 d"].concat();
    for cuts in [vec![], vec![1; bytes.len()], vec![10, 3, 7], vec![26, 3]] {
        let mut sink = Trial::new();
        let mut codec = codec(Framing::Octets, Oversize::Skip);
        let (_, end) = converse(&mut codec, &mut sink, &bytes, &cuts);
        let records: Vec<_> = sink.records.into_iter().map(|record| record.payload).collect();
        assert_eq!(
            (records, end),
            ([b"a", b"b", b"c", b"d"].map(|it| it.to_vec()).to_vec(), End::Input)
        );
        assert_eq!(sink.events, [rejected(Reason::TooLarge)]);
    }
}

#[test]
fn half_a_frame_is_no_record_and_counted() {
    for (framing, bytes) in
        [(Framing::Lines, &b"a\nb"[..]), (Framing::Nul, b"a\0b"), (Framing::Octets, b"1 a2 b")]
    {
        let (records, end, events) = say(framing, Oversize::Skip, bytes);
        assert_eq!((records, end), (vec![b"a".to_vec()], End::Input), "{framing:?}");
        assert_eq!(events, [rejected(Reason::Disconnected)], "{framing:?}");
    }
}

#[test]
fn a_full_ring_is_waited_for_and_a_closed_one_ends_the_connection() {
    let mut lines = codec(Framing::Lines, Oversize::Skip);
    assert!(!lines.gives_up_when_full());
    let (mut sink, mut out) = (Trial { fulls: 1, ..Trial::new() }, Vec::new());
    let progress = lines.decode(&mut b"a\nb\n".to_vec(), &mut sink, &mut out);
    assert_eq!((progress.consumed, progress.state), (0, State::Parked));
    sink.refusal = Some(Reason::ShuttingDown);
    let progress = lines.decode(&mut b"a\nb\n".to_vec(), &mut sink, &mut out);
    assert_eq!((progress.consumed, progress.state), (2, State::Close));
    assert_eq!(sink.events, [rejected(Reason::ShuttingDown)]);
}

#[test]
fn records_and_refusals_are_counted_as_messages() {
    let mut sink = Trial::new();
    let mut input = b"a\n\nbc\n12345678901234567\nd\n".to_vec();
    let mut lines = codec(Framing::Lines, Oversize::Skip);
    let progress = lines.decode(&mut input, &mut sink, &mut Vec::new());
    assert_eq!((progress.consumed, progress.messages), (input.len(), 4), "an empty line is none");
}

#[test]
fn a_line_of_the_largest_size_may_come_with_its_cr_before_its_lf() {
    let mut lines = codec(Framing::Lines, Oversize::Close);
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let progress = lines.decode(&mut b"1234567890123456\r".to_vec(), &mut sink, &mut out);
    assert_eq!(progress.state, State::More { need: 18, wait: Wait::Body });
    let progress = lines.decode(&mut b"1234567890123456\r\n".to_vec(), &mut sink, &mut out);
    assert_eq!((progress.consumed, sink.records.len()), (18, 1));
}

#[test]
fn a_count_asks_for_the_byte_after_its_space_and_then_for_its_frame() {
    let mut lines = codec(Framing::Octets, Oversize::Close);
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    for (input, bytes) in [(&b"12"[..], 4), (b"12 ", 15), (b"12 hello", 15)] {
        let progress = lines.decode(&mut input.to_vec(), &mut sink, &mut out);
        assert_eq!(progress.state, State::More { need: bytes, wait: Wait::Body }, "{input:?}");
    }
}

#[test]
fn what_has_begun_when_time_runs_out_is_refused_as_late() {
    let mut lines = codec(Framing::Lines, Oversize::Skip);
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    lines.timed_out(b"", &mut sink, &mut out);
    assert_eq!(sink.events, []);
    lines.timed_out(b"half", &mut sink, &mut out);
    assert_eq!(sink.events, [rejected(Reason::Timeout)]);
    assert!(out.is_empty());
}

#[test]
fn a_connection_follows_the_limits_of_its_address() {
    let mut lines = codec(Framing::Lines, Oversize::Skip);
    let narrower = Config { max_frame_bytes: 3, type_tag: 6, ..(*lines.config).clone() };
    lines.follow(&Arc::new(narrower));
    let mut sink = Trial::new();
    let _ = lines.decode(&mut b"abc\nabcd\n".to_vec(), &mut sink, &mut Vec::new());
    let records: Vec<_> = sink.records.iter().map(|it| (it.type_tag, &it.payload[..])).collect();
    assert_eq!(records, [(6, &b"abc"[..])]);
    assert_eq!(sink.events, [rejected(Reason::TooLarge)]);
}

/// Records by the plainest reading of a whole stream: what is too long is left out.
fn plainly(framing: Framing, bytes: &[u8]) -> Vec<Vec<u8>> {
    let delimiter = if framing == Framing::Lines { b'\n' } else { 0 };
    let mut frames: Vec<&[u8]> = bytes.split(|byte| *byte == delimiter).collect();
    frames.pop();
    let strip = |frame| <[u8]>::strip_suffix(frame, b"\r").filter(|_| framing == Framing::Lines);
    let frames = frames.into_iter().map(|frame| strip(frame).unwrap_or(frame));
    frames.filter(|frame| (1..=16).contains(&frame.len())).map(<[u8]>::to_vec).collect()
}

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![Just(Framing::Lines), Just(Framing::Nul), Just(Framing::Octets)]
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let length = |payload: Vec<u8>| [format!("{} ", payload.len()).as_bytes(), &payload].concat();
    prop_oneof![
        vec(prop_oneof![Just(b'a'), Just(b'\r'), Just(0), Just(b'\n'), any::<u8>()], 0..20),
        vec(any::<u8>(), 1..20).prop_map(length),
        Just(b"x\n".to_vec()),
        Just(b"y\0".to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records(
        framing in framing(),
        skips in any::<bool>(),
        pieces in vec(piece(), 0..20),
        cuts in vec(1_usize..30, 0..40),
        fulls in 0_u32..3,
    ) {
        let oversize = if skips { Oversize::Skip } else { Oversize::Close };
        let bytes = pieces.concat();
        let play = |cuts: &[usize], fulls| {
            let mut sink = Trial { fulls, ..Trial::new() };
            let (_, end) = converse(&mut codec(framing, oversize), &mut sink, &bytes, cuts);
            let records: Vec<_> = sink.records.into_iter().map(|record| record.payload).collect();
            (records, end, sink.events)
        };
        let whole = play(&[], 0);
        prop_assert_eq!(&play(&cuts, fulls), &whole);
        prop_assert_eq!(&play(&vec![1; bytes.len()], 0), &whole);
        if skips && framing != Framing::Octets {
            prop_assert_eq!(whole.0, plainly(framing, &bytes));
        }
    }

    #[test]
    fn counted_frames_come_back_as_they_were_counted(payloads in vec(vec(any::<u8>(), 1..17), 0..20)) {
        let framed = payloads.iter().map(|payload| {
            [format!("{} ", payload.len()).as_bytes(), payload].concat()
        });
        let bytes: Vec<u8> = framed.flatten().collect();
        let (records, end, events) = say(Framing::Octets, Oversize::Close, &bytes);
        prop_assert_eq!((records, end, events), (payloads, End::Input, vec![]));
    }
}

#[test]
fn a_long_line_in_small_pieces_is_looked_through_once() {
    let (mut codec, mut sink) = (codec(Framing::Lines, Oversize::Skip), Trial::new());
    let mut input = Vec::new();
    for piece in ["ab", "c", "def", "g"] {
        input.extend_from_slice(piece.as_bytes());
        let progress = codec.decode(&mut input.clone(), &mut sink, &mut Vec::new());
        assert_eq!((progress.consumed, codec.seen), (0, input.len()));
    }
    // Bytes that were looked at are not looked at again: this one would end the line.
    let mut changed = [&b"ab\n"[..], &input[3..], b"h\nijk"].concat();
    let progress = codec.decode(&mut changed, &mut sink, &mut Vec::new());
    assert_eq!((progress.consumed, codec.seen), (9, 3));
    assert_eq!(sink.records[0].payload, b"ab\ndefgh");
}

#[test]
fn where_credentials_are_asked_for_a_certificate_lets_its_client_write() {
    for (ring, introduced, records) in [(&b"a"[..], true, 1), (b"b", true, 0), (b"a", false, 0)] {
        let config = Config {
            ring: Trial::new().ring(ring).expect("it is there"),
            credentials: Some(Arc::new(OneCertificate)),
            ..(*codec(Framing::Lines, Oversize::Skip).config).clone()
        };
        let (mut codec, mut sink) = (Lines::new(Arc::new(config)), Trial::new());
        if introduced {
            codec.introduce(certificate());
        }
        converse(&mut codec, &mut sink, b"x\n", &[]);
        assert_eq!(sink.records.len(), records);
    }
}
