//! Unpacks gzip (RFC 1952), piece by piece.
//!
//! Invariants:
//! - Its memory is fixed: the window of deflate and one buffer, whatever it is fed.
//! - No more than the limit is unpacked.
//! - A file is whole only if each member is, with the checksum and the length of its text at its end.
//!
//! A file is one member or several, as `cat`, `pigz` and `bgzip` make them. Zeros after the last one are ignored, as gzip(1)
//! ignores them: tapes pad blocks with them. Any other bytes there are a fault: gzip(1) warns, and other readers fail.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::limits::{UNPACKED_BYTES_MAX, UNPACKED_FREE_BYTES, UNPACKED_RATIO_MAX};

/// Bytes that are unpacked at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The first bytes of each member: the magic number, and deflate, the only compression method there is.
const BEGIN: [u8; 3] = [0x1f, 0x8b, 8];
/// After [`BEGIN`] the header has flags, a time of four bytes, extra flags, and the operating system.
const FIXED_BYTES: u8 = 10;
const FLAG_CHECKSUM: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
/// RFC 1952: whoever does not know these must not unpack the file.
const FLAGS_RESERVED: u8 = 0xe0;
const TRAILER_BYTES: u8 = 8;

/// Why a file cannot be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has no bytes: no program writes such a file, not even for an empty text.
    #[error("it is empty: a gzip file of an empty text is not")]
    Empty,
    /// It begins with something else.
    #[error("it is no gzip file, although its name ends in .gz")]
    NotGzip,
    /// A member's header is not valid.
    #[error("a gzip header is damaged")]
    Header,
    /// The compressed data are not valid.
    #[error("its compressed data are damaged")]
    Data,
    /// The text has another checksum than its member says.
    #[error("its compressed data are damaged: the checksum of the text differs")]
    Checksum,
    /// The text has another length than its member says.
    #[error("its compressed data are damaged: the length of the text differs")]
    Length,
    /// Bytes that are neither a member nor zeros follow the last member.
    #[error("bytes that are no gzip follow its compressed data")]
    Behind,
    /// It ends in a member's header.
    #[error("it is cut off: it ends in a gzip header")]
    CutHeader,
    /// It ends before its data do.
    #[error("it is cut off: it ends in its compressed data")]
    CutData,
    /// It ends before the checksum and the length.
    #[error("it is cut off: it ends in the checksum of its compressed data")]
    CutTrailer,
    /// It unpacks to more than the limit.
    #[error("it unpacks to more than {0} bytes, the limit for its size")]
    TooLarge(u64),
}

/// The limit for what a file of this size unpacks to.
pub fn unpacked_bytes_max(packed: u64) -> u64 {
    packed.saturating_mul(UNPACKED_RATIO_MAX).clamp(UNPACKED_FREE_BYTES, UNPACKED_BYTES_MAX)
}

/// The position of the next byte in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the part of a header that each has; this many bytes of it were read.
    Fixed(u8),
    /// In the length of the extra field.
    ExtraLength(u8),
    /// In the extra field; this many bytes are left.
    Extra(u16),
    /// In the file's name.
    Name,
    /// In the comment.
    Comment,
    /// In the checksum of the header.
    HeaderChecksum(u8),
    Data,
    /// In the checksum and length of the text.
    Trailer(u8),
    /// After a whole member: at the end, at the next member, or at zeros.
    Behind,
    /// In the zeros.
    Padding,
}

/// Unpacks one file.
pub struct Gunzip {
    at: At,
    /// No member was read to its end yet.
    is_first: bool,
    flags: u8,
    /// A number of several bytes, as far as it was read.
    number: u64,
    header: Crc,
    text: Crc,
    inflate: Decompress,
    buffer: Vec<u8>,
    /// What may still be unpacked, and what might be at first.
    room: u64,
    limit: u64,
}

impl Gunzip {
    /// Unpacks up to `limit` bytes.
    pub fn new(limit: u64) -> Gunzip {
        Gunzip {
            at: At::Fixed(0),
            is_first: true,
            flags: 0,
            number: 0,
            header: Crc::new(),
            text: Crc::new(),
            inflate: Decompress::new(false),
            buffer: vec![0; BUFFER_BYTES],
            room: limit,
            limit,
        }
    }

    /// Unpacks the next piece. `text` gets the text, and returns false if it needs no more.
    ///
    /// # Errors
    /// It cannot be unpacked; `text` got what comes before.
    pub fn feed(&mut self, mut piece: &[u8], text: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Fault> {
        while let Some((byte, rest)) = piece.split_first() {
            match self.at {
                At::Data => match self.data(piece, text)? {
                    Some(rest) => piece = rest,
                    None => return Ok(()),
                },
                At::Trailer(read) => {
                    self.trailer(*byte, read)?;
                    piece = rest;
                }
                At::Behind if *byte == BEGIN[0] => self.begin(),
                At::Behind | At::Padding if *byte == 0 => {
                    self.at = At::Padding;
                    piece = rest;
                }
                At::Behind | At::Padding => return Err(Fault::Behind),
                _ => {
                    self.header(*byte)?;
                    piece = rest;
                }
            }
        }
        Ok(())
    }

    /// Must be called at the file's end.
    ///
    /// # Errors
    /// The file is cut off.
    pub fn finish(self) -> Result<(), Fault> {
        match self.at {
            At::Behind | At::Padding => Ok(()),
            At::Fixed(0) if self.is_first => Err(Fault::Empty),
            At::Data => Err(Fault::CutData),
            At::Trailer(_) => Err(Fault::CutTrailer),
            _ => Err(Fault::CutHeader),
        }
    }

    fn begin(&mut self) {
        (self.at, self.flags, self.number) = (At::Fixed(0), 0, 0);
        self.header.reset();
        self.text.reset();
        self.inflate.reset(false);
    }

    /// Takes one byte of a header.
    fn header(&mut self, byte: u8) -> Result<(), Fault> {
        let sum = self.header.sum() & 0xffff;
        self.header.update(&[byte]);
        let next = match self.at {
            At::Fixed(read) => {
                match (BEGIN.get(usize::from(read)), self.is_first) {
                    (Some(expected), _) if *expected == byte => {}
                    (Some(_), true) if read < 2 => return Err(Fault::NotGzip),
                    (Some(_), false) if read < 2 => return Err(Fault::Behind),
                    (Some(_), _) => return Err(Fault::Header),
                    (None, _) if read == 3 && byte & FLAGS_RESERVED != 0 => return Err(Fault::Header),
                    (None, _) if read == 3 => self.flags = byte,
                    (None, _) => {}
                }
                if read + 1 < FIXED_BYTES { At::Fixed(read + 1) } else { self.after(0) }
            }
            At::ExtraLength(read) => {
                self.number |= u64::from(byte) << (8 * read);
                match (read, self.number as u16) {
                    (0, _) => At::ExtraLength(1),
                    (_, 0) => self.after(FLAG_EXTRA),
                    (_, length) => At::Extra(length),
                }
            }
            At::Extra(1) => self.after(FLAG_EXTRA),
            At::Extra(left) => At::Extra(left.saturating_sub(1)),
            At::Name if byte == 0 => self.after(FLAG_NAME),
            At::Comment if byte == 0 => self.after(FLAG_COMMENT),
            At::HeaderChecksum(0) => {
                self.number = u64::from(byte) | u64::from(sum) << 8;
                At::HeaderChecksum(1)
            }
            At::HeaderChecksum(_) => {
                let (expected, found) = (self.number >> 8, self.number & 0xff | u64::from(byte) << 8);
                if expected != found {
                    return Err(Fault::Header);
                }
                self.after(FLAG_CHECKSUM)
            }
            at => at,
        };
        self.at = next;
        Ok(())
    }

    /// The part of a header that follows the one of this flag.
    fn after(&mut self, flag: u8) -> At {
        self.number = 0;
        let parts = [
            (FLAG_EXTRA, At::ExtraLength(0)),
            (FLAG_NAME, At::Name),
            (FLAG_COMMENT, At::Comment),
            (FLAG_CHECKSUM, At::HeaderChecksum(0)),
        ];
        let passed = parts.iter().position(|(it, _)| *it == flag).map_or(0, |at| at + 1);
        let next = parts[passed..].iter().find(|(it, _)| self.flags & it != 0);
        next.map_or(At::Data, |(_, at)| *at)
    }

    /// Unpacks data. Returns the rest; None if `text` needs no more.
    fn data<'a>(
        &mut self,
        mut piece: &'a [u8],
        text: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Option<&'a [u8]>, Fault> {
        loop {
            let before = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(piece, &mut self.buffer, FlushDecompress::None);
            let taken = (self.inflate.total_in() - before.0) as usize;
            let unpacked = (self.inflate.total_out() - before.1) as usize;
            piece = &piece[taken..];
            if !self.unpacked(unpacked, text)? {
                return Ok(None);
            }
            match status {
                Err(_) => return Err(Fault::Data),
                Ok(Status::StreamEnd) => {
                    (self.at, self.number) = (At::Trailer(0), 0);
                    return Ok(Some(piece));
                }
                // A full buffer: there may be more without further input.
                Ok(_) if unpacked == BUFFER_BYTES => {}
                Ok(_) if piece.is_empty() => return Ok(Some(piece)),
                Ok(_) if taken == 0 && unpacked == 0 => return Err(Fault::Data),
                Ok(_) => {}
            }
        }
    }

    /// Hands on what is at the beginning of the buffer. False if no more is needed.
    fn unpacked(&mut self, count: usize, text: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool, Fault> {
        let allowed = count.min(usize::try_from(self.room).unwrap_or(usize::MAX));
        let made = &self.buffer[..allowed];
        self.text.update(made);
        self.room -= allowed as u64;
        if !made.is_empty() && !text(made) {
            return Ok(false);
        }
        if allowed < count { Err(Fault::TooLarge(self.limit)) } else { Ok(true) }
    }

    /// Takes one byte of a trailer; `read` of its bytes were taken before.
    fn trailer(&mut self, byte: u8, read: u8) -> Result<(), Fault> {
        self.number |= u64::from(byte) << (8 * read);
        self.at = At::Trailer(read + 1);
        if read + 1 == TRAILER_BYTES {
            if self.number as u32 != self.text.sum() {
                return Err(Fault::Checksum);
            }
            if (self.number >> 32) as u32 != self.text.amount() {
                return Err(Fault::Length);
            }
            (self.at, self.is_first) = (At::Behind, false);
        }
        Ok(())
    }
}
