"""The other programs: commands of `aqueduct`, and `aqueduct-forward`, under limits and with streams that take nothing.

Those that the binary does not have are skipped, and so is the forwarder where it is not beside the
binary, unless `AQUEDUCT_PROGRAMS=required`.
"""

import contextlib
import functools
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time

from case import Case, Seen, Skip
from listener import Listener, binary, until
from peers import ask, limited, must
from runner import Table
from tables.resources_limits import as_nobody
from tables.resources_streams import STREAMS
from wire import post

SAID = "shell/README.md, Command line: exit status"
FORWARD = "shell/forward/README.md"
PATIENCE = 10
SMALL = ["--capacity-bytes", "65536"]


@functools.cache
def help_of(program):
    """What a program says of itself; nothing if it is not there."""
    with contextlib.suppress(OSError):
        return subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    return ""


def lacking(what):
    if os.environ.get("AQUEDUCT_PROGRAMS") == "required":
        raise AssertionError(f"there is no {what}")
    raise Skip(f"there is no {what}")


def line_of(words):
    """The command line; the first word is a command of the listener, or `forward`."""
    if words[0] == "forward":
        program = str(pathlib.Path(binary()).with_name("aqueduct-forward"))
        if not help_of(program):
            lacking(program)
        return [program, *map(str, words[1:])]
    is_there = re.search(rf"^  {words[0]}\b", help_of(binary()), re.M)
    if not is_there and words[0] != "nonsense" or words[:2] == ["journal", "record"] and not has_record():
        lacking(f"`{' '.join(words[:2])}` in {binary()}")
    return [binary(), *map(str, words)]


@functools.cache
def has_record():
    said = subprocess.run([binary(), "journal", "--help"], capture_output=True, text=True, check=False).stdout
    return re.search(r"^  record\b", said, re.M)


def start(words, **popen):
    """Starts a program; it is killed at the latest when the case ends."""
    popen.setdefault("stdin", subprocess.DEVNULL)
    popen.setdefault("stdout", subprocess.DEVNULL)
    return subprocess.Popen(line_of(words), **popen)


@contextlib.contextmanager
def ended(process):
    """A process that must not outlive the case."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def status_of(process, seconds=PATIENCE):
    """Its exit status, in time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return "goes on"


# Commands that have something to say, what else they take, and their exit status.
COMPLAINTS = {
    "nonsense": (["nonsense"], 2),
    "check": (["check-config", "--config", "{nowhere}"], 2),
    "config": (["config", "--config", "{nowhere}"], 2),
    "serve": (["serve", "--config", "{nowhere}"], 2),
    "reload": (["reload", "--socket", "{nowhere}"], 1),
    "verify": (["journal", "verify", "{nowhere}"], 1),
    "record": (["journal", "record", "{there}/tape", "--socket", "{nowhere}"], 1),
    "tail": (["tail", "--socket", "{nowhere}"], 1),
    "inspect": (["inspect", "{nowhere}"], 3),
    "publish": (["publish", "{input}", "--to", "http://127.0.0.1:1/v1/rings/r/records", "--give-up-after", "300ms"], 1),
    "top": (["top", "--once", "--admin", "127.0.0.1:1"], 1),
    "bench": (["bench", "http://127.0.0.1:1/v1/rings/r/records", "--socket", "{nowhere}"], 1),
    "forward_usage": (["forward", "--nonsense"], 2),
    "forward_file": (["forward", "--config", "{nowhere}"], 2),
    "forward": (["forward", "--config", "{once}", "--once", "--socket", "{nowhere}"], 1),
}


@contextlib.contextmanager
def places(words):
    """A command line with its files."""
    with tempfile.TemporaryDirectory(prefix="aqd-hostile-", dir="/tmp") as name:
        there = pathlib.Path(name)
        there.chmod(0o777)
        (there / "input").write_text("one\ntwo\n")
        (there / "once.toml").write_text(f"[from]\nopen_wait_ms = 0\n[sink]\nkind = 'file'\npath = '{there}/out'\n")
        at = {"there": there, "nowhere": there / "nowhere", "input": there / "input", "once": there / "once.toml"}
        yield there, [word.format(**at) for word in words]


def complaint(name, make):
    """A command has something to say, and nobody takes it: it ends as ever."""
    words, expected = COMPLAINTS[name]

    def run(_):
        with places(words) as (_, line), contextlib.ExitStack() as stack:
            reading, writing = make()
            if reading is not None:
                stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            began = time.monotonic()
            process = stack.enter_context(ended(start(line, stderr=writing)))
            status = status_of(process)
            seen = f"exit {status} after {time.monotonic() - began:.1f} s"
            must(status == expected, seen)
            return Seen(seen)

    return Case(f"streams.{name}_{make.__name__}", f"exit {expected} in time", SAID, run)


def few(name, limit, **limits):
    """A command gets less than it needs: it says so in a line, and ends with 1."""
    words, expected = COMPLAINTS[name]

    def run(_):
        with places(words) as (_, line):
            process = start(line, stderr=subprocess.PIPE, text=True, preexec_fn=limited(**limits))
            with ended(process):
                said = process.communicate(timeout=PATIENCE)[1].strip()
            last = (said.splitlines() or ["nothing said"])[-1]
            seen = f"exit {process.returncode}: {last}"
            # 127: the dynamic linker may not even open the C library.
            must(process.returncode == expected and "panic" not in said or process.returncode == 127, f"{seen}: {said[-300:]}")
            return Seen(seen[:160])

    return Case(f"{limit}.{name}", f"exit {expected}, and no panic", SAID, run)


def few_threads(name, count):
    """Threads that the user may not have."""
    words, expected = COMPLAINTS[name]

    def run(_):
        if os.geteuid() != 0:
            raise Skip("only root can become a user without processes")
        with places(words) as (there, line):
            line = line_of(line)
            own = there / "program"
            subprocess.run(["cp", line[0], own], check=True)
            own.chmod(0o755)
            change = as_nobody(64800 + count + 16 * sorted(COMPLAINTS).index(name), NPROC=count)
            process = subprocess.Popen([str(own), *line[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True, preexec_fn=change, cwd="/")  # fmt: skip
            with ended(process):
                said = process.communicate(timeout=PATIENCE)[1].strip()
            last = (said.splitlines() or ["nothing said"])[-1]
            seen = f"exit {process.returncode}: {last}"
            must(process.returncode == expected and "panicked" not in said, f"{seen}: {said[-300:]}")
            return Seen(seen[:160])

    return Case(f"nproc.{count}_{name}", f"exit {expected}, and no panic", SAID, run)


def later(make):
    """A publisher waits for a listener, and nobody takes what it says of that."""

    def run(_):
        with places(["publish", "{input}"]) as (_, line), contextlib.ExitStack() as stack:
            reading, writing = make()
            if reading is not None:
                stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                address = f"127.0.0.1:{free.getsockname()[1]}"
            line += ["--to", f"http://{address}/v1/rings/default/records"]
            process = stack.enter_context(ended(start(line, stderr=writing)))
            time.sleep(0.3)
            listener = stack.enter_context(Listener([*SMALL, "--listen", address]))
            status = status_of(process)
            found = [payload for _, _, payload in listener.records()]
            seen = f"exit {status}, {len(found)} records"
            must(status == 0 and found == [b"one", b"two"], seen)
            return Seen(seen)

    return Case(f"publish.later_{make.__name__}", "exit 0, every record is published", SAID, run)


def recorded(number):
    """A recording ends by a signal, also that of a terminal that is closed: nothing is lost."""

    def run(_):
        with places(["journal", "record", "{there}/tape"]) as (there, line), Listener(SMALL) as listener:
            line += ["--socket", str(listener.socket), "--subscription", "default"]
            with ended(start(line)) as process:
                answered = sum(ask(listener) == 202 for _ in range(20))
                until(lambda: any((there / "tape").glob("*")), "the directory is there")
                time.sleep(0.1)
                process.send_signal(number)
                status = status_of(process)
            said = subprocess.run(line_of(["journal", "verify", there / "tape"]), capture_output=True, text=True, check=False)
            rest = len(ended_records(listener, there))
            seen = f"exit {status}, {answered} answered, {said.stdout.strip()}, {rest} left"
            recorded = int(re.search(r"(\d+) records", said.stdout)[1])
            must(status == 0 and said.returncode == 0 and recorded + rest == answered, seen)
            return Seen(seen)

    return Case(f"record.{number.name.lower()}", "exit 0, every record is recorded or left in the ring", SAID, run)


def ended_records(listener, there):
    """What the subscription has not released."""
    line = ["tail", "--socket", listener.socket, "--subscription", "default", "--no-follow", "--format", "json"]
    said = subprocess.run(line_of(line), capture_output=True, text=True, check=False, cwd=there)
    return said.stdout.splitlines()


class Forward:
    """A forwarder to a file, with an address for operators, and its listener; a context manager."""

    def __init__(self, **popen):
        self.popen = popen

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.listener = self.stack.enter_context(Listener(SMALL))
        self.out = self.listener.directory / "delivered"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.admin = free.getsockname()
        line = ["forward", "--socket", self.listener.socket, "--to", self.out]
        line += ["--admin-listen", f"{self.admin[0]}:{self.admin[1]}"]
        self.log = self.listener.directory / "forward.log"
        with self.log.open("wb") as log:
            self.popen.setdefault("stderr", log)
            try:
                self.process = self.stack.enter_context(ended(start(line, **self.popen)))
            except BaseException:
                self.stack.close()
                raise
        until(lambda: self.get("/healthz"), "it is there")
        return self

    def __exit__(self, *_):
        self.stack.close()

    def get(self, path, timeout=5):
        """The status of a page; 0 without an answer."""
        with contextlib.suppress(OSError), socket.create_connection(self.admin, timeout) as peer:
            peer.settimeout(timeout)
            peer.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            said = b""
            while piece := peer.recv(4096):
                said += piece
            return int(said.split()[1]) if said else 0
        return 0


def crowded(name, peers, request):
    """Peers that are silent or slow keep nobody from the pages."""

    def run(_):
        with Forward() as forward, contextlib.ExitStack() as stack:
            for _ in range(peers):
                peer = stack.enter_context(socket.create_connection(forward.admin))
                peer.sendall(request)
            began = time.monotonic()
            statuses = [forward.get(path) for path in ("/healthz", "/metrics", "/v1/status")]
            took = time.monotonic() - began
            seen = f"{statuses} after {took:.2f} s"
            must(statuses == [200, 200, 200] and took < 1, seen)
            return Seen(seen)

    return Case(f"forward.{name}_{peers}", "200 within a second", FORWARD, run)


def trickling():
    """A peer that sends a byte now and then has as long as any."""

    def run(_):
        with Forward() as forward, socket.create_connection(forward.admin) as peer:
            began = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - began < PATIENCE:
                    peer.sendall(b"x")
                    time.sleep(0.05)
            took = time.monotonic() - began
            must(took < 4, f"open after {took:.1f} s")
            return Seen(f"closed after {took:.1f} s")

    return Case("forward.trickling", "closed after two seconds", FORWARD, run)


def full_file():
    """The file of the sink may not grow: a line says which limit, and nothing is lost."""

    def run(_):
        with Forward() as forward:
            must(ask(forward.listener) == 202, "no 202")
            until(lambda: forward.out.exists() and forward.out.read_bytes(), "it is delivered")
            resource.prlimit(forward.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            large = post(b"x" * 8000, path=b"/v1/rings/default/records")
            must(ask(forward.listener, large) == 202, "no 202")
            status = status_of(forward.process)
            last = (forward.log.read_text(errors="replace").splitlines() or ["nothing said"])[-1]
            seen = f"exit {status}: {last}"
            must(status == 1 and "RLIMIT_FSIZE" in seen and "4096" in seen, seen)
            left = len(forward.listener.records())
            must(left == 2 and len(forward.out.read_bytes().splitlines()) == 1, f"{seen}; {left} in the ring")
            return Seen(seen[:160], 0)

    return Case("forward.fsize", "exit 1 that names RLIMIT_FSIZE", FORWARD, run)


def deaf(make, number):
    """Nobody takes the log of a forwarder: it delivers, and ends by a signal."""

    def run(_):
        reading, writing = make()
        with contextlib.ExitStack() as stack:
            if reading is not None:
                stack.callback(os.close, reading)
            stack.callback(os.close, writing)
            forward = stack.enter_context(Forward(stderr=writing))
            answered = sum(ask(forward.listener) == 202 for _ in range(20))
            until(lambda: forward.out.exists() and len(forward.out.read_bytes().splitlines()) == 20, "all is delivered")
            began = time.monotonic()
            forward.process.send_signal(number)
            status = status_of(forward.process)
            seen = f"{answered} delivered, exit {status} after {time.monotonic() - began:.1f} s"
            must(status == 0, seen)
            return Seen(seen)

    return Case(f"forward.{make.__name__}_{number.name.lower()}", "all delivered, exit 0", FORWARD, run)


UNHEARD = [complaint(name, make) for name in COMPLAINTS for make in STREAMS]
RUNNING = ("record", "tail", "publish", "forward")
FEW = [few(name, f"nofile.{count}", NOFILE=count) for name in RUNNING for count in (4, 5, 6, 7, 8, 10, 12, 16)]
THREADS = [few_threads(name, count) for name in RUNNING for count in (1, 2, 3, 4)]
LATER = [later(make) for make in STREAMS]
RECORDED = [recorded(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
CROWDS = [
    crowded(name, peers, request)
    for name, request in (
        ("silent", b""),
        ("half", b"GET /metrics HT"),
        ("unread", b"GET /metrics HTTP/1.1\r\n\r\n"),
        ("unread_status", b"GET /v1/status HTTP/1.1\r\n\r\n"),
    )
    for peers in (1, 10, 63, 64, 200)
]
DEAF = [deaf(make, number) for make in STREAMS for number in (signal.SIGTERM, signal.SIGHUP)]

TABLE = Table("commands", [*UNHEARD, *FEW, *THREADS, *LATER, *RECORDED, *CROWDS, trickling(), full_file(), *DEAF])
