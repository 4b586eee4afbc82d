"""Paths, tools and small questions to the system."""

import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

BRIDGE = pathlib.Path(__file__).resolve().parent.parent
ROOT = BRIDGE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BUILT = TARGET / "bench-bridge"
# By default, of each measure. With less, or with others at work, results are provisional.
ROUNDS, SECONDS, LOAD_MAX = 5, 2, 1.0
TICKS = os.sysconf("SC_CLK_TCK")
PATTERN = "".join(chr(ord("a") + i % 26) for i in range(1 << 16))
NEEDS = {
    "wrk": "wrk",
    "nginx": "nginx-light",
    "redis-server": "redis-server",
    "redis-benchmark": "redis-tools",
    "mosquitto": "mosquitto",
    "mosquitto_pub": "mosquitto-clients",
}
GIN = pathlib.Path("/usr/share/gocode/src/github.com/gin-gonic/gin")


def install():
    missing = [package for tool, package in NEEDS.items() if not shutil.which(tool)]
    if missing:
        apt_install(missing)


def apt_install(packages):
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    subprocess.check_call([*sudo, "apt-get", "update", "-qq"])
    install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends"]
    subprocess.check_call([*sudo, *install, *packages], stdout=subprocess.DEVNULL)


def compile_c(source, output, *more):
    strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.check_call([os.environ.get("CC", "cc"), *strict, source, "-o", output, *more])


def build():
    cargo = ["cargo", "build", "--quiet", "--release", "--target-dir", str(TARGET)]
    manifest = ["--manifest-path", str(ROOT / "Cargo.toml")]
    subprocess.check_call([*cargo, *manifest, "-p", "aqueduct", "-p", "aqueduct-benches-bridge"])
    library = BUILT / "libaqueduct.a"
    make = ["make", "--silent", "-C", str(ROOT / "c"), f"BUILD={BUILT}", "OPT=-O2", str(library)]
    subprocess.check_call(make)
    compile_c(BRIDGE / "reader.c", BUILT / "reader", library, f"-I{ROOT}/c/include")


def build_tls():
    """Builds the listener with TLS, which stays apart from the default build, and its load."""
    cargo = ["cargo", "build", "--quiet", "--release", "--target-dir", str(TARGET)]
    manifest = ["--manifest-path", str(ROOT / "Cargo.toml")]
    load = ["-p", "aqueduct-benches-bridge", "--features", "tls", "--bin", "handshakes"]
    subprocess.check_call([*cargo, *manifest, *load])
    listener = ["-p", "aqueduct", "--features", "tls", "--bin", "aqueduct"]
    subprocess.check_call([*cargo, *manifest, *listener])
    BUILT.mkdir(exist_ok=True)
    shutil.copy2(TARGET / "release/aqueduct", BUILT / "aqueduct-tls")


def build_peers():
    """Builds axum, hyper and Gin, which are contenders only if this was asked for."""
    if not shutil.which("go") or not GIN.exists():
        apt_install(["golang-go", "golang-github-gin-gonic-gin-dev", "gcc", "libc6-dev"])
    cargo = ["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", str(TARGET)]
    subprocess.check_call([*cargo, "--manifest-path", str(BRIDGE / "peers/Cargo.toml")])
    compile_c(BRIDGE / "gin/reader/reader.c", BUILT / "gin-reader", "-pthread")
    modules = {"GO111MODULE": "off", "GOPATH": f"{BUILT}/go:/usr/share/gocode"}
    output = ["-o", str(BUILT / "gin-server")]
    subprocess.check_call(
        ["go", "build", *output, "."], cwd=BRIDGE / "gin", env={**os.environ, **modules}
    )


def cpu_s(pid):
    """Processor time of all threads: to the ns where the kernel says it, else in ticks of stat."""
    try:
        tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except FileNotFoundError:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"nothing listens at port {port}")


def rss_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def versions():
    """Of the peers."""
    said = lambda *command: subprocess.run(command, capture_output=True, text=True)
    mosquitto = re.search(r"version ([\d.]+)", said("mosquitto", "-h").stdout)
    return {
        "nginx": said("nginx", "-v").stderr.strip().rsplit("/", 1)[-1],
        "Redis": said("redis-server", "--version").stdout.split()[2].removeprefix("v="),
        "mosquitto": mosquitto[1] if mosquitto else "unknown",
    }


def rounded(value):
    """Floats with 4 digits: more say nothing."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return value


def lines(kept):
    """JSON with a line for each part."""
    short = lambda value: json.dumps(value, separators=(",", ":"))
    parts = ",\n".join(f"{short(name)}:{short(part)}" for name, part in kept["parts"].items())
    return f'{{"peers":{short(kept["peers"])},\n"parts":{{\n{parts}\n}}}}\n'
