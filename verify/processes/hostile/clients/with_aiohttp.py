"""Python's aiohttp, by a session for each scenario: it does not repeat a POST on a connection that
the listener closes, as idle, at that moment."""

import asyncio

import aiohttp
from ask import EXPECTED, IDLE_SECONDS, MEBIBYTE, PIECES, SMALL, TOO_LARGE, Abort, answer

loop = asyncio.new_event_loop()
session = None


async def post(url, body, **options):
    async with session.post(url, data=body, **options) as response:
        await response.read()
        return response.status


async def pieces():
    for piece in PIECES:
        yield piece


async def broken_off():
    yield b"x" * 1000
    await asyncio.sleep(0.05)
    raise Abort


async def reuse(url):
    seen = [await post(url, b"r1"), await post(url, b"r2")]
    await asyncio.sleep(IDLE_SECONDS)
    return [*seen, await post(url, b"r3")]


async def abort(url):
    try:
        await post(url, broken_off())
        first = "answered"
    except (Abort, aiohttp.ClientConnectionError):
        first = "aborted"
    return [first, await post(url, b"after")]


async def parallel(url):
    return await asyncio.gather(*(post(url, b"p") for _ in range(8)))


def one(make_body, **options):
    async def run(url):
        return [await post(url, make_body(), **options)]

    return run


async def alone(run, url):
    global session
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        return await run(url)


def scenario(run):
    return lambda url: loop.run_until_complete(alone(run, url))


answer({
    "small": scenario(one(lambda: SMALL)),
    "mebibyte": scenario(one(lambda: MEBIBYTE)),
    "too_large": scenario(one(lambda: TOO_LARGE)),
    "chunked": scenario(one(pieces)),
    "expect": scenario(one(lambda: EXPECTED, expect100=True)),
    "expect_refused": scenario(one(lambda: TOO_LARGE, expect100=True)),
    "reuse": scenario(reuse),
    "abort": scenario(abort),
    "parallel": scenario(parallel),
})  # fmt: skip
