"""Readers that have what they are given and do with it what they can (README.md, isolation), and
floods of them; each with a listener of its own.
"""

import contextlib
import ctypes
import fcntl
import mmap
import os
import socket
import struct
import threading
import time

import ring
from case import Case, Seen, Wrong
from listener import Listener, until
from peers import POST, ask, attached, free, metric
from runner import Table
from wire import Connection

DOCS = "README.md, Guarantees: a reader can hurt only itself"
LIMITS = "shell/README.md, Limits"




def settled(listener, answered):
    """Holds the ring against the number of records that were answered."""
    found = len(listener.records())
    if found != answered:
        raise Wrong(f"{found} records in the ring, {answered} answered")
    status = listener.stop()
    if status != 0 or "panicked" in listener.log():
        raise Wrong(f"exit {status}: {listener.log()[-300:]}")



def cannot(name, act, expected):
    """A reader's attempt on what it was given; `act(ring, cursor)` must fail so."""

    def run(_):
        with Listener(["--capacity-bytes", "4096"]) as listener:
            control, ring_fd, cursor_fd = attached(listener)
            try:
                act(ring_fd, cursor_fd)
            except OSError as error:
                seen = error.strerror
            else:
                raise Wrong("it was possible")
            finally:
                os.close(ring_fd)
                os.close(cursor_fd)
                control.close()
            answered = sum(ask(listener) == 202 for _ in range(3))
            settled(listener, answered)
            return Seen(f"{seen}, then {answered} answered", answered)

    return Case(f"descriptor.{name}", expected, DOCS, run)


def reopened(fd):
    """The same memfd, opened anew for writing by whoever may."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        os.pwrite(again, b"x", 4096)
    finally:
        os.close(again)


def mapped_anew(fd):
    """A writable map by a descriptor opened anew."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        mmap.mmap(again, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE).close()
    finally:
        os.close(again)


def punch(fd):
    """A hole by a descriptor opened anew."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    try:
        size = os.fstat(again).st_size
        libc_fallocate(again, 3, 0, size)
    finally:
        os.close(again)


def libc_fallocate(fd, mode, at, size):
    """fallocate(2), which Python has without its modes only."""
    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if call(fd, mode, at, size) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


CANNOT = [
    cannot("write_the_ring", lambda r, c: os.pwrite(r, b"x", 128), "EBADF or EPERM"),
    cannot("write_the_ring_opened_anew", lambda r, c: reopened(r), "EPERM"),
    cannot("map_the_ring_writable", lambda r, c: mmap.mmap(r, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE), "EACCES or EPERM"),
    cannot("map_the_ring_opened_anew", lambda r, c: mapped_anew(r), "EPERM"),
    cannot("cut_the_ring", lambda r, c: os.ftruncate(r, 0), "EINVAL or EPERM"),
    cannot("cut_the_ring_opened_anew", lambda r, c: os.truncate(f"/proc/self/fd/{r}", 0), "EPERM"),
    cannot("grow_the_ring", lambda r, c: os.truncate(f"/proc/self/fd/{r}", 1 << 30), "EPERM"),
    cannot("hole_in_the_ring", lambda r, c: punch(r), "EPERM"),
    cannot("cut_the_cursor", lambda r, c: os.ftruncate(c, 0), "EPERM"),
    cannot("grow_the_cursor", lambda r, c: os.ftruncate(c, 1 << 30), "EPERM"),
    cannot("seal_the_cursor", lambda r, c: fcntl.fcntl(c, 1033, 8), "EPERM"),
    cannot("seal_the_ring", lambda r, c: fcntl.fcntl(r, 1033, 8), "EPERM"),
]


def bad_cursor(name, change):
    """A reader that stores `change(tail)` as its cursor."""

    def run(_):
        with Listener(["--capacity-bytes", "4096"]) as listener:
            answered = sum(ask(listener) == 202 for _ in range(3))
            control, ring_fd, cursor_fd = attached(listener)
            segment = mmap.mmap(cursor_fd, 0)
            tail = struct.unpack_from("<I", mmap.mmap(ring_fd, 0, prot=mmap.PROT_READ), 128)[0]
            struct.pack_into("<I", segment, 64, change(tail) % 2**32)
            answered += ask(listener) == 202
            # The producer looks when somebody asks (ABI §6.1).
            held = metric(listener, 'aqueduct_subscription_lag_bytes{ring="default",subscription="default"}')
            control.settimeout(5)
            while (packet := control.recv(16)) == b"W":
                pass
            os.close(ring_fd)
            os.close(cursor_fd)
            if packet or held != 64 * answered:
                raise Wrong(f"{packet!r}, {held} bytes are held back for {answered} records")
            until(lambda: free(listener), "the subscription is free")
            settled(listener, answered)
            return Seen(f"evicted, {answered} records, {held:.0f} bytes held back", answered)

    return Case(f"cursor.{name}", "evicted, and the subscription holds what it held", "core/ABI.md §6.1", run)



CURSORS = [
    bad_cursor("just_ahead", lambda tail: tail + 3), bad_cursor("2_to_31_ahead", lambda tail: tail + 2**31),
    bad_cursor("one_back", lambda tail: -1), bad_cursor("capacity_back", lambda tail: tail - 128),
    bad_cursor("capacity_ahead", lambda tail: tail + 128),
]  # fmt: skip


def garbage_in_cursor(_):
    """A reader that fills its whole segment, the producer's part of it too."""
    with Listener(["--capacity-bytes", "4096"]) as listener:
        control, ring_fd, cursor_fd = attached(listener)
        segment = mmap.mmap(cursor_fd, 0)
        segment[:] = os.urandom(len(segment))
        answered = sum(ask(listener) == 202 for _ in range(10))
        page = metric(listener, 'aqueduct_records_total{ring="default"}')
        control.close()
        os.close(ring_fd)
        os.close(cursor_fd)
        until(lambda: free(listener), "the subscription is free")
        settled(listener, answered)
        return Seen(f"{answered} answered, metrics say {page:.0f}", answered)


@contextlib.contextmanager
def traffic(listener):
    """Posts on one connection until the block ends, once at least; what it yields holds (statuses,
    times)."""
    over, seen = threading.Event(), ([], [])

    def go():
        with Connection(listener.http) as connection:
            while True:
                began = time.monotonic()
                connection.send(POST)
                response = connection.response()
                seen[0].append(response and response[0])
                seen[1].append(time.monotonic() - began)
                if response is None or over.is_set():
                    return
                time.sleep(0.002)

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def flood(name, act, flags=(), seconds=5.0):
    """Something many times over, while records are posted and afterwards a reader attaches."""

    def run(_):
        with Listener(flags) as listener:
            with traffic(listener) as (statuses, times):
                what = act(listener)
            wrong = [status for status in statuses if status != 202]
            if wrong or not statuses or max(times) > seconds:
                raise Wrong(f"{what}; posts: {len(statuses)}, {wrong[:3]}, slowest {max(times, default=0):.2f} s")
            until(lambda: free(listener), "a reader attaches")
            answered = len(statuses)
            settled(listener, answered)
            return Seen(f"{what}, {answered} records meanwhile, then attached, exit 0", answered)

    return Case(f"flood.{name}", "records go on, a reader attaches, exit 0", LIMITS, run)


def silent(listener):
    """Control connections that say nothing."""
    held = [ring.connect(listener.socket) for _ in range(600)]
    for each in held:
        each.close()
    return f"{len(held)} silent connections"


def silent_attach(listener):
    """As many, and a reader attaches while they are there."""
    held = [ring.connect(listener.socket) for _ in range(400)]
    until(lambda: free(listener), "a reader attaches beside silent sockets")
    for each in held:
        each.close()
    return f"{len(held)} silent connections, attached beside them"


def attach_detach(listener):
    """Attaches and detaches."""
    count = sum(free(listener) for _ in range(500))
    return f"{count} of 500 attached and detached"


def junk(listener):
    """Connections that send junk."""
    for _ in range(600):
        with ring.connect(listener.socket) as control:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(5):
                    control.send(b"junk")
    return "600 connections of junk"


def spaces(listener):
    """One reader that never stops sending S."""
    control, *descriptors = attached(listener)
    control.settimeout(5)
    for _ in range(30000):
        control.send(b"S")
    control.close()
    for descriptor in descriptors:
        os.close(descriptor)
    return "30,000 S"


def observers(listener):
    """More observers than there are places, and a gating reader among them."""
    held, refused = [], 0
    for _ in range(100):
        try:
            control, descriptors = ring.attach(listener.socket, 2)
            held.append(control)
            for descriptor in descriptors:
                os.close(descriptor)
        except ring.Refused:
            refused += 1
    if len(held) != 32 or not free(listener):
        raise Wrong(f"{len(held)} observers, then no gating reader")
    for each in held:
        each.close()
    return f"{len(held)} observers, {refused} refused, a gating reader beside them"


def descriptors_left(listener):
    """HELLOs with 253 descriptors each: none of them stays open in the listener."""
    count = lambda: len(os.listdir(f"/proc/{listener.pid}/fd"))
    before = count()
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(100):
        with ring.connect(listener.socket) as control:
            socket.send_fds(control, [ring.hello(1)], [null] * 253)
    os.close(null)
    until(lambda: count() <= before + 2, f"the descriptors go, {before} at first", 5)
    return f"25,300 descriptors sent, {before} open before, {count()} after"


def stranger(allow, expected):
    """A peer that is not in `allow_uids`."""

    def run(_):
        config = f"[control]\nallow_uids = [{allow}]\n"
        with Listener(config=config) as listener:
            try:
                ring.attach(listener.socket, 1)[0].close()
                seen = "attached"
            except ring.Refused as refused:
                seen = str(refused)
            if expected not in seen:
                raise Wrong(seen)
            status = ask(listener)
            if status != 202 or listener.stop() != 0:
                raise Wrong(f"{seen}, then {status}")
            return Seen(f"{seen}, then 202 and exit 0", 1)

    return run


CASES = [
    *CANNOT, *CURSORS,
    Case("cursor.garbage", "evicted; records, metrics and the subscription go on", "core/ABI.md §6.1", garbage_in_cursor),
    flood("silent", silent), flood("attach_beside_silent", silent_attach), flood("attach_detach", attach_detach),
    flood("junk", junk), flood("space", spaces), flood("observers", observers), flood("descriptors", descriptors_left),
    Case("allowed.nobody", "6: may not attach", "core/ABI.md §6.2", stranger("", "6: this user")),
    Case("allowed.another", "6: may not attach", "core/ABI.md §6.2", stranger("4294967294", "6: this user")),
    Case("allowed.own", "attached", "shell/README.md, File", stranger(str(os.geteuid()), "attached")),
]  # fmt: skip

TABLE = Table("readers", CASES)
