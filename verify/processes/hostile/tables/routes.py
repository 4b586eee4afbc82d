"""Configured routes: what two servers could match differently, and bodies that are to be converted.
"""

from runner import Table
from wire import Bytewise, http

MATCHING = "shell/README.md, Routes; RFC 3986 §6.2.2"
JSON = "shell/README.md, Routes (json); RFC 8259, RFC 7493 §2"
XML = "shell/README.md, Routes (convert); XML 1.0"
KEYS = "shell/README.md, Sending again"
BODY = b"[ 1 ]"
SPACE = b"http://www.w3.org/2005/xpath-functions"


def send(path, body=b"x", *lines, method=b"POST"):
    """A request for a path below the ring's own."""
    fields = b"".join(line + b"\r\n" for line in (b"host: t", b"content-length: %d" % len(body), *lines))
    return method + b" " + path + b" HTTP/1.1\r\n" + fields + b"\r\n" + body


def matched(name, path, taken=True, status="404 closed"):
    """A path that names the route `/RING/users/{id}`, or does not."""
    records = [b"x"] if taken else []
    return http(f"match.{name}", send(path), "202 open" if taken else status, MATCHING, records)


def json(name, body, record=None, status="400 open"):
    """A body for the route that minifies JSON."""
    expected = "202 open" if record is not None else status
    records = [] if record is None else [record]
    return http(f"json.{name}", send(b"/RING/json", body), expected, JSON, records)


def xml(name, body, record=None, status="400 open"):
    """A body for the route that makes JSON of XML. `NS` is the declaration of the namespace."""
    body = body.replace(b"NS", b'xmlns="' + SPACE + b'"')
    expected = "202 open" if record is not None else status
    records = [] if record is None else [record]
    return http(f"xml.{name}", send(b"/RING/back", body), expected, XML, records)


def to_xml(name, body, inner):
    """A JSON text, and what the root element of its XML is, without its namespace."""
    element, rest = inner.split(b">", 1) if b" " not in inner.split(b">", 1)[0] else inner.split(b" ", 1)
    mark = b">" if b" " not in inner.split(b">", 1)[0] else b" "
    record = element + b' xmlns="' + SPACE + b'"' + mark + rest
    return http(f"to_xml.{name}", send(b"/RING/xml", body), "202 open", XML, [record])


CASES = [
    matched("plain", b"/RING/users/7"), matched("query", b"/RING/users/7?a=/../x#".replace(b"#", b"")),
    matched("encoded_letter", b"/RING/%75sers/7"), matched("encoded_lower", b"/RING/%75s%65rs/%37"),
    matched("dot", b"/RING/./users/./7"), matched("dot_dot", b"/RING/x/../users/7"),
    matched("encoded_dots", b"/RING/x/%2e%2E/users/7"), matched("half_encoded_dots", b"/RING/x/.%2e/users/7"),
    matched("above_the_root", b"/../../RING/users/7"), matched("encoded_slash_in_value", b"/RING/users/a%2fb"),
    matched("double_encoding_stays", b"/RING/users/%252e%252e"), matched("semicolon", b"/RING/users/7;a=b"),
    matched("absolute", b"http://t/RING/users/7"),
    http("match.bytewise", Bytewise(send(b"/RING/x/%2e%2e/users/7")), "202 open", MATCHING, [b"x"]),
    matched("encoded_slash_between", b"/RING%2fusers/7", False), matched("case", b"/RING/Users/7", False),
    matched("empty_value", b"/RING/users/", False), matched("more", b"/RING/users/7/8", False),
    matched("two_slashes", b"/RING//users/7", False), matched("dot_value", b"/RING/users/.", False),
    matched("dot_dot_value", b"/RING/users/..", False), matched("encoded_dot_dot_value", b"/RING/users/%2e%2e", False),
    matched("double_encoded_dots_are_none", b"/RING/x/%252e%252e/users/7", False),
    matched("backslash", b"/RING\\users\\7", False), matched("trailing_slash", b"/RING/users/7/", False),
    matched("encoded_question_mark", b"/RING/users%3f/7", False), matched("overlong_dot", b"/RING/x/%c0%ae./users/7", False),
    matched("nul", b"/RING/users/%00", False, "400 closed"), matched("percent", b"/RING/users/%", False, "400 closed"),
    matched("one_digit", b"/RING/users/%4", False, "400 closed"), matched("no_digits", b"/RING/users/%zz", False, "400 closed"),
    matched("not_utf8", b"/RING/users/%ff", False, "400 closed"), matched("overlong_value", b"/RING/users/%c0%af", False, "400 closed"),
    matched("own_path_encoded", b"/v1/rings/RING/%72ecords", False),
    http("match.method", send(b"/RING/users/7", method=b"DELETE"), "405 closed", MATCHING, [], has=(b"allow: POST",)),
    http("match.method_case", send(b"/RING/users/7", method=b"post"), "405 closed", MATCHING, []),
    json("minified", BODY, b"[1]"), json("empty", b""), json("two", b"1 2"), json("bom", b"\xef\xbb\xbf1"),
    json("deep", b"[" * 128 + b"]" * 128, b"[" * 128 + b"]" * 128), json("too_deep", b"[" * 129 + b"]" * 129),
    json("never_closed", b"[" * 1000), json("name_twice", b'{"a":1,"a":2}'), json("name_twice_escaped", b'{"a":1,"\\u0061":2}'),
    json("half_surrogate", b'"\\ud800"'), json("swapped_surrogates", b'"\\udc00\\ud800"'), json("pair", b'"\\ud83d\\ude00"', b'"\\ud83d\\ude00"'),
    json("overlong_utf8", b'"\xc0\xaf"'), json("surrogate_as_utf8", b'"\xed\xa0\x80"'), json("control", b'"\x01"'), json("nul", b"1\0"),
    json("large_number", b"1" * 900, b"1" * 900), json("exponent", b"1e999999999", b"1e999999999"), json("nan", b"NaN"),
    json("infinity", b"-Infinity"), json("leading_zero", b"01"), json("plus", b"+1"), json("comment", b"/**/1"),
    json("trailing_comma", b"[1,]"), json("single_quotes", b"'a'"), json("too_large", b" " * 1001, status="413 closed"),
    http("json.chunked", b"POST /RING/json HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n"
         b"2\r\n[ \r\n3\r\n1 ]\r\n0\r\n\r\n", "202 open", JSON, [b"[1]"]),
    http("json.order", send(b"/RING/json", b"[ 1 ]") + send(b"/RING/json", b"[") + send(b"/RING/json", b"[ 2 ]"),
         "202 400 202 open", JSON, [b"[1]", b"[2]"]),
    to_xml("markup", b'"<a>&amp;]]>"', b"<string>&lt;a&gt;&amp;amp;]]&gt;</string>"),
    to_xml("entity", b'"<!DOCTYPE x>"', b"<string>&lt;!DOCTYPE x&gt;</string>"),
    to_xml("control", b'"\\u0000"', b'<string escaped="true">\\u0000</string>'),
    to_xml("name", b'{"\\"><x a=\\"":1}', b'<map><number key="&quot;&gt;&lt;x a=&quot;">1</number></map>'),
    http("to_xml.grows_too_large", send(b"/RING/xml", b"[" + b"0," * 300 + b"0]"), "413 open", XML, []),
    xml("string", b"<string NS>a&#x41;&lt;</string>", b'"aA<"'), xml("declared", b"<?xml version='1.0'?><null NS/>", b"null"),
    xml("name_escaped", b'<map NS><null key="\\u0061" escaped-key="true"/></map>', b'{"\\u0061":null}'),
    xml("doctype", b"<!DOCTYPE x><null NS/>"), xml("external", b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><string NS>&x;</string>'),
    xml("billion_laughs", b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><string NS>&b;</string>'),
    xml("parameter_entity", b"<!DOCTYPE x [<!ENTITY % a SYSTEM 'http://127.0.0.1/'>%a;]><null NS/>"),
    xml("entity", b"<string NS>&nbsp;</string>"), xml("nul", b"<string NS>&#0;</string>"), xml("surrogate", b"<string NS>&#xD800;</string>"),
    xml("large_reference", b"<string NS>&#99999999999;</string>"), xml("comment", b"<string NS>a<!-- -->b</string>"),
    xml("cdata", b"<string NS><![CDATA[a]]></string>"), xml("instruction", b"<?a b?><null NS/>"), xml("include", b"<xi:include NS/>"),
    xml("no_namespace", b"<null/>"), xml("prefix", b"<f:null xmlns:f='x'/>"), xml("other_element", b"<x NS/>"),
    xml("attribute_twice", b'<map NS><null key="a" key="b"/></map>'), xml("name_twice", b'<map NS><null key="a"/><null key="a"/></map>'),
    xml("wrong_end", b"<array NS></map>"), xml("never_closed", b"<array NS>" + b"<array>" * 90), xml("two", b"<null NS/><null NS/>"),
    xml("utf16", "<null/>".encode("utf-16")), xml("number", b"<number NS>0x10</number>"), xml("text_between", b"<array NS>x</array>"),
    http("keys.other_body", send(b"/RING/users/7", b"x", b"idempotency-key: k") + send(b"/RING/users/7", b"y", b"idempotency-key: k"),
         "202 422 open", KEYS, [b"x"]),
    http("keys.other_type", send(b"/RING/users/7", b"x", b"idempotency-key: k")
         + send(b"/RING/users/7", b"x", b"idempotency-key: k", b"aqueduct-type: 1"), "202 422 open", KEYS, [b"x"]),
    http("keys.twice", send(b"/RING/users/7", b"x", b"idempotency-key: a", b"idempotency-key: b"), "400 closed", KEYS, []),
    http("keys.too_long", send(b"/RING/users/7", b"x", b"idempotency-key: " + b"k" * 256), "400 closed", KEYS, []),
    http("keys.half_quoted", send(b"/RING/users/7", b"x", b'idempotency-key: "k'), "400 closed", KEYS, []),
    http("keys.refused_is_not_remembered", send(b"/RING/json", b"[", b"idempotency-key: k")
         + send(b"/RING/json", b"[1]", b"idempotency-key: k"), "400 202 open", KEYS, [b"[1]"]),
    http("wait.nobody_reads", send(b"/RING/users/7", b"x", b"aqueduct-acknowledge: consumed;within=50"), "504 open",
         "shell/README.md, Acknowledgement", [b"x"]),
    http("wait.unknown", send(b"/RING/users/7", b"x", b"aqueduct-acknowledge: durable"), "400 closed",
         "shell/README.md, Acknowledgement", []),
]  # fmt: skip


def config(names):
    """Routes of their own for each ring."""
    units = {
        "users/{id}": "[]",
        "json": '[{ unit = "json", minify = true }]',
        "xml": '[{ unit = "convert", from = "json", to = "xml" }]',
        "back": '[{ unit = "convert", from = "xml", to = "json" }]',
    }
    routes = [
        f'[[route]]\npath = "/{name}/{path}"\nring = "{name}"\nunits = {chain}\n'
        for name in names
        for path, chain in units.items()
    ]
    return "\n".join(routes)


TABLE = Table("routes", CASES, config)
