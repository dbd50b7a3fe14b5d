"""Checks a warehouse from outside, for scripts/check_upstreams.

    watch_warehouse.py watch WAREHOUSE SUMS           until SIGTERM: every visible file is a whole one
    watch_warehouse.py check DIR SUMS LOG             at the end: each content once, with one line, and no other file

SUMS is the output of `sha256sum` for every content that was sent, and no other. DIR has staging, warehouse and manifests.
Exit code 1, with a line for each problem, if a check fails.
"""

import hashlib
import json
import os
import signal
import sys
import time

PAUSE_SECONDS = 0.01  # between two scans; for known names, a scan is a few system calls


def read_sums(path):
    """The names by SHA-256."""
    with open(path, encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split("  ", 1) for line in lines)


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible(top):
    """The files below it that a reader finds, which skips names beginning with a dot."""
    for entry in os.scandir(top):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from visible(entry.path)
        else:
            yield entry.path


def identity(path):
    stat = os.stat(path, follow_symlinks=False)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


class Watch:
    def __init__(self, warehouse, sums):
        self.warehouse, self.sums = warehouse, read_sums(sums)
        self.looks, self.seen, self.problems, self.ends = 0, {}, [], False

    def look(self):
        self.looks += 1
        for path in visible(self.warehouse):
            try:
                found = identity(path)
                if self.seen.get(path) == found:
                    continue
                if path in self.seen:
                    self.problems.append(f"changed in the warehouse: {path}")
                self.seen[path] = found
                if sha256_of(path) not in self.sums:
                    self.problems.append(f"no whole file, {found[1]} bytes: {path}")
            except FileNotFoundError:
                self.problems.append(f"vanished from the warehouse: {path}")
        for path in [path for path in self.seen if not os.path.exists(path)]:
            self.problems.append(f"vanished from the warehouse: {path}")
            del self.seen[path]

    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "ends", True))
        while not self.ends:
            self.look()
            time.sleep(PAUSE_SECONDS)
        self.look()
        print(f"{self.looks} looks at the warehouse saw {len(self.seen)} files")
        return self.problems


def manifest_lines(manifests):
    for path in visible(manifests):
        with open(path, "rb") as file:
            data = file.read()
        if not data.endswith(b"\n"):
            yield path, None
        for line in data.splitlines():
            yield path, json.loads(line)


def check(top, sums, log):
    problems, known = [], read_sums(sums)
    staging, warehouse = os.path.join(top, "staging"), os.path.join(top, "warehouse")
    published, listed, ids = {}, {}, set()
    for path in visible(warehouse):
        sha256 = sha256_of(path)
        if sha256 not in known:
            problems.append(f"in the warehouse, and never sent: {path}")
        if sha256 in published:
            problems.append(f"twice in the warehouse: {path} and {published[sha256]}")
        published[sha256] = path
    for path, line in manifest_lines(os.path.join(top, "manifests")):
        if line is None:
            problems.append(f"ends in the middle of a line: {path}")
            continue
        sha256 = line["sha256"]
        if sha256 in listed:
            problems.append(f"listed twice: {line}")
        listed[sha256] = line
        ids.add(line["ingest_id"])
        if published.get(sha256) != line["warehouse_path"]:
            problems.append(f"listed, but not at its place: {line}")
        elif os.path.getsize(line["warehouse_path"]) != line["size"]:
            problems.append(f"listed with another size: {line}")
        if os.path.dirname(line["path"]) != staging:
            problems.append(f"listed with a path outside of staging: {line}")
        if os.path.basename(line["path"]) != known.get(sha256):
            problems.append(f"listed under another name than {known.get(sha256)} was sent: {line}")
    if len(ids) != len(listed):
        problems.append("an ingest_id is there twice")
    for sha256, name in known.items():
        if sha256 not in published:
            problems.append(f"not in the warehouse: {name}")
        if sha256 not in listed:
            problems.append(f"in no manifest: {name}")
    for parent, _, names in os.walk(staging):
        problems += [f"left in staging: {os.path.join(parent, name)}" for name in names]
    for parent, _, names in os.walk(os.path.join(warehouse, ".csv-ingestor")):
        problems += [f"an unfinished copy is left: {os.path.join(parent, name)}" for name in names]
    with open(log, encoding="utf-8") as lines:
        problems += [f"logged: {line}" for line in map(str.strip, lines) if json.loads(line)["level"] in ("error", "warn")]
    print(f"{len(published)} files in the warehouse, {len(listed)} manifest lines, for {len(known)} contents")
    return problems


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "watch":
        problems = Watch(*sys.argv[2:]).run()
    elif len(sys.argv) == 5 and sys.argv[1] == "check":
        problems = check(*sys.argv[2:])
    else:
        sys.exit(__doc__)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
