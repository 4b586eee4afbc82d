"""How the bytes come and go: pieces, pipelines, half-closes, hang-ups, waits, peers that do not read.
"""

from runner import Table
from wire import Await, Bytewise, End, Hangup, Reset, Wait, chunked, get, http, post

DOCS = "shell/README.md, HTTP"
CLOSE = b"connection: close"
HELD = post(b"x")[:-1]
NOTHING = "shell/README.md, Limits"
X = [b"x"]


def cut(request):
    """Every place at which a request can break off, thinned out."""
    return sorted({1, 5, 20, len(request) // 2, len(request) - 8, len(request) - 1})


def many(count):
    """So many requests in one piece, numbered."""
    return b"".join(post(b"%d" % n) for n in range(count)), [b"%d" % n for n in range(count)]


CONTINUE = b"expect: 100-continue"

CASES = [
    # Pieces.
    http("bytewise.length", Bytewise(post(b"hello")), "202 open", "RFC 9112 §2.1", [b"hello"]),
    http("bytewise.chunked", Bytewise(chunked(b"he", b"llo")), "202 open", "RFC 9112 §2.1", [b"hello"]),
    http("bytewise.page", Bytewise(get()), "200 open", "RFC 9112 §2.1", []),
    http("bytewise.refused", Bytewise(post(b"x", b"host: a b")), "400 closed", "RFC 9112 §3.2", []),
    http("bytewise.two", Bytewise(post() + post(b"y")), "202 202 open", "RFC 9112 §9.3", [b"x", b"y"]),
    http("pieces.head_then_body", [HELD, Wait(0.05), b"x"], "202 open", "RFC 9112 §2.1", X),
    http("pieces.cut_in_cr_lf", [post()[:30], Wait(0.02), post()[30:-3], Wait(0.02), post()[-3:]],
         "202 open", "RFC 9112 §2.1", X),
    # Pipelines.
    http("pipeline.60", many(60)[0], "202 " * 60 + "open", "RFC 9112 §9.3.2", many(60)[1]),
    http("pipeline.mixed", get() + post() + get(b"/nothing") + post(b"y"), "200 202 404 202 open",
         "RFC 9112 §9.3.2", [b"x", b"y"]),
    http("pipeline.behind_close", post(b"x", CLOSE) + post(b"y"), "202 closed", "RFC 9112 §9.6", X),
    http("pipeline.behind_close_list", post(b"x", b"connection: x, Close") + post(b"y"), "202 closed",
         "RFC 9112 §9.6", X),
    http("pipeline.behind_http_1_0", post(version=b"1.0") + post(b"y"), "202 closed", "RFC 9112 §9.3", X),
    http("pipeline.http_1_0_stays", post(b"x", b"connection: keep-alive", version=b"1.0") + post(b"y"),
         "202 202 open", "RFC 9112 §9.3", [b"x", b"y"]),
    http("pipeline.close_and_keep_alive",
         post(b"x", b"connection: close, keep-alive") + post(b"y"), "202 closed", "RFC 9112 §9.3", X),
    http("pipeline.behind_a_bad_one", b"\x00\r\n\r\n" + post(), "400 closed", "RFC 9112 §9.6", []),
    http("pipeline.behind_garbage_body", post() + b"garbage\r\n\r\n" + post(), "202 400 closed",
         "RFC 9112 §9.6", X),
    http("pipeline.behind_a_405_with_body", post(method=b"PUT") + post(), "405 closed", "RFC 9112 §9.3", []),
    http("pipeline.behind_a_page_with_close", get(b"/healthz", CLOSE) + post(), "200 closed",
         "RFC 9112 §9.6", []),
    http("pipeline.empty_lines_between", post() + b"\r\n\r\n" + post(b"y"), "202 202 open",
         "RFC 9112 §2.2", [b"x", b"y"]),
    http("pipeline.upgrade_ignored", post(b"x", b"upgrade: websocket", b"connection: upgrade") + post(b"y"),
         "202 202 open", "RFC 9110 §7.8", [b"x", b"y"]),
    # Half-closes: what is complete is answered.
    http("half_close.post", [post(), End], "202 closed", "RFC 9112 §9.6", X),
    http("half_close.post_at_once_later", [post(), Wait(0.05), End], "202 closed", "RFC 9112 §9.6", X),
    http("half_close.chunked", [chunked(b"x"), End], "202 closed", "RFC 9112 §9.6", X),
    http("half_close.page", [get(), End], "200 closed", "RFC 9112 §9.6", []),
    http("half_close.metrics", [get(b"/metrics"), End], "200 closed", "RFC 9112 §9.6", []),
    http("half_close.pipeline", [many(60)[0], End], "202 " * 60 + "closed", "RFC 9112 §9.6", many(60)[1]),
    http("half_close.http_1_0", [post(version=b"1.0"), End], "202 closed", "RFC 9112 §9.6", X),
    http("half_close.between", [post(), Await, End], "202 closed", "RFC 9112 §9.6", X),
    http("half_close.nothing_sent", [End], "closed", "RFC 9112 §9.6", []),
    http("half_close.one_and_a_half", [post() + post(b"y")[:-1], End], "202 400 closed", "RFC 9112 §8", X),
    http("half_close.in_chunks", [chunked(b"abc")[:-5], End], "400 closed", "RFC 9112 §8", []),
    http("half_close.before_last_chunk_ends", [chunked(b"abc")[:-2], End], "400 closed", "RFC 9112 §8", []),
    http("half_close.in_trailers", [chunked(b"abc")[:-2] + b"a: b\r\n", End], "400 closed", "RFC 9112 §8", []),
    http("half_close.after_continue", [post(b"abc", CONTINUE)[:-3], Await, b"ab", End], "100 400 closed",
         "RFC 9112 §8", []),
    *(
        http(f"half_close.after_{at}_bytes", [post()[:at], End], "400 closed", "RFC 9112 §8", [])
        for at in cut(post())
    ),
    # Hang-ups: nothing that is not whole is published.
    *(
        http(f"{kind.__name__.lower()}.after_{at}_bytes", [post()[:at], kind], "hung up", "RFC 9112 §8", [])
        for kind in (Hangup, Reset)
        for at in cut(post())
    ),
    *(
        http(f"{kind.__name__.lower()}.in_chunks_after_{at}_bytes", [chunked(b"abc")[:at], kind], "hung up",
             "RFC 9112 §8", [])
        for kind in (Hangup, Reset)
        for at in cut(chunked(b"abc"))
    ),
    http("hangup.after_everything", [post(), Hangup], "hung up", DOCS, X, gone=1),
    http("hangup.after_a_pipeline", [many(60)[0], Hangup], "hung up", DOCS, many(60)[1], gone=60),
    http("hangup.before_continue", [post(b"x", CONTINUE)[:-1], Hangup], "hung up", "RFC 9110 §10.1.1", []),
    http("hangup.at_once", [Hangup], "hung up", NOTHING, []),
    http("reset.after_everything", [post(), Reset], "hung up", DOCS, X, gone=1),
    http("reset.after_a_pipeline", [many(60)[0], Reset], "hung up", DOCS, many(60)[1], gone=60),
    http("reset.at_once", [Reset], "hung up", NOTHING, []),
    http("reset.after_continue", [post(b"abc", CONTINUE)[:-3], Await, b"ab", Reset], "hung up",
         "RFC 9112 §8", []),
    # Times: header 2 s, body 2 s, idle 3 s.
    http("late.head", [post()[:20]], "408 closed", "RFC 9110 §15.5.9", []),
    http("late.body", [HELD], "408 closed", "RFC 9110 §15.5.9", []),
    http("late.chunk", [chunked(b"abc")[:-6]], "408 closed", "RFC 9110 §15.5.9", []),
    http("late.after_continue", [post(b"abc", CONTINUE)[:-3]], "100 408 closed", "RFC 9110 §15.5.9", []),
    http("late.trickled_head", [post()[:8], *[p for n in range(8, 20) for p in (Wait(0.3), post()[n:n + 1])]],
         "408 closed", NOTHING, []),
    http("late.trickled_body", [post(b"x" * 20)[:-20], *[Wait(0.3), b"x"] * 12], "408 closed", NOTHING, []),
    http("late.nothing", [], "closed", NOTHING, []),
    http("late.empty_lines", [b"\r\n", Wait(0.4), b"\r\n", Wait(0.4), b"\r\n"], "closed", NOTHING, []),
    http("late.idle", [post()], "202 closed", NOTHING, X),
    http("late.second_head", [post(), Await, post()[:20]], "202 408 closed", "RFC 9110 §15.5.9", X),
    http("late.slow_but_in_time", [post()[:20], Wait(0.6), post()[20:-1], Wait(0.6), b"x"], "202 open",
         NOTHING, X),
    # Expect.
    http("expect.continue", [post(b"x", CONTINUE)[:-1], Await, b"x"], "100 202 open", "RFC 9110 §10.1.1", X),
    http("expect.capitals", [post(b"x", b"Expect: 100-Continue")[:-1], Await, b"x"], "100 202 open",
         "RFC 9110 §10.1.1", X),
    http("expect.body_at_once", post(b"x", CONTINUE), "100? 202 open", "RFC 9110 §10.1.1", X),
    http("expect.chunked", [chunked(b"x", fields=[CONTINUE])[:-11], Await, b"1\r\nx\r\n0\r\n\r\n"],
         "100 202 open", "RFC 9110 §10.1.1", X),
    http("expect.no_body", post(b"", CONTINUE), "202 open", "RFC 9110 §10.1.1", [b""]),
    http("expect.http_1_0", post(b"x", CONTINUE, version=b"1.0"), "202 closed", "RFC 9110 §10.1.1", X),
    http("expect.of_a_page", get(b"/healthz", CONTINUE), "200 open", "RFC 9110 §10.1.1", []),
    http("expect.too_large", post(b"x" * 1001, CONTINUE)[:-1001], "413 closed", "RFC 9110 §10.1.1", []),
    http("expect.no_ring", post(b"x", CONTINUE, path=b"/v1/rings/nobody/records")[:-1], "404 closed",
         "RFC 9110 §10.1.1", []),
    http("expect.coded", post(b"x", CONTINUE, b"content-encoding: gzip")[:-1], "415 closed",
         "RFC 9110 §10.1.1", []),
    http("expect.two_lengths", post(b"x", CONTINUE, b"content-length: 2"), "400 closed", "RFC 9112 §6.3", []),
    *(
        http(f"expect.{name}", post(b"x", b"expect: " + value), "417 closed", "RFC 9110 §10.1.1", [])
        for name, value in [
            ("other", b"200-ok"), ("list", b"100-continue, x"), ("empty", b""), ("cut", b"100-continu"),
            ("parameter", b"100-continue;x"), ("quotes", b'"100-continue"'),
        ]
    ),
    http("expect.twice", post(b"x", CONTINUE, CONTINUE), "400 closed", "RFC 9110 §10.1.1", []),
    # Origins: pages of browsers.
    *(
        http(f"origin.{name}", post(b"x", b"origin: " + value), "403 closed", DOCS, [])
        for name, value in [
            ("other", b"http://evil.example"), ("null", b"null"), ("own", b"http://127.0.0.1"),
            ("localhost", b"http://localhost:8080"), ("empty", b""), ("file", b"file://"),
            ("list", b"http://a, http://b"), ("extension", b"chrome-extension://abc"),
        ]
    ),
    http("origin.configured", post(b"x", b"origin: https://good.example"), "202 open", DOCS, X,
         has=[b"access-control-allow-origin: https://good.example"]),
    http("origin.configured_preflight", b"OPTIONS /v1/rings/RING/records HTTP/1.1\r\nhost: t\r\n"
         b"origin: https://good.example\r\naccess-control-request-method: POST\r\n\r\n", "204 open", DOCS, [],
         has=[b"access-control-allow-methods: POST"]),
    *(
        http(f"origin.near_{name}", post(b"x", b"origin: " + value), "403 closed", DOCS, [])
        for name, value in [
            ("scheme", b"http://good.example"), ("port", b"https://good.example:444"),
            ("prefix", b"https://good.example.evil"), ("suffix", b"https://evil.good.example"),
            ("capitals", b"https://GOOD.example"), ("slash", b"https://good.example/"),
            ("list", b"https://good.example, https://good.example"),
        ]
    ),
    http("origin.configured_and_another",
         post(b"x", b"origin: https://good.example", b"origin: https://evil.example"), "400 closed", DOCS, []),
    http("origin.twice", post(b"x", b"origin: a", b"origin: b"), "400 closed", DOCS, []),
    http("origin.capitals", post(b"x", b"ORIGIN: http://evil.example"), "403 closed", DOCS, []),
    http("origin.host_alike", post(b"x", b"host: evil", b"origin: http://evil"), "403 closed", DOCS, []),
    http("origin.http_1_0", post(b"x", b"origin: http://e", version=b"1.0"), "403 closed", DOCS, []),
    http("origin.no_cors", post(b"", b"origin: http://e", b"content-type: text/plain"), "403 open", DOCS, []),
    http("origin.preflight", b"OPTIONS /v1/rings/RING/records HTTP/1.1\r\nhost: t\r\norigin: http://e\r\n"
         b"access-control-request-method: POST\r\n\r\n", "403 open", DOCS, []),
    http("origin.of_a_page", get(b"/metrics", b"origin: http://e"), "403 open", DOCS, []),
    # Content codings.
    *(
        http(f"coding.{name}", post(b"x", b"content-encoding: " + value), "415 closed", "RFC 9110 §15.5.16",
             [], has=[b"accept-encoding: identity"])
        for name, value in [
            ("gzip", b"gzip"), ("capitals", b"GZIP"), ("br", b"br"), ("zstd", b"zstd"), ("deflate", b"deflate"),
            ("two", b"gzip, br"), ("identity_gzip", b"identity, gzip"), ("unknown", b"x"), ("aws", b"aws-chunked"),
        ]
    ),
    http("coding.two_fields", post(b"x", b"content-encoding: identity", b"content-encoding: gzip"),
         "415 closed", "RFC 9110 §15.5.16", []),
    http("coding.identity", post(b"x", b"content-encoding: identity"), "202 open", "RFC 9110 §8.4", X),
    http("coding.empty", post(b"x", b"content-encoding: "), "202 open", "RFC 9110 §8.4", X),
    # What is whole of HTTP/2 is in shell/tests/http2*.rs and in protocol_clients.py.
    http("http2.preface_cut", [b"PRI * HTTP/2.0\r\n\r\nS", End], "400 closed", DOCS, []),
    http("http2.upgrade", post(b"x", b"connection: upgrade, http2-settings", b"upgrade: h2c",
                               b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA"), "202 open", "RFC 9110 §7.8", X),
]  # fmt: skip

CONFIG = """
[http]
header_timeout_ms = "2s"
body_timeout_ms = "2s"
keep_alive_timeout_ms = "3s"
max_connections = 500
origins = ["https://good.example"]
[control]
max_observers = 1000
"""



def admin(*row, **more):
    """A case at the address for operators."""
    return http(*row, [], protocol="admin", **more)


ADMIN = [
    *(admin(f"page.{name}", get(b"/" + name.encode()), "200 open", DOCS) for name in ("healthz", "readyz", "metrics")),
    admin("half_close", [get(), End], "200 closed", "RFC 9112 §9.6"),
    admin("half_close_metrics", [get(b"/metrics"), End], "200 closed", "RFC 9112 §9.6"),
    admin("half_close_refused", [post(), End], "404 closed", "RFC 9112 §9.6"),
    admin("bytewise", Bytewise(get()), "200 open", "RFC 9112 §2.1"),
    admin("head", b"HEAD /metrics HTTP/1.1\r\nhost: t\r\n\r\n", "200 open", "RFC 9110 §9.3.2", bodyless=(0,)),
    admin("head_of_nothing", b"HEAD /nothing HTTP/1.1\r\nhost: t\r\n\r\n", "404 open", "RFC 9110 §9.3.2", bodyless=(0,)),
    admin("records", post(), "404 closed", DOCS), admin("post", post(path=b"/metrics"), "405 closed", DOCS),
    admin("no_host", b"GET /healthz HTTP/1.1\r\n\r\n", "400 closed", "RFC 9112 §3.2"),
    admin("two_hosts", get(b"/healthz", b"host: a"), "400 closed", "RFC 9112 §3.2"),
    admin("bad_host", b"GET /healthz HTTP/1.1\r\nhost: a b\r\n\r\n", "400 closed", "RFC 9112 §3.2"),
    admin("origin", get(b"/metrics", b"origin: http://e"), "403 open", DOCS),
    admin("two_lengths", get(b"/metrics", b"content-length: 1", b"content-length: 2"), "400 closed", "RFC 9112 §6.3"),
    admin("fold", get(b"/metrics", b"x: y\r\n z"), "400 closed", "RFC 9112 §5.2"),
    admin("large_head", get(b"/metrics", b"x: " + b"y" * 70000), "431 closed", "RFC 6585 §5"),
    admin("late_head", [get()[:-4]], "408 closed", "RFC 9110 §15.5.9"),
    admin("late_nothing", [], "closed", NOTHING), admin("reset", [get(), Reset], "hung up", NOTHING),
]  # fmt: skip

TABLES = [
    Table("http.flow", CASES, CONFIG, at_once=64),
    Table("http.admin", ADMIN, CONFIG + '[admin]\nlisten = "127.0.0.1:0"\n'),
]
