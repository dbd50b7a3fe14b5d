"""The meaning of the records for each file, and which record may follow which."""

import base64
import datetime
import hashlib
import json

from common import HEADER_MAX

KEEP, REMOVE, MOVE = 1, 2, 3
STEPS_MAX, MOVES_MAX, FAULTS_MAX, KEY_MAX = 1024, 64, 32, 700
CAUSES = {1: "checksum_differs", 2: "unreadable", 3: "malformed", 4: "no_match", 5: "empty"}
CONTENT, NAME_AND_CONTENT = 1, 2
ALGORITHMS = {1: "md5", 2: "sha1", 3: "sha256", 4: "sha384", 5: "sha512"}


def instant(milliseconds):
    milliseconds = min(milliseconds, 253_402_300_799_999)  # RFC 3339 ends with the year 9999
    whole = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=milliseconds)
    return whole.isoformat(timespec="milliseconds") + "Z"


def key_of(name, sha256):
    """The key of a content, under this name if the name counts; both as hex digits."""
    if name is None:
        return sha256
    return hashlib.sha256(b"csv-ingestor name+content\n" + bytes.fromhex(sha256) + name).hexdigest()


class Journal:
    """All files by ingest id, and the known keys. A ValueError has the fault of a record."""

    def __init__(self):
        self.files, self.has_settings = {}, False
        self.unfinished = set()  # the ids for which records may follow
        self.last_seq = 0  # the number of the last manifest line
        self.numbered = None  # while surviving records are read: the number of the last line when the snapshot was made
        self.moved_by = {}  # the last ingest that was MOVED with a key
        self.input, self.same_by = (0, b""), CONTENT  # the LSN of the last SETTINGS, and its input
        self.forgotten_before = 0  # from EXPIRED records, until an EXPIRED_RANGES gives them an end
        self.expired, self.ranges_count, self.expired_count = [], 0, 0  # (which time, first LSN, end LSN, before)
        self.moved_roots = []  # (LSN, old root, new root)
        self.referring = {}  # the ids of the duplicates that refer to a key
        self.placed = {}  # the LSN of the last HASHED, by ingest id
        self.forgotten = {}  # the LSN of the last FORGOTTEN of a key
        self.claims = set()  # the ids of files that an entry of a lake claims
        self.groups = {}  # the ids and inodes of the moving members of the groups that have not ended, by LSN
        self.kept = {}  # the id of the kept duplicate that refers to a content, by device and inode

    def read_record(self, kind, fields, lsn, written_at):
        if kind not in self.KINDS:
            raise ValueError(f"there is no kind {kind} of records")
        self.KINDS[kind](self, fields, lsn, written_at)
        fields.end()

    def transition(self, fields, lsn, written_at, state, before):
        """The file with the next field's id, which must be unfinished and in one of the states `before`."""
        ingest_id = fields.number()
        file = self.files.get(ingest_id)
        if file is None or ingest_id not in self.unfinished or file["state"] not in before:
            was = file["state"] if file else "never discovered"
            raise ValueError(f"{state} does not fit ingest {ingest_id}, which is {was}")
        file.update(state=state, lsn=lsn, updated_at=written_at)
        return ingest_id, file

    # Known and expired contents.

    def has_expired(self, file):
        """Whether the content that this ingest MOVED has expired."""
        is_old = file["state"] == "MANIFESTED" and self.was_to_go(file)
        return is_old and not self.referring.get(file["key"])

    def was_to_go(self, file):
        """Whether a MANIFESTED file is old enough, or was listed before its content was forgotten by a command."""
        ranges = any(begin <= file["lsn"] < end and file[key] < before for key, begin, end, before in self.expired)
        open_ended = file["created_at"] < self.forgotten_before
        return ranges or open_ended or file["lsn"] < self.forgotten.get(file["key"], 0)

    def is_new(self, key):
        if key in self.moved_by and not self.has_expired(self.moved_by[key]):
            raise ValueError(f"the key {key} is known")

    def refer(self, ingest_id, key):
        self.referring.setdefault(key, set()).add(ingest_id)

    def refer_no_more(self, ingest_id):
        self.referring.get(self.files[ingest_id]["key"], set()).discard(ingest_id)

    def has_content(self, file, sha256):
        file["sha256"], file["key"] = sha256, key_of(file["name"], sha256)

    def rename(self, device_and_inode):
        """A record names the file of a kept duplicate again."""
        ingest_id = self.kept.pop(device_and_inode, None)
        if ingest_id is not None:
            self.refer_no_more(ingest_id)

    # Each kind of record.

    def settings(self, fields, lsn, _written_at):
        self.input = lsn, fields.path()
        fields.path(), fields.path(), fields.choice(3), fields.optional(fields.path)
        self.has_settings = True

    def expired(self, fields, _lsn, _written_at):
        self.forgotten_before = max(self.forgotten_before, fields.number())
        self.expired_count += 1

    def expired_ranges(self, fields, lsn, _written_at):
        for key in ("updated_at", "created_at"):
            begin, count = -1, fields.number("<H")
            if count > STEPS_MAX:
                raise ValueError(f"{count} steps")
            for _ in range(count):
                end, before = fields.number(), fields.number()
                if end <= begin:
                    raise ValueError("ends that do not ascend")
                self.expired.append((key, begin, min(end, lsn), before))
                begin = end
        fields.number()  # for an audit only
        if self.forgotten_before > 0:
            self.expired.append(("created_at", 0, lsn, self.forgotten_before))
        self.forgotten_before = 0
        self.ranges_count += 1

    def clock_jumped(self, fields, _lsn, _written_at):
        fields.number(), fields.number("<q")  # only for the age of files; EXPIRED_RANGES says what has expired

    def kept_gone(self, fields, _lsn, _written_at):
        self.rename((fields.number(), fields.number()))

    def relocated(self, fields, lsn, _written_at):
        if self.groups or any(self.files[ingest_id]["state"] != "DISCOVERED" for ingest_id in self.unfinished):
            raise ValueError("RELOCATED while a file is on its way")
        if len(self.moved_roots) >= MOVES_MAX:
            raise ValueError("too many RELOCATED")
        self.moved_roots.append((lsn, fields.path(), fields.path()))

    def group(self, fields, lsn, _written_at):
        fields.path(), fields.identity()
        inodes = dict((fields.number(), fields.number()) for _ in range(fields.number("<H")))
        ids = list(inodes)
        if any(one >= other for one, other in zip([lsn, *ids], ids)):
            raise ValueError("members that do not follow their GROUP in ascending order")
        for _ in range(fields.number("<H")):
            fields.path(), fields.take(32), fields.number()
        self.groups[lsn] = inodes

    def group_done(self, fields, _lsn, _written_at):
        lsn = fields.number()
        members = self.groups.get(lsn, {}).items()
        is_open = any(one in self.unfinished and self.files[one]["inode"] == inode for one, inode in members)
        if lsn not in self.groups or is_open:
            raise ValueError(f"GROUP_DONE does not fit the group {lsn}")
        del self.groups[lsn]

    def today(self, path, lsn):
        """The present path for a path in a record with that LSN, after all moves of the directories above it."""
        for moved_at, old, new in self.moved_roots:
            if moved_at > lsn and path == old:
                path = new
            elif moved_at > lsn and path.startswith(old.rstrip(b"/") + b"/"):
                path = new.rstrip(b"/") + b"/" + path[len(old.rstrip(b"/")) + 1 :]
        return path

    def identity(self, fields, _lsn, _written_at):
        self.same_by = fields.choice(NAME_AND_CONTENT)
        fields.choice(3)

    def name(self, source):
        """The name that is part of the identity of a file that is found now."""
        if self.same_by == CONTENT:
            return None
        above = self.today(self.input[1], self.input[0]) + b"/"
        return source[len(above) :] if source.startswith(above) else source.split(b"/")[-1]

    def discovered(self, fields, lsn, written_at):
        if not self.has_settings:
            raise ValueError("DISCOVERED before any SETTINGS")
        device, inode, size, mtime = fields.identity()
        found_at, source = fields.number(), fields.path()
        fields.optional(fields.identity, fields.path)
        self.rename((device, inode))
        self.unfinished.add(lsn)
        self.files[lsn] = {
            "ingest_id": lsn, "lsn": lsn, "state": "DISCOVERED",
            "device": device, "inode": inode, "size": size, "mtime": mtime,
            "sha256": None, "source_path": source, "warehouse_path": None, "duplicate_of": None,
            "name": self.name(source), "key": None, "created_at": found_at, "updated_at": written_at,
        }  # fmt: skip

    def hashed(self, fields, *when):
        _, file = self.transition(fields, *when, "HASHED", ("DISCOVERED", "HASHED"))
        self.has_content(file, fields.take(32).hex())
        file["warehouse_path"], file["verified"] = fields.path(), None
        self.placed[file["ingest_id"]] = file["lsn"]
        self.claims.discard(file["ingest_id"])
        fields.optional(fields.identity, fields.path)
        self.is_new(file["key"])
        return file

    def verified(self, fields, *when):
        file = self.hashed(fields, *when)
        file["verified"] = ALGORITHMS[fields.choice(5)]

    def moved(self, fields, *when):
        _, file = self.transition(fields, *when, "MOVED", ("HASHED",))
        self.is_new(file["key"])
        self.moved_by[file["key"]] = file

    def moved_as(self, fields, *when):
        self.moved(fields, *when)
        fields.identity()

    def moved_numbered(self, fields, *when):
        _, file = self.transition(fields, *when, "MOVED", ("HASHED",))
        self.is_new(file["key"])
        self.moved_by[file["key"]] = file
        self.number(fields.number())
        fields.optional(fields.identity)

    def number(self, seq):
        """The number of a manifest line. Where records are missing, in a snapshot, so are numbers."""
        end = self.last_seq + 1 if self.numbered is None else self.numbered
        expected = range(self.last_seq + 1, end + 1)
        if seq not in expected:
            raise ValueError(f"MOVED with the number {seq} after {self.last_seq}")
        self.last_seq = seq

    def manifested(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "MANIFESTED", ("MOVED",))
        self.unfinished.remove(ingest_id)

    def skipped(self, fields, *when):
        before = ("DISCOVERED", "HASHED", "SKIPPED_DUPLICATE")
        ingest_id, file = self.transition(fields, *when, "SKIPPED_DUPLICATE", before)
        self.must_be_unclaimed(ingest_id)
        self.refer_no_more(ingest_id)
        self.has_content(file, fields.take(32).hex())
        file["duplicate_of"], action = fields.number(), fields.choice(3)
        fields.optional(fields.path)
        self.refer(ingest_id, file["key"])
        if action == KEEP:
            self.unfinished.remove(ingest_id)
            self.rename((file["device"], file["inode"]))
            self.kept[file["device"], file["inode"]] = ingest_id

    def cleared(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "SKIPPED_DUPLICATE", ("SKIPPED_DUPLICATE",))
        self.unfinished.remove(ingest_id)
        self.refer_no_more(ingest_id)

    def abandoned(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "ABANDONED", ("DISCOVERED", "HASHED", "QUARANTINED"))
        self.must_be_unclaimed(ingest_id)
        fields.choice(8)
        self.unfinished.remove(ingest_id)

    def profiled(self, fields, lsn, written_at):
        ingest_id = fields.number()
        file = self.files.get(ingest_id)
        if ingest_id not in self.unfinished or file["state"] not in ("DISCOVERED", "HASHED"):
            raise ValueError(f"PROFILED does not fit ingest {ingest_id}")
        file.update(lsn=lsn, updated_at=written_at)
        fields.take(32), fields.optional(fields.number), fields.optional(fields.number)
        fields.optional(lambda: self.header(fields))
        fields.optional(fields.number, fields.text)

    def profiled_faults(self, fields, *when):
        self.profiled(fields, *when)
        count, before = fields.choice(FAULTS_MAX), 0
        for _ in range(count):
            column, first = fields.number("<H"), fields.number("<H")
            if column <= before or first >= column:
                raise ValueError("a header has no such faults")
            before = column

    def header(self, fields):
        begin = fields.at
        for _ in range(fields.number("<H")):
            fields.text()
        if fields.at - begin - 2 > HEADER_MAX:
            raise ValueError("a header that is too long")

    def quarantined(self, fields, *when):
        ingest_id, file = self.transition(fields, *when, "QUARANTINED", ("DISCOVERED", "HASHED", "QUARANTINED"))
        self.must_be_unclaimed(ingest_id)
        cause = fields.choice(5)
        fields.optional(fields.number), fields.text()
        file["quarantine"] = fields.path(), CAUSES[cause], file["lsn"]

    def quarantine_done(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "QUARANTINED", ("QUARANTINED",))
        self.unfinished.remove(ingest_id)

    def lake(self, fields, _lsn, _written_at):
        fields.take(16)

    def claimed(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "HASHED", ("HASHED",))
        fields.number("<H"), fields.number()
        self.claims.add(ingest_id)

    def uploading(self, fields, *when):
        ingest_id, _ = self.transition(fields, *when, "HASHED", ("HASHED",))
        if ingest_id in self.claims:
            raise ValueError(f"UPLOADING does not fit ingest {ingest_id}, which is CLAIMED")
        _generation, _since, key, upload = fields.number("<I"), fields.number(), fields.text(), fields.text()
        if not 1 <= len(key.encode()) <= KEY_MAX or not upload:
            raise ValueError("UPLOADING with a key or an upload that cannot be")

    def must_be_unclaimed(self, ingest_id):
        if ingest_id in self.claims:
            raise ValueError(f"ingest {ingest_id} is CLAIMED and given up")

    def rules(self, fields, _lsn, _written_at):
        fields.optional(fields.path)
        fields.optional(lambda: self.look(fields))
        if not fields.is_at_end():
            fields.choice(1)

    def layout(self, fields, _lsn, _written_at):
        fields.text(), fields.optional(fields.text)

    def look(self, fields):
        fields.take(1)
        more = fields.choice(15, 0)
        if more & 2 and fields.take(1) == b'"':
            raise ValueError("the usual quote is not told")
        if more & 4:
            fields.take(1)
        if more & 8 and fields.number("<H") == 0:
            raise ValueError("lines are skipped, but none")

    def forgets(self, fields, lsn, _written_at):
        key = fields.take(32).hex()
        self.forgotten[key] = lsn
        for place in [place for place, ingest_id in self.kept.items() if self.files[ingest_id]["key"] == key]:
            self.rename(place)

    KINDS = {
        1: settings, 2: discovered, 3: hashed, 4: moved, 5: manifested,
        6: skipped, 7: cleared, 8: abandoned, 9: expired,
        10: profiled, 11: quarantined, 12: quarantine_done, 13: forgets, 14: rules,
        15: moved_as, 16: verified,
        17: clock_jumped, 18: expired_ranges, 19: kept_gone, 20: relocated,
        21: profiled_faults, 22: identity, 23: group, 24: layout, 25: group_done,
        26: lake, 27: claimed, 28: uploading, 29: moved_numbered,
    }  # fmt: skip

    # A snapshot: its surviving records first, then its rows.

    def check_surviving(self):
        if self.expired_count > 1 or self.ranges_count > 1:
            raise ValueError("more than one EXPIRED, or EXPIRED_RANGES")
        for ingest_id, file in self.files.items():
            if ingest_id not in self.unfinished and file["state"] != "SKIPPED_DUPLICATE":
                raise ValueError(f"ingest {ingest_id} is {file['state']}")

    def read_row(self, file):
        """A MANIFESTED ingest, older than the surviving records; if one of them MOVED its content, it has expired."""
        if file["ingest_id"] in self.files:
            raise ValueError(f"ingest {file['ingest_id']} is there twice")
        self.files[file["ingest_id"]] = file
        if self.moved_by.setdefault(file["key"], file) is not file and not self.was_to_go(file):
            raise ValueError(f"ingest {self.moved_by[file['key']]['ingest_id']} moved the same file")

    def lines(self):
        for _, file in sorted(self.files.items()):
            shown = {}
            for key, value in file.items():
                if key in ("quarantine", "verified", "name", "key"):
                    continue
                if key == "duplicate_of" and file["state"] == "QUARANTINED":
                    path, shown["reason"], lsn = file["quarantine"]
                    shown["quarantine_path"] = self.today(path, lsn).decode(errors="replace")
                if key == "duplicate_of" and file.get("verified"):
                    shown["verified_by"] = file["verified"]
                if key == "source_path" and file["key"] != file["sha256"]:
                    shown["identity"] = "name+content"
                if key == "source_path":
                    value = self.today(value, file["ingest_id"])
                if key == "warehouse_path" and value is not None:
                    value = self.today(value, self.placed.get(file["ingest_id"], file["lsn"]))
                if key.endswith("_at"):
                    value = instant(value)
                shown[key] = value.decode(errors="replace") if isinstance(value, bytes) else value
                if isinstance(value, bytes) and shown[key].encode() != value:
                    shown[key + "_base64"] = base64.b64encode(value).decode()
            yield json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
