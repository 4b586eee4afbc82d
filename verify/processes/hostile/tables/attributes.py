"""Records that keep attributes: the payload is what was sent, and who cannot read them is refused.
"""

from runner import Table
from tables.control import control, good, put
from wire import PATH, Bytewise, chunked, http, post

DOCS = "shell/README.md, Attributes"
ABI = "core/ABI.md §6.2"
NDJSON = b"content-type: application/x-ndjson"


def kept(name, script, records, expected="202 open"):
    """A case whose records have attributes, or are refused for them."""
    return http(f"http.{name}", script, expected, DOCS, records)


CASES = [
    kept("path_alone", post(), [b"x"]), kept("empty_record", post(b""), [b""]),
    kept("all", post(b"x", b"content-type: text/plain", b"x-a: 1"), [b"x"]),
    kept("twice", post(b"x", b"x-a: 1", b"x-a: 2"), [b"x"]), kept("empty_value", post(b"x", b"x-a: "), [b"x"]),
    kept("capitals", post(b"x", b"X-A: 1"), [b"x"]), kept("bytes", post(b"x", b"x-a: \xff\xfe"), [b"x"]),
    kept("forged", post(b"x", b"x-a: :peer", b"x-peer: 1.2.3.4"), [b"x"]),
    kept("forged_name", post(b"x", b":peer: 1.2.3.4"), [], "400 closed"),
    kept("query", post(path=PATH + b"?" + b"q" * 1000), [b"x"]),
    kept("chunked", chunked(b"a", b"b"), [b"ab"]), kept("bytewise", Bytewise(post(b"x", b"x-a: 1")), [b"x"]),
    kept("aligned", post(b"a" * 32) + post(b"b" * 31) + post(b"c" * 33), [b"a" * 32, b"b" * 31, b"c" * 33],
         "202 202 202 open"),
    kept("batch", post(b"1\n2\n3\n", NDJSON), [b"1", b"2", b"3"]),
    kept("many_bytes", post(b"x", b"x-a: " + b"v" * 3900), [b"x"]),
    kept("too_many_bytes", post(b"x", b"x-a: " + b"v" * 4100), [], "431 closed"),
    kept("too_much_beside_the_payload", post(b"x" * 7990), [], "413 closed"),
    *(
        control(f"hello.minor_{minor}_of_kind_{kind}", put(good(kind), 10, minor.to_bytes(2, "little")), answer, ABI)
        for kind, attached in ((1, "attached:2 open"), (2, "attached:1 open"))
        for minor, answer in ((0, "version closed"), (1, "version closed"), (2, attached), (65535, attached))
    ),
]  # fmt: skip

CONFIG = """
[http]
attributes = [":path", ":peer", "content-type", "x-a"]
[control]
max_observers = 1000
"""

LARGER = '\n[[ring]]\nname = "{name}"\ncapacity_bytes = "64KiB"\nmax_payload_bytes = 8000\n'
TABLE = Table("attributes", CASES, CONFIG, rings=LARGER)
