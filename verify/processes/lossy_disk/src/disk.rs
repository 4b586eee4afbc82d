//! What a disk holds, and what it was told and may forget.
//!
//! Pure: no FUSE, no clock. Promised across a loss of power is what POSIX promises and nothing
//! else: the bytes and the size of a file once `sync` of it has returned, names once `sync` of
//! their directory has. Of the rest any part may be there: for each sector of 512 bytes any version
//! since the last sync, the last one written torn in the middle, any of the sizes, any of the
//! changes of names, in any order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::rng::Rng;

/// The directory at the top.
pub const ROOT: u64 = 1;
const SECTOR: usize = 512;
/// Versions of a sector that are kept apart; older ones are dropped at random.
const VERSIONS: usize = 4;

/// What an operation is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An error of the medium: the one that was planned, or any once there is no power.
    Io,
    NotFound,
    Exists,
    NotEmpty,
}

/// What happens at one of the next operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no power from then on.
    PowerLoss,
    /// It answers EIO, once.
    Eio,
}

/// An operation that returns as if it had done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The sync of a file.
    Sync,
    /// The sync of a directory.
    Directory,
}

/// What the disk has done to its user.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Losses of power.
    pub losses: u64,
    /// Of them, those after which something was not as it had been.
    pub noticed: u64,
    /// Sectors that were lost or went back to an earlier version.
    pub sectors: u64,
    /// Sectors that were torn.
    pub torn: u64,
    /// Changes of names that were lost.
    pub names: u64,
    /// Operations that were answered with EIO.
    pub errors: u64,
}

enum Node {
    Directory(Directory),
    File(File),
}

#[derive(Default)]
struct Directory {
    now: BTreeMap<String, u64>,
    safe: BTreeMap<String, u64>,
    /// Since the last sync: each sets names to nodes, or to nothing.
    changes: Vec<Vec<(String, Option<u64>)>>,
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    /// By number of the sector: its contents since the last sync.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sizes since the last sync.
    sizes: Vec<usize>,
}

/// The whole disk.
pub struct Disk {
    nodes: HashMap<u64, Node>,
    next: u64,
    rng: Rng,
    /// Operations until it happens.
    planned: Option<(usize, Fault)>,
    has_power: bool,
    /// File and sector that were written last.
    last: Option<(u64, usize)>,
    lie: Option<Lie>,
    pub done: Done,
}

impl Disk {
    pub fn new(seed: u64, lie: Option<Lie>) -> Self {
        Self {
            nodes: HashMap::from([(ROOT, Node::Directory(Directory::default()))]),
            next: ROOT + 1,
            rng: Rng::new(seed),
            planned: None,
            has_power: true,
            last: None,
            lie,
            done: Done::default(),
        }
    }

    /// Has something happen at the operation after so many more.
    pub fn plan(&mut self, after: usize, fault: Fault) {
        self.planned = Some((after, fault));
    }

    /// Returns whether what was planned is still to come.
    pub fn is_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// Forgets what was planned.
    pub fn plan_nothing(&mut self) {
        self.planned = None;
    }

    pub fn has_power(&self) -> bool {
        self.has_power
    }

    /// From now on nothing works and nothing changes.
    pub fn cut_power(&mut self) {
        self.has_power = false;
    }

    /// Counts an operation. `Err` if it fails.
    fn step(&mut self) -> Result<(), Refused> {
        if !self.has_power {
            return Err(Refused::Io);
        }
        let Some((after, fault)) = &mut self.planned else { return Ok(()) };
        if *after > 0 {
            *after -= 1;
            return Ok(());
        }
        let fault = *fault;
        self.planned = None;
        match fault {
            Fault::PowerLoss => self.has_power = false,
            Fault::Eio => self.done.errors += 1,
        }
        Err(Refused::Io)
    }

    fn file(&mut self, node: u64) -> Result<&mut File, Refused> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(Refused::NotFound),
        }
    }

    fn directory(&mut self, node: u64) -> Result<&mut Directory, Refused> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(Refused::NotFound),
        }
    }

    /// Returns whether it is a directory, its size in bytes, and how many names it has.
    pub fn look(&self, node: u64) -> Option<(bool, u64, u32)> {
        let linked = |directory: &Node| match directory {
            Node::Directory(directory) => directory.now.values().filter(|to| **to == node).count(),
            Node::File(_) => 0,
        };
        match self.nodes.get(&node)? {
            Node::Directory(_) => Some((true, 0, 2)),
            Node::File(file) => {
                let links: usize = self.nodes.values().map(linked).sum();
                Some((false, file.now.len() as u64, links as u32))
            }
        }
    }

    pub fn lookup(&mut self, parent: u64, name: &str) -> Result<u64, Refused> {
        if !self.has_power {
            return Err(Refused::Io);
        }
        self.directory(parent)?.now.get(name).copied().ok_or(Refused::NotFound)
    }

    pub fn list(&mut self, node: u64) -> Result<Vec<(String, u64)>, Refused> {
        if !self.has_power {
            return Err(Refused::Io);
        }
        let names = &self.directory(node)?.now;
        Ok(names.iter().map(|(name, node)| (name.clone(), *node)).collect())
    }

    pub fn make(&mut self, parent: u64, name: &str, is_directory: bool) -> Result<u64, Refused> {
        self.step()?;
        let node = self.next;
        let directory = self.directory(parent)?;
        if directory.now.contains_key(name) {
            return Err(Refused::Exists);
        }
        directory.change(vec![(name.to_owned(), Some(node))]);
        self.next += 1;
        let new = if is_directory {
            Node::Directory(Directory::default())
        } else {
            Node::File(File::default())
        };
        self.nodes.insert(node, new);
        Ok(node)
    }

    pub fn unlink(&mut self, parent: u64, name: &str) -> Result<(), Refused> {
        self.step()?;
        let node = self.lookup(parent, name)?;
        if let Some(Node::Directory(directory)) = self.nodes.get(&node)
            && !directory.now.is_empty()
        {
            return Err(Refused::NotEmpty);
        }
        self.directory(parent)?.change(vec![(name.to_owned(), None)]);
        Ok(())
    }

    pub fn rename(&mut self, parent: u64, from: &str, to: &str) -> Result<(), Refused> {
        self.step()?;
        let node = self.lookup(parent, from)?;
        let change = vec![(to.to_owned(), Some(node)), (from.to_owned(), None)];
        self.directory(parent)?.change(change);
        Ok(())
    }

    pub fn read(&mut self, node: u64, at: u64, len: usize) -> Result<Vec<u8>, Refused> {
        self.step()?;
        let file = self.file(node)?;
        let from = (at as usize).min(file.now.len());
        Ok(file.now[from..file.now.len().min(from + len)].to_vec())
    }

    pub fn write(&mut self, node: u64, at: u64, bytes: &[u8]) -> Result<(), Refused> {
        let refused = self.step();
        if refused.is_err() && !self.has_power {
            return refused;
        }
        // Of a write that fails, the first bytes may be there.
        let kept = if refused.is_ok() { bytes.len() } else { self.rng.below(bytes.len() + 1) };
        let drop = self.rng.below(VERSIONS);
        let file = self.file(node)?;
        file.write(at as usize, &bytes[..kept], drop);
        if kept > 0 {
            self.last = Some((node, (at as usize + kept - 1) / SECTOR));
        }
        refused
    }

    pub fn resize(&mut self, node: u64, size: u64) -> Result<(), Refused> {
        self.step()?;
        let file = self.file(node)?;
        let size = size as usize;
        if size < file.now.len() {
            file.now.truncate(size);
            // Sectors past the end read as zeros when the file grows again.
            let first = size.div_ceil(SECTOR);
            let gone: Vec<usize> = file.dirty.range(first..).map(|(sector, _)| *sector).collect();
            for sector in gone {
                file.dirty.entry(sector).or_default().push(vec![0; SECTOR]);
            }
            let past = file.safe.len().div_ceil(SECTOR);
            for sector in first..past {
                file.dirty.entry(sector).or_default().push(vec![0; SECTOR]);
            }
        } else {
            file.now.resize(size, 0);
        }
        file.sizes.push(size);
        Ok(())
    }

    /// Reserves space.
    pub fn reserve(&mut self, node: u64, end: u64) -> Result<(), Refused> {
        let size = self.file(node)?.now.len() as u64;
        if end > size { self.resize(node, end) } else { self.step() }
    }

    pub fn sync(&mut self, node: u64) -> Result<(), Refused> {
        let refused = self.step();
        if refused.is_err() && !self.has_power {
            return refused;
        }
        if refused.is_ok() && self.lie == Some(Lie::Sync) {
            return Ok(());
        }
        if refused.is_err() {
            self.half_sync(node)?;
            return refused;
        }
        self.file(node)?.sync();
        Ok(())
    }

    /// A sync that fails: some sectors were written, and the others are forgotten, though the
    /// system takes them for written and shows them until it drops them from its cache.
    fn half_sync(&mut self, node: u64) -> Result<(), Refused> {
        let Some(Node::File(file)) = self.nodes.get_mut(&node) else {
            return Err(Refused::NotFound);
        };
        let size = file.now.len();
        file.safe.resize(size, 0);
        for sector in file.dirty.keys() {
            let range = range_of(*sector, size);
            if self.rng.percent(50) {
                file.safe[range.clone()].copy_from_slice(&file.now[range]);
            } else {
                self.done.sectors += 1;
                file.now[range.clone()].copy_from_slice(&file.safe[range]);
            }
        }
        file.dirty.clear();
        file.sizes.clear();
        Ok(())
    }

    pub fn sync_directory(&mut self, node: u64) -> Result<(), Refused> {
        self.step()?;
        if self.lie == Some(Lie::Directory) {
            return Ok(());
        }
        let directory = self.directory(node)?;
        directory.safe = directory.now.clone();
        directory.changes.clear();
        Ok(())
    }

    /// What is found when there is power again.
    pub fn restore_power(&mut self) {
        let before = (self.done.sectors, self.done.names, self.done.torn);
        // Nothing that was not synced, all of it, or any part.
        let chance = [0, 100, 50, 90][self.rng.below(4)];
        let torn = self.last.take().filter(|_| self.rng.percent(50));
        for (number, node) in &mut self.nodes {
            match node {
                Node::Directory(directory) => {
                    self.done.names += directory.lose(&mut self.rng, chance);
                }
                Node::File(file) => {
                    let torn = torn.filter(|(of, _)| of == number).map(|(_, sector)| sector);
                    let (lost, tears) = file.lose(&mut self.rng, chance, torn);
                    self.done.sectors += lost;
                    self.done.torn += tears;
                }
            }
        }
        self.remove_unreachable();
        self.done.losses += 1;
        let after = (self.done.sectors, self.done.names, self.done.torn);
        self.done.noticed += u64::from(before != after);
        self.has_power = true;
        self.planned = None;
    }

    fn remove_unreachable(&mut self) {
        let (mut found, mut open) = (BTreeSet::from([ROOT]), vec![ROOT]);
        while let Some(node) = open.pop() {
            let Some(Node::Directory(directory)) = self.nodes.get(&node) else { continue };
            for to in directory.now.values() {
                if found.insert(*to) {
                    open.push(*to);
                }
            }
        }
        self.nodes.retain(|node, _| found.contains(node));
    }
}

fn range_of(sector: usize, size: usize) -> std::ops::Range<usize> {
    let from = (sector * SECTOR).min(size);
    from..(from + SECTOR).min(size)
}

impl Directory {
    fn change(&mut self, change: Vec<(String, Option<u64>)>) {
        apply(&mut self.now, &change);
        self.changes.push(change);
    }

    /// Returns how many changes are lost.
    fn lose(&mut self, rng: &mut Rng, chance: usize) -> u64 {
        let mut kept: Vec<_> = self.changes.drain(..).map(|it| (rng.percent(chance), it)).collect();
        let lost = kept.iter().filter(|(is_kept, _)| !is_kept).count();
        if lost > 0 {
            rng.shuffle(&mut kept);
        }
        for (_, change) in kept.iter().filter(|(is_kept, _)| *is_kept) {
            apply(&mut self.safe, change);
        }
        self.now = self.safe.clone();
        lost as u64
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &[(String, Option<u64>)]) {
    for (name, node) in change {
        match node {
            Some(node) => names.insert(name.clone(), *node),
            None => names.remove(name),
        };
    }
}

impl File {
    fn write(&mut self, at: usize, bytes: &[u8], drop: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.now.len() {
            self.now.resize(end, 0);
            self.sizes.push(end);
        }
        self.now[at..end].copy_from_slice(bytes);
        for sector in at / SECTOR..=(end - 1) / SECTOR {
            let mut content = self.now[range_of(sector, self.now.len())].to_vec();
            content.resize(SECTOR, 0);
            let versions = self.dirty.entry(sector).or_default();
            versions.push(content);
            if versions.len() > VERSIONS {
                versions.remove(drop.min(VERSIONS - 1));
            }
        }
    }

    fn sync(&mut self) {
        let size = self.now.len();
        self.safe.resize(size, 0);
        for sector in std::mem::take(&mut self.dirty).keys() {
            let range = range_of(*sector, size);
            self.safe[range.clone()].copy_from_slice(&self.now[range]);
        }
        self.sizes.clear();
    }

    /// Returns how many sectors are lost, and torn.
    fn lose(&mut self, rng: &mut Rng, chance: usize, torn: Option<usize>) -> (u64, u64) {
        let size = match self.sizes.len() {
            0 => self.safe.len(),
            _ if !rng.percent(chance) => self.safe.len(),
            sizes => self.sizes[rng.below(sizes)],
        };
        self.sizes.clear();
        self.safe.resize(size, 0);
        let (mut lost, mut tears) = (0, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let range = range_of(sector, size);
            let before = self.safe[range.clone()].to_vec();
            let newest = versions.len() - 1;
            let mut picked = if chance == 100 { Some(newest) } else { None };
            if chance < 100 && rng.percent(chance) {
                picked = Some(rng.below(versions.len()));
            }
            if torn == Some(sector) {
                let older = newest.checked_sub(1).map_or(&before, |older| &versions[older]);
                let cut = rng.below(SECTOR);
                let mut content = older.clone();
                content.resize(SECTOR, 0);
                content[..cut].copy_from_slice(&versions[newest][..cut]);
                self.safe[range.clone()].copy_from_slice(&content[..range.len()]);
                tears += 1;
                continue;
            }
            lost += u64::from(picked != Some(newest));
            if let Some(version) = picked {
                self.safe[range.clone()].copy_from_slice(&versions[version][..range.len()]);
            }
        }
        self.now = self.safe.clone();
        (lost, tears)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (Disk, u64) {
        let mut disk = Disk::new(1, None);
        let file = disk.make(ROOT, "a", false).expect("room");
        (disk, file)
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let (mut gone, mut stayed) = (0, 0);
        for seed in 0..200 {
            let (mut disk, file) = disk();
            disk.rng = Rng::new(seed);
            disk.write(file, 0, &[1; 1000]).expect("power");
            disk.sync(file).expect("power");
            disk.sync_directory(ROOT).expect("power");
            disk.write(file, 600, &[2; 1000]).expect("power");
            disk.make(ROOT, "b", false).expect("power");
            disk.cut_power();
            assert_eq!(disk.sync(file), Err(Refused::Io));
            disk.restore_power();
            let found = disk.read(file, 0, 5000).expect("power");
            assert_eq!(found[..512], [1; 512]);
            assert!(found.len() >= 1000 && found[..600] == [1; 600]);
            assert_eq!(disk.lookup(ROOT, "a"), Ok(file));
            *if found.contains(&2) { &mut stayed } else { &mut gone } += 1;
            assert!(disk.lookup(ROOT, "b").is_ok() || disk.nodes.len() == 2);
        }
        assert!(gone > 20 && stayed > 20, "{gone} {stayed}");
    }

    #[test]
    fn a_name_that_was_not_synced_may_go_with_its_file() {
        let mut found = [0; 2];
        for seed in 0..100 {
            let (mut disk, file) = disk();
            disk.rng = Rng::new(seed);
            disk.write(file, 0, b"x").expect("power");
            disk.sync(file).expect("power");
            disk.rename(ROOT, "a", "b").expect("power");
            disk.cut_power();
            disk.restore_power();
            let names = disk.list(ROOT).expect("power");
            assert!(names.len() <= 1, "{names:?}");
            found[names.len()] += 1;
        }
        assert!(found.iter().all(|times| *times > 10), "{found:?}");
    }

    #[test]
    fn an_error_comes_once_and_a_sync_that_fails_forgets() {
        let mut forgot = 0;
        for seed in 0..50 {
            let (mut disk, file) = disk();
            disk.rng = Rng::new(seed);
            disk.write(file, 0, &[7; 512]).expect("power");
            disk.plan(0, Fault::Eio);
            assert_eq!(disk.sync(file), Err(Refused::Io));
            assert_eq!(disk.sync(file), Ok(()));
            forgot += u32::from(disk.read(file, 0, 512).expect("power") == [0; 512]);
            assert_eq!(disk.done.errors, 1);
        }
        assert!((10..40).contains(&forgot), "{forgot}");
    }
}
