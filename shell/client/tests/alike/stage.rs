//! Plays a script twice, once for each client, and compares what they print.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};

use super::common::PATIENCE;
use super::common::fake::Fake;
use super::{Plan, rust};

/// The C client, built once per run.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../c");
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-alike");
    let library = build.join("libaqueduct.a");
    let mut make = Command::new("make");
    make.arg("-C").arg(&sources).arg(format!("BUILD={}", build.display())).arg(&library);
    run(&mut make);
    let program = build.join("alike");
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-I"]).arg(sources.join("include"));
    cc.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alike/client.c"));
    cc.arg(&library).arg("-o").arg(&program);
    run(&mut cc);
    program
});

fn run(command: &mut Command) {
    let output = command.output().expect("make and a C compiler are installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the C side does not build:\n{errors}");
}

/// A client at work, and the listener that it meets.
pub(crate) struct Stage {
    pub(crate) fake: Fake,
    lines: Receiver<String>,
    printed: Vec<String>,
    go: Box<dyn FnMut()>,
    client: JoinHandle<()>,
}

impl Stage {
    /// Waits until the client pauses.
    pub(crate) fn paused(&mut self) {
        while self.printed.last().is_none_or(|line| line != "paused") {
            let line = self.lines.recv_timeout(PATIENCE);
            self.printed.push(line.unwrap_or_else(|_| panic!("no pause: {:?}", self.printed)));
        }
    }

    /// Lets a client go on that pauses.
    pub(crate) fn go(&mut self) {
        (self.go)();
    }

    /// Ends the listener as if it were killed, and puts another one in its place.
    pub(crate) fn restart(&mut self, epoch: u64, first_position: u32) {
        self.fake.hang_up();
        let path = std::mem::take(&mut self.fake.path);
        let descriptors = self.fake.descriptors.clone();
        self.fake = Fake::at(&path, epoch, first_position);
        self.fake.descriptors = descriptors;
    }

    /// Waits for the client's end.
    fn finish(mut self) -> (Vec<String>, Vec<u8>) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.printed.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("the client does not end: {:?}", self.printed)
                }
            }
        }
        self.client.join().expect("the client does not panic");
        (self.printed, std::mem::take(&mut self.fake.hello))
    }
}

fn start_rust(path: &Path, plan: &Plan, fake: Fake) -> Stage {
    let (sender, lines) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    let (path, plan) = (path.to_owned(), *plan);
    let client = thread::spawn(move || rust::run(&path, &plan, &sender, &gone));
    let go = Box::new(move || go.send(()).expect("it pauses"));
    Stage { fake, lines, printed: Vec::new(), go, client }
}

fn start_c(path: &Path, plan: &Plan, fake: Fake) -> Stage {
    let mut child = Command::new(&*PROGRAM)
        .arg(path)
        .args(plan.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut stdin = child.stdin.take().expect("piped");
    let (sender, lines) = mpsc::channel();
    let client = thread::spawn(move || {
        stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok());
        assert!(child.wait().expect("it ends").success());
    });
    let go = Box::new(move || stdin.write_all(b"g").expect("it pauses"));
    Stage { fake, lines, printed: Vec::new(), go, client }
}

/// Plays the script for both clients, after `prepare` has changed its listener; they must print
/// the same lines and say the same HELLO. Gives the lines.
#[track_caller]
pub(crate) fn alike(
    plan: Plan,
    prepare: impl Fn(&mut Fake),
    script: impl Fn(&mut Stage),
) -> Vec<String> {
    let run = |start: fn(&Path, &Plan, Fake) -> Stage| {
        let mut fake = Fake::new();
        if plan.observe {
            fake.descriptors.truncate(1);
        }
        prepare(&mut fake);
        let path = fake.path.clone();
        let mut stage = start(&path, &plan, fake);
        script(&mut stage);
        stage.finish()
    };
    let (rust, c) = (run(start_rust), run(start_c));
    assert_eq!(rust.0, c.0, "Rust (left) and C (right) do not see the same");
    assert_eq!(rust.1, c.1, "they do not say the same HELLO");
    assert!(!rust.0.is_empty());
    rust.0
}
