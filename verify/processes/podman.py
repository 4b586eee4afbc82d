"""A store of podman's of its own, the image in it, and what scripts ask of containers."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "target/container"
PATIENCE = 30


def run(*command, check=True):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def said(*names):
    """What containers have written."""
    logs = []
    for name in names:
        done = subprocess.run(["podman", "logs", name], capture_output=True, text=True, check=False)
        logs.append(done.stdout + done.stderr)
    return "\n".join(logs)


def eventually(what, condition, *names):
    """Waits for it; if it does not come in time, what these containers have written is shown."""
    until = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := condition():
                return found
        if time.monotonic() > until:
            sys.exit(f"not in time: {what}\n{said(*names)}")
        time.sleep(0.1)


def ask(host, port, method, path, body=None):
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def state(name):
    return json.loads(run("podman", "inspect", name))[0]


def check_rights(*names):
    """Each runs as 65532, without capabilities or new ones to gain, on a root that is read-only."""
    for name in names:
        found = state(name)
        lines = pathlib.Path(f"/proc/{found['State']['Pid']}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        may = (status["Uid"].split()[0], int(status["CapEff"], 16), status["NoNewPrivs"])
        if may != ("65532", 0, "1") or not found["HostConfig"]["ReadonlyRootfs"]:
            sys.exit(f"{name}: {may}, read-only root {found['HostConfig']['ReadonlyRootfs']}")


def check_ends(*names):
    """Each has ended by itself, with 0."""
    codes = [state(name)["State"]["ExitCode"] for name in names]
    if any(codes):
        sys.exit(f"they ended with {codes}\n{said(*names)}")


def set_up(place, stack):
    """Makes the store, and the image by buildah; returns the image's name. Nothing of the machine's
    own containers is touched, and all is removed in the end."""
    for tool in ("podman", "buildah", "runc", "catatonit"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed: apt-get install podman netavark catatonit runc buildah")
    if not (FILES / "aqueduct").exists():
        sys.exit(f"there is nothing in {FILES}: shell/deploy/container/build --dev --files")
    # As many files as this machine allows: podman asks for a million by itself.
    (place / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
        '[network]\nnetwork_backend = "netavark"\n'
        f'network_config_dir = "{place}/networks"\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\n')
    (place / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{place}/store"\nrunroot = "{place}/run"\n')
    os.environ["CONTAINERS_CONF"] = str(place / "containers.conf")
    os.environ["CONTAINERS_STORAGE_CONF"] = str(place / "storage.conf")
    # What is mounted over the store must be gone before the directory is.
    stack.callback(lambda: run("umount", place / "store/overlay", check=False))
    stack.callback(lambda: run("podman", "system", "reset", "--force", check=False))
    version = run(FILES / "aqueduct", "--version").split()[1]
    image = f"localhost/aqueduct:{version}"
    run("buildah", "build", "--quiet", "--isolation", "chroot", "--tag", image,
        "--file", FILES / "Containerfile", FILES)
    return image
