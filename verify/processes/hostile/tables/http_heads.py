"""Request lines, targets, hosts and fields (RFC 9112 §2 to §5): one reading or none."""

from runner import Table
from wire import PATH, get, http, post

DOCS = "shell/README.md, HTTP"
HEAD = b"\r\nhost: t\r\ncontent-length: 1\r\n\r\nx"

# name, request line: none of them is one.
LINES = [
    ("two_spaces_before_target", b"POST  %s HTTP/1.1" % PATH),
    ("two_spaces_before_version", b"POST %s  HTTP/1.1" % PATH),
    ("tab_between", b"POST\t%s\tHTTP/1.1" % PATH),
    ("space_before_method", b" POST %s HTTP/1.1" % PATH),
    ("space_behind_version", b"POST %s HTTP/1.1 " % PATH),
    ("target_with_space", b"POST %s x HTTP/1.1" % PATH),
    ("no_version", b"POST %s" % PATH),
    ("no_target", b"POST HTTP/1.1"),
    ("nothing_but_method", b"POST"),
    ("nul_in_method", b"PO\x00ST %s HTTP/1.1" % PATH),
    ("nul_in_target", b"POST %s\x00 HTTP/1.1" % PATH),
    ("colon_in_method", b"PO:ST %s HTTP/1.1" % PATH),
    ("parenthesis_in_method", b"PO(ST %s HTTP/1.1" % PATH),
    ("latin_1_method", b"P\xd6ST %s HTTP/1.1" % PATH),
    ("bare_lf", b"POST %s HTTP/1.1\nx: y" % PATH),
    ("bare_cr", b"POST %s HTTP/1.1\rx: y" % PATH),
    ("cr_cr_lf", b"POST %s HTTP/1.1\r" % PATH),
    ("bare_cr_in_target", b"POST %s\rx HTTP/1.1" % PATH),
    ("del_in_target", b"POST %s?\x7f HTTP/1.1" % PATH),
    ("latin_1_target", b"POST %s?\xe9 HTTP/1.1" % PATH),
    ("response_line", b"HTTP/1.1 200 OK"),
    ("tls_hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("ssh", b"SSH-2.0-OpenSSH_9.2"),
    ("proxy_protocol", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2"),
    ("proxy_protocol_2", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"),
    ("zeros", b"\x00" * 40),
    ("high_bytes", b"\xff" * 40),
    ("redis", b"*1\r\n$4\r\nPING"),
]

# What has the form of a version is refused as one, by 505.
VERSIONS = [
    ("0_9", b"0.9", "505"), ("1_2", b"1.2", "505"), ("2_0", b"2.0", "505"),
    ("3_0", b"3.0", "505"), ("1", b"1", "400"), ("1_", b"1.", "400"),
    ("1_10", b"1.10", "400"), ("01_1", b"01.1", "400"), ("1_01", b"1.01", "400"),
    ("minus", b"-1.1", "400"), ("hexadecimal", b"1.A", "400"), ("comma", b"1,1", "400"),
    ("space_within", b"1. 1", "400"), ("nul", b"1.1\x00", "400"), ("empty", b"", "400"),
]  # fmt: skip
NAMES = [("lower", b"http/1.1"), ("mixed", b"Http/1.1"), ("https", b"HTTPS/1.1"), ("icy", b"ICY/1.1")]

METHODS = [
    ("get", b"GET"), ("put", b"PUT"), ("patch", b"PATCH"), ("delete", b"DELETE"), ("trace", b"TRACE"),
    ("connect", b"CONNECT"), ("options", b"OPTIONS"), ("lower_post", b"post"), ("mixed_post", b"Post"),
    ("track", b"TRACK"), ("propfind", b"PROPFIND"), ("purge", b"PURGE"), ("pri", b"PRI"),
    ("unknown", b"X"), ("long", b"M" * 300), ("postx", b"POSTX"),
]  # fmt: skip

# name, value, whether RFC 9110 §7.2 allows it.
HOSTS = [
    ("name", b"example.com", True), ("port", b"a:80", True), ("empty_port", b"a:", True),
    ("v4", b"127.0.0.1:8080", True), ("v6", b"[::1]:8080", True), ("empty", b"", True),
    ("escaped", b"a%20b", True), ("underscore", b"a_b", True), ("trailing_dot", b"a.", True),
    ("space", b"a b", False), ("tab", b"a\tb", False), ("slash", b"a/b", False),
    ("userinfo", b"u@h", False), ("two_ports", b"a:80:80", False), ("port_letters", b"a:b", False),
    ("port_sign", b"a:-1", False), ("question_mark", b"a?b", False), ("hash", b"a#b", False),
    ("backslash", b"a\\b", False), ("open_bracket", b"[::1", False), ("empty_brackets", b"[]", False),
    ("behind_bracket", b"[::1]x", False), ("letters_in_brackets", b"[xyz]", False),
    ("half_escape", b"a%2", False), ("wrong_escape", b"a%zz", False), ("quotes", b'"a"', False),
    ("nul", b"a\x00b", False), ("latin_1", b"\xe9", False), ("utf_8", b"\xc3\xa9", False),
    ("list", b"a, b", False), ("url", b"http://a", False), ("bare_v6", b"::1", False),
    ("angle", b"<a>", False), ("caret", b"a^b", False), ("pipe", b"a|b", False),
]  # fmt: skip

# name, target, status: RFC 9112 §3.2.
TARGETS = [
    ("absolute", b"http://t" + PATH, "202"), ("absolute_other_host", b"http://other:1" + PATH, "202"),
    ("absolute_capitals", b"HTTP://T" + PATH, "202"), ("absolute_port", b"http://t:80" + PATH, "202"),
    ("query", PATH + b"?a=b&c", "202"), ("empty_query", PATH + b"?", "202"),
    ("query_with_escapes", PATH + b"?%00%ff%zz", "202"), ("query_with_quotes", PATH + b'?"', "202"),
    ("fragment", PATH + b"#x", "400"), ("utf_8", PATH + b"?\xc3\xa9", "400"),
    ("absolute_https", b"https://t" + PATH, "400"),
    ("absolute_no_host", b"http://" + PATH, "400"), ("absolute_userinfo", b"http://u:p@t" + PATH, "400"),
    ("absolute_bad_port", b"http://t:x" + PATH, "400"), ("absolute_no_path", b"http://t", "404"),
    ("absolute_other_scheme", b"ftp://t" + PATH, "400"), ("one_slash", b"http:/t" + PATH, "400"),
    ("authority", b"t:80", "404"), ("asterisk", b"*", "404"),
    ("relative", PATH[1:], "400"), ("dot", b"/." + PATH, "404"),
    ("dot_dot", b"/x/.." + PATH, "404"), ("two_slashes", b"/" + PATH, "404"),
    ("slash_behind", PATH + b"/", "404"), ("semicolon", PATH + b";x", "404"),
    ("backslash", PATH.replace(b"/", b"\\"), "400"), ("capitals", PATH.upper(), "404"),
    ("escaped_slash", PATH.replace(b"/records", b"%2frecords"), "404"),
    ("escaped_nul", PATH + b"%00", "404"), ("half_escape", PATH + b"%", "404"),
    ("wrong_escape", PATH + b"%zz", "404"), ("escaped_dot_dot", b"/%2e%2e" + PATH, "404"),
    ("other_ring", b"/v1/rings/nobody/records", "404"), ("no_ring", b"/v1/rings//records", "404"),
    ("ring_of_64", b"/v1/rings/" + b"a" * 64 + b"/records", "404"),
    ("ring_of_4000", b"/v1/rings/" + b"a" * 4000 + b"/records", "404"),
    ("ring_with_dots", b"/v1/rings/../records", "404"), ("root", b"/", "404"),
    ("query_as_path", b"/?" + PATH, "404"), ("other_version", PATH.replace(b"v1", b"v2"), "404"),
]  # fmt: skip

FIELDS = [
    ("space_before_first", b" x: y", "400", "RFC 9112 §2.2"),
    ("tab_before_first", b"\tx: y", "400", "RFC 9112 §2.2"),
    ("fold_with_space", b"x: y\r\n z", "400", "RFC 9112 §5.2"),
    ("fold_with_tab", b"x: y\r\n\tz", "400", "RFC 9112 §5.2"),
    ("fold_of_blanks", b"x: y\r\n ", "400", "RFC 9112 §5.2"),
    ("no_colon", b"xy", "400", "RFC 9112 §5"), ("empty_name", b": y", "400", "RFC 9112 §5"),
    ("space_before_colon", b"x : y", "400", "RFC 9112 §5.1"),
    ("tab_before_colon", b"x\t: y", "400", "RFC 9112 §5.1"),
    ("parenthesis", b"(x): y", "400", "RFC 9110 §5.1"), ("slash", b"x/y: z", "400", "RFC 9110 §5.1"),
    ("brackets", b"[x]: y", "400", "RFC 9110 §5.1"), ("at", b"x@y: z", "400", "RFC 9110 §5.1"),
    ("quotes", b'"x": y', "400", "RFC 9110 §5.1"), ("equals", b"x=y: z", "400", "RFC 9110 §5.1"),
    ("semicolon", b"x;y: z", "400", "RFC 9110 §5.1"), ("comma", b"x,y: z", "400", "RFC 9110 §5.1"),
    ("backslash", b"x\\y: z", "400", "RFC 9110 §5.1"), ("braces", b"{x}: y", "400", "RFC 9110 §5.1"),
    ("nul_in_name", b"x\x00y: z", "400", "RFC 9110 §5.1"),
    ("nul_in_value", b"x: y\x00z", "400", "RFC 9110 §5.5"),
    ("cr_in_value", b"x: y\rz", "400", "RFC 9110 §5.5"), ("lf_in_value", b"x: y\nz: a", "400", "RFC 9112 §2.2"),
    ("control_in_value", b"x: \x01", "400", "RFC 9110 §5.5"), ("del_in_value", b"x: \x7f", "400", "RFC 9110 §5.5"),
    ("vertical_tab", b"x: y\x0bz", "400", "RFC 9110 §5.5"), ("latin_1_name", b"\xe9: y", "400", "RFC 9110 §5.1"),
    ("cr_cr_lf", b"x: y\r", "400", "RFC 9112 §2.2"), ("nul_line", b"\x00", "400", "RFC 9112 §5"),
    ("latin_1_value", b"x: \xe9", "202", "RFC 9110 §5.5"), ("utf_8_value", b"x: \xc3\xa9", "202", "RFC 9110 §5.5"),
    ("empty_value", b"x:", "202", "RFC 9110 §5.5"), ("blanks", b"x: \t \t ", "202", "RFC 9110 §5.5"),
    ("tab_in_value", b"x: y\tz", "202", "RFC 9110 §5.5"), ("token_name", b"!#$%&'*+-.^_`|~: y", "202", "RFC 9110 §5.6.2"),
    ("twice", b"x: y\r\nx: z", "202", "RFC 9110 §5.2"),
]  # fmt: skip

TAGS = [
    ("0", b"0", "202"), ("65535", b"65535", "202"), ("leading_zeros", b"007", "202"),
    ("65536", b"65536", "400"), ("minus", b"-1", "400"), ("plus", b"+1", "400"), ("empty", b"", "400"),
    ("letters", b"a", "400"), ("hexadecimal", b"0x1", "400"), ("list", b"1, 1", "400"),
    ("fraction", b"1.0", "400"), ("40_digits", b"9" * 40, "400"), ("space", b"1 1", "400"),
]  # fmt: skip


def of(status):
    """How a request is answered: the connection ends with a refusal before the body."""
    return f"{status} open" if status == "202" else f"{status} closed"


def payloads(status):
    """What the ring holds."""
    return [b"x"] if status == "202" else []


CASES = [
    *(
        http(f"line.{name}", line + HEAD, "400 closed", "RFC 9112 §3", [])
        for name, line in LINES
    ),
    *(
        http(f"version.{name}", post(version=version), of(status), DOCS, [])
        for name, version, status in VERSIONS
    ),
    *(
        http(f"version.name_{name}", b"POST %s %s" % (PATH, version) + HEAD, "400 closed",
             "RFC 9112 §2.3", [])
        for name, version in NAMES
    ),
    *(
        http(f"method.{name}", post(method=method), "405 closed", "RFC 9110 §9.1", [])
        for name, method in METHODS
    ),
    *(
        http(f"host.{name}", post(b"x", b"host: " + host), "202 open" if good else "400 closed",
             "RFC 9112 §3.2", [b"x"] if good else [])
        for name, host, good in HOSTS
    ),
    *(
        http(f"target.{name}", post(path=target), of(status), "RFC 9112 §3.2", payloads(status))
        for name, target, status in TARGETS
    ),
    *(
        http(f"field.{name}", post(b"x", field), of(status), by, payloads(status))
        for name, field, status, by in FIELDS
    ),
    *(
        http(f"tag.{name}", post(b"x", b"aqueduct-type: " + tag), of(status), DOCS, payloads(status))
        for name, tag, status in TAGS
    ),
    http("host.none", b"POST %s HTTP/1.1\r\ncontent-length: 1\r\n\r\nx" % PATH, "400 closed",
         "RFC 9112 §3.2", []),
    http("host.none_in_http_1_0", b"POST %s HTTP/1.0\r\ncontent-length: 1\r\n\r\nx" % PATH,
         "202 closed", "RFC 9112 §3.2", [b"x"]),
    http("host.two", post(b"x", b"host: a", b"host: b"), "400 closed", "RFC 9112 §3.2", []),
    http("host.two_alike", post(b"x", b"host: a", b"Host: a"), "400 closed", "RFC 9112 §3.2", []),
    http("host.two_in_http_1_0", post(b"x", b"host: a", b"host: b", version=b"1.0"), "400 closed",
         "RFC 9112 §3.2", []),
    http("host.wrong_in_http_1_0", post(b"x", b"host: a b", version=b"1.0"), "400 closed",
         "RFC 9112 §3.2", []),
    http("host.none_with_absolute_target",
         b"POST http://t%s HTTP/1.1\r\ncontent-length: 1\r\n\r\nx" % PATH, "400 closed",
         "RFC 9112 §3.2", []),
    http("host.none_for_a_page", b"GET /healthz HTTP/1.1\r\n\r\n", "400 closed", "RFC 9112 §3.2", []),
    http("tag.twice", post(b"x", b"aqueduct-type: 1", b"aqueduct-type: 1"), "400 closed", DOCS, []),
    http("line.empty_lines_before", b"\r\n\r\n" + post(), "202 open", "RFC 9112 §2.2", [b"x"]),
    http("line.bare_lf_before", b"\n" + post(), "400 closed", "RFC 9112 §2.2", []),
    http("line.http_0_9", b"GET /healthz\r\n", "400 closed", "RFC 9112 §3", []),
    http("line.everything_by_lf", post().replace(b"\r\n", b"\n"), "400 closed", "RFC 9112 §2.2", []),
    http("line.everything_by_cr", post().replace(b"\r\n", b"\r"), "400 closed", "RFC 9112 §2.2", []),
    http("head.of_a_page", b"HEAD /healthz HTTP/1.1\r\nhost: t\r\n\r\n", "200 open",
         "RFC 9110 §9.3.2", [], bodyless=(0,)),
    http("head.of_nothing", b"HEAD /nothing HTTP/1.1\r\nhost: t\r\n\r\n", "404 open",
         "RFC 9110 §9.3.2", [], bodyless=(0,)),
    http("head.of_records", b"HEAD %s HTTP/1.1\r\nhost: t\r\n\r\n" % PATH, "405 open",
         "RFC 9110 §9.3.2", [], bodyless=(0,)),
    http("head.of_no_ring", b"HEAD /v1/rings/nobody/records HTTP/1.1\r\nhost: t\r\n\r\n", "404 open",
         "RFC 9110 §9.3.2", [], bodyless=(0,)),
    http("head.with_an_origin", b"HEAD /healthz HTTP/1.1\r\nhost: t\r\norigin: http://e\r\n\r\n",
         "403 open", "RFC 9110 §9.3.2", [], bodyless=(0,)),
    http("page.posted", post(path=b"/healthz"), "405 closed", DOCS, [], has=[b"allow: GET, HEAD"]),
    http("page.of_records", get(PATH), "405 open", DOCS, [], has=[b"allow: POST"]),
]  # fmt: skip

TABLE = Table("http.heads", CASES, "[control]\nmax_observers = 1000\n")
