"""Reads `SCENARIO URL` lines and answers each with what the client saw, for clients in Python."""

import concurrent.futures
import json
import sys
import time

SMALL = b"small"
MEBIBYTE = b"m" * (1 << 20)
TOO_LARGE = b"l" * ((1 << 20) + 1)
EXPECTED = b"e" * 100_000
PIECES = [b"ab", b"cd", b"ef"]
# Longer than the listener keeps an idle connection.
IDLE_SECONDS = 2


class Abort(Exception):
    """The client gives up while it sends."""


def broken_off():
    """The start of a body."""
    yield b"x" * 1000
    time.sleep(0.05)
    raise Abort


def blocking(post):
    """The scenarios of a client that blocks; `post(url, body, **options)` returns the status."""

    def reuse(url):
        yield post(url, b"r1")
        yield post(url, b"r2")
        time.sleep(IDLE_SECONDS)
        yield post(url, b"r3")

    def abort(url):
        try:
            post(url, broken_off())
        except Abort:
            yield "aborted"
        yield post(url, b"after")

    def parallel(url):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda _: post(url, b"p"), range(8)))

    return {
        "small": lambda url: [post(url, SMALL)],
        "mebibyte": lambda url: [post(url, MEBIBYTE)],
        "too_large": lambda url: [post(url, TOO_LARGE)],
        "chunked": lambda url: [post(url, iter(PIECES))],
        # Those that are tried send the body without waiting.
        "expect": lambda url: [post(url, EXPECTED, headers={"expect": "100-continue"})],
        "reuse": reuse,
        "abort": abort,
        "parallel": parallel,
    }


def answer(scenarios):
    """Serves until the end of stdin. `scenarios[name](url)` returns words."""
    for line in sys.stdin:
        name, url = line.split()
        if name not in scenarios:
            said = {"missing": True}
        else:
            try:
                said = {"seen": " ".join(map(str, scenarios[name](url)))}
            except Exception as error:  # noqa: BLE001: what the client's user would see
                said = {"seen": f"{type(error).__name__}: {error}"}
        print(json.dumps(said), flush=True)
