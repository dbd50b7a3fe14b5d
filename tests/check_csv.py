"""Reads small CSV files, plain and compressed, with the ingestor and with three readers in strict mode: Python's csv, DuckDB and Polars.

check_csv.py PROGRAM DIR [--list]

A verdict is "malformed", or the numbers of rows and columns. If a reader's verdict differs, DIFFERENCES has it, with the
reason; any other difference fails, and so does an entry that no longer applies. --list prints every verdict.
"""

import collections
import csv
import gzip
import itertools
import json
import os
import pathlib
import subprocess
import sys
import zlib

import duckdb
import polars

MALFORMED = "malformed"

Look = collections.namedtuple("Look", "suffix delimiter quote comment skip", defaults=(",", '"', None, 0))

# For each group of files, how they are read.
GROUPS = {
    "commas": Look(".csv"),
    "semicolons": Look(".csv", ";"),
    "tabs": Look(".tsv", "\t", None),
    "comments": Look(".csv", comment="#"),
    "titles": Look(".csv", ";", skip=2),
    "packed": Look(".csv.gz"),
    "cut": Look(".csv.gz"),
}

BOM = b"\xef\xbb\xbf"
COMMAS = {
    "plain": b"id,name\n1,Ada\n2,Bob\n",
    "no-last-end": b"id,name\n1,Ada\n2,Bob",
    "crlf": b"id,name\r\n1,Ada\r\n2,Bob\r\n",
    "crlf-no-last-end": b"id,name\r\n1,Ada\r\n2,Bob",
    "mixed-ends": b"id,name\n1,Ada\r\n2,Bob\n",
    "mark": BOM + b"id,name\n1,Ada\n",
    "mark-quoted": BOM + b'"id","name"\n1,Ada\n',
    "header-only": b"id,name\n",
    "header-only-no-end": b"id,name",
    "quoted": b'id,name\n1,"Ada"\n',
    "all-quoted": b'"id","name"\n"1","Ada"\n',
    "quoted-comma": b'id,name\n1,"A, da"\n',
    "quoted-lf": b'id,name\n1,"A\nda"\n2,x\n',
    "quoted-crlf": b'id,name\r\n1,"A\r\nda"\r\n2,x\r\n',
    "quoted-empty": b'id,name\n1,""\n"",2\n',
    "doubled": b'id,name\n1,"A ""x"" da"\n',
    "doubled-alone": b'id,name\n1,""""\n',
    "doubled-at-the-ends": b'id,name\n1,"""x"""\n',
    "quoted-header": b'"i,d","na\nme"\n1,2\n',
    "empty-fields": b"a,b,c\n,,\n,2,\n",
    "trailing-comma": b"a,b,\n1,2,3\n",
    "blanks": b"a,b\n 1 , 2 \n",
    "blank-line-between": b"a,b\n1,2\n\n3,4\n",
    "blank-line-crlf": b"a,b\r\n1,2\r\n\r\n3,4\r\n",
    "blank-lines-last": b"a,b\n1,2\n\n\n",
    "blank-line-first": b"\na,b\n1,2\n",
    "utf-8": "größe,名\n1,𝄞\n".encode(),
    "apostrophe": b"a,b\nit's,o'clock\n",
    "tabs-inside": b"a,b\n1\t2,3\n",
    "wide": ",".join(f"c{n}" for n in range(300)).encode() + b"\n" + b",".join([b"1"] * 300) + b"\n",
    "long-field": b"a,b\n1," + b"x" * 70_000 + b"\n",
    "long-quoted": b'a,b\n1,"' + b"x,\n" * 9_000 + b'"\n2,3\n',
    "many": b"a,b\n" + b"1,2\n" * 5_000,
    "one-column": b"a\n1\n2\n",
    "one-column-blank": b"email\na@x\n\nb@x\n",
    "one-column-blank-last": b"foo\n\n",
    "one-column-blanks-last": b"foo\n1\n\n\n",
    "one-column-blank-crlf": b"email\r\na@x\r\n\r\nb@x\r\n",
    "one-column-quoted-empty": b'foo\n""\n""\n',
    "one-column-quoted-lf": b'foo\n"a\n\nb"\n',
    "too-many": b"a,b\n1,2\n1,2,3\n",
    "too-few": b"a,b,c\n1,2,3\n1,2\n",
    "too-few-last": b"a,b,c\n1,2,3\n1,2",
    "too-few-quoted": b'a,b\n"1"\n',
    "too-many-quoted": b'a,b\n"1","2","3"\n',
    "blanks-alone": b"a,b\n1,2\n  \n",
    "open-quote": b'id,name\n1,"Ada\n2,Bob\n',
    "open-quote-last": b'id,name\n1,Ada\n2,"Bob',
    "open-quote-comma": b'a,b\n1,2\n"3,4\n',
    "behind-a-quote": b'id,name\n1,"x"y\n2,Bob\n',
    "behind-a-quote-blank": b'id,name\n1,"x" \n2,Bob\n',
    "behind-a-quote-first": b'id,name\n"x"y,1\n2,Bob\n',
    "inside": b'id,name\n1,5" pipe\n2,x\n',
    "inside-twice": b'id,name\n1,a "b" c\n2,x\n',
    "inside-behind-a-blank": b'id,name\n1, "x"\n2,y\n',
    "backslash-quote": b'a,b\n1,"x\\"y"\n2,z\n',
    "cr": b"a,b\r1,2\r3,4\r",
    "cr-once": b"a,b\n1,2\r3,4\n",
    "cr-cr-lf": b"a,b\r\r\n1,2\r\r\n",
    "cr-last": b"a,b\n1,2\r",
    "cr-in-quotes": b'a,b\n1,"x\ry"\n',
    "nul": b"a,b\n1,x\0y\n",
    "nul-tail": b"id,name\n1,Ada\n2,B" + bytes(5_000),
    "nul-all": bytes(5_000),
    "nul-in-quotes": b'a,b\n1,"x\0y"\n',
    "utf-16-le": "id,name\n1,Ada\n".encode("utf-16-le"),
    "utf-16-be": "id,name\n1,Ada\n".encode("utf-16-be"),
    "utf-16-mark": "id,name\n1,Ada\n".encode("utf-16"),
    "latin-1": b"id,name\n1,M\xfcller\n",
    "cut-character": b"id,name\n1,M\xc3",
    "overlong": b"id,name\n1,\xc0\xaf\n",
}
SEMICOLONS = {
    "plain": b"id;name\n1;Ada\n",
    "comma-inside": b"id;name\n1;1,5\n",
    "quoted": b'id;name\n1;"A;da"\n',
    "too-many": b"id;name\n1;2;3\n",
}
TABS = {
    "plain": b"id\ttitle\n1\tx\n",
    "quote-inside": b'id\ttitle\n1\t5" pipe\n2\tx\n',
    "quote-first": b'id\ttitle\n1\t"Quoted\n2\tplain\n3\tend"\n',
    "quote-open": b'id\ttitle\n1\t"x\n',
    "quote-closed": b'id\ttitle\n1\t"x"y\n',
    "too-few": b'id\ttitle\n"1\t2"\n3\n',
}
COMMENTS = {
    "first": b"# title\nid,name\n1,Ada\n",
    "between": b"id,name\n1,Ada\n# a comment, of three, fields\n2,Bob\n",
    "last": b"id,name\n1,Ada\n# end",
    "crlf": b"# title\r\nid,name\r\n# x\r\n1,Ada\r\n",
    "quote-inside": b'id,name\n# "open\n1,Ada\n',
    "in-quotes": b'id,name\n1,"A\n# da"\n',
    "in-a-field": b"id,name\n1,#Ada\n",
    "none": b"id,name\n1,Ada\n",
    "too-few": b"id,name\n# x\n1\n",
}
TITLES = {
    "sep": b"sep=;\n\nid;name\n1;Ada\n",
    "title": b"a title\nof two lines\nid;name\n1;Ada\n2;Bob\n",
    "crlf": b"sep=;\r\nx\r\nid;name\r\n1;Ada\r\n",
    "fields": b"a;b;c\nd;e;f\nid;name\n1;Ada\n",
    "too-few": b"a\nb\nid;name\n1\n",
}
ROWS = b"id,name\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(20_000))
MEMBERS = gzip.compress(ROWS[:100_000]) + gzip.compress(ROWS[100_000:])
PACKED = {name: gzip.compress(content) for name, content in COMMAS.items()}
PACKED |= {"members": MEMBERS, "zeros-behind": gzip.compress(ROWS) + bytes(512), "stored": gzip.compress(ROWS, 0)}
CUT = {
    "empty": b"",
    "header": MEMBERS[:7],
    "data": MEMBERS[:50_000],
    "trailer": MEMBERS[:-3],
    "checksum": MEMBERS[:-8] + bytes(4) + MEMBERS[-4:],
    "plain": b"id,name\n1,Ada\n",
    "behind": MEMBERS + b"rest",
}
CORPUS = {
    "commas": COMMAS, "semicolons": SEMICOLONS, "tabs": TABS, "comments": COMMENTS, "titles": TITLES, "packed": PACKED,
    "cut": CUT,
}  # fmt: skip

# The reasons for differences.
MIXED = "it wants one kind of line ends in a file"
EMPTY = "an empty line is a record of nulls"
FILLED = "what is missing from a record is null"
NO_HEADER = "it looks for the header among the lines that fit, and takes another one for it"
BARE = "a quote inside an unquoted field is a character like others"
BLANK = "blanks around a quoted field are passed over"
CR = "CR alone ends a line"
CR_TEXT = "CR alone is a character like others"
NUL = "a NUL byte is a character like others"
UNQUOTED = "its comments are left out before it reads, in quotes too"
ZEROS = "zeros behind the compressed data are no gzip"
NO_SUM = "it does not compare the checksum"
NO_GZIP = "what is not compressed is read as it is"
NOTHING = "a file of 0 bytes is an empty text"
NOT_TEXT = "what is not UTF-8 is a character like others"

DIFFERENCES = {
    "python": {
        "commas/inside": ((2, 2), BARE),
        "commas/inside-twice": ((2, 2), BARE),
        "commas/inside-behind-a-blank": ((2, 2), BARE),
        "commas/cr": ((2, 2), CR),
        "commas/cr-once": ((2, 2), CR),
        "commas/cr-cr-lf": ((1, 2), CR),
        "commas/cr-last": ((1, 2), CR),
        "commas/nul": ((1, 2), NUL),
        "commas/nul-tail": ((2, 2), NUL),
        "commas/nul-all": ((0, 1), NUL),
        "commas/nul-in-quotes": ((1, 2), NUL),
        "commas/utf-16-be": ((1, 2), NUL),
        "comments/in-quotes": (MALFORMED, UNQUOTED),
        "cut/empty": ((0, 0), NOTHING),
    },
    "duckdb": {
        "commas/mixed-ends": (MALFORMED, MIXED),
        "commas/too-many": ((0, 3), NO_HEADER),
        "commas/too-many-quoted": ((0, 3), NO_HEADER),
        "semicolons/too-many": ((0, 3), NO_HEADER),
        "commas/behind-a-quote-blank": ((2, 2), BLANK),
        "commas/inside": ((2, 2), BARE),
        "commas/inside-twice": ((2, 2), BARE),
        "commas/inside-behind-a-blank": ((2, 2), BLANK),
        "commas/cr": ((2, 2), CR),
        "commas/nul": ((1, 2), NUL),
        "commas/nul-tail": ((2, 2), NUL),
        "commas/nul-all": ((0, 1), NUL),
        "commas/nul-in-quotes": ((1, 2), NUL),
        "commas/utf-16-be": ((1, 2), NUL),
        "packed/zeros-behind": (MALFORMED, ZEROS),
        "cut/checksum": ((20_000, 2), NO_SUM),
    },
    "polars": {
        "commas/blank-line-between": ((3, 2), EMPTY),
        "commas/blank-line-crlf": ((3, 2), EMPTY),
        "commas/blank-lines-last": ((3, 2), EMPTY),
        "commas/blanks-alone": ((2, 2), FILLED),
        "commas/too-few": ((2, 3), FILLED),
        "commas/too-few-last": ((2, 3), FILLED),
        "commas/too-few-quoted": ((1, 2), FILLED),
        "tabs/too-few": ((2, 2), FILLED),
        "commas/inside-twice": ((2, 2), BARE),
        "commas/inside-behind-a-blank": ((2, 2), BARE),
        "commas/cr": ((0, 4), CR_TEXT),
        "commas/cr-cr-lf": ((1, 2), CR_TEXT),
        "commas/cr-last": ((1, 2), CR_TEXT),
        "commas/nul": ((1, 2), NUL),
        "commas/nul-tail": ((2, 2), NUL),
        "commas/nul-all": ((0, 1), NUL),
        "commas/nul-in-quotes": ((1, 2), NUL),
        "commas/utf-16-le": ((2, 2), NUL),
        "commas/utf-16-be": ((1, 2), NUL),
        "commas/utf-16-mark": ((2, 2), NOT_TEXT),
        "comments/too-few": ((1, 2), FILLED),
        "titles/too-few": ((1, 2), FILLED),
        "packed/zeros-behind": (MALFORMED, ZEROS),
        "cut/plain": ((1, 2), NO_GZIP),
    },
}


def python(path, look):
    quoting = {"quotechar": look.quote} if look.quote else {"quoting": csv.QUOTE_NONE}
    csv.field_size_limit(1 << 20)
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = itertools.islice(file, look.skip, None)
            lines = (line for line in lines if look.comment is None or not line.startswith(look.comment))
            records = list(csv.reader(lines, delimiter=look.delimiter, strict=True, **quoting))
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error):
        return MALFORMED
    while records and not records[0]:
        del records[0]
    if not records:
        return (0, 0)
    columns = len(records[0])
    # It returns an empty record for an empty line; if there is one column, that is one empty field.
    rows = [record or [""] for record in records[1:] if record or columns == 1]
    return (len(rows), columns) if all(len(row) == columns for row in rows) else MALFORMED


def by_duckdb(path, look):
    delimiter, quote = look.delimiter, look.quote
    more = f", comment = '{look.comment}'" if look.comment else ""
    more += f", skip = {look.skip}" if look.skip else ""
    try:
        table = duckdb.sql(
            f"SELECT * FROM read_csv('{path}', header = true, delim = '{delimiter}', quote = '{quote or ''}', "
            "escape = '" + (quote or "") + "', all_varchar = true, strict_mode = true, auto_detect = true, sample_size = -1"
            f"{more})"
        )
        return (len(table.fetchall()), len(table.columns))
    except duckdb.Error:
        return MALFORMED


def by_polars(path, look):
    more = {"comment_prefix": look.comment, "skip_lines": look.skip}
    try:
        table = polars.read_csv(path, separator=look.delimiter, quote_char=look.quote, infer_schema=False, **more)
        return table.shape
    except (polars.exceptions.PolarsError, OSError):
        return MALFORMED


READERS = {"python": python, "duckdb": by_duckdb, "polars": by_polars}


def by_the_ingestor(program, place, group):
    look = GROUPS[group]
    dirs = [place / name for name in ("warehouse", "manifests", "state")]
    options = zip(("--input", "--warehouse", "--manifests", "--state-path"), [place / "staging", *dirs])
    command = [program, "run", "--once", "--stability-seconds", "0", "--validate", "csv", "--malformed", "mark"]
    command += [word for pair in options for word in map(str, pair)]
    command += ["--csv-delimiter", look.delimiter.replace("\t", "tab"), "--csv-quote", look.quote or "none"]
    command += ["--csv-skip-rows", str(look.skip)] + (["--csv-comment", look.comment] if look.comment else [])
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    found = {}
    for manifest in (place / "manifests").glob("*/*/*/*/manifest.jsonl"):
        for line in map(json.loads, manifest.read_text().splitlines()):
            verdict = MALFORMED if "malformed_line" in line else (line["rows"], line["columns"] or 0)
            found[pathlib.Path(line["path"]).name.removesuffix(look.suffix)] = verdict
    return found


def main(program, top, *options):
    wrong, count = [], 0
    for group, files in CORPUS.items():
        look = GROUPS[group]
        place = pathlib.Path(top) / group
        for name in ("staging", "files"):
            os.makedirs(place / name)
        for name, content in files.items():
            for directory in ("staging", "files"):
                (place / directory / (name + look.suffix)).write_bytes(content)
        ours = by_the_ingestor(program, place, group)
        for name in files:
            count += 1
            for reader, read in READERS.items():
                theirs = read(str(place / "files" / (name + look.suffix)), look)
                key = f"{group}/{name}"
                known = DIFFERENCES.get(reader, {})
                # A reader sees the same in a text whether it was compressed or not.
                difference = known.get(key) or (known.get(f"commas/{name}") if group == "packed" else None)
                if "--list" in options:
                    print(key, reader, theirs, "" if theirs == ours[name] else f"!= {ours[name]}")
                expected = difference[0] if difference else ours[name]
                if theirs != expected or (difference and expected == ours[name]):
                    wrong.append(f"{key}: {reader} says {theirs}, expected {expected}; the ingestor says {ours[name]}")
    print("\n".join(wrong))
    print(f"{count} files, {len(READERS)} readers, {sum(map(len, DIFFERENCES.values()))} differences that are known")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
