"""Lines, NUL-terminated and counted frames: what is whole becomes a record, nothing else does."""

from runner import Table
from talk import talk
from wire import Bytewise, End, Hangup, Reset

DOCS = "shell/README.md, Other protocols"
SYSLOG = "RFC 6587 §3.4.1"


def frames(protocol):
    """Makes cases for one kind of framing: what comes is (name, script, records)."""

    def row(name, script, records, end="closed", by=DOCS):
        script = script if isinstance(script, list) else [script, End]
        if script[-1] in (Hangup, Reset):
            # A reset may overtake what was sent before it.
            return talk(protocol, name, script, "hung up", by, records, gone=len(records))
        return talk(protocol, name, script, end, by, records, silent=len(records))

    return row


line, nul, octets = frames("lines"), frames("nul"), frames("octets")

LINES = [
    line("one", b"a\n", [b"a"]), line("two", b"a\nb\n", [b"a", b"b"]), line("cr_lf", b"a\r\nb\r\n", [b"a", b"b"]),
    line("no_end", b"a\nb", [b"a"]), line("nothing", b"", []), line("empty_lines", b"\n\r\n\n", []),
    line("bare_cr", b"a\rb\n", [b"a\rb"]), line("two_cr", b"a\r\r\n", [b"a\r"]), line("nul", b"a\x00b\n", [b"a\x00b"]),
    line("high_bytes", b"\xff\xfe\n", [b"\xff\xfe"]), line("bytewise", [Bytewise(b"ab\r\ncd\n"), End], [b"ab", b"cd"]),
    line("limit", b"l" * 1000 + b"\n", [b"l" * 1000]), line("limit_cr_lf", b"l" * 1000 + b"\r\n", [b"l" * 1000]),
    line("limit_plus_1", b"a\n" + b"l" * 1001 + b"\nb\n", [b"a"]), line("endless", [b"l" * 5000], []),
    line("open", [b"a\nb"], [b"a"], "open"), line("hangup_without_end", [b"ab", Hangup], []),
    line("hangup", [b"a\nb", Hangup], [b"a"]), line("reset", [b"a\nb", Reset], [b"a"]),
    line("reset_without_end", [b"ab", Reset], []), line("many", b"x\n" * 300, [b"x"] * 300),
]  # fmt: skip

NUL = [
    nul("one", b"a\x00", [b"a"]), nul("lines", b"a\nb\x00", [b"a\nb"]), nul("empty", b"\x00\x00\x00", []),
    nul("no_end", b"a\x00b", [b"a"]), nul("cr_stays", b"a\r\x00", [b"a\r"]), nul("bytewise", [Bytewise(b"a\x00b\x00"), End], [b"a", b"b"]),
    nul("limit", b"l" * 1000 + b"\x00", [b"l" * 1000]), nul("limit_plus_1", b"a\x00" + b"l" * 1001 + b"\x00b\x00", [b"a"]),
    nul("reset_without_end", [b"ab", Reset], []),
]  # fmt: skip

OCTETS = [
    octets("one", b"1 a", [b"a"], by=SYSLOG), octets("two", b"1 a2 bc", [b"a", b"bc"], by=SYSLOG),
    octets("cut", b"1 a3 bc", [b"a"], by=SYSLOG), octets("spaces", b"3   a", [b"  a"], by=SYSLOG),
    octets("lf_within", b"3 a\nb", [b"a\nb"], by=SYSLOG), octets("bytewise", [Bytewise(b"2 ab2 cd"), End], [b"ab", b"cd"], by=SYSLOG),
    octets("limit", b"1000 " + b"l" * 1000, [b"l" * 1000]), octets("limit_plus_1", b"1001 " + b"l" * 1001 + b"1 a", []),
    octets("reset", [b"1 a3 bc", Reset], [b"a"], by=SYSLOG),
    *(
        octets(f"count_{name}", b"1 a" + count + b"abcdef1 b", [b"a"], by=SYSLOG)
        for name, count in [
            ("leading_zero", b"03 "), ("zero", b"0 "), ("plus", b"+3 "), ("minus", b"-3 "), ("letters", b"x "),
            ("empty", b" "), ("tab", b"3\t"), ("no_space", b"3\n"), ("11_digits", b"10000000000 "), ("2_to_64", b"18446744073709551617 "),
            ("hexadecimal", b"0x3 "), ("syslog_without_count", b"<34>1 "),
        ]
    ),
]  # fmt: skip


def config(protocol):
    """An address for each ring."""
    listen = '[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "{}"\nring = "{}"\n'
    head = "[control]\nmax_observers = 1000\n"
    return lambda names: head + "".join(listen.format(protocol, name) for name in names)


TABLES = [
    Table("lines", LINES, config("lines")),
    Table("nul", NUL, config("nul")),
    Table("octets", OCTETS, config("octets")),
]
