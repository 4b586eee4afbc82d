//! A file system that is full soon.
#![allow(dead_code, unreachable_pub, reason = "as in `common`")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory; unmounted when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one of so many bytes; `None`, and a line that says so, if this user may not.
    pub fn mount(path: PathBuf, bytes: usize) -> Option<Self> {
        fs::create_dir_all(&path).expect("a directory");
        let size = format!("size={bytes}");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path);
        let output = command.output().expect("it runs");
        if output.status.success() {
            return Some(Self(path));
        }
        let why = String::from_utf8_lossy(&output.stderr);
        println!("skipped: no tmpfs can be mounted here: {}", why.trim_end());
        None
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it another size.
    pub fn resize(&self, bytes: usize) {
        let size = format!("remount,size={bytes}");
        let done = Command::new("mount").args(["-o", &size]).arg(&self.0).status();
        assert!(done.expect("it runs").success());
    }

    /// Removes all that is on it.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.0).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                .expect("removed");
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
