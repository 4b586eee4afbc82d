"""The parts that push: many idle connections, more than the reader can take, clients that hang."""

import array
import re
import socket
import statistics
import threading
import time

from .base import PATTERN, rss_kib
from .loads import paced
from .servers import Aqueduct

DRIVERS = ("epoll", "io_uring")
# The reader takes this long for a record, so that the reader is what limits.
PACE_US = 250


def idle(args, scratch, results):
    """Resident memory of the listener per idle connection, fresh and after a body of 60 KiB."""
    connections = 2000
    for driver in DRIVERS:
        server = Aqueduct(scratch, driver)
        address = ("127.0.0.1", server.ports["http"])
        head = f"POST {server.path} HTTP/1.1\r\nhost: b\r\ncontent-length: "
        small = f"{head}1\r\n\r\na".encode()
        large = f"{head}{60 << 10}\r\n\r\n{PATTERN[: 60 << 10]}".encode()
        # What the first connections cost is not theirs alone.
        warm = [socket.create_connection(address) for _ in range(50)]
        exchange(warm, large)
        before = rss_kib(server.pids[0])
        held = [socket.create_connection(address) for _ in range(connections)]
        exchange(held, small)
        fresh = rss_kib(server.pids[0])
        exchange(held, large)
        after = rss_kib(server.pids[0])
        fresh_kib, after_kib = (fresh - before) / connections, (after - before) / connections
        print(f"idle {driver:9} {fresh_kib:.2f} KiB a connection, {after_kib:.2f} after 60 KiB")
        results[f"idle {driver}"] = {"fresh_kib": fresh_kib, "after_60_kib": after_kib}
        for stream in held + warm:
            stream.close()
        server.stop()


def exchange(streams, request):
    for stream in streams:
        stream.sendall(request)
        answer = b""
        while not answer.endswith(b'"}'):
            answer += stream.recv(4096)


def overload(args, scratch, results):
    """Ten times what the reader takes, for a minute: whether those that find space are as many as
    without the others, how fast the others are refused, and that a 2xx is one record."""
    for driver in DRIVERS:
        capacity = capacity_of(scratch, driver)
        sent, read = scratch / f"{driver}.sent", scratch / f"{driver}.read"
        quick = ("--full-wait-ms", "0")
        server = Aqueduct(
            scratch, driver, ring="1MiB", flags=quick, reader=(str(PACE_US), str(read))
        )
        listener = server.pids[0]
        # Until the ring is full, records are taken faster than they are read.
        paced(server, 64, 0, 2, numbers=scratch / "full")
        before = rss_kib(listener)
        highest = [before]
        ended = threading.Event()

        def watch():
            while not ended.wait(0.5):
                highest[0] = max(highest[0], rss_kib(listener))

        watcher = threading.Thread(target=watch)
        watcher.start()
        said = paced(server, 64, 10 * capacity, args.overload_seconds, numbers=sent)
        ended.set()
        watcher.join()
        goodput = said["taken"] / said["seconds"]
        wait_for_reader(read)
        records = int(re.search(r"records=(\d+)", server.stop())[1])
        taken = [pairs(scratch / "full"), pairs(sent)]
        promised, found = [pair for each in taken for pair in each], pairs(read)
        exact = sorted(promised) == sorted(found) and len(found) == records
        results[f"overload {driver}"] = kept = {
            "capacity": capacity,
            "offered": said["sent"] / said["seconds"],
            "seconds": said["seconds"],
            "goodput_share": goodput / capacity,
            "refused": said["refused"],
            "refusal_p50_us": said["refusal"]["p50_us"],
            "refusal_p99_us": said["refusal"]["p99_us"],
            "unsent": said["unsent"],
            "growth_kib": highest[0] - before,
            "taken": len(promised),
            "exactly_once": exact,
        }
        print(f"overload {driver:9} " + ", ".join(f"{key} {value}" for key, value in kept.items()))
        if not exact:
            raise SystemExit(f"{len(promised)} records were promised and {len(found)} found")


def capacity_of(scratch, driver):
    """What is taken per second while the ring is full and nobody is refused: each client waits
    until there is space. Clients that are refused at once and come again as fast as they can would
    take the processor from the reader, and what was measured would be less than the capacity."""
    server = Aqueduct(
        scratch, driver, ring="1MiB", flags=("--full-wait-ms", "5000"), reader=(str(PACE_US),)
    )
    paced(server, 64, 0, 2)
    alone = paced(server, 64, 0, 5)
    server.stop()
    if alone["refused"]:
        raise SystemExit(f"{alone['refused']} were refused though they wait")
    return alone["taken"] / alone["seconds"]


def wait_for_reader(file):
    """Until it has read what is in the ring: its file grows no more."""
    size = -1
    while size != file.stat().st_size:
        size = file.stat().st_size
        time.sleep(1.5)


def pairs(file):
    words = array.array("Q", file.read_bytes())
    return list(zip(words[::2], words[1::2]))


def slow(args, scratch, results):
    """The latencies of 64 connections at a constant rate, without and with clients that hang: one in
    the middle of a head, one in the middle of a body, one that takes no answers, and one that sends
    a byte at a time."""
    for driver in DRIVERS:
        server = Aqueduct(scratch, driver)
        rate = 0.3 * paced(server, 64, 0, args.seconds)["taken"] / args.seconds
        ratios = {"p50_us": [], "p99_us": []}
        seen = []
        for _ in range(args.rounds):
            alone = paced(server, 64, rate, args.seconds)["latency"]
            hung = Hung(server)
            among = paced(server, 64, rate, args.seconds)["latency"]
            hung.end()
            seen.append((alone["p99_us"], among["p99_us"]))
            for key, values in ratios.items():
                values.append(among[key] / alone[key])
        server.stop()
        kept = {f"{key[:3]}_ratio": statistics.median(values) for key, values in ratios.items()}
        kept["p99_ratio_spread"] = [min(ratios["p99_us"]), max(ratios["p99_us"])]
        kept["p99_alone_us"] = statistics.median(alone for alone, _ in seen)
        kept["p99_among_us"] = statistics.median(among for _, among in seen)
        results[f"slow {driver}"] = kept
        print(f"slow {driver:9} " + ", ".join(f"{key} {value}" for key, value in kept.items()))


class Hung:
    """Four bad clients of one server."""

    def __init__(self, server):
        address = ("127.0.0.1", server.ports["http"])
        head = f"POST {server.path} HTTP/1.1\r\nhost: b\r\ncontent-length: 128\r\n"
        whole = f"{head}\r\n{PATTERN[:128]}".encode()
        self.streams = [socket.create_connection(address) for _ in range(4)]
        in_head, in_body, deaf, crawling = self.streams
        in_head.sendall(head.encode())
        in_body.sendall(whole[:-64])
        deaf.setblocking(False)
        try:
            while True:
                deaf.send(whole * 64)
        except BlockingIOError:
            pass
        self.ended = threading.Event()
        self.crawler = threading.Thread(target=self.crawl, args=(crawling, whole))
        self.crawler.start()

    def crawl(self, stream, whole):
        for byte in whole:
            if self.ended.wait(0.005):
                return
            stream.sendall(bytes([byte]))

    def end(self):
        self.ended.set()
        self.crawler.join()
        # A record of which the half has come is given up, and no reader sees it.
        for stream in self.streams:
            stream.close()
