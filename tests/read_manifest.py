"""A strict reader of manifests, written from docs/manifest-format.md alone, with Python's standard library.

    read_manifest.py check DIR [SEEN]    reads every manifest below DIR; prints a JSON object for each line
    read_manifest.py lake-lines          reads lines of one manifest object of a lake from standard input
    read_manifest.py self-test           reads many invalid manifests: it must refuse each of them

It refuses everything that the page does not allow a writer to write. A reader for daily use accepts more: unknown keys,
another order of keys, white space. SEEN is a file that records which lines were read: the next check refuses a manifest
whose whole lines do not begin with those of the check before.
"""

import base64
import datetime
import hashlib
import json
import os
import re
import stat
import sys
import tempfile

LINE_BYTES_MAX = 393_216
HEADER_FAULTS_MAX = 32
PATH_BYTES_MAX = 4_096
U64_MAX, I64_MIN, I64_MAX = 2**64 - 1, -(2**63), 2**63 - 1
URL = "(s3|gs|az)://[^/]+/|file:///"
PRIVATE = ".csv-ingestor"
DAY = "ingest_date="
MANIFEST = "manifest.jsonl"
LEVELS = ["[0-9]{4}", "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])", "([01][0-9]|2[0-3])"]
ALGORITHMS = ["md5", "sha1", "sha256", "sha384", "sha512"]

# The keys in the order of the page's table.
ALWAYS = [
    "path", "sha256", "device", "inode", "size", "mtime", "warehouse_path", "ingest_id", "journal", "seq", "ingested_at",
]
KEYS = [
    "path", "path_base64", "subdir", "subdir_base64", "name", "name_base64", "sha256", "device", "inode", "size", "mtime",
    "warehouse_path", "warehouse_path_base64", "ingest_id", "journal", "seq", "ingested_at", "verified_by", "group",
    "group_base64", "group_size", "group_known", "rows", "columns", "header", "header_faults", "malformed_line",
    "malformed_reason",
]
VALIDATED = ["rows", "columns", "header"]
MALFORMED = ["malformed_line", "malformed_reason"]


class Wrong(Exception):
    """The page does not allow this."""


def must(condition, message):
    if not condition:
        raise Wrong(message)


# ---- One line


def integer(value, low, high):
    # In Python, True is an int, and 1.0 is not.
    return type(value) is int and low <= value <= high


def matches(pattern, value):
    return type(value) is str and re.fullmatch(pattern, value, re.ASCII) is not None


def object_of(pairs):
    keys = [key for key, _ in pairs]
    must(len(set(keys)) == len(keys), "a key stands there twice")
    return dict(pairs)


def constant(text):
    raise Wrong(f"{text} is no JSON")


def relative_path(line, key):
    path = exact_bytes(line, key)
    must(b"\0" not in path and 0 < len(path) <= PATH_BYTES_MAX, f"{key} is no path")
    must(not {b"", b".", b".."} & set(path.split(b"/")), f"{key} is not a plain relative path")


def exact_bytes(line, key):
    text, exact = line[key], line.get(f"{key}_base64")
    must(type(text) is str, f"{key} is no string")
    if f"{key}_base64" not in line:
        path = text.encode()
    else:
        must(type(exact) is str, f"{key}_base64 is no string")
        try:
            path = base64.b64decode(exact, validate=True)
        except ValueError as error:
            raise Wrong(f"{key}_base64: {error}") from error
        must(base64.b64encode(path).decode() == exact, f"{key}_base64 has another form than RFC 4648, 4")
        must(path.decode("utf-8", "replace") == text, f"{key} is not the text of {key}_base64")
        try:
            path.decode()
        except UnicodeDecodeError:
            pass
        else:
            raise Wrong(f"{key}_base64 stands beside a path that is UTF-8")
    return path


def exact_path(line, key, begins="/"):
    """The path's bytes; or the URL's."""
    path = exact_bytes(line, key)
    must(re.match(begins.encode(), path) and len(path) <= PATH_BYTES_MAX, f"{key} is not an absolute path")
    must(b"\0" not in path and path.rsplit(b"/", 1)[1] not in (b"", b".", b".."), f"{key} ends in no name")
    return path


def instant(text):
    must(matches(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z", text), "ingested_at has another form")
    try:
        return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")
    except ValueError as error:
        raise Wrong(f"ingested_at: {error}") from error


def check_header_faults(line, columns):
    faults, before = line["header_faults"], 0
    must(type(faults) is list and 1 <= len(faults) <= HEADER_FAULTS_MAX, "header_faults is no array of that length")
    for fault in faults:
        must(type(fault) is dict and list(fault) == ["column", "fault", "first_column"], "a header fault has other keys")
        column, first = fault["column"], fault["first_column"]
        must(columns is not None and integer(column, before + 1, columns), "the columns of header_faults do not ascend")
        is_blank = fault["fault"] == "blank" and first is None
        must(is_blank or (fault["fault"] == "repeated" and integer(first, 1, column - 1)), "no such header fault")
        if line["header"] is not None:
            name = line["header"][column - 1]
            must(is_blank or line["header"][first - 1] == name, "a name that is not repeated")
            must(not is_blank or name.strip() == "", "a name that is not blank")
        before = column


def check_group(line, is_lake):
    present = [key for key in ["group", "group_size"] if key in line]
    must(present in ([], ["group", "group_size"]), f"{present} without the other")
    known = line.get("group_known", [])
    must(present or not ({"group_base64", "group_known"} & set(line)), "in no group, and a part of one")
    if not present:
        return
    relative_path(line, "group")
    must("group_known" not in line or (type(known) is list and len(known) > 0), "group_known is no array of members")
    must(integer(line["group_size"], 1, U64_MAX) and len(known) < line["group_size"], "group_size is too small")
    for member in known:
        must(type(member) is dict, "a known member is no object")
        keys = [key for key in ["name", "name_base64", "sha256", "ingest_id"] if key in member or key != "name_base64"]
        must(list(member) == keys, "a known member has other keys")
        relative_path(member, "name")
        must(matches("[0-9a-f]{64}", member["sha256"]), "the sha256 of a known member is not 64 hex digits")
        # In a lake, another host may have brought it.
        is_theirs = is_lake and member["ingest_id"] is None
        must(is_theirs or integer(member["ingest_id"], 1, U64_MAX), "the ingest_id of a known member is no number")


def check_validated(line):
    present = [key for key in VALIDATED if key in line]
    must(present in ([], VALIDATED), f"{present} without the others of {VALIDATED}")
    malformed = [key for key in MALFORMED if key in line]
    must(malformed in ([], MALFORMED), f"{malformed} without the other of {MALFORMED}")
    if not present:
        must(not malformed and "header_faults" not in line, "not validated, and a result of it")
        return
    rows, columns, header = (line[key] for key in VALIDATED)
    must(rows is None or integer(rows, 0, U64_MAX), "rows is no number")
    must(columns is None or integer(columns, 1, U64_MAX), "columns is no number")
    is_array = type(header) is list and all(type(name) is str for name in header)
    must(header is None or is_array, "header is no array of strings")
    must(header is None or len(header) == columns, "header has another number of names than columns says")
    must((rows is None) == bool(malformed), "rows is null if and only if the file is malformed")
    must(columns is not None or rows in (None, 0), "there are rows without columns")
    if "header_faults" in line:
        check_header_faults(line, columns)
    if malformed:
        must(integer(line["malformed_line"], 1, U64_MAX), "malformed_line is no number")
        must(type(line["malformed_reason"]) is str and line["malformed_reason"] != "", "malformed_reason is no text")


def parse(raw, hour=None, is_lake=False):
    """Parses and checks a line without its newline; `hour` is YYYY/MM/DD/HH of its manifest."""
    must(len(raw) <= LINE_BYTES_MAX, "it is too long")
    must(b"\0" not in raw, "it holds zeros")
    try:
        text = raw.decode()
        line = json.loads(text, object_pairs_hook=object_of, parse_constant=constant)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Wrong(f"no JSON in UTF-8: {error}") from error
    must(type(line) is dict, "it is no object")
    missing = [key for key in ALWAYS if key not in line]
    must(not missing, f"{missing} are missing")
    unknown = [key for key in line if key not in KEYS]
    must(not unknown, f"{unknown} are not on the page")
    must(list(line) == [key for key in KEYS if key in line], "its keys have another order")
    try:
        plain = json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise Wrong(f"half a surrogate pair: {error}") from error
    must(raw == plain, "it is written in another form")
    must(matches("[0-9a-f]{64}", line["sha256"]), "sha256 is not 64 hex digits")
    must(matches("[0-9a-f]{32}", line["journal"]), "journal is not 32 hex digits")
    for key in ["device", "inode", "size"]:
        must(integer(line[key], 0, U64_MAX), f"{key} is no number")
    must(integer(line["ingest_id"], 1, U64_MAX), "ingest_id is no number")
    must(integer(line["seq"], 1, U64_MAX), "seq is no number")
    must(integer(line["mtime"], I64_MIN, I64_MAX), "mtime is no number")
    at = instant(line["ingested_at"])
    must(hour is None or at.strftime("%Y/%m/%d/%H") == hour, "it stands in the manifest of another hour")
    path = exact_path(line, "path")
    must("subdir" in line or "subdir_base64" not in line, "subdir_base64 without subdir")
    if "subdir" in line:
        subdir = exact_bytes(line, "subdir")
        parts = subdir.split(b"/")
        must(all(part not in (b"", b".", b"..") for part in parts) and b"\0" not in subdir, "subdir is no relative path")
        must(path.rsplit(b"/", 1)[0].endswith(b"/" + subdir), "path is not in subdir")
    if "name" in line:
        name = exact_bytes(line, "name")
        must(name != b"" and path.endswith(b"/" + name), "name is not the end of path")
    must("name" in line or "name_base64" not in line, "name_base64 without name")
    for name in exact_path(line, "warehouse_path", URL if is_lake else "/").split(b"/")[:-1]:
        day = name.decode("utf-8", "replace")
        must(not day.startswith(DAY) or day == f"{DAY}{at:%Y-%m-%d}", "it names the partition of another day")
    must("verified_by" not in line or line["verified_by"] in ALGORITHMS, "verified_by names no algorithm")
    check_group(line, is_lake)
    check_validated(line)
    return line


# ---- All manifests


def hours(top):
    """The manifests' hours, oldest first; refuses a directory with another layout."""
    found = [""]
    for depth, pattern in enumerate(LEVELS):
        below = []
        for parent in found:
            for name in sorted(os.listdir(os.path.join(top, parent))):
                path = os.path.join(parent, name)
                if depth == 0 and name == PRIVATE:
                    continue
                must(matches(pattern, name), f"{path}: no name of a year, month, day or hour")
                must(os.path.isdir(os.path.join(top, path)), f"{path} is no directory")
                below.append(path)
        found = below
    with_manifest = []
    for hour in found:
        names = os.listdir(os.path.join(top, hour))
        must(names in ([], [MANIFEST]), f"{hour} holds {names}")
        with_manifest += [hour] * len(names)
    return with_manifest


class Reader:
    """Reads the manifests repeatedly: lines that it has read once must stay."""

    def __init__(self, top):
        # By hour: the number of bytes of whole lines, and their SHA-256.
        self.top, self.seen = top, {}

    def load(self, path):
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                self.seen = json.load(file)

    def save(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.seen, file)

    def read(self):
        """All lines, as objects."""
        there = hours(self.top)
        must(set(self.seen) <= set(there), f"manifests are gone: {set(self.seen) - set(there)}")
        lines = []
        for hour in there:
            path = os.path.join(self.top, hour, MANIFEST)
            must(stat.S_ISREG(os.lstat(path).st_mode), f"{path} is no regular file")
            with open(path, "rb") as file:
                data = file.read()
            lines += self.lines_of(hour, data)
        check_together(lines)
        return lines

    def lines_of(self, hour, data):
        whole = data[: data.rfind(b"\n") + 1]
        tail = data[len(whole) :]
        begin = b'{"path":"/'
        must(tail[: len(begin)] == begin[: len(tail)], f"{hour}: behind the last newline stands {tail[:40]}")
        must(len(tail) <= LINE_BYTES_MAX, f"{hour}: the tail is too long")
        length, digest = self.seen.get(hour, (0, hashlib.sha256().hexdigest()))
        must(hashlib.sha256(whole[:length]).hexdigest() == digest, f"{hour}: lines that were there are not any more")
        self.seen[hour] = (len(whole), hashlib.sha256(whole).hexdigest())
        lines, last = [], {}
        for number, raw in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                lines.append(parse(raw, hour))
            except Wrong as wrong:
                raise Wrong(f"{hour}, line {number}: {wrong}: {raw[:400]}") from wrong
            journal, seq = lines[-1]["journal"], lines[-1]["seq"]
            must(seq > last.get(journal, 0), f"{hour}, line {number}: number {seq} after {last.get(journal)}")
            last[journal] = seq
        return lines


def check_together(lines):
    """Checks that no file has two lines; nor, as long as nothing was forgotten, a content, under its name if it has one."""
    by_content = ("journal", "sha256", "name", "name_base64")
    for what in [("journal", "ingest_id"), ("journal", "seq"), by_content, ("warehouse_path", "warehouse_path_base64")]:
        known = set()
        for line in lines:
            value = tuple(line.get(key) for key in what)
            must(value not in known, f"{what}: {value} is listed twice")
            known.add(value)


# ---- Cases that it must refuse

GOOD = {
    "path": "/staging/orders.csv",
    "sha256": "06bf5c5a6bb108c7d25502b37ebf56d904f7438f0d36d45edf4cf126c9e4a715",
    "device": 65024,
    "inode": 10174696,
    "size": 46,
    "mtime": -1,
    "warehouse_path": "/warehouse/ingest_date=2026-11-23/orders.csv",
    "ingest_id": 6,
    "journal": "9c1b44de7a0f4d1c8a52b3f0c6d7e891",
    "seq": 1,
    "ingested_at": "2026-11-23T20:02:42.965Z",
}
CSV = {"rows": 2, "columns": 2, "header": ["id", "name"]}
BAD_CSV = {"rows": None, "columns": 2, "header": None, "malformed_line": 3, "malformed_reason": "it is not UTF-8"}
BAD_END = {"malformed_line": 3, "malformed_reason": "it is not UTF-8"}
BLANK = {"column": 2, "fault": "blank", "first_column": None}
REPEATED = {"column": 3, "fault": "repeated", "first_column": 1}
NAMES = {"rows": 0, "columns": 3, "header": ["id", " ", "id"], "header_faults": [BLANK, REPEATED]}
KNOWN = {"name": "b.csv", "sha256": "a" * 64, "ingest_id": 3}
GROUP = {"group": "close.group", "group_size": 3, "group_known": [KNOWN]}
ODD_NAME = {"name": "o\ufffd", "name_base64": base64.b64encode(b"o\xff").decode(), "sha256": "a" * 64, "ingest_id": 3}
ODD = {"path": "/staging/o\ufffd.csv", "path_base64": base64.b64encode(b"/staging/o\xff.csv").decode()}
BELOW = {"path": "/staging/a/b c/orders.csv", "subdir": "a/b c"}
ODD_BELOW = {
    "path": "/staging/o\ufffd/a.csv", "path_base64": base64.b64encode(b"/staging/o\xff/a.csv").decode(),
    "subdir": "o\ufffd", "subdir_base64": base64.b64encode(b"o\xff").decode(),
}
HOUR = "2026/11/23/20"


def written(line):
    return json.dumps({key: line[key] for key in KEYS if key in line}, ensure_ascii=False, separators=(",", ":")).encode()


def good_lines():
    yield written(GOOD)
    yield written(GOOD | CSV)
    yield written(GOOD | BAD_CSV)
    yield written(GOOD | NAMES)
    yield written(GOOD | NAMES | {"header": None})
    yield written(GOOD | {"rows": 0, "columns": None, "header": None})
    yield written(GOOD | ODD)
    yield written(GOOD | GROUP | CSV)
    yield written(GOOD | {"verified_by": "sha256", "group": "sub/close.group", "group_size": 1})
    yield written(GOOD | GROUP | {"group_known": [ODD_NAME, KNOWN]})
    yield written(GOOD | BELOW)
    yield written(GOOD | ODD_BELOW)
    yield written(GOOD | {"warehouse_path": "/warehouse/source=a%3Db/event_date=2026-01-02/orders.csv"})
    yield written(GOOD | {"warehouse_path": "/warehouse/source=crm/ingest_date=2026-11-23/orders.csv"})
    yield written(GOOD | {"name": "orders.csv"})
    yield written(GOOD | {"path": "/staging/sub/orders.csv", "name": "sub/orders.csv"})
    yield written(GOOD | ODD | {"name": "o\ufffd.csv", "name_base64": base64.b64encode(b"o\xff.csv").decode()})
    yield written(GOOD | {"verified_by": "md5", "path": '/staging/a"\\\n\x7f\u2028é.csv', "inode": U64_MAX})


def bad_lines():
    for key in ALWAYS:
        yield f"without {key}", written({name: value for name, value in GOOD.items() if name != key})
        yield f"{key} null", written(GOOD | {key: None})
        other = str(GOOD[key]) if type(GOOD[key]) is int else 7
        yield f"{key} of another type", written(GOOD | {key: other})
    for key in ["device", "inode", "size", "ingest_id"]:
        yield f"{key} negative", written(GOOD | {key: -1})
        yield f"{key} too large", written(GOOD | {key: 2**64})
        yield f"{key} with a point", written(GOOD | {key: 7.0})
        yield f"{key} true", written(GOOD | {key: True})
    for key, value in [
        ("sha256", GOOD["sha256"].upper()),
        ("sha256", GOOD["sha256"][1:]),
        ("journal", GOOD["journal"] + "0"),
        ("seq", 0),
        ("seq", "1"),
        ("path", "staging/orders.csv"),
        ("path", "/staging/"),
        ("path", "/" + "x" * PATH_BYTES_MAX),
        ("warehouse_path", "warehouse/orders.csv"),
        ("warehouse_path", "/warehouse/ingest_date=2026-11-24/source=crm/orders.csv"),
        ("warehouse_path", "/warehouse/ingest_date=2026-11-24/orders.csv"),
        ("ingested_at", "2026-11-23T20:02:42Z"),
        ("ingested_at", "2026-11-23T20:02:42.965+00:00"),
        ("ingested_at", "2026-11-23T20:61:42.965Z"),
        ("verified_by", "crc32"),
        ("verified_by", None),
        ("later", 1),
        ("path_base64", base64.b64encode(b"/staging/orders.csv").decode()),
        ("path_base64", 7),
        ("warehouse_path_base64", "!"),
        ("name", "order.csv"),
        ("name", "rders.csv"),
        ("name", ""),
        ("name", None),
        ("name_base64", base64.b64encode(b"o\xff.csv").decode()),
    ]:
        line = GOOD | {key: value}
        raw = written(line) if key in KEYS else json.dumps(line, separators=(",", ":")).encode()
        yield f"{key}: {value}", raw
    for subdir in ["", "/a", "a/", "a//b", "a/../b", "a", "b", None, 7]:
        yield f"subdir {subdir}", written(GOOD | BELOW | {"subdir": subdir})
    yield "another exact subdir", written(GOOD | ODD_BELOW | {"subdir": "o"})
    yield "subdir_base64 alone", written(GOOD | {"subdir_base64": "bw=="})
    yield "another exact path", written(GOOD | ODD | {"path": "/staging/o.csv"})
    yield "base64 with other bits at its end", written(GOOD | {"path": "/o\ufffd.c", "path_base64": "L2//LmN="})
    for more in [
        {"group": "close.group"},
        {"group_size": 3},
        {"group_known": [KNOWN]},
        GROUP | {"group": "/in/close.group"},
        GROUP | {"group": "../close.group"},
        GROUP | {"group": ""},
        GROUP | {"group_size": 1},
        GROUP | {"group_size": "3"},
        GROUP | {"group_known": []},
        GROUP | {"group_known": [KNOWN | {"later": 1}]},
        GROUP | {"group_known": [KNOWN | {"sha256": "A" * 64}]},
        GROUP | {"group_known": [KNOWN | {"ingest_id": 0}]},
        GROUP | {"group_known": [KNOWN | {"ingest_id": None}]},
        {"rows": 2},
        {"rows": 2, "columns": 2},
        CSV | {"rows": -1},
        CSV | {"rows": 2.5},
        CSV | {"columns": 0},
        CSV | {"columns": 0, "header": []},
        CSV | {"columns": 3},
        CSV | {"columns": 40_000, "header": ["x" * 8] * 40_000},
        CSV | {"header": "id,name"},
        CSV | {"header": ["id", 2]},
        CSV | {"rows": None},
        CSV | {"columns": None, "header": None},
        CSV | {"malformed_line": 3},
        BAD_CSV | {"rows": 2},
        BAD_CSV | {"malformed_line": 0},
        BAD_CSV | {"malformed_reason": ""},
        {"malformed_line": 3, "malformed_reason": "it is not UTF-8"},
        {"header_faults": [BLANK]},
        NAMES | {"header_faults": []},
        NAMES | {"header_faults": [REPEATED, BLANK]},
        NAMES | {"header_faults": [BLANK | {"column": 4}]},
        NAMES | {"header_faults": [BLANK | {"column": 1}]},
        NAMES | {"header_faults": [BLANK | {"first_column": 1}]},
        NAMES | {"header_faults": [REPEATED | {"first_column": 3}]},
        NAMES | {"header_faults": [REPEATED | {"first_column": None}]},
        NAMES | {"header_faults": [REPEATED | {"fault": "odd"}]},
        NAMES | {"header": ["id", "x", "id"]},
        NAMES | {"columns": None, "header": None, "rows": None} | BAD_END,
        {key: value for key, value in BAD_CSV.items() if key != "malformed_reason"},
        {key: value for key, value in BAD_CSV.items() if key != "malformed_line"},
    ]:
        yield f"validated: {more}", written(GOOD | more)
    line = written(GOOD)
    yield "another order", json.dumps(dict(reversed(GOOD.items())), separators=(",", ":")).encode()
    yield "a blank", line.replace(b":", b": ", 1)
    yield "an escape that is not needed", line.replace(b"/staging", b"\\/staging")
    yield "a key twice", line.replace(b'"device":65024', b'"device":65024,"device":65024')
    yield "no UTF-8", line.replace(b"orders", b"orders\xff")
    yield "half a surrogate pair", line.replace(b"orders", b"\\ud800")
    yield "zeros", line.replace(b"staging", b"\0\0\0\0\0\0\0")
    yield "an array", json.dumps(list(GOOD.values()), separators=(",", ":")).encode()
    yield "cut off", line[:-1]
    yield "empty", b""
    yield "two in one", line + line


def self_test():
    for raw in good_lines():
        parse(raw, HOUR)
    count = 0
    for what, raw in bad_lines():
        try:
            parse(raw, HOUR)
        except Wrong:
            count += 1
        else:
            sys.exit(f"read_manifest: not refused: {what}: {raw[:400]}")
    line = written(GOOD) + b"\n"
    other = written(GOOD | {"ingest_id": 7, "seq": 2, "sha256": "0" * 64, "warehouse_path": GOOD["warehouse_path"] + "x"}) + b"\n"
    second = {"path": "/staging/o.csv", "name": "o.csv", "ingest_id": 8, "seq": 2, "warehouse_path": GOOD["warehouse_path"] + "y"}
    named = [written(GOOD | {"name": "orders.csv"} | more) + b"\n" for more in ({}, second)]
    fine = [[b"".join(named)], [line], [line, line + other], [b"", line], [line + other[:9], line + other], [line + other[:70]]]
    wrong = [
        [named[1] + named[1].replace(b'":8,"', b'":9,"').replace(b'"seq":2', b'"seq":3').replace(b"csvy", b"csvz")],
        [line + line],
        [line + other, line],
        [line, other + line],
        [line + other, other + line],
        [line, line[:-2]],
        [line + b"\0" * 40],
        [line + b"# a note"],
        [line + other[:10] + b"x" * LINE_BYTES_MAX],
        [line + b"\n"],
        [line + other.replace(b'"ingest_id":7', b'"ingest_id":6')],
        [line + other.replace(b'"seq":2', b'"seq":1')],
    ]
    for is_fine, histories in [(True, fine), (False, wrong)]:
        for history in histories:
            reader, refused = Reader("/"), None
            try:
                for data in history:
                    check_together(reader.lines_of(HOUR, data))
            except Wrong as error:
                refused = error
            if (refused is None) != is_fine:
                sys.exit(f"read_manifest: {'refused' if is_fine else 'not refused'}: {history}: {refused}")
    try:
        parse(written(GOOD), "2026/11/23/21")
    except Wrong:
        pass
    else:
        sys.exit("read_manifest: not refused: the manifest of another hour")
    test_places()
    layouts = wrong_layouts(line)
    print(f"{count} wrong lines, {len(wrong)} wrong manifests, {layouts} wrong directories and a wrong hour are refused")


def test_places():
    """A line of a directory does not pass for one of a lake, nor the other way round."""
    of_lake = GOOD | {"warehouse_path": "s3://lake/warehouse/ingest_date=2026-11-23/orders-06bf5c5a.csv"}
    url, theirs = written(of_lake), KNOWN | {"ingest_id": None}
    for known in [[KNOWN], [theirs], [theirs, KNOWN]]:
        parse(written(of_lake | GROUP | {"group_known": known}), HOUR, is_lake=True)
    parse(url, HOUR, is_lake=True)
    for ingest_id in [0, "null", False]:
        known = [KNOWN | {"ingest_id": ingest_id}]
        try:
            parse(written(of_lake | GROUP | {"group_known": known}), HOUR, is_lake=True)
        except Wrong:
            continue
        sys.exit(f"read_manifest: not refused: {known}")
    for raw, is_lake in [(url, False), (written(GOOD), True), (url.replace(b"-23/", b"-24/"), True), (url.replace(b"s3", b"x"), True)]:
        try:
            parse(raw, HOUR, is_lake)
        except Wrong:
            continue
        sys.exit(f"read_manifest: not refused: {raw[:400]}")


def wrong_layouts(line):
    """Makes directories with wrong layouts, each from a right one; returns their number."""

    def rename(old, new):
        return lambda top: os.rename(os.path.join(top, old), os.path.join(top, new))

    def write(name):
        return lambda top: open(os.path.join(top, name), "x").close()

    def link(top):
        manifest = os.path.join(top, HOUR, MANIFEST)
        os.rename(manifest, f"{top}.elsewhere")
        os.symlink(f"{top}.elsewhere", manifest)

    changes = [
        rename("2026", "26"),
        rename("2026/11", "2026/13"),
        rename("2026/11/23", "2026/11/00"),
        rename(HOUR, "2026/11/23/24"),
        rename(HOUR, "2026/11/23/21"),
        rename(HOUR, ".csv-ingestor/gone"),
        rename(f"{HOUR}/{MANIFEST}", f"{HOUR}/other.jsonl"),
        write("2026/11/24"),
        write("notes"),
        write(f"{HOUR}/notes"),
        link,
    ]
    for number, change in enumerate(changes):
        with tempfile.TemporaryDirectory() as parent:
            top = os.path.join(parent, "manifests")
            os.makedirs(os.path.join(top, HOUR))
            os.mkdir(os.path.join(top, PRIVATE))
            with open(os.path.join(top, HOUR, MANIFEST), "wb") as file:
                file.write(line)
            reader = Reader(top)
            reader.read()
            change(top)
            try:
                reader.read()
            except Wrong:
                continue
            sys.exit(f"read_manifest: not refused: wrong directories, {number}")
    return len(changes)


def main():
    match sys.argv[1:]:
        case ["self-test"]:
            self_test()
        case ["lake-lines"]:
            try:
                raws = sys.stdin.buffer.read().removesuffix(b"\n").split(b"\n")
                check_together([parse(raw, is_lake=True) for raw in raws])
            except Wrong as wrong:
                sys.exit(f"read_manifest: {wrong}")
        case ["check", top, *seen] if len(seen) <= 1:
            reader = Reader(top)
            for path in seen:
                reader.load(path)
            try:
                lines = reader.read()
            except Wrong as wrong:
                sys.exit(f"read_manifest: {wrong}")
            for path in seen:
                reader.save(path)
            for line in lines:
                print(json.dumps(line))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
