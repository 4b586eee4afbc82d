//! A file system in memory that keeps what was not synced apart, and makes the images that a loss
//! of power may leave: any version of each sector that was written, any of the changes of names,
//! and one sector torn.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::journal::files::{File, Files};
use crate::sync::lock;

/// What a device writes at once.
const SECTOR: usize = 512;

/// One file, whatever its names.
#[derive(Clone, Default)]
struct Inode {
    /// As the process sees it.
    live: Vec<u8>,
    /// As the disk has it for certain.
    durable: Vec<u8>,
    /// Sectors on their way, in order: number and content.
    pending: Vec<(usize, [u8; SECTOR])>,
}

/// A change of names on its way.
#[derive(Clone)]
enum DirOp {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

/// All of it.
#[derive(Clone, Default)]
pub(super) struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    dir_ops: Vec<DirOp>,
    locked: bool,
}

/// A call that fails, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// Which one, counted from 0.
    pub(super) call: usize,
    /// With what.
    pub(super) errno: i32,
    /// A write of one byte, which is no error.
    pub(super) short: bool,
}

#[derive(Default)]
struct Inner {
    state: State,
    /// The state after each change, if it is recorded.
    trail: Option<Vec<State>>,
    /// Calls so far, by name.
    calls: Vec<&'static str>,
    fault: Option<Fault>,
}

/// The file system; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Sim(Arc<Mutex<Inner>>);

/// An open file.
pub(super) struct SimFile(Sim, usize);

/// The lock.
pub(super) struct SimLock(Sim);

impl Drop for SimLock {
    fn drop(&mut self) {
        lock(&self.0.0).state.locked = false;
    }
}

/// Decides between so many possibilities.
pub(super) trait Choice {
    fn choose(&mut self, of: usize) -> usize;
}

/// All combinations, one after the other.
#[derive(Default)]
pub(super) struct All {
    digits: Vec<(usize, usize)>,
    at: usize,
}

impl Choice for All {
    fn choose(&mut self, of: usize) -> usize {
        if self.at == self.digits.len() {
            self.digits.push((0, of));
        }
        self.at += 1;
        self.digits[self.at - 1].0
    }
}

impl All {
    /// Goes on to the next combination; false if that was the last.
    pub(super) fn advance(&mut self) -> bool {
        self.digits.truncate(self.at);
        self.at = 0;
        while let Some((digit, of)) = self.digits.last_mut() {
            if *digit + 1 < *of {
                *digit += 1;
                return true;
            }
            self.digits.pop();
        }
        false
    }
}

/// A generator of pseudo-random numbers (`SplitMix64`).
#[derive(Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

impl Choice for Random {
    fn choose(&mut self, of: usize) -> usize {
        usize::try_from(self.next() % of as u64).unwrap_or(0)
    }
}

impl State {
    /// What is left after the power is lost and comes back.
    pub(super) fn image(&self, choice: &mut impl Choice) -> Self {
        let mut names = self.durable_names.clone();
        for op in &self.dir_ops {
            if choice.choose(2) == 0 {
                op.apply(&mut names);
            }
        }
        let mut inodes = vec![Inode::default(); self.inodes.len()];
        for &index in names.values() {
            inodes[index] = self.inodes[index].image(choice);
        }
        Self { inodes, durable_names: names.clone(), names, dir_ops: Vec::new(), locked: false }
    }

    /// What is left after the process is killed.
    pub(super) fn killed(&self) -> Self {
        Self { locked: false, ..self.clone() }
    }

    /// Files and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.names.len(), self.names.values().map(|&index| self.inodes[index].live.len()).sum())
    }

    /// Flips a bit of a file, on the disk and in memory.
    pub(super) fn damage(&mut self, name: &str, bit: usize) {
        if let Some(&index) = self.names.get(name) {
            let inode = &mut self.inodes[index];
            for bytes in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = bytes.get_mut(bit / 8) {
                    *byte ^= 1 << (bit % 8);
                }
            }
        }
    }

    /// Has a file with these bytes.
    pub(super) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let inode = Inode { live: bytes.clone(), durable: bytes, pending: Vec::new() };
        self.inodes.push(inode);
        self.names.insert(name.to_owned(), self.inodes.len() - 1);
        self.durable_names = self.names.clone();
    }

    /// Has no such file any more.
    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.durable_names = self.names.clone();
    }

    /// Bytes of a file.
    pub(super) fn get(&self, name: &str) -> Vec<u8> {
        self.names.get(name).map_or_else(Vec::new, |&index| self.inodes[index].live.clone())
    }

    /// Names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }
}

impl DirOp {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, index) => {
                names.insert(name.clone(), *index);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to, index) => {
                names.remove(from);
                names.insert(to.clone(), *index);
            }
        }
    }
}

impl Inode {
    fn image(&self, choice: &mut impl Choice) -> Self {
        let mut bytes = self.durable.clone();
        let mut put = |sector: usize, content: &[u8]| {
            let at = sector * SECTOR;
            let end = (at + content.len()).min(self.live.len());
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[at..end].copy_from_slice(&content[..end - at]);
        };
        let mut sectors: BTreeMap<usize, Vec<&[u8; SECTOR]>> = BTreeMap::new();
        for (sector, content) in &self.pending {
            sectors.entry(*sector).or_default().push(content);
        }
        let last = self.pending.last().map(|(sector, _)| *sector);
        for (sector, versions) in sectors {
            // The last of all may be torn in the middle, at a place that splits records.
            let torn = usize::from(last == Some(sector));
            let chosen = choice.choose(1 + versions.len() + torn);
            if chosen == 1 + versions.len() {
                put(sector, &versions[versions.len() - 1][..SECTOR / 2 + 48]);
            } else if chosen > 0 {
                put(sector, versions[chosen - 1]);
            }
        }
        Self { live: bytes.clone(), durable: bytes, pending: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        let grows = self.live.len() < end;
        let before = self.live.clone();
        if grows {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.live.len());
            let content = &self.live[range.clone()];
            if before.get(range) == Some(content) {
                continue;
            }
            let mut whole = [0; SECTOR];
            whole[..content.len()].copy_from_slice(content);
            self.pending.push((sector, whole));
        }
    }
}

impl Sim {
    /// A file system in this state.
    pub(super) fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(Inner { state, ..Inner::default() })))
    }

    /// Keeps the state after each change from now on.
    pub(super) fn record(&self) {
        let mut inner = lock(&self.0);
        let now = inner.state.clone();
        inner.trail = Some(vec![now]);
    }

    /// States so far.
    pub(super) fn trail_len(&self) -> usize {
        lock(&self.0).trail.as_ref().map_or(0, Vec::len)
    }

    /// Takes them.
    pub(super) fn take_trail(&self) -> Vec<State> {
        lock(&self.0).trail.take().unwrap_or_default()
    }

    /// The state now.
    pub(super) fn state(&self) -> State {
        lock(&self.0).state.clone()
    }

    /// Has one call fail.
    pub(super) fn fail(&self, fault: Fault) {
        lock(&self.0).fault = Some(fault);
    }

    /// The calls so far.
    pub(super) fn calls(&self) -> Vec<&'static str> {
        lock(&self.0).calls.clone()
    }

    /// Makes one call, which may be the one that fails.
    fn call<T>(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut inner = lock(&self.0);
        let number = inner.calls.len();
        inner.calls.push(name);
        let fault = inner.fault.filter(|fault| fault.call == number);
        if let Some(fault) = fault.filter(|fault| !fault.short && name != "fdatasync") {
            return Err(io::Error::from_raw_os_error(fault.errno));
        }
        let result = work(&mut inner.state, fault);
        if !matches!(name, "pread" | "size" | "list" | "open") {
            let now = inner.state.clone();
            if let Some(trail) = &mut inner.trail {
                trail.push(now);
            }
        }
        result
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Files for Sim {
    type File = SimFile;
    type Lock = SimLock;

    fn lock(&self, _: &str) -> io::Result<SimLock> {
        self.call("lock", |state, _| {
            if std::mem::replace(&mut state.locked, true) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        })?;
        Ok(SimLock(self.clone()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.call("list", |state, _| Ok(state.names()))
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        let index =
            self.call("open", |state, _| state.names.get(name).copied().ok_or_else(missing))?;
        Ok(SimFile(self.clone(), index))
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let index = self.call("create", |state, _| {
            state.inodes.push(Inode::default());
            let index = state.inodes.len() - 1;
            let op = DirOp::Link(name.to_owned(), index);
            op.apply(&mut state.names);
            state.dir_ops.push(op);
            Ok(index)
        })?;
        Ok(SimFile(self.clone(), index))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", |state, _| {
            let index = *state.names.get(from).ok_or_else(missing)?;
            let op = DirOp::Rename(from.to_owned(), to.to_owned(), index);
            op.apply(&mut state.names);
            state.dir_ops.push(op);
            Ok(())
        })
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        self.call("unlink", |state, _| {
            state.names.get(name).ok_or_else(missing)?;
            let op = DirOp::Unlink(name.to_owned());
            op.apply(&mut state.names);
            state.dir_ops.push(op);
            Ok(())
        })
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.call("sync_dir", |state, _| {
            state.durable_names = state.names.clone();
            state.dir_ops.clear();
            Ok(())
        })
    }
}

impl File for SimFile {
    fn size(&self) -> io::Result<u64> {
        self.0.call("size", |state, _| Ok(state.inodes[self.1].live.len() as u64))
    }

    fn pread(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.call("pread", |state, fault| {
            let live = &state.inodes[self.1].live;
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(live.len());
            let most = if fault.is_some() { 1 } else { into.len() };
            let read = most.min(into.len()).min(live.len() - at);
            into[..read].copy_from_slice(&live[at..at + read]);
            Ok(read)
        })
    }

    fn pwrite(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.0.call("pwrite", |state, fault| {
            let bytes = if fault.is_some() { &bytes[..bytes.len().min(1)] } else { bytes };
            state.inodes[self.1].write(bytes, usize::try_from(at).unwrap_or(usize::MAX));
            Ok(bytes.len())
        })
    }

    fn fdatasync(&self) -> io::Result<()> {
        self.0.call("fdatasync", |state, fault| {
            let inode = &mut state.inodes[self.1];
            let pending = std::mem::take(&mut inode.pending);
            if let Some(fault) = fault.filter(|fault| !fault.short) {
                // As Linux does it: what could not be written counts as clean from now on.
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
            inode.durable.resize(inode.live.len(), 0);
            for (sector, content) in pending {
                let at = sector * SECTOR;
                let end = (at + SECTOR).min(inode.live.len());
                inode.durable[at..end].copy_from_slice(&content[..end - at]);
            }
            Ok(())
        })
    }

    fn fallocate(&self, bytes: u64) -> io::Result<()> {
        self.0.call("fallocate", |state, _| {
            let inode = &mut state.inodes[self.1];
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if inode.live.len() < bytes {
                inode.live.resize(bytes, 0);
            }
            Ok(())
        })
    }

    fn forget(&self) -> io::Result<()> {
        self.0.call("forget", |state, _| {
            let inode = &mut state.inodes[self.1];
            if inode.pending.is_empty() {
                inode.live = inode.durable.clone();
            }
            Ok(())
        })
    }

    fn is_linked(&self) -> io::Result<bool> {
        self.0.call("size", |state, _| Ok(state.names.values().any(|&index| index == self.1)))
    }
}
