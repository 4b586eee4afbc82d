"""Clients of all protocols at once, at random, on a small ring whose reader pauses: what each was
told is held against what the reader got, number by number.

`MIXED_SECONDS` makes a case longer, `MIXED_SEED` others.
"""

import collections
import contextlib
import json
import mmap
import os
import random
import signal
import socket
import struct
import threading
import time
import zlib

import ring
from case import Case, Seen, Wrong
from listener import Listener
from peers import must
from runner import Table

SECONDS = float(os.environ.get("MIXED_SECONDS", "1.5"))
SEED = int(os.environ.get("MIXED_SEED", "1"))
CLIENTS = 12
DOCS = "README.md, Guarantees: a status tells the truth"
CONFIG = """
[ingest]
loops = {loops}
max_buffered_bytes = "4MiB"
[[listen]]
address = "127.0.0.1:0"
protocol = "resp"
[[listen]]
address = "127.0.0.1:0"
protocol = "mqtt"
[[listen]]
address = "127.0.0.1:0"
protocol = "lines"
[[listen]]
address = "127.0.0.1:0"
protocol = "octets"
[[ring]]
name = "r"
capacity_bytes = "8KiB"
max_payload_bytes = 2000
full_wait_ms = 300
"""


class Reader(threading.Thread):
    """A gating reader (core/ABI.md §4.2) that stands still at times, so that the ring is full."""

    def __init__(self, listener):
        super().__init__(daemon=True)
        self.control, descriptors = ring.attach(listener.socket, 1, "r", "default")
        self.ring, self.cursor = ring.Ring(descriptors[0]), mmap.mmap(descriptors[1], 0)
        self.position = struct.unpack_from("<I", self.cursor, 64)[0]
        self.wanted, self.found, self.is_over = 0, [], False
        self.start()

    def step(self):
        """Reads and releases a few records; false if there are none."""
        tail, before = self.ring.word(128), self.position
        for _ in range(20):
            if self.position == tail:
                break
            at = self.ring.data + self.position % self.ring.capacity * ring.GRANULE
            header = self.ring.map[at : at + ring.GRANULE]
            length, kind, _, _, seq, _, payload_crc, header_crc = ring.HEADER.unpack(header)
            said = struct.pack("<QI", self.ring.epoch, self.position) + header[:28]
            assert zlib.crc32(said) == header_crc, f"header at {self.position}"
            if kind == ring.DATA:
                payload = self.ring.map[at + ring.GRANULE : at + ring.GRANULE + length]
                assert zlib.crc32(payload) == payload_crc, f"payload of {seq}"
                self.found.append((seq, payload))
            self.position = (self.position + 1 + -(-length // ring.GRANULE)) % 2**32
        struct.pack_into("<I", self.cursor, 64, self.position)
        if (wanted := self.ring.word(200)) not in (0, self.wanted):
            self.wanted = wanted
            try:
                self.control.send(b"S")
            except OSError:
                pass
        return self.position != before

    def run(self):
        chance = random.Random(SEED)
        while not self.is_over:
            if not self.step() or chance.random() < 0.3:
                time.sleep(0.002)
            if chance.random() < 0.02:
                time.sleep(chance.random() * 0.5)

    def rest(self):
        """Everything, once nothing more comes."""
        self.is_over = True
        self.join()
        while self.step():
            pass
        return self.found


class Story:
    """What all clients were told."""

    def __init__(self):
        self.lock, self.number = threading.Lock(), 0
        self.told, self.perhaps, self.silent = [], set(), []
        self.refused, self.odd = collections.Counter(), []

    def payloads(self, chance, count):
        """New ones, no two of them alike."""
        sizes = [0, 1, 20, 31, 32, 33, 100, 500, 1500]
        with self.lock:
            first, self.number = self.number, self.number + count
        return [b"%d-" % (first + at) + b"x" * chance.choice(sizes) for at in range(count)]

    def judge(self, found, is_cut):
        """What is wrong, in words; nothing if all is right."""
        by_seq, times = dict(found), collections.Counter(payload for _, payload in found)
        known = {payload for _, payload in self.told} | self.perhaps | set(self.silent)
        wrong = {
            "gaps": [seq for seq, _ in found] != list(range(len(found))),
            "twice": [p[:9] for p, count in times.items() if count > 1],
            "other number": [s for s, p in self.told if s is not None and by_seq.get(s) != p],
            "lost": [p[:9] for _, p in self.told if p not in times],
            "lost without a word": [p[:9] for p in self.silent if p not in times and not is_cut],
            "nobody's": [p[:9] for p in times if p not in known],
            "odd": self.odd,
        }
        return "; ".join(f"{what}: {which}" for what, which in wrong.items() if which)


class Client:
    """One connection: sends in pieces from a thread, reads answers meanwhile; or hangs up."""

    def __init__(self, story, chance, address):
        self.story, self.chance, self.buffer = story, chance, b""
        self.socket = socket.create_connection(address, timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def pieces(self, data):
        try:
            while data:
                size = self.chance.choice([1, 3, 17, 200, 5000, 100_000])
                self.socket.sendall(data[:size])
                data = data[size:]
        except OSError:
            pass

    def hangs_up(self, data, payloads):
        """Sometimes: ends the connection somewhere in the message."""
        if self.chance.random() > 0.1:
            return False
        with self.story.lock:
            self.story.perhaps.update(payloads)
        with contextlib.suppress(OSError):
            self.socket.sendall(data[: self.chance.randrange(len(data) + 1)])
        if self.chance.random() < 0.5:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return True

    def talk(self, messages, answer):
        """Sends messages, each with its payloads, and hears an answer to each; false at the end."""
        data = b"".join(message for message, *_ in messages)
        payloads = [payload for _, each, *_ in messages for payload in each]
        if self.hangs_up(data, payloads):
            return False
        sender = threading.Thread(target=self.pieces, args=(data,))
        sender.start()
        try:
            for at, message in enumerate(messages):
                if not answer(*message):
                    return False
                messages[at] = None
            return True
        except (EOFError, ConnectionError):
            with self.story.lock:
                self.story.perhaps.update(p for each in messages if each for p in each[1])
            return False
        finally:
            sender.join()

    def published(self, seq, payloads):
        with self.story.lock:
            each = enumerate(payloads)
            self.story.told += [(None if seq is None else seq + at, p) for at, p in each]

    def refused(self, what):
        with self.story.lock:
            self.story.refused[what] += 1
        return True


def of_http(client, chance, story):
    def request():
        kind = chance.choice(["plain", "chunked", "x-ndjson", "vnd.aqueduct.records", "vnd.aqueduct.records+json"])
        payloads = story.payloads(chance, 1 if kind in ("plain", "chunked") else chance.choice([1, 2, 3, 7]))
        if kind == "x-ndjson":
            body = chance.choice([b"\n", b"\r\n"]).join(payloads)
        elif kind == "vnd.aqueduct.records":
            body = b"".join(struct.pack("<IH", len(p), 7) + p for p in payloads)
        elif kind == "vnd.aqueduct.records+json":
            payloads = [b'"%s"' % p for p in payloads]
            body = b"[ %s ]" % b" , ".join(payloads)
        else:
            body = payloads[0]
        head = b"POST /v1/rings/r/records HTTP/1.1\r\nhost: t\r\ncontent-type: application/%s\r\n" % kind.encode()
        if kind == "chunked":
            cut = chance.randrange(len(body)) + 1
            parts = [part for part in (body[:cut], body[cut:]) if part]
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
            return head + b"transfer-encoding: chunked\r\n\r\n" + body, payloads, kind
        return head + b"content-length: %d\r\n\r\n" % len(body) + body, payloads, kind

    def answer(_, payloads, kind):
        status, fields = int(client.line().split()[1]), {}
        while field := client.line():
            name, value = field.split(b": ", 1)
            fields[name] = value
        said = json.loads(client.take(int(fields[b"content-length"])))
        if status == 202:
            batch = (said["first"], said["last"] - said["first"] + 1, said["taken"]) if "first" in said else None
            count = len(payloads)
            if batch != (None if kind in ("plain", "chunked") else (said["seq"], count, count)):
                story.odd.append(said)
            client.published(said["seq"], payloads)
        elif status not in (413, 503):
            story.odd.append(said)
        else:
            client.refused(status)
        return fields.get(b"connection") != b"close"

    return client.talk([request() for _ in range(chance.choice([1, 1, 2, 5, 20]))], answer)


def of_resp(client, chance, story):
    def words(*each):
        return b"*%d\r\n" % len(each) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in each)

    def command():
        kind = chance.choice([b"XADD", b"XADD", b"RPUSH", b"PUBLISH"])
        payloads = story.payloads(chance, chance.choice([1, 2, 5]) if kind == b"RPUSH" else 1)
        if kind == b"XADD":
            crc = [b"crc32", b"%d" % zlib.crc32(payloads[0])] if chance.random() < 0.5 else []
            return words(kind, b"r", b"*", b"data", payloads[0], *crc), payloads
        return words(kind, b"r", *payloads), payloads

    def answer(_, payloads):
        line = client.line()
        if line[:1] == b"$":
            client.published(int(client.take(int(line[1:]) + 2).split(b"-")[1]), payloads)
        elif line[:1] == b":":
            client.published(None, payloads)
        else:
            client.refused(line.split()[0].decode())
        return True

    return client.talk([command() for _ in range(chance.choice([1, 3, 16, 64]))], answer)


def of_mqtt(client, chance, story):
    def packet(first, body):
        size, length = len(body), b""
        while True:
            size, digit = size >> 7, size & 127
            length += bytes([digit | (128 if size else 0)])
            if not size:
                return bytes([first]) + length + body

    level = chance.choice([4, 5])
    properties = b"\0" if level == 5 else b""
    connect = b"\0\4MQTT" + bytes([level, 2, 0, 0]) + properties + b"\0\1c"
    try:
        client.socket.sendall(packet(0x10, connect))
        client.take(client.take(2)[1])
    except (EOFError, ConnectionError):
        return False
    payloads = story.payloads(chance, chance.choice([1, 4, 30]))

    def message(number, payload):
        return packet(0x32, b"\0\1t" + number.to_bytes(2, "big") + properties + payload), [payload], number

    def answer(_, payloads, number):
        kind, size = client.take(2)
        body = client.take(size)
        if kind == 0xE0:
            raise EOFError
        if kind != 0x40 or int.from_bytes(body[:2], "big") != number:
            story.odd.append(body)
        elif len(body) > 2 and body[2]:
            client.refused(f"puback:{body[2]:x}")
        else:
            client.published(None, payloads)
        return True

    client.talk([message(number, payload) for number, payload in enumerate(payloads, 1)], answer)
    return False


def of_lines(client, chance, story, framed=lambda payload: payload + b"\n"):
    payloads = story.payloads(chance, chance.choice([1, 10, 60]))
    data = b"".join(map(framed, payloads))
    if client.hangs_up(data, payloads):
        return False
    client.pieces(data)
    try:
        client.socket.shutdown(socket.SHUT_WR)
        if client.socket.recv(1):
            story.odd.append("an answer to lines")
        with story.lock:
            story.silent += payloads
    except OSError:
        with story.lock:
            story.perhaps.update(payloads)
    return False


def of_octets(client, chance, story):
    return of_lines(client, chance, story, lambda payload: b"%d %s" % (len(payload), payload))


PROTOCOLS = [("http", of_http), ("http", of_http), ("resp", of_resp), ("resp", of_resp), ("mqtt", of_mqtt),
             ("lines", of_lines), ("octets", of_octets)]  # fmt: skip


def mixed(name, driver, loops=1, is_cut=False):
    """All of it for some time; with `is_cut` the process is told to end in the middle."""

    def run(_):
        story = Story()
        with Listener(["--driver", driver], config=CONFIG.format(loops=loops)) as listener:
            reader, until = Reader(listener), time.monotonic() + SECONDS

            def converse(number):
                chance = random.Random(SEED * 1000 + number)
                while time.monotonic() < until:
                    protocol, conversation = chance.choice(PROTOCOLS)
                    try:
                        one = Client(story, chance, listener.at[protocol][0])
                    except OSError:
                        must(is_cut, "nobody listens")
                        return
                    with one.socket:
                        for _ in range(chance.randrange(1, 8)):
                            if not conversation(one, chance, story):
                                break

            def client(number):
                try:
                    converse(number)
                except Exception as error:  # which a thread would take with it
                    with story.lock:
                        story.odd.append(f"client {number}: {error!r}")

            clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
            for each in clients:
                each.start()
            if is_cut:
                time.sleep(SECONDS * 0.6)
                listener.send(signal.SIGTERM)
            for each in clients:
                each.join()
            # What was sent without an answer may still wait for room, behind a reader that rests.
            deadline = time.monotonic() + 20
            while not is_cut and time.monotonic() < deadline:
                with story.lock:
                    if len(reader.found) >= len(story.told) + len(story.silent):
                        break
                time.sleep(0.01)
            end = listener.wait() if is_cut else listener.stop()
            found, log = reader.rest(), listener.log()
        wrong = story.judge(found, is_cut)
        seen = f"{len(found)} records, {len(story.told)} answered, {len(story.silent)} without answers"
        seen += f", {sum(story.refused.values())} refused, exit {end}"
        if wrong or end != 0 or "panicked" in log:
            raise Wrong(f"{seen}; {wrong[:400]}")
        return Seen(seen)

    return Case(name, "each record that was answered once, under its number; no other", DOCS, run)


CASES = [
    mixed("epoll", "epoll"), mixed("auto", "auto"), mixed("two_loops", "auto", loops=2),
    mixed("epoll.sigterm", "epoll", is_cut=True), mixed("auto.sigterm", "auto", is_cut=True),
]  # fmt: skip

TABLE = Table("mixed", CASES)
