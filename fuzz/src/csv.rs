//! A second reader of CSV, written only from RFC 4180 and docs/files.md: the whole text in memory, one byte at a time,
//! without code of the crate. If the two disagree, one of them, or the text, is wrong.

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Records after the first; None if there is a fault.
    pub rows: Option<u64>,
    /// Columns of the first record.
    pub columns: Option<u64>,
    /// The first record's fields.
    pub header: Option<Vec<Vec<u8>>>,
    /// The line of the first fault.
    pub fault: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Before the first byte of a field.
    FieldStart,
    Bare,
    Quoted,
    /// After a quote within quotes: the field's end, or half of a doubled quote.
    QuoteInQuoted,
    /// After a CR, which only an LF may follow.
    Cr,
    /// In a line that is not looked at, or a comment.
    Aside,
}

/// How a file is read.
pub struct Look {
    /// The quote around fields, if any.
    pub quote: Option<u8>,
    /// The first byte of comments, if any.
    pub comment: Option<u8>,
    /// Lines at the beginning that are not looked at.
    pub skip_rows: u64,
}

/// The numbers of the columns whose names are blank, each with 0, or repeated, each with the number of the first; 32 at
/// most.
pub fn faults(header: &[Vec<u8>]) -> Vec<(u16, u16)> {
    let mut found = Vec::new();
    for (at, name) in header.iter().enumerate() {
        let first = header.iter().position(|other| other == name).unwrap_or(at);
        let is_blank = String::from_utf8_lossy(name).chars().all(char::is_whitespace);
        if is_blank || first < at {
            found.push((at as u16 + 1, if is_blank { 0 } else { first as u16 + 1 }));
        }
    }
    found.truncate(32);
    found
}

/// Reads a file whose fields are separated by commas.
pub fn read(content: &[u8], look: &Look) -> Seen {
    let quote = look.quote;
    let text = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    // All that is complete before what is wrong, or cut off, counts.
    let good = std::str::from_utf8(text).map_or_else(|error| error.valid_up_to(), str::len);
    let mut reader = Reader { seen: Seen { rows: Some(0), columns: None, header: None, fault: None }, line: 1 };
    let (mut fields, mut field, mut at, mut begun, mut is_aside) = (vec![], vec![], At::FieldStart, None, false);
    for byte in text[..good].iter().copied() {
        let is_quote = Some(byte) == quote;
        is_aside = match at {
            At::FieldStart if begun.is_none() => reader.line <= look.skip_rows || Some(byte) == look.comment,
            _ => is_aside && begun.is_none(),
        };
        match (at, byte) {
            _ if byte == 0 || (at == At::Cr && byte != b'\n') => return reader.failed(),
            _ if is_aside && byte != b'\r' && byte != b'\n' => at = At::Aside,
            (At::Quoted, byte) if !is_quote => field.push(byte),
            (At::Quoted, _) => at = At::QuoteInQuoted,
            (At::QuoteInQuoted, _) if is_quote => {
                field.push(byte);
                at = At::Quoted;
            }
            (_, b'\r') => at = At::Cr,
            (_, b'\n') => {
                // If there is one column, an empty line is a record.
                let is_record = begun.is_some() || reader.seen.columns == Some(1) && !is_aside;
                let line = begun.take().unwrap_or(reader.line);
                at = At::FieldStart;
                if is_record && !reader.record(std::mem::take(&mut fields), std::mem::take(&mut field), line) {
                    return reader.seen;
                }
            }
            (_, byte) => {
                begun.get_or_insert(reader.line);
                match at {
                    _ if byte == b',' => {
                        fields.push(std::mem::take(&mut field));
                        at = At::FieldStart;
                    }
                    At::FieldStart if is_quote => at = At::Quoted,
                    At::FieldStart | At::Bare if !is_quote => {
                        field.push(byte);
                        at = At::Bare;
                    }
                    _ => return reader.failed(),
                }
            }
        }
        reader.line += u64::from(byte == b'\n');
    }
    if good < text.len() || at == At::Cr {
        return reader.failed();
    }
    match begun {
        Some(begun) if at == At::Quoted => reader.fail(begun),
        Some(begun) => _ = reader.record(fields, field, begun),
        None => {}
    }
    reader.seen
}

struct Reader {
    seen: Seen,
    line: u64,
}

impl Reader {
    /// False if the record has too many or too few fields.
    fn record(&mut self, mut fields: Vec<Vec<u8>>, last: Vec<u8>, line: u64) -> bool {
        fields.push(last);
        let count = fields.len() as u64;
        match self.seen.columns {
            None => (self.seen.columns, self.seen.header) = (Some(count), Some(fields)),
            Some(columns) if columns == count => self.seen.rows = self.seen.rows.map(|rows| rows + 1),
            Some(_) => self.fail(line),
        }
        self.seen.fault.is_none()
    }

    fn failed(mut self) -> Seen {
        self.fail(self.line);
        self.seen
    }

    fn fail(&mut self, line: u64) {
        (self.seen.rows, self.seen.fault) = (None, Some(line));
    }
}
