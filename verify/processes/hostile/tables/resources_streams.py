"""Standard streams that are closed, full, dead, or read by nobody stop nothing."""

import contextlib
import itertools
import os
import signal
import socket
import tempfile
import time

import ring
from case import Case, Seen
from listener import Listener, until
from peers import ask, free, metric, must, serves
from runner import Table
from wire import get

REPORTS = "shell/README.md: what only reports never stops the service"
SMALL = ["--capacity-bytes", "65536"]


def closing(*numbers):
    """Closes descriptors in the process that becomes the listener."""

    def before():
        for number in numbers:
            os.close(number)

    return before


def without(numbers):
    """Standard descriptors that are closed: HTTP is at a UNIX path, as nobody may say the port."""

    def run(_):
        with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as name:
            http = f"{name}/http"
            with Listener([*SMALL, "--listen", f"unix:{http}"], wait=False, directory=name,
                          preexec_fn=closing(*numbers), close_fds=True) as listener:  # fmt: skip
                listener.at = {"http": [http]}
                until(lambda: os.path.exists(http) and listener.socket.exists(), "it listens")
                return until_served(listener)

    closed = "_".join(map(str, numbers))
    return Case(f"streams.closed_{closed}", "serves, exit 0", REPORTS, run)


def until_served(listener):
    """Serves, once the address that is there is listened on."""

    def up():
        with contextlib.suppress(OSError):
            return ask(listener, get()) == 200
        return False

    until(up, "it serves")
    return serves(listener)


def full_pipe():
    """A pipe that takes no byte more, and its reading end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x")
    os.set_blocking(writing, True)
    return reading, writing


def dead_pipe():
    """A pipe whose reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return None, writing


def unread_pipe():
    """A pipe that nobody reads."""
    return os.pipe()


def full_device():
    """A disk without space."""
    return None, os.open("/dev/full", os.O_WRONLY)


def read_only():
    """A descriptor that cannot be written."""
    return None, os.open("/dev/null", os.O_RDONLY)


def dead_socket():
    """A socket whose other end is gone."""
    ours, theirs = socket.socketpair()
    ours.close()
    return None, theirs.detach()


def dead_terminal():
    """A terminal that was closed."""
    master, slave = os.openpty()
    os.close(master)
    return None, slave


def full_terminal():
    """A terminal that nobody reads."""
    master, slave = os.openpty()
    os.set_blocking(slave, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(slave, b"x" * 1024)
    os.set_blocking(slave, True)
    return master, slave


STREAMS = [full_pipe, dead_pipe, unread_pipe, full_device, read_only, dead_socket, dead_terminal, full_terminal]
NUMBERS = {"stdout": ["stdout"], "stderr": ["stderr"], "both": ["stdout", "stderr"]}


def stream(make, which, number):
    """A stream that takes nothing: everything else goes on, and the signals work."""

    def run(_):
        reading, writing = make()
        with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as name, contextlib.ExitStack() as stack:
            http = f"{name}/http"
            listener = stack.enter_context(
                Listener([*SMALL, "--listen", f"unix:{http}", "--log-level", "trace"], wait=False, directory=name,
                         **{each: writing for each in NUMBERS[which]})
            )  # fmt: skip
            os.close(writing)
            if reading is not None:
                stack.callback(os.close, reading)
            listener.at = {"http": [http]}
            until(lambda: os.path.exists(http), "it listens")

            def up():
                with contextlib.suppress(OSError):
                    return ask(listener, get()) == 200

            until(up, "it serves")
            # Lines that peers can cause, more than a pipe holds.
            for _ in range(300):
                with ring.connect(listener.socket) as control:
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        control.send(b"junk")
            answered = sum(ask(listener) == 202 for _ in range(20))
            must(answered == 20, f"{answered} of 20 answered")
            must(free(listener), "no reader can attach")
            dropped = metric(listener, "aqueduct_log_lines_dropped_total") or 0
            hidden = metric(listener, "aqueduct_log_lines_suppressed_total") or 0
            found = len(listener.records())
            began = time.monotonic()
            status = listener.stop(number)
            seen = (f"{answered} answered, {found} records, {dropped:.0f} lines dropped, {hidden:.0f} suppressed, "
                    f"exit {status} after {time.monotonic() - began:.1f} s")  # fmt: skip
            must(found == answered and status == 0, seen)
            must(time.monotonic() - began < 8, seen)
            return Seen(seen, answered)

    name = f"streams.{which}_{make.__name__}_{number.name.lower()}"
    return Case(name, "serves, exit 0 in time", REPORTS, run)


CLOSED = [without(numbers) for size in (1, 2, 3) for numbers in itertools.combinations((0, 1, 2), size)]
STALLED = [
    stream(make, which, number)
    for make in STREAMS
    for which in NUMBERS
    for number in ((signal.SIGTERM,) if which != "both" else (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
]

TABLE = Table("resources", [*CLOSED, *STALLED])
