"""Segments and their frames: which frames are valid, where a segment ends, and what fits together."""

import struct
from collections import namedtuple

from common import BLOCK, Corrupt, Fields, Newer, check_header, crc32c, lsn_in, whole_blocks

FRAME_MAX = 1 << 20
FRAME_HEADER = 64
PAYLOAD_MAX = FRAME_MAX - FRAME_HEADER
DATA, IDLE, SEAL, SHUTDOWN = 1, 2, 3, 4

Header = namedtuple("Header", "salt store number first_lsn link pred pred_end pred_last_lsn pred_chain checksum")
Frame = namedtuple("Frame", "kind payload count first_lsn written_at chain checksum size")


class Segment:
    """A segment's bytes, with its header checked."""

    def __init__(self, name, data):
        self.name, self.data = name, data
        salt, store = check_header(name, data, b"CSVI-WAL")
        number, first, capacity = struct.unpack_from("<3Q", data, 40)
        link = data[72:100]
        self.header = Header(salt, store, number, first, link, *struct.unpack("<3Q4s", link), data[BLOCK - 4 : BLOCK])
        if first == 0 or first != lsn_in(name):
            raise self.wrong_header(f"the first LSN {first} is not the one in the name")
        if capacity != len(data):
            raise self.wrong_header(f"{len(data)} bytes long, but {capacity} by its header")

    def wrong_header(self, why):
        return Corrupt(self.name, 0, lsn_in(self.name), why)

    def follows(self, before, last_lsn):
        """Checks that it follows the segment `before`, which ends with `last_lsn`."""
        this = self.header
        if this.store != before.store:
            raise self.wrong_header("it belongs to another journal")
        if this.number != before.number + 1:
            raise self.wrong_header(f"segment {this.number} follows segment {before.number}")
        if this.pred != before.first_lsn:
            raise self.wrong_header(f"it follows another segment, with the first LSN {this.pred}")
        if this.first_lsn != max(last_lsn, before.first_lsn) + 1:
            raise self.wrong_header(f"its first LSN does not follow LSN {last_lsn}")

    def is_first(self):
        if self.header.pred != 0:
            raise self.wrong_header("the first segment has a predecessor, which is missing")

    def follows_snapshot(self, snapshot):
        this = self.header
        if this.first_lsn != snapshot.lsn + 1:
            raise self.wrong_header(f"it does not follow the snapshot up to LSN {snapshot.lsn}")
        if this.store != snapshot.store:
            raise self.wrong_header("it belongs to another journal than the snapshot")
        if this.number != snapshot.last_number + 1:
            raise self.wrong_header(f"segment {this.number} follows segment {snapshot.last_number} in the snapshot")
        if this.link != snapshot.link:
            raise self.wrong_header("it continues another segment than the last one in the snapshot")


def kind_fits(kind, payload_len, count):
    if kind == DATA:
        return count >= 1
    return count == 0 and {IDLE: 0, SEAL: 8, SHUTDOWN: 0}.get(kind) == payload_len


def read_frame(segment, offset, lsn):
    """The frame at `offset` if rules 1 to 6 hold, which can be checked anywhere; otherwise None."""
    data = segment.data
    if len(data) - offset < FRAME_HEADER or data[offset : offset + 4] != b"CSVF":
        return None
    header = data[offset : offset + FRAME_HEADER]
    checksum = header[60:]
    if crc32c(segment.header.salt + header[:60]) != struct.unpack("<I", checksum)[0]:
        return None
    version, kind, reserved, payload_len, count, first_lsn, written_at = struct.unpack_from("<BBHIIQQ", header, 4)
    if version != 1:
        raise Newer(segment.name, offset, lsn, f"newer: a frame of version {version}")
    if reserved != 0 or any(header[40:60]) or payload_len > PAYLOAD_MAX or not kind_fits(kind, payload_len, count):
        return None
    start = offset + FRAME_HEADER
    payload = data[start : start + payload_len]
    if len(payload) < payload_len or crc32c(payload) != struct.unpack_from("<I", header, 36)[0]:
        return None
    size = whole_blocks(FRAME_HEADER + payload_len)
    return Frame(kind, payload, count, first_lsn, written_at, header[32:36], checksum, size)


class Walk:
    """Walks along a segment's valid frames: offset, LSN and chain value that the next one must have."""

    def __init__(self, segment, journal):
        self.segment, self.journal = segment, journal
        self.offset, self.last_kind = BLOCK, None
        self.next_lsn, self.chain = segment.header.first_lsn, segment.header.checksum

    def peek(self):
        frame = read_frame(self.segment, self.offset, self.next_lsn)
        continues = frame is not None and (frame.chain, frame.first_lsn) == (self.chain, self.next_lsn)
        return frame if continues else None

    def step(self, frame):
        if frame.kind == DATA:
            self.read_records(frame)
        self.offset, self.last_kind = self.offset + frame.size, frame.kind
        self.next_lsn, self.chain = self.next_lsn + frame.count, frame.checksum

    def read_records(self, frame):
        records, lsn = Fields(frame.payload), frame.first_lsn
        try:
            for lsn in range(frame.first_lsn, frame.first_lsn + frame.count):
                self.journal.read_record(*records.record(), lsn, frame.written_at)
            records.end()
        except ValueError as error:
            raise Corrupt(self.segment.name, self.offset, lsn, error) from None

    def corrupt(self, why):
        return Corrupt(self.segment.name, self.offset, self.next_lsn, why)


def read_inner(segment, successor, journal):
    """Reads a segment with a successor, whose header has the end of this one. Returns the last LSN."""
    walk, end = Walk(segment, journal), successor.pred_end
    while walk.offset < end:
        frame = walk.peek()
        if frame is None:
            raise walk.corrupt(f"no valid frame, though the segment goes on to offset {end}")
        walk.step(frame)
    if (walk.offset, walk.next_lsn - 1, walk.chain) != (end, successor.pred_last_lsn, successor.pred_chain):
        raise walk.corrupt("it does not end as its successor's header says")
    if read_frame(segment, end, walk.next_lsn) is not None:
        seal = walk.peek()
        if seal is None or seal.kind != SEAL or seal.payload != struct.pack("<Q", successor.first_lsn):
            raise walk.corrupt("a frame behind the segment's end, and not its seal")
    return walk.next_lsn - 1


def read_last(segment, journal):
    """Reads the segment without a successor: it may end in a torn tail."""
    walk = Walk(segment, journal)
    frame = walk.peek()
    # After a shutdown, only a seal is read.
    while frame is not None and walk.last_kind != SEAL and (walk.last_kind != SHUTDOWN or frame.kind == SEAL):
        walk.step(frame)
        frame = walk.peek()
    end, rest = walk.offset, segment.data[walk.offset :].rstrip(b"\0")
    if walk.last_kind == SEAL:
        raise walk.corrupt("sealed, but the segment that the seal names is missing")
    if rest and walk.last_kind == SHUTDOWN:
        raise walk.corrupt("something is written behind a clean stop")
    for at in range(end, len(segment.data), BLOCK) if rest else ():
        frame = read_frame(segment, at, walk.next_lsn)
        if frame is not None and frame.first_lsn >= walk.next_lsn:
            raise walk.corrupt(f"no valid frame here, but there is one at offset {at}")
    if len(rest) > FRAME_MAX:
        raise walk.corrupt("no valid frame here, and more behind it than one write leaves")
