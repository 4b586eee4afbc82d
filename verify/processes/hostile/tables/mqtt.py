"""MQTT 3.1.1 and 5: packets that break the standard, and publishers that go away."""

from runner import Table
from talk import talk
from wire import Bytewise, End, Hangup, Reset

V3 = "MQTT 3.1.1 "
V5 = "MQTT 5.0 "


def packet(first, body):
    """A packet with its length."""
    size, length = len(body), b""
    while True:
        size, digit = divmod(size, 128)
        length += bytes([digit | (128 if size else 0)])
        if not size:
            return bytes([first]) + length + body


def text(data):
    """A string with its length."""
    return len(data).to_bytes(2, "big") + data


def connect(level=4, flags=2, name=b"MQTT", client=b"c", rest=b"", alive=60):
    """CONNECT."""
    properties = b"\0" if level == 5 else b""
    head = text(name) + bytes([level, flags]) + alive.to_bytes(2, "big") + properties
    return packet(0x10, head + text(client) + rest)


def publish(payload=b"hello", qos=1, topic=b"RING/a", identifier=1, properties=b"", flags=0):
    """PUBLISH."""
    number = identifier.to_bytes(2, "big") if qos else b""
    return packet(0x30 | qos << 1 | flags, text(topic) + number + properties + payload)


HELLO = [b"hello"]
C3, C5 = connect(), connect(5)
P3, P5 = publish(), publish(properties=b"\0")

# Before CONNECT, or a wrong one: name, bytes, what comes back, statement.
FIRST = [
    ("publish", P3, "closed", "MQTT-3.1.0-1"), ("pingreq", b"\xc0\0", "closed", "MQTT-3.1.0-1"),
    ("disconnect", b"\xe0\0", "closed", "MQTT-3.1.0-1"), ("connack", b"\x20\2\0\0", "closed", "MQTT-3.1.0-1"),
    ("reserved", b"\0\0", "closed", "§2.2.1"), ("flags", b"\x11" + C3[1:], "closed", "MQTT-2.2.2-2"),
    ("name", connect(name=b"MQTX"), "closed", "MQTT-3.1.2-1"), ("name_empty", connect(name=b""), "closed", "MQTT-3.1.2-1"),
    ("level_3", connect(3), "connack:1 closed", "MQTT-3.1.2-2"), ("level_6", connect(6), "connack:1 closed", "MQTT-3.1.2-2"),
    ("reserved_flag", connect(flags=3), "closed", "MQTT-3.1.2-3"), ("will_qos_3", connect(flags=0x1E, rest=text(b"t") + text(b"x")), "closed", "MQTT-3.1.2-14"),
    ("will_qos_without_will", connect(flags=0x0A), "closed", "MQTT-3.1.2-13"),
    ("no_client_id", connect(flags=0, client=b""), "connack:2 closed", "MQTT-3.1.3-8"),
    ("client_id_nul", connect(client=b"a\0"), "closed", "MQTT-1.5.3-2"), ("client_id_utf_8", connect(client=b"\xff"), "closed", "MQTT-1.5.3-1"),
    ("surrogate", connect(client=b"\xed\xa0\x80"), "closed", "MQTT-1.5.3-1"), ("bytes_behind", connect(rest=b"x"), "closed", "§3.1.3"),
    ("cut", packet(0x10, text(b"MQTT") + b"\4"), "closed", "§3.1"), ("empty", b"\x10\0", "closed", "§3.1"),
    ("length_of_5_bytes", b"\x10\xff\xff\xff\xff\x7f", "closed", "§2.2.3"), ("length_256_MiB", b"\x10\xff\xff\xff\x7f", "closed", "§2.2.3"),
    ("http", b"POST /v1/rings/RING/records HTTP/1.1\r\n\r\n", "closed", "MQTT-3.1.0-1"),
    ("password_alone", connect(flags=0x42, rest=text(b"x")), "closed", "MQTT-3.1.2-22"),
]  # fmt: skip

# After CONNECT and one good PUBLISH: name, bytes, statement.
BROKEN = [
    ("second_connect", C3, "MQTT-3.1.0-2"), ("qos_3", publish(qos=3), "MQTT-3.3.1-4"), ("qos_2", publish(qos=2), "README of the codec"),
    ("dup_qos_0", publish(qos=0, flags=8), "MQTT-3.3.1-2"), ("identifier_0", publish(identifier=0), "MQTT-2.3.1-1"),
    ("topic_empty", publish(topic=b""), "MQTT-4.7.3-1"), ("topic_hash", publish(topic=b"RING/#"), "MQTT-3.3.2-2"),
    ("topic_plus", publish(topic=b"RING/+"), "MQTT-3.3.2-2"), ("topic_nul", publish(topic=b"RING/\0"), "MQTT-1.5.3-2"),
    ("topic_utf_8", publish(topic=b"RING/\xff"), "MQTT-1.5.3-1"), ("topic_too_long", packet(0x32, b"\xff\xffabc"), "§3.3.2"),
    ("topic_without_rule", publish(topic=b"nobody"), "MQTT-3.3.5-2"), ("too_large", publish(b"x" * 1001), "MQTT-3.3.5-2"),
    ("pingreq_flags", b"\xc1\0", "MQTT-2.2.2-2"), ("pingreq_body", b"\xc0\1x", "§3.12"), ("puback_flags", b"\x41\2\0\1", "MQTT-2.2.2-2"),
    ("subscribe_flags", b"\x80\2\0\1", "MQTT-3.8.1-1"), ("reserved_15", b"\xf0\0", "§2.2.1"), ("reserved_0", b"\0\0", "§2.2.1"),
    ("suback", b"\x90\2\0\1", "§2.2.1"), ("length_of_5_bytes", b"\x32\xff\xff\xff\xff\x7f", "§2.2.3"), ("length_256_MiB", b"\x32\xff\xff\xff\x7f", "§2.2.3"),
    ("no_topic", b"\x32\0", "§3.3.2"), ("no_identifier", packet(0x32, text(b"RING/a")), "§3.3.2"),
]  # fmt: skip

BROKEN_5 = [
    ("unknown_property", publish(properties=b"\2\x7f\0"), "81", "§2.2.2.2"), ("property_twice", publish(properties=b"\4\1\0\1\0"), "82", "§3.3.2.3.2"),
    ("properties_too_long", publish(properties=b"\x7f\1"), "81", "§2.2.2.1"), ("topic_alias", publish(properties=b"\3\x23\0\1"), "94", "MQTT-3.2.2-17"),
    ("subscription_identifier", publish(properties=b"\2\x0b\1"), "82", "MQTT-3.3.4-6"), ("qos_2", publish(qos=2, properties=b"\0"), "9b", "MQTT-3.2.2-11"),
    ("retain", publish(properties=b"\0", flags=1), "9a", "MQTT-3.2.2-14"), ("auth", b"\xf0\0", "82", "§4.12"),
    ("qos_3", publish(qos=3, properties=b"\0"), "81", "MQTT-3.3.1-4"), ("identifier_0", publish(identifier=0, properties=b"\0"), "82", "MQTT-2.2.1-3"),
    ("topic_hash", publish(topic=b"RING/#", properties=b"\0"), "90", "MQTT-3.3.2-2"), ("second_connect", C5, "82", "MQTT-3.1.0-2"),
]  # fmt: skip


def mqtt(*row, **more):
    return talk("mqtt", *row, **more)


CASES = [
    *(mqtt(f"first.{name}", data + P3, seen, V3 + by, []) for name, data, seen, by in FIRST),
    *(
        mqtt(f"3.{name}", C3 + P3 + data + publish(b"behind"), "connack:0 puback closed", V3 + by, HELLO)
        for name, data, by in BROKEN
    ),
    *(
        mqtt(f"5.{name}", C5 + P5 + data + P5, f"connack:0 puback disconnect:{code} closed", V5 + by, HELLO)
        for name, data, code, by in BROKEN_5
    ),
    *(
        mqtt(f"{kind.__name__.lower()}.after_{at}_bytes", [C3 + P3[:at], kind], "hung up", V3 + "§4.3.2", [])
        for kind in (Hangup, Reset)
        for at in (0, 1, 2, 5, len(P3) - 1)
    ),
    mqtt("hangup.whole", [C3 + P3, Hangup], "hung up", V3 + "§4.3.2", HELLO, gone=1),
    mqtt("half_close.whole", [C3 + P3, End], "connack:0 puback closed", V3 + "§4.3.2", HELLO),
    mqtt("half_close.cut", [C3 + P3 + P3[:-1], End], "connack:0 puback closed", V3 + "§4.3.2", HELLO),
    mqtt("half_close.pipeline", [C3 + P3 * 50, End], "connack:0 " + "puback " * 50 + "closed", V3 + "§4.3.2", HELLO * 50),
    mqtt("bytewise", Bytewise(C3 + P3), "connack:0 puback open", V3 + "§2.2.3", HELLO),
    mqtt("bytewise_5", Bytewise(C5 + P5), "connack:0 puback open", V5 + "§2.1.4", HELLO),
    mqtt("qos_0", C3 + publish(qos=0), "connack:0 open", V3 + "§4.3.1", HELLO, silent=1),
    mqtt("empty_payload", C3 + publish(b""), "connack:0 puback open", V3 + "§3.3.3", [b""]),
    mqtt("limit", C3 + publish(b"x" * 1000), "connack:0 puback open", V3 + "§3.3.3", [b"x" * 1000]),
    mqtt("behind_disconnect", C3 + b"\xe0\0" + P3, "connack:0 closed", V3 + "MQTT-3.14.4-1", []),
    mqtt("subscribe", C3 + packet(0x82, b"\0\1" + text(b"#") + b"\0") + P3, "connack:0 suback puback open", V3 + "§3.8.4", HELLO),
    mqtt("ping", C3 + b"\xc0\0" + P3, "connack:0 pingresp puback open", V3 + "MQTT-3.12.4-1", HELLO),
    mqtt("topic_without_rule_5", C5 + publish(topic=b"nobody", properties=b"\0") + P5, "connack:0 puback:90 puback open", V5 + "§3.4.2.1", HELLO),
    mqtt("too_large_5", C5 + publish(b"x" * 1001, properties=b"\0") + P5, "connack:0 puback:83 puback open", V5 + "§3.4.2.1", HELLO),
]  # fmt: skip


def config(names):
    """One address, whose topics begin with the name of a ring."""
    topics = ", ".join(f'{{ filter = "{name}/#", ring = "{name}" }}' for name in names)
    head = '[control]\nmax_observers = 1000\n[[listen]]\naddress = "127.0.0.1:0"\nprotocol = "mqtt"\n'
    return f"{head}topics = [{topics}]\n"


TABLE = Table("mqtt", CASES, config)
