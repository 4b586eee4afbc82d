//! `aqueduct publish`: sends the records of files or stdin to a ring.
//!
//! Every batch is answered before the next is sent, so records keep their order, and it is known at
//! each moment which are in the ring. A batch whose answer was lost is sent again with the same
//! idempotency key.

mod input;
mod place;
mod screen;

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use self::input::{Framing, Input};
use self::place::{Place, PlaceFile, Read};
use self::screen::Screen;
use super::http::is_closed;
use super::listener::ListenerArgs;
use super::target::{Manner, Outcome, Target, Url};
use super::text::{Format, json};
use super::wire::{TLS, TrustArgs, UNIX, is_lasting};
use super::{EXIT_USAGE, print};
use crate::config::{Millis, Size};

/// The first pause before a batch is sent again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How often the bar is drawn at most.
const DRAWN_HZ: u8 = 20;

/// How long a ring may be full before it is said.
const FULL_SAID: Duration = Duration::from_secs(1);

/// Flags of `aqueduct publish`.
#[allow(clippy::doc_markdown, reason = "the texts are the help that the command prints")]
#[derive(Clone, Debug, clap::Args)]
pub struct PublishArgs {
    /// Files to read, - for stdin [default: -]
    files: Vec<String>,
    /// Where to: http://HOST:PORT/v1/rings/RING/records, resp://HOST:PORT/RING, lines://HOST:PORT,
    /// nul://HOST:PORT, octets://HOST:PORT; over TLS https://…, resp+tls://…, lines+tls://…; over
    /// UNIX sockets http+unix://SOCKET:/v1/rings/RING/records, resp+unix://SOCKET:RING,
    /// lines+unix://SOCKET [default: by HTTP to the listener of the settings]
    #[arg(long, value_name = "URL")]
    to: Option<Url>,
    #[command(flatten)]
    listener: ListenerArgs,
    /// Which ring of the listener [default: the first]
    #[arg(long, value_name = "NAME", conflicts_with = "to")]
    ring: Option<String>,
    /// How records are told apart in the input
    #[arg(long, value_enum, value_name = "FRAMING", default_value = "lines")]
    framing: Framing,
    /// Type of every record
    #[arg(long = "type", value_name = "N", default_value_t = 0)]
    type_tag: u16,
    /// Most records in a batch
    #[arg(long, value_name = "N", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Most bytes in a batch of several records
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    batch_bytes: Size,
    /// Keeps in this file how far it has come, and goes on from there if it is there: give the same
    /// arguments and the same input again. Not for lines
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Sends no idempotency keys: for a listener that keeps none. A batch whose answer is lost may
    /// then be there twice
    #[arg(long)]
    no_keys: bool,
    /// File with a token, which is sent as the credential
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// How long one batch is tried while the ring is full or nobody answers [default: for ever]
    #[arg(long, value_name = "TIME")]
    give_up_after: Option<Millis>,
    /// Shape of the summary on stdout
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// Publishes, and says how much.
pub(super) fn run(args: &PublishArgs) -> ExitCode {
    args.trust.apply();
    let job = match Job::new(args) {
        Ok(job) => job,
        Err(error) => {
            say!("aqueduct: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    job.run()
}

/// What was done in this run.
#[derive(Debug, Default)]
struct Counts {
    records: u64,
    bytes: u64,
    batches: u64,
    /// Batches that had to wait for the ring, or were sent again.
    waits: u64,
    reconnects: u64,
    /// Records that were in the ring already: an answer had been lost.
    repeated: u64,
    /// Records sent again that were not known there: not there before, or forgotten meanwhile.
    in_doubt: u64,
    seqs: Option<(u64, u64)>,
    epoch: Option<String>,
}

struct Job<'a> {
    args: &'a PublishArgs,
    files: Vec<String>,
    target: Target,
    manner: Manner,
    has_keys: bool,
    file: PlaceFile,
    place: Place,
    counts: Counts,
    bar: ProgressBar,
}

impl<'a> Job<'a> {
    /// Checks the arguments, and what an earlier run left.
    fn new(args: &'a PublishArgs) -> Result<Self, String> {
        let url = match &args.to {
            Some(url) => url.clone(),
            None => by_settings(args)?,
        };
        let files = if args.files.is_empty() { vec!["-".to_owned()] } else { args.files.clone() };
        if matches!(url, Url::Mqtt { .. }) {
            return Err("publish speaks HTTP, RESP and lines, not MQTT".to_owned());
        }
        let is_lines = matches!(url, Url::Lines { .. });
        if is_lines && args.resume.is_some() {
            return Err("lines are not answered, so that nobody knows where to resume".to_owned());
        }
        let token = match &args.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                let token = text.trim().to_owned();
                if token.is_empty() || token.contains(char::is_control) {
                    return Err(format!("{}: not a token", path.display()));
                }
                Some(token)
            }
            None => None,
        };
        let (files_json, to) = (files.join("\n"), format!("{url:?}"));
        // The same batches again, or the keys would not be the same.
        let task = format!("{} {} {to} {files_json}", args.framing.name(), args.type_tag);
        let file = PlaceFile::new(args.resume.as_deref());
        let fresh = Place {
            run: run_name().map_err(|error| error.to_string())?,
            task: task.clone(),
            input: 0,
            inputs: vec![Read::default(); files.len()],
            records: 0,
            in_flight: false,
            in_flight_records: 0,
            batch_records: args.batch as usize,
            batch_bytes: usize::try_from(args.batch_bytes.0).unwrap_or(usize::MAX),
        };
        let place = match file.read() {
            // The task says how many inputs there are.
            Ok(Some(place)) if place.task == task && place.inputs.len() == files.len() => place,
            Ok(Some(_)) => {
                return Err("the file of --resume is of other input or another target".to_owned());
            }
            Ok(None) => fresh,
            Err(error) => return Err(format!("the file of --resume: {error}")),
        };
        let target = Target::new(&url);
        let manner = Manner { type_tag: args.type_tag, token };
        let has_keys = !args.no_keys && !is_lines;
        let (counts, bar) = (Counts::default(), ProgressBar::hidden());
        Ok(Self { args, files, target, manner, has_keys, file, place, counts, bar })
    }

    fn run(mut self) -> ExitCode {
        let began = Instant::now();
        let result = self.publish();
        let result = result.and_then(|()| self.target.finish().map_err(|error| error.to_string()));
        self.bar.finish_and_clear();
        let failed = result.err();
        if let Some(error) = &failed {
            say!("aqueduct: {}: {error}", self.whereabouts());
        }
        let printed = print(&self.summary(began.elapsed(), failed.as_deref()));
        if failed.is_some() { ExitCode::FAILURE } else { printed }
    }

    /// Says how far it has come, for people.
    fn whereabouts(&self) -> String {
        let name = self.files.get(self.place.input).map_or("-", String::as_str);
        format!("{name}, at byte {}", self.offset())
    }

    /// Returns how many bytes of the present input are published.
    fn offset(&self) -> u64 {
        self.place.inputs.get(self.place.input).map_or(0, |read| read.offset)
    }

    /// Publishes all inputs. The one where an earlier run ended comes first; those before it may
    /// have grown since.
    fn publish(&mut self) -> Result<(), String> {
        let (first, all) = (self.place.input, self.files.len());
        for index in (first..all).chain(0..first.min(all)) {
            self.place.input = index;
            let name = self.files[index].clone();
            let mut input = Input::open(&name, self.args.framing, &self.place.inputs[index])
                .map_err(|error| error.to_string())?;
            self.show(&name, &input);
            // The record that did not fit the batch before, and where it ends.
            let mut held: Option<(Vec<u8>, Read)> = None;
            loop {
                let (batch, end) = self.batch(&mut input, &mut held)?;
                if batch.is_empty() {
                    break;
                }
                self.send(&batch)?;
                self.bar.set_position(end.offset);
                self.place.inputs[index] = end;
                self.place.records += batch.len() as u64;
                self.place.in_flight = false;
                self.save()?;
            }
            self.place.inputs[index].is_whole = true;
            self.save()?;
        }
        self.place.input = 0;
        self.save()
    }

    /// Reads the next batch; returns what is read with it, too. The same input always gives the
    /// same batches, so that a run that resumes divides it as the first one did.
    fn batch(
        &self,
        input: &mut Input,
        held: &mut Option<(Vec<u8>, Read)>,
    ) -> Result<(Vec<Vec<u8>>, Read), String> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut end = self.place.inputs[self.place.input].clone();
        let Place { in_flight, in_flight_records, batch_records, .. } = self.place;
        let most = if in_flight { in_flight_records } else { batch_records };
        while batch.len() < most {
            let next = match held.take() {
                Some(next) => Some(next),
                None => input
                    .next()
                    .map_err(|error| error.to_string())?
                    .map(|record| (record, input.read.clone())),
            };
            let Some((record, past)) = next else { break };
            if !batch.is_empty() && bytes + record.len() > self.place.batch_bytes {
                *held = Some((record, past));
                break;
            }
            bytes += record.len();
            batch.push(record);
            end = past;
        }
        Ok((batch, end))
    }

    /// Sends a batch until it is in the ring.
    fn send(&mut self, batch: &[Vec<u8>]) -> Result<(), String> {
        let was_in_flight = self.place.in_flight;
        self.place.in_flight = true;
        self.place.in_flight_records = batch.len();
        self.save()?;
        let key = format!("{}-{}-{}", self.place.run, self.place.input, self.offset());
        let key = self.has_keys.then_some(&*key);
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        // Whether it may have been taken before: by an earlier run, or by a lost connection.
        let mut is_again = was_in_flight;
        // Whether stderr was told that it does not go on; a bar says so by itself.
        let (mut is_said, mut losses) = (false, 0_u32);
        loop {
            let (why, after, is_worth_a_line) = match self.target.send(batch, &self.manner, key) {
                Ok(Outcome::Published(published)) => {
                    let records = batch.len() as u64;
                    let counts = &mut self.counts;
                    let is_other = counts.epoch.is_none() || counts.epoch != published.epoch;
                    if published.is_repeated {
                        counts.repeated += records;
                    } else if is_again {
                        counts.in_doubt += records;
                    }
                    counts.records += records;
                    counts.bytes += batch.iter().map(|record| record.len() as u64).sum::<u64>();
                    counts.batches += 1;
                    if let Some((first, last)) = published.seqs {
                        let of_old = counts.seqs.filter(|_| !is_other);
                        counts.seqs = Some((of_old.map_or(first, |(first, _)| first), last));
                    }
                    counts.epoch = published.epoch.or(counts.epoch.take());
                    self.bar.set_message("");
                    if is_said {
                        let seconds = began.elapsed().as_secs_f64();
                        say!("aqueduct: {}: goes on after {seconds:.1} s", self.whereabouts());
                    }
                    return Ok(());
                }
                Ok(Outcome::Refused(reason)) => {
                    // It is certain now that this one is not there.
                    self.place.in_flight = is_again;
                    self.save()?;
                    return Err(reason);
                }
                Ok(Outcome::Wait(after, reason)) => {
                    self.counts.waits += 1;
                    (reason, after, began.elapsed() >= FULL_SAID)
                }
                Err(error) if is_lasting(&error) => {
                    self.place.in_flight = is_again;
                    self.save()?;
                    return Err(error.to_string());
                }
                Err(error) if !self.has_keys && !self.args.no_keys => {
                    // Lines: what is on its way may be taken or not.
                    return Err(error.to_string());
                }
                Err(error) => {
                    self.counts.reconnects += 1;
                    is_again |= error.kind() != io::ErrorKind::ConnectionRefused;
                    losses += 1;
                    // One that the listener closed between two batches is just made anew.
                    (error.to_string(), None, losses > 1 || !is_closed(&error))
                }
            };
            let limit = self.args.give_up_after.map(|Millis(time)| Duration::from_millis(time));
            if limit.is_some_and(|limit| began.elapsed() >= limit) {
                self.place.in_flight = is_again;
                self.save()?;
                return Err(format!("given up: {why}"));
            }
            if is_worth_a_line && !is_said && !self.shows_a_bar() {
                is_said = true;
                say!("aqueduct: {}: {why}; trying again", self.whereabouts());
            }
            self.bar.set_message(why);
            std::thread::sleep(after.unwrap_or(pause).min(PAUSES.1));
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn save(&self) -> Result<(), String> {
        self.file.write(&self.place).map_err(|error| format!("the file of --resume: {error}"))
    }

    fn shows_a_bar(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Begins a bar for an input, if somebody looks.
    fn show(&mut self, name: &str, input: &Input) {
        if !io::stderr().is_terminal() {
            return;
        }
        let template = match input.bytes {
            Some(_) => "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
            None => "{prefix} {spinner} {bytes} {bytes_per_sec} {msg}",
        };
        let style = ProgressStyle::with_template(template);
        let screen = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), DRAWN_HZ);
        self.bar = ProgressBar::with_draw_target(input.bytes, screen)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(name.to_owned())
            .with_position(input.read.offset);
    }

    fn summary(&self, took: Duration, failed: Option<&str>) -> String {
        let Counts { records, bytes, batches, waits, reconnects, .. } = self.counts;
        let Counts { repeated, in_doubt, seqs, epoch, .. } = &self.counts;
        let all = self.place.records;
        if self.args.format == Format::Json {
            let number = |number: Option<u64>| number.map_or("null".to_owned(), |n| n.to_string());
            let text = |text: Option<&str>| text.map_or("null".to_owned(), json);
            let (first, last) = seqs.unzip();
            return format!(
                "{{\"records\":{records},\"records_all_runs\":{all},\"payload_bytes\":{bytes},\
                 \"batches\":{batches},\"waits\":{waits},\"reconnects\":{reconnects},\
                 \"repeated\":{repeated},\"in_doubt\":{in_doubt},\"first_seq\":{},\"last_seq\":{},\
                 \"epoch\":{},\"seconds\":{:.3},\"error\":{}}}\n",
                number(first),
                number(last),
                text(epoch.as_deref()),
                took.as_secs_f64(),
                text(failed)
            );
        }
        let mut line = format!("{records} records, {bytes} bytes published");
        // Writing to a string cannot fail.
        if let Some((first, last)) = seqs {
            let _ = write!(line, ", {first} to {last}");
        }
        if *repeated > 0 {
            let _ =
                write!(line, "; {repeated} of them were there already, and are not there twice");
        }
        if *in_doubt > 0 {
            let _ = write!(
                line,
                "; {in_doubt} of them were sent twice and are there twice if the listener was \
                 restarted in between, or had forgotten their keys"
            );
        }
        line + "\n"
    }
}

/// The listener that the settings describe, by HTTP.
fn by_settings(args: &PublishArgs) -> Result<Url, String> {
    let settings = args.listener.settings().map_err(|error| error.to_string())?;
    let ring = args.ring.clone().or_else(|| settings.rings.first().map(|ring| ring.name.clone()));
    let ring = ring.ok_or("the settings name no ring")?;
    let host = settings.http.listen.to_string();
    let has_tls = settings.http.tls && !host.starts_with(UNIX);
    let host = if has_tls { format!("{TLS}{host}") } else { host };
    Ok(Url::Http { host, path: format!("/v1/rings/{ring}/records") })
}

/// A name that no other run has.
fn run_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
