//! Many HTTP clients at once, each on its own connection, and what each of them was told. A refused
//! record is posted again until it is taken or the load ends; an error ends its client.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http::{Answer, Client};
use crate::process::TIMEOUT;
use crate::records::{Id, Sizes, tag};

/// How long a client waits before it posts a refused record again. Shorter than `Retry-After` asks,
/// to press harder.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// What the clients were told.
#[derive(Default)]
pub(crate) struct Report {
    /// Every 202: the sequence number it named, and the record.
    pub(crate) accepted: Vec<(u64, Id)>,
    /// Records whose answer never came. They may have been taken or not.
    pub(crate) in_doubt: Vec<Id>,
    /// How many answers were 503.
    pub(crate) refused: u64,
    /// The errors that ended clients.
    pub(crate) errors: Vec<String>,
    /// Answers that the listener should never give, whatever the test does.
    pub(crate) nonsense: Vec<String>,
    /// The epochs that the answers named.
    pub(crate) epochs: HashSet<String>,
}

/// What all clients have been told so far, and what they are to do.
#[derive(Clone, Copy, Default)]
pub(crate) struct Progress {
    /// How many answers were 202.
    pub(crate) accepted: u64,
    /// How many answers were 503.
    pub(crate) refused: u64,
    stop: bool,
}

/// Clients at work.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Report>>,
    progress: Arc<Mutex<Progress>>,
}

impl Load {
    /// Starts `clients` clients that post to `ring` until [`Load::finish`].
    pub(crate) fn start(
        address: SocketAddr,
        ring: &'static str,
        clients: u32,
        sizes: Sizes,
    ) -> Self {
        let progress = Arc::new(Mutex::default());
        let spawn = |number| {
            let progress = Arc::clone(&progress);
            thread::spawn(move || {
                Worker { number, sizes, progress, report: Report::default() }.run(address, ring)
            })
        };
        Self { clients: (0..clients).map(spawn).collect(), progress }
    }

    /// Waits until `wanted` holds, doing `meanwhile` every few milliseconds; panics, naming `what`,
    /// after [`TIMEOUT`].
    pub(crate) fn wait_until(
        &self,
        what: &str,
        wanted: impl Fn(Progress) -> bool,
        mut meanwhile: impl FnMut(),
    ) {
        let deadline = Instant::now() + TIMEOUT;
        while !wanted(*lock(&self.progress)) {
            let Progress { accepted, refused, .. } = *lock(&self.progress);
            assert!(
                Instant::now() < deadline,
                "waited for {what}; {accepted} records were accepted, {refused} refused"
            );
            meanwhile();
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets every client finish its request and waits for all of them. Every request has a timeout,
    /// so this ends.
    pub(crate) fn finish(self) -> Report {
        lock(&self.progress).stop = true;
        let mut all = Report::default();
        for client in self.clients {
            let report = client.join().expect("a client does not panic");
            all.accepted.extend(report.accepted);
            all.in_doubt.extend(report.in_doubt);
            all.refused += report.refused;
            all.errors.extend(report.errors);
            all.nonsense.extend(report.nonsense);
            all.epochs.extend(report.epochs);
        }
        all
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One client.
struct Worker {
    number: u32,
    sizes: Sizes,
    progress: Arc<Mutex<Progress>>,
    report: Report,
}

impl Worker {
    fn run(mut self, address: SocketAddr, ring: &str) -> Report {
        let mut connection = match Client::connect(address, ring) {
            Ok(connection) => connection,
            Err(error) => {
                self.report.errors.push(format!("client {} cannot connect: {error}", self.number));
                return self.report;
            }
        };
        let mut payload = Vec::new();
        for number in 0.. {
            let id = Id { client: self.number, number };
            self.sizes.write(id, &mut payload);
            if !self.post_until_taken(&mut connection, id, &payload) {
                break;
            }
        }
        self.report
    }

    /// False when this client is done.
    fn post_until_taken(&mut self, connection: &mut Client, id: Id, payload: &[u8]) -> bool {
        while !lock(&self.progress).stop {
            match connection.post(tag(id), payload) {
                Ok(answer @ Answer { status: 202, seq: Some(_), .. }) => {
                    return self.note_accepted(id, &answer) && !answer.close;
                }
                Ok(Answer { status: 503, retry_after_s: Some(1..), close, .. }) => {
                    self.report.refused += 1;
                    lock(&self.progress).refused += 1;
                    if close {
                        return false;
                    }
                    thread::sleep(RETRY_PAUSE);
                }
                Ok(Answer { status, seq, retry_after_s, body, .. }) => {
                    let body = String::from_utf8_lossy(&body);
                    self.report.nonsense.push(format!("{id:?}: status {status}, seq {seq:?}, retry after {retry_after_s:?}: {body}"));
                    return false;
                }
                Err(error) => {
                    self.report.in_doubt.push(id);
                    let list = if error.kind() == io::ErrorKind::InvalidData {
                        &mut self.report.nonsense
                    } else {
                        &mut self.report.errors
                    };
                    list.push(format!("{id:?}: {error}"));
                    return false;
                }
            }
        }
        false
    }

    /// True if the answer says what it should.
    fn note_accepted(&mut self, id: Id, answer: &Answer) -> bool {
        let seq = answer.seq.unwrap_or(u64::MAX);
        self.report.accepted.push((seq, id));
        lock(&self.progress).accepted += 1;
        let Some(epoch) = epoch(&answer.body, seq) else {
            self.report.nonsense.push(format!(
                "{id:?}: 202 with seq {seq}, but {}",
                String::from_utf8_lossy(&answer.body)
            ));
            return false;
        };
        if !self.report.epochs.contains(epoch) {
            self.report.epochs.insert(epoch.to_owned());
        }
        true
    }
}

/// The epoch in `{"seq":N,"epoch":"16 hexadecimal digits"}`, if the body is that and N is `seq`.
fn epoch(body: &[u8], seq: u64) -> Option<&str> {
    let rest = std::str::from_utf8(body)
        .ok()?
        .trim_end()
        .strip_prefix(&format!("{{\"seq\":{seq},\"epoch\":\""))?;
    let epoch = rest.strip_suffix("\"}")?;
    (epoch.len() == 16 && epoch.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(epoch)
}
