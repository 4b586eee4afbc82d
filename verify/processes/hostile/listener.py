"""Starts listeners and ends them: the release binary, on loopback, in a directory of its own."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import ring

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
# Longer than anything that is meant to happen takes on a busy machine.
PATIENCE = 20.0


def binary():
    """Finds the listener: `AQUEDUCT`, or the release build."""
    named = os.environ.get("AQUEDUCT")
    return os.path.abspath(named) if named else str(REPOSITORY / TARGET / "release" / "aqueduct")


def until(condition, what, seconds=PATIENCE):
    """Waits until a condition holds, and returns what it says."""
    deadline = time.monotonic() + seconds
    while not (said := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"never: {what}")
        time.sleep(0.005)
    return said


class Listener:
    """One `aqueduct serve`, killed at the latest by `close`; a context manager.

    `flags` are its command line, `config` the text of its file. Where neither says so, HTTP is at a
    port that the kernel chooses. `popen` goes to `subprocess.Popen`: another stdout, a
    `preexec_fn` that sets a limit. `prefix` is put before the command. With `wait=False` the caller
    looks itself whether it becomes ready.
    """

    def __init__(self, flags=(), config=None, wait=True, directory=None, prefix=(), **popen):
        self.owns_directory = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="aqd-hostile-"))
        self.socket = self.directory / "aqd.sock"
        command = [*prefix, binary(), "serve", "--socket", str(self.socket), *map(str, flags)]
        if config is not None:
            (self.directory / "aqueduct.toml").write_text(config, encoding="utf-8")
            command += ["--config", str(self.directory / "aqueduct.toml")]
        if "--listen" not in flags and "[http]\nlisten" not in (config or ""):
            command += ["--listen", "127.0.0.1:0"]
        self.command = command
        self.at = {}
        if not self.owns_directory:
            self.directory.mkdir(exist_ok=True)
        popen.setdefault("stdin", subprocess.DEVNULL)
        self.out, self.err = self.directory / "out", self.directory / "log"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            popen.setdefault("stdout", out)
            popen.setdefault("stderr", err)
            self.process = subprocess.Popen(command, **popen)
        if wait:
            try:
                self.ready()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        """What it wrote to stdout."""
        return self.out.read_text(encoding="utf-8", errors="replace")

    def log(self):
        """What it wrote to stderr."""
        return self.err.read_text(encoding="utf-8", errors="replace")

    def ready(self):
        """Waits for the ready line and keeps its addresses: `at["http"]` is [(host, port)]."""

        def line():
            if self.process.poll() is not None and "\n" not in self.said():
                raise ChildProcessError(f"exit {self.process.returncode}: {self.log().strip()}")
            return "\n" in self.said() and self.said()

        for name, address in re.findall(r"(\w+)=(\S+)", until(line, "the ready line")):
            tcp = re.fullmatch(r"(.*):(\d+)", address)
            self.at.setdefault(name, []).append((tcp[1], int(tcp[2])) if tcp else address)

    @property
    def http(self):
        """(host, port) of HTTP."""
        return self.at["http"][0]

    def records(self, name=""):
        """Lists (seq, type, payload) of a ring, seen by an observer."""
        return ring.records(self.socket, name)

    def send(self, number):
        """Sends a signal."""
        self.process.send_signal(number)

    def wait(self, seconds=PATIENCE):
        """Waits for its end and returns its exit status; negative for a signal."""
        return self.process.wait(timeout=seconds)

    def stop(self, number=signal.SIGTERM, seconds=PATIENCE):
        """Ends it in order and returns its exit status."""
        self.send(number)
        return self.wait(seconds)

    def close(self):
        """Kills it if it runs, and removes its directory."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
