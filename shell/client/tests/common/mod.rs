//! What the tests share: a listener of their own, which does wrong what it is told to.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test crates")]

pub mod fake;
pub mod segment;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// More than anything honest takes, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A path for a socket that nobody else has.
pub fn fresh_path() -> std::path::PathBuf {
    static NUMBER: Mutex<u32> = Mutex::new(0);
    let mut number = NUMBER.lock().unwrap_or_else(PoisonError::into_inner);
    *number += 1;
    std::env::temp_dir().join(format!("aqueduct-client-{}-{number}", std::process::id()))
}

/// Open descriptors of this process that are sockets, eventfds, epoll sets or memfds.
pub fn descriptors() -> usize {
    let Ok(directory) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    directory
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| {
            let target = target.to_string_lossy();
            ["socket:", "anon_inode:", "/memfd:"].iter().any(|kind| target.starts_with(kind))
        })
        .count()
}

/// Mappings of memfds in this process.
pub fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}
