"""Reads what a ring holds, over the control socket: a small observer written from core/ABI.md alone.

It shares no code with the listener or with the clients in Rust and C, so it is a witness of its
own. Every header and payload is checked by CRC.
"""

import mmap
import os
import socket
import struct
import zlib

GRANULE = 32
HELLO = struct.Struct("<8sHHI64s32s32x")
WELCOME = struct.Struct("<8sHHIQI4x96s")
HEADER = struct.Struct("<IBBHQQII")
DATA, DATA_ATTRIBUTES = 1, 0x81
ATTRIBUTES_UNIT = 16
OBSERVE = 2
ATTACHED = 0


class Refused(Exception):
    """A WELCOME with another status than 0, or none at all."""


def hello(kind, ring="", subscription="", major=1, minor=2, magic=b"AQDHELLO"):
    """Encodes a HELLO (ABI §6.2), also a wrong one."""
    return HELLO.pack(magic, major, minor, kind, ring.encode(), subscription.encode())


def connect(path, seconds=5):
    """Connects to a control socket."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    # Blocking, because a full backlog is EAGAIN otherwise; but not for ever.
    control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", seconds, 0))
    control.connect(os.fspath(path))
    control.settimeout(seconds)
    return control


def welcome(control):
    """Receives a WELCOME: (status, message, descriptors); status None at the end of the stream."""
    packet, descriptors, _, _ = socket.recv_fds(control, 256, 4)
    if not packet:
        return None, "", []
    magic, major, _, status, _, _, message = WELCOME.unpack(packet)
    if (magic, major) != (b"AQDREPLY", 1):
        raise Refused(f"no WELCOME: {packet!r}")
    return status, message.rstrip(b"\0").decode(), descriptors


def attach(path, kind, ring="", subscription=""):
    """Attaches a reader: the connection, whose end detaches it, and its descriptors."""
    control = connect(path)
    control.send(hello(kind, ring, subscription))
    status, message, descriptors = welcome(control)
    if status != ATTACHED:
        control.close()
        raise Refused(f"{status}: {message}")
    return control, descriptors


class Ring:
    """A ring, mapped read-only. Lives on after its listener."""

    def __init__(self, descriptor):
        self.map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
        magic, major, _, data, self.epoch = struct.unpack_from("<8sHHIQ", self.map, 0)
        self.capacity, self.max_payload = struct.unpack_from("<II", self.map, 32)
        assert (magic, major) == (b"AQUEDUCT", 1), (magic, major)
        assert zlib.crc32(self.map[:124]) == self.word(124), "header_crc of the ring"
        self.data = data

    @classmethod
    def observe(cls, path, name=""):
        """Maps a ring as an observer, which holds nobody back."""
        control, descriptors = attach(path, OBSERVE, name)
        with control:
            ring = cls(descriptors[0])
        for descriptor in descriptors:
            os.close(descriptor)
        return ring

    def word(self, at):
        """Loads a control word: one aligned access of 32 bits, in order on the processors we use."""
        return struct.unpack_from("<I", self.map, at)[0]

    @property
    def is_closed(self):
        """Whether the listener has marked the end."""
        return self.word(196) == 1

    def records(self):
        """Lists (seq, type, payload) of everything from `oldest` to `tail`; attributes are checked
        by the CRC, and left out.

        The caller has seen to it that the ring holds all of it: a subscription that never releases
        does. A record that is not intact is an error.
        """
        position, found = self.word(192), []
        tail = self.word(128)
        while position != tail:
            at = self.data + position % self.capacity * GRANULE
            header = self.map[at : at + GRANULE]
            length, kind, flags, tag, seq, _, payload_crc, header_crc = HEADER.unpack(header)
            said = struct.pack("<QI", self.epoch, position) + header[:28]
            assert zlib.crc32(said) == header_crc, f"header_crc at position {position}"
            if kind in (DATA, DATA_ATTRIBUTES):
                record = self.map[at + GRANULE : at + GRANULE + length]
                assert zlib.crc32(record) == payload_crc, f"payload_crc of record {seq}"
                block = flags * ATTRIBUTES_UNIT if kind == DATA_ATTRIBUTES else 0
                assert block <= length, f"attributes of record {seq}"
                found.append((seq, tag, record[: length - block]))
            position = (position + 1 + (length + GRANULE - 1) // GRANULE) % 2**32
        return found

    def close(self):
        """Unmaps it."""
        self.map.close()


def records(path, name=""):
    """Lists the records of a ring of a running listener."""
    ring = Ring.observe(path, name)
    try:
        return ring.records()
    finally:
        ring.close()
