"""Snapshots: the header, the lists, the blocks and rows, and that they agree with each other."""

import struct

from common import BLOCK, NUMBER_END, PATH_MAX, Corrupt, Fields, check_header, crc32c, lsn_in, whole_blocks

BLOCK_HEADER = 8
BLOCK_PAGES_MAX = 3
ROWS_MAX = 0xFFFFFFFF
BITS_MAX = 30
LISTS = ("blocks", "buckets", "fragments", "directories", "surviving records")
BLOCKS, BUCKETS, FRAGMENTS, DIRECTORIES, SURVIVING = range(5)


def numbers(data):
    """The 4-byte numbers in these bytes."""
    return [number for (number,) in struct.iter_unpack("<I", data)]


class Snapshot:
    """A snapshot's bytes, with the header and the lists' checksums checked."""

    def __init__(self, name, data):
        self.name, self.data, self.lsn = name, data, lsn_in(name)
        self.salt, self.store = check_header(name, data, b"CSVI-SNP")
        lsn, length = struct.unpack_from("<QQ", data, 40)
        (self.last_number,), self.link = struct.unpack_from("<Q", data, 64), data[72:100]
        self.has_spare, self.spare, self.row_count, self.block_count = struct.unpack_from("<IQQQ", data, 100)
        (self.bits,) = struct.unpack_from("<I", data, 160)
        if lsn == 0 or lsn != self.lsn:
            raise self.corrupt(0, f"the LSN {lsn} is not the one in the name")
        if length != len(data):
            raise self.corrupt(0, f"{len(data)} bytes long, but {length} by its header")
        self.check_numbers()
        self.places = [struct.unpack_from("<QQI", data, 168 + 24 * number) for number in range(len(LISTS))]
        self.check_places()
        self.lists = [self.read_list(number) for number in range(len(LISTS))]
        self.directories = self.read_directories()

    def corrupt(self, offset, why):
        return Corrupt(self.name, offset, self.lsn, why)

    def corrupt_list(self, number, why):
        return self.corrupt(self.places[number][0], f"the list of {LISTS[number]}: {why}")

    def check_numbers(self):
        first_lsn, _end, last_lsn, _chain = struct.unpack("<QQQI", self.link)
        if self.lsn != max(first_lsn, last_lsn):
            raise self.corrupt(0, f"the last segment goes from LSN {first_lsn} to {last_lsn}")
        if self.has_spare > 1 or (self.has_spare == 0 and self.spare != 0) or self.spare >= self.lsn:
            raise self.corrupt(0, f"the spare generation is said to be {self.has_spare}, {self.spare}")
        if self.row_count > ROWS_MAX or self.bits > BITS_MAX:
            raise self.corrupt(0, f"{self.row_count} rows, {self.bits} bits")
        forgotten, manifested, skipped, abandoned = struct.unpack_from("<QQQQ", self.data, 128)
        (quarantined,) = struct.unpack_from("<Q", self.data, 288)
        if manifested + skipped + abandoned + quarantined > self.lsn or forgotten > manifested:
            raise self.corrupt(0, "more files than there can be")

    def check_places(self):
        """Checks that the lists follow each other without gaps, and that the last one ends the file."""
        lengths = {BLOCKS: 8 * self.block_count, BUCKETS: 4 * ((1 << self.bits) + 1), FRAGMENTS: 4 * self.row_count}
        expected = self.places[BLOCKS][0]
        if expected % BLOCK != 0 or expected < BLOCK or (self.block_count == 0 and expected != BLOCK):
            raise self.corrupt(0, f"the first list begins at {expected}")
        for number, (offset, length, _) in enumerate(self.places):
            if offset != expected or length != lengths.get(number, length):
                raise self.corrupt(0, f"the list of {LISTS[number]} has {length} bytes at offset {offset}")
            expected += whole_blocks(length)
        if expected != len(self.data):
            raise self.corrupt(0, f"the lists end at offset {expected}")

    def read_list(self, number):
        offset, length, checksum = self.places[number]
        data = self.data[offset : offset + length]
        if crc32c(self.salt + struct.pack("<I", number) + data) != checksum:
            raise self.corrupt_list(number, "its checksum is wrong")
        return data

    def read_directories(self):
        fields, found = Fields(self.lists[DIRECTORIES]), []
        try:
            while not fields.is_at_end():
                found.append(fields.path())
        except ValueError as error:
            raise self.corrupt_list(DIRECTORIES, error) from None
        return found

    def read_surviving(self, journal):
        """Applies the surviving records one after the other."""
        fields, before = Fields(self.lists[SURVIVING]), 0
        (last_seq,) = struct.unpack_from("<Q", self.data, 296)
        journal.numbered = last_seq
        try:
            while not fields.is_at_end():
                lsn, written_at = fields.number(), fields.number()
                if not before < lsn <= self.lsn:
                    raise ValueError(f"LSN {lsn} behind LSN {before}")
                journal.read_record(*fields.record(), lsn, written_at)
                before = lsn
            journal.check_surviving()
            journal.last_seq, journal.numbered = last_seq, None
        except ValueError as error:
            raise self.corrupt_list(SURVIVING, error) from None

    def read_rows(self, journal):
        """Reads every block and every row, and checks that the lists agree with them."""
        block_list, hashes = [], []
        offset, end = BLOCK, self.places[BLOCKS][0]
        while offset < end:
            block_list += [len(hashes), offset // BLOCK]
            rows, size = self.read_block(offset)
            try:
                for row in rows:
                    file = self.decode_row(row)
                    key = bytes.fromhex(file["key"])
                    if hashes and key <= hashes[-1]:
                        raise ValueError("a row that is not behind the one before it")
                    hashes.append(key)
                    journal.read_row(file)
            except ValueError as error:
                raise self.corrupt(offset, f"the row {len(hashes)} in the block here: {error}") from None
            offset += size
        if len(hashes) != self.row_count or offset != end:
            raise self.corrupt(0, f"{len(hashes)} rows, but {self.row_count} by the header")
        expected = {BLOCKS: block_list, BUCKETS: self.buckets(hashes), FRAGMENTS: self.fragments(hashes)}
        for number, entries in expected.items():
            if numbers(self.lists[number]) != entries:
                raise self.corrupt_list(number, "it does not fit the rows")

    def buckets(self, hashes):
        """The number of the first row in or after each bucket; and at the end the number of rows."""
        entries = [0] * (2**self.bits + 1)
        for sha256 in hashes:
            entries[(int.from_bytes(sha256[:4], "big") >> 32 - self.bits) + 1] += 1
        for bucket in range(2**self.bits):
            entries[bucket + 1] += entries[bucket]
        return entries

    def fragments(self, hashes):
        return [int.from_bytes(sha256[:8], "big") >> 32 - self.bits & 0xFFFFFFFF for sha256 in hashes]

    def read_block(self, offset):
        """The rows in the block at `offset`, as bytes, and the block's length."""
        checksum, count, page_count = struct.unpack_from("<IHH", self.data, offset)
        size = page_count * BLOCK
        if not 1 <= page_count <= BLOCK_PAGES_MAX or offset + size > self.places[BLOCKS][0]:
            raise self.corrupt(offset, f"a block of {page_count} pages")
        page = struct.pack("<I", offset // BLOCK)
        if crc32c(self.salt + page + self.data[offset + 4 : offset + size]) != checksum:
            raise self.corrupt(offset, "the block's checksum is wrong")
        fields = Fields(self.data[offset + BLOCK_HEADER : offset + size])
        try:
            rows = [fields.take(fields.number("<H")) for _ in range(count)]
        except ValueError:
            raise self.corrupt(offset, "the rows do not fit the block") from None
        if not rows or whole_blocks(BLOCK_HEADER + fields.at) != size:
            raise self.corrupt(offset, f"a block of {page_count} pages with {count} rows that end at {fields.at}")
        if page_count > 1 and count > 1:
            raise self.corrupt(offset, f"{count} rows in a block of {page_count} pages")
        return rows, size

    def decode_row(self, data):
        fields = Fields(data)
        key, found_at, ingest_id = fields.take(32), fields.varint(), fields.varint()
        sha256, more = key, fields.varint()
        if more == 0:  # the content's own hash is not the key
            sha256, more = fields.take(32), fields.varint()
        lsn = ingest_id + more
        device, inode, size = fields.varint(), fields.varint(), fields.varint()
        mtime, updated_at = fields.zigzag(), (found_at + fields.zigzag()) % NUMBER_END
        source_directory, warehouse_directory = fields.varint(), fields.varint()
        source_name = fields.take(fields.varint())
        length = fields.varint()
        warehouse_name = fields.take(length - 1) if length > 0 else source_name
        if fields.at < len(data):
            self.skip_published(fields)
        fields.end()
        if not 0 < ingest_id < lsn <= self.lsn:
            raise ValueError(f"found at LSN {ingest_id}, listed at LSN {lsn}")
        return {
            "ingest_id": ingest_id, "lsn": lsn, "state": "MANIFESTED",
            "device": device, "inode": inode, "size": size, "mtime": mtime,
            "sha256": sha256.hex(), "key": key.hex(), "source_path": self.path(source_directory, source_name),
            "warehouse_path": self.path(warehouse_directory, warehouse_name), "duplicate_of": None,
            "created_at": found_at, "updated_at": updated_at,
        }  # fmt: skip

    def skip_published(self, fields):
        for _ in range(3):
            fields.zigzag()
        for _ in range(2):
            fields.zigzag()
            if fields.varint() >= 1 << 32:
                raise ValueError("nanoseconds of more than 32 bits")

    def path(self, directory, name):
        if directory > len(self.directories):
            raise ValueError(f"there is no directory {directory}")
        path = name if directory == 0 else self.directories[directory - 1] + b"/" + name
        if len(path) > PATH_MAX:
            raise ValueError(f"a path of {len(path)} bytes")
        return path
