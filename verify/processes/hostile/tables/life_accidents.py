"""What others do beside a listener: managers that do not read, files that hang, locks of others."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

from case import Case, Seen
from listener import Listener, binary, until
from peers import POST, ask, free, limited, must, reader
from runner import Table
from wire import Connection, get

MANAGER = "shell/README.md, Under a service manager"
RELOADING = "shell/README.md, Reloading"
JOURNAL = "shell/README.md, Durability"
RING = '[[ring]]\nname = "default"\ncapacity_bytes = "64KiB"\n'
FRAMES = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def manager(name, expected, make):
    """A listener whose `NOTIFY_SOCKET` is what `make(path)` leaves there; it also says what came."""

    def run(_):
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="aqd-hostile-"))
            address, heard = make(f"{directory}/notify", stack)
            listener = Listener(env={**os.environ, "NOTIFY_SOCKET": address})
            stack.enter_context(listener)
            for _ in range(30):
                until(lambda: free(listener), "a reader attaches", 5)
            statuses = {ask(listener), ask(listener, get())}
            began = time.monotonic()
            status, seconds = listener.stop(), time.monotonic() - began
            text = f"{statuses}, exit {status} after {seconds:.1f} s, {heard()}"
            must(statuses == {200, 202} and status == 0 and seconds < 5, text)
            must(heard() in expected, text)
            return Seen(text, 0)

    return Case(f"manager.{name}", expected, MANAGER, run)


def deaf(path, stack):
    """A manager whose socket is full, and that never reads."""
    bound = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    bound.bind(path)
    full = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    full.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            full.sendto(b"X_FULL=1", path)
    return path, lambda: "nothing told"


def gone(path, _):
    """A manager that is not there."""
    return path, lambda: "nothing told"


def abstract(path, stack):
    """A manager at an abstract address."""
    name = f"aqd-{os.getpid()}-{os.path.basename(os.path.dirname(path))}"
    bound = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    bound.bind("\0" + name)
    told = []

    def heard():
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(bound.recv(4096, socket.MSG_DONTWAIT))
        return "READY told" if any(b"READY=1" in each for each in told) else "nothing told"

    return "@" + name, heard


def hangs(name, ask_for):
    """The file of the configuration becomes a pipe that nobody writes to, and is to be read again."""

    def run(_):
        with Listener(config=RING) as listener, contextlib.ExitStack() as stack:
            file = listener.directory / "aqueduct.toml"
            os.mkfifo(listener.directory / "pipe")
            os.rename(listener.directory / "pipe", file)
            ask_for(listener, stack)
            time.sleep(0.1)
            answered = ask(listener)
            _, mapped = reader(listener, 2)
            status = listener.stop()
            text = f"{answered}, exit {status}, end mark {mapped.is_closed}"
            must(answered == 202 and status == 0 and mapped.is_closed, text)
            return Seen(text, 0)

    return Case(f"reload.hangs_{name}", "202, exit 0 on SIGTERM, end mark", RELOADING, run)


def by_signal(listener, _):
    for _ in range(3):
        listener.send(signal.SIGHUP)


def by_command(listener, stack):
    command = [binary(), "reload", "--socket", str(listener.socket)]
    asking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(asking.wait)
    stack.callback(asking.kill)


def empty_lock(_):
    """A lock file of somebody else, which is empty as they often are."""
    with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as directory:
        lock = pathlib.Path(directory, "aqd.sock.lock")
        lock.touch()
        with Listener(wait=False, directory=directory) as listener:
            status = listener.wait()
            text = f"exit {status}, {listener.log().strip()[-80:]}"
            must(status == 1 and "left alone" in text and lock.exists(), text)
            must(lock.stat().st_size == 0, f"{text}; it was written to")
            return Seen(text, 0)


def journal(directory, more=""):
    """A configuration with a journal."""
    return f'[journal]\ndirectory = "{directory}/journal"\n{more}\n{RING}durability = "process"\n'


def killed(_):
    """Killed again and again: a ring with a journal has what was answered, once."""
    with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as directory:
        for count in range(1, 6):
            with Listener(config=journal(directory), directory=directory) as listener:
                must(ask(listener) == 202, f"no 202 at {count}")
                listener.send(signal.SIGKILL)
                listener.wait()
        with Listener(config=journal(directory), directory=directory) as listener:
            found = [number for number, _, _ in listener.records()]
            text = f"records {found}, exit {listener.stop()}"
            must(text == "records [0, 1, 2, 3, 4], exit 0", text)
            return Seen(text, 0)


def small_files(_):
    """Segments that RLIMIT_FSIZE does not allow."""
    with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as directory:
        config = journal(directory, 'segment_bytes = "2MiB"')
        options = {"directory": directory, "preexec_fn": limited(FSIZE=1 << 20)}
        with Listener(config=config, **options) as listener:
            health, refused, status = ask(listener, get(b"/readyz")), ask(listener), listener.stop()
            named = "RLIMIT_FSIZE) is 1048576" in listener.log()
            text = f"ready {health}, record {refused}, exit {status}, named {named}"
            must(text == "ready 503, record 503, exit 0, named True", text)
            return Seen(text, 0)


def frame(kind, flags, stream, payload):
    """A frame of HTTP/2."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def half_closed(whole):
    """Requests of HTTP/2, the last of them whole or not, and the end of what the client sends."""

    def run(_):
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"t"),
                  (b":path", b"/v1/rings/default/records")]  # fmt: skip
        block = b"".join(
            bytes([0, len(name)]) + name + bytes([len(value)]) + value for name, value in fields
        )
        with Listener() as listener:
            sent = FRAMES
            for stream in range(1, 41, 2):
                is_last = stream == 39 and not whole
                sent += frame(1, 4, stream, block) + frame(0, 0 if is_last else 1, stream, b"x")
            with Connection(listener.http) as connection:
                connection.send(sent)
                connection.socket.shutdown(socket.SHUT_WR)
                got = b""
                while piece := connection.socket.recv(65536):
                    got += piece
            answered, found = got.count(b'"seq"'), len(listener.records())
            text = f"{answered} of {19 + whole} answered, {found} records, exit {listener.stop()}"
            must(answered == found == 19 + whole and text.endswith("exit 0"), text)
            return Seen(text, 0)

    return run


CASES = [
    manager("full", "202, exit 0 on SIGTERM, nothing told", deaf),
    manager("gone", "202, exit 0 on SIGTERM, nothing told", gone),
    manager("abstract", "202, exit 0 on SIGTERM, READY told", abstract),
    hangs("by_signal", by_signal),
    hangs("by_command", by_command),
    Case("lock.empty", "exit 1, left alone", RELOADING, empty_lock),
    Case("journal.killed", "what was answered, once, in order", JOURNAL, killed),
    Case("journal.fsize", "503, and the log names the limit", JOURNAL, small_files),
    Case("http2.half_close", "every answer", "RFC 9113 §5.1", half_closed(True)),
    Case("http2.half_close_in_a_body", "every answer to what is whole", "RFC 9113 §5.1", half_closed(False)),
]  # fmt: skip
TABLE = Table("life", CASES)
