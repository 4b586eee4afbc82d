"""What cases that have a listener of their own do to it and ask of it."""

import os
import resource
import signal
import threading

import ring
from case import Seen, Wrong
from listener import until
from wire import Connection, get, post

POST = post(path=b"/v1/rings/default/records")


def must(condition, seen):
    """What was seen must be so."""
    if not condition:
        raise Wrong(seen)


def ask(listener, request=POST):
    """The status of one request on a connection of its own."""
    with Connection(listener.http) as connection:
        connection.send(request)
        response = connection.response()
    return response and response[0]


def metric(listener, series):
    """One metric."""
    with Connection(listener.http) as connection:
        connection.send(get(b"/metrics"))
        text = connection.response()[2].decode()
    lines = (line for line in text.splitlines() if line.startswith(series + " "))
    return next((float(line.split()[-1]) for line in lines), None)


def attached(listener):
    """A gating reader: its connection and its two descriptors."""
    control, descriptors = ring.attach(listener.socket, 1)
    return control, *descriptors


def reader(listener, kind=1):
    """A reader: its connection and its ring."""
    control, descriptors = ring.attach(listener.socket, kind)
    mapped = ring.Ring(descriptors[0])
    for descriptor in descriptors:
        os.close(descriptor)
    return control, mapped


def free(listener):
    """Whether the subscription can be attached."""
    try:
        control, *descriptors = attached(listener)
    except ring.Refused:
        return False
    for descriptor in descriptors:
        os.close(descriptor)
    control.close()
    return True


def left(listener):
    """Files of a listener's directory that are not of this suite."""
    return sorted(set(os.listdir(listener.directory)) - {"out", "log", "aqueduct.toml"})


def limited(**limits):
    """Sets limits in the process that becomes the listener."""

    def before():
        for name, value in limits.items():
            number = getattr(resource, f"RLIMIT_{name}")
            hard = resource.getrlimit(number)[1]
            resource.setrlimit(number, (value, min(hard, value) if hard >= 0 else value))

    return before


def serves(listener, count=3):
    """Posts, asks for health, ends it; returns what was seen and how much was answered."""
    answered = 0
    for _ in range(count):
        # With a single place for connections, the last one may not be gone yet.
        until(lambda: ask(listener) == 202, "202", 5)
        answered += 1
    health = ask(listener, get())
    found = len(listener.records())
    status = listener.stop()
    seen = f"{answered} answered, {found} records, health {health}, exit {status}"
    must((found, health, status) == (answered, 200, 0) and "panicked" not in listener.log(), seen)
    return Seen(seen, answered)


def started(process):
    """Ends a listener as soon as it is ready: (the ready line, exit status, what it logged)."""
    late = threading.Timer(20, process.kill)
    late.start()
    line = process.stdout.readline()
    if line:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    late.cancel()
    return line, process.returncode, errors
