//! What the machine and the control group must have: descriptors, memory, processor, disk, clock.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, StatVfsMountFlags};
use rustix::process::Resource;

use super::Check;
use crate::journal::Durability;
use crate::server::{Available, Config, wanted_descriptors};

/// 2024: a clock that says less was never set.
const SENSIBLE_SECONDS: u64 = 1_704_067_200;
/// Clocks that are read without a system call.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "xen"];

pub(super) fn checks(settings: &Config, is_running: bool) -> Vec<Check> {
    let mut checks = vec![descriptors(settings), memory(settings, is_running)];
    checks.extend([processors(), file_size(), clock(), backlog()]);
    if let Some(journal) = &settings.journal {
        checks.push(disk(settings, &journal.directory, journal.segment_bytes));
    }
    checks
}

fn descriptors(settings: &Config) -> Check {
    let wanted = wanted_descriptors(settings);
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if most < wanted {
        let text = format!(
            "these settings can use {wanted} descriptors and the hard limit is {most}: there will \
             be fewer connections"
        );
        let mend = format!("LimitNOFILE={wanted} in the unit, or ulimit -Hn {wanted}");
        return Check::warning("descriptors", text, mend);
    }
    Check::good("descriptors", format!("{wanted} can be used; the hard limit is {most}"))
}

fn memory(settings: &Config, is_running: bool) -> Check {
    let asked: u64 = settings.rings.iter().map(|ring| ring.capacity_bytes + 4096).sum();
    if is_running {
        return Check::good("memory", format!("the running listener has {asked} bytes of rings"));
    }
    match Available::now().check(asked) {
        Ok(()) => Check::good("memory", format!("there is room for {asked} bytes of rings")),
        Err(error) => {
            let mend = "smaller capacity_bytes, or a larger MemoryMax= (or memory limit)";
            Check::failure("memory", error.to_string(), mend)
        }
    }
}

/// The share of processor time that the control group leaves.
fn processors() -> Check {
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let file = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')).join("cpu.max");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    if let (Some(Ok(quota)), Some(Ok(period))) = (numbers.next(), numbers.next())
        && quota < period
    {
        let share = quota / period;
        let text = format!("the control group has {share:.2} of a processor: expect pauses");
        return Check::warning("processors", text, "CPUQuota=100% or more (or a larger cpu limit)");
    }
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Check::good("processors", format!("{count}"))
}

fn file_size() -> Check {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) => {
            let text = format!("files may have at most {limit} bytes: journals and logs end there");
            Check::warning("file size", text, "ulimit -f unlimited")
        }
        None => Check::good("file size", "no limit"),
    }
}

fn clock() -> Check {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now < SENSIBLE_SECONDS {
        let text = "the time of day was never set: timestamps and certificates are wrong";
        return Check::failure("clock", text, "timedatectl set-ntp true");
    }
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = std::fs::read_to_string(source).unwrap_or_default();
    let source = source.trim();
    if source.is_empty() || FAST_CLOCKS.contains(&source) {
        return Check::good("clock", if source.is_empty() { "set" } else { source });
    }
    let text = format!("the clock source is {source}: each timestamp costs a system call");
    let mend = "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource";
    Check::warning("clock", text, mend)
}

fn backlog() -> Check {
    let text = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    match text.trim().parse::<u32>() {
        Ok(most @ 0..1024) => {
            let text = format!("only {most} connections can wait to be accepted");
            Check::warning("backlog", text, "sysctl -w net.core.somaxconn=4096")
        }
        Ok(most) => Check::good("backlog", format!("{most} connections can wait")),
        Err(_) => Check::good("backlog", "not said"),
    }
}

/// The disk of the journals: whether it can be written, and what is left.
fn disk(settings: &Config, directory: &Path, segment_bytes: u64) -> Check {
    let name = directory.display();
    let mend = || format!("install -d -m 0700 {name}");
    // One that is not there yet is made by the listener, if it may.
    let there = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let status = match rustix::fs::statvfs(there) {
        Ok(status) => status,
        Err(error) => return Check::failure("journal", format!("{name}: {error}"), mend()),
    };
    if status.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let text = format!("{name} is on a file system that is mounted read-only");
        return Check::failure("journal", text, format!("mount -o remount,rw {}", there.display()));
    }
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let text = format!("{} cannot be written: {error}", there.display());
        return Check::failure("journal", text, mend());
    }
    let journals = settings.rings.iter().filter(|ring| ring.durability != Durability::Memory);
    let needed: u64 = journals.clone().map(|ring| 2 * segment_bytes.max(ring.capacity_bytes)).sum();
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    if free < needed {
        let text = format!("{name}: {free} bytes are free; two segments of each ring are {needed}");
        return Check::failure("journal", text, "free space, or a smaller journal.segment_bytes");
    }
    let all = status.f_blocks.saturating_mul(status.f_frsize);
    if free < all / 10 {
        let text = format!("{name}: less than a tenth is free, {free} bytes");
        return Check::warning("journal", text, "free space, or a smaller journal.retain_bytes");
    }
    let is_memory = rustix::fs::statfs(there).is_ok_and(|status| {
        // Source: linux/magic.h, TMPFS_MAGIC and RAMFS_MAGIC.
        [0x0102_1994, 0x8584_58F6].contains(&(status.f_type & 0xFFFF_FFFF))
    });
    if is_memory && journals.clone().any(|ring| ring.durability == Durability::Disk) {
        let text = format!("{name} is in memory: durability \"disk\" survives nothing there");
        return Check::failure("journal", text, "journal.directory on a disk");
    }
    Check::good("journal", format!("{name}: {free} bytes are free"))
}
