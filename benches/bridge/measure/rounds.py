"""Rounds: each contender is asked once in each, and ratios are taken round by round."""

import statistics
import time

from .base import cpu_s

# What others are compared with, besides the first contender.
PEERS = ("nginx", "gin", "bare epoll", "bare uring", "redis", "mosquitto")


def measured(server, load):
    """Runs a load that returns records and seconds; adds processor time per record, by process."""
    before = [cpu_s(pid) for pid in server.pids]
    records, seconds, more = load(server)
    # The reader may be some microseconds behind.
    time.sleep(0.05)
    spent = [after - then for after, then in zip(map(cpu_s, server.pids), before)]
    by_process = [1e6 * each / max(records, 1) for each in spent]
    return {"rate": records / seconds, "cpu_us": sum(by_process), "by_process": by_process, **more}


def middle(measures, key):
    return statistics.median(one[key] for one in measures)


def against(mine, theirs, key):
    """Medians of the ratio to another contender and of the distance from it, round by round."""
    pairs = [(one[key], other[key]) for one, other in zip(mine, theirs)]
    return {
        "ratio": statistics.median(one / max(other, 1e-9) for one, other in pairs),
        "more": statistics.median(one - other for one, other in pairs),
    }


def rounds(args, name, contenders, load, results):
    """Measures, prints medians and ratios to the first contender, and keeps them."""
    measures = {who: [] for who in contenders}
    for _ in range(args.rounds):
        for who, server in contenders.items():
            measures[who].append(measured(server, load))
    first = next(iter(contenders))
    kept = results.setdefault(name, {})
    for who, each in measures.items():
        keys = [key for key in each[0] if key != "by_process"]
        kept[who] = {
            key: {
                "median": middle(each, key),
                "spread": [min(one[key] for one in each), max(one[key] for one in each)],
                "by": {
                    peer: against(each, measures[peer], key)
                    for peer in dict.fromkeys([first, *(peer for peer in PEERS if peer in measures)])
                    if peer != who
                },
            }
            for key in keys
        }
        parts = [statistics.median(column) for column in zip(*(one["by_process"] for one in each))]
        kept[who]["by_process_us"] = parts
        show(name, who, kept[who], first)


def show(name, who, kept, first):
    rate, cpu = kept["rate"], kept["cpu_us"]
    ratio = lambda of: of["by"].get(first, {"ratio": 1.0})["ratio"]
    low, high = cpu["spread"]
    line = (
        f"{name:24} {who:10} {rate['median']:10.0f}/s ({ratio(rate):5.2f}x)"
        f"  cpu {cpu['median']:7.3f} us [{low:.3f} {high:.3f}] ({ratio(cpu):5.2f}x)"
        f"  = {' + '.join(f'{part:.3f}' for part in kept['by_process_us'])}"
    )
    if "p99_us" in kept:
        line += f"  p50 {kept['p50_us']['median']:.0f} us p99 {kept['p99_us']['median']:.0f} us"
    print(line, flush=True)
