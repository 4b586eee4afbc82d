"""Signals at every moment: what was answered is in the ring that the readers keep, and nothing is left."""

import contextlib
import itertools
import random
import signal
import threading
import time

from case import Case, Seen
from listener import Listener
from peers import POST, ask, left, must, reader
from runner import Table
from wire import Connection, get, post

SIGNALS = "shell/README.md, Signals"
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def ends(name, sends, status, during=None, flags=(), closed=True, config=None):
    """Signals, and the exit status. `during(listener)` prepares and yields what it knows how to
    check: it is a context manager whose value is called after the end and returns what it saw."""

    def run(_):
        with Listener(flags, config) as listener, contextlib.ExitStack() as stack:
            answered = sum(ask(listener) == 202 for _ in range(2))
            observer, mapped = reader(listener, 2)
            stack.enter_context(observer)
            check = stack.enter_context(during(listener)) if during else lambda: ("", 0, 0)
            for number, pause in sends:
                listener.send(number)
                time.sleep(pause)
            seen = listener.wait()
            said, more, gone = check()
            found, files = len(mapped.records()), left(listener)
            text = f"exit {seen}{said}, {found} records, end mark {mapped.is_closed}, left {files}"
            must(seen == status, text)
            must(mapped.is_closed == closed, text)
            must(not files or not closed, text)
            must(answered + more <= found <= answered + more + gone, f"{text}; {answered + more} answered")
            must("panicked" not in listener.log(), f"{text}; panicked")
            return Seen(text, answered + more, gone)

    expected = f"exit {status}, {'end mark, no file left' if closed else 'no end mark'}"
    return Case(f"end.{name}", expected, SIGNALS, run)


@contextlib.contextmanager
def held(listener):
    """A gating reader that releases nothing: the shutdown waits for it."""
    control, _ = reader(listener)
    with control:
        yield lambda: (", a reader attached", 0, 0)


@contextlib.contextmanager
def idle(listener):
    """Connections that are open and say nothing."""
    connections = [Connection(listener.http) for _ in range(50)]
    for connection in connections[:25]:
        connection.send(get())
        connection.response()
    yield lambda: (", 50 idle connections", 0, 0)
    for connection in connections:
        connection.socket.close()


@contextlib.contextmanager
def half_head(listener):
    """Requests of which a part has come."""
    connections = [Connection(listener.http) for _ in range(5)]
    for connection in connections:
        connection.send(POST[:40])
    time.sleep(0.05)
    yield lambda: (f", then {[(r and r[0]) for r in (c.response() for c in connections)]}", 0, 0)


@contextlib.contextmanager
def in_flight(listener):
    """A body that comes after the signal."""
    connection = Connection(listener.http)
    connection.send(post(b"whole", b"expect: 100-continue", path=b"/v1/rings/default/records")[:-5])
    must(connection.response()[0] == 100, "no 100")
    late = threading.Timer(0.15, lambda: connection.send(b"whole"))
    late.start()

    def check():
        response = connection.response()
        must(response and response[0] == 202, f"{response and response[0]} to a request in flight")
        return ", then 202", 1, 0

    yield check


@contextlib.contextmanager
def parked(listener):
    """Records that wait for space in a full ring."""
    filling = 0
    while ask(listener) == 202:
        filling += 1
        must(filling < 200, "the ring is never full")
    connections = [Connection(listener.http) for _ in range(3)]
    for connection in connections:
        connection.send(POST)
    time.sleep(0.1)

    def check():
        statuses = [(r and r[0]) for r in (c.response() for c in connections)]
        must(set(statuses) <= {503, 202}, f"{statuses} to records that waited")
        return f", then {statuses}", filling + statuses.count(202), 0

    yield check


def posting(protocol="http"):
    """Clients that send all the time: the signal comes at some moment of theirs. Each answered
    record must be in the ring, and none that was not, though they never hung up themselves."""
    xadd = b"*5\r\n$4\r\nXADD\r\n$7\r\ndefault\r\n$1\r\n*\r\n$4\r\ndata\r\n$1\r\nx\r\n"
    one, good = (POST, b"202 Accepted") if protocol == "http" else (xadd, b"\r\n")

    @contextlib.contextmanager
    def during(listener):
        counts, over = [], threading.Event()

        def client(pipeline):
            count = 0
            with Connection(listener.at[protocol][-1]) as connection:
                while not connection.is_over and not over.is_set():
                    connection.send(one * pipeline)
                    for _ in range(pipeline):
                        while good not in connection.buffer and connection.fill(10):
                            pass
                        if protocol == "http":
                            response = connection.response(10)
                            if response is None:
                                break
                            count += response[0] == 202
                        else:
                            # `$N`, then the id.
                            head, _, rest = connection.buffer.partition(b"\r\n")
                            if not head.startswith(b"$") or b"\r\n" not in rest:
                                break
                            connection.buffer = rest.partition(b"\r\n")[2]
                            count += 1
            counts.append(count)

        threads = [threading.Thread(target=client, args=(n,)) for n in (1, 1, 4, 16)]
        for thread in threads:
            thread.start()
        time.sleep(0.05 + random.random() / 20)

        def check():
            over.set()
            for thread in threads:
                thread.join()
            return f", {sum(counts)} answered while posting", sum(counts), 0

        yield check

    return during


LOOPS = "[ingest]\nloops = {}\n[[listen]]\naddress = \"127.0.0.1:0\"\nprotocol = \"resp\"\n"
ENDS = [
    *(ends(f"idle_{n.name.lower()}", [(n, 0)], 0) for n in (TERM, INT, HUP)),
    *(ends(f"connections_{n.name.lower()}", [(n, 0)], 0, idle) for n in (TERM, INT, HUP)),
    *(
        ends(f"twice_{a.name.lower()}_{b.name.lower()}", [(a, 0.2), (b, 0)], 128 + b, held,
             ["--drain-timeout-ms", "60s"], closed=False)
        for a, b in itertools.product((TERM, INT, HUP), (TERM, INT, HUP))
    ),
    ends("reader_that_releases_nothing", [(TERM, 0)], 0, held, ["--drain-timeout-ms", "200"]),
    ends("killed", [(signal.SIGKILL, 0)], -9, held, closed=False),
    ends("quit", [(signal.SIGQUIT, 0)], -3, held, closed=False),
    ends("stopped_then_ended", [(signal.SIGSTOP, 0.1), (TERM, 0.1), (signal.SIGCONT, 0)], 0),
    ends("stopped_and_continued", [(signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.1), (TERM, 0)], 0, idle),
    ends("pipe_and_child_signals", [(signal.SIGPIPE, 0.05), (signal.SIGCHLD, 0.05), (signal.SIGWINCH, 0.05), (TERM, 0)], 0),
    ends("half_heads", [(TERM, 0)], 0, half_head),
    ends("request_in_flight", [(TERM, 0)], 0, in_flight),
    ends("records_that_wait", [(TERM, 0)], 0, parked, ["--capacity-bytes", "4096", "--full-wait-ms", "30s"]),
    *(
        ends(f"posting_{protocol}_{driver}_{loops}_{n}", [(TERM, 0)], 0, posting(protocol),
             ["--driver", driver], config=LOOPS.format(loops))
        for protocol in ("http", "resp") for driver in ("epoll", "auto") for loops in (1, 2) for n in (1, 2)
    ),
]  # fmt: skip

TABLE = Table("life", ENDS)
