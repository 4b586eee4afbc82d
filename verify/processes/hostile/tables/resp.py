"""RESP: what is no command, what is cut, what comes from a browser."""

from runner import Table
from talk import talk
from wire import Bytewise, End, Hangup, Reset, post

DOCS = "shell/src/codec/resp"
SPEC = "RESP2, Redis protocol specification"


def command(*words):
    """An array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


XADD = command(b"XADD", b"RING", b"*", b"data", b"hello")
PING = command(b"PING")
HELLO = [b"hello"]

# name, bytes: the connection cannot go on.
BROKEN = [
    ("count_letters", b"*x\r\n"), ("count_empty", b"*\r\n"), ("count_plus", b"*+1\r\n$4\r\nPING\r\n"),
    ("count_leading_zero", b"*01\r\n$4\r\nPING\r\n"), ("count_2_to_31", b"*2147483648\r\n"),
    ("count_2_to_64", b"*18446744073709551616\r\n"), ("count_40_digits", b"*" + b"9" * 40 + b"\r\n"),
    ("count_fraction", b"*1.0\r\n"), ("count_lf", b"*1\n$4\r\nPING\r\n" + b"x" * 30 + b"\r\n"),
    ("no_bulk", b"*1\r\nPING\r\n"), ("integer_for_bulk", b"*1\r\n:1\r\n"), ("array_within", b"*1\r\n*1\r\n$1\r\na\r\n"),
    ("bulk_negative", b"*1\r\n$-1\r\n"), ("bulk_letters", b"*1\r\n$x\r\n"), ("bulk_empty", b"*1\r\n$\r\n"),
    ("bulk_leading_zero", b"*1\r\n$04\r\nPING\r\n"), ("bulk_plus", b"*1\r\n$+4\r\nPING\r\n"),
    ("bulk_too_short", b"*1\r\n$3\r\nPING\r\n"), ("bulk_too_long", b"*1\r\n$5\r\nPING\r\n\r\n"),
    ("bulk_512_MiB", b"*1\r\n$536870912\r\n"), ("bulk_2_to_63", b"*1\r\n$9223372036854775807\r\n"),
    ("bulk_2_to_64", b"*1\r\n$18446744073709551616\r\n"), ("bulk_lf_behind", b"*1\r\n$4\r\nPING\n\n"),
    ("quote_left_open", b'XADD RING * data "hello\r\n'), ("nul_in_a_line", b"XADD RING * data a\x00b\r\n"),
    ("quote_within", b'XADD RING * data "a"b\r\n'),
]  # fmt: skip

# name, words of a command: refused by -ERR, and the connection goes on.
REFUSED = [
    ("unknown", [b"FLUSHALL"]), ("config", [b"CONFIG", b"SET", b"dir", b"/"]), ("eval", [b"EVAL", b"x", b"0"]),
    ("empty_name", [b""]), ("nul_name", [b"PI\x00NG"]), ("long_name", [b"X" * 1000]), ("get", [b"GET", b"RING"]),
    ("xadd_alone", [b"XADD"]), ("xadd_no_id", [b"XADD", b"RING"]), ("xadd_no_field", [b"XADD", b"RING", b"*"]),
    ("xadd_own_id", [b"XADD", b"RING", b"1-1", b"data", b"x"]), ("xadd_field", [b"XADD", b"RING", b"*", b"other", b"x"]),
    ("xadd_no_value", [b"XADD", b"RING", b"*", b"data"]), ("xadd_twice", [b"XADD", b"RING", b"*", b"data", b"x", b"data", b"y"]),
    ("xadd_type_high", [b"XADD", b"RING", b"*", b"data", b"x", b"type", b"65536"]),
    ("xadd_type_sign", [b"XADD", b"RING", b"*", b"data", b"x", b"type", b"-1"]),
    ("xadd_crc", [b"XADD", b"RING", b"*", b"data", b"x", b"crc32", b"1"]),
    ("xadd_maxlen", [b"XADD", b"RING", b"MAXLEN", b"10", b"*", b"data", b"x"]),
    ("xadd_no_ring", [b"XADD", b"nobody", b"*", b"data", b"x"]), ("xadd_empty_ring", [b"XADD", b"", b"*", b"data", b"x"]),
    ("xadd_too_large", [b"XADD", b"RING", b"*", b"data", b"x" * 1001]),
    ("rpush_alone", [b"RPUSH", b"RING"]), ("rpush_too_large", [b"RPUSH", b"RING", b"x", b"x" * 1001]),
    ("publish_three", [b"PUBLISH", b"RING", b"x", b"y"]), ("publish_too_large", [b"PUBLISH", b"RING", b"x" * 1001]),
    ("select", [b"SELECT", b"1"]), ("auth", [b"AUTH", b"x"]), ("multi", [b"MULTI"]),
    ("subscribe", [b"SUBSCRIBE", b"RING"]),
]  # fmt: skip

BROWSER = post(b"PUBLISH RING evil\r\nXADD RING * data evil\r\n", b"content-type: text/plain")


def resp(*row, **more):
    return talk("resp", *row, **more)


CASES = [
    *(resp(f"broken.{name}", [data + XADD], "-ERR closed", SPEC, []) for name, data in BROKEN),
    *(
        resp(f"refused.{name}", command(*words) + XADD, "-ERR id open", DOCS, HELLO)
        for name, words in REFUSED
    ),
    *(
        resp(f"{kind.__name__.lower()}.after_{at}_bytes", [XADD[:at], kind], "hung up", SPEC, [])
        for kind in (Hangup, Reset)
        for at in (1, 4, 12, 20, len(XADD) - 7, len(XADD) - 1)
    ),
    *(
        resp(f"half_close.after_{at}_bytes", [XADD[:at], End], "closed", SPEC, [])
        for at in (1, 4, 12, len(XADD) - 1)
    ),
    resp("half_close.whole", [XADD, End], "id closed", SPEC, HELLO),
    resp("half_close.one_and_a_half", [XADD + XADD[:-3], End], "id closed", SPEC, HELLO),
    resp("half_close.pipeline", [XADD * 50, End], "id " * 50 + "closed", SPEC, HELLO * 50),
    resp("hangup.whole", [XADD, Hangup], "hung up", SPEC, HELLO, gone=1),
    resp("bytewise", Bytewise(XADD + PING), "id +PONG open", SPEC, HELLO),
    resp("pipeline", XADD * 50, "id " * 50 + "open", SPEC, HELLO * 50),
    resp("empty_array", b"*0\r\n" + XADD, "id open", SPEC, HELLO),
    resp("negative_array", b"*-1\r\n" + XADD, "id open", SPEC, HELLO),
    resp("empty_lines", b"\r\n\r\n" + XADD, "id open", SPEC, HELLO),
    resp("empty_record", command(b"XADD", b"RING", b"*", b"data", b""), "id open", DOCS, [b""]),
    resp("record_of_commands", command(b"XADD", b"RING", b"*", b"data", PING), "id open", SPEC, [PING]),
    resp("limit", command(b"XADD", b"RING", b"*", b"data", b"x" * 1000), "id open", DOCS, [b"x" * 1000]),
    resp("inline", b"XADD RING * data hello\r\n", "id open", SPEC, HELLO),
    resp("inline_quoted", b'xadd RING * data "\\x68ello"\n', "id open", SPEC, HELLO),
    resp("rpush_three", command(b"RPUSH", b"RING", b"a", b"b", b"c"), ":3 open", DOCS,
         [b"a", b"b", b"c"], answered=3),
    resp("publish", command(b"PUBLISH", b"RING", b"a"), ":1 open", DOCS, [b"a"], answered=1),
    resp("hello_4", command(b"HELLO", b"4") + XADD, "-NOPROTO id open", SPEC, HELLO),
    resp("quit", command(b"QUIT") + XADD, "+OK closed", SPEC, []),
    resp("long_line", b"X" * 70000, "-ERR closed", SPEC, []),
    resp("browser.post", BROWSER, "closed", DOCS, []),
    resp("browser.get", b"GET / HTTP/1.1\r\nHost: t\r\n\r\nPUBLISH RING evil\r\n", "-ERR closed", DOCS, []),
    resp("browser.host_first", b"Host: t\r\nPUBLISH RING evil\r\n", "closed", DOCS, []),
    resp("browser.options", b"OPTIONS / HTTP/1.1\r\nhost: t\r\n\r\nPUBLISH RING evil\r\n", "-ERR closed", DOCS, []),
    resp("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", "-ERR closed", SPEC, []),
]  # fmt: skip

CONFIG = """
[control]
max_observers = 1000
[[listen]]
address = "127.0.0.1:0"
protocol = "resp"
"""

TABLE = Table("resp", CASES, CONFIG)
