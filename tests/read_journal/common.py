"""Common parts of segments and snapshots: errors, checksums, the beginning of a header, and fields."""

import struct

BLOCK = 4096
PATH_MAX = 4096
TEXT_MAX = 1024
HEADER_MAX = 16384
NUMBER_END = 1 << 64
VARINT_BYTES_MAX = 10


class Corrupt(Exception):
    """The damage and its position."""

    def __init__(self, name, offset, lsn, why):
        super().__init__(f"{name}, offset {offset}, LSN {lsn}: {why}")


class Newer(Corrupt):
    """No damage, but a version or a feature that this reader does not know."""


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC32C_TABLE = crc32c_table()


def crc32c(data):
    crc, table = 0xFFFFFFFF, CRC32C_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def whole_blocks(length):
    return -(-length // BLOCK) * BLOCK


def lsn_in(name):
    """The LSN in the name of a segment or of a snapshot."""
    return int(name.split("-")[1].split(".")[0])


def check_header(name, data, magic):
    """Checks the common part of all header blocks, in the document's order. Returns the salt and the store UUID."""
    if len(data) < BLOCK or data[:8] != magic:
        raise Corrupt(name, 0, lsn_in(name), "no header begins here")
    if crc32c(data[: BLOCK - 4]) != struct.unpack_from("<I", data, BLOCK - 4)[0]:
        raise Corrupt(name, 0, lsn_in(name), "the header's checksum is wrong")
    major, _minor, _compatible, incompatible = struct.unpack_from("<HHII", data, 8)
    if major != 1 or incompatible & ~0x3FF != 0:
        raise Newer(name, 0, lsn_in(name), f"newer: version {major}, incompatible features {incompatible:#x}")
    return data[20:24], data[24:40]


class Fields:
    """Takes fields one after the other; a ValueError has the fault of a field."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def is_at_end(self):
        return self.at == len(self.data)

    def end(self):
        if not self.is_at_end():
            raise ValueError("something is left over behind the last field")

    def take(self, count):
        if len(self.data) - self.at < count:
            raise ValueError("a field is cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, layout="<Q"):
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def varint(self):
        value = 0
        for index in range(VARINT_BYTES_MAX):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80 and value < NUMBER_END:
                return value
        raise ValueError("a varint of more than 64 bits")

    def zigzag(self):
        value = self.varint()
        return value >> 1 if value & 1 == 0 else -(value >> 1) - 1

    def choice(self, highest, lowest=1):
        value = self.number("<B")
        if not lowest <= value <= highest:
            raise ValueError(f"there is no choice {value}")
        return value

    def path(self):
        length = self.number("<H")
        if length > PATH_MAX:
            raise ValueError(f"a path of {length} bytes")
        return self.take(length)

    def text(self):
        length = self.number("<H")
        if length > TEXT_MAX:
            raise ValueError(f"a text of {length} bytes")
        return self.take(length).decode()  # a UnicodeDecodeError is a ValueError

    def identity(self):
        """Device, inode, size, and the seconds of mtime; the rest is not printed."""
        return struct.unpack("<QQQqIqI", self.take(48))[:4]

    def optional(self, *kinds):
        return [kind() for kind in kinds] if self.choice(1, 0) else None

    def record(self):
        """The next record: its kind and its fields."""
        kind, zero, length = struct.unpack("<BBH", self.take(4))
        if zero != 0:
            raise ValueError(f"no record begins with {kind}, {zero}")
        return kind, Fields(self.take(length))
