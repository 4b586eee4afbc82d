"""Other people's clients of RESP, MQTT and lines, and of HTTP/2: what their programs saw.

Each conversation is a program in `clients/`, run for a case; command-line tools and daemons are run
as they are. `clients/setup_protocols` installs them; what is missing is skipped.
"""

import os
import re
import subprocess
import threading
import time

from case import Case, Seen, Skip, Wrong
from listener import REPOSITORY, TARGET, until
from runner import Table

PROGRAMS = REPOSITORY / "verify/processes/hostile/clients"
BUILT = REPOSITORY / TARGET / "clients/protocols"
DAEMONS = BUILT / "daemons"
PYTHON = str(BUILT / "venv/bin/python")
SECONDS = 40
DOCS = "shell/README.md, Other protocols"
ALL = bytes(range(256))
# Cases run at once, and some of them share a program.
BUILDING = threading.Lock()
NUMBERED = [f"p{n}".encode() for n in range(100)]


def program(*command, data=None, fine=(0,)):
    """Runs a client and returns what it printed."""
    environment = {**os.environ, "NODE_PATH": str(BUILT / "node_modules")}
    try:
        done = subprocess.run(
            [str(word) for word in command], input=data, capture_output=True, timeout=SECONDS, env=environment
        )
    except FileNotFoundError as error:
        raise Skip(f"not installed, see clients/setup_protocols: {error}") from None
    said = done.stdout.decode(errors="replace")
    if done.returncode not in fine:
        raise Wrong(f"exit {done.returncode}: {said.strip()} {done.stderr.decode(errors='replace').strip()}"[:400])
    return said


def built(name, *command):
    """Builds a client once and returns its path."""
    path = BUILT / name
    source = next(PROGRAMS.glob(f"{name}.*"))
    with BUILDING:
        build(path, source, command)
    return path


def build(path, source, command):
    """Builds a client unless it is newer than its source."""
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
        try:
            subprocess.run(
                [word.format(out=path, source=source) for word in command],
                check=True, capture_output=True, timeout=240, env=environment,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", b"") or str(error).encode()
            raise Skip(f"cannot be built, see clients/setup_protocols: {why.decode()[:200]}") from None


def missing(what):
    """Skips the case."""
    raise Skip(f"{what} is not installed, see clients/setup_protocols")


def node(script, *words):
    """The command of a program for Node, if its packages are there."""
    if not (BUILT / "node_modules").exists():
        missing("what it imports")
    return ["node", PROGRAMS / script, *words]


# ---- RESP

CONVERSATION = "0 1 5 1 100 refused 106"
TALKED = [b"one", ALL, b"a", b"b", b"c", b"pub", *NUMBERED]


def port(place, protocol):
    return str(place.listener.at[protocol][0][1])


def conversing(name, command):
    """Makes a case of a program that has the conversation of `clients/resp_hiredis.c`."""

    def run(place):
        said = program(*command(), port(place, "resp"), place.ring).strip()
        if said != CONVERSATION:
            raise Wrong(said)
        return Seen(said, len(TALKED))

    return Case(f"resp.{name}", CONVERSATION, DOCS, run, TALKED)


def hiredis():
    return [built("resp_hiredis", "gcc", "-Wall", "-o", "{out}", "{source}", "-lhiredis")]


def redigo():
    return [built("redigo", "go", "build", "-o", "{out}", "{source}")]


def redis_cli(place):
    """By arguments, from stdin, and as a bulk load."""
    cli = ["redis-cli", "-p", port(place, "resp")]
    seen = [program(*cli, "xadd", place.ring, "*", "data", "one").strip().split("-")[-1]]
    seen.append(program(*cli, "-x", "rpush", place.ring, data=ALL).strip())
    one = lambda n: b"*3\r\n$5\r\nRPUSH\r\n$4\r\n%s\r\n$2\r\nb%d\r\n" % (place.ring.encode(), n)
    loaded = program(*cli, "--pipe", data=b"".join(one(n) for n in range(10)))
    seen.append("replies: 10" if "errors: 0, replies: 10" in loaded else loaded.strip()[-80:])
    seen.append("refused" if "BUSY" in (r := program(*cli, "get", place.ring)) or "ERR" in r else r)
    said = " ".join(seen)
    if said != "0 2 replies: 10 refused":
        raise Wrong(said)
    return Seen(said, 12)


def redis_benchmark(place):
    """Its own commands, pipelined."""
    load = ["redis-benchmark", "-p", port(place, "resp"), "-n", "2000", "-c", "10", "-P", "16", "-q"]
    said = program(*load, "rpush", place.ring, "x" * 64)
    if "requests per second" not in said:
        raise Wrong(said[-200:])
    length = program("redis-cli", "-p", port(place, "resp"), "xlen", place.ring).strip()
    if length != "2000":
        raise Wrong(f"XLEN {length}")
    return Seen("2000 answered", 2000)


def daemon(place, command, wanted):
    """Runs a syslog daemon until the ring has what it sends, then ends it."""
    log = place.listener.directory / f"{place.ring}.daemon"
    with log.open("wb") as out:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + SECONDS
        while len(place.listener.records(place.ring)) < wanted:
            if time.monotonic() > deadline or process.poll() is not None:
                found = len(place.listener.records(place.ring))
                raise Wrong(f"{found} records; {log.read_text(errors='replace')[-300:]}")
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(SECONDS)


def rsyslog(place, name, action):
    """Runs rsyslogd on a file of lines; `action` brings them on."""
    directory = place.listener.directory / f"{place.ring}.rsyslog"
    directory.mkdir()
    source, config = directory / "source", directory / "conf"
    modules = next(iter(DAEMONS.glob("usr/lib/*/rsyslog")), None) or missing("rsyslog")
    config.write_text(
        f'global(workDirectory="{directory}")\nmodule(load="imfile" mode="polling" pollingInterval="1")\n'
        'template(name="plain" type="string" string="%msg%")\n'
        'template(name="line" type="string" string="%msg%\\n")\n'
        f'input(type="imfile" file="{source}" tag="t")\n{action}\n'
    )
    source.write_bytes(b"".join(b"m%d\n" % n for n in range(20)))
    command = [DAEMONS / "usr/sbin/rsyslogd", "-n", "-f", config, "-i", directory / "pid", "-M", modules]
    daemon(place, command, 20)
    return Seen(f"{name}: 20 lines")


def omhiredis(mode):
    def run(place):
        seen = rsyslog(
            place, mode,
            f'module(load="omhiredis")\naction(type="omhiredis" server="127.0.0.1" serverport="{port(place, "resp")}" '
            f'mode="{mode}" key="{place.ring}" template="plain")',
        )  # fmt: skip
        return Seen(seen.text, 20)

    return Case(f"resp.omhiredis_{mode}", "20 lines", DOCS, run, [b"m%d" % n for n in range(20)])


# ---- MQTT

PUBLISHED = "connected=0 acknowledged=102 subscribe=refused"
MESSAGES = [b"zero", b"one", ALL, *NUMBERED]


def publishing(name, command, version):
    """Makes a case of a program that has the conversation of `clients/mqtt_paho.c`."""

    def run(place):
        said = program(*command(), port(place, "mqtt"), f"{place.ring}/x", version).strip()
        if said != PUBLISHED:
            raise Wrong(said)
        return Seen(said, 102, silent=1)

    return Case(f"mqtt.{name}.v{version}", PUBLISHED, "shell/src/codec/mqtt/README.md", run, MESSAGES)


def paho_c():
    return [built("mqtt_paho", "gcc", "-Wall", "-o", "{out}", "{source}", "-lpaho-mqtt3c")]


def mosquitto(version, quality):
    def run(place):
        pub = ["mosquitto_pub", "-p", port(place, "mqtt"), "-V", version, "-q", quality, "-t", f"{place.ring}/x"]
        program(*pub, "-m", "one")
        program(*pub, "-l", data=b"a\nb\n")
        return Seen("exit 0 0", 3 * (quality == "1"), silent=3 * (quality == "0"))

    return Case(f"mqtt.mosquitto_pub.{version}.qos{quality}", "exit 0", DOCS, run, [b"one", b"a", b"b"])


def mosquitto_refused(place):
    """Quality 2: the client is told by CONNACK that it cannot have it, and says so."""
    pub = ["mosquitto_pub", "-p", port(place, "mqtt"), "-V", "mqttv5", "-q", "2", "-t", f"{place.ring}/x", "-m", "x"]
    try:
        done = subprocess.run(pub, capture_output=True, timeout=SECONDS)
    except FileNotFoundError:
        missing("mosquitto_pub")
    said = done.stderr.decode(errors="replace").strip()
    if "QoS not supported" not in said:
        raise Wrong(f"exit {done.returncode}: {said}")
    return Seen(said)


# ---- lines


def line_port(place, protocol):
    """Where lines for the ring of this case go."""
    return str(place.listener.at[protocol][int(place.ring[1:])][1])


def lines_by(name, protocol, records, *command, data=None):
    def run(place):
        program(*[w.format(port=line_port(place, protocol)) for w in command], data=data)
        count = len(records) if records else 1
        # Nobody answers, so the program may end before the listener has looked.
        until(lambda: len(place.listener.records(place.ring)) >= count, f"{count} records in the ring")
        return Seen("exit 0", silent=count)

    return Case(f"lines.{name}", "exit 0", DOCS, run, records)


def omfwd(framing):
    protocol = "octets" if framing == "octet-counted" else "lines"

    def run(place):
        seen = rsyslog(
            place, framing,
            f'action(type="omfwd" protocol="tcp" target="127.0.0.1" port="{line_port(place, protocol)}" '
            f'TCP_Framing="{framing}" template="plain")',
        )  # fmt: skip
        return Seen(seen.text, silent=20)

    return Case(f"lines.omfwd_{framing}", "20 lines", DOCS, run, [b"m%d" % n for n in range(20)])


def syslog_ng(place):
    directory = place.listener.directory / f"{place.ring}.syslog_ng"
    directory.mkdir()
    source, config = directory / "source", directory / "conf"
    modules = next(iter(DAEMONS.glob("usr/lib/syslog-ng/[0-9]*")), None) or missing("syslog-ng")
    libraries = DAEMONS / "usr/lib/syslog-ng"
    source.write_bytes(b"".join(b"m%d\n" % n for n in range(20)))
    config.write_text(
        '@version: 3.38\n'
        f'source s {{ file("{source}" follow-freq(1) flags(no-parse)); }};\n'
        f'destination d {{ network("127.0.0.1" port({line_port(place, "lines")}) transport("tcp") template("$MSG\\n")); }};\n'
        'log { source(s); destination(d); };\n'
    )
    command = [
        "env", f"LD_LIBRARY_PATH={libraries}", DAEMONS / "usr/sbin/syslog-ng", "-F", "--no-caps", "-f", config, f"--module-path={modules}",
        f"--persist-file={directory}/persist", f"--pidfile={directory}/pid", f"--control={directory}/ctl",
    ]  # fmt: skip
    daemon(place, command, 20)
    return Seen("20 lines", silent=20)


# ---- HTTP/2


def url_of(place):
    host, number = place.listener.http
    return f"http://{host}:{number}/v1/rings/{place.ring}/records"


def nghttp(name, expected, records, *flags, path=None, answered=1):
    def run(place):
        body = place.listener.directory / f"{place.ring}.body"
        body.write_bytes(b"small")
        url = url_of(place) if path is None else url_of(place).split("/v1/")[0] + path
        data = ["-d", body] if path is None else []
        said = program("nghttp", "-v", *data, *flags, url)
        found = re.findall(r":status: (\d+)", said)
        if " ".join(found) != expected:
            raise Wrong(f"{found}: {said[-200:]}")
        return Seen(" ".join(found), answered if records else 0)

    return Case(f"http2.{name}", expected, "RFC 9113", run, records)


def h2load(place):
    body = place.listener.directory / f"{place.ring}.body"
    body.write_bytes(b"small")
    said = program("h2load", "-n", "2000", "-c", "8", "-m", "20", "-d", body, url_of(place))
    found = re.search(r"2000 total, .* (\d+) succeeded, (\d+) failed, (\d+) errored", said)
    codes = re.search(r"status codes: (\d+) 2xx", said)
    if not found or found.groups() != ("2000", "0", "0") or codes[1] != "2000":
        raise Wrong(said[-400:])
    return Seen("2000 answered 2xx", 2000)


def curl(place):
    # Once: curl 7.88 ends with 16 when it comes back to a connection that it did not upgrade.
    shown = ["-w", "%{http_code}/%{http_version}", "-o", "/dev/null"]
    said = program("curl", "-sS", "--max-time", "20", "--http2-prior-knowledge", *shown, "-d", "small", url_of(place))
    if said != "202/2":
        raise Wrong(said)
    return Seen(said, 1)


def curl_upgrade(place):
    url = url_of(place).split("/v1/")[0] + "/healthz"
    said = program("curl", "-sS", "--max-time", "20", "--http2", "-w", "%{http_code}/%{http_version}", url)
    if said != "ok\n200/2":
        raise Wrong(said)
    return Seen(said.replace("\n", " "))


RINGS = """
[[ring]]
name = "{name}"
capacity_bytes = "1MiB"
max_payload_bytes = 1000
full_wait_ms = "5s"
"""


def listens(names):
    """One address of RESP, and one of MQTT with a rule for each ring."""
    rules = ", ".join(f'{{ filter = "{name}/#", ring = "{name}" }}' for name in names)
    return (
        '[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "resp"\n'
        f'[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "mqtt"\ntopics = [{rules}]\n'
        "[control]\nmax_observers = 1000\n"
    )


def line_listens(names):
    """Addresses of lines, NUL and octets for each ring."""
    each = '[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "{protocol}"\nring = "{name}"\n'
    protocols = ["lines", "nul", "octets"]
    all_of = "".join(each.format(protocol=p, name=n) for p in protocols for n in names)
    return all_of + "[control]\nmax_observers = 1000\n"


CASES = [
    Case("resp.redis_cli", "0 2 replies: 10 refused", DOCS, redis_cli),
    Case("resp.redis_benchmark", "2000 answered", DOCS, redis_benchmark),
    conversing("hiredis", hiredis),
    conversing("redis_py", lambda: [PYTHON, "-B", PROGRAMS / "with_redis.py"]),
    conversing("ioredis", lambda: node("resp_node.mjs", "ioredis")),
    conversing("node_redis", lambda: node("resp_node.mjs", "redis")),
    conversing("redigo", redigo),
    omhiredis("publish"),
    omhiredis("queue"),
    *(mosquitto(version, quality) for version in ("mqttv311", "mqttv5") for quality in "01"),
    Case("mqtt.mosquitto_pub.mqttv5.qos2", "told so", "MQTT-3.2.2-11", mosquitto_refused, []),
    *(publishing("paho_c", paho_c, version) for version in "35"),
    *(publishing("paho_python", lambda: [PYTHON, "-B", PROGRAMS / "with_paho.py"], v) for v in "35"),
    *(publishing("mqtt_js", lambda: node("mqtt_js.mjs"), version) for version in "35"),
    Case("http2.curl_prior_knowledge", "202/2", "RFC 9113 §3.3", curl, [b"small"]),
    Case("http2.curl_upgrade", "ok 200/2", "RFC 7540 §3.2", curl_upgrade, []),
    nghttp("nghttp", "202", [b"small"]),
    nghttp("nghttp_many", " ".join(["202"] * 20), [b"small"] * 20, "-m", "20", answered=20),
    nghttp("nghttp_upgrade", "200", [], "-u", path="/healthz"),
    Case("http2.h2load", "2000 answered 2xx", "RFC 9113", h2load),
]
LINES = [
    lines_by("nc", "lines", [b"a", b"b"], "nc", "-N", "127.0.0.1", "{port}", data=b"a\nb\n"),
    lines_by("nc_nul", "nul", [b"a\n", b"b"], "nc", "-N", "127.0.0.1", "{port}", data=b"a\n\0b\0"),
    lines_by("logger", "lines", None, "logger", "-T", "-n", "127.0.0.1", "-P", "{port}", "one"),
    lines_by("logger_octets", "octets", None, "logger", "-T", "--octet-count", "-n", "127.0.0.1", "-P", "{port}", "one"),
    omfwd("traditional"),
    omfwd("octet-counted"),
    Case("lines.syslog_ng", "20 lines", DOCS, syslog_ng, [b"m%d" % n for n in range(20)]),
]
TABLES = [
    Table("protocols", CASES, listens, rings=RINGS, at_once=6),
    Table("protocols", LINES, line_listens, rings=RINGS, at_once=6),
]
