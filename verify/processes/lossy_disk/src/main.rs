//! Loses the power under a listener with a journal, and fails its disk, again and again.
//!
//! `lossy_disk BINARY [--rounds N] [--seed N] [--lie sync|directory]`: half of the rounds with
//! `disk`, half with `process`. Prints a line for each; ends with 1 and says why if a record is
//! lost that had to be there, or a number was given twice, or the listener panicked, or does not
//! start; with 77 if this machine does not let it mount.

mod disk;
mod listener;
mod mount;
mod oracle;
mod rng;

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aqueduct_client::{Client, Event, Options};

use disk::{Disk, Fault, Lie};
use listener::{Listener, PATIENCE, Place};
use mount::Mounted;
use oracle::Known;
use rng::Rng;

/// What this program ends with where it cannot do anything.
const SKIPPED: u8 = 77;
const CLIENTS: usize = 4;

struct Given {
    binary: PathBuf,
    rounds: u64,
    seed: u64,
    lie: Option<Lie>,
}

fn given() -> Option<Given> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next()?.into();
    let mut given = Given { binary, rounds: 200, seed: 1, lie: None };
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match (flag.as_str(), value.as_str()) {
            ("--rounds", _) => given.rounds = value.parse().ok()?,
            ("--seed", _) => given.seed = value.parse().ok()?,
            ("--lie", "sync") => given.lie = Some(Lie::Sync),
            ("--lie", "directory") => given.lie = Some(Lie::Directory),
            _ => return None,
        }
    }
    Some(given)
}

fn main() -> ExitCode {
    let Some(given) = given() else {
        eprintln!("lossy_disk BINARY [--rounds N] [--seed N] [--lie sync|directory]");
        return ExitCode::from(2);
    };
    if let Err(why) = may_mount() {
        eprintln!("skipped: a FUSE file system cannot be mounted here: {why}");
        return ExitCode::from(SKIPPED);
    }
    for durability in ["disk", "process"] {
        match run(&given, durability) {
            Ok(faults) if faults.is_empty() => {}
            Ok(faults) => {
                for fault in faults.iter().take(20) {
                    println!("{durability}: {fault}");
                }
                return ExitCode::FAILURE;
            }
            Err(error) => {
                println!("{durability}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn may_mount() -> std::io::Result<()> {
    let scratch = listener::scratch()?;
    let at = scratch.join("disk");
    std::fs::create_dir_all(&at)?;
    let disk = Arc::new(Mutex::new(Disk::new(0, None)));
    Mounted::new(&disk, &at, Duration::ZERO)?.end()
}

/// What clients, reader and rounds share.
struct Scene {
    address: Mutex<Option<SocketAddr>>,
    known: Mutex<Known>,
    stop: AtomicBool,
}

impl Scene {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_to(&self, address: Option<SocketAddr>) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

fn run(given: &Given, durability: &'static str) -> Result<Vec<String>, Box<dyn Error>> {
    let scratch = listener::scratch()?.join(durability);
    let at = scratch.join("disk");
    std::fs::create_dir_all(&at)?;
    let place = Place {
        binary: given.binary.canonicalize()?,
        journal: at.join("journals"),
        scratch: scratch.clone(),
        durability,
    };
    let disk = Arc::new(Mutex::new(Disk::new(given.seed, given.lie)));
    let scene = Scene {
        address: Mutex::new(None),
        known: Mutex::new(Known::default()),
        stop: AtomicBool::new(false),
    };
    let mut rounds = Rounds {
        given,
        disk,
        mounted: None,
        place,
        scene: &scene,
        rng: Rng::new(given.seed ^ 0xD15C),
        boots: 1,
        released: None,
        epoch: None,
        lost_power: false,
        kills: 0,
        ends: 0,
        refused_starts: 0,
    };
    let result = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let scene = &scene;
            scope.spawn(move || send(client, scene));
        }
        let result = rounds.all();
        scene.stop.store(true, Ordering::Relaxed);
        result
    });
    if let Some(mounted) = rounds.mounted.take() {
        mounted.end()?;
    }
    result?;
    let done = mount::lock(&rounds.disk).done;
    let mut known = scene.known();
    let answered = known.end();
    println!(
        "{durability}: rounds={} losses={} noticed={} sectors={} torn={} names={} errors={} \
         kills={} ends={} refused_starts={} answered={answered} seen={} taken_back={} \
         refused={} epochs={}",
        given.rounds.div_ceil(2),
        done.losses,
        done.noticed,
        done.sectors,
        done.torn,
        done.names,
        done.errors,
        rounds.kills,
        rounds.ends,
        rounds.refused_starts,
        known.seen(),
        known.taken_back,
        known.refused,
        known.epochs.len(),
    );
    let log = rounds.place.log();
    for line in log.lines().filter(|line| is_bad(line, durability)) {
        known.faults.push(line.to_owned());
    }
    if known.faults.is_empty() {
        listener::remove(&scratch);
    } else {
        println!("{durability}: the log is {}", scratch.join("log").display());
    }
    Ok(std::mem::take(&mut known.faults))
}

/// Whether the log may not say this: with `disk`, nothing that was safe is ever damaged.
fn is_bad(line: &str, durability: &str) -> bool {
    line.contains("panicked") || durability == "disk" && line.contains("the journal is damaged")
}

struct Rounds<'a> {
    given: &'a Given,
    disk: mount::Shared,
    mounted: Option<Mounted>,
    place: Place,
    scene: &'a Scene,
    rng: Rng,
    boots: u64,
    /// Epoch and number up to which the reader has released.
    released: Option<oracle::Place>,
    /// Epoch that the reader was in last.
    epoch: Option<u64>,
    /// Since the reader was in it, and the listener had not ended in order.
    lost_power: bool,
    kills: u64,
    ends: u64,
    refused_starts: u64,
}

impl Rounds<'_> {
    fn all(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..self.given.rounds.div_ceil(2) {
            self.round()?;
            let is_bad = |line| is_bad(line, self.place.durability);
            if !self.scene.known().faults.is_empty() || self.place.log().lines().any(is_bad) {
                return Ok(());
            }
        }
        // A quiet life, in which everything is read.
        self.mount()?;
        mount::lock(&self.disk).plan_nothing();
        let listener = self.place.start(self.boots)?.ok_or("it does not start any more")?;
        let mut reader = self.attach()?;
        self.read(&mut reader, &mut None, Duration::from_millis(200), true);
        listener.kill()?;
        Ok(())
    }

    fn mount(&mut self) -> Result<(), Box<dyn Error>> {
        if self.mounted.is_none() {
            let at = self.place.scratch.join("disk");
            self.mounted = Some(Mounted::new(&self.disk, &at, Duration::from_micros(300))?);
        }
        Ok(())
    }

    fn round(&mut self) -> Result<(), Box<dyn Error>> {
        self.mount()?;
        let fault = match self.rng.below(100) {
            0..60 => Some(Fault::PowerLoss),
            60..85 => Some(Fault::Eio),
            _ => None,
        };
        let at_start = self.rng.percent(30);
        let after = self.rng.below(if at_start { 40 } else { 250 });
        if let Some(fault) = fault.filter(|_| at_start) {
            mount::lock(&self.disk).plan(after, fault);
        }
        let Some(listener) = self.place.start(self.boots)? else {
            // Only a disk that fails is a reason.
            let (is_planned, has_power) = {
                let disk = mount::lock(&self.disk);
                (disk.is_planned(), disk.has_power())
            };
            self.refused_starts += 1;
            if is_planned || fault.is_none() {
                return Err(format!("it does not start: {}", self.last_words()).into());
            }
            return if has_power { Ok(()) } else { self.lose_power() };
        };
        if let Some(fault) = fault.filter(|_| !at_start) {
            mount::lock(&self.disk).plan(after, fault);
        }
        self.scene.move_to(Some(listener.http));
        let mut reader = self.attach()?;
        let at_most = Duration::from_millis(20 + self.rng.below(120) as u64);
        let mut last = None;
        self.read(&mut reader, &mut last, at_most, true);
        mount::lock(&self.disk).plan_nothing();
        self.end(listener, fault)?;
        // What was published and not read yet is still there for a reader that lives.
        if self.rng.percent(50) {
            self.read(&mut reader, &mut last, Duration::ZERO, false);
        }
        Ok(())
    }

    /// Ends the listener, and with most faults the power.
    fn end(&mut self, listener: Listener, fault: Option<Fault>) -> Result<(), Box<dyn Error>> {
        let loses_power = match fault {
            Some(Fault::PowerLoss) => true,
            Some(Fault::Eio) => self.rng.percent(50),
            None => false,
        };
        let ends_in_order = mount::lock(&self.disk).has_power() && self.rng.percent(15);
        if ends_in_order {
            self.ends += 1;
            let status = listener.terminate()?;
            if !status.success() {
                self.scene.known().fault(format!("it ended with {status}"));
            }
        } else {
            if loses_power {
                mount::lock(&self.disk).cut_power();
            }
            self.kills += 1;
            listener.kill()?;
        }
        self.scene.move_to(None);
        if loses_power {
            let had_error = fault == Some(Fault::Eio);
            self.lost_power |= !ends_in_order && !had_error;
            return self.lose_power();
        }
        Ok(())
    }

    fn lose_power(&mut self) -> Result<(), Box<dyn Error>> {
        mount::lock(&self.disk).cut_power();
        if let Some(mounted) = self.mounted.take() {
            mounted.end()?;
        }
        mount::lock(&self.disk).restore_power();
        self.boots += 1;
        if self.place.durability == "process" {
            self.scene.known().forgive();
        }
        Ok(())
    }

    fn attach(&self) -> Result<Client, Box<dyn Error>> {
        Ok(Options::new(self.place.socket()).timeout(PATIENCE).attach()?)
    }

    /// Reads for so long, or until there is no power; `last` is the number that was read last.
    fn read(
        &mut self,
        reader: &mut Client,
        last: &mut Option<u64>,
        at_most: Duration,
        releases: bool,
    ) {
        let epoch = reader.info().epoch;
        let mut known = self.scene.known();
        if self.epoch.replace(epoch).is_some_and(|before| before == epoch)
            && self.place.durability == "process"
            && self.lost_power
            && releases
        {
            known.fault(format!("epoch {epoch:x} goes on though the power was lost"));
        }
        if releases {
            self.lost_power = false;
        }
        drop(known);
        let until = Instant::now() + at_most;
        loop {
            let event = match reader.next() {
                Ok(Event::Record((record, payload))) => Ok((record.seq, payload.to_vec())),
                Ok(_) => Err(None),
                Err(error) => Err(Some(error.to_string())),
            };
            let (seq, payload) = match event {
                Ok(record) => record,
                Err(Some(error)) => return self.scene.known().fault(format!("reader: {error}")),
                Err(None) => {
                    let has_power = mount::lock(&self.disk).has_power();
                    if Instant::now() > until || !has_power {
                        return;
                    }
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
            };
            let mut known = self.scene.known();
            match (*last, self.released) {
                (None, Some((of, released))) if of == epoch && seq > released => {
                    known.fault(format!("{epoch:x}: begins with {seq}, released: {released}"));
                }
                (Some(last), _) if seq != last + 1 => {
                    known.fault(format!("{epoch:x}: {seq} comes after {last}"));
                }
                _ => {}
            }
            known.see((epoch, seq), &payload);
            *last = Some(seq);
            if releases && self.rng.percent(25) {
                reader.release();
                let before = self.released.filter(|(of, _)| *of == epoch).map_or(0, |it| it.1);
                self.released = Some((epoch, before.max(seq + 1)));
            }
        }
    }

    fn last_words(&self) -> String {
        let log = self.place.log();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.join(" / ")
    }
}

/// Sends records, all different, until it is told to stop, wherever the listener is.
fn send(client: usize, scene: &Scene) {
    let mut number = 0_u64;
    while !scene.stop.load(Ordering::Relaxed) {
        let at = *scene.address.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = at.and_then(|at| TcpStream::connect_timeout(&at, PATIENCE).ok());
        let Some(mut stream) = stream else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let _ = stream.set_read_timeout(Some(PATIENCE));
        while !scene.stop.load(Ordering::Relaxed) {
            number += 1;
            let more = "x".repeat((number * 37 % 700) as usize);
            let payload = format!("client {client}, record {number}, {more}");
            let request = format!(
                "POST /v1/rings/default/records HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n\
                 {payload}",
                payload.len()
            );
            // A connection that breaks says nothing about its last record.
            let sent = stream.write_all(request.as_bytes()).ok();
            let Some((status, body)) = sent.and_then(|()| answer(&mut stream)) else { break };
            let place = (field(&body, "\"epoch\""), field(&body, "\"seq\""));
            let mut known = scene.known();
            match (status, place) {
                (202, (Some(epoch), Some(seq))) => {
                    let (epoch, seq) = (u64::from_str_radix(&epoch, 16), seq.parse());
                    match (epoch, seq) {
                        (Ok(epoch), Ok(seq)) => known.answer((epoch, seq), payload.as_bytes()),
                        _ => known.fault(format!("an answer of nonsense: {body}")),
                    }
                }
                (503, _) => {
                    known.refused += 1;
                    drop(known);
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => known.fault(format!("answered {status}: {body}")),
            }
        }
    }
}

/// Status and body; `None` if the connection ends before.
fn answer(stream: &mut TcpStream) -> Option<(u16, String)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some((status, String::from_utf8(body).ok()?))
}

/// The value of a field of a small JSON object, without quotes.
fn field(body: &str, name: &str) -> Option<String> {
    let after = body.split_once(name)?.1.trim_start_matches([' ', ':', '"']);
    Some(after.split(['"', ',', '}']).next()?.to_owned())
}
