"""Bounds, each at the limit and one beyond it; clients that never read; rings that are full."""

import contextlib
import socket
import time

from case import Case, Seen, Wrong
from listener import Listener, until
from peers import ask
from runner import Table
from wire import Await, Connection, End, Hangup, Reset, Wait, chunked, get, http, post

DOCS = "shell/README.md, HTTP"
LIMITS = "shell/README.md, Limits"
SIZES = "RFC 6585 §5"
FULL = "shell/README.md, HTTP: 503"


def head_of(size, fields=()):
    """A request whose head has so many bytes."""
    rest = size - (len(post(b"x", b"x: ", *fields)) - 1)
    return post(b"x", b"x: " + b"y" * rest, *fields)


def with_fields(count):
    """A request with so many header fields, host and length among them."""
    return post(b"x", *(b"x%d: y" % n for n in range(count - 2)))


HEADS = [
    http("head.limit", head_of(1024), "202 open", SIZES, [b"x"]),
    http("head.limit_plus_1", head_of(1025), "431 closed", SIZES, []),
    http("head.four_times", head_of(4096), "431 closed", SIZES, []),
    http("head.never_ends", b"POST / HTTP/1.1\r\nx: " + b"y" * 9000, "431 closed", SIZES, []),
    http("head.target_never_ends", b"POST /" + b"y" * 9000, "431 closed", SIZES, []),
    http("head.method_never_ends", b"P" * 9000, "431 closed", SIZES, []),
    http("head.empty_lines_for_ever", b"\r\n" * 9000 + post(), "202 open", "RFC 9112 §2.2", [b"x"]),
    http("fields.limit", with_fields(8), "202 open", SIZES, [b"x"]),
    http("fields.limit_plus_1", with_fields(9), "431 closed", SIZES, []),
    http("fields.hundred", with_fields(100), "431 closed", SIZES, []),
    http("body.limit", post(b"x" * 1000), "202 open", DOCS, [b"x" * 1000]),
    http("body.limit_plus_1", post(b"x" * 1001), "413 closed", DOCS, []),
    http("body.goes_on", [post(b"x" * 40000)[:-40000], *[Wait(0.2), b"x" * 4000] * 10], "413 closed", DOCS, []),
    http("body.of_8_MiB", post(b"x" * (8 << 20)), "413 closed", DOCS, []),
    http("body.chunks_go_on", [chunked(b"x" * 1001)[:-5], *[Wait(0.2), b"5\r\nhello\r\n"] * 10], "413 closed", DOCS, []),
    http("body.batch_limit", post(b"a\n" * 400, b"content-type: application/x-ndjson"), "202 open", DOCS, [b"a"] * 400),
    http("body.batch_record_too_large", post(b"a\n" + b"x" * 1001 + b"\n", b"content-type: application/x-ndjson"),
         "413 open", DOCS, []),
    http("body.batch_empty", post(b"\n\n", b"content-type: application/x-ndjson"), "400 open", DOCS, []),
    http("body.batch_cut", post(b"\5\0\0\0\0\0abc", b"content-type: application/vnd.aqueduct.records"), "400 open", DOCS, []),
    http("body.batch_length_of_4_GiB", post(b"\xff\xff\xff\xff\0\0abc", b"content-type: application/vnd.aqueduct.records"),
         "400 open", DOCS, []),
    *(
        http(f"json.{name}", post(text, b"content-type: application/vnd.aqueduct.records+json"), "400 open", DOCS, [])
        for name, text in [
            ("no_array", b'{"a":1}'), ("open", b"[1,2"), ("two_arrays", b"[1][2]"), ("comma_behind", b"[1,]"),
            ("no_comma", b"[1 2]"), ("nan", b"[NaN]"), ("single_quotes", b"['a']"), ("comment", b"[1/**/]"),
            ("control_in_string", b'["a\x01"]'), ("bad_escape", b'["\\x41"]'), ("not_utf_8", b'["\xff"]'),
            ("lone_surrogate_cut", b'["\\ud8"]'), ("deep", b"[" * 900), ("leading_zero", b"[01]"), ("plus", b"[+1]"),
            ("empty", b"[]"), ("nothing", b""), ("bom", b"\xef\xbb\xbf[1]"), ("nul_behind", b"[1]\x00"),
        ]
    ),
    http("json.good", post(b' [ 1 , "a" , {"b":[2]} ] ', b"content-type: application/vnd.aqueduct.records+json"),
         "202 open", DOCS, [b"1", b'"a"', b'{"b":[2]}']),
]  # fmt: skip


def never_reads(request, count, leaves):
    """Sends requests and reads nothing until the connection is given up."""

    def run(place):
        name = place.ring.encode()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.connect(place.listener.http)
            began, sent = time.monotonic(), 0
            try:
                for number in range(count):
                    client.sendall(request(number).replace(b"RING", name))
                    sent += 1
                if leaves:
                    client.close()
                    return Seen(f"{sent} sent, hung up", 0, sent)
                # Everything was taken; then there must be an end, too.
                while time.monotonic() - began < 10:
                    client.send(b"\r\n")
                    time.sleep(0.05)
                raise Wrong(f"{sent} sent, and still open after 10 s")
            except (BrokenPipeError, ConnectionResetError):
                took = time.monotonic() - began
                if ask(place.listener, get()) != 200:
                    raise Wrong("others are not served") from None
                return Seen(f"given up after {sent} requests, {took:.1f} s; others are served", 0, sent + 1)

    return run


UNREAD = [
    Case("never_reads.metrics", "given up in body_timeout_ms, others are served", LIMITS,
         never_reads(lambda _: get(b"/metrics"), 3000, False), []),
    Case("never_reads.refusals", "given up in body_timeout_ms, others are served", LIMITS,
         never_reads(lambda _: get(b"/nothing"), 60000, False), []),
    Case("never_reads.posts_and_leaves", "what is there is a beginning of what was sent", LIMITS,
         never_reads(lambda n: post(b"%d" % n), 300, True), [b"%d" % n for n in range(300)]),
]  # fmt: skip


def crowded(count):
    """All places for connections are taken, and more come."""

    def run(_):
        flags = ["--max-connections", "4", "--capacity-bytes", "65536"]
        with Listener(flags) as listener, contextlib.ExitStack() as stack:
            for _ in range(count):
                stack.enter_context(Connection(listener.http))
            pages = [ask(listener, get(page)) for page in (b"/healthz", b"/readyz", b"/metrics")]
            refused = ask(listener, post(path=b"/v1/rings/default/records"))
            stack.close()
            until(lambda: ask(listener, post(path=b"/v1/rings/default/records")) == 202, "records are taken again")
            found, status = len(listener.records()), listener.stop()
            seen = f"pages {pages}, POST {refused}, later 202, {found} record, exit {status}"
            if pages != [200, 503, 200] or (refused, found, status) != (503, 1, 0):
                raise Wrong(seen)
            return Seen(seen, 1)

    return Case(f"connections.{count}_of_4", "pages 200 but not ready, POST 503, nothing of it in the ring", LIMITS, run)


CONFIG = """
[http]
max_header_bytes = 1024
max_headers = 8
header_timeout_ms = "5s"
body_timeout_ms = "1s"
[control]
max_observers = 1000
"""

# 4 granules, of which one is reserved: one record of up to 32 bytes fits, and nobody releases.
TINY = '\n[[ring]]\nname = "{name}"\ncapacity_bytes = 128\nfull_wait_ms = 300\n'
RINGS_FULL = [
    http("second", post(b"a") + post(b"b"), "202 503 open", FULL, [b"a"], has=[b"retry-after: 1"]),
    http("many", post(b"a") + post(b"b") * 5, "202 503 503 503 503 503 open", FULL, [b"a"]),
    http("chunked", post(b"a") + chunked(b"b"), "202 503 open", FULL, [b"a"]),
    http("half_close", [post(b"a") + post(b"b"), End], "202 503 closed", FULL, [b"a"]),
    http("half_close_while_it_waits", [post(b"a") + post(b"b"), Wait(0.1), End], "202 503 closed", FULL, [b"a"]),
    http("reset_while_it_waits", [post(b"a"), Await, post(b"b"), Wait(0.1), Reset], "hung up", FULL, [b"a"], gone=1),
    http("hangup_while_it_waits", [post(b"a"), Await, post(b"b"), Wait(0.1), Hangup], "hung up", FULL, [b"a"], gone=1),
    http("page_behind", post(b"a") + post(b"b") + get(), "202 503 200 open", FULL, [b"a"]),
    http("close_behind", post(b"a") + post(b"b", b"connection: close") + post(b"c"), "202 503 closed", FULL, [b"a"]),
    http("http_1_0", [post(b"a", version=b"1.0")], "202 closed", FULL, [b"a"]),
    http("never_fits", post(b"x" * 33), "413 closed", FULL, []),
    http("batch_never_fits", post(b"a\nb\nc\n", b"content-type: application/x-ndjson"), "413 open", FULL, []),
    http("batch_of_one", post(b"a\n", b"content-type: application/x-ndjson") + post(b"b"), "202 503 open", FULL, [b"a"]),
    http("expect", [post(b"a") + post(b"b", b"expect: 100-continue")[:-1], Wait(0.1), b"b"], "202 100 503 open", FULL, [b"a"]),
]  # fmt: skip

TABLES = [
    Table("http.limits", [*HEADS, *UNREAD], CONFIG),
    Table("http.crowd", [crowded(count) for count in (4, 5, 20, 60, 300)]),
    Table("http.full", RINGS_FULL, "[control]\nmax_observers = 1000\n", rings=TINY),
]
