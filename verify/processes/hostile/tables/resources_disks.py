"""Full disks, tight control groups, more memory than there is, files that are no configuration."""

import contextlib
import os
import pathlib
import resource
import subprocess
import tempfile
import time

import ring
from case import Case, Seen, Skip, Wrong
from listener import Listener, binary, until
from peers import limited, metric, must, serves, started
from runner import Table

LIMITS = "shell/README.md, Limits"
REPORTS = "shell/README.md: what only reports never stops the service"
EXIT = "shell/README.md, Command line: exit status"
SMALL = ["--capacity-bytes", "65536"]


@contextlib.contextmanager
def small_disk(size):
    """A file system of that size, in memory."""
    with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", name]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise Skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
        try:
            yield pathlib.Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=False, capture_output=True)


def full_disk_for_log(_):
    """The log's disk is full."""
    with small_disk(65536) as disk:
        with (disk / "log").open("wb") as log:
            with contextlib.suppress(OSError):
                (disk / "filler").write_bytes(b"x" * 65536)
            with Listener([*SMALL, "--log-level", "trace"], stderr=log) as listener:
                for _ in range(100):
                    with ring.connect(listener.socket) as control:
                        control.send(b"junk")
                # Lines are written, and dropped, by a thread of their own.
                dropped = until(lambda: metric(listener, "aqueduct_log_lines_dropped_total"), "a line is dropped")
                seen = serves(listener)
                return Seen(f"{dropped:.0f} lines dropped, {seen.text}", seen.answered)


def full_disk_for_socket(inodes):
    """The disk of the control socket is full."""

    def run(_):
        with small_disk(f"65536,nr_inodes={inodes}") as disk:
            (disk / "filler").write_bytes(b"")
            with contextlib.suppress(OSError):
                (disk / "filler").write_bytes(b"x" * 65536)
            before = set(os.listdir(disk))
            command = [binary(), "serve", *SMALL, "--listen", "127.0.0.1:0", "--socket", str(disk / "s")]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)  # fmt: skip
            line, status, errors = started(process)
            last = "ready" if line else (errors.strip().splitlines() or [""])[-1]
            seen = f"{last}, exit {status}, left {sorted(set(os.listdir(disk)) - before)}"
            must(status == (0 if line else 1) and "panicked" not in errors, seen)
            must(line or str(disk) in last, seen)
            must(set(os.listdir(disk)) == before, seen)
            return Seen(seen.replace(str(disk), "…"))

    return run


@contextlib.contextmanager
def memory_group(limit):
    """A control group with that much memory; yields how to enter it."""
    for base, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = pathlib.Path(base) / f"aqd-hostile-{os.getpid()}-{time.monotonic_ns()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(limit))
            yield lambda g=group: (g / "cgroup.procs").write_text(str(os.getpid()))
            return
        except (OSError, PermissionError) as error:
            raise Skip(f"no control group for memory: {error}") from error
        finally:
            with contextlib.suppress(OSError):
                until(lambda: not (group / "cgroup.procs").read_text().strip(), "it is empty", 5)
                group.rmdir()
    raise Skip("no control group for memory can be made here")


def group_of(limit, flags, is_served):
    """Rings in a control group: refused before anything is allocated, or they fit."""

    def run(_):
        with memory_group(limit) as enter, Listener(flags, wait=False, preexec_fn=enter) as listener:
            try:
                listener.ready()
            except ChildProcessError:
                last = listener.log().strip().splitlines()[-1]
                seen = f"exit {listener.process.returncode}: {last}"
                must(not is_served and listener.process.returncode == 1, seen)
                must("group" in last, seen)
                return Seen(seen[:200])
            must(is_served, "ready")
            return serves(listener)

    return run


def too_large(flags, config=None):
    """More memory than there is: an error with both numbers, and nothing was allocated."""

    def run(_):
        with Listener(flags, config, wait=False) as listener:
            status = listener.wait()
            last = (listener.log().strip().splitlines() or [""])[-1]
            seen = f"exit {status}: {last}"
            used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            must(status == 1 and any(c.isdigit() for c in last), seen)
            must(used < 4 << 20, f"{seen}; {used} KiB were used")
            return Seen(seen[:200])

    return run


BIG = '[[ring]]\nname = "{}"\ncapacity_bytes = "{}"\n'
DISKS = [
    Case("disk.full_for_the_log", "serves, lines dropped and counted", REPORTS, full_disk_for_log),
    Case("disk.full_for_the_socket", "serves, or exit 1 that names it; nothing left", EXIT, full_disk_for_socket(10)),
    *(
        Case(f"disk.{n}_inodes_for_the_socket", "serves, or exit 1 that names it; nothing left", EXIT, full_disk_for_socket(n))
        for n in (2, 3, 4)
    ),
    Case("group.ring_larger_than_it", "exit 1 that names the group", LIMITS,
         group_of(64 << 20, ["--capacity-bytes", 1 << 27], False)),
    Case("group.ring_as_large_as_it", "exit 1 that names the group", LIMITS,
         group_of(64 << 20, ["--capacity-bytes", 1 << 26], False)),
    Case("group.two_rings_together", "exit 1 that names the group", LIMITS,
         group_of(64 << 20, ["--ring", "a", "--ring", "b", "--capacity-bytes", 1 << 25], False)),
    Case("group.small_ring", "serves", LIMITS, group_of(64 << 20, SMALL, True)),
    Case("memory.one_ring", "exit 1 with what was asked and what there is", LIMITS,
         too_large(["--capacity-bytes", 34359738368])),
    Case("memory.several_rings", "exit 1 with what was asked and what there is", LIMITS,
         too_large([], "".join(BIG.format(f"r{n}", "4GiB") for n in range(16)))),
]  # fmt: skip


def config_from(path, expected):
    """A configuration file that is none."""

    def run(_):
        command = [binary(), "serve", "--listen", "127.0.0.1:0", "--socket", "/tmp/aqd-hostile-none", "--config", path]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10,
                                  check=False, preexec_fn=limited(AS=2 << 30))  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise Wrong("it reads for ever") from late
        seen = f"exit {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"
        must(done.returncode in (1, 2) and expected in seen and "panicked" not in done.stderr, seen)
        return Seen(seen[:160])

    return run


CONFIGS = [
    Case("config.missing", "exit 1 or 2 that names it", EXIT, config_from("/nowhere/x", "/nowhere/x")),
    Case("config.directory", "exit 1 or 2 that names it", EXIT, config_from("/tmp", "/tmp")),
    Case("config.zeros_for_ever", "exit 1 or 2 that names it", EXIT, config_from("/dev/zero", "/dev/zero")),
    Case("config.random_for_ever", "exit 1 or 2 that names it", EXIT, config_from("/dev/urandom", "/dev/urandom")),
    Case("config.memory_of_a_process", "exit 1 or 2 that names it", EXIT, config_from("/proc/self/mem", "/proc/self/mem")),
]  # fmt: skip

TABLE = Table("resources", [*DISKS, *CONFIGS])
