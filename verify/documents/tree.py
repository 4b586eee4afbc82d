"""The files of the repository, for the checks in this directory. Imported by them, not run."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Runs a command, and ends with it everything that it started.
CONTAINED = ROOT / "verify" / "contained"


def tracked(*suffixes):
    """Lists the files that are in git or could be added to it, by the ends of their names."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    paths = [pathlib.Path(name) for name in sorted(set(names.split("\0"))) if name]
    return [p for p in paths if (ROOT / p).is_file() and (not suffixes or p.name.endswith(suffixes))]


def text_of(path):
    """Reads a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


def fenced(text):
    """Yields each line of Markdown as (number, line, whether it belongs to a code block)."""
    fence = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and fence is None:
            fence = mark.group(1)
            yield number, line, True
        elif mark and line.strip() == fence:
            fence = None
            yield number, line, True
        else:
            yield number, line, fence is not None
