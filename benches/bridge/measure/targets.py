"""What is wanted of the listener, and whether it is so."""

# Part, measure, contender, key, compared with (a peer and "ratio" or "more"; None: the figure
# itself), what, how it must be, floor and aim.
X64, P = "http 128 B x64", "resp 128 B P"
# More than the capacity cannot be taken: above this share of it, it was measured wrongly.
SHARE_MAX = 1.05
ROWS = [
    *(
        ("http", X64, driver, key, (peer, "ratio"), f"HTTP 128 B ×64, {driver}: {what}", *limits)
        for driver, key, peer, what, limits in [
            ("epoll", "rate", "nginx", "rate by nginx", ("≥", 1.0, 1.05)),
            ("epoll", "cpu_us", "nginx", "processor time by nginx", ("≤", 0.9, 0.8)),
            ("io_uring", "rate", "nginx", "rate by nginx", ("≥", 1.1, 1.25)),
            ("io_uring", "cpu_us", "nginx", "processor time by nginx", ("≤", 0.75, 0.6)),
            ("epoll", "cpu_us", "bare epoll", "processor time by a bare loop", ("≤", 1.2, 1.1)),
            ("io_uring", "cpu_us", "bare uring", "processor time by a bare loop", ("≤", 1.2, 1.1)),
            ("io_uring", "rate", "gin", "rate by the Gin design", ("≥", 2.5, 3.5)),
            ("io_uring", "cpu_us", "gin", "processor time by the Gin design", ("≤", 0.3, 0.2)),
            ("io_uring", "p99_us", "gin", "p99 by the Gin design", ("≤", 0.4, None)),
        ]
    ),
    *(
        (
            "http",
            "http 128 B x1",
            driver,
            "p50_us",
            ("nginx", "more"),
            f"one connection, {driver}: p50 more than nginx's, us",
            "≤",
            5,
            2,
        )
        for driver in ("epoll", "io_uring")
    ),
    *(
        (
            "resp",
            f"{P}{depth}",
            driver,
            "cpu_us",
            ("redis", "ratio"),
            f"RESP XADD 128 B, pipeline {depth}, {driver}: processor time by Redis",
            "≤",
            *limits,
        )
        for depth, limits in ((1, (0.6, 0.4)), (16, (0.4, 0.2)), (64, (0.33, 0.15)))
        for driver in ("epoll", "io_uring")
    ),
    *(
        (
            "mqtt",
            "mqtt 128 B QoS 1",
            driver,
            "cpu_us",
            ("mosquitto", "ratio"),
            f"MQTT QoS 1, {driver}: processor time by mosquitto",
            "≤",
            0.5,
            0.25,
        )
        for driver in ("epoll", "io_uring")
    ),
    *(
        (
            "frames",
            "octet-counted 128 B",
            driver,
            "rate",
            None,
            f"counted frames of 128 B, {driver}: records per second",
            "≥",
            3_000_000,
            None,
        )
        for driver in ("epoll", "io_uring")
    ),
    *(
        (
            "route",
            f"route 128 B x64, {driver}",
            "route",
            "rate",
            ("bare", "ratio"),
            f"route with token and request id, {driver}: rate by the bare path",
            "≥",
            0.9,
            None,
        )
        for driver in ("epoll", "io_uring")
    ),
    *(
        (part, f"{part} {driver}", None, key, None, f"{what}, {driver}", sign, floor, aim)
        for part, key, what, sign, floor, aim in (
            ("idle", "fresh_kib", "idle connection, KiB", "≤", 2, 1),
            ("idle", "after_60_kib", "idle connection after a body of 60 KiB, KiB", "≤", 4, 1),
            ("overload", "goodput_share", "10 times overload: goodput by capacity", "≥", 0.95, None),
            ("overload", "refusal_p50_us", "10 times overload: refusal, p50 us", "≤", 5000, None),
            ("overload", "exactly_once", "10 times overload: each 2xx read once", "≥", 1, None),
            ("slow", "p99_ratio", "hung clients: p99 of the others by theirs alone", "≤", 1.2, None),
        )
        for driver in ("epoll", "io_uring")
    ),
]


def table(parts):
    lines = ["| target | wanted | aim | here | met |", "|---|--:|--:|--:|---|"]
    hidden = False
    for part, measure, who, key, relation, what, sign, floor, aim in ROWS:
        here = find(parts, part, measure, who, key, relation)
        met = "–" if here is None else "yes" if holds(here, sign, floor) else "**no**"
        shown = number(here)
        if key == "goodput_share" and here is not None and here > SHARE_MAX:
            hidden, shown, met = True, "not shown", "–"
        wanted = f"{sign} {number(floor)}"
        cells = [what, wanted, "–" if aim is None else number(aim), shown, met]
        lines.append(f"| {' | '.join(cells)} |")
    here = ndjson(parts)
    met = "–" if here is None else "yes" if here >= 10 else "**no**"
    lines.append(f"| NDJSON of 100: rate by single records, io_uring | ≥ 10 | 25 | {number(here)} | {met} |")
    if hidden:
        lines += [
            "",
            f"*Not shown*: a goodput above {SHARE_MAX} of the capacity says that the capacity was measured too",
            "low, and that less than ten times as much was offered.",
        ]
    return lines


def find(parts, part, measure, who, key, relation):
    try:
        kept = parts[part]["results"][measure]
        if who is None:
            return float(kept[key])
        if relation is None:
            return kept[who][key]["median"]
        return kept[who][key]["by"][relation[0]][relation[1]]
    except KeyError:
        return None


def ndjson(parts):
    try:
        results = parts["batch"]["results"]
        names = ("http 1 record", "http NDJSON of 100")
        single, many = (results[name]["io_uring"]["rate"]["median"] for name in names)
        return many / single
    except KeyError:
        return None


def holds(here, sign, floor):
    return here >= floor if sign == "≥" else here <= floor


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
