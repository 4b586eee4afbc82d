"""The tables, each a module that has `TABLE` or `TABLES`."""

import dataclasses
import importlib

MODULES = [
    "http_lengths", "http_heads", "http_chunks", "http_flow", "http_limits",
    "attributes", "routes", "conversions", "resp", "mqtt", "frames", "mixed", "credentials",
    "control", "readers",
    "resources_limits", "resources_drivers", "resources_streams", "resources_disks",
    "life_ends", "life_files", "life_starts", "life_accidents",
    "commands",
    "clients",
    "protocol_clients",
]  # fmt: skip


def chosen(names):
    """The tables with the cases whose names begin with one of these; all without any."""
    found = []
    for module in (importlib.import_module(f"tables.{name}") for name in MODULES):
        for table in getattr(module, "TABLES", None) or [module.TABLE]:
            begins = lambda case, t=table: any(f"{t.name}.{case.name}".startswith(n) for n in names)
            cases = [case for case in table.cases if not names or begins(case)]
            if cases:
                found.append(dataclasses.replace(table, cases=cases))
    return found
