#!/usr/bin/env python3
"""Mutants of the C library: changes one operator, constant, condition or statement at a time.

    verify/mutants/c.py [--every N] [--shard K/N] [--jobs N] [FILE...]

FILE: as in c/src, such as seek.c or linux/wait.c; default: all, some hours on two quiet cores.
--every N: only each Nth mutant. --shard K/N: the Kth of N parts, K from 0. A mutant is caught if a
test of its file fails, or hangs for SECONDS_EACH (60). Ends with 1 if the tests miss one that is not explained in verify/mutants/c.txt,
a line each: `FILE: line => mutated line => reason`. Needs gcc and make; works in a copy.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPLAINED = ROOT / "verify/mutants/c.txt"
SECONDS_EACH = int(os.environ.get("SECONDS_EACH", "60"))


def bound():
    """A mutant may allocate or write for ever."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS_EACH, SECONDS_EACH))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))


# The tests that a file is for; the first ones catch most.
READER = ["test_reader", "test_damage", "test_hostile", "test_golden"]
TESTS = {
    "attributes": ["test_attributes"],
    "batch": ["test_batch"],
    "bytes": ["test_abi", "test_reader"],
    "crc32/": ["test_crc32", "test_crc32_small", "test_crc32_1k", "test_crc32_portable"],
    "extent": ["test_attributes", "test_batch"],
    "lag": ["test_seek", "test_observer", "test_reconnect", "test_wait"],
    "load": ["test_reader", "test_crc32"],
    "observer": ["test_observer", "test_batch", "test_hostile", "test_seek"],
    "reader_init": ["test_abi", "test_attach"],
    "reader": [*READER, "test_client", "test_wait"],
    "record_load": ["test_crc32", *READER],
    "record": [*READER, "test_observer", "test_seek"],
    "ring": ["test_abi", "test_attach", "test_observer"],
    "seek": ["test_seek"],
    "status": ["test_client"],
    "linux/clock": ["test_client", "test_wait", "test_open_retry"],
    "linux/options": ["test_open", "test_attach", "test_open_nonblocking", "test_reconnect", "test_wait"],
    "linux/": ["test_attach", "test_open", "test_client", "test_wait", "test_calls", "test_loop",
               "test_open_nonblocking", "test_reconnect", "test_open_retry"],
}

SWAPS = [
    (r"(?<![<\-=])<(?![<=])", "<="), (r"<=", "<"), (r"(?<![>\-])>(?![>=])", ">="), (r">=", ">"),
    (r"==", "!="), (r"!=", "=="), (r"&&", "||"), (r"\|\|", "&&"), (r" \+ ", " - "), (r" - ", " + "),
    (r" \+= ", " -= "), (r"\btrue\b", "false"), (r"\bfalse\b", "true"), (r"(?<![\w.])0(?![\w.])", "1"),
    (r"(?<![\w.])1(?![\w.])", "0"),
]
STATEMENT = re.compile(r"^\s+(?!return\b|break|continue|case\b|goto\b|else\b|default\b)[\w>*(&][^={}]*(?:[-+|&^]?=[^={}]*)?;\s*(/\*.*\*/)?$")
DECLARATION = re.compile(r"^\s+(const |static |struct |unsigned |u?int\w* |size_t |bool |aqd_\w+ \*?\w+|void |char |va_list )")


def code_lines(text):
    """The lines that a compiler sees, with their numbers."""
    text = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)
    for number, line in enumerate(text.split("\n")):
        if line.startswith((" ", "\t")) and line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def mutants(path):
    lines = path.read_text().split("\n")
    for number, line in code_lines(path.read_text()):
        quoted = [m.span() for m in re.finditer(r'"(?:[^"\\]|\\.)*"', line)]
        for pattern, new in SWAPS:
            for found in re.finditer(pattern, line):
                if any(a <= found.start() < b for a, b in quoted) or re.match(r"\s*for \(.*;.*0", line) and new in "01":
                    continue
                yield number, lines[number], lines[number][: found.start()] + new + lines[number][found.end():]
        if STATEMENT.match(line) and not DECLARATION.match(line):
            yield number, lines[number], re.match(r"\s*", line).group() + ";"
        if found := re.match(r"(\s+)(?:} else )?if \((.*)\) {$", line):
            for constant in ("0", "1"):
                yield number, lines[number], line.replace(f"({found.group(2)})", f"({constant})")


def tests_of(name):
    return next(tests for prefix, tests in sorted(TESTS.items(), key=lambda i: -len(i[0])) if name.startswith(prefix))


class Bench:
    """A copy of c/ that is built and mutated; one for each job."""

    def __init__(self, work):
        self.tree = pathlib.Path(tempfile.mkdtemp(dir=work))
        shutil.copytree(ROOT / "c", self.tree / "c", ignore=shutil.ignore_patterns("build*"))
        shutil.copytree(ROOT / "core/tests/golden", self.tree / "core/tests/golden")

    def make(self, tests):
        targets = [f"{self.tree}/build/{test}" for test in tests]
        command = ["make", "-s", "-C", f"{self.tree}/c", f"BUILD={self.tree}/build", "OPT=-O1", "WARN=-w", *targets]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def verdict(self, name, number, mutated):
        path = self.tree / "c/src" / name
        before = path.read_text()
        lines = before.split("\n")
        lines[number] = mutated
        path.write_text("\n".join(lines))
        try:
            if not self.make(tests_of(name)):
                return "does not compile"
            for test in tests_of(name):
                try:
                    run = subprocess.run(
                        [f"{self.tree}/build/{test}"], cwd=self.tree / "c", timeout=SECONDS_EACH, check=False,
                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=bound,
                    )
                except subprocess.TimeoutExpired:
                    return f"caught by {test}, which hangs"
                if run.returncode != 0:
                    return f"caught by {test}"
            return "MISSED"
        finally:
            path.write_text(before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--shard", default="0/1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    source = ROOT / "c/src"
    files = options.files or sorted(str(p.relative_to(source)) for p in source.rglob("*.[ch]") if p.name not in ("tables.h", "constants.h", "arm.c"))
    work = [(name, *mutant) for name in files for mutant in mutants(source / name)][:: options.every]
    part, parts = map(int, options.shard.split("/"))
    work = work[part::parts]
    explained = {line.rsplit(" => ", 1)[0] for line in EXPLAINED.read_text().splitlines() if not line.startswith("#")}
    counts, unexplained = {}, []
    with tempfile.TemporaryDirectory() as directory:
        benches = [Bench(directory) for _ in range(options.jobs)]
        for bench in benches:
            if not bench.make({test for name in {mutant[0] for mutant in work} for test in tests_of(name)}):
                sys.exit("the tests do not build without a mutant")

        def judge(share):
            for mutant in work[share:: options.jobs]:
                verdict = benches[share].verdict(mutant[0], mutant[1], mutant[3])
                print(f"{verdict}: {mutant[0]}:{mutant[1] + 1}: {mutant[3].strip()}", flush=True)
                yield mutant, verdict

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for (name, number, line, mutated), verdict in (v for share in pool.map(lambda share: list(judge(share)), range(options.jobs)) for v in share):
                kind = verdict.split(" by ")[0]
                counts[kind] = counts.get(kind, 0) + 1
                if verdict == "MISSED":
                    words = f"{name}: {line.strip()} => {mutated.strip()}"
                    if words not in explained:
                        unexplained.append(f"{name}:{number + 1}: {line.strip()} => {mutated.strip()}")
    print(", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) + f"; {len(unexplained)} of those missed are not explained")
    for line in sorted(unexplained):
        print(f"NOT EXPLAINED {line}")
    sys.exit(bool(unexplained))


if __name__ == "__main__":
    main()
