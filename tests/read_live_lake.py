"""Reads a lake with the code blocks of docs/reading.md (readers.py), for scripts/check_lake_readers.

    read_live_lake.py stage DIR               puts files into the staging directories of both hosts
    read_live_lake.py during DIR PID          reads while files arrive at both, and while host b, PID, is killed
    read_live_lake.py final DIR [pyspark]     waits until every staged file is ingested, and reads them

DIR has host-a/staging, host-b/staging, and expected.json with the staged files. The lake is s3://lake, at AWS_ENDPOINT_URL.
FILER is the URL at which SeaweedFS shows uploads that are not complete.
"""

import json
import os
import re
import signal
import sys
import time
import urllib.parse
import urllib.request

import read_manifest
from readers import DEADLINE_SECONDS, FAST, LIVE_ROWS, LIVE_SECONDS
from readers import DuckDB, Expected, files_arriving, look, look_every_way, must, readers

HOSTS = "ab"
# Uploads of one part, 9 MB, and of two, 18 MB. Files of up to 8 MiB are not uploaded in parts.
LARGE_ROWS, LARGER_ROWS = 360_000, 700_000
# A reader makes several requests for each file: with more files each look takes longer, and there are fewer.
LIVE_FILES_A_SECOND = 5
# So many files apart there is a large one.
LARGE_EVERY = 8


class Objects(read_manifest.Reader):
    """The manifest objects: each stays as it was when it was read first."""

    def __init__(self, lake):
        super().__init__(lake.manifests)
        self.lake = lake

    def read(self):
        duckdb = DuckDB("duckdb", self.lake)
        duckdb.connect()
        found = dict(duckdb.db.sql(f"SELECT filename, content FROM read_text('{self.top}/*/*/*/*/*.jsonl')").fetchall())
        read_manifest.must(set(self.seen) <= set(found), f"manifest objects are gone: {set(self.seen) - set(found)}")
        lines = []
        for name, content in found.items():
            read_manifest.must(self.seen.setdefault(name, content) == content, f"{name} has changed")
            read_manifest.must(content.endswith("\n"), f"{name} does not end with a newline")
            hour = os.path.dirname(name).removeprefix(f"{self.top}/")
            lines += [read_manifest.parse(raw.encode(), hour, is_lake=True) for raw in content[:-1].split("\n")]
        read_manifest.check_together(lines)
        return lines


class Lake(Expected):
    """A lake, where an object's name has the SHA-256 of its content."""

    IS_LAKE = True
    PATTERNS = ["**/*.csv"]
    warehouse, manifests = "s3://lake/warehouse", "s3://lake/manifests"

    def __init__(self, top):
        super().__init__(top)
        self.stagings = [os.path.join(top, f"host-{host}", "staging") for host in HOSTS]
        self.strict = Objects(self)
        self.strict.load(self.seen)

    def names(self, manifests):
        return {
            "s3://bucket/warehouse": self.warehouse,
            "s3://bucket/manifests": manifests,
            "s3a://bucket/": "s3a://lake/",
            "storage.example:8333": urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc,
            "ACCESS-KEY": os.environ["AWS_ACCESS_KEY_ID"],
            "SECRET-KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        }

    def stage_here(self, number, name, rows):
        """Puts a file into the staging directory of host a, of host b, or of both."""
        self.stage([self.stagings, self.stagings[:1], self.stagings[1:]][number % 3], name, rows)

    def place(self, name, day):
        stem, extension = os.path.splitext(name)
        key = f"{urllib.parse.quote(stem, safe='=')}-{self.files[name]['sha256'][:32]}{extension}"
        return f"{self.warehouse}/ingest_date={day}/{key}"

    def name_at(self, path):
        digits = re.search(r"-([0-9a-f]{32})\.csv$", path).group(1)
        return next(name for name, file in self.files.items() if file["sha256"].startswith(digits))

    def is_there(self, path, size):
        """Whether it is there is seen where its rows are counted: of each file that is listed."""
        return path == self.place(self.name_at(path), re.search(r"/ingest_date=([0-9-]+)/", path).group(1))


def uploads():
    """The uploads that SeaweedFS knows and that are not complete."""
    request = urllib.request.Request(f"{os.environ['FILER']}/buckets/lake/.uploads/", headers={"Accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return [entry["FullPath"] for entry in json.load(answer)["Entries"] or []]


def live(lake):
    """Reads while files arrive all the time, at both hosts."""

    def stage(number):
        is_large = number % LARGE_EVERY == LARGE_EVERY - 1
        lake.stage_here(number, f"live-{number}.csv", number + (LARGE_ROWS if is_large else LIVE_ROWS))

    known, looks, under_way, end = set(), 0, 0, time.monotonic() + LIVE_SECONDS
    with files_arriving(LIVE_FILES_A_SECOND, stage) as staged:
        while time.monotonic() < end or looks < 2:
            for reader in readers(lake, FAST):
                there = uploads()
                known = look(lake, reader, known)[1]
                looks += 1
                under_way += bool(there + uploads())
    print(f"{looks} readings while {len(staged)} files arrived at two hosts, {under_way} while an upload was under way")
    return known


def killed(lake, pid, known):
    """Kills a host in the middle of an upload: nobody sees anything of it."""
    end = time.monotonic() + DEADLINE_SECONDS
    while uploads() or any(map(os.listdir, lake.stagings)):
        must(time.monotonic() < end, "not everything came")
    lake.stage(lake.stagings[1:], "killed.csv", LARGER_ROWS + 1)
    while not uploads():
        must(time.monotonic() < end, "no upload was seen under way")
    os.kill(pid, signal.SIGKILL)
    for reader in readers(lake, FAST):
        listed, found = look(lake, reader, known)
        must(uploads() and "killed.csv" not in found, "the upload was complete before it was looked at")
        everything = reader.found_by("*/*.csv")
        must(len(everything) >= len(found), f"{reader.name}: another pattern has {len(everything)} files, not {len(found)}")
    print(f"killed in the middle of an upload: {len(found)} files, {len(listed)} lines, nothing of the upload")


def final(lake, names):
    end = time.monotonic() + DEADLINE_SECONDS
    while len(lake.strictly_listed()) < len(lake.files):
        must(time.monotonic() < end, "not everything came")
        time.sleep(0.5)
    listed, found = look_every_way(lake, names)
    must(listed == found == set(lake.files), "something is missing, or too much")
    rows = sum(file["rows"] for file in lake.files.values())
    print(f"at the end: all {len(found)} files, {rows} rows, by pattern and by manifest the same to {', '.join(names)}")


def main():
    words = sys.argv[1:]
    if len(words) < 2:
        sys.exit(__doc__)
    lake = Lake(words[1])
    match words:
        case ["stage", _]:
            for number in range(9):
                lake.stage_here(number, f"first-{number}.csv", LIVE_ROWS + number)
            # A name that readers could take for a pattern, a partition, or an escape.
            lake.stage_here(0, "first +[a]*%20ü'=1.csv", LIVE_ROWS)
            lake.stage_here(0, "first-large.csv", LARGER_ROWS)
        case ["during", _, pid]:
            killed(lake, int(pid), live(lake))
        case ["final", _, *others]:
            final(lake, FAST + others)
        case _:
            sys.exit(__doc__)
    lake.save()


main()
