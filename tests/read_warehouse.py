"""Reads a warehouse with the code blocks of docs/reading.md (readers.py), for scripts/check_readers.

    read_warehouse.py stage DIR DAY PREFIX FILES ROWS     puts new files into DIR/staging
    read_warehouse.py during DIR PID [--all]              reads while the ingestor PID runs, is stopped, and is killed
    read_warehouse.py final DIR [--all]                   waits until every staged file is ingested, and reads them

DIR has staging, warehouse, manifests, and expected.json with the staged files. --all: also pandas and Spark, not only DuckDB
and Polars.
"""

import contextlib
import glob
import os
import signal
import sys
import time

import duckdb

import read_manifest
from readers import DEADLINE_SECONDS, FAST, LIVE_ROWS, LIVE_SECONDS, READERS
from readers import Expected, check_listed, fail, files_arriving, look, look_every_way, must, readers

LARGE_ROWS = 1_500_000
LIVE_FILES_A_SECOND = 40
HOUR = "2026/01/31/23"  # for a manifest with half a line, in its own directory


class Directory(Expected):
    """A warehouse in a directory, where a file keeps its name."""

    IS_LAKE = False
    # All of these are safe. The unsafe pattern of docs/reading.md is missing, but `has_copy` shows that it would find copies.
    PATTERNS = ["ingest_date=*/*.csv", "*/*.csv", "**/*.csv"]

    def __init__(self, top):
        super().__init__(top)
        self.top = top
        self.warehouse, self.manifests = os.path.join(top, "warehouse"), os.path.join(top, "manifests")
        self.strict = read_manifest.Reader(self.manifests)
        self.strict.load(self.seen)

    def names(self, manifests):
        return {"/data/warehouse": self.warehouse, "/data/manifests": manifests}

    def stage_here(self, name, rows, day=None):
        self.stage([os.path.join(self.top, "staging")], name, rows, day)

    def place(self, name, day):
        return f"{self.warehouse}/ingest_date={day}/{name}"

    def name_at(self, path):
        return os.path.basename(path)

    def is_there(self, path, size):
        return os.path.getsize(path) == size


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
    expected.stage_here(name, LARGE_ROWS)
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
            expected.stage_here(name, LARGE_ROWS + len(name))
            size = expected.files[name]["size"]
    fail("no copy was seen under way")


def live(expected):
    """Reads while small files arrive all the time."""
    known, looks, halves, grown, end = set(), 0, 0, 0, time.monotonic() + LIVE_SECONDS

    def stage(number):
        expected.stage_here(f"live-{number}.csv", LIVE_ROWS + number)

    with files_arriving(LIVE_FILES_A_SECOND, stage) as staged:
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
    print(
        f"{looks} readings while {len(staged)} files arrived; a query without columns met half a line {halves} times, "
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
        reader = READERS[name](name, expected, other)
        reader.read()
        listed = check_listed(expected, name, reader.listed())
        must(len(listed) == len(lines) - 1, f"{name}: {len(listed)} lines, of {len(lines) - 1} and a half")
    print(f"half a line at the end of a manifest is left out by {', '.join(names)}")


def main():
    words = [word for word in sys.argv[1:] if word != "--all"]
    names = list(READERS) if "--all" in sys.argv else FAST
    if len(words) < 2:
        sys.exit(__doc__)
    expected = Directory(words[1])
    match words:
        case ["stage", _, day, prefix, files, rows]:
            for number in range(int(files)):
                expected.stage_here(f"{prefix}-{number}.csv", int(rows) + number, day)
            # A name that readers could take for a pattern, a partition, or an escape.
            expected.stage_here(f"{prefix} +[a]*%20ü'=1.csv", int(rows) + int(files), day)
        case ["during", _, pid]:
            during(expected, int(pid), names)
        case ["final", _]:
            final(expected, names)
        case _:
            sys.exit(__doc__)
    expected.save()


main()
