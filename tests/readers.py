"""Readers that many people use, with the code blocks of docs/reading.md, and checks of what they see.

read_warehouse.py and read_live_lake.py run them while files arrive. Each row of a file has the file's name and its number of
rows, so a part of a file is noticed. A strict reader (read_manifest.py) reads the manifests as well: it is a failure if that
refuses a line, or if the others miss one.
"""

import contextlib
import datetime
import glob
import hashlib
import json
import os
import re
import sys
import threading
import time

import duckdb
import polars as pl

import read_manifest

PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "docs", "reading.md")
LAKE = "## A lake"
DEADLINE_SECONDS = 180
LIVE_SECONDS = 6
LIVE_ROWS = 300


def fail(message):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def must(condition, message):
    if not condition:
        fail(message)


# ---- The staged files


class Expected:
    """By name: sha256, size, rows, sum of the values, and the day (None: the day on which it is ingested)."""

    def __init__(self, top):
        self.path = os.path.join(top, "expected.json")
        self.files = {}
        # The lines that this or an earlier run has read: none of them may vanish, whatever process was killed.
        self.seen = os.path.join(top, "seen.json")
        if os.path.exists(self.path):
            with open(self.path, encoding="utf-8") as file:
                self.files = json.load(file)

    def stage(self, stagings, name, rows, day=None):
        """Puts a file that is new into staging directories: the same into each."""
        frame = pl.select(file=pl.lit(name), row=pl.int_range(rows), total=pl.lit(rows), value=pl.int_range(rows) * 7919 % 1000)
        data = frame.write_csv().encode()
        self.files[name] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "rows": rows,
            "sum": int(frame["value"].sum()),
            "day": day,
        }
        for staging in stagings:
            hidden = os.path.join(staging, f".{name}")
            with open(hidden, "wb") as file:
                file.write(data)
            os.rename(hidden, os.path.join(staging, name))

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


@contextlib.contextmanager
def files_arriving(files_a_second, stage):
    """Calls `stage` with numbers from 0, all the time, in a thread of its own. Gives a list that has them."""
    ends, staged = threading.Event(), []

    def send():
        while not ends.wait(1 / files_a_second):
            stage(len(staged))
            staged.append(len(staged))

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    yield staged
    ends.set()
    sender.join()


# ---- The readers. After `read`, each returns the content of its `manifest` and `warehouse`:
#      listed():  rows of (sha256, warehouse_path, size, rows, path, ingested_at)
#      found():   rows of (warehouse_path, day, name, name, count, least total, greatest total, sum of rows, sum of values)
#      joined():  rows of (warehouse_path, size, rows of the manifest, count)
#      by_manifest(): as found(), of the files that the manifest lists, if the page reads those: only for a lake


def blocks(lake):
    """The page's code blocks by the library that they use: of its section about lakes, or all others."""
    with open(PAGE, encoding="utf-8") as file:
        page, _, section = file.read().partition(f"\n{LAKE}\n")
    found = {}
    for language, code in re.findall(r"^```(\w*)\n(.*?)^```$", section if lake else page, re.MULTILINE | re.DOTALL):
        must(language in ("sql", "python"), f"docs/reading.md has a block of {language}, which is not run")
        uses = "duckdb" if language == "sql" else re.search(r"polars|pandas|pyspark", code).group()
        must(uses not in found, f"docs/reading.md has two blocks for {uses}")
        found[uses] = code
    must(set(found) | {"pandas"} == set(READERS) and ("pandas" in found) != lake, f"docs/reading.md has {sorted(found)}")
    return found


class Reader:
    def __init__(self, name, expected, manifests=None):
        self.name, self.top, self.scope = name, expected.warehouse, {}
        self.code = blocks(expected.IS_LAKE)[name]
        for there, here in expected.names(manifests or expected.manifests).items():
            self.code = self.code.replace(there, here)

    def read(self):
        exec(compile(self.code, f"docs/reading.md:{self.name}", "exec"), self.scope)

    @property
    def manifest(self):
        return self.scope["manifest"]

    def by_manifest(self):
        return None


class DuckDB(Reader):
    TOTALS = """min(file), max(file), count(*), min(total), max(total), sum(row)::BIGINT, sum(value)::BIGINT"""

    # Loads the extension from where pip has put it. The page has it from the Internet.
    DRIVER = os.environ.get("DUCKDB_HTTPFS", "")

    def connect(self):
        """Runs what stands before the views."""
        self.db = duckdb.connect()
        *self.views, self.join = [statement for statement in self.code.split(";\n") if statement.strip()]
        while "VIEW" not in self.views[0]:
            statement = self.views.pop(0)
            self.db.execute(f"LOAD '{self.DRIVER}'" if statement == "INSTALL httpfs; LOAD httpfs" else statement)

    def read(self):
        self.connect()
        for view in self.views:
            self.db.execute(view)

    def listed(self):
        return self.db.sql("SELECT sha256, warehouse_path, size, rows, path, ingested_at FROM manifest").fetchall()

    def found(self):
        return self.found_in("warehouse")

    def found_in(self, source):
        return self.db.sql(f"SELECT filename, ingest_date, {self.TOTALS} FROM {source} GROUP BY ALL").fetchall()

    def by_manifest(self):
        return self.found_in("listed") if "VIEW listed" in self.code else None

    def joined(self):
        return [(path, size, rows, count) for _, path, size, rows, count in self.db.sql(self.join).fetchall()]

    def found_by(self, pattern):
        return self.found_in(f"read_csv('{self.top}/{pattern}', hive_partitioning = true, filename = true)")


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

    def by_manifest(self):
        return self.totals(self.scope["listed"]) if "listed" in self.scope else None

    def joined(self):
        rows = pl.col("rows").first() if "rows" in self.manifest.columns else pl.lit(None).alias("rows")
        groups = self.scope["joined"].group_by("warehouse_path").agg(pl.col("size").first(), rows, pl.len())
        return groups.collect(engine="streaming").rows()

    def found_by(self, pattern):
        store = self.scope.get("store")
        frame = pl.scan_csv(f"{self.top}/{pattern}", include_file_paths="warehouse_path", storage_options=store)
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
            if "spark.jars.packages" in self.code:
                # The page's own session must be the first one, since it brings the driver.
                options = " ".join(f"--conf {key}={value}" for key, value in (local | quiet).items())
                os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[2] {options} pyspark-shell"
            else:
                session = SparkSession.builder.master("local[2]").config(map=local | quiet).getOrCreate()
                session.sparkContext.setLogLevel("OFF")
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


def readers(expected, names):
    return [READERS[name](name, expected) for name in names]


# ---- The checks


def check_found(expected, who, rows):
    """Checks that all files are whole and in the partition of their day; returns their names."""
    today = datetime.datetime.now(datetime.timezone.utc).date()
    names = set()
    for path, day, least, name, count, total_least, total, row_sum, value_sum in rows:
        file = expected.files.get(name)
        must(file is not None and least == name, f"{who}: rows of {least} and {name} in {path}")
        must(path == expected.place(name, day), f"{who}: {name} in {path}, day {day}")
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
        must(expected.is_there(path, size), f"{who}: {path} has another size than {size}")
        must(name not in names, f"{who}: {name} is listed twice")
        names.add(name)
    return names


def check_joined(expected, who, rows):
    names = set()
    for path, size, rows_listed, count in rows:
        name = expected.name_at(path)
        file = expected.files[name]
        must(count == file["rows"] and size == file["size"], f"{who}: joined to {count} rows, {size} bytes: {path}")
        must(rows_listed in (None, count), f"{who}: {path} is listed with {rows_listed} rows and has {count}")
        names.add(name)
    return names


def look(expected, reader, known=frozenset()):
    """Reads once. Each line appears after its file, and nothing vanishes, whatever happens meanwhile."""
    before = expected.strictly_listed()
    reader.read()
    by_manifest = reader.by_manifest()
    listed = check_listed(expected, reader.name, reader.listed())
    if by_manifest is not None:
        # The manifest was read first, and may be longer now.
        those = check_found(expected, f"{reader.name}, by manifest", by_manifest)
        must(before <= those <= listed, f"{reader.name}: by the manifest others than listed: {sorted(those ^ listed)[:5]}")
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
            for pattern in expected.PATTERNS:
                by = check_found(expected, f"{reader.name}, {pattern}", reader.found_by(pattern))
                must(by == found, f"{reader.name}: {pattern} has {len(by)} files instead of {len(found)}")
    first = said[names[0]]
    for name, sets in said.items():
        must(sets == first, f"{name} and {names[0]} differ")
    return first
