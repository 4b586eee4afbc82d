"""Python's httpx, by a client with a pool."""

import concurrent.futures
import time

import httpx
from ask import EXPECTED, IDLE_SECONDS, MEBIBYTE, PIECES, SMALL, TOO_LARGE, Abort, answer, broken_off

client = httpx.Client(timeout=10)


def post(url, body, **options):
    return client.post(url, content=body, **options).status_code


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


answer({
    "small": lambda url: [post(url, SMALL)],
    "mebibyte": lambda url: [post(url, MEBIBYTE)],
    "too_large": lambda url: [post(url, TOO_LARGE)],
    "chunked": lambda url: [post(url, iter(PIECES))],
    "expect": lambda url: [post(url, EXPECTED, headers={"expect": "100-continue"})],
    "reuse": reuse,
    "abort": abort,
    "parallel": parallel,
})  # fmt: skip
