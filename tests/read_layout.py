"""Reads a warehouse of two levels with the code blocks of docs/layout.md, for scripts/check_readers.

    read_layout.py stage DIR                 puts files into DIR/staging
    read_layout.py check DIR [--all]         reads DIR/warehouse; --all: also Spark, not only DuckDB and Polars
"""

import contextlib
import datetime
import os
import re
import sys

import duckdb

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "layout.md")
# By source and day: rows. Some values are escaped in paths, and some could be taken for something else.
FILES = {
    ("crm", "2026-01-02"): 3,
    ("crm", "2026-02-28"): 4,
    ("a=b c%50", "2026-01-02"): 5,
    ("größe{1}'", "2024-02-29"): 6,
    ("%41", "2026-01-02"): 7,
    ("007", "2026-01-02"): 8,
}


def blocks():
    """The page's blocks of code by the library that they use."""
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    found = {}
    for language, code in re.findall(r"^```(sql|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        uses = "duckdb" if language == "sql" else re.search(r"polars|pyspark", code).group()
        if uses in found:
            sys.exit(f"read_layout: docs/layout.md has two blocks for {uses}")
        found[uses] = code
    return found


def stage(top):
    for (source, day), rows in FILES.items():
        path = os.path.join(top, "staging", f"{source}_{day.replace('-', '')}.csv")
        with open(path, "w", encoding="utf-8") as file:
            file.write("id,value\n" + "".join(f"{row},x\n" for row in range(rows)))


def read(uses, code):
    if uses == "duckdb":
        return duckdb.sql(code).fetchall()
    scope = {}
    with contextlib.redirect_stderr(None):
        if uses == "pyspark":
            from pyspark.sql import SparkSession

            local = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
            quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
            SparkSession.builder.master("local[2]").config(map=local | quiet).getOrCreate().sparkContext.setLogLevel("OFF")
        exec(compile(code, f"docs/layout.md:{uses}", "exec"), scope)
    found = scope["found"]
    return found.rows() if uses == "polars" else [tuple(row) for row in found.collect()]


def check(top, names):
    expected = {(source, datetime.date.fromisoformat(day)): rows for (source, day), rows in FILES.items()}
    for name in names:
        code = blocks()[name].replace("/data/warehouse", os.path.join(top, "warehouse"))
        found = {(source, day): rows for source, day, rows in read(name, code)}
        if found != expected:
            sys.exit(f"read_layout: {name} found {found} instead of {expected}")
    print(f"two levels of partitions: all {len(FILES)} of them, the same to {', '.join(names)}")


def main():
    match sys.argv[1:]:
        case ["stage", top]:
            stage(top)
        case ["check", top]:
            check(top, ["duckdb", "polars"])
        case ["check", top, "--all"]:
            check(top, ["duckdb", "polars", "pyspark"])
        case _:
            sys.exit(__doc__)


main()
