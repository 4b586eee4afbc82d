//! Writes the seed corpora, the same bytes every time: `cargo run --bin seeds [DIRECTORY]`, by
//! default `corpus` beside this package.
//!
//! Inputs are read front to back (`input.rs`), so a seed is a list of bytes: the shape of a ring,
//! what is pushed, the page, the changes, then one byte per call. Each seed is named after what it
//! reaches.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A ring of `4 << size` granules, its pushes as (length, what) and its page; `flags` as in
/// `Image::take`.
fn image(flags: u8, size: u8, position: u8, pushes: &[(u8, u8)], page: [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![flags, size, 0, 0, 7, position, u8::try_from(pushes.len()).unwrap_or(31)];
    bytes.extend(pushes.iter().flat_map(|&(len, what)| [len, what]));
    bytes.extend(page);
    bytes
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// What a linear congruential generator gives: dense inputs for everything that has no seed by
/// name.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let step = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(step).take(len).collect()
}

fn main() -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let root = std::env::args_os().nth(1).map_or(here, PathBuf::from);
    let write = |target: &str, name: &str, bytes: Vec<u8>| {
        fs::create_dir_all(root.join(target))?;
        fs::write(root.join(target).join(name), bytes)
    };

    let few: &[(u8, u8)] = &[(0, 0), (10, 1), (40, 2), (20, 3), (20, 4), (5, 7), (60, 8), (30, 12)];
    let lap: Vec<(u8, u8)> = (0..31).map(|i| (i * 5, i)).collect();
    let read = [200; 24];
    let mixed =
        [200, 200, 16, 200, 33, 1, 49, 1, 200, 65, 9, 82, 1, 0, 100, 5, 200, 200, 74, 200, 17, 200];

    for target in ["reader", "observer", "differential", "differential_observer"] {
        write(target, "whole", join(&[&[0], &image(0, 3, 0, few, [0, 0]), &read]))?;
        write(target, "in_place_or_latest", join(&[&[5], &image(8, 3, 0, few, [0, 0]), &read]))?;
        write(target, "closed", join(&[&[0], &image(8, 2, 3, few, [0, 0]), &read]))?;
        write(
            target,
            "lap_over_the_wrap",
            join(&[&[0], &image(0, 1, 140, &lap, [0, 0]), &mixed, &read]),
        )?;
        write(target, "behind_the_lap", join(&[&[0], &image(0, 1, 0, &lap, [1, 0]), &read]))?;
        write(target, "every_call", join(&[&[0], &image(4, 3, 0, few, [0, 0]), &mixed, &mixed]))?;
        // Changed: three forged records, a word, two flips; then again between the calls.
        let changes = [
            5, 0, 3, 0, 20, 1, 0, 0, 5, 4, 30, 2, 9, 1, 70, 9, 10, 3, 0, 2, 5, 1, 3, 200, 1, 255,
            3, 80, 2, 8, 3,
        ];
        write(target, "changed", join(&[&[0], &image(16, 3, 0, few, [0, 0]), &changes, &read]))?;
        write(target, "changing", join(&[&[0], &image(0, 3, 0, few, [0, 0]), &noise(3, 200)]))?;
        write(target, "header", join(&[&[0], &image(32, 3, 0, few, [0, 0]), &[12, 64, 4], &read]))?;
        write(target, "cut_short", join(&[&[0], &image(64, 3, 0, few, [0, 0]), &[0, 1], &read]))?;
        write(target, "page", join(&[&[0], &image(128, 3, 0, few, [0, 0]), &[17, 1, 0], &read]))?;
        write(target, "torn", join(&[&[3], &image(0, 3, 0, &lap, [0, 0]), &noise(5, 300)]))?;
    }

    // Every call of the differential targets, with the producer going on in between.
    let go_on = [50, 3, 20];
    let gating: &[u8] = &[
        95, 103, 110, 0, 3, 170, 255, 121, 125, 0, 9, 134, 5, 255, 140, 5, 70, 80, 6, 40, 8, 200,
        200,
    ];
    let observing: &[u8] = &[
        70, 85, 95, 0, 3, 170, 255, 192, 110, 120, 0, 9, 136, 5, 255, 200, 255, 199, 1, 7, 10, 1,
        7, 30, 200, 255, 0,
    ];
    for (target, calls) in [("differential", gating), ("differential_observer", observing)] {
        let rounds = [calls, &go_on].concat().repeat(6);
        write(target, "going_on", join(&[&[0], &image(0, 3, 0, few, [0, 0]), &rounds]))?;
        write(
            target,
            "going_on_over_the_wrap",
            join(&[&[4], &image(0, 2, 140, &lap, [0, 0]), &rounds]),
        )?;
        // Forged in place of the oldest record.
        let empty = [10, 0, 0, 0, 0, 0, 7];
        write(
            target,
            "empty_with_a_wrong_crc",
            join(&[&[0], &image(0, 3, 0, few, [0, 0]), &empty, calls, &empty, &rounds]),
        )?;
        write(
            target,
            "going_on_changed",
            join(&[&[1], &image(16, 3, 0, few, [0, 0]), &noise(9, 31), &rounds, &noise(13, 100)]),
        )?;
    }

    for (mode, name) in
        [(0, "tail"), (1, "longest"), (4, "gated"), (13, "gated_closed_longest"), (2, "numbered")]
    {
        let pushes = join(&[&[12], &noise(u32::from(mode) + 11, 40)]);
        write("recovery", name, join(&[&[0, 0, mode], &image(0, 2, 0, few, [0, 0]), &pushes]))?;
        write(
            "recovery",
            &format!("{name}_lap"),
            join(&[&[0, 0, mode], &image(8, 1, 140, &lap, [0, 0]), &pushes]),
        )?;
        let changed =
            join(&[&image(16, 3, 0, few, [0, 0]), &[3], &noise(u32::from(mode) + 29, 60)]);
        write("recovery", &format!("{name}_changed"), join(&[&[0, 0, mode], &changed]))?;
    }

    for (mode, name) in [(1, "core_dump"), (2, "journal"), (3, "ring")] {
        let before = if mode == 1 { noise(41, 46 + 56 * 3) } else { Vec::new() };
        let of = |image: &[u8], rest: &[u8]| join(&[&[mode], &before, image, rest]);
        write("inspect", name, of(&image(0, 3, 0, few, [0, 0]), &[]))?;
        write("inspect", &format!("{name}_lap"), of(&image(8, 1, 140, &lap, [0, 0]), &[]))?;
        let changed = join(&[&[3], &noise(u32::from(mode) + 29, 60)]);
        let changed = of(&image(16, 3, 0, few, [0, 0]), &changed);
        write("inspect", &format!("{name}_changed"), changed)?;
    }
    write("inspect", "any", join(&[&[0], &noise(17, 300)]))?;
    write(
        "inspect",
        "magics",
        join(&[&[0], b"AQUEDUCTAQDCURSRAQDJRNLSAQDJRNLC", &noise(19, 200)]),
    )?;

    let example = [
        [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01].as_slice(),
        &[2, 0, 0, 0, 0],
        &[
            0x10, 0, 0, 0, 1, 0, 7, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0x15, 0xcd, 0x85, 0x3d, 0xfe, 0x9c,
            0x97, 0x17,
        ],
        &[0xd7, 0xf6, 0xe3, 0x60, 0x6a, 0x47, 0x5e, 0x35],
        &[3, 0, 0, 0, 5, 1],
        b"123456789",
    ];
    write("record", "example_of_the_abi", example.concat())?;
    write("record", "any", noise(1, 64))?;
    write("record", "long_payload", noise(2, 400))?;

    let block = b"\x13\0\x02\0\x05\x03\0:path/v1\x01\0\0a\0\0\0\0\0\0\0\0\0\0\0\0\0";
    write("attributes", "example_of_the_abi", [&[5][..], b"hello", block].concat())?;
    write("attributes", "one_entry_too_many", [&[0, 19, 0, 3][..], &block[3..]].concat())?;
    write("attributes", "used_is_too_long", [&[0, 33][..], &block[1..]].concat())?;
    write(
        "attributes",
        "value_is_too_long",
        [&[0][..], &block[..5], b"\x0f", &block[6..]].concat(),
    )?;
    write("attributes", "name_is_empty", [&[0][..], &block[..4], b"\0", &block[5..]].concat())?;
    write("attributes", "none", [&[3][..], b"abc"].concat())?;
    write("attributes", "any", noise(4, 90))?;

    // Claim, write, commit, drop; subscribe, attach, read, sleep, lie.
    let shape = [2, 0, 0, 7, 0];
    let stream: Vec<u8> = (0..24)
        .flat_map(|i| [i * 2, 20, 70, 0, 0, i, 12, 120, 0, 0, i, 0, 0, 0, 0, 0, 0, 0, 0])
        .collect();
    let join_in = [160, 0, 168, 0, 0];
    let read_all: Vec<u8> = (0..8).flat_map(|_| [190, 0, 0, 255]).collect();
    write("shared", "one_after_another", join(&[&shape, &join_in, &stream]))?;
    write(
        "shared",
        "read_and_release",
        join(&[&shape, &join_in, &stream[..114], &read_all, &stream, &read_all]),
    )?;
    write(
        "shared",
        "sleep_and_wake",
        join(&[
            &shape,
            &join_in,
            &[232, 0, 0, 0],
            &stream[..19],
            &read_all,
            &[232, 0, 0, 1],
            &stream,
        ]),
    )?;
    write(
        "shared",
        "lie",
        join(&[&shape, &join_in, &stream[..57], &[240, 0, 0, 200, 1, 2, 3, 4], &stream]),
    )?;
    write(
        "shared",
        "many_in_flight",
        join(&[&shape, &join_in, &[0, 9, 0, 9, 0, 9, 0, 9, 152, 2, 0, 120, 1, 0], &noise(7, 200)]),
    )?;
    for seed in 0..4 {
        write("shared", &format!("noise_{seed}"), join(&[&shape, &noise(seed + 40, 300)]))?;
    }
    bodies_and_paths(&write)?;
    protocols(&write)
}

/// Bodies after their choices, and paths as the pieces of `targets/routes.rs`.
fn bodies_and_paths(write: Write<'_>) -> io::Result<()> {
    let json =
        br#"{"id":7,"a":[1.5e3,-0,null,true,"\u00e9\\\"\u0000"],"":{"n":18446744073709551615}}"#;
    write("conversions", "json", join(&[&[0, 0], json]))?;
    write("conversions", "json_to_little", join(&[&[0, 3], json]))?;
    write(
        "conversions",
        "numbers",
        join(&[&[0, 0], b"[0,-1,1e400,-9223372036854775808,1e-7,2E5]"]),
    )?;
    write("conversions", "deep", join(&[&[0, 0], &[b'['; 128], &[b']'; 128]]))?;
    write("conversions", "twice", join(&[&[0, 0], br#"{"a":1,"\u0061":2}"#]))?;
    let head = r#"<map xmlns="http://www.w3.org/2005/xpath-functions">"#;
    for (name, rest) in [
        ("xml", r#"<number key="a">1e2</number><null key="&lt;"/></map>"#),
        (
            "escaped",
            r#"<string escaped="true" escaped-key="true" key="\u0001">\/\u0041</string></map>"#,
        ),
        ("entities", "<string key='a'>&amp;&#x9;&#65;&nbsp;</string></map>"),
    ] {
        write("conversions", name, join(&[&[3, 0], head.as_bytes(), rest.as_bytes()]))?;
    }
    // {"a": [1, -1, 1.5 as half, h'00ff', 2^64 - 1], "b": indefinite text}
    let cbor = b"\xa2\x61a\x85\x01\x20\xf9\x3e\x00\x42\x00\xff\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x61b\x7f\x61x\x61y\xff";
    write("conversions", "cbor", join(&[&[2, 0, 1], cbor]))?;
    write("conversions", "cbor_below_64_bits", join(&[&[2, 0, 1], b"\x3b", &[0xff; 8]]))?;
    let packed = b"\x82\xa1a\x94\x01\xff\xca\x3f\xc0\x00\x00\xc4\x02\x00\xff\xa1b\xd9\x02xy";
    write("conversions", "messagepack", join(&[&[2, 0, 2], packed]))?;
    for (coding, name) in [(0, "gzip"), (1, "zstd"), (2, "snappy"), (3, "framed")] {
        let text = b"records, records and records";
        write("conversions", name, join(&[&[5, 0, 0, 2, coding, 9, 12, 0, 4], text]))?;
        write(
            "conversions",
            &format!("{name}_bomb"),
            join(&[&[5, 0, 0, 0, coding, 63, 0, 0, 0], &[0; 300]]),
        )?;
        write(
            "conversions",
            &format!("{name}_any"),
            join(&[&[4, 0, 0, 2, coding, 1, 1], &noise(9, 60)]),
        )?;
    }
    // Two routes, `/a/{x}` and `/a/b` for one host, then requests: a piece is its number.
    let routes = [1, 1, 4, 0, 8, 255, 64 | 3, 4, 0, 5, 255];
    let ask = |host: u8, path: &[u8]| join(&[&[0, host], path, &[255]]);
    write(
        "routes",
        "specific",
        join(&[
            &routes,
            &ask(1, &[4, 0, 5]),
            &ask(0, &[4, 0, 7]),
            &ask(5, &[4, 0, 5]),
            &ask(2, &[17, 1, 5]),
        ]),
    )?;
    write(
        "routes",
        "dots",
        join(&[
            &routes,
            &ask(0, &[4, 0, 14, 1, 5]),
            &ask(0, &[5, 0, 18, 15, 0, 4, 0, 24]),
            &ask(0, &[15]),
        ]),
    )?;
    write(
        "routes",
        "encoded",
        join(&[
            &routes,
            &ask(0, &[4, 0, 20]),
            &ask(0, &[4, 0, 25]),
            &ask(0, &[4, 0, 26]),
            &ask(0, &[27]),
        ]),
    )?;
    write(
        "routes",
        "clash",
        join(&[&[1, 1, 4, 0, 8, 255, 3, 17, 0, 9, 255], &ask(0, &[4, 0, 4])]),
    )?;
    write(
        "routes",
        "no_pattern",
        join(&[&[3, 1, 11, 255, 1, 13, 255, 1, 8, 9, 255, 1, 8, 0, 10, 255]]),
    )?;
    for seed in 0..3 {
        write("routes", &format!("noise_{seed}"), noise(seed + 60, 200))?;
    }
    Ok(())
}

/// Writes one seed of a target under a name.
type Write<'a> = &'a dyn Fn(&str, &str, Vec<u8>) -> io::Result<()>;

/// Streams for the codecs, after their choices: how often the ring is full, how many cuts, and the
/// cuts.
fn protocols(write: Write<'_>) -> io::Result<()> {
    let way: &[u8] = &[1, 6, 3, 40, 0, 17, 60, 2];
    let post = "POST /v1/rings/a/records HTTP/1.1\r\nhost: t\r\n";
    let chunks = "5;x=y\r\nhello\r\n7\r\n, world\r\n0\r\nt: x\r\n\r\n";
    for (name, stream) in [
        ("pipelined", format!("{post}content-length: 2\r\n\r\nhi").repeat(3)),
        ("chunked", format!("{post}transfer-encoding: chunked\r\n\r\n{chunks}").repeat(2)),
        ("http10", post.replace("1.1", "1.0") + "connection: keep-alive\r\n\r\n"),
        ("expects", format!("{post}expect: 100-continue\r\ncontent-length: 1\r\n\r\nx")),
        (
            "lines",
            format!(
                "{post}content-type: application/x-ndjson\r\ncontent-length: 7\r\n\r\n1\n2\r\n\n3"
            ),
        ),
        (
            "array",
            format!(
                "{post}content-type: application/vnd.aqueduct.records+json\r\naqueduct-type: 7\r\n\
                 content-length: 24\r\n\r\n[{{\"a\":[1,\"\\n\"]}}, null, -1e3]"
            ),
        ),
        (
            "counted",
            format!(
                "{post}content-type: application/vnd.aqueduct.records\r\ncontent-length: 8\r\n\r\n\
                 \x02\0\0\0\x07\0hi"
            ),
        ),
        ("pages", "GET /healthz HTTP/1.1\r\nhost: t\r\n\r\nHEAD / HTTP/1.1\r\n\r\n".to_owned()),
        ("two_lengths", format!("{post}content-length: 1\r\ncontent-length: 2\r\n\r\nxy")),
        ("both", format!("{post}content-length: 9\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")),
        ("preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        ("origin", format!("OPTIONS {}origin: https://good.example\r\n\r\n", &post[5..])),
    ] {
        write("http1", name, join(&[&[200, 1], way, stream.as_bytes()]))?;
    }
    let kept = format!("{post}X: 1\r\ntraceparent: t\r\nx:\t 2 \r\ncontent-length: 2\r\n\r\nhi");
    write("http1", "kept", join(&[&[200, 0b11_1111], way, kept.repeat(2).as_bytes()]))?;
    for (name, stream) in [
        ("xadd", &b"*5\r\n$4\r\nXADD\r\n$1\r\na\r\n$1\r\n*\r\n$4\r\ndata\r\n$2\r\nhi\r\n"[..]),
        (
            "fields",
            b"*9\r\n$4\r\nxadd\r\n$1\r\nb\r\n$1\r\n*\r\n$4\r\ntype\r\n$1\r\n7\r\n$5\r\ncrc32\r\n$10\r\n\
              0xcbf43926\r\n$7\r\npayload\r\n$9\r\n123456789\r\n",
        ),
        ("push", b"*4\r\n$5\r\nRPUSH\r\n$1\r\na\r\n$1\r\n1\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n"),
        ("publish", b"*0\r\n*3\r\n$7\r\nPUBLISH\r\n$1\r\nb\r\n$1\r\nx\r\n"),
        ("typed", b"PING\r\nECHO \"a\\x41\" 'b'\r\nXADD a * data hi\n"),
        ("hello", b"*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\nINFO\r\nCOMMAND DOCS\r\nQUIT\r\n"),
        ("unknown", b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nCLIENT ID\r\nXLEN a\r\n"),
        ("broken", b"*1\r\n$4\r\nPINGxx"),
        ("request", b"POST / HTTP/1.1\r\nhost: x\r\n\r\nXADD a * data hi\r\n"),
    ] {
        write("resp", name, join(&[way, stream]))?;
    }
    let three: &[u8] =
        b"\x30\x06\0\x03a/xm\x32\x08\0\x03b/y\0\x01m\xc0\0\x82\x06\0\x01\0\x01a\x01\xe0\0";
    let five: &[u8] = b"\x32\x12\0\x03a/x\0\x01\x09\x01\x01\x26\0\x01k\0\x01vm\xa2\x06\0\x02\0\0\x01a\xe0\x01\x04";
    let will = b"\x10\x19\0\x04MQTT\x05\x06\0\x0a\0\0\x01c\0\0\x03a/w\0\x03wil\xc0\0";
    for (name, head, stream) in [
        ("three", [1, 1], three),
        ("five", [0, 3], five),
        ("will", [1, 0], will),
        ("release", [1, 3], b"\x62\x02\0\x09\x34\x07\0\x01a\0\x01\0x"),
        ("older", [0, 0], b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x0a\0\x01c"),
        ("long", [1, 1], b"\x30\x83\x00\0\x01ax"),
    ] {
        write("mqtt", name, join(&[&head, way, stream]))?;
    }
    for (name, head, stream) in [
        ("lines", [0, 1], &b"one\ntwo\r\n\n\r\na line that is too long\nrest"[..]),
        ("nul", [1, 1], b"one\0\0t\nwo\0a frame that is too long\0x\0"),
        ("octets", [2, 1], b"3 one5 t\nwo\x0020 01234567890123456789"),
        ("closes", [0, 0], b"one\na line that is too long\ntwo\n"),
        ("no_count", [2, 0], b"3 one<34>1 host\n"),
    ] {
        write("lines", name, join(&[&head, way, stream]))?;
    }
    for (name, stream) in journals() {
        write("journal", name, stream)?;
    }
    Ok(())
}

/// Directories: see `targets::journal`.
fn journals() -> Vec<(&'static str, Vec<u8>)> {
    // Length of a record, what is done to it; after them: zeros, spoiled where.
    let records = |some: &[[u8; 2]]| {
        let count = [some.len() as u8];
        [&count[..], &some.concat(), &[2, 0]].concat()
    };
    let segment =
        |flags: u8, odd: u8, some: &[[u8; 2]]| [&[0, flags, odd, 0][..], &records(some)].concat();
    let three = [[5, 255], [40, 255], [0, 255]];
    let copy = |published: u8, at: u8| vec![3, published, 0, 1, at, 0, 0, 7, 0];
    let both = [copy(3, 1), copy(4, 2)].concat();
    let begin = [4, 0, 9];
    let two = [segment(0, 0, &three), segment(0, 0, &three)].concat();
    vec![
        ("two_segments", join(&[&begin, &[2], &two, &[1], &both, &[0, 9, 3]])),
        ("no_cursors", join(&[&begin, &[2], &two, &[0, 9, 3]])),
        ("past_32_bits", join(&[&[4, 1, 9], &[2], &two, &[1], &both, &[0, 9, 3]])),
        ("damaged_payload", {
            let damaged = segment(0, 0, &[[5, 255], [90, 50], [215, 60], [3, 1]]);
            join(&[&begin, &[2], &damaged, &segment(0, 0, &three), &[1], &both, &[0, 9, 3]])
        }),
        ("longer_header", {
            let longer = segment(0, 0, &[[5, 255], [90, 40], [0, 200], [3, 255]]);
            join(&[&begin, &[2], &longer, &segment(0, 0, &three), &[1], &both, &[0, 9, 3]])
        }),
        ("another_epoch", {
            let other = segment(7, 0, &three);
            join(&[&begin, &[2], &segment(0, 0, &three), &other, &[1], &both, &[0, 1, 3]])
        }),
        ("another_boot", join(&[&begin, &[1], &segment(24, 0, &three), &[1], &both, &[0, 9]])),
        ("a_gap", join(&[&begin, &[2], &segment(0, 0, &three), &segment(0, 0x42, &three), &[1]])),
        ("half_a_header", join(&[&begin, &[1], &segment(0xE0, 0, &three), &[77, 1], &both])),
    ]
}
