"""Bodies of binary formats that are to become JSON, JSON that is to become them, and bombs.

The listener must have been built with the cargo features `convert` and `decompress`.
"""

import atexit
import gzip
import pathlib
import shutil
import struct
import tempfile
import zlib

from runner import Table
from wire import Bytewise, http

CBOR = "shell/README.md, Routes (convert); RFC 8949"
PACKED = "shell/README.md, Routes (convert); MessagePack"
PROTO = "shell/README.md, Routes (convert); Protobuf"
BOMBS = "shell/README.md, Routes (decompress)"


def send(path, body, *lines):
    """A request for a path below the ring's own."""
    fields = b"".join(line + b"\r\n" for line in (b"host: t", b"content-length: %d" % len(body), *lines))
    return b"POST /RING/" + path + b" HTTP/1.1\r\n" + fields + b"\r\n" + body


def converted(kind, by, path):
    """Makes cases of bodies for a route: what they become, or how they are refused."""

    def case(name, body, record=None, status="400 open"):
        expected = "202 open" if record is not None else status
        return http(f"{kind}.{name}", send(path, body), expected, by, [] if record is None else [record])

    return case


def bomb(name, coding, body, status="413 open", path=b"plain"):
    """A compressed body."""
    return http(f"bomb.{name}", send(path, body, b"content-encoding: " + coding), status, BOMBS, [])


def part(number, body):
    """A field of Protobuf with a length."""
    length = b""
    count = len(body)
    while count > 0x7F:
        length += bytes([count & 0x7F | 0x80])
        count >>= 7
    return bytes([number << 3 | 2]) + length + bytes([count]) + body


def text(number, value):
    return part(number, value.encode())


def field(name, number, kind, of="", label=1):
    """A FieldDescriptorProto."""
    head = text(1, name) + bytes([3 << 3, number, 4 << 3, label, 5 << 3, kind])
    return part(2, head + (text(6, of) if of else b""))


def descriptors():
    """message Order { int64 id = 1; repeated Order parts = 2; string note = 3; repeated bool flags = 5; }"""
    order = (
        text(1, "Order")
        + field("id", 1, 3)
        + field("parts", 2, 11, ".shop.Order", 3)
        + field("note", 3, 9)
        + field("flags", 5, 8, "", 3)
    )
    return part(1, text(1, "shop.proto") + text(2, "shop") + part(4, order) + text(12, "proto3"))


def nested(number, times):
    inner = b""
    for _ in range(times):
        inner = part(number, inner)
    return inner


def zstd_bomb(blocks):
    """Frames with no content size and blocks of one byte repeated 128 KiB times (RFC 8878 §3.1.1)."""
    block = (len(b"") | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    last = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * (blocks - 1) + last


def snappy_frames(length):
    """A stream identifier, and a chunk that says it becomes so long."""
    block = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F]) + b"\xfe\x01\0" * 20
    chunk = b"\0\0\0\0" + block
    return b"\xff\x06\0\0sNaPpY" + b"\0" + struct.pack("<I", len(chunk))[:3] + chunk


cbor = converted("cbor", CBOR, b"cbor")
to_cbor = converted("to_cbor", CBOR, b"tocbor")
packed = converted("messagepack", PACKED, b"packed")
to_packed = converted("to_messagepack", PACKED, b"topacked")
proto = converted("protobuf", PROTO, b"proto")
ZEROS = bytes(1 << 20)

CASES = [
    cbor("map", b"\xa1\x61a\x82\x01\xf6", b'{"a":[1,null]}'), cbor("indefinite", b"\x9f\x01\xff", b"[1]"),
    cbor("bytes", b"\x43\x01\x02\x03", b'"AQID"'), cbor("half", b"\xf9\x3e\x00", b"1.5"), cbor("long_zero", b"\x1b" + bytes(8), b"0"),
    cbor("empty", b""), cbor("two", b"\0\0"), cbor("cut", b"\x82\0"), cbor("break_alone", b"\xff"), cbor("never_ends", b"\x9f" * 900),
    cbor("array_of_2_64", b"\x9b" + b"\xff" * 8), cbor("map_of_2_64", b"\xbb" + b"\xff" * 8 + b"\x61a\0"),
    cbor("text_of_2_64", b"\x7b" + b"\xff" * 8 + b"a"), cbor("bytes_of_2_63", b"\x5b\x80" + bytes(7)), cbor("array_of_2_31", b"\x9a\x80\0\0\0"),
    cbor("deep", b"\x81" * 128 + b"\0", b"[" * 128 + b"0" + b"]" * 128), cbor("too_deep", b"\x81" * 129 + b"\0"),
    cbor("deep_maps", b"\xa1\x60" * 300 + b"\0"), cbor("deep_tags", b"\xc1" * 900 + b"\0"),
    cbor("name_twice", b"\xa2\x61a\0\x61a\0"), cbor("name_twice_in_pieces", b"\xa2\x61a\0\x7f\x61a\xff\0"),
    cbor("name_a_number", b"\xa1\x01\0"), cbor("name_bytes", b"\xa1\x41a\0"), cbor("name_null", b"\xa1\xf6\0"),
    cbor("no_utf8", b"\x61\xff"), cbor("half_surrogate", b"\x63\xed\xa0\x80"), cbor("overlong", b"\x62\xc0\xaf"),
    cbor("nan", b"\xf9\x7e\0"), cbor("infinity", b"\xfb\x7f\xf0" + bytes(6)), cbor("undefined", b"\xf7"), cbor("simple", b"\xf8\xff"),
    cbor("bignum", b"\xc2\x49\x01" + bytes(8)), cbor("below_64_bits", b"\x3b" + b"\xff" * 8), cbor("reserved", b"\x1c"),
    cbor("grows_too_large", b"\x98\xff" + b"\0" * 255 + b"", b"[" + b",".join([b"0"] * 255) + b"]"),
    cbor("grows_larger", b"\x99\x03\x00" + b"\0" * 0x300, status="413 open"), cbor("escapes_grow", b"\x79\x01\x00" + bytes(256), status="413 open"),
    cbor("too_large", bytes(1001), status="413 closed"),
    http("cbor.bytewise", Bytewise(send(b"cbor", b"\x81\x01")), "202 open", CBOR, [b"[1]"]),
    to_cbor("map", b'{"a":[1,null]}', b"\xa1\x61a\x82\x01\xf6"), to_cbor("largest", b"18446744073709551615", b"\x1b" + b"\xff" * 8),
    to_cbor("beyond_64_bits", b"18446744073709551616"), to_cbor("below_64_bits", b"-9223372036854775809"), to_cbor("exponent", b"1e999999999"),
    to_cbor("long_number", b"1" * 900), to_cbor("name_twice", b'{"a":1,"\\u0061":2}'), to_cbor("half_surrogate", b'"\\ud800"'),
    to_cbor("deep", b"[" * 128 + b"]" * 128, b"\x81" * 127 + b"\x80"), to_cbor("too_deep", b"[" * 129 + b"]" * 129), to_cbor("nan", b"NaN"),
    packed("map", b"\x81\xa1a\x92\x01\xc0", b'{"a":[1,null]}'), packed("bytes", b"\xc4\x03\x01\x02\x03", b'"AQID"'),
    packed("empty", b""), packed("two", b"\0\0"), packed("cut", b"\x92\0"), packed("never_used", b"\xc1"),
    packed("array_of_2_32", b"\xdd\xff\xff\xff\xff"), packed("map_of_2_32", b"\xdf\xff\xff\xff\xff\xa1a\0"),
    packed("text_of_2_32", b"\xdb\xff\xff\xff\xffa"), packed("bytes_of_2_32", b"\xc6\xff\xff\xff\xffa"),
    packed("extension_of_2_32", b"\xc9\xff\xff\xff\xff\x01a"), packed("extension", b"\xd4\x01\0"), packed("timestamp", b"\xd6\xff\0\0\0\0"),
    packed("deep", b"\x91" * 128 + b"\0", b"[" * 128 + b"0" + b"]" * 128), packed("too_deep", b"\x91" * 129 + b"\0"),
    packed("deep_maps", b"\x81\xa0" * 300 + b"\0"), packed("name_twice", b"\x82\xa1a\0\xd9\x01a\0"), packed("name_a_number", b"\x81\x01\0"),
    packed("name_bytes", b"\x81\xc4\x01a\0"), packed("no_utf8", b"\xa1\xff"), packed("nan", b"\xca\x7f\xc0\0\0"), packed("infinity", b"\xcb\xff\xf0" + bytes(6)),
    packed("grows_too_large", b"\xdc\x03\x00" + b"\0" * 0x300, status="413 open"),
    to_packed("map", b'{"a":[1,null]}', b"\x81\xa1a\x92\x01\xc0"), to_packed("beyond_64_bits", b"18446744073709551616"), to_packed("name_twice", b'{"a":1,"a":2}'),
    proto("message", b"\x08\x07" + part(3, "é".encode()), '{"id":"7","note":"é"}'.encode()), proto("empty", b"", b"{}"), proto("cut", b"\x08"),
    proto("inner", part(2, b"\x08\x01"), b'{"parts":[{"id":"1"}]}'), proto("no_utf8", part(3, b"\xff")), proto("unknown", b"\x48\x01"),
    proto("unknown_inside", part(2, b"\x48\x01")), proto("group", b"\x0b\x0c"), proto("wire_type", b"\x0f"), proto("field_0", b"\0\0"),
    proto("length_of_2_32", b"\x12\xff\xff\xff\xff\x0f"), proto("length_of_2_63", b"\x1a" + b"\xff" * 8 + b"\x7f"), proto("endless_number", b"\x08" + b"\xff" * 11),
    proto("too_deep", nested(2, 120)), proto("deeper", nested(2, 300)), proto("grows_too_large", part(5, b"\1" * 300), status="413 open"),
    bomb("gzip", b"gzip", gzip.compress(ZEROS)[:900], "413 open"), bomb("gzip_twice", b"gzip, gzip", gzip.compress(gzip.compress(bytes(20 << 20))), "413 open"),
    bomb("gzip_members", b"gzip", gzip.compress(bytes(900)) * 20, "413 open"), bomb("gzip_ratio", b"gzip", gzip.compress(ZEROS[:40_000]), "413 open"),
    bomb("zstd", b"zstd", zstd_bomb(200), "413 open"), bomb("zstd_window", b"zstd", b"\x28\xb5\x2f\xfd\x00\xf8" + zstd_bomb(1)[6:], "413 open"),
    bomb("zstd_says_2_62", b"zstd", b"\x28\xb5\x2f\xfd\xe0" + b"\xff" * 7 + b"\x3f" + zstd_bomb(1)[6:], "413 open"),
    bomb("snappy_says_4_gib", b"snappy", b"\xff\xff\xff\xff\x0f" + b"\0a", "413 open"), bomb("snappy_says_more", b"snappy", b"\xff" * 9 + b"\x01\0a", "400 open"),
    bomb("snappy_frames", b"x-snappy-framed", snappy_frames(60_000), "400 open"), bomb("zlib_is_no_gzip", b"gzip", zlib.compress(b"x"), "400 open"),
    bomb("three_codings", b"gzip, gzip, gzip", b"x", "415 closed"), bomb("unknown", b"br", b"x", "415 closed"),
    bomb("then_cbor", b"gzip", gzip.compress(b"\x81" * 129 + b"\0"), "400 open", b"both"), bomb("cut", b"gzip", gzip.compress(b"x" * 100)[:20], "400 open"),
    bomb("wrong_checksum", b"gzip", gzip.compress(b"x" * 100)[:-8] + bytes(8), "400 open"),
]  # fmt: skip


def config(names):
    """Routes of their own for each ring."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="aqd-descriptors-"))
    atexit.register(shutil.rmtree, directory, True)
    (directory / "shop.pb").write_bytes(descriptors())
    proto = f'from = "protobuf", to = "json", descriptors = "{directory}/shop.pb", message = "shop.Order"'
    cbor = '{ unit = "convert", from = "cbor", to = "json" }'
    units = {
        "cbor": f"[{cbor}]",
        "tocbor": '[{ unit = "convert", from = "json", to = "cbor" }]',
        "packed": '[{ unit = "convert", from = "messagepack", to = "json" }]',
        "topacked": '[{ unit = "convert", from = "json", to = "messagepack" }]',
        "proto": f'[{{ unit = "convert", {proto} }}]',
        "plain": '["decompress"]',
        "both": f'["decompress", {cbor}]',
    }
    routes = [
        f'[[route]]\npath = "/{name}/{path}"\nring = "{name}"\nunits = {chain}\n'
        for name in names
        for path, chain in units.items()
    ]
    return "\n".join(routes)


TABLE = Table("conversions", CASES, config)
