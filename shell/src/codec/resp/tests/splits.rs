//! Properties: cuts do not matter, and another implementation finds the same commands.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use redis_protocol::resp2::decode::decode;
use redis_protocol::resp2::types::OwnedFrame;

use super::{array, codec};
use crate::codec::resp::frame::{Scan, Scanner};
use crate::codec::trial::{Trial, converse};

const WORDS: &[&str] = &[
    "XADD",
    "RPUSH",
    "PUBLISH",
    "PING",
    "ECHO",
    "INFO",
    "a",
    "b",
    "*",
    "data",
    "x",
    "type",
    "7",
    "crc32",
    "0x8cdc1683",
    "QUIT",
    "",
    "a\r\nb",
];

fn command() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(select(WORDS), 1..8).prop_map(|words| array(&words)),
        4 => Just(array(&["XADD", "a", "*", "data", "x"])),
        2 => select(&["PING\r\n", "\r\n", "*0\r\n", "ECHO \"a b\"\n", "XADD a * data x\r\n"][..])
            .prop_map(|line| line.as_bytes().to_vec()),
        1 => Just(array(&["ECHO", &"x".repeat(4000)])),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_same_records_and_replies(
        commands in vec(command(), 1..8),
        damage in proptest::option::of((any::<Index>(), any::<u8>())),
        cuts in vec(1_usize..40, 0..40),
        fulls in 0_u32..3,
    ) {
        let mut bytes = commands.concat();
        if let Some((index, byte)) = damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let play = |cuts: &[usize], fulls| {
            let mut sink = Trial { fulls, ..Trial::new() };
            let (replies, end) = converse(&mut codec(), &mut sink, &bytes, cuts);
            (String::from_utf8_lossy(&replies).into_owned(), end, sink.records, sink.events)
        };
        let whole = play(&[], 0);
        prop_assert_eq!(&play(&cuts, fulls), &whole);
        prop_assert_eq!(&play(&vec![1; bytes.len()], 0), &whole);
    }

    /// Where we find a command, the crate `redis-protocol` finds the same arguments in as many
    /// bytes; where it finds an array of bulk strings, so do we, unless a length is written in a
    /// way that Redis refuses.
    #[test]
    fn another_implementation_finds_the_same_commands(
        command in command(),
        damage in vec((any::<Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = command;
        prop_assume!(bytes.first() == Some(&b'*'));
        for (index, byte) in damage {
            let at = 1 + index.index(bytes.len() - 1);
            bytes[at] = byte;
        }
        let ours = match Scanner::default().scan(&bytes, 4096) {
            Ok(Scan::Command { bytes, args }) => {
                Some((args.map(<[u8]>::to_vec).collect::<Vec<_>>(), bytes))
            }
            _ => None,
        };
        let theirs = match decode(&bytes) {
            Ok(Some((OwnedFrame::Array(frames), used))) if !frames.is_empty() => {
                let args: Option<Vec<Vec<u8>>> = frames
                    .into_iter()
                    .map(|frame| if let OwnedFrame::BulkString(arg) = frame { Some(arg) } else { None })
                    .collect();
                args.map(|args| (args, used))
            }
            _ => None,
        };
        match (ours, theirs) {
            (Some(ours), theirs) => prop_assert_eq!(Some(ours), theirs),
            (None, Some((args, used))) => {
                prop_assert_ne!(array(&args), &bytes[..used], "a canonical command is taken");
            }
            (None, None) => {}
        }
    }
}
