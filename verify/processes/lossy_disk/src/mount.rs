//! The disk as a file system of the kernel.
//!
//! The kernel keeps its own cache of pages, which writes go through: after a sync that failed it
//! shows what the disk has forgotten, as ext4 does, until it is told to drop it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use crate::disk::{Disk, Refused};

/// A disk that others look at.
pub type Shared = Arc<Mutex<Disk>>;

/// A disk that is mounted.
pub struct Mounted(BackgroundSession);

struct Front {
    disk: Shared,
    /// How long a sync takes.
    sync: Duration,
}

impl Mounted {
    pub fn new(disk: &Shared, at: &Path, sync: Duration) -> io::Result<Self> {
        let front = Front { disk: Arc::clone(disk), sync };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("aqueduct-lossy".into())];
        Ok(Self(fuser::spawn_mount(front, at, &config)?))
    }

    /// Unmounts it: the kernel remembers nothing of it.
    pub fn end(self) -> io::Result<()> {
        self.0.umount_and_join().or_else(|error| match error.kind() {
            // The kernel ends the connection while its next request is waited for.
            io::ErrorKind::ConnectionAborted => Ok(()),
            _ => Err(error),
        })
    }
}

pub fn lock(disk: &Shared) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errno(refused: Refused) -> Errno {
    match refused {
        Refused::Io => Errno::EIO,
        Refused::NotFound => Errno::ENOENT,
        Refused::Exists => Errno::EEXIST,
        Refused::NotEmpty => Errno::ENOTEMPTY,
    }
}

fn text(name: &OsStr) -> &str {
    // Nobody but us gives names here.
    name.to_str().unwrap_or("?")
}

impl Front {
    fn lock(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    fn attributes(disk: &Disk, node: u64) -> Option<FileAttr> {
        let (is_directory, size, nlink) = disk.look(node)?;
        Some(FileAttr {
            ino: INodeNo(node),
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_directory { FileType::Directory } else { FileType::RegularFile },
            perm: if is_directory { 0o755 } else { 0o644 },
            nlink,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn entry(disk: &Disk, node: Result<u64, Refused>, reply: ReplyEntry) {
        match node.map(|node| Self::attributes(disk, node)) {
            Ok(Some(attributes)) => reply.entry(&Duration::ZERO, &attributes, Generation(0)),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(refused) => reply.error(errno(refused)),
        }
    }
}

fn empty(result: Result<(), Refused>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(refused) => reply.error(errno(refused)),
    }
}

impl Filesystem for Front {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut disk = self.lock();
        let node = disk.lookup(parent.0, text(name));
        Self::entry(&disk, node, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match Self::attributes(&self.lock(), ino.0) {
            Some(attributes) => reply.attr(&Duration::ZERO, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<std::time::SystemTime>,
        _: Option<FileHandle>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<std::time::SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.lock();
        if let Some(Err(refused)) = size.map(|size| disk.resize(ino.0, size)) {
            return reply.error(errno(refused));
        }
        match Self::attributes(&disk, ino.0) {
            Some(attributes) => reply.attr(&Duration::ZERO, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, at: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut disk = self.lock();
        let node = disk.make(at.0, text(name), true);
        Self::entry(&disk, node, reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.lock();
        let made = disk.make(parent.0, text(name), false);
        match made.map(|node| Self::attributes(&disk, node)) {
            Ok(Some(attributes)) => reply.created(
                &Duration::ZERO,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Ok(None) => reply.error(Errno::ENOENT),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(self.lock().unlink(parent.0, text(name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if parent != newparent {
            return reply.error(Errno::EXDEV);
        }
        empty(self.lock().rename(parent.0, text(name), text(newname)), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.lock().read(ino.0, offset, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.lock().write(ino.0, offset, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(refused) => reply.error(errno(refused)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Power may go while it takes its time, or before the answer comes.
        std::thread::sleep(self.sync);
        empty(self.lock().sync(ino.0), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(self.sync);
        empty(self.lock().sync_directory(ino.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut disk = self.lock();
        let names = match disk.list(ino.0) {
            Ok(names) => names,
            Err(refused) => return reply.error(errno(refused)),
        };
        let here = [(".".to_owned(), ino.0), ("..".to_owned(), ino.0)];
        for (at, (name, node)) in here.into_iter().chain(names).enumerate().skip(offset as usize) {
            let is_directory = disk.look(node).is_some_and(|(is_directory, ..)| is_directory);
            let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(node), at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        empty(self.lock().reserve(ino.0, offset + length), reply);
    }
}
