"""Chunked bodies (RFC 9112 §7.1): sizes, extensions, data, trailers, and where they end."""

from runner import Table
from wire import Bytewise, chunked, http, post

BEHIND = post(b"behind")
TE = b"transfer-encoding: chunked"


def body(data):
    """A request with this chunked body, and one behind it."""
    return post(data, TE, length=False) + BEHIND


# What is no chunk-size of RFC 9112 §7.1, though some parser reads it as 3.
SIZES = [
    ("empty", b""), ("plus", b"+3"), ("minus", b"-3"), ("0x", b"0x3"), ("0X", b"0X3"), ("letter", b"g"),
    ("space_before", b" 3"), ("tab_before", b"\t3"), ("space_behind", b"3 "), ("tab_behind", b"3\t"),
    ("space_within", b"0 3"), ("underscore", b"0_3"), ("fraction", b"3.0"), ("comma", b"3,3"),
    ("quotes", b'"3"'), ("h", b"3h"), ("nul_before", b"\x003"), ("nul_behind", b"3\x00"),
    ("cr_behind", b"3\r"), ("lf_before", b"\n3"), ("vertical_tab", b"\x0b3"), ("form_feed", b"3\x0c"),
    ("full_width", "３".encode()), ("latin_1_space", b"3\xa0"), ("colon", b"3:"), ("equals", b"3=a"),
    ("17_digits", b"0" * 16 + b"3"), ("2000_digits", b"0" * 2000 + b"3"), ("two_sizes", b"3 3"),
    ("minus_0", b"-0"), ("parenthesis", b"(3)"),
]  # fmt: skip

# More than the ring takes, or than 16 digits, which is as large as a size can be.
LARGE = [
    ("limit_plus_1", b"3e9", "413"), ("2_to_31", b"80000000", "413"), ("2_to_32_minus_1", b"ffffffff", "413"),
    ("2_to_32_plus_3", b"100000003", "413"), ("2_to_63_minus_1", b"7fffffffffffffff", "413"),
    ("2_to_63", b"8000000000000000", "413"), ("2_to_64_minus_1", b"ffffffffffffffff", "413"),
    ("2_to_64_plus_3", b"10000000000000003", "400"), ("20_digits", b"f" * 20, "400"),
]  # fmt: skip

# name, the line of a chunk of 3 bytes, whether it is one.
EXTENSIONS = [
    ("name", b"3;a", True), ("value", b"3;a=b", True), ("quoted", b'3;a="b c"', True),
    ("two", b"3;a=b;c=d", True), ("blanks", b"3 ; a = b", True), ("empty", b"3;", True),
    ("quoted_semicolon", b'3;a=";"', True), ("latin_1", b"3;\xe9", True),
    ("nul", b"3;a\x00", False), ("control", b"3;a=\x01", False), ("del", b"3;a\x7f", False),
    ("bare_lf", b"3;a\nb", False), ("bare_cr", b"3;a\rb", False), ("cr_cr", b"3;a\r", False),
    ("lf_in_quotes", b'3;a="\n"', False), ("of_4000_bytes", b"3;" + b"a" * 4000, False),
]  # fmt: skip

DATA = [
    ("too_short", b"3\r\nab\r\n0\r\n\r\n"), ("too_long", b"3\r\nabcd\r\n0\r\n\r\n"),
    ("no_end", b"3\r\nabc0\r\n\r\n"), ("lf_behind", b"3\r\nabc\n0\r\n\r\n"),
    ("cr_behind", b"3\r\nabc\r0\r\n\r\n"), ("cr_cr_lf_behind", b"3\r\nabc\r\r\n0\r\n\r\n"),
    ("lf_cr_behind", b"3\r\nabc\n\r0\r\n\r\n"), ("space_behind", b"3\r\nabc \r\n0\r\n\r\n"),
    ("lf_before", b"3\nabc\r\n0\r\n\r\n"), ("cr_before", b"3\rabc\r\n0\r\n\r\n"),
    ("nothing_behind_size", b"3xyz\r\n0\r\n\r\n"), ("two_ends", b"3\r\nabc\r\n\r\n0\r\n\r\n"),
    ("two_bytes_behind", b"3\r\nabcXX0\r\n\r\n"), ("a_request_as_chunk", BEHIND),
]  # fmt: skip

TRAILERS = [
    ("no_colon", b"0\r\nab\r\n\r\n"), ("empty_name", b"0\r\n: a\r\n\r\n"), ("space_before_colon", b"0\r\na : b\r\n\r\n"),
    ("space_before", b"0\r\n a: b\r\n\r\n"), ("folded", b"0\r\na: b\r\n c\r\n\r\n"), ("nul", b"0\r\na: \x00\r\n\r\n"),
    ("bare_lf", b"0\r\na: b\n\r\n"), ("bare_cr", b"0\r\na: b\rc\r\n\r\n"), ("lf_at_the_end", b"0\r\n\n"),
    ("lf_behind_0", b"0\n\r\n"), ("cr_behind_0", b"0\r\r\n"), ("control", b"0\r\na: \x01\r\n\r\n"),
    ("latin_1_name", b"0\r\n\xe9: a\r\n\r\n"), ("20_KiB", b"0\r\n" + b"a: b\r\n" * 3400 + b"\r\n"),
    ("one_of_20_KiB", b"0\r\na: " + b"b" * 20000 + b"\r\n\r\n"),
]  # fmt: skip

GOOD = [
    ("one", b"3\r\nabc\r\n0\r\n\r\n", b"abc"), ("three", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
    ("none", b"0\r\n\r\n", b""), ("leading_zeros", b"0003\r\nabc\r\n0000\r\n\r\n", b"abc"),
    ("capitals", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    ("cr_lf_within", b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"), ("zeros_within", b"3\r\n\x00\x00\x00\r\n0\r\n\r\n", b"\x00" * 3),
    ("a_chunk_within", b"a\r\n3\r\nabc\r\n0\r\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r"),
    ("a_request_within", b"%x\r\n%s\r\n0\r\n\r\n" % (len(BEHIND), BEHIND), BEHIND),
    ("trailers", b"0\r\na: b\r\nc:\r\n\r\n", b""), ("trailer_of_length", b"0\r\ncontent-length: 5\r\n\r\n", b""),
    ("trailer_of_coding", b"0\r\ntransfer-encoding: gzip\r\n\r\n", b""), ("trailer_of_host", b"0\r\nhost: x\r\n\r\n", b""),
    ("limit", b"3e8\r\n" + b"l" * 1000 + b"\r\n0\r\n\r\n", b"l" * 1000),
    ("500_of_a_byte", b"1\r\nx\r\n" * 500 + b"0\r\n\r\n", b"x" * 500),
]  # fmt: skip

CASES = [
    *(
        http(f"size.{name}", body(size + b"\r\nabc\r\n0\r\n\r\n"), "400 closed", "RFC 9112 §7.1", [])
        for name, size in SIZES
    ),
    *(
        http(f"large.{name}", body(size + b"\r\n"), f"{status} closed", "RFC 9112 §7.1", [])
        for name, size, status in LARGE
    ),
    *(
        http(f"extension.{name}", body(line + b"\r\nabc\r\n0\r\n\r\n"),
             "202 202 open" if good else "400 closed", "RFC 9112 §7.1.1",
             [b"abc", b"behind"] if good else [])
        for name, line, good in EXTENSIONS
    ),
    *(http(f"data.{name}", body(data), "400 closed", "RFC 9112 §7.1", []) for name, data in DATA),
    *(http(f"trailer.{name}", body(data), "400 closed", "RFC 9112 §7.1.2", []) for name, data in TRAILERS),
    *(
        http(f"good.{name}", body(data), "202 202 open", "RFC 9112 §7.1", [record, b"behind"])
        for name, data, record in GOOD
    ),
    *(
        http(f"bytewise.{name}", Bytewise(body(data)), "202 202 open", "RFC 9112 §7.1",
             [record, b"behind"])
        for name, data, record in GOOD[:8]
    ),
    http("large.behind_a_good_one", body(b"3\r\nabc\r\nfffffffffffffff0\r\n"), "413 closed",
         "RFC 9112 §7.1", []),
    http("large.sum_wraps", body(b"8\r\nabcdefgh\r\nfffffffffffffff8\r\n"), "413 closed",
         "RFC 9112 §7.1", []),
    http("coded.content_gzip", chunked(b"\x1f\x8b", fields=[b"content-encoding: gzip"]), "415 closed",
         "RFC 9110 §15.5.16", [], has=[b"accept-encoding: identity"]),
]  # fmt: skip

TABLE = Table("http.chunks", CASES, "[control]\nmax_observers = 1000\n")
