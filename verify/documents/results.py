#!/usr/bin/env python3
"""Results in the READMEs, between `<!-- results:NAME -->` and `<!-- /results:NAME -->`.

As a program: `results.py README NAME < MARKDOWN` replaces what is between these markers by a line
of date, machine and compilers, and the Markdown; `results.py README NAME ROW... < LINES` only the
rows of a table there that begin with `| ROW |`, or adds them at its end.
"""

import datetime
import os
import pathlib
import re
import subprocess
import sys
import textwrap

sys.dont_write_bytecode = True

from tree import ROOT  # noqa: E402


def machine():
    """Describes where a result comes from: day, processor, kernel, compiler."""
    info = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", info, re.M)
    flags = set(re.search(r"^flags\s*: (.*)$", info, re.M).group(1).split()) if model else set()
    wide = [flag for flag in ("avx2", "avx512vl", "vpclmulqdq") if flag in flags]
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True)
    return (
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}, "
        f"{model.group(1).strip() if model else os.uname().machine}"
        f"{' with ' + ', '.join(wide) if wide else ''}, {os.cpu_count()} cores, "
        f"Linux {os.uname().release.split('-')[0]}, rustc {rustc.stdout.split()[1]}"
    )


def parts(readme, name):
    """What stands before, between and after the markers, which belong to the outer parts."""
    begin, end = f"<!-- results:{name} -->", f"<!-- /results:{name} -->"
    before, begun, rest = (ROOT / readme).read_text(encoding="utf-8").partition(begin)
    between, ended, after = rest.partition(end)
    if not begun or not ended:
        raise SystemExit(f"{readme}: no markers {begin} … {end}")
    return before + begun, between, ended + after


def read(readme, name):
    """The results of this name; a README without the markers is an error."""
    return parts(readme, name)[1]


def write(readme, name, body):
    """Replaces the results of this name; a README without the markers is an error."""
    before, _, after = parts(readme, name)
    text = f"{before}\n{body.strip()}\n{after}"
    (ROOT / readme).write_text(text, encoding="utf-8")


def rows_replaced(text, rows, lines):
    """The text with a table row for each of `rows` taken from `lines`; new ones follow the last."""
    new = {row: line for row in rows for line in lines if line.startswith(f"| {row} |")}
    if missing := set(rows) - set(new):
        raise SystemExit(f"no line for {', '.join(sorted(missing))}")
    kept = []
    for line in text.strip().splitlines():
        row = next((row for row in new if line.startswith(f"| {row} |")), None)
        kept.append(new.pop(row) if row else line)
    last = max(at for at, line in enumerate(kept) if line.startswith("|"))
    return "\n".join(kept[: last + 1] + list(new.values()) + kept[last + 1 :])


if __name__ == "__main__" and len(sys.argv) > 3:
    readme, name, *rows = sys.argv[1:]
    write(readme, name, rows_replaced(read(readme, name), rows, sys.stdin.read().splitlines()))
elif __name__ == "__main__":
    where = "\n".join(textwrap.wrap(f"{machine()}.", 98, break_on_hyphens=False))
    write(sys.argv[1], sys.argv[2], f"{where}\n\n{sys.stdin.read()}")
