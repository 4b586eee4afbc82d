"""Runs tables: a listener for each that wants one, a ring for each case, many cases at once."""

import concurrent.futures
import contextlib
import dataclasses
import os
import re
import threading
import time
import traceback
from collections.abc import Callable

import ring
from case import Place, Result, Skip, Wrong, check_records
from listener import Listener

# Cases of a table that run at once; and listeners that cases start for themselves.
AT_ONCE = 24
OWN_LISTENERS = threading.Semaphore(6)

RINGS = """
[[ring]]
name = "{name}"
capacity_bytes = "32KiB"
max_payload_bytes = 1000
full_wait_ms = 200
"""


@dataclasses.dataclass
class Table:
    """Cases that share a listener; with `config=None` each starts what it needs.

    `config` is the listener's file without rings, or a function that makes it of their names. Each case gets a ring of its own, named `rNNN`,
    of 32 KiB and records of 1,000 bytes, or as `rings` describes it.
    """

    name: str
    cases: list
    config: str | Callable | None = None
    flags: tuple = ()
    rings: str = RINGS
    at_once: int = AT_ONCE


def attempt(case, place):
    """Runs a case; whatever happens becomes a result."""
    try:
        seen = case.run(place)
    except Skip as skip:
        return Result(case, "skipped", str(skip), place)
    except Wrong as wrong:
        return Result(case, "WRONG", str(wrong), place)
    except Exception as error:  # noqa: BLE001: a case that fails is a finding, not an end
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({where.name}:{where.lineno})"
        return Result(case, "WRONG", said, place)
    counts = (seen.answered, seen.gone, seen.silent)
    return Result(case, "right", seen.text, place, *counts)


def judge(result):
    """Holds a case's ring against what was answered."""
    if result.verdict != "right" or result.place.listener is None:
        return result
    found = result.place.listener.records(result.place.ring)
    wrong = check_records(result.case, result, found)
    if wrong:
        return dataclasses.replace(result, verdict="WRONG", seen=f"{result.seen}; {wrong}")
    count = f"{len(found)} record{'s' * (len(found) != 1)}"
    return dataclasses.replace(result, seen=f"{result.seen}, {count}")


def run_table(table, pool):
    """Runs the cases of a table and yields their results; afterwards looks at every ring again."""
    for case in table.cases:
        case.table = table.name
    if table.config is None:
        def alone(case):
            with OWN_LISTENERS:
                return attempt(case, Place())
        yield from pool.map(alone, table.cases)
        return
    names = [f"r{number:03}" for number in range(len(table.cases))]
    config = table.config(names) if callable(table.config) else table.config
    config += "".join(table.rings.format(name=name) for name in names)
    lanes = threading.Semaphore(table.at_once)
    try:
        with OWN_LISTENERS:
            listener = Listener(table.flags, config)
    except ChildProcessError as error:
        without = re.search(r"built without the feature \w+", str(error))
        if not without or os.environ.get("AQUEDUCT_FEATURES") == "required":
            raise
        yield from (Result(case, "skipped", without[0], Place()) for case in table.cases)
        return
    with listener:
        def shared(case, name):
            with lanes:
                return judge(attempt(case, Place(listener, name)))

        results = list(pool.map(shared, table.cases, names))
        yield from sweep(listener, results)


def sweep(listener, results):
    """After all cases: no record came late, the counts agree, nothing panicked, it ends in order."""
    mapped = {r.place.ring: ring.Ring.observe(listener.socket, r.place.ring) for r in results}
    status = listener.stop()
    log = listener.log()
    for result in results:
        found = mapped[result.place.ring].records()
        wrong = result.verdict == "right" and check_records(result.case, result, found, True)
        if not mapped[result.place.ring].is_closed:
            wrong = wrong or "the ring has no end mark after SIGTERM"
        if status != 0 or "panicked" in log:
            lines = [line for line in log.splitlines() if "panicked" in line]
            wrong = wrong or f"the listener ended with {status} {lines[:1]}"
        if wrong:
            result = dataclasses.replace(result, verdict="WRONG", seen=f"{result.seen}; late: {wrong}")
        yield result
    for each in mapped.values():
        with contextlib.suppress(BufferError):
            each.close()


def run(tables, report):
    """Runs tables side by side and reports each result. Returns the results and the seconds."""
    began = time.monotonic()
    results = []
    with (
        concurrent.futures.ThreadPoolExecutor(96) as pool,
        concurrent.futures.ThreadPoolExecutor(len(tables) or 1) as each,
    ):
        def whole(table):
            try:
                return list(run_table(table, pool))
            except Exception as error:  # noqa: BLE001: the other tables go on
                why = f"the table broke off: {type(error).__name__}: {error}"
                return [Result(case, "WRONG", why, Place()) for case in table.cases]

        for outcome in concurrent.futures.as_completed([each.submit(whole, t) for t in tables]):
            for result in outcome.result():
                report(result)
                results.append(result)
    return results, time.monotonic() - began
