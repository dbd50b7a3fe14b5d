#!/usr/bin/env python3
"""Reads a lake in directories, by docs/lake-format.md alone: it shares no code with the program.

    read_lake.py WAREHOUSE MANIFESTS
    read_lake.py entries DIR            prints for each file, by name, whether it is an entry: ok, malformed, for ever

It reads every entry, checks everything that the document says about entries, packs, data objects, manifests and
checkpoints, and prints JSON Lines:

- one for each shard: {"shard", "entries", "chain", "floor", "unfinished", "skipped", "stopped"}; "stopped" is null, or
  [the first entry that is not read, "malformed" or "for ever"]
- one for each content, by SHA-256: {"sha256", "entry", "generation", "forgotten", "key"}; of several with one mark, that
  which was claimed last
- one for each manifest object that is there, by shard and entry: {"manifest", "lines"}

Whatever contradicts the document, apart from entries that a reader stops at, is written to standard error; the exit code is 1
then.
"""

import hashlib
import json
import os
import re
import struct
import sys
from datetime import datetime, timezone

from read_journal.common import crc32c

OWN = ".csv-ingestor/"
ENTRY_MAX = 8 << 20
PACK_MAX = 64 << 20
CLAIMS_MAX, PACKS_MAX, FORGET_MAX, PARTS_MAX = 2048, 16, 1 << 16, 10000
KEY_MAX, NAME_MAX, UPLOAD_MAX, ETAG_MAX = 700, 200, 1024, 256
NUMBER_END = 1 << 32
MARK, PIECE_ROWS, CHECKPOINT_STEP = 13, 1 << 17, 64
ZEROS = bytes(32)


class Malformed(Exception):
    """A fault that an operator's mark can skip."""


class ForEver(Exception):
    """A fault at which a reader stops for ever."""


def sha256(data):
    return hashlib.sha256(data).digest()


class Store:
    """A directory; keys are paths below it."""

    def __init__(self, root):
        self.root = root

    def get(self, key):
        try:
            with open(os.path.join(self.root, key), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keys(self):
        found = []
        for dir, dirs, names in os.walk(self.root):
            below = os.path.relpath(dir, self.root)
            found += [name if below == "." else f"{below}/{name}" for name in names]
        return sorted(key for key in found if not key.startswith(OWN + "tmp/"))


class Fields:
    """Little-endian fields, one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        if length > len(self.data) - self.at:
            raise Malformed("a field ends behind the entry")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, length):
        return int.from_bytes(self.take(length), "little")

    def text(self, most):
        length = self.number(2)
        if length > most:
            raise Malformed("a text is too long")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("a text is not UTF-8") from None

    def count(self, most, least=0):
        count = self.number(4)
        if not least <= count <= most:
            raise Malformed("a count is out of its limits")
        return count


def is_key(key):
    """True for a key that a data object may have."""
    parts = key.split("/")
    return (
        len(key) <= KEY_MAX
        and len(parts) > 1
        and len(parts[-1]) <= NAME_MAX
        and all(re.fullmatch(r"[A-Za-z0-9_=%-][A-Za-z0-9._=%-]*", part) for part in parts)
    )


def is_key_of(key, digest, generation):
    """True for a key that the data object of this content and generation may have."""
    mark = "-" + digest.hex()[:32] + (f".g{generation}" if generation else "")
    _, found, rest = key.rpartition(mark)
    return bool(is_key(key) and found and re.match(r"$|%2E|\.(?!g[0-9])", rest))


def read_claim(fields):
    claim = {
        "sha256": fields.take(32),
        "generation": fields.number(4),
        "size": fields.number(8),
        "at": fields.number(8),
        "key": fields.text(KEY_MAX),
    }
    where = fields.number(1)
    if where == 1:
        claim["pack"], claim["offset"] = fields.number(1), fields.number(8)
    elif where == 2:
        if not fields.text(UPLOAD_MAX):
            raise Malformed("an upload has no id")
        parts = [(fields.number(8), fields.text(ETAG_MAX)) for _ in range(fields.count(PARTS_MAX, 1))]
        if sum(size for size, _ in parts) != claim["size"]:
            raise Malformed("the parts are not the content's size")
    else:
        raise Malformed("the bytes are neither in a pack nor in an upload")
    claim["line"] = fields.take(fields.number(4))
    if not claim["line"] or b"\n" in claim["line"]:
        raise Malformed("a manifest line is not one line")
    if not is_key_of(claim["key"], claim["sha256"], claim["generation"]):
        raise Malformed("a key is not the content's")
    return claim


def pack_place(key):
    """The shard and the number in the key of a pack."""
    place = re.fullmatch(r"\.csv-ingestor/pack/(0|[1-9][0-9]*)/([0-9]{20})-[0-9a-f]{32}-[0-9a-f]{64}", key)
    if not place:
        raise Malformed("a pack has another key")
    return int(place[1]), int(place[2])


def read_claims(fields, shard, number):
    packs = [fields.text(KEY_MAX) for _ in range(fields.count(PACKS_MAX))]
    claims = [read_claim(fields) for _ in range(fields.count(CLAIMS_MAX, 1))]
    for what in ("sha256", "key"):
        if len({claim[what] for claim in claims}) < len(claims):
            raise Malformed(f"a {what} occurs twice")
    for pack in packs:
        of, since = pack_place(pack)
        if of != shard or since > number:
            raise Malformed("a pack was made for another entry")
    used = []
    for claim in claims:
        if "pack" not in claim:
            continue
        if claim["pack"] not in used:
            used.append(claim["pack"])
        if claim["offset"] + claim["size"] > PACK_MAX:
            raise Malformed("a content ends behind its pack")
    if used != list(range(len(packs))) or len(set(packs)) < len(packs):
        raise Malformed("the packs are not those that are used, in this order")
    return {"packs": packs, "claims": claims}


def read_forget(fields, floor):
    below = fields.number(8)
    contents = [fields.take(32) for _ in range(fields.count(FORGET_MAX))]
    if below > floor or not (below or contents):
        raise Malformed("it forgets what is not finished, or nothing")
    if any(not one < next for one, next in zip(contents, contents[1:])):
        raise Malformed("the contents are not in order")
    return {"below": below, "contents": contents}


def read_entry(data):
    """An entry by itself."""
    if len(data) > ENTRY_MAX or len(data) < 4 or crc32c(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise Malformed("its length or its checksum is wrong")
    fields = Fields(data[:-4])
    if fields.take(4) != b"CSVL":
        raise Malformed("it does not begin as an entry does")
    version = fields.number(2)
    if version > 1:
        raise ForEver("a newer format")
    if version < 1:
        raise Malformed("an unknown format")
    entry = {"shard": fields.number(2), "lake": fields.take(16), "number": fields.number(8)}
    entry["predecessor"], entry["floor"] = fields.take(32), fields.number(8)
    fields.take(24)
    kind = fields.number(1)
    if kind == 1:
        entry.update(read_claims(fields, entry["shard"], entry["number"]))
    elif kind == 2:
        entry.update(read_forget(fields, entry["floor"]))
    elif kind == 3:
        entry["upgrade"] = fields.number(2)
        if entry["upgrade"] < 2:
            raise Malformed("it upgrades to an old format")
    else:
        raise Malformed("an unknown kind")
    if fields.at < len(fields.data):
        raise Malformed("bytes behind its end")
    if entry["number"] >= NUMBER_END or entry["floor"] > entry["number"]:
        raise Malformed("its number or its floor is too large")
    return entry


class Shard:
    """What the entries of a shard add up to."""

    def __init__(self, lake, number):
        self.lake, self.number = lake, number
        self.next, self.chain, self.floor = 0, ZEROS, 0
        # By mark.
        self.contents, self.entries, self.skipped, self.sums = {}, {}, [], {}
        self.by_name, self.forgotten_below = set(), 0

    def slot(self):
        return f"{OWN}log/{self.number}/{self.next:020}"

    def read(self, store):
        """Reads to the end; returns why it stops before."""
        while (data := store.get(self.slot())) is not None:
            try:
                self.take(data)
            except ForEver:
                return [self.next, "for ever"]
            except Malformed:
                mark = store.get(f"{OWN}skip/{self.number}/{self.next:020}")
                if mark is None or mark.decode("latin-1").lower() != sha256(data).hex():
                    return [self.next, "malformed"]
                self.skipped.append(self.next)
            self.chain, self.next = sha256(data), self.next + 1
            if self.next % self.lake["checkpoint_entries"] == 0 or self.next % CHECKPOINT_STEP == 0:
                pieces = 1
                while pieces < 65536 and len(self.contents) / pieces > PIECE_ROWS:
                    pieces *= 2
                for piece in range(pieces):
                    self.sums[self.next, piece] = self.checkpoint(piece, pieces)
        return None

    def take(self, data):
        entry = read_entry(data)
        place = (entry["lake"].hex(), entry["shard"], entry["number"], entry["predecessor"])
        if place != (self.lake["lake"], self.number, self.next, self.chain) or "upgrade" in entry:
            raise ForEver
        if entry["floor"] < self.floor:
            raise Malformed("its floor is below that of an entry before")
        for pack in entry.get("packs", []):
            if pack_place(pack)[1] + self.lake["checkpoint_entries"] < self.next:
                raise Malformed("it names a pack that is too old")
        for claim in entry.get("claims", []):
            if claim["sha256"][0] * self.lake["shards"] >> 8 != self.number:
                raise Malformed("it claims a content of another shard")
            if claim["generation"] != self.generation(claim["sha256"]):
                raise Malformed("it claims what is claimed")
        for content in entry.get("contents", []):
            known = self.contents.get(content[:MARK])
            if known is None or known["forgotten"] or known["entry"] >= entry["floor"]:
                raise Malformed("it forgets what is not finished, or unknown")
        self.floor = entry["floor"]
        self.entries[self.next] = entry
        for claim in entry.get("claims", []):
            mark, known = claim["sha256"][:MARK], {name: claim[name] for name in ("sha256", "generation", "key")}
            self.contents[mark] = {**known, "entry": self.next, "forgotten": False}
            self.by_name.discard(mark)
        for content in entry.get("contents", []):
            self.contents[content[:MARK]]["forgotten"] = True
            self.by_name.add(content[:MARK])
        if "below" in entry:
            self.forgotten_below = max(self.forgotten_below, entry["below"])
            for known in self.contents.values():
                known["forgotten"] |= known["entry"] < entry["below"]

    def generation(self, content):
        """What a claim must have now; None if it is claimed."""
        known = self.contents.get(content[:MARK])
        if known is None:
            return 0
        return known["generation"] + 1 if known["forgotten"] else None

    def checkpoint(self, piece, pieces):
        """The bytes of a piece of the checkpoint at this place."""
        rows, further = bytearray(), bytearray()
        for mark, known in sorted(self.contents.items()):
            if int.from_bytes(mark, "big") * pieces >> 8 * MARK != piece:
                continue
            rows += mark + struct.pack("<I", known["entry"])
            if known["generation"] or mark in self.by_name:
                further += mark + struct.pack("<II", known["generation"], mark in self.by_name)
        header = b"CSVLCHKP" + struct.pack("<HH", 1, self.number) + bytes.fromhex(self.lake["lake"])
        header += struct.pack("<Q", self.next) + self.chain
        header += struct.pack("<QQQ", self.floor, self.forgotten_below, len(self.contents))
        header += struct.pack("<III", piece, len(rows) // (MARK + 4), len(further) // (MARK + 8))
        header += struct.pack("<II", crc32c(rows), crc32c(further)) + bytes(12)
        header += struct.pack("<I", crc32c(header))
        return bytes(header + rows + further)


def manifests_of(shard, number, entry):
    """The manifest objects of an entry."""
    objects = {}
    for claim in entry.get("claims", []):
        hour = datetime.fromtimestamp(claim["at"] // 1000, timezone.utc).strftime("%Y/%m/%d/%H")
        key = f"{hour}/{shard}-{number:020}.jsonl"
        objects[key] = objects.get(key, b"") + claim["line"] + b"\n"
    return objects


class Check:
    """What must hold of all objects."""

    def __init__(self, warehouse, manifests):
        self.warehouse, self.manifests, self.faults = warehouse, manifests, []
        self.known, self.listed = set(), set()

    def wrong(self, what):
        self.faults.append(what)

    def entry(self, shard, number, entry):
        """Returns whether the entry is finished."""
        objects = manifests_of(shard.number, number, entry)
        there = {key: self.manifests.get(key) for key in objects}
        self.listed.update(objects)
        for key, data in there.items():
            if data is not None and data != objects[key]:
                self.wrong(f"{key} is not what its entry says")
        is_finished = None not in there.values()
        for claim in entry.get("claims", []):
            self.claim(claim, entry["packs"], is_finished)
        return is_finished

    def claim(self, claim, packs, is_finished):
        self.known.add(claim["key"])
        data = self.warehouse.get(claim["key"])
        if data is None and is_finished:
            self.wrong(f"{claim['key']} is listed and not there")
        if data is not None and (sha256(data), len(data)) != (claim["sha256"], claim["size"]):
            self.wrong(f"{claim['key']} has other bytes")
        if "pack" not in claim:
            return
        pack = self.warehouse.get(packs[claim["pack"]])
        if pack is None and not is_finished and data is None:
            self.wrong(f"the pack of {claim['key']} is gone")
        if pack is not None:
            begin, end = claim["offset"], claim["offset"] + claim["size"]
            if sha256(pack[begin:end]) != claim["sha256"]:
                self.wrong(f"{claim['key']} is not in its pack")

    def objects(self, shards):
        """Every object is one that the document knows."""
        for key in self.warehouse.keys():
            if key.startswith(OWN + "pack/"):
                if sha256(self.warehouse.get(key)).hex() != key[-64:]:
                    self.wrong(f"{key} has other bytes")
            elif found := re.fullmatch(r"\.csv-ingestor/checkpoint/([0-9]+)/([0-9]{20})(?:-([1-9][0-9]*))?", key):
                sums, piece = shards[int(found[1])].sums, (int(found[2]), int(found[3] or 0))
                if piece not in sums or sums[piece] != self.warehouse.get(key):
                    self.wrong(f"{key} is not what the entries add up to")
            elif not key.startswith(OWN) and key not in self.known:
                self.wrong(f"{key} belongs to no entry")
        for key in self.manifests.keys():
            if not key.startswith(OWN) and key not in self.listed:
                self.wrong(f"{key} belongs to no entry")


def judge(data):
    try:
        read_entry(data)
        return "ok"
    except Malformed:
        return "malformed"
    except ForEver:
        return "for ever"


def main():
    if sys.argv[1] == "entries":
        files = Store(sys.argv[2])
        print("\n".join(judge(files.get(name)) for name in files.keys()))
        return
    warehouse, manifests = Store(sys.argv[1]), Store(sys.argv[2])
    lake = json.loads(warehouse.get(OWN + "lake.json"))
    if list(lake) != ["format", "lake", "shards", "checkpoint_entries", "manifests"] or lake["format"] != 1:
        sys.exit("lake.json: another format")
    shards = [Shard(lake, number) for number in range(lake["shards"])]
    check = Check(warehouse, manifests)
    lines = []
    for shard in shards:
        stopped = shard.read(warehouse)
        finished = {number: check.entry(shard, number, entry) for number, entry in shard.entries.items()}
        unfinished = [number for number in finished if number >= shard.floor and not finished[number]]
        for content in shard.contents:
            if content[0] * lake["shards"] // 256 != shard.number:
                check.wrong(f"{content.hex()}… is in shard {shard.number}")
        lines.append({
            "shard": shard.number, "entries": shard.next, "chain": shard.chain.hex(), "floor": shard.floor,
            "unfinished": unfinished, "skipped": shard.skipped, "stopped": stopped,
        })
    contents = {mark: known for shard in shards for mark, known in shard.contents.items()}
    lines += [{**known, "sha256": known["sha256"].hex()} for _, known in sorted(contents.items())]
    for shard in shards:
        for number, entry in shard.entries.items():
            for key in sorted(manifests_of(shard.number, number, entry)):
                if (data := manifests.get(key)) is not None:
                    lines.append({"manifest": key, "lines": data.decode().split("\n")[:-1]})
    check.objects(shards)
    for line in lines:
        print(json.dumps(line, ensure_ascii=False))
    for fault in check.faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if check.faults else 0)


if __name__ == "__main__":
    main()
