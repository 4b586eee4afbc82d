"""What a case is, what was seen of it, and how many records that allows in its ring."""

import dataclasses
from collections.abc import Callable

END = {"closed", "open", "reset"}


class Skip(Exception):
    """This machine cannot run the case; says why."""


class Wrong(Exception):
    """What was seen is not what is expected; says what it was."""


@dataclasses.dataclass
class Seen:
    """What the client of a case saw.

    `answered` is how many records it was told are published, by 2xx, `+OK`, an id or a PUBACK.
    `gone` is how many more it had sent in full when it hung up: those may be published or not.
    `silent` is how many it sent by a protocol that never answers: they are published in the end.
    """

    text: str
    answered: int = 0
    gone: int = 0
    silent: int = 0


@dataclasses.dataclass
class Case:
    """One line of the report.

    `run(place)` does it and returns a `Seen`; `place.ring` is the name of a ring that belongs to
    this case alone, `place.listener` the listener that has it. `expected` is a sentence, or, for
    tables that use `matches`, the words that must be seen. `records`, if given, are the payloads
    that must be in the ring afterwards, in order; otherwise only their number is checked.
    """

    name: str
    expected: str
    by: str
    run: Callable
    records: list | None = None
    table: str = ""


@dataclasses.dataclass
class Place:
    """Where a case runs."""

    listener: object = None
    ring: str = ""


@dataclasses.dataclass
class Result:
    """What became of a case."""

    case: Case
    verdict: str  # "right", "WRONG" or "skipped"
    seen: str
    place: Place
    answered: int = 0
    gone: int = 0
    silent: int = 0


def matches(expected, seen):
    """Whether words like `202 400 closed` are those expected: `|` separates alternatives and `100?`
    may be missing, which is for what the moment or somebody else's program decides."""
    words, wanted = seen.split(), expected.split()

    def fits(pattern, word):
        return word in pattern.removesuffix("?").split("|")

    def rest(i, j):
        if i == len(wanted):
            return j == len(words)
        if wanted[i].endswith("?") and rest(i + 1, j):
            return True
        return j < len(words) and fits(wanted[i], words[j]) and rest(i + 1, j + 1)

    return rest(0, 0)


def check_records(case, result, found, is_over=False):
    """THE INVARIANT: a ring holds what was answered, no more and no less, except for what a client
    had sent in full when it hung up. `is_over` once the listener has ended, when nothing can be on
    its way any more. Returns what is wrong, or nothing."""
    payloads = [payload for _, _, payload in found]
    wanted = case.records and [p.replace(b"RING", result.place.ring.encode()) for p in case.records]
    if [seq for seq, _, _ in found] != list(range(len(found))):
        return f"sequence numbers {[seq for seq, _, _ in found]}"
    least = result.answered + (result.silent if is_over else 0)
    most = result.answered + result.silent + result.gone
    if not least <= len(found) <= most:
        wanted = least if least == most else f"{least} to {most}"
        return f"{len(found)} records in the ring instead of {wanted}: {payloads[:3]}"
    if wanted is not None and payloads != wanted[: len(payloads)]:
        return f"the ring holds {payloads[:3]} instead of {wanted[:3]}"
    if wanted is not None and least == most != len(wanted):
        return f"the ring holds {len(payloads)} records, the table says {len(wanted)}"
    return ""
