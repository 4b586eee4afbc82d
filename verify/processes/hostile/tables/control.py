"""The control socket: HELLOs of every wrong form, packets that no reader sends, descriptors that
nobody asked for (core/ABI.md §6.2, §6.3).

After each case another reader attaches to the same subscription: whatever one does, it is free.
"""

import os
import socket
import time

import ring
from case import Case, Seen, Wrong, matches
from runner import Table
from wire import End, Hangup, Wait

ABI = "core/ABI.md §6.2"
AFTER = "core/ABI.md §6.3"
STATUS = [
    "attached", "malformed", "version", "no_ring", "no_subscription", "busy", "not_permitted",
    "shutting_down", "resource",
]  # fmt: skip


class Hello:
    """Receives a WELCOME before it goes on."""


class Fds:
    """Sends a packet with so many descriptors beside it."""

    def __init__(self, data, count):
        self.data, self.count = data, count


def good(kind=1, subscription=""):
    """A HELLO for the case's ring, which is `RING` until it is sent."""
    return ring.hello(kind, "RING", subscription)


def put(packet, at, data):
    """A packet with other bytes at an offset."""
    return packet[:at] + data + packet[at + len(data) :]


def receive(control, words, seconds=5):
    """Receives what comes into `words`; False at the end of the connection."""
    control.settimeout(seconds)
    try:
        packet, descriptors, _, _ = socket.recv_fds(control, 4096, 8)
    except TimeoutError:
        return None
    except (ConnectionResetError, BrokenPipeError):
        return False
    for descriptor in descriptors:
        os.close(descriptor)
    if len(packet) == ring.WELCOME.size:
        status = ring.WELCOME.unpack(packet)[3]
        words.append(STATUS[status] + (f":{len(descriptors)}" if descriptors else ""))
    elif packet:
        words.append(repr(packet))
    return bool(packet)


def send(control, piece):
    """Sends a packet; that the other end is gone is no error here."""
    try:
        if isinstance(piece, Fds):
            fd = os.open("/dev/null", os.O_RDONLY)
            socket.send_fds(control, [piece.data], [fd] * piece.count)
            os.close(fd)
        else:
            control.send(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass


def is_free(place):
    """Whether another reader can attach, at once or as soon as the last one is seen to be gone."""
    deadline = time.monotonic() + 5
    while True:
        try:
            control, descriptors = ring.attach(place.listener.socket, 1, place.ring)
            for descriptor in descriptors:
                os.close(descriptor)
            control.close()
            return True
        except ring.Refused as refused:
            if time.monotonic() > deadline:
                return str(refused)
            time.sleep(0.02)


def control(name, script, expected, by=ABI):
    """Makes a case: `script` is packets, `Fds`, `Hello`, `Wait`, `End`, `Hangup`; `expected` is
    statuses with the number of descriptors, as `attached:2`, and `closed` or `open`."""
    script = script if isinstance(script, list) else [script]

    def run(place):
        words = []
        connection = ring.connect(place.listener.socket)
        with connection:
            for piece in script:
                if isinstance(piece, bytes):
                    send(connection, piece.replace(b"RING", place.ring.encode()))
                elif isinstance(piece, Fds):
                    send(connection, Fds(piece.data.replace(b"RING", place.ring.encode()), piece.count))
                elif isinstance(piece, Wait):
                    time.sleep(piece.seconds)
                elif piece is Hello:
                    receive(connection, words)
                elif piece is End:
                    connection.shutdown(socket.SHUT_WR)
                elif piece is Hangup:
                    connection.close()
                    break
            if connection.fileno() < 0:
                words.append("hung up")
            else:
                late = 0.1 if expected.endswith("open") else 5
                while (more := receive(connection, words, late)):
                    pass
                words.append("open" if more is None else "closed")
        seen = " ".join(words)
        if not matches(expected, seen):
            raise Wrong(seen)
        free = is_free(place)
        if free is not True:
            raise Wrong(f"{seen}; then the subscription is not free: {free}")
        return Seen(seen)

    return Case(name, expected, by, run, [])


ATTACHED = [good(), Hello]

# name, packet, answer: nothing but a HELLO of 144 bytes is one.
FORMS = [
    ("one_byte", b"A", "malformed"), ("cut", good()[:143], "malformed"), ("half", good()[:72], "malformed"),
    ("magic_only", b"AQDHELLO", "malformed"), ("one_more", good() + b"\0", "malformed"),
    ("twice_in_one", good() * 2, "malformed"), ("of_64_KiB", good() + b"\0" * 65392, "malformed"),
    ("zeros", b"\0" * 144, "malformed"), ("ones", b"\xff" * 144, "malformed"),
    ("magic_reply", put(good(), 0, b"AQDREPLY"), "malformed"), ("magic_lower", put(good(), 0, b"aqdhello"), "malformed"),
    ("magic_swapped", put(good(), 0, b"OLLEHDQA"), "malformed"), ("http", b"GET / HTTP/1.1\r\nhost: t\r\n\r\n", "malformed"),
    ("space_first", b"S", "malformed"), ("wake_first", b"W", "malformed"),
    ("major_0", ring.hello(1, "RING", major=0), "version"), ("major_2", ring.hello(1, "RING", major=2), "version"),
    ("major_65535", ring.hello(1, "RING", major=65535), "version"), ("major_swapped", put(good(), 8, b"\0\1"), "version"),
    *((f"kind_{kind}", good(kind), "malformed") for kind in (0, 5, 6, 255, 256, 257, 2**31, 2**32 - 1)),
    ("ring_unknown", ring.hello(1, "nobody"), "no_ring"), ("ring_empty_of_several", ring.hello(1, ""), "no_ring"),
    ("ring_capitals", put(good(), 16, b"R00"), "no_ring"), ("ring_path", ring.hello(1, "../RING"), "no_ring"),
    ("ring_absolute", ring.hello(1, "/RING"), "no_ring"), ("ring_slash_behind", ring.hello(1, "RING/"), "no_ring"),
    ("ring_space_behind", ring.hello(1, "RING "), "no_ring"), ("ring_lf_behind", ring.hello(1, "RING\n"), "no_ring"),
    ("ring_full_field", ring.hello(1, "a" * 64), "no_ring"), ("ring_not_utf_8", put(good(), 16, b"\xff\xfe"), "malformed"),
    ("ring_bytes_behind_nul", put(good(), 30, b"x"), "malformed"), ("ring_nul_first", put(good(), 16, b"\0"), "malformed"),
    ("ring_percent", ring.hello(1, "%52ING"), "no_ring"), ("ring_format", ring.hello(1, "%s%n%x"), "no_ring"),
    ("subscription_unknown", good(1, "nobody"), "no_subscription"), ("subscription_capitals", good(1, "Default"), "no_subscription"),
    ("subscription_full_field", good(1, "d" * 32), "no_subscription"), ("subscription_path", good(1, "../default"), "no_subscription"),
    ("subscription_not_utf_8", put(good(), 80, b"\xff"), "malformed"),
    ("subscription_bytes_behind_nul", put(good(1, "default"), 90, b"x"), "malformed"),
    ("subscription_cut", good(1, "defaul"), "no_subscription"), ("subscription_longer", good(1, "default1"), "no_subscription"),
]  # fmt: skip

GOOD = [
    ("kind_1", good(), "attached:2"), ("kind_2", good(2), "attached:1"), ("kind_3", good(3), "attached:2"),
    ("kind_4", good(4), "attached:2"), ("minor_0", put(good(), 10, b"\0\0"), "attached:2"),
    ("minor_65535", put(good(), 10, b"\xff\xff"), "attached:2"), ("reserved_bytes", put(good(), 112, b"x" * 32), "attached:2"),
    ("named_default", good(1, "default"), "attached:2"), ("observer_of_any_subscription", good(2, "nobody"), "attached:1"),
    ("observer_minor_0", put(good(2), 10, b"\0\0"), "attached:1"),
]  # fmt: skip

# name, packet of an attached reader, whether it stays.
PACKETS = [
    ("space", [b"S"], True), ("space_1000", [b"S"] * 1000, True), ("wake", [b"W"], False), ("letter", [b"x"], False),
    ("zero", [b"\0"], False), ("two", [b"SS"], False), ("space_and_lf", [b"S\n"], False), ("lower", [b"s"], False),
    ("empty", [b""], False), ("of_64_KiB", [b"S" * 65536], False), ("hello_again", [good()], False),
    ("welcome", [b"AQDREPLY" + b"\0" * 120], False), ("junk_after_space", [b"S", b"S", b"x"], False),
    ("junk_1000", [b"junk"] * 1000, False),
]  # fmt: skip

CASES = [
    *(control(f"hello.{name}", packet, f"{status} closed") for name, packet, status in FORMS),
    *(control(f"good.{name}", packet, f"{status} open") for name, packet, status in GOOD),
    *(
        control(f"packet.{name}", [*ATTACHED, *packets], f"attached:2 {'open' if stays else 'closed'}", AFTER)
        for name, packets, stays in PACKETS
    ),
    *(
        control(f"observer.{name}", [good(2), Hello, *packets], "attached:1 closed", AFTER)
        for name, packets, _ in PACKETS
    ),
    *(
        control(f"descriptors.{count}_with_hello", [Fds(good(), count)], "attached:2 open", ABI)
        for count in (1, 2, 16, 253)
    ),
    control("descriptors.with_junk", [Fds(b"x", 8)], "malformed closed", ABI),
    control("descriptors.with_space", [*ATTACHED, Fds(b"S", 8)], "attached:2 open", AFTER),
    control("descriptors.with_junk_of_a_reader", [*ATTACHED, Fds(b"x", 8)], "attached:2 closed", AFTER),
    control("hello.empty_packet", b"", "closed", AFTER),
    control("hello.none", [], "malformed closed", "shell/README.md, File: handshake_timeout_ms"),
    control("hello.late", [Wait(2.5), good()], "malformed closed", "shell/README.md, File: handshake_timeout_ms"),
    # A WELCOME may be lost when the connection ends over what was sent too much.
    control("hello.two_at_once", [good(), good()], "attached:2? closed", AFTER),
    control("hello.many_at_once", [good()] * 50, "attached:2? closed", AFTER),
    control("hello.second_after_refusal", [ring.hello(1, "nobody"), good()], "no_ring? closed", ABI),
    control("hello.observer_then_reader", [good(2), Hello, good()], "attached:1 closed", AFTER),
    control("hangup.at_once", [Hangup], "hung up", AFTER),
    control("hangup.after_half", [good()[:72], Hangup], "hung up", AFTER),
    control("hangup.before_welcome", [good(), Hangup], "hung up", AFTER),
    control("hangup.after_welcome", [*ATTACHED, Hangup], "attached:2 hung up", AFTER),
    control("half_close.before_hello", [End], "closed", AFTER),
    control("half_close.after_hello", [good(), End], "attached:2 closed", AFTER),
    control("half_close.attached", [*ATTACHED, End], "attached:2 closed", AFTER),
    control("half_close.observer", [good(2), Hello, End], "attached:1 closed", AFTER),
]  # fmt: skip


def other_type(kind):
    """Connects with another type of socket."""

    def run(place):
        with socket.socket(socket.AF_UNIX, kind) as client:
            try:
                client.connect(os.fspath(place.listener.socket))
            except OSError as error:
                if error.strerror == "Protocol wrong type for socket":
                    return Seen("EPROTOTYPE")
                raise
        raise Wrong("connected")

    return run


def busy(place):
    """A second reader of a subscription."""
    first, descriptors = ring.attach(place.listener.socket, 1, place.ring)
    for descriptor in descriptors:
        os.close(descriptor)
    with first, ring.connect(place.listener.socket) as second:
        second.send(good().replace(b"RING", place.ring.encode()))
        words = []
        while receive(second, words):
            pass
    if words != ["busy"]:
        raise Wrong(" ".join(words))
    return Seen(f"busy closed, then {'free' if is_free(place) is True else 'not free'}")


CASES += [
    Case("type.stream", "EPROTOTYPE", ABI, other_type(socket.SOCK_STREAM), []),
    Case("type.datagram", "EPROTOTYPE", ABI, other_type(socket.SOCK_DGRAM), []),
    Case("hello.busy", "busy, free after the first has gone", ABI, busy, []),
]

CONFIG = """
[control]
handshake_timeout_ms = "2s"
max_observers = 1000
max_handshakes = 500
"""

TABLE = Table("control", CASES, CONFIG)
