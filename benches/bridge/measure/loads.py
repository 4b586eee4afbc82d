"""Loads: each returns records, seconds, and what else it measured."""

import json
import re
import socket
import subprocess
import time

from .base import PATTERN, TARGET
from .servers import Redis


def wrk(args, scratch, connections, body, headers="", per_request=1):
    script = scratch / "post.lua"

    def load(server):
        own = "".join(f'wrk.headers["{key}"] = "{text}"\n' for key, text in server.headers.items())
        script.write_text(f'wrk.method = "POST"\nwrk.body = [=[{body}]=]\n{headers}{own}')
        url = f"{server.scheme}://127.0.0.1:{server.ports['http']}{server.path}"
        threads = 2 if connections > 1 else 1
        sizes = ["-t", str(threads), "-c", str(connections), "-d", f"{args.seconds}s"]
        command = ["wrk", *sizes, "--latency", "-s", str(script), url]
        said = subprocess.check_output(command, text=True)
        if "Non-2xx" in said or "Socket errors" in said:
            raise SystemExit(f"{url}: {said}")
        requests = int(re.search(r"(\d+) requests in", said)[1])
        seconds = requests / float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
        p50, p99 = (re.search(rf"{p}%\s+([\d.]+)(us|ms|s)", said) for p in (50, 99))
        to_us = {"us": 1, "ms": 1e3, "s": 1e6}
        times = {"p50_us": float(p50[1]) * to_us[p50[2]], "p99_us": float(p99[1]) * to_us[p99[2]]}
        return requests * per_request, seconds, times

    return load


def paced(server, connections, rate, seconds, size=128, numbers=None):
    """Requests at a constant rate, latencies from the instant each was due. 0: the capacity."""
    where = [f"127.0.0.1:{server.ports['http']}", server.path]
    how = [str(word) for word in (connections, rate, seconds, size)]
    command = [TARGET / "release/load", *where, *how, *([numbers] if numbers else [])]
    said = json.loads(subprocess.check_output(command))
    if said["other"]:
        raise SystemExit(f"{said['other']} answers were neither 2xx nor 503")
    return said


def handshakes(args, certificate, *how):
    """Connections of one request each, over TLS, by eight threads."""

    def load(server):
        where = [f"127.0.0.1:{server.ports['http']}", server.path, certificate]
        command = [TARGET / "release/handshakes", *where, "8", str(args.seconds), "128", *how]
        said = json.loads(subprocess.check_output(command))
        resumed = said["resumed"] / max(said["taken"], 1)
        # Each thread begins without a session.
        if not how and resumed < 0.95 or how and resumed > 0:
            raise SystemExit(f"{said['resumed']} of {said['taken']} sessions were resumed")
        return said["taken"], said["seconds"], {}

    return load


def redis_benchmark(args, pipeline):
    count = 150_000 * args.seconds if pipeline > 1 else 15_000 * args.seconds
    target = ["-c", "50", "-P", str(pipeline), "-n", str(count), "-q"]
    command = ["XADD", "default", "*", "data", PATTERN[:128]]

    def load(server):
        start = time.monotonic()
        port = ["-p", str(server.ports["resp"])]
        whole = ["redis-benchmark", *port, *target, *command]
        said = subprocess.run(whole, capture_output=True, text=True, check=True).stdout
        if "error" in said.lower():
            raise SystemExit(said)
        seconds = time.monotonic() - start
        if isinstance(server, Redis):
            subprocess.check_output(["redis-cli", *port, "DEL", "default"])
        return count, seconds, {}

    return load


def mosquitto_pub(args, scratch):
    count = 4_000 * args.seconds
    lines = scratch / "mqtt.txt"
    lines.write_text(f"{PATTERN[:128]}\n" * count)

    def load(server):
        start = time.monotonic()
        clients = []
        for client in range(4):
            flags = ["-p", str(server.ports["mqtt"]), "-q", "1", "-t", f"bench/{client}", "-l"]
            clients.append(subprocess.Popen(["mosquitto_pub", *flags], stdin=lines.open()))
        if any(client.wait() for client in clients):
            raise SystemExit("mosquitto_pub failed")
        return 4 * count, time.monotonic() - start, {}

    return load


def counted_frames(args, scratch):
    count = 500_000 * args.seconds
    frames = scratch / "frames.bin"
    frames.write_bytes(f"128 {PATTERN[:128]}".encode() * count)

    def load(server):
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", server.ports["octets"])) as stream:
            with frames.open("rb") as file:
                stream.sendfile(file)
            stream.shutdown(socket.SHUT_WR)
            # The end comes when the last frame is published.
            stream.recv(1)
        return count, time.monotonic() - start, {}

    return load
