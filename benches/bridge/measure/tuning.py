"""What each setting does: the same load with a setting at its default and at other values."""

from .loads import paced
from .rounds import middle, measured
from .servers import Aqueduct

# Name of the setting, value, what it changes. The first of each name is the default.
SETTINGS = [
    ("ingest.driver", "io_uring", {"driver": "io_uring"}),
    ("ingest.driver", "epoll", {"driver": "epoll"}),
    ("ingest.loops", "1", {"ingest": "loops = 1"}),
    ("ingest.loops", "2", {"ingest": "loops = 2"}),
    ("ingest.loops", "4", {"ingest": "loops = 4"}),
    ("ingest.wake_interval_us", "100", {}),
    ("ingest.wake_interval_us", "0", {"ingest": "wake_interval_us = 0"}),
    ("ingest.wake_interval_us", "30", {"ingest": "wake_interval_us = 30"}),
    ("ingest.wake_interval_us", "1000", {"ingest": "wake_interval_us = 1000"}),
    ("server.threads", "2", {"more": "[server]\nthreads = 2\n"}),
    ("server.threads", "8", {"more": "[server]\nthreads = 8\n"}),
    ("ingest.max_buffered_bytes", "256MiB", {}),
    ("ingest.max_buffered_bytes", "4MiB", {"ingest": "max_buffered_bytes = '4MiB'"}),
    ("ring.capacity_bytes", "16MiB", {}),
    ("ring.capacity_bytes", "1MiB", {"ring": "1MiB", "flags": ("--max-payload-bytes", "64KiB")}),
    ("ring.capacity_bytes", "64KiB", {"ring": "64KiB", "flags": ("--max-payload-bytes", "16KiB")}),
    ("ring.capacity_bytes", "128MiB", {"ring": "128MiB"}),
    ("ring.full_wait_ms", "1s", {"ring": "64KiB", "flags": ("--max-payload-bytes", "16KiB")}),
    (
        "ring.full_wait_ms",
        "0",
        {"ring": "64KiB", "flags": ("--max-payload-bytes", "16KiB", "--full-wait-ms", "0")},
    ),
]


def tuning(args, scratch, results):
    """Rate of 64 connections as fast as they can, and latency and refusals at a constant rate of
    half of what the default can do."""
    default = Aqueduct(scratch, "io_uring")
    try:
        rate = 0.5 * paced(default, 64, 0, args.seconds)["taken"] / args.seconds
    finally:
        default.stop()
    rows = []
    measures = [[] for _ in SETTINGS]
    for _ in range(args.rounds):
        for (_, _, changes), seen in zip(SETTINGS, measures):
            server = Aqueduct(scratch, changes.get("driver", "io_uring"), **without_driver(changes))
            try:
                seen.append(one(args, scratch, server, rate))
            finally:
                server.stop()
    for (name, value, _), seen in zip(SETTINGS, measures):
        row = {key: middle(seen, key) for key in seen[0]}
        rows.append({"setting": name, "value": value, **row})
        print(
            f"tuning {name:20} {value:9} {row['rate']:8.0f}/s  cpu {row['cpu_us']:6.3f} us"
            f"  p99 {row['p99_us']:7.0f} us  refused {100 * row['refused']:.2f} %",
            flush=True,
        )
    results["tuning"] = {"paced_rate": rate, "rows": rows}


def without_driver(changes):
    return {key: value for key, value in changes.items() if key != "driver"}


def one(args, scratch, server, rate):
    def saturate(_):
        said = paced(server, 64, 0, args.seconds)
        answered = said["taken"] + said["refused"]
        return answered, said["seconds"], {"refused": said["refused"] / max(answered, 1)}

    most = measured(server, saturate)
    at_rate = paced(server, 64, rate, args.seconds)
    return {
        "rate": most["rate"] * (1 - most["refused"]),
        "cpu_us": most["cpu_us"],
        "refused": most["refused"],
        "p50_us": at_rate["latency"]["p50_us"],
        "p99_us": at_rate["latency"]["p99_us"],
    }
