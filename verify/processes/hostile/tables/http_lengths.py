"""How long a body is (RFC 9112 §6): what two parsers could read differently is refused.

Behind each body that has two lengths waits a second request, which would be the smuggled one.
"""

from runner import Table
from wire import chunked, get, http, post

SMUGGLED = post(b"smuggled")
TE = b"transfer-encoding: "


def both(*fields, body=b"3\r\nabc\r\n0\r\n\r\n"):
    """A body after these fields, and a request behind it."""
    return post(body, *fields, length=False) + SMUGGLED


def length(value, body=b"abcde"):
    """A request whose content-length is written so."""
    return post(body, b"content-length: " + value, length=False)


# name, fields, status: all of RFC 9112 §6.1 and §6.3, where nothing may be published.
TWO_LENGTHS = [
    ("length_then_chunked", [b"content-length: 3", TE + b"chunked"], "400"),
    ("chunked_then_length", [TE + b"chunked", b"content-length: 3"], "400"),
    ("chunked_and_length_0", [TE + b"chunked", b"content-length: 0"], "400"),
    ("two_different_lengths", [b"content-length: 3", b"content-length: 14"], "400"),
    ("two_equal_lengths", [b"content-length: 14", b"content-length: 14"], "400"),
    ("a_list_of_different_lengths", [b"content-length: 3, 14"], "400"),
    ("a_list_of_equal_lengths", [b"content-length: 14, 14"], "400"),
    ("a_length_and_an_empty_one", [b"content-length: 14", b"content-length: "], "400"),
]

CODINGS = [
    ("gzip_chunked", b"gzip, chunked", "501"),
    ("x_gzip_chunked", b"x-gzip, chunked", "501"),
    ("compress_chunked", b"compress, chunked", "501"),
    ("deflate_chunked", b"deflate, chunked", "501"),
    ("gzip_deflate_chunked", b"gzip, deflate, chunked", "501"),
    ("identity_chunked", b"identity, chunked", "501"),
    ("unknown_chunked", b"xchunked, chunked", "501"),
    ("chunked_twice", b"chunked, chunked", "400"),
    ("chunked_then_gzip", b"chunked, gzip", "400"),
    ("chunked_then_identity", b"chunked, identity", "400"),
    ("gzip_alone", b"gzip", "400"),
    ("identity_alone", b"identity", "400"),
    ("empty", b"", "400"),
    ("comma_only", b",", "400"),
    ("chunked_with_parameter", b"chunked;q=1", "400"),
    ("chunked_in_quotes", b'"chunked"', "400"),
    ("chunked_with_prefix", b"xchunked", "400"),
    ("chunked_with_suffix", b"chunkedx", "400"),
    ("chunked_cut", b"chunke", "400"),
    ("chunked_with_vertical_tab", b"\x0bchunked", "400"),
    ("chunked_with_form_feed", b"chunked\x0c", "400"),
    ("chunked_with_nul", b"chunked\x00", "400"),
    ("chunked_with_del", b"chunked\x7f", "400"),
    ("chunked_with_latin_1", b"chunked\xa0", "400"),
    ("space_within", b"chun ked", "400"),
    ("semicolon_list", b"gzip; chunked", "400"),
]

# What a grammar of digits alone refuses, and some parser somewhere reads as 5.
NUMBERS = [
    ("plus", b"+5"), ("minus", b"-5"), ("minus_0", b"-0"), ("hexadecimal", b"0x5"),
    ("octal_prefix", b"0o5"), ("underscore", b"1_0"), ("fraction", b"5.0"), ("exponent", b"5e0"),
    ("empty", b""), ("letters", b"five"), ("digit_then_letter", b"5a"), ("space_within", b"5 5"),
    ("tab_within", b"5\t5"), ("quotes", b'"5"'), ("semicolon", b"5;"), ("comma_behind", b"5,"),
    ("comma_before", b",5"), ("nul_behind", b"5\x00"), ("vertical_tab_before", b"\x0b5"),
    ("form_feed_behind", b"5\x0c"), ("full_width_digit", "５".encode()), ("latin_1_space", b"5\xa0"),
    ("infinite", b"inf"), ("thousands", b"1,000"),
]  # fmt: skip

# More than this ring takes: refused at once, before the body is there.
TOO_LARGE = [
    ("limit_plus_1", b"1001"), ("2_to_31", b"2147483648"), ("2_to_32", b"4294967296"),
    ("2_to_32_plus_5", b"4294967301"), ("2_to_63_minus_1", b"9223372036854775807"),
    ("2_to_63", b"9223372036854775808"), ("2_to_64_minus_1", b"18446744073709551615"),
    ("2_to_64", b"18446744073709551616"), ("2_to_64_plus_5", b"18446744073709551621"),
    ("40_digits", b"9" * 40), ("400_digits", b"9" * 400),
]  # fmt: skip

FIELD_FORMS = [
    ("space_before_colon", b"transfer-encoding : chunked", "§5.1"),
    ("tab_before_colon", b"transfer-encoding\t: chunked", "§5.1"),
    ("nul_in_name", b"transfer\x00-encoding: chunked", "§5.1"),
    ("space_in_name", b"transfer encoding: chunked", "§5.1"),
    ("folded_value", b"transfer-encoding:\r\n chunked", "§5.2"),
    ("folded_behind_another", b"x: y\r\n transfer-encoding: chunked", "§5.2"),
    ("bare_lf_before", b"x: y\ntransfer-encoding: chunked", "§2.2"),
    ("bare_cr_before", b"x: y\rtransfer-encoding: chunked", "§2.2"),
    ("bare_cr_in_value", b"transfer-encoding: chunked\r", "§2.2"),
    ("without_colon", b"transfer-encoding chunked", "§5.1"),
    ("control_in_name", b"transfer-encoding\x01: chunked", "§5.1"),
    ("latin_1_in_name", b"transfer-encoding\xa0: chunked", "§5.1"),
]

CASES = [
    *(
        http(f"two.{name}", both(*fields), f"{status} closed", "RFC 9112 §6.3", [])
        for name, fields, status in TWO_LENGTHS
    ),
    *(
        http(f"coding.{name}", both(TE + value), f"{status} closed", "RFC 9112 §6.1, §7", [])
        for name, value, status in CODINGS
    ),
    *(
        http(f"field.{name}", both(field, b"content-length: 14"), "400 closed", f"RFC 9112 {by}", [])
        for name, field, by in FIELD_FORMS
    ),
    *(
        http(f"number.{name}", length(value) + SMUGGLED, "400 closed", "RFC 9112 §6.3", [])
        for name, value in NUMBERS
    ),
    *(
        http(f"large.{name}", length(value, b""), "413 closed", "RFC 9110 §15.5.14", [])
        for name, value in TOO_LARGE
    ),
    http("two.codings_in_two_fields", both(TE + b"gzip", TE + b"chunked"), "400 closed",
         "RFC 9112 §6.1", []),
    http("two.chunked_in_two_fields", both(TE + b"chunked", TE + b"chunked"), "400 closed",
         "RFC 9112 §6.1", []),
    http("two.chunked_and_identity_fields", both(TE + b"chunked", TE + b"identity"), "400 closed",
         "RFC 9112 §6.1", []),
    http("two.coding_in_http_1_0",
         post(b"3\r\nabc\r\n0\r\n\r\n", TE + b"chunked", version=b"1.0", length=False) + SMUGGLED,
         "400 closed", "RFC 9112 §6.1", []),
    http("two.length_and_coding_in_http_1_0",
         post(b"3\r\nabc\r\n0\r\n\r\n", TE + b"chunked", b"content-length: 14", version=b"1.0",
              length=False),
         "400 closed", "RFC 9112 §6.1", []),
    http("good.chunked_in_capitals", both(TE + b"CHUNKED"), "202 202 open", "RFC 9112 §7",
         [b"abc", b"smuggled"]),
    http("good.tabs_around_chunked", both(TE + b"\t chunked \t"), "202 202 open", "RFC 9112 §5.1",
         [b"abc", b"smuggled"]),
    http("good.no_space_after_colon", both(b"Transfer-Encoding:chunked"), "202 202 open",
         "RFC 9112 §5.1", [b"abc", b"smuggled"]),
    http("good.leading_zeros", length(b"0005") + SMUGGLED, "202 202 open", "RFC 9112 §6.2",
         [b"abcde", b"smuggled"]),
    http("good.60_leading_zeros", length(b"0" * 60 + b"5"), "202 open", "RFC 9112 §6.2", [b"abcde"]),
    http("good.tabs_around_number", length(b"\t5\t"), "202 open", "RFC 9112 §5.1", [b"abcde"]),
    http("good.no_length_is_no_body", post(b"", length=False) + SMUGGLED, "202 202 open",
         "RFC 9112 §6.3", [b"", b"smuggled"]),
    http("good.length_0", length(b"0", b"") + SMUGGLED, "202 202 open", "RFC 9112 §6.2",
         [b"", b"smuggled"]),
    http("good.limit", post(b"l" * 1000), "202 open", "shell/README.md, HTTP", [b"l" * 1000]),
    http("large.limit_plus_1_sent", post(b"l" * 1001), "413 closed", "RFC 9110 §15.5.14", []),
    http("large.limit_plus_1_chunked", chunked(b"l" * 1000, b"l"), "413 closed",
         "RFC 9110 §15.5.14", []),
    http("large.then_another", post(b"l" * 1001) + SMUGGLED, "413 closed", "RFC 9112 §9.3", []),
    http("longer.body_than_length", length(b"3") + SMUGGLED, "202 405 closed",
         "RFC 9112 §6.3", [b"abc"]),
    http("page.body_of_a_get", get(b"/healthz", b"content-length: %d" % len(SMUGGLED)) + SMUGGLED,
         "200 closed", "RFC 9110 §9.3.1", []),
    http("page.chunked_get", get(b"/healthz", TE + b"chunked")
         + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
         "200 closed", "RFC 9110 §9.3.1", []),
    http("page.two_lengths", get(b"/healthz", b"content-length: 0", b"content-length: 5") + SMUGGLED,
         "400 closed", "RFC 9112 §6.3", []),
    http("unknown.body_of_a_404", post(SMUGGLED, path=b"/nothing"), "404 closed", "RFC 9112 §9.3", []),
    http("unknown.body_of_a_405", post(SMUGGLED, method=b"PUT"), "405 closed", "RFC 9112 §9.3", []),
    http("unknown.underscore_field", post(b"3\r\nabc\r\n0\r\n\r\n", b"transfer_encoding: chunked"),
         "202 open", "RFC 9110 §5.1", [b"3\r\nabc\r\n0\r\n\r\n"]),
]  # fmt: skip

TABLE = Table("http.lengths", CASES, "[control]\nmax_observers = 1000\n")
