"""Reads a warehouse with the code blocks of docs/reading.md, for scripts/check_readers. Each time, a strict reader
(read_manifest.py) reads the manifests as well: it is a failure if that refuses a line, or if the readers miss one.

    read_warehouse.py stage DIR DAY PREFIX FILES ROWS     puts new files into DIR/staging
    read_warehouse.py during DIR PID [--all]              reads while the ingestor PID runs, is stopped, and is killed
    read_warehouse.py final DIR [--all]                   waits until every staged file is ingested, and reads them

DIR has staging, warehouse, manifests, and expected.json with the staged files. Each row of a file has the file's name and
its number of rows, so a part of a file is noticed. --all: also pandas and Spark, not only DuckDB and Polars.
"""

import contextlib
import datetime
import glob
import hashlib
import json
import os
import re
import signal
import sys
import threading
import time

import duckdb
import polars as pl

import read_manifest

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "reading.md")
DEADLINE_SECONDS = 180
LIVE_SECONDS = 6
LIVE_FILES_A_SECOND = 40
LIVE_ROWS = 300
LARGE_ROWS = 1_500_000
HOUR = "2026/01/31/23"  # for a manifest with half a line, in its own directory


def fail(message):
    sys.exit(f"read_warehouse: {message}")


def must(condition, message):
    if not condition:
        fail(message)


# ---- The staged files


class Expected:
    """By name: sha256, size, rows, sum of the values, and the day (None: the day on which it is ingested)."""

    def __init__(self, top):
        self.top, self.path = top, os.path.join(top, "expected.json")
        self.warehouse, self.manifests = os.path.join(top, "warehouse"), os.path.join(top, "manifests")
        self.files = {}
        # The lines that this or an earlier run has read: none of them may vanish, whatever process was killed.
        self.seen = os.path.join(top, "seen.json")
        self.strict = read_manifest.Reader(self.manifests)
        self.strict.load(self.seen)
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                self.files = json.load(file)

    def stage(self, name, rows, day=None):
        frame = pl.select(file=pl.lit(name), row=pl.int_range(rows), total=pl.lit(rows), value=pl.int_range(rows) * 7919 % 1000)
        data = frame.write_csv().encode()
        self.files[name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "rows": rows,
            "sum": int(frame["value"].sum()),
            "day": day,
        }
        hidden = os.path.join(self.top, "staging", f".{name}")
        with open(hidden, "wb") as file:
            file.write(data)
        os.rename(hidden, os.path.join(self.top, "staging", name))

    def strictly_listed(self):
        """The names that the manifests list; each line must conform to docs/manifest-format.md."""
        try:
            lines = self.strict.read()
        except read_manifest.Wrong as wrong:
            fail(f"the strict reader: {wrong}")
        rows = [
            (line["sha256"], line["warehouse_path"], line["size"], line.get("rows"), line["path"], line["ingested_at"])
            for line in lines
        ]
        return check_listed(self, "the strict reader", rows)

    def save(self):
        self.strict.save(self.seen)
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(self.files, file)


# ---- The readers. After `read`, each returns the content of its `manifest` and `warehouse`:
#      listed():  rows of (sha256, warehouse_path, size, rows, path, ingested_at)
#      found():   rows of (warehouse_path, day, name, name, count, least total, greatest total, sum of rows, sum of values)
#      joined():  rows of (warehouse_path, size, rows of the manifest, count)


def blocks():
    """The page's code blocks by the library that they use."""
    with open(PAGE, encoding="utf-8") as file:
        page = file.read()
    found = {}
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        must(language in ("sql", "python"), f"docs/reading.md has a block of {language}, which is not run")
        uses = "duckdb" if language == "sql" else re.search(r"polars|pandas|pyspark", code).group()
        must(uses not in found, f"docs/reading.md has two blocks for {uses}")
        found[uses] = code
    must(len(found) == 4, f"docs/reading.md has blocks for {sorted(found)}")
    return found


class Reader:
    def __init__(self, name, warehouse, manifests):
        self.name = name
        self.code = blocks()[name].replace("/data/warehouse", warehouse).replace("/data/manifests", manifests)
        self.top, self.scope = warehouse, {}

    def read(self):
        exec(compile(self.code, f"docs/reading.md:{self.name}", "exec"), self.scope)

    @property
    def manifest(self):
        return self.scope["manifest"]


class DuckDB(Reader):
    TOTALS = """min(file), max(file), count(*), min(total), max(total), sum(row)::BIGINT, sum(value)::BIGINT"""

    def read(self):
        self.db = duckdb.connect()
        *views, self.join = [statement for statement in self.code.split(";\n") if "SELECT" in statement]
        for view in views:
            self.db.execute(view)

    def listed(self):
        return self.db.sql("SELECT sha256, warehouse_path, size, rows, path, ingested_at FROM manifest").fetchall()

    def found(self):
        return self.db.sql(f"SELECT filename, ingest_date, {self.TOTALS} FROM warehouse GROUP BY ALL").fetchall()

    def joined(self):
        return [(path, size, rows, count) for _, path, size, rows, count in self.db.sql(self.join).fetchall()]

    def found_by(self, pattern):
        source = f"read_csv('{self.top}/{pattern}', hive_partitioning = true, filename = true)"
        return self.db.sql(f"SELECT filename, ingest_date, {self.TOTALS} FROM {source} GROUP BY ALL").fetchall()


class Polars(Reader):
    def listed(self):
        rows = pl.col("rows") if "rows" in self.manifest.columns else pl.lit(None)
        return self.manifest.select("sha256", "warehouse_path", "size", rows, "path", "ingested_at").rows()

    def totals(self, frame):
        file, total = pl.col("file"), pl.col("total")
        totals = [file.min().alias("least"), file.max().alias("greatest"), pl.len()]
        totals += [total.min().alias("a"), total.max().alias("b"), pl.col("row").sum(), pl.col("value").sum()]
        return frame.group_by("warehouse_path", "ingest_date").agg(totals).collect(engine="streaming").rows()

    def found(self):
        return self.totals(self.scope["warehouse"])

    def joined(self):
        rows = pl.col("rows").first() if "rows" in self.manifest.columns else pl.lit(None).alias("rows")
        groups = self.scope["joined"].group_by("warehouse_path").agg(pl.col("size").first(), rows, pl.len())
        return groups.collect(engine="streaming").rows()

    def found_by(self, pattern):
        frame = pl.scan_csv(f"{self.top}/{pattern}", include_file_paths="warehouse_path")
        day = pl.col("warehouse_path").str.extract(r"/ingest_date=([0-9-]+)/").str.to_date()
        return self.totals(frame.with_columns(ingest_date=day))


class Pandas(Reader):
    AGG = dict(
        least=("file", "min"), greatest=("file", "max"), count=("row", "count"), a=("total", "min"), b=("total", "max"),
        row=("row", "sum"), value=("value", "sum"),
    )

    def listed(self):
        columns = self.manifest[["sha256", "warehouse_path", "size", "rows", "path", "ingested_at"]].itertuples(index=False)
        return [(sha256, path, size, self.number(rows), *others) for sha256, path, size, rows, *others in columns]

    def number(self, value):
        return None if self.scope["pd"].isna(value) else int(value)

    def found(self):
        groups = self.scope["warehouse"].groupby(["warehouse_path", "ingest_date"]).agg(**self.AGG).reset_index()
        return [(row[0], row[1].date(), *row[2:]) for row in groups.itertuples(index=False)]

    def joined(self):
        groups = self.scope["joined"].groupby("warehouse_path").agg(
            size=("size", "first"), rows=("rows", "first"), count=("row", "count")
        )
        return [(path, size, self.number(rows), count) for path, size, rows, count in groups.itertuples()]

    def found_by(self, pattern):
        import pandas as pd

        frames = [self.scope["read"](path) for path in glob.glob(f"{self.top}/{pattern}", recursive=True)]
        self.scope["warehouse"] = pd.concat(frames, ignore_index=True)
        return self.found()


class Spark(Reader):
    def read(self):
        with contextlib.redirect_stderr(None):
            from pyspark.sql import SparkSession

            local = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
            quiet = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.session.timeZone": "UTC"}
            SparkSession.builder.master("local[2]").config(map=local | quiet).getOrCreate().sparkContext.setLogLevel("OFF")
            super().read()

    def listed(self):
        day = self.scope["F"].date_format("ingested_at", "yyyy-MM-dd")
        return [tuple(row) for row in self.manifest.select("sha256", "warehouse_path", "size", "rows", "path", day).collect()]

    def found(self):
        f = self.scope["F"]
        totals = [f.min("file"), f.max("file"), f.count("*"), f.min("total"), f.max("total"), f.sum("row"), f.sum("value")]
        return [tuple(row) for row in self.scope["warehouse"].groupBy("warehouse_path", "ingest_date").agg(*totals).collect()]

    def joined(self):
        f = self.scope["F"]
        groups = self.scope["joined"].groupBy("warehouse_path").agg(f.first("size"), f.first("rows"), f.count("*"))
        return [tuple(row) for row in groups.collect()]


READERS = {"duckdb": DuckDB, "polars": Polars, "pandas": Pandas, "pyspark": Spark}
FAST = ["duckdb", "polars"]
# All of these are safe. The unsafe pattern of docs/reading.md is missing, but `has_copy` shows that it would find copies.
PATTERNS = ["ingest_date=*/*.csv", "*/*.csv", "**/*.csv"]


def readers(expected, names):
    return [READERS[name](name, expected.warehouse, expected.manifests) for name in names]


# ---- The checks


def check_found(expected, who, rows):
    """Checks that all files are whole and in the partition of their day; returns their names."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    names = set()
    for path, day, least, name, count, total_least, total, row_sum, value_sum in rows:
        file = expected.files.get(name)
        must(file is not None and least == name, f"{who}: rows of {least} and {name} in {path}")
        must(path == f"{expected.warehouse}/ingest_date={day}/{name}", f"{who}: {name} in {path}, day {day}")
        must(count == total == total_least == file["rows"], f"{who}: {count} rows of {name}, which has {file['rows']}")
        must(row_sum == count * (count - 1) // 2 and value_sum == file["sum"], f"{who}: other rows in {name}")
        must(str(day) == file["day"] or (file["day"] is None and 0 <= (today - day).days <= 1), f"{who}: {name} came on {day}")
        must(name not in names, f"{who}: {name} is there twice")
        names.add(name)
    return names


def check_listed(expected, who, rows):
    """Checks that all lines are right; returns their names."""
    names = set()
    for sha256, path, size, rows_listed, source, ingested_at in rows:
        name = os.path.basename(source)
        file = expected.files.get(name)
        must(file is not None, f"{who}: a line for {source}")
        must((sha256, size) == (file["sha256"], file["size"]), f"{who}: {name} is listed with {sha256}, {size} bytes")
        must(rows_listed in (None, file["rows"]), f"{who}: {name} is listed with {rows_listed} rows")
        must(f"/ingest_date={str(ingested_at)[:10]}/" in path, f"{who}: {path} was ingested at {ingested_at}")
        must(os.path.getsize(path) == size, f"{who}: {path} has another size than {size}")
        must(name not in names, f"{who}: {name} is listed twice")
        names.add(name)
    return names


def check_joined(expected, who, rows):
    names = set()
    for path, size, rows_listed, count in rows:
        file = expected.files[os.path.basename(path)]
        must(count == file["rows"] and size == file["size"], f"{who}: joined to {count} rows, {size} bytes: {path}")
        must(rows_listed in (None, count), f"{who}: {path} is listed with {rows_listed} rows and has {count}")
        names.add(os.path.basename(path))
    return names


def look(expected, reader, known=frozenset()):
    """Reads once. Each line appears after its file, and nothing vanishes, whatever happens meanwhile."""
    before = expected.strictly_listed()
    reader.read()
    listed = check_listed(expected, reader.name, reader.listed())
    found = check_found(expected, reader.name, reader.found())
    after = expected.strictly_listed()
    must(before <= listed <= after, f"{reader.name}: lists others than the strict reader: {sorted(listed ^ after)[:5]}")
    must(listed <= found, f"{reader.name}: listed and not there: {sorted(listed - found)[:5]}")
    must(known <= found, f"{reader.name}: gone: {sorted(known - found)[:5]}")
    return listed, found


def look_every_way(expected, names):
    """Reads with all readers and all patterns while no file is ingested: all results are equal."""
    said = {}
    for reader in readers(expected, names):
        listed, found = look(expected, reader)
        joined = check_joined(expected, reader.name, reader.joined())
        must(joined == listed, f"{reader.name}: the join has {len(joined)} files, of {len(listed)} listed")
        said[reader.name] = (listed, found)
        if hasattr(type(reader), "found_by"):
            for pattern in PATTERNS:
                by = check_found(expected, f"{reader.name}, {pattern}", reader.found_by(pattern))
                must(by == found, f"{reader.name}: {pattern} has {len(by)} files instead of {len(found)}")
    first = said[names[0]]
    for name, sets in said.items():
        must(sets == first, f"{name} and {names[0]} differ")
    return first


# ---- The situations


def copies(expected):
    for path in glob.glob(f"{expected.warehouse}/.csv-ingestor/*/*"):
        with contextlib.suppress(FileNotFoundError):
            yield path, os.path.getsize(path)


def has_copy(expected, size):
    """True if there is an unfinished copy, which a careless query would read."""
    unfinished = [path for path, found in copies(expected) if 0 < found < size]
    if unfinished:
        seen = duckdb.sql(f"SELECT file FROM glob('{expected.warehouse}/**') WHERE file LIKE '%.copy'").fetchall()
        must(len(seen) > 0, "DuckDB's ** does not see unfinished copies any more: docs/reading.md says it does")
    return bool(unfinished)


def catch(expected, pid, name, how):
    """Sends the ingestor a signal while it copies a large file."""
    expected.stage(name, LARGE_ROWS)
    size, end = expected.files[name]["size"], time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < end:
        if any(size // 10 < found < size * 9 // 10 for _, found in copies(expected)):
            os.kill(pid, how)
            time.sleep(0.1)  # until a system call in progress has ended
            if has_copy(expected, size):
                return size
            must(how == signal.SIGSTOP, "the copy was finished before the ingestor was killed")
            # It was finished just before: try with another file.
            os.kill(pid, signal.SIGCONT)
            name = f"again-{name}"
            expected.stage(name, LARGE_ROWS + len(name))
            size = expected.files[name]["size"]
    fail("no copy was seen under way")


def live(expected):
    """Reads while small files arrive all the time."""
    ends, staged = threading.Event(), 0

    def send():
        nonlocal staged
        while not ends.wait(1 / LIVE_FILES_A_SECOND):
            expected.stage(f"live-{staged}.csv", LIVE_ROWS + staged)
            staged += 1

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    known, looks, halves, grown, end = set(), 0, 0, 0, time.monotonic() + LIVE_SECONDS
    while time.monotonic() < end or looks < 2:
        for reader in readers(expected, FAST):
            known = look(expected, reader, known)[1]
            looks += 1
        try:
            duckdb.sql(f"FROM read_json('{expected.manifests}/*/*/*/*/manifest.jsonl')").fetchall()
        except duckdb.InvalidInputException:
            halves += 1
        except duckdb.IOException as error:
            # DuckDB looks into a file for its columns first, and minds that it has grown when it reads it.
            must("Could not read enough bytes" in str(error), f"DuckDB cannot read the manifests: {error}")
            grown += 1
    ends.set()
    sender.join()
    print(
        f"{looks} readings while {staged} files arrived; a query without columns met half a line {halves} times, "
        f"and a manifest that had grown {grown} times"
    )


def during(expected, pid, names):
    live(expected)
    size = catch(expected, pid, "stopped.csv", signal.SIGSTOP)
    listed, found = look_every_way(expected, names)
    must(has_copy(expected, size), "the unfinished copy was gone before it was looked at")
    print(f"stopped in the middle of a copy: {len(found)} files, {len(listed)} lines, the same to {', '.join(names)}")
    os.kill(pid, signal.SIGCONT)
    size = catch(expected, pid, "killed.csv", signal.SIGKILL)
    listed, found = look_every_way(expected, names)
    must(has_copy(expected, size), "the unfinished copy was gone before it was looked at")
    print(f"killed in the middle of a copy: {len(found)} files, {len(listed)} lines, the same to {', '.join(names)}")


def final(expected, names):
    end = time.monotonic() + DEADLINE_SECONDS
    reader = readers(expected, FAST)[0]
    while len(look(expected, reader)[0]) < len(expected.files):
        must(time.monotonic() < end, "not everything came")
        time.sleep(0.5)
    listed, found = look_every_way(expected, names)
    must(listed == found == set(expected.files), "something is missing, or too much")
    ((size,),) = duckdb.sql(f"SELECT sum(size) FROM read_blob('{expected.warehouse}/ingest_date=*/*')").fetchall()
    must(size == sum(file["size"] for file in expected.files.values()), f"{size} bytes in the warehouse")
    print(f"at the end: all {len(found)} files, {size} bytes, the same to {', '.join(names)}")
    half_line(expected, names)


def half_line(expected, names):
    """Reads manifests of which the last one ends in the middle of a line."""
    other = os.path.join(expected.top, "half")
    lines = []
    for path in glob.glob(f"{expected.manifests}/*/*/*/*/manifest.jsonl"):
        with open(path, "rb") as file:
            lines += file.readlines()
    os.makedirs(os.path.join(other, HOUR))
    with open(os.path.join(other, HOUR, "manifest.jsonl"), "wb") as file:
        file.writelines(lines[:-1])
        file.write(lines[-1][: len(lines[-1]) // 2])
    for name in names:
        reader = READERS[name](name, expected.warehouse, other)
        reader.read()
        listed = check_listed(expected, name, reader.listed())
        must(len(listed) == len(lines) - 1, f"{name}: {len(listed)} lines, of {len(lines) - 1} and a half")
    print(f"half a line at the end of a manifest is left out by {', '.join(names)}")


def main():
    words = [word for word in sys.argv[1:] if word != "--all"]
    names = list(READERS) if "--all" in sys.argv else FAST
    if len(words) < 2:
        sys.exit(__doc__)
    expected = Expected(words[1])
    match words:
        case ["stage", _, day, prefix, files, rows]:
            for number in range(int(files)):
                expected.stage(f"{prefix}-{number}.csv", int(rows) + number, day)
            # A name that readers could take for a pattern, a partition, or an escape.
            expected.stage(f"{prefix} +[a]*%20ü'=1.csv", int(rows) + int(files), day)
        case ["during", _, pid]:
            during(expected, int(pid), names)
        case ["final", _]:
            final(expected, names)
        case _:
            sys.exit(__doc__)
    expected.save()


main()
