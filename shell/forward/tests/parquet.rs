//! Parquet files: what other readers find in them, and that each record is there once, whatever
//! kills the process.
//!
//! `KILLS=200` makes it a campaign; 5 by default. `SEED` repeats one.
#![cfg(feature = "parquet")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/disk.rs"]
mod disk;
#[path = "common/tools.rs"]
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;

use common::{Forward, Listener, Random, Scratch, eventually};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Paths of all files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// How often each payload is in the files of a directory, all of which must be whole.
fn counted(directory: &Path) -> BTreeMap<u64, usize> {
    let mut counted = BTreeMap::new();
    for path in
        files(directory).iter().filter(|path| path.extension().is_some_and(|it| it == "parquet"))
    {
        let file = SerializedFileReader::new(fs::File::open(path).expect("it is there"));
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for row in file.get_row_iter(None).expect("rows") {
            let row = row.expect("whole");
            let payload = row.get_bytes(4).expect("the payload").data().to_vec();
            let number = String::from_utf8(payload).expect("digits").parse().expect("a number");
            *counted.entry(number).or_default() += 1;
        }
    }
    counted
}

#[test]
fn garbage_among_the_records_of_a_batch_does_not_make_its_files_small() {
    let scratch = Scratch::new("garbage");
    let lake = scratch.join("lake");
    fs::create_dir(&lake).expect("a directory");
    let listener = Listener::start(&scratch);
    let body = |n: u64| if n % 10 == 9 { format!("garbage {n}") } else { n.to_string() };
    let lines: Vec<_> = (0..500).map(body).collect();
    assert!(listener.client().lines(&lines.join("\n")));
    let dead = scratch.join("dead");
    let config = format!(
        "[sink]\nkind = 'parquet'\npath = '{}'\n\
         columns = [{{ name = 'raw', field = 'payload' }}, \
         {{ name = 'n', pointer = '', type = 'integer' }}]\n[poison]\nfile = '{}'\n",
        lake.display(),
        dead.display()
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let found: Vec<_> = counted(&lake).into_iter().collect();
    let expected: Vec<_> = (0..500).filter(|n| n % 10 != 9).map(|n| (n, 1)).collect();
    assert_eq!(found, expected, "each once");
    assert_eq!(files(&lake).len(), 2, "up to the first that does not fit, and the rest");
    let dead: Vec<serde_json::Value> =
        common::lines(&dead).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let buried: Vec<_> = dead.iter().filter_map(|it| it["record"]["seq"].as_u64()).collect();
    assert_eq!(buried, (0..50).map(|n| n * 10 + 9).collect::<Vec<_>>(), "in order");
}

#[test]
fn what_is_written_is_what_pyarrow_and_duckdb_read() {
    let Some(python) = tools::tool("python") else { return };
    let scratch = Scratch::new("lake");
    let lake = scratch.join("lake");
    fs::create_dir(&lake).expect("a directory");
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    let bodies = [
        r#"{"device": "a7", "at": {"n": 1}, "value": 20.5, "on": true, "tags": ["x", "ü"]}"#,
        r#"{"device": "a7", "at": {"n": -9007199254740993}, "value": 3}"#,
        r#"{"device": null, "at": {"n": 3}, "value": null, "tags": {"k": 1}}"#,
    ];
    for (at, body) in bodies.iter().enumerate() {
        client.record(u16::try_from(at).expect("few") * 30_000, body.as_bytes());
    }
    let config = format!(
        "[sink]\nkind = 'parquet'\npath = '{}'\npartition = ['date', 'hour']\n\
         row_group_rows = 2\ncompression = 'snappy'\n\
         columns = [\n\
         {{ name = 'device', pointer = '/device' }},\n\
         {{ name = 'n', pointer = '/at/n', type = 'integer', required = true }},\n\
         {{ name = 'value', pointer = '/value', type = 'float' }},\n\
         {{ name = 'on', pointer = '/on', type = 'boolean' }},\n\
         {{ name = 'tags', pointer = '/tags', type = 'json' }},\n\
         {{ name = 'topic', attribute = 'topic' }},\n\
         {{ name = 'raw', field = 'payload' }},\n]\n",
        lake.display()
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_parquet.py");
    let read = Command::new(python).arg(script).arg(&lake).output().expect("it runs");
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}");
    let text = String::from_utf8(read.stdout).expect("UTF-8");
    let mut rows: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
    for line in text.lines() {
        let (reader, json) = line.split_once(' ').expect("two words");
        rows.entry(reader).or_default().push(serde_json::from_str(json).expect("JSON"));
    }
    let schema = &rows["schema"][0];
    for (name, kind) in [
        ("epoch", "string"),
        ("seq", "int64"),
        ("type", "uint16"),
        ("timestamp", "timestamp[us, tz=UTC]"),
        ("device", "string"),
        ("n", "int64"),
        ("value", "double"),
        ("on", "bool"),
        ("raw", "binary"),
    ] {
        assert_eq!(schema[name], kind, "{name} of {schema}");
    }
    assert_eq!(rows["pyarrow"], rows["duckdb"], "both read the same");
    let rows = &rows["pyarrow"];
    assert_eq!(rows.len(), bodies.len());
    for (at, (row, body)) in rows.iter().zip(bodies).enumerate() {
        let body_json: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&row["seq"], &row["type"]), (&at.into(), &(at * 30_000).into()));
        assert_eq!(row["raw"], body);
        assert_eq!((&row["device"], &row["on"]), (&body_json["device"], &body_json["on"]));
        assert_eq!((&row["n"], &row["topic"]), (&body_json["at"]["n"], &serde_json::Value::Null));
        assert_eq!(row["value"].as_f64(), body_json["value"].as_f64());
        let tags = row["tags"].as_str().map(serde_json::from_str::<serde_json::Value>);
        let tags = tags.transpose().expect("JSON");
        assert_eq!(tags.unwrap_or_default(), body_json["tags"]);
        let micros = row["timestamp"].as_u64().expect("a time");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = now.expect("after 1970").as_secs() - micros / 1_000_000;
        assert!(age < 600, "{micros}");
        assert!(row["date"].as_str().is_some_and(|date| date.starts_with("20")), "{row}");
    }
}

#[test]
fn killed_at_random_each_record_is_in_one_file() {
    let (kills, seed) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("pkills");
    let lake = scratch.join("lake");
    fs::create_dir(&lake).expect("a directory");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "1MiB"]);
    let config = format!(
        "[sink]\nkind = 'parquet'\npath = '{}'\npartition = ['date', 'hour']\n\
         [batch]\nwait_ms = 3\nrecords = 200\n",
        lake.display()
    );
    let stop = Arc::new(AtomicBool::new(false));
    let (mut client, ended) = (listener.client(), Arc::clone(&stop));
    let producer = thread::spawn(move || {
        let mut next = 0_u64;
        // ORDER(none): a flag between threads of a test, and a join after it.
        while !ended.load(Ordering::Relaxed) {
            let body: Vec<_> = (next..next + 10).map(|n| n.to_string()).collect();
            if client.lines(&body.join("\n")) {
                next += 10;
            }
            thread::sleep(Duration::from_micros(500));
        }
        next
    });
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    for _ in 0..kills {
        thread::sleep(Duration::from_millis(random.below(120)));
        forward.process.kill();
        forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    }
    stop.store(true, Ordering::Relaxed);
    let posted = producer.join().expect("it posted");
    eventually("the last record", || counted(&lake).contains_key(&(posted - 1)).then_some(()));
    assert_eq!(forward.stop(), 0);
    let log = forward.process.log();
    let again = log.lines().filter(|line| line.contains("there are in a file already")).count();
    let counted = counted(&lake);
    assert!(posted > 0 && counted.len() as u64 == posted, "none is lost (seed {seed})");
    assert!(counted.values().all(|&count| count == 1), "none is there twice (seed {seed})");
    let names = files(&lake);
    let whole = names.iter().all(|path| path.extension().is_some_and(|it| it == "parquet"));
    assert!(whole, "nothing half written is left: {names:?}");
    let count = names.len();
    println!(
        "parquet: {kills} kills, {posted} records in {count} files, 0 lost, 0 twice, \
         {again} files found of a killed process"
    );
}

#[test]
fn what_finds_a_full_disk_stays_in_the_ring_and_is_there_once_when_there_is_room() {
    const DISK: usize = 2 << 20;
    let scratch = Scratch::new("pfull");
    let Some(disk) = disk::Disk::mount(scratch.join("lake"), DISK) else { return };
    let lake = disk.path();
    let listener = Listener::start_with(&scratch, &common_ring());
    let config = format!(
        "[sink]\nkind = 'parquet'\npath = '{}'\ncompression = 'none'\n\
         [batch]\nbytes = '32KiB'\nwait_ms = 3\n[retry]\nlongest_ms = 100\nbreaker_pause_ms = 100\n",
        lake.display()
    );
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut client = listener.client();
    // A number and a kilobyte of noise, which stays as large as it is.
    let mut random = Random(7);
    let mut noise = |n: u64| {
        let mut digit = || char::from(b'0' + u8::try_from(random.below(10)).expect("a digit"));
        format!("{n}{}", (0..1000).map(|_| digit()).collect::<String>())
    };
    let mut taken = 0;
    for _ in 0..100 {
        client.record(0, noise(taken).as_bytes());
        taken += 1;
    }
    eventually("the first records", || (rows(lake) == taken).then_some(()));
    // All but a few pages, fewer than a batch needs.
    let room = DISK - used(lake) - (16 << 10);
    fs::write(lake.join("other"), vec![0; room]).expect("it is there");
    let mut refused = 0;
    while refused < 3 {
        match client.post("", noise(taken).as_bytes()).expect("an answer").0 {
            202 => taken += 1,
            503 => refused += 1,
            other => panic!("answered {other}"),
        }
    }
    let line = forward.process.wait_for_log("not delivered");
    assert!(line.contains("No space left on device"), "{line}");
    let before = rows(lake);
    assert!(before < taken, "what did not find room is in the ring");
    // Killed meanwhile, the next one finds all of it there.
    forward.process.kill();
    forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    fs::remove_file(lake.join("other")).expect("removed");
    eventually("all of it", || (rows(lake) == taken).then_some(()));
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    let names = files(lake);
    let whole = names.iter().all(|path| path.extension().is_some_and(|it| it == "parquet"));
    assert!(whole, "nothing half written is left: {names:?}");
    let mut seqs: Vec<_> = names.iter().flat_map(|path| seqs(path)).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (0..i64::try_from(taken).expect("few")).collect::<Vec<_>>(), "each once");
}

/// A ring that is full soon, which is told at once.
fn common_ring() -> [&'static str; 4] {
    ["--capacity-bytes", "256KiB", "--full-wait-ms", "20"]
}

/// Bytes of all files of a directory, in whole pages.
fn used(directory: &Path) -> usize {
    let bytes = |path: &PathBuf| fs::metadata(path).map_or(0, |it| it.len());
    let pages = |path| usize::try_from(bytes(path).div_ceil(4096)).expect("few");
    files(directory).iter().map(|path| pages(path) * 4096).sum()
}

/// The sequence numbers of a file.
fn seqs(path: &Path) -> Vec<i64> {
    let file = SerializedFileReader::new(fs::File::open(path).expect("it is there"));
    let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows = file.get_row_iter(None).expect("rows");
    rows.map(|row| row.expect("whole").get_long(1).expect("a number")).collect()
}

/// How many rows all files of a directory have that have their name.
fn rows(directory: &Path) -> u64 {
    let is_named = |path: &PathBuf| path.extension().is_some_and(|it| it == "parquet");
    files(directory).iter().filter(|path| is_named(path)).map(|path| seqs(path).len() as u64).sum()
}

#[test]
fn small_records_do_not_fill_the_ring_while_a_file_is_gathered() {
    let scratch = Scratch::new("small");
    let lake = scratch.join("lake");
    fs::create_dir(&lake).expect("a directory");
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "64KiB"]);
    // A minute is longer than this may take: only the ring ends a batch.
    let config = format!("[sink]\nkind = 'parquet'\npath = '{}'\n", lake.display());
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &[]);
    let mut client = listener.client();
    let began = Instant::now();
    for n in 0..5000_u32 {
        client.record(0, n.to_string().as_bytes());
    }
    assert!(began.elapsed() < Duration::from_secs(50), "no batch waited for its time");
    assert!(files(&lake).len() > 1);
    assert_eq!(forward.stop(), 0);
    assert_eq!(counted(&lake).len(), 5000, "and what was gathered is delivered at the end");
}

#[test]
fn readings_over_mqtt_become_files_of_a_lake() {
    let scratch = Scratch::new("mqttlake");
    let lake = scratch.join("lake");
    fs::create_dir(&lake).expect("a directory");
    let (file, mqtt) = (scratch.join("listener.toml"), scratch.join("m.sock"));
    let text = format!(
        "[[ring]]\nname = 'r'\nsubscriptions = ['s']\n\
         [[listen]]\naddress = 'unix:{}'\nprotocol = 'mqtt'\nattributes = [':topic']\n",
        mqtt.display()
    );
    fs::write(&file, text).expect("written");
    let listener = Listener::start_with(&scratch, &["--config", &file.display().to_string()]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flows/readings-to-lake.toml");
    let config = fs::read_to_string(path).expect("it is there");
    let config = config.replace("/var/lib/lake/readings", &lake.display().to_string());
    let config = config.replace("/var/lib/lake", &scratch.path().display().to_string());
    let mut broker = UnixStream::connect(&mqtt).expect("it listens");
    broker.write_all(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test").expect("CONNECT");
    let mut answer = [0; 4];
    broker.read_exact(&mut answer).expect("CONNACK");
    for n in 0..200_u16 {
        let mut packet = b"\x00\x06hall/1".to_vec();
        packet.extend_from_slice(&(n + 1).to_be_bytes());
        // One of them is no reading.
        let value = if n == 100 { "\"broken\"".to_owned() } else { format!("{n}.5") };
        packet.extend_from_slice(format!(r#"{{"value": {value}, "unit": "C"}}"#).as_bytes());
        let len = u8::try_from(packet.len()).expect("short");
        broker.write_all(&[0x32, len]).and_then(|()| broker.write_all(&packet)).expect("PUBLISH");
        broker.read_exact(&mut answer).expect("PUBACK");
        assert_eq!(answer[..2], [0x40, 2]);
    }
    let mut forward = Forward::start(&scratch, &listener.socket, &config, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(common::lines(&scratch.join("refused.ndjson")).len(), 1);
    let mut sum = 0.0;
    for path in files(&lake) {
        assert!(path.display().to_string().contains("/date=20"), "{}", path.display());
        let file = SerializedFileReader::new(fs::File::open(path).expect("it is there"));
        let file = file.expect("whole");
        for row in file.get_row_iter(None).expect("rows") {
            let row = row.expect("whole");
            assert_eq!(row.get_string(4).expect("a topic"), "hall/1");
            sum += row.get_double(5).expect("a value");
        }
    }
    let all: f64 = (0..200_u16).filter(|n| *n != 100).map(|n| f64::from(n) + 0.5).sum();
    assert!((sum - all).abs() < 1e-6, "{sum} of {all}");
}
