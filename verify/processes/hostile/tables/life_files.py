"""What has the name of a file of ours is left alone, and paths of every kind work or are refused."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile

from case import Case, Seen, Skip
from listener import binary
from peers import must
from runner import Table

FILES = "shell/README.md, File"


def regular(path):
    path.write_text("mine")


def unreadable(path):
    path.write_text("mine")
    path.chmod(0)


def directory(path):
    path.mkdir()


def link(path):
    target = path.with_name("elsewhere")
    target.write_text("mine")
    path.symlink_to(target)


def dangling(path):
    path.symlink_to(path.with_name("nowhere"))


def link_to_itself(path):
    path.symlink_to(path)


def fifo(path):
    os.mkfifo(path)


def device(path):
    try:
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 3))
    except PermissionError as error:
        raise Skip("no right to make a device") from error


def foreign(kind):
    """A socket of another program that lives."""

    def make(path):
        theirs = socket.socket(socket.AF_UNIX, kind)
        theirs.bind(os.fspath(path))
        if kind != socket.SOCK_DGRAM:
            theirs.listen()
        return theirs

    make.__name__ = f"live_{kind.name.removeprefix('SOCK_').lower()}"
    return make


def look(directory_):
    """Every name with what it is, which must be the same afterwards."""
    found = {}
    for path in sorted(directory_.iterdir()):
        stat = path.lstat()
        text = path.read_text() if path.is_file() and stat.st_mode & 0o400 else ""
        found[path.name] = (stat.st_ino, stat.st_mode, stat.st_size, text)
    return found


def in_place(what, where):
    """Starts with something foreign at `where`: the socket, its lock, or a UNIX address."""

    def run(_):
        with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as name:
            there = pathlib.Path(name)
            alive = what(there / where)
            before = look(there)
            flags = ["--socket", there / "s", "--listen", f"unix:{there / 'h'}"]
            done = subprocess.run(
                [binary(), "serve", *map(str, flags)], stdin=subprocess.DEVNULL, timeout=20,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            after = look(there)
            if alive:
                alive.close()
            seen = f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
            must(done.returncode == 1 and not done.stdout, seen)
            must(before == after, f"{seen}; {set(before.items()) ^ set(after.items())}")
            must(str(there / where) in done.stderr, seen)
            return Seen(seen.replace(name, "…"))

    return Case(f"foreign.{what.__name__}_at_{WHERE[where]}", "exit 1, names it, leaves all alone", FILES, run)


WHERE = {"s": "socket", "s.lock": "lock", "h": "address", "h.lock": "lock_of_address"}
FOREIGN = [
    in_place(what, where)
    for what in (regular, unreadable, directory, link, dangling, link_to_itself, fifo, device,
                 foreign(socket.SOCK_STREAM), foreign(socket.SOCK_SEQPACKET), foreign(socket.SOCK_DGRAM))
    for where in WHERE
]  # fmt: skip


def socket_at(name, path_of, good, by=FILES):
    """Starts with a control socket at some path."""

    def run(_):
        with tempfile.TemporaryDirectory(prefix="aqd-", dir="/tmp") as directory_:
            there = pathlib.Path(directory_)
            path = path_of(there)
            process = subprocess.Popen(
                [binary(), "serve", "--listen", "127.0.0.1:0", "--socket", path], cwd=there,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            line = process.stdout.readline()
            if line:
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
            said = "ready" if line else errors.strip().splitlines()[-1:]
            seen = f"{said}, exit {process.returncode}, left {sorted(os.listdir(there))}"
            must(bool(line) == good and process.returncode == (0 if good else process.returncode), seen)
            must(good or process.returncode in (1, 2), seen)
            must(set(os.listdir(there)) <= {"dir", "link"}, seen)
            return Seen(seen.replace(directory_, "…"))

    return Case(f"path.{name}", "ready, exit 0, nothing left" if good else "exit 1 or 2, nothing left", by, run)


def of_length(size):
    return lambda there: f"{there}/" + "s" * (size - len(f"{there}/"))


def within(name, link_to=None):
    def path(there):
        (there / "dir").mkdir()
        if link_to:
            (there / "link").symlink_to(there / link_to)
        return f"{there}/{name}"

    return path


PATHS = [
    socket_at("of_107_bytes", of_length(107), True), socket_at("of_108_bytes", of_length(108), False),
    socket_at("of_400_bytes", of_length(400), False), socket_at("relative", lambda there: "s", True),
    socket_at("relative_with_dot", lambda there: "./s", True), socket_at("space", lambda there: f"{there}/a b", True),
    socket_at("utf_8", lambda there: f"{there}/é", True), socket_at("line_feed", lambda there: f"{there}/a\nb", True),
    socket_at("dash", lambda there: f"{there}/-s", True), socket_at("at_sign", lambda there: "@s", True),
    socket_at("empty", lambda there: "", False), socket_at("no_directory", lambda there: f"{there}/no/s", False),
    socket_at("slash_behind", lambda there: f"{there}/s/", False), socket_at("dot", lambda there: f"{there}/.", False),
    socket_at("a_directory", within("dir"), False), socket_at("through_a_link", within("link/s", "dir"), True),
    socket_at("dot_dot", within("dir/../s"), True), socket_at("below_a_device", lambda there: "/dev/null/s", False),
    socket_at("in_proc", lambda there: "/proc/s", False),
]  # fmt: skip

TABLE = Table("life", [*FOREIGN, *PATHS])
