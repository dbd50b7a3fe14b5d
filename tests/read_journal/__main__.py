#!/usr/bin/env python3
"""A second reader of csv-ingestor's journal, independent of the program: it was written from journal-format.md alone,
which shows that the document suffices. It shares no code with the program and needs only Python's standard library.

usage: python3 read_journal STATE_DIR

Prints a JSON object for each file, like `csv-ingestor journal inspect --json`. Checks everything that the document requires
of a reader, writes nothing, and takes no lock. A torn tail (the mark of a crash) is accepted.

exit codes: 0 success; 1 the journal cannot be read; 2 wrong usage, or there is no journal; 3 the journal is corrupt, or has
a newer format: then only file, offset, LSN and reason are printed, on stderr.
"""

import os
import re
import sys
import time

sys.dont_write_bytecode = True  # do not write into the source tree

from common import NUMBER_END, Corrupt, lsn_in  # noqa: E402
from records import Journal  # noqa: E402
from segment import Segment, read_inner, read_last  # noqa: E402
from snapshot import Snapshot  # noqa: E402

READINGS = 5  # before damage is reported: beside a running writer, a frame may be read half written


def read_file(state_dir, name):
    with open(os.path.join(state_dir, name), "rb") as file:
        return file.read()


def lock_has_uuid(state_dir):
    try:
        return re.fullmatch(rb".{10}\n[0-9a-f]{32}\n", read_file(state_dir, "LOCK")) is not None
    except FileNotFoundError:
        return False


def numbered(state_dir, pattern):
    """The names with that pattern, in order."""
    names = [name for name in os.listdir(state_dir) if re.fullmatch(pattern, name)]
    return sorted(name for name in names if lsn_in(name) < NUMBER_END)


def choose(state_dir):
    """The newest snapshot's name, if there is one, and the names of the segments after it, in order."""
    snapshots = numbered(state_dir, r"snap-[0-9]{20}\.snap")
    segments = numbered(state_dir, r"wal-[0-9]{20}\.log")
    if not snapshots:
        return None, segments
    return snapshots[-1], [name for name in segments if lsn_in(name) > lsn_in(snapshots[-1])]


def read_journal(state_dir):
    """The whole journal; None if there is none."""
    newest, names = choose(state_dir)
    if newest is None and not names:
        if lock_has_uuid(state_dir):
            raise Corrupt("LOCK", 0, 1, "it names a journal, but there is no segment")
        return None
    journal = Journal()
    snapshot = None
    if newest is not None:
        snapshot = Snapshot(newest, read_file(state_dir, newest))
        snapshot.read_surviving(journal)
        snapshot.read_rows(journal)
        if not names:
            raise Corrupt(newest, 0, snapshot.lsn + 1, "the segment behind it is missing")
    segments = [Segment(name, read_file(state_dir, name)) for name in names]
    read_segments(snapshot, segments, journal)
    return journal


def read_segments(snapshot, segments, journal):
    if snapshot is not None:
        segments[0].follows_snapshot(snapshot)
    else:
        segments[0].is_first()
    for segment, successor in zip(segments, segments[1:]):
        last_lsn = read_inner(segment, successor.header, journal)
        successor.follows(segment.header, last_lsn)
    read_last(segments[-1], journal)


def main(arguments):
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    state_dir, journal, problem = arguments[0], None, None
    for reading in range(READINGS if os.path.lexists(state_dir) else 0):
        time.sleep(0.05 if reading > 0 else 0)
        try:
            journal, problem = read_journal(state_dir), None
            break
        except (Corrupt, OSError) as error:  # a listed file may also have been removed since
            problem = error
    if isinstance(problem, Corrupt):
        print(f"read_journal: corrupt: {os.fsencode(state_dir).decode(errors='replace')}: {problem}", file=sys.stderr)
        return 3
    if problem is not None:
        print(f"read_journal: {problem}", file=sys.stderr)
        return 1
    if journal is None:
        print("read_journal: there is no journal", file=sys.stderr)
        return 2
    for line in journal.lines():
        sys.stdout.buffer.write(line.encode() + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
