"""Prints the rows of all files below a directory twice: as pyarrow reads them, and as DuckDB does.

Each line is a reader's name and a row as JSON, in the order of (epoch, seq). The schema that
pyarrow sees comes first.
"""

import datetime
import json
import sys

import duckdb
import pyarrow.dataset

root = sys.argv[1]
# What the sink has not given its name is not to be seen: `*.parquet` below it is all there is.
arrow = pyarrow.dataset.dataset(root, format="parquet", partitioning="hive")
print("schema", json.dumps({field.name: str(field.type) for field in arrow.schema}))


def show(reader, rows):
    for row in sorted(rows, key=lambda row: (row["epoch"], row["seq"])):
        if isinstance(row["timestamp"], datetime.datetime):
            row["timestamp"] = round(row["timestamp"].timestamp() * 1e6)
        row |= {"date": str(row["date"]), "hour": int(row["hour"]), "raw": row["raw"].decode()}
        print(reader, json.dumps(row, sort_keys=True))


show("pyarrow", arrow.to_table().to_pylist())
files = "read_parquet(?, hive_partitioning = true)"
query = f"select * replace (epoch_us(timestamp) as timestamp) from {files}"
found = duckdb.connect().sql(query, params=[f"{root}/**/*.parquet"])
show("duckdb", [dict(zip(found.columns, row)) for row in found.fetchall()])
