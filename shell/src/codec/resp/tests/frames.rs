//! Commands as bytes: what is one, and what ends the connection.

use super::super::reply;
use super::{array, codec, say};
use crate::codec::trial::{End, Trial};
use crate::codec::{Codec, Event, OUTPUT_BYTES_MAX, Reason, State, Wait};

/// Bytes that are no command, and what is said about them.
const BROKEN: &[(&str, &str)] = &[
    ("*x\r\n", "invalid multibulk length"),
    ("*+1\r\n", "invalid multibulk length"),
    ("*01\r\n", "invalid multibulk length"),
    ("*1 \r\n", "invalid multibulk length"),
    ("*1\rx", "invalid multibulk length"),
    ("*1048577\r\n", "invalid multibulk length"),
    ("*9223372036854775808\r\n", "invalid multibulk length"),
    ("*111111111111111111111111\r\n", "too big mbulk count string"),
    ("*1\r\n:1\r\n", "expected '$'"),
    ("*1\r\n\r\n", "expected '$'"),
    ("*2\r\n$4\r\nPING\r\n*1\r\n", "expected '$'"),
    ("*1\r\n$-1\r\n", "invalid bulk length"),
    ("*1\r\n$ 4\r\nPING\r\n", "invalid bulk length"),
    ("*1\r\n$4\nPING\r\n", "invalid bulk length"),
    ("*1\r\n$4\nPINGPINGPINGPINGPINGPING", "too big bulk count string"),
    ("*1\r\n$\r\nPINGPINGPING\r\n", "invalid bulk length"),
    ("*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
    ("*1\r\n$004\r\nPING\r\n", "invalid bulk length"),
    ("*1\r\n$5000\r\n", "the command is too large"),
    ("*1\r\n$9223372036854775807\r\n", "the command is too large"),
    ("*1\r\n$4\r\nPINGxx", "expected CR LF after a bulk string"),
    ("*1\r\n$4\r\nPING\n\r", "expected CR LF after a bulk string"),
    ("ECHO \"a\r\n", "unbalanced quotes in request"),
    ("ECHO 'a'b\r\n", "unbalanced quotes in request"),
    ("ECHO a\0b\r\n", "a NUL in an inline request"),
];

#[test]
fn what_is_no_command_is_told_so_and_ends_the_connection() {
    for (bytes, detail) in BROKEN {
        let heard = say(["PING\r\n", bytes, &"X".repeat(30)].concat());
        let expected = format!("+PONG\r\n-ERR Protocol error: {detail}\r\n");
        assert_eq!((&*heard.replies, heard.end), (&*expected, End::Closed), "{bytes:?}");
        assert_eq!(heard.sink.events, [Event::ProtocolError], "{bytes:?}");
    }
    let heard = say("x".repeat(5000));
    assert_eq!(heard.replies, "-ERR Protocol error: too big inline request\r\n");
}

#[test]
fn a_command_may_have_as_many_arguments_as_redis_takes() {
    assert_eq!(say("*1048576\r\n").replies, "");
    assert_eq!(say("*1048577\r\n").replies, "-ERR Protocol error: invalid multibulk length\r\n");
}

#[test]
fn empty_commands_are_not_answered() {
    let heard = say("\r\n\n*0\r\n*-1\r\n  \r\n*-7\r\nPING\r\n");
    assert_eq!((&*heard.replies, heard.end), ("+PONG\r\n", End::Input));
}

#[test]
fn a_typed_command_means_what_redis_takes_it_for() {
    for (line, echoed) in [
        ("  echo \t a  \r\n", "a"),
        ("echo \"\"\n", ""),
        (r#"echo "a\x41\n\t\"\\""#, "aA\n\t\"\\"),
        (r"echo 'a\'b\n'", "a'b\\n"),
        (r#"echo a"b c""#, "ab c"),
        (r"echo a'b c'", "ab c"),
        (r#"echo "a" "#, "a"),
        (r#"echo "\xzz\x4z""#, "xzzx4z"),
        (r"echo a\n", "a\\n"),
    ] {
        let heard = say(format!("{line}\n"));
        assert_eq!(heard.replies, format!("${}\r\n{echoed}\r\n", echoed.len()), "{line}");
    }
}

#[test]
fn a_large_command_says_how_much_of_it_is_missing() {
    let command = array(&["ECHO", &"x".repeat(2000)]);
    let (mut codec, mut sink, mut out) = (codec(), Trial::new(), Vec::new());
    for (cut, need, wait) in [
        (0, 1, Wait::First),
        (5, 6, Wait::Body),
        (30, command.len(), Wait::Body),
        (command.len() - 1, command.len(), Wait::Body),
    ] {
        let progress = codec.decode(&mut command[..cut].to_vec(), &mut sink, &mut out);
        assert_eq!((progress.consumed, progress.state), (0, State::More { need, wait }), "{cut}");
    }
    let progress = codec.decode(&mut command.clone(), &mut sink, &mut out);
    assert_eq!(progress.state, State::More { need: 1, wait: Wait::Idle });
    assert_eq!((progress.consumed, progress.messages), (command.len(), 1));
}

#[test]
fn half_a_command_is_counted_when_its_peer_leaves_or_is_late() {
    let count = |reason| [Event::Rejected { ring: None, reason, records: 1 }];
    let heard = say("PING\r\n*1\r\n$4\r\nPI");
    assert_eq!((&*heard.replies, heard.end), ("+PONG\r\n", End::Input));
    assert_eq!(heard.sink.events, count(Reason::Disconnected));
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    codec().timed_out(b"*1\r\n", &mut sink, &mut out);
    assert_eq!(sink.events, count(Reason::Timeout));
    assert!(out.starts_with(b"-ERR "), "{out:?}");
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    codec().timed_out(b"", &mut sink, &mut out);
    assert!(sink.events.is_empty() && out.is_empty(), "an idle connection just ends");
}

#[test]
fn a_typed_command_asks_for_one_byte_more() {
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let progress = codec().decode(&mut b"PIN".to_vec(), &mut sink, &mut out);
    assert_eq!(progress.state, State::More { need: 4, wait: Wait::Body });
}

#[test]
fn lengths_of_one_to_four_digits_are_read() {
    for length in [0, 1, 9, 10, 99, 100, 999, 1000, 1234] {
        let arg = "x".repeat(length);
        let heard = say(array(&["ECHO", &arg]));
        assert_eq!(heard.replies, format!("${length}\r\n{arg}\r\n"));
    }
}

#[test]
fn replies_that_nobody_reads_stop_the_decoding_until_they_are_sent() {
    let pings = "PING\r\n".repeat(2 * OUTPUT_BYTES_MAX / 7);
    let heard = say(&pings);
    assert_eq!(heard.replies.len(), 2 * OUTPUT_BYTES_MAX / 7 * 7);
    // A client that has sent everything is not answered before the loop would.
    let mut pings = "PING\r\n".repeat(OUTPUT_BYTES_MAX / 7 + 1).into_bytes();
    let (mut sink, mut out) = (Trial::new(), Vec::new());
    let progress = codec().decode(&mut pings, &mut sink, &mut out);
    assert!(out.len() >= OUTPUT_BYTES_MAX);
    assert_eq!(progress.state, State::More { need: 1, wait: Wait::Idle });
}

#[test]
fn what_would_break_the_line_of_an_error_is_replaced() {
    let mut out = Vec::new();
    reply::error(&mut out, &["ERR a\r\n", "\x7f\0 b~"]);
    assert_eq!(out, b"-ERR a???? b~\r\n");
}
