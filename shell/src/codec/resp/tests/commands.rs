//! Each command and its reply.

use std::sync::Arc;

use super::super::{Config, Resp};
use super::{array, codec, codec_with, say, say_to, say_with};
use crate::codec::trial::{
    EPOCH, End, Kept, OneCertificate, OneCredential, Trial, certificate, converse,
};
use crate::codec::{Access, Codec, Event, Keep, Login, Reason, RingId};
use crate::middleware::credentials::Credentials;

/// Commands as lines, and the replies to them.
const REPLIES: &[(&str, &str)] = &[
    ("ping", "+PONG\r\n"),
    ("PING hello", "$5\r\nhello\r\n"),
    ("PING a b", "-ERR wrong number of arguments for 'ping' command\r\n"),
    ("ECHO 'a b'", "$3\r\na b\r\n"),
    ("ECHO", "-ERR wrong number of arguments for 'echo' command\r\n"),
    ("SELECT 0", "+OK\r\n"),
    ("SELECT 1", "-ERR DB index is out of range\r\n"),
    ("CLIENT ID", ":42\r\n"),
    ("client setname x", "+OK\r\n"),
    ("CLIENT SETINFO lib-name redis-py", "+OK\r\n"),
    ("CLIENT SETINFO lib-name", "-ERR wrong number of arguments for 'client|setinfo' command\r\n"),
    ("CLIENT KILL x", "-ERR unknown subcommand 'KILL' of CLIENT\r\n"),
    ("CLIENT LIST", "-ERR unknown subcommand 'LIST' of CLIENT\r\n"),
    ("CLIENT NO-EVICT ON now", "-ERR unknown subcommand 'NO-EVICT' of CLIENT\r\n"),
    ("CLIENT PAUSE 1", "-ERR unknown subcommand 'PAUSE' of CLIENT\r\n"),
    ("CLIENT TRACKING ON BCAST", "-ERR unknown subcommand 'TRACKING' of CLIENT\r\n"),
    ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n"),
    ("CLIENT SETNAME", "-ERR wrong number of arguments for 'client|setname' command\r\n"),
    ("COMMAND", "*0\r\n"),
    ("COMMAND DOCS", "*0\r\n"),
    ("COMMAND COUNT", ":0\r\n"),
    ("HELLO 4", "-NOPROTO unsupported protocol version\r\n"),
    ("HELLO 2 SETNAME", "-ERR Syntax error in HELLO option\r\n"),
    ("AUTH x", "-ERR AUTH called though no credentials are configured\r\n"),
    ("GET a", "-ERR unknown command 'GET'\r\n"),
    ("SUBSCRIBE a", "-ERR unknown command 'SUBSCRIBE'\r\n"),
    ("\"a\\r\\n+OK\\x80\"", "-ERR unknown command 'a??+OK?'\r\n"),
    ("XLEN a", ":0\r\n"),
    ("XLEN c", "-ERR there is no ring 'c'\r\n"),
    ("XADD a * data", "-ERR wrong number of arguments for 'xadd' command\r\n"),
    ("XADD a", "-ERR wrong number of arguments for 'xadd' command\r\n"),
    ("XADD a *", "-ERR the field data is missing\r\n"),
    ("XADD a 1-1 data x", "-ERR the id of a record is given by the ring: use *\r\n"),
    (
        "XADD a MAXLEN ~ 100 * data x",
        "-ERR a ring bounds itself: MAXLEN and MINID are not supported\r\n",
    ),
    ("XADD a * data x id ''", "-ERR an id has 1 to 255 bytes\r\n"),
    ("XADD c * data x", "-ERR there is no ring 'c'\r\n"),
    ("XADD a * Data x", "-ERR unknown field 'Data': a record has data, type, crc32, id\r\n"),
    ("XADD a * data x payload y", "-ERR a field is there twice\r\n"),
    ("XADD a * data x type 65536", "-ERR type must be one decimal number from 0 to 65535\r\n"),
    (
        "XADD a * data 123456789 crc32 0xcbf43927",
        "-ERR crc32 is 0xcbf43927, but the data has 0xcbf43926\r\n",
    ),
    (
        "XADD a * data x crc32 0x",
        "-ERR crc32 must be a number of 32 bits: decimal, or hexadecimal after 0x\r\n",
    ),
    (
        "XADD a * data x crc32 0x0cbf43926",
        "-ERR crc32 must be a number of 32 bits: decimal, or hexadecimal after 0x\r\n",
    ),
    (
        "XADD a * data x crc32 0xzz",
        "-ERR crc32 must be a number of 32 bits: decimal, or hexadecimal after 0x\r\n",
    ),
    (
        "XADD a * data x crc32 4294967296",
        "-ERR crc32 must be a number of 32 bits: decimal, or hexadecimal after 0x\r\n",
    ),
    (
        "XADD b * data 12345678901234567",
        "-ERR a record of ring 'b' has at most 16 bytes, and all of a command fit into the ring\r\n",
    ),
    ("RPUSH a", "-ERR wrong number of arguments for 'rpush' command\r\n"),
    ("PUBLISH a", "-ERR wrong number of arguments for 'publish' command\r\n"),
    ("PUBLISH c x", "-ERR there is no ring 'c'\r\n"),
];

#[test]
fn every_command_has_its_reply() {
    for (command, reply) in REPLIES {
        let heard = say(format!("{command}\r\nPING after\r\n"));
        assert_eq!(heard.replies, format!("{reply}$5\r\nafter\r\n"), "{command}");
        assert!(heard.sink.records.is_empty(), "{command}");
        assert_eq!(heard.end, End::Input, "{command}");
    }
}

#[test]
fn a_record_whose_id_is_not_left_to_the_ring_is_counted_as_refused() {
    for id in ["1-1", "0-*", "MAXLEN", "minid"] {
        let heard = say(array(&["XADD", "a", id, "data", "x"]));
        let (ring, reason) = (Some(RingId(0)), Reason::Malformed);
        assert_eq!(heard.sink.events, [Event::Rejected { ring, reason, records: 1 }], "{id}");
    }
}

#[test]
fn xadd_publishes_a_record_and_answers_its_id() {
    for (fields, type_tag, payload) in [
        (&["data", "x"][..], 0, &b"x"[..]),
        (&["payload", ""], 0, b""),
        (&["type", "65535", "data", "a\r\nb"], 65_535, b"a\r\nb"),
        (&["data", "123456789", "crc32", "3421780262"], 0, b"123456789"),
        (&["crc32", "0xCBF43926", "type", "7", "data", "123456789"], 7, b"123456789"),
    ] {
        let command = [&["XADD", "a", "*"][..], fields].concat();
        let heard =
            say([array(&["xadd", "a", "nomkstream", "*", "data", "0"]), array(&command)].concat());
        let id = |seq| format!("{EPOCH}-{seq}");
        let expected = format!("$19\r\n{}\r\n$19\r\n{}\r\n", id(0), id(1));
        assert_eq!(heard.replies, expected, "{fields:?}");
        let kept = Kept { ring: 0, type_tag, payload: payload.to_vec() };
        assert_eq!(heard.sink.records[1], kept, "{fields:?}");
    }
}

#[test]
fn lists_and_channels_bring_records_of_type_0_in_the_given_order() {
    let heard = say("RPUSH a 1\r\nLPUSH a 2 3\r\nPUBLISH a 4\r\nPUBLISH b 5\r\nXLEN a\r\n");
    assert_eq!(heard.replies, ":1\r\n:3\r\n:1\r\n:1\r\n:4\r\n");
    assert_eq!(heard.payloads(), [b"1", b"2", b"3", b"4", b"5"]);
    assert!(heard.sink.records.iter().all(|record| record.type_tag == 0));
    assert_eq!(heard.sink.records[4].ring, 1);
}

#[test]
fn values_of_one_push_are_taken_together_or_not_at_all() {
    let heard = say(array(&["RPUSH", "b", "1", "2", "12345678901234567"]));
    assert!(heard.replies.starts_with("-ERR a record of ring 'b'"), "{}", heard.replies);
    assert!(heard.sink.records.is_empty());
    let rejected = Event::Rejected { ring: Some(RingId(1)), reason: Reason::TooLarge, records: 3 };
    assert_eq!(heard.sink.events, [rejected]);
    let many = vec!["x"; 300];
    let heard = say(array(&[&["RPUSH", "a"][..], &many].concat()));
    assert!(heard.replies.starts_with("-ERR "), "more than the ring holds: {}", heard.replies);
    let heard = say_to(Trial { fulls: 2, ..Trial::new() }, array(&["RPUSH", "a", "1", "2"]));
    assert_eq!((&*heard.replies, heard.payloads().len()), (":2\r\n", 2));
}

#[test]
fn a_ring_that_stays_full_is_busy_for_each_command_alone() {
    let sink = Trial { refusal: Some(Reason::Full), ..Trial::new() };
    let heard = say_to(sink, "PING\r\nRPUSH a 1 2\r\nXADD a * data x\r\nPING\r\n");
    let busy = "-BUSY ring 'a' stayed full: its readers have not released enough\r\n";
    assert_eq!(heard.replies, format!("+PONG\r\n{busy}{busy}+PONG\r\n"));
    let rejected =
        |records| Event::Rejected { ring: Some(RingId(0)), reason: Reason::Full, records };
    assert_eq!(heard.sink.events, [rejected(2), rejected(1)]);
}

#[test]
fn a_ring_whose_journal_has_no_space_says_so() {
    let refusal = Some(Reason::Full);
    let sink = Trial { refusal, is_out_of_space: true, ..Trial::new() };
    let heard = say_to(sink, "RPUSH a 1\r\n");
    let busy = "-BUSY ring 'a' takes nothing: there is no space for its journal\r\n";
    assert_eq!(heard.replies, busy);
}

#[test]
fn a_certificate_lets_its_client_in() {
    for (introduced, reply) in [(true, ":1\r\n"), (false, "-NOAUTH Authentication required.\r\n")] {
        let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(OneCertificate));
        let config = Config { max_command_bytes: 4096, keep: Keep::default(), credentials };
        let mut codec = Resp::new(Arc::new(config), 42);
        if introduced {
            codec.introduce(certificate());
        }
        let (replies, _) = converse(&mut codec, &mut Trial::new(), b"RPUSH a 1\r\n", &[]);
        assert_eq!(String::from_utf8_lossy(&replies), reply);
    }
}

fn known(is_slow: bool) -> OneCredential {
    let rings = Some(vec!["a".to_owned()]);
    OneCredential { name: "default", secret: "s", rings, is_slow }
}

#[test]
fn without_credentials_nothing_but_them_is_listened_to() {
    // Whether they are known at once or a worker finds out.
    for is_slow in [false, true] {
        let heard = say_with(known(is_slow), "PING\r\nXADD a * data x\r\nXLEN a\r\nHELLO 2\r\n");
        assert_eq!(heard.replies.matches("-NOAUTH ").count(), 4, "{}", heard.replies);
        assert!(heard.sink.records.is_empty());
        let heard =
            say_with(known(is_slow), "AUTH wrong\r\nAUTH other s\r\nPING\r\nAUTH s\r\nPING\r\n");
        let wrong = "-WRONGPASS invalid username-password pair\r\n";
        let expected =
            format!("{wrong}{wrong}-NOAUTH Authentication required.\r\n+OK\r\n+PONG\r\n");
        assert_eq!(heard.replies, expected);
        let login = "HELLO 2 AUTH default s SETNAME x\r\nXADD a * data x\r\n";
        let heard = say_with(known(is_slow), login);
        assert_eq!(heard.sink.records.len(), 1, "{}", heard.replies);
    }
}

#[test]
fn a_reload_that_takes_credentials_away_is_felt_by_the_next_command() {
    let config = |secret, rings: Option<&str>| {
        let rings = rings.map(|ring| vec![ring.to_owned()]);
        let known = OneCredential { name: "default", secret, rings, is_slow: false };
        let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(known));
        Arc::new(Config { max_command_bytes: 4096, keep: Keep::default(), credentials })
    };
    let mut codec = Resp::new(config("s", None), 42);
    let mut sink = Trial::new();
    let mut say = |codec: &mut Resp, bytes: &str| {
        let (mut out, mut bytes) = (Vec::new(), bytes.as_bytes().to_vec());
        let _ = codec.decode(&mut bytes, &mut sink, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    assert_eq!(say(&mut codec, "AUTH s\r\nPUBLISH b x\r\n"), "+OK\r\n:1\r\n");
    // The same proof for other rings, then another proof.
    codec.follow(&config("s", Some("a")));
    let heard = say(&mut codec, "PUBLISH b x\r\nPUBLISH a x\r\n");
    assert!(heard.starts_with("-NOPERM") && heard.ends_with(":1\r\n"), "{heard}");
    codec.follow(&config("other", None));
    assert!(say(&mut codec, "PUBLISH a x\r\n").starts_with("-NOAUTH"));
    assert!(say(&mut codec, "AUTH s\r\n").starts_with("-WRONGPASS"));
    assert_eq!(say(&mut codec, "AUTH other\r\nPUBLISH a x\r\n"), "+OK\r\n:1\r\n");
    assert_eq!(sink.records.len(), 3);
}

#[test]
fn what_a_worker_found_by_old_credentials_lets_nobody_in() {
    let known = |secret, is_slow| -> Option<Arc<dyn Credentials>> {
        Some(Arc::new(OneCredential { name: "default", secret, rings: None, is_slow }))
    };
    let (before, after) = (known("s", true), known("other", true));
    let mut login = Login::default();
    assert_eq!(login.ask(before.as_ref(), b"default", b"s"), Access::Away);
    login.take_job().expect("work for somebody").run();
    login.follow(after.as_ref());
    assert_eq!(login.ask(after.as_ref(), b"default", b"s"), Access::Denied);
    assert!(!login.is_in(after.as_ref()));
}

#[test]
fn credentials_are_good_for_their_rings_only() {
    let heard = say_with(
        known(false),
        "AUTH s\r\nPUBLISH a x\r\nPUBLISH b x\r\nRPUSH b 1 2 3\r\nXADD b * data x\r\nXLEN b\r\n",
    );
    let denied = "-NOPERM these credentials may not write to this ring\r\n";
    assert_eq!(heard.replies, format!("+OK\r\n:1\r\n{denied}{denied}{denied}:0\r\n"));
    assert_eq!(heard.sink.records.len(), 1);
    let rejected =
        |records| Event::Rejected { ring: Some(RingId(1)), reason: Reason::Denied, records };
    assert_eq!(heard.sink.events, [rejected(1), rejected(3), rejected(1)]);
}

#[test]
fn hello_and_info_say_what_clients_look_for() {
    for hello in ["HELLO", "HELLO 2"] {
        let heard = say(format!("{hello}\r\n"));
        assert!(heard.replies.starts_with("*14\r\n$6\r\nserver\r\n"), "{}", heard.replies);
        assert!(heard.replies.contains("$5\r\nproto\r\n:2\r\n"), "{}", heard.replies);
        assert!(heard.replies.ends_with("$7\r\nmodules\r\n*0\r\n"), "{}", heard.replies);
    }
    for hello in ["HELLO 3", "HELLO 3\r\nHELLO"] {
        let heard = say(format!("{hello}\r\nXADD a * data x\r\n"));
        assert!(heard.replies.starts_with("%7\r\n$6\r\nserver\r\n"), "{}", heard.replies);
        assert!(heard.replies.contains("$5\r\nproto\r\n:3\r\n"), "{}", heard.replies);
        assert!(!heard.replies.contains("*14"), "it stays so: {}", heard.replies);
        assert_eq!(heard.sink.records.len(), 1);
    }
    let heard = say("INFO server\r\n");
    assert!(heard.replies.contains("redis_version:7.0.0\r\n"), "{}", heard.replies);
}

#[test]
fn quit_is_answered_and_ends_the_connection() {
    let heard = say("QUIT\r\nXADD a * data x\r\n");
    assert_eq!((&*heard.replies, heard.end), ("+OK\r\n", End::Closed));
    assert!(heard.sink.records.is_empty());
}

#[test]
fn a_browser_cannot_smuggle_commands_in_a_request() {
    let request = "POST / HTTP/1.1\r\nHost: x\r\n\r\nXADD a * data x\r\n";
    let heard = say(request);
    assert_eq!((&*heard.replies, heard.end), ("", End::Closed));
    assert!(heard.sink.records.is_empty());
    assert_eq!(heard.sink.events, [Event::ProtocolError]);
    let heard = say("GET / HTTP/1.1\r\nhost: x\r\n\r\nXADD a * data x\r\n");
    assert!(heard.sink.records.is_empty() && heard.end == End::Closed, "{}", heard.replies);
}

#[test]
fn a_process_that_ends_answers_once_more() {
    let sink = Trial { is_ending: true, refusal: Some(Reason::ShuttingDown), ..Trial::new() };
    let heard = say_to(sink, "XADD a * data x\r\nPING\r\n");
    assert_eq!((&*heard.replies, heard.end), ("-ERR shutting down\r\n", End::Closed));
}

#[test]
fn an_entry_that_is_sent_again_with_its_id_is_answered_as_the_first() {
    let lines = [
        "XADD a * data x id k\r\n",
        "XADD a * data x id k\r\n",
        "XADD a * data y id k\r\n",
        "XADD a * data x id k type 1\r\n",
        "XADD a * data x\r\n",
    ];
    let heard = say(lines.concat());
    let id = |seq: u64| {
        let id = format!("{EPOCH}-{seq}");
        format!("${}\r\n{id}\r\n", id.len())
    };
    let other = "-ERR this id came before with another record\r\n";
    let expected = [id(0), id(0), other.to_owned(), other.to_owned(), id(1)].concat();
    assert_eq!(heard.replies, expected);
    assert_eq!(heard.sink.records.len(), 2);
}

#[test]
fn an_id_of_one_credential_is_not_that_of_another() {
    let mut sink = Trial::new();
    let mut say_as = |name: &'static str, data: &str| {
        let known = OneCredential { name, secret: "s", rings: None, is_slow: false };
        let (mut codec, line) = (codec_with(known), format!("XADD a * data {data} id k\r\n"));
        let said = format!("AUTH {name} s\r\n{line}");
        let (replies, _) = converse(&mut codec, &mut sink, said.as_bytes(), &[]);
        String::from_utf8_lossy(&replies).into_owned()
    };
    let taken = |seq: u64| {
        let id = format!("{EPOCH}-{seq}");
        format!("+OK\r\n${}\r\n{id}\r\n", id.len())
    };
    // Neither another record, which would be a conflict, nor the same, which would be lost.
    assert_eq!(say_as("ann", "x"), taken(0));
    assert_eq!(say_as("bob", "y"), taken(1));
    assert_eq!(say_as("eve", "x"), taken(2));
    // It is ann's from whatever connection she sends it.
    assert_eq!(say_as("ann", "x"), taken(0));
    assert_eq!(sink.records.len(), 3);
}

#[test]
fn records_and_ids_of_the_largest_size_are_taken() {
    let record = "x".repeat(16);
    let heard = say([array(&["PUBLISH", "b", &record]), array(&["RPUSH", "b", &record])].concat());
    assert_eq!(heard.replies, ":1\r\n:2\r\n");
    let with_id = |bytes| array(&["XADD", "a", "*", "data", "x", "id", &"i".repeat(bytes)]);
    let heard = say([with_id(255), with_id(256)].concat());
    assert_eq!(heard.sink.records.len(), 1);
    assert!(heard.replies.ends_with("-ERR an id has 1 to 255 bytes\r\n"), "{}", heard.replies);
}

#[test]
fn what_is_kept_of_the_peer_counts_against_the_largest_record() {
    let keep = Keep::new(vec![":peer".to_owned()]);
    let config = Config { max_command_bytes: 4096, keep, credentials: None };
    let mut codec = Resp::of_peer(Arc::new(config), 1, "192.0.2.1:4711");
    let mut sink = Trial::new();
    let fits = "x".repeat(900);
    let large = "x".repeat(990);
    let said = [
        array(&["PUBLISH", "a", &fits]),
        array(&["PUBLISH", "a", &large]),
        array(&["RPUSH", "a", &large, "y"]),
        array(&["RPUSH", "a", "y", &fits]),
    ];
    let (replies, _) = converse(&mut codec, &mut sink, &said.concat(), &[]);
    assert_eq!(String::from_utf8_lossy(&replies).matches("-ERR a record of ring 'a'").count(), 2);
    assert_eq!(sink.records.len(), 3);
}

#[test]
fn a_connection_follows_the_credentials_of_its_address() {
    let mut codec = codec();
    let mut sink = Trial::new();
    let (replies, _) = converse(&mut codec, &mut sink, b"PING\r\n", &[]);
    assert_eq!(replies, b"+PONG\r\n");
    let credentials: Option<Arc<dyn Credentials>> = Some(Arc::new(known(false)));
    let config = Config { max_command_bytes: 4096, keep: Keep::default(), credentials };
    codec.follow(&Arc::new(config));
    let (replies, _) = converse(&mut codec, &mut sink, b"PING\r\n", &[]);
    assert_eq!(replies, b"-NOAUTH Authentication required.\r\n");
}

#[test]
fn a_name_in_hello_is_taken_and_forgotten() {
    let heard = say("HELLO 2 SETNAME me\r\n");
    assert!(heard.replies.starts_with("*14\r\n"), "{}", heard.replies);
}

#[test]
fn only_commands_are_counted_as_messages() {
    let mut input = b"PING\r\n\r\n*0\r\nPING\r\nQUIT\r\n".to_vec();
    let progress = codec().decode(&mut input, &mut Trial::new(), &mut Vec::new());
    assert_eq!((progress.consumed, progress.messages), (input.len(), 3));
    assert!(codec().gives_up_when_full());
    let progress = codec().decode(&mut b"*x\r\n".to_vec(), &mut Trial::new(), &mut Vec::new());
    assert_eq!((progress.consumed, progress.messages), (0, 0));
}
