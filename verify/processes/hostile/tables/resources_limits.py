"""Limits of descriptors, file sizes, address space and processes: it serves, or says which."""

import contextlib
import os
import pathlib
import resource
import socket
import subprocess
import tempfile
import threading

from case import Case, Seen, Skip
from listener import Listener, binary, until
from peers import POST, ask, free, limited, must, serves, started
from runner import Table
from wire import Connection, get, post

LIMITS = "shell/README.md, Limits"
EXIT = "shell/README.md, Command line: exit status"
SMALL = ["--capacity-bytes", "65536"]


def drain(reading, listener):
    """Takes what a listener logs and keeps it where `log()` looks."""
    with os.fdopen(reading, "rb") as lines, listener.err.open("ab") as log:
        for line in lines:
            log.write(line)
            log.flush()


def serves_or_says(name, expected_word, flags=(), config=None, by=LIMITS, **popen):
    """Starts under a limit: it serves, or it ends with 1 and a line that names what is missing."""

    def run(_):
        # What it says goes to a pipe: a file would be under the limit, too.
        reading, writing = os.pipe()
        with Listener(flags or SMALL, config, wait=False, stderr=writing, **popen) as listener:
            os.close(writing)
            said = threading.Thread(target=drain, args=(reading, listener))
            said.start()
            try:
                listener.ready()
            except ChildProcessError:
                said.join()
                lines = listener.log().strip().splitlines()
                seen = f"exit {listener.process.returncode}: {lines[-1] if lines else 'nothing said'}"
                must(listener.process.returncode == 1 and lines and expected_word in seen, seen)
                must(not listener.said() and not (set(os.listdir(listener.directory)) - {"out", "log", "aqueduct.toml"}),
                     f"{seen}; left {os.listdir(listener.directory)}")
                return Seen(seen[:160])
            return serves(listener)

    return Case(name, f"serves, or exit 1 that names {expected_word}", by, run)


FILES = [
    # Below that many, the dynamic linker may not even open the C library.
    serves_or_says(f"nofile.{count}", "RLIMIT_NOFILE" if count > 5 else "", preexec_fn=limited(NOFILE=count))
    for count in (4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 70, 80, 100, 128, 200, 256)
]


def descriptors_taken(limit):
    """As many clients as there can be: health is answered, a reader attaches, records go on."""

    def run(_):
        with Listener(SMALL, preexec_fn=limited(NOFILE=limit)) as listener:
            first = Connection(listener.http)
            first.send(POST)
            must(first.response()[0] == 202, "no 202 at first")
            held = []
            for _ in range(limit + 100):
                with contextlib.suppress(OSError):
                    held.append(socket.create_connection(listener.http, timeout=5))
            health = ask(listener, get())
            attaches = until(lambda: free(listener), "a reader attaches", 5)
            first.send(POST)
            again = first.response()
            open_now = len(os.listdir(f"/proc/{listener.pid}/fd"))
            seen = f"{len(held)} silent connections, health {health}, reader attached {attaches}, " \
                   f"202 on an old one, {open_now} of {limit} descriptors"
            must(health == 200 and again and again[0] == 202 and open_now < limit, seen)
            for each in held:
                each.close()
            first.socket.close()
            until(lambda: ask(listener) == 202, "records are taken again")
            errors = sum("not accepted" in line for line in listener.log().splitlines())
            must(errors < 20, f"{seen}; {errors} lines about it")
            found, status = len(listener.records()), listener.stop()
            must(found == 3 and status == 0, f"{seen}; {found} records, exit {status}")
            return Seen(f"{seen}, exit 0", 3)

    return Case(f"nofile.all_taken_of_{limit}", "health, readers and old connections go on", LIMITS, run)


FILES += [descriptors_taken(limit) for limit in (90, 150, 300)]


SIZES = [
    serves_or_says(f"fsize.{size}", "RLIMIT_FSIZE", preexec_fn=limited(FSIZE=size))
    for size in (0, 1, 4096, 8192, 65536, 65536 + 4096, 1 << 20, 1 << 24)
] + [
    serves_or_says(f"fsize.rings_of_16_MiB_{size}", "RLIMIT_FSIZE", ["--capacity-bytes", 1 << 24],
                   preexec_fn=limited(FSIZE=size))
    for size in (1 << 20, 1 << 24, (1 << 24) + 4095, (1 << 24) + 4096)
]  # fmt: skip

SPACE = [
    serves_or_says(f"as.{mebibytes}_MiB", "", preexec_fn=limited(AS=mebibytes << 20), by=EXIT)
    for mebibytes in (16, 24, 32, 40, 48, 64, 96, 128, 256, 512)
] + [
    serves_or_says(f"data.{mebibytes}_MiB", "", preexec_fn=limited(DATA=mebibytes << 20), by=EXIT)
    for mebibytes in (1, 2, 4, 8, 16, 64)
] + [
    serves_or_says("stack.64_KiB", "", preexec_fn=limited(STACK=65536), by=EXIT),
    serves_or_says("stack.unlimited", "", preexec_fn=limited(STACK=resource.RLIM_INFINITY), by=EXIT),
    serves_or_says("memlock.0", "", preexec_fn=limited(MEMLOCK=0), by=EXIT),
    serves_or_says("core.0", "", preexec_fn=limited(CORE=0), by=EXIT),
    serves_or_says("sigpending.0", "", preexec_fn=limited(SIGPENDING=0) if hasattr(resource, "RLIMIT_SIGPENDING") else None, by=EXIT),
]  # fmt: skip


def body_without_memory(size):
    """A running listener gets no more address space; then comes a large body."""

    def run(_):
        with Listener(["--capacity-bytes", 1 << 27, "--max-payload-bytes", 1 << 25]) as listener:
            must(ask(listener) == 202, "no 202 at first")
            now = int(pathlib.Path(f"/proc/{listener.pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(listener.pid, resource.RLIMIT_AS, (now + (2 << 20), resource.RLIM_INFINITY))
            with Connection(listener.http) as connection:
                connection.send(post(b"x" * size, path=b"/v1/rings/default/records"))
                response = connection.response(20)
            resource.prlimit(listener.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            status = response and response[0]
            after = ask(listener)
            found, end = len(listener.records()), listener.stop()
            answered = 2 + (status == 202)
            seen = f"{status} to {size >> 20} MiB, then {after}, {found} records, exit {end}"
            must(status in (503, 202) and after == 202 and found == answered and end == 0, seen)
            return Seen(seen, answered)

    return Case(f"as.body_of_{size >> 20}_MiB", "503, and the others are served", LIMITS, run)


SPACE += [body_without_memory(size << 20) for size in (1, 8, 32)]


def as_nobody(user, **limits):
    """Limits for a user that has no rights and no other processes."""
    before = limited(**limits)

    def change():
        os.setgroups([])
        os.setgid(user)
        before()
        os.setuid(user)

    return change


def few_processes(count):
    """Threads that the user may not have."""

    def run(_):
        if os.geteuid() != 0:
            raise Skip("only root can become a user without processes")
        with tempfile.TemporaryDirectory(prefix="aqd-hostile-", dir="/tmp") as name:
            there = pathlib.Path(name)
            there.chmod(0o777)
            own = there / "aqueduct"
            # By a program: what this process has open to write, its other children inherit for a
            # moment, and then it cannot be run.
            subprocess.run(["cp", binary(), own], check=True)
            own.chmod(0o755)
            command = [str(own), "serve", "--listen", "127.0.0.1:0", "--socket", str(there / "s"), *SMALL]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                preexec_fn=as_nobody(64900 + count, NPROC=count), cwd="/",
            )  # fmt: skip
            line, status, errors = started(process)
            last = "ready" if line else (errors.strip().splitlines() or ["nothing said"])[-1]
            seen = f"{last}, exit {status}"
            must(status == (0 if line else 1) and errors and "panicked" not in errors, f"{seen}: {errors[-300:]}")
            must(set(os.listdir(there)) == {"aqueduct"}, f"{seen}, left {os.listdir(there)}")
            return Seen(seen[:140])

    return Case(f"nproc.{count}", "serves, or exit 1 that says so; nothing left", EXIT, run)


PROCESSES = [few_processes(count) for count in (1, 2, 3, 4, 5, 6, 8, 12)]

TABLE = Table("resources", [*FILES, *SIZES, *SPACE, *PROCESSES])
