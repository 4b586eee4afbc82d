"""Other people's HTTP clients: what they saw is what is checked.

Each is a program in `clients/` that reads `SCENARIO URL` lines and answers with the statuses that
its caller got; curl and the load generators are run for each case. `clients/setup` installs them.
"""

import atexit
import json
import os
import re
import subprocess
import threading

from case import Case, Seen, Skip, Wrong, matches
from listener import REPOSITORY, TARGET
from runner import Table

PROGRAMS = REPOSITORY / "verify/processes/hostile/clients"
BUILT = REPOSITORY / TARGET / "clients"
SECONDS = 40
# Whether a client that is not installed is a failure.
REQUIRED = os.environ.get("AQUEDUCT_CLIENTS") == "required"
MEBIBYTE = 1 << 20
DOCS = "shell/README.md, HTTP"

# name: what is seen, by what, and the records.
SCENARIOS = {
    "small": ("202", DOCS, [b"small"]),
    "mebibyte": ("202", DOCS, [b"m" * MEBIBYTE]),
    "too_large": ("413", "RFC 9110 §15.5.14", []),
    "chunked": ("202", "RFC 9112 §7.1", [b"abcdef"]),
    "expect": ("continued? 202", "RFC 9110 §10.1.1", [b"e" * 100_000]),
    "expect_refused": ("refused? 413", "RFC 9110 §10.1.1", []),
    "reuse": ("202 202 202", "RFC 9112 §9.5", [b"r1", b"r2", b"r3"]),
    "abort": ("aborted 202", "RFC 9112 §8", [b"after"]),
    "parallel": (" ".join(["202"] * 8), DOCS, [b"p"] * 8),
    "upgrade": ("202", "RFC 9110 §7.8", [b"small"]),
}
ALL = ["small", "mebibyte", "too_large", "chunked", "reuse", "abort", "parallel"]


def missing(error):
    """Skips a case, or says that it must not be."""
    kind = Wrong if REQUIRED else Skip
    return kind(f"not installed, see clients/setup: {error}")


class Driver:
    """A client's program: started by the first who asks, ended with this process."""

    def __init__(self, command, build=None):
        self.command, self.build = command, build
        self.lock = threading.Lock()
        self.process = None

    def start(self):
        """Builds and starts it, or says why that is impossible here."""
        try:
            if self.build:
                BUILT.mkdir(parents=True, exist_ok=True)
                environment = {**os.environ, "GO111MODULE": "off"}
                subprocess.run(self.build, check=True, capture_output=True, env=environment, timeout=240)
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            atexit.register(self.process.kill)
        except (OSError, subprocess.SubprocessError) as error:
            self.process = error

    def ask(self, scenario, url):
        """What the client saw."""
        with self.lock:
            if self.process is None:
                self.start()
            if isinstance(self.process, Exception):
                raise missing(self.process)
            watchdog = threading.Timer(SECONDS, self.process.kill)
            watchdog.start()
            try:
                self.process.stdin.write(f"{scenario} {url}\n")
                line = self.process.stdout.readline()
            finally:
                watchdog.cancel()
            if not line:
                status, self.process = self.process.wait(), None
                raise Wrong(f"the client ended with {status}")
            return json.loads(line)["seen"]


PYTHON = str(BUILT / "venv/bin/python")
DRIVERS = {
    "requests": (Driver([PYTHON, "-B", PROGRAMS / "with_requests.py"]), [*ALL, "expect"]),
    "httpx": (Driver([PYTHON, "-B", PROGRAMS / "with_httpx.py"]), [*ALL, "expect"]),
    "aiohttp": (Driver([PYTHON, "-B", PROGRAMS / "with_aiohttp.py"]), [*ALL, "expect", "expect_refused"]),
    "node_fetch": (Driver(["node", PROGRAMS / "node_fetch.mjs"]), ALL),
    "node_http": (Driver(["node", PROGRAMS / "node_http.mjs"]), [*ALL, "expect", "expect_refused"]),
    "go": (
        Driver([BUILT / "net_http"], ["go", "build", "-o", BUILT / "net_http", PROGRAMS / "net_http.go"]),
        [*ALL, "expect", "expect_refused"],
    ),
    # Before 20 it waits for a 100 for ever if the answer is another (JDK-8286171).
    "java": (Driver(["java", PROGRAMS / "Client.java"]), [*ALL, "expect", "upgrade"]),
}


def url_of(place):
    """Where the records of a case go."""
    host, port = place.listener.http
    return f"http://{host}:{port}/v1/rings/{place.ring}/records"


def driven(client, driver, scenario):
    """Makes a case of one scenario of one client."""
    expected, by, records = SCENARIOS[scenario]

    def run(place):
        seen = driver.ask(scenario, url_of(place))
        if not matches(expected, seen):
            raise Wrong(seen)
        return Seen(seen, seen.split().count("202"))

    return Case(f"{client}.{scenario}", expected, by, run, records)


def program(*command, data=None, fine=(0,)):
    """Runs a client and returns its exit status and what it printed."""
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS)
    except FileNotFoundError as error:
        raise missing(error) from None
    said = done.stdout.decode(errors="replace")
    if done.returncode not in fine:
        raise Wrong(f"exit {done.returncode}: {said.strip()} {done.stderr.decode(errors='replace').strip()}")
    return done.returncode, said


SHOWN = "%{http_code}/%{http_version}/%{num_connects} "


def curl(name, expected, records, *flags, body=b"small", urls=1, by=DOCS, fine=(0,), gone=0):
    """Makes a case of curl: a word `STATUS/VERSION/CONNECTIONS` for each request; afterwards its
    exit status, unless it is 0."""

    def run(place):
        each = ["-o", "/dev/null", "--data-binary", "@-", url_of(place)]
        again = ["-o", "/dev/null", "--data-binary", "small", url_of(place)]
        command = ["curl", "-sS", "--max-time", "20", "-w", SHOWN, *flags, *each]
        for _ in range(urls - 1):
            command += ["--next", "-sS", "-w", SHOWN, *flags, *again]
        status, said = program(*command, data=body, fine=fine)
        seen = said.strip() + (f" exit {status}" if status else "")
        if not matches(expected, seen.strip()):
            raise Wrong(seen)
        return Seen(seen, sum(word.startswith("202/") for word in seen.split()), gone)

    return Case(f"curl.{name}", expected, by, run, records)


def curls():
    """Each scenario by each version."""
    small, large, too_large = b"small", b"m" * MEBIBYTE, b"l" * (MEBIBYTE + 1)
    for version, flag in [("1.0", "--http1.0"), ("1.1", "--http1.1"), ("upgrade", "--http2")]:
        # The version of the answer: a server of 1.1 says so to a client of 1.0, too.
        one = lambda status, v=version: f"{status}/1.1/1" + f"|{status}/2/1" * (v == "upgrade")
        yield curl(f"{version}.small", one(202), [small], flag)
        yield curl(f"{version}.mebibyte", one(202), [large], flag, "-H", "expect:", body=large)
        yield curl(f"{version}.too_large", one(413), [], flag, "-H", "expect:", body=too_large)
        if version == "1.0":
            # Nothing is kept unless both sides say so, and curl does not ask.
            yield curl("1.0.two", f"{one(202)} {one(202)}", [small] * 2, flag, urls=2)
            continue
        yield curl(f"{version}.chunked", one(202), [small], flag, "-H", "transfer-encoding: chunked")
        yield curl(f"{version}.expect", one(202), [large], flag, "-H", "expect: 100-continue", body=large)
        yield curl(f"{version}.expect_refused", one(413), [], flag, "-H", "expect: 100-continue", body=too_large)
        yield curl(f"{version}.two", f"{one(202)} 202/1.1/0|202/2/0", [small] * 2, flag, urls=2)
    yield curl(
        "1.1.abort", "000/1.1/1|000/0/1 exit 28", [], "--http1.1", "-H", "expect:", "--limit-rate", "200k", "--max-time", "0.5",
        body=large, fine=(28,), by="RFC 9112 §8",
    )  # fmt: skip
    yield curl(
        "1.1.idle", "202/1.1/1 202/1.1/1", [small] * 2, "--http1.1", "--rate", "30/m", urls=2, by="RFC 9112 §9.5"
    )


def prior_knowledge():
    """HTTP/2 without asking first: it is spoken, or refused so that curl notices."""

    def run(place):
        command = ["curl", "-sS", "--max-time", "10", "-w", SHOWN, "--http2-prior-knowledge"]
        fine = range(1, 100)
        status, said = program(*command, "-o", "/dev/null", "-d", "small", url_of(place), fine=(0, *fine))
        if status == 28 or (status == 0 and not said.startswith("202/2/")):
            raise Wrong(f"exit {status}: {said}")
        return Seen(said.strip() if status == 0 else f"refused: exit {status}", int(status == 0))

    return Case("curl.prior_knowledge", "202/2/1, or an error", "RFC 9113 §3.3", run)


def load(name, expected, command, pattern, least, gone=0):
    """Makes a case of a load generator: as many answered as it says, at least `least`."""

    def run(place):
        _, said = program(*command(place))
        found = re.search(pattern, said, re.S)
        if not found:
            raise Wrong(said.strip()[-300:])
        count = int(found["count"])
        bad = [line for line in said.splitlines() if re.search(r"Non-2xx|Failed requests: +[1-9]|Socket errors", line)]
        if count < least or bad:
            raise Wrong(f"{count} answered; {bad}")
        return Seen(f"{count} answered", count, gone)

    return Case(name, expected, DOCS, run)


def posted(place):
    """A file with a record, for those who take no other."""
    path = place.listener.directory / f"{place.ring}.body"
    path.write_bytes(b"small")
    return path


def ab(*flags):
    return lambda place: [
        "ab", "-q", "-l", "-n", "400", "-c", "8", *flags, "-T", "application/octet-stream", "-p", posted(place), url_of(place),
    ]  # fmt: skip


def hey(*flags):
    return lambda place: ["hey", "-n", "400", "-c", "8", *flags, "-m", "POST", "-d", "small", url_of(place)]


def wrk(place):
    script = place.listener.directory / f"{place.ring}.lua"
    # Paced, so that the ring is not filled.
    script.write_text('wrk.method = "POST"\nwrk.body = "small"\nfunction delay() return 5 end\n')
    return ["wrk", "-t", "2", "-c", "8", "-d", "1s", "-s", script, url_of(place)]


AB = r"Complete requests: +(?P<count>\d+)"
HEY = r"\[202\]\s+(?P<count>\d+) responses"
CASES = [
    *curls(),
    prior_knowledge(),
    *(
        driven(client, driver, scenario)
        for client, (driver, scenarios) in DRIVERS.items()
        for scenario in scenarios
    ),
    load("ab", "400 answered", ab(), AB, 400),
    load("ab.keep_alive", "400 answered", ab("-k"), AB, 400),
    load("hey", "400 answered", hey(), HEY, 400),
    load("hey.without_keep_alive", "400 answered", hey("-disable-keepalive"), HEY, 400),
    # What it has sent when its time is over it does not count.
    load("wrk", "all answered", wrk, r"(?P<count>\d+) requests in", 100, gone=8),
]
RINGS = """
[[ring]]
name = "{name}"
capacity_bytes = "4MiB"
max_payload_bytes = "1MiB"
full_wait_ms = "5s"
"""
# An idle connection is closed before the clients of `reuse` and `idle` come back, and no other is
# near that: a client that sends just then cannot know.
CONFIG = '[http]\nkeep_alive_timeout_ms = 1500\n[control]\nmax_observers = 1000\n'
TABLE = Table("clients", CASES, CONFIG, rings=RINGS)
