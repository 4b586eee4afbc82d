"""Credentials: what is none, is half of one, is another's, comes twice, comes in floods."""

import atexit
import base64
import hashlib
import os
import tempfile

from runner import Table
from wire import Bytewise, End, Wait, get, http, post

DOCS = "shell/README.md, Credentials"
SECRET = "A" * 43
TOKEN = f"aqd_aaaaaaaa_{SECRET}"
NARROW = f"aqd_bbbbbbbb_{SECRET}"
PASSWORD = "correct horse battery"
# Argon2id of the password with one pass over 64 KiB, by the reference implementation.
ANN = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$6G6Bag8cdVlCN8BZ68Srt3JhU/4cuDI94n7Gi6oW6Vo"


def line(name, token, rings=""):
    """The line of a token, as `aqueduct credential add` makes it."""
    salt = b"0123456789abcdef"
    digest = hashlib.blake2b(len(salt).to_bytes(8, "little") + salt + SECRET.encode(), digest_size=32)
    plain = lambda data: base64.b64encode(data).decode().rstrip("=")  # noqa: E731
    return f"{name} $blake2b${token[4:12]}${plain(salt)}${plain(digest.digest())}{rings}\n"


def config(_):
    """The file of credentials lives as long as this process."""
    handle, path = tempfile.mkstemp(prefix="aqd-hostile-credentials-")
    atexit.register(os.unlink, path)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(line("robot", TOKEN) + line("narrow", NARROW, " rings=other") + f"ann {ANN}\n")
    listen = '[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "resp"\n'
    return f'[credentials]\nfile = "{path}"\n[control]\nmax_observers = 1000\n{listen}[[ring]]\nname = "other"\n'


def says(value, body=b"x"):
    """A request with this value of `authorization`, or several."""
    values = value if isinstance(value, list) else [value]
    return post(body, *(b"authorization: " + each for each in values))


def basic(text):
    return b"Basic " + base64.b64encode(text.encode())


CHALLENGE = b'www-authenticate: Bearer realm="aqueduct", Basic realm="aqueduct", charset="UTF-8"'
BEARER = b"Bearer " + TOKEN.encode()
X = [b"x"]
LAST = TOKEN[:-1] + "B"
FIRST = TOKEN.replace("_A", "_B")

HTTP = [
    http("good.bearer", says(BEARER), "202 open", DOCS, X),
    http("good.bytewise", Bytewise(says(BEARER)), "202 open", DOCS, X),
    http("good.lower_case", says(b"bearer " + TOKEN.encode()), "202 open", "RFC 9110 §11.1", X),
    http("good.spaces", says(b"Bearer    " + TOKEN.encode()), "202 open", "RFC 9110 §11.4", X),
    http("good.basic_password", says(basic(f"ann:{PASSWORD}")), "202 open", DOCS, X),
    http("good.basic_token", says(basic(f"robot:{TOKEN}")), "202 open", DOCS, X),
    http("good.then_none", says(BEARER) + post(b"y"), "202 401 closed", DOCS, X),
    http("none", post(b"x"), "401 closed", DOCS, [], has=[CHALLENGE]),
    http("none.with_half_a_body", [post(b"xxxx")[:-2], Wait(0.05), End], "401 closed", DOCS, []),
    http("none.page", get(), "200 open", DOCS, []),
    http("wrong.first_byte", says(b"Bearer " + FIRST.encode()), "401 closed", DOCS, []),
    http("wrong.last_byte", says(b"Bearer " + LAST.encode()), "401 closed", DOCS, []),
    http("wrong.cut", says(BEARER[:-1]), "401 closed", DOCS, []),
    http("wrong.longer", says(BEARER + b"A"), "401 closed", DOCS, []),
    http("wrong.id_only", says(b"Bearer aqd_aaaaaaaa_"), "401 closed", DOCS, []),
    http("wrong.empty", says(b"Bearer "), "401 closed", DOCS, []),
    http("wrong.no_scheme", says(TOKEN.encode()), "401 closed", DOCS, []),
    http("wrong.scheme", says(b"Digest " + TOKEN.encode()), "401 closed", DOCS, []),
    http("wrong.nul", says(BEARER + b"\0"), "400 closed", "RFC 9110 §5.5", []),
    http("wrong.not_ascii", says(b"Bearer \xff\xfe"), "401 closed", DOCS, []),
    http("wrong.comma", says(BEARER + b", " + BEARER), "401 closed", DOCS, []),
    http("wrong.4000_bytes", says(b"Bearer " + b"x" * 4000), "401 closed", DOCS, []),
    http("wrong.basic_not_base64", says(b"Basic !!!!"), "401 closed", DOCS, []),
    http("wrong.basic_no_colon", says(basic("ann")), "401 closed", DOCS, []),
    http("wrong.basic_password", says(basic("ann:wrong password")), "401 closed", DOCS, []),
    http("wrong.basic_name", says(basic(f"bob:{PASSWORD}")), "401 closed", DOCS, []),
    http("wrong.basic_of_another", says(basic(f"ann:{TOKEN}")), "401 closed", DOCS, []),
    http("wrong.basic_empty", says(basic(":")), "401 closed", DOCS, []),
    http("wrong.basic_long", says(basic("ann:" + "x" * 1025)), "401 closed", DOCS, []),
    http("twice", says([BEARER, BEARER]), "400|401 closed", DOCS, []),
    http("twice.one_wrong", says([BEARER, b"Bearer x"]), "400|401 closed", DOCS, []),
    http("other_ring", says(b"Bearer " + NARROW.encode()), "403 closed", DOCS, []),
    http("flood.wrong", says(b"Bearer " + LAST.encode(), b"") * 60, "401 " * 60 + "open", DOCS, []),
    http("flood.then_good", says(b"Bearer x", b"") * 20 + says(BEARER), "401 " * 20 + "202 open", DOCS, X),
    http("pipeline.slow_then_fast", says(basic("ann:never tried before"), b"") + says(BEARER),
         "401 202 open", "RFC 9112 §9.3.2", X),
    http("pipeline.slow_good_then_fast", says(basic(f"ann:{PASSWORD}")) + says(BEARER, b"y"),
         "202 202 open", "RFC 9112 §9.3.2", [b"x", b"y"]),
    http("in_target", post(b"x", path=b"/v1/rings/RING/records?access_token=" + TOKEN.encode()),
         "401 closed", "RFC 6750 §2.3", []),
    http("proxy_authorization", post(b"x", b"proxy-authorization: " + BEARER), "401 closed", "RFC 9110 §11.7", []),
]  # fmt: skip

TABLES = [Table("credentials.http", HTTP, config)]
