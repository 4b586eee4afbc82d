"""Writes the rows of `shell/forward/examples/sinks.rs` as Parquet by pyarrow.

    pyarrow_write.py payload|columns RECORDS DIRECTORY

`payload`: the columns epoch, seq, type, timestamp and payload, of arrays that are there. `columns`: of
JSON lines that are there, four columns in place of the payload. A file for each 64 MiB of payloads,
synced. Prints as that program does.
"""

import io
import os
import resource
import sys
import time

import pyarrow
import pyarrow.json
import pyarrow.parquet

FORM, RECORDS, DIRECTORY = sys.argv[1], int(sys.argv[2]), sys.argv[3]
BITS = (1 << 64) - 1
BATCH_BYTES, BATCH_RECORDS = 64 << 20, 1_000_000


def payload(n):
    device = (n * 0x9E3779B97F4A7C15 & BITS) >> 54
    tenths = (n * 0xD6E8FEB86659FD93 & BITS) >> 54
    return (
        f'{{"device":"sensor-{device:04}","reading":{n},"value":{tenths // 10}.{tenths % 10},'
        '"unit":"celsius","state":"nominal","ok":true}'
    ).encode()


def batches():
    """(first number, payloads) of each file."""
    first, held, size = 0, [], 0
    for n in range(RECORDS):
        held.append(payload(n))
        size += len(held[-1])
        if size >= BATCH_BYTES or len(held) == BATCH_RECORDS:
            yield first, held
            first, held, size = n + 1, [], 0
    if held:
        yield first, held


def fixed(first, count):
    """The columns that every file has."""
    numbers = range(first, first + count)
    epoch = pyarrow.array(["0000000000000007"] * count)
    stamps = [1_796_000_000_000_000 + n for n in numbers]
    return {
        "epoch": epoch,
        "seq": pyarrow.array(numbers, pyarrow.int64()),
        "type": pyarrow.array([1] * count, pyarrow.uint16()),
        "timestamp": pyarrow.array(stamps, pyarrow.timestamp("us", "UTC")),
    }


def write(table, at):
    path = f"{DIRECTORY}/{at}.parquet"
    delta = {"seq": "DELTA_BINARY_PACKED", "timestamp": "DELTA_BINARY_PACKED"}
    names = [name for name in table.column_names if name not in (*delta, "payload")]
    with open(path + ".tmp", "wb") as file:
        pyarrow.parquet.write_table(
            table, file, compression="snappy", use_dictionary=names, column_encoding=delta
        )
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".tmp", path)


ready = []
for first, payloads in batches():
    columns = fixed(first, len(payloads))
    if FORM == "payload":
        ready.append((columns | {"payload": pyarrow.array(payloads, pyarrow.binary())}, None))
    else:
        ready.append((columns, b"\n".join(payloads)))

before = resource.getrusage(resource.RUSAGE_SELF)
began = time.monotonic()
for at, (columns, lines) in enumerate(ready):
    if lines is not None:
        read = pyarrow.json.read_json(io.BytesIO(lines))
        columns = columns | {name: read[name] for name in ("device", "reading", "value", "ok")}
    write(pyarrow.table(columns), at)
seconds = time.monotonic() - began
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
print(f"records={RECORDS} seconds={seconds:.3f} cpu_seconds={cpu:.3f}")
