//! The examples, as programs, against a listener; and that README.md shows one of them.

mod common;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use aqueduct_core::MemoryMut;
use aqueduct_core::layout::DATA_OFFSET_MAPPED;
use common::fake::{EPOCH, Fake, GRANULES};

/// Where the built examples are.
fn directory() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let build = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "aqueduct-client", "--examples"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(build.expect("cargo runs").success(), "the examples do not build");
        // target/debug/deps/examples-… → target/debug/examples
        let test = std::env::current_exe().expect("this program has a path");
        let profile = test.ancestors().nth(2).expect("two directories up");
        profile.join("examples")
    })
}

/// An example at work; ended when it is dropped.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts an example and lets the listener take it.
    fn start(name: &str, fake: &mut Fake, more: &[&str]) -> Self {
        // Before the listener waits: another build may be in the way of this one for long.
        directory();
        fake.meet(|path| Self::start_at(name, path, more))
    }

    fn start_at(name: &str, path: &std::path::Path, more: &[&str]) -> Self {
        let mut child = Command::new(directory().join(name))
            .arg(path)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    #[track_caller]
    fn prints(&mut self, line: &str) {
        assert_eq!(self.lines.next().expect("it goes on").expect("UTF-8"), line);
    }

    /// That it ends by itself, well, and prints nothing more.
    #[track_caller]
    fn ends(mut self) {
        assert!(self.lines.next().is_none());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn read_prints_records_until_the_ring_is_closed() {
    let mut fake = Fake::new();
    let mut example = Running::start("read", &mut fake, &[]);
    fake.publish(b"hello");
    example.prints("0 7 hello");
    for round in 1..2 * GRANULES {
        // It releases, or the ring would be full.
        fake.publish(b"\n");
        example.prints(&format!("{round} 7 \\n"));
    }
    fake.close();
    example.ends();
}

#[test]
fn the_readme_shows_this_example_which_is_short() {
    let code = include_str!("../examples/read.rs");
    let code: String = code
        .lines()
        .skip_while(|line| !line.starts_with("use "))
        .fold(String::new(), |all, line| all + line + "\n");
    assert!(include_str!("../README.md").contains(&code));
    assert!(code.lines().filter(|line| !line.trim().is_empty()).count() <= 16);
}

#[test]
fn async_io_reads_by_its_descriptor_and_goes_on_after_a_restart() {
    let mut fake = Fake::new();
    let mut example = Running::start("async_io", &mut fake, &[]);
    fake.publish(b"hello");
    example.prints("0 5");
    let mut next = Fake::at(&fake.die(), EPOCH + 1, 0);
    next.take_one();
    example.prints("another ring");
    next.publish(b"x");
    example.prints("0 1");
    drop(example);
}

#[test]
fn observe_says_what_it_missed_and_what_is_damaged() {
    let mut fake = Fake::observed();
    assert!(fake.producer.unsubscribe(fake.subscription), "nobody gates");
    for _ in 0..3 * GRANULES {
        fake.publish(b"");
    }
    fake.publish(b"hello");
    let last = fake.producer.next_seq() - 1;
    let mut example = Running::start("observe", &mut fake, &[]);
    while example.lines.next().expect("it goes on").expect("UTF-8") != format!("{last} hello") {}
    let _ = fake.producer.append(aqueduct_core::Meta::default(), b"damaged").expect("space");
    let position = fake.producer.next_seq(); // Empty records and one of two granules before it.
    let slot = usize::try_from(position).expect("small") % GRANULES;
    fake.ring.region.write(DATA_OFFSET_MAPPED as usize + slot * 32 + 32, b"x");
    let _ = fake.producer.publish();
    let line = example.lines.next().expect("it goes on").expect("UTF-8");
    assert!(line.contains("payload damaged"), "{line}");
    fake.hang_up();
    example.ends();
}

#[test]
fn exactly_once_counts_every_record_once_whenever_it_is_killed() {
    let mut fake = Fake::new();
    let file = common::fresh_path();
    let file = file.to_str().expect("UTF-8");
    let mut count = 0;
    for round in 0..10 {
        let example = Running::start("exactly_once", &mut fake, &[file]);
        for _ in 0..10 {
            while fake.try_publish(b"12345").is_err() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            count += 1;
        }
        if round % 3 != 0 {
            // Somewhere between taking and releasing.
            std::thread::sleep(std::time::Duration::from_millis(round));
        }
        drop(example);
        fake.detach();
    }
    let mut example = Running::start("exactly_once", &mut fake, &[file]);
    fake.close();
    example.prints(&format!("{count} records, {} bytes", count * 5));
    example.ends();
    let _ = std::fs::remove_file(file);
}
