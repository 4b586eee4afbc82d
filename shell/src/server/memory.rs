//! Whether the machine and the control group have the memory that the rings ask for, before any of
//! it is allocated: later, the kernel would kill this process and others.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::process::Resource;

/// Address space that the process itself takes after this check: stacks, buffers, heap. Where that
/// is not to be had, an allocation would fail that cannot be an error.
const OWN_ADDRESS_SPACE: u64 = 16 << 20;

/// What can still be allocated, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// On the machine; `None` if it does not say.
    pub machine: Option<u64>,
    /// In the control group and those above it; `None` without a limit.
    pub control_group: Option<u64>,
    /// In the address space of this process; `None` without a limit (`RLIMIT_AS`).
    pub address_space: Option<u64>,
}

/// More was asked for than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotEnoughMemory {
    /// Asked for by all rings together, bytes.
    pub asked: u64,
    /// What there is.
    pub available: Available,
}

impl Available {
    /// Asks the kernel.
    pub fn now() -> Self {
        let root = Path::new("/");
        let limit = rustix::process::getrlimit(Resource::As).current;
        Self { address_space: limit.map(|limit| address_space(root, limit)), ..Self::below(root) }
    }

    /// Reads the files of `proc` and `sys` below this directory.
    fn below(root: &Path) -> Self {
        let control_group = control_groups(root).into_iter().min();
        Self { machine: machine(root), control_group, address_space: None }
    }

    /// Returns what is left where it is tightest.
    pub fn least(self) -> Option<u64> {
        self.machine.into_iter().chain(self.control_group).chain(self.address_space).min()
    }

    /// Checks that all rings together fit.
    pub fn check(self, asked: u64) -> Result<(), NotEnoughMemory> {
        if self.least().is_none_or(|available| asked <= available) {
            return Ok(());
        }
        Err(NotEnoughMemory { asked, available: self })
    }
}

impl fmt::Display for NotEnoughMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rings need {} bytes of memory", self.asked)?;
        if let Some(bytes) = self.available.machine {
            write!(f, "; the machine has {bytes} available")?;
        }
        if let Some(bytes) = self.available.control_group {
            write!(f, "; its control group has {bytes} left")?;
        }
        if let Some(bytes) = self.available.address_space {
            write!(f, "; the limit of address space (RLIMIT_AS) leaves {bytes}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotEnoughMemory {}

fn machine(root: &Path) -> Option<u64> {
    kibibytes(&root.join("proc/meminfo"), "MemAvailable:")
}

/// The value of a line of `proc` that is in kB, bytes.
fn kibibytes(file: &Path, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let kib = text.lines().find_map(|line| line.strip_prefix(name))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a limit of address space leaves for rings.
fn address_space(root: &Path, limit: u64) -> u64 {
    let used = kibibytes(&root.join("proc/self/status"), "VmSize:").unwrap_or(0);
    limit.saturating_sub(used).saturating_sub(OWN_ADDRESS_SPACE)
}

/// Names of one version's files.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// Line of `memory.stat` with the page cache that can be given up at once.
    cache: &'static str,
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};
const VERSION_2: Files =
    Files { limit: "memory.max", usage: "memory.current", cache: "inactive_file" };

/// Finds what is left in each limited group that this process is in, of either version.
fn control_groups(root: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut left = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (mounts, files) = match controllers {
            "" => (["sys/fs/cgroup", "sys/fs/cgroup/unified"], VERSION_2),
            list if list.split(',').any(|name| name == "memory") => {
                (["sys/fs/cgroup/memory", "sys/fs/cgroup"], VERSION_1)
            }
            _ => continue,
        };
        for mount in mounts.map(|mount| root.join(mount)) {
            // In a container, the group's own directory may be mounted as the root.
            for above in Path::new(group.trim_start_matches('/')).ancestors() {
                left.extend(left_in(&mount.join(above), &files));
            }
        }
    }
    left
}

/// What is left in one group; `None` without a limit.
fn left_in(group: &Path, files: &Files) -> Option<u64> {
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number(group.join(files.limit))?;
    let used = number(group.join(files.usage)).unwrap_or(0);
    let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(files.cache)?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with 8 GiB available and these files.
    fn machine_with(name: &str, files: &[(&str, &str)]) -> Available {
        let root = std::env::temp_dir().join(format!("aqd-memory-{}-{name}", std::process::id()));
        let meminfo = ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    8388608 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        let available = Available::below(&root);
        std::fs::remove_dir_all(&root).expect("removed");
        available
    }

    #[test]
    fn without_control_groups_the_machine_is_the_limit() {
        let available = machine_with("none", &[]);
        let nothing_else =
            Available { machine: Some(8 << 30), control_group: None, address_space: None };
        assert_eq!(available, nothing_else);
        assert_eq!(available.check(8 << 30), Ok(()));
        let refused = available.check((8 << 30) + 1).expect_err("a byte too many");
        assert_eq!(
            refused.to_string(),
            "the rings need 8589934593 bytes of memory; the machine has 8589934592 available"
        );
    }

    #[test]
    fn the_limit_of_address_space_counts_less_what_the_process_needs() {
        let root = Path::new("/");
        let used = (1 << 40) - OWN_ADDRESS_SPACE - address_space(root, 1 << 40);
        assert!(used > 1 << 20, "{used}");
        assert_eq!(address_space(root, OWN_ADDRESS_SPACE), 0);
        let available = Available { address_space: Some(4096), ..machine_with("space", &[]) };
        assert_eq!(available.check(4096), Ok(()));
        let refused = available.check(4097).expect_err("a byte too many").to_string();
        assert!(
            refused.ends_with("the limit of address space (RLIMIT_AS) leaves 4096"),
            "{refused}"
        );
    }

    #[test]
    fn the_tightest_group_above_counts_in_version_2() {
        let available = machine_with(
            "v2",
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("sys/fs/cgroup/a/b/memory.max", "max\n"),
                ("sys/fs/cgroup/a/memory.max", "1000000\n"),
                ("sys/fs/cgroup/a/memory.current", "700000\n"),
                ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 200000\nactive_file 7\n"),
            ],
        );
        assert_eq!(available.control_group, Some(500_000));
        let refused = available.check(500_001).expect_err("a byte too many").to_string();
        assert!(refused.ends_with("; its control group has 500000 left"), "{refused}");
    }

    #[test]
    fn a_container_that_sees_its_group_as_the_root_has_its_limit() {
        let available = machine_with(
            "container",
            &[
                ("proc/self/cgroup", "0::/not/mounted/here\n"),
                ("sys/fs/cgroup/memory.max", "4096\n"),
                ("sys/fs/cgroup/memory.current", "96\n"),
            ],
        );
        assert_eq!(available.control_group, Some(4000));
    }

    #[test]
    fn version_1_counts_too() {
        let available = machine_with(
            "v1",
            &[
                ("proc/self/cgroup", "4:cpu,memory:/job\n3:cpuset:/\n0::/\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1048576\n"),
                ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "1048576\n"),
                ("sys/fs/cgroup/memory/job/memory.stat", "cache 1\ntotal_inactive_file 4096\n"),
            ],
        );
        assert_eq!(available.control_group, Some(4096));
    }

    #[test]
    fn this_machine_answers() {
        assert!(Available::now().machine.is_some_and(|bytes| bytes > 0));
    }
}
