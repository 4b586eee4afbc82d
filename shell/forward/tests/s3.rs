//! Parquet files in a bucket: a real server that speaks as S3 does (moto), and each record in one
//! object, whatever kills the process, hangs, or cuts what goes between them.
//!
//! `KILLS=200` makes it a campaign; 5 by default. `SEED` repeats one.
#![cfg(feature = "s3")]
#![allow(clippy::disallowed_types, reason = "inside the process, not in shared memory")]

mod common;
#[path = "common/tools.rs"]
mod tools;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use rustix::process::Signal;

use common::{Forward, Listener, Process, Random, Scratch, eventually};

/// A server with one bucket.
struct Server {
    process: Process,
    python: PathBuf,
    url: String,
}

impl Server {
    /// `None` without the tools.
    fn start(scratch: &Scratch) -> Option<Self> {
        let (python, program) = (tools::tool("python")?, tools::tool("moto_server")?);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.expect("a port").port();
        let mut command = Command::new(program);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_S3_CUSTOM_ENDPOINTS", "");
        command.stdout(std::process::Stdio::null());
        let process = Process::start(&mut command, scratch.join("moto.log"));
        let server = Self { process, python, url: format!("http://127.0.0.1:{port}") };
        eventually("the bucket", || server.boto("client.create_bucket(Bucket='lake')").ok());
        Some(server)
    }

    /// What a line of Python with a client of its own prints.
    fn boto(&self, line: &str) -> Result<String, String> {
        let script = format!(
            "import boto3, sys\n\
             from botocore.config import Config\n\
             client = boto3.client('s3', endpoint_url='{}', region_name='us-east-1', \
             aws_access_key_id='key', aws_secret_access_key='secret', \
             config=Config(retries={{'max_attempts': 1}}, connect_timeout=2))\n{line}\n",
            self.url
        );
        let output = Command::new(&self.python).args(["-c", &script]).output().expect("it runs");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// How many uploads in parts were begun and neither completed nor taken back.
    fn half_sent(&self) -> String {
        let line = "print(len(client.list_multipart_uploads(Bucket='lake').get('Uploads', [])))";
        self.boto(line).expect("it answers")
    }

    /// Copies all objects into a directory.
    fn fetch(&self, into: &Path) {
        let _ = fs::remove_dir_all(into);
        fs::create_dir_all(into).expect("a directory");
        let line = format!(
            "import os\n\
             for page in client.get_paginator('list_objects_v2').paginate(Bucket='lake'):\n\
             \x20 for one in page.get('Contents', []):\n\
             \x20   path = os.path.join('{}', one['Key'])\n\
             \x20   os.makedirs(os.path.dirname(path), exist_ok=True)\n\
             \x20   client.download_file('lake', one['Key'], path)",
            into.display()
        );
        self.boto(&line).expect("all objects can be read");
    }
}

/// No limit of a [`Way`].
const OPEN: u64 = u64::MAX;

/// The way to the server, which can be cut.
struct Way {
    url: String,
    /// Bytes to the server that still pass; without any, requests with a body are cut.
    towards: Arc<AtomicU64>,
    /// Whether what comes back is lost if something was put.
    loses: Arc<AtomicBool>,
    /// How long each request takes on it, ms.
    slow_ms: Arc<AtomicU64>,
}

impl Way {
    fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let towards = Arc::new(AtomicU64::new(OPEN));
        let way = Self { url, towards, loses: Arc::default(), slow_ms: Arc::default() };
        let slow_ms = Arc::clone(&way.slow_ms);
        let address = server.url.trim_start_matches("http://").to_owned();
        let (towards, loses) = (Arc::clone(&way.towards), Arc::clone(&way.loses));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&address) else { continue };
                let copy = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
                let (from, to) = (copy(&client), copy(&server));
                let (towards, loses) = (Arc::clone(&towards), Arc::clone(&loses));
                let slow_ms = Arc::clone(&slow_ms);
                let is_put = Arc::new(AtomicBool::new(false));
                let was_put = Arc::clone(&is_put);
                thread::spawn(move || {
                    let mut sent = 0;
                    pass(from, to, |bytes| {
                        if [&b"PUT "[..], b"POST ", b"GET "].iter().any(|it| bytes.starts_with(it))
                        {
                            thread::sleep(Duration::from_millis(slow_ms.load(SeqCst)));
                        }
                        if bytes.starts_with(b"PUT ") {
                            is_put.store(true, SeqCst);
                        }
                        sent += bytes.len();
                        let less = |left: u64| left.saturating_sub(bytes.len() as u64);
                        let less = |left| Some(if left == OPEN { OPEN } else { less(left) });
                        // A request without a body is smaller than this.
                        towards.fetch_update(SeqCst, SeqCst, less) != Ok(0) || sent < 4096
                    });
                });
                thread::spawn(move || {
                    pass(server, client, |_| !(loses.load(SeqCst) && was_put.load(SeqCst)));
                });
            }
        });
        way
    }
}

/// Passes bytes on until an end, or until some may not pass.
fn pass(mut from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut bytes = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !may_pass(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// A configuration that writes to the bucket, below `readings`.
fn config(url: &str, scratch: &Scratch, more: &str) -> String {
    let (spool, secret) = (scratch.join("spool"), scratch.join("secret"));
    fs::create_dir_all(&spool).expect("a directory");
    fs::write(&secret, "secret\n").expect("written");
    format!(
        "[retry]\nfirst_ms = 20\nlongest_ms = 200\nbreaker_pause_ms = 200\n{more}\n\
         [sink.s3]\nendpoint = '{}'\nregion = 'us-east-1'\naccess_key_id = 'key'\n\
         secret_access_key_file = '{}'\nspool = '{}'\npart_bytes = '5MiB'\ntimeout_ms = 3000\n",
        url,
        secret.display(),
        spool.display()
    )
}

const SINK: &str = "[sink]\nkind = 'parquet'\npath = 's3://lake/readings'\npartition = ['date']\n";

/// Paths of all files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// How often each payload, which begins with a number, is in the files of a directory.
fn counted(directory: &Path) -> BTreeMap<u64, usize> {
    let mut counted = BTreeMap::new();
    for path in files(directory) {
        let file = SerializedFileReader::new(fs::File::open(&path).expect("it is there"));
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for row in file.get_row_iter(None).expect("rows") {
            let row = row.expect("whole");
            let payload = row.get_bytes(4).expect("the payload").data().to_vec();
            let text = String::from_utf8(payload).expect("text");
            let number = text.split(' ').next().and_then(|word| word.parse().ok());
            *counted.entry(number.expect("a number")).or_default() += 1;
        }
    }
    counted
}

/// Posts records that do not get smaller: a number, and 60 kB of noise.
fn post_noise(listener: &Listener, records: u64) {
    let (mut client, mut random) = (listener.client(), Random(7));
    for n in 0..records {
        let mut noise = || char::from(b'!' + u8::try_from(random.below(90)).unwrap_or(0));
        let noise: String = (0..60_000).map(|_| noise()).collect();
        assert!(client.lines(&format!("{n} {noise}")));
    }
}

/// A name of so many parts is what S3 gives to what came in parts.
fn tags(server: &Server) -> String {
    let line = "print([it['ETag'] for it in \
                client.list_objects_v2(Bucket='lake').get('Contents', [])])";
    server.boto(line).expect("it answers")
}

#[test]
fn large_files_go_in_parts_and_a_bucket_that_is_missing_is_waited_for() {
    let scratch = Scratch::new("s3");
    let Some(server) = Server::start(&scratch) else { return };
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "64MiB"]);
    post_noise(&listener, 200);
    // 12 MB in one file.
    let more = format!("{SINK}compression = 'none'\n");
    let text = config(&server.url, &scratch, &more);
    let missing = text.replace("s3://lake", "s3://sea");
    let missing = format!("[shutdown]\ndrain_timeout_ms = 50\n[batch]\nwait_ms = 5\n{missing}");
    let mut forward = Forward::start(&scratch, &listener.socket, &missing, &[]);
    forward.process.wait_for_log("not delivered");
    assert_eq!(forward.stop(), 3, "{}", forward.process.log());
    assert!(forward.process.log().contains("NoSuchBucket"), "{}", forward.process.log());
    let mut forward = Forward::start(&scratch, &listener.socket, &text, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let copy = scratch.join("copy");
    server.fetch(&copy);
    let names = files(&copy);
    assert_eq!(names.len(), 1, "{names:?}");
    let name = names[0].display().to_string();
    assert!(name.contains("/readings/date=20") && name.contains("/s-"), "{name}");
    assert!(fs::metadata(&names[0]).expect("it is there").len() > 11 << 20);
    assert!(tags(&server).contains("-3\""), "{}", tags(&server));
    assert!(counted(&copy).values().all(|&count| count == 1) && counted(&copy).len() == 200);
    assert_eq!(fs::read_dir(scratch.join("spool")).expect("it is there").count(), 0);
}

#[test]
fn an_upload_that_is_cut_in_its_second_part_is_taken_back_and_sent_again() {
    let scratch = Scratch::new("s3cut");
    let Some(server) = Server::start(&scratch) else { return };
    let way = Way::start(&server);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "64MiB"]);
    post_noise(&listener, 200);
    let more = format!("{SINK}compression = 'none'\n");
    let text = config(&way.url, &scratch, &more);
    way.towards.store(7 << 20, SeqCst);
    let mut forward = Forward::start(&scratch, &listener.socket, &text, &["--once"]);
    server.process.wait_for_log("?uploads");
    let log = forward.process.wait_for_log("not delivered");
    assert_eq!(tags(&server), "[]", "nothing of it can be seen: {log}");
    // Each attempt begins one, and takes it back: only small requests pass.
    eventually("none that is left", || (server.half_sent() == "0").then_some(()));
    way.towards.store(OPEN, SeqCst);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    assert_eq!(server.half_sent(), "0");
    assert_eq!(tags(&server).matches("-3\"").count(), 1, "{}", tags(&server));
    let copy = scratch.join("copy");
    server.fetch(&copy);
    assert!(counted(&copy).values().all(|&count| count == 1) && counted(&copy).len() == 200);
}

#[test]
fn a_slow_bucket_of_many_objects_has_the_time_of_each_request() {
    let scratch = Scratch::new("s3slow");
    let Some(server) = Server::start(&scratch) else { return };
    let way = Way::start(&server);
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "32MiB"]);
    // More than a page of others, before ours.
    let others = "for n in range(1001): client.put_object(Bucket='lake', Key=f'readings/a-{n}')";
    server.boto(others).expect("they are there");
    post_noise(&listener, 200);
    way.slow_ms.store(1600, SeqCst);
    let batch = "[batch]\nbytes = '64MiB'\nwait_ms = 3\n\
                 [sink]\nkind = 'parquet'\npath = 's3://lake/readings'\n";
    let text = config(&way.url, &scratch, batch);
    let mut forward = Forward::start(&scratch, &listener.socket, &text, &["--once"]);
    let ended = forward.process.wait_for(Duration::from_secs(40));
    assert!(ended.is_some_and(|it| it.success()), "{}", forward.process.log());
    assert!(!forward.process.log().contains("not delivered"), "{}", forward.process.log());
    let ours = "print(client.list_objects_v2(Bucket='lake', Prefix='readings/s-')['KeyCount'])";
    assert_eq!(server.boto(ours).expect("it answers"), "1");
}

#[test]
fn an_object_whose_answer_is_lost_replaces_itself_and_is_found() {
    let scratch = Scratch::new("s3lost");
    let Some(server) = Server::start(&scratch) else { return };
    let way = Way::start(&server);
    let listener = Listener::start(&scratch);
    let mut client = listener.client();
    let text = config(&way.url, &scratch, &format!("[batch]\nwait_ms = 3\n{SINK}"));
    way.loses.store(true, SeqCst);
    let mut forward = Forward::start(&scratch, &listener.socket, &text, &[]);
    let lines: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert!(client.lines(&lines.join("\n")));
    eventually("an object", || (tags(&server) != "[]").then_some(()));
    forward.process.wait_for_log("not delivered");
    // Gone for a while: the ring takes what comes.
    let lines: Vec<_> = (50..100).map(|n| n.to_string()).collect();
    assert!(client.lines(&lines.join("\n")));
    way.loses.store(false, SeqCst);
    let copy = scratch.join("copy");
    eventually("all of it", || {
        server.fetch(&copy);
        (counted(&copy).len() == 100).then_some(())
    });
    assert_eq!(forward.stop(), 0, "{}", forward.process.log());
    server.fetch(&copy);
    assert!(counted(&copy).values().all(|&count| count == 1), "{:?}", files(&copy));
    let log = forward.process.log();
    assert!(log.contains("there are in a file already"), "{log}");
}

#[test]
fn killed_and_stopped_at_random_each_record_is_in_one_object() {
    let number = |name: &str, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (kills, seed): (u64, u64) = (number("KILLS", 5), number("SEED", 0x5eed));
    let mut random = Random(seed | 1);
    let scratch = Scratch::new("s3kills");
    let Some(mut server) = Server::start(&scratch) else { return };
    let listener = Listener::start_with(&scratch, &["--capacity-bytes", "16MiB"]);
    let mut client = listener.client();
    let more = format!("[batch]\nwait_ms = 3\nrecords = 300\n{SINK}");
    let text = config(&server.url, &scratch, &more);
    let mut forward = Forward::start(&scratch, &listener.socket, &text, &[]);
    let mut posted = 0_u64;
    for kill in 0..kills {
        for _ in 0..=random.below(20) {
            let body: Vec<_> = (posted..posted + 20).map(|n| n.to_string()).collect();
            assert!(client.lines(&body.join("\n")));
            posted += 20;
            thread::sleep(Duration::from_millis(random.below(15)));
        }
        thread::sleep(Duration::from_millis(random.below(600)));
        if kill % 4 == 3 {
            // The server hangs, and what it was asked for meanwhile it does later.
            server.process.signal(Signal::STOP);
            thread::sleep(Duration::from_millis(100));
            forward.process.kill();
            server.process.signal(Signal::CONT);
            server.half_sent();
        } else {
            forward.process.kill();
        }
        forward = Forward::start(&scratch, &listener.socket, &text, &[]);
    }
    forward.process.kill();
    forward = Forward::start(&scratch, &listener.socket, &text, &["--once"]);
    assert_eq!(forward.process.wait().code(), Some(0), "{}", forward.process.log());
    let copy = scratch.join("copy");
    server.fetch(&copy);
    let counted = counted(&copy);
    assert_eq!(counted.len() as u64, posted, "none is lost (seed {seed})");
    assert!(counted.values().all(|&count| count == 1), "none is there twice (seed {seed})");
    let again = forward.process.log().matches("there are in a file already").count();
    println!(
        "s3: {kills} kills, {posted} records in {} objects, 0 lost, 0 twice, {again} objects found \
         of a killed process",
        files(&copy).len()
    );
}
