"""Kernels and containers that forbid io_uring, whole or in part: a driver is chosen at the start."""

import ctypes
import struct

from case import Case, Seen
from listener import Listener
from peers import ask, must
from runner import Table

DOCS = "shell/README.md, --driver"
FALLBACK = "io_uring does not work here: using epoll"
# System calls of io_uring, by the same numbers on every architecture that has them.
SETUP, ENTER, REGISTER = 425, 426, 427
EPERM, EINVAL, ENOSYS = 1, 22, 38


def forbidding(number, errno):
    """Sets a seccomp filter between fork and exec: this call fails so, all others are allowed."""

    def apply():
        load, compare, give = 0x20, 0x15, 0x06
        rows = [(load, 0, 0, 0), (compare, 0, 1, number), (give, 0, 0, 0x00050000 | errno), (give, 0, 0, 0x7FFF0000)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
        header = ctypes.create_string_buffer(struct.pack("@HP", len(rows), ctypes.addressof(program)))
        libc = ctypes.CDLL(None, use_errno=True)
        # No new privileges, then the filter.
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(header), 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")

    return apply


def serves(name, driver, flags=(), told=False, **popen):
    """It serves with this driver, and says if that is not the one that was hoped for."""

    def run(_):
        with Listener([*flags, "--capacity-bytes", "4096"], **popen) as listener:
            answered = sum(ask(listener) == 202 for _ in range(3))
            found, end, log = len(listener.records()), listener.stop(), listener.log()
            said = log.count(FALLBACK)
            seen = f"{answered} answered, {found} records, exit {end}, told {said} times"
            is_right = answered == found == 3 and end == 0 and said == int(told)
            must(is_right and f"event loops started driver={driver}" in log, f"{seen}; {log[-300:]}")
            return Seen(seen, answered)

    return Case(name, f"serves by {driver}", DOCS, run)


def refuses(name, flags, **popen):
    """It does not start, and says why."""

    def run(_):
        with Listener(flags, wait=False, **popen) as listener:
            end, log = listener.wait(), listener.log().strip()
            must(end == 1 and "io_uring is asked for and does not work here" in log, f"exit {end}: {log[-200:]}")
            return Seen(log)

    return Case(name, "exit 1 and the reason", DOCS, run)


PARTS = [
    ("setup_EPERM", SETUP, EPERM), ("setup_ENOSYS", SETUP, ENOSYS), ("enter_EPERM", ENTER, EPERM),
    ("register_EINVAL", REGISTER, EINVAL),
]  # fmt: skip

CASES = [
    serves("forced.epoll", "epoll", ["--driver", "epoll"]),
    *(
        serves(f"auto.{name}", "epoll", told=True, preexec_fn=forbidding(number, errno))
        for name, number, errno in PARTS
    ),
    *(
        serves(f"epoll.{name}", "epoll", ["--driver", "epoll"], preexec_fn=forbidding(number, errno))
        for name, number, errno in PARTS
    ),
    *(
        refuses(f"forced.{name}", ["--driver", "io_uring"], preexec_fn=forbidding(number, errno))
        for name, number, errno in PARTS
    ),
]

TABLE = Table("resources.drivers", CASES)
