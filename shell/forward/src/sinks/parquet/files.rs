//! Names of files, the way to them, and which records they have already.
//!
//! A file is written as `.SUBSCRIPTION-PID-N.tmp` beside the partitions, synced, and renamed to
//! `SUBSCRIPTION-EPOCH-FIRST-LAST.parquet` in its own. A process that ends in between leaves whole
//! files of records that were not released: these come again, and are looked for in the files
//! whose range they are in. With a bucket, files are written beside, and sent in place of getting
//! their name. A temporary name is locked as long as somebody uses it, so what a process left is
//! told from what another one writes, whose flow may have the same name.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rustix::fs::{Access, FlockOperation, access, flock};

#[cfg(feature = "s3")]
use super::bucket::Bucket;
use super::columns::FIXED;
use crate::sink::Failure;
use crate::stop::Stop;

/// Partitions that are remembered; with more, all are forgotten and looked at again.
const MOST_PARTITIONS: usize = 4096;
/// A file has records of one batch, which are fewer, wanted or not.
const MOST_SPAN: u64 = 1 << 24;

/// The directory of a sink.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    /// Where files go when they are whole; without one they get their names below `root`.
    #[cfg(feature = "s3")]
    bucket: Option<Bucket>,
    /// What the names of all files begin with.
    flow: String,
    /// Number of the next temporary file.
    next: u64,
    is_clean: bool,
    /// The epoch of `known`.
    epoch: u64,
    /// For each partition that was looked at, the sequence numbers in its files from the first
    /// that came.
    known: HashMap<String, HashSet<u64>>,
    /// Directories whose entries are not synced yet.
    unsynced: BTreeSet<PathBuf>,
}

/// The temporary name of a file; it is removed unless the file gets its name. Locked until then.
#[derive(Debug)]
pub(super) struct Temporary(Option<(PathBuf, File)>);

impl Temporary {
    fn path(&self) -> Option<&Path> {
        self.0.as_ref().map(|(path, _)| path.as_path())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some((path, _locked)) = self.0.take() {
            // If it fails, the next process removes it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Locks a file unless somebody else has. True also where the file system has no locks.
fn lock(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(rustix::io::Errno::WOULDBLOCK)
}

/// Whether this is what comes after the name of the flow in a temporary name: `PID-N`. That of a
/// flow whose name goes on has more parts.
fn is_temporary(rest: &str) -> bool {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
    let parts = rest.strip_suffix(".tmp").and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// A file that is whole and synced, and has no name yet.
#[derive(Debug)]
pub(super) struct Whole<'w> {
    pub(super) directory: &'w str,
    pub(super) epoch: u64,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) temporary: &'w mut Temporary,
}

impl Files {
    pub(super) fn new(root: PathBuf, flow: String) -> Self {
        Self {
            root,
            #[cfg(feature = "s3")]
            bucket: None,
            flow,
            next: 0,
            is_clean: false,
            epoch: 0,
            known: HashMap::new(),
            unsynced: BTreeSet::new(),
        }
    }

    /// Has them sent to a bucket; the directory is where they are written before.
    #[cfg(feature = "s3")]
    pub(super) fn of_bucket(self, bucket: Bucket) -> Self {
        Self { bucket: Some(bucket), ..self }
    }

    /// Asks the bucket whether it is there, if there is one.
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        unused_variables,
        reason = "without the feature there is none"
    )]
    pub(super) fn probe(&self, stop: &Stop) -> Result<(), Failure> {
        #[cfg(feature = "s3")]
        if let Some(bucket) = &self.bucket {
            bucket.probe(stop)?;
        }
        Ok(())
    }

    /// Looks whether the directory is there and can be written to; the first time, removes what a
    /// process before this one left half written.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        if !fs::metadata(&self.root).map_err(|error| self.failure(&error))?.is_dir() {
            return Err(Failure::stop(format!("{}: no directory", self.root.display())));
        }
        let allowed = access(&self.root, Access::WRITE_OK | Access::EXEC_OK);
        allowed.map_err(|error| self.failure(&error.into()))?;
        if self.is_clean {
            return Ok(());
        }
        let begin = format!(".{}-", self.flow);
        for entry in fs::read_dir(&self.root).map_err(|error| self.failure(&error))? {
            let name = entry.map_err(|error| self.failure(&error))?.file_name();
            let Some(name) = name.to_str() else { continue };
            if !name.strip_prefix(&begin).is_some_and(is_temporary) {
                continue;
            }
            // For writing, or NFS would not lock it.
            let left = match File::options().write(true).open(self.root.join(name)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(self.failure(&error)),
            };
            if !lock(&left) {
                continue;
            }
            match fs::remove_file(self.root.join(name)) {
                Ok(()) => tracing::warn!(name, "removed what another process left half written"),
                // Published or removed since it was opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failure(&error)),
            }
        }
        self.is_clean = true;
        Ok(())
    }

    /// Creates a file under a temporary name.
    pub(super) fn create(&mut self) -> Result<(File, Temporary), Failure> {
        let name = format!(".{}-{}-{}.tmp", self.flow, std::process::id(), self.next);
        self.next += 1;
        let path = self.root.join(name);
        let file = File::create_new(&path).map_err(|error| self.failure(&error))?;
        let locked = file.try_clone().map_err(|error| self.failure(&error))?;
        if !lock(&locked) || !path.exists() {
            // Before it was locked, another process took it for one that was left.
            return Err(Failure::retry(format!("{}: removed by somebody else", path.display())));
        }
        Ok((file, Temporary(Some((path, locked)))))
    }

    /// Gives a file its name. It lasts after `sync`; in a bucket at once.
    #[allow(unused_variables, reason = "only what is sent takes time")]
    pub(super) fn publish(&mut self, whole: &mut Whole<'_>, stop: &Stop) -> Result<(), Failure> {
        let Whole { epoch, first, last, .. } = whole;
        let name = format!("{}-{epoch:016x}-{first:020}-{last:020}.parquet", self.flow);
        #[cfg(feature = "s3")]
        if let Some(bucket) = &self.bucket {
            if let Some(temporary) = whole.temporary.path() {
                bucket.send(temporary, (whole.directory, &name), stop)?;
            }
            // It is removed with its temporary name.
            return Ok(());
        }
        let directory = self.root.join(whole.directory);
        if !directory.is_dir() {
            fs::create_dir_all(&directory).map_err(|error| self.failure(&error))?;
        }
        if let Some(temporary) = whole.temporary.path() {
            fs::rename(temporary, directory.join(name)).map_err(|error| self.failure(&error))?;
            whole.temporary.0 = None;
        }
        self.changed(whole.directory);
        Ok(())
    }

    /// Remembers that entries of a partition's directory, and of those above it, may have changed.
    fn changed(&mut self, partition: &str) {
        #[cfg(feature = "s3")]
        if self.bucket.is_some() {
            return;
        }
        let directory = self.root.join(partition);
        let above = directory.ancestors().take_while(|it| it.starts_with(&self.root));
        self.unsynced.extend(above.map(Path::to_owned));
    }

    /// Syncs the directories whose entries have changed.
    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        for directory in &self.unsynced {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(|error| self.failure(&error))?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Looks into the files again when records come.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// Says whether a record is in a file of its partition. Records come in order.
    pub(super) fn knows(
        &mut self,
        partition: &str,
        (epoch, seq): (u64, u64),
        stop: &Stop,
    ) -> Result<bool, Failure> {
        if self.epoch != epoch || self.known.len() > MOST_PARTITIONS {
            self.epoch = epoch;
            self.known.clear();
        }
        if let Some(known) = self.known.get_mut(partition) {
            return Ok(known.remove(&seq));
        }
        let mut known = self.look(partition, (epoch, seq), stop)?;
        let is_there = known.remove(&seq);
        self.known.insert(partition.to_owned(), known);
        Ok(is_there)
    }

    /// Says whether one of the records that come may be in a file of a partition that was looked
    /// into.
    pub(super) fn may_know(&self, partition: &str) -> bool {
        self.known.get(partition).is_none_or(|known| !known.is_empty())
    }

    /// Reads the sequence numbers, from `from` on, of the files of a partition.
    fn look(
        &mut self,
        partition: &str,
        (epoch, from): (u64, u64),
        stop: &Stop,
    ) -> Result<HashSet<u64>, Failure> {
        let mut known = HashSet::new();
        let begin = format!("{}-{epoch:016x}-", self.flow);
        // A batch has fewer numbers from its first to its last.
        let after = format!("{begin}{:020}", from.saturating_sub(MOST_SPAN));
        for name in self.names(partition, (&begin, &after), stop)? {
            let range = name.strip_prefix(&begin).and_then(|range| range.strip_suffix(".parquet"));
            let Some((_, last)) = range.and_then(|range| range.split_once('-')) else { continue };
            if last.parse::<u64>().is_ok_and(|last| last >= from) {
                let (path, _temporary) = self.local(partition, &name, stop)?;
                seqs(&path, from, &mut known).map_err(|error| {
                    // It was synced before it got its name: this is not from a crash.
                    Failure::stop(format!("{partition}/{name}: it cannot be read: {error}"))
                })?;
            }
        }
        if !known.is_empty() {
            tracing::info!(partition, records = known.len(), "there are in a file already");
            // Whoever gave it its name may have ended before it was sure to last.
            self.changed(partition);
        }
        Ok(known)
    }

    /// Names of what is in a partition, at least those that begin like this and come after another.
    #[allow(unused_variables, reason = "only a bucket takes time")]
    fn names(
        &self,
        partition: &str,
        names: (&str, &str),
        stop: &Stop,
    ) -> Result<Vec<String>, Failure> {
        #[cfg(feature = "s3")]
        if let Some(bucket) = &self.bucket {
            return bucket.names(partition, names, stop);
        }
        let entries = match fs::read_dir(self.root.join(partition)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failure(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| self.failure(&error))?.file_name();
            // What is not UTF-8 is not ours.
            names.extend(name.into_string());
        }
        Ok(names)
    }

    /// Where a file of a partition can be read: there, or a copy for as long as it has its
    /// temporary name.
    #[allow(unused_variables, clippy::unnecessary_wraps, reason = "only a bucket takes time")]
    fn local(
        &mut self,
        partition: &str,
        name: &str,
        stop: &Stop,
    ) -> Result<(PathBuf, Temporary), Failure> {
        #[cfg(feature = "s3")]
        if self.bucket.is_some() {
            let (mut file, temporary) = self.create()?;
            if let Some(bucket) = &self.bucket {
                bucket.fetch((partition, name), &mut file, stop)?;
            }
            let path = temporary.path().map(Path::to_owned).unwrap_or_default();
            return Ok((path, temporary));
        }
        Ok((self.root.join(partition).join(name), Temporary(None)))
    }

    /// A full disk may get room again; a directory that is missing or forbidden is for a person.
    fn failure(&self, error: &io::Error) -> Failure {
        let reason = format!("{}: {error}", self.root.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::ReadOnlyFilesystem => Failure::stop(reason),
            _ => Failure::retry(reason),
        }
    }
}

/// Adds the sequence numbers of a file, from `from` on.
fn seqs(path: &Path, from: u64, into: &mut HashSet<u64>) -> Result<(), ParquetError> {
    const TOGETHER: usize = 8192;
    let reader = SerializedFileReader::new(File::open(path)?)?;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let columns = group.metadata().columns();
        let column = columns.iter().position(|column| column.column_path().string() == FIXED[1]);
        let column = column.ok_or_else(|| ParquetError::General("no column `seq`".to_owned()))?;
        let ColumnReader::Int64ColumnReader(mut column) = group.get_column_reader(column)? else {
            return Err(ParquetError::General("`seq` is no INT64".to_owned()));
        };
        let mut values = Vec::with_capacity(TOGETHER);
        loop {
            values.clear();
            let (read, _, _) = column.read_records(TOGETHER, None, None, &mut values)?;
            if read == 0 {
                break;
            }
            let seqs = values.iter().filter_map(|&seq| u64::try_from(seq).ok());
            into.extend(seqs.filter(|&seq| seq >= from));
        }
    }
    Ok(())
}
