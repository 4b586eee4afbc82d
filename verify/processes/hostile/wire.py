"""Raw HTTP: what is sent is written down byte by byte, what comes back is said in a few words."""

import dataclasses
import select
import socket
import struct
import time

from case import Case, Seen, Wrong, matches

PATH = b"/v1/rings/RING/records"
# What an open connection is given to close, or to say what it should not.
QUIET = 0.15
SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Wait:
    """Pauses between two pieces."""

    seconds: float


@dataclasses.dataclass(frozen=True)
class Bytewise:
    """Sends each byte by itself."""

    data: bytes


class Await:
    """Reads one response before it goes on."""


class End:
    """Ends the sending side and stays to read (a half-close)."""


class Hangup:
    """Closes without reading what comes."""


class Reset:
    """Breaks the connection (RST)."""


def post(body=b"x", *fields, path=PATH, version=b"1.1", method=b"POST", length=True):
    """Builds a request for a record: `fields` are whole lines without CR LF."""
    head = [b"%s %s HTTP/%s" % (method, path, version)]
    if not any(field.lower().startswith(b"host:") for field in fields):
        head.append(b"host: t")
    head += fields
    if length:
        head.append(b"content-length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(*chunks, last=b"0\r\n\r\n", fields=()):
    """Builds a request whose body is in chunks."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + last
    return post(body, b"transfer-encoding: chunked", *fields, length=False)


def get(path=b"/healthz", *fields):
    """Builds a request for a page."""
    return b"\r\n".join([b"GET %s HTTP/1.1" % path, b"host: t", *fields]) + b"\r\n\r\n"


class Connection:
    """A client's connection."""

    def __init__(self, address, seconds=SECONDS):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(seconds)
            self.socket.connect(address.removeprefix("unix:"))
        else:
            self.socket = socket.create_connection(address, timeout=seconds)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.is_over = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Sends; that the other side does not take it any more is no error here."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def reset(self):
        """Ends it by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def fill(self, seconds=SECONDS):
        """Receives something; False if nothing comes in time or the stream is over."""
        if self.is_over:
            return False
        try:
            # Not select(2), which knows no descriptor above 1023: some cases open thousands.
            readable = select.poll()
            readable.register(self.socket, select.POLLIN)
            if not readable.poll(seconds * 1000):
                return False
            data = self.socket.recv(65536)
        except ConnectionResetError:
            self.is_over = "reset"
            return False
        if not data:
            self.is_over = "closed"
        self.buffer += data
        return bool(data)

    def response(self, seconds=SECONDS, bodyless=False):
        """Reads a response: (status, head, body), or None."""
        deadline = time.monotonic() + seconds
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill(max(0, deadline - time.monotonic())):
                return None
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        fields = dict(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        )
        length = 0 if bodyless or status < 200 else int(fields.get(b"content-length", 0))
        while len(rest) < length:
            if not self.fill(max(0, deadline - time.monotonic())):
                return None
            rest = self.buffer.partition(b"\r\n\r\n")[2]
        self.buffer = rest[length:]
        return status, fields, rest[:length]


def play(connection, script):
    """Sends a script's pieces. Returns what responses it awaited, or None if it hung up."""
    awaited = []
    for piece in script:
        if isinstance(piece, bytes):
            connection.send(piece)
        elif isinstance(piece, Bytewise):
            for byte in piece.data:
                connection.send(bytes([byte]))
        elif isinstance(piece, Wait):
            time.sleep(piece.seconds)
        elif piece is Await:
            awaited.append(connection.response())
        elif piece is End:
            connection.socket.shutdown(socket.SHUT_WR)
        elif piece is Hangup:
            connection.socket.close()
            return None
        elif piece is Reset:
            connection.reset()
            return None
        else:
            raise TypeError(piece)
    return awaited


def taken(response):
    """How many records a response says are published."""
    status, fields, body = response
    # 504: published, and not released in time.
    if status not in (202, 504) or b"aqueduct-seq" not in fields:
        return 0
    _, found, count = body.partition(b'"taken":')
    return int(count.rstrip(b"}")) if found else 1


def in_ring(piece, name):
    """Puts the name of the case's ring into a piece."""
    if isinstance(piece, Bytewise):
        return Bytewise(in_ring(piece.data, name))
    return piece.replace(b"RING", name.encode()) if isinstance(piece, bytes) else piece


def http(name, script, expected, by, records=None, bodyless=(), gone=0, has=(), protocol="http"):
    """Makes a case: `script` is bytes, or a list of pieces; `RING` in it is the case's ring.

    `expected` is the statuses in their order and how the connection is left, as `202 400 closed`.
    `open` means that it also answers another request, or, with a `-` behind the last status, that it
    waits. `has` are header fields of the last response. Of responses whose number is in `bodyless`
    only the head is read. `gone` is how many records a client had sent in full when it hung up.
    """
    script = [script] if isinstance(script, (bytes, Bytewise)) else script

    def run(place):
        with Connection(place.listener.at[protocol][0]) as connection:
            responses = play(connection, [in_ring(piece, place.ring) for piece in script])
            if responses is None:
                return Seen("hung up", 0, gone)
            finals = len([word for word in expected.split() if word[:1].isdigit() and word[-1] != "?"])
            waits = expected.endswith("closed")
            while len(responses) < 64:
                late = SECONDS if waits or len(responses) < finals else QUIET
                response = connection.response(late, len(responses) in bodyless)
                if response is None:
                    break
                responses.append(response)
            answered = sum(map(taken, filter(None, responses)))
            words = [str(response[0]) for response in responses if response]
            words.append(connection.is_over or "open")
            if connection.buffer:
                words.append(f"and {connection.buffer[:40]!r}")
            seen = " ".join(words)
            if not matches(expected, seen):
                raise Wrong(seen)
            for field in has:
                key, _, value = field.partition(b": ")
                if responses[-1][1].get(key) != value:
                    raise Wrong(f"{seen} without {field.decode()}")
            if expected.endswith(" open") and responses and not script_is_open(script):
                connection.send(get())
                after = connection.response()
                if after is None or after[0] != 200:
                    raise Wrong(f"{seen}, then {after and after[0]} to GET /healthz")
            return Seen(seen, answered, gone)

    return Case(name, expected, by, run, records)


def script_is_open(script):
    """Whether no other request can follow, because the client ended its side or left one open."""
    return End in script
