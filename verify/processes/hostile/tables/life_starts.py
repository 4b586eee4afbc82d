"""Starts over what others left, at once, cut short; files that are taken from a running listener."""

import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import ring
from case import Case, Seen
from listener import Listener, binary, until
from peers import ask, left, must, reader
from runner import Table

SIGNALS = "shell/README.md, Signals"
FILES = "shell/README.md, File"
TERM, INT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGHUP


def stale_socket(_):
    """A killed listener's files are replaced; the reader that it had reads on."""
    with Listener() as first:
        answered = ask(first) == 202
        control, mapped = reader(first)
        first.send(signal.SIGKILL)
        first.wait()
        must(control.recv(1) == b"" and not mapped.is_closed, "the reader saw no loss")
        with Listener(directory=first.directory) as second:
            answered += ask(second) == 202
            _, again = reader(second)
            must(again.epoch != mapped.epoch, "the same epoch")
            must(len(mapped.records()) == len(again.records()) == 1, "records of another ring")
            must(second.stop() == 0 and again.is_closed and not left(second), f"left {left(second)}")
    return Seen("another epoch, one record in each ring, nothing left", int(answered))


def restart_with_readers(_):
    """A listener ends in order while readers are attached; they find the end, then the next one."""
    epochs, total = set(), 0
    with contextlib.ExitStack() as stack:
        directory_ = stack.enter_context(tempfile.TemporaryDirectory(prefix="aqd-hostile-"))
        for _ in range(5):
            with Listener(["--drain-timeout-ms", "50"], directory=directory_) as listener:
                control, mapped = reader(listener)
                observer, _ = reader(listener, 2)
                total += ask(listener) == 202
                must(listener.stop() == 0, f"exit {listener.process.returncode}")
                must(mapped.is_closed and len(mapped.records()) == 1, "no end mark")
                while control.recv(16) == b"W":
                    pass
                must(observer.recv(16) == b"", "the observer is still connected")
                epochs.add(mapped.epoch)
    must(len(epochs) == 5 == total, f"{len(epochs)} epochs, {total} answered")
    return Seen("5 rounds: end mark, connection ended, another epoch each", total)


def second_start(_):
    """A second listener at the same socket, and at the same address."""
    with Listener() as first:
        flags = ["--listen", "127.0.0.1:0", "--socket", first.socket]
        seen = []
        for flags in (
            ["--listen", "127.0.0.1:0", "--socket", first.socket],
            ["--listen", f"{first.http[0]}:{first.http[1]}", "--socket", first.directory / "other"],
        ):
            done = subprocess.run([binary(), "serve", *map(str, flags)], capture_output=True, text=True,
                                  timeout=20, check=False)
            must(done.returncode == 1 and not done.stdout, done.stderr)
            seen.append(done.stderr.strip().splitlines()[-1].rpartition(": ")[2])
        must(left(first) == ["aqd.sock", "aqd.sock.lock"], f"left {left(first)}")
        must(ask(first) == 202 and len(first.records()) == 1 and first.stop() == 0, "the first suffered")
    return Seen(f"exit 1 twice ({'; '.join(seen)}), the first goes on", 1)


def many_starts(stale, lock):
    """Eight at once; over what a killed one left, if `stale`."""

    def run(_):
        with tempfile.TemporaryDirectory(prefix="aqd-hostile-") as name:
            there = pathlib.Path(name)
            if stale:
                with Listener(directory=there) as first:
                    first.send(signal.SIGKILL)
                    first.wait()
                if not lock:
                    (there / "aqd.sock.lock").unlink()
            command = [binary(), "serve", "--listen", "127.0.0.1:0", "--capacity-bytes", "4096",
                       "--socket", str(there / "aqd.sock")]
            starts = [
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
                for _ in range(8)
            ]  # fmt: skip
            try:
                until(lambda: sum(p.poll() is not None for p in starts) >= 7, "seven give up")
                alive = [p for p in starts if p.poll() is None]
                must(len(alive) == 1, f"{len(alive)} are left")
                must(alive[0].stdout.readline().startswith(b"aqueduct ready"), "none is ready")
                control, descriptors = ring.attach(there / "aqd.sock", 1)
                control.close()
                for descriptor in descriptors:
                    os.close(descriptor)
                alive[0].terminate()
                status = alive[0].wait(10)
                codes = sorted(p.returncode for p in starts)
                must(codes == [0] + [1] * 7, f"{codes}")
                names = set(os.listdir(there)) - {"out", "log"}
                must(not names, f"left {names}")
                return Seen(f"one ready and readers reach it, exit {status}; seven exit 1; nothing left")
            finally:
                for process in starts:
                    process.kill()
                    process.wait()
                    process.stdout.close()

    return run


def early_signal(number):
    """Signals at moments of the start: nothing is left, whatever the moment."""

    def run(_):
        seen = {}
        for milliseconds in range(0, 24, 2):
            with Listener(wait=False) as listener:
                time.sleep(milliseconds / 1000)
                listener.send(number)
                status = listener.wait()
                seen[status] = seen.get(status, 0) + 1
                must(status in (0, -number), f"exit {status} after {milliseconds} ms: {listener.log()[-200:]}")
                must(not left(listener), f"exit {status} after {milliseconds} ms, left {left(listener)}")
        return Seen(", ".join(f"{count} times exit {status}" for status, count in sorted(seen.items())))

    return run


def taken_away(act, expected_files):
    """Files of a running listener are removed or replaced; it ends in order and removes only its
    own."""

    def run(_):
        with Listener() as listener:
            act(listener)
            must(ask(listener) == 202, "no 202")
            status = listener.stop()
            seen = f"202, exit {status}, left {left(listener) if listener.directory.exists() else 'nothing'}"
            must(status == 0 and (not listener.directory.exists() or left(listener) == expected_files), seen)
            return Seen(seen, 1)

    return run


def remove_socket(listener):
    listener.socket.unlink()


def remove_lock(listener):
    listener.socket.with_name("aqd.sock.lock").unlink()


def replace_socket(listener):
    listener.socket.unlink()
    listener.socket.write_text("mine")


def replace_lock(listener):
    lock = listener.socket.with_name("aqd.sock.lock")
    lock.unlink()
    lock.write_text("mine")


def remove_directory(listener):
    for path in listener.directory.iterdir():
        path.unlink()
    listener.directory.rmdir()


def lock_removed_second_start(_):
    """Somebody removes the lock of a running listener: a second one still finds it alive."""
    with Listener() as first:
        remove_lock(first)
        command = [binary(), "serve", "--listen", "127.0.0.1:0", "--socket", str(first.socket)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        must(done.returncode == 1, f"exit {done.returncode}")
        must(ask(first) == 202 and reader(first) and first.stop() == 0, "the first suffered")
        must(not left(first), f"left {left(first)}")
    return Seen("exit 1, the first goes on and is attached", 1)


STARTS = [
    Case("start.over_a_stale_socket", "ready; another epoch; the old ring is read on", FILES, stale_socket),
    Case("start.five_times_with_readers", "end mark each time, another epoch", SIGNALS, restart_with_readers),
    Case("start.second_one", "exit 1; the first goes on", FILES, second_start),
    Case("start.eight_at_once", "one succeeds", FILES, many_starts(False, False)),
    Case("start.eight_over_a_stale_socket", "one succeeds", FILES, many_starts(True, True)),
    Case("start.eight_over_a_socket_without_lock", "one succeeds", FILES, many_starts(True, False)),
    *(
        Case(f"start.early_{n.name.lower()}", "exit 0 or by the signal, nothing left", SIGNALS, early_signal(n))
        for n in (TERM, INT, HUP)
    ),
    Case("removed.socket", "exit 0", FILES, taken_away(remove_socket, [])),
    Case("removed.lock", "exit 0", FILES, taken_away(remove_lock, [])),
    Case("removed.directory", "exit 0", FILES, taken_away(remove_directory, [])),
    Case("replaced.socket", "exit 0, left alone", FILES, taken_away(replace_socket, ["aqd.sock"])),
    Case("replaced.lock", "exit 0, left alone", FILES, taken_away(replace_lock, ["aqd.sock.lock"])),
    Case("removed.lock_then_second_start", "exit 1; the first goes on", FILES, lock_removed_second_start),
]  # fmt: skip

TABLE = Table("life", STARTS)
