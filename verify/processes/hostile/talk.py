"""Other protocols than HTTP: scripts of bytes, and what comes back as a few words."""

import time

from case import Case, Seen, Wrong, matches
from wire import QUIET, SECONDS, Connection, in_ring, play


def resp_words(data):
    """The replies of a Redis server: `+OK`, `id`, `:1`, `-ERR`, `$5`, `*14`; `...` for a part."""
    words = []
    while data:
        line, end, rest = data.partition(b"\r\n")
        kind, text = line[:1], line[1:].decode(errors="replace")
        if not end:
            return [*words, "..."]
        if kind == b"$":
            size = int(text)
            if len(rest) < size + 2:
                return [*words, "..."]
            body, rest = rest[:size].decode(errors="replace"), rest[size + 2 :]
            words.append("id" if body.replace("-", "").isdigit() and "-" in body else f"${size}")
        elif kind in b"+-":
            words.append(line.decode(errors="replace").split(" ")[0])
        elif kind in b":*":
            words.append(line.decode())
        else:
            words.append(repr(line))
        data = rest
    return words


def mqtt_words(data):
    """The packets of an MQTT server: `connack:0`, `puback`, `disconnect:82`, `pingresp`."""
    names = {2: "connack", 4: "puback", 7: "pubcomp", 9: "suback", 11: "unsuback", 13: "pingresp"}
    words = []
    while data:
        size = data[1] if len(data) > 1 else 0
        if len(data) < 2 or size > 127 or len(data) < 2 + size:
            return [*words, "..."]
        kind, body, data = data[0] >> 4, data[2 : 2 + size], data[2 + size :]
        if kind == 2:
            words.append(f"connack:{body[1]:x}")
        elif kind == 4 and len(body) > 2:
            words.append(f"puback:{body[2]:x}")
        elif kind == 14:
            words.append(f"disconnect:{body[0] if body else 0:x}")
        else:
            words.append(names.get(kind, f"packet:{kind}"))
    return words


def no_words(data):
    """A protocol that never answers."""
    return [repr(data[:20])] if data else []


def is_taken(word):
    """Whether a word says that a record is published."""
    return word in ("id", "puback", "puback:0")


def talk(protocol, name, script, expected, by, records, gone=0, silent=0, answered=None):
    """Makes a case of a script: `expected` are the words that come back and `closed` or `open`.

    Records that were answered are counted by ids and PUBACKs, unless `answered` says how many.
    """
    words_of = {"resp": resp_words, "mqtt": mqtt_words}.get(protocol, no_words)
    script = [script] if not isinstance(script, list) else script
    wanted = expected.split()

    def run(place):
        addresses = place.listener.at[protocol]
        # One for all, or one for each ring.
        address = addresses[0] if len(addresses) == 1 else addresses[int(place.ring[1:])]
        with Connection(address) as connection:
            if play(connection, [in_ring(piece, place.ring) for piece in script]) is None:
                return Seen("hung up", 0, gone, silent)
            deadline = time.monotonic() + SECONDS
            while not connection.is_over and time.monotonic() < deadline:
                words = words_of(connection.buffer)
                is_all = len(words) >= len(wanted) - 1 and "..." not in words
                # What is expected is there: is there more?
                late = QUIET if is_all and wanted[-1] != "closed" else SECONDS
                if not connection.fill(late) and is_all:
                    break
            words = words_of(connection.buffer)
            seen = " ".join([*words, connection.is_over or "open"])
        if not matches(expected, seen):
            raise Wrong(seen)
        count = sum(map(is_taken, words)) if answered is None else answered
        return Seen(seen, count, gone, silent)

    return Case(name, expected, by, run, records)
