"""The tables and plots of a run, written between the markers of benches/README.md."""

import sys
import textwrap

from .base import BRIDGE, LOAD_MAX, ROOT, ROUNDS, SECONDS
from .targets import number, table

sys.path.insert(0, str(ROOT / "verify" / "documents"))

import results  # noqa: E402

RESULTS = BRIDGE.parent / "results"


def write(kept, names):
    """`names` are those of all parts that there are."""
    results.write("benches/README.md", "bridge", "\n".join(section(kept, names)))


def section(kept, names):
    parts = kept["parts"]
    peers = ", ".join(f"{name} {version}" for name, version in kept["peers"].items())
    # Of the machine that measured, which need not be this one.
    machines = "; ".join(dict.fromkeys(part["machine"] for part in parts.values()))
    yield from textwrap.wrap(f"{machines}.", 100, break_long_words=False)
    yield ""
    yield f"All of it on the same cores as the load; {peers}."
    yield ""
    yield "| part | date | rounds | seconds each | load before and after |"
    yield "|---|---|--:|--:|--:|"
    for name, part in parts.items():
        low, high = part["load"]
        cells = [f"`benches/bridge/run {name}`", part["date"], part["rounds"], part["seconds"]]
        yield f"| {' | '.join(map(str, cells))} | {low:.2f}, {high:.2f} |"
    yield ""
    yield from shortcomings(parts, names)
    yield "### Targets of the listener"
    yield ""
    yield from table(parts)
    for title, names in (
        ("HTTP, batches and loops", ("http", "large", "batch", "loops")),
        ("Latency at a constant rate", ("latency",)),
        ("RESP, MQTT, counted frames", ("resp", "mqtt", "frames")),
        ("A route, and TLS", ("route", "tls")),
    ):
        if any(name in parts for name in names):
            yield ""
            yield f"### {title}"
            for name in names:
                for measure, contenders in parts.get(name, {"results": {}})["results"].items():
                    yield from compared(measure, contenders)
    if "http" in parts:
        bars(parts["http"]["results"]["http 128 B x64"])
        yield ""
        yield "![Processor time of a request](results/bridge.svg)"
    if "tuning" in parts:
        yield from tuning(parts["tuning"]["results"]["tuning"])


def shortcomings(parts, names):
    """Which parts are provisional, and which are missing."""
    provisional = [
        f"`{name}`"
        for name, part in parts.items()
        if part["rounds"] < ROUNDS or part["seconds"] < SECONDS or part["load"][0] > LOAD_MAX
    ]
    missing = [f"`{name}`" for name in names if name not in parts]
    said = []
    if provisional:
        said.append(
            f"**Provisional**: {', '.join(provisional)}, which had fewer rounds than {ROUNDS} or"
            f" shorter ones than {SECONDS} s, or a load above {LOAD_MAX:g} before them: of others on the"
            " same cores, or of the part before."
        )
    if missing:
        said.append(f"**Not in this run**: {', '.join(missing)}.")
    if said:
        yield from textwrap.wrap(" ".join(said), 100, break_long_words=False)
        yield ""


def compared(measure, contenders):
    with_times = "p99_us" in next(iter(contenders.values()))
    with_tail = "p999_us" in next(iter(contenders.values()))
    times = ["p50, us", "p99, us"] * with_times + ["p99.9, us"] * with_tail
    heads = [measure, "per second", "processor time, us", "by the first", "of each process", *times]
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|---|" + "--:|" * (len(heads) - 1)
    for who, kept in contenders.items():
        cpu = kept["cpu_us"]
        low, high = cpu["spread"]
        first = next(iter(contenders))
        by = cpu["by"].get(first, {"ratio": 1})["ratio"]
        cells = [
            who,
            f"{kept['rate']['median']:,.0f}",
            f"{cpu['median']:.2f} ({low:.2f}–{high:.2f})",
            f"{by:.2f}",
            " + ".join(f"{each:.2f}" for each in kept["by_process_us"]),
        ]
        for key in ("p50_us", "p99_us", "p999_us"):
            if key in kept:
                cells.append(number(kept[key]["median"]))
        yield f"| {' | '.join(cells)} |"


def tuning(kept):
    yield ""
    yield "### Tuning"
    yield ""
    yield "64 connections, 128 B. Rate and processor time as fast as they can; p50 and p99 at a"
    yield f"constant {kept['paced_rate']:,.0f} a second. The first value of each setting is the"
    yield "default; `full_wait_ms` is tried with a ring of 64 KiB, which is full at times."
    yield ""
    yield "| setting | value | per second | processor time, us | p50, us | p99, us | refused |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for row in kept["rows"]:
        cells = [f"`{row['setting']}`", row["value"], f"{row['rate']:,.0f}", f"{row['cpu_us']:.2f}"]
        cells += [number(row["p50_us"]), number(row["p99_us"]), f"{100 * row['refused']:.2f} %"]
        yield f"| {' | '.join(cells)} |"


def bars(contenders):
    """Processor time of a request, by process, as horizontal bars."""
    left, wide, high, gap = 110, 520, 26, 10
    most = max(kept["cpu_us"]["median"] for kept in contenders.values())
    colours = ("#2a6f97", "#e09f3e")
    height = len(contenders) * (high + gap) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 90}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="20">Processor time of a request, us: server, then reader (HTTP, 128 B, 64'
        " connections)</text>",
    ]
    for row, (who, kept) in enumerate(contenders.items()):
        y, x = 36 + row * (high + gap), left
        lines.append(f'<text x="10" y="{y + 17}">{who}</text>')
        # Nginx's workers do the same.
        parts = kept["by_process_us"]
        parts = [sum(parts)] if who == "nginx" else parts
        for part, colour in zip(parts, colours):
            width = wide * part / most
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{high}" fill="{colour}"/>')
            x += width
        lines.append(f'<text x="{x + 6:.1f}" y="{y + 17}">{kept["cpu_us"]["median"]:.1f}</text>')
    (RESULTS / "bridge.svg").write_text("\n".join([*lines, "</svg>"]) + "\n")
