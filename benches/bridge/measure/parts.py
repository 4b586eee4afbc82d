"""The parts that compare rates and processor time."""

import resource
import subprocess

from .base import PATTERN
from .loads import counted_frames, handshakes, mosquitto_pub, paced, redis_benchmark, wrk
from .rounds import rounds
from .servers import (
    Aqueduct,
    Bare,
    Gin,
    Mosquitto,
    Nginx,
    Peer,
    Redis,
    Route,
    Tls,
    TlsNginx,
    both,
)


def run(args, contenders, loads, results):
    try:
        for name, load in loads:
            rounds(args, name, contenders, load, results)
    finally:
        for server in contenders.values():
            server.stop()


def http(args, scratch, results):
    """Requests of 128 bytes."""
    requests(args, scratch, 128, results)


def large(args, scratch, results):
    """Requests of 4 KiB."""
    requests(args, scratch, 4096, results)


def requests(args, scratch, size, results):
    contenders = {"nginx": Nginx(scratch), **both(scratch)}
    contenders |= {"bare epoll": Bare("epoll"), "bare uring": Bare("io_uring")}
    if args.peers:
        contenders |= {"gin": Gin(), "axum": Peer("axum"), "hyper": Peer("hyper-smol")}
    counts = [1, 64, 400]
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 10_000:
        counts.append(4000)
    loads = [
        (f"http {size} B x{count}", wrk(args, scratch, count, PATTERN[:size])) for count in counts
    ]
    run(args, contenders, loads, results)


def batch(args, scratch, results):
    def many(media_type, body, count):
        lua = f'wrk.headers["content-type"] = "application/{media_type}"\nwrk.body = {body}\n'
        return wrk(args, scratch, 64, "", lua, count)

    record = PATTERN[:128]
    lines = lambda count: many("x-ndjson", f'string.rep("{record}\\n", {count})', count)
    # Before each: u32 length and u16 type, little-endian.
    counted = f'string.rep("\\128\\0\\0\\0\\0\\0{record}", 100)'
    loads = [
        ("http 1 record", wrk(args, scratch, 64, record)),
        ("http NDJSON of 10", lines(10)),
        ("http NDJSON of 100", lines(100)),
        ("http counted of 100", many("vnd.aqueduct.records", counted, 100)),
    ]
    run(args, both(scratch), loads, results)


def loops(args, scratch, results):
    contenders = {
        f"{driver} {count}": Aqueduct(scratch, driver, f"loops = {count}")
        for count in (1, 2)
        for driver in ("epoll", "io_uring")
    }
    load = wrk(args, scratch, 64, PATTERN[:128])
    run(args, contenders, [("loops x64", load)], results)


def route(args, scratch, results):
    """A route with token and request id beside the same listener's bare path."""
    load = wrk(args, scratch, 64, PATTERN[:128])
    for driver in ("epoll", "io_uring"):
        contenders = {"bare": Aqueduct(scratch, driver), "route": Route(scratch, driver)}
        run(args, contenders, [(f"route 128 B x64, {driver}", load)], results)


def tls(args, scratch, results):
    """Requests over TLS 1.3, and connections of one request each: resumed, then in full."""
    certificate, key = scratch / "cert.pem", scratch / "key.pem"
    how = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    what = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    what += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command = ["openssl", "req", "-x509", *how, *what, "-keyout", key, "-out", certificate]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    contenders = {"nginx": TlsNginx(scratch, certificate, key)}
    contenders |= {each: Tls(scratch, each, certificate, key) for each in ("epoll", "io_uring")}
    loads = [
        ("TLS 128 B x64", wrk(args, scratch, 64, PATTERN[:128])),
        ("TLS 4 KiB x64", wrk(args, scratch, 64, PATTERN[:4096])),
        ("TLS resumed x8", handshakes(args, certificate)),
        ("TLS full x8", handshakes(args, certificate, "full")),
    ]
    run(args, contenders, loads, results)


def latency(args, scratch, results):
    """Latencies at a constant rate, of 64 connections: half and four fifths of what each can do."""
    contenders = {"nginx": Nginx(scratch), **both(scratch)}
    if args.peers:
        contenders["gin"] = Gin()
    capacity = {
        id(server): max(paced(server, 64, 0, args.seconds)["taken"] for _ in range(2))
        / args.seconds
        for server in contenders.values()
    }

    def at(share):
        def load(server):
            said = paced(server, 64, share * capacity[id(server)], args.seconds)
            kept = {key: said["latency"][key] for key in ("p50_us", "p99_us", "p999_us")}
            return said["taken"], said["seconds"], kept

        return load

    loads = [(f"latency at {share:.0%}", at(share)) for share in (0.5, 0.8)]
    run(args, contenders, loads, results)


def resp(args, scratch, results):
    loads = [(f"resp 128 B P{depth}", redis_benchmark(args, depth)) for depth in (1, 16, 64)]
    run(args, {"redis": Redis(scratch), **both(scratch)}, loads, results)


def mqtt(args, scratch, results):
    loads = [("mqtt 128 B QoS 1", mosquitto_pub(args, scratch))]
    run(args, {"mosquitto": Mosquitto(scratch), **both(scratch)}, loads, results)


def frames(args, scratch, results):
    loads = [("octet-counted 128 B", counted_frames(args, scratch))]
    run(args, both(scratch), loads, results)
